"""What this reader has tried and passed, kept in sqlite in the user's data folder.

One table of events that only grows: two notebooks that write at once lose nothing, nor does a kill
in the middle of a write. A file that sqlite cannot read is set aside, never deleted; where nothing
can be written, progress is kept in memory and the checks go on.
"""

import itertools
import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

APPLICATION_ID = 0xC12C  # marks the file as ours, so that we never write into another program's
SECONDS_TO_WAIT = 10.0  # for another notebook that is writing


@dataclass(frozen=True)
class Event:
    """Something that the reader did: a check, a hint, a solution looked at, a quiz, a reset."""

    at: str  # UTC, ISO 8601
    kind: str  # "check", "hint", "solution", "quiz" or "reset"
    id: str  # "3.5" of an exercise, "3-a" of a quiz; of a reset: the chapter, or "" for all
    status: str  # of a check or a quiz: "passed", "wrong", ...; of a hint: which one
    detail: str  # the name of the mistake; what was answered to a quiz


COLUMNS = [field.name for field in fields(Event)]
_in_memory: list[Event] = []  # what could not be written
_warned: set[str] = set()


def record(kind: str, id: str, status: str = "", detail: str = "") -> None:
    """Keep one event; where the file cannot be written, in memory, with one line that says so."""
    event = Event(datetime.now(UTC).isoformat(), kind, id, status, detail)
    places = ", ".join("?" * len(COLUMNS))

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute(f"INSERT INTO events VALUES ({places})", tuple(asdict(event).values()))

    try:
        _with_file(insert)
    except (OSError, sqlite3.Error) as error:
        _in_memory.append(event)
        _warn_once(error)


def all_events() -> tuple[Event, ...]:
    """Every event ever recorded, the oldest first, wherever it was recorded."""

    def select(connection: sqlite3.Connection) -> list[tuple]:
        columns = ", ".join(COLUMNS)
        return connection.execute(f"SELECT {columns} FROM events ORDER BY at, rowid").fetchall()

    try:
        stored = [Event(*row) for row in _with_file(select)]
    except (OSError, sqlite3.Error) as error:
        stored = []
        _warn_once(error)
    return (*stored, *_in_memory)


def events() -> tuple[Event, ...]:
    """What happened since the last reset, of the book or of the chapter, the oldest first."""
    happened = all_events()
    began = {event.id: i for i, event in enumerate(happened) if event.kind == "reset"}
    return tuple(
        event
        for i, event in enumerate(happened)
        if event.kind != "reset" and i > max(began.get("", -1), began.get(chapter_of(event.id), -1))
    )


def chapter_of(id: str) -> str:
    """The number of the chapter that an id belongs to, as text: "3" for "3.5" and for "3-a"."""
    return re.split("[.-]", id)[0]


def reset(chapter: int | None = None) -> None:
    """Start from nothing again, in one chapter or in all; the file keeps what was before."""
    record("reset", id="" if chapter is None else str(chapter))


def merge(path: str | os.PathLike[str]) -> int:
    """Add those events of an exported file that are not here yet, and say how many they were.

    Raises ValueError for a file that holds no exported progress, OSError where nothing can be
    written; nothing is added then.
    """
    try:
        events = json.loads(Path(path).read_text(encoding="utf-8"))["events"]
        found = [Event(**{name: event[name] for name in COLUMNS}) for event in events]
        if not all(isinstance(text, str) for event in found for text in asdict(event).values()):
            raise TypeError
        for event in found:
            datetime.fromisoformat(event.at)
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} holds no exported progress; nothing was added.") from None
    known = set(all_events())
    new = [event for event in dict.fromkeys(found) if event not in known]
    places = ", ".join("?" * len(COLUMNS))

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        rows = [tuple(asdict(event).values()) for event in new]
        connection.executemany(f"INSERT INTO events VALUES ({places})", rows)
        connection.execute("COMMIT")

    try:
        _with_file(insert)
    except sqlite3.Error as error:
        raise OSError(f"Progress cannot be saved in {file()} ({error}).") from None
    return len(new)


def file() -> Path:
    """Where progress is kept: CIRCUITBOOK_HOME, or the user's data folder."""
    folder = os.environ.get("CIRCUITBOOK_HOME") or platformdirs.user_data_dir("circuitbook")
    return Path(folder) / "progress.sqlite"


class _ForeignFileError(sqlite3.DatabaseError):
    """A sqlite file that another program made."""


def _with_file(action: Callable[[sqlite3.Connection], Any]) -> Any:
    """Run one statement, which is whole or not at all; an unreadable file is set aside first."""
    path = file()
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(3):
        found = _identity(path)
        try:
            return _run(path, action)
        except sqlite3.DatabaseError as error:
            if not _unreadable(error, path):
                raise
            _set_aside(path, found)
    return _run(path, action)


def _run(path: Path, action: Callable[[sqlite3.Connection], Any]) -> Any:
    with closing(sqlite3.connect(path, timeout=SECONDS_TO_WAIT, isolation_level=None)) as database:
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            database.execute("BEGIN IMMEDIATE")  # wait here for a notebook that does the same
            _create(database)
            database.execute("COMMIT")
        return action(database)


def _create(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        return  # another notebook was faster
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _ForeignFileError("it belongs to another program")
    columns = ", ".join(f"{column} TEXT NOT NULL" for column in COLUMNS)
    database.execute(f"CREATE TABLE events ({columns})")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _unreadable(error: Exception, path: Path) -> bool:
    """Whether the file itself is at fault, not a lock, a full disk or a missing permission."""
    if isinstance(error, _ForeignFileError):
        return True
    codes = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes and path.exists()


def _identity(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_dev, path.stat().st_ino) if path.exists() else None


def _set_aside(path: Path, found: tuple[int, int] | None) -> None:
    """Rename the file that was `found`, unless another notebook has just done so."""
    with closing(sqlite3.connect(path.with_suffix(".lock"), timeout=SECONDS_TO_WAIT)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if _identity(path) != found:
            return
        names = (path.with_name(f"{path.name}.unreadable-{i}") for i in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        path.rename(aside)
        for suffix in ("-journal", "-wal", "-shm"):  # they belong to the file that goes
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
    print(f"Progress could not be read from {path}: kept as {aside.name}, a new file is started.")


def _warn_once(error: Exception) -> None:
    if str(file()) not in _warned:
        _warned.add(str(file()))
        print(f"Progress cannot be saved in {file()} ({error}): it is kept until you close this.")
