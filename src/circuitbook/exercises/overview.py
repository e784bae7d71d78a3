"""How far a reader has come: `progress()`, as a picture with words that say the same."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitbook import progress as stored
from circuitbook.exercises.cards import Boxes, Card, ShownAsCard, listed
from circuitbook.exercises.engine import chapters

PASSED, TRIED, OPEN = "■", "◧", "□"  # exercises
RIGHT, WRONG, UNANSWERED = "●", "◐", "○"  # quizzes
# a line breaks between two of these, not within one
LEGEND = "\u2003".join(
    item.replace(" ", "\u00a0")
    for item in ("■ passed", "◧ tried", "□ open", "● quiz right", "◐ wrong", "○ open")
)


@dataclass(frozen=True)
class Step:
    """An exercise or a quiz, and how far the reader has come with it."""

    id: str
    title: str  # of an exercise; "" for a quiz
    minutes: int  # what an exercise takes at first; 0 for a quiz
    status: str  # "passed", "tried" or "open"; of a quiz "right", "wrong" or "open"

    @property
    def done(self) -> bool:
        return self.status in ("passed", "right")

    @property
    def box(self) -> str:
        if self.title:
            return {"passed": PASSED, "tried": TRIED, "open": OPEN}[self.status]
        return {"right": RIGHT, "wrong": WRONG, "open": UNANSWERED}[self.status]

    def __str__(self) -> str:
        return f"{self.id} {self.title}" if self.title else f"quiz {self.id}"


@dataclass(frozen=True, repr=False)
class ChapterProgress:
    """What has been passed in one chapter."""

    number: int
    exercises: tuple[Step, ...]
    quizzes: tuple[Step, ...]

    @property
    def passed(self) -> int:
        return sum(step.done for step in self.exercises)

    @property
    def quizzes_right(self) -> int:
        return sum(step.done for step in self.quizzes)

    @property
    def minutes_left(self) -> int:
        return sum(step.minutes for step in self.exercises if not step.done)

    @property
    def next(self) -> Step | None:
        """The first exercise that is left, or else the first quiz; None when all is done."""
        return next((s for s in (*self.exercises, *self.quizzes) if not s.done), None)

    @property
    def boxes(self) -> Boxes:
        """One box per exercise, then one circle per quiz."""
        gap = [(" ", "")] if self.quizzes else []
        return Boxes(
            (
                *((step.box, f"{step}: {step.status}") for step in self.exercises),
                *gap,
                *((step.box, f"{step}: {step.status}") for step in self.quizzes),
            )
        )

    @property
    def words(self) -> str:
        """The picture in words."""
        said = f"Chapter {self.number}: {self.passed} of {len(self.exercises)} exercises passed"
        if self.quizzes:
            said += f", {self.quizzes_right} of {len(self.quizzes)} quizzes right"
        if self.minutes_left:
            said += f", about {_duration(self.minutes_left)} left"
        return said if self.next else f"{said}: done"

    def __repr__(self) -> str:
        return f"{self.words}; next: {self.next}" if self.next else self.words


@dataclass(frozen=True, repr=False)
class Progress(ShownAsCard):
    """What this reader has passed, in the whole book or in one chapter."""

    chapters: tuple[ChapterProgress, ...]
    next: Step | None  # where they are at work, else the first that is left; None: all is done
    chapter: int | None = None  # the one that was asked for, if one was

    @property
    def passed(self) -> int:
        return sum(chapter.passed for chapter in self.chapters)

    @property
    def exercises(self) -> int:
        return sum(len(chapter.exercises) for chapter in self.chapters)

    @property
    def quizzes_right(self) -> int:
        return sum(chapter.quizzes_right for chapter in self.chapters)

    @property
    def minutes_left(self) -> int:
        """What the exercises that are left take somebody who meets them for the first time."""
        return sum(chapter.minutes_left for chapter in self.chapters)

    @property
    def card(self) -> Card:
        legend = Boxes.read(LEGEND)
        if self.chapter is not None:
            (chapter,) = self.chapters
            return Card("progress", "Your progress", (repr(chapter), chapter.boxes, legend))
        rows = [part for chapter in self.chapters for part in (chapter.words, chapter.boxes)]
        said = f"{self.passed} of {self.exercises} exercises passed"
        n_quizzes = sum(len(chapter.quizzes) for chapter in self.chapters)
        if n_quizzes:
            said += f", {self.quizzes_right} of {n_quizzes} quizzes right"
        if self.minutes_left:
            said += f", about {_duration(self.minutes_left)} of exercises left"
        after = f"Next: {self.next}." if self.next else "You have done all that there is."
        return Card("progress", f"Your progress: {said}", (after, *rows, legend))

    def reset(self, sure: bool = False) -> Card:
        """Begin anew with what is shown here, the book or one chapter; asks once more before.

        Nothing is lost: the file of your progress keeps what was before.
        """
        what, call = (
            ("the whole book", "progress()")
            if self.chapter is None
            else (
                f"chapter {self.chapter}",
                f"progress({self.chapter})",
            )
        )
        done = f"exercises passed: {self.passed}, quizzes right: {self.quizzes_right}"
        if not sure:
            ask = f"This takes back what you have done ({done}). If you mean it:"
            return Card("progress", f"Begin {what} anew?", (ask,), f"{call}.reset(sure=True)")
        stored.reset(self.chapter)
        kept = f"What was before ({done}) stays in {stored.file()}, and in what you export."
        return Card("progress", f"You begin {what} anew", (kept,))

    def export(self, path: str | os.PathLike[str]) -> Card:
        """Write `to_json()` to a file; `circuitbook progress --import` reads it elsewhere."""
        Path(path).write_text(self.to_json(), encoding="utf-8")
        return Card("progress", "Your progress is written", (f"It is in {path}.",))

    def to_json(self) -> str:
        """The chapters as they stand, and every event ever recorded, as JSON.

        "chapters" is what is shown; "events" is what it was made from, the oldest first, what was
        before a reset included: each a `circuitbook.progress.Event`.
        """
        chapters = [
            {
                "chapter": chapter.number,
                "exercises": [vars(step) for step in chapter.exercises],
                "quizzes": [{"id": step.id, "status": step.status} for step in chapter.quizzes],
                "minutes_left": chapter.minutes_left,
                "next": chapter.next and chapter.next.id,
            }
            for chapter in self.chapters
        ]
        events = [vars(event) for event in stored.all_events()]
        document = {"next": self.next and self.next.id, "chapters": chapters, "events": events}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def progress(chapter: int | None = None) -> Progress:
    """What this reader has passed, in one chapter or in all that there are."""
    shown = chapters()
    if chapter is not None:
        if chapter not in shown:
            raise ValueError(
                f"There is no chapter {chapter!r} with exercises; there are "
                f"{listed(map(str, shown))}."
            )
        shown = {chapter: shown[chapter]}
    happened = stored.events()
    progresses = tuple(
        ChapterProgress(
            number,
            tuple(_step("check", e.id, e.title, e.minutes, happened) for e in content.exercises),
            tuple(_step("quiz", quiz.id, "", 0, happened) for quiz in content.quizzes),
        )
        for number, content in shown.items()
    )
    return Progress(progresses, _next(progresses, happened), chapter)


def _step(kind: str, id: str, title: str, minutes: int, happened: Sequence[stored.Event]) -> Step:
    good, bad = ("passed", "tried") if kind == "check" else ("right", "wrong")
    came = {e.status for e in happened if (e.kind, e.id) == (kind, id)} - {"not started"}
    return Step(id, title, minutes, good if good in came else bad if came else "open")


def _next(progresses: Sequence[ChapterProgress], happened: Sequence[stored.Event]) -> Step | None:
    """What comes next where the reader was last at work; else the first that is left."""
    last = happened[-1].id if happened else ""
    at_work = [p for p in progresses if str(p.number) == stored.chapter_of(last)]
    return next((p.next for p in (*at_work, *progresses) if p.next), None)


def _duration(minutes: int) -> str:
    """Such as "25 minutes" or "3½ hours"."""
    if minutes < 90:
        return f"{minutes} minutes"
    halves = round(minutes / 30)
    return f"{halves // 2}{'½' if halves % 2 else ''} hours"
