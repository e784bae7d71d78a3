"""What the shipped models can do, beside what is true: `make(name)` trains one and writes its card.

Every number of a card is measured here, on text that no training saw.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from circuitbook.cache import run_with_cache
from circuitbook.language import Example, Language, book_language
from circuitbook.language.english import TABLES
from circuitbook.model import Transformer, loss_per_token
from circuitbook.patterns import induction_scores, previous_token_scores, repeated_tokens
from circuitbook.train import (
    RECIPES,
    TrainingRun,
    best_device,
    train_again,
    untrained,
    write_atomically,
)
from circuitbook.zoo import STEPS, save_model, weights_of, with_weights

PERIOD = 30  # of the repeated random words on which heads are scored
REPEATS = (
    "Half of the rows that it read are text of the language, the others random tokens of it that "
    "come again and again (`circuitbook.train.WithRepeats`)."
)
ENDINGS = {"keep": {"in": "mind", "at": "bay"}, "leave": {"in": "doubt", "at": "once"}}


# How good a model is


@dataclass(frozen=True)
class Score:
    """What a model does on one phenomenon, beside the truth."""

    phenomenon: str
    accuracy: float  # share of the answers that are its likeliest token
    loss: float  # nats per token
    oracle: float  # the oracle's loss on the same text; no model does better on average


@torch.inference_mode()
def score(model: Transformer, language: Language, phenomenon: str, count: int = 600) -> Score:
    """Accuracy and loss on the different ones among `count` documents of one phenomenon.

    Their seed is none that a training had; a phenomenon of few texts comes whole.
    """
    drawn = language.examples(phenomenon, count, seed=1)
    examples = list({example.tokens: example for example in drawn}.values())
    tokens, is_text = padded(examples)
    logits = model(tokens)
    guesses = logits.argmax(dim=-1).tolist()
    right = [
        guesses[row][position - 1] == example.tokens[position]
        for row, example in enumerate(examples)
        for position in example.answers
    ]
    return Score(
        phenomenon,
        sum(right) / len(right),
        loss_per_token(logits, tokens)[is_text].mean().item(),
        torch.cat([language.grammar.oracle_losses(e.tokens) for e in examples]).mean().item(),
    )


def padded(
    examples: Sequence[Example],
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos-1"]]:
    """Token ids, filled up on the right, and which of the tokens after the first are text."""
    rows = [torch.tensor(example.tokens) for example in examples]
    lengths = torch.tensor([len(row) for row in rows])
    tokens = pad_sequence(rows, batch_first=True)
    return tokens, torch.arange(tokens.shape[1] - 1) < lengths[:, None] - 1


@dataclass(frozen=True)
class Loss:
    """A model's loss and the oracle's on the same text, in nats per token."""

    model: float
    oracle: float


@torch.inference_mode()
def loss_on_documents(model: Transformer, language: Language, windows: int = 64) -> Loss:
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


@torch.inference_mode()
def bigram_divergence(model: Transformer, language: Language) -> float:
    """How far a model that reads one token is from the true bigrams, in nats.

    Σ p(token) · KL(true next token | token ‖ the model's), exact.
    """
    pairs = language.bigram()
    tokens = torch.arange(language.tokenizer.d_vocab)[:, None]
    guessed = model(tokens)[:, 0].double().log_softmax(dim=-1)
    frequency = pairs.sum(dim=1)
    true = (pairs / frequency[:, None]).nan_to_num()  # the row of a token that never occurs is 0
    divergences = (torch.special.xlogy(true, true) - true * guessed).sum(dim=1)
    return (frequency * divergences).sum().item()


@dataclass(frozen=True)
class HeadScores:
    """How far the heads of a model look at the last token and do induction, from 0 to 1."""

    previous_token: Float[Tensor, "layer head"]
    induction: Float[Tensor, "layer head"]

    def best(self, scores: str, layer: int | None = None) -> tuple[str, float]:
        """The head with the greatest of these scores, in one layer or anywhere: ("L1H3", 0.8)."""
        table = getattr(self, scores)
        rows = range(len(table)) if layer is None else [layer]
        value, at, head = max((table[row].max().item(), row, table[row].argmax()) for row in rows)
        return f"L{at}H{head.item()}", value


def head_scores(model: Transformer, language: Language, batch: int = 32) -> HeadScores:
    """On <|endoftext|> and random tokens that come twice, all from those that the language has."""
    words = language.unigram().nonzero().flatten()
    end = language.tokenizer.end_of_text
    tokens = repeated_tokens(words[words != end], end, PERIOD, batch)
    _, cache = run_with_cache(model, tokens)
    patterns = [cache["pattern", layer] for layer in range(model.cfg.n_layers)]
    return HeadScores(
        torch.stack([previous_token_scores(pattern) for pattern in patterns]),
        torch.stack([induction_scores(pattern, PERIOD) for pattern in patterns]),
    )


@dataclass(frozen=True)
class SkipTrigramBug:
    """What "keep" and "leave" do to a word that comes after "in" or "at", in nats.

    Each is log p(word) after the one verb minus after the other, mean over both verbs and both
    prepositions. `wrong` should be 0: "keep ... in bay" and "leave ... in bay" are equally
    impossible. A head that reads the verb raises its words wherever it reads from, so in a
    one-layer model "bay" rises with "mind". Source: Framework, "Skip-trigram bugs".
    """

    right: float  # the verb's own word: "mind" in "keep ... in mind"
    wrong: float  # the word it has with the other preposition: "bay" in "keep ... in bay"


@torch.inference_mode()
def skip_trigram_bug(model: Transformer, language: Language) -> SkipTrigramBug:
    """Measured on eight people and everything that the language worries about."""

    def surprise(verb: str, preposition: str, word: str) -> float:
        texts = [
            f"<|endoftext|>{person} will {verb} the {worry} {preposition} {word}"
            for person in TABLES["person"]["name"][10:18]
            for worry in TABLES["worry"]["name"]
        ]
        tokens = torch.tensor([language.tokenizer.encode(text) for text in texts])
        return loss_per_token(model(tokens), tokens)[:, -1].mean().item()

    right, wrong = [], []
    for verb, other in (("keep", "leave"), ("leave", "keep")):
        for here, there in (("in", "at"), ("at", "in")):
            for found, word in ((right, ENDINGS[verb][here]), (wrong, ENDINGS[verb][there])):
                found.append(surprise(other, here, word) - surprise(verb, here, word))
    return SkipTrigramBug(sum(right) / len(right), sum(wrong) / len(wrong))


# The card


@dataclass(frozen=True)
class Promise:
    """Something that the book relies on."""

    what: str
    wanted: str
    measured: str
    kept: bool


def promises(
    name: str, model: Transformer, language: Language, steps: dict[int, Transformer]
) -> list[Promise]:
    """What the book relies on of this model, and whether it is so."""
    if name == "pocket":
        return promises_of_pocket(model, language)
    if name == "zero-layer":
        divergence = bigram_divergence(model, language)
        return [
            Promise(
                "mean KL to the true bigram distribution",
                "≤ 0.02 nats",
                f"{divergence:.4f} nats",
                divergence <= 0.02,
            )
        ]
    scores = head_scores(model, language)
    if name == "one-layer":
        bug = skip_trigram_bug(model, language)
        return [
            *(
                Promise(f"greatest {what} score", "< 0.3", f"{head} {value:.2f}", value < 0.3)
                for what in ("previous-token", "induction")
                for head, value in [scores.best(what.replace("-", "_"))]
            ),
            Promise(
                '"keep" raises "mind" after "in" (and so on)',
                "> 1 nat",
                f"{bug.right:.1f} nats",
                bug.right > 1,
            ),
            Promise(
                'the bug: "keep" raises "bay" after "in" (and so on)',
                "> 1 nat",
                f"{bug.wrong:.1f} nats",
                bug.wrong > 1,
            ),
        ]
    previous, value = scores.best("previous_token", layer=0)
    induction, strength = scores.best("induction", layer=1)
    first = head_scores(steps[min(steps)], language) if steps else scores
    _, before = first.best("induction", layer=1)
    return [
        Promise(
            "previous-token score in layer 0", "≥ 0.7", f"{previous} {value:.2f}", value >= 0.7
        ),
        Promise(
            "induction score in layer 1", "≥ 0.5", f"{induction} {strength:.2f}", strength >= 0.5
        ),
        Promise("induction score before training", "< 0.1", f"{before:.2f}", before < 0.1),
    ]


def promises_of_pocket(model: Transformer, language: Language) -> list[Promise]:
    """Accuracy on the answers of each phenomenon, and the loss beside the oracle's."""
    wanted = dict.fromkeys(("indirect object", "capital", "pronoun", "days", "agreement"), 0.99)
    wanted |= {"invented name": 0.95, "word list": 0.95}
    scores = [score(model, language, phenomenon) for phenomenon in wanted]
    loss = loss_on_documents(model, language)
    over = loss.model / loss.oracle - 1
    return [
        *(
            Promise(
                f"accuracy on {s.phenomenon}",
                f"≥ {wanted[s.phenomenon]:.0%}",
                f"{s.accuracy:.1%}",
                s.accuracy >= wanted[s.phenomenon],
            )
            for s in scores
        ),
        Promise("loss above the oracle's", "≤ 5%", f"{over:.1%}", over <= 0.05),
    ]


def card(
    name: str,
    model: Transformer,
    run: TrainingRun,
    device: str,
    steps: dict[int, Transformer],
) -> str:
    """What a model is, how it was made, how good it is, in markdown; every number is measured."""
    language, cfg, recipe = book_language(), model.cfg, RECIPES[name]
    floors, loss = language.losses(), loss_on_documents(model, language)
    scores = [score(model, language, phenomenon) for phenomenon in language.phenomena]
    kept = promises(name, model, language, steps)
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{recipe.about} Trained on the book's own language. Layers: {cfg.n_layers}, d_model: "
            f"{cfg.d_model}, heads a layer: {cfg.n_heads if cfg.n_layers else 0}, context: "
            f"{cfg.n_ctx}, tokens in the vocabulary: {cfg.d_vocab}, parameters: "
            f"{sum(weights.numel() for weights in model.parameters()):,}.",
            "",
            f"Made, card included, by `circuitbook train {name}`, seed {recipe.seed}: "
            f"{len(run.steps):,} steps of {recipe.batch} × {cfg.n_ctx} tokens, {run.tokens:,} "
            f"tokens in all, in {run.seconds / 60:.0f} minutes on {device} "
            f"({platform.machine()}, threads: {torch.get_num_threads()})."
            + (f" {REPEATS}" if recipe.repeats else ""),
            "",
            "| the book relies on | wanted | measured | |",
            "|---|---|---|---|",
            *(
                f"| {p.what} | {p.wanted} | {p.measured} | {'yes' if p.kept else '**no**'} |"
                for p in kept
            ),
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
            *(
                f"| {s.phenomenon} | {s.accuracy:.1%} | {s.loss:.3f} | {s.oracle:.3f} |"
                for s in scores
            ),
            "",
            *(steps_table(steps, language) if steps else []),
        ]
    )


def steps_table(steps: dict[int, Transformer], language: Language) -> list[str]:
    """How a model's heads turned while it was trained."""
    lines = [
        "| after step | loss | greatest previous-token score in layer 0 | greatest induction score "
        "in layer 1 |",
        "|---|---|---|---|",
    ]
    for step, model in sorted(steps.items()):
        scores = head_scores(model, language)
        previous, value = scores.best("previous_token", layer=0)
        induction, strength = scores.best("induction", layer=1)
        loss = loss_on_documents(model, language, windows=32).model
        lines.append(
            f"| {step:,} | {loss:.3f} | {previous} {value:.2f} | {induction} {strength:.2f} |"
        )
    return [*lines, ""]


# Making the shipped models


def make(name: str, models: Path, checkpoints: Path, progress: bool = True) -> Path:
    """Trains a shipped model as it was trained and writes its folder, card included.

    A run that was killed goes on from its last checkpoint. Raises ValueError for an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"There is no recipe for {name!r}; there are {', '.join(RECIPES)}.")
    recipe, device = RECIPES[name], best_device()
    model = untrained(name).to(device)
    kept = {step: checkpoints / STEPS / f"{step:05}.safetensors" for step in recipe.kept_steps()}
    if kept and not kept[0].exists():
        write_atomically(kept[0], weights_of(model.cpu()))
        model.to(device)
    report = against_floors(model, book_language()) if progress else None

    def on_step(step: int, loss: float) -> None:
        if step + 1 in kept:
            write_atomically(kept[step + 1], weights_of(model))
        if report is not None and (step + 1) % max(1, recipe.steps // 10) == 0:
            tqdm.write(f"step {step + 1:,}, nats above the floor: {report()}")

    run = train_again(name, model, checkpoints, on_step, progress)
    model.cpu()
    steps = {step: with_weights(untrained(name), path).eval() for step, path in kept.items()}
    save_model(model, models / name, card(name, model, run, device, steps), steps)
    return models / name


def against_floors(model: Transformer, language: Language) -> Callable[[], str]:
    """A function that says how far the model's loss on each phenomenon is from the oracle's now."""
    texts = {name: language.examples(name, 60, seed=2) for name in language.phenomena}
    floors = {
        name: torch.cat([language.grammar.oracle_losses(e.tokens) for e in examples]).mean().item()
        for name, examples in texts.items()
    }

    @torch.inference_mode()
    def report() -> str:
        above = {}
        for name, examples in texts.items():
            tokens, is_text = padded(examples)
            losses = loss_per_token(model(tokens.to(model.W_E.device)).cpu(), tokens)
            above[name] = losses[is_text].mean().item() - floors[name]
        return ", ".join(f"{name} {value:.2f}" for name, value in above.items())

    return report
