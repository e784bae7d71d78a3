"""The models of the book: `load(name)` opens one, `ship(name, ...)` writes one, with its card.

A model is a folder in Hugging Face's GPT-2 format, so that `AutoModelForCausalLM` opens it too, and
TransformerLens' `TransformerBridge.boot_transformers`.
"""

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from circuitbook.language import END_OF_TEXT, Example, Language, Tokenizer, book_language
from circuitbook.model import Config, Transformer, loss_per_token
from circuitbook.train import TrainingRun, train, write_atomically
from circuitbook.weights import from_huggingface, save_huggingface

MODELS = Path(__file__).parent / "models"
CHECKSUMS = MODELS / "checksums.json"  # "pocket/model.safetensors" -> sha256
SHIPPED = ("pocket",)

GPT2 = "openai-community/gpt2"
GPT2_FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Of revision 607a30d783dfa663caf39e06633721c8d4cfcd7e, the only weights this repository ever had.
GPT2_SHA256 = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
FETCH_GPT2 = f"hf download {GPT2} {' '.join(GPT2_FILES)}"


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and the tokenizer that fits it."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    folder: Path  # in Hugging Face's format


def load(name: str | None = None) -> LoadedModel:
    """The model called `name`: "pocket", which ships with the book, or "gpt2" where it is cached.

    Without a name: what CIRCUITBOOK_MODEL says, else gpt2 where it is cached, else pocket; then one
    line says which. Raises ValueError where the name is unknown, a file is missing or damaged.
    """
    if name is None:
        name = os.environ.get("CIRCUITBOOK_MODEL") or ("gpt2" if cached_gpt2() else "pocket")
        cure = "" if name == "gpt2" else f" (for GPT-2 small: {FETCH_GPT2})"
        print(f"The model is {name}{cure}.")
    known = (*SHIPPED, "gpt2")
    if name not in known:
        near = get_close_matches(name, known, n=2, cutoff=0.4)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"There is no model {name!r}; {meant}There are {', '.join(known)}.")
    folder = gpt2_folder() if name == "gpt2" else shipped_folder(name)
    model = from_huggingface(folder).eval()
    return LoadedModel(name, model, Tokenizer.read(folder / "tokenizer.json"), folder)


def cached_gpt2() -> Path | None:
    """The folder in Hugging Face's cache that holds GPT-2 small, None where a file is not there."""
    from huggingface_hub import try_to_load_from_cache

    for repository in (GPT2, "gpt2"):  # its name now, and before 2024
        found = [try_to_load_from_cache(repository, file) for file in GPT2_FILES]
        if all(isinstance(file, str) for file in found):
            return Path(found[0]).parent
    return None


def gpt2_folder() -> Path:
    """The cached GPT-2, once its weights are known to be the published ones."""
    folder = cached_gpt2()
    if folder is None:
        raise ValueError(f"GPT-2 is not on this machine; fetch it with: {FETCH_GPT2}")
    if sha256(folder / "model.safetensors") != GPT2_SHA256:
        raise ValueError(
            f"{folder / 'model.safetensors'} is damaged: its checksum is not the published one. "
            f"Delete it, then: {FETCH_GPT2}"
        )
    return folder


def shipped_folder(name: str) -> Path:
    """The folder of a model that ships with the book, once each file has its checksum."""
    for file, wanted in json.loads(CHECKSUMS.read_text()).items():
        if not file.startswith(f"{name}/"):
            continue
        path = MODELS / file
        if not path.exists() or sha256(path) != wanted:
            what = "is damaged: its checksum is wrong" if path.exists() else "is missing"
            raise ValueError(
                f"{path} {what}. Restore it with `git checkout -- {path.parent}`, or install again."
            )
    return MODELS / name


def sha256(path: Path) -> str:
    """A file's checksum, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# How good a model is


@dataclass(frozen=True)
class Score:
    """What a model does on one phenomenon, beside the truth."""

    phenomenon: str
    accuracy: float  # share of the answers that are its likeliest token
    loss: float  # nats per token
    oracle: float  # the oracle's loss on the same text; no model does better on average


@torch.inference_mode()
def score(model: Transformer, language: Language, phenomenon: str, count: int = 300) -> Score:
    """Accuracy and loss on `count` documents of one phenomenon, none from the training's seed."""
    examples = language.examples(phenomenon, count, seed=1)
    tokens, lengths = padded(examples)
    logits = model(tokens)
    losses = loss_per_token(logits, tokens)
    is_text = torch.arange(tokens.shape[1] - 1) < lengths[:, None] - 1
    guesses = logits.argmax(dim=-1).tolist()
    right = [
        guesses[row][position - 1] == example.tokens[position]
        for row, example in enumerate(examples)
        for position in example.answers
    ]
    return Score(
        phenomenon,
        sum(right) / len(right),
        losses[is_text].mean().item(),
        torch.cat([language.grammar.oracle_losses(e.tokens) for e in examples]).mean().item(),
    )


def padded(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [batch pos], filled up on the right, and each row's length."""
    rows = [torch.tensor(example.tokens) for example in examples]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


@dataclass(frozen=True)
class Loss:
    """A model's loss and the oracle's on the same text, in nats per token."""

    model: float
    oracle: float


@torch.inference_mode()
def loss_on_documents(model: Transformer, language: Language, windows: int = 256) -> Loss:
    """On windows of n_ctx tokens that each start a document, none from the training's seed."""
    n_ctx, rows = model.cfg.n_ctx, []
    stream = language.sample_tokens(4 * windows * n_ctx, seed=1)
    starts = (stream == language.tokenizer.end_of_text).nonzero().flatten().tolist()
    end = 0
    for start in starts:
        if start >= end and len(rows) < windows and start + n_ctx <= len(stream):
            rows.append(stream[start : start + n_ctx])
            end = start + n_ctx
    model_loss = torch.cat([loss_per_token(model(row[None]), row[None])[0] for row in rows]).mean()
    oracle = torch.cat([language.grammar.oracle_losses(row.tolist()) for row in rows]).mean()
    return Loss(model_loss.item(), oracle.item())


# Making the shipped models


PLANNED_STEPS = {"pocket": 10_000}  # what the learning rate's cosine is spread over


def train_pocket(
    checkpoints: Path | None = None, progress: bool = True
) -> tuple[Transformer, TrainingRun]:
    """The exact call that made `pocket`; another machine's rounding changes the last digits."""
    d_vocab = book_language().tokenizer.d_vocab
    cfg = Config(
        n_layers=4, d_model=128, n_heads=8, d_head=16, d_mlp=512, n_ctx=128, d_vocab=d_vocab,
        tied=True,
    )  # fmt: skip
    model = Transformer(cfg, seed=0)
    run = train(
        model,
        book_language(),
        steps=PLANNED_STEPS["pocket"],
        batch=8,
        n_ctx=128,
        learning_rate=2e-3,
        seed=0,
        progress=progress,
        checkpoints=checkpoints,
    )
    return model, run


def ship(name: str, model: Transformer, text: str) -> Path:
    """Write a model's folder: weights, config, tokenizer, `text` as its card; and its checksums."""
    language, folder = book_language(), MODELS / name
    save_huggingface(model, folder)
    write_atomically(
        folder / "tokenizer.json", language.tokenizer.inner.to_str(pretty=True).encode()
    )
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "model_max_length": model.cfg.n_ctx,
    }
    write_atomically(
        folder / "tokenizer_config.json", (json.dumps(tokenizer_config, indent=2) + "\n").encode()
    )
    write_atomically(folder / "README.md", text.encode())
    old = json.loads(CHECKSUMS.read_text()) if CHECKSUMS.exists() else {}
    kept = {file: checksum for file, checksum in old.items() if not file.startswith(f"{name}/")}
    new = {
        f"{name}/{path.name}": sha256(path)
        for path in folder.iterdir()
        if path.suffix in (".json", ".safetensors")
    }
    checksums = dict(sorted((kept | new).items()))
    write_atomically(CHECKSUMS, (json.dumps(checksums, indent=2) + "\n").encode())
    return folder


def card(name: str, model: Transformer, run: TrainingRun) -> str:
    """What a model is, how it was made, how good it is, in markdown; every number is measured."""
    language, cfg = book_language(), model.cfg
    floors, loss = language.losses(), loss_on_documents(model, language)
    scores = [score(model, language, phenomenon) for phenomenon in language.phenomena]
    lines = [
        f"# {name}",
        "",
        f"GPT-2's architecture, trained on the book's own language: {cfg.n_layers} layers, d_model "
        f"{cfg.d_model}, {cfg.n_heads} heads, context {cfg.n_ctx}, {cfg.d_vocab} tokens, "
        f"{sum(weights.numel() for weights in model.parameters()):,} parameters.",
        "",
        f"Made by `python -m circuitbook.zoo {name}` (`circuitbook.zoo.train_{name}`, seed 0): "
        f"stopped after {len(run.steps):,} of {PLANNED_STEPS[name]:,} steps, "
        f"{run.tokens:,} tokens, {run.seconds / 60:.0f} minutes ({platform.machine()}, threads: "
        f"{torch.get_num_threads()}).",
        "",
        "| predictor | loss, nats per token |",
        "|---|---|",
        f"| uniform | {floors.uniform:.3f} |",
        f"| unigram | {floors.unigram:.3f} |",
        f"| bigram | {floors.bigram:.3f} |",
        f"| **{name}**, on windows that start a document | {loss.model:.3f} |",
        f"| the oracle, on the same windows | {loss.oracle:.3f} |",
        f"| best possible, exact | {floors.best:.3f} |",
        "",
        "| phenomenon | accuracy on answers | loss | the oracle's loss |",
        "|---|---|---|---|",
        *(f"| {s.phenomenon} | {s.accuracy:.1%} | {s.loss:.3f} | {s.oracle:.3f} |" for s in scores),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """`python -m circuitbook.zoo pocket` trains a shipped model again and writes its folder."""
    parser = argparse.ArgumentParser(description="Train a model of the book and write its folder.")
    parser.add_argument("name", choices=SHIPPED)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    arguments = parser.parse_args()
    model, run = {"pocket": train_pocket}[arguments.name](arguments.checkpoints / arguments.name)
    folder = ship(arguments.name, model, card(arguments.name, model, run))
    print(f"Written to {folder}")


if __name__ == "__main__":
    main()
