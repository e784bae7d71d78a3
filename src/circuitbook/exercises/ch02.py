"""Chapter 2, "Explore activations": its ten exercises, the mistakes that readers make in them, its
quizzes."""

import math
import random
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.cache import Cache
from circuitbook.exercises.engine import Exercise, Option, Quiz, normal
from circuitbook.patterns import attention_to_offset, induction_scores


def patterns(*shape: int, seed: int = 0) -> Tensor:
    """Random attention patterns [... pos pos]: each row sums to 1 and reads nothing later."""
    (scores,) = normal(shape, seed=seed)
    later = torch.ones(shape[-2:], dtype=torch.bool).triu(diagonal=1)
    return (2 * scores).masked_fill(later, -torch.inf).softmax(dim=-1)


def looking_back(length: int, *back: int, seed: int = 0) -> Tensor:
    """Patterns [2 head pos pos] of heads that mostly look so far back, or at the first position."""
    sure = torch.zeros(2, len(back), length, length)
    for head, distance in enumerate(back):
        for pos in range(length):
            sure[:, head, pos, max(0, pos - distance)] = 1
    return 0.7 * sure + 0.3 * patterns(2, len(back), length, length, seed=seed)


# 2.1


def activations(layers: int, heads: int, seed: int = 0) -> dict[str, Tensor]:
    """A cache of random numbers: two texts of six tokens, d_head 5, d_model 7."""
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "attn.hook_q": (2, 6, heads, 5),
        "attn.hook_k": (2, 6, heads, 5),
        "attn.hook_v": (2, 6, heads, 5),
        "attn.hook_attn_scores": (2, heads, 6, 6),
        "attn.hook_pattern": (2, heads, 6, 6),
        "attn.hook_z": (2, 6, heads, 5),
        "hook_attn_out": (2, 6, 7),
    }
    return {
        f"blocks.{layer}.{name}": torch.randn(shape, generator=random)
        for layer in range(layers)
        for name, shape in shapes.items()
    }


def with_cache(
    function: Callable, activations: Mapping[str, Tensor], layer: int, head: int
) -> dict[str, Tensor]:
    return function(Cache(activations), layer, head)


def _of_head(
    cache, layer, head, *, q="q", k="k", pattern="pattern", z="z", axis=2, pattern_axis=1
) -> dict[str, Tensor]:
    """`head_activations` with each of its choices open, as such functions are in what follows."""
    names = {"q": q, "k": k, "v": "v", "pattern": pattern, "z": z}
    return {
        key: cache[f"blocks.{layer}.attn.hook_{name}"].select(
            pattern_axis if key == "pattern" else axis, head
        )
        for key, name in names.items()
    }


def head_activations(cache: Mapping[str, Tensor], layer: int, head: int) -> dict[str, Tensor]:
    """What one head computed: q, k, v, z [batch pos d_head] and pattern [batch q_pos k_pos]."""
    attn = f"blocks.{layer}.attn"
    return {
        "q": cache[f"{attn}.hook_q"][:, :, head],
        "k": cache[f"{attn}.hook_k"][:, :, head],
        "v": cache[f"{attn}.hook_v"][:, :, head],
        "pattern": cache[f"{attn}.hook_pattern"][:, head],
        "z": cache[f"{attn}.hook_z"][:, :, head],
    }


def pattern_axes_taken_for_those_of_q(cache, layer, head):
    """Your pattern has lost the wrong axis: heads come second there, [batch head q_pos k_pos], and
    third in q, k, v and z, [batch pos head d_head].

    A pattern is a square of positions for each head. Print the shape of the one in the cache: which
    two of its sizes are the same?"""
    return _of_head(cache, layer, head, pattern_axis=2)


def q_axes_taken_for_those_of_pattern(cache, layer, head):
    """Your q, k, v and z are those of one position, all heads: there heads are the third axis,
    [batch pos head d_head].

    No error came, because there was a position of that number. Print the shape of hook_q: which
    size is the number of heads?"""
    return _of_head(cache, layer, head, axis=1)


def layers_counted_from_one(cache, layer, head):
    """You read the layer before. Layers count from 0: the names of layer 2 begin with blocks.2."""
    return _of_head(cache, layer - 1, head)


def heads_counted_from_one(cache, layer, head):
    """You read the head before. Heads count from 0, as layers do."""
    return _of_head(cache, layer, head - 1)


def always_layer_zero(cache, layer, head):
    """You read layer 0 whatever the argument says: write the name as an f-string."""
    return _of_head(cache, 0, head)


def scores_for_pattern(cache, layer, head):
    """Your pattern's rows do not sum to 1: those are the scores. The pattern comes after the
    softmax."""
    return _of_head(cache, layer, head, pattern="attn_scores")


def queries_and_keys_mixed_up(cache, layer, head):
    """Your q holds the keys and your k the queries."""
    return _of_head(cache, layer, head, q="k", k="q")


def value_for_z(cache, layer, head):
    """Your z is v. v is what a position offers; z is what the head brings to it: the values of
    all that it reads, weighted."""
    return _of_head(cache, layer, head, z="v")


def first_text_only(cache, layer, head):
    """Your results have no batch axis: you took the first text. Keep all of them: a colon in front
    of the head's index."""
    return {name: tensor[0] for name, tensor in _of_head(cache, layer, head).items()}


def head_axis_kept(cache, layer, head):
    """Your results still have an axis of length 1 for the head. Index with the number itself, not
    with a slice."""
    found = _of_head(cache, layer, head)
    return {name: tensor.unsqueeze(1 if name == "pattern" else 2) for name, tensor in found.items()}


def all_heads_returned(cache, layer, head):
    """Your results still hold every head: index the head's axis with `head`."""
    names = ("q", "k", "v", "pattern", "z")
    return {name: cache[f"blocks.{layer}.attn.hook_{name}"] for name in names}


HEAD_ACTIVATIONS = Exercise(
    id="2.1",
    title="names and shapes in the cache",
    answer=head_activations,
    run=with_cache,
    cases={
        "head 3 of layer 2": (activations(3, 4), 2, 3),
        "head 1 of layer 1": (activations(2, 2, seed=1), 1, 1),
    },
    mistakes=[
        pattern_axes_taken_for_those_of_q,
        q_axes_taken_for_those_of_pattern,
        layers_counted_from_one,
        heads_counted_from_one,
        always_layer_zero,
        scores_for_pattern,
        queries_and_keys_mixed_up,
        value_for_z,
        first_text_only,
        head_axis_kept,
        all_heads_returned,
    ],
    variants=[
        lambda cache, layer, head: {
            name: cache[name, layer].select(1 if name == "pattern" else 2, head)
            for name in ("q", "k", "v", "pattern", "z")
        },
    ],
    hints=[
        "The names of layer 2's attention begin with blocks.2.attn.hook_: an f-string fills it in.",
        (
            "In which place is the head axis? Third in q, k, v and z, [batch pos head d_head]; "
            "second in pattern, [batch head q_pos k_pos]."
        ),
        'For example: cache[f"blocks.{layer}.attn.hook_q"][:, :, head].',
    ],
    difficulty=1,
    minutes=10,
)


# 2.2


def _diagonal(pattern, offset):
    return pattern.diagonal(offset=offset, dim1=-2, dim2=-1)


def _to_offset(
    pattern,
    offset,
    *,
    back=None,
    axes=(-2, -1),
    readers=slice(None),
    positions=torch.mean,
    texts=torch.mean,
):
    offset_below = -offset if back is None else -back
    entries = pattern.diagonal(offset_below, dim1=axes[0], dim2=axes[1])[..., readers]
    return texts(positions(entries, dim=-1), dim=0)


def reads_forward(pattern, offset):
    """All your scores are 0: you read positions that come later, which are hidden. Either rows and
    columns are swapped (the row reads) or the sign of the offset is: below the diagonal it is
    negative.

    Which entry says that position 1 reads position 0? Print `torch.arange(9).view(3, 3)` and its
    diagonal(1) and diagonal(-1): in which of the two is that entry?"""
    return _to_offset(pattern, offset, back=-offset)


def one_too_near(pattern, offset):
    """You averaged the diagonal next to the right one: `offset` positions before pos is pos -
    offset, and 0 is the position itself."""
    return _to_offset(pattern, offset, back=offset - 1)


def one_too_far(pattern, offset):
    """You averaged the diagonal one further down: `offset` positions before pos is pos - offset,
    and 0 is the position itself."""
    return _to_offset(pattern, offset, back=offset + 1)


def divided_by_all_positions(pattern, offset):
    """Your scores are too small: you divided by all positions (or let a negative index wrap
    around). The first `offset` of them have nothing so far before them and do not count.

    How many entries has the diagonal of a 6 x 6 pattern that lies three below the main one?"""

    def positions(entries, dim):
        return entries.sum(dim) / pattern.shape[-1]

    return _to_offset(pattern, offset, positions=positions)


def first_reader_left_out(pattern, offset):
    """You began one position too late: the first that has one so far before it is position
    `offset`."""
    return _to_offset(pattern, offset, readers=slice(1, None))


def last_reader_left_out(pattern, offset):
    """You left out the last position, which reads as well: range(a, b) ends at b - 1."""
    return _to_offset(pattern, offset, readers=slice(-1))


def last_position_only(pattern, offset):
    """You looked at what the last position reads. Average over all that have one so far before
    them."""
    return _to_offset(pattern, offset, readers=slice(-1, None))


def sum_for_mean(pattern, offset):
    """You added up. Take the mean, so that a score lies between 0 and 1."""
    return _to_offset(pattern, offset, positions=torch.sum, texts=torch.sum)


def positions_added_up(pattern, offset):
    """You added up over the positions, so that a longer text scores higher. Take their mean."""
    return _to_offset(pattern, offset, positions=torch.sum)


def heads_averaged(pattern, offset):
    """One number is left: you averaged over heads, too. Average over texts and positions only."""
    return _to_offset(pattern, offset).mean()


def texts_kept(pattern, offset):
    """You have a row for each text. Average over the batch as well."""
    return _to_offset(pattern, offset, texts=lambda scores, dim: scores)


def heads_averaged_and_texts_kept(pattern, offset):
    """You averaged over heads and kept the texts: the axes are [batch head q_pos k_pos]."""
    return _to_offset(pattern, offset, texts=lambda scores, dim: scores.mean(dim=1))


def first_text_for_all(pattern, offset):
    """You looked at the first text only. Average over the whole batch."""
    return _to_offset(pattern[:1], offset)


def everything_up_to_the_offset(pattern, offset):
    """You added what is read from all positions up to `offset` before. Take that one diagonal
    alone."""
    near = [_diagonal(pattern, -back).sum(dim=-1) for back in range(offset + 1)]
    return sum(near).mean(dim=0) / (pattern.shape[-1] - offset)


def one_column(pattern, offset):
    """You took column `offset`: one fixed position, whoever reads. The position read moves with the
    one that reads: pos - offset.

    For offset 1, which entry do you want of row 1? Of row 2, of row 5? Mark them in a square."""
    return pattern[..., offset].mean(dim=(0, -1))


def diagonal_of_texts_and_heads(pattern, offset):
    """Your diagonal runs through texts and heads: those are the axes that diagonal() takes unasked.
    Say dim1=-2, dim2=-1."""
    return _to_offset(pattern, offset, axes=(0, 1))


ATTENTION_TO_OFFSET = Exercise(
    id="2.2",
    title="mean attention to an offset",
    answer=attention_to_offset,
    cases={
        "the position before": (patterns(2, 3, 6, 6), 1),
        "three before": (patterns(1, 2, 7, 7, seed=1), 3),
        "the position itself": (patterns(2, 2, 5, 5, seed=2), 0),
    },
    mistakes=[
        one_too_near,
        one_too_far,
        first_reader_left_out,
        last_reader_left_out,
        last_position_only,
        divided_by_all_positions,
        reads_forward,
        sum_for_mean,
        positions_added_up,
        heads_averaged,
        heads_averaged_and_texts_kept,
        texts_kept,
        first_text_for_all,
        everything_up_to_the_offset,
        one_column,
        diagonal_of_texts_and_heads,
    ],
    variants=[
        lambda pattern, offset: torch.stack(
            [pattern[:, :, pos, pos - offset] for pos in range(offset, pattern.shape[-1])]
        ).mean(dim=(0, 1)),
        lambda pattern, offset: (
            torch.stack([torch.diag(head, -offset) for head in pattern.flatten(0, 1)])
            .mean(dim=-1)
            .reshape(pattern.shape[:2])
            .mean(dim=0)
        ),
    ],
    hints=[
        "Which entries of the pattern are these? Row pos, column pos - offset: a diagonal.",
        (
            "torch's diagonal(offset=..., dim1=-2, dim2=-1) takes one out of every head at once; "
            "below the main diagonal its offset is negative."
        ),
        "What it returns is [batch head entry]. Which axes do you average, and which one stays?",
    ],
    difficulty=1,
    minutes=10,
)


# 2.3


def previous_token_scores(
    patterns: Float[Tensor, "layer batch head q_pos k_pos"],
) -> Float[Tensor, "layer head"]:
    """How much each head reads from the position just before its own: from 0 to 1."""
    return _diagonal(patterns, -1).mean(dim=(1, -1))


def _previous(patterns, *, back=1, averaged=1, positions=torch.mean):
    return positions(_diagonal(patterns, -back), dim=-1).mean(dim=averaged)


def diagonal_above(patterns):
    """All your scores are 0: that is the diagonal above the main one, where each position would
    read the next. Rows read, columns are read, and offset=-1 is below."""
    return _previous(patterns, back=-1)


def own_token(patterns):
    """You measured how much each position reads from itself: the main diagonal. Go one below."""
    return _previous(patterns, back=0)


def two_back(patterns):
    """You measured the token before the last: two away. The position just before is one away."""
    return _previous(patterns, back=2)


def first_row_counted(patterns):
    """Your scores are a little too small: the first position has none before it and does not
    count. Divide by one less than there are positions."""

    def positions(entries, dim):
        return entries.sum(dim) / patterns.shape[-1]

    return _previous(patterns, positions=positions)


def previous_summed(patterns):
    """You added up over the positions. Take the mean, so that a score lies between 0 and 1."""
    return _previous(patterns, positions=torch.sum)


def layer_and_head_swapped(patterns):
    """Rows and columns of your table are swapped: wanted is [layer head]."""
    return _previous(patterns).mT


def one_score_a_layer(patterns):
    """You have one number a layer. Keep the heads apart: average over texts and positions only.

    `patterns` has five axes. Name them one by one: which of them shall be left?"""
    return _previous(patterns).mean(dim=1)


def texts_taken_for_heads(patterns):
    """You averaged over heads and kept the texts: the axes are [layer batch head q_pos k_pos].

    `patterns[0]`, of one layer, is what 2.2 was given. Which axes did you average there? With
    the layers in front, each of them has moved by one."""
    return _previous(patterns, averaged=2)


def one_long_list(patterns):
    """The numbers are right, but in one long row: keep layers and heads as two axes."""
    return _previous(patterns).flatten()


def first_texts_scores(patterns):
    """You looked at the first text only. Average over the whole batch."""
    return _previous(patterns[:, :1])


PREVIOUS_TOKEN_SCORES = Exercise(
    id="2.3",
    title="previous-token scores of all heads",
    answer=previous_token_scores,
    cases={
        "three layers, two texts, four heads": (patterns(3, 2, 4, 6, 6),),
        "one text": (patterns(2, 1, 3, 5, 5, seed=1),),
    },
    mistakes=[
        diagonal_above,
        own_token,
        two_back,
        first_row_counted,
        previous_summed,
        layer_and_head_swapped,
        one_score_a_layer,
        texts_taken_for_heads,
        one_long_list,
        first_texts_scores,
    ],
    variants=[
        lambda patterns: torch.stack([attention_to_offset(layer, 1) for layer in patterns]),
        lambda patterns: (
            patterns[:, :, :, 1:, :-1].diagonal(dim1=-2, dim2=-1).mean(dim=-1).mean(dim=1)
        ),
    ],
    hints=[
        "You have just written this for one layer: what is its offset, and who calls it?",
        "A list of one [head] tensor for each layer becomes [layer head] by torch.stack.",
        "Going through `patterns` gives one layer after the other, [batch head q_pos k_pos] each.",
    ],
    difficulty=1,
    minutes=5,
)


# 2.4


def _drawn(words, period, batch) -> Tensor:
    return words[torch.rand(batch, len(words)).argsort(dim=1)[:, :period]]


def _side_by_side(*parts) -> Tensor:
    return torch.cat(parts, dim=1)


def repeated_tokens(
    words: Int[Tensor, " word"], first: Int[Tensor, " first"], period: int, batch: int
) -> Int[Tensor, "batch pos"]:
    """Rows of `first`, then `period` different random words, then the same words again."""
    drawn = [torch.randperm(len(words))[:period] for _ in range(batch)]
    once = words[torch.stack(drawn)]
    return torch.cat([first.expand(batch, -1), once, once], dim=1)


ASKED_OF_A_DRAW = (
    "shape",
    "are whole numbers",
    "each row begins with `first`",
    "both halves have the same words",
    "and in the same order",
    "only `words` are drawn",
    "not their places in the list",
    "no word comes twice in a half",
    "nor is each followed by itself",
    "rows are drawn one by one",
    "each word can be drawn",
    "in any order",
    "the same after the same seed",
    "another after another seed",
)


def _seeded(seed: int, function: Callable, *arguments) -> object:
    torch.manual_seed(seed)
    return function(*arguments)


def what_was_drawn(
    function: Callable,
    words: Int[Tensor, " word"],
    first: Int[Tensor, " first"],
    period: int,
    batch: int,
) -> dict[str, object]:
    """What is asked of a random batch: everyone draws other words."""
    tokens, same_seed, other_seed = (
        _seeded(seed, function, words, first, period, batch) for seed in (0, 0, 1)
    )
    if not isinstance(tokens, Tensor):
        return dict.fromkeys(ASKED_OF_A_DRAW)
    if tokens.shape != (batch, len(first) + 2 * period):
        return dict.fromkeys(ASKED_OF_A_DRAW) | {"shape": list(tokens.shape)}
    once, again = tokens[:, len(first) : -period], tokens[:, -period:]
    found = (
        list(tokens.shape),
        not tokens.is_floating_point(),
        bool((tokens[:, : len(first)] == first).all()),
        torch.equal(once.sort().values, again.sort().values),
        torch.equal(once, again),
        bool(torch.isin(tokens[:, len(first) :], words).all()),
        bool((tokens[:, len(first) :] >= len(words)).any()),
        all(len(set(row)) == period for row in once.tolist()),
        not torch.equal(once[:, :-1:2], once[:, 1::2]),
        len(set(map(tuple, once.tolist()))) > 1,
        len(set(once.flatten().tolist())) > len(words) * 0.6,
        bool((once.diff() < 0).any()),  # `words` are given in rising order
        torch.equal(tokens, same_seed),
        not torch.equal(tokens, other_seed),
    )
    return dict(zip(ASKED_OF_A_DRAW, found, strict=True))


def _repeated(
    words, first, period, batch, *, draw=_drawn, draws=None, again=None, joined=_side_by_side
):
    once = draw(words, period, batch if draws is None else draws).expand(batch, -1)
    second = once if again is None else again(once, draw)
    return joined(first.expand(batch, -1), once, second)


def drawn_anew_for_the_second_half(words, first, period, batch):
    """Your second half is another draw. Draw once and put the same tensor there twice.

    Each call of randperm or randint gives other numbers. What can you keep of the first call?"""
    return _repeated(
        words, first, period, batch, again=lambda once, draw: draw(words, period, batch)
    )


def the_same_words_in_another_order(words, first, period, batch):
    """Your second half has the same words in another order: then nothing says what comes next.
    Repeat them as they came."""
    return _repeated(words, first, period, batch, again=lambda once, draw: once.flip(1))


def special_tokens_drawn(words, first, period, batch):
    """You drew from the whole vocabulary, special tokens and pieces of words included. Draw from
    `words`."""
    vocabulary = torch.arange(int(words.max()) + 1)
    return _repeated(vocabulary, first, period, batch, draw=_put_back)


def places_instead_of_words(words, first, period, batch):
    """Your tokens are places in the list `words`. Look them up: words[places].

    torch.randperm(3) gives 0, 1 and 2 in some order. What is words[torch.tensor([2, 0, 1])]?"""
    return _repeated(torch.arange(len(words)), first, period, batch)


def _put_back(words, period, batch) -> Tensor:
    return words[torch.randint(len(words), (batch, period))]


def words_that_come_twice(words, first, period, batch):
    """A word can come twice in your first half: then "what came after it" has two answers. Draw
    without putting back, for example by torch.randperm.

    A shuffled pack of cards has no card twice, however many you take from the top. How many numbers
    does torch.randperm shuffle, and how many do you need of them?"""
    return _repeated(words, first, period, batch, draw=_put_back)


def one_draw_for_all_rows(words, first, period, batch):
    """All your rows are the same: draw for each row, or the average over them tells you nothing
    new.

    `expand` and `repeat` copy a draw. Where does your code draw, inside or outside a loop over the
    rows?"""
    return _repeated(words, first, period, batch, draws=1)


def each_word_doubled(words, first, period, batch):
    """Each of your words is followed by itself: a a b b. Wanted is a b a b: the whole list,
    then the whole list again."""

    def joined(begin, once, again):
        return _side_by_side(begin, torch.stack([once, again], dim=2).flatten(1))

    return _repeated(words, first, period, batch, joined=joined)


def beginning_repeated_too(words, first, period, batch):
    """`first` stands before the second half as well. It is written once, at the very beginning."""

    def joined(begin, once, again):
        return _side_by_side(begin, once, begin, again)

    return _repeated(words, first, period, batch, joined=joined)


def beginning_forgotten(words, first, period, batch):
    """Your rows do not begin with `first`: the model has learned that texts begin like that."""
    return _repeated(
        words, first, period, batch, joined=lambda begin, *halves: _side_by_side(*halves)
    )


def always_the_first_words(words, first, period, batch):
    """You took only from the first words of the list. Shuffle the whole list, then cut it off."""
    return _repeated(words[: period + 1], first, period, batch)


def in_the_order_of_the_list(words, first, period, batch):
    """Your words stand in the order of the list: a stretch of it, or sorted. Draw each word, for
    example by torch.randperm, and leave them as they come."""

    def stretch(words, period, batch):
        return words[torch.randint(len(words) - period + 1, (batch, 1)) + torch.arange(period)]

    return _repeated(words, first, period, batch, draw=stretch)


def half_as_many_words(words, first, period, batch):
    """Your rows are too short. After `first` come twice `period` words: all of them, and then the
    same again."""
    return _repeated(words, first, period // 2, batch)


def beginning_inside_the_period(words, first, period, batch):
    """Your rows are too short: `first` comes before the `period` words and is none of them."""
    return _repeated(words, first, period - len(first), batch)


def halves_below_each_other(words, first, period, batch):
    """You have twice as many rows, each half as long: the second half stands to the right of the
    first, dim=1."""

    def joined(begin, once, again):
        return torch.cat([_side_by_side(begin, once), _side_by_side(begin, again)])

    return _repeated(words, first, period, batch, joined=joined)


def beginning_at_the_end(words, first, period, batch):
    """Your `first` comes last: it is what each row begins with."""
    return _repeated(
        words, first, period, batch, joined=lambda begin, *halves: _side_by_side(*halves, begin)
    )


def no_tensor(words, first, period, batch):
    """What you return is no tensor. From lists of tokens torch.tensor(rows) makes one."""
    return _repeated(words, first, period, batch).tolist()


def seed_set_inside(words, first, period, batch):
    """You draw the same words at each call: leave the seed to whoever calls."""
    torch.manual_seed(1)
    return _repeated(words, first, period, batch)


def random_numbers_not_of_torch(words, first, period, batch):
    """A seed set by torch.manual_seed does not decide what you draw: use torch's random numbers,
    not those of Python or NumPy."""
    chance = random.Random()

    def draw(words, period, batch):
        return torch.tensor([chance.sample(words.tolist(), period) for _ in range(batch)])

    return _repeated(words, first, period, batch, draw=draw)


REPEATED_TOKENS = Exercise(
    id="2.4",
    title="a batch of repeated random tokens",
    answer=repeated_tokens,
    run=what_was_drawn,
    cases={
        "40 words, 8 in a row": (torch.arange(30, 70), torch.tensor([0, 7]), 8, 24),
        "one token in front": (torch.arange(10, 60) * 2, torch.tensor([3]), 10, 20),
    },
    mistakes=[
        words_that_come_twice,
        one_draw_for_all_rows,
        drawn_anew_for_the_second_half,
        places_instead_of_words,
        the_same_words_in_another_order,
        special_tokens_drawn,
        each_word_doubled,
        beginning_repeated_too,
        beginning_forgotten,
        always_the_first_words,
        in_the_order_of_the_list,
        half_as_many_words,
        beginning_inside_the_period,
        halves_below_each_other,
        beginning_at_the_end,
        no_tensor,
        seed_set_inside,
        random_numbers_not_of_torch,
    ],
    variants=[
        lambda words, first, period, batch: torch.stack(
            [
                torch.cat([first, *[words[torch.randperm(len(words))[:period]]] * 2])
                for _ in range(batch)
            ]
        ),
        lambda words, first, period, batch: torch.cat(
            [
                first.repeat(batch, 1),
                words[torch.rand(batch, len(words)).argsort(dim=1)[:, :period]].repeat(1, 2),
            ],
            dim=1,
        ),
    ],
    hints=[
        (
            "torch.randperm(len(words)) is all places of the list in random order: its first "
            "`period` entries are different words."
        ),
        "Draw for one row, then stack `batch` of them. words[places] turns places into tokens.",
        (
            "Three pieces go side by side, torch.cat with dim=1: first.expand(batch, -1), the draw,"
            " and the same draw again."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 2.5


def _second_half(pattern, period, offset) -> Tensor:
    return _diagonal(pattern, -offset)[..., -period:]


def _induction(pattern, period, *, back=None, rows=None, positions=torch.mean, texts=torch.mean):
    stripe = _diagonal(pattern, 1 - period if back is None else -back)
    counted = stripe[..., slice(-period, None) if rows is None else rows]
    return texts(positions(counted, dim=-1), dim=0)


def offset_of_the_duplicate(pattern, period):
    """You measured reading from the same token's last occurrence, `period` back: that finds
    duplicate-token heads. What came after it is one position later, so period - 1 back.

    In A B C A B C the second A stands at 3. Where does it look, if it wants to say B?"""
    return _induction(pattern, period, back=period)


def one_too_far_back(pattern, period):
    """You measured the token before the last occurrence: period + 1 back. The one after it is
    period - 1 back.

    In A B C A B C the second A stands at 3. Where does it look, if it wants to say B?"""
    return _induction(pattern, period, back=period + 1)


def first_half_counted(pattern, period):
    """Your scores are too small: in the first half no token has come before. Average over the last
    `period` rows only.

    The diagonal's entries are in the order of the rows. Which rows does it begin and end at?"""
    return _induction(pattern, period, rows=slice(None))


def previous_token(pattern, period):
    """You measured the position just before, which needs no repetition. Go back period - 1."""
    return _induction(pattern, period, back=1)


def induction_summed(pattern, period):
    """You added up over the second half. Take the mean, so that a score lies between 0 and 1."""
    return _induction(pattern, period, positions=torch.sum, texts=torch.sum)


def divided_by_the_whole_length(pattern, period):
    """Your scores are too small: you divided by all positions. Only the `period` positions of the
    second half are counted."""

    def positions(entries, dim):
        return entries.sum(dim) / pattern.shape[-1]

    return _induction(pattern, period, positions=positions)


def reads_the_future(pattern, period):
    """All your scores are 0: the diagonal lies above the main one. A row reads earlier columns:
    the offset is negative."""
    return _induction(pattern, period, back=1 - period)


def first_text_alone(pattern, period):
    """You looked at the first text only. Average over the whole batch."""
    return _induction(pattern[:1], period)


def scores_of_each_text(pattern, period):
    """You have a row for each text. Average over the batch as well."""
    return _induction(pattern, period, texts=lambda scores, dim: scores)


def one_row_short(pattern, period):
    """You left out the first row of the second half. Its token has come before, too: the second
    half are the last `period` rows."""
    return _induction(pattern, period, rows=slice(1 - period, None))


def one_row_too_many(pattern, period):
    """You counted one row too many: the last word of the first half has not come before. The second
    half are the last `period` rows."""
    return _induction(pattern, period, rows=slice(-1 - period, None))


def heads_in_one(pattern, period):
    """One number is left: you averaged over heads, too. Average over texts and positions only."""
    return _induction(pattern, period).mean()


def rows_taken_for_places_on_the_diagonal(pattern, period):
    """You cut off the first `period` entries of the diagonal. It begins further down than row 0,
    and what stands before the first half has rows, too: count from the end, [..., -period:]."""
    return _induction(pattern, period, rows=slice(period, None))


def beginning_taken_for_words_of_the_list(pattern, period):
    """You began at row `period`. What stands before the first half has rows, too: the second half
    are the last `period` rows, counted from the end."""
    return _induction(pattern, period, rows=slice(1, None))


def second_half_counted_from_the_beginning(pattern, period):
    """You took the rows `period` to 2 · period - 1. What stands before the first half moves them:
    the second half are the last `period` rows."""
    return _induction(pattern, period, rows=slice(1, period + 1))


def first_places_on_the_diagonal(pattern, period):
    """You took the first `period` entries of the diagonal. It goes down row by row, and the second
    half comes last."""
    return _induction(pattern, period, rows=slice(period))


def diagonal_of_the_rows_cut_out(pattern, period):
    """You cut out the rows of the second half first: then the diagonal begins elsewhere, as row 0
    is no longer position 0. Take the diagonal of the whole pattern, then its last entries."""
    return _induction(pattern[:, :, -period:], period)


def second_half_reading_itself(pattern, period):
    """You cut out rows and columns of the second half: what it reads there lies in the first.
    Keep all columns."""
    return _induction(pattern[:, :, -period:, -period:], period)


def last_row_lost(pattern, period):
    """You left out the last row: what came after its token is the first word of the second half.
    Keep those columns."""
    return _induction(pattern, period, rows=slice(-period, -1))


INDUCTION_SCORES = Exercise(
    id="2.5",
    title="induction scores",
    answer=induction_scores,
    cases={
        "one token in front, period 4": (patterns(2, 3, 9, 9), 4),
        "three tokens in front, period 3": (patterns(2, 2, 9, 9, seed=1), 3),
    },
    mistakes=[
        offset_of_the_duplicate,
        one_too_far_back,
        first_half_counted,
        previous_token,
        induction_summed,
        divided_by_the_whole_length,
        reads_the_future,
        first_text_alone,
        scores_of_each_text,
        one_row_short,
        one_row_too_many,
        heads_in_one,
        rows_taken_for_places_on_the_diagonal,
        beginning_taken_for_words_of_the_list,
        second_half_counted_from_the_beginning,
        first_places_on_the_diagonal,
        diagonal_of_the_rows_cut_out,
        second_half_reading_itself,
        last_row_lost,
    ],
    variants=[
        lambda pattern, period: torch.stack(
            [
                pattern[:, :, pos, pos - period + 1]
                for pos in range(pattern.shape[-1] - period, pattern.shape[-1])
            ]
        ).mean(dim=(0, 1)),
        lambda pattern, period: (
            pattern[:, :, -period:]
            .diagonal(pattern.shape[-1] - 2 * period + 1, dim1=-2, dim2=-1)
            .mean(dim=(0, -1))
        ),
    ],
    hints=[
        (
            "Write out A B C D A B C D. Where does the second A stand, where its last occurrence, "
            "where what came after that? Subtract."
        ),
        "The token itself came `period` positions ago; the one after it stands one to the right.",
        (
            "Take that diagonal as in 2.2. Its entries are in the order of the rows: the last "
            "`period` of them belong to the second half."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 2.6


def _kinds(looking: Tensor, first: Tensor, threshold: float) -> Tensor:
    """What each head is called, as a place in the list of names; `looking` is [head 3]."""
    best, kind = looking.max(dim=-1)
    return torch.where(best >= threshold, kind, torch.where(first >= threshold, 3, 4))


def _table(pattern, period, threshold, duplicate=None, first=None, kinds=_kinds) -> dict:
    if duplicate is None:
        duplicate = _second_half(pattern, period, period).mean(dim=(0, -1))
    if first is None:
        first = pattern[:, :, 1:, 0].mean(dim=(0, -1))
    induction = _second_half(pattern, period, period - 1).mean(dim=(0, -1))
    looking = torch.stack([attention_to_offset(pattern, 1), duplicate, induction], dim=-1)
    return {"duplicate": duplicate, "first": first, "kind": kinds(looking, first, threshold)}


def head_kinds(
    pattern: Float[Tensor, "batch head q_pos k_pos"], period: int, threshold: float
) -> dict[str, Float[Tensor, " head"] | Int[Tensor, " head"]]:
    """Each head's duplicate-token and first-token score, and what it is called: 0 previous, 1
    duplicate, 2 induction, 3 first, 4 none of them."""
    length = pattern.shape[-1]
    second_half = pattern[:, :, -period:]
    duplicate = second_half.diagonal(length - 2 * period, dim1=-2, dim2=-1).mean(dim=(0, -1))
    first = pattern[:, :, 1:, 0].mean(dim=(0, -1))
    previous, induction = attention_to_offset(pattern, 1), induction_scores(pattern, period)
    highest, place = torch.stack([previous, duplicate, induction], dim=-1).max(dim=-1)
    resting = torch.where(first >= threshold, 3, 4)
    kind = torch.where(highest >= threshold, place, resting)
    return {"duplicate": duplicate, "first": first, "kind": kind}


def induction_for_duplicate(pattern, period, threshold):
    """Your duplicate scores are induction scores: period - 1 back. The same token stands `period`
    back.

    In A B C A B C the second A stands at 3. Where is the first A? Where what came after it?"""
    duplicate = _second_half(pattern, period, period - 1).mean(dim=(0, -1))
    return _table(pattern, period, threshold, duplicate)


def duplicates_in_the_first_half(pattern, period, threshold):
    """Your duplicate scores count rows of the first half, where no token has come before. Take the
    last `period` rows only."""
    return _table(pattern, period, threshold, attention_to_offset(pattern, period))


def first_position_counts_itself(pattern, period, threshold):
    """Your first-token scores are too high: the first position can read nothing but itself.
    Leave its row out.

    What does row 0 of every pattern hold, whatever the head? What would that add to its mean?"""
    return _table(pattern, period, threshold, first=pattern[:, :, :, 0].mean(dim=(0, -1)))


def row_of_the_first_position(pattern, period, threshold):
    """You took the first row: what the first position reads. Wanted is the first column: who
    reads it."""
    return _table(pattern, period, threshold, first=pattern[:, :, 0, 1:].mean(dim=(0, -1)))


def second_half_only(pattern, period, threshold):
    """You averaged the first-token score over the second half. A head may rest anywhere: take all
    rows but the first."""
    first = pattern[:, :, -period:, 0].mean(dim=(0, -1))
    return _table(pattern, period, threshold, first=first)


def resting_wins(pattern, period, threshold):
    """You let the highest of all four scores decide. A head that rests on the first token half of
    the time can still do something else: "first" is only for heads that do nothing else.

    A head gives the first token 0.55 and does induction with 0.4, and the threshold is 0.3. What
    do you call it? And what does your code?"""

    def kinds(looking, first, threshold):
        highest, place = torch.cat([looking, first[:, None]], dim=1).max(dim=-1)
        return torch.where(highest >= threshold, place, 4)

    return _table(pattern, period, threshold, kinds=kinds)


def threshold_ignored(pattern, period, threshold):
    """You gave every head a name. One whose scores all stay below the threshold is 4, "-"."""
    return _table(
        pattern, period, threshold, kinds=lambda looking, first, _: _kinds(looking, first, 0.0)
    )


def no_first_heads(pattern, period, threshold):
    """You never call a head "first" (3): do so where no other score reaches the threshold and this
    one does."""
    return _table(
        pattern,
        period,
        threshold,
        kinds=lambda looking, first, threshold: _kinds(looking, 0 * first - 1, threshold),
    )


def first_and_none_swapped(pattern, period, threshold):
    """Your 3 and 4 are swapped: 3 is a head that rests on the first token, 4 one that has no
    name."""

    def kinds(looking, first, threshold):
        found = _kinds(looking, first, threshold)
        return torch.where(found > 2, 7 - found, found)

    return _table(pattern, period, threshold, kinds=kinds)


def first_that_reaches_it(pattern, period, threshold):
    """Where two scores reach the threshold you took the one that comes first. Take the highest.

    A chain of if and elif stops at the first that is true. Which question has to be asked before:
    which score is highest, or whether it is high enough?"""

    def kinds(looking, first, threshold):
        reached = (looking >= threshold).int()
        return torch.where(
            reached.any(dim=-1), reached.argmax(dim=-1), torch.where(first >= threshold, 3, 4)
        )

    return _table(pattern, period, threshold, kinds=kinds)


def kinds_counted_from_one(pattern, period, threshold):
    """Your kinds are one too high: they are places in the list of names, which count from 0."""
    found = _table(pattern, period, threshold)
    return found | {"kind": found["kind"] + 1}


def own_token_for_duplicate(pattern, period, threshold):
    """Your duplicate scores are about each position's own token: offset 0. The same token's last
    occurrence stands `period` back."""
    return _table(pattern, period, threshold, attention_to_offset(pattern, 0))


def resting_comes_first(pattern, period, threshold):
    """You ask about the first token before anything else. "first" is only for heads that do
    nothing else: ask it where no other score reaches the threshold."""

    def kinds(looking, first, threshold):
        return torch.where(first >= threshold, 3, _kinds(looking, first, threshold))

    return _table(pattern, period, threshold, kinds=kinds)


def previous_over_the_second_half(pattern, period, threshold):
    """Your previous-token score is that of the second half. Every position but the first has one
    before it: attention_to_offset(pattern, 1)."""
    previous = _second_half(pattern, period, 1).mean(dim=(0, -1))
    return _table(
        pattern,
        period,
        threshold,
        kinds=lambda looking, first, threshold: _kinds(
            torch.stack([previous, *looking.T[1:]], dim=-1), first, threshold
        ),
    )


def another_order_of_kinds(pattern, period, threshold):
    """Your kinds are places in a list of another order. It is previous, duplicate, induction:
    stack the scores like that."""
    found = _table(pattern, period, threshold)
    return found | {"kind": torch.tensor([1, 0, 2, 3, 4])[found["kind"]]}


def names_for_places(pattern, period, threshold):
    """Your kinds are words. Give their places in the list, 0 to 4, as a tensor of whole numbers."""
    found = _table(pattern, period, threshold)
    names = ("previous", "duplicate", "induction", "first", "-")
    return found | {"kind": [names[place] for place in found["kind"]]}


HEAD_KINDS = Exercise(
    id="2.6",
    title="a table that names each head's type",
    answer=head_kinds,
    cases={
        "six heads, period 4": (looking_back(10, 1, 4, 3, 99, 2, 0), 4, 0.5),
        "a low threshold": (looking_back(9, 3, 2, 5, 1, seed=1), 3, 0.12),
        "half resting, half induction": (
            0.5 * looking_back(9, 3, 99, seed=2) + 0.5 * looking_back(9, 99, 99, seed=3),
            4,
            0.3,
        ),
    },
    mistakes=[
        induction_for_duplicate,
        duplicates_in_the_first_half,
        first_position_counts_itself,
        row_of_the_first_position,
        second_half_only,
        resting_wins,
        threshold_ignored,
        no_first_heads,
        first_and_none_swapped,
        first_that_reaches_it,
        names_for_places,  # before what changes the places, which names cannot
        kinds_counted_from_one,
        own_token_for_duplicate,
        resting_comes_first,
        previous_over_the_second_half,
        another_order_of_kinds,
    ],
    variants=[
        lambda pattern, period, threshold: _table(pattern, period, threshold),
    ],
    hints=[
        (
            "The duplicate-token score is your induction score with another offset. The first-token"
            " score is a column of the pattern, not a diagonal."
        ),
        (
            "torch.stack([previous, duplicate, induction], dim=-1) is [head 3]: its max(dim=-1) "
            "gives the highest score of each head, and its place, which is the kind."
        ),
        (
            "torch.where(condition, a, b) chooses head by head: the place where the highest score "
            "reaches the threshold; elsewhere 3 or 4, which is a torch.where of its own."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 2.7


def _greatest_fall(words: Tensor) -> int:
    return int((words[:-1] - words[1:]).argmax()) + 1


ALL, AFTER_THE_FIRST = slice(None), slice(1, None)


def _losses(
    losses,
    period,
    *,
    kept=None,
    first=AFTER_THE_FIRST,
    second=AFTER_THE_FIRST,
    half=torch.mean,
    fall=_greatest_fall,
):
    words = losses.mean(dim=0)[slice(-2 * period, None) if kept is None else kept]
    return {
        "by position": words,
        "first time": half(words[:period][first]),
        "second time": half(words[period:][second]),
        "falls at": fall(words),
    }


def loss_on_repeats(
    losses: Float[Tensor, "batch guess"], period: int
) -> dict[str, Float[Tensor, " word"] | Float[Tensor, ""] | int]:
    """The loss at each word of repeated tokens, in nats; its mean when they come first and when
    they come again; and the place at which it falls most."""
    words = losses.mean(dim=0)[-2 * period :]
    return {
        "by position": words,
        "first time": words[1:period].mean(),
        "second time": words[period + 1 :].mean(),
        "falls at": (words[:-1] - words[1:]).argmax().item() + 1,
    }


def first_words_counted(losses, period):
    """Your second mean is too high: nothing tells the model that the list starts again, so the
    first word of the second half is a free guess. Start at the second word, in both halves.

    In A B C A B C, what could have told you the second A? And the second B?"""
    return _losses(losses, period, first=ALL, second=ALL)


def beginning_taken_for_words(losses, period):
    """You began at the first guess, which is about the text's beginning. The words are the last 2
    · period guesses: count from the end.

    The beginning has its own guesses, and how many depends on how long it is. Which end of the row
    is the same however long it is?"""
    return _losses(losses, period, kept=slice(2 * period))


def halves_swapped(losses, period):
    """ "first time" and "second time" are swapped."""
    found = _losses(losses, period)
    return found | {"first time": found["second time"], "second time": found["first time"]}


def falls_one_too_early(losses, period):
    """You give the last place before the fall. Wanted is the first place where the loss is low:
    the difference of entries i and i + 1 belongs to i + 1.

    Try it by hand on losses of 5, 5, 1, 1: at which place is it low for the first time, and which
    entry of the three differences says so?"""
    found = _losses(losses, period)
    return found | {"falls at": found["falls at"] - 1}


def rises_at(losses, period):
    """You found the greatest rise: a fall is the entry before minus the entry after.

    diff() is the entry after minus the entry before. What sign has a fall in it?"""
    return _losses(losses, period, fall=lambda words: int(words.diff().argmax()) + 1)


def lowest_for_fall(losses, period):
    """You give the place of the lowest loss. Wanted is where it falls most from one word to the
    next."""
    return _losses(losses, period, fall=lambda words: int(words.argmin()))


def place_in_the_text(losses, period):
    """Your place counts the beginning of the text as well. Count among the 2 · period words,
    from 0."""
    found = _losses(losses, period)
    return found | {"falls at": found["falls at"] + losses.shape[1] - 2 * period}


def searched_in_the_whole_text(losses, period):
    """Your fall lies in the text's beginning, or counts from there. Look among the 2 · period words
    alone, and count from their first."""
    return _losses(losses, period) | {"falls at": _greatest_fall(losses.mean(dim=0))}


def added_for_averaged(losses, period):
    """Your halves are sums. Take means, in nats per word."""
    return _losses(losses, period, half=torch.sum)


def texts_not_averaged(losses, period):
    """Your curve is that of the first text alone: average over the batch."""
    return _losses(losses[:1], period)


def first_half_from_its_first_word(losses, period):
    """Your first mean counts the first word. Leave out the first word of both halves, so that they
    are means over the same words."""
    return _losses(losses, period, first=ALL)


def second_half_from_its_first_word(losses, period):
    """Your second mean counts the first word, which nothing announces: it is a free guess. Leave
    out the first word of both halves."""
    return _losses(losses, period, second=ALL)


def last_words_left_out(losses, period):
    """You left out the last word of each half. It is the first that cannot be known."""
    return _losses(losses, period, first=slice(-1), second=slice(-1))


def words_counted_from_one(losses, period):
    """Your place is one too high: the words are counted from 0."""
    found = _losses(losses, period)
    return found | {"falls at": found["falls at"] + 1}


def greatest_change(losses, period):
    """You found the greatest change, up or down. Wanted is the greatest fall: no abs()."""
    return _losses(losses, period, fall=lambda words: int(words.diff().abs().argmax()) + 1)


def beginning_in_the_curve(losses, period):
    """Your curve is too long: the first guesses are about the text's beginning. Keep the last
    2 · period."""
    return _losses(losses, period) | {"by position": losses.mean(dim=0)}


def searched_in_the_second_half(losses, period):
    """You looked for the fall in the second half only. Look at all the words: where it lies is a
    finding."""
    return _losses(losses, period, fall=lambda words: period + _greatest_fall(words[period:]))


LOSS_ON_REPEATS = Exercise(
    id="2.7",
    title="loss by position",
    answer=loss_on_repeats,
    cases={
        "four words, twice": (
            torch.tensor([[9.0, 2, 5, 5.5, 6, 5, 5.2, 1, 0.5, 0.2]])
            + 0.1 * normal((3, 10))[0].abs(),
            4,
        ),
        "random losses, period 3": (3 * normal((2, 9), seed=1)[0].abs(), 3),
        "one token in front": (3 * normal((4, 10), seed=12)[0].abs(), 5),
    },
    mistakes=[
        first_words_counted,
        beginning_taken_for_words,
        halves_swapped,
        falls_one_too_early,
        rises_at,
        lowest_for_fall,
        place_in_the_text,
        searched_in_the_whole_text,
        added_for_averaged,
        texts_not_averaged,
        first_half_from_its_first_word,
        second_half_from_its_first_word,
        last_words_left_out,
        words_counted_from_one,
        greatest_change,
        beginning_in_the_curve,
        searched_in_the_second_half,
    ],
    variants=[
        lambda losses, period: {
            "by position": losses[:, -2 * period :].mean(0),
            "first time": losses[:, -2 * period + 1 : -period].mean(),
            "second time": losses[:, 1 - period :].mean(),
            "falls at": 1 + (-losses[:, -2 * period :].mean(0).diff()).argmax().item(),
        },
    ],
    hints=[
        (
            "Average over texts first. The text's beginning has guesses too: the words are the last"
            " 2 · period."
        ),
        (
            "With words = ..., [2 · period] long: the first half is words[:period], the second "
            "words[period:]. Which entry of each is left out?"
        ),
        (
            "words[:-1] - words[1:] is how far the loss falls from each word to the next; entry i "
            "is the fall to word i + 1."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 2.8


def _root(variance: Tensor, eps: float) -> Tensor:
    return (variance + eps).sqrt()


def _lens(
    streams, w, b, eps, W_U, *, which=-1, centred=None, measured=None, correction=0, scale=_root
) -> Tensor:
    middle = streams - streams.mean(dim=-1, keepdim=True)
    seen = (middle if measured is None else measured)[which]
    variance = seen.pow(2).sum(dim=-1, keepdim=True) / (seen.shape[-1] - correction)
    return ((middle if centred is None else centred) / scale(variance, eps) * w + b) @ W_U


def logit_lens(
    streams: Float[Tensor, "stream d_model"],
    w: Float[Tensor, " d_model"],
    b: Float[Tensor, " d_model"],
    eps: float,
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Float[Tensor, "stream d_vocab"]:
    """The logits that the model would give if it stopped at each stream, in the last one's
    scale."""
    centred = streams - streams.mean(dim=-1, keepdim=True)
    scale = (centred[-1].pow(2).mean() + eps).sqrt()
    return (centred / scale * w + b) @ W_U


def no_final_layer_norm(streams, w, b, eps, W_U):
    """You multiplied the stream by W_U at once. The model's last LayerNorm comes first: W_U was
    trained to read through it."""
    return streams @ W_U


def its_own_scale(streams, w, b, eps, W_U):
    """Each of your streams is divided by its own scale. That is a convention, too, but here all are
    divided by the last one's, so that the step from row to row is what a layer added.

    How many numbers is your scale? Print its shape. How many should it be?"""
    return _lens(streams, w, b, eps, W_U, which=slice(None))


def scale_of_the_first(streams, w, b, eps, W_U):
    """You divided by the first stream's scale. The model's own LayerNorm read the last one."""
    return _lens(streams, w, b, eps, W_U, which=0)


def last_layer_first(streams, w, b, eps, W_U):
    """Your rows are in reverse order: keep the order of the streams, the earliest first."""
    return _lens(streams, w, b, eps, W_U).flip(0)


def stream_not_centred(streams, w, b, eps, W_U):
    """You did not subtract each stream's mean: LayerNorm centres before it divides."""
    return _lens(streams, w, b, eps, W_U, centred=streams)


def last_mean_for_all(streams, w, b, eps, W_U):
    """You subtracted the last stream's mean from all. Only the scale is borrowed: each stream has a
    mean of its own."""
    return _lens(streams, w, b, eps, W_U, centred=streams - streams[-1].mean())


def no_stretch_and_shift(streams, w, b, eps, W_U):
    """You left out w and b: after the division comes · w + b."""
    return _lens(streams, torch.ones_like(w), torch.zeros_like(b), eps, W_U)


def shift_left_out(streams, w, b, eps, W_U):
    """You left out b: after · w comes + b, in every row."""
    return _lens(streams, w, torch.zeros_like(b), eps, W_U)


def shifted_before_stretched(streams, w, b, eps, W_U):
    """You multiplied b by w as well. First · w, then + b."""
    return _lens(streams, w, b * w, eps, W_U)


def probabilities_for_logits(streams, w, b, eps, W_U):
    """You took a softmax. Return the logits: what layers add shows in them as a sum."""
    return _lens(streams, w, b, eps, W_U).softmax(dim=-1)


def only_the_last(streams, w, b, eps, W_U):
    """You returned the last row alone, which is the model's output. Give one row for each
    stream."""
    return _lens(streams, w, b, eps, W_U)[-1]


def variance_for_scale(streams, w, b, eps, W_U):
    """You divided by the variance. The scale is its root."""
    return _lens(streams, w, b, eps, W_U, scale=torch.add)


def eps_left_out(streams, w, b, eps, W_U):
    """You left out eps: it is added to the variance, under the root."""
    return _lens(streams, w, b, 0.0, W_U)


def unbiased_variance(streams, w, b, eps, W_U):
    """Your scale is a little too large: .var() and .std() divide by d_model - 1 unless you say
    correction=0.

    Dividing by one less is for guessing the variance of many numbers from a few of them. Are the
    d_model numbers of a stream a few of many?"""
    return _lens(streams, w, b, eps, W_U, correction=1)


def eps_outside_the_root(streams, w, b, eps, W_U):
    """You added eps to the root. It is added to the variance, under the root."""
    return _lens(streams, w, b, eps, W_U, scale=lambda variance, eps: variance.sqrt() + eps)


def scale_of_the_stream_as_it_is(streams, w, b, eps, W_U):
    """Your scale is that of the last stream before you centred it: take the mean of the squares
    after subtracting the mean."""
    return _lens(streams, w, b, eps, W_U, measured=streams)


def length_for_scale(streams, w, b, eps, W_U):
    """You divided by the last stream's length. The scale is the root of the *mean* of the squares:
    smaller by √d_model."""
    return _lens(streams, w, b, eps, W_U, scale=lambda variance, eps: _root(len(w) * variance, eps))


def one_mean_for_all_streams(streams, w, b, eps, W_U):
    """You subtracted one mean from all streams: .mean() without dim averages over everything. Say
    dim=-1, keepdim=True.

    A mean for each stream has the shape [stream 1]. Print the shape of yours."""
    centred = streams - streams.mean()
    return _lens(streams, w, b, eps, W_U, centred=centred, measured=centred)


def mean_stream_subtracted(streams, w, b, eps, W_U):
    """You subtracted the mean over streams. Each stream's own d_model numbers are centred:
    dim=-1, keepdim=True."""
    centred = streams - streams.mean(dim=0)
    return _lens(streams, w, b, eps, W_U, centred=centred, measured=centred)


def one_scale_from_all_streams(streams, w, b, eps, W_U):
    """Your scale mixes all streams: take it from the last one, streams[-1]."""

    def scale(variances, eps):
        return _root(variances.mean(), eps)

    return _lens(streams, w, b, eps, W_U, which=slice(None), scale=scale)


def streams_added_up(streams, w, b, eps, W_U):
    """You added the streams up. Each of them already holds all that was written before it."""
    return _lens(streams.cumsum(dim=0), w, b, eps, W_U)


LOGIT_LENS = Exercise(
    id="2.8",
    title="the logit lens",
    answer=logit_lens,
    cases={
        "five streams": (*normal((5, 8), (8,), (8,)), 0.1, *normal((8, 12), seed=1)),
        "streams that grow": (
            torch.arange(1, 4)[:, None] * normal((3, 6), seed=2)[0] + 1,
            *normal((6,), (6,), seed=3),
            0.1,
            *normal((6, 9), seed=4),
        ),
    },
    mistakes=[
        no_final_layer_norm,
        its_own_scale,
        scale_of_the_first,
        last_layer_first,
        stream_not_centred,
        last_mean_for_all,
        no_stretch_and_shift,
        shift_left_out,
        shifted_before_stretched,
        probabilities_for_logits,
        only_the_last,
        variance_for_scale,
        eps_left_out,
        unbiased_variance,
        eps_outside_the_root,
        scale_of_the_stream_as_it_is,
        length_for_scale,
        one_mean_for_all_streams,
        mean_stream_subtracted,
        one_scale_from_all_streams,
        streams_added_up,
    ],
    variants=[
        lambda streams, w, b, eps, W_U: torch.stack(
            [
                ((stream - stream.mean()) / (streams[-1].var(correction=0) + eps).sqrt() * w + b)
                @ W_U
                for stream in streams
            ]
        ),
    ],
    hints=[
        "It is exercise 1.3 and then a product with W_U, with one change: whose scale is it?",
        (
            "Centre every stream by its own mean. Then take the last one's scale: "
            "√(mean of its squares + eps), one number."
        ),
        "(centred / scale * w + b) @ W_U works on all streams at once; the result is [stream "
        "d_vocab].",
    ],
    difficulty=2,
    minutes=15,
)


# 2.9


def ablate_head(
    z: Float[Tensor, "batch pos head d_head"], hook: object, head: int, by_mean: bool
) -> Float[Tensor, "batch pos head d_head"]:
    """z without what one head says: zero in its place, or what it says on average."""
    ablated = z.clone()
    ablated[:, :, head] = z[:, :, head].mean(dim=(0, 1)) if by_mean else 0
    return ablated


def as_a_hook(
    function: Callable, z: Float[Tensor, "batch pos head d_head"], head: int, by_mean: bool
) -> Float[Tensor, "batch pos head d_head"]:
    """A hook may change the activation itself: nobody else holds it."""
    return function(z.clone(), None, head, by_mean)


def _mean_vector(here: Tensor) -> Tensor:
    return here.mean(dim=(0, 1))


def _ablated(z, head, by_mean, *, axis=2, at=slice(None), average=_mean_vector) -> Tensor:
    ablated = z.clone()
    here = ablated.select(axis, head)
    here[:, at] = average(here) if by_mean else 0
    return ablated


def position_for_head(z, hook, head, by_mean):
    """You silenced a position, in all heads: z is [batch pos head d_head], so heads are the third
    axis.

    No error came, because there is a position of that number, too. How many colons stand before
    `head` in your brackets, and how many axes before the head's?"""
    return _ablated(z, head, by_mean, axis=1)


def last_position_alone(z, hook, head, by_mean):
    """You silenced the head at the last position alone. What it brings to the others is read by
    later layers: replace it everywhere."""
    return _ablated(z, head, by_mean, at=slice(-1, None))


def every_head_ablated(z, hook, head, by_mean):
    """You silenced the whole layer. Only this head's z changes."""
    return z.mean(dim=(0, 1), keepdim=True).expand_as(z).clone() if by_mean else torch.zeros_like(z)


def all_but_the_head(z, hook, head, by_mean):
    """You kept this head and silenced the others: it is the other way round."""
    others = every_head_ablated(z, hook, head, by_mean)
    others[:, :, head] = z[:, :, head]
    return others


def zero_whatever_is_asked(z, hook, head, by_mean):
    """You always put 0. With by_mean the head says what it says on average."""
    return _ablated(z, head, False)


def mean_whatever_is_asked(z, hook, head, by_mean):
    """You always put the mean. Without by_mean it is 0."""
    return _ablated(z, head, True)


def one_mean_for_the_whole_head(z, hook, head, by_mean):
    """You took one number for the head. What it says on average is a vector: d_head numbers, each
    the mean over texts and positions.

    .mean() without dim averages over every axis. Which axis of [batch pos d_head] shall stay?"""
    return _ablated(z, head, by_mean, average=torch.mean)


def mean_at_each_position(z, hook, head, by_mean):
    """Your mean runs over texts alone, so it still says at which position one is. Average over
    positions, too."""
    return _ablated(z, head, by_mean, average=lambda here: here.mean(dim=0))


def mean_of_each_text(z, hook, head, by_mean):
    """Your mean runs over positions alone, so it still tells the texts apart. Average over texts,
    too."""
    return _ablated(z, head, by_mean, average=lambda here: here.mean(dim=1, keepdim=True))


def mean_of_the_other_heads(z, hook, head, by_mean):
    """You put the mean over all heads there. Heads speak different languages: it has to be this
    head's own mean."""
    return _ablated(z, head, by_mean, average=lambda here: z.mean(dim=(0, 1, 2)))


def nothing_ablated(z, hook, head, by_mean):
    """z came back as it was: assign to z[:, :, head], not to a name for it."""
    return z.clone()


def head_only_returned(z, hook, head, by_mean):
    """You returned this head alone. A hook returns the whole activation, all heads, changed or
    not.

    What a hook returns goes on in the activation's place. What would the next step do with the
    other heads if they were gone?"""
    return _ablated(z, head, by_mean)[:, :, head]


def last_axis_taken_for_heads(z, hook, head, by_mean):
    """You silenced one number of each head: [..., head] is the last axis, d_head. Heads are the
    third."""
    return _ablated(z, head, by_mean, axis=3)


def zero_and_mean_swapped(z, hook, head, by_mean):
    """It is the other way round: the mean where by_mean is True, 0 where it is False."""
    return _ablated(z, head, not by_mean)


def mean_over_d_head(z, hook, head, by_mean):
    """Your mean runs over the head's numbers, so it still differs from position to position. The
    mean over texts and positions is dim=(0, 1) of z[:, :, head]."""
    return _ablated(z, head, by_mean, average=lambda here: here.mean(dim=-1, keepdim=True))


def mean_taken_away(z, hook, head, by_mean):
    """You subtracted the mean: what is special about the position is left, and that is what should
    go. Put the mean in its place.

    After your ablation, do two positions still differ in this head's z? Should they?"""
    return _ablated(z, head, by_mean, average=lambda here: here - _mean_vector(here))


ABLATE_HEAD = Exercise(
    id="2.9",
    title="a hook that ablates a head",
    answer=ablate_head,
    run=as_a_hook,
    cases={
        "zero": (*normal((2, 4, 3, 5)), 2, False),
        "the mean": (*normal((3, 5, 4, 2), seed=1), 1, True),
        "as many positions as heads": (*normal((2, 3, 3, 4), seed=2), 0, True),
    },
    mistakes=[
        position_for_head,
        last_position_alone,
        every_head_ablated,
        all_but_the_head,
        zero_whatever_is_asked,
        mean_whatever_is_asked,
        one_mean_for_the_whole_head,
        mean_at_each_position,
        mean_of_each_text,
        mean_of_the_other_heads,
        nothing_ablated,
        head_only_returned,
        last_axis_taken_for_heads,
        zero_and_mean_swapped,
        mean_over_d_head,
        mean_taken_away,
    ],
    variants=[
        lambda z, hook, head, by_mean: torch.where(
            (torch.arange(z.shape[2]) == head)[:, None],
            z.mean(dim=(0, 1)) if by_mean else torch.zeros(()),
            z,
        ),
        lambda z, hook, head, by_mean: (
            z.index_fill(2, torch.tensor([head]), 0)
            + (
                by_mean
                * torch.nn.functional.one_hot(torch.tensor(head), z.shape[2])[:, None]
                * z.mean(dim=(0, 1))
            )
        ),
    ],
    hints=[
        "Which axis of z [batch pos head d_head] is the head's? Index that one, and keep the rest.",
        "z[:, :, head] can be assigned to. A mean over texts and positions is dim=(0, 1).",
        (
            "The head's mean is a vector of d_head numbers; assigned to z[:, :, head] it is the "
            "same at every position. Return the whole z."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 2.10


def _pairs(tokens, which=slice(-1, None), shift=1) -> list[tuple[int, int]]:
    """(position that reads, position that is read) for each token that has come before."""
    found = []
    for now, token in enumerate(tokens.tolist()):
        earlier = [pos for pos in range(now) if tokens[pos] == token]
        found += [(now, pos + shift) for pos in earlier[which]]
    return found


def _picked(patterns, reads, is_read) -> Tensor:
    return patterns[:, :, reads, is_read]


def _on_text(
    patterns, tokens, *, which=slice(-1, None), shift=1, pick=_picked, average=torch.mean
) -> Tensor:
    reads, is_read = map(list, zip(*_pairs(tokens, which, shift), strict=True))
    return average(pick(patterns, reads, is_read), dim=-1)


def induction_on_text(
    patterns: Float[Tensor, "layer head q_pos k_pos"], tokens: Int[Tensor, " pos"]
) -> Float[Tensor, "layer head"]:
    """How much each head reads from the token after this one's last occurrence: from 0 to 1."""
    reads, is_read = [], []
    for now in range(len(tokens)):
        earlier = [pos for pos in range(now) if tokens[pos] == tokens[now]]
        if earlier:
            reads.append(now)
            is_read.append(earlier[-1] + 1)
    return patterns[:, :, reads, is_read].mean(dim=-1)


def reads_the_occurrence_itself(patterns, tokens):
    """You measured reading from the last occurrence itself: duplicate-token heads do that. Read one
    position further.

    The head is to say what came next the last time. Where does that stand?"""
    return _on_text(patterns, tokens, shift=0)


def reads_before_the_occurrence(patterns, tokens):
    """You read the token before the last occurrence. Wanted is the one after it: + 1."""
    return _on_text(patterns, tokens, shift=-1)


def first_occurrence_taken(patterns, tokens):
    """Where a token has come several times, you took the first time. Take the last time before this
    position.

    .index(...) and a loop with `break` find the first one. What do you get if you search from the
    other end, or keep a list of all?"""
    return _on_text(patterns, tokens, which=slice(1))


def every_position_counted(patterns, tokens):
    """Your scores are too small: you divided by all positions. Only those count whose token has
    come before."""

    def average(picked, dim):
        return picked.sum(dim) / len(tokens)

    return _on_text(patterns, tokens, average=average)


def what_is_read_comes_later(patterns, tokens):
    """All your scores are 0: what you read lies later. Either rows and columns are swapped (the row
    reads), or each position found itself: look for its token among the positions before it."""
    return _on_text(patterns.mT, tokens)


def found_by_the_next_token(patterns, tokens):
    """You looked for the last time that the *next* token came. The head does not know it yet: look
    for the present token, and read one further.

    At the text's last position there is no next token, and the head still has to say one. What does
    it know there?"""
    later = [(now - 1, pos) for now, pos in _pairs(tokens, shift=0) if pos < now]
    return _picked(patterns, *map(list, zip(*later, strict=True))).mean(dim=-1)


def summed_over_text(patterns, tokens):
    """You added up over the text. Take the mean, so that a score lies between 0 and 1."""
    return _on_text(patterns, tokens, average=torch.sum)


def last_repeat_only(patterns, tokens):
    """You counted the last repetition only. Average over every position whose token has come
    before."""
    return _on_text(patterns, tokens, average=lambda picked, dim: picked[..., -1])


def every_earlier_occurrence(patterns, tokens):
    """You counted each earlier occurrence. Take the last one alone."""
    return _on_text(patterns, tokens, which=slice(None))


def tensors_for_keys(patterns, tokens):
    """All your scores are NaN, the mean of nothing: no token was found again. As keys of a dict, or
    in a set, two tensors are never the same: take tokens.tolist()."""
    return _picked(patterns, [], []).mean(dim=-1)


def text_heads_averaged(patterns, tokens):
    """You have one number a layer: keep the heads apart."""
    return _on_text(patterns, tokens).mean(dim=1)


def every_pair_of_rows_and_columns(patterns, tokens):
    """You averaged each of the rows with each of the columns. Rows and columns belong together in
    pairs: index both in the same brackets.

    With x of 5 by 5, print x[[1, 2]][:, [3, 4]].shape and x[[1, 2], [3, 4]].shape. Which has one
    entry for each pair?"""

    def pick(patterns, reads, is_read):
        return patterns[:, :, reads][..., is_read].flatten(-2)

    return _on_text(patterns, tokens, pick=pick)


INDUCTION_ON_TEXT = Exercise(
    id="2.10",
    title="find the heads on a text of your own",
    answer=induction_on_text,
    cases={
        "a name comes again": (patterns(2, 3, 7, 7), torch.tensor([0, 5, 6, 2, 5, 6, 9])),
        "a token comes three times": (
            patterns(3, 2, 9, 9, seed=1),
            torch.tensor([1, 4, 7, 8, 4, 9, 3, 4, 7]),
        ),
    },
    mistakes=[
        reads_the_occurrence_itself,
        reads_before_the_occurrence,
        first_occurrence_taken,
        every_position_counted,
        what_is_read_comes_later,
        found_by_the_next_token,
        summed_over_text,
        last_repeat_only,
        every_earlier_occurrence,
        tensors_for_keys,
        text_heads_averaged,
        every_pair_of_rows_and_columns,
    ],
    variants=[
        lambda patterns, tokens: torch.stack(
            [patterns[:, :, now, read] for now, read in _pairs(tokens)]
        ).mean(dim=0),
    ],
    hints=[
        "Go through the positions. For each, list the earlier ones that hold the same token.",
        "Where the list is not empty, its last entry + 1 is the position to be read.",
        (
            "Collect the reading positions and the read ones in two lists of one length: "
            "patterns[:, :, reads, is_read] is [layer head repetition]."
        ),
    ],
    difficulty=2,
    minutes=15,
)


EXERCISES = (
    HEAD_ACTIVATIONS,
    ATTENTION_TO_OFFSET,
    PREVIOUS_TOKEN_SCORES,
    REPEATED_TOKENS,
    INDUCTION_SCORES,
    HEAD_KINDS,
    LOSS_ON_REPEATS,
    LOGIT_LENS,
    ABLATE_HEAD,
    INDUCTION_ON_TEXT,
)

QUIZZES = (
    Quiz(
        id="2-a",
        question=(
            "Two texts of 10 tokens go through GPT-2 small: 12 layers, 12 heads, d_head 64, d_model"
            " 768. What is the shape of `blocks.5.attn.hook_z`?"
        ),
        options=(
            Option(
                "[2, 10, 768]",
                False,
                "That is a vector of the residual stream, such as hook_attn_out. z comes before "
                "W_O, which is what makes such a vector (12 · 64 happens to be 768).",
            ),
            Option(
                "[2, 12, 10, 64]",
                False,
                "The right sizes in a wrong order: among the hooks of attention, only attn_scores "
                "and pattern have the heads in second place.",
            ),
            Option(
                "[2, 12, 10, 10]",
                False,
                "That is the pattern: for each head a square of positions that read and are read.",
            ),
            Option(
                "[2, 10, 12, 64]",
                True,
                "[batch pos head d_head], as for q, k and v: at each position each head has brought"
                " a vector.",
            ),
        ),
    ),
    Quiz(
        id="2-b",
        question=(
            'In "Mr Jones met Anna. Later Mr", the last token is a second " Mr". Which head helps '
            'to say " Jones" by what it reads there?'
        ),
        options=(
            Option(
                'A previous-token head, reading " Later"',
                False,
                'It reads what stands next to the last token, and " Later" says nothing of Jones: '
                "whoever was met, it would be the same word.",
            ),
            Option(
                'An induction head, reading " Jones"',
                True,
                'It reads the token that came after the last " Mr" and can copy it. To find it, it '
                "needs the note that a previous-token head left there.",
            ),
            Option(
                'A duplicate-token head, reading the first " Mr"',
                False,
                'It finds that " Mr" has come before, and could tell where. But what it brings from'
                ' there is about " Mr".',
            ),
            Option(
                'An induction head, reading the first " Mr"',
                False,
                "A head that looks for the present token itself is no induction head, and has "
                'another name. What it copies is " Mr".',
            ),
        ),
    ),
    Quiz(
        id="2-c",
        question=(
            "A word is drawn evenly from a list of 124. A model knows the list and nothing else. "
            "What is the lowest mean loss that its guess can have, in nats (two decimals)?"
        ),
        number=math.log(124),
        tolerance=0.01,
        slips={
            1 / 124: "That is the probability of each word. How much does one surprise?",
            124.0: "That is among how many words it guesses. How much does one surprise?",
            math.log(1701): "That is for a guess among all 1,701 tokens, but the list is known.",
            math.log(50257): "That is for a guess among all 50,257 tokens; the list is known.",
        },
        why=(
            "-ln(1 / 124) = ln 124 = 4.82. In the first half of our lists nobody can do much "
            "better: all one can know is that no word comes twice. What is below it in the second "
            "half, the model took from the text itself."
        ),
    ),
    Quiz(
        id="2-d",
        question=(
            "On lists of 20 words that come twice, a head has an induction score of 0.9. You ablate"
            " it, and the second half costs 0.5 nats a word, as before. Which conclusions hold?"
        ),
        options=(
            Option(
                "Other heads may bring the same thing.",
                True,
                "Often several heads do one job. Ablate them together, or see who steps in "
                "(chapter 3).",
            ),
            Option(
                "The score is wrong: an induction head must be needed.",
                False,
                "The score says where the head looks, and it does look there. Being needed is "
                "another question, which only an intervention answers.",
            ),
            Option(
                "It may write little of what it reads there.",
                True,
                "The pattern is half of a head. What it moves is decided by W_V and W_O (chapter "
                "4).",
            ),
            Option(
                "The model does no induction on this text.",
                False,
                "Who knows which 20 words came, and not what came after what, pays about ln 20 = 3 "
                "nats a word.",
            ),
            Option(
                "The head is of no use on any text.",
                False,
                "One kind of text was tried. What is idle here may be needed on another.",
            ),
        ),
    ),
)
