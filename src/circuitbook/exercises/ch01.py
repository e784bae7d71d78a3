"""Chapter 1, "Build a transformer": its nineteen exercises, the mistakes that readers make in
them, its quizzes."""

import math
from collections.abc import Callable, Mapping

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from circuitbook import model
from circuitbook.exercises.engine import Exercise, Option, Quiz, normal
from circuitbook.model import Config, Transformer
from circuitbook.weights import split_c_attn


def lively(*, seed: int = 0, **sizes) -> Transformer:
    """A small model with every parameter random, large enough that each part of it shows in the
    result."""
    few = {"n_layers": 2, "d_model": 6, "n_heads": 2, "d_head": 3, "d_vocab": 11, "n_ctx": 8}
    weights = Transformer(Config(**few | {"d_mlp": 10, "eps": 0.01} | sizes), seed)
    random = torch.Generator().manual_seed(seed)
    for parameter in weights.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random) * 0.7
    weights.b_U.normal_(generator=random)
    return weights.requires_grad_(False)


def random_tokens(*shape: int, below: int, seed: int = 0) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


# 1.1


def columns_instead_of_rows(tokens, W_E):
    """Each vector you return is a column of W_E. A token's vector is its row: index the first
    axis."""
    return model.embed(tokens, W_E.mT)


def second_axis_indexed(tokens, W_E):
    """d_model came first: `W_E[:, tokens]` picks columns. The tokens are the rows, the first axis.

    Print `W_E.shape`. Which of its axes is as long as the vocabulary, and which index belongs to
    it?"""
    return W_E[:, tokens]


def tokens_taken_for_amounts(tokens, W_E):
    """You multiplied W_E by the tokens' numbers. Token 6 is not twice token 3: the number only
    says which row to take.

    A one-hot vector times W_E would be right. Which row does it pick, and how do you pick it
    without a product?"""
    return tokens.float() @ W_E


def scaled_up(tokens, W_E):
    """Your vectors are √d_model times too long. The first transformer did that; GPT-2 adds the
    rows as they are."""
    return model.embed(tokens, W_E) * math.sqrt(W_E.shape[-1])


def counts_tokens_from_one(tokens, W_E):
    """Every token got its left neighbour's row in W_E. Tokens count from 0: index with the token
    itself."""
    return model.embed(tokens - 1, W_E)


def bag_of_tokens(tokens, W_E):
    """You summed over the sentence, so one vector is left for each row of the batch. Keep one
    per position."""
    return model.embed(tokens, W_E).sum(dim=1)


def first_sentence_for_all(tokens, W_E):
    """Every row of your batch is the first sentence. Index W_E with the whole [batch pos]
    tensor."""
    return model.embed(tokens[:1].expand_as(tokens), W_E)


def new_random_table(tokens, W_E):
    """Your vectors are not in W_E: `nn.Embedding(...)` makes a new table of random numbers. Take
    the rows of the one you are given."""
    return torch.nn.Embedding(*W_E.shape)(tokens).detach()


EMBED = Exercise(
    id="1.1",
    title="embed",
    answer=model.embed,
    cases={
        "as many tokens as d_model": (random_tokens(2, 5, below=6), *normal((6, 6))),
        "two sentences of five tokens": (random_tokens(2, 5, below=11, seed=1), *normal((11, 4))),
        "one token": (torch.tensor([[3]]), *normal((7, 3))),
    },
    mistakes=[
        columns_instead_of_rows,
        second_axis_indexed,
        tokens_taken_for_amounts,
        scaled_up,
        counts_tokens_from_one,
        bag_of_tokens,
        first_sentence_for_all,
        new_random_table,
    ],
    variants=[
        lambda tokens, W_E: functional.embedding(tokens, W_E),
        lambda tokens, W_E: functional.one_hot(tokens, len(W_E)).to(W_E.dtype) @ W_E,
    ],
    hints=[
        (
            "W_E has one row per token of the vocabulary. What do you get when you index its "
            "first axis?"
        ),
        (
            "PyTorch lets you index with a whole tensor: W[index] has the shape of index, then "
            "W's other axes."
        ),
        "tokens is [batch pos], W_E[...] adds d_model at the end. One line, no loop.",
    ],
    difficulty=1,
    minutes=5,
)


# 1.2


def looks_up_tokens(tokens, W_pos):
    """You read the row of each token. W_pos knows positions only: rows 0, 1, 2, ... whatever the
    tokens are.

    Two texts of five different tokens each: should their results differ?"""
    return W_pos[tokens]


def counts_positions_from_one(tokens, W_pos):
    """The first position got row 1. Positions count from 0."""
    return model.positional_embedding(tokens, W_pos[1:])


def last_positions(tokens, W_pos):
    """You took the last rows of W_pos. A text starts at position 0, however short it is."""
    return model.positional_embedding(tokens, W_pos[-tokens.shape[1] :])


def positions_run_on(tokens, W_pos):
    """Your second text goes on counting where the first one ended. Each text of the batch starts
    at position 0."""
    return W_pos[torch.arange(tokens.numel())].reshape(*tokens.shape, -1)


def no_batch(tokens, W_pos):
    """Your result has no batch axis. Repeat the same rows for every sentence of the batch.

    Adding it to `embed(...)` would work by broadcasting, but the exercise asks for a row of
    vectors per text. einops' repeat names the new axis."""
    return model.positional_embedding(tokens, W_pos)[0]


def whole_table(tokens, W_pos):
    """You returned all n_ctx positions. Take as many rows as the text has tokens."""
    return W_pos.expand(len(tokens), -1, -1)


def as_many_positions_as_texts(tokens, W_pos):
    """You took as many rows as there are texts: len(tokens) is the size of the first axis, batch.
    How long the texts are is tokens.shape[1]."""
    return model.positional_embedding(tokens, W_pos)[:, : len(tokens)]


POSITIONAL_EMBEDDING = Exercise(
    id="1.2",
    title="positional embedding",
    answer=model.positional_embedding,
    cases={
        "two sentences of five tokens": (random_tokens(2, 5, below=7), *normal((12, 4))),
        "one sentence of three tokens": (random_tokens(1, 3, below=8, seed=1), *normal((9, 2))),
    },
    mistakes=[
        looks_up_tokens,
        counts_positions_from_one,
        last_positions,
        positions_run_on,
        no_batch,
        whole_table,
        as_many_positions_as_texts,
    ],
    variants=[
        lambda tokens, W_pos: W_pos[torch.arange(tokens.shape[1])].expand(len(tokens), -1, -1),
        lambda tokens, W_pos: torch.stack([W_pos[: tokens.shape[1]]] * len(tokens)),
    ],
    hints=[
        "Does the result depend on which tokens the text has, or only on how many?",
        "Position i gets row i of W_pos, so you need its first tokens.shape[1] rows.",
        "The result is [batch pos d_model]: einops' repeat, or expand, adds the batch axis.",
    ],
    difficulty=1,
    minutes=5,
)


# 1.3


def _variance(x, dim):
    return x.var(dim=dim, unbiased=False, keepdim=True)


def _divisor(variance, eps):
    return (variance + eps).sqrt()


def _layer_norm(x, w, b, eps=1e-5, *, dim=-1, centre=True, variance=_variance, divisor=_divisor):
    centred = x - x.mean(dim=dim, keepdim=True) if centre else x
    return centred / divisor(variance(x, dim), eps) * w + b


def unbiased_variance(x, w, b, eps=1e-5):
    """Your vectors are a little too short: you divided by d_model - 1. LayerNorm divides by d_model
    (torch's var and std need unbiased=False).

    One divides by d_model - 1 to estimate the variance of many numbers from a few of them. Here
    nothing is estimated: the d_model numbers are all there are."""
    return _layer_norm(
        x, w, b, eps, variance=lambda x, dim: x.var(dim=dim, unbiased=True, keepdim=True)
    )


def sum_for_mean_of_squares(x, w, b, eps=1e-5):
    """Before w, your vectors have length 1: you divided by their length. The variance is the mean
    of the squares, not their sum."""
    return _layer_norm(x, w, b, eps, variance=lambda x, dim: _variance(x, dim) * len(w))


def eps_outside_the_root(x, w, b, eps=1e-5):
    """You added eps to the standard deviation. It belongs under the root: √(variance + eps)."""
    return _layer_norm(x, w, b, eps, divisor=lambda variance, eps: variance.sqrt() + eps)


def eps_forgotten(x, w, b, eps=1e-5):
    """You divided by √variance, without eps: a constant vector would give 0 / 0. Add eps under
    the root."""
    return _layer_norm(x, w, b, 0.0)


def eps_fixed(x, w, b, eps=1e-5):
    """Your eps is 1e-5 whatever the argument says. Use the argument: models differ in it."""
    return _layer_norm(x, w, b, 1e-5)


def root_of_the_deviation(x, w, b, eps=1e-5):
    """You took the root of the standard deviation, which is a root already: divide by
    √(variance + eps)."""
    return _layer_norm(x, w, b, eps, divisor=lambda variance, eps: (variance.sqrt() + eps).sqrt())


def normalised_over_positions(x, w, b, eps=1e-5):
    """You averaged over positions. Each position's vector is normalised alone, over d_model: the
    last axis.

    If positions were averaged, the first would change with what comes after it. Which `dim` is the
    vector's own, whatever batch axes stand before it?"""
    return _layer_norm(x, w, b, eps, dim=1)


def normalised_over_everything(x, w, b, eps=1e-5):
    """You used one mean and one variance for all vectors. Each has its own: dim=-1,
    keepdim=True.

    Without `dim`, mean and var run over every number there is. Print the shape of your mean: it
    should be x's, with 1 as its last size."""
    return _layer_norm(x, w, b, eps, dim=tuple(range(x.ndim)))


def averaged_axis_dropped(x, w, b, eps=1e-5):
    """x and its mean do not fit together: averaging dropped the last axis. With keepdim=True it
    stays, with size 1."""
    return _layer_norm(x - x.mean(dim=-1), w, b, eps)


def shift_forgotten(x, w, b, eps=1e-5):
    """Your result has mean 0 before w: the last step, adding b, is missing."""
    return _layer_norm(x, w, torch.zeros_like(b), eps)


def stretch_forgotten(x, w, b, eps=1e-5):
    """You never used w: multiply by it, number by number, before you add b."""
    return _layer_norm(x, torch.ones_like(w), b, eps)


def divided_by_variance(x, w, b, eps=1e-5):
    """You divided by the variance. Divide by its root, the standard deviation."""
    return _layer_norm(x, w, b, eps, divisor=lambda variance, eps: variance + eps)


def not_centred(x, w, b, eps=1e-5):
    """You did not subtract the mean from x before dividing: centre each vector first."""
    return _layer_norm(x, w, b, eps, centre=False)


def mean_square_for_variance(x, w, b, eps=1e-5):
    """Your variance is the mean of x². Take the mean of (x - mean)²: the squares of the centred
    vector."""
    return _layer_norm(x, w, b, eps, variance=lambda x, dim: x.pow(2).mean(dim=dim, keepdim=True))


def RMS_norm(x, w, b, eps=1e-5):
    """This is RMSNorm, which later models use: it neither centres nor shifts. LayerNorm subtracts
    the mean first, before the squares too, and adds b at the end."""
    return x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt() * w


def only_the_mean_divided(x, w, b, eps=1e-5):
    """You divided the mean, not the difference: in x - mean / std the division comes first. Put
    x - mean in brackets."""
    return x - x.mean(dim=-1, keepdim=True) / _divisor(_variance(x, -1), eps) * w + b


def shifted_before_stretched(x, w, b, eps=1e-5):
    """You multiplied b by w as well. First stretch by w, then add b."""
    return _layer_norm(x, torch.ones_like(w), b, eps) * w


LAYER_NORM = Exercise(
    id="1.3",
    title="LayerNorm",
    answer=model.layer_norm,
    cases={
        "six vectors, a large eps": (*normal((2, 3, 4), (4,), (4,)), 0.1),
        "a constant vector": (torch.full((1, 1, 4), 2.0), *normal((4,), (4,), seed=2), 0.1),
        "tiny vectors": (0.003 * normal((1, 2, 4))[0], *normal((4,), (4,), seed=3), 1e-4),
        "one long vector": (10 + normal((1, 1, 64))[0], *normal((64,), (64,), seed=1), 0.01),
    },
    mistakes=[
        unbiased_variance,
        sum_for_mean_of_squares,
        eps_outside_the_root,
        eps_forgotten,
        eps_fixed,
        root_of_the_deviation,
        normalised_over_positions,
        normalised_over_everything,
        averaged_axis_dropped,
        shift_forgotten,
        stretch_forgotten,
        divided_by_variance,
        not_centred,
        mean_square_for_variance,
        RMS_norm,
        only_the_mean_divided,
        shifted_before_stretched,
    ],
    variants=[
        lambda x, w, b, eps=1e-5: functional.layer_norm(x, w.shape, w, b, eps),
        lambda x, w, b, eps=1e-5: (
            w * (x - x.mean(-1)[..., None]) * (x.var(-1, correction=0)[..., None] + eps).rsqrt() + b
        ),
    ],
    hints=[
        (
            "Four steps, in this order: centre, divide, stretch, shift. Which axis do the mean "
            "and the variance run over?"
        ),
        (
            "keepdim=True keeps the axis that you average away, with length 1, so that "
            "subtracting works by itself."
        ),
        (
            "The variance is the mean of the centred vector's squares; eps is added to it before"
            " the root is taken."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 1.4


def _scores(q, k, axes="b q h d, b k h d -> b h q k", width=None):
    return einsum(q, k, axes) / math.sqrt(q.shape[-1] if width is None else width)


def no_scale(q, k):
    """Your scores are √d_head times too large, so the softmax will be too sure of itself: divide
    by √d_head.

    A sum of d_head products of random numbers is about √d_head large. d_head is the size of the
    last axis of q and of k."""
    return _scores(q, k, width=1)


def scaled_by_the_wrong_width(q, k):
    """Your scores are too small: you divided by √d_model. Each head's dot product runs over
    d_head numbers."""
    return _scores(q, k, width=q.shape[-1] * q.shape[-2])


def scaled_by_the_length_of_the_text(q, k):
    """You divided by the root of the number of positions: q.shape[1]. A score is a sum over
    d_head, q's last axis."""
    return _scores(q, k, width=q.shape[1])


def scaled_without_the_root(q, k):
    """You divided by d_head. Divide by its root: a sum of d_head random products is about
    √d_head large.

    Try it: `(torch.randn(1000, 64) * torch.randn(1000, 64)).sum(-1).std()` is near 8, not 64."""
    return _scores(q, k, width=q.shape[-1] ** 2)


def multiplied_by_the_root(q, k):
    """Your scores are d_head times too large: you multiplied by √d_head. Divide by it."""
    return _scores(q, k, width=1 / q.shape[-1])


def queries_and_keys_swapped(q, k):
    """Rows and columns are swapped: row i must hold the scores of query i, with the keys along
    the last axis.

    In the einsum, q's position axis and k's have names of their own. In which order do these two
    names stand on the right of the arrow?"""
    return _scores(k, q)


def heads_summed(q, k):
    """Every head has the same scores: you summed over heads as well. Keep `head` on the right of
    the arrow."""
    scores = _scores(q, k, "b q h d, b k h d -> b q k")
    return repeat(scores, "b q k -> b h q k", h=q.shape[2])


def keys_of_all_heads(q, k):
    """Each query was compared with the sum of all heads' keys. A query meets its own head's key:
    the head axis has the same name in q and in k."""
    return _scores(q, k, "b q h d, b k g d -> b h q k")


def heads_mixed_by_reshape(q, k):
    """Your heads are mixed with the positions: reshape does not move axes. Name the axes in
    einsum instead, or transpose pos and head first."""
    batch, pos, head, d_head = q.shape
    mixed = [x.reshape(batch, head, pos, d_head) for x in (q, k)]
    return _scores(*mixed, "b h q d, b h k d -> b h q k")


def heads_compared(q, k):
    """`@` multiplies the last two axes, here head and d_head, so you compared heads at one
    position. Move head before pos first, or use einsum."""
    return _scores(q, k, "b p g d, b p h d -> b p g h")


def head_axis_last(q, k):
    """The numbers are right, the axes are not: return [batch head q_pos k_pos]."""
    return rearrange(_scores(q, k), "b h q k -> b q k h")


ATTENTION_SCORES = Exercise(
    id="1.4",
    title="attention scores",
    answer=model.attention_scores,
    cases={
        "five positions, three heads": normal((2, 5, 3, 4), (2, 5, 3, 4)),
        "as many positions as heads": normal((2, 3, 3, 5), (2, 3, 3, 5), seed=1),
    },
    mistakes=[
        no_scale,
        scaled_by_the_wrong_width,
        scaled_by_the_length_of_the_text,
        scaled_without_the_root,
        multiplied_by_the_root,
        queries_and_keys_swapped,
        heads_summed,
        keys_of_all_heads,
        heads_mixed_by_reshape,
        heads_compared,
        head_axis_last,
    ],
    variants=[
        lambda q, k: q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.shape[-1] ** -0.5,
        lambda q, k: torch.einsum("bihd,bjhd->bhij", q / q.shape[-1] ** 0.5, k),
    ],
    hints=[
        "Each score compares one query with one key of the same head: over which axis do you sum?",
        (
            "In einsum, give the two position axes different names, q_pos and k_pos; batch and "
            "head stay on both sides."
        ),
        (
            "Left of the arrow stand the axes of q and of k, right of it those of the result, "
            "batch head q_pos k_pos. And the scale? d_head is q.shape[-1]."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 1.5


def _hidden(scores, marks=lambda ones: ones.triu(diagonal=1), value=-torch.inf):
    return scores.masked_fill(marks(torch.ones_like(scores)).bool(), value)


def hides_the_present_too(scores):
    """No position can read itself any more, and the first can read nothing. Hide keys strictly
    later than the query: triu(diagonal=1).

    What would the softmax of the first row be?"""
    return _hidden(scores, marks=lambda ones: ones.triu())


def shows_one_position_ahead(scores):
    """Each position still sees the next one, which is the token it has to guess. The diagonal is
    1, not 2."""
    return _hidden(scores, marks=lambda ones: ones.triu(diagonal=2))


def hides_the_past(scores):
    """You hid the earlier positions and left the later ones. Columns are keys: hide the upper
    right triangle."""
    return _hidden(scores, marks=lambda ones: ones.tril(diagonal=-1))


def mask_inverted(scores):
    """You hid what each position may read, and left what it may not: your mask marks the past and
    the present. masked_fill fills where the mask is True, torch.where where it is False.

    Print your mask for three positions. In the first row, which columns should be filled?"""
    return _hidden(scores, marks=lambda ones: ones.tril())


def zeros_for_minus_infinity(scores):
    """You set hidden scores to 0. exp(0) is 1, so they would still be read; -inf becomes exactly
    0.

    The softmax comes after the mask: what number x makes exp(x) vanish, however large the others
    are?"""
    return _hidden(scores, value=0.0)


def plus_infinity(scores):
    """You set hidden scores to +inf: the softmax would look nowhere else. Hidden is -inf."""
    return _hidden(scores, value=torch.inf)


def infinity_times_zero(scores):
    """You multiplied a mask by infinity: 0 · inf is NaN, so there are NaNs where nothing is
    hidden. Use masked_fill or torch.where."""
    return scores + torch.ones_like(scores).triu(diagonal=1) * -torch.inf


def minus_one_for_minus_infinity(scores):
    """Your hidden scores are just lower, not hidden: after the softmax some weight is left. Use
    -inf."""
    return _hidden(scores, value=-1.0)


def hides_nothing(scores):
    """Nothing is hidden: masked_fill returns a new tensor; return that one."""
    return scores.clone()


def hidden_is_hidden(function: Callable, scores: Tensor) -> Float[Tensor, "batch head q_pos k_pos"]:
    """Any score below -10,000 counts as -inf: after the softmax nothing of it is left."""
    masked = function(scores)
    if not isinstance(masked, Tensor):
        return masked
    return masked.masked_fill(masked < -1e4, -torch.inf)


CAUSAL_MASK = Exercise(
    id="1.5",
    title="causal mask",
    answer=model.causal_mask,
    run=hidden_is_hidden,
    cases={
        "five positions": normal((2, 3, 5, 5)),
        "two positions": normal((1, 1, 2, 2), seed=1),
    },
    mistakes=[
        hides_the_present_too,
        shows_one_position_ahead,
        hides_the_past,
        mask_inverted,
        zeros_for_minus_infinity,
        plus_infinity,
        infinity_times_zero,
        minus_one_for_minus_infinity,
        hides_nothing,
    ],
    variants=[
        lambda scores: scores.masked_fill(~torch.ones(scores.shape[-2:]).tril().bool(), -1e9),
        lambda scores: scores + torch.full_like(scores, -torch.inf).triu(1),
        lambda scores: torch.where(
            torch.arange(scores.shape[-1]) > torch.arange(scores.shape[-2])[:, None],
            torch.finfo(scores.dtype).min,
            scores,
        ),
    ],
    hints=[
        "Row i is the query at position i. Which columns j may it not see: j > i or j ≥ i?",
        "torch.triu with diagonal=1 marks what lies strictly above the diagonal.",
        (
            "masked_fill(mask, value) returns a new tensor that has the value where the mask, a "
            "boolean tensor, is True."
        ),
    ],
    difficulty=1,
    minutes=10,
)


# 1.6


def _softmax(masked_scores, *, dim=-1, less=lambda scores, dim: scores.amax(dim, keepdim=True)):
    """A softmax with its steps open: `less` is what it subtracts from the scores."""
    exp = (masked_scores - less(masked_scores, dim)).exp()
    return exp / exp.sum(dim=dim, keepdim=True)


def softmax_over_queries(masked_scores):
    """Your columns sum to 1, your rows do not. Each query shares out its attention: softmax over
    keys, dim=-1.

    Print `pattern.sum(dim=-1)` and `pattern.sum(dim=-2)`: one of them should be all ones. The
    axes are batch, head, q_pos, k_pos."""
    return _softmax(masked_scores, dim=-2)


def softmax_over_heads(masked_scores):
    """Your weights sum to 1 over heads. Heads do not share: each has a softmax of its own over
    keys, dim=-1."""
    return _softmax(masked_scores.nan_to_num(neginf=-1e9), dim=1)


def not_divided_by_the_sum(masked_scores):
    """You took exp and stopped: the rows sum to anything. Divide each row by its sum."""
    return masked_scores.exp()


def exp_overflows(masked_scores):
    """Right for small scores; for large ones exp overflows to inf, and inf / inf is NaN.
    Subtract each row's maximum first, or use torch.softmax, which does.

    exp(89) is too large for a float32. What does a softmax do when the same number is subtracted
    from every score of a row?"""
    return _softmax(masked_scores, less=lambda scores, dim: 0)


def one_maximum_for_all_rows(masked_scores):
    """You subtracted one maximum from all scores: in a row that lies far below it every exp is 0,
    and 0 / 0 is NaN. Each row has a maximum of its own: dim=-1, keepdim=True."""
    return _softmax(masked_scores, less=lambda scores, dim: scores.max())


def one_softmax_for_everything(masked_scores):
    """All your weights sum to 1 together, those of all heads and texts: .sum() without `dim` adds
    up everything there is. Each row has a sum of its own: dim=-1, keepdim=True."""
    return _softmax(masked_scores, dim=(0, 1, 2, 3))


def summed_axis_dropped(masked_scores):
    """A row and its sum or maximum do not fit together: the reduced axis is gone. With
    keepdim=True it stays, with size 1."""
    exp = masked_scores.exp()
    return exp / exp.sum(dim=-1)


def one_softmax_for_the_whole_head(masked_scores):
    """All weights of a head sum to 1 together. Each row is a distribution of its own: dim=-1."""
    return _softmax(masked_scores, dim=(-2, -1))


def log_probabilities(masked_scores):
    """These are log-probabilities: negative, and -inf where hidden. Attention needs the
    probabilities."""
    return masked_scores.log_softmax(dim=-1)


def sigmoid_of_each(masked_scores):
    """You squashed each score alone, so rows do not sum to 1: keys compete for attention in a
    softmax."""
    return masked_scores.sigmoid()


ATTENTION_PATTERN = Exercise(
    id="1.6",
    title="attention pattern",
    answer=model.attention_pattern,
    cases={
        "four positions": (model.causal_mask(normal((2, 3, 4, 4))[0]),),
        "large scores": (model.causal_mask(300 * normal((1, 2, 3, 3), seed=1)[0]),),
    },
    mistakes=[
        softmax_over_queries,
        softmax_over_heads,
        not_divided_by_the_sum,
        exp_overflows,
        one_maximum_for_all_rows,
        one_softmax_for_everything,
        summed_axis_dropped,
        one_softmax_for_the_whole_head,
        log_probabilities,
        sigmoid_of_each,
    ],
    variants=[
        lambda scores: functional.softmax(scores, dim=3),
        lambda scores: (scores - scores.logsumexp(dim=-1, keepdim=True)).exp(),
    ],
    hints=[
        "Which axis must sum to 1: the queries or the keys?",
        "The keys are the last axis, and -inf turns into a weight of exactly 0.",
        "torch's softmax(dim=...) also keeps large scores from overflowing.",
    ],
    difficulty=1,
    minutes=5,
)


# 1.7


def _values(pattern, v, axes="b h q k, b k h d -> b q h d"):
    return einsum(pattern, v, axes)


def pattern_transposed(pattern, v):
    """You used the pattern the wrong way round: row i of it says where position i reads. Sum
    over its columns, k_pos.

    Which axis of the pattern sums to 1? That one has the weights of what is added up."""
    return _values(pattern, v, "b h k q, b k h d -> b q h d")


def plain_sum_of_values(pattern, v):
    """You summed values without their weights: every position brings the same. Multiply by the
    pattern.

    For one query and one head, the weights are one row of the pattern. What does a weight of 0 do
    to the value of its position?"""
    return _values(torch.ones_like(pattern), v)


def only_the_most_attended(pattern, v):
    """You took the value of the strongest position alone. Attention is a mixture: weigh every
    value."""
    return _values(functional.one_hot(pattern.argmax(dim=-1), v.shape[1]).to(v.dtype), v)


def own_value_only(pattern, v):
    """Each position got its own value back. Sum over the positions it reads: k_pos belongs to v,
    q_pos stays."""
    return _values(pattern, v, "b h q k, b q h d -> b q h d")


def readers_summed(pattern, v):
    """Each position kept its own value, times the attention that it gets from all. Sum over what
    is read, k_pos, and keep who reads, q_pos."""
    return _values(pattern, v, "b h q k, b k h d -> b k h d")


def values_of_all_heads(pattern, v):
    """Your heads all carry the sum over heads. Each head reads its own values: keep `head` on
    the right."""
    return _values(pattern, v, "b h q k, b k g d -> b q h d")


def values_mixed_by_reshape(pattern, v):
    """Your heads are mixed with the positions: reshape and view do not move axes. Transpose v's
    pos and head before the product, or name the axes in einsum."""
    batch, pos, head, d_head = v.shape
    mixed = v.reshape(batch, head, pos, d_head)
    return _values(pattern, rearrange(mixed, "b h p d -> b p h d"))


def result_mixed_by_reshape(pattern, v):
    """The shape is right, but your heads are mixed with the positions at the end: reshape and view
    do not move axes. Transpose head and pos back."""
    return rearrange(_values(pattern, v), "b p h d -> b h p d").reshape(v.shape)


def heads_not_moved_first(pattern, v):
    """`@` multiplies the last two axes: the pattern's q_pos and k_pos with v's head and d_head.
    Move v's head before its pos first, or use einsum."""
    return pattern @ v


def positions_not_moved_back(pattern, v):
    """The numbers are right, the axes are not: return [batch q_pos head d_head], as q, k and v
    have them."""
    return rearrange(_values(pattern, v), "b p h d -> b h p d")


WEIGHTED_VALUES = Exercise(
    id="1.7",
    title="weighted sum of values",
    answer=model.weighted_values,
    cases={
        "five positions, three heads": (
            model.causal_mask(normal((2, 3, 5, 5))[0]).softmax(dim=-1),
            *normal((2, 5, 3, 4), seed=1),
        ),
        "as many positions as heads": (
            model.causal_mask(normal((1, 3, 3, 3), seed=2)[0]).softmax(dim=-1),
            *normal((1, 3, 3, 4), seed=3),
        ),
    },
    mistakes=[
        pattern_transposed,
        plain_sum_of_values,
        only_the_most_attended,
        own_value_only,
        readers_summed,
        values_of_all_heads,
        values_mixed_by_reshape,
        result_mixed_by_reshape,
        heads_not_moved_first,
        positions_not_moved_back,
    ],
    variants=[
        lambda pattern, v: (pattern @ v.transpose(1, 2)).transpose(1, 2),
        lambda pattern, v: torch.einsum("bhqk,bkhd->bqhd", pattern, v).contiguous(),
    ],
    hints=[
        "For one query: multiply each value by its weight, and add. Which axis disappears?",
        "v's positions are the ones that are read, so its pos axis is the pattern's last: k_pos.",
        (
            "In einsum: the pattern is [batch head q_pos k_pos], the result "
            "[batch q_pos head d_head]. Name v's axes so that k_pos is summed."
        ),
    ],
    difficulty=2,
    minutes=5,
)


# 1.8


def bias_once_per_head(z, W_O, b_O):
    """b_O came in once per head. It belongs to the layer: add it once, after the sum over heads.

    How many b_O are in your sum? Where would you add it so that there is one?"""
    return model.attention_out(z, W_O, len(W_O) * b_O)


def output_bias_forgotten(z, W_O, b_O):
    """You are off by the same vector at every position: b_O is missing."""
    return model.attention_out(z, W_O, torch.zeros_like(b_O))


def heads_in_the_wrong_order(z, W_O, b_O):
    """You flattened z as (d_head head), W_O as (head d_head), so heads meet the wrong rows. Let
    einsum sum over both axes, or flatten both in the same order."""
    flat = rearrange(z, "b p h d -> b p (d h)")
    return model.attention_out(rearrange(flat, "b p (h d) -> b p h d", h=len(W_O)), W_O, b_O)


def matrices_in_the_wrong_order(z, W_O, b_O):
    """You moved W_O's head axis before flattening, so z's heads meet the wrong rows. W_O is
    [head d_head d_model]: its first two axes flatten as z's last two do."""
    flat = rearrange(W_O, "h d m -> (d h) m")
    return model.attention_out(z, rearrange(flat, "(h d) m -> h d m", h=len(W_O)), b_O)


def heads_moved_needlessly(z, W_O, b_O):
    """You transposed head and pos before flattening, so positions are mixed. z comes as
    [batch pos head d_head]: head and d_head stand side by side already.

    Code that keeps heads before positions has to transpose here. Which shape has z, axis by
    axis?"""
    moved = rearrange(z, "b p h d -> b h p d").reshape(z.shape)
    return model.attention_out(moved, W_O, b_O)


def mean_over_heads(z, W_O, b_O):
    """Your result is n_heads times too small: heads add up, they are not averaged."""
    return model.attention_out(z / len(W_O), W_O, b_O)


def heads_kept_apart(z, W_O, b_O):
    """You kept one vector per head. The stream takes their sum: drop `head` on the right of the
    arrow."""
    return einsum(z, W_O, "b p h d, h d m -> b p h m") + b_O


def first_heads_matrix_for_all(z, W_O, b_O):
    """Every head wrote through the first head's W_O. Each has a matrix of its own: head is an
    axis of W_O too."""
    return model.attention_out(z, W_O[:1].expand_as(W_O), b_O)


def every_z_through_every_matrix(z, W_O, b_O):
    """Each head wrote through the matrices of all heads: you summed z or W_O over heads before the
    product, or gave their head axes two names. Head 0's z meets head 0's W_O only."""
    return model.attention_out(z, W_O.sum(dim=0, keepdim=True).expand_as(W_O), b_O)


def only_the_last_head(z, W_O, b_O):
    """Only the last head wrote: does each turn of your loop overwrite the one before? Add up."""
    return model.attention_out(z[:, :, -1:], W_O[-1:], b_O)


def only_the_first_head(z, W_O, b_O):
    """Only the first head wrote: is `return` inside the loop?"""
    return model.attention_out(z[:, :, :1], W_O[:1], b_O)


def axes_multiplied_blindly(z, W_O, b_O):
    """`@` multiplies the last two axes, here z's head and d_head, and takes pos for W_O's head.
    Name the axes in einsum, or loop over heads."""
    return z @ W_O + b_O


ATTENTION_OUT = Exercise(
    id="1.8",
    title="write back through W_O",
    answer=model.attention_out,
    cases={
        "three heads": normal((2, 5, 3, 4), (3, 4, 6), (6,)),
        "as many heads as d_head": normal((1, 2, 4, 4), (4, 4, 5), (5,), seed=1),
    },
    mistakes=[
        bias_once_per_head,
        output_bias_forgotten,
        heads_in_the_wrong_order,
        matrices_in_the_wrong_order,
        heads_moved_needlessly,
        mean_over_heads,
        heads_kept_apart,
        first_heads_matrix_for_all,
        every_z_through_every_matrix,
        only_the_last_head,
        only_the_first_head,
        axes_multiplied_blindly,
    ],
    variants=[
        lambda z, W_O, b_O: z.flatten(2) @ W_O.flatten(0, 1) + b_O,
        lambda z, W_O, b_O: sum(z[:, :, head] @ W_O[head] for head in range(len(W_O))) + b_O,
    ],
    hints=[
        "Each head turns its d_head numbers into d_model numbers, by its own W_O. And then?",
        "What the heads write is added: sum over head and over d_head in one einsum.",
        (
            "In einsum, an axis that is on the left in both and missing on the right is summed. "
            "b_O comes after it, once."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 1.9


def _attention(x, weights, *, q=None, k=None, v=None, scale=1, scores=None, pattern=None, b_O=None):
    q = model.project(x, weights.W_Q, weights.b_Q) if q is None else q
    k = model.project(x, weights.W_K, weights.b_K) if k is None else k
    v = model.project(x, weights.W_V, weights.b_V) if v is None else v
    raw = scale * model.attention_scores(q, k)
    masked = model.causal_mask(raw) if scores is None else scores(raw)
    weighted = model.attention_pattern(masked) if pattern is None else pattern(masked)
    z = model.weighted_values(weighted, v)
    return model.attention_out(z, weights.W_O, weights.b_O if b_O is None else b_O)


def mask_forgotten(x, weights):
    """The first position changes with the later ones: without the mask every position reads the
    future.

    You wrote the missing step in 1.5. Between which two others does it belong?"""
    return _attention(x, weights, scores=lambda raw: raw)


def mask_after_softmax(x, weights):
    """Your rows sum to less than 1: hide the later positions before the softmax, not after it.

    What is hidden before the softmax gets no share, and the rest share out everything. What
    happens to the share of what is hidden after it?"""
    return _attention(x, weights, scores=lambda raw: raw, pattern=lambda s: s.softmax(-1).tril())


def scale_forgotten(x, weights):
    """Your patterns are too peaked: the scores were never divided by √d_head."""
    return _attention(x, weights, scale=math.sqrt(weights.W_Q.shape[-1]))


def scaled_twice(x, weights):
    """Your patterns are too flat: `attention_scores` divides by √d_head already."""
    return _attention(x, weights, scale=1 / math.sqrt(weights.W_Q.shape[-1]))


def keys_from_the_query_matrix(x, weights):
    """Your keys are queries: project with W_K and b_K."""
    return _attention(x, weights, k=model.project(x, weights.W_Q, weights.b_Q))


def values_from_the_key_matrix(x, weights):
    """Your values are keys: project with W_V and b_V."""
    return _attention(x, weights, v=model.project(x, weights.W_K, weights.b_K))


def queries_keys_swapped(x, weights):
    """Queries and keys are swapped: the row that reads is projected with W_Q, the column that is
    read with W_K."""
    return _attention(
        x,
        weights,
        q=model.project(x, weights.W_K, weights.b_K),
        k=model.project(x, weights.W_Q, weights.b_Q),
    )


def _without_bias(x, weights, name):
    W, b = getattr(weights, f"W_{name}"), getattr(weights, f"b_{name}")
    return model.project(x, W, torch.zeros_like(b))


def projection_biases_forgotten(x, weights):
    """b_Q, b_K and b_V are missing: each projection is x W + b."""
    return _attention(
        x, weights, **{name.lower(): _without_bias(x, weights, name) for name in "QKV"}
    )


def normalised_again(x, weights):
    """You normalised x. The block does that before it calls attention: use x as it comes."""
    return _attention(functional.layer_norm(x, x.shape[-1:]), weights)


def value_bias_forgotten(x, weights):
    """You are off by one vector at every position: b_V is missing. Each row of the pattern sums
    to 1, so b_V reaches every position alike."""
    return _attention(x, weights, v=_without_bias(x, weights, "V"))


def layer_bias_forgotten(x, weights):
    """You are off by one vector at every position: b_O is missing at the end."""
    return _attention(x, weights, b_O=torch.zeros_like(weights.b_O))


def mask_on_the_pattern(x, weights):
    """Your result is full of NaN or infinity: -inf times a value is one of them. causal_mask
    goes on the scores, before the softmax."""
    return _attention(
        x, weights, scores=lambda raw: raw, pattern=lambda s: model.causal_mask(s.softmax(-1))
    )


def softmax_forgotten(x, weights):
    """Your result is full of NaN or infinity: you weighed the values with masked scores, -inf among
    them. Between the mask and the values comes the softmax."""
    return _attention(x, weights, pattern=lambda masked: masked)


def stream_added_already(x, weights):
    """You added x to the result. The layer returns what it writes; adding it to the stream is
    the block's work."""
    return x + _attention(x, weights)


def attention_case(pos: int, seed: int = 0, **sizes) -> Callable[[], tuple]:
    def arguments():
        weights = lively(seed=seed, **sizes).blocks[0].attn
        return (*normal((2, pos, weights.W_Q.shape[1]), seed=seed), weights)

    return arguments


ATTENTION = Exercise(
    id="1.9",
    title="the attention layer",
    answer=model.attention,
    cases={
        "five positions, two heads": attention_case(5),
        "three heads that do not share out d_model": attention_case(4, seed=1, n_heads=3, d_head=5),
    },
    mistakes=[
        mask_forgotten,
        mask_after_softmax,
        scale_forgotten,
        scaled_twice,
        keys_from_the_query_matrix,
        values_from_the_key_matrix,
        queries_keys_swapped,
        projection_biases_forgotten,
        normalised_again,
        value_bias_forgotten,
        layer_bias_forgotten,
        mask_on_the_pattern,
        softmax_forgotten,
        stream_added_already,
    ],
    variants=[
        lambda x, w: model.attention_out(
            functional.scaled_dot_product_attention(
                *(
                    (torch.einsum("bpm,hmd->bhpd", x, W) + b[:, None])
                    for W, b in ((w.W_Q, w.b_Q), (w.W_K, w.b_K), (w.W_V, w.b_V))
                ),
                is_causal=True,
            ).transpose(1, 2),
            w.W_O,
            w.b_O,
        ),
    ],
    hints=[
        (
            "You have all six steps: project three times, score, mask, softmax, weighted values,"
            " write back."
        ),
        "`project(x, W, b)` is given above. weights has W_Q, b_Q, W_K, b_K, W_V, b_V, W_O and b_O.",
        (
            "The pattern is 1.6 of 1.5 of 1.4, of q and k. It goes with v into 1.7, and what comes "
            "out, z, with W_O and b_O into 1.8."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 1.10


def _gelu(x, *, half=0.5, one=1, factor=(2 / math.pi) ** 0.5, cubic=0.044715, power=3):
    return half * x * (one + torch.tanh(factor * (x + cubic * x**power)))


def exact_form(x):
    """You are off by less than 0.001: this is the exact GELU, with erf. GPT-2 was trained with
    the tanh form."""
    return functional.gelu(x)


def relu(x):
    """Negative numbers all became 0: that is ReLU. GELU lets a little of them through."""
    return x.relu()


def sigmoid_form(x):
    """This is x · sigmoid(1.702 x), another approximation of GELU. GPT-2 uses the one with tanh."""
    return x * torch.sigmoid(1.702 * x)


def swish(x):
    """This is x · sigmoid(x), called SiLU or swish. GPT-2 uses GELU's tanh form."""
    return functional.silu(x)


def half_forgotten(x):
    """Your result is twice too large: 1 + tanh goes from 0 to 2, so a factor ½ belongs in front."""
    return _gelu(x, half=1)


def x_in_front_forgotten(x):
    """Your curve goes from 0 to 1: that is the share of x which passes. Multiply x by it.

    What should come out for x = 100, and what does your formula give?"""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def square_for_cube(x):
    """Right for small x, wrong further out and not alike on both sides: the inner term has x³,
    not x²."""
    return _gelu(x, power=2)


def root_forgotten(x):
    """The curve bends too gently: the factor in front of the bracket is √(2/π), not 2/π."""
    return _gelu(x, factor=2 / math.pi)


def root_of_the_two_only(x):
    """The curve bends too gently: the factor in front of the bracket is √(2/π), not √2 / π. The
    root goes over the whole fraction."""
    return _gelu(x, factor=math.sqrt(2) / math.pi)


def fraction_upside_down(x):
    """The curve bends too sharply: the factor in front of the bracket is √(2/π), not √(π/2)."""
    return _gelu(x, factor=math.sqrt(math.pi / 2))


def factor_forgotten(x):
    """The curve bends too sharply: √(2/π) in front of the bracket is missing."""
    return _gelu(x, factor=1)


def coefficient_ten_times_too_large(x):
    """The curve bends too sharply: the cube's coefficient is 0.044715, with a zero after the
    point."""
    return _gelu(x, cubic=0.44715)


def bracket_forgotten(x):
    """Right for small x only: √(2/π) multiplies the whole bracket, the cube too."""
    return _gelu(x, cubic=0.044715 / math.sqrt(2 / math.pi))


def one_forgotten(x):
    """Your curve is even, f(-x) = f(x): the 1 in (1 + tanh(...)) is missing.

    Far to the left, tanh is -1. What has to be added so that nothing of x comes through there?"""
    return _gelu(x, one=0)


def outer_bracket_forgotten(x):
    """Only the 1 was multiplied by x / 2, and tanh was added to it: put brackets around
    1 + tanh(...)."""
    return 0.5 * x * 1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def math_on_a_tensor(x):
    """`math.tanh` and `math.sqrt` take one number at a time. torch.tanh and torch.sqrt take a whole
    tensor; only the constant √(2/π) is a plain number."""
    return math.tanh(x)


GELU = Exercise(
    id="1.10",
    title="GELU",
    answer=model.gelu,
    cases={
        "from -3 to 3": (torch.linspace(-3, 3, 30),),
        "a batch": normal((2, 3, 4)),
    },
    mistakes=[
        exact_form,
        relu,
        sigmoid_form,
        swish,
        half_forgotten,
        x_in_front_forgotten,
        square_for_cube,
        root_forgotten,
        root_of_the_two_only,
        fraction_upside_down,
        factor_forgotten,
        coefficient_ten_times_too_large,
        bracket_forgotten,
        one_forgotten,
        outer_bracket_forgotten,
        math_on_a_tensor,
    ],
    variants=[
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda x: x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)),
    ],
    hints=[
        (
            "The formula stands in the task; write it from the inside out: the cube, the "
            "bracket, the tanh."
        ),
        "math.sqrt(2 / math.pi) is a plain number; torch.tanh works on the whole tensor.",
        (
            "Give the bracket a name: inner = x + 0.044715 * x**3. What multiplies it inside the "
            "tanh, and what multiplies 1 + tanh(...)?"
        ),
    ],
    tolerance=3e-6,
    difficulty=1,
    minutes=5,
)


# 1.11


def _mlp(x, weights, *, activation=model.gelu, b_in=1, b_out=1):
    post = activation(x @ weights.W_in + b_in * weights.b_in)
    return post @ weights.W_out + b_out * weights.b_out


def no_nonlinearity(x, weights):
    """Without GELU between them the two matrices are one matrix: the layer cannot say "if"."""
    return _mlp(x, weights, activation=lambda pre: pre)


def relu_for_gelu(x, weights):
    """You used ReLU between the matrices. GPT-2 uses GELU, your 1.10."""
    return _mlp(x, weights, activation=torch.relu)


def swish_for_gelu(x, weights):
    """You used SiLU (swish) between the matrices. GPT-2 uses GELU, your 1.10."""
    return _mlp(x, weights, activation=functional.silu)


def exact_gelu(x, weights):
    """You are off by a little everywhere: functional.gelu is the exact form by default. Use your
    1.10."""
    return _mlp(x, weights, activation=functional.gelu)


def first_bias_forgotten(x, weights):
    """b_in is missing: a neuron's bias says how much it needs before it fires.

    Which numbers has `weights` that you have not used?"""
    return _mlp(x, weights, b_in=0)


def first_bias_too_late(x, weights):
    """b_in came after GELU. A neuron's bias says how much it needs before it fires, so it belongs
    inside: gelu(... + b_in)."""
    return _mlp(x, weights, b_in=0, activation=lambda pre: model.gelu(pre) + weights.b_in)


def second_bias_forgotten(x, weights):
    """You are off by one vector at every position: b_out is missing."""
    return _mlp(x, weights, b_out=0)


def nonlinearity_at_the_end(x, weights):
    """GELU comes between the matrices, on the d_mlp neurons, not after the second.

    What can two matrices in a row do that one cannot?"""
    return model.gelu(_mlp(x, weights, activation=lambda pre: pre))


def nonlinearity_twice(x, weights):
    """GELU came twice, so hardly anything you write is negative. What the second matrix writes goes
    into the stream as it is."""
    return model.gelu(_mlp(x, weights))


def x_normalised_again(x, weights):
    """You normalised x. The block does that before it calls the MLP: use x as it comes."""
    return _mlp(functional.layer_norm(x, x.shape[-1:]), weights)


def added_to_the_stream_already(x, weights):
    """You added x to the result. The MLP returns what it writes; adding is the block's work."""
    return x + _mlp(x, weights)


def mlp_case(seed: int = 0, **sizes) -> Callable[[], tuple]:
    def arguments():
        weights = lively(seed=seed, **sizes).blocks[0].mlp
        return (*normal((2, 4, weights.W_in.shape[0]), seed=seed), weights)

    return arguments


MLP = Exercise(
    id="1.11",
    title="MLP",
    answer=model.mlp,
    cases={
        "ten neurons": mlp_case(),
        "as many neurons as d_model": mlp_case(seed=1, d_model=5, d_mlp=5),
    },
    mistakes=[
        no_nonlinearity,
        relu_for_gelu,
        swish_for_gelu,
        exact_gelu,
        first_bias_forgotten,
        first_bias_too_late,
        second_bias_forgotten,
        nonlinearity_at_the_end,
        nonlinearity_twice,
        x_normalised_again,
        added_to_the_stream_already,
    ],
    variants=[
        lambda x, w: functional.linear(
            functional.gelu(functional.linear(x, w.W_in.mT, w.b_in), approximate="tanh"),
            w.W_out.mT,
            w.b_out,
        ),
        lambda x, w: (
            einsum(
                model.gelu(einsum(x, w.W_in, "b p m, m n -> b p n") + w.b_in),
                w.W_out,
                "b p n, n m -> b p m",
            )
            + w.b_out
        ),
    ],
    hints=[
        "Three steps: into the neurons, the nonlinearity, out again.",
        "Our matrices multiply on the right: x @ weights.W_in is [batch pos d_mlp].",
        (
            "Each matrix has its bias: one is added before gelu, [d_mlp], one at the very end, "
            "[d_model]."
        ),
    ],
    tolerance=1e-5,
    difficulty=1,
    minutes=5,
)


# 1.12


def _norm(x, weights):
    return model.layer_norm(x, weights.w, weights.b, weights.eps)


def _norm_with_default_eps(x, weights):
    return model.layer_norm(x, weights.w, weights.b)


def _block(
    resid_pre,
    weights,
    *,
    ln1="ln1",
    ln2="ln2",
    norm=_norm,
    attention_joins=lambda pre, read: pre,
    mlp_reads=lambda pre, written, mid: mid,
    mlp_joins=lambda pre, read, mid: mid,
):
    """The block with its steps open: what each layer reads, and to what it is added."""
    read = norm(resid_pre, getattr(weights, ln1)) if ln1 else resid_pre
    written = model.attention(read, weights.attn)
    mid = attention_joins(resid_pre, read) + written
    read = mlp_reads(resid_pre, written, mid)
    read = norm(read, getattr(weights, ln2)) if ln2 else read
    return mlp_joins(resid_pre, read, mid) + model.mlp(read, weights.mlp)


def post_norm(resid_pre, weights):
    """You normalised after adding, as the first transformer did. GPT-2 is pre-norm: each layer
    reads a normalised copy, and the stream itself stays as it is."""
    mid = _norm(resid_pre + model.attention(resid_pre, weights.attn), weights.ln1)
    return _norm(mid + model.mlp(mid, weights.mlp), weights.ln2)


def writings_normalised(resid_pre, weights):
    """You normalised what attention and the MLP wrote. Normalise what they read: ln1 and ln2 come
    before them."""
    mid = resid_pre + _norm(model.attention(resid_pre, weights.attn), weights.ln1)
    return mid + _norm(model.mlp(mid, weights.mlp), weights.ln2)


def MLP_reads_too_early(resid_pre, weights):
    """Your MLP read the stream as it was before attention. It reads resid_mid, attention's
    writing included.

    In the drawing, follow the line into ln2 backwards. Where does it leave the stream?"""
    return _block(resid_pre, weights, mlp_reads=lambda pre, written, mid: pre)


def attention_not_added(resid_pre, weights):
    """Attention replaced the stream instead of adding to it: resid_mid = resid_pre + attn_out."""
    return _block(resid_pre, weights, attention_joins=lambda pre, read: 0)


def MLP_not_added(resid_pre, weights):
    """The MLP replaced the stream instead of adding to it: resid_post = resid_mid + mlp_out."""
    return _block(resid_pre, weights, mlp_joins=lambda pre, read, mid: 0)


def MLP_reads_attention_only(resid_pre, weights):
    """Your MLP read what attention wrote, and nothing else. It reads the whole stream, resid_mid:
    what came in plus what attention wrote."""
    return _block(resid_pre, weights, mlp_reads=lambda pre, written, mid: written)


def ln1_used_twice(resid_pre, weights):
    """Your MLP reads through ln1. It has a LayerNorm of its own: ln2."""
    return _block(resid_pre, weights, ln2="ln1")


def norms_swapped(resid_pre, weights):
    """The two LayerNorms are swapped: attention reads through ln1, the MLP through ln2."""
    return _block(resid_pre, weights, ln1="ln2", ln2="ln1")


def first_norm_forgotten(resid_pre, weights):
    """Attention read the raw stream. It reads through ln1."""
    return _block(resid_pre, weights, ln1=None)


def second_norm_forgotten(resid_pre, weights):
    """The MLP read the raw stream. It reads through ln2."""
    return _block(resid_pre, weights, ln2=None)


def normalised_by_attention(resid_pre, weights):
    """Attention's writing was added to the normalised copy, so the stream was overwritten.
    Normalise only what is read: give the copy a name of its own.

    `x = layer_norm(x, ...)` throws the stream away. What can you call the copy instead?"""
    return _block(resid_pre, weights, attention_joins=lambda pre, read: read)


def normalised_by_the_MLP(resid_pre, weights):
    """The MLP's writing was added to the normalised copy, so resid_mid was overwritten. Normalise
    only what is read: give the copy a name of its own.

    `x = layer_norm(x, ...)` throws the stream away. What can you call the copy instead?"""
    return _block(resid_pre, weights, mlp_joins=lambda pre, read, mid: read)


def eps_left_at_its_default(resid_pre, weights):
    """You are nearly right: eps is missing, so LayerNorm took its default. Pass weights.ln1.eps and
    weights.ln2.eps as well."""
    return _block(resid_pre, weights, norm=_norm_with_default_eps)


def attention_lost(resid_pre, weights):
    """What attention wrote is lost at the end: add the MLP's writing to resid_mid, not to
    resid_pre.

    How many vectors does the block's result sum up? Count the (+) in the drawing."""
    return _block(resid_pre, weights, mlp_joins=lambda pre, read, mid: pre)


def resid_pre_added_twice(resid_pre, weights):
    """resid_pre came in twice: resid_mid contains it already. Add the MLP's writing to resid_mid
    alone."""
    return _block(resid_pre, weights, mlp_joins=lambda pre, read, mid: pre + mid)


def MLP_forgotten(resid_pre, weights):
    """You stopped at resid_mid: the MLP's part is missing."""
    return resid_pre + model.attention(_norm(resid_pre, weights.ln1), weights.attn)


def MLP_first(resid_pre, weights):
    """The MLP ran before attention. Attention comes first, and the MLP works on what it moved."""
    mid = resid_pre + model.mlp(_norm(resid_pre, weights.ln2), weights.mlp)
    return mid + model.attention(_norm(mid, weights.ln1), weights.attn)


def returns_the_update_only(resid_pre, weights):
    """You returned what the block wrote. The next block needs the whole stream: what came in,
    plus both writes."""
    return _block(resid_pre, weights) - resid_pre


def block_case(pos: int, seed: int = 0, **sizes) -> Callable[[], tuple]:
    def arguments():
        weights = lively(seed=seed, **sizes)
        return (*normal((2, pos, weights.cfg.d_model), seed=seed), weights.blocks[0])

    return arguments


BLOCK = Exercise(
    id="1.12",
    title="the block",
    answer=model.block,
    cases={"five positions": block_case(5), "another model": block_case(3, seed=1, n_heads=1)},
    mistakes=[
        post_norm,
        writings_normalised,
        MLP_reads_too_early,
        attention_not_added,
        MLP_not_added,
        MLP_reads_attention_only,
        ln1_used_twice,
        norms_swapped,
        first_norm_forgotten,
        second_norm_forgotten,
        normalised_by_attention,
        normalised_by_the_MLP,
        eps_left_at_its_default,
        attention_lost,
        resid_pre_added_twice,
        MLP_forgotten,
        MLP_first,
        returns_the_update_only,
    ],
    variants=[
        lambda resid, w: (
            (mid := resid + model.attention(_norm(resid, w.ln1), w.attn))
            + model.mlp(_norm(mid, w.ln2), w.mlp)
        ),
    ],
    hints=[
        (
            "Two reads and two writes: attention first, then the MLP. What is the stream between"
            " them called?"
        ),
        "layer_norm(resid, weights.ln1.w, weights.ln1.b, weights.ln1.eps) is what attention reads.",
        (
            "resid_mid is resid_pre plus what attention writes. What does the MLP read, and to "
            "what is its writing added?"
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 1.13


def _logits(resid, weights, *, norm=_norm, ln=None, W_U=None, b_U=None):
    read = norm(resid, weights.ln_final if ln is None else ln)
    W_U = weights.W_U if W_U is None else W_U
    return read @ W_U + (weights.b_U if b_U is None else b_U)


def final_layer_norm_forgotten(resid, weights):
    """You unembedded the raw stream. It goes through ln_final first.

    Attention and the MLP never read the raw stream either. What did they do with it first?"""
    return _logits(resid, weights, norm=lambda x, _: x)


def embedding_not_transposed(resid, weights):
    """You multiplied by W_E as it is. Its rows are tokens: the unembedding needs them as columns
    (W_U does that)."""
    return _logits(resid, weights, W_U=weights.W_E)


def embedding_for_unembedding(resid, weights):
    """Right where the two are tied, wrong elsewhere: you used W_E transposed. A model may have an
    unembedding of its own; weights.W_U is the right one in both."""
    return _logits(resid, weights, W_U=weights.W_E.mT)


def last_blocks_layer_norm(resid, weights):
    """You used the last block's ln2. The model has one more LayerNorm, of its own: ln_final."""
    return _logits(resid, weights, ln=weights.blocks[-1].ln2)


def default_eps(resid, weights):
    """You are nearly right: eps is missing, so LayerNorm took its default. Pass ln_final.eps
    too."""
    return _logits(resid, weights, norm=_norm_with_default_eps)


def unembedding_bias_forgotten(resid, weights):
    """b_U is missing. GPT-2's is zero, but a model whose LayerNorm was folded has one."""
    return _logits(resid, weights, b_U=0)


def probabilities_for_logits(resid, weights):
    """These are probabilities. Return the logits: the softmax comes later, in the loss or in
    sampling."""
    return _logits(resid, weights).softmax(dim=-1)


def log_probabilities_for_logits(resid, weights):
    """These are log-probabilities, whose exponentials sum to 1. Return the logits as they are."""
    return _logits(resid, weights).log_softmax(dim=-1)


def last_position_only(resid, weights):
    """You kept the last position only. The model guesses the next token at every position.

    To continue a text the last position is enough. Why would training want all of them?"""
    return _logits(resid, weights)[:, -1]


def unembed_case(seed: int = 0, **sizes) -> Callable[[], tuple]:
    def arguments():
        weights = lively(seed=seed, **sizes)
        return (*normal((2, 4, weights.cfg.d_model), seed=seed), weights)

    return arguments


UNEMBED = Exercise(
    id="1.13",
    title="unembed",
    answer=model.unembed,
    cases={
        "tied, as many tokens as d_model": unembed_case(d_vocab=6, tied=True),
        "eleven tokens": unembed_case(seed=1),
    },
    mistakes=[
        final_layer_norm_forgotten,
        embedding_not_transposed,
        embedding_for_unembedding,
        last_blocks_layer_norm,
        default_eps,
        unembedding_bias_forgotten,
        probabilities_for_logits,
        log_probabilities_for_logits,
        last_position_only,
    ],
    variants=[
        lambda resid, w: functional.linear(_norm(resid, w.ln_final), w.W_U.mT, w.b_U),
        lambda resid, w: (
            einsum(_norm(resid, w.ln_final), w.W_U, "b p m, m v -> b p v").contiguous() + w.b_U
        ),
    ],
    hints=[
        "Everything that reads the stream reads it through a LayerNorm. Which one is left?",
        "weights.W_U is [d_model d_vocab]; in GPT-2 it is W_E transposed.",
        "ln_final has w, b and eps, as ln1 has. A matrix product and a bias come after it.",
    ],
    difficulty=1,
    minutes=5,
)


# 1.14


def _transformer(
    tokens, weights, *, positions=1, blocks=None, block=model.block, unembed=model.unembed
):
    added = model.positional_embedding(tokens, weights.W_pos)
    resid = model.embed(tokens, weights.W_E) + positions * added
    for each in weights.blocks if blocks is None else blocks:
        resid = block(resid, each)
    return unembed(resid, weights)


def positions_forgotten(tokens, weights):
    """The model does not know where its tokens stand: add the positional embedding before the
    first block."""
    return _transformer(tokens, weights, positions=0)


def first_block_every_time(tokens, weights):
    """Every layer used the first block's weights: take each block of weights.blocks in turn."""
    return _transformer(tokens, weights, blocks=[weights.blocks[0]] * len(weights.blocks))


def blocks_backwards(tokens, weights):
    """The blocks ran from last to first."""
    return _transformer(tokens, weights, blocks=reversed(weights.blocks))


def last_block_missing(tokens, weights):
    """The last block never ran: does the loop stop one too early?"""
    return _transformer(tokens, weights, blocks=list(weights.blocks)[:-1])


def first_block_missing(tokens, weights):
    """The first block never ran: does the loop start at 1? Layers count from 0."""
    return _transformer(tokens, weights, blocks=list(weights.blocks)[1:])


def only_the_first_block(tokens, weights):
    """Only the first block ran: is `return` inside the loop?"""
    return _transformer(tokens, weights, blocks=[weights.blocks[0]])


def no_block(tokens, weights):
    """No block had any effect: keep what it returns, resid = block(resid, ...).

    `block` leaves its input alone and returns a new tensor. What happens to that in your loop?"""
    return _transformer(tokens, weights, blocks=[])


def stream_added_twice(tokens, weights):
    """You added the stream twice: a block already returns the stream plus what it wrote.

    Look at the last line of your 1.12: is what came in still in its result?"""
    return _transformer(tokens, weights, block=lambda resid, each: resid + model.block(resid, each))


def final_norm_twice(tokens, weights):
    """ln_final was applied twice: `unembed` does it already."""
    return _transformer(
        tokens,
        weights,
        unembed=lambda resid, weights: model.unembed(_norm(resid, weights.ln_final), weights),
    )


def final_norm_forgotten(tokens, weights):
    """ln_final is missing: W_U multiplied the raw stream. `unembed`, your 1.13, does both."""
    return _transformer(
        tokens, weights, unembed=lambda resid, weights: resid @ weights.W_U + weights.b_U
    )


def every_block_reads_the_embedding(tokens, weights):
    """Each block started from the embeddings again, so only the last one counts. Hand the stream
    on."""
    return _transformer(tokens, weights, blocks=[weights.blocks[-1]])


def blocks_side_by_side(tokens, weights):
    """All blocks read the embeddings, and what they wrote was added up. A block reads what the one
    before it returned: blocks come one after the other."""
    added = model.positional_embedding(tokens, weights.W_pos)
    start = model.embed(tokens, weights.W_E) + added
    written = sum(model.block(start, each) - start for each in weights.blocks)
    return model.unembed(start + written, weights)


def positions_added_in_every_block(tokens, weights):
    """You added the positions again after each block. They go into the stream once, at the
    start."""
    added = model.positional_embedding(tokens, weights.W_pos)
    return _transformer(tokens, weights, block=lambda resid, each: model.block(resid, each) + added)


def transformer_case(seed: int = 0, **sizes) -> Callable[[], tuple]:
    def arguments():
        weights = lively(seed=seed, **{"n_layers": 3} | sizes)
        return random_tokens(2, 6, below=weights.cfg.d_vocab, seed=seed), weights

    return arguments


TRANSFORMER = Exercise(
    id="1.14",
    title="the transformer",
    answer=model.transformer,
    cases={
        "three layers": transformer_case(),
        "four layers, tied": transformer_case(1, n_layers=4, tied=True),
    },
    mistakes=[
        positions_forgotten,
        first_block_every_time,
        blocks_backwards,
        last_block_missing,
        first_block_missing,
        only_the_first_block,
        no_block,
        stream_added_twice,
        final_norm_twice,
        final_norm_forgotten,
        every_block_reads_the_embedding,
        blocks_side_by_side,
        positions_added_in_every_block,
    ],
    variants=[lambda tokens, weights: weights(tokens)],
    hints=[
        "The stream starts as the sum of two vectors. Which two?",
        (
            "for block_weights in weights.blocks: the stream that one block returns is what the "
            "next one gets."
        ),
        "`unembed` does the last LayerNorm itself: what does it want, besides the stream?",
    ],
    difficulty=2,
    minutes=10,
)


# 1.15


_W, _B = "m (qkv h d) -> qkv h m d", "(qkv h d) -> qkv h d"


def _split(weight, bias, n_heads, *, W=_W, b=_B, order=(0, 1, 2)):
    W = rearrange(weight, W, qkv=3, h=n_heads)
    b = rearrange(bias, b, qkv=3, h=n_heads)
    return dict(
        zip(
            ("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V"),
            [*(W[i] for i in order), *(b[i] for i in order)],
            strict=True,
        )
    )


def conv1d_taken_for_linear(weight, bias, n_heads):
    """You read the rows as outputs, as in nn.Linear. GPT-2's Conv1D is [in, out]: its columns
    are the outputs.

    Which axis of `weight` is three times as long as the other?"""
    return _split(weight.reshape(weight.shape[::-1]), bias, n_heads, W="(qkv h d) m -> qkv h m d")


def heads_interleaved(weight, bias, n_heads):
    """Your heads are interleaved: within the queries, the first d_head columns are head 0, the
    next d_head head 1, ... Split as (head d_head), not (d_head head).

    In einops the last name in the brackets changes fastest. From one column to the next, what
    changes: the head, or the place within it?"""
    return _split(weight, bias, n_heads, W="m (qkv d h) -> qkv h m d", b="(qkv d h) -> qkv h d")


def matrices_interleaved(weight, bias, n_heads):
    """Your biases are right, but the heads of your matrices are interleaved: the first d_head
    columns are head 0. Split them as (head d_head), like the biases."""
    return _split(weight, bias, n_heads, W="m (qkv d h) -> qkv h m d")


def biases_interleaved(weight, bias, n_heads):
    """Your matrices are right, but the heads of your biases are interleaved: split them as
    (head d_head), like the columns."""
    return _split(weight, bias, n_heads, b="(qkv d h) -> qkv h d")


def split_by_head_first(weight, bias, n_heads):
    """You split by head first, then into q, k and v. In GPT-2 all queries come first, then all
    keys, then all values."""
    return _split(weight, bias, n_heads, W="m (h qkv d) -> qkv h m d", b="(h qkv d) -> qkv h d")


def queries_keys_values_interleaved(weight, bias, n_heads):
    """You took every third column for the queries. In GPT-2 all queries come first, then all keys,
    then all values."""
    return _split(weight, bias, n_heads, W="m (h d qkv) -> qkv h m d", b="(h d qkv) -> qkv h d")


def keys_before_queries(weight, bias, n_heads):
    """Queries and keys are swapped: the order in c_attn is q, k, v."""
    return _split(weight, bias, n_heads, order=(1, 0, 2))


def values_first(weight, bias, n_heads):
    """Your values come from the first third: the order in c_attn is q, k, v."""
    return _split(weight, bias, n_heads, order=(1, 2, 0))


def keys_and_values_swapped(weight, bias, n_heads):
    """Keys and values are swapped: the order in c_attn is q, k, v."""
    return _split(weight, bias, n_heads, order=(0, 2, 1))


def reshaped_without_moving(weight, bias, n_heads):
    """reshape does not move axes. Split the columns, [d_model head d_head], then move head to the
    front: permute, or einops' rearrange."""
    parts = _split(weight, bias, n_heads)
    for name, part in zip("QKV", weight.chunk(3, dim=1), strict=True):
        parts[f"W_{name}"] = part.reshape(n_heads, len(weight), -1)
    return parts


def reshaped_at_once(weight, bias, n_heads):
    """reshape and view do not move axes: they cut `weight` row by row, but q, k, v and the heads
    are blocks of columns. Split the second axis, then move: permute, or einops' rearrange."""
    flat = weight.reshape(3, n_heads, len(weight), -1)
    return _split(rearrange(flat, "qkv h m d -> m (qkv h d)"), bias, n_heads)


def axes_in_the_wrong_order(weight, bias, n_heads):
    """Your matrices are [head d_head d_model]. Ours multiply on the right: [head d_model
    d_head]."""
    return _split(weight, bias, n_heads, W="m (qkv h d) -> qkv h d m")


def biases_not_split(weight, bias, n_heads):
    """Each bias is one long vector: split it into heads too, [head d_head]."""
    parts = _split(weight, bias, n_heads)
    return {name: part.flatten() if name[0] == "b" else part for name, part in parts.items()}


SPLIT_C_ATTN = Exercise(
    id="1.15",
    title="load a GPT-2 checkpoint",
    answer=split_c_attn,
    cases={
        "two heads of three": (*normal((6, 18), (18,)), 2),
        "three heads of two": (*normal((6, 18), (18,), seed=1), 3),
    },
    mistakes=[
        conv1d_taken_for_linear,
        heads_interleaved,
        matrices_interleaved,
        biases_interleaved,
        split_by_head_first,
        queries_keys_values_interleaved,
        keys_before_queries,
        values_first,
        keys_and_values_swapped,
        reshaped_without_moving,
        reshaped_at_once,
        axes_in_the_wrong_order,
        biases_not_split,
    ],
    variants=[
        lambda weight, bias, n_heads: {
            f"{letter}_{name}": part
            for name, W, b in zip("QKV", weight.chunk(3, dim=1), bias.chunk(3), strict=True)
            for letter, part in (
                ("W", W.reshape(len(W), n_heads, -1).transpose(0, 1).contiguous()),
                ("b", b.reshape(n_heads, -1)),
            )
        },
    ],
    hints=[
        (
            "The columns are three blocks of d_model: queries, keys, values. Each block is "
            "n_heads blocks of d_head."
        ),
        (
            "einops' rearrange takes a composed axis apart, `(qkv head d_head)`, and moves its "
            "parts: give it qkv=3 and head=n_heads. Or chunk, reshape, permute."
        ),
        "The biases split in the same way, without d_model. Return a dict with the six names.",
    ],
    difficulty=2,
    minutes=10,
)


# 1.16


def largest_differences(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[str, float]:
    """For each of our activations, the largest |ours - theirs|; where both hide a score, 0.

    A score below -10,000 is hidden: we write -inf, TransformerLens the least float there is.
    """
    differences = {}
    for name, activation in ours.items():
        hidden = (activation < -1e4) & (theirs[name] < -1e4)
        difference = (activation - theirs[name]).masked_fill(hidden, 0)
        differences[name] = difference.abs().max().item()
    return differences


def both_hidden(ours, theirs):
    return (ours < -1e4) & (theirs < -1e4)


def _differences(ours, theirs, reduce=lambda d: d.abs().max(), hidden=both_hidden):
    return {
        name: reduce(
            (activation - theirs[name]).masked_fill(hidden(activation, theirs[name]), 0)
        ).item()
        for name, activation in ours.items()
    }


def mean_for_maximum(ours, theirs):
    """You averaged the differences: one wrong number among thousands would be lost. Take the
    largest."""
    return _differences(ours, theirs, reduce=lambda d: d.abs().mean())


def sum_for_maximum(ours, theirs):
    """You summed the differences, so a large tensor looks worse than a small one. Take the
    largest."""
    return _differences(ours, theirs, reduce=lambda d: d.abs().sum())


def sign_kept(ours, theirs):
    """You took the largest signed difference, so an activation that is too small everywhere
    looks fine. Take |ours - theirs|.

    Of 0.1 and -5, which is the larger difference, and which one does max return?"""
    return _differences(ours, theirs, reduce=lambda d: d.max())


def abs_after_max(ours, theirs):
    """You took the absolute value of the largest difference: 0.1 and -5 give 0.1. First the
    absolute values, then the largest."""
    return _differences(ours, theirs, reduce=lambda d: d.max().abs())


def mean_of_signed_differences(ours, theirs):
    """You averaged signed differences, and errors of both signs cancel. Take the largest
    absolute one."""
    return _differences(ours, theirs, reduce=lambda d: d.mean())


def squared_differences(ours, theirs):
    """These are squared differences, which make small errors look smaller. Take the largest
    absolute one."""
    return _differences(ours, theirs, reduce=lambda d: d.pow(2).max())


def hidden_scores_compared(ours, theirs):
    """You get inf for the scores: we hide with -inf, they with the least float. Where both are
    below -10,000, count the difference as 0.

    `activation < -1e4` is True where we hide. How do you find the places where they hide too?"""
    return _differences(ours, theirs, hidden=lambda x, y: torch.zeros_like(x).bool())


def hidden_by_multiplying(ours, theirs):
    """You get NaN for the scores: you multiplied an infinite difference by 0. masked_fill and
    torch.where replace it."""
    return {
        name: ((x - theirs[name]) * ~both_hidden(x, theirs[name])).abs().max().item()
        for name, x in ours.items()
    }


def either_hidden(ours, theirs):
    """You skip a place that only one of the two hides. There the masks differ, which is an error
    that you look for: count a place as hidden where both are, `&`."""
    return _differences(ours, theirs, hidden=lambda x, y: (x < -1e4) | (y < -1e4))


def hidden_where_ours_is(ours, theirs):
    """You skip every place that ours hides, or every infinite difference. Where theirs does not
    hide it, the masks differ, and that must show: ask both."""
    return _differences(ours, theirs, hidden=lambda x, y: x < -1e4)


def hidden_where_theirs_is(ours, theirs):
    """You skip every place that theirs hides. Where ours does not hide it, the masks differ, and
    that must show: ask both."""
    return _differences(ours, theirs, hidden=lambda x, y: y < -1e4)


def one_number_for_all(ours, theirs):
    """Every name got the same number: the maximum over all. Keep one number a name, so that you
    see where they part."""
    return dict.fromkeys(ours, max(_differences(ours, theirs).values()))


def caches(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two caches that agree but for small differences, the second with hidden scores in its own
    way."""
    resid, scores, noise = normal((2, 4, 6), (2, 3, 4, 4), (2, 4, 6), seed=seed)
    masked = model.causal_mask(scores)
    ours = {"hook_embed": resid, "blocks.0.attn.hook_attn_scores": masked}
    theirs = {
        "hook_embed": resid + (noise.abs() + 0.1 if seed else noise),
        "embed.hook_out": resid,
        "blocks.0.attn.hook_attn_scores": (masked + 0.01 * scores).clamp(
            min=torch.finfo(torch.float32).min
        ),
    }
    return ours, theirs


def one_mask_more(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two caches of which only the first hides one of the scores."""
    (scores,) = normal((2, 3, 4, 4), seed=seed)
    masked = model.causal_mask(scores)
    ours, theirs = masked.clone(), masked.clamp(min=torch.finfo(torch.float32).min)
    ours[0, 0, 2, 0] = -torch.inf
    return {"blocks.0.attn.hook_attn_scores": ours}, {"blocks.0.attn.hook_attn_scores": theirs}


def one_mask_less(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two caches of which only the second hides one of the scores."""
    (ours,), (theirs,) = (cache.values() for cache in one_mask_more(seed))
    ours[0, 0, 2, 0], theirs[0, 0, 2, 0] = 0.5, torch.finfo(torch.float32).min
    return {"blocks.0.attn.hook_attn_scores": ours}, {"blocks.0.attn.hook_attn_scores": theirs}


LARGEST_DIFFERENCES = Exercise(
    id="1.16",
    title="compare with TransformerLens",
    answer=largest_differences,
    cases={
        "both too large and too small": caches(0),
        "ours too small everywhere": caches(1),
        "ours hides what theirs shows": one_mask_more(2),
        "theirs hides what ours shows": one_mask_less(3),
    },
    mistakes=[
        mean_for_maximum,
        sum_for_maximum,
        sign_kept,
        abs_after_max,
        mean_of_signed_differences,
        squared_differences,
        hidden_scores_compared,
        hidden_by_multiplying,
        either_hidden,
        hidden_where_ours_is,
        hidden_where_theirs_is,
        one_number_for_all,
    ],
    variants=[
        lambda ours, theirs: {
            name: (x - theirs[name]).abs()[~both_hidden(x, theirs[name])].max()
            for name, x in ours.items()
        },
        lambda ours, theirs: {
            name: torch.where((x < -1e4) * (theirs[name] < -1e4), 0, (x - theirs[name]).abs())
            .max()
            .item()
            for name, x in ours.items()
        },
    ],
    hints=[
        "Go through the names of ours; theirs has more names, for the same tensors.",
        (
            "(-inf) - (least float) is -inf. Find the places where both are below -1e4 and set "
            "the difference there to 0."
        ),
        (
            "masked_fill takes care of the hidden places. Of what is left you want one number a "
            "name: `.item()` makes a plain number of a tensor with one entry."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 1.17


def _losses(logits, tokens, *, guesses=slice(None, -1), asked=slice(1, None), dim=-1, log=None):
    """loss_per_token with its steps open: which logits guess, which tokens are asked for."""
    guesses = logits[:, guesses]
    known = guesses.log_softmax(dim=dim) if log is None else log(guesses)
    return -known.gather(-1, tokens[:, asked, None]).squeeze(-1)


def no_shift(logits, tokens):
    """You asked each position for the token it has already read. The guess made at position i is
    about token i + 1.

    Write the tokens in one line and the logits in the next. Which logits have nothing to guess,
    and which token is guessed by none?"""
    return _losses(logits, tokens, guesses=slice(None), asked=slice(None))


def shifted_the_wrong_way(logits, tokens):
    """You compared the guess at each position with the token before it. Logits lose their last
    position, tokens their first."""
    return _losses(logits, tokens, guesses=slice(1, None), asked=slice(None, -1))


def both_cut_at_the_end(logits, tokens):
    """You cut both at the end, so each position is asked for its own token. Logits lose their last
    position, tokens their first."""
    return _losses(logits, tokens, asked=slice(None, -1))


def both_cut_at_the_start(logits, tokens):
    """You cut both at the start, so each position is asked for its own token. Logits lose their
    last position, tokens their first."""
    return _losses(logits, tokens, guesses=slice(1, None))


def in_bits(logits, tokens):
    """Your losses are 1.44 times too large: log base 2 gives bits. We count in nats, base e."""
    return _losses(logits, tokens) / math.log(2)


def sign_forgotten(logits, tokens):
    """Your losses are negative: a loss is minus the log-probability."""
    return -_losses(logits, tokens)


def softmax_twice(logits, tokens):
    """You took a softmax of probabilities, which nearly evens them out. log_softmax and
    cross_entropy take the logits themselves."""
    return _losses(logits.softmax(dim=-1), tokens)


def log_after_softmax(logits, tokens):
    """Right for small logits; with large ones a probability rounds to 0 and its logarithm is
    infinite. log_softmax takes both steps at once and keeps such numbers.

    ln p is logit - ln(Σ exp(logits)). Is there any step in it that must round to 0?"""
    return _losses(logits, tokens, log=lambda guesses: guesses.softmax(dim=-1).log())


def exp_of_large_logits(logits, tokens):
    """Right for small logits; with large ones exp overflows, and inf / inf is NaN. log_softmax
    avoids that."""
    return _losses(
        logits, tokens, log=lambda guesses: (guesses.exp() / guesses.exp().sum(-1, True)).log()
    )


def probabilities_for_losses(logits, tokens):
    """These are the probabilities of the right tokens. The loss is minus their logarithm."""
    return (-_losses(logits, tokens)).exp()


def logits_for_losses(logits, tokens):
    """You took minus the logit of the right token. Its log-probability also needs all the
    others: log_softmax."""
    return _losses(logits, tokens, log=lambda guesses: guesses)


def softmax_over_positions(logits, tokens):
    """Your softmax ran over positions. Each position has a distribution over the vocabulary:
    dim=-1."""
    return _losses(logits, tokens, dim=1)


def one_mean_loss(logits, tokens):
    """You returned the mean. Here we want one loss per token: averaging comes later."""
    return _losses(logits, tokens).mean()


def classes_on_the_wrong_axis(logits, tokens):
    """cross_entropy takes axis 1 for the vocabulary, and here that is pos. Move d_vocab to axis 1
    for it, or use log_softmax and gather."""
    return functional.cross_entropy(logits[:, :-1], tokens[:, 1:], reduction="none")


LOSS_PER_TOKEN = Exercise(
    id="1.17",
    title="loss per token",
    answer=model.loss_per_token,
    cases={
        "two rows of six tokens": (*normal((2, 6, 11)), random_tokens(2, 6, below=11)),
        "large logits": (400 * normal((1, 4, 5), seed=1)[0], random_tokens(1, 4, below=5, seed=1)),
    },
    mistakes=[
        no_shift,
        shifted_the_wrong_way,
        both_cut_at_the_end,
        both_cut_at_the_start,
        in_bits,
        sign_forgotten,
        softmax_twice,
        log_after_softmax,
        exp_of_large_logits,
        probabilities_for_losses,
        logits_for_losses,
        softmax_over_positions,
        one_mean_loss,
        classes_on_the_wrong_axis,
    ],
    variants=[
        lambda logits, tokens: functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
        ),
        lambda logits, tokens: (
            logits[:, :-1].logsumexp(dim=-1)
            - logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
        ),
    ],
    hints=[
        "What does the model know at position i, and which token is it asked for?",
        "logits[:, :-1] are the guesses, tokens[:, 1:] what came: they now line up.",
        (
            "log_softmax(dim=-1), then gather(-1, index) picks the right token's entry; index "
            "needs a last axis of 1."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 1.18


def _reached(p, cumulative, top_p):
    return cumulative - p >= top_p


def _sampling(
    logits,
    temperature=1.0,
    top_k=None,
    top_p=None,
    *,
    cut=_reached,
    ascending=False,
    scaled=True,
    end=lambda p: p / p.sum(),
    back=lambda logits, order, p: torch.zeros_like(logits).scatter(0, order, p),
):
    """next_token_probabilities with its steps open: `cut(probabilities, cumulative, top_p)` is
    what top-p drops."""
    if temperature == 0:
        return functional.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    p, order = (logits / temperature).softmax(dim=-1).sort(descending=not ascending, stable=True)
    if top_k is not None:
        p[top_k:] = 0
        p = p / p.sum() if scaled else p
    if top_p is not None:
        p[cut(p, p.cumsum(dim=-1), top_p)] = 0
    return back(logits, order, end(p))


def temperature_multiplied(logits, temperature=1.0, top_k=None, top_p=None):
    """A low temperature made your choices wilder: divide the logits by the temperature, do not
    multiply."""
    return _sampling(logits, 1 / temperature if temperature else 0, top_k, top_p)


def temperature_ignored(logits, temperature=1.0, top_k=None, top_p=None):
    """The temperature changes nothing in your result: divide the logits by it before the softmax
    (0 means greedy)."""
    return _sampling(logits, 1.0 if temperature else 0, top_k, top_p)


def division_by_zero(logits, temperature=1.0, top_k=None, top_p=None):
    """Temperature 0 gave NaN: you divided by it. At 0 all probability goes to the greatest
    logit.

    Treat that case by itself, before anything is divided: which vector has a single 1, at the
    greatest logit?"""
    if temperature == 0:
        return torch.full_like(logits, torch.nan)
    return model.next_token_probabilities(logits, temperature, top_k, top_p)


def top_k_one_too_few(logits, temperature=1.0, top_k=None, top_p=None):
    """You kept one token too few: top_k counts the tokens that stay. Does your comparison drop the
    k-th itself (≤ for <)?"""
    return model.next_token_probabilities(logits, temperature, top_k and top_k - 1, top_p)


def top_k_one_too_many(logits, temperature=1.0, top_k=None, top_p=None):
    """You kept one token too many: in a sorted list, `[top_k:]` is what comes after the first
    k."""
    return model.next_token_probabilities(logits, temperature, top_k and top_k + 1, top_p)


def top_p_one_too_few(logits, temperature=1.0, top_k=None, top_p=None):
    """You kept one token too few: what you keep must reach p, so the token that crosses p stays."""

    def cut(p, cumulative, top_p):
        dropped = cumulative > top_p
        dropped[0] = False
        return dropped

    return _sampling(logits, temperature, top_k, top_p, cut=cut)


def crossing_token_dropped(logits, temperature=1.0, top_k=None, top_p=None):
    """You dropped the token that crosses p; with a small p nothing is left, and 0 / 0 is NaN.
    Look at the sum before each token: cumsum - itself ≥ p.

    With p = 0.6 and probabilities 0.4, 0.25, 0.2, ...: which tokens stay, and what do they sum
    to?"""
    return _sampling(
        logits, temperature, top_k, top_p, cut=lambda p, cumulative, top: cumulative > top
    )


def top_p_for_each_token(logits, temperature=1.0, top_k=None, top_p=None):
    """You dropped the tokens less likely than p, which can leave none, and 0 / 0 is NaN. top_p is
    what the kept tokens sum to: sort them, and sum up."""
    return _sampling(logits, temperature, top_k, top_p, cut=lambda p, cumulative, top: p < top)


def top_p_before_scaling(logits, temperature=1.0, top_k=None, top_p=None):
    """Top-p saw probabilities that did not sum to 1, or came before top-k. First keep k tokens and
    scale them to sum to 1; then cut to p.

    top_p is a share of all that can still be drawn. What do the k tokens that are left sum to?"""
    return _sampling(logits, temperature, top_k, top_p, scaled=False)


def top_p_one_too_many(logits, temperature=1.0, top_k=None, top_p=None):
    """You kept one token too many: once what is kept has reached p, the next token goes."""

    def cut(p, cumulative, top_p):
        return torch.cat([torch.tensor([False, False]), (cumulative - p >= top_p)[1:-1]])

    return _sampling(logits, temperature, top_k, top_p, cut=cut)


def cumulative_sum_unsorted(logits, temperature=1.0, top_k=None, top_p=None):
    """You summed up the probabilities in the order of the vocabulary. Sort them first, likeliest
    first."""
    p = model.next_token_probabilities(logits, temperature, top_k)
    if top_p is None or temperature == 0:
        return p
    p = p.masked_fill(p.cumsum(dim=-1) - p >= top_p, 0)
    return p / p.sum()


def unlikeliest_kept(logits, temperature=1.0, top_k=None, top_p=None):
    """You kept the unlikeliest tokens: sort with descending=True."""
    return _sampling(logits, temperature, top_k, top_p, ascending=True)


def not_scaled_to_one(logits, temperature=1.0, top_k=None, top_p=None):
    """After top-k or top-p your probabilities sum to less than 1: divide by their sum."""
    return _sampling(logits, temperature, top_k, top_p, scaled=False, end=lambda p: p)


def not_scaled_at_the_end(logits, temperature=1.0, top_k=None, top_p=None):
    """After top-p your probabilities sum to less than 1: divide by their sum once more at the
    end."""
    return _sampling(logits, temperature, top_k, top_p, end=lambda p: p)


def dropped_logits_at_zero(logits, temperature=1.0, top_k=None, top_p=None):
    """You set dropped logits to 0, and e^0 is 1, so they can still be drawn. In the logits, dropped
    is -inf; in the probabilities it is 0.

    It is the trap of 1.5. Which number has to stand before the softmax, so that 0 stands after
    it?"""
    if temperature == 0:
        return model.next_token_probabilities(logits, 0.0)
    logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], 0)
    if top_p is not None:
        p, order = logits.softmax(dim=-1).sort(descending=True)
        logits = logits.index_fill(0, order[p.cumsum(dim=-1) - p >= top_p], 0)
    return logits.softmax(dim=-1)


def top_k_ignored(logits, temperature=1.0, top_k=None, top_p=None):
    """top_k changes nothing in your result: all but the k likeliest tokens get probability 0."""
    return _sampling(logits, temperature, None, top_p)


def top_p_ignored(logits, temperature=1.0, top_k=None, top_p=None):
    """top_p changes nothing in your result: step 3 is missing."""
    return _sampling(logits, temperature, top_k, None)


def top_p_ignored_after_top_k(logits, temperature=1.0, top_k=None, top_p=None):
    """With both top_k and top_p, your top_p changes nothing: does it stand under `elif`? Each
    counts by itself."""
    return model.next_token_probabilities(
        logits, temperature, top_k, top_p if top_k is None else None
    )


def probabilities_out_of_order(logits, temperature=1.0, top_k=None, top_p=None):
    """Your probabilities are sorted. Put each back in its token's place: scatter, or index with
    the order."""
    return _sampling(logits, temperature, top_k, top_p, back=lambda logits, order, p: p)


def order_used_the_wrong_way(logits, temperature=1.0, top_k=None, top_p=None):
    """You indexed the sorted probabilities with `order`, which mixes them once more. order[i] is
    the token that stands at place i: write there, result[order] = ..., or scatter."""
    return _sampling(logits, temperature, top_k, top_p, back=lambda logits, order, p: p[order])


SAMPLING = Exercise(
    id="1.18",
    title="sampling",
    answer=model.next_token_probabilities,
    cases={
        "temperature 1": (normal((6,))[0],),
        "temperature 0.5": (normal((6,), seed=1)[0], 0.5),
        "temperature 0": (normal((6,), seed=2)[0], 0.0),
        "top_k = 2": (normal((6,), seed=3)[0], 1.0, 2),
        "top_p = 0.6": (torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05]).log(), 1.0, None, 0.6),
        "top_p = 0.3": (torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05]).log(), 1.0, None, 0.3),
        "top_k = 2, then top_p = 0.5": (torch.tensor([0.4, 0.3, 0.2, 0.1]).log(), 1.0, 2, 0.5),
        "all at once": (2 * normal((8,), seed=4)[0], 1.5, 5, 0.8),
    },
    mistakes=[
        temperature_multiplied,
        temperature_ignored,
        division_by_zero,
        top_k_one_too_few,
        top_k_one_too_many,
        top_p_one_too_few,
        crossing_token_dropped,
        top_p_for_each_token,
        top_p_before_scaling,
        top_p_one_too_many,
        cumulative_sum_unsorted,
        unlikeliest_kept,
        not_scaled_to_one,
        not_scaled_at_the_end,
        dropped_logits_at_zero,
        top_k_ignored,
        top_p_ignored,
        top_p_ignored_after_top_k,
        probabilities_out_of_order,
        order_used_the_wrong_way,
    ],
    variants=[
        lambda logits, temperature=1.0, top_k=None, top_p=None: _sampling(
            logits.double(), temperature, top_k, top_p, cut=lambda p, c, top: c - p >= top
        ),
    ],
    hints=[
        (
            "Four steps: divide by the temperature, softmax, drop what top-k and top-p drop, "
            "scale to 1 again."
        ),
        (
            "Sort the probabilities, likeliest first. top-k zeroes all after the first k; keep "
            "the sort's indices."
        ),
        (
            "Top-p: a token stays if what comes before it in the sorted list has not reached p "
            "yet: cumsum - itself < p."
        ),
        (
            "zeros_like(logits).scatter(0, indices, probabilities) puts them back into the "
            "vocabulary's order."
        ),
    ],
    difficulty=3,
    minutes=20,
)


# 1.19


def training_step(
    tokens: Int[Tensor, "batch pos"], weights: Transformer, optimizer: torch.optim.Optimizer
) -> Float[Tensor, ""]:
    """One step of training on one batch; returns the mean loss before it, in nats."""
    loss = model.loss_per_token(model.transformer(tokens, weights), tokens).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _mean_loss(logits, tokens):
    return model.loss_per_token(logits, tokens).mean()


def _step(tokens, weights, optimizer, *, clear=True, trained=_mean_loss, told=None, steps=1):
    """training_step with its parts open: the loss that is `trained` on, the one that is `told`."""
    logits = model.transformer(tokens, weights)
    loss = trained(logits, tokens)
    if clear:
        optimizer.zero_grad()
    loss.backward()
    for _ in range(steps):
        optimizer.step()
    return (loss if told is None else told(logits, tokens)).detach()


def gradients_not_cleared(tokens, weights, optimizer):
    """The first step is right, the second too long: gradients add up until optimizer.zero_grad()
    clears them.

    `backward` adds to what is in .grad. Before which line must the old gradients be gone, and after
    which must the new ones still be there?"""
    return _step(tokens, weights, optimizer, clear=False)


def nothing_learned(tokens, weights, optimizer):
    """The parameters did not move. Between loss.backward() and the end, optimizer.step() must
    run, with the gradients still there.

    Put the three in order: clear the gradients, make new ones, step along them."""
    return _step(tokens, weights, optimizer, steps=0)


def steps_twice(tokens, weights, optimizer):
    """Your step is twice too long: optimizer.step() ran twice on the same gradients."""
    return _step(tokens, weights, optimizer, steps=2)


def climbs_the_loss(tokens, weights, optimizer):
    """The loss goes up: you took the gradient of minus the loss."""
    return _step(tokens, weights, optimizer, trained=lambda *a: -_mean_loss(*a), told=_mean_loss)


def sum_for_mean(tokens, weights, optimizer):
    """Your steps are too long: you summed the losses. Take their mean, so that a step does not
    depend on the batch's size."""
    return _step(
        tokens,
        weights,
        optimizer,
        trained=lambda *a: model.loss_per_token(*a).sum(),
        told=_mean_loss,
    )


def summed(tokens, weights, optimizer):
    """Your losses and your steps are as many times too large as the batch has tokens: take the
    mean."""
    return _step(tokens, weights, optimizer, trained=lambda *a: model.loss_per_token(*a).sum())


def mean_forgotten(tokens, weights, optimizer):
    """`backward` starts from one number, and you gave it one loss per token. Take their mean
    first."""
    return _step(tokens, weights, optimizer, trained=model.loss_per_token)


def detached_too_early(tokens, weights, optimizer):
    """`backward` found no graph: the loss was computed under torch.no_grad(), or detached before.
    Detach only what you return.

    The graph remembers how the loss was computed, so that `backward` can go back. In which line do
    you cut it?"""
    return _step(tokens, weights, optimizer, trained=lambda *a: _mean_loss(*a).detach())


def loss_after_the_step(tokens, weights, optimizer):
    """The parameters are right, the losses are not: return the loss that you took the gradient
    of, from before the step."""
    _step(tokens, weights, optimizer)
    return _mean_loss(model.transformer(tokens, weights), tokens).detach()


def last_token_only(tokens, weights, optimizer):
    """You trained on the last token of each row. Every position guesses its next token: take the
    mean over all."""
    return _step(
        tokens, weights, optimizer, trained=lambda *a: model.loss_per_token(*a)[:, -1].mean()
    )


def trained_to_repeat(tokens, weights, optimizer):
    """The model learns to name the token it has read: the loss was not shifted. Use
    loss_per_token, your 1.17."""
    return _step(
        tokens,
        weights,
        optimizer,
        trained=lambda logits, same: functional.cross_entropy(logits.flatten(0, 1), same.flatten()),
    )


def two_steps(function: Callable, seed: int) -> dict[str, Tensor]:
    """What two steps of plain gradient descent do to a small model: the losses, and the
    parameters at the end."""
    weights = lively(seed=seed, n_layers=1).requires_grad_(True)
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.1)
    losses = []
    for step in range(2):
        tokens = random_tokens(3, 6, below=weights.cfg.d_vocab, seed=step)
        loss = function(tokens, weights, optimizer)
        if not isinstance(loss, float) and not (isinstance(loss, Tensor) and loss.ndim == 0):
            return loss
        losses.append(loss)
    parameters = torch.cat([parameter.detach().flatten() for parameter in weights.parameters()])
    return {"losses": torch.tensor([float(loss) for loss in losses]), "parameters": parameters}


TRAINING_STEP = Exercise(
    id="1.19",
    title="train it",
    answer=training_step,
    run=two_steps,
    cases={"two steps": (0,), "two steps of another model": (1,)},
    mistakes=[
        gradients_not_cleared,
        nothing_learned,
        steps_twice,
        climbs_the_loss,
        sum_for_mean,
        summed,
        mean_forgotten,
        detached_too_early,
        loss_after_the_step,
        last_token_only,
        trained_to_repeat,
    ],
    variants=[
        lambda tokens, weights, optimizer: (
            optimizer.zero_grad(),
            (
                loss := functional.cross_entropy(
                    weights(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
                )
            ).backward(),
            optimizer.step(),
            loss.item(),
        )[-1],
    ],
    hints=[
        "Five lines: logits, loss, clear the old gradients, compute new ones, step.",
        "transformer(tokens, weights), then loss_per_token(logits, tokens).mean().",
        (
            "Gradients add up until they are cleared: clear them before `backward`; the optimizer "
            "steps after it. What you return needs no graph: detach."
        ),
    ],
    difficulty=2,
    minutes=15,
)


EXERCISES = (
    EMBED,
    POSITIONAL_EMBEDDING,
    LAYER_NORM,
    ATTENTION_SCORES,
    CAUSAL_MASK,
    ATTENTION_PATTERN,
    WEIGHTED_VALUES,
    ATTENTION_OUT,
    ATTENTION,
    GELU,
    MLP,
    BLOCK,
    UNEMBED,
    TRANSFORMER,
    SPLIT_C_ATTN,
    LARGEST_DIFFERENCES,
    LOSS_PER_TOKEN,
    SAMPLING,
    TRAINING_STEP,
)

QUIZZES = (
    Quiz(
        id="1-a",
        question=(
            "A head in layer 5 wants to use what a head in layer 2 found out. How does it get it?"
        ),
        options=(
            Option(
                "From the residual stream, to which layer 2 added it.",
                True,
                "The stream is a sum: what layer 2 added is a summand until somebody writes its "
                "opposite. (What one head writes, times what another reads, acts like a line "
                "between the two: a virtual weight.)",
            ),
            Option(
                "Layer 2 hands it to layer 3, which hands it on.",
                False,
                "Take layers 3 and 4 out of the model, and what layer 2 found still arrives.",
            ),
            Option(
                "Over a connection of its own, from head to head.",
                False,
                "No parameter belongs to a pair of heads: each W_Q, W_K, W_V and W_O is a single "
                "head's.",
            ),
            Option(
                "It attends to the keys and values of layer 2.",
                False,
                "A head sees the keys and values of its own layer alone: its own W_K and W_V make "
                "them.",
            ),
        ),
    ),
    Quiz(
        id="1-b",
        question=(
            "Which of these change when you swap two different tokens of the text, both before the "
            "position you look at?"
        ),
        options=(
            Option(
                "The query of a head in layer 0, at that position.",
                False,
                "In layer 0 a query is made of its own token's vector and its own position's. "
                "Nothing has come from elsewhere yet.",
            ),
            Option(
                "The pattern of a head in layer 0, at that position.",
                True,
                "A key is made from the sum of a token's vector and a position's: another token at "
                "a place, another key.",
            ),
            Option(
                "The positional embedding at that position.",
                False,
                "It is looked up by the number of the position. No token has a part in it.",
            ),
            Option(
                "The logits at that position.",
                True,
                "They depend on all that is before them, order included: the positional embeddings "
                "tell it apart.",
            ),
        ),
    ),
    Quiz(
        id="1-c",
        question=(
            "How many of GPT-2 small's parameters sit in one MLP (W_in and W_out, without biases)? "
            "Give millions, so 1.5 for 1,500,000. d_model is 768 and d_mlp four times that."
        ),
        number=2 * 768 * 3072 / 1e6,
        tolerance=0.05,
        slips={
            1.18: "That is d_mlp taken as large as d_model; it is four times that.",
            2.359: "That is one of the two matrices.",
            7.078: "That is a whole layer, its attention included.",
            56.62: "That is the MLPs of all 12 layers.",
            4_718_592.0: "That is the number itself. Give it in millions.",
        },
        why=(
            "Two matrices of 768 × 3072: 2 · 2,359,296 = 4,718,592. Attention has four of 768 × "
            "768, half as many: hence one third and two thirds."
        ),
    ),
    Quiz(
        id="1-d",
        question="You multiply every logit of one position by 2. What happens there?",
        options=(
            Option(
                "Nothing: a softmax does not see it.",
                False,
                "It does not see a constant that is added to all logits. Compare the softmax of "
                "(0, 1) with that of (0, 2).",
            ),
            Option(
                "The loss at that position gets smaller.",
                False,
                "Not always: with logits 1 and 0, and the second token right, it goes from 1.31 to "
                "2.13 nats.",
            ),
            Option(
                "The likeliest token becomes likelier still.",
                True,
                "All differences of logits double, so each ratio of two probabilities is squared. "
                "It is the same as sampling at temperature ½.",
            ),
            Option(
                "The guess gets flatter, as with temperature 2.",
                False,
                "A temperature of 2 divides the logits by 2.",
            ),
        ),
    ),
)
