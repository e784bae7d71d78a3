"""The models that ship: opened by us, Hugging Face and TransformerLens alike; damage is named."""

import json
import shutil
import time

import pytest
import torch

from circuitbook import zoo
from circuitbook.language import book_language
from circuitbook.train import TrainingRun
from circuitbook.zoo import cached_gpt2, load, loss_on_documents, score

PROMPT = "<|endoftext|>When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def pocket():
    return load("pocket")


@pytest.fixture
def copied_models(tmp_path, monkeypatch):
    """The shipped models in a folder that a test may damage."""
    models = shutil.copytree(zoo.MODELS, tmp_path / "models")
    monkeypatch.setattr(zoo, "MODELS", models)
    monkeypatch.setattr(zoo, "CHECKSUMS", models / "checksums.json")
    return models


def test_pocket_opens_in_less_than_a_second():
    load("pocket")
    start = time.perf_counter()
    load("pocket")
    assert time.perf_counter() - start < 1


def test_pocket_gives_the_drink_to_the_other_name(pocket):
    for prompt, name in ((PROMPT, " Mary"), (PROMPT.replace(", John", ", Mary"), " John")):
        logits = pocket.model(torch.tensor([pocket.tokenizer.encode(prompt)]))
        assert pocket.tokenizer.decode([int(logits[0, -1].argmax())]) == name


def test_pocket_has_the_books_tokens(pocket):
    ours = book_language().tokenizer
    assert pocket.model.cfg.d_vocab == ours.d_vocab
    assert pocket.tokenizer.inner.to_str() == ours.inner.to_str()


def test_hugging_face_opens_pocket_and_agrees(pocket):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pocket.folder)
    theirs = AutoModelForCausalLM.from_pretrained(pocket.folder).eval()
    assert tokenizer.encode(PROMPT) == pocket.tokenizer.encode(PROMPT)
    assert tokenizer.decode(tokenizer.encode("Any text, naïve.")) == "Any text, naïve."
    tokens = torch.tensor([tokenizer.encode(PROMPT)])
    with torch.inference_mode():
        torch.testing.assert_close(
            pocket.model(tokens), theirs(tokens).logits, rtol=1e-5, atol=1e-4
        )


def test_transformerlens_opens_pocket_and_agrees(pocket):
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(pocket.folder), device="cpu")
    tokens = bridge.to_tokens(PROMPT, prepend_bos=False)
    assert tokens[0].tolist() == pocket.tokenizer.encode(PROMPT)
    with torch.inference_mode():
        torch.testing.assert_close(pocket.model(tokens), bridge(tokens), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "phenomenon",
    [
        "indirect object",
        "capital",
        "landmark",
        "pronoun",
        "days",
        "months",
        "counting",
        "agreement",
    ],
)
def test_pocket_knows(pocket, phenomenon):
    assert score(pocket.model, book_language(), phenomenon, count=100).accuracy >= 0.99


def test_no_model_beats_the_oracle(pocket):
    loss = loss_on_documents(pocket.model, book_language(), windows=16)
    assert loss.oracle < loss.model < book_language().losses().bigram


def test_every_file_has_its_checksum(copied_models):
    for name in zoo.SHIPPED:
        checksums = json.loads(zoo.CHECKSUMS.read_text())
        files = {f"{name}/{file.name}" for file in (copied_models / name).iterdir()}
        assert files - {f"{name}/README.md"} == {c for c in checksums if c.startswith(f"{name}/")}
        for file in files & checksums.keys():
            path = copied_models / file
            content = path.read_bytes()
            path.write_bytes(content[:-1])
            with pytest.raises(ValueError, match=f"{path.name} is damaged"):
                load(name)
            path.unlink()
            with pytest.raises(ValueError, match=f"{path.name} is missing"):
                load(name)
            path.write_bytes(content)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean pocket"):
        load("poket")
    with pytest.raises(ValueError, match="There are pocket, gpt2"):
        load("zzz")


def test_the_environment_decides_which_model_runs(monkeypatch, capsys):
    monkeypatch.setenv("CIRCUITBOOK_MODEL", "pocket")
    assert load().name == "pocket"
    assert capsys.readouterr().out.startswith("The model is pocket (for GPT-2 small: hf download")


@pytest.mark.skipif(cached_gpt2() is not None, reason="GPT-2 is cached here")
def test_without_gpt2_one_line_says_how_to_get_it():
    with pytest.raises(ValueError, match="fetch it with: hf download openai-community/gpt2"):
        load("gpt2")


@pytest.mark.skipif(cached_gpt2() is None, reason="GPT-2 is not cached here")
def test_gpt2_gives_the_drink_to_the_other_name():
    gpt2 = load("gpt2")
    logits = gpt2.model(torch.tensor([gpt2.tokenizer.encode(PROMPT)]))
    assert gpt2.tokenizer.decode([int(logits[0, -1].argmax())]) == " Mary"


def test_shipping_again_writes_the_same_files(copied_models, pocket):
    before = {path: path.read_bytes() for path in copied_models.rglob("*.*")}
    card = (copied_models / "pocket" / "README.md").read_text()
    zoo.ship("pocket", pocket.model, card)
    assert {path: path.read_bytes() for path in copied_models.rglob("*.*")} == before


def test_a_card_tells_cost_floors_and_accuracies(pocket, monkeypatch):
    monkeypatch.setattr(zoo, "loss_on_documents", lambda *_: zoo.Loss(1.5, 1.25))
    monkeypatch.setattr(zoo, "score", lambda *_: zoo.Score("capital", 0.995, 0.75, 0.5))
    text = zoo.card("pocket", pocket.model, TrainingRun((0, 1), (2.0, 1.0), 1234, 120.0))
    for part in (
        "after 2 of 10,000 steps, 1,234 tokens, 2 minutes",
        "| 1.500 |",
        "99.5% | 0.750",
    ):
        assert part in text
