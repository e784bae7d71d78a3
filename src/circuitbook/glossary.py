"""The book's words: each term in one sentence, with its letter, its hook point, its shapes and the
section that shows it.

The sentences stand in glossary.json, by subject. `glossary("OV circuit")` finds a term by its name,
by another name of it, by its letter ("W_OV") or by its hook point ("blocks.3.attn.hook_z").
"""

import difflib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

NOTEBOOKS = {
    "00": "00_start_here",
    "01": "01_build_a_transformer",
    "02": "02_explore_activations",
    "03": "03_direct_logit_attribution",
    "04": "04_qk_and_ov_circuits",
    "05": "05_composition_and_induction",
    "06": "06_inside_gpt2",
    "07": "07_what_comes_next",
    "A": "A_reading_guide",
    "B": "B_conventions",
}
QUIET = "color: rgb(128, 128, 128); font-size: 90%"


@dataclass(frozen=True, repr=False)
class Term:
    """One word of the book. Printed, it is its sentence; in a notebook, the same with a link."""

    name: str
    subject: str
    means: str
    where: str  # the chapter's number and the heading of the section that shows it
    letter: str = ""  # as in the code: "W_OV"
    shape: str = ""  # the letter's axes
    hook: str = ""  # a name in the cache, of layer 0 where it belongs to a layer
    hook_shape: str = ""
    also: tuple[str, ...] = ()  # other names

    @property
    def link(self) -> str:
        """The section that shows it, as JupyterLab and nbconvert find it from another notebook."""
        number, _, heading = self.where.partition(" ")
        return f"{NOTEBOOKS[number]}.ipynb#{heading.replace(' ', '-')}"

    @property
    def place(self) -> str:
        """The section that shows it, in words: "4 · A head is two maps"."""
        number, _, heading = self.where.partition(" ")
        return f"{number.removeprefix('0')} · {heading}"

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it is found by."""
        return tuple(filter(None, (self.name, *self.also, self.letter, self.hook)))

    def __repr__(self) -> str:
        also = f" (also: {', '.join(self.also)})" if self.also else ""
        lines = [f"{self.name}{also}: {self.means}"]
        lines += [f"    {label} {text}" for label, text in self._facts()]
        return "\n".join([*lines, f"    see {self.place}"])

    def _repr_html_(self) -> str:
        also = f" (also: {', '.join(self.also)})" if self.also else ""
        facts = [f"{label} <code>{html.escape(text)}</code>" for label, text in self._facts()]
        rest = " · ".join([*facts, _linked(self, self.place)])
        return (
            '<div style="border-left: 6px solid rgb(56, 120, 220); padding: 4px 12px; '
            f'max-width: 760px"><b>{html.escape(self.name)}</b>{html.escape(also)}<br>'
            f"{_sentence(self)}<br>{_quiet(rest)}</div>"
        )

    def _facts(self) -> list[tuple[str, str]]:
        """What there is beyond the sentence, each with its label."""
        pairs = (("letter", self.letter, self.shape), ("hook", self.hook, self.hook_shape))
        return [
            (label, f"{text} [{axes}]" if axes else text) for label, text, axes in pairs if text
        ]


@cache
def terms() -> tuple[Term, ...]:
    """Every term, subject by subject."""
    file = resources.files("circuitbook") / "glossary.json"
    subjects = json.loads(file.read_text(encoding="utf-8"))
    return tuple(
        Term(**{**entry, "subject": subject, "also": tuple(entry.get("also", ()))})
        for subject, entries in subjects.items()
        for entry in entries
    )


def glossary(name: object) -> Term:
    """What a word of the book means: `glossary("OV circuit")`.

    By its name or another name of it, in the singular or the plural, by its letter, or by its hook
    point in any layer. Raises ValueError where there is none, naming the nearest.
    """
    if not isinstance(name, str):
        raise ValueError(f'glossary got a {type(name).__name__}; give a word: glossary("logit").')
    asked = re.sub(r"^blocks\.\d+\.", "blocks.0.", name.strip())
    for spelling in (str, _plain, _singular):
        for term in terms():
            if spelling(asked) in map(spelling, term.names):
                return term
    raise ValueError(f"There is no term {name!r}; {_nearest(name)}")


def subjects() -> tuple[str, ...]:
    """What the terms are grouped by."""
    return tuple(dict.fromkeys(term.subject for term in terms()))


def _plain(word: str) -> str:
    """A name without what spellings differ in."""
    return re.sub(r"[\s_-]+", " ", word.casefold()).strip()


def _singular(word: str) -> str:
    """A name without the s of a plural; a letter stays what it is."""
    plain = _plain(word)
    return plain.removesuffix("s") if len(plain) > 2 else plain


def _nearest(name: str) -> str:
    """What might have been meant: terms spelt alike, and terms that speak of it."""
    asked = _plain(name)
    known = {_plain(other): term.name for term in terms() for other in term.names}
    near = [known[other] for other in known if asked and asked in other]
    near += [known[other] for other in difflib.get_close_matches(asked, known, 3)]
    near += [term.name for term in terms() if asked and asked in _plain(term.means)]
    found = list(dict.fromkeys(near))[:4]
    if not found:
        return "appendix C lists them all."
    return f"did you mean {' or '.join(map(repr, found))}?"


class TermTable:
    """All terms of one subject as a table: name, sentence, letter, hook point, section.

    Raises ValueError where there is no such subject.
    """

    titles = ("term", "in one sentence", "letter", "hook point", "shown in")

    def __init__(self, subject: str):
        if subject not in subjects():
            raise ValueError(f"There is no subject {subject!r}; take {', '.join(subjects())}.")
        self.terms = tuple(term for term in terms() if term.subject == subject)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.terms))

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="text-align: left">{title}</th>' for title in self.titles)
        rows = "".join(f"<tr>{''.join(map(_td, self._cells(term)))}</tr>" for term in self.terms)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self, term: Term) -> tuple[str, ...]:
        also = _quiet(html.escape(", ".join(term.also)))
        return (
            f"<b>{html.escape(term.name)}</b>{f'<br>{also}' if term.also else ''}",
            _sentence(term),
            _code(term.letter, term.shape),
            _code(term.hook, term.hook_shape),
            _linked(term, term.place),
        )


class TermIndex:
    """All names in alphabetical order, each with a link to the section that shows it."""

    def __init__(self):
        names = {name: term for term in terms() for name in (term.name, *term.also)}
        self.names = dict(sorted(names.items(), key=lambda pair: _first_letters(pair[0])))

    def __repr__(self) -> str:
        return "\n".join(f"{initial}  {', '.join(names)}" for initial, names in self._groups())

    def _repr_html_(self) -> str:
        lines = []
        for initial, names in self._groups():
            words = " · ".join(_linked(self.names[name], name) for name in names)
            lines.append(f'<div style="margin: 4px 0"><b>{initial}</b>&nbsp; {words}</div>')
        return f'<div style="max-width: 900px">{"".join(lines)}</div>'

    def _groups(self) -> list[tuple[str, list[str]]]:
        """The names by their first letter."""
        groups: dict[str, list[str]] = {}
        for name in self.names:
            groups.setdefault(_first_letters(name)[:1].upper(), []).append(name)
        return list(groups.items())


def _first_letters(name: str) -> str:
    """A name as it is sorted: by its letters alone."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _sentence(term: Term) -> str:
    """The sentence as HTML, its `code` in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(term.means))


def _code(text: str, axes: str) -> str:
    code = f"<code>{html.escape(text)}</code>" if text else ""
    return code + (f"<br>{_quiet(f'[{axes}]')}" if axes else "")


def _linked(term: Term, text: str) -> str:
    """A text that leads to the section, and says the sentence when one points at it."""
    title = html.escape(term.means.replace("`", ""))
    return f'<a href="{html.escape(term.link)}" title="{title}">{html.escape(text)}</a>'


def _quiet(content: str) -> str:
    return f'<span style="{QUIET}">{content}</span>'


def _td(content: str) -> str:
    return f'<td style="text-align: left; vertical-align: top">{content}</td>'
