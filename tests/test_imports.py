"""Data flows one way: a file imports only from files before it, and nothing slow too early."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/circuitbook"
FILES = sorted(SOURCE.rglob("*.py"))

MODEL = {"model", "weights", "cache"}
ANALYSES = ["circuits", "patterns", "composition", "attribution", "paths", "interventions"]
# Each part of the house with the parts that it may import. An analysis takes tensors, or a cache by
# name: it never imports the model, so that it works on TransformerLens' activations too.
MAY_IMPORT = {
    "language": set(),
    "model": set(),
    "weights": {"model"},
    "cache": {"model"},
    "lens": MODEL,
    "train": {"language", *MODEL},
    "zoo": {"language", "train", *MODEL},
    "published": set(),
    "glossary": set(),
    "superposition": set(),
    "parts": set(),
    **{
        name: {"cache", "parts", "published", *ANALYSES[:place]}
        for place, name in enumerate(ANALYSES)
    },
    "plots": {"parts", "published", *ANALYSES},
    "explore": {"zoo", "cache", "parts", "attribution", "plots"},
    "progress": set(),
    "cards": {"language", "train", "zoo", "patterns", *MODEL},
    "doctor": {"train", "zoo", "progress", *MODEL},
    "exercises": {
        "language",
        "train",
        "zoo",
        "published",
        "parts",
        "plots",
        "progress",
        *MODEL,
        *ANALYSES,
    },
    "export": {"train", "plots"},
    "capstone": {
        "language",
        "cache",
        "parts",
        "published",
        "plots",
        "exercises",
        "export",
        *ANALYSES,
    },
    "authoring": {"exercises"},
}
MAY_IMPORT["__main__"] = set(MAY_IMPORT)
SLOW = (
    *("transformer_lens", "transformers", "plotly", "ipywidgets"),
    *("jupytext", "nbclient", "pandas", "sklearn"),
)


def part(file: Path) -> str:
    """The part of the house that a file belongs to: its name, or its folder's."""
    return file.relative_to(SOURCE).with_suffix("").parts[0]


def imports(file: Path) -> Iterator[str]:
    """Every name that a file imports, at its top or inside a function, with its module's name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def parts_imported(file: Path) -> set[str]:
    """The parts of the house that a file imports from."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("circuitbook.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_imports_only_from_files_before_it(file):
    if file == SOURCE / "__init__.py":
        assert list(imports(file)) == []
        return
    assert part(file) in MAY_IMPORT, f"give {part(file)} its place in MAY_IMPORT"
    assert parts_imported(file) <= MAY_IMPORT[part(file)] | {part(file)}
    assert not any(name.startswith(".") for name in imports(file)), "name the package"


def test_each_part_comes_after_those_that_it_may_import():
    parts = list(MAY_IMPORT)
    for place, name in enumerate(parts):
        assert MAY_IMPORT[name] <= set(parts[:place]), name


def test_only_the_lens_knows_transformerlens():
    for file in FILES:
        knows = any(name.split(".")[0] == "transformer_lens" for name in imports(file))
        assert knows == (file.name == "lens.py"), file


def test_the_engine_of_the_exercises_knows_nothing_of_transformers():
    for file in (SOURCE / "exercises").glob("*.py"):
        if not file.name.startswith("ch"):
            assert parts_imported(file) <= {"exercises", "progress"}, file


def test_no_file_hides_its_shapes_from_the_checker():
    for folder in ("src", "tests", "book"):
        for file in (ROOT / folder).rglob("*.py"):
            assert "__future__.annotations" not in imports(file), file


def loaded_by(module: str) -> set[str]:
    """The packages in memory after a fresh Python has imported one module."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_book_imports_nothing_else():
    assert not loaded_by("circuitbook") & {"torch", "numpy", *SLOW}


@pytest.mark.parametrize("module", ["circuitbook.exercises", "circuitbook.exercises.ch01"])
def test_a_check_waits_for_nothing_slow(module):
    assert "torch" in loaded_by(module)
    assert not loaded_by(module) & set(SLOW)


def test_the_command_answers_without_torch():
    assert not loaded_by("circuitbook.__main__") & {"torch", *SLOW}
