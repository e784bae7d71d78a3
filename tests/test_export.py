import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import circuitbook.export as exporting
from circuitbook.export import export
from circuitbook.plots import AttentionView, Table, plot_bars

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
ELSEWHERE = "https://example.org"


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(True)}


def code(text: str, *outputs: dict) -> dict:
    return {
        **{"cell_type": "code", "metadata": {}, "execution_count": 1},
        **{"source": text, "outputs": list(outputs)},
    }


def shown(**kinds: object) -> dict:
    data = {kind.replace("__", "/"): value for kind, value in kinds.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def figure(title: str, picture: bool = True) -> dict:
    drawn = json.loads(plot_bars({"a": 1.0}, title, unit="logits").to_json())
    data = {"application/vnd.plotly.v1+json": drawn} | ({"image/png": PIXEL} if picture else {})
    return {"output_type": "display_data", "metadata": {}, "data": data}


def printed(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": [text]}


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Writes cells as a notebook into the folder of the test, whose path it returns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)

    def written(*cells: dict, name: str = "mine.ipynb") -> Path:
        contents = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": list(cells)}
        (tmp_path / name).write_text(json.dumps(contents))
        return tmp_path / name

    return written


def page_of(path: Path) -> str:
    return export(path).read_text(encoding="utf-8")


def test_a_page_holds_the_text_the_code_and_what_it_printed(notebook):
    path = notebook(
        markdown("# What `L3H4` does\n\nIt *moves* a name."), code("1 + 1", printed("two & 2\n"))
    )
    page = page_of(path)
    assert export("mine.ipynb") == Path("mine.html") and path.with_suffix(".html").exists()
    assert "<title>What L3H4 does</title>" in page and "<em>moves</em>" in page
    assert "two &amp; 2" in page
    assert "1 + 1" in re.sub(r"<[^>]+>", "", page)


def test_a_page_leaves_out_exercises_and_what_is_tagged_course(notebook):
    tagged = markdown("Do this now.") | {"metadata": {"tags": ["yours", "course"]}}
    cells = [
        *(markdown("# A course") | {"metadata": {"tags": ["course"]}}, markdown("# Mine")),
        *(tagged, markdown("## Step 1: first"), code("kept = 1", printed("kept\n"))),
        *(markdown("### Exercise 6.1: one\n\nThe task."), code("check(1)", printed("passed\n"))),
        *(markdown("**What you saw.** Much."), markdown("#### Within"), code("quiz(1)")),
        *(markdown("### My result\n\nIt is 3."), markdown("### Exercise 6.2: two")),
        *(markdown("## Step 2: then"), code("more = 1", printed("more\n"))),
    ]
    page = page_of(notebook(*cells))
    text = " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<body>") :]).split())
    assert text == (
        "Mine Step 1: first code kept = 1 kept My result It is 3. Step 2: then code more = 1 more"
    )
    assert "<title>Mine</title>" in page


def test_code_is_folded_and_what_it_gave_is_not(notebook):
    page = page_of(notebook(code("1 + 1", printed("two\n"))))
    body = page[page.index("<body>") :]
    folded = body[body.index("<details>") : body.index("</details>")]
    assert ">1</span>" in folded and "two" not in folded and "two" in body


def test_formulas_become_mathml_and_what_is_no_formula_is_shown_as_typed(notebook):
    text = "Look: $W_Q W_K^\\top$ and\n\n$$\\frac{1}{2}$$\n\n$x_$, 3 dollars\n\n`$code$`"
    page = page_of(notebook(markdown(text), code("1", printed("1"))))
    assert page.count("<math") == 2 and "<mfrac>" in page and 'display="block"' in page
    assert "<code>x_</code>" in page and "<code>$code$</code>" in page


def test_a_page_forbids_and_does_not_ask_to_load_anything(notebook):
    cells = [
        markdown(f"![a picture]({ELSEWHERE}/a.png) and [a paper]({ELSEWHERE}/paper)"),
        code("1", figure("one"), shown(text__html=f"<script src='{ELSEWHERE}/x.js'></script>")),
    ]
    page = page_of(notebook(*cells))
    body = page[page.index("<body>") :].replace(f'src="{ELSEWHERE}/x.js"', "")
    assert "default-src 'none'" in page and page.index("default-src") < page.index("<body>")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=(?![\"']?data:)", body)
    assert not re.search(r"@import|url\(https?:", page[: page.index("<body>")])
    assert f'<a href="{ELSEWHERE}/paper">a paper</a>' in page


def test_links_into_other_notebooks_become_text_and_those_within_stay(notebook):
    text = "[chapter 1](01_build.ipynb#Heads), [below](#Below), [file](notes.txt)\n\n## Below"
    page = page_of(notebook(markdown(text), code("1", printed("1"))))
    assert "chapter 1, " in page and ".ipynb" not in page and "notes.txt" not in page
    assert '<a href="#Below">below</a>' in page and 'id="Below"' in page


def test_each_figure_is_there_once_alive_and_as_it_was_stored(notebook):
    page = page_of(notebook(code("1", figure("one </script> two")), code("2", figure("b", False))))
    kept = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    titles = [json.loads(one)["layout"]["title"]["text"] for one in kept]
    assert titles == ["one </script> two", "b"]
    assert page.count(f"data:image/png;base64,{PIXEL}") == 1
    assert page.count("Plotly.newPlot(") == 1
    without = page_of(notebook(code("1", printed("1"))))
    assert "Plotly" not in without and len(without) < 20_000


def test_pictures_tables_cards_and_errors_are_taken_over(notebook, tmp_path):
    (tmp_path / "drawn.png").write_bytes(b"\x89PNG not really")
    table = Table({"head": ["L1H3"], "logits": [2.5]})
    error = {
        "output_type": "error",
        "ename": "KeyError",
        "evalue": "3",
        "traceback": ["KeyError: 3"],
    }
    page = page_of(
        notebook(
            markdown("![mine](drawn.png)"),
            code("1", shown(text__html=table._repr_html_(), text__plain="L1H3"), error),
            code("2", shown(image__png=[PIXEL, "\n"], text__plain="a picture")),
        )
    )
    assert (
        "data:image/png;base64,iVBORyBub3QgcmVhbGx5" in page or "data:image/png;base64,iVBO" in page
    )
    assert ">L1H3</td>" in page and "KeyError: 3" in page
    assert PIXEL in page and "drawn.png" not in page


def test_what_stands_in_for_a_widget_is_shown(notebook):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "3"}}
    bundle = {**widget, "text/html": ["<b>still", " here</b>"], "text/plain": "a widget"}
    bare = {**widget, "text/plain": "VBox(children=())"}
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": one} for one in (bundle, bare)
    ]
    page = page_of(notebook(code("explore()", *outputs)))
    assert "<b>still here</b>" in page and "widget-view" not in page and "model_id" not in page


def test_a_page_that_export_made_is_replaced_and_no_other(notebook, tmp_path):
    path = notebook(code("1", printed("first")))
    target = export(path)
    notebook(code("1", printed("second")))
    assert "second" in export(path).read_text() and target.read_text().count("first") == 0
    (tmp_path / "theirs.html").write_text("<p>mine</p>")
    with pytest.raises(ValueError, match="export has not made it"):
        export(path, "theirs.html")
    assert (tmp_path / "theirs.html").read_text() == "<p>mine</p>"
    (tmp_path / "pages").mkdir()
    assert export(path, tmp_path / "pages") == tmp_path / "pages/mine.html"
    assert export(path, "other.html").name == "other.html"


def test_a_page_is_written_whole_or_not_at_all(notebook, monkeypatch, tmp_path):
    path = notebook(code("1", printed("first")))
    before = export(path).read_bytes()

    def fails(contents: dict, path: Path) -> str:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(exporting, "page", fails)
    with pytest.raises(RuntimeError):
        export(path)
    assert path.with_suffix(".html").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} >= {"mine.ipynb", "mine.html"}
    assert not list(tmp_path.glob("*.tmp*"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("other.ipynb",), "There is no notebook 'other.ipynb'; in this folder there are .*mine"),
        (("mine.html",), "There is no notebook"),
        ((None,), "Which notebook this is cannot be told"),
        (("mine.ipynb", "page.pdf"), "ends in .html"),
        (("mine.ipynb", "nowhere/page.html"), "There is no folder 'nowhere'"),
        (("mine.ipynb", 3), "give the name of a file"),
        (("blank.ipynb",), "blank.ipynb has no outputs in its file. Run all cells, save it"),
        (("old.ipynb",), "cannot be read as a notebook"),
    ],
)
def test_what_cannot_be_exported_is_told(notebook, tmp_path, given, message):
    notebook(code("1", printed("1")))
    notebook(code("1 + 1"), markdown("text"), name="blank.ipynb")
    (tmp_path / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}')
    with pytest.raises(ValueError, match=message):
        export(*given)
    assert not list(tmp_path.glob("**/*.html"))


def test_the_notebook_that_asks_is_exported_without_its_name(notebook, monkeypatch):
    path = notebook(code("1", printed("1")))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert export() == path.with_suffix(".html")


def test_importing_the_capstone_does_not_import_what_only_export_needs():
    code = "import sys, circuitbook.capstone; print({'nbconvert', 'latex2mathml'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_in_a_browser_without_a_network_every_figure_is_drawn(notebook):
    pytest.importorskip(
        "playwright", reason="the browser test needs playwright: pip install '.[dev]'"
    )
    if shutil.which("chromium") is None:
        pytest.skip("the browser test needs chromium: apt install chromium")
    from browser import browser_page

    pattern = torch.ones(2, 3, 3).tril().softmax(dim=-1).tril()
    view = AttentionView(
        pattern / pattern.sum(dim=-1, keepdim=True),
        ["a", " b", " c"],
        "two",
        heads=["L0H0", "L0H1"],
    )
    path = export(
        notebook(
            markdown(f"# Page\n\n$x^2$ ![no]({ELSEWHERE}/a.png)"),
            code("1", figure("one"), figure("two", picture=False)),
            code("2", shown(text__html=view._repr_html_().splitlines(True), text__plain="view")),
            code(
                "3",
                shown(
                    text__html=f"<img src='{ELSEWHERE}/b.png'><script src='{ELSEWHERE}'></script>"
                ),
            ),
        )
    )
    asked, problems = [], []
    with browser_page() as page:
        page.on("request", lambda request: asked.append(request))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path.absolute().as_uri())
        page.locator(".figure .main-svg").first.wait_for()
        page.locator("[id^=attention-] canvas, [id^=attention-] img").first.wait_for()
        page.wait_for_function("document.querySelectorAll('.figure .trace.bars').length == 2")
        assert page.locator(".figure img").count() == 0
        assert page.locator("math").bounding_box()["width"] > 5
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert problems == []
    loaded = [one.url for one in asked if one.failure is None]  # the page forbids what one typed
    assert len(loaded) < len(asked) and {one.failure for one in asked} == {None, "csp"}
    assert all(url.startswith(("file:", "data:", "blob:")) for url in loaded)
