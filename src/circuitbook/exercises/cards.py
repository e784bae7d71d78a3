"""What a check, a hint or a quiz shows: a card in a notebook, the same words as text elsewhere.

The styles are inline, without variables or scripts, because JupyterLab strips those from notebooks
that are not trusted. Text has the theme's own colour, and what lies behind it is translucent, so
that a card sits on light and dark themes alike; a status is a word in the title, never a colour
alone. tests/test_look.py measures the contrasts.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

GREEN, RED, AMBER, BLUE, GREY = (
    "26, 127, 55",
    "207, 34, 46",
    "154, 103, 0",
    "9, 105, 218",
    "101, 109, 118",
)
# status -> (icon, colour as "red, green, blue"); white is readable on each, and each is seen on
# white and on black
LOOKS = {
    "passed": ("✓", GREEN),
    "right": ("✓", GREEN),
    "not started": ("○", GREY),
    "wrong": ("✗", RED),
    "error": ("!", AMBER),
    "timeout": ("…", AMBER),
    "hint": ("→", BLUE),
    "solution": ("→", BLUE),
    "quiz": ("?", BLUE),
    "progress": ("→", BLUE),
}
# glyph -> (colour, how much of the box is filled, radius)
DRAWN = {
    "■": (GREEN, 1.0, 3),
    "◧": (AMBER, 0.5, 3),
    "□": (GREY, 0.0, 3),
    "●": (GREEN, 1.0, 8),
    "◐": (AMBER, 0.5, 8),
    "○": (GREY, 0.0, 8),
}


@dataclass(frozen=True, repr=False)
class Boxes:
    """A row of boxes and circles: a picture for the eyes, of which words beside it must tell."""

    boxes: tuple[tuple[str, str], ...]  # (a glyph, what it says to a mouse that rests on it)

    @classmethod
    def read(cls, text: str) -> "Boxes":
        return cls(tuple((glyph, "") for glyph in text))

    def __repr__(self) -> str:
        return "".join(glyph for glyph, _ in self.boxes)

    def _repr_html_(self) -> str:
        return "".join(
            _box(*DRAWN[glyph], said) if glyph in DRAWN else html.escape(glyph)
            for glyph, said in self.boxes
        )


@dataclass(frozen=True, repr=False)
class Card:
    """A title, paragraphs (with `code` in backticks), a block of code, lines that unfold."""

    status: str
    title: str
    paragraphs: tuple[str | Boxes, ...] = ()
    code: str = ""
    folds: tuple[tuple[str, str], ...] = ()  # (what is shown, what unfolds below it); not in text

    def __repr__(self) -> str:
        paragraphs = [str(paragraph) for paragraph in self.paragraphs]
        code = [self.code] if self.code else []
        return "\n".join([f"{LOOKS[self.status][0]} {self.title}", *paragraphs, *code])

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        icon, colour = LOOKS[self.status]
        chip = (
            '<span aria-hidden="true" style="flex: 0 0 20px; height: 20px; line-height: 20px; '
            "border-radius: 10px; text-align: center; color: rgb(255, 255, 255); "
            f'background-color: rgb({colour})">{icon}</span>'
        )
        title = chip + f"<span>{_inline(self.title)}</span>"
        paragraphs = [
            _div(f"margin-top: {4 if isinstance(text, Boxes) else 8}px", _inline(text))
            for text in self.paragraphs
        ]
        folds = [
            '<details style="margin-top: 8px">'
            f'<summary style="cursor: pointer; padding: 2px 4px; outline-color: rgb({colour})">'
            f"{_inline(shown)}</summary>"
            + "".join(
                _div("margin: 8px 0 0 16px", _inline(text)) for text in unfolded.split("\n\n")
            )
            + "</details>"
            for shown, unfolded in self.folds
        ]
        code = [
            '<pre style="margin-top: 8px; padding: 8px; max-height: 480px; overflow: auto; '
            "white-space: pre-wrap; word-break: normal; overflow-wrap: break-word; "
            'background-color: rgba(128, 128, 128, 0.12)">'
            f"{html.escape(text)}</pre>"
            for text in [self.code]
            if text
        ]
        return (
            f'<div role="status" style="border: 1px solid rgba({colour}, 0.5); '
            f"border-left: 6px solid rgb({colour}); border-radius: 4px; padding: 10px 14px; "
            "margin: 4px 0; max-width: 760px; overflow-wrap: break-word; "
            f'background-color: rgba({colour}, 0.08)">'
            + _div("display: flex; gap: 8px; font-weight: bold; line-height: 20px", title)
            + "".join([*paragraphs, *folds, *code])
            + "</div>"
        )


def _box(colour: str, filled: float, radius: int, said: str) -> str:
    title = f' title="{html.escape(said)}"' if said else ""
    left = {0.0: 2, 0.5: 8, 1.0: 14}[filled]
    return (
        f'<span{title} style="display: inline-block; box-sizing: border-box; width: 16px; '
        f"height: 16px; margin-right: 4px; vertical-align: middle; border-radius: {radius}px; "
        f'border: 2px solid rgb({colour}); border-left: {left}px solid rgb({colour})"></span>'
    )


class ShownAsCard:
    """What has a `card` and is shown as that: HTML in a notebook, the same words as text."""

    card: Card

    def __repr__(self) -> str:
        return repr(self.card)

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        return self.card._repr_html_()


def _div(style: str, content: str) -> str:
    return f'<div style="{style}">{content}</div>'


def _inline(text: str | Boxes) -> str:
    """The text as HTML, its `code` in backticks as code, its addresses as links, its line breaks
    kept."""
    if isinstance(text, Boxes):
        return text._repr_html_()
    code = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))
    links = re.sub(r"https://[^\s<]+[\w/]", r'<a href="\g<0>">\g<0></a>', code)
    return links.replace("\n", "<br>")


def listed(words: Iterable[str]) -> str:
    """Such as "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
