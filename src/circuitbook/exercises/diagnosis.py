"""Which known mistake, or which two together, a reader's answer makes: found by running them."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence

from circuitbook.exercises.compare import first_difference, relation
from circuitbook.exercises.exercise import Case, Exercise, result_of, return_annotation
from circuitbook.exercises.pairs import common_function, together
from circuitbook.exercises.sandbox import Outcome

MISTAKE_SECONDS = 1.0  # of this thread: after that, no further mistake is tried


def known_mistakes(
    exercise: Exercise, cases: Sequence[Case], outcomes: Sequence[Outcome], until: float
) -> tuple[Callable, ...]:
    """The mistake that does what the reader's function did in most cases, or the two that do
    together what it did in all; none if none does, or none was found when the clock
    (`time.monotonic`) stood at `until`."""
    if len(outcomes) < len(cases):
        return ()
    spent = time.thread_time() + MISTAKE_SECONDS

    def over() -> bool:
        return time.thread_time() > spent or time.monotonic() > until

    best, most = (), 0
    for mistake in exercise.mistakes:
        if over():
            return best
        n_explained = _n_explained(exercise, mistake, cases, outcomes)
        if n_explained > most:
            best, most = (mistake,), n_explained
    if best or _is_simpler_than_two_mistakes(exercise, cases, outcomes):
        return best
    for first, second, both in _pairs(exercise):
        if over():
            break
        if _does_the_same_in_all(exercise, both, cases, outcomes):
            return first, second
    return ()


def _n_explained(
    exercise: Exercise, mistake: Callable, cases: Sequence[Case], outcomes: Sequence[Outcome]
) -> int:
    """In how many failing cases the mistake does the same; 0 when it does otherwise in any."""
    n_explained = 0
    for case, outcome in zip(cases, outcomes, strict=True):
        wrong = _outcome(exercise, mistake, case)
        if wrong.error is not None:  # where a mistake cannot run, it says nothing, or the same
            n_explained += outcome.error is not None and _said(wrong.error) == _said(outcome.error)
            continue
        if outcome.error is not None or not _same(exercise, outcome, wrong):
            return 0
        n_explained += _is_wrong(exercise, case, wrong)
    return n_explained


def _does_the_same_in_all(
    exercise: Exercise, both: Callable, cases: Sequence[Case], outcomes: Sequence[Outcome]
) -> bool:
    n_wrong = 0  # two mistakes can undo each other
    for case, outcome in zip(cases, outcomes, strict=True):
        wrong = _outcome(exercise, both, case)
        if wrong.error is not None and outcome.error is not None:
            if _said(wrong.error) != _said(outcome.error):
                return False
        elif wrong.error or outcome.error or not _same(exercise, outcome, wrong):
            return False
        else:
            n_wrong += _is_wrong(exercise, case, wrong)
    return n_wrong > 0


def _is_simpler_than_two_mistakes(
    exercise: Exercise, cases: Sequence[Case], outcomes: Sequence[Outcome]
) -> bool:
    """Whether one deed, such as a factor, gives each wrong result out of the wanted one."""
    differences = [
        first_difference(outcome.result.value, case.wanted.value, exercise.tolerance)
        for case, outcome in zip(cases, outcomes, strict=True)
        if outcome.error is None
    ]
    return all(not each.place and relation(each) for each in differences if each is not None)


@functools.cache
def _pairs(exercise: Exercise) -> tuple[tuple[Callable, Callable, Callable], ...]:
    common = common_function(exercise.mistakes, exercise.answer)
    pairs = itertools.combinations(exercise.mistakes, 2) if common else ()
    return tuple(
        (first, second, both)
        for first, second in pairs
        if (both := together(first, second, common)) is not None
    )


@functools.cache
def _outcome(exercise: Exercise, mistake: Callable, case: Case) -> Outcome:
    try:
        return Outcome(result_of(exercise, mistake, case.arguments))
    except Exception as error:
        return Outcome(error=error.with_traceback(None))


def _same(exercise: Exercise, outcome: Outcome, wrong: Outcome) -> bool:
    came, known = outcome.result, wrong.result
    return (
        known.changed <= came.changed
        and first_difference(came.value, known.value, exercise.tolerance) is None
    )


def _is_wrong(exercise: Exercise, case: Case, outcome: Outcome) -> bool:
    came, wanted = outcome.result, case.wanted
    return (
        not came.changed <= wanted.changed
        or (came.returned_none and not wanted.returned_none)
        or first_difference(
            came.value, wanted.value, exercise.tolerance, return_annotation(exercise)
        )
        is not None
    )


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
