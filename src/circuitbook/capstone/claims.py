"""An investigation, its claim, and the test that could refute it: other heads of its layers."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.cache import needs_our_model, run_with_cache
from circuitbook.exercises.cards import Card, ShownAsCard
from circuitbook.interventions import (
    Averaged,
    Edits,
    Metric,
    combined,
    metric_under_each,
    replace_head,
)
from circuitbook.parts import Head, head_named


@dataclass(frozen=True, repr=False)
class Claim(ShownAsCard):
    """A finding that names heads, and what would have shown it to be wrong."""

    text: object  # a sentence
    heads: object  # ("L3H4", ...)
    refuted_if: object  # a sentence, too

    @property
    def card(self) -> Card:
        heads = self.heads
        named = ", ".join(map(str, heads)) if isinstance(heads, list | tuple) else str(heads)
        lines = (f"Heads: {named}", f"Refuted if: {self.refuted_if}")
        return Card("hint", f"The claim: {self.text}", lines)


@dataclass(eq=False)
class Investigation:
    """What is known so far of one behaviour; each field is filled by its step."""

    behaviour: object = None  # what `behaviour(...)` returns
    prompts: object = None  # its Prompts
    accuracy: object = None
    lens: object = None
    attribution: object = None
    attention: object = None
    heads: object = None  # ("L3H4", ...)
    qk: object = None
    ov: object = None
    claim: object = None  # a Claim
    test: object = None  # what against_random_heads returns
    limits: object = None


@dataclass(frozen=True, eq=False, repr=False)
class RandomHeads:
    """How far a metric moves without some heads, beside random heads of the same layers."""

    heads: tuple[str, ...]
    baseline: float  # the metric with all heads
    effect: float  # what it is without these, minus the baseline
    random_heads: tuple[tuple[str, ...], ...]
    random_effects: Float[Tensor, " set"]
    tokens: Int[Tensor, "prompt pos"]  # of the prompts

    @property
    def share_as_large(self) -> float:
        """The share of random sets that move the metric at least as far, the same way."""
        way = -1 if self.effect < 0 else 1
        return (way * self.random_effects >= way * self.effect).float().mean().item()

    @property
    def standard_deviations(self) -> float:
        """How far the effect is from the mean of the random ones, in their standard deviations.

        NaN where there are less than two sets, or they all have the same effect.
        """
        if len(self.random_effects) < 2 or not (spread := self.random_effects.std().item()):
            return math.nan
        return (self.effect - self.random_effects.mean().item()) / spread

    def __repr__(self) -> str:
        effects = self.random_effects
        spread = f" ± {effects.std().item():.2f}" if len(effects) > 1 else ""
        return (
            f"Without {', '.join(self.heads)} the metric goes from {self.baseline:.2f} to "
            f"{self.baseline + self.effect:.2f} ({self.effect:+.2f}). Without as many other heads "
            f"of the same layers ({len(effects)} random sets): {effects.mean().item():+.2f}{spread}"
            f"; {self.share_as_large:.0%} of the sets move it as far."
        )


@torch.no_grad()
def against_random_heads(
    model: object,
    tokens: object,
    heads: object,
    metric: Metric,
    n: int = 200,
    seed: int = 0,
    logits_at: Sequence[int] | None = None,
) -> RandomHeads:
    """Whether these heads matter more than any: the metric without them, and without random ones.

    A head's z is replaced by its mean over the prompts, position by position, so it says what all
    prompts have in common. Random sets have as many heads of each layer as `heads`, are all
    different and never `heads` itself; where there are less than `n`, all are taken. `metric` gets
    the logits (of all positions, or those in `logits_at`) and returns a number, or one for each
    prompt. Raises ValueError on a single prompt, on heads that the model does not have or that are
    named twice, where there is no other set, and on a metric that is NaN.
    Source: Wang et al. 2022, section 2 (mean-ablation).
    """
    needs_our_model(model, tokens)
    if len(tokens) < 2:
        raise ValueError(
            "against_random_heads got one prompt, of which the mean is the prompt itself; give two "
            "or more, such as `prompts.tokens`."
        )
    if type(n) is not int or n < 1:
        raise ValueError(f"against_random_heads got n={n!r}; give a whole number of sets from 1.")
    chosen = _named_heads(heads, model.cfg)
    sets = _random_sets(chosen, model.cfg.n_heads, n, seed)
    layers = sorted({head.layer for head in chosen})
    before = f"blocks.{layers[0]}.hook_resid_pre"
    names = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    _, cache = run_with_cache(model, tokens, [before, *names])
    means = Averaged(cache, each_position=True)
    knocked_out = [
        combined(*(replace_head(head, model.cfg, means) for head in some))
        for some in (chosen, *sets)
    ]

    def metrics(interventions: Sequence[Edits]) -> list[float]:
        resid_pre = cache[before]
        under_each = metric_under_each(
            model, resid_pre, layers[0], interventions, metric, logits_at
        )
        return under_each.tolist()

    (baseline,) = metrics([{}])
    without, *others = metrics(knocked_out)
    return RandomHeads(
        heads=tuple(map(str, chosen)),
        baseline=baseline,
        effect=without - baseline,
        random_heads=tuple(tuple(map(str, some)) for some in sets),
        random_effects=torch.tensor(others, dtype=torch.float64) - baseline,
        tokens=tokens,
    )


def _named_heads(heads: object, cfg: object) -> tuple[Head, ...]:
    """The heads of these names, in the order of the model."""
    if isinstance(heads, str) or not isinstance(heads, Sequence) or not heads:
        raise ValueError(f"The heads are {heads!r}; give a tuple of names, such as ('L1H3',).")
    named = [head_named(head, cfg) for head in heads]
    if len(set(named)) < len(named):
        raise ValueError(f"The heads {', '.join(map(str, named))} name one twice; name each once.")
    return tuple(sorted(named))


def _random_sets(chosen: Sequence[Head], n_heads: int, n: int, seed: int) -> list[tuple[Head, ...]]:
    """Up to n different sets with as many heads of each layer, none of them the chosen one."""
    layers = sorted({head.layer for head in chosen})
    counts = [sum(head.layer == layer for head in chosen) for layer in layers]
    possible = math.prod(math.comb(n_heads, count) for count in counts) - 1
    if not possible:
        raise ValueError(
            f"The heads are all {n_heads} of layer {', '.join(map(str, layers))}: no other set has "
            "as many heads of the same layers, so there is nothing to compare with. Claim fewer."
        )
    if possible <= n:
        each = [combinations(range(n_heads), count) for count in counts]
        every = (_heads(layers, indices) for indices in product(*each))
        return [some for some in every if some != tuple(chosen)]
    draw = random.Random(seed)
    drawn: dict[tuple[Head, ...], None] = {}  # in the order in which they were first drawn
    while len(drawn) < n:
        some = _heads(layers, [sorted(draw.sample(range(n_heads), count)) for count in counts])
        if some != tuple(chosen):
            drawn[some] = None
    return list(drawn)


def _heads(layers: Sequence[int], indices: Sequence[Sequence[int]]) -> tuple[Head, ...]:
    pairs = zip(layers, indices, strict=True)
    return tuple(Head(layer, index) for layer, row in pairs for index in row)
