"""Numbers of the real GPT-2 small that others published, each with its source."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One published number or table, what it means, and who published it where."""

    value: float | list
    source: str
    definition: str = ""


@cache
def _figures() -> dict:
    file = resources.files("circuitbook") / "gpt2_small_published.json"
    return json.loads(file.read_text(encoding="utf-8"))


def published_copying_scores() -> Published:
    """The OV copying scores of GPT-2 small's heads, a table [layer][head]."""
    table = _figures()["ov_copying_score"]
    return Published(table["value"], table["source"], table["definition"])
