"""The reader's progress, in the whole book and in one chapter."""

import html
import io
import json
import re
from pathlib import Path

import pytest

from circuitbook import progress as stored
from circuitbook.__main__ import main
from circuitbook.exercises import check, engine, progress, quiz
from circuitbook.exercises.engine import Exercise, Option, Quiz, register


def double(x: float) -> float:
    return 2 * x


def exercise(id: str, title: str, minutes: int) -> Exercise:
    return Exercise(
        id=id,
        title=title,
        answer=double,
        cases={"one": (1.0,), "two": (2.0,)},
        mistakes=[],
        hints=["Twice."],
        minutes=minutes,
    )


EXERCISES = [
    exercise("90.1", "scores", 7),
    *(exercise(f"90.{i}", f"number {i}", 5) for i in range(2, 6)),
]
QUIZZES = [
    Quiz(
        id=f"90-{letter}",
        question="Which?",
        options=(Option("this", right=True, why="Yes."), Option("that", right=False, why="No.")),
    )
    for letter in "abc"
]


@pytest.fixture(autouse=True)
def _only_this_chapter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "_chapters", {})
    monkeypatch.setattr(engine, "_passed", {})
    monkeypatch.setattr(engine, "_chapter_numbers", lambda: [90])
    register(90, EXERCISES, QUIZZES)


def test_progress_counts_exercises_and_quizzes_and_says_what_is_next():
    assert "Chapter 90: 0 of 5 exercises passed" in repr(progress())
    check("90.1", double)
    check("90.3", lambda x: x)
    quiz("90-a", "b")
    quiz("90-b", "a")
    now = progress()
    assert (now.passed, now.exercises, now.quizzes_right, now.minutes_left) == (1, 5, 1, 20)
    title, after, chapter, boxes, legend = repr(now).splitlines()
    assert title == (
        "→ Your progress: 1 of 5 exercises passed, 1 of 3 quizzes right, about 20 minutes of "
        "exercises left"
    )
    assert after == "Next: 90.2 number 2."
    assert chapter == (
        "Chapter 90: 1 of 5 exercises passed, 1 of 3 quizzes right, about 20 minutes left"
    )
    assert boxes == "■□◧□□ ◐●○" and "◧\u00a0tried" in legend
    assert repr(progress(90)).splitlines()[1:] == [f"{chapter}; next: 90.2 number 2", boxes, legend]
    check("90.1", lambda x: x)  # what has passed once stays passed
    assert progress().passed == 1


def test_a_cell_that_was_only_run_is_not_a_try():
    def not_yet(x):
        """Nothing here."""

    check("90.1", not_yet)
    assert progress().chapters[0].exercises[0].status == "open"


def test_the_picture_draws_a_box_for_each_step_and_the_words_beside_it_say_as_much():
    check("90.1", double)
    check("90.3", lambda x: x)
    quiz("90-a", "a")
    page = progress()._repr_html_()
    assert page.count("<span title=") == 8
    for said in ("90.1 scores: passed", "90.2 number 2: open", "90.3 number 3: tried"):
        assert f'title="{said}"' in page
    assert 'title="quiz 90-a: right"' in page
    words = html.unescape(re.sub("<[^>]+>", " ", page))
    assert "1 of 5 exercises passed, 1 of 3 quizzes right" in words
    assert not re.search("[■◧□●◐○]|<svg|<script|<style|var\\(", page)


def test_next_is_where_the_reader_works_then_what_is_left_then_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    register(91, [exercise("91.1", "later", 90)])
    monkeypatch.setattr(engine, "_chapter_numbers", lambda: [90, 91])
    assert progress().next.id == "90.1"
    check("91.1", lambda x: x)
    assert progress().next.id == "91.1" and progress(90).next.id == "90.1"
    check("91.1", double)
    quiz("90-a", "a")
    assert progress().next.id == "90.1"
    for step in EXERCISES:
        check(step.id, double)
    assert str(progress(90).next) == "quiz 90-b" and progress().minutes_left == 0
    assert "left" not in repr(progress(90))
    for letter in "bc":
        quiz(f"90-{letter}", "a")
    assert progress().next is None
    assert "You have done all that there is." in repr(progress())
    assert "Chapter 90: 5 of 5 exercises passed, 3 of 3 quizzes right: done" in repr(progress())


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(5, "5 minutes"), (89, "89 minutes"), (90, "1½ hours"), (185, "3 hours"), (30, "30 minutes")],
)
def test_minutes_are_said_as_hours_where_they_are_many(minutes: int, said: str):
    register(90, [exercise("90.1", "long", minutes)])
    assert f"about {said} of exercises left" in repr(progress())


def test_progress_of_one_chapter_leaves_the_others_out():
    check("90.1", double)
    assert [chapter.number for chapter in progress(90).chapters] == [90]
    assert progress(90).passed == 1
    with pytest.raises(ValueError, match="no chapter 91 with exercises; there are"):
        progress(91)


def test_a_reset_asks_first_and_says_where_what_was_before_stays():
    check("90.1", double)
    asked = progress().reset()
    assert "exercises passed: 1" in repr(asked)
    assert asked.code == "progress().reset(sure=True)"
    assert progress(90).reset().code == "progress(90).reset(sure=True)"
    assert progress().passed == 1
    said = progress(90).reset(sure=True)
    assert "You begin chapter 90 anew" in repr(said) and str(stored.file()) in repr(said)
    assert progress().passed == 0
    check("90.1", double)
    progress().reset(sure=True)
    assert progress().passed == 0
    assert [event.id for event in stored.all_events()] == ["90.1", "90", "90.1", ""]


def test_an_export_says_what_is_shown_and_holds_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    check("90.1", double)
    quiz("90-a", "b")
    progress().export(tmp_path / "mine.json")
    exported = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    (chapter,) = exported["chapters"]
    assert (chapter["chapter"], chapter["next"], chapter["minutes_left"]) == (90, "90.2", 20)
    first = {"id": "90.1", "title": "scores", "minutes": 7, "status": "passed"}
    assert chapter["exercises"][0] == first
    assert chapter["quizzes"][0] == {"id": "90-a", "status": "wrong"}
    assert exported["next"] == "90.2"
    assert [event["status"] for event in exported["events"]] == ["passed", "wrong"]
    before = repr(progress())
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "another machine"))
    assert repr(progress()) != before
    assert stored.merge(tmp_path / "mine.json") == 2
    assert repr(progress()) == before


# --- the same from the shell ---------------------------------------------------------------------


def test_the_shell_shows_the_same_and_the_json(capsys: pytest.CaptureFixture):
    check("90.1", double)
    assert main(["progress"]) == 0
    assert capsys.readouterr().out == f"{progress()}\n"
    assert main(["progress", "90"]) == 0
    assert capsys.readouterr().out == f"{progress(90)}\n"
    assert main(["progress", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chapters"][0]["next"] == "90.2"
    assert main(["progress", "7"]) == 1
    assert "no chapter 7" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "left"), [("yes\n", 0), (" Y\n", 0), ("\n", 1), ("", 1)])
def test_the_shell_resets_only_after_a_yes(
    typed: str, left: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    check("90.1", double)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["progress", "90", "--reset"]) == left
    assert "1 of 5 exercises passed" in (said := capsys.readouterr().out)
    assert progress().passed == left
    assert ("nothing was changed" in said) == bool(left)


def test_the_shell_resets_without_a_question_and_takes_progress_back_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    check("90.1", double)
    assert main(["progress", "--export", str(tmp_path / "mine.json")]) == 0
    assert main(["progress", "--reset", "--yes"]) == 0
    assert str(stored.file()) in capsys.readouterr().out and progress().passed == 0
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "another machine"))
    assert main(["progress", "--import", str(tmp_path / "mine.json")]) == 0
    assert "1 events were new" in capsys.readouterr().out and progress().passed == 1
    for words in (["--import", "missing.json"], ["--export", "missing/mine.json"]):
        assert main(["progress", words[0], str(tmp_path / words[1])]) == 1
        assert capsys.readouterr().err.count("\n") == 1
