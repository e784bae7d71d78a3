"""Links between chapters, appendices and the README: each goes to a file that is there and, where
it names a heading, to one that JupyterLab finds.

JupyterLab's anchor of a heading is its text with "-" for each space. It looks the anchor up as the
browser spells it in an address, so a heading with a quotation mark or a letter beyond ASCII cannot
be reached at all.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from circuitbook import authoring

ROOT = Path(__file__).parent.parent
BOOK = sorted((ROOT / "book").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

LINK = re.compile(r"\]\(<?([^\s<>)]+)>?[^)]*\)|\bhref\s*=\s*[\"']([^\"']+)[\"']")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
HEADING = re.compile(r"^#{1,6} +(.*?)(?: +#+)? *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
REACHABLE = re.compile(r"[!#$&-;?-_a-z{|}~]+")  # what an address holds without percent signs


def text_of(path: Path) -> str:
    """The markdown of a chapter's source, outside fences."""
    cells = authoring.learner_notebook(path).cells
    return "\n\n".join(FENCE.sub("", cell.source) for cell in cells if cell.cell_type == "markdown")


def headings(text: str) -> list[str]:
    """The headings as a reader sees them: without backticks, stars and the targets of links."""
    return [re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", found) for found in HEADING.findall(text)]


def anchors(text: str) -> list[str]:
    """What JupyterLab calls the headings of a notebook; "" for one that it could not go to."""
    found = [heading.replace(" ", "-") for heading in headings(text)]
    return [anchor if REACHABLE.fullmatch(anchor) and "$" not in anchor else "" for anchor in found]


def links(text: str) -> list[str]:
    """Where the text links to within the book."""
    found = [target or href for target, href in LINK.findall(re.sub(r"`[^`]*`", "", text))]
    return [target for target in found if not ELSEWHERE.match(target)]


def broken(page: str, text: str, texts: Mapping[str, str]) -> Iterator[str]:
    """The links of a page that go nowhere. `texts` are all pages, by their path from the same
    folder as `page`'s links."""
    for target in links(text):
        path, _, anchor = target.partition("#")
        if path and path not in texts:
            yield f"{page} links to {target}: there is no {path}"
        elif anchor:
            known = anchors(texts[path or page])
            if known.count(anchor) != 1:
                near = [other for other in known if other[:12] == anchor[:12]]
                reason = f"{known.count(anchor)} headings are called so; there are {near}"
                yield f"{page} links to {target}: {reason}"


CHAPTERS = {f"{path.stem}.ipynb": text_of(path) for path in BOOK}


# The book as it is


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_link_of_a_chapter_goes_somewhere(page):
    assert list(broken(page, CHAPTERS[page], CHAPTERS)) == []


def test_every_link_of_the_readme_goes_somewhere():
    texts = {
        f"{folder}/{page}": text
        for page, text in CHAPTERS.items()
        for folder in ("notebooks", "solutions")
    }
    files = {target: "" for target in links(README) if (ROOT / target).exists()}
    assert list(broken("README.md", README, files | texts | {"README.md": README})) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_linked_page_is_in_both_folders(page):
    for folder in ("notebooks", "solutions"):
        assert (ROOT / folder / page).is_file()


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_chapter_and_appendix_is_linked_from_another_page(page):
    others = [text for other, text in CHAPTERS.items() if other != page]
    targets = [target.partition("#")[0] for text in [README, *others] for target in links(text)]
    assert any(Path(target).name == page for target in targets)


def test_jupyterlab_calls_the_headings_what_we_call_them_and_goes_there(tmp_path):
    """A first click opens the other notebook at its top; once it is open, one goes to the place."""
    pytest.importorskip("playwright", reason="needs playwright: pip install '.[dev]'")
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium: apt install chromium")
    from browser import browser_page, lab, show

    odd = "# Two `W_E` and *one* [link](https://a.org): keys, & 'more' (x)? 100"
    lines = [f"## {head}" for text in CHAPTERS.values() for head in HEADING.findall(text)]
    plain = "\n\n".join(line for line in [odd, *lines] if "$" not in line)
    goal = anchors(plain)[-2]
    cells = [new_markdown_cell(plain), new_markdown_cell("filler\n\n" * 99)]
    target = new_notebook(cells=cells, metadata=authoring.METADATA)
    source = new_markdown_cell(f"# First\n\n[there](target.ipynb#{goal})")
    path = tmp_path / "first.ipynb"
    nbformat.write(new_notebook(cells=[source], metadata=authoring.METADATA), path)
    with lab(path) as address, browser_page() as page:
        show(page, address)
        page.evaluate(
            "content => jupyterapp.serviceManager.contents.save('target.ipynb', "
            "{type: 'notebook', format: 'json', content})",
            target,
        )
        page.get_by_role("link", name="there").click()
        shown = page.locator("[data-jupyter-id]:visible")
        shown.nth(1).wait_for()
        names = [one.get_attribute("data-jupyter-id") for one in shown.all()]
        assert names == [heading.replace(" ", "-") for heading in headings(plain)]
        for _ in range(6):  # on a busy machine the place moves while cells are still drawn
            page.locator(".lm-TabBar-tabLabel", has_text="first.ipynb").click()
            page.get_by_role("link", name="there").click()
            page.wait_for_timeout(2000)
            tops = page.evaluate(
                "goal => [...document.querySelectorAll(`[data-jupyter-id]`)]"
                ".filter(one => one.dataset.jupyterId === goal)"
                ".map(one => one.getBoundingClientRect().top)",
                goal,
            )
            if any(0 < top < 200 for top in tops):
                break
        assert any(0 < top < 200 for top in tops), tops


# The guard itself

PAGES = {
    "a.ipynb": "# One\n\n## Exercise 1.1: `W_E` and *its* inverse, or not?\n\n## A ⊗ W\n\n## Twice",
    "b.ipynb": "# Two\n\n```\n# in a fence\n```\n\n## Twice\n\n## Twice\n\n## Of $x$",
}


@pytest.mark.parametrize(
    "text",
    [
        "[a](a.ipynb), [two\nlines](b.ipynb#Two), [here](#Twice) and <a href='a.ipynb#One'>so</a>",
        "[b](a.ipynb#Exercise-1.1:-W_E-and-its-inverse,-or-not?)",
        "[out](https://a.org/b.ipynb#no) [mail](mailto:a@b.org) and code: `f[x](y)`",
    ],
)
def test_a_link_that_goes_somewhere_is_let_through(text):
    assert list(broken("a.ipynb", text, PAGES)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[c](c.ipynb)", "there is no c.ipynb"),
        ("[c](../notebooks/a.ipynb)", "there is no ../notebooks/a.ipynb"),
        ("<a href='c.ipynb'>c</a>", "there is no c.ipynb"),
        ("[two\nlines](c.ipynb)", "there is no c.ipynb"),
        ("[a](a.ipynb#one)", "0 headings"),
        ("[a](a.ipynb#Exercise-1.1)", "['Exercise-1.1:-W_E-and-its-inverse,-or-not?']"),
        ("[a](#Thrice)", "0 headings"),
        ("[b](b.ipynb#Twice)", "2 headings"),
        ("[b](b.ipynb#in-a-fence)", "0 headings"),
        ("[a](a.ipynb#A-⊗-W)", "0 headings"),
        ("[b](b.ipynb#Of-$x$)", "0 headings"),
        ("[b](b.ipynb#Two-(x))", "0 headings"),
        ('[c](c.ipynb "with a title")', "there is no c.ipynb"),
    ],
)
def test_a_link_that_goes_nowhere_is_found(text, told):
    pages = PAGES | {"b.ipynb": FENCE.sub("", PAGES["b.ipynb"])}
    (problem,) = broken("a.ipynb", text, pages)
    assert told in problem
