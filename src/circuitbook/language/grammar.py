"""Text from weighted templates, whose statistics are computed from the grammar and never sampled.

A document is <|endoftext|> followed by passages; after each one it ends with probability `stop`.
A passage is a template whose slots are filled from tables:

    "The capital of {country} is [{country.capital}]."

`{country}` draws a row of the table `country` and shows its first column, `{country.capital}` shows
another column of the same row, `{person1}` and `{person2}` are two different rows of `person`. Rows
are drawn uniformly. Brackets mark answers: tokens that the text before them decides.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations, product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

END_OF_TEXT = "<|endoftext|>"
PASSAGES_PER_CHUNK = 4096

Table = Mapping[str, Sequence[str]]  # column -> words, one per row; the first column is the default

# A slot, a word or a run of punctuation, each with its leading space: where GPT-2 splits text too.
UNIT = re.compile(
    r"(\[?)( ?)(\[?)(?:\{([a-z]+)(\d*)(?:\.(\w+))?\}|([A-Za-z]+|[^\sA-Za-z{}\[\]]+))(\]?)"
)


@dataclass(frozen=True)
class Template:
    """One kind of passage; `weight` is how often it is chosen, relative to the others."""

    phenomenon: str
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Slot:
    """One token of a passage: a fixed word, or the word that a variable's row shows."""

    variable: int | None
    pieces: tuple[str, ...]  # one per row of the variable's table; a fixed word has one


@dataclass(frozen=True)
class Floors:
    """What predictors that know ever more of the language lose, in nats per token."""

    uniform: float  # knows the vocabulary's size
    unigram: float  # knows how frequent each token is
    bigram: float  # knows which token follows which
    best: float  # knows the grammar and reads the whole document: no model does better


@dataclass(frozen=True)
class Example:
    """A document of one passage, and where in it the text before leaves only one token to come."""

    tokens: tuple[int, ...]  # begins with <|endoftext|>
    answers: tuple[int, ...]  # positions in `tokens`; tokens[:position] is a prompt
    wrong: tuple[int, ...]  # for each answer, a token that a reader who only skims might guess


@dataclass(frozen=True)
class Passage:
    """A template in token ids, as it stands at one place of a document."""

    phenomenon: str
    ids: tuple[Int[np.ndarray, "_"], ...]  # per token: an id for each row; one for a fixed word
    variables: tuple[int | None, ...]  # per token: whose row it shows
    kinds: tuple[str, ...]  # per variable, in the order they are drawn
    sizes: tuple[int, ...]  # per variable: rows in its table
    answers: tuple[int, ...]  # positions of the tokens in brackets
    rate: float  # how many of these there are, per passage of the language

    def __len__(self) -> int:
        return len(self.ids)

    def choices(self, variable: int) -> int:
        """How many rows are left to draw from: rows of one kind never repeat within a passage."""
        return self.sizes[variable] - self.kinds[:variable].count(self.kinds[variable])

    def entropy(self) -> float:
        """Of all its draws together, in nats."""
        return float(np.log([self.choices(v) for v in range(len(self.kinds))]).sum())

    def joint(self, first: int | None, second: int | None) -> Float[np.ndarray, "row other_row"]:
        """Probability of each pair of rows of two variables (None: a fixed word, one row)."""
        sizes = [1 if v is None else self.sizes[v] for v in (first, second)]
        table = np.ones(sizes)
        if first is not None and second is not None and self.kinds[first] == self.kinds[second]:
            table = np.eye(sizes[0]) if first == second else 1 - np.eye(sizes[0])
        return table / table.sum()

    def draw(self, count: int, rng: np.random.Generator) -> Int[np.ndarray, "count token"]:
        """`count` such passages, in token ids."""
        rows = np.empty((count, len(self.kinds)), dtype=np.int64)
        for variable, kind in enumerate(self.kinds):
            row = rng.integers(0, self.choices(variable), count)
            earlier = [v for v in range(variable) if self.kinds[v] == kind]
            for taken in np.sort(rows[:, earlier], axis=1).T:  # step over the rows already drawn
                row += row >= taken
            rows[:, variable] = row
        tokens = np.empty((count, len(self)), dtype=np.int64)
        for position, (ids, variable) in enumerate(zip(self.ids, self.variables, strict=True)):
            tokens[:, position] = ids[0] if variable is None else ids[rows[:, variable]]
        return tokens


@dataclass(frozen=True)
class State:
    """One way to read a prefix: how far into which passage, which rows were drawn, how likely."""

    passage: Passage
    position: int
    rows: tuple[int, ...]
    weight: float

    def row_weights(self) -> tuple[Int[np.ndarray, " row"], Float[np.ndarray, " row"]]:
        """The rows that the next token may show, and the weight of each."""
        variable = self.passage.variables[self.position]
        if variable is None:
            return np.zeros(1, dtype=np.int64), np.full(1, self.weight)
        if variable < len(self.rows):
            return np.array([self.rows[variable]]), np.full(1, self.weight)
        kinds = self.passage.kinds
        taken = [
            row for row, kind in zip(self.rows, kinds, strict=False) if kind == kinds[variable]
        ]
        rows = np.delete(np.arange(self.passage.sizes[variable]), taken)
        return rows, np.full(len(rows), self.weight / len(rows))

    def after(self, token: int) -> Iterator["State"]:
        """The ways in which this one goes on with `token`."""
        rows, weights = self.row_weights()
        variable = self.passage.variables[self.position]
        is_new = variable is not None and variable == len(self.rows)
        for index in np.flatnonzero(self.passage.ids[self.position][rows] == token):
            drawn = (*self.rows, int(rows[index])) if is_new else self.rows
            yield State(self.passage, self.position + 1, drawn, float(weights[index]))


def parse(
    template: Template, tables: Mapping[str, Table]
) -> tuple[list[Slot], list[str], list[int]]:
    """A template's slots, the kind of each variable in the order of first mention, its answers.

    Raises ValueError where the text cannot be read or names a table or column that is not there.
    """
    slots: list[Slot] = []
    names: list[str] = []
    kinds: list[str] = []
    answers: list[int] = []
    end, inside = 0, False
    for unit in UNIT.finditer(template.text):
        opens, space, opens_late, kind, number, column, word, closes = unit.groups()
        if unit.start() != end:
            break
        end = unit.end()
        inside = inside or bool(opens or opens_late)
        if inside:
            answers.append(len(slots))
        inside = inside and not closes
        if word:
            slots.append(Slot(None, (space + word,)))
            continue
        if kind not in tables:
            raise ValueError(
                f"The template {template.text!r} draws from {kind!r}, which is no table; "
                f"there are {', '.join(tables)}."
            )
        column = column or next(iter(tables[kind]))
        if column not in tables[kind]:
            raise ValueError(
                f"The template {template.text!r} shows column {column!r} of {kind!r}, which has "
                f"{', '.join(tables[kind])}."
            )
        if kind + number not in names:
            names.append(kind + number)
            kinds.append(kind)
        pieces = tuple(space + shown for shown in tables[kind][column])
        slots.append(Slot(names.index(kind + number), pieces))
    if end != len(template.text) or inside or not slots:
        raise ValueError(
            f"The template {template.text!r} cannot be read after {template.text[:end]!r}; write "
            "words, {kind}, {kind1} or {kind1.column}, single spaces between, [ ] around answers."
        )
    return slots, kinds, answers


def after_a_space(slot: Slot) -> Slot:
    """A passage's first token inside a document, where a space parts it from the passage before."""
    return replace(slot, pieces=tuple(" " + piece for piece in slot.pieces))


def pieces(templates: Sequence[Template], tables: Mapping[str, Table]) -> list[str]:
    """Each token of the language as text, sorted: what a tokenizer has to know as one token."""
    found = {END_OF_TEXT}
    for template in templates:
        slots, _, _ = parse(template, tables)
        for slot in [*slots, after_a_space(slots[0])]:
            found.update(slot.pieces)
    return sorted(found)


def passage_of(
    template: Template,
    tables: Mapping[str, Table],
    vocabulary: Mapping[str, int],
    rate: float,
    spaced: bool,
) -> Passage:
    """A template in token ids. Raises ValueError where its text hides which rows it drew."""
    slots, kinds, answers = parse(template, tables)
    if spaced:
        slots = [after_a_space(slots[0]), *slots[1:]]
    passage = Passage(
        template.phenomenon,
        tuple(np.array([vocabulary[piece] for piece in slot.pieces]) for slot in slots),
        tuple(slot.variable for slot in slots),
        tuple(kinds),
        tuple(len(next(iter(tables[kind].values()))) for kind in kinds),
        tuple(answers),
        rate,
    )
    if any(passage.choices(variable) < 1 for variable in range(len(kinds))):
        raise ValueError(
            f"The template {template.text!r} draws more rows than a table has; "
            "drop a variable or add rows."
        )
    if not rows_can_be_told(passage):
        raise ValueError(
            f"The template {template.text!r} hides which row it drew; "
            "show a column in which the table's rows differ."
        )
    return passage


class Grammar:
    """The language of some templates, in token ids, and everything that is true of it.

    `vocabulary` gives the id of each of `pieces(templates, tables)`. Raises ValueError where a
    template cannot be read, and where a text could have come about in two ways.
    """

    def __init__(
        self,
        templates: Sequence[Template],
        tables: Mapping[str, Table],
        stop: float,
        vocabulary: Mapping[str, int],
        d_vocab: int,
    ):
        if (
            not templates
            or min(template.weight for template in templates) <= 0
            or not 0 < stop <= 1
        ):
            raise ValueError(
                f"Grammar got {len(templates)} templates and stop={stop}; give at least one "
                "template, each of a positive weight, and a stop above 0 and at most 1."
            )
        for kind, table in tables.items():
            lengths = {column: len(words) for column, words in table.items()}
            if len(set(lengths.values())) != 1:
                raise ValueError(
                    f"Table {kind!r} has columns of lengths {lengths}; give one word per row."
                )
        self.templates, self.stop, self.d_vocab = tuple(templates), stop, d_vocab
        total = sum(template.weight for template in templates)
        self.probabilities = np.array([template.weight / total for template in templates])
        self.words = {token: word for word, token in vocabulary.items()}
        self.end_of_text = vocabulary[END_OF_TEXT]
        self.end = Passage(
            END_OF_TEXT, (np.array([self.end_of_text]),), (None,), (), (), (), rate=stop
        )
        pairs = list(zip(templates, self.probabilities.tolist(), strict=True))
        self.opening = [  # at the start of a document
            passage_of(template, tables, vocabulary, stop * probability, spaced=False)
            for template, probability in pairs
        ]
        self.continuing = [  # after another passage
            passage_of(template, tables, vocabulary, (1 - stop) * probability, spaced=True)
            for template, probability in pairs
        ]
        self._refuse_ambiguous()

    @cached_property
    def passages(self) -> list[Passage]:
        """All that a document is made of, <|endoftext|> included."""
        return [self.end, *self.opening, *self.continuing]

    @cached_property
    def tokens_per_passage(self) -> float:
        """The mean length of a passage with its share of <|endoftext|>."""
        return sum(passage.rate * len(passage) for passage in self.passages)

    def unigram(self) -> Float[Tensor, " d_vocab"]:
        """How frequent each token is: shares of 1."""
        counts = np.zeros(self.d_vocab)
        for passage in self.passages:
            for ids in passage.ids:
                np.add.at(counts, ids, passage.rate / len(ids))
        return torch.from_numpy(counts / self.tokens_per_passage)

    @cached_property
    def _bigram(self) -> Float[Tensor, "d_vocab d_vocab"]:
        counts = np.zeros((self.d_vocab, self.d_vocab))
        first, first_after_end, last = np.zeros((3, self.d_vocab))
        for passage in self.passages:
            for here, there in zip(range(len(passage) - 1), range(1, len(passage)), strict=True):
                table = passage.joint(passage.variables[here], passage.variables[there])
                np.add.at(
                    counts, np.ix_(passage.ids[here], passage.ids[there]), passage.rate * table
                )
        for passage in [*self.opening, *self.continuing]:
            np.add.at(last, passage.ids[-1], passage.rate / len(passage.ids[-1]))
        for passage in self.opening:
            np.add.at(first_after_end, passage.ids[0], passage.rate / len(passage.ids[0]))
        for passage in self.continuing:
            np.add.at(first, passage.ids[0], passage.rate / len(passage.ids[0]))
        counts += np.outer(last, first)
        counts[:, self.end_of_text] += last * self.stop
        counts[self.end_of_text] += first_after_end
        return torch.from_numpy(counts / self.tokens_per_passage)

    def bigram(self) -> Float[Tensor, "d_vocab d_vocab"]:
        """How frequent each pair (token, the next token) is: shares of 1, document ends included.

        A row divided by its sum is the distribution of the next token; the row of a token that
        never occurs is zero.
        """
        return self._bigram.clone()

    def losses(self) -> Floors:
        """Cross-entropies of four predictors of the next token; all exact, in nats per token.

        best: a document comes about by one choice after the other and its text gives all of them
        away, so their entropies add up; divided by the mean number of tokens.
        """
        unigram, bigram = self.unigram(), self.bigram()
        stops = -sum(p * np.log(p) for p in (self.stop, 1 - self.stop) if p > 0)
        which = -(self.probabilities * np.log(self.probabilities)).sum()
        draws = sum(passage.rate * passage.entropy() for passage in self.passages)
        return Floors(
            uniform=float(np.log(self.d_vocab)),
            unigram=float(torch.special.entr(unigram).sum()),
            bigram=float(torch.special.entr(bigram).sum() - torch.special.entr(unigram).sum()),
            best=float((stops + which + draws) / self.tokens_per_passage),
        )

    def oracle(self, prefix: Sequence[int]) -> Float[Tensor, " d_vocab"]:
        """The true distribution of the next token after `prefix`, which starts a document.

        <|endoftext|> in front may be left out. Raises ValueError naming the first token that no
        text of this language has there.
        """
        tokens = list(prefix)
        if tokens[:1] != [self.end_of_text]:
            tokens = [self.end_of_text, *tokens]
        states = [State(self.end, 0, (), 1.0)]
        for position, token in enumerate(tokens):
            _, states = self._read(states, token, position)
        distribution = np.zeros(self.d_vocab)
        for state in states:
            rows, weights = state.row_weights()
            np.add.at(distribution, state.passage.ids[state.position][rows], weights)
        return torch.from_numpy(distribution / distribution.sum())

    def oracle_losses(self, tokens: Sequence[int]) -> Float[Tensor, " later_pos"]:
        """The oracle's loss at each token after the first, in nats; `tokens` starts a document."""
        losses, states = [], [State(self.end, 0, (), 1.0)]
        for position, token in enumerate(tokens):
            probability, states = self._read(states, token, position)
            losses.append(-np.log(probability))
        return torch.tensor(losses[1:], dtype=torch.float64)

    def _read(
        self, states: Sequence[State], token: int, position: int
    ) -> tuple[float, list[State]]:
        """The probability of `token`, and the states after it, whose weights again sum to 1."""
        going_on = [after for state in states for after in state.after(token)]
        total = sum(state.weight for state in going_on)
        if total == 0:
            shown = repr(self.words[token]) if token in self.words else f"id {token}"
            raise ValueError(
                f"Token {position} ({shown}; <|endoftext|> in front is token 0) leaves the "
                "language: no text goes on like this. Ask about the tokens before it to see what "
                "can come there."
            )
        read: list[State] = []
        for state in going_on:
            weight = state.weight / total
            if state.position < len(state.passage):
                read.append(replace(state, weight=weight))
            elif state.passage is self.end:
                read += [
                    State(passage, 0, (), weight * probability)
                    for passage, probability in zip(self.opening, self.probabilities, strict=True)
                ]
            else:
                read.append(State(self.end, 0, (), weight * self.stop))
                read += [
                    State(passage, 0, (), weight * (1 - self.stop) * probability)
                    for passage, probability in zip(
                        self.continuing, self.probabilities, strict=True
                    )
                ]
        return total, read

    def stream(self, seed: int) -> Iterator[Int[np.ndarray, " token"]]:
        """Documents one after another without end, in chunks of some ten thousand tokens."""
        rng = np.random.default_rng(seed)
        starts_document = True
        while True:
            which = rng.choice(len(self.templates), PASSAGES_PER_CHUNK, p=self.probabilities)
            starts = rng.random(PASSAGES_PER_CHUNK) < self.stop
            starts[0] |= starts_document
            starts_document = False
            lengths = np.array([len(passage) for passage in self.opening])[which] + starts
            offsets = np.cumsum(lengths) - lengths
            chunk = np.full(lengths.sum(), self.end_of_text)
            for template, start in product(range(len(self.templates)), (False, True)):
                passage = (self.opening if start else self.continuing)[template]
                begins = offsets[(which == template) & (starts == start)] + start
                positions = begins[:, None] + np.arange(len(passage))
                chunk[positions] = passage.draw(len(begins), rng)
            yield chunk

    def examples(self, phenomenon: str, count: int, seed: int) -> list[Example]:
        """`count` documents of one passage of `phenomenon` each, with the places of their answers.

        Raises ValueError for a phenomenon that is not there, and names those that are.
        """
        rng, rng_of_wrong = np.random.default_rng(seed), np.random.default_rng([seed, 1])
        passages, weights = self._of(phenomenon)
        examples = []
        for index in rng.choice(len(passages), count, p=weights / weights.sum()):
            passage = passages[index]
            text = passage.draw(1, rng)[0].tolist()
            wrong = [self._wrong(passage, text, at, rng_of_wrong) for at in passage.answers]
            answers = tuple(1 + at for at in passage.answers)
            examples.append(Example((self.end_of_text, *text), answers, tuple(wrong)))
        return examples

    def _wrong(
        self, passage: Passage, text: Sequence[int], at: int, rng: np.random.Generator
    ) -> int:
        """A token that could stand at `at` if the rest of the text were another.

        Where a row is shown, another row, the last one that the text has shown before if there is
        one; else the fixed answer of the same phenomenon that most often follows the token before.
        """
        anything = self.words.keys() - {text[at]}
        if passage.variables[at] is not None:
            others = set(passage.ids[at].tolist()) & anything or anything
            shown = [token for token in text[: max(0, at - 1)] if token in others]
            return shown[-1] if shown else int(rng.choice(sorted(others)))
        fixed = {
            int(other.ids[place][0])
            for other in self.opening
            if other.phenomenon == passage.phenomenon
            for place in other.answers
            if other.variables[place] is None
        }
        before = text[at - 1] if at else self.end_of_text
        return max(sorted(fixed & anything or anything), key=self._bigram[before].__getitem__)

    def floor(self, phenomenon: str) -> float:
        """The oracle's mean loss per token on documents like `examples`, in nats, exact."""
        passages, weights = self._of(phenomenon)
        losses = np.array([passage.entropy() for passage in passages]) - np.log(weights)
        return float(weights @ losses / (weights @ [len(passage) for passage in passages]))

    def _of(self, phenomenon: str) -> tuple[list[Passage], Float[np.ndarray, " passage"]]:
        """The passages of one phenomenon, and the probability of each in the whole language."""
        chosen = [index for index, p in enumerate(self.opening) if p.phenomenon == phenomenon]
        if not chosen:
            known = dict.fromkeys(passage.phenomenon for passage in self.opening)
            raise ValueError(
                f"There is no phenomenon {phenomenon!r}; there are {', '.join(known)}."
            )
        return [self.opening[index] for index in chosen], self.probabilities[chosen]

    def _refuse_ambiguous(self) -> None:
        """Raises where a passage can begin with another one: its text would not give it away."""
        words = [[frozenset(ids.tolist()) for ids in passage.ids] for passage in self.continuing]
        order = sorted(range(len(words)), key=lambda index: len(words[index]))
        for place, short in enumerate(order):
            for long in order[place + 1 :]:
                if any(
                    a.isdisjoint(b) for a, b in zip(words[short], words[long], strict=False)
                ) or cannot_agree(self.continuing[short], self.continuing[long]):
                    continue
                raise ValueError(
                    f"The templates {self.templates[short].text!r} and "
                    f"{self.templates[long].text!r} can give texts of which one begins with the "
                    "other; change a fixed word in one of them."
                )


def rows_can_be_told(passage: Passage) -> bool:
    """Whether the words that each variable shows differ between any two rows of its table."""
    for variable, size in enumerate(passage.sizes):
        shown = [
            ids
            for ids, shows in zip(passage.ids, passage.variables, strict=True)
            if shows == variable
        ]
        if len(set(zip(*(ids.tolist() for ids in shown), strict=True))) < size:
            return False
    return True


def cannot_agree(short: Passage, long: Passage) -> bool:
    """Whether some pair of variables proves that `long` never begins with a text of `short`.

    Rows of both that show the same words are related; a relation that is empty, or that makes two
    different rows of one kind equal, is a proof.
    """
    related: dict[tuple[int, int], Bool[np.ndarray, "row other_row"]] = {}
    for position, (u, v) in enumerate(zip(short.variables, long.variables, strict=False)):
        if u is not None and v is not None:
            same = np.equal.outer(short.ids[position], long.ids[position])
            related[u, v] = related.get((u, v), True) & same
    if any(not relation.any() for relation in related.values()):
        return True
    for (u, v), (other_u, other_v) in permutations(related, 2):
        relation, other = related[u, v].astype(int), related[other_u, other_v].astype(int)
        if v == other_v and short.kinds[u] == short.kinds[other_u]:
            both = relation @ other.T
        elif u == other_u and long.kinds[v] == long.kinds[other_v]:
            both = relation.T @ other
        else:
            continue
        if not (both * (1 - np.eye(len(both)))).any():
            return True
    return False
