"""The cards in a real browser: readable in every theme and width, by keyboard, and by ear."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytest.importorskip("playwright", reason="the look is not tested: pip install '.[dev]'")
if shutil.which("chromium") is None:
    pytest.skip("the look is not tested: apt install chromium", allow_module_level=True)

from browser import HEIGHT, browser_page, lab, show
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect

from circuitbook.exercises import check, hint, progress, quiz, solution
from circuitbook.exercises.cards import LOOKS, Card
from circuitbook.exercises.engine import chapters

CARDS = ".jp-RenderedHTMLCommon > div[style*='max-width']"
WIDE, NARROW = 1200, 420
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
# For each card: its title, and the least contrast of its text and of what is drawn in it. A colour
# that is not opaque is laid over what is behind it, down to the page, as a browser does.
MEASURE = """cards => {
    const LOOK = ["color", "backgroundColor", "border", "borderLeft", "borderRadius", "padding",
        "margin", "display", "font", "flex", "gap", "whiteSpace", "wordBreak", "overflowWrap",
        "overflow", "cursor", "outlineColor", "maxWidth", "width", "maxHeight", "height"];
    const parts = colour => {
        const numbers = colour.match(/[0-9.]+/g).map(Number);
        return numbers.length < 4 ? [...numbers, 1] : numbers;
    };
    const over = (front, back) => {
        const [r, g, b, a] = parts(front);
        return [r, g, b].map((channel, i) => a * channel + (1 - a) * back[i]);
    };
    const behind = element => element === null ? [255, 255, 255]
        : over(getComputedStyle(element).backgroundColor, behind(element.parentElement));
    const luminance = colour => colour
        .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = (front, back) => {
        const [low, high] = [front, back].map(luminance).sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    return cards.map(card => {
        card.querySelectorAll("details").forEach(details => { details.open = true; });
        const all = [card, ...card.querySelectorAll("*")];
        const texts = all.filter(element => [...element.childNodes]
            .some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()));
        const drawn = all.filter(element => element.tagName === "SPAN" && !element.textContent);
        const back = behind(card);
        const style = element => getComputedStyle(element);
        return {
            title: card.firstElementChild.textContent,
            text: Math.min(...texts.map(e => contrast(over(style(e).color, behind(e)), behind(e)))),
            drawn: Math.min(
                contrast(over(style(card).borderLeftColor, back), back),
                contrast(behind(card.querySelector("span")), back),
                ...drawn.map(e => contrast(over(style(e).borderLeftColor, back), back)),
                ...[...card.querySelectorAll("summary")]
                    .map(e => contrast(over(style(e).outlineColor, back), back)),
            ),
            sticks_out: Math.max(...all.map(e => e.getBoundingClientRect().right))
                - card.parentElement.getBoundingClientRect().right,
            styles: all.map(e => LOOK.map(name => style(e)[name])),
        };
    });
}"""


@pytest.fixture(scope="module")
def gallery() -> list[str]:
    """A card of each status, as check, hint, solution, quiz and progress make them."""

    def not_yet(x, direction):
        """Nothing here."""

    def breaks(x, direction):
        print("so far")
        raise ValueError("it does not fit")

    first = chapters()[0].exercises[0]
    sizes = "So `torch.einsum('batch pos head d_head, head d_head d_model')` " * 2
    made = [
        solution(first.id),
        check(first.id, not_yet).card,
        check(first.id, first.mistakes[0]).card,
        check(first.id, breaks).card,
        Card("timeout", "0.1 lengths: timeout", (sizes, "a" * 200), "x = 1" * 100),
        hint(first.id),
        solution(first.id),
        check(first.id, first.answer).card,
        quiz("0-a"),
        quiz("0-a", "a"),
        quiz("0-a", "c"),
        quiz("0-b"),
        quiz("0-b", 48.6),
        quiz("0-a"),
        progress().card,
        progress(1).card,
        progress().reset(),
    ]
    assert {card.status for card in made} == set(LOOKS)
    made += [Card(status, "A link", ("It is at https://pytorch.org/docs.",)) for status in LOOKS]
    return [card._repr_html_() for card in made]


@pytest.fixture(scope="module")
def notebook(gallery: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored cards, which nobody has signed, and a cell that shows them again when it is run."""
    stored = [new_output("display_data", {"text/html": page}) for page in gallery]
    source = f"from IPython.display import HTML, display\nfor page in {gallery}:\n    "
    cells = [
        new_markdown_cell("# Cards"),
        new_code_cell("stored", outputs=stored),
        new_code_cell(source + "display(HTML(page))"),
    ]
    path = tmp_path_factory.mktemp("look") / "cards.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


@pytest.fixture(scope="module", params=["Light", "Dark"])
def theme(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(theme: str, notebook: Path, gallery: list[str]) -> Iterator[Page]:
    """The notebook in JupyterLab: its first cards are not trusted, the second ones have run."""
    with lab(notebook, f"JupyterLab {theme}") as address, browser_page() as page:
        show(page, address)
        page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        page.locator(".jp-CodeCell").last.click()
        page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        page.locator(CARDS).nth(2 * len(gallery) - 1).wait_for()
        yield page


@pytest.fixture(scope="module")
def wide(page: Page) -> list[dict]:
    return measured(page, WIDE)


@pytest.fixture(scope="module")
def narrow(page: Page) -> list[dict]:
    return measured(page, NARROW)


def measured(page: Page, width: int) -> list[dict]:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.wait_for_timeout(1000)
    return page.locator(CARDS).evaluate_all(MEASURE)


def is_readable(cards: list[dict]) -> bool:
    for card in cards:
        print(f"{card['title'][:60]:60} text {card['text']:5.2f}   drawn {card['drawn']:5.2f}")
    return min(card["text"] for card in cards) >= 4.5 and min(c["drawn"] for c in cards) >= 3


def test_text_and_what_is_drawn_stand_out(wide: list[dict], gallery: list[str]):
    assert len(wide) == 2 * len(gallery)
    assert is_readable(wide)


def test_a_card_keeps_within_its_place(wide: list[dict], narrow: list[dict]):
    assert len(wide) == len(narrow)
    assert max(card["sticks_out"] for card in (*wide, *narrow)) <= 0


def test_a_card_that_is_not_trusted_looks_the_same(
    page: Page, wide: list[dict], gallery: list[str]
):
    roles = page.locator(CARDS).evaluate_all("cards => cards.map(card => card.role)")
    assert roles == [None] * len(gallery) + ["status"] * len(gallery)
    for before, after in zip(wide[: len(gallery)], wide[len(gallery) :], strict=True):
        assert before["styles"] == after["styles"], before["title"]


def test_folds_are_opened_by_keyboard_and_show_where_one_is(page: Page):
    fold = page.locator("details").last
    fold.evaluate("details => { details.open = false; }")
    page.locator(".jp-CodeCell .jp-InputPrompt").last.click()
    for _ in range(30):
        page.keyboard.press("Tab")
        if fold.evaluate("d => document.activeElement === d.querySelector('summary')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "auto"
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("open", "")
    page.keyboard.press("Space")
    expect(fold).not_to_have_attribute("open", "")


def test_what_is_heard_are_words(page: Page, gallery: list[str]):
    """Icons and boxes are silent, and a card says its status when it comes."""
    for card in page.locator(CARDS).all()[len(gallery) :]:
        heard = card.aria_snapshot()
        assert heard.startswith("- status")
        assert not set(heard) & set("→○■◧□●◐"), heard
    assert "A link" in heard and "https://pytorch.org/docs" in heard


def test_an_exported_page_needs_no_script(
    page: Page, theme: str, notebook: Path, gallery: list[str]
):
    text, _ = HTMLExporter(theme=theme.lower()).from_filename(str(notebook))
    path = notebook.with_name(f"{theme}.html")
    path.write_text(text, encoding="utf-8")
    context = page.context.browser.new_context(java_script_enabled=False, offline=True)
    exported = context.new_page()
    exported.goto(path.as_uri())
    unfolded = exported.locator("details div").first
    assert not unfolded.is_visible()
    exported.locator("summary").first.click()
    assert unfolded.is_visible()
    for width in (WIDE, NARROW):
        cards = measured(exported, width)
        assert len(cards) == len(gallery) and is_readable(cards)
        assert max(card["sticks_out"] for card in cards) <= 0
    context.close()
