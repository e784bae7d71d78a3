"""Run a reader's function so that nothing it does harms the session: no loop, exit, error or print.

The function runs in a thread of its own, which is told to stop when its time is over.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STOP_SECONDS = 0.6  # how long we ask a thread to stop before we leave it behind
PRINTED_CHARACTERS = 2000


class TimeLimit(SystemExit):
    """Raised inside the reader's thread; `except Exception` does not catch it."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to: its result, or the exception that it raised."""

    result: object = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Runs:
    """One outcome per task that finished; fewer than there were tasks when the time was over."""

    outcomes: tuple[Outcome, ...]
    timed_out: bool
    stopped: bool  # False: the thread did not listen and is still running
    printed: str


def run_all(tasks: Sequence[Callable[[], object]], seconds: float) -> Runs:
    """The outcome of each task, run one after the other within `seconds` for all of them.

    Ctrl-C (the stop button) stops the tasks and raises KeyboardInterrupt here.
    """
    outcomes: list[Outcome] = []
    over = threading.Event()  # set when nobody waits for the tasks any more
    done = threading.Event()

    def work():
        try:
            for task in tasks:
                try:
                    outcome = Outcome(result=task())
                except BaseException as error:  # SystemExit and KeyboardInterrupt too
                    outcome = Outcome(error=error)
                if over.is_set():
                    return
                outcomes.append(outcome)
        finally:
            done.set()

    thread = threading.Thread(target=work, daemon=True)
    streams = sys.stdout, sys.stderr
    stdout, stderr = _Captured(streams[0], thread), _Captured(streams[1], thread)
    sys.stdout, sys.stderr = stdout, stderr
    try:
        thread.start()
        _wait(done, seconds)
    finally:
        finished = tuple(outcomes)
        over.set()
        stopped = _stop(thread)
        # a thread that is left behind must not write into the reader's other cells
        sys.stdout, sys.stderr = streams if stopped else (stdout, stderr)
    timed_out = len(finished) < len(tasks)
    printed = "\n".join(text for text in (stdout.text(), stderr.text()) if text)
    return Runs(finished, timed_out, stopped, printed)


def _wait(done: threading.Event, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done.wait(min(0.1, max(0.0, deadline - time.monotonic()))):  # short: lets Ctrl-C in
        if time.monotonic() >= deadline:
            return


def _stop(thread: threading.Thread) -> bool:
    """True when the thread has ended, after asking it again and again for STOP_SECONDS."""
    deadline = time.monotonic() + STOP_SECONDS
    thread.join(timeout=0.02)
    while thread.is_alive() and time.monotonic() < deadline:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(TimeLimit)
        )
        thread.join(timeout=0.02)
    return not thread.is_alive()


class _Captured:
    """A stream that keeps the beginning of what one thread writes and passes on all the rest."""

    def __init__(self, stream, thread: threading.Thread):
        self.stream, self.thread = stream, thread
        self.kept = ""

    def write(self, text: str) -> int:
        if threading.current_thread() is not self.thread:
            return self.stream.write(text)
        self.kept += text[: PRINTED_CHARACTERS - len(self.kept)]
        return len(text)

    def text(self) -> str:
        cut = len(self.kept) == PRINTED_CHARACTERS  # not how many: a loop may print for ever
        return self.kept.rstrip() + (
            f"\n... (the first {PRINTED_CHARACTERS} characters)" if cut else ""
        )

    def __getattr__(self, name: str):
        return getattr(self.stream, name)
