"""What a notebook calls to work on an exercise, and where its exercises are found.

It knows nothing of transformers: a chapter's exercises live in `chNN.py`, which is imported when
one of its ids is first asked for.
"""

import difflib
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from circuitbook import progress as stored
from circuitbook.exercises.cards import Card, listed
from circuitbook.exercises.exercise import Exercise, call, normal, told
from circuitbook.exercises.judging import Verdict, judge

__all__ = ["Chapter", "Exercise", "Option", "Quiz", "call", "normal"]  # what a chapter is made of


@dataclass(frozen=True)
class Option:
    text: str
    right: bool
    why: str


@dataclass(frozen=True, eq=False)
class Quiz:
    """A question with options (one right or several), or with a number as its answer."""

    id: str  # "1-a"
    question: str
    options: Sequence[Option] = ()
    number: float | None = None
    tolerance: float = 0.0
    slips: Mapping[float, str] = field(default_factory=dict)  # wrong numbers, and what each is
    why: str = ""  # explains the number


@dataclass(frozen=True)
class Chapter:
    exercises: tuple[Exercise, ...]
    quizzes: tuple[Quiz, ...]


class CheckFailed(AssertionError):  # noqa: N818 a check that failed is what it says
    """Raised by `check` in place of a verdict that did not pass, where CIRCUITBOOK_STRICT=1."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this in place of our frames
        return [f"CheckFailed: {self}"]


_chapters: dict[int, Chapter] = {}
_passed: dict[str, Callable] = {}  # the reader's functions whose last check passed, in this kernel


# --- what a notebook calls -----------------------------------------------------------------------


def check(id: str, function: object) -> Verdict:
    """Whether the reader's function does what the exercise asks, and if not, what is wrong with it.

    Raises ValueError for an unknown exercise; CheckFailed where CIRCUITBOOK_STRICT=1.
    """
    exercise = _exercise(id)
    verdict = judge(exercise, function)
    if verdict:
        _passed[id] = function
    else:
        _passed.pop(id, None)
    stored.record("check", id, verdict.status, verdict.mistake or "")
    if verdict.status in ("wrong", "timeout") or verdict.case:
        verdict = replace(verdict, hint=_next_hint(exercise, bool(verdict.mistake)))
    if not verdict and os.environ.get("CIRCUITBOOK_STRICT", "0") not in ("", "0"):
        raise CheckFailed(repr(verdict)) from None
    return verdict


def answer(id: str) -> Callable:
    """The reader's function where its last check passed, else the book's; one line says which."""
    exercise = _exercise(id)
    whose = "yours" if id in _passed else "the book's (yours has not passed yet)"
    print(f"{id} {exercise.title}: {whose}")
    return _passed.get(id, exercise.answer)


def hint(id: str) -> Card:
    """The next hint: first what follows from the mistake just made; each call goes one further."""
    exercise = _exercise(id)
    shown, n_hints = _hints_shown(id), len(exercise.hints)
    for mistake in _not_hinted_at(exercise):
        stored.record("hint", id, mistake.__name__)
        title = f"{id} {exercise.title}: a hint on {mistake.__name__.replace('_', ' ')}"
        return Card("hint", title, tuple(told(mistake)[1:]))
    if shown < n_hints:
        stored.record("hint", id, str(shown + 1))
        left = n_hints - shown - 1
        after = f'`hint("{id}")` again for the next one.' if left else "This was the last hint."
        title = f"{id} {exercise.title}: hint {shown + 1} of {n_hints}"
        return Card("hint", title, (exercise.hints[shown], after))
    last = f'That was the last hint. `solution("{id}")` shows the book\'s answer.'
    return Card("hint", f"{id} {exercise.title}: no more hints", (*exercise.hints, last))


def _next_hint(exercise: Exercise, is_named: bool) -> str:
    """What a verdict says of hints: the next one itself where no mistake was named."""
    id, shown, n_hints = exercise.id, _hints_shown(exercise.id), len(exercise.hints)
    if _not_hinted_at(exercise):
        return f'`hint("{id}")` says more about this mistake.'
    if shown >= n_hints:
        return f'You have seen all hints; `solution("{id}")` shows the book\'s answer.'
    if is_named:
        return f'Still stuck? `hint("{id}")` gives hint {shown + 1} of {n_hints}.'
    after = f' (`hint("{id}")` goes on)' if shown + 1 < n_hints else ""
    return f"Hint {shown + 1} of {n_hints}: {exercise.hints[shown]}{after}"


def _hints_shown(id: str) -> int:
    """How many of the exercise's own hints, which are recorded by their numbers."""
    hints = [event for event in stored.events() if (event.kind, event.id) == ("hint", id)]
    return sum(event.status.isdigit() for event in hints)


def _not_hinted_at(exercise: Exercise) -> list[Callable]:
    """The mistakes of the last check that have a hint of their own, still unseen."""
    events = [event for event in stored.events() if event.id == exercise.id]
    made = [event.detail for event in events if event.kind == "check"][-1:]
    seen = {event.status for event in events if event.kind == "hint"}
    names = set(made[0].split(" and ")) - seen if made else set()
    return [
        mistake
        for mistake in exercise.mistakes
        if mistake.__name__ in names and len(told(mistake)) > 1
    ]


def solution(id: str, sure: bool = False) -> Card:
    """The book's answer, as source; asks once more when nothing has been tried yet."""
    exercise = _exercise(id)
    title = f"{id} {exercise.title}: the book's answer"
    tried = any(
        event.id == id and event.kind in ("check", "hint") and event.status != "not started"
        for event in stored.events()
    )
    if not tried and not sure:
        ask = f'You have not tried it yet. `hint("{id}")` gives a hint; if you want the answer now:'
        return Card("solution", title, (ask,), f'solution("{id}", sure=True)')
    stored.record("solution", id)
    source = inspect.getsource(inspect.unwrap(exercise.answer)).rstrip()
    return Card("solution", title, code=source)


# --- finding exercises ---------------------------------------------------------------------------


def register(number: int, exercises: Sequence[Exercise], quizzes: Sequence[Quiz] = ()) -> None:
    """Make a chapter's exercises known; a `chNN` module needs no call, its chapter is found."""
    _chapters[number] = Chapter(tuple(exercises), tuple(quizzes))


def chapters() -> dict[int, Chapter]:
    """Every chapter that has exercises, by its number."""
    return {number: _chapter(number) for number in _chapter_numbers()}


def _chapter_numbers() -> list[int]:
    folder = os.path.dirname(__file__)
    found = [re.fullmatch(r"ch(\d+)", module.name) for module in pkgutil.iter_modules([folder])]
    return sorted({*_chapters, *(int(match.group(1)) for match in found if match)})


def _chapter(number: int) -> Chapter:
    if number not in _chapters:
        module = importlib.import_module(f"circuitbook.exercises.ch{number:02d}")
        register(number, module.EXERCISES, module.QUIZZES)
    return _chapters[number]


def _exercise(id: object) -> Exercise:
    return _found(id, "exercise", lambda chapter: chapter.exercises)


def quiz_with(id: object) -> Quiz:
    """The quiz with this id; ValueError names the nearest where there is none."""
    return _found(id, "quiz", lambda chapter: chapter.quizzes)


def _found(id: object, kind: str, entries: Callable[[Chapter], Sequence]):
    if not isinstance(id, str):
        example = {"exercise": "1.4", "quiz": "1-a"}[kind]
        raise ValueError(f'There is no {kind} {id!r}: ids are text, such as "{example}".')
    numbers = _chapter_numbers()
    own = re.match(r"\d+", id)
    if own and int(own.group()) in numbers:  # the other chapters need not be imported for it
        numbers = [int(own.group())]
    known = {entry.id: entry for number in numbers for entry in entries(_chapter(number))}
    if id in known:
        return known[id]
    near = difflib.get_close_matches(id, known, n=3, cutoff=0.4) or list(known)[:3]
    have = f"the nearest are {listed(map(repr, near))}" if near else "there are none yet"
    raise ValueError(f"There is no {kind} {id!r}; {have}.")
