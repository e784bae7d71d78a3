"""What this machine has and can do: what `circuitbook doctor` prints, one line a finding."""

import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil  # comes with ipykernel
import torch

from circuitbook import progress, zoo
from circuitbook.train import devices

LOCK = Path(__file__).parents[2] / "requirements.lock"  # in a checkout; a wheel has none
MEMORY = 2e9  # bytes that the longest chapter needs
DISK = 1e9  # bytes: room for progress, notebooks and GPT-2


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, and what to do where it is not."""

    what: str
    well: bool
    said: str


def findings() -> Iterator[Finding]:
    """Everything there is to know, the quick things first."""
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform()}")
    yield versions(LOCK)
    for name in zoo.SHIPPED:
        yield shipped(name)
    for device in devices():
        yield known_answer(device)
    yield memory()
    yield kept_progress()
    yield gpt2()


def versions(lock: Path) -> Finding:
    """Whether the packages here are those of the lock."""
    if not lock.exists():
        return Finding("packages", True, f"no {lock.name} to compare with: not a checkout")
    pins = [line.split("==") for line in lock.read_text().splitlines() if "==" in line]
    wrong = [
        f"{name} {here or 'is missing'} (lock: {version})"
        for name, version in pins
        if (here := installed(name)) != version
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        cure = "pip install -r requirements.lock"
        return Finding("packages", False, f"{', '.join(wrong[:3])}{more}; {cure}")
    return Finding("packages", True, f"all {len(pins)} as in {lock.name}")


def installed(name: str) -> str:
    """The version of a package here, without a build's own mark; "" where there is none."""
    try:
        return metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def shipped(name: str) -> Finding:
    """Whether a model of the book is here and each of its files whole."""
    try:
        files = [
            zoo.checked(file) for file in zoo.checksums(zoo.MODELS) if file.startswith(f"{name}/")
        ]
    except ValueError as error:
        return Finding(name, False, str(error))
    if not files:
        return Finding(name, False, f"is not in {zoo.MODELS}; install the book again")
    size = sum(file.stat().st_size for file in files) / 1e6
    return Finding(name, True, f"{len(files)} files, {size:.1f} MB, checksums right")


def known_answer(device: str) -> Finding:
    """Whether pocket's losses on this device are those that its card was made with."""
    try:
        loaded = zoo.load("pocket")
        known = json.loads((loaded.folder / zoo.KNOWN_ANSWER).read_text())
        losses = zoo.losses_on(device, loaded.model, known["text"])
        error = (losses - torch.tensor(known["losses"])).abs().max().nan_to_num(torch.inf).item()
    except (ValueError, OSError, RuntimeError, AssertionError) as reason:  # torch asserts
        return Finding(device, False, f"could not be tried: {str(reason).splitlines()[0]}")
    if error > 1e-2:
        return Finding(
            device, False, f"computes wrong losses ({error:.2g} nats off); the book leaves it alone"
        )
    return Finding(device, True, f"pocket's losses are right to {error:.0e} nats")


def memory() -> Finding:
    """How much memory is free."""
    free = psutil.virtual_memory().available
    enough = "" if free >= MEMORY else f"; chapters need {MEMORY / 1e9:.0f}: close other programs"
    return Finding("memory", free >= MEMORY, f"{free / 1e9:.1f} GB free{enough}")


def kept_progress() -> Finding:
    """Where this reader's progress is kept, and whether there is room."""
    file = progress.file()
    folder = next(folder for folder in file.parents if folder.exists())
    free = shutil.disk_usage(folder).free
    enough = "" if free >= DISK else f", less than the {DISK / 1e9:.0f} that the book needs"
    return Finding("progress", free >= DISK, f"{file}, {free / 1e9:.1f} GB free there{enough}")


def gpt2() -> Finding:
    """Whether GPT-2 small is here, or could be fetched; the book works without it."""
    folder = zoo.cached_gpt2()
    if folder is None:
        reason = zoo.ask_hub()
        said = reason or f"not here yet; {zoo.hub()} answers"
        return Finding("gpt2", True, f"{said}. To get it: {zoo.FETCH_GPT2}")
    try:
        zoo.gpt2_folder()
    except ValueError as error:
        return Finding("gpt2", False, str(error))
    return Finding("gpt2", True, f"in {folder}, checksum right")


def report() -> bool:
    """Prints each finding as it comes; whether all is well."""
    well = True
    for finding in findings():
        print(f"{'ok   ' if finding.well else 'WRONG'} {finding.what:10} {finding.said}")
        sys.stdout.flush()
        well = well and finding.well
    return well
