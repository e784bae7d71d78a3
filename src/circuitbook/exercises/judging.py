"""Judge a reader's answer: whether it passes, and if not, what to tell.

Whatever touches the reader's objects runs in the sandbox: also the comparing, because an object of
theirs may answer `==`, or even "what are you?", by a loop.
"""

import copy
import dis
import inspect
import linecache
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from circuitbook.exercises.cards import Card, ShownAsCard, listed
from circuitbook.exercises.compare import (
    described,
    explanation,
    first_difference,
    same,
    snapshot,
)
from circuitbook.exercises.diagnosis import known_mistakes
from circuitbook.exercises.exercise import (
    Case,
    Exercise,
    ReturnedNoneError,
    argument_name,
    call,
    cases_of,
    result_of,
    return_annotation,
    told,
)
from circuitbook.exercises.guard import (
    LIBRARIES,
    Kept,
    WouldHarm,
    is_readers,
    nothing_ends_the_notebook,
    own_modules,
    settings_kept,
)
from circuitbook.exercises.sandbox import MEMORY, Outcome, Runs, run_all

TO_COMPARE = 0.8  # seconds, at least, for a verdict on results that came at the last moment
TOO_MUCH_MEMORY = (
    f"Your code asked for more than {MEMORY / 1024**3:g} GB of memory; the cases need a few MB. Is "
    "there an axis too many, or a list that grows for ever?"
)


@dataclass(frozen=True, repr=False)
class Verdict(ShownAsCard):
    """What a check found: true when the answer passed, a card in a notebook, text elsewhere."""

    exercise: str
    status: str  # "passed", "not started", "wrong", "error" or "timeout"
    mistake: str | None = None  # the name of the mistake, where it is a known one
    case: str | None = None  # the first case that failed
    message: str = ""
    title: str = ""
    hint: str = ""
    printed: str = ""

    def __bool__(self) -> bool:
        return self.status == "passed"

    @property
    def card(self) -> Card:
        paragraphs = [*self.message.split("\n\n"), self.hint]
        if self.printed:
            paragraphs.append("Your code printed:")
        title = f"{self.exercise} {self.title}: {self.status}"
        return Card(self.status, title, tuple(filter(None, paragraphs)), self.printed)


def judge(exercise: Exercise, function: object) -> Verdict:
    """The verdict on a function; nothing is recorded."""
    with settings_kept(), nothing_ends_the_notebook():
        earlier = _AT_IMPORT.put_back(only_the_readers=True)
        cases = cases_of(exercise)
        kept = Kept([*LIBRARIES, *own_modules(), exercise])
        try:
            verdict, replaced = _verdict_in_time(exercise, function, cases, kept)
        finally:  # the stop button can end it anywhere
            late = kept.put_back()
    if replaced := sorted({*replaced, *late}):
        harm = (
            f"Your code replaces {_code(replaced)} for the whole notebook; that is undone. Give "
            "what you make a name of its own."
        )
        status = "wrong" if verdict else verdict.status
        shown = harm if verdict else f"{verdict.message}\n\n{harm}"
        return replace(verdict, status=status, message=shown)
    if earlier:
        note = f"An earlier cell had replaced {_code(earlier)}; that is undone."
        return replace(verdict, message=f"{verdict.message}\n\n{note}")
    return verdict


def _verdict_in_time(
    exercise: Exercise, function: object, cases: Sequence[Case], kept: Kept
) -> tuple[Verdict, list[str]]:
    """The verdict, and the names of what the function replaced."""
    deadline = time.monotonic() + exercise.seconds
    verdict = partial(Verdict, exercise.id, title=exercise.title)
    looked = run_all([partial(_unusable, exercise, function)], exercise.seconds)
    if why := _why_not(looked):
        return verdict("error", message=f"This cannot be checked: {why}"), []
    status, message = looked.outcomes[0].result
    if message:
        return verdict(status, message=message), []

    wanted = [snapshot(case.wanted.value) for case in cases]  # a copy that nobody else has
    tasks = [
        partial(result_of, exercise, function, copy.deepcopy(case.arguments)) for case in cases
    ]
    runs = run_all(tasks, max(0.0, deadline - time.monotonic()))
    replaced = kept.put_back()
    if not all(same(copied, case.wanted.value) for copied, case in zip(wanted, cases, strict=True)):
        cases_of.cache_clear()
        return verdict("wrong"), [*replaced, "the wanted results"]

    seconds = max(TO_COMPARE, deadline - time.monotonic())
    until = time.monotonic() + seconds / 2  # no mistake is looked for after that
    compare = partial(_verdict, exercise, function, cases, runs, until)
    compared = run_all([compare], seconds, stop_seconds=0.1)
    if compared.timed_out and runs.timed_out:
        return _timed_out(exercise, cases, runs), replaced
    if why := _why_not(compared):
        message = f"What your function returned cannot be compared: {why}"
        return verdict("error", message=message), replaced
    return compared.outcomes[0].result, replaced


def _why_not(runs: Runs) -> str:
    """Why its one task came to nothing; "" when it came to something."""
    if runs.timed_out:
        return "it does not answer."
    return _said(runs.outcomes[0].error) if runs.outcomes[0].error is not None else ""


def _code(names: Sequence[str]) -> str:
    few = [f"`{name}`" if "." in name else name for name in names[:4]]
    return listed([*few, "more"] if len(names) > 4 else few)


def _unusable(exercise: Exercise, function: object) -> tuple[str, str]:
    """The status and message for what cannot be run with the cases; no message when it can."""
    answer, name = exercise.answer, exercise.answer.__name__
    is_class = inspect.isclass(function)
    if not callable(function) or is_class != inspect.isclass(answer):
        came = f"the class `{function.__name__}`" if is_class else described(function)
        kind = "class" if inspect.isclass(answer) else "function"
        return "error", (
            f"`check` got {came}; wanted is your {kind} itself, without brackets after its name: "
            f'`check("{exercise.id}", {name})`.'
        )
    if any(map(_is_stub, _functions_of(function))):
        return "not started", _how_to_start(exercise)
    for is_kind, word in (
        (inspect.isgeneratorfunction, "`yield`s: give the whole result back with `return`"),
        (inspect.iscoroutinefunction, "is `async`: write it as a plain `def`"),
    ):
        if is_kind(function) and not is_kind(answer):
            return "wrong", f"Your function {word}."
    return "wrong", _unfit_parameters(exercise, function)


def _unfit_parameters(exercise: Exercise, function: Callable) -> str:
    """What to say where a function cannot take the arguments that it will get; else ""."""
    parameters = inspect.signature(exercise.answer).parameters
    needed = [p for p in parameters.values() if p.default is p.empty]
    named = {p.name: None for p in needed if p.kind is p.KEYWORD_ONLY}
    n_by_position = len([p for p in needed if p.kind is p.POSITIONAL_OR_KEYWORD])
    if exercise.run is call:
        named, n_by_position = {}, max(len(case.arguments) for case in cases_of(exercise))
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some built-in functions have none
        return ""
    try:
        signature.bind(*[None] * n_by_position, **named)
    except TypeError:
        came, wanted = ", ".join(signature.parameters), ", ".join(parameters)
        return f"Your function takes ({came}); wanted is ({wanted}), in this order."
    return ""


def _functions_of(function: Callable) -> list[Callable]:
    """The function itself, or what a class defines."""
    if not inspect.isclass(function):
        return [function]
    return [member for member in vars(function).values() if inspect.isfunction(member)]


def _is_stub(function: Callable) -> bool:
    """Whether a function's body is nothing but a docstring, `...` or `pass`."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return False
    silent = {"RESUME", "NOP", "COPY_FREE_VARS", "MAKE_CELL"}
    steps = [step for step in dis.get_instructions(code) if step.opname not in silent]
    returns = [step.opname for step in steps] in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"])
    return returns and (steps[0].argval is None or steps[0].argval is ...)


def _how_to_start(exercise: Exercise) -> str:
    return f'Put your code in place of `...`, then run this again. `hint("{exercise.id}")` helps.'


def _verdict(
    exercise: Exercise, function: Callable, cases: Sequence[Case], runs: Runs, until: float
) -> Verdict:
    verdict = partial(Verdict, exercise.id, title=exercise.title, printed=_steady(runs.printed))
    for case, outcome in zip(cases, runs.outcomes, strict=False):  # fewer when time was over
        status, kind, detail = _fault(exercise, case, outcome)
        if status == "passed":
            continue
        if _left_as_it_was(function, outcome):
            return verdict("not started", message=_how_to_start(exercise))
        mistakes = known_mistakes(exercise, cases, runs.outcomes, until)
        if mistakes:
            detail = f"{kind}\n{detail}" if status == "error" else detail
            status, kind = "wrong", "\n\n".join(map(_named, mistakes))
            kind = f"Two mistakes together.\n\n{kind}" if len(mistakes) == 2 else kind
        message = "\n\n".join(filter(None, [kind, f'Case "{case.name}": {detail}']))
        names = " and ".join(mistake.__name__ for mistake in mistakes)
        return verdict(status, mistake=names or None, case=case.name, message=message)
    if runs.timed_out:
        return _timed_out(exercise, cases, runs)
    message = f"{len(cases)} of {len(cases)} cases agree with the book's answer."
    return verdict("passed", message=message)


def _named(mistake: Callable) -> str:
    name = mistake.__name__.replace("_", " ")
    return f"{name[0].upper()}{name[1:]}. {told(mistake)[0]}"


def _timed_out(exercise: Exercise, cases: Sequence[Case], runs: Runs) -> Verdict:
    case = cases[len(runs.outcomes)]
    why = (
        TOO_MUCH_MEMORY
        if runs.too_much_memory
        else (
            f"your code did not end within {exercise.seconds:g} s. Is there a loop that never ends?"
        )
    )
    message = f'Case "{case.name}": {why}'
    if not runs.stopped:
        message += " It did not stop when told to: restart the kernel before you go on."
    return Verdict(
        exercise.id,
        "error" if runs.too_much_memory else "timeout",
        case=case.name,
        message=message,
        title=exercise.title,
        printed=_steady(runs.printed),
    )


def _left_as_it_was(function: Callable, outcome: Outcome) -> bool:
    """Whether the function gave up where the reader's code belongs."""
    error = outcome.error
    if isinstance(error, NotImplementedError):  # raised by the code itself, not deep in torch
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return (
            is_readers(frame.f_code.co_filename) and "NotImplementedError" in frame.f_code.co_names
        )
    nothing = isinstance(error, NameError | ReturnedNoneError) or (
        error is None and outcome.result.returned_none
    )
    if error is None and outcome.result.value is Ellipsis:
        return True
    try:
        sources = map(inspect.getsource, _functions_of(function)) if nothing else ()
        source = "".join(sources)
    except (OSError, TypeError):
        source = ""
    return re.search(r"^\s*\.\.\.\s*# your code here", source, flags=re.MULTILINE) is not None


def _fault(exercise: Exercise, case: Case, outcome: Outcome) -> tuple[str, str, str]:
    """The status of one case, what kind of fault it is, and what came and what was wanted."""
    if outcome.error is not None and not isinstance(outcome.error, ReturnedNoneError):
        return "error", *_error_text(outcome.error)
    wanted = case.wanted
    if outcome.error is not None or (outcome.result.returned_none and not wanted.returned_none):
        kind = "Your function returned None: did you forget `return`?"
        return "wrong", kind, f"Came None; wanted {described(wanted.value)}."
    result = outcome.result
    changed = [argument_name(exercise, i) for i in sorted(result.changed - wanted.changed)]
    difference = first_difference(
        result.value, wanted.value, exercise.tolerance, return_annotation(exercise)
    )
    if difference is None and not changed:
        return "passed", "", ""
    if difference is None:
        kind = (
            f"The result is right, but your function changes its input {listed(changed)} in place: "
            "the next cell that uses it gets the changed one. Make a new tensor: `x = x + y`, not "
            "`x += y`, and no method whose name ends in `_`."
        )
        return "wrong", kind, f"{listed(changed)} came back changed."
    kind, detail = explanation(difference)
    if changed:
        detail += f"\nYour function also changes its input {listed(changed)} in place."
    return "wrong", kind, detail


# --- words ---------------------------------------------------------------------------------------


def _error_text(error: BaseException) -> tuple[str, str]:
    """What the reader's code raised, and at which line of it."""
    if isinstance(error, WouldHarm):
        kind = f"Your code called `{error}`, which would harm the notebook: take that out."
    elif isinstance(error, SystemExit):
        kind = "Your code called `exit`, which would end the notebook: take that out."
    elif isinstance(error, MemoryError) or "can't allocate memory" in _said(error):
        kind = TOO_MUCH_MEMORY
    else:
        kind = f"Your code raised {_said(error)}"
    readers = [
        (frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_readers(frame.f_code.co_filename)
    ]
    if not readers:
        return kind, "it happened while the function was called."
    code, line = readers[-1]
    source = linecache.getline(code.co_filename, line).strip()
    return kind, f"line {line}, in {code.co_name}" + (f": `{source}`" if source else ".")


def _said(error: BaseException) -> str:
    """Such as "ValueError: what is wrong", cut where it gets long."""
    try:
        text = _steady(str(error))
    except Exception:  # an exception that cannot say what it is
        text = ""
    text = text if len(text) <= 600 else text[:600] + " ..."
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."


def _steady(text: str) -> str:
    """The text without what changes from run to run: addresses, and paths of notebook cells."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text.encode("utf-8", "replace").decode())
    text = re.sub(r"\S*ipykernel_\d+\S*?\.py", "your code", text)
    return re.sub(r"[^\S\n]|[\x00-\x09\x0b-\x1f\x7f]", " ", text)


# the libraries, and the files that judge, as they are before a reader's first line
_FILES = [
    sys.modules[f"circuitbook.exercises.{name}"]
    for name in "cards compare diagnosis exercise guard pairs sandbox".split()
]
_AT_IMPORT = Kept([*LIBRARIES, *_FILES, sys.modules[__name__]])
