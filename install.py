"""Makes .venv what pyproject.toml and requirements.lock ask for; does nothing where it already is.

`make` calls this before its targets, with whatever Python there is. So it needs the standard
library only and keeps to the syntax of Python 3.6: a Python too old for the book can read it and
say so. Every failure is one line that says what to do, and leaves nothing that the next run trusts.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

WANTED_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
READER_SETTINGS = ROOT / "jupyter/overrides.json"
SOURCES = (ROOT / "requirements.lock", ROOT / "pyproject.toml", READER_SETTINGS)
STAMP = VENV / "circuitbook-stamp"  # the hash of what .venv was made from
UNFINISHED = "unfinished"  # the stamp while pip is at work, and after a kill
DISK_SPACE = 3e9  # bytes: 2 GB stay, and pip unpacks beside them
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_INDEX_SECONDS = 5
UNREACHABLE = re.compile(
    "connection broken|connection refused|failed to establish|max retries|name resolution"
    "|network is unreachable|proxyerror|sslerror|timed out",
    re.IGNORECASE,
)


class SetUpError(Exception):
    """Why there is no .venv and what to do about it, in one line."""


def main() -> "int | str":
    """The exit status: 0, or the line that says why there is no .venv."""
    try:
        if sys.version_info < WANTED_PYTHON:
            start_a_newer_python()
        if stamp() != fingerprint():
            set_up()
    except SetUpError as error:
        return f"circuitbook: {error}"
    except OSError as error:
        return f"circuitbook: {cure(str(error))}"
    except KeyboardInterrupt:
        return "circuitbook: the set-up was stopped; run make again to start it anew."
    return 0


def start_a_newer_python() -> None:
    """Runs this file in a newer Python, in place of this one; SetUpError where there is none."""
    for name in NEWER_PYTHONS:
        newer = shutil.which(name)
        if newer:
            os.execv(newer, [newer, *sys.argv])
    raise SetUpError(
        f"Python {version_of_python()} is too old; install Python 3.11 or newer from "
        "https://www.python.org/downloads and run make again, or use conda: "
        "conda env create -f environment.yml."
    )


def version_of_python() -> str:
    """Of the Python that runs this file: 3.11."""
    return "{}.{}".format(*sys.version_info)


def fingerprint() -> str:
    """What .venv is made from: the lock and its like, and the folder, which its scripts name."""
    content = [str(ROOT).encode()] + [source.read_bytes() for source in SOURCES]
    return hashlib.sha256(b"\0".join(content)).hexdigest()


def stamp() -> "str | None":
    """The fingerprint that .venv was made from; None where it is not ours or has no Python."""
    return STAMP.read_text() if STAMP.exists() and PYTHON.exists() else None


def set_up() -> None:
    """Makes .venv, or brings it up to date; after an error things are as they were before.

    A .venv that was there is kept, because pip takes back an installation that fails. Only one that
    a kill left unfinished, or whose Python is gone, is made anew.
    """
    before = stamp()
    anew = before == UNFINISHED or not PYTHON.exists()
    version = re.search(r"(?m)^torch==(\S+)$", SOURCES[0].read_text()).group(1)
    try:
        if anew:
            phase("making .venv", make_venv)
        STAMP.write_text(UNFINISHED)
        phase(f"installing torch {version}", install_torch, version)
        phase("installing what requirements.lock lists", pip_install, "-r", "requirements.lock")
        phase("installing circuitbook", install_circuitbook)
    except (SetUpError, OSError):
        if anew:
            shutil.rmtree(VENV, ignore_errors=True)
        else:
            STAMP.write_text(before or "")
        raise
    STAMP.write_text(fingerprint())


def phase(title: str, step: Callable, *arguments: str) -> None:
    """Takes one step and prints what it is and how long it took."""
    print(f"circuitbook: {title} ...", end=" ", flush=True)
    start = time.monotonic()
    try:
        step(*arguments)
    except BaseException:
        print(flush=True)  # the error begins on a line of its own
        raise
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def make_venv() -> None:
    """An empty .venv with pip in it, marked as unfinished from its first moment on."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise SetUpError(
                f"this Python has no module {module}; install it (on Debian and Ubuntu: "
                f"sudo apt install python{version_of_python()}-venv) and run make again."
            )
    free = shutil.disk_usage(ROOT).free
    if free < DISK_SPACE:
        raise SetUpError(
            f"the disk has {free / 1e9:.1f} GB free, the set-up needs {DISK_SPACE / 1e9:.0f} GB; "
            "make room and run make again."
        )
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    STAMP.write_text(UNFINISHED)
    output = failure_of(sys.executable, "-m", "venv", str(VENV))
    if output:
        raise SetUpError(cure(output))


def install_torch(version: str) -> None:
    """Torch, without CUDA's gigabytes where an index offers that; one that is there already stays.

    Only on Linux does the bare version mean a build with CUDA. Where the user's own indexes have no
    other, PyTorch's is tried, if it answers at once.
    """
    metadata = (
        "import importlib.metadata as m; raise SystemExit(not m.version('torch').startswith('{}'))"
    )
    if not failure_of(str(PYTHON), "-c", metadata.format(version)):
        return
    if sys.platform == "linux":
        output = pip_failure(f"torch=={version}+cpu", "--no-deps")
        if not output:
            return
        if not is_missing(output):
            raise SetUpError(cure(output))
        if answers(CPU_INDEX) and not pip_failure(
            f"torch=={version}+cpu", "--no-deps", "--index-url", CPU_INDEX
        ):
            return
    pip_install(f"torch=={version}", "--no-deps")


def install_circuitbook() -> None:
    """The book's own package, as it stands in src/, and JupyterLab's settings for its readers."""
    pip_install("--no-deps", "--no-build-isolation", "-e", ".")
    settings = VENV / "share/jupyter/lab/settings"
    settings.mkdir(parents=True, exist_ok=True)
    shutil.copy(READER_SETTINGS, settings)


def answers(url: str) -> bool:
    """Whether a server answers within seconds."""
    try:
        with urllib.request.urlopen(url, timeout=CPU_INDEX_SECONDS):
            return True
    except OSError:
        return False


def pip_install(*arguments: str) -> None:
    """`pip install` in .venv, with the indexes and all else that the user has configured."""
    output = pip_failure(*arguments)
    if output:
        raise SetUpError(cure(output))


def pip_failure(*arguments: str) -> str:
    """What `pip install` said if it failed, else nothing."""
    return failure_of(str(PYTHON), "-I", "-m", "pip", "install", "--quiet", *arguments)


def failure_of(*command: str) -> str:
    """What a command said if it failed, else nothing."""
    environment = dict(
        os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0"
    )
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.stdout + f"exit status {result.returncode}" if result.returncode else ""


def is_missing(output: str) -> bool:
    """Whether the index answered, and has no such package."""
    return "No matching distribution" in output and not UNREACHABLE.search(output)


def cure(output: str) -> str:
    """The one line for what a command said when it failed: what is wrong, and what to do."""
    if "No space left" in output or "not enough space" in output:
        return "the disk is full; make room and run make again."
    if UNREACHABLE.search(output):
        host = re.search("host='([^']+)'", output)
        at_host = f" at {host.group(1)}" if host else ""
        return (
            f"the package index{at_host} does not answer; check the network, the proxy and "
            "`pip config list`, and run make again."
        )
    if is_missing(output):
        package = re.search(r"No matching distribution found for (\S+)", output).group(1)
        return (
            f"no index that pip knows has {package} for this Python {version_of_python()}; check "
            "the network and `pip config list`, or try another Python: make PYTHON=python3.12."
        )
    said = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in said if "error" in line.lower()]
    return f"the set-up failed ({(errors or said)[-1].strip()}); mend that and run make again."


if __name__ == "__main__":
    sys.exit(main())
