"""Every exercise of every chapter: right answers pass, others do not, and mistakes are named."""

import copy
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from types import FunctionType

import pytest
import torch
from torch import Tensor, nn

from circuitbook.exercises.engine import Exercise, Quiz, call, chapters, check, judge

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
def test_what_is_no_answer_never_passes(exercise: Exercise):
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
    not_passed = {
        "None": lambda *arguments: [exercise.answer(*arguments), None][1],
        "zeros": with_output(exercise.answer, torch.zeros_like),
        "noise": with_output(exercise.answer, noise),
        "one axis more": with_output(exercise.answer, lambda result: result[None]),
        "NaN": with_output(exercise.answer, lambda result: (result * 1.0).fill_(torch.nan)),
        "the first argument": lambda *arguments: arguments[0],
        "an empty tuple": lambda *arguments: (),
    }
    if exercise.run is call:
        not_passed["the same for each case"] = first_result_for_all
    for name, function in not_passed.items():
        verdict = judge(exercise, function)
        assert verdict.status in ("wrong", "error"), f"{name}: {verdict}"


@each_exercise
def test_right_answers_pass_however_they_are_written(exercise: Exercise):
    for answer in (exercise.answer, *exercise.variants):
        ways = [answer, with_output(answer, wide), with_output(answer, laid_out_backwards)]
        if exercise.run is call:  # a run of its own keeps hold of its inputs
            ways += [with_inputs(answer, wide), with_inputs(answer, laid_out_backwards)]
        for way in ways:
            verdict = judge(exercise, way)
            assert verdict.status == "passed", f"{inspect.getsource(answer)}\n{verdict}"


def test_each_mistake_is_caught_and_told_apart(capfd: pytest.CaptureFixture):
    rows, faults = [], []
    for exercise in EXERCISES:
        verdicts, seconds = [], []
        guess = with_output(exercise.answer, noise)  # for which every mistake is tried
        for function in (exercise.answer, *exercise.mistakes, guess, exercise.answer):
            start = time.perf_counter()
            verdicts.append(check(exercise.id, function))
            seconds.append(time.perf_counter() - start)
        names = [mistake.__name__ for mistake in exercise.mistakes]
        found = list(zip(names, verdicts[1:-2], strict=True))
        caught = [name for name, verdict in found if not verdict]
        named = [name for name, verdict in found if verdict.mistake == name]
        rows.append((exercise, len(names), len(caught), len(named), seconds))
        faults += [
            f"{exercise.id} {name} is taken for {verdict.mistake}: {verdict}"
            for name, verdict in found
            if name not in named
        ]
    with capfd.disabled():
        print(_table(rows), file=sys.stderr)  # a worker of xdist has no other way out
    assert not faults, "\n\n".join(faults)


def _table(rows: list[tuple[Exercise, int, int, int, list[float]]]) -> str:
    """Mistakes caught and named, and how long a check's answer takes, per exercise."""
    heads = (
        f"\n{'exercise':34}{'mistakes':>9}{'caught':>8}{'named':>7}{'median s':>10}{'worst s':>9}"
    )
    lines = [
        f"{f'{exercise.id} {exercise.title}'[:33]:34}{n_mistakes:9}{n_caught:8}{n_named:7}"
        f"{statistics.median(seconds):10.3f}{max(seconds):9.3f}"
        for exercise, n_mistakes, n_caught, n_named, seconds in rows
    ]
    totals = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    every = [second for *_, seconds in rows for second in seconds]
    if not every:
        return heads
    last = f"{'all':34}{totals[0]:9}{totals[1]:8}{totals[2]:7}"
    return "\n".join([heads, *lines, f"{last}{statistics.median(every):10.3f}{max(every):9.3f}"])


@each_quiz
def test_a_quiz_can_be_answered_and_explains_each_option(quiz: Quiz):
    if quiz.number is not None:
        assert not quiz.options and quiz.why
        return
    texts = [option.text for option in quiz.options]
    assert len(set(texts)) == len(texts) >= 2
    assert 1 <= sum(option.right for option in quiz.options) < len(texts)
    assert all(option.why for option in quiz.options)
    assert len({option.why for option in quiz.options}) == len(texts)
