"""`load(name)` opens a model: one of those that ship with the book, or GPT-2 small.

`pocket` and GPT-2 are folders in Hugging Face's GPT-2 format, so that `AutoModelForCausalLM` and
TransformerLens' `TransformerBridge.boot_transformers` open them too. The models without MLP and
LayerNorm do not fit that format: their config.json holds the fields of our Config.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm.auto import tqdm

from circuitbook.language import END_OF_TEXT, Tokenizer, book_language
from circuitbook.model import Config, Transformer, loss_per_token
from circuitbook.train import write_atomically
from circuitbook.weights import from_huggingface, save_huggingface

MODELS = Path(__file__).parent / "models"
SHIPPED = ("pocket", "two-layer", "one-layer", "zero-layer")
STEPS = "steps"  # the folder of a model's checkpoints on the way
KNOWN_ANSWER = "known_answer.json"  # a text and the model's loss at each of its tokens
KNOWN_TEXT = "<|endoftext|>When Mary and John went to the store, John gave a drink to Mary."

GPT2 = "openai-community/gpt2"
GPT2_FILES = ("config.json", "tokenizer.json", "model.safetensors")
# Of revision 607a30d783dfa663caf39e06633721c8d4cfcd7e, the only weights this repository ever had.
GPT2_SHA256 = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
FETCH_GPT2 = f"hf download {GPT2} {' '.join(GPT2_FILES)}"
SECONDS_WITHOUT_NEWS = 10  # after so long without a byte the hub is given up


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and the tokenizer that fits it."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    folder: Path  # in Hugging Face's format, if the name is "pocket" or "gpt2"


def load(name: str | None = None, step: int | None = None) -> LoadedModel:
    """The model called `name`: "gpt2", or one that ships: "pocket", "two-layer", "one-layer",
    "zero-layer".

    Without a name: what CIRCUITBOOK_MODEL says, else GPT-2 where it is cached or can be fetched,
    else pocket; one line says which and why. With a step: as it was after so many steps of its
    training, one of `steps_of(name)`. Raises ValueError where a name or step is unknown, a file
    missing or damaged.
    """
    if name is None:
        name = chosen_name()
    known = (*SHIPPED, "gpt2")
    if name not in known:
        near = get_close_matches(name, known, n=2, cutoff=0.4)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"There is no model {name!r}; {meant}There are {', '.join(known)}.")
    if step is not None:
        return LoadedModel(name, *model_at(name, step), shipped_folder(name))
    folder = gpt2_folder() if name == "gpt2" else shipped_folder(name)
    model = from_huggingface(folder) if name in ("pocket", "gpt2") else read_plain(folder)
    return LoadedModel(name, model.eval(), Tokenizer.read(folder / "tokenizer.json"), folder)


def chosen_name() -> str:
    """The name of the model that runs where none is asked for; prints the line that says so."""
    asked = os.environ.get("CIRCUITBOOK_MODEL")
    if asked:
        cure = "" if asked == "gpt2" else f" (for GPT-2 small: {FETCH_GPT2})"
        print(f"The model is {asked}{cure}.")
        return asked
    reason = "" if cached_gpt2() else fetch_gpt2()
    if reason:
        print(f"The model is pocket: {reason}. For GPT-2 small: {FETCH_GPT2}")
        return "pocket"
    print("The model is gpt2.")
    return "gpt2"


# The models that ship


def shipped_folder(name: str) -> Path:
    """The folder of a model that ships with the book, once each file has its checksum."""
    for file in checksums(MODELS):
        if file.startswith(f"{name}/") and f"/{STEPS}/" not in file:
            checked(file)
    return MODELS / name


def checksums(models: Path) -> dict[str, str]:
    """The checksum that each file of a folder of models should have: "pocket/config.json" and so
    on."""
    path = models / "checksums.json"
    return json.loads(path.read_text()) if path.exists() else {}


def checked(file: str) -> Path:
    """The path of a shipped file. Raises ValueError where it is missing or damaged."""
    path, wanted = MODELS / file, checksums(MODELS)[file]
    if not path.exists() or sha256(path) != wanted:
        what = "is damaged: its checksum is wrong" if path.exists() else "is missing"
        raise ValueError(
            f"{path} {what}. Restore it with `git checkout -- {path.parent}`, or install again."
        )
    return path


def sha256(path: Path) -> str:
    """A file's checksum, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_plain(folder: Path, weights: str = "model.safetensors") -> Transformer:
    """A model from a folder whose config.json holds our Config; weights of any precision."""
    model = Transformer(Config(**json.loads((folder / "config.json").read_text())))
    return with_weights(model, folder / weights)


def with_weights(model: Transformer, path: Path) -> Transformer:
    """The model itself, its parameters now those of a file that `weights_of` made."""
    tensors = load_file(path)
    for name, parameter in model.named_parameters():
        parameter.data = tensors[name].to(parameter.dtype)
    return model


def steps_of(name: str) -> tuple[int, ...]:
    """After how many steps of its training a shipped model was kept; nothing for most."""
    beginning = f"{name}/{STEPS}/"
    return tuple(
        sorted(int(Path(file).stem) for file in checksums(MODELS) if file.startswith(beginning))
    )


def model_at(name: str, step: int) -> tuple[Transformer, Tokenizer]:
    """A shipped model as it was after so many steps of its training, and its tokenizer."""
    if step not in steps_of(name):
        kept = ", ".join(map(str, steps_of(name))) or "none"
        raise ValueError(f"{name} was not kept after step {step!r}; there are {kept}.")
    folder, weights = shipped_folder(name), f"{STEPS}/{step:05}.safetensors"
    checked(f"{name}/{weights}")
    return read_plain(folder, weights).eval(), Tokenizer.read(folder / "tokenizer.json")


def save_model(
    model: Transformer, folder: Path, card: str, steps: dict[int, Transformer] | None = None
) -> None:
    """Write weights, config, tokenizer, card and the checkpoints on the way, then their checksums.

    The checksums stand in the folder above, in checksums.json. Each file appears whole or not at
    all. `steps` are kept with 16 bits a number.
    """
    if model.cfg.d_mlp:
        try:
            save_huggingface(model, folder)
        except SafetensorError as error:
            raise OSError(
                f"{folder} could not be written ({error}); what was there before is kept. Free "
                "some space or choose another folder, and run the same again."
            ) from None
    else:
        config = json.dumps(asdict(model.cfg), indent=2) + "\n"
        write_atomically(folder / "config.json", config.encode())
        write_atomically(folder / "model.safetensors", weights_of(model))
    for step, earlier in (steps or {}).items():
        write_atomically(folder / STEPS / f"{step:05}.safetensors", weights_of(earlier.half()))
    tokenizer = book_language().tokenizer.inner.to_str(pretty=True)
    write_atomically(folder / "tokenizer.json", tokenizer.encode())
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
    answer = {"text": KNOWN_TEXT, "losses": losses_on("cpu", model, KNOWN_TEXT).tolist()}
    write_atomically(folder / KNOWN_ANSWER, (json.dumps(answer, indent=2) + "\n").encode())
    write_atomically(folder / "README.md", card.encode())
    models, name = folder.parent, folder.name
    kept = {file: sum for file, sum in checksums(models).items() if file.split("/")[0] != name}
    new = {
        path.relative_to(models).as_posix(): sha256(path)
        for path in folder.rglob("*")
        if path.suffix in (".json", ".safetensors")
    }
    text = json.dumps(dict(sorted((kept | new).items())), indent=2) + "\n"
    write_atomically(models / "checksums.json", text.encode())


@torch.inference_mode()
def losses_on(device: str, model: Transformer, text: str) -> Float[Tensor, " later_pos"]:
    """The loss at each token of a text of the book's language, computed on a device."""
    tokens = torch.tensor([book_language().tokenizer.encode(text)], device=device)
    return loss_per_token(model.to(device)(tokens), tokens)[0].cpu()


def weights_of(model: Transformer) -> bytes:
    """The parameters of a model as a safetensors file, without the zeros of what it leaves out."""
    return save({name: weights.detach() for name, weights in model.named_parameters()})


# GPT-2 small


def cached_gpt2() -> Path | None:
    """The folder in Hugging Face's cache that holds GPT-2 small, None where a file is not there."""
    from huggingface_hub import try_to_load_from_cache

    for repository in (GPT2, "gpt2"):  # its name now, and before 2024
        found = [try_to_load_from_cache(repository, file) for file in GPT2_FILES]
        if all(isinstance(file, str) for file in found):
            return Path(found[0]).parent
    return None


def gpt2_folder() -> Path:
    """GPT-2 from the cache or the hub, once its weights are known to be the published ones."""
    reason = "" if cached_gpt2() else fetch_gpt2()
    folder = cached_gpt2()
    if folder is None:
        raise ValueError(f"{reason}. Fetch it with: {FETCH_GPT2}; meanwhile load('pocket') runs.")
    if sha256(folder / "model.safetensors") != GPT2_SHA256:
        raise ValueError(
            f"{folder / 'model.safetensors'} is damaged: its checksum is not the published one. "
            f"Delete it, then: {FETCH_GPT2}"
        )
    return folder


# Run in a Python of its own, which can be ended: a look-up of a name cannot be interrupted.
ASK_HUB = """
import sys, urllib.request
from huggingface_hub import hf_hub_download, hf_hub_url
repository, seconds, first, *files = sys.argv[1:]
try:
    request = urllib.request.Request(hf_hub_url(repository, first), method="HEAD")
    urllib.request.urlopen(request, timeout=float(seconds)).close()
    for file in files:
        hf_hub_download(repository, file)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
"""


def fetch_gpt2() -> str:
    """Fetches GPT-2 into Hugging Face's cache, with a progress bar; "" or why it is not there.

    Gives up SECONDS_WITHOUT_NEWS after the last byte came; what came stays, and the next try goes
    on from there.
    """
    return ask_hub(GPT2_FILES)


@cache  # asked once: a dead network costs its seconds only at the first call
def ask_hub(files: tuple[str, ...] = ()) -> str:
    """Why these files of GPT-2 cannot be had, "" once they are here; without files: whether the hub
    answers."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "GPT-2 is not on this machine, and HF_HUB_OFFLINE forbids to fetch it"
    folder = Path(constants.HF_HUB_CACHE) / f"models--{GPT2.replace('/', '--')}"
    asked = [GPT2, str(SECONDS_WITHOUT_NEWS), GPT2_FILES[0], *files]
    process = subprocess.Popen(
        [sys.executable, "-c", ASK_HUB, *asked],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"},
    )
    here, news = bytes_in(folder), time.monotonic()
    with tqdm(
        initial=here, unit="B", unit_scale=True, desc="GPT-2 small", leave=False, disable=not files
    ) as bar:
        try:
            while process.poll() is None:
                if (size := bytes_in(folder)) > here:
                    bar.update(size - here)
                    here, news = size, time.monotonic()
                if time.monotonic() - news > SECONDS_WITHOUT_NEWS:
                    silent = f"{hub()} sent nothing in {SECONDS_WITHOUT_NEWS} seconds"
                    return f"GPT-2 is not on this machine, and {silent}"
                time.sleep(0.1)
        finally:
            process.kill()
            _, said = process.communicate()
    if process.returncode == 0:
        return ""
    reason = (said.strip().splitlines() or ["the download stopped"])[-1]
    return f"GPT-2 is not on this machine, and {hub()} could not be used ({reason})"


def hub() -> str:
    """The address at which Hugging Face's library looks for models."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder that another program may be writing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 0 if path.is_symlink() else path.stat().st_size
        except OSError:
            continue  # it was renamed meanwhile
    return total
