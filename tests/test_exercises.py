"""Every exercise of every chapter: right answers pass, others do not, and mistakes are named."""

import ast
import copy
import inspect
import math
import random
import re
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import FunctionType

import pytest
import torch
from torch import Tensor, nn

from circuitbook.exercises import diagnosis
from circuitbook.exercises.engine import Exercise, Quiz, call, chapters, check, judge
from circuitbook.exercises.exercise import cases_of
from circuitbook.exercises.quizzes import near_miss

EXERCISES = [exercise for chapter in chapters().values() for exercise in chapter.exercises]
QUIZZES = [quiz for chapter in chapters().values() for quiz in chapter.quizzes]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
each_quiz = pytest.mark.parametrize("quiz", QUIZZES, ids=lambda quiz: quiz.id)


def mapped(value: object, change: Callable[[Tensor], Tensor], other: Callable = lambda x: x):
    """The value with each tensor changed, whatever holds it; `other` changes the rest."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, nn.Module):
        module = copy.deepcopy(value)
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = change(tensor.data)
        return module
    if isinstance(value, tuple | list):
        return type(value)(mapped(entry, change, other) for entry in value)
    if isinstance(value, Mapping):
        return {key: mapped(entry, change, other) for key, entry in value.items()}
    if is_dataclass(value):
        return replace(
            value, **{f.name: mapped(getattr(value, f.name), change, other) for f in fields(value)}
        )
    return other(value)


def with_inputs(function: Callable, change: Callable[[Tensor], Tensor]) -> Callable:
    """The function, fed with changed tensors."""
    return lambda *arguments: function(*mapped(arguments, change))


def with_output(function: Callable, change: Callable[[Tensor], Tensor]) -> Callable:
    """The function, with its result changed; a number becomes what a tensor of it would."""

    def number(value: object) -> object:
        if isinstance(value, bool | int | float):
            changed = change(torch.tensor(value))
            return changed if changed.ndim else type(value)(changed.item())
        return "" if isinstance(value, str) else None

    return lambda *arguments: mapped(function(*arguments), change, number)


def wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64) if tensor.dtype == torch.float32 else tensor


def laid_out_backwards(tensor: Tensor) -> Tensor:
    """The same numbers, in memory in another order."""
    backwards = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(backwards).contiguous().permute(backwards)


def noise(tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if tensor.dtype.is_floating_point:
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
    return torch.randint(2, tensor.shape, generator=generator).to(tensor.dtype)


@pytest.mark.parametrize("number", chapters())
def test_ids_count_from_one_without_a_gap(number: int):
    chapter = chapters()[number]
    wanted = [f"{number}.{i + 1}" for i in range(len(chapter.exercises))]
    assert [exercise.id for exercise in chapter.exercises] == wanted
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(chapter.quizzes)]
    assert [quiz.id for quiz in chapter.quizzes] == [f"{number}-{letter}" for letter in letters]


@each_exercise
def test_an_exercise_has_what_a_reader_needs(exercise: Exercise):
    assert len(exercise.hints) >= 3
    assert len(set(exercise.hints)) == len(exercise.hints)
    names = [mistake.__name__ for mistake in exercise.mistakes]
    assert len(set(names)) == len(names)
    for mistake in exercise.mistakes:
        assert isinstance(mistake, FunctionType) and inspect.getdoc(mistake)
    assert exercise.difficulty in (1, 2, 3) and exercise.minutes > 0 and exercise.title


@each_exercise
def test_no_hint_is_the_solution(exercise: Exercise):
    def squeezed(text: str) -> str:
        return re.sub(r"\s", "", text).replace("'", '"')

    source = textwrap.dedent(inspect.getsource(inspect.unwrap(exercise.answer)))
    statements = [
        squeezed(ast.unparse(node)).removeprefix("return")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Return | ast.Expr)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    for hint in map(squeezed, exercise.hints):
        assert sum(statement in hint for statement in statements) <= len(statements) / 2, hint


@dataclass
class Row:
    """What was measured on one exercise, or on several together."""

    exercises: int = 0
    mistakes: int = 0
    caught: int = 0
    named: int = 0
    pairs: int = 0  # of mistakes made together, those tried
    both_named: int = 0
    not_right: int = 0
    false_passes: int = 0
    right: int = 0
    false_failures: int = 0
    seconds: list[float] = field(default_factory=list)  # of each check of a mistake or a guess


ROWS = {exercise.id: Row(exercises=1) for exercise in EXERCISES}


@each_exercise
def test_what_is_no_answer_never_passes(exercise: Exercise, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diagnosis, "MISTAKE_SECONDS", 0.0)  # what it is called is not asked here

    def stub(*arguments):
        """The docstring of the task."""
        ...  # your code here

    def raises(*arguments):
        raise NotImplementedError

    first_result = []

    def first_result_for_all(*arguments):
        first_result.append(exercise.answer(*arguments))
        return first_result[0]

    assert judge(exercise, stub).status == "not started"
    assert judge(exercise, raises).status == "not started"
    not_right = {
        "None": lambda *arguments: [exercise.answer(*arguments), None][1],
        "zeros": with_output(exercise.answer, torch.zeros_like),
        "noise": with_output(exercise.answer, noise),
        "one axis more": with_output(exercise.answer, lambda result: result[None]),
        "NaN": with_output(exercise.answer, lambda result: (result * 1.0).fill_(torch.nan)),
        "the first argument": lambda *arguments: arguments[0],
        "an empty tuple": lambda *arguments: (),
    }
    if exercise.run is call:
        not_right["the same for each case"] = first_result_for_all
    found = {name: judge(exercise, function) for name, function in not_right.items()}
    ROWS[exercise.id].not_right = len(found)
    ROWS[exercise.id].false_passes = sum(map(bool, found.values()))
    for name, verdict in found.items():
        assert verdict.status in ("wrong", "error"), f"{name}: {verdict}"


@each_exercise
def test_right_answers_pass_however_they_are_written(exercise: Exercise):
    row, faults = ROWS[exercise.id], []
    for answer in (exercise.answer, *exercise.variants):
        ways = [answer, with_output(answer, wide), with_output(answer, laid_out_backwards)]
        if exercise.run is call:  # a run of its own keeps hold of its inputs
            ways += [with_inputs(answer, wide), with_inputs(answer, laid_out_backwards)]
        verdicts = [judge(exercise, way) for way in ways]
        row.right += len(verdicts)
        faults += [f"{inspect.getsource(answer)}\n{verdict}" for verdict in verdicts if not verdict]
    row.false_failures = len(faults)
    assert not faults, "\n".join(faults)


@each_exercise
def test_each_mistake_is_caught_and_told_apart(exercise: Exercise):
    row, faults = ROWS[exercise.id], []
    guess = with_output(exercise.answer, noise)  # for which every mistake is tried
    for function in (*exercise.mistakes, guess):
        start = time.perf_counter()
        verdict = check(exercise.id, function)
        row.seconds.append(time.perf_counter() - start)
        if function is guess:
            continue
        row.mistakes += 1
        row.caught += not verdict
        row.named += verdict.mistake == function.__name__
        if verdict.mistake != function.__name__:
            faults.append(f"{function.__name__} is taken for {verdict.mistake}: {verdict}")
    assert not faults, "\n\n".join(faults)


@each_exercise
def test_two_mistakes_together_are_recognised_as_both(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
):
    """A few of the pairs that have a result of their own, drawn with a seed."""
    monkeypatch.setattr(diagnosis, "MISTAKE_SECONDS", 60.0)  # the type checks take their time
    row, pairs = ROWS[exercise.id], list(diagnosis._pairs(exercise))
    random.Random(exercise.id).shuffle(pairs)
    single = {mistake.__name__ for mistake in exercise.mistakes}
    cases = cases_of(exercise)
    for first, second, both in pairs[:6]:
        outcomes = [diagnosis._outcome(exercise, both, case) for case in cases]
        if any(outcome.error for outcome in outcomes):  # they contradict each other
            continue
        verdict = judge(exercise, both)
        if verdict or verdict.mistake in single:  # one undoes the other, or hides it
            continue
        if diagnosis._is_simpler_than_two_mistakes(exercise, cases, outcomes):
            assert verdict.mistake is None
            continue
        row.pairs += 1
        row.both_named += verdict.mistake == f"{first.__name__} and {second.__name__}"
        assert verdict.mistake, verdict


def test_all_that_was_measured(capfd: pytest.CaptureFixture):
    if not all(row.mistakes and row.right for row in ROWS.values()):
        pytest.skip("only some of the exercises were measured")
    chapter_of = {exercise.id: exercise.id.split(".")[0] for exercise in EXERCISES}
    rows = {
        f"chapter {number}": _together(
            [row for id, row in ROWS.items() if chapter_of[id] == str(number)]
        )
        for number in chapters()
    }
    total = rows["all"] = _together(list(ROWS.values()))
    with capfd.disabled():
        print(_table(rows), file=sys.stderr)  # a worker of xdist has no other way out
    assert total.caught >= 0.99 * total.mistakes and total.named >= 0.95 * total.mistakes
    assert total.both_named >= 0.95 * total.pairs > 0
    assert total.false_passes == total.false_failures == 0


def _together(rows: list[Row]) -> Row:
    names = [each.name for each in fields(Row) if each.name != "seconds"]
    seconds = [second for row in rows for second in row.seconds]
    sums = {name: sum(getattr(row, name) for row in rows) for name in names}
    return Row(**sums, seconds=seconds)


def _table(rows: dict[str, Row]) -> str:
    """What the checks caught, what they called by its name, where they were wrong, how long."""
    heads = (
        f"\n{'':11}{'exercises':>9}{'mistakes':>9}{'caught':>8}{'named':>7}{'pairs':>7}{'named':>7}"
        f"{'not right':>11}{'passed':>7}{'right':>7}{'failed':>7}{'median':>9}{'worst':>8}"
    )
    lines = [
        f"{name:11}{row.exercises:9}{row.mistakes:9}{_share(row.caught, row.mistakes):>8}"
        f"{_share(row.named, row.mistakes):>7}{row.pairs:7}{_share(row.both_named, row.pairs):>7}"
        f"{row.not_right:11}{row.false_passes:7}{row.right:7}{row.false_failures:7}"
        f"{statistics.median(row.seconds):7.3f} s{max(row.seconds):6.2f} s"
        for name, row in rows.items()
    ]
    return "\n".join([heads, *lines])


def _share(part: int, whole: int) -> str:
    return f"{math.floor(1000 * part / whole) / 10:g} %" if whole else "-"


@each_quiz
def test_a_quiz_can_be_answered_and_explains_each_option(quiz: Quiz):
    if quiz.number is not None:
        assert not quiz.options and quiz.why
        for slip, said in quiz.slips.items():
            assert abs(slip - quiz.number) > quiz.tolerance and near_miss(slip, quiz) == said
        return
    texts = [option.text for option in quiz.options]
    assert len(set(texts)) == len(texts) >= 2
    assert 1 <= sum(option.right for option in quiz.options) < len(texts)
    assert all(option.why for option in quiz.options)
    assert len({option.why for option in quiz.options}) == len(texts)
