"""Quizzes: what is asked, what is said to an answer, and how near a wrong number came.

The question shows its options bare. Each could unfold its own verdict, but then a curious click
gives the answer away and nothing keeps that it was answered: so one fold holds all explanations,
for readers without a kernel and for those who give up, and `quiz` is the way to answer.
"""

import math
from collections.abc import Iterator

from circuitbook import progress as stored
from circuitbook.exercises.cards import Card, listed
from circuitbook.exercises.engine import Option, Quiz, quiz_with

LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNFOLD = "The answer, and why"


def quiz(id: str, *chosen: object) -> Card:
    """The question; with the letters of options, or a number, whether they are right and why."""
    question = quiz_with(id)
    if not chosen:
        return _asked(question)
    options = dict(zip(LETTERS, question.options, strict=False))
    if options:
        letters = _letters(question, options, chosen)
        right = {letter for letter, option in options.items() if option.right}
        is_right = letters == right
        answered = ", ".join(sorted(letters))
        reasons = _explained(options if is_right else {x: options[x] for x in sorted(letters)})
        if not is_right:
            reasons += _what_lacks(letters, right)
    else:
        number = _number(question, chosen)
        is_right = abs(number - question.number) <= question.tolerance
        answered = f"{number:.15g}"
        reasons = [question.why if is_right else near_miss(number, question)]
    status = "right" if is_right else "wrong"
    stored.record("quiz", id, status, answered)
    folds = () if is_right or options else (_answer_fold(question),)
    title = f"Quiz {id}, answered {answered}: {status}"
    return Card(status, title, (question.question, *reasons), folds=folds)


def _asked(question: Quiz) -> Card:
    """The question with its options, how to answer, and what this reader has answered so far."""
    options = [
        f"{letter}. {option.text}"
        for letter, option in zip(LETTERS, question.options, strict=False)
    ]
    answers = [e for e in stored.events() if (e.kind, e.id) == ("quiz", question.id)]
    right = [event for event in answers if event.status == "right"]
    title, paragraphs = f"Quiz {question.id}", (question.question, *options)
    if answers:
        last = (right or answers)[-1]
        title += f", answered {last.detail}: {last.status}"
    paragraphs = (*paragraphs, f"Answer with {_how(question)}.")
    return Card("right" if right else "quiz", title, paragraphs, folds=(_answer_fold(question),))


def _answer_fold(question: Quiz) -> tuple[str, str]:
    options = dict(zip(LETTERS, question.options, strict=False))
    number = "" if question.number is None else f"{question.number:.4g}. {question.why}"
    return UNFOLD, "\n\n".join(_explained(options)) or number


def _explained(options: dict[str, Option]) -> list[str]:
    return [
        f"{letter}. {option.text}\n{'✓ Right' if option.right else '✗ Wrong'}. {option.why}"
        for letter, option in options.items()
    ]


def _what_lacks(chosen: set[str], right: set[str]) -> list[str]:
    """For several right options, how many are still missing; for one there is nothing to say."""
    n_missing = len(right - chosen)
    if len(right) == 1 or not n_missing:
        return []
    return [f"{len(right)} options are right; of these you have {len(right) - n_missing}."]


def _how(question: Quiz) -> str:
    """How to answer this quiz; the letters shown are those of no option."""
    if question.number is not None:
        return f'a number: `quiz("{question.id}", 1.5)`'
    n_right = sum(option.right for option in question.options)
    if n_right == 1:
        return f'a letter in place of x: `quiz("{question.id}", "x")`'
    letters = ", ".join(f'"{letter}"' for letter in "uvwxyz"[-n_right:])
    return f'the {n_right} letters that are right: `quiz("{question.id}", {letters})`'


def _letters(question: Quiz, options: dict[str, Option], chosen: tuple) -> set[str]:
    letters = {str(letter).strip().lower() for letter in chosen}
    for letter in letters - set(options):
        raise ValueError(
            f"quiz {question.id} got {letter!r}; its options are {listed(options)}. Answer with "
            f"{_how(question)}."
        )
    return letters


def _number(question: Quiz, chosen: tuple) -> float:
    try:
        if len(chosen) == 1 and not isinstance(chosen[0], bool | str):
            number = float(chosen[0])
            if math.isfinite(number):
                return number
    except (TypeError, ValueError, OverflowError, RuntimeError):  # what has no one number
        pass
    came = listed(map(repr, chosen))
    raise ValueError(f"quiz {question.id} got {came}; answer with {_how(question)}.")


# --- wrong numbers -------------------------------------------------------------------------------


def near_miss(number: float, question: Quiz) -> str:
    """What a wrong number is if readers often give it, or how it misses the right one."""
    wanted = question.number
    for slip, said in question.slips.items():
        if math.isclose(number, slip, rel_tol=0.01):
            return said
    for mended, said in _mended(number, question):
        if math.isfinite(mended) and abs(mended - wanted) <= question.tolerance:
            return said
    if abs(number - wanted) <= max(4 * question.tolerance, 0.02 * abs(wanted)):
        return "Close, but not near enough: was something rounded on the way?"
    return "It is too large." if number > wanted else "It is too small."


def _mended(number: float, question: Quiz) -> Iterator[tuple[float, str]]:
    """What the number would be with one mistake undone, and what to say of that mistake."""
    yield -number, "The number is right, its sign is not."
    if "nats" in question.question:
        yield number * math.log(2), "It would be right in bits: use the natural logarithm."
        yield number * math.log(10), "It would be right to base 10: use the natural logarithm."
    if "bytes" in question.question:
        for ratio in (1.024**3, 1.024**-3):
            yield number * ratio, "It is off by the factor between 10⁹ and 2³⁰ = 1024³."
    if 0 < question.number < 1:
        yield 1 - number, "It is 1 minus the answer."
    for power in (1, 2, 3, 4, 5, 6, 9, 12):
        unit = " Look at the unit that is asked for." if power % 3 == 0 else ""
        unit = " Is a share of 1 asked for, or of 100?" if power == 2 else unit
        yield number / 10**power, f"It is {10**power:,} times too large.{unit}"
        yield number * 10**power, f"It is {10**power:,} times too small.{unit}"
    for factor in (2, 3, 4, 8):
        yield number / factor, f"It is {factor} times too large."
        yield number * factor, f"It is {factor} times too small."
    if number:
        yield 1 / number, "It is 1 divided by the answer."
    if number > 0:
        yield math.sqrt(number), "It is the square of the answer."
        yield number * number, "It is the square root of the answer."
