"""Does any small edit of a right answer still pass? `make mutants` tries them all.

The source of each right answer (what the chapter prints, what the check compares with, and its
variants) is edited in one place, or in two where one place gives too few edits. An edit that passes
the check is a survivor if its result differs from the answer's on some other input: the check's
cases then miss something. Where it differs on none of those tried, it says the same in other words.
"""

import argparse
import ast
import copy
import inspect
import pathlib
import random
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import torch
from torch import Tensor, nn

from circuitbook import authoring
from circuitbook.exercises import diagnosis
from circuitbook.exercises.compare import first_difference, snapshot
from circuitbook.exercises.engine import Exercise, chapters
from circuitbook.exercises.judging import judge

FEWEST = 30  # edits of an answer: where single ones are fewer, pairs of them fill up
ROOT = pathlib.Path(__file__).parent.parent
TRIALS = 8  # other inputs for each case
OTHER_NAME = {
    **{"sum": "mean", "mean": "sum", "max": "min", "min": "max", "argmax": "argmin"},
    **{"amax": "amin", "amin": "amax", "triu": "tril", "tril": "triu", "softmax": "log_softmax"},
    **{"log_softmax": "softmax", "exp": "log", "log": "exp", "std": "var", "var": "std"},
    **{"any": "all", "all": "any", "argmin": "argmax", "clamp_min": "clamp_max"},
}
OTHER_OPERATOR = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OTHER_COMPARISONS = {
    **{ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt)},
    **{ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,)},
}


@dataclass(frozen=True)
class Mutant:
    """An answer with one or two small edits: what they are, and the edited source."""

    edit: str
    source: str
    name: str
    scope: dict  # the names that the original sees


@dataclass(frozen=True)
class Tried:
    """What became of one exercise's mutants."""

    id: str
    title: str
    n_caught: int
    n_same: int  # pass, and do what the answer does
    survivors: tuple[str, ...]

    @property
    def n_mutants(self) -> int:
        return self.n_caught + self.n_same + len(self.survivors)


# Editing a source


Path = tuple[str | int, ...]


def mutants(exercise: Exercise, seed: int = 0) -> list[Mutant]:
    """Every right answer with each small edit, and with pairs of them up to FEWEST."""
    chance, found = random.Random(seed), {}
    for tree, scope in originals(exercise):
        for source, edit in _edits(tree, chance).items():
            found.setdefault(source, Mutant(f"{tree.name}: {edit}", source, tree.name, scope))
    return list(found.values())


def originals(exercise: Exercise) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, dict]]:
    """The definition of each right answer that has one, with the names that it sees."""
    for answer in dict.fromkeys((exercise.answer, *exercise.variants)):
        plain = inspect.unwrap(answer)
        if inspect.isclass(plain) or (
            inspect.isfunction(plain) and plain.__name__ != "<lambda>" and not plain.__closure__
        ):
            yield _definition(inspect.getsource(plain)), vars(sys.modules[plain.__module__])
    yield from _in_the_chapter(exercise)


def _in_the_chapter(exercise: Exercise) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, dict]]:
    """What the chapter's solution writes, where it is a definition of its own."""
    cells, imports = _chapter(int(exercise.id.split(".")[0]))
    asked = re.compile(rf'^check\("{re.escape(exercise.id)}", (\w+)\)', re.MULTILINE)
    place, name = next((i, m[1]) for i, cell in enumerate(cells) if (m := asked.search(cell)))
    task = next(i for i, c in enumerate(cells) if c.startswith(f"### Exercise {exercise.id}:"))
    scope = dict(vars(sys.modules[inspect.unwrap(exercise.answer).__module__]))
    exec(compile(imports, "<chapter>", "exec"), scope)
    for cell in cells[task + 1 : place]:
        if re.search(rf"^(?:def|class) {name}\b", cell, re.MULTILINE):
            tree = ast.parse(cell)
            own = next(node for node in tree.body if getattr(node, "name", "") == name)
            tree.body.remove(own)
            exec(compile(tree, "<chapter>", "exec"), scope)
            yield _definition(ast.unparse(own)), scope


@cache
def _chapter(number: int) -> tuple[list[str], ast.Module]:
    """The sources of a solved chapter's cells, and all that it imports."""
    (book,) = (ROOT / "book").glob(f"{number:02d}_*.py")
    cells = authoring.solution_notebook(book).cells
    lines = [line for c in cells if c.cell_type == "code" for line in ast.parse(c.source).body]
    imports = [line for line in lines if isinstance(line, ast.Import | ast.ImportFrom)]
    return [cell.source for cell in cells], ast.Module(imports, [])


def _edits(tree: ast.AST, chance: random.Random) -> dict[str, str]:
    """The sources of the edited trees, each with what was edited."""
    singles = list(_edited(tree))
    found = {ast.unparse(edited): edit for edit, edited in singles}
    chance.shuffle(singles)
    for edit, edited in singles:
        if len(found) < FEWEST:
            for second, twice in _edited(edited):
                found.setdefault(ast.unparse(twice), f"{edit}; and {second}")
    found.pop(ast.unparse(tree), None)
    return found


def _definition(source: str) -> ast.FunctionDef | ast.ClassDef:
    """A definition without decorators, docstrings and annotations."""
    (tree,) = ast.parse(textwrap.dedent(source)).body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
            if ast.get_docstring(node) is not None and len(node.body) > 1:
                node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


def _edited(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every tree that differs from this one by one small edit, and what that is."""
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & _own(tree))
    for path, node in _places(tree):
        for other in (*_other_expressions(node, names), *_other_statements(node)):
            edited = _with(tree, path, other)
            before, after = ast.unparse(node), ast.unparse(other)
            yield f"`{_short(before)}` → `{_short(after)}`", ast.fix_missing_locations(edited)


def _own(tree: ast.AST) -> set[str]:
    """The names of a function's parameters and variables."""
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and _is_store(n)}
    return stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}


def _is_store(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _places(node: ast.AST, path: Path = ()) -> Iterator[tuple[Path, ast.AST]]:
    """Each node with the way to it; what an error says is not looked at."""
    for field, value in ast.iter_fields(node):
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, child in entries:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.arguments):
                continue
            way = (*path, field) if place is None else (*path, field, place)
            yield way, child
            yield from _places(child, way)


def _with(tree: ast.AST, path: Path, new: ast.AST) -> ast.AST:
    edited = copy.deepcopy(tree)
    parent = edited
    for step in path[:-1]:
        parent = parent[step] if isinstance(step, int) else getattr(parent, step)
    if isinstance(path[-1], int):
        parent[path[-1]] = copy.deepcopy(new)
    else:
        setattr(parent, path[-1], copy.deepcopy(new))
    return edited


def _other_expressions(node: ast.AST, names: Sequence[str]) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, operation, right):
            yield from (left, right, ast.BinOp(right, operation, left))
            if other := OTHER_OPERATOR.get(type(operation)):
                yield ast.BinOp(left, other(), right)
        case ast.Compare(left, [operation], right):
            for other in OTHER_COMPARISONS.get(type(operation), ()):
                yield ast.Compare(left, [other()], right)
        case ast.BoolOp(operation, values):
            yield ast.BoolOp(ast.Or() if isinstance(operation, ast.And) else ast.And(), values)
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.IfExp(_, first, second):
            yield from (first, second)
        case ast.Constant(value):
            yield from map(ast.Constant, _other_constants(value))
        case ast.Attribute(value, "mT" | "T"):
            yield value
        case ast.Attribute(value, name, ctx) if name in OTHER_NAME:
            yield ast.Attribute(value, OTHER_NAME[name], ctx)
        case ast.Subscript(value, place, ast.Load()):
            yield from (ast.Subscript(value, other, ast.Load()) for other in _other_slices(place))
            yield value
        case ast.Call():
            yield from _other_calls(node)
        case ast.Name(name, ast.Load()) if name in names:
            yield from (ast.Name(other, ast.Load()) for other in names if other != name)


def _other_constants(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, *([-value] if value else []))
    elif isinstance(value, float):
        yield from (value * 2, value / 2, -value)
    elif isinstance(value, str) and "->" in value:
        inputs, output = value.split("->")
        axes = output.split()
        for place in range(len(axes) - 1):
            swapped = [*axes[:place], axes[place + 1], axes[place], *axes[place + 2 :]]
            yield f"{inputs}-> {' '.join(swapped)}"
        if "," in inputs:
            yield f"{','.join(reversed(inputs.split(',')))} -> {output}"


def _other_slices(place: ast.AST) -> Iterator[ast.AST]:
    if isinstance(place, ast.Tuple):
        for i, entry in enumerate(place.elts):
            for other in _other_slices(entry):
                yield ast.Tuple([*place.elts[:i], other, *place.elts[i + 1 :]], ast.Load())
    elif isinstance(place, ast.Slice):
        for field in ("lower", "upper", "step"):
            if getattr(place, field) is not None:
                other = copy.copy(place)
                setattr(other, field, None)
                yield other
        if place.lower is None and place.upper is None:
            yield ast.Slice(lower=ast.Constant(1))
            yield ast.Slice(upper=ast.Constant(-1))


def _other_calls(node: ast.Call) -> Iterator[ast.AST]:
    arguments = node.args
    if isinstance(node.func, ast.Attribute):
        yield node.func.value
    elif len(arguments) == 1:
        yield arguments[0]
    for place in range(len(node.keywords)):
        left = [*node.keywords[:place], *node.keywords[place + 1 :]]
        yield ast.Call(node.func, arguments, left)
    for place in range(len(arguments) - 1):
        first, second = arguments[place : place + 2]
        swapped = [*arguments[:place], second, first, *arguments[place + 2 :]]
        yield ast.Call(node.func, swapped, node.keywords)


def _other_statements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Assign() | ast.AugAssign() | ast.Expr(ast.Call()):
            yield ast.Pass()
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
    if isinstance(node, ast.AugAssign) and (other := OTHER_OPERATOR.get(type(node.op))):
        yield ast.AugAssign(node.target, other(), node.value)


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 70 else f"{line[:67]}..."


# Trying the edits


def function_of(mutant: Mutant) -> Callable:
    """The edited function."""
    scope = dict(mutant.scope)
    exec(compile(mutant.source, "<mutant>", "exec"), scope)
    return scope[mutant.name]


def result(exercise: Exercise, function: Callable, arguments: tuple) -> object:
    """What the function makes of copies of the arguments, or the kind of error that it raises."""
    torch.manual_seed(0)
    try:
        return snapshot(exercise.run(function, *copy.deepcopy(arguments)))
    except Exception as error:
        return type(error)


def other_inputs(exercise: Exercise, seed: int) -> Iterator[tuple]:
    """The arguments of each case with other values in them, of the same kind and size."""
    chance = random.Random(seed)
    torch.manual_seed(seed)
    for arguments in exercise.cases.values():
        arguments = arguments() if callable(arguments) else arguments
        yield tuple(_other(argument, chance) for argument in copy.deepcopy(arguments))


def _other(value: object, chance: random.Random) -> object:
    if isinstance(value, Tensor):
        return _other_tensor(value, chance)
    if isinstance(value, nn.Module):
        for tensor in value.parameters():
            tensor.data = _other_tensor(tensor.data, chance)
        return value
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(_other(entry, chance) for entry in value)
    if type(value) is dict:
        return {key: _other(entry, chance) for key, entry in value.items()}
    if type(value) is int and chance.random() < 0.3:
        return value + chance.choice((-1, 1))
    if type(value) is float and chance.random() < 0.3:
        return value * chance.choice((0.5, 2.0))
    return value


def _other_tensor(tensor: Tensor, chance: random.Random) -> Tensor:
    """Probabilities stay probabilities, masked entries masked, indices among those there were."""
    if not tensor.is_floating_point():
        return tensor.flatten()[torch.randperm(tensor.numel())].reshape(tensor.shape)
    drawn = torch.randn_like(tensor)
    if tensor.ndim and (tensor >= 0).all() and _sums_to_one(tensor):
        return drawn.masked_fill(tensor == 0, -torch.inf).softmax(dim=-1)
    kinds = (drawn, drawn.abs(), -drawn.abs(), (2 * drawn).round(), 5 * drawn)  # ties among them
    drawn = chance.choice(kinds[:2] if (tensor >= 0).all() else kinds)
    size = tensor[tensor.isfinite()].square().mean().sqrt().nan_to_num(1.0)
    return (drawn * size).where(tensor.isfinite() & (tensor != 0), tensor)


def _sums_to_one(tensor: Tensor) -> bool:
    return torch.allclose(tensor.sum(dim=-1), tensor.new_ones(()))


def differs(exercise: Exercise, function: Callable) -> bool:
    """Does it say something else than the answer on some input that the answer can take?"""
    for seed in range(TRIALS):
        for arguments in other_inputs(exercise, seed):
            wanted = result(exercise, exercise.answer, arguments)
            if isinstance(wanted, type):
                continue
            came = result(exercise, function, arguments)
            if isinstance(came, type) or first_difference(came, wanted, exercise.tolerance):
                return True
    return False


def tried(exercise: Exercise, most: int | None = None, seed: int = 0) -> Tried:
    """What becomes of the mutants of an exercise's answers, or of `most` drawn from them."""
    found = mutants(exercise, seed)
    if most is not None:
        found = random.Random(seed).sample(found, min(most, len(found)))
    n_caught, n_same, survivors = 0, 0, []
    for mutant in found:
        function = function_of(mutant)
        if not judge(exercise, function):
            n_caught += 1
        elif differs(exercise, function):
            survivors.append(mutant.edit)
        else:
            n_same += 1
    return Tried(exercise.id, exercise.title, n_caught, n_same, tuple(survivors))


def _tried_by_id(id: str) -> Tried:
    torch.set_num_threads(1)
    diagnosis.MISTAKE_SECONDS = 0  # which mistake it is, nobody asks
    return tried(next(exercise for exercise in all_exercises() if exercise.id == id))


def all_exercises() -> list[Exercise]:
    return [exercise for chapter in chapters().values() for exercise in chapter.exercises]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help='exercises such as 1.4, chapters such as "1."')
    wanted = parser.parse_args().ids
    ids = [exercise.id for exercise in all_exercises()]
    ids = [id for id in ids if not wanted or id in wanted or f"{id.split('.')[0]}." in wanted]
    print(f"{'exercise':44}{'edits':>7}{'caught':>8}{'same':>6}{'survive':>9}")
    totals = [0, 0, 0, 0]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for found in pool.map(_tried_by_id, ids):
            row = (found.n_mutants, found.n_caught, found.n_same, len(found.survivors))
            totals = [total + n for total, n in zip(totals, row, strict=True)]
            edits, caught, same, survive = row
            name = f"{found.id} {found.title}"[:43]
            print(f"{name:44}{edits:7}{caught:8}{same:6}{survive:9}", flush=True)
            for edit in found.survivors:
                print(f"    passes, and should not: {edit}", flush=True)
    edits, caught, same, survive = totals
    print(f"{'all':44}{edits:7}{caught:8}{same:6}{survive:9}")
    return 1 if survive else 0


if __name__ == "__main__":
    sys.exit(main())
