"""What the shipped models can do, measured again; a card is made, and made again, alike."""

import math
from dataclasses import replace

import pytest
import torch

from circuitbook import cards
from circuitbook.__main__ import main
from circuitbook.cards import (
    bigram_divergence,
    head_scores,
    loss_on_documents,
    make,
    promises,
    score,
    skip_trigram_bug,
)
from circuitbook.language import book_language
from circuitbook.model import Config, Transformer
from circuitbook.train import CHECKPOINT, RECIPES, untrained
from circuitbook.zoo import SHIPPED, load, steps_of


def bigram_table() -> Transformer:
    """The language's true bigrams as a model: its logits are log p(next | token)."""
    pairs = book_language().bigram()
    cfg = Config(0, len(pairs), 1, 1, len(pairs), n_ctx=4, layer_norm=False)
    table = Transformer(cfg).requires_grad_(False)
    table.W_pos.zero_()
    table.W_E.copy_(torch.eye(len(pairs)))
    logits = (pairs / pairs.sum(dim=1, keepdim=True)).log()
    table.untied_W_U.copy_(logits.nan_to_num(0.0, neginf=-1e9))
    return table


def test_the_true_bigrams_diverge_by_nothing_and_an_even_guess_by_its_entropy():
    language = book_language()
    assert abs(bigram_divergence(bigram_table(), language)) < 1e-5
    floors = language.losses()
    even = bigram_table()
    even.untied_W_U.zero_()
    expected = floors.uniform - floors.bigram
    assert math.isclose(bigram_divergence(even, language), expected, abs_tol=1e-5)


def test_an_untrained_model_has_no_heads_of_a_kind_and_no_bug():
    model, language = untrained("two-layer"), book_language()
    scores = head_scores(model, language)
    assert scores.best("previous_token")[1] < 0.1 and scores.best("induction")[1] < 0.1
    bug = skip_trigram_bug(model, language)
    assert abs(bug.right) < 0.1 and abs(bug.wrong) < 0.1


def test_the_best_head_is_named():
    previous = torch.tensor([[0.1, 0.2], [0.9, 0.3]])
    scores = cards.HeadScores(previous, previous.flip(0))
    assert scores.best("previous_token")[0] == "L1H0"
    assert scores.best("previous_token", layer=0)[0] == "L0H1"
    assert scores.best("induction")[0] == "L0H0"


@pytest.mark.parametrize("name", SHIPPED)
def test_each_model_keeps_what_the_book_relies_on(name):
    steps = {step: load(name, step).model for step in steps_of(name)[:1]}
    broken = [p for p in promises(name, load(name).model, book_language(), steps) if not p.kept]
    assert broken == []


@pytest.mark.parametrize("phenomenon", book_language().phenomena)
def test_pocket_knows(phenomenon):
    wanted = 0.95 if phenomenon in ("word list", "invented name", "mixed") else 0.99
    assert score(load("pocket").model, book_language(), phenomenon).accuracy >= wanted


@pytest.mark.parametrize("name", SHIPPED)
def test_no_model_beats_the_oracle(name):
    loss = loss_on_documents(load(name).model, book_language(), windows=16)
    assert loss.oracle < loss.model < book_language().losses().unigram


def test_the_two_layer_models_checkpoints_show_the_turn():
    language = book_language()
    heads = [head_scores(load("two-layer", step).model, language) for step in steps_of("two-layer")]
    induction = [scores.best("induction", layer=1)[1] for scores in heads]
    assert induction[0] < 0.1 and max(induction[: len(induction) // 3]) < 0.2
    assert induction[-1] > 0.5


@pytest.fixture
def short_recipe(monkeypatch):
    """The two-layer recipe, six steps long."""
    short = replace(RECIPES["two-layer"], steps=6, batch=2, kept=3, first_kept=1)
    monkeypatch.setitem(RECIPES, "two-layer", short)
    monkeypatch.setattr(cards, "loss_on_documents", lambda *_, **__: cards.Loss(1.5, 1.25))
    monkeypatch.setattr(cards, "score", lambda *text: score(*text, count=3))


def test_a_model_is_made_with_its_checkpoints_and_card(short_recipe, tmp_path, capsys):
    folder, checkpoints = tmp_path / "models", tmp_path / "checkpoints"
    words = ["train", "two-layer", "--folder", str(folder), "--checkpoints", str(checkpoints)]
    assert main(words) == 0
    text = (folder / "two-layer" / "README.md").read_text()
    for part in ("circuitbook train two-layer", "6 steps of 2 ×", "| 1.500 |", "indirect object"):
        assert part in text
    assert "nats above the floor: indirect object" in capsys.readouterr().out
    kept = sorted(path.stem for path in (folder / "two-layer" / "steps").iterdir())
    assert kept == ["00000", "00001", "00002", "00006"]


def test_a_run_that_was_killed_ships_the_same_files(short_recipe, tmp_path, monkeypatch):
    make("two-layer", tmp_path / "whole", tmp_path / "a", progress=False)

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cards, "save_model", kill)
        with pytest.raises(KeyboardInterrupt):
            make("two-layer", tmp_path / "resumed", tmp_path / "b", progress=False)
    assert (tmp_path / "b" / CHECKPOINT).exists()
    make("two-layer", tmp_path / "resumed", tmp_path / "b", progress=False)
    whole = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in weights(tmp_path / "whole")}
    again = {
        p.relative_to(tmp_path / "resumed"): p.read_bytes() for p in weights(tmp_path / "resumed")
    }
    assert whole == again and whole


def weights(folder):
    return folder.rglob("*.safetensors")


def test_a_model_without_a_recipe_is_named(capsys):
    assert main(["train", "gpt2"]) == 1
    assert "no recipe for 'gpt2'; there are zero-layer" in capsys.readouterr().err
