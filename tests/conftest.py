"""For every test: the network closed, the reader's progress out of reach, the same seed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from closed_network import close_network

close_network()
os.environ["PYTHONPATH"] = str(Path(__file__).parent / "offline")  # and in what a test starts
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: each takes one
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Progress made by the fixtures of a whole file or session goes here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRCUITBOOK_HOME", str(tmp_path_factory.mktemp("circuitbook")))
        yield


@pytest.fixture(autouse=True)
def _fresh_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with no progress and with torch's seed at 0."""
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "circuitbook"))
    torch.manual_seed(0)
