"""The exercise engine, on a small chapter of its own: whatever a reader hands in gets a verdict."""

import contextlib
import functools
import html
import inspect
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitbook.exercises import answer, check, compare, engine, hint, pairs, solution
from circuitbook.exercises.engine import (
    CheckFailed,
    Exercise,
    Verdict,
    judge,
    normal,
    register,
)

# --- a chapter of five exercises -------------------------------------------------------------


def scores(
    q: Float[Tensor, "batch pos head d_head"], k: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch head q_pos=pos k_pos=pos"]:
    """How well each query fits each key."""
    return torch.einsum("bqhd, bkhd -> bhqk", q, k) / q.shape[-1] ** 0.5


def no_scale(q, k):
    """Your scores are too large:
    divide them by √d_head.

    How large is a sum of d_head products
    of random numbers?
    """
    return scores(q, k) * q.shape[-1] ** 0.5


def scaled_twice(q, k):
    """Your scores are too small: divide them once."""
    return scores(q, k) / q.shape[-1] ** 0.5


def positions_as_heads(q, k):
    """You multiplied over positions: compare the last axes."""
    return torch.einsum("bqhd, bqhe -> bhde", q, k)[:, :, :5, :5] @ torch.ones(5, 5)


def loss(logits: Float[Tensor, "pos d_vocab"], tokens: Int[Tensor, " pos"]) -> float:
    return nn.functional.cross_entropy(logits, tokens).item()


@dataclass(frozen=True)
class Statistics:
    mean: Float[Tensor, " row"]
    largest: Int[Tensor, " row"]
    parts: dict[str, Float[Tensor, "row column"]]


def statistics(x: Float[Tensor, "row column"]) -> Statistics:
    return Statistics(x.mean(dim=1), x.argmax(dim=1), {"positive": x.clamp(min=0), "all": x})


def step(weights: Tensor, gradient: Tensor) -> None:
    weights -= 0.1 * gradient


def two_steps(function: Callable, weights: Tensor, gradient: Tensor) -> Tensor:
    """A run of its own: the answer changes the weights in place and returns nothing."""
    function(weights, gradient)
    function(weights, 2 * gradient)
    return weights


def uphill(weights, gradient):
    """Your loss goes up: subtract the gradient."""
    weights += 0.1 * gradient


def drawn(n: int) -> Float[Tensor, " n"]:
    return torch.rand(n)


HINTS = ["The first hint.", "The second hint.", "The third hint."]
EXERCISES = [
    Exercise(
        id="90.1",
        title="scores",
        answer=scores,
        cases={
            "five positions": normal((2, 5, 3, 4), (2, 5, 3, 4)),
            "two heads": lambda: normal((1, 4, 2, 9), (1, 4, 2, 9)),
        },
        mistakes=[no_scale, scaled_twice, positions_as_heads],
        hints=HINTS,
        minutes=7,
        seconds=1.0,
    ),
    Exercise(
        id="90.2",
        title="loss",
        answer=loss,
        cases={
            "four tokens": (*normal((4, 6)), torch.tensor([0, 5, 2, 2])),
            "one token": (*normal((1, 3)), torch.tensor([1])),
        },
        mistakes=[],
        hints=HINTS,
    ),
    Exercise(
        id="90.3",
        title="statistics",
        answer=statistics,
        cases={"a": normal((3, 4)), "b": normal((2, 6), seed=1)},
        mistakes=[],
        hints=HINTS,
    ),
    Exercise(
        id="90.4",
        title="step",
        answer=step,
        cases={"a": normal((3,), (3,)), "b": normal((4,), (4,), seed=1)},
        mistakes=[uphill],
        hints=HINTS,
        run=two_steps,
    ),
    Exercise(
        id="90.5",
        title="random numbers",
        answer=drawn,
        cases={"two": (2,), "ten": (10,)},
        mistakes=[],
        hints=HINTS,
    ),
]
SCORES = EXERCISES[0]


@pytest.fixture(autouse=True)
def _only_this_chapter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "_chapters", {})
    monkeypatch.setattr(engine, "_passed", {})
    monkeypatch.setattr(engine, "_chapter_numbers", lambda: [90])
    register(90, EXERCISES)


def words(verdict: Verdict) -> str:
    """What the verdict says, after a look that text and card say the same, and nothing fleeting."""
    text = repr(verdict)
    card = html.unescape(re.sub(r"<[^>]+>", " ", verdict._repr_html_()))
    assert "".join(card.split()) == "".join(text.replace("`", "").split())
    for shown in (text, verdict._repr_html_()):
        assert not re.search(
            r"0x[0-9a-f]{6}|Traceback|circuitbook[/\\]|<style|<script|var\(", shown
        )
    return text


# --- passing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        scores,
        lambda k_pos, q_pos: scores(k_pos, q_pos),
        lambda q, k: scores(q.double(), k.double()),
        lambda q, k: scores(q.requires_grad_(), k),
        lambda q, k: nn.Parameter(scores(q, k)),
        lambda q, k: scores(q, k).transpose(2, 3).contiguous().transpose(2, 3),
        lambda q, k: (q.movedim(1, 2) / q.shape[-1] ** 0.5) @ k.permute(0, 2, 3, 1),
        lambda q, k, more=3: scores(q, k),
        torch.inference_mode()(lambda q, k: scores(q, k)),
        functools.partial(scores),
        lambda *arguments: scores(*arguments),
        type("Callable", (), {"__call__": lambda self, q, k: scores(q, k)})(),
    ],
)  # fmt: skip
def test_a_right_answer_passes(function: Callable):
    verdict = check("90.1", function)
    assert verdict.status == "passed" and verdict
    assert verdict.mistake is None and verdict.case is None
    assert words(verdict) == "✓ 90.1 scores: passed\n2 of 2 cases agree with the book's answer."


@pytest.mark.parametrize(
    "number", [float, numpy.float32, numpy.float64, torch.tensor, lambda x: numpy.array(x)]
)
def test_a_number_may_come_as_python_numpy_or_a_tensor(number: Callable):
    assert check("90.2", lambda logits, tokens: number(loss(logits, tokens))).status == "passed"


def test_parts_may_be_lists_and_other_whole_numbers():
    def with_other_types(x):
        good = statistics(x)
        return Statistics(good.mean.double(), good.largest.int(), dict(good.parts))

    assert check("90.3", with_other_types).status == "passed"


def test_an_answer_may_change_in_place_and_return_nothing_where_the_books_does():
    assert check("90.4", lambda weights, gradient: weights.sub_(0.1 * gradient)).status == "passed"
    assert check("90.4", uphill).mistake == "uphill"
    assert check("90.4", lambda weights, gradient: None).status == "not started"
    assert check("90.4", lambda weights, gradient: weights - gradient).status == "wrong"


def test_random_numbers_are_the_same_for_reader_and_book_and_the_readers_own_go_on():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert check("90.5", lambda n: torch.rand(n)).status == "passed"
    assert check("90.5", lambda n: [torch.rand(1), torch.rand(n)][1]).status == "wrong"
    assert torch.equal(torch.get_rng_state(), before)


# --- not started, nothing, noise -----------------------------------------------------------------


def docstring_only(q, k):
    """Only words."""


def ellipsis_and_docstring(q, k):
    """Only words."""
    ...  # your code here


def just_pass(q, k):
    pass


def not_implemented(q, k):
    raise NotImplementedError


def given_lines_then_the_gap(q, k):
    d_head = q.shape[-1]  # noqa: F841
    ...  # your code here


def name_from_the_gap(q, k):
    ...  # your code here
    return scaled


@pytest.mark.parametrize(
    "function",
    [
        docstring_only,
        ellipsis_and_docstring,
        just_pass,
        not_implemented,
        given_lines_then_the_gap,
        name_from_the_gap,
        lambda q, k: ...,
        functools.wraps(just_pass)(lambda *arguments: just_pass(*arguments)),
        functools.partial(just_pass),
    ],
)
def test_a_stub_is_not_started(function: Callable):
    verdict = check("90.1", function)
    assert verdict.status == "not started" and not verdict
    assert 'hint("90.1")' in words(verdict)


def test_a_forgotten_return_is_said():
    def forgets(q, k):
        result = scores(q, k)  # noqa: F841

    verdict = check("90.1", forgets)
    assert verdict.status == "wrong"
    assert "did you forget `return`?" in words(verdict)


def test_an_error_deep_in_torch_is_not_taken_for_a_stub():
    assert check("90.1", lambda q, k: scores(q, k).to("meta").tolist()).status == "error"


SEEN = {}


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k: torch.zeros_like(scores(q, k)),
        lambda q, k: torch.randn_like(scores(q, k)),
        lambda q, k: scores(q, k) + 0.01 * torch.randn_like(scores(q, k)),
        lambda q, k: torch.full_like(scores(q, k), torch.nan),
        lambda q, k: scores(q, k)[None],
        lambda q, k: scores(q, k)[0],
        lambda q, k: scores(q, k)[:0],
        lambda q, k: torch.zeros(1).expand(10**9, 10**9),
        lambda q, k: SEEN.setdefault("first", scores(q, k)),
        lambda q, k: scores(q, k).int(),
        lambda q, k: scores(q, k).to(torch.complex64),
        lambda q, k: scores(q, k).to_sparse(),
        lambda q, k: True,
        lambda q, k: "a tensor",
        lambda q, k: {"scores": scores(q, k)},
        lambda q, k: (),
        lambda q, k: scores,
        lambda q, k: iter([scores(q, k)]),
    ],
)
def test_what_only_looks_like_an_answer_is_wrong(function: Callable):
    verdict = check("90.1", function)
    assert verdict.status == "wrong"
    assert verdict.case in SCORES.cases and verdict.mistake is None
    assert "Hint 1 of 3: The first hint." in words(verdict)


def test_zero_and_a_whole_number_do_not_stand_for_a_loss():
    for function in (lambda logits, tokens: 0, lambda logits, tokens: 0.0, lambda *inputs: True):
        assert check("90.2", function).status == "wrong"


# --- what is said --------------------------------------------------------------------------------


def test_a_known_mistake_is_named_and_explained_by_its_first_paragraph():
    verdict = check("90.1", lambda q, k: torch.einsum("bqhd, bkhd -> bhqk", q, k))
    assert (verdict.status, verdict.mistake, verdict.case) == (
        "wrong",
        "no_scale",
        "five positions",
    )
    text = words(verdict)
    assert "No scale. Your scores are too large: divide them by √d_head.\n" in text
    assert "How large" not in text
    assert "the first at batch 0, head 0, q_pos 0, k_pos 0: came -0.563, wanted -0.281" in text
    assert "Came: float32 [batch 2, head 3, q_pos 5, k_pos 5]: -0.563, -4.82, " in text


def keys_first(q, k):
    """Your rows are keys: queries come first."""
    return scores(k, q)


def heads_last(q, k):
    """Your heads are the last axis: put them second."""
    return scores(q, k).movedim(1, 3)


PAIRS = replace(SCORES, mistakes=[no_scale, scaled_twice, keys_first, heads_last])


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda q, k: torch.einsum("bqhd, bkhd -> bhkq", q, k), "no_scale and keys_first"),
        (lambda q, k: torch.einsum("bqhd, bkhd -> bqkh", q, k), "no_scale and heads_last"),
        (lambda q, k: scores(k, q).permute(0, 2, 3, 1), "keys_first and heads_last"),
        (lambda q, k: scores(q, k), None),
        (lambda q, k: scores(q, k) / 3, None),  # a factor says more than two mistakes would
        (lambda q, k: torch.randn(scores(q, k).shape), None),
    ],
)
def test_two_mistakes_made_together_are_recognised_as_both(function: Callable, names: str | None):
    verdict = judge(PAIRS, function)
    assert verdict.mistake == names
    if names is not None:
        text = words(verdict)
        assert "Two mistakes together.\n" in text
        assert all(
            inspect.getdoc(mistake).split("\n")[0] in text
            for mistake in PAIRS.mistakes
            if mistake.__name__ in names
        )


def opened(q, k, *, scale=True, order="bhqk"):
    """The answer with its parts open, which mistakes close in their own way."""
    return torch.einsum(f"bqhd, bkhd -> {order}", q, k) / (q.shape[-1] ** 0.5 if scale else 1)


def open_no_scale(q, k):
    """Divide."""
    return opened(q, k, scale=False)


def open_heads_last(q, k):
    """Move heads."""
    return opened(q, k, order="bqkh")


def open_keys_first(q, k):
    """Turn."""
    return opened(q, k, order="bhkq")


def test_mistakes_that_change_other_parts_of_one_function_make_a_pair_and_of_one_part_none():
    mistakes = [open_no_scale, open_heads_last, open_keys_first]
    exercise = replace(SCORES, mistakes=mistakes)
    both = pairs.together(open_no_scale, open_heads_last, opened)
    torch.testing.assert_close(both(*normal((2, 5, 3, 4), (2, 5, 3, 4))),
        opened(*normal((2, 5, 3, 4), (2, 5, 3, 4)), scale=False, order="bqkh"))  # fmt: skip
    assert pairs.common_function(mistakes, scores) is opened
    verdict = judge(exercise, lambda q, k: opened(q, k, scale=False, order="bqkh"))
    assert verdict.mistake == "open_no_scale and open_heads_last"
    with pytest.raises(pairs.NoPairError):
        pairs.together(open_heads_last, open_keys_first, opened)(
            *normal((1, 2, 3, 4), (1, 2, 3, 4))
        )


def test_mistakes_are_told_apart_where_one_cannot_run_and_when_two_agree_once():
    assert check("90.1", scaled_twice).mistake == "scaled_twice"
    assert check("90.1", positions_as_heads).mistake == "positions_as_heads"

    def mixed(q, k):  # the first mistake in the first case only
        return no_scale(q, k) if q.shape[1] == 5 else scores(q, k) + 1

    assert check("90.1", mixed).mistake is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: s.triu(), "wrong only where k_pos < q_pos"),
        (lambda s: s - torch.eye(s.shape[-1]), "wrong only where k_pos = q_pos"),
        (lambda s: s.masked_fill(torch.ones_like(s).triu() > 0, 9.0), "only where k_pos ≥ q_pos"),
        (lambda s: s.transpose(2, 3), "transposed over q_pos and k_pos"),
        (lambda s: s.permute(0, 2, 3, 1), "axes came as batch, q_pos, k_pos, head; wanted batch, "),
        (lambda s: s.flatten(2), "in the right order; only the shape differs"),
        (lambda s: 8 * s, "right up to a factor of 8."),
        (lambda s: -s, "The sign is the other way round."),
        (lambda s: s + 0.25, "off by a constant: 0.25 everywhere"),
        (lambda s: s - s.mean(-1, keepdim=True), "Along k_pos it is off by a constant"),
        (lambda s: s / s.norm(dim=-1, keepdim=True), "Along k_pos it is right up to a factor"),
        (lambda s: s.sum(dim=1), "head is missing: you summed over it"),
        (lambda s: s.mean(dim=1), "head is missing: you averaged over it"),
        (lambda s: s[:, 0], "head is missing."),
        (lambda s: s[..., None], "one axis too many: axis 4, of size 1"),
        (lambda s: s[..., :-1], "k_pos has size 4; wanted is 5"),
        (lambda s: s[0, 0, 0], "It has 1 axes; wanted are 4"),
        (lambda s: s.masked_fill(s == s[0, 1, 2, 3], torch.nan), "1 of 150 numbers are NaN at"),
        (lambda s: s.masked_fill(s == s[0, 1, 2, 3], torch.inf), "1 of 150 numbers are infinite"),
        (lambda s: s.index_fill(1, torch.tensor([1]), 3.0), "wrong only at head 1."),
        (lambda s: s.index_fill(3, torch.tensor([3, 4]), 3.0), "wrong only from k_pos 3 on."),
        (lambda s: s.index_fill(2, torch.tensor([0]), 3.0), "wrong only at q_pos 0."),
        (lambda s: s.index_fill(2, torch.tensor([4 % s.shape[2]]), 3.0), "q_pos 4, the last."),
        (lambda s: s * (torch.arange(3) == 1)[:, None, None], "right only at head 1."),
        (lambda s: s * (torch.arange(2) == 0)[: len(s), None, None, None], "only at batch 1."),
        (lambda s: s * torch.eye(s.shape[-1]), "right only where k_pos = q_pos."),
        (lambda s: s / 8, "right up to a factor of 1/8."),
        (lambda s: s[:, [2, 0, 1]], "but head is in another order: 2, 0, 1."),
        (lambda s: s.flip(2), "but q_pos is in another order: 4, 3, 2, 1, 0."),
        (lambda s: s.roll(1, 3).index_fill(3, torch.tensor([0]), 7.0),
         "moved by one place: what belongs at k_pos 0 came at k_pos 1."),
        (lambda s: s.roll(-1, 2).index_fill(2, torch.tensor([s.shape[2] - 1]), 7.0),
         "moved by one place: what belongs at q_pos 1 came at q_pos 0."),
        (lambda s: s[:, :1].expand_as(s), "It has at every head what belongs at head 0."),
        (lambda s: s.mean(1, keepdim=True).expand_as(s), "the same at every head; wanted is not."),
        (lambda s: s * 0 + 2, "Every number is 2."),
        (lambda s: s.abs(), "It is the absolute value of what was wanted."),
        (lambda s: s.square(), "It is the square of what was wanted."),
        (lambda s: s.exp(), "It is e to the power of what was wanted."),
        (lambda s: s.relu(), "It is the positive part of what was wanted."),
        (lambda s: s.softmax(-1), "It is the softmax over k_pos of what was wanted."),
        (lambda s: s.cumsum(2), "It is what was wanted, summed up along q_pos."),
        (lambda s: s + 0.001 * s.cos().sign(), "nearly right: no number is off by more than"),
        (lambda s: s.half(), "only to the few digits that float16 keeps: stay in float32"),
        (lambda s: s.cos(), "right shape, but the numbers differ"),
        (lambda s: s.numpy(), "a numpy array; wanted is a torch.Tensor"),
        (lambda s: (s, s), "is a tuple; wanted is one torch.Tensor: return only that one"),
        (lambda s: s.to("meta"), "on the device `meta`"),
        (lambda s: s > 0, "holds True and False (bool); wanted floats (float32)"),
    ],
)  # fmt: skip
def test_what_no_mistake_explains_is_described_with_the_names_of_the_axes(
    wrong: Callable, said: str
):
    verdict = check("90.1", lambda q, k: wrong(scores(q, k)))
    assert verdict.status == "wrong" and verdict.mistake is None
    assert said in words(verdict)


@pytest.mark.parametrize(
    ("came", "wanted", "said"),
    [
        (float("nan"), 2.5, "It is NaN."),
        (float("inf"), 2.5, "It is infinite."),
        (2.4, 2.5, "It is another number: too small."),
        (0.0, -2.5, "It is another number: too large."),
        (2.501, 2.5, "It is nearly right: off by 0.001."),
        (-1.5, 2.5, "It is 1 minus what was wanted."),
        ([torch.ones(4)] * 3, torch.ones(3, 4), "put them together with `torch.stack`."),
        ((torch.ones(3, 4), 1), torch.zeros(3, 4), "return only that one."),
    ],
)
def test_a_single_number_and_a_list_of_tensors_are_told_what_they_miss(came, wanted, said: str):
    difference = compare.first_difference(came, wanted, 1e-4)
    assert said in compare.explanation(difference)[0]


def test_zeros_for_small_numbers_are_not_taken_for_rounding():
    wanted = normal((4, 5))[0].sigmoid() * 0.4
    difference = compare.first_difference(torch.zeros(4, 5), wanted, 1e-4)
    assert compare.explanation(difference)[0] == "Every number is 0."


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_not_described_as_anything_else(seed: int):
    got, wanted = normal((2, 3, 4, 4), (2, 3, 4, 4), seed=seed)
    annotation = Float[Tensor, "batch head q_pos=pos k_pos=pos"]
    for part in (slice(None), (0, 0), (0, 0, 0)):
        difference = compare.first_difference(got[part], wanted[part], 1e-4, annotation)
        kind, _ = compare.explanation(difference)
        assert kind == "It has the right shape, but the numbers differ."
        assert compare.relation(difference) == ""
    difference = compare.first_difference(got[0, 0, 0, 0].item(), wanted[0, 0, 0, 0].item(), 1e-4)
    said, _ = compare.explanation(difference)
    assert said.startswith("It is another number: too ")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda p, s: s.softmax(2), "It sums to 1 over q_pos; wanted sums to 1 over k_pos."),
        (lambda p, s: s.softmax(1), "It sums to 1 over head; wanted sums to 1 over k_pos."),
        (lambda p, s: s.sigmoid(), "It does not sum to 1 over k_pos; wanted does."),
        (lambda p, s: p.log(), "It is the logarithm of what was wanted."),
        (lambda p, s: 1 - p, "It is 1 minus each number of what was wanted."),
        (lambda p, s: 1 / p, "It is 1 divided by each number of what was wanted."),
        (lambda p, s: p * 3 - 0.1, "It does not sum to 1 over k_pos; wanted does."),
    ],
)
def test_what_sums_to_one_is_known(wrong: Callable, said: str, seed: int):
    (drawn,) = normal((2, 3, 4, 5), seed=seed)
    pattern = drawn.softmax(-1)
    annotation = Float[Tensor, "batch head q_pos k_pos"]
    difference = compare.first_difference(wrong(pattern, drawn), pattern, 1e-4, annotation)
    kind, _ = compare.explanation(difference)
    assert said in kind


@pytest.mark.parametrize(
    ("got", "wanted", "said"),
    [
        (-2.5, 2.5, "The sign is wrong."),
        (20.0, 2.5, "It is 8 times what was wanted."),
        (0.3, 2.1, "It is 1/7 of what was wanted."),
        (6.25, 2.5, "It is the square of what was wanted."),
        (5, 4, "It is one too many."),
        (3, 4, "It is one too few."),
        ((2, 1.5, "a"), (1.5, "a", 2), "in another order: number 2, 0, 1 of the wanted."),
        (torch.tensor([True, False]), torch.tensor([False, True]), "the other way round."),
        (torch.tensor([3, 1, 2]), torch.tensor([1, 2, 3]), "another order: 2, 0, 1."),
    ],
)
def test_other_differences_have_their_sentence(got: object, wanted: object, said: str):
    assert said in compare.explanation(compare.first_difference(got, wanted, 1e-4))[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: Statistics(s.mean + 1, s.largest, s.parts), "at `result.mean`, 3 of 3 numbers"),
        (
            lambda s: Statistics(s.mean, s.largest.float(), s.parts),
            "holds floats (float32); wanted whole",
        ),
        (lambda s: Statistics(s.mean, s.largest, {"all": s.parts["all"]}), "'positive' is missing"),
        (lambda s: Statistics(s.mean, s.largest, {**s.parts, "c": 1}), "key 'c' is not wanted"),
        (
            lambda s: Statistics(s.mean, s.largest, s.parts | {"positive": s.parts["all"]}),
            "at `result.parts['positive']`",
        ),
        (lambda s: (s.mean, s.largest), "Wanted is a Statistics, which has `.mean`"),
    ],
)
def test_the_wrong_part_of_a_result_is_named(wrong: Callable, said: str):
    verdict = check("90.3", lambda x: wrong(statistics(x)))
    assert verdict.status == "wrong"
    assert said in words(verdict)


@pytest.mark.parametrize(
    ("wanted", "got", "said"),
    [
        ("abc", "abd", "The text differs from character 3 on."),
        ("abc", b"abc", "It is a bytes; wanted is a str."),
        ((1, 2.5), (1,), "It has 1 entries; wanted are 2."),
        ((1, 2.5), 1, "Wanted are 2 values, as a tuple."),
        ([1, "a"], (1, "b"), "at `result[1]`"),
        (True, 1, "It is a whole number; wanted is True or False."),
        (1.0, 1, "It is a whole number; wanted is a float."),
        (None, 1, "Wanted is None."),
        (2, 3, "Came: 3\nWanted: 2"),
        (torch.float32, torch.float64, "Case"),
    ],
)
def test_other_results_are_compared_too(wanted: object, got: object, said: str):
    other = Exercise("90.9", "other", lambda x: wanted, {"a": (1,)}, [], HINTS)
    assert judge(other, lambda x: got).status == "wrong"
    assert said in words(judge(other, lambda x: got))
    assert judge(other, lambda x: wanted).status == "passed"


def test_minus_a_billion_in_a_mask_does_not_widen_the_tolerance():
    def masked(x: Tensor) -> Tensor:
        return x.masked_fill(torch.ones_like(x).triu(1) > 0, -1e9)

    exercise = Exercise("90.9", "masked", masked, {"a": normal((4, 4))}, [], HINTS)
    assert judge(exercise, lambda x: masked(x)).status == "passed"
    assert judge(exercise, lambda x: masked(x + 0.01)).status == "wrong"


# --- what a reader's code may do -----------------------------------------------------------------


def test_an_error_shows_the_readers_line_and_none_of_ours():
    def helper(q, k):
        return q @ k

    def breaks(q, k):
        return torch.relu(helper(q, k))

    verdict = check("90.1", breaks)
    assert verdict.status == "error" and verdict.case == "five positions"
    text = words(verdict)
    assert "Your code raised RuntimeError: " in text
    assert re.search(r"line \d+, in helper: `return q @ k`", text)


def test_an_error_without_words_and_one_with_too_many_get_a_verdict():
    class MuteError(Exception):
        def __str__(self):
            raise ValueError

    def mute(q, k):
        raise MuteError

    def talks(q, k):
        raise ValueError("word " * 10_000)

    assert check("90.1", mute).status == "error"
    assert len(words(check("90.1", talks))) < 1500


@pytest.mark.parametrize("exit_", [sys.exit, exit, lambda: (_ for _ in ()).throw(SystemExit(3))])
def test_exit_ends_nothing(exit_: Callable):
    verdict = check("90.1", lambda q, k: exit_())
    assert verdict.status == "error"
    assert "take that out" in words(verdict)


def test_a_keyboard_interrupt_and_a_recursion_without_end_are_errors():
    def interrupts(q, k):
        raise KeyboardInterrupt

    def recursion(q, k):
        return recursion(k, q)

    assert check("90.1", interrupts).status == "error"
    assert "RecursionError" in words(check("90.1", recursion))


def test_a_loop_without_end_stops_at_the_time_limit():
    def loops(q, k):
        while True:
            with contextlib.suppress(Exception):
                q = q + k

    threads, start = threading.active_count(), time.monotonic()
    verdict = check("90.1", loops)
    assert time.monotonic() - start < 2
    assert verdict.status == "timeout" and verdict.case == "five positions"
    assert "did not end within 1 s" in words(verdict)
    assert threading.active_count() == threads


def test_a_loop_that_cannot_be_stopped_is_left_behind_and_cannot_print(
    capsys: pytest.CaptureFixture,
):
    go_on = True

    def stubborn(q, k):
        while go_on:
            try:
                print("still here")
                time.sleep(0.001)
            except BaseException:
                pass

    try:
        start = time.monotonic()
        verdict = check("90.1", stubborn)
        assert time.monotonic() - start < 2
        assert "restart the kernel" in words(verdict)
        time.sleep(0.05)
        print("the next cell")
        assert capsys.readouterr().out == "the next cell\n"
        assert check("90.1", scores).status == "passed"
    finally:
        go_on = False


def test_a_mistake_before_the_loop_is_told_first():
    def wrong_then_loops(q, k):
        while q.shape[1] != 5:
            pass
        return scores(q, k) + 1

    verdict = check("90.1", wrong_then_loops)
    assert (verdict.status, verdict.case) == ("wrong", "five positions")


def test_a_wrong_result_at_the_last_moment_still_gets_its_verdict():
    def late(q, k):
        time.sleep(0.4)
        return scores(q, k) * 2

    exercise = replace(SCORES, seconds=0.9)
    start = time.monotonic()
    verdict = judge(exercise, late)
    assert verdict.status == "wrong" and "factor" in repr(verdict), verdict
    assert time.monotonic() - start < exercise.seconds + 1


def test_ctrl_c_reaches_the_notebook_and_ends_the_readers_code():
    program = """
import _thread, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
from circuitbook.exercises.engine import Exercise, judge, normal

def loops(x):
    while True:
        x = x + 1

exercise = Exercise("90.1", "sum", lambda x: x.sum(), {"a": normal((2,))}, [], [])
threading.Timer(0.5, _thread.interrupt_main).start()
try:
    judge(exercise, loops)
except KeyboardInterrupt:
    print("interrupted", threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "interrupted 1\n", done.stderr


def test_a_megabyte_of_prints_is_cut_and_shown_below_the_verdict(capfd: pytest.CaptureFixture):
    def prints(q, k):
        print("number " * 150_000)
        print("beware", file=sys.stderr)
        return scores(q, k)

    verdict = check("90.1", prints)
    assert verdict.status == "passed"
    assert capfd.readouterr() == ("", "")
    text = words(verdict)
    assert "Your code printed:\nnumber number" in text
    assert "... (the first 2000 characters)" in text and "beware" in text
    assert len(text) < 6000


@pytest.mark.parametrize(
    "change",
    [
        lambda q: q.mul_(2),
        lambda q: q.transpose_(0, 1),
        lambda q: q.requires_grad_(False).fill_(torch.nan),
        lambda q: q.resize_(1),
    ],
)
def test_an_input_changed_in_place_is_wrong_and_named(change: Callable):
    def changes(q, k):
        result = scores(q, k)
        change(k)
        return result

    verdict = check("90.1", changes)
    assert verdict.status == "wrong"
    assert "changes its input `k` in place" in words(verdict)
    assert check("90.1", scores).status == "passed"


def test_a_result_that_is_changed_later_counts_as_it_came():
    result = {}

    def reuses(q, k):
        buffer = result.setdefault(q.shape, torch.zeros_like(scores(q, k)))
        for other in result.values():
            other.zero_()
        return buffer.copy_(scores(q, k))

    assert check("90.1", reuses).status == "passed"


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        (scores(*normal((1, 2, 3, 4), (1, 2, 3, 4))), "error", "without brackets"),
        (None, "error", 'got None; wanted is your function itself'),
        ("scores", "error", '`check("90.1", scores)`'),
        (nn.Linear, "error", "got the class `Linear`"),
        (lambda q: q, "wrong", "Your function takes (q); wanted is (q, k), in this order."),
        (lambda q, k, mask: q, "wrong", "Your function takes (q, k, mask); wanted is (q, k)"),
        (lambda: 3, "wrong", "Your function takes (); wanted is (q, k)"),
        (lambda q, k, *, mask: q, "wrong", "wanted is (q, k)"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_gets_one_clear_message(function: object, status: str, said: str):
    verdict = check("90.1", function)
    assert verdict.status == status
    assert said in words(verdict)


def test_generators_and_coroutines_are_told_to_return():
    def generates(q, k):
        yield scores(q, k)

    async def waits(q, k):
        return scores(q, k)

    assert "`yield`s: give the whole result back with `return`" in words(check("90.1", generates))
    assert "is `async`" in words(check("90.1", waits))


def test_objects_that_answer_for_themselves_do_not_pass_and_do_not_break_the_check():
    class Agreeable:
        def __eq__(self, other):
            return True

        def __getattr__(self, name):
            raise RuntimeError(name)

    class Agrees(Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            return torch.ones(())

    assert check("90.1", lambda q, k: Agreeable()).status == "wrong"
    assert check("90.1", lambda q, k: torch.zeros(2, 3, 5, 5).as_subclass(Agrees)).status == "wrong"
    assert check("90.3", lambda x: Agreeable()).status == "error"
    assert check("90.1", Agreeable()).status == "error"


def test_the_same_answer_gives_the_same_words_each_time():
    def breaks(q, k):
        raise ValueError(f"in {breaks} and {object()}")

    for function in (scores, breaks, no_scale, lambda q, k: scores(q, k).exp()):
        first, second = check("90.1", function), check("90.1", function)
        assert words(first) == words(second) and first._repr_html_() == second._repr_html_()


# --- strict, answer, hint, solution --------------------------------------------------------------


def test_a_failed_check_raises_where_the_environment_is_strict(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CIRCUITBOOK_STRICT", "1")
    assert check("90.1", scores).status == "passed"
    with pytest.raises(CheckFailed, match="No scale") as raised:
        check("90.1", no_scale)
    package = Path(engine.__file__).parent
    assert sum(package in Path(entry.path).parents for entry in raised.traceback[1:]) == 1
    with pytest.raises(AssertionError, match="not started"):
        check("90.1", just_pass)
    monkeypatch.setenv("CIRCUITBOOK_STRICT", "0")
    assert check("90.1", no_scale).status == "wrong"


def test_answer_is_the_readers_only_after_it_passed_and_the_newest_check_counts(
    capsys: pytest.CaptureFixture,
):
    def mine(q, k):
        return scores(q, k)

    assert answer("90.1") is scores
    check("90.1", mine)
    assert answer("90.1") is mine
    check("90.1", no_scale)
    assert answer("90.1") is scores
    books = "90.1 scores: the book's (yours has not passed yet)\n"
    assert capsys.readouterr().out == f"{books}90.1 scores: yours\n{books}"


def test_hints_come_one_at_a_time_and_the_verdict_shows_the_next():
    wrong = lambda q, k: scores(q, k).cos()  # noqa: E731
    assert "Hint 1 of 3: The first hint." in repr(check("90.1", wrong))
    assert "Hint 1 of 3: The first hint." in repr(check("90.1", wrong))
    for i, text in enumerate(HINTS):
        assert f"hint {i + 1} of 3\n{text}" in repr(hint("90.1"))
    assert "Hint" not in repr(check("90.1", wrong))
    assert 'solution("90.1")' in repr(check("90.1", wrong))
    last = repr(hint("90.1"))
    assert "no more hints" in last and all(text in last for text in HINTS)
    assert "hint 1 of 3" in repr(hint("90.2"))


def test_after_a_named_mistake_the_next_hint_is_the_one_that_follows_from_it():
    assert '`hint("90.1")` says more about this mistake.' in repr(check("90.1", no_scale))
    shown = repr(hint("90.1"))
    assert "90.1 scores: a hint on no scale\nHow large is a sum of d_head products of" in shown
    assert "hint 1 of 3\nThe first hint." in repr(hint("90.1"))
    assert 'Still stuck? `hint("90.1")` gives hint 2 of 3.' in repr(check("90.1", no_scale))
    assert 'Still stuck? `hint("90.1")` gives hint 2 of 3.' in repr(check("90.1", scaled_twice))
    assert "hint 2 of 3" in repr(hint("90.1"))


def test_the_solution_is_shown_at_once_only_after_a_try():
    assert 'solution("90.1", sure=True)' in repr(solution("90.1"))
    check("90.1", just_pass)
    assert "einsum" not in repr(solution("90.1"))
    assert "einsum" in repr(solution("90.1", sure=True))
    check("90.2", lambda logits, tokens: 3.0)
    assert "nn.functional.cross_entropy(logits, tokens)" in repr(solution("90.2"))


@pytest.mark.parametrize("act", [answer, hint, solution, lambda id: check(id, scores)])
def test_an_unknown_exercise_names_the_nearest(act: Callable):
    with pytest.raises(ValueError, match=r"There is no exercise '90.11'; the nearest are '90.1'"):
        act("90.11")
    with pytest.raises(ValueError, match=r"There is no exercise 'scores'; the nearest are '90.1'"):
        act("scores")


def test_an_id_that_is_a_number_is_told_to_be_text():
    with pytest.raises(ValueError, match=r'There is no exercise 90.1: ids are text, such as "1.4"'):
        inspect.unwrap(hint)(90.1)  # without the type checks that only tests have


# --- speed and imports ---------------------------------------------------------------------------


def test_checking_imports_nothing_slow():
    slow = "transformer_lens transformers plotly pandas IPython matplotlib"
    program = (
        "import sys; from circuitbook.exercises import check, progress; progress();"
        "check('1.1', lambda tokens, W_E: W_E);"
        f"print([name for name in {slow.split()} if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "[]\n", done.stderr
