"""The models that ship: opened by us, Hugging Face and TransformerLens alike; damage is named."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from circuitbook import zoo
from circuitbook.language import book_language
from circuitbook.model import Config, Transformer
from circuitbook.zoo import SHIPPED, cached_gpt2, load, save_model, steps_of

PROMPT = "<|endoftext|>When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def pocket():
    return load("pocket")


@pytest.fixture
def copied_models(tmp_path, monkeypatch):
    """The shipped models in a folder that a test may damage."""
    models = shutil.copytree(zoo.MODELS, tmp_path / "models")
    monkeypatch.setattr(zoo, "MODELS", models)
    return models


@pytest.mark.parametrize("name", SHIPPED)
def test_each_model_opens_in_less_than_a_second(name):
    load(name)
    start = time.perf_counter()
    loaded = load(name)
    assert time.perf_counter() - start < 1
    assert loaded.name == name and not loaded.model.training


@pytest.mark.parametrize("name", SHIPPED)
def test_each_model_has_the_books_tokens(name):
    ours, loaded = book_language().tokenizer, load(name)
    assert loaded.model.cfg.d_vocab == ours.d_vocab
    assert loaded.tokenizer.inner.to_str() == ours.inner.to_str()


def test_the_models_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in zoo.MODELS.rglob("*") if path.is_file()) < 40e6


@pytest.mark.parametrize(
    ("name", "layers"), [("zero-layer", 0), ("one-layer", 1), ("two-layer", 2)]
)
def test_the_toy_models_have_nothing_but_attention(name, layers):
    cfg = load(name).model.cfg
    assert (cfg.n_layers, cfg.d_mlp, cfg.layer_norm, cfg.biases) == (layers, 0, False, False)
    assert cfg.d_model >= 128 and cfg.n_heads >= 8


def test_pocket_gives_the_drink_to_the_other_name(pocket):
    for prompt, name in ((PROMPT, " Mary"), (PROMPT.replace(", John", ", Mary"), " John")):
        logits = pocket.model(torch.tensor([pocket.tokenizer.encode(prompt)]))
        assert pocket.tokenizer.decode([int(logits[0, -1].argmax())]) == name


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


# Checkpoints on the way


def test_the_two_layer_model_was_kept_at_twenty_steps_and_more():
    steps = steps_of("two-layer")
    assert len(steps) > 20 and steps[0] == 0
    assert steps_of("pocket") == ()


def test_the_last_checkpoint_is_the_model_but_for_its_precision():
    last, whole = load("two-layer", step=steps_of("two-layer")[-1]), load("two-layer")
    for name, weights in whole.model.named_parameters():
        kept = last.model.get_parameter(name)
        assert kept.dtype == weights.dtype
        torch.testing.assert_close(kept, weights, rtol=1e-3, atol=1e-6)


def test_a_step_that_was_not_kept_is_named():
    with pytest.raises(ValueError, match="not kept after step 7; there are 0, "):
        load("two-layer", step=7)
    with pytest.raises(ValueError, match="pocket was not kept after step 7; there are none"):
        load("pocket", step=7)


# Files


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_has_its_checksum_and_damage_is_named(copied_models, name):
    folder = copied_models / name
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"]
    files = {path.relative_to(copied_models).as_posix(): path for path in paths}
    listed = {file for file in zoo.checksums(copied_models) if file.startswith(f"{name}/")}
    assert listed == files.keys()
    for path in paths:
        step = int(path.stem) if path.parent.name == zoo.STEPS else None
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(ValueError, match=f"{path.name} is damaged.*git checkout"):
            load(name, step)
        path.unlink()
        with pytest.raises(ValueError, match=f"{path.name} is missing"):
            load(name, step)
        path.write_bytes(content)
    load(name)


def test_a_pickle_in_place_of_the_weights_is_not_opened(copied_models, pocket):
    torch.save(pocket.model.state_dict(), copied_models / "pocket" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load("pocket")


def test_a_model_that_is_written_and_read_is_the_same(tmp_path, monkeypatch):
    d_vocab = book_language().tokenizer.d_vocab
    cfg = Config(1, 8, 2, 4, d_vocab, n_ctx=32, layer_norm=False, biases=False)
    model = Transformer(cfg)
    monkeypatch.setattr(zoo, "MODELS", tmp_path)
    save_model(model, tmp_path / "two-layer", "# card\n", {3: Transformer(cfg, seed=1)})
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(load("two-layer").model(tokens), model(tokens))
    assert steps_of("two-layer") == (3,)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    save_model(model, tmp_path / "two-layer", "# card\n", {3: Transformer(cfg, seed=1)})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean pocket"):
        load("poket")
    with pytest.raises(
        ValueError, match="There are pocket, two-layer, one-layer, zero-layer, gpt2"
    ):
        load("zzz")


def test_the_environment_decides_which_model_runs(monkeypatch, capsys):
    monkeypatch.setenv("CIRCUITBOOK_MODEL", "pocket")
    assert load().name == "pocket"
    assert capsys.readouterr().out.startswith("The model is pocket (for GPT-2 small: hf download")


# GPT-2 small: from the cache, from the hub, or one line

SAY = "from circuitbook import zoo; zoo.SECONDS_WITHOUT_NEWS = 3; "


def in_an_empty_home(code: str, tmp_path, endpoint: str) -> list[str]:
    """The lines that a fresh Python prints, whose hub is at `endpoint` and whose cache is empty."""
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
    }
    environment.pop("CIRCUITBOOK_MODEL", None)
    command = [sys.executable, "-c", SAY + code]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


class Hub(BaseHTTPRequestHandler):
    """A hub that has every file, all of the same six bytes."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("ETag", '"0123"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", "6")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"a file")

    def log_message(self, *_):
        pass


def test_a_hub_that_hangs_costs_seconds_and_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        lines = in_an_empty_home("print(zoo.load().name, zoo.load().name)", tmp_path, endpoint)
        assert time.monotonic() - start < 30
    assert lines[-1] == "pocket pocket"
    assert all(line.startswith("The model is pocket: GPT-2 is not") for line in lines[:-1])
    assert endpoint in lines[0] and "hf download" in lines[0]


def test_a_hub_that_is_not_there_is_named(tmp_path):
    (line,) = in_an_empty_home("print(zoo.ask_hub())", tmp_path, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 could not be used" in line and "refused" in line


def test_what_the_hub_sends_is_cached_and_its_checksum_checked(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        code = (
            "print(repr(zoo.fetch_gpt2())); print(zoo.cached_gpt2())\n"
            "try: zoo.gpt2_folder()\nexcept ValueError as error: print(error)"
        )
        lines = in_an_empty_home(code, tmp_path, f"http://127.0.0.1:{hub.server_port}")
        hub.shutdown()
    assert lines[0] == "''"
    assert lines[1].startswith(str(tmp_path))
    assert "is damaged: its checksum is not the published one" in lines[2]


@pytest.mark.skipif(cached_gpt2() is not None, reason="GPT-2 is cached here")
def test_without_gpt2_one_line_says_how_to_get_it():
    with pytest.raises(ValueError, match="Fetch it with: hf download openai-community/gpt2"):
        load("gpt2")
