"""What a part of the model is for: replace what it says, run the rest, and see what changes.

An intervention is a dict of edits, {name of an activation: function}. Ours run it
(`run_with_edits(model, tokens, edits)`), and so does TransformerLens
(`bridge.run_with_hooks(tokens, fwd_hooks=list(edits.items()))`).

Ablation and patching are one edit; they differ in what an activation is replaced `by`:

- a number: 0 is zero-ablation;
- `Averaged(cache)`: mean-ablation, by the mean over a run on other text;
- a cache of another run of this very model: activation patching where the prompts differ in one
  thing (the clean and the corrupted one), resample-ablation where they are any two of their kind.

A raw model's activations do not belong into the same model processed (`weights.processed`): sweeps
and patched paths refuse them, a single edit cannot tell.

Sources: Wang et al. 2022, section 2 (mean-ablation) and 3.1 (path patching); Framework, "Term
Importance Analysis" (ablation with frozen patterns).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuitbook.cache import Edit, Transformer, needs_our_model, run_from, run_with_cache
from circuitbook.parts import (
    Activations,
    Sizes,
    at_least_one,
    head_named,
    needs_same_model,
    recorded,
)

Edits = dict[str, Edit]
Metric = Callable[[Tensor], Tensor | float]  # logits in; a number, or one for each row, out
AT_ONCE = 512  # tokens in one batch of a sweep: more is hardly faster and takes memory

HEAD_AXIS = {"q": 2, "k": 2, "v": 2, "z": 2, "pattern": 1}
STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


# What to replace by


@dataclass(frozen=True)
class Averaged:
    """A cache whose every activation is its mean over rows and positions: what a part says on
    average.

    `each_position` takes the mean over the rows alone, where each position has its own role. That
    is always so for patterns and scores.
    """

    cache: Activations
    each_position: bool = False

    def __getitem__(self, name: str) -> Tensor:
        activation = recorded(self.cache, name)
        rows_only = self.each_position or _is_pattern(name)
        return activation.mean(dim=0 if rows_only else (0, 1), keepdim=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self.cache)


# Edits


def replace(
    name: str,
    by: object,
    positions: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
) -> Edits:
    """The edit that replaces one activation: a layer's write, the stream, neurons (`hook_post`).

    Only at `positions` (of a pattern: the positions that read) and in `neurons`, where these are
    given. `by` is a number, a tensor, or a cache that has recorded `name`; a size of 1 counts for
    every row or position. Raises ValueError where the cache has not recorded it and on NaN; when it
    runs, where the shapes differ or there is no such position or neuron. (In TransformerLens 4.3 an
    edit of resid_mid reaches the MLP alone, and one of attn_scores is lost: edit attn_out or
    pattern.)
    """
    return _replacement(name, by, {_position_axis(name): positions, -1: neurons})


def replace_head(
    head: object,
    cfg: Sizes,
    by: object,
    which: str = "z",
    positions: Sequence[int] | None = None,
) -> Edits:
    """The edit that replaces what one head brings (`z`), or its `q`, `k`, `v` or `pattern`.

    `by` and `positions` are those of `replace`. Raises ValueError on a head that the model does not
    have, too.
    """
    layer, index = head_named(head, cfg)
    if which not in HEAD_AXIS:
        raise ValueError(f"replace_head got {which!r}; give one of {', '.join(HEAD_AXIS)}.")
    name = f"blocks.{layer}.attn.hook_{which}"
    return _replacement(name, by, {_position_axis(name): positions, HEAD_AXIS[which]: [index]})


def combined(*interventions: Edits) -> Edits:
    """Several interventions as one.

    (`a | b` loses an edit of a's where both edit one activation, as for two heads of one layer.)
    """
    together: Edits = {}
    for name, edit in (item for edits in interventions for item in edits.items()):
        together[name] = _one_after_the_other(together[name], edit) if name in together else edit
    return together


def _one_after_the_other(first: Edit, second: Edit) -> Edit:
    return lambda activation, hook=None: second(first(activation))


def _replacement(name: str, by: object, where: dict[int, Sequence[int] | None]) -> Edits:
    """The edit of one activation; `where` has, for an axis, the indices to replace (None: all)."""
    value = by
    if isinstance(by, Activations) and not isinstance(by, Tensor):
        value = recorded(by, name)
    if not isinstance(value, Tensor | int | float):
        raise ValueError(
            f"{name} cannot be replaced by {type(by).__name__}; give a number (0 ablates), a "
            "tensor, or a cache of another run."
        )
    if torch.as_tensor(value).isnan().any():
        raise ValueError(f"{name} cannot be replaced by NaN; mend what made it.")
    where = {axis: _indices(wanted, name) for axis, wanted in where.items()}

    def edit(activation: Tensor, hook: object = None) -> Tensor:  # TransformerLens gives a hook
        new = _fitted(value, activation, name) if isinstance(value, Tensor) else value
        replaced = torch.ones((), dtype=torch.bool, device=activation.device)
        for axis, indices in where.items():
            if indices is not None:
                replaced = replaced & _chosen(activation, axis, indices, name)
        return torch.where(replaced, new, activation)

    return {name: edit}


def _fitted(value: Tensor, activation: Tensor, name: str) -> Tensor:
    same = value.shape[2:] == activation.shape[2:] and value.ndim == activation.ndim
    sizes = zip(value.shape[:2], activation.shape[:2], strict=True)
    if not (same and all(size in (1, wanted) for size, wanted in sizes)):
        raise ValueError(
            f"{name} has shape {list(activation.shape)} in this run and {list(value.shape)} in "
            "what replaces it; give both runs equally many rows and tokens."
        )
    return value.to(activation)


def _indices(wanted: object, name: str) -> list[int] | None:
    """Positions or neurons as a list; None for all."""
    if wanted is None:
        return None
    listed = wanted.tolist() if isinstance(wanted, Tensor) else wanted
    if not isinstance(listed, list | tuple | range) or any(type(one) is not int for one in listed):
        raise ValueError(
            f"The edit of {name} got {wanted!r} for positions or neurons; give a list of whole "
            "numbers, such as [3]."
        )
    return list(listed)


def _chosen(activation: Tensor, axis: int, indices: Sequence[int], name: str) -> Tensor:
    """True at these indices of one axis, in a shape that broadcasts along the others."""
    size = activation.shape[axis]
    if not all(-size <= index < size for index in indices):
        raise ValueError(
            f"The edit of {name} got {list(indices)} for an axis of {size}; give whole numbers "
            f"from 0 to {size - 1}, or from -{size} to -1 to count from the end."
        )
    chosen = torch.zeros(size, dtype=torch.bool, device=activation.device)
    chosen[list(indices)] = True
    shape = [1] * activation.ndim
    shape[axis] = size
    return chosen.reshape(shape)


def _is_pattern(name: str) -> bool:
    return name.endswith(("hook_pattern", "hook_attn_scores"))


def _position_axis(name: str) -> int:
    return 2 if _is_pattern(name) else 1


# Sweeps: one intervention after the other, each run from the layer that it changes


@dataclass(frozen=True)
class Sweep:
    """What a metric becomes when one part after the other is replaced, averaged over the rows."""

    baseline: Float[Tensor, ""]  # with nothing replaced
    values: Float[Tensor, "layer column"]
    rows: tuple[str, ...]  # "L0", "L1", ...
    columns: tuple[str, ...]  # "H0", "H1", ... or, for positions, "@0", "@1", ...

    @property
    def effects(self) -> Float[Tensor, "layer column"]:
        """How far each replacement moves the metric: below 0 it falls."""
        return self.values - self.baseline

    def restored(self, clean: Tensor | float) -> Float[Tensor, "layer column"]:
        """The share of the way from the baseline to the `clean` metric: 0 no effect, 1 all of it.

        Raises ValueError where the two are equal, and where `clean` is no number.
        """
        clean = torch.as_tensor(clean).to(self.baseline)
        if clean.numel() != 1 or clean.isnan():
            raise ValueError(f"restored got {clean}; give one number, the clean run's mean metric.")
        if clean == self.baseline:
            raise ValueError(
                f"The clean metric equals the baseline, {float(clean):.4g}: nothing can be "
                "restored. Choose prompts on which the two runs differ."
            )
        return self.effects / (clean - self.baseline)

    def strongest(self, k: int) -> tuple[str, ...]:
        """The names of the k parts that move the metric most, either way: ("L1H6", "L0H3", ...).

        Raises ValueError on a k below 1.
        """
        at_least_one("strongest", k)
        names = [row + column for row in self.rows for column in self.columns]
        order = self.effects.flatten().abs().argsort(descending=True, stable=True)
        return tuple(names[place] for place in order[:k].tolist())


@torch.no_grad()
def metric_by_head(
    model: Transformer,
    tokens: Tensor,
    metric: Metric,
    by: object,
    which: str = "z",
    positions: Sequence[int] | None = None,
    logits_at: Sequence[int] | None = None,
) -> Sweep:
    """The metric with each head in turn replaced: what is lost without it, or what it restores.

    `by`, `which` and `positions` are those of `replace_head`. `metric` gets the logits, or those at
    the positions `logits_at` alone: much less to compute where it needs no others. Raises
    ValueError on a metric that is neither a number nor one for each row, or is NaN, and on a cache
    of another model.
    """
    _check_run(model, tokens, by, logits_at)
    cfg = model.cfg
    interventions = [
        [replace_head((layer, head), cfg, by, which, positions) for head in range(cfg.n_heads)]
        for layer in range(cfg.n_layers)
    ]
    return _sweep(model, tokens, metric, interventions, range(cfg.n_layers), "H", logits_at)


@torch.no_grad()
def metric_by_position(
    model: Transformer,
    tokens: Tensor,
    metric: Metric,
    by: object,
    which: str = "resid_pre",
    logits_at: Sequence[int] | None = None,
) -> Sweep:
    """The metric with the stream, or a layer's write, replaced at each position in turn.

    `which` is resid_pre, resid_mid, resid_post, attn_out or mlp_out; the rest is as in
    `metric_by_head`.
    """
    if which not in STREAM:
        raise ValueError(f"metric_by_position got {which!r}; give one of {', '.join(STREAM)}.")
    _check_run(model, tokens, by, logits_at)
    layers, length = range(model.cfg.n_layers), tokens.shape[-1]
    interventions = [
        [replace(f"blocks.{layer}.hook_{which}", by, positions=[pos]) for pos in range(length)]
        for layer in layers
    ]
    return _sweep(model, tokens, metric, interventions, layers, "@", logits_at)


def _sweep(
    model: Transformer,
    tokens: Tensor,
    metric: Metric,
    interventions: Sequence[Sequence[Edits]],
    layers: Sequence[int],
    letter: str,
    logits_at: Sequence[int] | None,
) -> Sweep:
    """The metric under each intervention; those of one row change one activation, of `layers`."""
    if not interventions:
        raise ValueError("This model has no layers; take one that has something to replace.")
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    _, cache = run_with_cache(model, tokens, names)

    def metrics(row: Sequence[Edits], layer: int) -> Tensor:
        resid_pre = cache[f"blocks.{layer}.hook_resid_pre"]
        return metric_under_each(model, resid_pre, layer, row, metric, logits_at)

    baseline = metrics([{}], model.cfg.n_layers - 1)[0]
    values = torch.stack([metrics(*pair) for pair in zip(interventions, layers, strict=True)])
    rows, columns = (range(size) for size in values.shape)
    return Sweep(
        baseline, values, tuple(f"L{i}" for i in rows), tuple(f"{letter}{i}" for i in columns)
    )


def _check_run(model: Transformer, tokens: Tensor, by: object, logits_at: object = None) -> None:
    """Raises ValueError on a model or tokens that cannot be run, and a cache of another model."""
    needs_our_model(model, tokens)
    _indices(logits_at, "logits_at")
    cache = by.cache if isinstance(by, Averaged) else by
    is_cache = isinstance(cache, Activations) and not isinstance(cache, Tensor)
    if is_cache and "hook_pos_embed" in cache:
        needs_same_model(cache, model)


def metric_under_each(
    model: Transformer,
    resid_pre: Float[Tensor, "batch pos d_model"],
    layer: int,
    interventions: Sequence[Edits],
    metric: Metric,
    logits_at: Sequence[int] | None = None,
) -> Float[Tensor, " intervention"]:
    """The metric, averaged over rows, of a run from `layer` on under each of some interventions.

    They all edit the same activations. Several run at a time, in one batch of as many copies.
    """
    n_batch, length, _ = resid_pre.shape
    at_once = max(1, AT_ONCE // (n_batch * length))
    values = []
    for first in range(0, len(interventions), at_once):
        some = interventions[first : first + at_once]
        copies = resid_pre.repeat(len(some), 1, 1)
        logits = run_from(model, copies, layer, _side_by_side(some), logits_at)
        values += [_mean_metric(metric, share) for share in logits.chunk(len(some))]
    return torch.stack(values)


def _side_by_side(interventions: Sequence[Edits]) -> Edits:
    """The interventions as one on a batch of as many copies: each edits its own copy."""

    def on_copies(name: str) -> Edit:
        def edit(activation: Tensor) -> Tensor:
            pairs = zip(interventions, activation.chunk(len(interventions)), strict=True)
            return torch.cat([edits[name](copy) for edits, copy in pairs])

        return edit

    return {name: on_copies(name) for name in interventions[0]}


def _mean_metric(metric: Metric, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, ""]:
    """The metric, averaged over rows; a ValueError unless it is a number, or one for each row."""
    value = metric(logits)
    shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if shape not in ([], [len(logits)], "float", "int"):
        raise ValueError(
            f"The metric returned {shape} for logits of {list(logits.shape)}; return one number, "
            f"or a tensor with one for each of the {len(logits)} rows."
        )
    value = torch.as_tensor(value).to(logits)
    if value.isnan().any():
        raise ValueError("The metric is NaN; look for the first activation that holds NaN.")
    return value.mean()


# Paths


def direct_path(
    model: Transformer, base: Activations, sender: object, by: object, through_mlps: bool = True
) -> Edits:
    """The edits under which no later head notices that the sender is replaced: what still moves is
    its direct effect.

    The sender's z is replaced `by`; the z of every later head stays what it is in `base`, the cache
    of the run without edits. MLPs respond, as in the paper, unless `through_mlps` is False: then
    their outputs stay, too, and the stream alone carries the change. Raises ValueError on a head
    that the model does not have, and on a cache that lacks a z or mlp_out.
    Source: Wang et al. 2022, section 3.1.
    """
    layer, _ = head_named(sender, model.cfg)
    n_layers = model.cfg.n_layers
    frozen = [f"blocks.{later}.attn.hook_z" for later in range(layer + 1, n_layers)]
    if model.cfg.d_mlp and not through_mlps:
        frozen += [f"blocks.{later}.hook_mlp_out" for later in range(layer, n_layers)]
    return combined(replace_head(sender, model.cfg, by), *(replace(name, base) for name in frozen))


@torch.no_grad()
def patch_path(
    model: Transformer,
    tokens: Tensor,
    base: Activations,
    sender: object,
    receiver: object,
    by: object,
    which: str,
    through_mlps: bool = True,
) -> Edits:
    """The edit that gives a head the `q`, `k` or `v` that it would have if it alone heard that the
    sender is replaced.

    It is recorded in a run with the edits of `direct_path`; `base` is the cache of the run without.
    With "k" this tests K-composition as a cause: the receiver's keys change, its queries and values
    do not. Raises ValueError unless the receiver is in a later layer, on a `base` of other tokens,
    and on a cache of another model.
    Source: Wang et al. 2022, section 3.1.
    """
    _check_run(model, tokens, by)
    sender, receiver = head_named(sender, model.cfg), head_named(receiver, model.cfg)
    if which not in ("q", "k", "v"):
        raise ValueError(f"A head hears by its q, k or v; patch_path got {which!r}.")
    if receiver.layer <= sender.layer:
        raise ValueError(
            f"{receiver} cannot hear {sender}: a head reads what earlier layers wrote. Take a "
            f"receiver from layer {sender.layer + 1} on."
        )
    name = f"blocks.{receiver.layer}.attn.hook_{which}"
    direct = direct_path(model, base, sender, by, through_mlps)
    before = f"blocks.{sender.layer}.hook_resid_pre"
    _, heard = run_with_cache(model, tokens, [name, before], direct)
    if before in base:
        gap, size = (heard[before] - base[before]).abs().max(), heard[before].abs().max()
        if not gap <= torch.finfo(gap.dtype).eps ** 0.5 * size:
            raise ValueError(
                f"The `base` cache is not of these tokens and this model: its {before} is "
                f"{gap:.1e} away. Give the cache of `run_with_cache(model, tokens)`."
            )
    return replace_head(receiver, model.cfg, heard, which)


@torch.no_grad()
def metric_by_sender(
    model: Transformer,
    tokens: Tensor,
    metric: Metric,
    receiver: object,
    by: object,
    which: str,
    through_mlps: bool = True,
    logits_at: Sequence[int] | None = None,
) -> Sweep:
    """The metric with the path from each earlier head to the receiver patched, one after the other.

    See `patch_path`, and `metric_by_head` for the rest. Raises ValueError where the receiver is in
    the first layer, which no head comes before.
    """
    _check_run(model, tokens, by, logits_at)
    receiver, cfg = head_named(receiver, model.cfg), model.cfg
    if receiver.layer == 0:
        raise ValueError(f"{receiver} has no head before it; take a receiver of a later layer.")
    _, base = run_with_cache(model, tokens)
    paths = [
        [
            patch_path(model, tokens, base, (layer, head), receiver, by, which, through_mlps)
            for head in range(cfg.n_heads)
        ]
        for layer in range(receiver.layer)
    ]
    starts = [receiver.layer] * receiver.layer
    return _sweep(model, tokens, metric, paths, starts, "H", logits_at)
