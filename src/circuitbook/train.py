"""One training loop: AdamW, warm-up and cosine, checkpoints from which a killed run goes on."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from circuitbook.model import loss_per_token

CHECKPOINT = "checkpoint.safetensors"
WARM_UP = 0.05  # share of the steps
LAST_RATE = 0.05  # share of the learning rate that is left at the end
LARGEST_GRADIENT = 1.0


@runtime_checkable
class Batches(Protocol):
    """What a language must offer to be learned."""

    def batches(self, batch: int, n_ctx: int, seed: int) -> Iterator[Int[Tensor, "batch pos"]]: ...


@dataclass(frozen=True)
class TrainingRun:
    """A finished training: the loss of each step's batch before the step, in nats per token."""

    steps: tuple[int, ...]  # 0, 1, 2, ...
    losses: tuple[float, ...]
    tokens: int  # read in all
    seconds: float  # spent in all, over all restarts


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Up to `peak` along a line in the first steps, then down along a cosine to a share of it."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return peak * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


def best_device() -> str:
    """The fastest device here: cuda, mps or cpu. `model.to(best_device())` trains there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def train(
    model: nn.Module,
    language: Batches,
    *,
    steps: int,
    batch: int,
    n_ctx: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
    progress: bool = True,
    checkpoints: Path | None = None,
    checkpoint_every: int = 200,
) -> TrainingRun:
    """Trains `model`, in place and on its own device, to predict the next token of `language`.

    `on_step(step, loss)` is called at each step. With a folder for `checkpoints`, a run that was
    killed goes on from its last checkpoint to the same curve. Raises ValueError where sizes are not
    positive and where the folder holds another run.
    """
    sizes = {"steps": steps, "batch": batch, "n_ctx": n_ctx, "learning_rate": learning_rate}
    if min(sizes.values()) <= 0:
        raise ValueError(f"train got {sizes}; give numbers above 0.")
    settings = {**sizes, "weight_decay": weight_decay, "seed": seed}
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    losses, spent = [], 0.0
    if checkpoints is not None and (checkpoints / CHECKPOINT).exists():
        losses, spent = read_checkpoint(checkpoints / CHECKPOINT, model, optimizer, settings)
    first, began = len(losses), time.monotonic() - spent
    batches = islice(language.batches(batch, n_ctx, seed), first, steps)
    bar = tqdm(batches, total=steps, initial=first, unit="step", disable=not progress)
    model.train()
    for step, tokens in enumerate(bar, start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps, learning_rate)
        tokens = tokens.to(device)
        loss = loss_per_token(model(tokens), tokens).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        losses.append(loss.item())
        seconds = time.monotonic() - began
        speed = len(losses) * batch * n_ctx / seconds
        bar.set_postfix_str(f"loss {losses[-1]:.3f}, {speed:,.0f} tokens/s", refresh=False)
        if on_step is not None:
            on_step(step, losses[-1])
        if checkpoints is not None and len(losses) % checkpoint_every == 0:
            save_checkpoint(checkpoints / CHECKPOINT, model, optimizer, settings, losses, seconds)
    seconds = time.monotonic() - began
    if checkpoints is not None:
        save_checkpoint(checkpoints / CHECKPOINT, model, optimizer, settings, losses, seconds)
    model.eval()
    return TrainingRun(tuple(range(steps)), tuple(losses), steps * batch * n_ctx, seconds)


def write_atomically(path: Path, content: bytes) -> None:
    """The whole file or nothing: a kill or a full disk leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(path.name + ".part")
    try:
        with open(half_written, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half_written, path)
    finally:
        half_written.unlink(missing_ok=True)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict,
    losses: list[float],
    seconds: float,
) -> None:
    """Parameters, the optimizer's moments and the curve so far, in one safetensors file."""
    tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for moment, tensor in optimizer.state[parameter].items():
            tensors[f"{moment}.{name}"] = tensor
    metadata = {"settings": json.dumps(settings), "seconds": str(seconds)}
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata))


def read_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict
) -> tuple[list[float], float]:
    """Puts a checkpoint into model and optimizer; its losses so far and the seconds they took."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"The checkpoint {path} cannot be read ({error}); delete it to train from the start."
        ) from None
    parameters = dict(model.named_parameters())
    shapes = {f"model.{name}": tensor.shape for name, tensor in parameters.items()}
    if metadata.get("settings") != json.dumps(settings) or shapes != {
        name: tensor.shape for name, tensor in tensors.items() if name.startswith("model.")
    }:
        raise ValueError(
            f"The checkpoint {path} is of a run with settings {metadata.get('settings')}, this one "
            f"has {json.dumps(settings)} or other sizes; use another folder or delete it."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
            optimizer.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to(
                    "cpu" if moment == "step" else parameter.device
                )
                for moment in ("step", "exp_avg", "exp_avg_sq")
            }
    return tensors["losses"].tolist(), float(metadata["seconds"])
