"""Run a model and keep its activations, or change some on the way; both are hooks (see
`model.py`)."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from circuitbook.model import Transformer

Edit = Callable[[Tensor], Tensor]


class Cache(Mapping[str, Tensor]):
    """Activations of one forward pass by TransformerLens' names, in the order in which they were
    made.

    `cache["blocks.0.attn.hook_pattern"]` and, as in TransformerLens, `cache["pattern", 0]` are the
    same tensor. An unknown name raises ValueError with the nearest known ones.
    """

    def __init__(self, activations: Mapping[str, Tensor]):
        self._activations = dict(activations)

    def __getitem__(self, key: str | tuple[str, int]) -> Tensor:
        name = key if isinstance(key, str) else self._full_name(*key)
        if name not in self._activations:
            raise _unknown(name, self._activations)
        return self._activations[name]

    def __contains__(self, key: object) -> bool:
        return key in self._activations

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        return f"Cache of {len(self)} activations: {', '.join(list(self)[:3])}, ..."

    def _full_name(self, short: str, layer: int) -> str:
        """("pattern", 0) → "blocks.0.attn.hook_pattern"."""
        inside, ending = f"blocks.{layer}.", f".hook_{short}"
        found = [name for name in self if name.startswith(inside) and name.endswith(ending)]
        return found[0] if len(found) == 1 else f"blocks.{layer}.hook_{short}"


@torch.no_grad()
def run_with_cache(
    model: Transformer, tokens: Tensor, names: Collection[str] | None = None
) -> tuple[Float[Tensor, "batch pos d_vocab"], Cache]:
    """The logits, and every activation on the way to them (or those in `names` only).

    Raises ValueError on tokens that the model cannot read and on a name that it does not have.
    """
    kept, seen = {}, []

    def keep(name: str, activation: Tensor) -> Tensor:
        seen.append(name)
        if names is None or name in names:
            kept[name] = activation
        return activation

    logits = model(tokens, keep)
    for name in names or ():
        if name not in kept:
            raise _unknown(name, seen)
    return logits, Cache(kept)


@torch.no_grad()
def run_with_edits(
    model: Transformer, tokens: Tensor, edits: Mapping[str, Edit]
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits when each activation named in `edits` is replaced by its edit's result.

    An edit gets a copy, so it may work in place. Raises ValueError on an unknown name and on an
    edit that returns another shape: a shape that broadcasts would change the experiment in silence.
    """
    seen = []

    def edit(name: str, activation: Tensor) -> Tensor:
        seen.append(name)
        if name not in edits:
            return activation
        edited = edits[name](activation.clone())
        if not isinstance(edited, Tensor) or edited.shape != activation.shape:
            came = list(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
            raise ValueError(
                f"The edit of {name} returned {came}; return the whole activation, "
                f"a tensor of shape {list(activation.shape)}."
            )
        return edited

    logits = model(tokens, edit)
    for name in edits:
        if name not in seen:
            raise _unknown(name, seen)
    return logits


def _unknown(name: str, known: Collection[str]) -> ValueError:
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.3) or list(known)[:3]
    return ValueError(
        f"There is no activation {name!r} here. Take one of the {len(known)} that there are, "
        f"such as {', '.join(near)}."
    )
