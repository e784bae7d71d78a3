"""What the doctor finds on this machine, and that it names what is wrong."""

import json
import shutil

import pytest
import torch

from circuitbook import doctor, zoo
from circuitbook.__main__ import main
from circuitbook.doctor import findings, known_answer, versions


@pytest.fixture
def copied_models(tmp_path, monkeypatch):
    """The shipped models in a folder that a test may damage."""
    models = shutil.copytree(zoo.MODELS, tmp_path / "models")
    monkeypatch.setattr(zoo, "MODELS", models)
    return models


def test_the_doctor_looks_at_everything():
    found = {finding.what: finding for finding in findings()}
    assert found.keys() >= {
        "python", "packages", *zoo.SHIPPED, "cpu", "memory", "progress", "gpt2",
    }  # fmt: skip
    for what in ("python", *zoo.SHIPPED, "cpu", "gpt2"):
        assert found[what].well, found[what].said


def test_the_command_prints_a_line_for_each_finding(capsys):
    status = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "WRONG ")) for line in lines)
    assert status == any(line.startswith("WRONG") for line in lines)
    assert any("progress.sqlite" in line for line in lines)
    assert any("HF_HUB_OFFLINE" in line or "checksum right" in line for line in lines)


def test_a_package_that_is_not_the_locks_is_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# pins\ntorch=={torch.__version__.split('+')[0]}\nnumpy==0.1\nno-such==2\n")
    finding = versions(lock)
    assert not finding.well
    assert "(lock: 0.1)" in finding.said and "no-such is missing (lock: 2)" in finding.said
    assert "torch" not in finding.said and "pip install -r" in finding.said


def test_a_copy_without_a_lock_is_no_fault(tmp_path):
    assert versions(tmp_path / "requirements.lock").well


def test_a_damaged_model_is_named_with_its_cure(copied_models):
    (copied_models / "one-layer" / "model.safetensors").write_bytes(b"")
    finding = doctor.shipped("one-layer")
    assert not finding.well
    assert "model.safetensors is damaged" in finding.said and "git checkout" in finding.said
    assert doctor.shipped("pocket").well


def test_a_model_that_is_not_here_is_named(copied_models):
    (copied_models / "checksums.json").write_text("{}")
    assert "install the book again" in doctor.shipped("pocket").said


def test_a_device_that_computes_something_else_is_named(copied_models):
    file = copied_models / "pocket" / zoo.KNOWN_ANSWER
    known = json.loads(file.read_text())
    for spoil in (lambda loss: loss + 0.5, lambda loss: float("nan")):
        file.write_text(json.dumps({**known, "losses": [spoil(x) for x in known["losses"]]}))
        checksums = zoo.checksums(copied_models)
        checksums["pocket/known_answer.json"] = zoo.sha256(file)
        (copied_models / "checksums.json").write_text(json.dumps(checksums))
        finding = known_answer("cpu")
        assert not finding.well and "computes wrong losses" in finding.said


def test_a_device_that_fails_is_named():
    finding = known_answer("cuda:99")
    assert not finding.well and "could not be tried" in finding.said


def test_too_little_memory_or_disk_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "MEMORY", 1e15)
    monkeypatch.setattr(doctor, "DISK", 1e18)
    assert "close other programs" in doctor.memory().said and not doctor.memory().well
    assert "less than the" in doctor.kept_progress().said and not doctor.kept_progress().well


def test_where_progress_is_kept_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUITBOOK_HOME", str(tmp_path / "deep" / "down"))
    assert str(tmp_path / "deep" / "down" / "progress.sqlite") in doctor.kept_progress().said
    assert not (tmp_path / "deep").exists()
