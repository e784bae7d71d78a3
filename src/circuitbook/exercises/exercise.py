"""An exercise as data, and one run of an answer to it."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MappingProxyType

import torch
from torch import Tensor

from circuitbook.exercises.compare import same, snapshot

SEED = 20190214  # of what a reader draws: not the seed of `normal`, whose numbers it would equal


def call(function: Callable, *arguments):
    return function(*arguments)


def normal(*shapes: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
    """One tensor of standard normal numbers per shape, the same at each call."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@dataclass(frozen=True, eq=False)
class Exercise:
    """A task, the book's answer to it, and the wrong answers that readers give.

    A mistake's name is the diagnosis. Its docstring's first paragraph is what the reader is told;
    its second, where there is one, is the hint that follows from it. Two mistakes that call one
    function in common, each changing something else of it, are recognised together too (`pairs`).
    """

    id: str  # "1.4" is in chapter 1, the module ch01
    title: str
    answer: Callable
    cases: Mapping[str, tuple | Callable[[], tuple]]  # name -> arguments, or what makes them
    mistakes: Sequence[Callable]
    hints: Sequence[str]
    variants: Sequence[Callable] = ()  # right answers, written in another way
    run: Callable = call  # run(function, *arguments) -> the result that is compared
    difficulty: int = 1
    minutes: int = 5
    tolerance: float = 1e-4  # relative to the size of the wanted values
    seconds: float = 5.0  # the time limit for all cases together

    def __post_init__(self):
        object.__setattr__(self, "cases", MappingProxyType(dict(self.cases)))
        object.__setattr__(self, "mistakes", tuple(self.mistakes))


@dataclass(frozen=True)
class Result:
    """What came of one run, which arguments were changed in place, and an oddity worth telling."""

    value: object
    changed: frozenset[int]
    returned_none: bool  # the function itself, whatever `run` made of that


@dataclass(frozen=True, eq=False)
class Case:
    """One set of arguments and what the book's answer makes of it."""

    name: str
    arguments: tuple
    wanted: Result


class ReturnedNoneError(Exception):
    """`run` could not go on with the None that the function returned."""


@functools.cache
def cases_of(exercise: Exercise) -> tuple[Case, ...]:
    """The exercise's cases with the wanted results, made at the first check and kept."""
    cases = []
    with torch.device("cpu"):  # whatever default a reader has set
        for name, arguments in exercise.cases.items():
            arguments = copy.deepcopy(arguments() if callable(arguments) else arguments)
            cases.append(Case(name, arguments, result_of(exercise, exercise.answer, arguments)))
    return tuple(cases)


def result_of(exercise: Exercise, function: Callable, arguments: tuple) -> Result:
    """The function's result on copies of the arguments, with the same random numbers each time."""
    returned = []

    def watched(*inputs, **options):
        returned.append(function(*inputs, **options))
        return returned[-1]

    if isinstance(function, FunctionType):
        functools.update_wrapper(watched, function)
    copies = copy.deepcopy(arguments)
    torch.manual_seed(SEED)
    try:
        value = exercise.run(watched if isinstance(function, FunctionType) else function, *copies)
    except Exception as error:
        if any(entry is None for entry in returned):
            raise ReturnedNoneError from error
        raise
    changed = frozenset(i for i in range(len(copies)) if not same(arguments[i], copies[i]))
    returned_none = value is None or any(entry is None for entry in returned)
    return Result(snapshot(value), changed, returned_none)


def argument_name(exercise: Exercise, index: int) -> str:
    """The name of a case's argument: as the answer calls it, or as `run` does."""
    function, skipped = (exercise.answer, 0) if exercise.run is call else (exercise.run, 1)
    names = list(inspect.signature(function).parameters)[skipped:]
    return f"`{names[index]}`" if index < len(names) else f"number {index + 1}"


def return_annotation(exercise: Exercise) -> object:
    function = exercise.answer if exercise.run is call else exercise.run
    return getattr(inspect.unwrap(function), "__annotations__", {}).get("return")


def told(mistake: Callable) -> list[str]:
    """The paragraphs of a mistake's docstring, each on one line."""
    paragraphs = inspect.cleandoc(mistake.__doc__).split("\n\n")
    return [paragraph.replace("\n", " ") for paragraph in paragraphs]
