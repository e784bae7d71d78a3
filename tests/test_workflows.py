"""What the workflows call is there: make's targets, programs of .venv, pytest's markers."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from circuitbook.zoo import FETCH_GPT2

ROOT = Path(__file__).parent.parent
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}
each = pytest.mark.parametrize("name", ["tests", "gpt2"])


def parsed(name: str) -> dict:
    contents = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return contents | {"on": contents[True]}  # YAML 1.1 reads `on` as true


def steps(name: str) -> list[dict]:
    (job,) = parsed(name)["jobs"].values()
    return job["steps"]


def commands(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def test_there_are_these_two():
    assert WORKFLOWS.keys() == {"tests", "gpt2"}


def test_tests_run_at_each_push_and_gpt2s_each_week_and_when_asked():
    assert parsed("tests")["on"].keys() == {"push", "pull_request"}
    assert parsed("gpt2")["on"].keys() == {"schedule", "workflow_dispatch"}
    ((minute, hour, *_, weekday),) = (
        one["cron"].split() for one in parsed("gpt2")["on"]["schedule"]
    )
    assert 0 <= int(minute) < 60 and 0 <= int(hour) < 24 and 0 <= int(weekday) < 7


@each
def test_a_job_ends_some_day_and_may_only_read(name):
    (job,) = parsed(name)["jobs"].values()
    assert parsed(name)["permissions"] == {"contents": "read"} and job["timeout-minutes"] <= 90


@each
def test_an_action_has_its_version_and_python_is_the_oldest_that_we_support(name):
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"actions/(checkout|setup-python|cache)@v\d+", step["uses"])
    (python,) = [one["with"]["python-version"] for one in steps(name) if "setup-python" in str(one)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={python}"


@each
def test_each_target_of_make_is_there(name):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = [command.split()[1] for command in commands(name) if command.startswith("make ")]
    assert len(called) == 1 and set(called) <= set(targets)


@each
def test_each_program_of_the_environment_is_there(name):
    for program in re.findall(r"\.venv/(bin/[\w-]+)", " ".join(commands(name))):
        assert (Path(ROOT, ".venv") / program).exists(), program


def test_the_marker_and_the_download_are_the_books():
    fetch, test = commands("gpt2")[-2:]
    assert fetch == f".venv/bin/{FETCH_GPT2}"
    (marker,) = re.findall(r"-m pytest -m (\w+)", test)
    pytest_settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    assert any(one.startswith(f"{marker}:") for one in pytest_settings["ini_options"]["markers"])
