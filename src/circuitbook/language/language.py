"""A grammar and the tokenizer that fits it: what chapters, training and model cards use."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.language import english
from circuitbook.language.grammar import Example, Floors, Grammar, Table, Template, pieces
from circuitbook.language.tokenizer import Tokenizer, tokenizer_of


class Language:
    """Text to train on, and the truth about it.

    Raises ValueError as Grammar does, and where a word of a table is no single token.
    """

    def __init__(self, templates: Sequence[Template], tables: Mapping[str, Table], stop: float):
        words = pieces(templates, tables)
        self.tokenizer: Tokenizer = tokenizer_of(words)
        encoded = {word: self.tokenizer.encode(word) for word in words}
        split = [word for word, tokens in encoded.items() if len(tokens) != 1]
        if split:
            raise ValueError(
                f"The tables hold {split[0]!r}, which GPT-2's rules split into several tokens; "
                "give each word a column of its own."
            )
        vocabulary = {word: tokens[0] for word, tokens in encoded.items()}
        self.grammar = Grammar(templates, tables, stop, vocabulary, self.tokenizer.d_vocab)

    @property
    def phenomena(self) -> tuple[str, ...]:
        """The names of what there is to know, in the order of the templates."""
        return tuple(dict.fromkeys(template.phenomenon for template in self.grammar.templates))

    def sample_tokens(self, n_tokens: int, seed: int) -> Int[Tensor, " pos"]:
        """The first `n_tokens` of an endless stream of documents; a longer sample begins alike."""
        chunks, found = [], 0
        for chunk in self.grammar.stream(seed):
            chunks.append(chunk)
            found += len(chunk)
            if found >= n_tokens:
                return torch.from_numpy(np.concatenate(chunks)[:n_tokens])
        raise AssertionError("the stream has no end")

    def batches(self, batch: int, n_ctx: int, seed: int) -> Iterator[Int[Tensor, "batch pos"]]:
        """Batches without end, cut from one stream of documents, each token used once.

        A window starts wherever the one before it ends, so positions say nothing about the text.
        """
        left = np.empty(0, dtype=np.int64)
        for chunk in self.grammar.stream(seed):
            left = np.concatenate([left, chunk])
            while len(left) >= batch * n_ctx:
                yield torch.from_numpy(left[: batch * n_ctx]).reshape(batch, n_ctx).clone()
                left = left[batch * n_ctx :]

    def unigram(self) -> Float[Tensor, " d_vocab"]:
        """How frequent each token is: shares of 1, exact."""
        return self.grammar.unigram()

    def bigram(self) -> Float[Tensor, "d_vocab d_vocab"]:
        """How frequent each pair (token, next token) is: shares of 1, exact.

        A row divided by its sum is the distribution of the next token; the row of a token that
        never occurs is zero.
        """
        return self.grammar.bigram()

    def losses(self) -> Floors:
        """What a uniform, unigram, bigram and perfect predictor lose, in nats per token, exact."""
        return self.grammar.losses()

    def oracle(self, prefix: str | Sequence[int]) -> Float[Tensor, " d_vocab"]:
        """The true distribution of the next token after the start of a document, as text or ids.

        Raises ValueError that names the token at which `prefix` leaves the language.
        """
        tokens = self.tokenizer.encode(prefix) if isinstance(prefix, str) else list(prefix)
        return self.grammar.oracle(tokens)

    def examples(self, phenomenon: str, count: int, seed: int) -> list[Example]:
        """Documents of one phenomenon, with the places where the text before decides the token."""
        return self.grammar.examples(phenomenon, count, seed)


@cache
def book_language() -> Language:
    """The language that the book's chapters use and its models learned."""
    return Language(english.TEMPLATES, english.TABLES, english.STOP)
