"""What a reader's code may not leave behind: functions it replaced, settings, an ended notebook.

Python lets any code change any other, so this stops accidents and tricks, not an attack.
"""

import builtins
import inspect
import math
import os
import random
import signal
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType, ModuleType

import einops
import numpy
import torch
from torch import Tensor, nn

PACKAGE = __name__.split(".")[0]
LIBRARIES = (
    *(torch, Tensor, nn, nn.Module, nn.functional, torch.linalg, torch.testing, torch.special),
    *(einops, numpy, math, builtins),
)
NOT_THE_READERS = (
    str(Path(__file__).parent.parent) + os.sep,
    sysconfig.get_path("stdlib") + os.sep,
    "<frozen",
    "<@beartype",
)


def is_readers(filename: str) -> bool:
    """Whether code of this file is the reader's: neither the book's nor a library's."""
    packages = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"
    return not filename.startswith(NOT_THE_READERS) and not any(p in filename for p in packages)


# --- functions -----------------------------------------------------------------------------------


class Kept:
    """The functions and constants of some modules, classes and objects as they are now."""

    def __init__(self, holders: Sequence[object]):
        self.holders = [(holder, dict(vars(holder))) for holder in holders]
        functions = [
            value
            for _, entries in self.holders
            for value in entries.values()
            if isinstance(value, FunctionType)
        ]
        self.functions = [(f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]

    def put_back(self, only_the_readers: bool = False) -> list[str]:
        """Undoes every change since, or those by the reader's functions; the names it undid."""
        undone = []
        for function, code, defaults, named in self.functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                function.__code__, function.__defaults__ = code, defaults
                function.__kwdefaults__ = named
                undone.append(f"{function.__module__}.{function.__qualname__}")
        for holder, before in self.holders:
            now = dict(vars(holder))
            for name in before.keys() | now.keys():
                if name in before and name in now and now[name] is before[name]:
                    continue
                if _is_to_undo(holder, name, before, now, only_the_readers):
                    with suppress(Exception):  # what cannot be set was not set by the reader
                        _set(holder, name, before)
                        undone.append(f"{_name(holder)}.{name}")
        return sorted(undone)


def _is_to_undo(holder, name: str, before: dict, now: dict, only_the_readers: bool) -> bool:
    old, new = before.get(name), now.get(name)
    code = getattr(new, "__code__", None)
    is_readers_function = code is not None and is_readers(code.co_filename)
    if name not in before:  # a new name can stand before an inherited or a built-in one
        is_module = isinstance(holder, ModuleType) and holder.__name__.split(".")[0] != PACKAGE
        return is_readers_function and not is_module
    if only_the_readers:
        return is_readers_function
    if name in now and code is not None and not is_readers_function:
        return getattr(old, "__name__", "") != new.__name__  # a library wraps its own function
    return callable(old) or (
        isinstance(old, str | int | float | tuple | Mapping) and name[0] != "_"
    )


def _set(holder: object, name: str, before: dict) -> None:
    put = object if not isinstance(holder, type | ModuleType) else type(holder)
    if name in before:
        put.__setattr__(holder, name, before[name])
    else:
        put.__delattr__(holder, name)


def _name(holder: object) -> str:
    if isinstance(holder, type):
        return f"{holder.__module__}.{holder.__qualname__}"
    return getattr(holder, "__name__", type(holder).__name__)


def own_modules() -> list[object]:
    """The book's modules that are loaded, and the classes of those that judge."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(PACKAGE)]
    classes = {
        value
        for module in modules
        if module.__name__.startswith(f"{PACKAGE}.exercises")
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    return [*modules, *classes]


# --- settings ------------------------------------------------------------------------------------


@contextmanager
def settings_kept() -> Iterator[None]:
    """Inside, torch has the settings that the book counts on; after it, everything is as before."""
    before = [read() for read, _ in SETTINGS]
    environment = dict(os.environ)
    torch.set_num_threads(1)  # cases are small: beside a busy process two threads take 50 times one
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    try:
        yield
    finally:
        for (_, write), value in zip(SETTINGS, before, strict=True):
            write(value)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(state: tuple[bool, bool]) -> None:
    if state != _deterministic():  # setting it takes seconds the first time
        torch.use_deterministic_algorithms(state[0], warn_only=state[1])


# pairs of what reads a setting and what sets it again
SETTINGS = (
    (torch.get_rng_state, torch.set_rng_state),
    (random.getstate, random.setstate),
    (numpy.random.get_state, numpy.random.set_state),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (_deterministic, _set_deterministic),
    (os.getcwd, os.chdir),
    (numpy.geterr, lambda errors: numpy.seterr(**errors)),
    (
        lambda: list(warnings.filters),
        lambda filters: warnings.filters.__setitem__(slice(None), filters),
    ),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
)


# --- the end of the notebook ---------------------------------------------------------------------


class WouldHarm(SystemExit):
    """Raised in place of a call that would end the notebook, or take its time limit away."""


@contextmanager
def nothing_ends_the_notebook() -> Iterator[None]:
    """Whatever would end the process raises WouldHarm instead, in every thread but this one."""
    this = threading.current_thread()

    def refusing(act: Callable, name: str) -> Callable:
        def refused(*arguments, **options):
            if threading.current_thread() is this:
                return act(*arguments, **options)
            raise WouldHarm(name)

        return refused

    ends = [
        (os, name) for name in ("_exit", "abort", "kill", "killpg", "fork") if hasattr(os, name)
    ]
    ends += [(os, name) for name in vars(os) if name.startswith("exec") and name != "execpath"]
    ends += [(signal, "raise_signal"), (sys, "setswitchinterval"), (sys, "setrecursionlimit")]
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:  # a notebook's own `exit` asks the shell
        ends.append((shell, "ask_exit"))
    real = [(holder, name, getattr(holder, name)) for holder, name in ends]
    for holder, name, act in real:
        said = f"{holder.__name__}.{name}" if isinstance(holder, ModuleType) else "exit"
        setattr(holder, name, refusing(act, said))
    try:
        yield
    finally:
        for holder, name, act in real:
            if holder is shell:
                delattr(holder, name)
            else:
                setattr(holder, name, act)
