"""Byte-level BPE as in GPT-2: a space belongs to the word after it, and any text can be encoded."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from circuitbook.language.grammar import END_OF_TEXT


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, inner: tokenizers.Tokenizer):
        self.inner = inner
        self.d_vocab = inner.get_vocab_size()
        self.end_of_text = inner.token_to_id(END_OF_TEXT)

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        """From a Hugging Face `tokenizer.json`."""
        return cls(tokenizers.Tokenizer.from_file(str(path)))

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; <|endoftext|> is read as the one token that it is."""
        return self.inner.encode(text).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some token ids."""
        return self.inner.decode(list(tokens), skip_special_tokens=False)

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token as its own text, leading space included: the labels of a figure."""
        return [self.decode([token]) for token in tokens]


def tokenizer_of(pieces: Sequence[str]) -> Tokenizer:
    """A tokenizer that knows each of `pieces` as a single token, and all bytes.

    BPE is trained on the pieces, each met once, until none of them has two tokens left to merge.
    """
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # out of reach: the merges end first
        min_frequency=1,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = [piece for piece in pieces if piece != END_OF_TEXT]
    inner.train_from_iterator(words, trainer)
    return Tokenizer(inner)
