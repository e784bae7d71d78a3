"""`python tests/check_picture.py` makes docs/check.png, the README's picture of a check, again."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from browser import browser_page, lab, show

ROOT = Path(__file__).parent.parent
WRONG = """def causal_mask(
    scores: Float[Tensor, "batch head q_pos k_pos"],
) -> Float[Tensor, "batch head q_pos k_pos"]:
    later = torch.ones_like(scores).triu(diagonal=0)
    return scores.masked_fill(later == 1, -torch.inf)"""


def notebook_with_the_mistake() -> nbformat.NotebookNode:
    """Chapter 1 up to its exercise 1.5, nothing but what that needs, answered wrongly."""
    chapter = nbformat.read(ROOT / "notebooks/01_build_a_transformer.ipynb", as_version=4)
    place = next(i for i, c in enumerate(chapter.cells) if 'check("1.5"' in c.source)
    imports = next(c for c in chapter.cells if c.cell_type == "code")
    title, function, check = chapter.cells[place - 2 : place + 1]
    function.source = WRONG
    chapter.cells = [chapter.cells[0], imports, title, function, check]
    return chapter


def main() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "check.ipynb"
        nbformat.write(notebook_with_the_mistake(), path)
        with lab(path) as address, browser_page() as page:
            show(page, address)
            page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
            page.set_viewport_size({"width": 960, "height": 2500})
            page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
            card = page.locator(".jp-RenderedHTMLCommon > div[role=status]").last
            card.wait_for()
            page.locator(".jp-RenderedMarkdown h1").click()  # no cell of the picture is selected
            page.wait_for_timeout(2000)
            first, last = (
                page.locator(".jp-RenderedMarkdown h3").bounding_box(),
                card.bounding_box(),
            )
            x, y = last["x"] - 78, first["y"] - 12
            width, height = last["x"] + last["width"] + 12 - x, last["y"] + last["height"] + 12 - y
            clip = {"x": x, "y": y, "width": width, "height": height}
            page.screenshot(path=ROOT / "docs/check.png", clip=clip)


if __name__ == "__main__":
    main()
