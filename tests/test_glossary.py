"""The glossary: every word that the chapters define, hook points and shapes that are true, links
that lead somewhere."""

import re
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest
import torch
from models import GPT2_LIKE, random_model
from test_links import CHAPTERS, anchors

from circuitbook.cache import run_with_cache
from circuitbook.circuits import full_ov_circuit, full_qk_circuit, ov_circuit, qk_circuit
from circuitbook.glossary import NOTEBOOKS, Term, TermIndex, TermTable, glossary, subjects, terms
from circuitbook.lens import as_bridge
from circuitbook.plots.hooks import POINTS
from circuitbook.weights import processed

BOOK = Path(__file__).parent.parent / "book"
CFG = replace(GPT2_LIKE, n_layers=2, d_vocab=23, tied=False)
TOKENS = torch.arange(10).reshape(2, 5)
MODEL = processed(random_model(CFG, 0))
SIZES = {"batch": 2, "pos": 5, "q_pos": 5, "k_pos": 5, "head": CFG.n_heads, "1": 1}
SIZES |= {size: getattr(CFG, size) for size in vars(CFG) if size.startswith(("d_", "n_"))}

# Bold in the chapters, and no definition: the parts of an exercise, headings of a list, stress
LABELS = (
    "What you saw., Refresh:, Time:, You need:, After this chapter you can, Explain it to a "
    "colleague., Read next., Essential, Recommended., Optional., Try the tools on this one."
)
STRESSED = (
    "No biases, No LayerNorm, No MLPs, Attention only., Frozen patterns., Names., What it buys., "
    "last, number, from each position"
)
NO_DEFINITION = {*LABELS.split(", "), *STRESSED.split(", ")}


def bold(chapter: Path) -> set[str]:
    """What a chapter prints in bold."""
    cells = jupytext.read(chapter, fmt="py:percent").cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return {" ".join(word.split()) for word in re.findall(r"\*\*(.+?)\*\*", prose, re.DOTALL)}


def sizes(axes: str) -> list[int]:
    return [SIZES[axis] for axis in axes.split()]


def named(term: Term) -> str:
    return term.name


# What it covers


def test_each_word_that_a_chapter_defines_is_a_term():
    defined = set().union(*(bold(chapter) for chapter in BOOK.glob("0[0-5]_*.py")))
    assert defined >= NO_DEFINITION, "these are not bold any more"
    for word in sorted(defined - NO_DEFINITION):
        assert glossary(word)


def test_each_hook_point_of_the_model_is_some_terms():
    assert {point.full_name(0) for point in POINTS} == {term.hook for term in terms()} - {""}


def test_each_name_leads_to_one_term():
    names = [name.casefold() for term in terms() for name in (term.name, *term.also)]
    assert len(set(names)) == len(names) and len(terms()) > 100


@pytest.mark.parametrize("term", terms(), ids=named)
def test_a_term_is_one_short_sentence(term):
    assert term.means.endswith(".") and len(term.means) < 180
    assert not re.search(r"[a-z)][.!?] [A-Z]", term.means)
    assert term.name.casefold() not in (word.casefold() for word in term.means.split()[:1])


# That it is true


@pytest.mark.parametrize("model", [MODEL, as_bridge(MODEL)], ids=["ours", "TransformerLens"])
def test_each_hook_point_is_in_the_cache_and_has_the_shape(model):
    cache = (run_with_cache(MODEL, TOKENS) if model is MODEL else model.run_with_cache(TOKENS))[1]
    for term in terms():
        if term.hook:
            assert list(cache[term.hook].shape) == sizes(term.hook_shape), term.hook


SHAPES = {
    "logits": MODEL(TOKENS).shape,
    "W_QK": qk_circuit(MODEL, "L0H0").shape,
    "W_OV": ov_circuit(MODEL, "L0H0").shape,
    "W_E W_QK W_Eᵀ": full_qk_circuit(MODEL, "L0H0").shape,
    "W_E W_OV W_U": full_ov_circuit(MODEL, "L0H0").shape,
    "W_E W_U": (MODEL.W_E @ MODEL.W_U).shape,
    "w": random_model(CFG, 0).ln_final.w.shape,
}


@pytest.mark.parametrize("term", [term for term in terms() if term.letter], ids=named)
def test_each_letter_has_its_shape(term):
    layer = MODEL.blocks[0]
    if term.letter in SIZES:
        assert not term.shape
    elif term.letter in SHAPES:
        assert list(SHAPES[term.letter]) == sizes(term.shape)
    elif term.letter[:2] in ("W_", "b_"):
        owners = (part for part in (MODEL, layer.attn, layer.mlp) if hasattr(part, term.letter))
        shapes = [list(getattr(part, term.letter).shape) for part in owners]
        assert sizes(term.shape) in shapes
    else:  # a letter of the prose: A, s, λ
        assert not term.shape


def test_the_notebooks_that_terms_lead_to_are_the_books():
    written = {chapter.stem.split("_")[0]: chapter.stem for chapter in BOOK.glob("*_*.py")}
    used = {term.where.split()[0] for term in terms()}
    for number in used | (written.keys() & NOTEBOOKS.keys()):
        assert NOTEBOOKS[number] == written[number]


@pytest.mark.parametrize("term", terms(), ids=named)
def test_the_section_that_shows_a_term_can_be_gone_to(term):
    page, _, anchor = term.link.partition("#")
    assert anchors(CHAPTERS[page]).count(anchor) == 1
    number, heading = term.place.split(" · ", 1)
    assert term.where == f"{number.zfill(2) if number.isdigit() else number} {heading}"


def test_the_appendix_shows_every_subject():
    shown = re.findall(r'^TermTable\("(.+)"\)', (BOOK / "C_glossary.py").read_text(), re.MULTILINE)
    assert shown == list(subjects())


# How it is asked


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("OV circuit", "OV circuit"),
        ("ov Circuits", "OV circuit"),
        ("W_OV", "OV circuit"),
        ("attention weights", "pattern"),
        ("mean ablation", "mean-ablation"),
        ("blocks.0.attn.hook_z", "z"),
        (" blocks.11.attn.hook_z ", "z"),
        ("k", "key"),
        ("loss", "loss"),
    ],
)
def test_a_term_is_found_by_each_of_its_names(asked, found):
    assert glossary(asked).name == found


@pytest.mark.parametrize("term", terms(), ids=named)
def test_each_term_is_found_by_its_own_name(term):
    assert glossary(term.name) is term
    assert all(glossary(other) is term for other in term.also)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("patern", "'pattern'"),
        ("sink", "'resting'"),
        ("squiggle", "appendix C"),
        ("", "appendix C"),
        (3, "glossary got a int"),
        (None, "glossary got a NoneType"),
    ],
)
def test_an_unknown_word_is_told_the_nearest(asked, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        glossary(asked)


def test_an_unknown_subject_is_told_which_there_are():
    with pytest.raises(ValueError, match="residual stream, attention"):
        TermTable("streams")


# How it looks


@pytest.mark.parametrize("subject", subjects())
def test_text_and_page_of_a_subject_say_the_same(subject):
    table = TermTable(subject)
    assert table.terms == tuple(term for term in terms() if term.subject == subject) != ()
    text, page = repr(table), table._repr_html_()
    assert page.count("<tr>") == 1 + len(table.terms)
    for term in table.terms:
        assert repr(term) in text and term.means in text
        assert f"<b>{escaped(term.name)}</b>" in page and f"<b>{escaped(term.name)}</b>" in card(
            term
        )
        for said in (escaped(term.means), escaped(term.letter), term.hook, escaped(term.link)):
            assert without_code(said) in without_code(page)
            assert without_code(said) in without_code(card(term))


def card(term: Term) -> str:
    return term._repr_html_()


def escaped(text: str) -> str:
    for sign, entity in {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "#x27"}.items():
        text = text.replace(sign, f"&{entity};")
    return text


def without_code(page: str) -> str:
    return re.sub(r"</?code>|`", "", page)


def test_the_index_has_every_name_in_order():
    index = TermIndex()
    assert set(index.names) == {name for term in terms() for name in (term.name, *term.also)}
    initials = [line.split()[0] for line in repr(index).splitlines()]
    assert initials == sorted(set(initials))
    assert index._repr_html_().count("<b>") == len(initials)
