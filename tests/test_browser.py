"""What a reader meets in a real JupyterLab: the first notebook, its title, a check that answers."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import pytest

pytest.importorskip("playwright", reason="the browser test needs playwright: pip install '.[dev]'")
if shutil.which("chromium") is None:
    pytest.skip("the browser test needs chromium: apt install chromium", allow_module_level=True)

from browser import browser_page, lab, show

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def test_a_reader_opens_the_first_notebook_runs_it_and_a_check_answers():
    notebook = min(NOTEBOOKS.glob("*.ipynb"))
    cells = nbformat.read(notebook, as_version=4).cells
    title = cells[0].source.splitlines()[0].lstrip("# ")
    first_check = next(
        place for place, cell in enumerate(cells) if re.search(r"^check\(", cell.source, re.M)
    )
    hosts = set()
    with lab(notebook) as address, browser_page() as page:
        page.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
        show(page, address)
        assert page.locator(".jp-RenderedMarkdown h1").first.inner_text().startswith(title)
        page.locator(".jp-Cell").first.click()
        for _ in range(first_check + 1):  # as Shift+Enter does, but each waits for the one before
            page.evaluate("jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
        page.locator(".jp-OutputArea-output", has_text="not started").first.wait_for()
        assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
        assert page.get_by_text("official Jupyter news").count() == 0
    assert hosts - {None} == {"127.0.0.1"}
