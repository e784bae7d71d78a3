"""Run a reader's function so that nothing it does harms the session: no loop, exit, error, print
or hunger for memory.

The function runs in a thread of its own, which is told to stop when its time is over. A call into C
that never returns cannot be stopped, only left behind: its thread keeps its memory limit, and is
told to stop as soon as it comes back.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

try:
    import resource

    LIMIT = resource.getrlimit(resource.RLIMIT_DATA)  # of the session, to go back to
except (ImportError, AttributeError):  # not Linux: nothing can be refused, `_wait` alone looks
    LIMIT = None

STOP_SECONDS = 0.5  # how long we ask a thread to stop before we leave it behind
PRINTED_CHARACTERS = 2000
MEMORY = 2 * 1024**3  # bytes that a check may take more than the session had


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
    too_much_memory: bool = False


def run_all(
    tasks: Sequence[Callable[[], object]], seconds: float, stop_seconds: float = STOP_SECONDS
) -> Runs:
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
    too_much = False
    _limit_memory()
    try:
        thread.start()
        too_much = _wait(done, seconds)
    finally:
        finished = tuple(outcomes)
        over.set()
        stopped = _stop(thread, stop_seconds)
        if stopped:
            sys.stdout, sys.stderr = streams
            _lift_the_limit()
        else:  # it must not write into the reader's other cells, nor take all the memory
            threading.Thread(target=_stop_at_last, args=(thread,), daemon=True).start()
    timed_out = len(finished) < len(tasks)
    printed = "\n".join(text for text in (stdout.text(), stderr.text()) if text)
    return Runs(finished, timed_out, stopped, printed, too_much)


def _limit_memory() -> None:
    """From now on a request for more than MEMORY fails at once, where the system can refuse it."""
    if LIMIT is None:
        return
    with suppress(AttributeError, ValueError, OSError):  # psutil names `data` on Linux alone
        taken = psutil.Process().memory_info().data
        limits = [taken + MEMORY, *(limit for limit in LIMIT if limit >= 0)]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), LIMIT[1]))


def _lift_the_limit() -> None:
    if LIMIT is not None:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, LIMIT)


def _stop_at_last(thread: threading.Thread) -> None:
    while not _stop(thread, STOP_SECONDS):
        pass
    _lift_the_limit()


def _wait(done: threading.Event, seconds: float) -> bool:
    """Returns when the tasks are done, the time is over, or, with True, memory is running out."""
    deadline = time.monotonic() + seconds
    process = psutil.Process()
    at_first = process.memory_info().rss
    while not done.wait(min(0.05, max(0.0, deadline - time.monotonic()))):  # short: lets Ctrl-C in
        if process.memory_info().rss - at_first > MEMORY:
            return True
        if time.monotonic() >= deadline:
            break
    return False


def _stop(thread: threading.Thread, seconds: float) -> bool:
    """True when the thread has ended, after asking it again and again for so many seconds."""
    deadline = time.monotonic() + seconds
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
