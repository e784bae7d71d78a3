"""GPT-2 small itself: our code gives the numbers that others published, and our model is theirs.

Where its weights are not cached, all of this skips, in one line. test_gpt2_measurements.py runs the
same code on a stand-in.
"""

from tempfile import TemporaryDirectory

import pytest

from circuitbook.zoo import FETCH_GPT2, LoadedModel, cached_gpt2, load

if cached_gpt2() is None:
    pytest.skip(
        f"GPT-2 small is not cached: {FETCH_GPT2}, then pytest -m gpt2", allow_module_level=True
    )

import nbformat
import torch
from gpt2_measurements import FIGURES, MEASUREMENTS, ROOT, Run, answers, likeliest
from nbclient import NotebookClient

from circuitbook.authoring import CELL_SECONDS, run_environment
from circuitbook.cache import run_with_cache
from circuitbook.capstone import behaviour, behaviours
from circuitbook.language import END_OF_TEXT
from circuitbook.lens import open_bridge
from circuitbook.published import compare
from circuitbook.weights import processed

pytestmark = pytest.mark.gpt2

SOLUTIONS = [  # those that take GPT-2 where it is
    path
    for path in sorted((ROOT / "solutions").glob("*.ipynb"))
    if "load()" in path.read_text(encoding="utf-8")
]
BEHAVIOURS = [name for name, *_ in behaviours().rows[1:]]
PROMPT = END_OF_TEXT + "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def gpt2() -> LoadedModel:
    return load("gpt2")


@pytest.fixture(scope="module")
def run(gpt2) -> Run:
    return Run(gpt2.model, gpt2.tokenizer)


# What was published


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.published.name)
@torch.no_grad()
def test_a_published_number_is_what_we_measure(run, measurement):
    comparison = compare(measurement.measured(run), measurement.published)
    assert comparison.agrees, str(comparison)


@pytest.mark.parametrize("figure", FIGURES.top_predictions, ids=lambda figure: figure.labels[0])
@torch.no_grad()
def test_the_likeliest_tokens_are_the_published_ones(run, figure):
    assert likeliest(run, figure) == figure.labels


# Hugging Face's and TransformerLens' GPT-2


@pytest.fixture(scope="module")
def tokens(gpt2) -> torch.Tensor:
    """A text, and the same number of any tokens whatever."""
    text = gpt2.tokenizer.encode(PROMPT)
    random = torch.Generator().manual_seed(0)
    return torch.stack(
        [
            torch.tensor(text),
            torch.randint(gpt2.model.cfg.d_vocab, (len(text),), generator=random),
        ]
    )


def close(ours: torch.Tensor, theirs: torch.Tensor, name: str) -> None:
    """Equal to 1e-4 of the largest value, and of 1."""
    assert ours.shape == theirs.shape, name
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max().clamp(min=1), name


@torch.no_grad()
def test_hugging_faces_gpt2_says_the_same_after_each_layer(gpt2, tokens):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(gpt2.folder, attn_implementation="eager").eval()
    said = theirs(tokens, output_hidden_states=True, output_attentions=True)
    logits, activations = run_with_cache(gpt2.model, tokens)
    close(logits, said.logits, "logits")
    for layer, pattern in enumerate(said.attentions):
        close(activations["pattern", layer], pattern, f"pattern of layer {layer}")
        close(activations["resid_pre", layer], said.hidden_states[layer], f"stream {layer}")
    tokenizer = AutoTokenizer.from_pretrained(gpt2.folder)
    for text in (PROMPT, "Any text, naïve.\n\n  2 + 2 = 4"):
        assert tokenizer.encode(text) == gpt2.tokenizer.encode(text)


@pytest.mark.parametrize("form", ["raw", "processed"])
@torch.no_grad()
def test_every_activation_is_that_of_transformerlens(gpt2, tokens, form):
    model, bridge = gpt2.model, open_bridge(gpt2.folder)
    if form == "processed":
        model = processed(model)
        bridge.enable_compatibility_mode(disable_warnings=True)
    logits, activations = run_with_cache(model, tokens)
    their_logits, their_activations = bridge.run_with_cache(tokens)
    close(logits, their_logits, "logits")
    for name, activation in activations.items():
        theirs = their_activations[name]
        if name.endswith("hook_attn_scores"):  # each hides later positions in its own way
            later = torch.ones_like(activation, dtype=torch.bool).triu(diagonal=1)
            activation, theirs = activation.masked_fill(later, 0), theirs.masked_fill(later, 0)
        close(activation, theirs, name)


def test_gpt2_gives_the_drink_to_the_other_name(gpt2):
    for prompt, name in ((PROMPT, " Mary"), (PROMPT.replace(", John", ", Mary"), " John")):
        logits = gpt2.model(torch.tensor([gpt2.tokenizer.encode(prompt)]))
        assert gpt2.tokenizer.decode([int(logits[0, -1].argmax())]) == name


# The book's own prompts


@pytest.mark.parametrize("where", answers())
def test_every_answer_is_one_token(gpt2, where):
    assert answers()[where]
    several = [word for word in sorted(answers()[where]) if len(gpt2.tokenizer.encode(word)) != 1]
    assert several == []


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_each_behaviour_of_the_capstone_has_prompts(gpt2, name):
    """Of one length, each answer one token (or known by its first): else this raises."""
    prompts = behaviour(name).prompts(gpt2.tokenizer)
    assert len(prompts) == len(FIGURES.prompts)
    if name == "indirect object":
        assert set(prompts.texts) == {prompt.text for prompt in FIGURES.prompts}


@pytest.mark.parametrize("name", BEHAVIOURS)
@torch.no_grad()
def test_gpt2_does_what_the_capstone_asks_for(gpt2, name):
    prompts = behaviour(name).prompts(gpt2.tokenizer)
    differences = prompts.logit_difference(gpt2.model(prompts.tokens))
    assert differences.mean() > 0, differences


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: path.stem)
def test_no_cell_of_a_chapter_raises_on_gpt2(solution):
    """What the cells show is another model's, so it is not compared."""
    notebook = nbformat.read(solution, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(solution.parent)}},
        timeout=CELL_SECONDS,
    )
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = run_environment(home, strict=True, pictures=False)
        client.execute(env=environment | {"CIRCUITBOOK_MODEL": "gpt2"})
