import json
import math
from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from models import GPT2_LIKE, random_model

from circuitbook.attribution import head_attribution, logit_lens
from circuitbook.cache import run_with_cache, run_with_edits
from circuitbook.capstone import (
    Claim,
    Investigation,
    RandomHeads,
    against_random_heads,
    behaviour,
    behaviours,
    review,
)
from circuitbook.capstone.prompts import NAME_TEMPLATES
from circuitbook.interventions import Averaged, combined, replace_head
from circuitbook.language import book_language
from circuitbook.language.english import BEGINNINGS, ENDS, TABLES
from circuitbook.language.tokenizer import tokenizer_of
from circuitbook.published import gpt2_small
from circuitbook.zoo import load

NAMES = ("indirect object", "invented names", "capital", "pronoun", "days")
TOKENIZER = book_language().tokenizer


# Prompts


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_equally_long_and_twins_ask_for_each_others_answer(name):
    prompts = behaviour(name).prompts(TOKENIZER, count=12)
    assert prompts.tokens.shape[0] == len(prompts) == len(prompts.templates) == 12
    assert len(set(prompts.texts)) == 12
    for row, text in enumerate(prompts.texts):
        assert TOKENIZER.decode(prompts.tokens[row].tolist()) == "<|endoftext|>" + text
        twin = row ^ 1
        assert prompts.other[row].equal(prompts.tokens[twin])
        assert prompts.right[row] == prompts.wrong[twin] != prompts.right[twin]
        assert not prompts.tokens[row].equal(prompts.tokens[twin])


@pytest.mark.parametrize("name", NAMES)
def test_pocket_does_what_is_asked(name):
    loaded = load("pocket")
    prompts = behaviour(name).prompts(loaded.tokenizer, count=12)
    logits, _ = run_with_cache(loaded.model, prompts.tokens)
    difference = prompts.logit_difference(logits)
    first = (logits[:, -1].argmax(dim=-1) == prompts.right).float().mean().item()
    print(f"{name}: {first:.0%} said first, {difference.mean():.1f} logits ahead")
    assert (difference > 0).all() and difference.mean() > 5
    assert first >= 0.9


def test_positions_are_those_of_the_words_of_each_role():
    def words(name: str, role: str) -> list[str]:
        prompts = behaviour(name).prompts(TOKENIZER)
        assert (prompts.positions["end"] == prompts.tokens.shape[1] - 1).all()
        tokens = prompts.tokens.gather(1, prompts.positions[role][:, None])[:, 0]
        return [TOKENIZER.decode([token]) for token in tokens.tolist()]

    def answers(name: str, which: str) -> list[str]:
        tokens = getattr(behaviour(name).prompts(TOKENIZER), which)
        return [TOKENIZER.decode([token]) for token in tokens.tolist()]

    objects = behaviour("indirect object").prompts(TOKENIZER)
    assert words("indirect object", "receiver") == answers("indirect object", "right")
    assert words("indirect object", "giver") == answers("indirect object", "wrong")
    assert words("indirect object", "giver again") == words("indirect object", "giver")
    assert (objects.positions["giver again"] > objects.positions["giver"]).all()
    assert words("invented names", "second name") == answers("invented names", "right")
    assert words("invented names", "other name") == answers("invented names", "wrong")
    assert words("invented names", "first name") == words("invented names", "end")
    assert words("capital", "country")[:2] == [" France", " Germany"]
    assert words("pronoun", "person")[:2] == ["Mary", "John"]
    days = dict(zip(TABLES["day"]["name"], TABLES["day"]["next"], strict=True))
    assert [f" {days[day.strip()]}" for day in words("days", "day")] == answers("days", "right")


def test_of_invented_names_half_of_the_prompts_ask_for_the_first_and_half_for_the_second():
    prompts = behaviour("invented names").prompts(TOKENIZER)
    asked_first = prompts.positions["second name"] < prompts.positions["other name"]
    assert asked_first.tolist() == [template == "saw" for template in prompts.templates]
    assert Counter(prompts.templates) == {"saw": 4, "letter": 4}


def tokenizer_with(*texts: str):
    """A tokenizer of the words of some texts; every other word it splits."""
    words = [word for text in texts for word in text.replace(",", " ,").split()]
    return tokenizer_of(
        ["<|endoftext|>", *{f"{space}{word}" for word in words for space in (" ", "")}]
    )


def test_prompts_that_a_tokenizer_splits_are_left_out_in_one_line(capsys):
    countries, capitals = TABLES["country"]["name"], TABLES["country"]["capital"]
    known = tokenizer_with(
        "We left by train from its capital,",
        *(word for word in (*countries, *capitals) if word not in ("Berlin", "Spain")),
    )
    prompts = behaviour("capital").prompts(known)
    assert not {"France", "Germany", "Spain", "Italy"} & set(" ".join(prompts.texts).split())
    assert len(prompts) == 8 and (prompts.tokens[:, 0] == known.end_of_text).all()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Left out 4 prompts") and "2: an answer is more than one token" in line


def test_names_that_a_tokenizer_splits_are_asked_for_by_their_first_piece():
    words = set(" ".join(NAME_TEMPLATES.values()).replace(".", " .").split())
    parts = [f" {part}" for part in BEGINNINGS] + list(ENDS)
    pieces = tokenizer_of(["<|endoftext|>", *parts, *words, *(f" {word}" for word in words)])
    prompts = behaviour("invented names").prompts(pieces)
    rows = torch.arange(len(prompts))
    assert prompts.tokens[rows, prompts.positions["second name"]].equal(prompts.right)
    assert prompts.tokens[rows, prompts.positions["other name"]].equal(prompts.wrong)
    assert prompts.tokens[rows, prompts.positions["first name"]].equal(prompts.tokens[:, -1])
    assert all(len(pieces.encode(text.split()[-1])) > 1 for text in prompts.texts)


def test_a_tokenizer_that_has_their_words_gets_the_published_prompts():
    published = gpt2_small().prompts
    prompts = behaviour("indirect object").prompts(tokenizer_with(*(p.text for p in published)))
    assert prompts.texts == tuple(one.text for one in published)
    assert len(set(prompts.right.tolist())) == 8


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: behaviour("weather"), "choose one of 'indirect object', 'invented names'"),
        (lambda: behaviour("days").prompts(TOKENIZER, count=14), "There are 12 prompts of 'days'"),
        (lambda: behaviour("days").prompts(TOKENIZER, count=7), "an even number"),
        (lambda: behaviour("days").prompts(load("pocket")), "`loaded.tokenizer`"),
        (
            lambda: behaviour("days").prompts(tokenizer_of(["<|endoftext|>", "x"])),
            "There are 0 prompts of 'days'",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_each_behaviour_has_its_question_example_metric_and_traps():
    table = repr(behaviours())
    for name in NAMES:
        one = behaviour(name)
        assert one.name in table and one.example in table
        assert len(one.traps) >= 3 and max(map(len, repr(one).splitlines())) <= 95
        told = " ".join(repr(one).split())
        for part in (one.question, one.example, one.metric, one.published, *one.traps):
            assert part in told
        assert one.question in one._repr_html_()
    assert "3.55" in behaviour("indirect object").published


# The test of a claim


def some_model():
    return random_model(GPT2_LIKE, seed=1)


def some_tokens(model, rows: int = 6):
    return torch.randint(model.cfg.d_vocab, (rows, 7))


def last_of_two(logits):
    return logits[:, -1, 1] - logits[:, -1, 2]


def brute(model, tokens, heads) -> float:
    """The metric with each of these heads replaced by its mean at each position."""
    _, cache = run_with_cache(model, tokens)
    means = Averaged(cache, each_position=True)
    edits = combined(*(replace_head(head, model.cfg, means) for head in heads))
    return last_of_two(run_with_edits(model, tokens, edits)).double().mean().item()


@pytest.mark.parametrize("heads", [("L1H0",), ("L0H1", "L1H2")])
def test_effects_are_those_of_mean_ablation_one_set_after_the_other(heads):
    model = some_model()
    tokens = some_tokens(model)
    result = against_random_heads(model, tokens, heads, last_of_two, n=5)
    whole = last_of_two(model(tokens)).double().mean().item()
    assert result.baseline == pytest.approx(whole, abs=1e-5)
    assert result.effect == pytest.approx(brute(model, tokens, heads) - whole, abs=1e-5)
    wanted = torch.tensor([brute(model, tokens, some) - whole for some in result.random_heads])
    torch.testing.assert_close(result.random_effects.float(), wanted, atol=1e-5, rtol=0)
    last = against_random_heads(model, tokens, heads, last_of_two, n=5, logits_at=[-1])
    torch.testing.assert_close(last.random_effects, result.random_effects, atol=1e-5, rtol=0)
    assert result.effect and result.random_effects.unique().numel() == len(result.random_effects)


def test_random_sets_are_different_ones_of_the_same_layers_and_never_the_claims():
    model = some_model()
    tokens, claimed = some_tokens(model), ("L0H1", "L1H0", "L1H1")
    result = against_random_heads(model, tokens, claimed[::-1], last_of_two, n=6)
    assert result.heads == claimed
    assert len(set(result.random_heads)) == len(result.random_heads) == 6
    assert claimed not in result.random_heads
    for some in result.random_heads:
        assert [head[:2] for head in some] == ["L0", "L1", "L1"] and len(set(some)) == 3
    again = against_random_heads(model, tokens, claimed, last_of_two, n=6)
    assert again.random_heads == result.random_heads
    other = against_random_heads(model, tokens, claimed, last_of_two, n=6, seed=1)
    assert other.random_heads != result.random_heads


def test_where_there_are_few_other_sets_all_are_taken():
    model = some_model()
    result = against_random_heads(model, some_tokens(model), ("L1H1",), last_of_two)
    others = [f"L1H{index}" for index in range(model.cfg.n_heads) if index != 1]
    assert result.random_heads == tuple((head,) for head in others)


def result_with(effect: float, others: list[float], heads=("L1H1",)) -> RandomHeads:
    sets = tuple((f"L1H{index + 2}",) for index in range(len(others)))
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    return RandomHeads(heads, 5.0, effect, sets, torch.tensor(others), tokens)


def test_as_large_means_at_least_as_far_the_same_way():
    assert result_with(-2.0, [-3.0, -2.0, -1.0, 4.0]).share_as_large == 0.5
    assert result_with(2.0, [-3.0, -2.0, -1.0, 4.0]).share_as_large == 0.25
    assert result_with(0.0, [-1.0, 1.0]).share_as_large == 0.5
    result = result_with(-4.0, [-1.0, 1.0, 0.0])
    assert result.standard_deviations == pytest.approx(-4.0)
    assert math.isnan(result_with(-4.0, [-1.0]).standard_deviations)
    assert "from 5.00 to 1.00 (-4.00)" in repr(result) and "0% of the sets" in repr(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(1, 4, dtype=torch.int64)}, "give two or more"),
        ({"heads": "L1H0"}, "a tuple of names"),
        ({"heads": ()}, "a tuple of names"),
        ({"heads": ("L1H0", "L1H0")}, "name each once"),
        ({"heads": ("L7H0",)}, "this model has layers 0-"),
        ({"heads": tuple(f"L1H{i}" for i in range(GPT2_LIKE.n_heads))}, "nothing to compare with"),
        ({"n": 0}, "whole number of sets"),
        ({"metric": lambda logits: logits.mean() * math.nan}, "The metric is NaN"),
        ({"metric": lambda logits: logits[:, -1]}, "return one number"),
    ],
)
def test_a_test_that_cannot_be_made_is_told(change, message):
    model = some_model()
    given = {"tokens": some_tokens(model), "heads": ("L1H0",), "metric": last_of_two, **change}
    with pytest.raises(ValueError, match=message):
        against_random_heads(model, **given)


# What an investigation has and what it lacks


def markdown(text: str, *tags: str, id: str = "0123456789ab") -> dict:
    return {"cell_type": "markdown", "id": id, "metadata": {"tags": tags}, "source": text}


def code(text: str, *outputs: dict) -> dict:
    return {"cell_type": "code", "id": "0123456789ac", "metadata": {}, "source": text} | {
        "outputs": [{"output_type": "display_data", "data": data} for data in outputs],
        "execution_count": None,
    }


FIGURE = {"application/vnd.plotly.v1+json": {"data": [], "layout": {}}}
FILLED = {1: "accuracy", 2: "lens", 3: "attention", 4: "ov", 5: "test", 6: "limits"}


def whole_notebook() -> list[dict]:
    cells = [markdown("# A capstone")]
    for step, filled in FILLED.items():
        cells += [
            markdown(f"## Step {step}: something\n\nThe book tells here at length what to do now."),
            code(f"study.{filled} = 1", FIGURE) if step == 2 else code(f"study.{filled} = 1"),
            markdown("I see that the answer leads from the second layer on.", "yours"),
        ]
    return [*cells, markdown("## What you found")]


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Writes cells as a notebook into the folder of the test, whose name it returns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)

    def written(cells: list[dict], name: str = "mine.ipynb") -> str:
        contents = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
        (tmp_path / name).write_text(json.dumps(contents))
        return name

    return written


@pytest.fixture(scope="module")
def whole() -> Investigation:
    """An investigation with a result in every field."""
    loaded = load("pocket")
    chosen = behaviour("indirect object")
    prompts = chosen.prompts(loaded.tokenizer)
    logits, cache = run_with_cache(loaded.model, prompts.tokens)
    patterns = torch.stack([cache["pattern", layer][:, :, -1] for layer in range(4)])
    index = prompts.positions["receiver"][None, :, None, None].expand(4, -1, 8, 1)
    claim = Claim(
        "L3H4 reads the name of the receiver and writes it.",
        heads=("L3H4",),
        refuted_if="The difference falls no further than without random heads.",
    )
    return Investigation(
        chosen,
        prompts,
        accuracy=(prompts.logit_difference(logits).mean(), 1.0),
        lens=logit_lens(cache, loaded.model, prompts.right, prompts.wrong),
        attribution=head_attribution(cache, loaded.model, prompts.right, prompts.wrong),
        attention={"receiver": patterns.gather(-1, index)[..., 0].mean(dim=1)},
        heads=("L3H4", "L2H1"),
        qk={"L3H4": 1.5},
        ov={"L3H4": torch.tensor([0.5, 1.0])},
        claim=claim,
        test=against_random_heads(
            loaded.model, prompts.tokens, claim.heads, prompts.logit_difference
        ),
        limits="It fails where three people are named in one sentence.",
    )


def changed(study: Investigation, **fields_of_it: object) -> Investigation:
    return replace(study, **fields_of_it)


def line_of(result, name: str) -> str:
    return next(one.line for one in result.criteria if one.name == name)


def test_a_whole_investigation_is_complete(whole, notebook):
    result = review(whole, notebook(whole_notebook()))
    assert result.missing == () and result.complete
    assert "9 readings over 8 prompts" in line_of(result, "lens")
    assert "32 components over 8 prompts" in line_of(result, "attribution")
    assert line_of(result, "figures") == "1, in step 2"
    assert repr(result) == repr(review(whole, "mine.ipynb"))
    assert repr(result).startswith("✓") and "has 13 of the 13" in repr(result)
    assert "right" not in " ".join(one.line for one in result.criteria)


CRITERIA = {
    "prompts": "behaviour and prompts",
    "behaviour": "behaviour and prompts",
    "qk": "QK",
    "ov": "OV",
    "test": "intervention",
}


@pytest.mark.parametrize("field", [field.name for field in fields(Investigation)])
def test_what_is_taken_away_is_told_and_nothing_else(whole, notebook, field):
    result = review(changed(whole, **{field: None}), notebook(whole_notebook()))
    name = CRITERIA.get(field, field)
    assert result.missing == (name,) and not result.complete
    assert line_of(result, name).startswith("nothing yet. ")
    assert f"○ {name}: nothing yet." in repr(result) and "has 12 of the 13" in repr(result)


def test_an_empty_investigation_lacks_everything(notebook):
    result = review(Investigation(), notebook([]))
    assert result.missing == tuple(one.name for one in result.criteria)
    assert len(result.missing) == 13 and "has 0 of the 13" in repr(result)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("behaviour", "days", "is a str"),
        ("prompts", ["When Mary"], "is a list"),
        ("accuracy", "good", "a str without numbers"),
        ("accuracy", math.nan, "NaN"),
        ("accuracy", True, "without numbers"),
        ("lens", torch.zeros(9, 5), "over 5 prompts, but the study has 8"),
        ("lens", 1.5, "a single number is no lens"),
        ("lens", torch.zeros(2, 3, 4, 5), "is not [reading] or [reading prompt]"),
        ("lens", "the lens", "without numbers"),
        ("attribution", torch.zeros(4, 8, 5), "over 5 prompts, but the study has 8"),
        ("attribution", torch.tensor(3.0), "a single number"),
        ("attention", torch.full((4, 8), -3.0), "after the softmax"),
        ("attention", torch.zeros(8, 4, 8, 9, 9), "fits neither 8 prompts nor their 15 tokens"),
        ("heads", "L3H4", "give a tuple of names"),
        ("heads", ("3.4",), "write head 3 of layer 1 as `L1H3`"),
        ("heads", (), "give a tuple of names"),
        ("qk", {"L0H0": 1.0}, "the claim names L3H4"),
        ("ov", [], "without numbers"),
        ("claim", "L3H4 copies the name", "make it a `Claim(...)`"),
        ("claim", Claim("...", ("L3H4",), "the difference does not fall"), "its `text` is “...”"),
        ("claim", Claim("L3H4 copies the receiver", ("L3H4",), ""), "which result would refute it"),
        ("claim", Claim("A head copies the name", ("a head",), "it does not fall"), "write head 3"),
        ("claim", Claim("L3H4 copies the name", ("L3H4",), "L3H4 copies the name"), "repeats"),
        ("claim", Claim("*Write here: a claim*", ("L3H4",), "it falls no further"), "its `text`"),
        ("test", -2.5, "without random heads to compare with"),
        ("limits", "none", "is “none”"),
        ("limits", object, "without numbers"),
    ],
)
def test_a_wrong_thing_in_a_field_is_told_as_such(whole, notebook, field, value, message):
    result = review(changed(whole, **{field: value}), notebook(whole_notebook()))
    assert result.missing == (CRITERIA.get(field, field),)
    assert message in line_of(result, result.missing[0])


def test_results_that_do_not_belong_together_are_told(whole, notebook):
    name = notebook(whole_notebook())
    other = behaviour("days").prompts(TOKENIZER)
    assert "of 'days'" in line_of(
        review(changed(whole, prompts=other), name), "behaviour and prompts"
    )
    more = behaviour("indirect object").prompts(TOKENIZER, count=12)
    result = review(changed(whole, prompts=more), name)
    assert result.missing == ("lens", "attribution", "intervention")
    assert "other prompts (8)" in line_of(result, "intervention")
    claim = Claim("L2H1 tells L3H4 whom to read", ("L2H1", "L3H4"), whole.claim.refuted_if)
    result = review(changed(whole, claim=claim), name)
    assert result.missing == ("QK", "OV", "intervention")
    assert "it is of L3H4, the claim of L2H1, L3H4" in line_of(result, "intervention")
    result = review(changed(whole, heads=("L2H1",)), name)
    assert result.missing == ("claim",) and "names L3H4, which" in line_of(result, "claim")


class Hostile:
    """Whatever is asked of it, it raises."""

    def __getattribute__(self, name: str):
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        raise KeyError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [Hostile(), object(), float, b"\xff", {1: {2: None}}, [[]], 3j],
    ids=["hostile", "object", "class", "bytes", "dict", "list", "complex"],
)
def test_nothing_that_a_reader_puts_into_a_field_makes_the_review_fail(whole, notebook, value):
    name = notebook(whole_notebook())
    names = [field.name for field in fields(Investigation)]
    for one in names:
        result = review(changed(whole, **{one: value}), name)
        assert CRITERIA.get(one, one) in result.missing
        assert len(repr(result).splitlines()) == 15
    assert review(Investigation(*[value] * len(names)), name).missing[-1] != "figures"
    claim = Claim(value, value, value)
    assert "claim" in review(changed(whole, claim=claim), name).missing


def without(cells: list[dict], step: int) -> list[dict]:
    """The notebook with nothing of the reader's own in one step."""
    place = 3 * step
    return [*cells[:place], *cells[place + 1 :]]


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_step_without_a_sentence_of_ones_own_is_named(whole, notebook, step):
    result = review(whole, notebook(without(whole_notebook(), step)))
    assert result.missing == ("prose",)
    assert f"no sentence of your own in step {step} (" in line_of(result, "prose")


def test_a_cell_that_the_reader_added_counts_and_the_books_own_do_not(whole, notebook):
    cells = without(whole_notebook(), 6)
    mine = markdown("Here I say in a new cell where it stops.", id="6f6cbb4e-6ed8-4a1c-9b1e-1")
    assert review(whole, notebook([*cells[:-1], mine, cells[-1]])).complete
    books = markdown("Here the book says in its own cell where it stops.")
    assert review(whole, notebook([*cells[:-1], books, cells[-1]])).missing == ("prose",)
    after = review(whole, notebook([*cells, mine]))  # under another heading
    assert after.missing == ("prose",)


def test_a_placeholder_that_was_left_is_named(whole, notebook):
    cells = whole_notebook()
    cells[6]["source"] = "*Write here: where the answer\nis decided.*"
    line = line_of(review(whole, notebook(cells)), "prose")
    assert "no sentence of your own in step 2 (where)" in line
    assert "“Write here” still stands in step 2" in line
    cells[6]["source"] += "\n\nIt is decided in the last layer, by its MLP."
    line = line_of(review(whole, notebook(cells)), "prose")
    assert line.startswith("“Write here” still stands in step 2.")


def test_a_head_of_the_page_that_was_not_written_is_named(whole, notebook):
    head = markdown("*Write here: last of all, the head of your page.*", "yours")
    line = line_of(review(whole, notebook([head, *whole_notebook()])), "prose")
    assert line.startswith("“Write here” still stands at the head")
    head["source"] = "# L3H4 moves the name"
    assert review(whole, notebook([head, *whole_notebook()])).complete


def test_a_claim_shows_its_heads_and_what_would_refute_it():
    claim = Claim("L3H4 moves it", ("L3H4", "L1H3"), "it does not fall")
    for shown in (repr(claim), claim._repr_html_()):
        for part in ("L3H4 moves it", "Heads: L3H4, L1H3", "Refuted if: it does not fall"):
            assert part in shown
    assert "Heads: None" in repr(Claim(None, None, None))


def test_a_long_run_of_code_and_a_lost_heading_are_named(whole, notebook):
    cells = whole_notebook()
    run = [code("first = 1\nthen = 2"), *[code("more = 3")] * 3, code("")]
    line = line_of(review(whole, notebook([*cells[:5], *run, *cells[5:]])), "prose")
    assert line.startswith("5 code cells without a sentence between them in step 2, from")
    cells[10]["source"] = "## Which test"
    line = line_of(review(whole, notebook(cells)), "prose")
    assert "no heading begins with “Step 4”" in line


def test_exercises_may_stand_inside_a_step(whole, notebook):
    cells = whole_notebook()
    inside = [markdown("### Exercise 6.2: where\n\nThe book's words."), code("check(1)")]
    assert review(whole, notebook([*cells[:6], *inside, *cells[6:]])).complete


def test_accuracy_comes_first(whole, notebook):
    cells = whole_notebook()
    cells[2], cells[8] = cells[8], cells[2]
    line = line_of(review(whole, notebook(cells)), "accuracy")
    assert line.startswith("it is measured after lens, attention; move that cell up")


def test_figures_are_counted_by_cells_and_in_a_notebook_that_has_not_run_by_what_draws(
    whole, notebook
):
    cells = whole_notebook()
    cells[5]["outputs"] = []
    line = line_of(review(whole, notebook(cells)), "figures")
    assert line.startswith("none in the saved notebook")
    cells[5]["source"] += "\nplot_lens(study.lens)"
    assert line_of(review(whole, notebook(cells)), "figures") == "1, in step 2"
    cells[8]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "3"}]
    assert review(whole, notebook(cells)).missing == ("figures",)
    picture = {"text/html": ["<div>", "<img src='data:,'></div>"], "text/plain": "L0H0"}
    cells[8]["outputs"] = [{"output_type": "display_data", "data": picture}] * 2
    assert line_of(review(whole, notebook(cells)), "figures") == "1, in step 3"


def test_the_notebook_that_asks_is_found_without_its_name(whole, notebook, tmp_path, monkeypatch):
    notebook(whole_notebook())
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "mine.ipynb"))
    assert review(whole).complete
    monkeypatch.setenv("JPY_SESSION_NAME", "/elsewhere/mine.ipynb")
    assert review(whole).complete


@pytest.mark.parametrize(
    ("study", "name", "message"),
    [
        (
            Investigation(),
            "other.ipynb",
            "There is no notebook 'other.ipynb'; .* broken.ipynb, mine",
        ),
        (Investigation(), "mine", "There is no notebook 'mine'"),
        (Investigation(), 3, "give the name of its file"),
        (Investigation(), None, "Which notebook this is cannot be told"),
        (Investigation(), "broken.ipynb", "cannot be read as a notebook"),
        (None, "mine.ipynb", "give your Investigation"),
    ],
)
def test_what_cannot_be_reviewed_is_told(notebook, tmp_path, study, name, message):
    notebook([])
    (tmp_path / "broken.ipynb").write_text('{"cells": [')
    with pytest.raises(ValueError, match=message):
        review(study, name)


def test_a_review_shows_the_same_words_as_a_card(whole, notebook):
    result = review(changed(whole, limits=None), notebook(whole_notebook()))
    page = result._repr_html_()
    assert "<div" in page and "has 12 of the 13" in page and "<code>study.limits</code>" in page
