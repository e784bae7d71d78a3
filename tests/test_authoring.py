"""A chapter's source becomes two notebooks: the same bytes each time, stubs for learners."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from circuitbook import authoring
from circuitbook.__main__ import main

CHAPTER = '''\
# %% [markdown]
# # A title
# with $x^2$ and a second line

# %%
import sys

print("first")
print("aside", file=sys.stderr)
print("second")


# %%
def double(x):
    """Twice x."""
    if x:
        ### BEGIN SOLUTION
        total = x

        total = total + x
        return total
        ### END SOLUTION


### BEGIN SOLUTION: y = 0  # a number you like
y = 21
### END SOLUTION

# %% tags=["nbval-ignore-output", "wide"]
double(y)
# %%
double(y)
'''


@pytest.fixture
def write_chapter(tmp_path):
    """Writes a chapter into a small book and returns its path."""

    def write(text: str = CHAPTER, name: str = "01_first") -> Path:
        path = tmp_path / "book" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def without_pictures(monkeypatch):
    """These chapters draw nothing, so no chromium is started for them."""
    run = authoring.executed
    monkeypatch.setattr(authoring, "check_pictures", lambda: None)
    monkeypatch.setattr(
        authoring, "executed", lambda contents, folder: run(contents, folder, pictures=False)
    )


@pytest.fixture(scope="module")
def chapter_built(tmp_path_factory):
    """A folder with the chapter above, built once."""
    root = tmp_path_factory.mktemp("built")
    (root / "book").mkdir()
    (root / "book" / "01_first.py").write_text(CHAPTER)
    (root / "solutions").mkdir()
    solution = authoring.executed(
        authoring.solution_notebook(root / "book" / "01_first.py"), root, pictures=False
    )
    learner = authoring.learner_notebook(root / "book" / "01_first.py")
    authoring.write_whole(
        {
            root / "notebooks" / "01_first.ipynb": authoring.notebook_text(learner),
            root / "solutions" / "01_first.ipynb": authoring.notebook_text(solution),
        }
    )
    return root


def ids(notebook) -> list[str]:
    return [cell.id for cell in notebook.cells]


# The two notebooks


def test_a_learner_sees_stubs_at_the_solutions_indent_and_the_text_after_the_marker(write_chapter):
    learner = authoring.learner_notebook(write_chapter())
    assert learner.cells[2].source == (
        'def double(x):\n    """Twice x."""\n    if x:\n        ...  # your code here\n\n\n'
        "y = 0  # a number you like"
    )


def test_a_solution_keeps_the_code_and_loses_the_markers(write_chapter):
    solution = authoring.solution_notebook(write_chapter())
    assert solution.cells[2].source == (
        'def double(x):\n    """Twice x."""\n    if x:\n        total = x\n\n'
        "        total = total + x\n        return total\n\n\ny = 21"
    )


def test_markdown_text_and_tags_arrive_and_nothing_else(write_chapter):
    path = write_chapter()
    for notebook in (authoring.learner_notebook(path), authoring.solution_notebook(path)):
        assert notebook.cells[0].source == "# A title\nwith $x^2$ and a second line"
        assert [cell.metadata for cell in notebook.cells] == [
            {},
            {},
            {},
            {"tags": ["nbval-ignore-output", "wide"]},
            {},
        ]
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert all(
            cell.outputs == [] and cell.execution_count is None for cell in notebook.cells[1:]
        )


def test_a_cell_of_one_notebook_only_stands_in_that_one_alone(write_chapter):
    def tagged(tag: str) -> str:
        return f'# %% tags=["{tag}", "wide"]\nx = "{tag}"\n'

    path = write_chapter(CHAPTER + tagged("learner-only") + tagged("solution-only"))
    *shared, own = authoring.learner_notebook(path).cells
    *also_shared, other = authoring.solution_notebook(path).cells
    assert [cell.id for cell in shared] == [cell.id for cell in also_shared]
    assert (own.source, other.source) == ('x = "learner-only"', 'x = "solution-only"')
    assert own.id != other.id


@pytest.mark.parametrize("tag", ["solutions-only", "learners-only", "only-solution"])
def test_a_misspelt_tag_that_would_give_an_answer_away_is_refused(tag, write_chapter):
    path = write_chapter(CHAPTER + f'# %% tags=["{tag}"]\nx = 1\n')
    with pytest.raises(ValueError, match=f"{tag!r}.*learner-only.*solution-only"):
        authoring.learner_notebook(path)


def test_a_chapter_finds_its_own_notebook_beside_it_while_it_is_built(write_chapter):
    path = write_chapter(
        "# %% [markdown]\n# Prose.\n# %%\nimport json\n"
        "json.load(open('01_first.ipynb'))['cells'][0]['source']\n"
    )
    text = authoring.built(path)[path.parent.parent / "solutions" / "01_first.ipynb"]
    assert "['Prose.']" in text


@pytest.mark.parametrize("made", [authoring.learner_notebook, authoring.solution_notebook])
def test_two_processes_make_the_same_bytes(made, write_chapter):
    path = write_chapter()
    program = (
        "import sys; from pathlib import Path; from circuitbook import authoring; sys.stdout.write("
        f"authoring.notebook_text(authoring.{made.__name__}(Path({str(path)!r}))))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout.decode() == authoring.notebook_text(made(path))


def test_both_notebooks_name_their_cells_alike_and_no_cell_twice(write_chapter):
    path = write_chapter()
    names = ids(authoring.learner_notebook(path))
    assert names == ids(authoring.solution_notebook(path))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("place", range(5))
def test_a_cell_put_in_leaves_the_other_ids_as_they_were(place, write_chapter):
    before = ids(authoring.learner_notebook(write_chapter()))
    cells = CHAPTER.split("# %%")[1:]
    cells.insert(place, "\nprint('new')\n")
    after = ids(authoring.learner_notebook(write_chapter("".join(f"# %%{c}" for c in cells))))
    assert after[:place] + after[place + 1 :] == before


def test_another_answer_leaves_the_learner_notebook_as_it_was(write_chapter):
    learner = authoring.learner_notebook(write_chapter())
    other = write_chapter(CHAPTER.replace("total + x", "2 * x"))
    assert authoring.learner_notebook(other) == learner
    assert "2 * x" in authoring.solution_notebook(other).cells[2].source


def test_the_same_cells_in_another_chapter_have_other_ids(write_chapter):
    first, second = write_chapter(), write_chapter(name="02_second")
    assert not set(ids(authoring.learner_notebook(first))) & set(
        ids(authoring.learner_notebook(second))
    )


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("# %%\n### BEGIN SOLUTION\nx = 1\n", 2, "ends without"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n# %%\n### END SOLUTION\n", 2, "ends without"),
        ("# %%\nx = 1\n### END SOLUTION\n", 3, "without ### BEGIN"),
        (
            "# %%\n### BEGIN SOLUTION\nx = 1\n    ### BEGIN SOLUTION\n",
            4,
            "inside the one of line 4",
        ),
        ("# %%\n### BEGIN SOLUTION\n\n### END SOLUTION\n", 4, "holds no code"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION: text\n", 4, "takes no text"),
        ("# %% [markdown]\n# ### BEGIN SOLUTION\n# x\n# ### END SOLUTION\n", 2, "markdown cell"),
        ('# %% [markdown]\n"""\n### BEGIN SOLUTION\n"""\n', 3, "markdown cell"),
        ("# %%\n## BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", 2, "misspelt"),
        ("# %%\n###BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", 2, "misspelt"),
        ("# %%\n### begin solution\nx = 1\n### END SOLUTION\n", 2, "misspelt"),
        ("# %%\n### BEGIN SOLUTION\nx = 1  ### END SOLUTION\n", 3, "misspelt"),
        ("# %%\n### BEGIN_SOLUTION\nx = 1\n### END SOLUTION\n", 2, "misspelt"),
    ],
)
def test_a_malformed_marker_is_told_with_file_and_line(text, line, what, write_chapter):
    path = write_chapter("# %%\nfirst = 1\n" + text)
    for made in (authoring.learner_notebook, authoring.solution_notebook):
        with pytest.raises(ValueError, match=what) as error:
            made(path)
        assert str(error.value).startswith(f"{path}:{line + 2}: ")


def test_an_empty_cell_is_refused_because_no_run_would_count_it(write_chapter):
    with pytest.raises(ValueError, match="an empty cell after 'x = 1'"):
        authoring.learner_notebook(write_chapter("# %%\nx = 1\n# %%\n\n# %%\ny = 1\n"))


# A run


def test_a_run_counts_from_one_and_merges_what_was_printed(chapter_built):
    cells = nbformat.read(chapter_built / "solutions" / "01_first.ipynb", as_version=4).cells
    assert [cell.execution_count for cell in cells[1:]] == [1, 2, 3, 4]
    assert [(output.name, output.text) for output in cells[1].outputs] == [
        ("stdout", "first\nsecond\n"),
        ("stderr", "aside\n"),
    ]
    assert cells[3].outputs[0].data == {"text/plain": "42"}


def test_a_run_changes_nothing_but_outputs_and_counts(chapter_built):
    stored = nbformat.read(chapter_built / "solutions" / "01_first.ipynb", as_version=4)
    fresh = authoring.solution_notebook(chapter_built / "book" / "01_first.py")
    assert authoring.without_outputs(stored) == fresh


def test_a_run_knows_nothing_of_its_author(write_chapter, monkeypatch, tmp_path):
    for name in ("CIRCUITBOOK_HOME", "CIRCUITBOOK_MODEL", "PLOTLY_RENDERER", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "the author's")
    book = write_chapter(
        "# %%\nimport os\nfrom pathlib import Path\n\n"
        "assert not list(Path(os.environ['CIRCUITBOOK_HOME']).glob('*.sqlite*'))\n"
        'assert "the author\'s" not in os.environ.values()\n'
        "assert hash('circuit') == hash('circuit')\n"
        "[os.environ[n] for n in ('CIRCUITBOOK_STRICT', 'HF_HUB_OFFLINE', 'PYTHONHASHSEED')]"
    )
    ran = authoring.executed(authoring.solution_notebook(book), tmp_path, pictures=False)
    assert ran.cells[0].outputs[0].data["text/plain"] == "['1', '1', '0']"
    assert not list(tmp_path.glob("*.sqlite*"))


def test_an_error_names_the_chapter_and_the_cell_and_writes_nothing(
    write_chapter, without_pictures, monkeypatch, tmp_path, capsys
):
    cell = "\n".join(f"line_{i} = {i}" for i in range(9)) + "\nline_3 / 0\n"
    write_chapter(f"# %%\nx = 1\n# %% [markdown]\n# # Title\n# %%\n{cell}# %%\nx = 2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["build"]) == 1
    told = capsys.readouterr().err
    assert "01_first, code cell 2 of 3 failed:" in told
    assert "line_0 = 0" in told
    assert "line_8" not in told
    assert "ZeroDivisionError: division by zero" in told
    assert not list(tmp_path.rglob("*.ipynb*"))


def test_a_kernel_that_dies_is_told_in_one_line(write_chapter, tmp_path):
    book = write_chapter("# %%\nimport os\n\nos._exit(1)\n")
    with pytest.raises(authoring.ChapterError, match="its kernel died"):
        authoring.executed(authoring.solution_notebook(book), tmp_path, pictures=False)


def test_a_cell_that_hangs_is_told_in_one_line(write_chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(authoring, "CELL_SECONDS", 1)
    book = write_chapter("# %%\nimport time\n\ntime.sleep(60)\n")
    with pytest.raises(authoring.ChapterError, match="longer than 1 seconds"):
        authoring.executed(authoring.solution_notebook(book), tmp_path, pictures=False)


def test_a_stored_run_holds_no_widget_state(write_chapter, tmp_path):
    book = write_chapter("# %%\nimport ipywidgets\n\nipywidgets.IntSlider()\n")
    ran = authoring.executed(authoring.solution_notebook(book), tmp_path, pictures=False)
    assert "widgets" not in ran.metadata
    assert ran.cells[0].outputs[0].data == {"text/plain": "IntSlider(value=0)"}


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium: apt install chromium")
def test_a_figure_is_stored_with_a_picture_of_it_and_no_warning(write_chapter, tmp_path):
    figure = "import plotly.graph_objects as go\n\ngo.Figure(go.Bar(x=[1, 2], y=[3, 4]))\n"
    book = write_chapter(f"# %%\n{figure}# %%\n'kaleido' in dir()\n")
    ran = authoring.executed(authoring.solution_notebook(book), tmp_path)
    (output,) = ran.cells[0].outputs
    assert set(output.data) == {"application/vnd.plotly.v1+json", "image/png"}
    assert ran.cells[1].outputs[0].data["text/plain"] == "False"


def test_building_writes_both_notebooks_and_then_finds_them_fresh(
    write_chapter, without_pictures, monkeypatch, tmp_path, capsys
):
    write_chapter("# %%\n1 + 1\n")
    write_chapter("# %%\n1 / 0\n", name="02_second")
    monkeypatch.chdir(tmp_path / "book")
    assert main(["build", "1"]) == 0
    assert capsys.readouterr().out == (
        "wrote notebooks/01_first.ipynb\nwrote solutions/01_first.ipynb\n"
    )
    assert sorted(path.name for path in tmp_path.rglob("*.ipynb*")) == ["01_first.ipynb"] * 2
    assert main(["build", "--check", "01"]) == 0


def test_without_kaleido_building_says_what_to_install(
    write_chapter, monkeypatch, tmp_path, capsys
):
    write_chapter("# %%\n1 + 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "kaleido", None)
    assert main(["build"]) == 1
    told = capsys.readouterr().err
    assert "pip install kaleido" in told
    assert told.count("\n") == 1
    assert not list(tmp_path.rglob("*.ipynb"))


# What is stale


def test_check_is_silent_about_a_fresh_book(chapter_built):
    assert list(authoring.stale(chapter_built)) == []


@pytest.mark.parametrize(
    ("file", "edit", "told"),
    [
        ("book/01_first.py", lambda text: text.replace("21", "22"), "solutions/01_first.ipynb is"),
        ("book/01_first.py", lambda text: text.replace("# with", "# and"), "notebooks/01_first.ip"),
        ("notebooks/01_first.ipynb", lambda text: text + "\n", "notebooks/01_first.ipynb is not"),
        ("notebooks/01_first.ipynb", lambda text: None, "notebooks/01_first.ipynb is missing"),
        ("solutions/01_first.ipynb", lambda text: None, "solutions/01_first.ipynb is missing"),
        ("solutions/01_first.ipynb", lambda text: text[:99], "solutions/01_first.ipynb cannot be"),
        (
            "solutions/01_first.ipynb",
            lambda text: text.replace('"wide"', '"narrow"'),
            "solutions/01_first.ipynb is not what",
        ),
        ("notebooks/00_old.ipynb", lambda text: "{}", "notebooks/00_old.ipynb has no book/00_old"),
    ],
)
def test_check_names_each_stale_file_and_what_mends_it(
    file, edit, told, chapter_built, monkeypatch, capsys
):
    path = chapter_built / file
    before = path.read_text() if path.exists() else None
    after = edit(before)
    try:
        path.unlink(missing_ok=True)
        if after is not None:
            path.write_text(after)
        monkeypatch.chdir(chapter_built)
        assert main(["build", "--check"]) == 1
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(told)]
        assert line.endswith(("run `circuitbook build 01`", "delete it"))
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before)


def test_other_outputs_do_not_make_a_solution_stale(chapter_built):
    path = chapter_built / "solutions" / "01_first.ipynb"
    before = path.read_text()
    try:
        path.write_text(before.replace('"42"', '"43"'))
        assert list(authoring.stale(chapter_built)) == []
    finally:
        path.write_text(before)


def test_an_interrupted_write_leaves_the_old_notebook_whole(tmp_path):
    old = tmp_path / "01_first.ipynb"
    old.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        authoring.write_whole({old: "new", tmp_path / "02_second.ipynb": "\ud800"})
    assert old.read_text() == "old"


# The command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["biuld"], "invalid choice: 'biuld'"),
        (["build", "--force"], "unrecognized arguments: --force"),
        ([], "the following arguments are required: command"),
    ],
)
def test_words_it_does_not_know_get_one_line(words, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_chapter_that_is_not_there_is_named_with_those_that_are(
    write_chapter, monkeypatch, tmp_path, capsys
):
    write_chapter()
    monkeypatch.chdir(tmp_path)
    assert main(["build", "--check", "7"]) == 1
    assert capsys.readouterr().err == "circuitbook: no chapter 07; the book has 01.\n"


def test_two_chapters_of_one_number_are_refused(write_chapter, tmp_path):
    write_chapter()
    write_chapter(name="01_second")
    with pytest.raises(ValueError, match=r"01_first\.py and 01_second\.py have one number"):
        authoring.chapters(tmp_path)


def test_outside_a_checkout_it_says_where_to_run_it(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["build"]) == 1
    assert "run this in a checkout" in capsys.readouterr().err


def test_the_command_line_imports_nothing_heavy():
    program = "import sys, circuitbook.__main__; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not {"torch", "nbformat", "jupytext", "plotly"} & set(modules.stdout.split())


def test_notebooks_are_stored_as_json_that_reads_back_the_same(chapter_built):
    text = (chapter_built / "notebooks" / "01_first.ipynb").read_text()
    assert json.loads(text)["nbformat"] == 4
    assert authoring.notebook_text(nbformat.reads(text, as_version=4)) == text
