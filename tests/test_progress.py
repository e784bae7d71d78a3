"""Progress survives other notebooks, kills, broken files and folders that cannot be written."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from circuitbook import progress
from circuitbook.progress import Event, all_events, events, merge, record, reset

WRITE_FIFTY = """
import sys
from circuitbook.progress import record
for i in range(50):
    record("check", f"{sys.argv[1]}.{i}", "passed")
"""
WRITE_FOR_EVER = """
import itertools
from circuitbook.progress import record
for i in itertools.count():
    record("check", str(i), "passed", "x" * 5000)
    print(i, flush=True)
"""


@pytest.fixture(autouse=True)
def _nothing_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_in_memory", [])
    monkeypatch.setattr(progress, "_warned", set())


def started(program: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )


def write_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


def cut_in_the_middle(path: Path) -> None:
    for i in range(100):
        record("check", str(i), "passed", "x" * 500)
    path.write_bytes(path.read_bytes()[:9000])


def overwrite_a_page(path: Path) -> None:
    for i in range(100):
        record("check", str(i), "passed", "x" * 500)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)


def write_another_programs(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (something TEXT)")
    connection.close()


def make_a_folder(path: Path) -> None:
    path.mkdir()


def test_events_come_back_in_order_with_what_was_recorded():
    assert events() == ()
    record("check", "1.1", "wrong", "no_scale")
    record("hint", "1.1")
    first, second = events()
    assert (first.kind, first.id, first.status, first.detail) == (
        *("check", "1.1", "wrong", "no_scale"),
    )
    assert (second.kind, second.status) == ("hint", "")
    assert first.at <= second.at


def test_four_processes_that_write_at_once_lose_nothing():
    writers = [started(WRITE_FIFTY, str(number)) for number in range(4)]
    for writer in writers:
        assert writer.communicate()[0] == "" and writer.returncode == 0
    wanted = {f"{number}.{i}" for number in range(4) for i in range(50)}
    assert len(events()) == 200 and {event.id for event in events()} == wanted


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_kill_in_the_middle_loses_nothing_that_was_recorded():
    n_recorded = 0
    for _ in range(3):
        writer = started(WRITE_FOR_EVER)
        lines = [writer.stdout.readline() for _ in range(20)]
        assert lines[-1] == "19\n"
        os.kill(writer.pid, signal.SIGKILL)
        n_recorded += 20 + len(writer.communicate()[0].splitlines())
        assert len(events()) - n_recorded in (0, 1)  # written, but killed before it could say so
        n_recorded = len(events())
    with sqlite3.connect(progress.file()) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        write_garbage,
        cut_in_the_middle,
        overwrite_a_page,
        write_another_programs,
        make_a_folder,
    ],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_a_new_one_started(
    damage, capsys: pytest.CaptureFixture
):
    path = progress.file()
    path.parent.mkdir(parents=True)
    damage(path)
    content = path.read_bytes() if path.is_file() else None

    assert events() == ()
    record("check", "1.1", "passed")
    assert [event.id for event in events()] == ["1.1"]
    aside = path.with_name("progress.sqlite.unreadable-1")
    assert (aside.read_bytes() if aside.is_file() else None) == content
    said = f"Progress could not be read from {path}: kept as {aside.name}, a new file is started.\n"
    assert capsys.readouterr().out == said

    write_garbage(path)
    record("check", "1.2", "passed")
    assert [event.id for event in events()] == ["1.2"]
    assert path.with_name("progress.sqlite.unreadable-2").exists() and aside.exists()


def test_four_processes_that_find_a_broken_file_set_it_aside_once():
    path = progress.file()
    path.parent.mkdir(parents=True)
    write_garbage(path)
    writers = [started(WRITE_FIFTY, str(number)) for number in range(4)]
    said = "".join(writer.communicate()[0] for writer in writers)
    assert said.count("\n") == 1
    assert len(events()) == 200
    assert len(list(path.parent.glob("*unreadable*"))) == 1


def test_where_the_folder_cannot_be_written_progress_is_kept_in_memory_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "a file" / "home"))
    record("check", "1.1", "passed")
    record("check", "1.2", "passed")
    assert [event.id for event in events()] == ["1.1", "1.2"]
    said = capsys.readouterr().out
    assert said.startswith("Progress cannot be saved in ") and said.count("\n") == 1


def test_a_file_that_another_program_keeps_locked_does_not_stop_the_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    record("check", "1.1", "passed")
    monkeypatch.setattr(progress, "SECONDS_TO_WAIT", 0.1)
    connection = sqlite3.connect(progress.file(), isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    record("check", "1.2", "passed")
    connection.execute("ROLLBACK")
    connection.close()
    assert "database is locked" in capsys.readouterr().out
    assert [event.id for event in events()] == ["1.1", "1.2"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_does_not_stop_the_checks():
    program = """
import resource, signal
from circuitbook.progress import events, record
record("check", "1.1", "passed")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
record("check", "1.2", "wrong", "x" * 20_000)
print([event.id for event in events()])
"""
    said = started(program).communicate()[0].splitlines()
    assert said[0].startswith("Progress cannot be saved in ")
    assert said[1:] == ["['1.1', '1.2']"]
    assert [event.id for event in events()] == ["1.1"]


def test_a_reset_starts_from_nothing_and_deletes_nothing():
    record("check", "1.1", "passed")
    reset()
    assert events() == ()
    record("check", "1.2", "passed")
    assert [event.id for event in events()] == ["1.2"]
    assert [event.kind for event in all_events()] == ["check", "reset", "check"]


def test_a_reset_of_one_chapter_leaves_the_others():
    for id in ("3.1", "3-a", "30.1", "2.3"):
        record("check", id, "passed")
    reset(3)
    assert [event.id for event in events()] == ["30.1", "2.3"]
    record("check", "3.1", "passed")
    assert [event.id for event in events()] == ["30.1", "2.3", "3.1"]
    reset()
    assert events() == ()
    record("quiz", "3-a", "right")
    reset(2)
    assert [event.id for event in events()] == ["3-a"]
    assert len(all_events()) == 9


def written(path: Path, *happened: Event) -> Path:
    path.write_text(json.dumps({"events": [asdict(event) for event in happened]}))
    return path


def event(at: str, kind: str, id: str, status: str = "") -> Event:
    return Event(f"2024-{at}T10:00:00.000001+00:00", kind, id, status, "")


def test_events_of_another_machine_are_added_once_and_at_their_time(tmp_path: Path):
    record("check", "1.3", "passed")
    here = all_events()
    there = (
        event("01-01", "check", "1.1", "passed"),
        event("01-02", "reset", "1"),
        event("01-03", "check", "1.2", "passed"),
    )
    file = written(tmp_path / "there.json", *there, *here, there[0])
    assert merge(file) == 3
    assert all_events() == (*there, *here)
    assert [event.id for event in events()] == ["1.2", "1.3"]
    assert merge(file) == 0 and len(all_events()) == 4


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"events": 3}',
        '{"events": [{"at": "2024-01-01", "kind": "check", "id": "1.1", "status": "passed"}]}',
        '{"events": [{"at": "now", "kind": "check", "id": "1.1", "status": "", "detail": ""}]}',
        '{"events": [{"at": 3, "kind": "check", "id": "1.1", "status": "", "detail": ""}]}',
        '{"events": [{"at": "2024-01-01", "kind": [], "id": "1.1", "status": "", "detail": ""}]}',
        b"\xff\xfe",
    ],
)
def test_a_file_without_progress_adds_nothing(tmp_path: Path, content: str | bytes):
    path = tmp_path / "other.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"other\.json holds no exported progress"):
        merge(path)
    assert all_events() == ()


def test_what_cannot_be_added_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "a file" / "home"))
    with pytest.raises(OSError, match="a file"):
        merge(written(tmp_path / "there.json", event("01-01", "check", "1.1", "passed")))
    with pytest.raises(OSError, match="missing"):
        merge(tmp_path / "missing.json")
