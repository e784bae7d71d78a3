"""The book's own language: text whose true statistics are known exactly."""

from circuitbook.language.grammar import END_OF_TEXT, Example, Floors, Grammar, Template
from circuitbook.language.language import Language, book_language
from circuitbook.language.tokenizer import Tokenizer

__all__ = [
    "END_OF_TEXT",
    "Example",
    "Floors",
    "Grammar",
    "Language",
    "Template",
    "Tokenizer",
    "book_language",
]
