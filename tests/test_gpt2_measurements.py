"""What test_gpt2.py does where GPT-2 is cached, done everywhere on a stand-in of its shape.

The stand-in lies in a cache of its own, in the three files and under the names of the hub's GPT-2.
TransformerLens measures each number on it as the published notebooks do.
"""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from gpt2_measurements import (
    FIGURES,
    MEASUREMENTS,
    PERIOD,
    ROOT,
    Run,
    answers,
    text_of,
)
from models import random_model
from safetensors.torch import save_file
from tokenizers import processors
from transformer_lens import patching

from circuitbook.language import Tokenizer, book_language
from circuitbook.language.tokenizer import tokenizer_of
from circuitbook.lens import open_bridge
from circuitbook.model import Config
from circuitbook.published import Published
from circuitbook.weights import from_huggingface, to_huggingface
from circuitbook.zoo import FETCH_GPT2, GPT2, GPT2_FILES

SHAPED = Config(12, 48, 12, 4, d_vocab=20_000, n_ctx=256, d_mlp=192, tied=True)
COMMIT = "0" * 40
NAMES = [measurement.published.name for measurement in MEASUREMENTS]


def save_stand_in(folder: Path) -> None:
    """A random model in the hub's files: tensors under the names of 2019, masks among them."""
    state = {
        name.removeprefix("transformer."): tensor.detach().contiguous()
        for name, tensor in to_huggingface(random_model(SHAPED)).items()
    }
    for layer in range(SHAPED.n_layers):
        mask = torch.ones(1, 1, SHAPED.n_ctx, SHAPED.n_ctx).tril()
        state[f"h.{layer}.attn.bias"] = mask
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    known = book_language().tokenizer
    tokenizer = tokenizer_of(
        [
            *(prompt.text for prompt in FIGURES.prompts),
            *(prompt.right for prompt in FIGURES.prompts),
            *(text_of(figure) for figure in (*FIGURES.losses, *FIGURES.john_minus_mary)),
            *(text for figure in FIGURES.top_predictions for text in figure.labels),
            *(word for words in answers().values() for word in words),
            *(piece for piece in known.pieces(range(known.d_vocab)) if "\ufffd" not in piece),
        ]
    ).inner
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1, "bos_token_id": 0, "embd_pdrop": 0.1, "eos_token_id": 0,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
        "n_ctx": SHAPED.n_ctx, "n_embd": SHAPED.d_model, "n_head": SHAPED.n_heads,
        "n_layer": SHAPED.n_layers, "n_positions": SHAPED.n_ctx, "resid_pdrop": 0.1,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": SHAPED.d_vocab,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def hf_home(tmp_path_factory) -> Path:
    """A cache of Hugging Face's with the stand-in in it, under GPT-2's name."""
    home = tmp_path_factory.mktemp("huggingface")
    repository = home / "hub" / f"models--{GPT2.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    save_stand_in(folder)
    assert {path.name for path in folder.iterdir()} == set(GPT2_FILES)
    return home


@pytest.fixture(scope="module")
def folder(hf_home) -> Path:
    (config,) = hf_home.glob("hub/*/snapshots/*/config.json")
    return config.parent


@pytest.fixture(scope="module")
def run(folder) -> Run:
    return Run(from_huggingface(folder).eval(), Tokenizer.read(folder / "tokenizer.json"))


# Each number, as the notebooks measure it


class Notebook:
    """The published notebooks' definitions, in TransformerLens' words."""

    def __init__(self, folder: Path):
        self.bridge = open_bridge(folder)
        self.bridge.enable_compatibility_mode(disable_warnings=True)
        self.tokens = self.bridge.to_tokens([prompt.text for prompt in FIGURES.prompts])
        self.right, self.wrong = (
            torch.cat([self.bridge.to_tokens(name, prepend_bos=False)[0] for name in names])
            for names in zip(*((one.right, one.wrong) for one in FIGURES.prompts), strict=True)
        )
        self.logits, self.cache = self.bridge.run_with_cache(self.tokens)
        silence = ("blocks.9.attn.hook_z", self.silence_l9h9)
        with self.bridge.hooks(fwd_hooks=[silence]):
            self.logits_without, self.cache_without = self.bridge.run_with_cache(self.tokens)

    @staticmethod
    def silence_l9h9(z: torch.Tensor, hook: object) -> torch.Tensor:
        z = z.clone()
        z[:, -1, 9] = 0
        return z

    def differences(self, logits: torch.Tensor) -> torch.Tensor:
        rows = range(len(logits))
        return logits[rows, -1, self.right] - logits[rows, -1, self.wrong]

    def along(self, stack: torch.Tensor, cache: object) -> torch.Tensor:
        """A stack of the stream's parts [component batch d_model], in logits, over prompts."""
        directions = self.bridge.W_U[:, self.right] - self.bridge.W_U[:, self.wrong]
        scaled = cache.apply_ln_to_stack(stack, layer=-1, pos_slice=-1)
        return torch.einsum("cbm,mb->c", scaled, directions) / len(self.tokens)

    def of_heads(self, cache: object) -> torch.Tensor:
        stack = cache.stack_head_results(layer=-1, pos_slice=-1)
        return self.along(stack[:144], cache).reshape(12, 12)

    def patched(self) -> torch.Tensor:
        twins = self.tokens[[1, 0, 3, 2, 5, 4, 7, 6]]
        corrupted = self.differences(self.bridge(twins)).mean()
        clean = self.differences(self.logits).mean()
        return patching.get_act_patch_attn_head_out_all_pos(
            self.bridge,
            twins,
            self.cache,
            lambda logits: (self.differences(logits).mean() - corrupted) / (clean - corrupted),
        )

    def diagonals(self, back: int) -> torch.Tensor:
        torch.manual_seed(0)
        once = torch.randint(100, 20000, (2, PERIOD))
        cache = self.bridge.run_with_cache(torch.cat([once, once], dim=1))[1]
        patterns = [cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(12)]
        rows = [torch.stack([p[:, :, i, i - back] for i in range(back, 200)]) for p in patterns]
        return torch.stack([row.mean(dim=(0, 1)) for row in rows])

    def copied(self) -> torch.Tensor:
        values = torch.linalg.eigvals((self.bridge.W_V @ self.bridge.W_O).double())
        return values.real.sum(dim=-1) / values.abs().sum(dim=-1)

    def copied_tokens(self) -> torch.Tensor:
        """Of W_O W_U W_E W_V, which has the eigenvalues of the full circuit that are not 0."""
        small = self.bridge.W_O @ (self.bridge.W_U @ self.bridge.W_E) @ self.bridge.W_V
        values = torch.linalg.eigvals(small.double())
        return values.real.sum(dim=-1) / values.abs().sum(dim=-1)

    def last(self, text: str) -> torch.Tensor:
        return self.bridge(self.bridge.to_tokens(text))[0, -1]

    def losses(self) -> list[torch.Tensor]:
        def silence(v: torch.Tensor, hook: object) -> torch.Tensor:
            v = v.clone()
            v[:, :, 8] = 0
            return v

        losses = []
        for figure in FIGURES.losses:
            hooks = [("blocks.0.attn.hook_v", silence)] if "L0H8" in figure.setting else []
            tokens = self.bridge.to_tokens(text_of(figure))
            losses.append(self.bridge.run_with_hooks(tokens, return_type="loss", fwd_hooks=hooks))
        return losses

    def john_minus_mary(self) -> list[torch.Tensor]:
        john, mary = (self.bridge.to_single_token(name) for name in (" John", " Mary"))
        texts = map(text_of, FIGURES.john_minus_mary)
        return [last[john] - last[mary] for last in map(self.last, texts)]

    def chances(self) -> list[torch.Tensor]:
        return [
            self.last(text_of(figure)).softmax(dim=-1)[
                [self.bridge.to_single_token(token) for token in figure.labels]
            ]
            for figure in FIGURES.top_predictions
        ]

    def all(self) -> list[torch.Tensor]:
        """In the order of MEASUREMENTS."""
        cache, without = self.cache, self.cache_without
        return [
            self.differences(self.logits).mean(),
            self.differences(self.logits),
            self.along(cache.accumulated_resid(layer=-1, incl_mid=True, pos_slice=-1), cache),
            self.along(cache.decompose_resid(layer=-1, pos_slice=-1), cache),
            self.of_heads(cache),
            self.patched(),
            self.of_heads(without),
            self.differences(self.logits_without).mean(),
            *(self.diagonals(back) for back in (1, PERIOD, PERIOD - 1)),
            self.copied(),
            self.copied_tokens(),
            *self.losses(),
            *self.john_minus_mary(),
            *self.chances(),
        ]


@pytest.fixture(scope="module")
def theirs(folder) -> list[torch.Tensor]:
    with torch.no_grad():
        return Notebook(folder).all()


@pytest.mark.parametrize("place", range(len(MEASUREMENTS)), ids=NAMES)
@torch.no_grad()
def test_a_number_is_what_the_published_notebook_would_measure(run, theirs, place):
    ours, wanted = MEASUREMENTS[place].measured(run), theirs[place]
    assert ours.shape == torch.as_tensor(MEASUREMENTS[place].published.value).shape
    size = wanted.abs().max().item()
    torch.testing.assert_close(ours.double(), wanted.double(), rtol=0, atol=1e-4 * size + 1e-6)


def test_every_published_number_is_measured_once():
    def published_in(value: object) -> list[Published]:
        if isinstance(value, tuple):
            return [figure for entry in value for figure in published_in(entry)]
        return [value] if isinstance(value, Published) else []

    published = [
        one for field in fields(FIGURES) for one in published_in(getattr(FIGURES, field.name))
    ]
    measured = [measurement.published for measurement in MEASUREMENTS]
    assert sorted(map(id, measured)) == sorted(map(id, published))


# test_gpt2.py itself, in a Python of its own


def run_gpt2_tests(hf_home: Path, *arguments: str) -> subprocess.CompletedProcess:
    """pytest on test_gpt2.py, with this cache of Hugging Face's and whichever GPT-2 is in it."""
    code = (
        "import sys, pytest; from circuitbook import zoo\n"
        "if folder := zoo.cached_gpt2():\n"
        "    zoo.GPT2_SHA256 = zoo.sha256(folder / 'model.safetensors')\n"
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    # the check of shapes wants to be there before circuitbook is, so it is left out
    options = ["-o", "addopts=--strict-markers", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-c", code, "tests/test_gpt2.py", *options, *arguments]
    environment = {**os.environ, "HF_HOME": str(hf_home), "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300
    )


@pytest.fixture(scope="module")
def outcomes(hf_home, tmp_path_factory) -> dict[str, str]:
    """Of each test of test_gpt2.py on the stand-in: why it failed, or ""; chapters left out."""
    report = tmp_path_factory.mktemp("report") / "gpt2.xml"
    done = run_gpt2_tests(hf_home, "-m", "gpt2", "-k", "not chapter", f"--junitxml={report}")
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = {}
    for test in ElementTree.parse(report).iter("testcase"):
        assert test.find("error") is None and test.find("skipped") is None, done.stdout
        failure = test.find("failure")
        outcomes[test.get("name")] = "" if failure is None else failure.get("message")
    return outcomes


def test_numbers_that_are_not_gpt2s_are_told_one_by_one(outcomes):
    said = [why for name, why in outcomes.items() if "published_number" in name]
    assert len(said) == len(MEASUREMENTS)
    for name, why in zip(NAMES, said, strict=True):
        assert f"{name} DISAGREES with the published: largest difference" in why
    likeliest = [why for name, why in outcomes.items() if "likeliest" in name]
    assert len(likeliest) == len(FIGURES.top_predictions) and all(likeliest)


def test_what_holds_of_any_model_in_gpt2s_files_holds(outcomes):
    """It equals Hugging Face's and TransformerLens', and knows the book's words and prompts."""
    of_any = [name for name in outcomes if "hugging" in name or "transformerlens" in name]
    words = [name for name in outcomes if "one_token" in name]
    asked = [name for name in outcomes if "has_prompts" in name]
    assert len(of_any) == 3 and len(words) == len(answers()) and len(asked) == 5
    assert {outcomes[name] for name in of_any + words + asked} == {""}


def test_without_gpt2_one_line_says_how_to_run_them(tmp_path):
    done = run_gpt2_tests(tmp_path, "-m", "gpt2", "-rs")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert line.endswith(f"GPT-2 small is not cached: {FETCH_GPT2}, then pytest -m gpt2")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED  # so a workflow fails
