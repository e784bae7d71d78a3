"""Whatever a reader's code does, it gets a verdict, does not pass, and leaves the session alone."""

import asyncio
import collections
import functools
import gc
import math
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy
import psutil
import pytest
import torch
from jaxtyping import Float, jaxtyped
from torch import Tensor, nn

from circuitbook.exercises import compare, engine, exercise, guard, judging, sandbox
from circuitbook.exercises.engine import Exercise, normal
from circuitbook.exercises.judging import Verdict, judge

HERE = "test_robustness.py"


def attention_pattern(
    q: Float[Tensor, "batch pos head d_head"], k: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch head q_pos=pos k_pos=pos"]:
    scores = torch.einsum("bqhd, bkhd -> bhqk", q, k) / q.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1)


def no_scale(q, k):
    """Divide by √d_head."""
    return attention_pattern(q * q.shape[-1] ** 0.5, k)


def queries_and_keys_swapped(q, k):
    """Rows are queries."""
    return attention_pattern(k, q)


PATTERN = Exercise(
    id="91.1",
    title="pattern",
    answer=attention_pattern,
    cases={"five": normal((2, 5, 3, 4), (2, 5, 3, 4)), "two": normal((1, 2, 3, 4), (1, 2, 3, 4))},
    mistakes=[no_scale, queries_and_keys_swapped],
    hints=["a", "b", "c"],
    seconds=1.0,
)
right = attention_pattern


def harmless(verdict: Verdict) -> str:
    """The verdict's words, after a look that it shows in a notebook and that all is as before."""
    text = repr(verdict)
    assert verdict._repr_html_()
    assert judge(PATTERN, lambda q, k: right(q, k)).status == "passed"
    assert judge(PATTERN, lambda q, k: right(q, k) + 1).status == "wrong"
    return text


def wait_until(it_is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not it_is_so() and time.monotonic() < end:
        time.sleep(0.05)
    assert it_is_so()


def state() -> dict[str, object]:
    """What a check must leave as it is."""
    return {
        "softmax": (torch.softmax, nn.functional.softmax, vars(Tensor).get("softmax")),
        "compares": (torch.allclose, torch.equal, torch.testing.assert_close, Tensor.__eq__),
        "judges": (compare.first_difference, judging.first_difference, engine.judge),
        "code": id(compare.same.__code__),
        "verdict": (Verdict.__bool__, judging._verdict),
        "exercise": dict(vars(PATTERN)),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "exact": torch.are_deterministic_algorithms_enabled(),
        "random": (torch.initial_seed(), tuple(torch.get_rng_state().tolist())),
        "streams": (sys.stdout, sys.stderr),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "memory": resource.getrlimit(resource.RLIMIT_DATA),
        "process": (os.getcwd(), os._exit, os.kill, signal.raise_signal),
        "environment": {key: os.environ[key] for key in os.environ if "PYTEST" not in key},
        "warnings": list(warnings.filters),
        "builtins": (abs, sum, len, isinstance, print),
    }


@pytest.fixture(autouse=True)
def _all_is_as_before():
    """After each test: nothing that the session shares has changed."""
    judge(PATTERN, right)
    before = state()
    yield
    after = state()
    for name in before:
        assert after[name] == before[name], name


def changed(function: Callable) -> Callable:
    """An answer that is right and does something besides."""

    def answers(q, k):
        function()
        return right(q, k)

    return answers


# --- what it may not do --------------------------------------------------------------------------


class MuteError(Exception):
    def __str__(self):
        raise SystemExit


class OddError(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [ValueError("x"), MuteError(), OddError(), StopIteration(), GeneratorExit(),
              KeyboardInterrupt(), SystemExit(3), ExceptionGroup("many", [ValueError("x")])],
    ids=repr,
)  # fmt: skip
def test_whatever_is_raised_is_told(error: BaseException):
    def raises(q, k):
        raise error

    verdict = judge(PATTERN, raises)
    assert verdict.status == "error"
    harmless(verdict)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (lambda: os._exit(0), "os._exit"),
        (lambda: os.abort(), "os.abort"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "os.kill"),
        (lambda: os.execv("/bin/true", ["true"]), "os.execv"),
        (lambda: os.fork(), "os.fork"),
        (lambda: signal.raise_signal(signal.SIGTERM), "signal.raise_signal"),
        (lambda: sys.setswitchinterval(1e9), "sys.setswitchinterval"),
        (lambda: sys.setrecursionlimit(10**9), "sys.setrecursionlimit"),
    ],
)
def test_what_would_end_the_notebook_is_refused(end: Callable, name: str):
    verdict = judge(PATTERN, changed(end))
    assert verdict.status == "error"
    assert f"Your code called `{name}`, which would harm the notebook" in harmless(verdict)


def test_exit_as_a_notebook_has_it_does_not_end_the_kernel():
    program = """
from IPython.core.interactiveshell import InteractiveShell
from circuitbook.exercises.engine import Exercise, normal
from circuitbook.exercises.judging import judge

ended = []
InteractiveShell.ask_exit = lambda self: ended.append(self)
shell = InteractiveShell.instance()
exercise = Exercise("91.1", "sum", lambda x: x.sum(), {"a": normal((2,))}, [], [])
for name in ("exit", "quit"):
    print(judge(exercise, lambda x: shell.user_ns[name]()).status, ended)
shell.ask_exit()
print(len(ended))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "error []\nerror []\n1\n", done.stderr


def test_a_sleep_without_end_is_left_behind_in_time():
    started = []

    def sleeps(q, k):
        started.append(threading.current_thread())
        time.sleep(3)

    start = time.monotonic()
    verdict = judge(PATTERN, sleeps)
    assert time.monotonic() - start < PATTERN.seconds + 1
    assert verdict.status == "timeout" and "restart the kernel" in repr(verdict)
    harmless(verdict)
    started[0].join(timeout=10)  # the thread ends as soon as it is back from its sleep
    assert not started[0].is_alive()
    wait_until(lambda: resource.getrlimit(resource.RLIMIT_DATA) == sandbox.LIMIT)
    sys.stdout, sys.stderr = (getattr(s, "stream", s) for s in (sys.stdout, sys.stderr))


def test_a_matrix_product_without_end_is_left_behind_in_time():
    huge = torch.ones(3000, 3000)

    def multiplies(q, k):
        while True:
            huge @ huge

    start = time.monotonic()
    verdict = judge(PATTERN, multiplies)
    assert time.monotonic() - start < PATTERN.seconds + 1
    assert verdict.status == "timeout"
    wait_until(lambda: resource.getrlimit(resource.RLIMIT_DATA) == sandbox.LIMIT)
    sys.stdout, sys.stderr = (getattr(s, "stream", s) for s in (sys.stdout, sys.stderr))


def hoards() -> None:
    heap = []
    while True:
        heap.append(bytearray(50_000_000))


def hoards_tensors() -> None:
    heap = []
    while True:
        heap.append(torch.ones(10_000_000))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not refuse memory")
@pytest.mark.parametrize(
    "eat",
    [
        lambda: torch.empty(25 * 10**9),
        lambda: torch.zeros(10**9, 100).sum(),
        lambda: numpy.ones(25 * 10**9),
        lambda: [0] * 10**11,
        lambda: "a" * 10**11,
        hoards,
        hoards_tensors,
    ],
)
def test_hunger_for_memory_is_refused_and_what_was_taken_is_given_back(eat: Callable):
    process = psutil.Process()
    before = process.memory_info().rss
    verdict = judge(replace(PATTERN, seconds=60.0), changed(eat))  # pages take long to fill
    assert verdict.status == "error"
    assert "asked for more than 2 GB of memory" in harmless(verdict)
    gc.collect()
    assert process.memory_info().rss - before < 500 * 1024**2


def test_where_the_system_refuses_no_memory_the_clock_looks_after_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sandbox, "LIMIT", None)
    monkeypatch.setattr(sandbox, "MEMORY", 200 * 1024**2)
    verdict = judge(replace(PATTERN, seconds=5.0), changed(hoards))
    assert verdict.status == "error"
    assert "GB of memory" in repr(verdict)


def test_a_megabyte_of_prints_is_cut():
    verdict = judge(PATTERN, changed(lambda: print("x" * 10**6, "y" * 10**6, file=sys.stderr)))
    assert verdict and len(verdict.printed) < 3000
    harmless(verdict)


# --- what it may not change ----------------------------------------------------------------------


def set_(holder: object, name: str, value: object) -> Callable:
    return lambda: setattr(holder, name, value)


def lies(*arguments, **options):
    return True


def no_difference(*arguments, **options):
    return None


def every_wanted_result_is_zero() -> None:
    for case in exercise.cases_of(PATTERN):
        case.wanted.value.zero_()


TRICKS = {
    "torch.softmax": set_(torch, "softmax", lambda x, dim: x),
    "torch.softmax by another of torch": set_(torch, "softmax", torch.sigmoid),
    "functional.softmax": set_(nn.functional, "softmax", nn.functional.log_softmax),
    "Tensor.softmax": set_(Tensor, "softmax", lambda x, dim: x),
    "Tensor.__eq__": set_(Tensor, "__eq__", lies),
    "Tensor.all": set_(Tensor, "all", lies),
    "torch.allclose": set_(torch, "allclose", lies),
    "torch.equal": set_(torch, "equal", lies),
    "assert_close": set_(torch.testing, "assert_close", lies),
    "builtins.abs": set_(__builtins__ if isinstance(__builtins__, types.ModuleType) else
                         sys.modules["builtins"], "abs", lambda x: 0 * x),
    "a built-in shadowed in compare": set_(compare, "isinstance", lies),
    "math.sqrt": set_(math, "sqrt", lambda x: x),
    "compare.first_difference": set_(compare, "first_difference", no_difference),
    "judging.first_difference": set_(judging, "first_difference", no_difference),
    "judging._fault": set_(judging, "_fault", lambda *a: ("passed", "", "")),
    "the code of same": set_(compare.same, "__code__", compare.same.__code__.replace()),
    "engine.judge": set_(engine, "judge", lies),
    "Verdict.__bool__": set_(Verdict, "__bool__", lies),
    "the tolerance": lambda: object.__setattr__(PATTERN, "tolerance", 1e9),
    "the answer": lambda: object.__setattr__(PATTERN, "answer", lambda q, k: q),
    "the mistakes": lambda: object.__setattr__(PATTERN, "mistakes", ()),
    "the size of a mask": set_(compare, "MASKED", 1e-30),
    "the wanted results": every_wanted_result_is_zero,
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_what_it_replaces_is_put_back_told_and_no_way_to_pass(name: str):
    def tricks(q, k):
        TRICKS[name]()
        return torch.zeros(q.shape[0], q.shape[2], q.shape[1], q.shape[1])

    before = state()
    verdict = judge(PATTERN, tricks)
    assert verdict.status in ("wrong", "error")
    assert {key: after for key, after in state().items() if after != before[key]} == {}
    assert "for the whole notebook; that is undone" in harmless(verdict)
    also_right = judge(PATTERN, changed(TRICKS[name]))
    assert also_right.status in ("wrong", "error")
    assert "for the whole notebook; that is undone" in harmless(also_right)


def test_what_an_earlier_cell_replaced_is_put_back_and_told():
    for holder, name, trick in (
        (torch, "softmax", lambda x, dim: x),
        (judging, "first_difference", no_difference),
    ):
        setattr(holder, name, trick)
        verdict = judge(PATTERN, lambda q, k: torch.softmax(right(q, k), dim=-1))
        assert verdict.status == "wrong"
        assert f".{name}`; that is undone" in repr(verdict) or f"`torch.{name}`" in repr(verdict)
        assert getattr(holder, name) is not trick


def test_the_cases_cannot_be_changed():
    def empties(q, k):
        PATTERN.cases.clear()

    assert judge(PATTERN, empties).status == "error"
    assert len(PATTERN.cases) == 2


def test_arguments_found_in_the_frames_above_are_not_those_of_the_next_check():
    def spoils(q, k):
        frame = sys._getframe()
        while frame is not None:
            for value in frame.f_locals.get("arguments", ()):
                if isinstance(value, Tensor):
                    value.zero_()
            frame = frame.f_back
        return right(q, k)

    judge(PATTERN, spoils)
    harmless(judge(PATTERN, right))


@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_num_threads(2),
        lambda: torch.manual_seed(3),
        lambda: random.seed(3),
        lambda: numpy.random.seed(3),
        lambda: torch.set_anomaly_enabled(True),
        lambda: os.chdir("/"),
        lambda: os.environ.update(CIRCUITBOOK_STRICT="1"),
        lambda: os.environ.clear(),
        lambda: warnings.simplefilter("error"),
        lambda: numpy.seterr(all="raise"),
        lambda: setattr(sys, "stdout", None),
    ],
)
def test_settings_are_as_they_were(change: Callable):
    before = numpy.random.get_state()[1].tolist(), numpy.geterr()
    judge(PATTERN, changed(change))
    assert (numpy.random.get_state()[1].tolist(), numpy.geterr()) == before
    assert random.random() != random.Random(3).random()
    assert judge(PATTERN, right).status == "passed"


def test_settings_of_an_earlier_cell_stay_and_do_not_matter():
    def draws(n):
        return torch.rand(n) + nn.Parameter(torch.ones(n))

    drawn = Exercise("91.2", "drawn", draws, {"two": (2,)}, [], [])
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.no_grad():
            assert judge(drawn, lambda n: torch.rand(n) + 1).status == "passed"
            assert judge(drawn, lambda n: torch.rand(n)).status == "wrong"
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


# --- what it may return --------------------------------------------------------------------------


class Endless:
    """Whatever one asks it, it never answers."""

    def __getattribute__(self, name):
        while True:
            pass

    __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __hash__ = lambda self, *_: time.sleep(9)


class Posing:
    """It says that it is a tensor."""

    __class__ = property(lambda self: Tensor)
    shape, dtype, ndim = torch.Size([2, 3, 5, 5]), torch.float32, 4


class EndlessMapping(dict):
    def keys(self):
        while True:
            pass

    __iter__ = keys


class Agreeing(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        return torch.ones(()) > 0


class Dispatching(Tensor):
    @staticmethod
    def __new__(cls, tensor):
        return Tensor._make_wrapper_subclass(cls, tensor.shape, dtype=tensor.dtype)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return torch.zeros(2, 3, 5, 5)


class Text(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def itself() -> list:
    loop = []
    loop.append(loop)
    return loop


def deep() -> list:
    nest = []
    for _ in range(100_000):
        nest = [nest]
    return nest


RETURNED = {
    "endless": lambda p: Endless(),
    "posing": lambda p: Posing(),
    "endless mapping": lambda p: EndlessMapping(a=1),
    "agreeing": lambda p: torch.zeros_like(p).as_subclass(Agreeing),
    "dispatching": lambda p: Dispatching(torch.zeros_like(p)),
    "text": lambda p: Text("a"),
    "itself": lambda p: itself(),
    "deep": lambda p: deep(),
    "a large number": lambda p: 10**6000,
    "float16": lambda p: (p + 0.1).half(),
    "int": lambda p: p.int(),
    "bool": lambda p: p > 0.5,
    "complex": lambda p: p.to(torch.complex64),
    "meta": lambda p: p.to("meta"),
    "sparse": lambda p: p.to_sparse(),
    "nested": lambda p: torch.nested.nested_tensor([p[0], p[0]]),
    "quantized": lambda p: torch.quantize_per_tensor(p, 0.1, 0, torch.qint8),
    "named": lambda p: (p + 1).rename("a", "b", "c", "d"),
    "conjugate": lambda p: p.to(torch.complex64).conj(),
    "NaN": lambda p: p * torch.nan,
    "infinity": lambda p: p / 0,
    "numpy": lambda p: p.numpy(),
    "objects": lambda p: numpy.array([object()] * 3),
    "parameter": lambda p: nn.Parameter(p + 1),
    "tuple": lambda p: (p, p),
    "list": lambda p: p.tolist(),
    "set": lambda p: {1, 2},
    "iterator": lambda p: iter([p]),
    "the type": lambda p: Tensor,
    "a module": lambda p: nn.Linear(2, 2),
    "the module": lambda p: torch,
    "coroutine": lambda p: asyncio.sleep(0) if p is None else None,
    "expanded": lambda p: torch.zeros(1).expand(10**6, 10**6),
    "view of itself": lambda p: p.as_strided((2, 3, 5, 5), (0, 0, 0, 0)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RETURNED)
def test_whatever_is_returned_is_told(name: str):
    start = time.monotonic()
    verdict = judge(PATTERN, lambda q, k: RETURNED[name](right(q, k)))
    assert time.monotonic() - start < PATTERN.seconds + 1
    assert verdict.status in ("wrong", "error", "timeout"), verdict
    harmless(verdict)


def test_few_digits_are_told_by_their_name():
    verdict = judge(PATTERN, lambda q, k: right(q, k).half())
    assert "only to the few digits that float16 keeps: stay in float32" in repr(verdict)


def test_a_view_of_the_input_counts_as_it_came():
    first = Exercise("91.3", "first", lambda x: x[0].clone(), {"a": normal((3, 2))}, [], [])
    assert judge(first, lambda x: x[0]).status == "passed"
    assert judge(first, lambda x: x[1]).status == "wrong"
    assert judge(first, lambda x: [x[0], x.zero_()][0]).status == "wrong"


# --- what it may be ------------------------------------------------------------------------------


class Callable_:  # noqa: N801
    def __call__(self, q, k):
        return right(q, k)

    def method(self, q, k):
        return right(q, k)

    @staticmethod
    def static(q, k):
        return right(q, k)

    @classmethod
    def of_class(cls, q, k):
        return right(q, k)


class Layer(nn.Module):
    def forward(self, q, k):
        return right(q, k)


KINDS = {
    "lambda": lambda q, k: right(q, k),
    "partial": functools.partial(lambda scale, q, k: right(q * scale, k), 1.0),
    "callable": Callable_(),
    "bound method": Callable_().method,
    "static method": Callable_.static,
    "class method": Callable_.of_class,
    "module": Layer(),
    "no_grad": torch.no_grad()(lambda q, k: right(q, k)),
    "jaxtyped": jaxtyped(typechecker=None)(lambda q, k: right(q, k)),
    "cached": functools.lru_cache(lambda q, k: right(q, k)),
    "any arguments": lambda *arguments, **options: right(*arguments),
    "by name only, with defaults": lambda q, k, *, scale=1.0: right(q, k * scale),
    "by position only": eval("lambda q, k, /: right(q, k)", {"right": right}),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_answer_may_be_anything_that_can_be_called(name: str):
    assert judge(PATTERN, KINDS[name]).status == "passed"


async def waits(q, k):
    return right(q, k)


async def waits_and_yields(q, k):
    yield right(q, k)


def yields(q, k):
    yield right(q, k)


class Unlooked:
    """Not even its signature may be asked for."""

    def __call__(self, q, k):
        return right(q, k) + 1

    @property
    def __signature__(self):
        raise OddError

    @property
    def __wrapped__(self):
        while True:
            pass


NO_ANSWERS = {
    "async": waits,
    "async generator": waits_and_yields,
    "generator": yields,
    "partial generator": functools.partial(yields),
    "partial async": functools.partial(waits),
    "endless": Endless(),
    "without a signature": Unlooked(),
    "an odd class": Endless,
    "a class": Layer,
    "another module": nn.Linear(4, 4),
    "a number": 3,
    "nothing": None,
    "text": "right",
    "a module of Python": torch,
    "a list": [right],
    "one more by name": lambda q, k, *, scale: right(q, k),
    "one less": lambda q: q,
    "none": lambda: 1,
    "print": print,
    "softmax": torch.softmax,
    "max": max,
}


@pytest.mark.parametrize("name", NO_ANSWERS)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_answer_does_not_pass(name: str):
    start = time.monotonic()
    verdict = judge(PATTERN, NO_ANSWERS[name])
    assert time.monotonic() - start < PATTERN.seconds + 1
    assert verdict.status in ("wrong", "error", "timeout")
    harmless(verdict)


# --- classes as answers --------------------------------------------------------------------------


class Doubling(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Tripling(Doubling):
    """Your weights are 3: take 2."""

    def __init__(self, width: int):
        super().__init__(width)
        self.weight.data += 1


def applied(layer: type[nn.Module], width: int, x: Tensor) -> Float[Tensor, "pos d_model"]:
    return layer(width)(x)


CLASS = Exercise(
    id="91.4",
    title="a layer",
    answer=Doubling,
    cases={"three": (3, *normal((2, 3))), "five": (5, *normal((4, 5)))},
    mistakes=[Tripling],
    hints=["a", "b", "c"],
    run=applied,
)


def test_a_class_is_judged_as_a_function_is():
    class Mine(nn.Module):
        def __init__(self, width):
            super().__init__()

        def forward(self, x):
            return x + x

    class Open(nn.Module):
        def __init__(self, width):
            super().__init__()

        def forward(self, x): ...  # your code here

    class Shifted(Doubling):
        def forward(self, x):
            return super().forward(x) + 1

    class Forgets(Doubling):
        def forward(self, x):
            x * self.weight

    assert judge(CLASS, Mine).status == "passed"
    assert judge(CLASS, Open).status == "not started"
    assert judge(CLASS, type("Thrice", (Tripling,), {})).mistake == "Tripling"
    assert "off by a constant: 1 everywhere" in repr(judge(CLASS, Shifted))
    assert "Came None" in repr(judge(CLASS, Forgets))
    assert "wanted is your class itself" in repr(judge(CLASS, Doubling(3)))
    assert "wanted is your class itself" in repr(judge(CLASS, lambda width: Doubling(width)))
    assert "Your function takes ()" in repr(judge(CLASS, type("None_", (), {})))


# --- a thousand bad answers ----------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    first: Float[Tensor, " n"]
    second: dict[str, float]


def pair(x: Float[Tensor, " n"]) -> Pair:
    return Pair(x * 2, {"sum": x.sum().item(), "largest": x.max().item()})


def total(x: Float[Tensor, " n"]) -> float:
    return (x * x).sum().item()


def word(x: Float[Tensor, " n"]) -> tuple[str, int]:
    return ("up" if x[0] > 0 else "down"), int((x > 0).sum())


VECTORS = {"four": normal((4,)), "six": normal((6,), seed=1)}
FUZZED = [
    replace(PATTERN, seconds=0.2),
    Exercise("91.5", "pair", pair, VECTORS, [], [], seconds=0.2),
    Exercise("91.6", "total", total, VECTORS, [], [], seconds=0.2),
    Exercise("91.7", "word", word, VECTORS, [], [], seconds=0.2),
]


def random_tensor(draw: random.Random) -> Tensor:
    shape = [draw.randrange(4) for _ in range(draw.randrange(5))]
    dtypes = [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool]
    dtype = draw.choice([*dtypes, torch.complex64, torch.uint8, torch.bfloat16])
    return torch.full(shape, draw.choice([0, 1, 2.5, -1, 1e30, torch.nan, torch.inf]), dtype=(
        torch.float32)).to(dtype)  # fmt: skip


def random_value(draw: random.Random, depth: int = 0) -> object:
    kinds = [
        lambda: random_tensor(draw),
        lambda: draw.choice([None, True, 0, 1, -7, 10**30, 2.5, math.nan, math.inf, 1j, ...]),
        lambda: draw.choice(["", "up", "naïve \ud800", b"up", "\x00\x1b[31m", "<b>" * 500]),
        lambda: random_tensor(draw).float().numpy(),
        lambda: draw.choice([print, Tensor, torch, range(3), slice(2), object(), Ellipsis]),
        lambda: draw.choice([Posing(), EndlessMapping(), numpy.float32(2), collections.Counter()]),
        lambda: draw.choice([nn.Linear(2, 2), types.SimpleNamespace(first=1), iter([1])]),
    ]
    if depth < 3:

        def inner():
            return [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]

        kinds += [inner, lambda: tuple(inner()), lambda: dict(zip("abc", inner(), strict=False))]
        kinds += [lambda: Pair(*[*inner(), 1, 2][:2]), lambda: collections.deque(inner())]
    return draw.choice(kinds)()


EDITS = [
    lambda x, draw: x * draw.choice([0, -1, 2, 8, math.nan]),
    lambda x, draw: x + draw.choice([1, -0.5, math.inf]),
    lambda x, draw: x.transpose(draw.randrange(4), draw.randrange(4)),
    lambda x, draw: x.flip(draw.randrange(4)),
    lambda x, draw: x.roll(1, draw.randrange(4)),
    lambda x, draw: x.sum(draw.randrange(4), keepdim=draw.random() < 0.5),
    lambda x, draw: x[draw.randrange(3)],
    lambda x, draw: x.masked_fill(torch.rand(x.shape) < 0.2, draw.choice([0.0, 9.0, math.nan])),
    lambda x, draw: x.to(draw.choice([torch.float16, torch.float64, torch.int32, torch.bool])),
    lambda x, draw: x.softmax(draw.randrange(4)),
    lambda x, draw: x.flatten(draw.randrange(3)),
    lambda x, draw: x[:, : draw.randrange(3)],
    lambda x, draw: x.cumsum(draw.randrange(4)),
    lambda x, draw: (x, x),
    lambda x, draw: x.to("meta"),
]
ERRORS = [ValueError, MuteError, OddError, KeyboardInterrupt, SystemExit, StopIteration, KeyError]
OF_ONE_EXERCISE = ("the tolerance", "the answer", "the mistakes", "the wanted results")
MISDEEDS = [
    *(trick for name, trick in TRICKS.items() if name not in OF_ONE_EXERCISE),
    lambda: print("x" * 10_000),
    lambda: sys.exit(),
    lambda: os._exit(1),
    lambda: torch.empty(10**11),
    lambda: torch.set_default_dtype(torch.float64),
    lambda: (_ for _ in ()).throw(GeneratorExit()),
]


def bad_answer(draw: random.Random) -> tuple[Exercise, Callable]:
    """An answer of one of many kinds, right only by accident; and the exercise that it is for."""
    tried, kind = draw.choice(FUZZED), draw.random()
    seed = draw.random()

    def returns(*arguments):
        return random_value(random.Random(seed))

    def edits(*arguments):
        value, again = right(*arguments), random.Random(seed)
        for _ in range(again.randrange(1, 4)):
            value = again.choice(EDITS)(value, again)
        return value

    def raises(*arguments):
        raise random.Random(seed).choice(ERRORS)

    def misdeeds(*arguments):
        random.Random(seed).choice(MISDEEDS)()
        return random_value(random.Random(seed))

    def stays(*arguments):
        while True:
            time.sleep(0.01)

    if kind < 0.45:
        return tried, returns
    if kind < 0.8:
        return FUZZED[0], edits
    if kind < 0.9:
        return tried, raises
    return tried, (misdeeds if kind < 0.993 else stays)


@pytest.mark.filterwarnings("ignore")
def test_a_thousand_bad_answers_get_a_thousand_verdicts_in_time():
    draw, slow, passed = random.Random(8), [], []
    for number in range(1000):
        tried, function = bad_answer(draw)
        start = time.monotonic()
        verdict = judge(tried, function)
        took = time.monotonic() - start
        assert repr(verdict) and verdict._repr_html_()
        if took > tried.seconds + 1 and _takes_as_long_again(tried, function):
            slow.append((number, took, verdict))
        if verdict and not (tried is FUZZED[0] and agrees(function)):
            passed.append((number, verdict))
    assert not slow and not passed
    assert guard.Kept([*guard.LIBRARIES, *guard.own_modules()]).put_back() == []


def _takes_as_long_again(tried: Exercise, function: Callable) -> bool:
    """Whether it was the answer that took so long, not something else that the machine did."""
    start = time.monotonic()
    judge(tried, function)
    return time.monotonic() - start > tried.seconds + 1


def agrees(function: Callable) -> bool:
    """Whether the edits of a right answer leave it right."""
    return all(
        torch.equal(function(*arguments).float(), right(*arguments))
        for arguments in PATTERN.cases.values()
    )
