"""Chapter 0, "Start here": its six exercises, the mistakes that readers make in them, its quizzes,
and the list of what a reader may want to refresh."""

import math
import operator
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from circuitbook import progress as stored
from circuitbook.exercises.cards import Card
from circuitbook.exercises.engine import Exercise, Option, Quiz, normal


def random_tokens(*shape: int, below: int, seed: int = 0) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


# 0.1


def along(
    x: Float[Tensor, " d_model"], direction: Float[Tensor, " d_model"]
) -> dict[str, Float[Tensor, "*d_model"]]:
    """How long x is, how far it points in the direction, and the part of it that does.

    √(x·x), x·d / (|x| |d|), and (x·d / d·d) d for a direction d of any length.
    """
    dot = x @ direction
    cosine = dot / (x.norm() * direction.norm())
    projection = dot / (direction @ direction) * direction
    return {"length": x.norm(), "cosine": cosine, "projection": projection}


def squared_length(x, direction):
    """Your length is x·x, the square of the length: take its root."""
    return along(x, direction) | {"length": x @ x}


def number_of_entries(x, direction):
    """Your length is how many numbers x has: Python's len counts them. How long the arrow is is
    √(x·x), in PyTorch x.norm()."""
    return along(x, direction) | {"length": len(x)}


def lengths_of_the_axes_added(x, direction):
    """Your length is the sum of the numbers' sizes, as if you could only walk along the axes. Sum
    their squares, then take the root."""
    return along(x, direction) | {"length": x.abs().sum()}


def dot_product_for_cosine(x, direction):
    """Your cosine grows with the vectors; it must lie between -1 and 1. Divide the dot product by
    both lengths."""
    return along(x, direction) | {"cosine": x @ direction}


def cosine_divided_by_the_length_of_the_direction(x, direction):
    """Your cosine grows with x: you divided by the direction's length only. Divide by x's too."""
    return along(x, direction) | {"cosine": x @ direction / direction.norm()}


def cosine_divided_by_the_length_of_x(x, direction):
    """Your cosine grows with the direction: you divided by x's length only. Divide by the
    direction's too."""
    return along(x, direction) | {"cosine": x @ direction / x.norm()}


def divided_by_one_length_multiplied_by_the_other(x, direction):
    """Your cosine is |d|² times too large: a / b * c is (a / b) · c. Put brackets around the
    product of the two lengths."""
    return along(x, direction) | {"cosine": x @ direction / x.norm() * direction.norm()}


def cosine_divided_by_squared_lengths(x, direction):
    """Your cosine shrinks when the vectors grow: x·x and d·d are squares of lengths. Divide by the
    lengths, their roots."""
    return along(x, direction) | {"cosine": x @ direction / ((x @ x) * (direction @ direction))}


def angle_for_cosine(x, direction):
    """You returned the angle itself. Leave out the arc cosine: its cosine is what we compare."""
    result = along(x, direction)
    return result | {"cosine": result["cosine"].arccos()}


def direction_taken_for_a_unit_vector(x, direction):
    """Your projection is |d|² times too long: (x·d) d is right only where d has length 1. Divide by
    d·d.

    A test that needs no formula: twice the direction is the same direction, so the projection must
    come out the same. Yours comes out four times as long."""
    return along(x, direction) | {"projection": (x @ direction) * direction}


def projection_divided_once(x, direction):
    """Your projection is |d| times too long. The direction comes in twice, in the dot product and
    as the vector: divide by its length twice, which is d·d."""
    return along(x, direction) | {"projection": (x @ direction) / direction.norm() * direction}


def projection_divided_three_times(x, direction):
    """Your projection is |d| times too short: with d·d below the line, its length is already taken
    out twice. Multiply by the direction as it is."""
    projection = along(x, direction)["projection"]
    return along(x, direction) | {"projection": projection / direction.norm()}


def cosine_times_direction(x, direction):
    """Your projection does not grow with x: the cosine knows the angle only. The shadow is |x| cos
    long, and it points along the direction made one long."""
    result = along(x, direction)
    return result | {"projection": result["cosine"] * direction}


def brackets_forgotten(x, direction):
    """Your projection is far too long, or NaN: a / d @ d * d is ((a / d) @ d) * d. Put brackets
    around what stands below the line: (d @ d)."""
    return along(x, direction) | {"projection": x @ direction / direction @ direction * direction}


def projected_the_other_way(x, direction):
    """Your projection points along x. Project x onto the direction: the result is a multiple of
    `direction`."""
    return along(x, direction) | {"projection": along(direction, x)["projection"]}


def divided_by_the_square_of_x(x, direction):
    """Your projection gets shorter when x grows: you divided by x·x. The length that has to go is
    the direction's, d·d."""
    return along(x, direction) | {"projection": (x @ direction) / (x @ x) * direction}


def multiplied_by_x(x, direction):
    """Your projection points along x: the number (x·d) / (d·d) is right, and says how many times
    the direction. Multiply it by `direction`."""
    return along(x, direction) | {"projection": (x @ direction) / (direction @ direction) * x}


def coefficient_for_projection(x, direction):
    """Your projection is a number: (x·d) / (d·d) says how many times the direction fits. Multiply
    it by `direction` to get the vector."""
    return along(x, direction) | {"projection": (x @ direction) / (direction @ direction)}


def length_of_the_projection(x, direction):
    """Your projection is a number, the length of the shadow. The vector has that length and points
    along the direction: multiply by the direction made one long."""
    return along(x, direction) | {"projection": x @ direction / direction.norm()}


def rest_for_projection(x, direction):
    """You returned what is left of x, at a right angle to the direction. Return the other part, the
    one that you subtracted."""
    return along(x, direction) | {"projection": x - along(x, direction)["projection"]}


def numbers_not_summed(x, direction):
    """Your cosine is a vector: `*` multiplies number by number and stops there. A dot product sums
    the results: x @ direction."""
    products = x * direction
    return along(x, direction) | {
        "cosine": products / (x.norm() * direction.norm()),
        "projection": products / (direction @ direction) * direction,
    }


ALONG = Exercise(
    id="0.1",
    title="lengths, angles, projections",
    answer=along,
    cases={
        "two dimensions": (torch.tensor([3.0, 4.0]), torch.tensor([4.0, 0.0])),
        "the other way": (torch.tensor([1.0, 2.0, 2.0]), torch.tensor([-3.0, 0.0, -4.0])),
        "seven dimensions": normal((7,), (7,)),
    },
    mistakes=[
        squared_length,
        number_of_entries,
        lengths_of_the_axes_added,
        dot_product_for_cosine,
        cosine_divided_by_the_length_of_the_direction,
        cosine_divided_by_the_length_of_x,
        divided_by_one_length_multiplied_by_the_other,
        cosine_divided_by_squared_lengths,
        angle_for_cosine,
        direction_taken_for_a_unit_vector,
        projection_divided_once,
        projection_divided_three_times,
        cosine_times_direction,
        brackets_forgotten,
        projected_the_other_way,
        divided_by_the_square_of_x,
        multiplied_by_x,
        coefficient_for_projection,
        length_of_the_projection,
        rest_for_projection,
        numbers_not_summed,
    ],
    variants=[
        lambda x, direction: {
            "length": (x * x).sum() ** 0.5,
            "cosine": functional.cosine_similarity(x, direction, dim=0),
            "projection": torch.outer(direction, direction) @ x / direction.square().sum(),
        },
        lambda x, direction: {
            "length": math.sqrt(sum(number.item() ** 2 for number in x)),
            "cosine": functional.normalize(x, dim=0) @ functional.normalize(direction, dim=0),
            "projection": (x @ functional.normalize(direction, dim=0))
            * functional.normalize(direction, dim=0),
        },
    ],
    hints=[
        "All three come from dot products: x·x, x·d and d·d. In PyTorch: x @ direction.",
        "The cosine is x·d divided by both lengths, so that only the angle is left.",
        (
            "The projection is a multiple of the direction. Make the direction one long (u = d / "
            "|d|), then it is (x·u) u."
        ),
    ],
    difficulty=1,
    minutes=5,
)


# 0.2


def queries(
    x: Float[Tensor, "batch pos d_model"], W_Q: Float[Tensor, "head d_model d_head"]
) -> Float[Tensor, "batch pos head d_head"]:
    """Each position's vector through the matrix of each head: a sum over d_model."""
    return einsum(x, W_Q, "batch pos d_model, head d_model d_head -> batch pos head d_head")


def _queries(x, W_Q, right):
    return einsum(x, W_Q, f"batch pos d_model, head d_model d_head -> {right}")


def summed_the_batch(x, W_Q):
    """The texts of the batch are added up: `batch` is missing right of the arrow, and what is
    missing there is summed."""
    return _queries(x, W_Q, "pos head d_head")


def summed_the_positions(x, W_Q):
    """One vector is left for a whole text: `pos` is missing right of the arrow, so positions
    were summed."""
    return _queries(x, W_Q, "batch head d_head")


def summed_the_heads(x, W_Q):
    """The heads are added up: `head` is missing right of the arrow. Each head keeps its own
    query."""
    return _queries(x, W_Q, "batch pos d_head")


def nothing_summed(x, W_Q):
    """Your result still has d_model: with it right of the arrow nothing is summed. Leave it out
    there."""
    return _queries(x, W_Q, "batch pos head d_model d_head")


def heads_before_positions(x, W_Q):
    """The numbers are right, two axes are transposed: return [batch pos head d_head], in this
    order."""
    return _queries(x, W_Q, "batch head pos d_head")


def d_model_kept_in_place_of_d_head(x, W_Q):
    """Your last axis has d_model numbers: you summed d_head away and kept d_model. Each query has
    d_head numbers; what x and W_Q share is summed."""
    return _queries(x, W_Q, "batch pos head d_model")


def two_names_for_d_model(x, W_Q):
    """All numbers are there, none is right: d_model has one name in x and another in W_Q, so each
    is summed on its own before they meet. Only what has the same name is multiplied along."""
    return einsum(x, W_Q, "batch pos m, head d_model d_head -> batch pos head d_head")


def words_in_torch_einsum(x, W_Q):
    """torch.einsum knows axes of one letter only. The chapter imports the einsum of einops, which
    takes words: einsum(x, W_Q, "...")."""
    return torch.einsum("batch pos d_model, head d_model d_head -> batch pos head d_head", x, W_Q)


def one_axis_short_for_matmul(x, W_Q):
    """`@` multiplies along the last two axes and lines up the axes before them from the right, here
    pos with head. Give x two axes of size 1, one for head, one for the row, or name the axes in
    einsum."""
    return x[:, :, None] @ W_Q


def list_of_heads(x, W_Q):
    """You return a list with one tensor for each head. torch.stack makes one tensor of them; its
    dim says where the new axis goes, and `head` is the third."""
    return [x @ W for W in W_Q]


def summed_over_d_head(x, W_Q):
    """You paired x with the last axis of W_Q, which goes unnoticed only where d_head is d_model.
    The axis that both share, d_model, is the middle one of W_Q."""
    return einsum(x, W_Q, "batch pos d, head d_model d -> batch pos head d_model")


def text_paired_with_head(x, W_Q):
    """Text 0 met head 0 only, text 1 head 1, and where there are not as many it fails: batch and
    head are lined up as if they were one axis. Give each a name of its own in einsum."""
    return x @ W_Q


def heads_mixed_by_reshape(x, W_Q):
    """The shape is right, the heads are mixed: reshape never moves an axis, it cuts the same row of
    numbers elsewhere. Name the axes in einsum instead.

    W_Q lies in memory head by head. One matrix for all heads needs them side by side in each of
    its rows: rearrange(W_Q, "head d_model d_head -> d_model (head d_head)") moves them, reshape
    does not."""
    head, d_model, d_head = W_Q.shape
    return (x @ W_Q.reshape(d_model, head * d_head)).reshape(*x.shape[:2], head, d_head)


def positions_and_heads_reshaped(x, W_Q):
    """The shape is right, positions and heads are mixed: your numbers came as [batch head pos
    d_head], and reshape never swaps axes. Name the axes in einsum, or use .transpose(1, 2)."""
    return (x[:, None] @ W_Q).reshape(*x.shape[:2], len(W_Q), W_Q.shape[2])


def stacked_heads_reshaped(x, W_Q):
    """The shape is right, the texts are mixed: stack puts the new axis first, [head batch pos
    d_head], and reshape never moves it. Stack with dim=2, or name the axes in einsum."""
    return torch.stack([x @ W for W in W_Q]).reshape(*x.shape[:2], len(W_Q), W_Q.shape[2])


QUERIES = Exercise(
    id="0.2",
    title="one einsum",
    answer=queries,
    cases={
        "two texts, three heads": normal((2, 5, 4), (3, 4, 2)),
        "as many texts as heads": normal((3, 5, 4), (3, 4, 2), seed=1),
        "d_head as large as d_model": normal((2, 5, 4), (3, 4, 4), seed=2),
    },
    mistakes=[
        summed_the_batch,
        summed_the_positions,
        summed_the_heads,
        nothing_summed,
        heads_before_positions,
        summed_over_d_head,
        d_model_kept_in_place_of_d_head,
        two_names_for_d_model,
        words_in_torch_einsum,
        one_axis_short_for_matmul,
        list_of_heads,
        text_paired_with_head,
        heads_mixed_by_reshape,
        positions_and_heads_reshaped,
        stacked_heads_reshaped,
    ],
    variants=[
        lambda x, W_Q: torch.einsum("bpm,hmd->bphd", x, W_Q),
        lambda x, W_Q: torch.stack([x @ W for W in W_Q], dim=2),
        lambda x, W_Q: x[:, :, None, None, :].matmul(W_Q).squeeze(-2),
    ],
    hints=[
        "Which axis do both tensors have? That one is summed, and only that one.",
        (
            "Write the axes of x, a comma, the axes of W_Q, an arrow, the axes that you want: a "
            "name that is missing on the right is summed."
        ),
        'The left side is "batch pos d_model, head d_model d_head"; the right side has four names.',
    ],
    difficulty=1,
    minutes=5,
)


# 0.3


def softmax(scores: Float[Tensor, "*axes n"]) -> Float[Tensor, "*axes n"]:
    """Scores along the last axis as shares of 1: e^s over the sum of e^s.

    The greatest score is subtracted first, which changes nothing and keeps e^s from overflowing.
    """
    powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def _row_maxima(scores):
    return scores.max(dim=-1, keepdim=True).values


def _row_sums(powers):
    return powers.sum(dim=-1, keepdim=True)


def _nothing(scores):
    return 0.0


def _shares(scores, shift=_row_maxima, power=torch.exp, total=_row_sums):
    """The softmax, with its parts open."""
    powers = power(scores - shift(scores))
    return powers / total(powers)


def maximum_not_subtracted(scores):
    """Where scores are large you get NaN: e^100 is infinite in 32 bits, and ∞ / ∞ is not a number.
    Subtract each row's maximum first; the shares stay the same.

    Why they stay the same: e^(s - m) = e^s / e^m, and the factor e^m stands above and below the
    line. Why the maximum: then the largest power is e^0 = 1, and the sum is at least 1."""
    return _shares(scores, shift=_nothing)


def more_digits_only(scores):
    """Scores of 1000 still give NaN: float64 ends at e^709, so it only moves the limit. Subtract
    each row's maximum, and float32 is enough for any score."""
    return _shares(scores.double(), shift=_nothing).float()


def nan_replaced(scores):
    """Rows with a large score sum to 0: you wrote a number over the NaN, and what the row said is
    lost. Keep the NaN from coming up: subtract the row's maximum before exp."""
    return _shares(scores, shift=_nothing).nan_to_num()


def maximum_taken_after_exp(scores):
    """Rows with a large score are NaN: you divide by the largest power, and by then it is infinite.
    Subtract the largest score before exp: e^(s - m) is e^s / e^m, without the detour."""
    powers = scores.exp()
    return _shares(powers / _row_maxima(powers), shift=_nothing, power=lambda ratio: ratio)


def divided_by_the_maximum(scores):
    """Double all scores and your shares stay the same, which a softmax's do not: you divided by the
    maximum. Only subtracting cancels: e^(s - m) / Σ e^(s - m)."""
    return _shares(scores / _row_maxima(scores))


def values_forgotten(scores):
    """`max` with a dim returns two things, the maxima and where they are. Take the first of them,
    `.values`, or use scores.amax(dim=-1, keepdim=True)."""
    return (scores - scores.max(dim=-1, keepdim=True)).exp()


def second_axis_for_the_last(scores):
    """It works for matrices only: dim=1 is the last axis of those, one row has no axis 1, and a
    batch of matrices has another one after it. Count from the end: dim=-1."""
    return _shares(
        scores,
        shift=lambda scores: scores.max(dim=1, keepdim=True).values,
        total=lambda powers: powers.sum(dim=1, keepdim=True),
    )


def second_axis_and_no_maximum(scores):
    """It works for matrices only: dim=1 is the last axis of those, not of a row or a batch of
    matrices. Take dim=-1. After that, large scores still overflow: subtract each row's maximum."""
    powers = scores.exp()
    return powers / powers.sum(dim=1, keepdim=True)


def matrices_only(scores):
    """It works for matrices only: a loop over the first axis meets rows there, but single numbers
    in one row, and matrices in a batch. Without a loop, dim=-1 and keepdim=True fit all."""
    return torch.stack([(row - row.max()).exp() / (row - row.max()).exp().sum() for row in scores])


def normalised_over_the_first_axis(scores):
    """Your columns sum to 1, your rows do not: the axis is the wrong one. Take dim=-1."""
    return scores.softmax(dim=0)


def summed_over_the_first_axis(scores):
    """Your rows do not sum to 1: each power was divided by the sum of its column. Sum over dim=-1,
    with keepdim=True."""
    return _shares(scores, total=lambda powers: powers.sum(dim=0, keepdim=True))


def normalised_over_everything(scores):
    """All your numbers together sum to 1. Each row is a distribution of its own: dim=-1, with
    keepdim=True."""
    return scores.flatten().softmax(dim=0).reshape(scores.shape)


def one_sum_for_everything(scores):
    """Your rows sum to less than 1: you divided by the sum of all numbers. Each row has its own:
    dim=-1, keepdim=True."""
    return _shares(scores, total=torch.sum)


def one_maximum_for_all_rows(scores):
    """A row far below the others becomes NaN: you subtracted the maximum of the whole tensor, and
    nothing of that row is left. Each row has its own maximum: dim=-1, keepdim=True."""
    return _shares(scores, shift=torch.max)


def maximum_of_each_column(scores):
    """Scores of one row lose different numbers, so their shares change: you subtracted the maximum
    of each column. Only one number for the whole row cancels: dim=-1."""
    return _shares(scores, shift=lambda scores: scores.max(dim=0, keepdim=True).values)


def mean_subtracted(scores):
    """Some rows are still NaN: the largest score can lie far above the mean. Subtract the maximum,
    then no power is above e^0 = 1."""
    return _shares(scores, shift=lambda scores: scores.mean(dim=-1, keepdim=True))


def minimum_subtracted(scores):
    """Rows with far-apart scores are still NaN: above the minimum there is no limit. Subtract the
    maximum, then no power is above e^0 = 1."""
    return _shares(scores, shift=lambda scores: scores.min(dim=-1, keepdim=True).values)


def largest_size_subtracted(scores):
    """A row of very negative scores is NaN: abs() makes its maximum positive, and subtracting that
    takes it further down, where every power is 0. Subtract the maximum, with its sign."""
    return _shares(scores, shift=lambda scores: _row_maxima(scores.abs()))


def maximum_subtracted_above_only(scores):
    """Add 1 to all your scores and the result changes, which a softmax's does not: you subtracted
    the maximum above the line and not below. Use the same powers in both places."""
    return _shares(scores, total=lambda powers: _row_sums(scores.exp()))


def not_divided(scores):
    """Your rows do not sum to 1: these are the powers. Divide them by their sum."""
    return _shares(scores, total=lambda powers: 1.0)


def powers_only(scores):
    """Your rows do not sum to 1, and large scores become infinite: these are the powers alone.
    Subtract each row's maximum before exp, and divide by the row's sum after it."""
    return scores.exp()


def divided_without_exp(scores):
    """You divided the scores themselves by their sum, so a negative score gets a negative share.
    Take e to the power of each score first."""
    return _shares(scores, shift=_nothing, power=lambda scores: scores)


def exp_forgotten(scores):
    """The largest score of each row gets the share 0: you subtracted the maximum and divided, but
    took no power in between. Take .exp() of the differences."""
    return _shares(scores, power=lambda differences: differences)


def scores_cut_off(scores):
    """No NaN, but two scores above the limit get the same share: you cut them off. Subtracting each
    row's maximum loses nothing."""
    return _shares(scores.clamp(max=80), shift=_nothing)


def keepdim_forgotten(scores):
    """Each column was divided by the sum of a row: without keepdim=True the sums have one axis less
    and broadcasting lines them up with the last one.

    Shapes line up from the right: [4, 4] / [4] puts the four sums beside the four columns, and
    raises no error. [4, 4] / [4, 1] puts each beside its row."""
    return _shares(scores, total=lambda powers: powers.sum(dim=-1))


def keepdim_forgotten_at_the_maximum(scores):
    """Each column lost the maximum of a row: without keepdim=True the maxima have one axis less and
    broadcasting lines them up with the last one."""
    return _shares(scores, shift=lambda scores: scores.max(dim=-1).values)


def keepdim_forgotten_twice(scores):
    """Maxima and sums of rows met columns: without keepdim=True they have one axis less, and
    broadcasting lines them up with the last one. Both need it."""
    return _shares(
        scores,
        shift=lambda scores: scores.max(dim=-1).values,
        total=lambda powers: powers.sum(dim=-1),
    )


def keepdim_and_maximum_forgotten(scores):
    """Each column was divided by the sum of a row: give `sum` keepdim=True. After that, large
    scores still overflow: subtract each row's maximum before `exp`."""
    return _shares(scores, shift=_nothing, total=lambda powers: powers.sum(dim=-1))


def logarithms(scores):
    """Your numbers are below 0: these are the logarithms of the shares. Take the softmax, not the
    log-softmax."""
    return scores.log_softmax(dim=-1)


SOFTMAX = Exercise(
    id="0.3",
    title="softmax, stable",
    answer=softmax,
    cases={
        "four rows of four": normal((4, 4)),
        "one row": (torch.tensor([2.0, 1.0, 0.0, -1.0]),),
        "two texts, three rows of four": normal((2, 3, 4), seed=1),
        "large scores": (
            torch.tensor([[0.0, 1.0, 200.0], [120.0, 121.0, 30.0], [50.0, 49.0, 48.0]]),
        ),
        "rows far apart": (torch.tensor([[1000.0, 1001.0], [-1000.0, -1001.0]]),),
        "a hidden score": (torch.tensor([[1.0, -torch.inf, 2.0], [0.5, 0.0, -torch.inf]]),),
    },
    mistakes=[
        maximum_not_subtracted,
        more_digits_only,
        nan_replaced,
        maximum_taken_after_exp,
        divided_by_the_maximum,
        values_forgotten,
        second_axis_for_the_last,
        second_axis_and_no_maximum,
        matrices_only,
        normalised_over_the_first_axis,
        summed_over_the_first_axis,
        normalised_over_everything,
        one_sum_for_everything,
        one_maximum_for_all_rows,
        maximum_of_each_column,
        mean_subtracted,
        minimum_subtracted,
        largest_size_subtracted,
        maximum_subtracted_above_only,
        not_divided,
        powers_only,
        divided_without_exp,
        exp_forgotten,
        scores_cut_off,
        keepdim_forgotten,
        keepdim_forgotten_at_the_maximum,
        keepdim_forgotten_twice,
        keepdim_and_maximum_forgotten,
        logarithms,
    ],
    variants=[
        lambda scores: scores.softmax(dim=-1),
        lambda scores: (scores - scores.logsumexp(dim=-1, keepdim=True)).exp(),
        lambda scores: torch.stack(
            [
                (row - row.max()).exp() / (row - row.max()).exp().sum()
                for row in scores.reshape(-1, scores.shape[-1])
            ]
        ).reshape(scores.shape),
    ],
    hints=[
        (
            "e^(s - m) / Σ e^(s - m) is the same for every m: the factor e^m cancels. Which m "
            "keeps every power at 1 or below?"
        ),
        (
            "scores.max(dim=-1, keepdim=True).values is one maximum a row, with the axis kept so "
            "that it can be subtracted."
        ),
        "Three steps: subtract the maximum, .exp(), divide by the sum over the same axis.",
    ],
    difficulty=1,
    minutes=5,
)


# 0.4


def next_token_loss(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, ""]:
    """How surprised a model is by the next token, on average over a batch, in nats.

    The mean of -ln p(token i + 1), p being the softmax of the logits at position i.
    """
    log_probabilities = logits[:, :-1].log_softmax(dim=-1)
    surprises = -log_probabilities.gather(dim=-1, index=tokens[:, 1:, None])
    return surprises.mean()


ALL, BUT_THE_FIRST, BUT_THE_LAST = slice(None), slice(1, None), slice(None, -1)


def _over_vocabulary(logits):
    return logits.log_softmax(dim=-1)


def _loss(
    logits,
    tokens,
    guesses=BUT_THE_LAST,
    came=BUT_THE_FIRST,
    log_softmax=_over_vocabulary,
    mean=torch.mean,
):
    """The loss, with its parts open."""
    log_probabilities = log_softmax(logits[:, guesses])
    surprises = -log_probabilities.gather(-1, tokens[:, came, None]).squeeze(-1)
    return mean(surprises)


def in_bits(logits, tokens):
    """Your loss is 1.44 times too large: you took the logarithm to base 2, which gives bits. Take
    the natural one, `log`."""
    return _loss(logits, tokens) / math.log(2)


def no_shift(logits, tokens):
    """You asked each position for the token that it has already read. The guess made at position i
    is about token i + 1: drop the last logits and the first token.

    With three tokens there are two guesses: the logits at position 0 against token 1, those at 1
    against token 2. Nobody guesses token 0, and what came after token 2 is unknown. So logits and
    tokens are cut at different ends."""
    return _loss(logits, tokens, guesses=ALL, came=ALL)


def last_position_dropped_from_both(logits, tokens):
    """Your lengths fit, but each guess still meets the token that it has just read: you cut logits
    and tokens at the same end. Drop the first token in place of the last."""
    return _loss(logits, tokens, came=BUT_THE_LAST)


def first_position_dropped_from_both(logits, tokens):
    """Your lengths fit, but each guess still meets the token that it has just read: you cut logits
    and tokens at the same end. Drop the last logits in place of the first."""
    return _loss(logits, tokens, guesses=BUT_THE_FIRST)


def shifted_the_wrong_way(logits, tokens):
    """You compared each guess with the token before it. Logits lose their last position, tokens
    their first."""
    return _loss(logits, tokens, guesses=BUT_THE_FIRST, came=BUT_THE_LAST)


def rolled_around_the_end(logits, tokens):
    """Your last guess met the first token of its text: roll puts what falls out at one end in again
    at the other. Cut logits[:, :-1] and tokens[:, 1:]."""
    return _loss(logits, tokens.roll(-1, dims=1), guesses=ALL, came=ALL)


def texts_run_together(logits, tokens):
    """The last guess of each text met the first token of the next one: you flattened before you
    cut. Shift inside each text first, logits[:, :-1] and tokens[:, 1:], then flatten."""
    return _loss(logits.flatten(0, 1)[None], tokens.flatten()[None])


def texts_cut_off_in_place_of_positions(logits, tokens):
    """You dropped a whole text: [:-1] and [1:] cut the first axis, the batch. Positions are the
    second: logits[:, :-1] and tokens[:, 1:]."""
    return -logits[:-1].log_softmax(dim=-1).gather(-1, tokens[1:, :, None]).mean()


def only_one_of_them_shifted(logits, tokens):
    """There are more guesses than tokens: you dropped the first token, but the last logits, about
    which nothing is known, are still there. Take logits[:, :-1]."""
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def softmax_twice(logits, tokens):
    """Your losses are nearly all alike, near ln(d_vocab): the softmax was taken twice.
    cross_entropy and log_softmax want logits, not probabilities."""
    return _loss(logits.softmax(dim=-1), tokens)


def softmax_over_positions(logits, tokens):
    """Your probabilities sum to 1 over the positions. At each position they must sum to 1 over the
    vocabulary: dim=-1."""
    return _loss(logits, tokens, log_softmax=lambda logits: logits.log_softmax(dim=1))


def softmax_over_all_positions(logits, tokens):
    """Your probabilities sum to 1 over the positions, the last one included. At each position they
    must sum to 1 over the vocabulary: dim=-1."""
    return _loss(logits.log_softmax(dim=1), tokens, log_softmax=lambda logits: logits)


def softmax_over_the_batch(logits, tokens):
    """A batch of one text has the loss 0: your probabilities sum to 1 over the texts. At each
    position they must sum to 1 over the vocabulary: dim=-1. (Without a dim, PyTorch takes 0.)"""
    return _loss(logits, tokens, log_softmax=lambda logits: logits.log_softmax(dim=0))


def one_loss_per_text(logits, tokens):
    """You averaged over positions only, so each text has a loss of its own. Average over both axes,
    down to one number."""
    return _loss(logits, tokens, mean=lambda surprises: surprises.mean(dim=-1))


def one_loss_per_token(logits, tokens):
    """You returned the surprise at every token. Take the mean of all of them."""
    return _loss(logits, tokens, mean=lambda surprises: surprises)


def summed(logits, tokens):
    """Your loss grows with the length of the text: you summed. Take the mean, so that texts can be
    compared."""
    return _loss(logits, tokens, mean=torch.sum)


def summed_over_positions(logits, tokens):
    """Your loss grows with the length of the text: you summed over positions and averaged over
    texts. Take the mean over both."""
    return _loss(logits, tokens, mean=lambda surprises: surprises.sum(dim=-1).mean())


def summed_over_texts(logits, tokens):
    """Your loss grows with the batch: you averaged over positions and summed over texts. Take the
    mean over both."""
    return _loss(logits, tokens, mean=lambda surprises: surprises.sum(dim=0).mean())


def divided_by_all_positions(logits, tokens):
    """Your loss is a little too small: you divided by all tokens, but nobody guesses the first.
    Divide by the guesses, one less in each text."""
    return _loss(logits, tokens, mean=torch.sum) / tokens.numel()


def sign_forgotten(logits, tokens):
    """Your loss is negative: the logarithm of a probability is. The surprise is minus that."""
    return -_loss(logits, tokens)


def logarithm_of_the_mean(logits, tokens):
    """Your loss is too small: you averaged probabilities and took the logarithm last. Take it at
    each token first, so that one bad miss costs what it should."""
    return _loss(logits, tokens, mean=lambda surprises: -(-surprises).exp().mean().log())


def probability_for_loss(logits, tokens):
    """Better guesses get a larger loss: this is the mean probability of the right token. The loss
    is the mean of -ln p."""
    return _loss(logits, tokens, mean=lambda surprises: (-surprises).exp().mean())


def nll_loss_of_probabilities(logits, tokens):
    """Your loss lies between -1 and 0: nll_loss takes no logarithm, it only picks and negates. Give
    it log_softmax, or give the logits to cross_entropy, which does both."""
    return -_loss(logits, tokens, mean=lambda surprises: (-surprises).exp().mean())


def logits_taken_for_logarithms(logits, tokens):
    """Add 1 to all logits and your loss changes, which it must not: you averaged minus the raw
    logits. The softmax, which compares each with all others, is missing."""
    return _loss(logits, tokens, log_softmax=lambda logits: logits)


def averaged_over_the_vocabulary(logits, tokens):
    """Your loss does not look at the tokens: it is the mean of -ln p over the whole vocabulary. At
    each position only the token that came counts: pick it with gather."""
    return -logits[:, :-1].log_softmax(dim=-1).mean()


def averaged_over_the_zeros(logits, tokens):
    """Your loss is d_vocab times too small: one-hot rows leave d_vocab numbers at each position,
    all 0 but one, and you averaged over them too. Sum over the vocabulary, then take the mean."""
    return _loss(logits, tokens) / logits.shape[-1]


def every_guess_met_every_token(logits, tokens):
    """Each guess was asked for all tokens of the batch: log_p[:, :, tokens] puts all of `tokens` in
    place of an axis, it does not walk along with it. gather(-1, tokens[:, 1:, None]) does."""
    return -logits[:, :-1].log_softmax(dim=-1)[:, :, tokens[:, 1:]].mean()


def first_guess_asked_for_all_tokens(logits, tokens):
    """Only the guess at position 0 was used: with [:, None, 1:] the index has one position and many
    choices. gather wants many positions with one choice each: tokens[:, 1:, None]."""
    return -logits[:, :-1].log_softmax(dim=-1).gather(-1, tokens[:, None, 1:]).mean()


def gathered_along_the_positions(logits, tokens):
    """dim=1 picks among the positions, and there are fewer of them than tokens to choose from. Pick
    among the vocabulary: gather(dim=-1, ...)."""
    return -logits[:, :-1].log_softmax(dim=-1).gather(1, tokens[:, 1:, None]).mean()


def axis_of_choices_forgotten(logits, tokens):
    """gather wants an index with as many axes as what it picks from, and the tokens have two. Give
    them a third, of one choice at each position: tokens[:, 1:, None]."""
    return -logits[:, :-1].log_softmax(dim=-1).gather(-1, tokens[:, 1:]).mean()


def vocabulary_on_the_second_axis(logits, tokens):
    """PyTorch's cross_entropy takes axis 1 for the vocabulary, and yours is the last. Flatten batch
    and pos into one axis first: logits.flatten(0, 1), tokens.flatten()."""
    return functional.cross_entropy(logits[:, :-1], tokens[:, 1:])


def second_axis_and_no_shift(logits, tokens):
    """PyTorch's cross_entropy takes axis 1 for the vocabulary, and yours is the last: flatten batch
    and pos into one axis. And before that, shift: the logits at i are about token i + 1."""
    return functional.cross_entropy(logits, tokens)


NEXT_TOKEN_LOSS = Exercise(
    id="0.4",
    title="the loss of a language model",
    answer=next_token_loss,
    cases={
        "two texts": (*normal((2, 5, 7)), random_tokens(2, 5, below=7)),
        "a sure model": (8 * normal((3, 4, 6), seed=1)[0], random_tokens(3, 4, below=6, seed=1)),
        "two tokens": (*normal((1, 2, 4), seed=2), torch.tensor([[3, 1]])),
    },
    mistakes=[
        in_bits,
        no_shift,
        last_position_dropped_from_both,
        first_position_dropped_from_both,
        shifted_the_wrong_way,
        rolled_around_the_end,
        texts_run_together,
        texts_cut_off_in_place_of_positions,
        only_one_of_them_shifted,
        softmax_twice,
        softmax_over_positions,
        softmax_over_all_positions,
        softmax_over_the_batch,
        one_loss_per_text,
        one_loss_per_token,
        summed,
        summed_over_positions,
        summed_over_texts,
        divided_by_all_positions,
        sign_forgotten,
        logarithm_of_the_mean,
        probability_for_loss,
        nll_loss_of_probabilities,
        logits_taken_for_logarithms,
        averaged_over_the_vocabulary,
        averaged_over_the_zeros,
        every_guess_met_every_token,
        first_guess_asked_for_all_tokens,
        gathered_along_the_positions,
        axis_of_choices_forgotten,
        vocabulary_on_the_second_axis,
        second_axis_and_no_shift,
    ],
    variants=[
        lambda logits, tokens: functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        ),
        lambda logits, tokens: functional.cross_entropy(logits[:, :-1].mT, tokens[:, 1:]),
        lambda logits, tokens: (
            -sum(
                softmax(logits[row, i])[tokens[row, i + 1]].log()
                for row in range(tokens.shape[0])
                for i in range(tokens.shape[1] - 1)
            )
            / (tokens.shape[0] * (tokens.shape[1] - 1))
        ),
    ],
    hints=[
        (
            "Line them up first: logits[:, :-1] are the guesses, tokens[:, 1:] is what came. Both "
            "now have one position less."
        ),
        (
            "log_softmax(dim=-1) gives ln p for every token of the vocabulary; you need the one at "
            "the token that came."
        ),
        (
            "gather(dim=-1, index=...) picks it, with the token as an index of one choice at each "
            "position; or torch.nn.functional.cross_entropy does both, on flattened axes."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 0.5


def low_rank_map(
    W_V: Float[Tensor, "d_model d_head"], W_O: Float[Tensor, "d_head d_model"]
) -> dict[str, Float[Tensor, "*axes"]]:
    """A head's map from stream to stream, the strengths of its d_head directions, the strongest.

    W_V W_O = Σ s u vᵀ with s falling; at most d_head of the s are not zero.
    """
    product = W_V @ W_O
    U, S, Vh = torch.linalg.svd(product)
    return {
        "product": product,
        "singular_values": S[: W_V.shape[1]],
        "strongest": S[0] * torch.outer(U[:, 0], Vh[0]),
    }


def _first_column(U):
    return U[:, 0]


def _first_row(Vh):
    return Vh[0]


def _map(
    W_V,
    W_O,
    multiply=torch.matmul,
    left=_first_column,
    strength=operator.itemgetter(0),
    right=_first_row,
    combine=torch.outer,
):
    """The head's map, with its parts open."""
    product = multiply(W_V, W_O)
    U, S, Vh = torch.linalg.svd(product)
    return {
        "product": product,
        "singular_values": S[: W_V.shape[1]],
        "strongest": strength(S) * combine(left(U), right(Vh)),
    }


def multiplied_the_other_way(W_V, W_O):
    """Your product is [d_head d_head]: W_O came first. A row vector meets W_V first, x @ W_V @ W_O,
    so the map is W_V @ W_O."""
    return _map(W_V, W_O, multiply=lambda W_V, W_O: W_O @ W_V)


def map_for_columns(W_V, W_O):
    """Your product is transposed: M x is for vectors that are columns. Here they are rows, x @ W_V
    @ W_O, so the map is W_V @ W_O, and nothing is transposed."""
    return _map(W_V, W_O, multiply=lambda W_V, W_O: (W_V @ W_O).mT)


def zeros_kept(W_V, W_O):
    """Your list has d_model entries; from entry d_head on they are zero up to rounding. Keep the
    first d_head.

    d_head is the number that W_V and W_O have in common: the columns of W_V, W_V.shape[1]."""
    return _map(W_V, W_O) | {"singular_values": torch.linalg.svdvals(W_V @ W_O)}


def eigenvalues_for_singular_values(W_V, W_O):
    """These are the sizes of the eigenvalues. They agree with the singular values for symmetric
    matrices; this one is not. Use torch.linalg.svd.

    [[0, 1], [0, 0]] shows how far apart they can be: both eigenvalues are 0, but it turns a vector
    of length 1 into another one of length 1, and its singular values are 1 and 0."""
    eigenvalues = torch.linalg.eigvals(W_V @ W_O).abs().sort(descending=True).values
    return _map(W_V, W_O) | {"singular_values": eigenvalues[: W_V.shape[1]]}


def eigenvalues_as_they_come(W_V, W_O):
    """Your numbers are complex and not sorted: these are eigenvalues. Singular values are real and
    at least 0, and agree with them for few matrices only. Use torch.linalg.svd."""
    return _map(W_V, W_O) | {"singular_values": torch.linalg.eigvals(W_V @ W_O)}


def squared_singular_values(W_V, W_O):
    """Your values are the squares of what was wanted: eigenvalues of MᵀM. Take their roots, or use
    torch.linalg.svd."""
    result = _map(W_V, W_O)
    return result | {"singular_values": result["singular_values"].square()}


def strengths_of_the_factors_multiplied(W_V, W_O):
    """You multiplied the singular values of W_V with those of W_O, as if the first directions of
    both met. What one writes and the other reads need not agree: take the SVD of the product."""
    return _map(W_V, W_O) | {
        "singular_values": torch.linalg.svdvals(W_V) * torch.linalg.svdvals(W_O)
    }


def smallest_first(W_V, W_O):
    """Your singular values rise. Return the largest first, as torch.linalg.svd does."""
    result = _map(W_V, W_O)
    return result | {"singular_values": result["singular_values"].flip(0)}


def column_of_Vh(W_V, W_O):
    """Your strongest part is wrong: you took a column of Vh. It is V already transposed (h for
    Hermitian), so its directions are its rows: Vh[0]. (The older torch.svd gives V itself.)"""
    return _map(W_V, W_O, right=_first_column)


def row_of_U(W_V, W_O):
    """Your strongest part is wrong: you took a row of U. Its directions are its columns:
    U[:, 0]."""
    return _map(W_V, W_O, left=_first_row)


def strength_for_strongest(W_V, W_O):
    """Your strongest part is a number, S[0]: how strong it is, not what it does. It is a matrix,
    S[0] times a column of U times a row of Vh."""
    result = _map(W_V, W_O)
    return result | {"strongest": result["singular_values"][0]}


def strength_forgotten(W_V, W_O):
    """Your strongest part has length 1 whatever the matrix: multiply it by the singular value,
    S[0]."""
    return _map(W_V, W_O, strength=lambda S: 1.0)


def strongest_part_transposed(W_V, W_O):
    """Your strongest part is transposed: outer(v, u) for outer(u, v). Rows belong to what is read,
    U, columns to what is written, Vh."""
    return _map(W_V, W_O, combine=lambda left, right: torch.outer(right, left))


def dot_product_for_outer_product(W_V, W_O):
    """Your strongest part is a single number: u @ v sums. You want every number of u times every
    number of v: torch.outer."""
    return _map(W_V, W_O, combine=torch.dot)


def number_by_number_for_outer_product(W_V, W_O):
    """Your strongest part is a vector: u * v pairs the first number with the first, the second with
    the second. You want every number of u times every number of v: torch.outer."""
    return _map(W_V, W_O, combine=torch.mul)


def whole_map_for_strongest(W_V, W_O):
    """Your strongest part has rank d_head: it is the whole map again. Of the sum over i keep the
    first term, one column of U and one row of Vh."""
    return _map(W_V, W_O) | {"strongest": W_V @ W_O}


LOW_RANK_MAP = Exercise(
    id="0.5",
    title="a product of thin matrices",
    answer=low_rank_map,
    cases={
        "d_model 6, d_head 2": normal((6, 2), (2, 6)),
        "d_model 5, d_head 3": normal((5, 3), (3, 5), seed=1),
    },
    mistakes=[
        multiplied_the_other_way,
        map_for_columns,
        zeros_kept,
        eigenvalues_for_singular_values,
        eigenvalues_as_they_come,
        squared_singular_values,
        strengths_of_the_factors_multiplied,
        smallest_first,
        column_of_Vh,
        row_of_U,
        strength_for_strongest,
        strength_forgotten,
        strongest_part_transposed,
        dot_product_for_outer_product,
        number_by_number_for_outer_product,
        whole_map_for_strongest,
    ],
    variants=[
        lambda W_V, W_O: {
            "product": einsum(W_V, W_O, "i head, head j -> i j"),
            "singular_values": torch.linalg.svdvals(W_V @ W_O)[: W_V.shape[1]],
            "strongest": (lambda U, S, V: (U[:, :1] * S[:1]) @ V[:, :1].mT)(*torch.svd(W_V @ W_O)),
        },
        lambda W_V, W_O: {
            "product": W_V @ W_O,
            "singular_values": torch.linalg.svd(W_V @ W_O, full_matrices=False).S[: W_V.shape[1]],
            "strongest": (lambda U, S, Vh: U[:, :1] @ torch.diag(S[:1]) @ Vh[:1])(
                *torch.linalg.svd(W_V @ W_O)
            ),
        },
    ],
    hints=[
        "x @ W_V @ W_O: first d_model numbers become d_head, then d_head become d_model again.",
        (
            "U, S, Vh = torch.linalg.svd(M) gives M = U diag(S) Vh, S falling. How many entries of "
            "S can differ from zero?"
        ),
        (
            "The strongest part is S[0] times every number of column U[:, 0] times every number of "
            "row Vh[0]: torch.outer."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 0.6


def entropy_and_kl(
    p: Float[Tensor, " d_vocab"], q: Float[Tensor, " d_vocab"]
) -> dict[str, Float[Tensor, ""]]:
    """How uncertain p leaves us, and how much more it costs to expect q where p is true, in nats.

    -Σ p ln p and Σ p ln(p / q), with 0 ln 0 = 0: what never happens costs nothing.
    """
    entropy = -torch.xlogy(p, p).sum()
    return {"entropy": entropy, "kl": torch.xlogy(p, p / q).sum()}


def _sums(p, q, times_log=torch.xlogy, total=torch.sum):
    """Both sums, with their parts open."""
    return {"entropy": -total(times_log(p, p)), "kl": total(times_log(p, p / q))}


def base_two_logarithms(p, q):
    """Your numbers are 1.44 times too large: log2 counts in bits. Use the natural logarithm."""
    return {name: number / math.log(2) for name, number in _sums(p, q).items()}


def negative_entropy(p, q):
    """Your entropy is negative: ln p is, wherever p < 1. Put a minus before the sum."""
    result = _sums(p, q)
    return result | {"entropy": -result["entropy"]}


def entropy_of_q(p, q):
    """Your entropy does not depend on p: it is that of q. Entropy asks how uncertain what is true
    leaves us, and true is p."""
    return _sums(p, q) | {"entropy": _sums(q, q)["entropy"]}


def cross_entropy_for_entropy(p, q):
    """Your entropy changes with q: -Σ p ln q is the cross-entropy. Entropy is about p alone,
    -Σ p ln p."""
    return _sums(p, q) | {"entropy": -(p * q.log()).sum()}


def p_and_q_swapped(p, q):
    """You computed KL(q‖p), which is another number. What is true, p, does the weighting: Σ p ln(p
    / q).

    Read KL(p‖q) as: p is true, q is expected. Each token comes as often as p says, so p is the
    weight; what it costs more is -ln q - (-ln p)."""
    return _sums(p, q) | {"kl": _sums(q, p)["kl"]}


def ratio_upside_down(p, q):
    """Your KL is negative, which it never is: the ratio is upside down. Take ln(p / q)."""
    result = _sums(p, q)
    return result | {"kl": -result["kl"]}


def own_entropy_not_subtracted(p, q):
    """Your KL is not 0 for q = p: -Σ p ln q is the cross-entropy. Take p's own entropy away from
    it."""
    return _sums(p, q) | {"kl": -(p * q.log()).sum()}


def p_missing_in_the_logarithm(p, q):
    """Your KL is negative, and not 0 for q = p: Σ p ln q has q alone in its logarithm. Compare it
    with p there: Σ p ln(p / q)."""
    return _sums(p, q) | {"kl": (p * q.log()).sum()}


def own_entropy_added(p, q):
    """Your KL is twice the entropy for q = p, where it should be 0. From the cross-entropy p's own
    entropy is taken away, not added: Σ p ln p is negative already."""
    result = _sums(p, q)
    return result | {"kl": result["kl"] + 2 * result["entropy"]}


def difference_of_entropies(p, q):
    """Your KL is 0 for any q that is p in another order: H(q) - H(p) does not look at which token
    is which. Both logarithms are weighted by p: Σ p (ln p - ln q)."""
    result = _sums(p, q)
    return result | {"kl": _sums(q, q)["entropy"] - result["entropy"]}


def log_forgotten_in_kl_div(p, q):
    """Your KL is negative: kl_div wants the logarithm of its first argument, kl_div(q.log(), p).
    The second, what is true, stays as it is."""
    return _sums(p, q) | {"kl": functional.kl_div(q, p, reduction="sum")}


def p_first_in_kl_div(p, q):
    """Your KL is negative: kl_div wants what is expected first, as logarithms, and what is true
    second, kl_div(q.log(), p)."""
    return _sums(p, q) | {"kl": functional.kl_div(p, q, reduction="sum")}


def both_logarithms_in_kl_div(p, q):
    """Your KL is NaN: kl_div takes the logarithm of its second argument itself, and that of a
    logarithm is none. What is expected comes as logarithms, what is true does not: q.log(), p."""
    return _sums(p, q) | {"kl": functional.kl_div(q.log(), p.log(), reduction="sum")}


def averaged_over_tokens(p, q):
    """Your numbers are d_vocab times too small: you averaged over the tokens. p is in the sum
    already, as the weight: just sum."""
    return _sums(p, q, total=torch.mean)


def averaged_by_kl_div(p, q):
    """Your KL is d_vocab times too small: kl_div averages unless told reduction="sum"."""
    result = _sums(p, q)
    return result | {"kl": result["kl"] / len(p)}


def not_weighted(p, q):
    """Every token counts the same in your sums, however unlikely, and one with p = 0 makes them
    infinite. Weight each term by its probability p."""
    return _sums(p, q, times_log=lambda weight, x: x.log())


def one_term_per_token(p, q):
    """You returned a number for each token. Entropy and KL are their sums."""
    return _sums(p, q, total=lambda terms: terms)


def zero_times_minus_infinity(p, q):
    """You get NaN where p is 0: torch computes 0 · ln 0 as 0 · (-∞). Such terms count as 0: use
    torch.xlogy, or sum over p > 0 only.

    torch.xlogy(p, p) is p ln p, and torch.xlogy(p, p / q) is p ln(p / q), both with 0 where p is 0.
    With a mask it is seen = p > 0, and then p[seen] and q[seen] everywhere."""
    return _sums(p, q, times_log=lambda weight, x: weight * x.log())


def zero_times_minus_infinity_in_the_entropy(p, q):
    """Your entropy is NaN where p is 0: torch computes 0 · ln 0 as 0 · (-∞). Such terms count as 0:
    torch.xlogy(p, p), or sum over p > 0 only."""
    return _sums(p, q) | {"entropy": -(p * p.log()).sum()}


def zero_times_minus_infinity_in_the_KL(p, q):
    """Your KL is NaN where p is 0: torch computes 0 · ln 0 as 0 · (-∞). Such terms count as 0:
    torch.xlogy(p, p / q), or sum over p > 0 only."""
    return _sums(p, q) | {"kl": (p * (p / q).log()).sum()}


ENTROPY_AND_KL = Exercise(
    id="0.6",
    title="entropy and KL",
    answer=entropy_and_kl,
    cases={
        "two guesses": tuple(scores.softmax(dim=-1) for scores in normal((5,), (5,))),
        "q is uniform": (torch.tensor([0.5, 0.25, 0.125, 0.125]), torch.full((4,), 0.25)),
        "p rules tokens out": (
            torch.tensor([0.0, 0.7, 0.3, 0.0, 0.0]),
            torch.tensor([0.1, 0.2, 0.3, 0.3, 0.1]),
        ),
    },
    mistakes=[
        base_two_logarithms,
        negative_entropy,
        entropy_of_q,
        cross_entropy_for_entropy,
        p_and_q_swapped,
        ratio_upside_down,
        own_entropy_not_subtracted,
        p_missing_in_the_logarithm,
        own_entropy_added,
        difference_of_entropies,
        averaged_by_kl_div,
        averaged_over_tokens,
        log_forgotten_in_kl_div,
        p_first_in_kl_div,
        both_logarithms_in_kl_div,
        not_weighted,
        one_term_per_token,
        zero_times_minus_infinity,
        zero_times_minus_infinity_in_the_entropy,
        zero_times_minus_infinity_in_the_KL,
    ],
    variants=[
        lambda p, q: {
            "entropy": torch.special.entr(p).sum(),
            "kl": functional.kl_div(q.log(), p, reduction="sum"),
        },
        lambda p, q: {
            "entropy": -(p[p > 0] * p[p > 0].log()).sum(),
            "kl": (p * (p.clamp(min=1e-12).log() - q.log())).sum(),
        },
        lambda p, q: {
            "entropy": -sum(x.item() * math.log(x) for x in p if x > 0),
            "kl": -torch.xlogy(p, q).sum() + torch.xlogy(p, p).sum(),
        },
    ],
    hints=[
        "Entropy is the mean surprise: each token's -ln p, weighted by how often it comes, p.",
        "KL is the mean of ln p - ln q, weighted by p: what is true decides how often you pay.",
        "torch.xlogy(a, b) is a · ln b, and 0 where a is 0; then sum.",
    ],
    difficulty=2,
    minutes=10,
)


EXERCISES = (ALONG, QUERIES, SOFTMAX, NEXT_TOKEN_LOSS, LOW_RANK_MAP, ENTROPY_AND_KL)

QUIZZES = (
    Quiz(
        id="0-a",
        question=(
            "x is a square matrix, [4, 4]. You want each row minus its own mean and write `x - "
            "x.mean(dim=1)`. What do you get?"
        ),
        options=(
            Option(
                "Each row minus its own mean.",
                False,
                (
                    "The means have the shape [4]: the axis that said which row each belongs to is "
                    "averaged away."
                ),
            ),
            Option(
                "An error: the shapes do not fit.",
                False,
                (
                    "For a [4, 5] matrix you would. Here 4 and 4 fit, and PyTorch cannot know what "
                    "you meant."
                ),
            ),
            Option(
                "Column j minus the mean of row j, without any error.",
                True,
                (
                    "[4] is read as [1, 4] and repeated downwards. keepdim=True makes it [4, 1], "
                    "repeated sideways, which is what you want."
                ),
            ),
        ),
    ),
    Quiz(
        id="0-b",
        question=(
            "5 % of the tokens of a text are names. A neuron fires at 90 % of the names and at 5 % "
            "of all other tokens. It has just fired. How probable is it that the token is a name? "
            "Give a share of 1, such as 0.25."
        ),
        number=0.05 * 0.90 / (0.05 * 0.90 + 0.95 * 0.05),
        tolerance=0.01,
        why=(
            "Of 1000 tokens 50 are names, of which 45 make it fire; of the 950 others, 47.5 do. So "
            "45 of 92.5, a little less than half: P(name | fires) is not P(fires | name). To call "
            "it a name neuron, look at everything that makes it fire, not at names only."
        ),
    ),
    Quiz(
        id="0-c",
        question=(
            "A model guesses w · x for y, and its loss is (w x - y)². Now w = 2, x = 3, y = 5, and "
            "the learning rate is 0.1. What is w after one step of gradient descent?"
        ),
        number=2 - 0.1 * 2 * (2 * 3 - 5) * 3,
        tolerance=0.001,
        why=(
            "The error is 2 · 3 - 5 = 1, the gradient with respect to w is 2 · 1 · 3 = 6. Against "
            "the gradient, a tenth of it: 2 - 0.6. The guess was too high, so w falls."
        ),
    ),
    Quiz(
        id="0-d",
        question="x is a tensor of the shape [2, 3, 4]. Which of these are true?",
        options=(
            Option(
                "`x.mean(dim=-1)` has the shape [2, 3].",
                True,
                "The last axis is averaged away. keepdim=True would leave [2, 3, 1].",
            ),
            Option(
                "`x.reshape(2, 4, 3)` swaps the last two axes.",
                False,
                (
                    "It has the right shape and mixes the numbers up: reshape cuts the same row of "
                    "numbers into other lengths. x.mT, or einops' rearrange, swaps axes."
                ),
            ),
            Option(
                "`y = x[0]` and then `y += 1` changes x too.",
                True,
                (
                    "x[0] is a view: the same numbers under another name. `y = y + 1` makes a new "
                    "tensor and leaves x alone."
                ),
            ),
            Option(
                "Computing a loss and calling `backward()`, and both once more, leaves the same "
                "gradients as once.",
                False,
                (
                    "PyTorch adds new gradients to those that are there. That is why training "
                    "calls optimizer.zero_grad()."
                ),
            ),
        ),
    ),
    Quiz(
        id="0-e",
        question=(
            "At every position a model gives the same logit, 7, to each of its d_vocab tokens. "
            "What is its loss?"
        ),
        options=(
            Option(
                "7 nats.",
                False,
                (
                    "A softmax does not see a constant added to all logits: 7 or 0, it is the same "
                    "guess."
                ),
            ),
            Option(
                "It depends on the text.",
                False,
                "All logits are equal, so no token surprises more than another.",
            ),
            Option(
                "ln(d_vocab), on any text.",
                True,
                "-ln(1 / d_vocab) at each token, whichever comes: what it costs to know nothing.",
            ),
            Option(
                "The entropy of the text.",
                False,
                (
                    "That is what the best possible guess costs, and this one knows nothing of the "
                    "text."
                ),
            ),
        ),
    ),
)


# What to refresh


@dataclass(frozen=True)
class Prerequisite:
    """Something that the book builds on: what tests it here, who needs it, where to refresh it."""

    name: str
    checks: tuple[str, ...]  # ids of exercises and quizzes of this chapter
    chapter: int  # the first that needs it
    refresh: str


PREREQUISITES = (
    Prerequisite(
        "Vectors: lengths, angles, projections",
        ("0.1",),
        1,
        (
            "3Blue1Brown, Essence of linear algebra, chapters 1 to 4 and 9: "
            "https://www.3blue1brown.com/topics/linear-algebra"
        ),
    ),
    Prerequisite(
        "Shapes: broadcasting and einsum",
        ("0-a", "0.2"),
        1,
        (
            "NumPy, Broadcasting: https://numpy.org/doc/stable/user/basics.broadcasting.html and "
            "einops, Basics: https://einops.rocks/1-einops-basics/"
        ),
    ),
    Prerequisite(
        "Probability",
        ("0-b",),
        1,
        (
            "3Blue1Brown, Bayes' theorem: https://www.3blue1brown.com/lessons/bayes-theorem and "
            "Seeing Theory: https://seeing-theory.brown.edu/"
        ),
    ),
    Prerequisite(
        "Softmax",
        ("0.3",),
        1,
        "3Blue1Brown, Transformers, the last part: https://www.3blue1brown.com/lessons/gpt",
    ),
    Prerequisite(
        "Basic machine learning: loss, gradient, step",
        ("0-c", "0.4"),
        1,
        (
            "3Blue1Brown, Neural networks, chapters 1 to 3: "
            "https://www.3blue1brown.com/topics/neural-networks"
        ),
    ),
    Prerequisite(
        "PyTorch",
        ("0-d",),
        1,
        (
            "PyTorch, Learn the Basics, Tensors and Autograd: "
            "https://docs.pytorch.org/tutorials/beginner/basics/intro.html"
        ),
    ),
    Prerequisite(
        "Matrices: rank and singular values",
        ("0.5",),
        4,
        (
            "3Blue1Brown, Essence of linear algebra, chapter 7, then Strang's lecture on the SVD: "
            "https://ocw.mit.edu/courses/18-06sc-linear-algebra-fall-2011/"
        ),
    ),
    Prerequisite(
        "Information theory: entropy and KL",
        ("0.6", "0-e"),
        5,
        (
            "Olah, Visual Information Theory: "
            "https://colah.github.io/posts/2015-09-Visual-Information/"
        ),
    ),
)


def to_refresh() -> Card:
    """The prerequisites that this reader has not shown yet: where to refresh them, by when.

    Shown is what passed, each of its exercises and quizzes, before its solution was looked at.
    """
    own, looked_up = set(), set()
    for event in stored.events():
        if event.kind == "solution":
            looked_up.add(event.id)
        passed = (event.kind, event.status) in (("check", "passed"), ("quiz", "right"))
        if passed and event.id not in looked_up:
            own.add(event.id)
    left = [each for each in PREREQUISITES if not own.issuperset(each.checks)]
    n_left, n_all = len(left), len(PREREQUISITES)
    if not left:
        ready = f"All {n_all} prerequisites are yours. Go on with chapter 1."
        return Card("passed", "Your list: nothing to refresh", (ready,))
    if n_left == n_all:
        begin = (
            "Nothing has passed yet, so here is all that the book builds on. It is a list of "
            "places to look, not a mark: do the checks above in any order, and run this cell again."
        )
    else:
        begin = f"{n_all - n_left} of {n_all} are yours. The others, by when the book needs them:"
    lines = [_line(each, own, looked_up) for each in left]
    title = f"Your list: {n_left} of {n_all} prerequisites to refresh"
    return Card("progress", title, (begin, *lines))


def _line(prerequisite: Prerequisite, own: set[str], looked_up: set[str]) -> str:
    """One entry of the list: what, before which chapter, what is open here, where to refresh it."""
    open_here = [
        ("quiz " if "-" in id else "exercise ")
        + id
        + (" (once more, now that you know its solution)" if id in looked_up else "")
        for id in prerequisite.checks
        if id not in own
    ]
    return (
        f"{prerequisite.name} · before chapter {prerequisite.chapter}\n"
        f"Open here: {' and '.join(open_here)}\nRefresh: {prerequisite.refresh}"
    )
