"""More features than dimensions: toy models that must share their space, and a sparse dictionary
that looks for the features again.

Here the truth is known, because we draw the features ourselves. A toy model squeezes them into a
few dimensions, h = x W, and has to say them again, ReLU(h Wᵀ + b). All is computed in float64, so
that one seed gives the same model, to many digits, on each machine.

Sources: Elhage et al. 2022, "Toy Models of Superposition", section "Demonstrating Superposition";
Cunningham et al. 2023, "Sparse Autoencoders Find Highly Interpretable Features in Language Models",
section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LAST_RATE = 0.02  # share of the learning rate that is left at the end


def sparse_features(
    n_samples: int, n_features: int, density: float, seed: int = 0
) -> Float[Tensor, "sample feature"]:
    """Made-up inputs: each feature is there with probability `density`, then uniform in 0 to 1,
    and 0 otherwise, independently of the others.

    Raises ValueError on a density outside 0 to 1.
    """
    _check_densities([density])
    return _drawn((n_samples, n_features), torch.tensor(density), _random(seed))


# Toy models


@dataclass(frozen=True)
class ToyModels:
    """Toy models of one size, each trained on features of another density."""

    densities: tuple[float, ...]
    W: Float[Tensor, "model feature d_hidden"]  # a feature's row is its direction
    b: Float[Tensor, "model feature"]


def train_toy_models(
    densities: Sequence[float],
    importance: Float[Tensor, " feature"],
    d_hidden: int,
    *,
    steps: int = 2000,
    batch: int = 256,
    seed: int = 0,
) -> ToyModels:
    """One toy model for each density, trained side by side to say x again: ReLU(x W Wᵀ + b).

    An error in feature i costs importance[i] times its square. Raises ValueError on a density
    outside 0 to 1, and on sizes below 1.
    Source: Elhage et al. 2022, "Demonstrating Superposition".
    """
    _check_densities(densities)
    _check_sizes("train_toy_models", d_hidden=d_hidden, steps=steps, batch=batch)
    random, n_features, importance = _random(seed), len(importance), importance.double()
    shape = (len(densities), n_features, d_hidden)
    W = torch.randn(shape, generator=random, dtype=torch.float64) / (2 * d_hidden**0.5)
    W, b = W.requires_grad_(), torch.zeros(shape[:2], dtype=torch.float64, requires_grad=True)
    density = torch.tensor(densities)[:, None]

    def loss() -> Tensor:
        x = _drawn((batch, *shape[:2]), density, random)
        hidden = torch.einsum("smf, mfd -> smd", x, W)
        output = (torch.einsum("smd, mfd -> smf", hidden, W) + b).relu()
        return (importance * (x - output) ** 2).mean(dim=(0, 2)).sum()

    _minimised(loss, [W, b], steps, learning_rate=1e-2)
    return ToyModels(tuple(densities), W.detach(), b.detach())


# The way back: a sparse dictionary


@dataclass(frozen=True)
class Dictionary:
    """A sparse autoencoder: directions, and a rule that says how much of each is in a vector."""

    directions: Float[Tensor, "latent d_hidden"]  # of length 1
    W_enc: Float[Tensor, "d_hidden latent"]
    b_enc: Float[Tensor, " latent"]

    def latents(self, hidden: Float[Tensor, "sample d_hidden"]) -> Float[Tensor, "sample latent"]:
        """How much of each direction is in each vector; 0 for most, if it is any good."""
        return (hidden @ self.W_enc + self.b_enc).relu()

    def rebuilt(self, hidden: Float[Tensor, "sample d_hidden"]) -> Float[Tensor, "sample d_hidden"]:
        """The vectors again, as sums of directions."""
        return self.latents(hidden) @ self.directions


def train_dictionary(
    hidden: Float[Tensor, "sample d_hidden"],
    n_latents: int,
    penalty: float,
    *,
    steps: int = 2000,
    batch: int = 512,
    seed: int = 0,
) -> Dictionary:
    """Directions of which each vector is a sum of few, learned from the vectors alone.

    Minimises the squared error of `rebuilt` plus `penalty` times the sum of the latents: the larger
    the penalty, the fewer of them speak at a time. Raises ValueError on sizes below 1, and a
    penalty below 0.
    Source: Cunningham et al. 2023, section 2, where W_enc is the directions' transpose.
    """
    _check_sizes("train_dictionary", n_latents=n_latents, steps=steps, batch=batch)
    if not penalty >= 0:
        raise ValueError(f"train_dictionary got the penalty {penalty}; give 0 or more.")
    random, hidden = _random(seed), hidden.double()
    start = torch.randn(n_latents, hidden.shape[-1], generator=random, dtype=torch.float64)
    free = functional.normalize(start, dim=-1).requires_grad_()
    W_enc = free.detach().T.clone().requires_grad_()
    b_enc = torch.zeros(n_latents, dtype=torch.float64, requires_grad=True)

    def now() -> Dictionary:
        return Dictionary(functional.normalize(free, dim=-1), W_enc, b_enc)

    def loss() -> Tensor:
        some = hidden[torch.randint(len(hidden), (batch,), generator=random)]
        latents = now().latents(some)
        error = (latents @ now().directions - some).pow(2).sum(dim=-1)
        return (error + penalty * latents.sum(dim=-1)).mean()

    _minimised(loss, [free, W_enc, b_enc], steps, learning_rate=5e-3)
    return Dictionary(now().directions.detach(), W_enc.detach(), b_enc.detach())


# What both need


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _drawn(shape: tuple[int, ...], density: Tensor, random: torch.Generator) -> Tensor:
    size, chance = torch.rand((2, *shape), generator=random, dtype=torch.float64)
    return size * (chance < density)


def _minimised(loss, parameters: list[Tensor], steps: int, learning_rate: float) -> None:
    """Adam, with a rate that falls along a line in the second half of the steps."""
    optimizer = torch.optim.Adam(parameters, learning_rate)
    for step in range(steps):
        left = min(1.0, 2 * (1 - step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * (LAST_RATE + (1 - LAST_RATE) * left)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def _check_densities(densities: Sequence[float]) -> None:
    if not len(densities) or not all(0 < density <= 1 for density in densities):
        raise ValueError(
            f"Densities are probabilities above 0 and up to 1; came {list(densities)}."
        )


def _check_sizes(who: str, **sizes: int) -> None:
    if min(sizes.values()) < 1:
        came = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"{who} got {came}; give whole numbers from 1 on.")
