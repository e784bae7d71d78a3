"""Every chapter: fresh, run in order, self-contained, no answer given away, no false pass.

Each guard takes notebooks and yields what is wrong with them, so that it is tried on the real
chapters and, below them, on chapters made to be wrong.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from circuitbook import authoring

ROOT = Path(__file__).parent.parent
BOOK = sorted((ROOT / "book").glob("*.py"))
LARGEST = 2_000_000  # bytes of a notebook
SPOILER = 20  # characters of a solution's line that make it one

LINK_OUT = re.compile(
    r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//"
    r"|\bcdn\.|\bunpkg\.com|\bcdnjs\.|@import\s+url"
)
MACHINE = re.compile(r"(?<![\w/.])/(?:home|root|tmp|Users)/|\bC:\\|\b0x[0-9a-f]{6,}\b")
BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")
IGNORED = re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE_)", re.IGNORECASE)
HEADING = re.compile(r"### Exercise (\d+\.\d+): (.+)")


@dataclass(frozen=True)
class Chapter:
    """A chapter's source and the files made from it."""

    source: Path

    @property
    def number(self) -> str:
        return authoring.chapter_number(self.source)

    @property
    def files(self) -> tuple[Path, Path]:
        return tuple(
            ROOT / folder / f"{self.source.stem}.ipynb" for folder in ("notebooks", "solutions")
        )

    @cached_property
    def learner(self) -> NotebookNode:
        return nbformat.read(self.files[0], as_version=4)

    @cached_property
    def solution(self) -> NotebookNode:
        return nbformat.read(self.files[1], as_version=4)

    @cached_property
    def exercises(self) -> tuple:
        try:
            return importlib.import_module(f"circuitbook.exercises.ch{self.number}").EXERCISES
        except ModuleNotFoundError:
            return ()

    @cached_property
    def blank_run(self) -> NotebookNode:
        """The learner's notebook run from top to bottom, and `progress()` after it."""
        notebook = authoring.learner_notebook(self.source)
        asked = "from circuitbook.exercises import progress\n\nprogress()"
        notebook.cells.append(new_code_cell(asked, id="asked-at-the-end"))
        return authoring.executed(notebook, ROOT / "notebooks", strict=False, pictures=False)


@pytest.fixture(scope="module", params=BOOK, ids=lambda path: path.stem)
def chapter(request) -> Chapter:
    return Chapter(request.param)


# The guards


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(contents) -> Iterator[str]:
    """Every string in an output, pictures left out."""
    if isinstance(contents, str):
        yield BASE64.sub("", contents)
    elif isinstance(contents, dict):
        for key, part in contents.items():
            if not key.startswith("image/") and key != "bdata":
                yield from texts(part)
    elif isinstance(contents, list):
        for part in contents:
            yield from texts(part)


def shown(cell: NotebookNode) -> str:
    """What a code cell shows, as plain text."""
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )


def checks(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that check an answer."""
    return [cell for cell in code_cells(notebook) if re.search(r"\bcheck\(", cell.source)]


def not_run_in_order(notebook: NotebookNode) -> Iterator[str]:
    """nbval does not compare a cell without a count, and says nothing."""
    for wanted, cell in enumerate(code_cells(notebook), start=1):
        if cell.execution_count != wanted:
            yield f"code cell {wanted} has the count {cell.execution_count}: {cell.source[:60]!r}"


def bad_outputs(notebook: NotebookNode) -> Iterator[str]:
    """Errors, links out, machine paths and addresses, figures that only JupyterLab can show."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"code cell {number} raised {output.ename}"
            data = output.get("data", {})
            if "application/vnd.plotly.v1+json" in data and "image/png" not in data:
                yield f"code cell {number} shows a plotly figure without a PNG"
            for text in texts(output):
                for pattern, what in ((LINK_OUT, "links to"), (MACHINE, "shows a machine's")):
                    if found := pattern.search(text):
                        around = text[max(0, found.start() - 20) : found.end() + 40]
                        yield f"code cell {number} {what} {around!r}"


def not_compared(notebook: NotebookNode) -> Iterator[str]:
    """nbval must compare nine code cells in ten."""
    cells = code_cells(notebook)
    ignored = [
        cell
        for cell in cells
        if any(tag.startswith("nbval-") for tag in cell.metadata.get("tags", ()))
        or IGNORED.search(cell.source)
    ]
    if len(ignored) * 10 > len(cells):
        yield f"nbval ignores {len(ignored)} of {len(cells)} code cells; one in ten is allowed"


def given_away(source: Path, learner: NotebookNode) -> Iterator[str]:
    """Outputs, markers and lines of a solution in what a learner opens."""
    inside, answers = False, set()
    for line in source.read_text(encoding="utf-8").splitlines():
        if marker := authoring.MARKER.fullmatch(line):
            inside = marker["edge"] == "BEGIN"
        elif inside and len(line.strip()) >= SPOILER:
            answers.add(line.strip())
    for cell in learner.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"a learner's cell was run: {cell.source[:60]!r}"
        if "SOLUTION" in cell.source:
            yield f"a learner's cell holds a marker: {cell.source[:60]!r}"
        for line in sorted(answers):
            if line in cell.source:
                yield f"a learner's cell holds a line of a solution: {line!r}"


def misplaced(exercises, learner: NotebookNode, solution: NotebookNode) -> Iterator[str]:
    """Exercises without their fixed cells: task, stub, check, hint, what you saw, answer."""
    heads = [
        (place, head[1])
        for place, cell in enumerate(learner.cells)
        if (head := HEADING.match(cell.source))
    ]
    found, wanted = [id for _, id in heads], [exercise.id for exercise in exercises]
    if found != wanted:
        yield f"the chapter has the exercises {found}, its module {wanted}"
        return
    solved = {cell.id: cell for cell in solution.cells}
    pairs = [(cell, solved.get(cell.id, cell)) for cell in learner.cells]
    ends = [*(place for place, _ in heads), len(pairs)][1:]
    for exercise, (begin, _), end in zip(exercises, heads, ends, strict=True):
        head = " ".join(learner.cells[begin].source.splitlines()[:2])
        dots = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
        for part in (f" {exercise.id}: {exercise.title}", dots, f" {exercise.minutes} min"):
            if part not in head:
                yield f"exercise {exercise.id}: {part!r} is not in its heading: {head!r}"
        place = begin + 1
        for step in ("stub", "check", "hint", "what you saw", "answer"):
            places = [i for i in range(place, end) if is_step(step, exercise.id, *pairs[i])]
            if not places:
                yield f"exercise {exercise.id}: no cell with its {step!r} after those before it"
                break
            place = places[0] + 1


def is_step(step: str, id: str, blank: NotebookNode, solved: NotebookNode) -> bool:
    """Is this cell, blank and solved, that step of exercise `id`?"""
    if step == "stub":
        return blank.cell_type == "code" and blank.source != solved.source
    if step == "what you saw":
        return blank.cell_type == "markdown" and step in blank.source.lower()
    arguments = r", \w+\)" if step == "check" else ""
    return bool(re.search(rf'\b{step}\("{re.escape(id)}"{arguments}', blank.source))


# The chapters as they are


def test_the_book_has_chapters():
    assert BOOK, f"no chapter in {ROOT / 'book'}"


def test_the_readme_links_both_notebooks_of_every_chapter(chapter):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in chapter.files:
        assert f"({path.relative_to(ROOT)})" in readme


def test_generated_notebooks_are_fresh():
    assert list(authoring.stale(ROOT)) == []


def test_every_cell_of_a_solution_ran_in_order(chapter):
    assert list(not_run_in_order(chapter.solution)) == []


def test_outputs_hold_on_any_machine_and_offline(chapter):
    assert list(bad_outputs(chapter.solution)) == []


def test_nbval_compares_nine_cells_in_ten(chapter):
    assert list(not_compared(chapter.solution)) == []


def test_a_learner_is_given_no_answer(chapter):
    assert list(given_away(chapter.source, chapter.learner)) == []


def test_every_exercise_has_its_fixed_cells(chapter):
    assert list(misplaced(chapter.exercises, chapter.learner, chapter.solution)) == []


def test_notebooks_are_small_enough_to_keep(chapter):
    for path in chapter.files:
        assert path.stat().st_size < LARGEST, path


def test_a_blank_chapter_runs_to_its_end_and_passes_nothing(chapter):
    assert list(not_run_in_order(chapter.blank_run)) == []
    for cell in checks(chapter.blank_run):
        assert ": not started" in shown(cell), cell.source
    if chapter.exercises:
        told = f"Chapter {int(chapter.number)}: 0 of {len(chapter.exercises)} exercises passed"
        assert told in shown(chapter.blank_run.cells[-1])


def test_a_solved_chapter_passes_everything(chapter):
    for cell in checks(chapter.solution):
        assert ": passed" in shown(cell), cell.source


# The guards themselves


def cell_showing(data, source="x", count=1, **metadata) -> NotebookNode:
    output = new_output("display_data", data)
    return new_code_cell(source, execution_count=count, outputs=[output], metadata=metadata)


PLOTLY = "application/vnd.plotly.v1+json"
PICTURE = "<img src='data:image/png;base64,AA/tmp/AA=='>"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"text/html": "<script src='https://cdn.plot.ly/a.js'></script>"}, "links to"),
        ({"text/html": '<img alt="x" src="http://a.org/a.png">'}, "links to"),
        ({"text/html": "<link rel=stylesheet href=//a.org/a.css>"}, "links to"),
        ({"text/html": "<style>@import url(a.css)</style>"}, "links to"),
        ({"text/plain": "saved in /home/me/a"}, "/home/me"),
        ({"text/plain": "C:\\Users\\me"}, "C:"),
        ({"text/plain": "<function f at 0x7f3a2c1b>"}, "0x7f3a2c1b"),
        ({PLOTLY: {"data": []}}, "without a PNG"),
        ({PLOTLY: {"layout": {"title": {"text": "/tmp/a"}}}, "image/png": "a"}, "/tmp/a"),
    ],
)
def test_an_output_that_holds_on_one_machine_only_is_found(data, told):
    (problem,) = bad_outputs(new_notebook(cells=[cell_showing(data)]))
    assert told in problem


@pytest.mark.parametrize(
    "data",
    [
        {"text/html": "<a href='https://arxiv.org/abs/2112.00114'>Framework</a>"},
        {"text/html": PICTURE},
        {"text/plain": "a/tmp/b 0x7f blocks.0.hook"},
        {PLOTLY: {"config": {"plotlyServerURL": "https://plot.ly"}}, "image/png": "/tmp/"},
    ],
)
def test_an_output_that_holds_everywhere_is_let_through(data):
    assert list(bad_outputs(new_notebook(cells=[cell_showing(data)]))) == []


def test_an_error_is_found_among_the_outputs():
    error = new_output("error", ename="KeyError", evalue="a", traceback=[])
    assert list(bad_outputs(new_notebook(cells=[new_code_cell("x", outputs=[error])]))) == [
        "code cell 1 raised KeyError"
    ]


@pytest.mark.parametrize("counts", [(1, None), (2, 1), (2, 3), (1, 1)])
def test_cells_that_did_not_run_in_order_are_found(counts):
    cells = [new_code_cell("x", execution_count=count) for count in counts]
    assert list(not_run_in_order(new_notebook(cells=cells)))


@pytest.mark.parametrize("how", [{"tags": ["nbval-ignore-output"]}, {"source": "# NBVAL_SKIP\nx"}])
def test_two_cells_in_ten_that_nbval_ignores_are_too_many(how):
    ignored = [cell_showing({}, **how) for _ in range(2)]
    compared = [new_code_cell("x") for _ in range(18)]
    assert list(not_compared(new_notebook(cells=ignored + compared))) == []
    assert list(not_compared(new_notebook(cells=ignored + compared[1:])))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (new_code_cell("### BEGIN SOLUTION"), "marker"),
        (new_code_cell("x", execution_count=1), "was run"),
        (new_markdown_cell("write `total = first + second`"), "a line of a solution"),
    ],
)
def test_an_answer_given_away_is_found(cell, told, tmp_path):
    source = tmp_path / "01_first.py"
    source.write_text("# %%\n### BEGIN SOLUTION\ntotal = first + second\nx = 1\n### END SOLUTION\n")
    assert list(given_away(source, authoring.learner_notebook(source))) == []
    (problem,) = given_away(source, new_notebook(cells=[cell, new_code_cell("x = 1")]))
    assert told in problem


@dataclass(frozen=True)
class SmallExercise:
    id: str
    title: str
    difficulty: int
    minutes: int


EXERCISES = (SmallExercise("1.1", "twice", 1, 5), SmallExercise("1.10", "thrice", 3, 20))
TASK = """\
# %% [markdown]
# ### Exercise {0}: {1}
# {2} {3} min. Write it.
# %%
def f(x):
    ### BEGIN SOLUTION
    return x
    ### END SOLUTION
# %%
check("{0}", f)
# %%
hint("{0}")
# %% [markdown]
# **What you saw.** It is so.
# %%
f = answer("{0}")
"""
TASKS = TASK.format("1.1", "twice", "●○○", 5) + TASK.format("1.10", "thrice", "●●●", 20)


def problems_of(text: str, folder: Path) -> list[str]:
    source = folder / "01_first.py"
    source.write_text(text)
    return list(
        misplaced(
            EXERCISES, authoring.learner_notebook(source), authoring.solution_notebook(source)
        )
    )


def test_exercises_in_their_fixed_shape_are_let_through(tmp_path):
    assert problems_of(TASKS, tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Exercise 1.10: ", "Exercise 1.2: ", "['1.1', '1.2']"),
        (": twice", ": double", "' 1.1: twice' is not in its heading"),
        ("●●● 20", "●●○ 20", "'●●●' is not in its heading"),
        ("20 min", "25 min", "' 20 min' is not in its heading"),
        ("    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION", "    return x", "'stub'"),
        ('check("1.1", f)', 'check("1.10", f)', "1.1: no cell with its 'check'"),
        ('check("1.1", f)', 'check("1.1")', "1.1: no cell with its 'check'"),
        ('hint("1.1")', "x", "1.1: no cell with its 'hint'"),
        ("What you saw", "So", "1.1: no cell with its 'what you saw'"),
        ('answer("1.10")', "x", "1.10: no cell with its 'answer'"),
        (
            'check("1.1", f)\n# %%\nhint("1.1")',
            'hint("1.1")\n# %%\ncheck("1.1", f)',
            "1.1: no cell with its 'hint'",
        ),
    ],
)
def test_an_exercise_out_of_shape_is_found(old, new, told, tmp_path):
    assert told in "\n".join(problems_of(TASKS.replace(old, new), tmp_path))
