"""How each published number of GPT-2 small is measured, with the library's own functions.

`MEASUREMENTS` has them all; each takes a `Run` of a model of 12 layers of 12 heads. GPT-2's own
weights are measured in test_gpt2.py, where they are; test_gpt2_measurements.py runs the same code
on a stand-in everywhere, against the published notebooks' definitions in TransformerLens.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import torch

from circuitbook.attribution import head_attribution, logit_attribution, logit_lens, single_token
from circuitbook.cache import Cache, run_with_cache, run_with_edits
from circuitbook.circuits import copying_scores, eigenvalue_scores, full_ov_eigenvalues
from circuitbook.interventions import metric_by_head, replace_head
from circuitbook.language import END_OF_TEXT, Tokenizer
from circuitbook.language.english import TABLES
from circuitbook.model import Transformer, loss_per_token
from circuitbook.patterns import attention_to_offset
from circuitbook.published import Published, gpt2_small
from circuitbook.weights import processed

ROOT = Path(__file__).parent.parent
FIGURES = gpt2_small()
PERIOD = 100  # of the random tokens that come twice


class Run:
    """A model as the numbers were published: folded and centred, <|endoftext|> before each text."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self.model, self.tokenizer = processed(model), tokenizer

    def tokens_of(self, text: str) -> torch.Tensor:
        return torch.tensor([self.tokenizer.encode(END_OF_TEXT + text)])

    @cached_property
    def tokens(self) -> torch.Tensor:
        """The eight prompts with two names: all of one length."""
        return torch.cat([self.tokens_of(prompt.text) for prompt in FIGURES.prompts])

    @cached_property
    def names(self) -> tuple[list[int], list[int]]:
        """The right name of each prompt, and the wrong one."""
        right = [single_token(self.tokenizer, prompt.right) for prompt in FIGURES.prompts]
        wrong = [single_token(self.tokenizer, prompt.wrong) for prompt in FIGURES.prompts]
        return right, wrong

    @cached_property
    def clean(self) -> tuple[torch.Tensor, Cache]:
        return run_with_cache(self.model, self.tokens)

    @cached_property
    def without_l9h9(self) -> tuple[torch.Tensor, Cache]:
        """L9H9 says nothing at the last position; what comes after it hears that."""
        edits = replace_head("L9H9", self.model.cfg, by=0, positions=[-1])
        return run_with_cache(self.model, self.tokens, edits=edits)

    @cached_property
    def twice(self) -> Cache:
        """The patterns on random tokens that come twice, with no <|endoftext|>."""
        random = torch.Generator().manual_seed(0)
        once = torch.randint(100, 20000, (2, PERIOD), generator=random)
        layers = range(self.model.cfg.n_layers)
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in layers]
        return run_with_cache(self.model, torch.cat([once, once], dim=1), names)[1]

    def difference(self, logits: torch.Tensor) -> torch.Tensor:
        """How far the right name's logit is above the wrong one's, for each prompt."""
        right, wrong = (torch.tensor(ids) for ids in self.names)
        rows = torch.arange(len(logits))
        return logits[rows, -1, right] - logits[rows, -1, wrong]


# Two names


def logit_difference_per_prompt(run: Run) -> torch.Tensor:
    return run.difference(run.clean[0])


def logit_difference(run: Run) -> torch.Tensor:
    return logit_difference_per_prompt(run).mean()


def lens(run: Run) -> torch.Tensor:
    return logit_lens(run.clean[1], run.model, *run.names, scale="final").mean().logits


def attribution_per_layer(run: Run) -> torch.Tensor:
    return logit_attribution(run.clean[1], run.model, *run.names).mean().logits


def attribution_per_head(run: Run) -> torch.Tensor:
    return head_attribution(run.clean[1], run.model, *run.names).mean().heads


def patching_per_head(run: Run) -> torch.Tensor:
    """Each prompt runs as its twin, in which the other gives, but for one head, which says at all
    positions what it said in the prompt itself."""
    twins = run.tokens[[prompt ^ 1 for prompt in range(len(run.tokens))]]
    sweep = metric_by_head(run.model, twins, run.difference, by=run.clean[1], logits_at=[-1])
    return sweep.restored(logit_difference(run))


def attribution_per_head_without_l9h9(run: Run) -> torch.Tensor:
    return head_attribution(run.without_l9h9[1], run.model, *run.names).mean().heads


def logit_difference_without_l9h9(run: Run) -> torch.Tensor:
    return run.difference(run.without_l9h9[0]).mean()


# Where heads look, and what they copy


def attention_back(run: Run, offset: int) -> torch.Tensor:
    return torch.stack([attention_to_offset(pattern, offset) for pattern in run.twice.values()])


def copying(run: Run) -> torch.Tensor:
    return copying_scores(run.model.W_V.double(), run.model.W_O.double())


def copying_of_tokens(run: Run) -> torch.Tensor:
    return eigenvalue_scores(full_ov_eigenvalues(run.model))


# One text


def text_of(figure: Published) -> str:
    """The text that a number was measured on: what its setting begins with."""
    _, text, _ = figure.setting.split("'", maxsplit=2)
    return text


def loss(run: Run, figure: Published) -> torch.Tensor:
    tokens = run.tokens_of(text_of(figure))
    return loss_per_token(run.model(tokens), tokens).mean()


def loss_without_l0h8(run: Run, figure: Published) -> torch.Tensor:
    tokens = run.tokens_of(text_of(figure))
    edits = replace_head("L0H8", run.model.cfg, by=0, which="v")
    return loss_per_token(run_with_edits(run.model, tokens, edits), tokens).mean()


def john_minus_mary(run: Run, figure: Published) -> torch.Tensor:
    john, mary = (single_token(run.tokenizer, name) for name in (" John", " Mary"))
    last = run.model(run.tokens_of(text_of(figure)))[0, -1]
    return last[john] - last[mary]


def chances(run: Run, figure: Published) -> torch.Tensor:
    """The probability of each published token."""
    named = [single_token(run.tokenizer, token) for token in figure.labels]
    return run.model(run.tokens_of(text_of(figure)))[0, -1].softmax(dim=-1)[named]


def likeliest(run: Run, figure: Published) -> tuple[str, ...]:
    """As many tokens as were published, the likeliest first."""
    last = run.model(run.tokens_of(text_of(figure)))[0, -1]
    return tuple(run.tokenizer.pieces(last.topk(len(figure.labels)).indices.tolist()))


@dataclass(frozen=True)
class Measurement:
    """A published number and the function that measures it."""

    published: Published
    measured: Callable[[Run], torch.Tensor]


MEASUREMENTS = (
    Measurement(FIGURES.logit_difference, logit_difference),
    Measurement(FIGURES.logit_difference_per_prompt, logit_difference_per_prompt),
    Measurement(FIGURES.logit_lens, lens),
    Measurement(FIGURES.attribution_per_layer, attribution_per_layer),
    Measurement(FIGURES.attribution_per_head, attribution_per_head),
    Measurement(FIGURES.patching_per_head, patching_per_head),
    Measurement(FIGURES.attribution_per_head_without_L9H9, attribution_per_head_without_l9h9),
    Measurement(FIGURES.logit_difference_without_L9H9, logit_difference_without_l9h9),
    Measurement(FIGURES.previous_token, partial(attention_back, offset=1)),
    Measurement(FIGURES.duplicate_token, partial(attention_back, offset=PERIOD)),
    Measurement(FIGURES.induction, partial(attention_back, offset=PERIOD - 1)),
    Measurement(FIGURES.copying_scores, copying),
    Measurement(FIGURES.full_copying_scores, copying_of_tokens),
    *(
        Measurement(
            figure,
            partial(loss_without_l0h8 if "without" in figure.name else loss, figure=figure),
        )
        for figure in FIGURES.losses
    ),
    *(
        Measurement(figure, partial(john_minus_mary, figure=figure))
        for figure in FIGURES.john_minus_mary
    ),
    *(Measurement(figure, partial(chances, figure=figure)) for figure in FIGURES.top_predictions),
)


# What the book asks GPT-2 for


def names_in(chapter: Path) -> set[str]:
    """The names that stand alone in a chapter's code, with their space: " Mary", " Paris"."""
    strings = (
        node.value
        for node in ast.walk(ast.parse(chapter.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in strings if re.fullmatch(r" [A-Z][a-z]+", text)}


@cache
def answers() -> dict[str, set[str]]:
    """What GPT-2 is asked for, by where: each must be one token of it.

    Chapter 5 asks the book's own small models alone; chapter 6 asks for what `behaviours` has.
    """
    chapters = {path.stem: names_in(path) for path in (ROOT / "book").glob("0[2-4]_*.py")}
    tables = {
        f"{kind}: {column}": {f" {word}" for word in TABLES[kind][column]}
        for kind, column in (
            ("person", "name"), ("country", "capital"), ("day", "name"), ("month", "name"),
            ("number", "name"),
        )
    }  # fmt: skip
    return chapters | tables
