"""From a chapter's source, `book/NN_topic.py`, to its notebooks in `notebooks/` and `solutions/`.

A chapter is percent-format text. Between `### BEGIN SOLUTION` and `### END SOLUTION` stands what
only the solution shows; the learner sees `...  # your code here` there, or `text` where the first
marker is `### BEGIN SOLUTION: text`. A whole cell tagged `solution-only` or `learner-only` stands
in that notebook alone. Cells, ids and metadata follow from the source alone, so the same book makes
the same bytes; only the solution's outputs come from a run, in a fresh kernel whose surroundings
are fixed.
"""

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

STUB = "...  # your code here"
LEARNER_ONLY, SOLUTION_ONLY = "learner-only", "solution-only"  # tags of whole cells
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# One chromium for a whole run: 0.2 s a figure instead of 3. No mathjax, because kaleido's comes
# from a CDN; no headers, because plotly warns that a running server ignores them.
DRAW_PICTURES = (
    "import kaleido, plotly.io; kaleido.start_sync_server(mathjax=False); "
    "plotly.io.defaults.headers = None; del kaleido, plotly"
)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_SECONDS = 600  # longer than this, and a cell is taken to hang
FIRST_LINES = 6  # of a failing cell's source, shown in the error

CELL = re.compile(r"# %%")
MARKDOWN_CELL = re.compile(r"# %%.*\[(markdown|md)\]")
MARKER = re.compile(r"(?P<indent>[ \t]*)### (?P<edge>BEGIN|END) SOLUTION(: (?P<text>\S.*?))?\s*")
NEARLY_A_MARKER = re.compile(r"#.*\b(begin|end)[ _-]*solution\b", re.IGNORECASE)
JUPYTEXT_METADATA = (  # how the text was laid out, which is of no use in a notebook
    "cell_marker",
    "lines_to_end_of_cell_marker",
    "lines_to_next_cell",
    "noskipline",
    "skipline",
)


class ChapterError(RuntimeError):
    """A chapter that does not run: which cell, its first lines, and the error."""


# Two notebooks from one source


def learner_notebook(book_path: Path) -> NotebookNode:
    """What a learner opens: every solution region replaced by its stub, no outputs.

    Raises ValueError, with file and line, where the markers of a solution are malformed.
    """
    return notebook(book_path, learner_source, SOLUTION_ONLY)


def solution_notebook(book_path: Path) -> NotebookNode:
    """The same cells under the same ids with the answers in place, not yet executed.

    Raises ValueError, with file and line, where the markers of a solution are malformed.
    """
    return notebook(book_path, solution_source, LEARNER_ONLY)


def notebook(book_path: Path, source_of: Callable[[str], str], left_out: str) -> NotebookNode:
    """The book's cells without those tagged `left_out`, each with the source `source_of` makes."""
    text = book_path.read_text(encoding="utf-8")
    if malformed := malformed_marker(text):
        line, why = malformed
        raise ValueError(f"{book_path}:{line}: {why}")
    chapter, twins, cells = chapter_number(book_path), Counter(), []
    for cell in jupytext.reads(text, fmt="py:percent").cells:
        if not cell.source.strip():
            after = cells[-1].source.splitlines()[0] if cells else "the beginning"
            raise ValueError(f"{book_path}: an empty cell after {after!r}; fill it or delete it.")
        metadata = {k: v for k, v in cell.metadata.items() if k not in JUPYTEXT_METADATA}
        for tag in metadata.get("tags", ()):
            if "only" in tag and tag not in (LEARNER_ONLY, SOLUTION_ONLY):
                raise ValueError(
                    f"{book_path}: the tag {tag!r}; write {LEARNER_ONLY} or {SOLUTION_ONLY}."
                )
        if cell.cell_type == "markdown":
            identity = f"{chapter}\nmarkdown\n{cell.source}"
            new_cell, source = new_markdown_cell, cell.source
        else:
            identity = f"{chapter}\ncode\n{learner_source(cell.source)}"
            new_cell, source = new_code_cell, source_of(cell.source)
        name = hashlib.sha256(f"{identity}\n{twins[identity]}".encode()).hexdigest()[:12]
        twins[identity] += 1
        if left_out not in metadata.get("tags", ()):
            cells.append(new_cell(source, id=name, metadata=metadata))
    return new_notebook(cells=cells, metadata=nbformat.from_dict(METADATA))


def chapter_number(book_path: Path) -> str:
    """What the name of a chapter's file begins with: "01", "02", ..."""
    return book_path.stem.split("_")[0]


def learner_source(source: str) -> str:
    """A code cell with each solution region replaced by its stub, at the marker's indent."""
    lines, inside = [], False
    for line in source.splitlines():
        marker = MARKER.fullmatch(line)
        if marker is None and not inside:
            lines.append(line)
        elif marker is not None:
            inside = marker["edge"] == "BEGIN"
            if inside:
                lines.append(marker["indent"] + (marker["text"] or STUB))
    return "\n".join(lines)


def solution_source(source: str) -> str:
    """A code cell without its markers."""
    return "\n".join(line for line in source.splitlines() if not MARKER.fullmatch(line))


def malformed_marker(text: str) -> tuple[int, str] | None:
    """The first line whose marker does not open or close a region of one code cell, and why."""
    opened, empty, markdown = 0, True, False
    for number, line in enumerate([*text.splitlines(), "# %% the end"], start=1):
        marker = MARKER.fullmatch(line)
        if CELL.match(line):
            if opened:
                return opened, "its cell ends without ### END SOLUTION; add it."
            markdown = bool(MARKDOWN_CELL.match(line))
        elif (marker and markdown) or (not marker and NEARLY_A_MARKER.search(line)):
            place = "in a markdown cell" if markdown else "misspelt"
            return number, (
                f"a solution marker {place}: {line.strip()!r}; write ### BEGIN SOLUTION or "
                "### END SOLUTION on a line of its own in a code cell."
            )
        elif not marker:
            empty = empty and not line.strip()
        elif marker["edge"] == "BEGIN":
            if opened:
                return number, f"a solution inside the one of line {opened}; close that one first."
            opened, empty = number, True
        else:
            if not opened:
                return number, "### END SOLUTION without ### BEGIN SOLUTION; add it or delete this."
            if marker["text"]:
                return number, "### END SOLUTION takes no text; put it after ### BEGIN SOLUTION."
            if empty:
                return number, "this solution holds no code; write it or delete both markers."
            opened = 0
    return None


def notebook_text(contents: NotebookNode) -> str:
    """A notebook as it stands in its file."""
    nbformat.validate(contents)
    return nbformat.writes(contents) + "\n"


# Running a notebook


def run_environment(home: Path | str, strict: bool, pictures: bool) -> dict[str, str]:
    """The environment of a run: nothing of the author's settings, progress or profile gets in.

    `strict` makes a failed check raise. `pictures` stores a PNG beside each plotly figure.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CIRCUITBOOK_")}
    return environment | {
        "CIRCUITBOOK_HOME": str(home),
        "CIRCUITBOOK_MODEL": "pocket",  # every machine has it
        "CIRCUITBOOK_STRICT": "1" if strict else "0",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(home),
        "OMP_NUM_THREADS": "1",  # two on busy cores wait for each other: 7 times slower
        "PLOTLY_RENDERER": "plotly_mimetype+png" if pictures else "plotly_mimetype",
        "PYTHONHASHSEED": "0",
    }


def executed(
    contents: NotebookNode, folder: Path, strict: bool = True, pictures: bool = True
) -> NotebookNode:
    """The notebook with the outputs of one run, top to bottom, in a fresh kernel inside `folder`.

    Raises ChapterError at the first cell that fails, hangs or kills the kernel.
    """
    running: list[NotebookNode] = []
    arguments = ["--IPKernelApp.log_level=ERROR"]
    if pictures:
        arguments.append(f"--IPKernelApp.exec_lines={DRAW_PICTURES}")
    client = NotebookClient(
        nbformat.from_dict(contents),
        coalesce_streams=True,
        extra_arguments=arguments,
        kernel_name="python3",
        on_cell_execute=lambda cell, cell_index: running.append(cell),
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        timeout=CELL_SECONDS,
    )
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        try:
            result = client.execute(env=run_environment(home, strict, pictures))
        except (CellExecutionError, CellControlSignal, DeadKernelError) as error:
            total = sum(cell.cell_type == "code" for cell in contents.cells)
            lines = running[-1].source.splitlines() if running else ["(before the first cell)"]
            shown = lines[:FIRST_LINES] + ["..."] * (len(lines) > FIRST_LINES)
            raise ChapterError(
                f"code cell {len(running)} of {total} failed:\n"
                + "".join(f"    {line}\n" for line in shown)
                + what_happened(error)
            ) from None
    return without_volatile(result)


def what_happened(error: Exception) -> str:
    """One line for an error of a cell or of its kernel."""
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return "its kernel died (out of memory?)."
    return f"it took longer than {CELL_SECONDS} seconds."


def without_volatile(contents: NotebookNode) -> NotebookNode:
    """The notebook without what differs from run to run: widget ids, the kernel's own metadata."""
    contents.metadata = nbformat.from_dict(METADATA)
    for cell in contents.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return contents


def without_outputs(contents: NotebookNode) -> NotebookNode:
    """The notebook as it was before it ran."""
    for cell in contents.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return contents


# The folders of the book


def chapters(root: Path, numbers: Sequence[str] = ()) -> list[Path]:
    """The sources of the chapters named ("1" or "01"), or of all, in the book's order.

    Raises ValueError where there is no book, no such chapter in it, or two of one number.
    """
    sources: dict[str, Path] = {}
    for path in sorted((root / "book").glob("*.py")):
        other = sources.setdefault(chapter_number(path), path)
        if other != path:
            raise ValueError(f"{other.name} and {path.name} have one number; rename one of them.")
    if not sources:
        raise ValueError(f"no chapter in {root / 'book'}; run this in a checkout of circuitbook.")
    wanted = {number if number in sources else number.zfill(2) for number in numbers}
    if unknown := sorted(wanted - sources.keys()):
        raise ValueError(f"no chapter {', '.join(unknown)}; the book has {', '.join(sources)}.")
    return [path for number, path in sources.items() if number in (wanted or sources)]


def check_pictures() -> None:
    """Draw one empty figure, and raise ValueError with the cure where that fails."""
    try:
        import kaleido

        kaleido.calc_fig_sync({"data": []}, kopts={"mathjax": False})
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise ValueError(
            "stored pictures need kaleido and chromium: `pip install kaleido` and "
            f"`apt install chromium` (or set BROWSER_PATH), then build again ({reason})"
        ) from None


def built(book_path: Path) -> Mapping[Path, str]:
    """Both notebooks of a chapter, by the file they belong in; nothing is written.

    Raises ChapterError where a cell of the solution fails, ValueError where a marker is malformed.
    """
    root, name = book_path.parent.parent, f"{book_path.stem}.ipynb"
    learner, solution = learner_notebook(book_path), solution_notebook(book_path)
    with TemporaryDirectory() as folder:  # beside itself, for chapters that read their own prose
        Path(folder, name).write_text(notebook_text(solution), encoding="utf-8")
        ran = executed(solution, Path(folder))
    return {
        root / "notebooks" / name: notebook_text(learner),
        root / "solutions" / name: notebook_text(ran),
    }


def write_whole(files: Mapping[Path, str]) -> None:
    """Write files so that each is the old one or the new one, never half of it."""
    partial = {path: path.with_name(f"{path.name}.partial") for path in files}
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        partial[path].write_text(text, encoding="utf-8", newline="\n")
    for path in files:
        partial[path].replace(path)


def build(root: Path, numbers: Sequence[str] = ()) -> None:
    """Make the notebooks of the chapters named, or of all; stop at the first that fails."""
    sources = chapters(root, numbers)
    check_pictures()
    for source in sources:
        print(f"{source.stem}: running", file=sys.stderr)
        try:
            files = built(source)
        except ChapterError as error:
            raise ChapterError(f"{source.stem}, {error}\nNothing was written for it.") from None
        write_whole(files)
        for path in files:
            print(f"wrote {path.relative_to(root)}")


def stale(root: Path, numbers: Sequence[str] = ()) -> Iterator[str]:
    """One line for each generated file that the book would no longer make, with what mends it.

    A solution's outputs are not looked at: nbval compares those.
    """
    sources = chapters(root, numbers)
    for source in sources:
        for folder, made in (("notebooks", learner_notebook), ("solutions", solution_notebook)):
            file = Path(folder, f"{source.stem}.ipynb")
            if what := what_is_stale(root / file, notebook_text(made(source)), folder):
                yield f"{file} {what}: run `circuitbook build {chapter_number(source)}`"
    if not numbers:
        for folder in ("notebooks", "solutions"):
            for path in sorted((root / folder).glob("*.ipynb")):
                if path.stem not in {source.stem for source in sources}:
                    yield f"{folder}/{path.name} has no book/{path.stem}.py: delete it"


def what_is_stale(path: Path, wanted: str, folder: str) -> str | None:
    """What a generated file lacks, in words; None where it is fresh."""
    if not path.exists():
        return "is missing"
    text = path.read_bytes().decode("utf-8", errors="replace")
    if folder == "solutions":
        try:
            text = notebook_text(without_outputs(nbformat.reads(text, as_version=4)))
        except Exception:
            return "cannot be read"
    return None if text == wanted else "is not what the book makes"
