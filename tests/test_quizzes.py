"""Quizzes: what is asked, what is said to an answer, and what is kept of it."""

import math
import re

import pytest
import torch

from circuitbook import progress as stored
from circuitbook.exercises import engine, quiz
from circuitbook.exercises.engine import Option, Quiz, register
from circuitbook.exercises.quizzes import near_miss

QUIZZES = [
    Quiz(
        id="90-a",
        question="What does `softmax` give?",
        options=(
            Option("weights", right=True, why="They sum to 1."),
            Option("scores <b>", right=False, why="Those go in."),
        ),
    ),
    Quiz(
        id="90-b",
        question="Which are even?",
        options=(
            Option("two", right=True, why="2 = 2 · 1."),
            Option("three", right=False, why="It leaves 1."),
            Option("four", right=True, why="4 = 2 · 2."),
        ),
    ),
    Quiz(id="90-c", question="What is √2?", number=1.414, tolerance=0.01, why="1.414² ≈ 2."),
]


@pytest.fixture(autouse=True)
def _only_these_quizzes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "_chapters", {})
    monkeypatch.setattr(engine, "_chapter_numbers", lambda: [90])
    register(90, (), QUIZZES)


def test_a_question_shows_its_options_and_how_to_answer_and_gives_nothing_away():
    card = quiz("90-b")
    text, page = repr(card), card._repr_html_()
    assert "Which are even?" in text and "b. three" in text
    assert 'Answer with the 2 letters that are right: `quiz("90-b", "y", "z")`.' in text
    assert 'Answer with a letter in place of x: `quiz("90-a", "x")`.' in repr(quiz("90-a"))
    assert 'Answer with a number: `quiz("90-c", 1.5)`.' in repr(quiz("90-c"))
    for shown in (text, page[: page.index("<details")]):
        assert "It leaves 1." not in shown and "Right" not in shown and "Wrong" not in shown
    assert "scores &lt;b&gt;" in quiz("90-a")._repr_html_()
    assert "<code>softmax</code>" in quiz("90-a")._repr_html_()


@pytest.mark.parametrize("id", ["90-a", "90-b", "90-c"])
def test_one_closed_fold_holds_the_answer_and_every_explanation(id: str):
    page = quiz(id)._repr_html_()
    assert page.count("<details") == 1 and "<details open" not in page
    folded = page[page.index("</summary>") :]
    question = engine.quiz_with(id)
    assert all(option.why in folded for option in question.options)
    assert folded.count("Wrong. ") == sum(not option.right for option in question.options)
    assert question.why in folded
    assert question.number is None or str(question.number) in folded


@pytest.mark.parametrize(
    ("id", "chosen", "status", "said"),
    [
        ("90-a", ["a"], "right", "a. weights\n✓ Right. They sum to 1."),
        ("90-a", ["a"], "right", "b. scores <b>\n✗ Wrong. Those go in."),
        ("90-a", [" B "], "wrong", "Wrong. Those go in."),
        ("90-a", ["a", "b"], "wrong", "Wrong. Those go in."),
        ("90-b", ["c", "a"], "right", "4 = 2 · 2."),
        ("90-b", ["c", "a", "c"], "right", "It leaves 1."),
        ("90-b", ["a"], "wrong", "2 options are right; of these you have 1."),
        ("90-b", ["b"], "wrong", "2 options are right; of these you have 0."),
        ("90-b", ["a", "b", "c"], "wrong", "b. three\n✗ Wrong. It leaves 1."),
        ("90-c", [1.41], "right", "1.414² ≈ 2."),
        ("90-c", [math.sqrt(2)], "right", "What is √2?"),
        ("90-c", [torch.tensor(2.0).sqrt()], "right", "1.414² ≈ 2."),
        ("90-c", [2], "wrong", "It is the square of the answer."),
    ],
)
def test_a_quiz_judges_what_was_chosen(id: str, chosen: list, status: str, said: str):
    card = quiz(id, *chosen)
    assert card.status == status and card.title.endswith(f": {status}")
    assert said in repr(card)


def test_a_wrong_choice_says_why_and_gives_nothing_else_away():
    page = quiz("90-b", "b")._repr_html_()
    assert "It leaves 1." in page
    assert not any(other in page for other in ("Right", "2 = 2", "4 = 2", "<details"))


def test_a_wrong_number_is_not_told_the_right_one_unless_unfolded():
    card = quiz("90-c", 5)
    assert "1.41" not in repr(card)
    page = card._repr_html_()
    assert "1.41" not in page[: page.index("<details")] and "1.414. 1.414² ≈ 2." in page


@pytest.mark.parametrize(
    ("wanted", "given", "said"),
    [
        (4.5, -4.5, "its sign is not"),
        (-0.1, 0.1, "its sign is not"),
        (0.486, 48.6, "100 times too large. Is a share of 1 asked for, or of 100?"),
        (0.25, 0.75, "1 minus the answer"),
        (4.72, 4_718_592, "1,000,000 times too large. Look at the unit that is asked for."),
        (4.72, 0.00472, "1,000 times too small. Look at the unit that is asked for."),
        (9504.0, 19008, "It is 2 times too large."),
        (9504.0, 3168, "It is 3 times too small."),
        (4.5, 1 / 4.5, "1 divided by the answer"),
        (4.5, 4.5**2, "the square of the answer"),
        (4.5, 4.5**0.5, "the square root of the answer"),
        (4.82, math.log2(124), "right in bits"),
        (4.82, math.log10(124), "right to base 10"),
        (10.103, 9.409, "between 10⁹ and 2³⁰"),
        (4.5, 4.44, "Close, but not near enough"),
        (4.5, 6.1, "It is too large."),
        (4.5, 0.0, "It is too small."),
        (0.0, 0.3, "It is too large."),
        (4.5, 1e300, "It is too large."),
        (4.5, 1e-320, "It is too small."),
    ],
)
def test_a_wrong_number_is_told_how_it_misses(wanted: float, given: float, said: str):
    question = "How many nats, or bytes?"
    question = Quiz("90-d", question, number=wanted, tolerance=0.01 * abs(wanted), why="So it is.")
    assert said in near_miss(float(given), question)


def test_a_wrong_number_that_is_known_is_told_by_its_own_name():
    question = Quiz("90-d", "How many?", number=0.1, tolerance=0.005, slips={0.7: "The bias."})
    assert near_miss(0.7, question) == near_miss(0.704, question) == "The bias."
    assert near_miss(0.8, question) == "It is 8 times too large."


def test_nats_and_bytes_are_spoken_of_only_where_they_are_asked_for():
    question = Quiz("90-d", "How many?", number=4.82, tolerance=0.01, why="So it is.")
    for number in (math.log2(124), math.log10(124), 4.82 / 1.024**3):
        assert not re.search("bits|logarithm|1024", near_miss(number, question))


def test_a_question_that_was_answered_says_so_until_the_reset():
    assert quiz("90-b").title == "Quiz 90-b"
    quiz("90-b", "b")
    assert (quiz("90-b").status, quiz("90-b").title) == ("quiz", "Quiz 90-b, answered b: wrong")
    quiz("90-b", "c", "a")
    quiz("90-b", "b")  # once right, right
    assert (quiz("90-b").status, quiz("90-b").title) == ("right", "Quiz 90-b, answered a, c: right")
    quiz("90-c", 1.41)
    assert quiz("90-c").title == "Quiz 90-c, answered 1.41: right"
    stored.reset()
    assert quiz("90-b").title == "Quiz 90-b"


@pytest.mark.parametrize(
    ("id", "chosen", "said"),
    [
        ("90-a", ["c"], r"quiz 90-a got 'c'; its options are a and b.*`quiz\(\"90-a\", \"x\"\)`"),
        ("90-a", [1], "got '1'; its options are a and b"),
        ("90-a", ["ab"], "got 'ab'"),
        ("90-c", ["a"], "answer with a number: `quiz"),
        ("90-c", [1.0, 2.0], "answer with a number: `quiz"),
        ("90-c", [True], "answer with a number: `quiz"),
        ("90-c", [float("nan")], "answer with a number: `quiz"),
        ("90-c", [torch.ones(2)], "answer with a number: `quiz"),
        ("90-c", [1j], "answer with a number: `quiz"),
        ("90-c", [10**400], "answer with a number: `quiz"),
        ("90-c", [[1.0]], "answer with a number: `quiz"),
        ("90-z", [], "There is no quiz '90-z'; the nearest are '90-"),
        ("90.1", [], "There is no quiz '90.1'"),
    ],
)
def test_a_bad_choice_is_a_clear_error(id: str, chosen: list, said: str):
    with pytest.raises(ValueError, match=said):
        quiz(id, *chosen)
