"""Chapter 3, "Direct logit attribution": its eleven exercises, the mistakes that readers make in
them, its quizzes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.cache import Cache, run_with_cache, run_with_edits
from circuitbook.exercises.ch01 import lively, random_tokens
from circuitbook.exercises.engine import Exercise, Option, Quiz, normal
from circuitbook.model import MLP, Attention, Transformer


def recording(*, seed: int = 0, shape: tuple[int, int] = (2, 5), **sizes) -> Cache:
    """All activations of a small random model on random tokens."""
    weights = lively(seed=seed, **sizes)
    return run_with_cache(weights, random_tokens(*shape, below=weights.cfg.d_vocab, seed=seed))[1]


# 3.1


def residual_parts(
    cache: Mapping[str, Tensor], n_layers: int
) -> Float[Tensor, "component batch d_model"]:
    """What each component wrote at the last position, in model order; the sum is the stream."""
    names = ["hook_embed", "hook_pos_embed"]
    for layer in range(n_layers):
        names += [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
    return torch.stack([cache[name][:, -1] for name in names])


AT_LAST_POSITION = (slice(None), -1)


def _writes(
    cache, n_layers, *, written=("attn_out", "mlp_out"), start=2, first=0, at=AT_LAST_POSITION
):
    """`residual_parts` with each of its choices open, as such functions are in what follows."""
    names = ["hook_embed", "hook_pos_embed"][:start]
    for layer in range(first, n_layers):
        names += [f"blocks.{layer}.hook_{name}" for name in written]
    return torch.stack([cache[name][at] for name in names])


def embeddings_left_out(cache, n_layers):
    """Your parts lack the two embeddings: the stream starts as token vector plus position vector,
    before any layer has written."""
    return _writes(cache, n_layers, start=0)


def positions_left_out(cache, n_layers):
    """One part is missing: hook_pos_embed, the vector of the position, comes second."""
    return _writes(cache, n_layers, start=1)


def mlps_left_out(cache, n_layers):
    """You have the attention layers only. The MLP of each layer writes too: hook_mlp_out."""
    return _writes(cache, n_layers, written=["attn_out"])


def streams_for_writes(cache, n_layers):
    """Your parts are the stream after each step, so that everything is counted again and again.
    Take what was added: hook_attn_out and hook_mlp_out.

    Add up your parts and compare with the last resid_post. How often is the token's vector in the
    sum?"""
    return _writes(cache, n_layers, written=["resid_mid", "resid_post"])


def first_position(cache, n_layers):
    """These parts were written at the first position. The answer is read off at the last one:
    [:, -1]."""
    return _writes(cache, n_layers, at=(slice(None), 0))


def every_position(cache, n_layers):
    """You kept all positions. Take the last one of each activation: [:, -1]."""
    return _writes(cache, n_layers, at=slice(None))


def last_prompt_for_last_position(cache, n_layers):
    """You indexed the batch: activations are [batch pos d_model], so the last position is
    [:, -1].

    Which axis does a single index, x[-1], take? Print the shape of one activation before and
    after."""
    return _writes(cache, n_layers, at=-1)


def attention_layers_first(cache, n_layers):
    """The parts are right and their order is not: layer 0's attention, layer 0's MLP, layer 1's
    attention, ..."""
    writes = _writes(cache, n_layers)
    return torch.cat([writes[:2], writes[2::2], writes[3::2]])


def last_layer_left_out(cache, n_layers):
    """The last layer is missing: layers count from 0 to n_layers - 1, as range(n_layers) does."""
    return _writes(cache, n_layers - 1)


def first_layer_left_out(cache, n_layers):
    """Layer 0 is missing: layers count from 0 to n_layers - 1, as range(n_layers) does."""
    return _writes(cache, n_layers, first=1)


def mlp_before_attention(cache, n_layers):
    """The parts are right and their order is not: in each layer the attention writes first, then
    the MLP."""
    return _writes(cache, n_layers, written=["mlp_out", "attn_out"])


def embeddings_as_one(cache, n_layers):
    """You have the two embeddings as one part, which is also the stream before layer 0. Keep them
    apart: the token's first, then the position's."""
    writes = _writes(cache, n_layers)
    return torch.cat([writes[:2].sum(dim=0, keepdim=True), writes[2:]])


RESIDUAL_PARTS = Exercise(
    id="3.1",
    title="the stream as a sum",
    answer=residual_parts,
    cases={
        "two layers": lambda: (recording(), 2),
        "three layers, one prompt": lambda: (recording(seed=1, shape=(1, 4), n_layers=3), 3),
    },
    mistakes=[
        embeddings_left_out,
        positions_left_out,
        mlps_left_out,
        streams_for_writes,
        first_position,
        every_position,
        last_prompt_for_last_position,
        attention_layers_first,
        last_layer_left_out,
        first_layer_left_out,
        mlp_before_attention,
        embeddings_as_one,
    ],
    variants=[
        lambda cache, n_layers: torch.stack(
            [
                activation[:, -1]
                for name, activation in cache.items()
                if name.endswith(("hook_embed", "hook_pos_embed", "attn_out", "mlp_out"))
            ]
        ),
    ],
    hints=[
        "Who writes into the stream? Two embeddings at the start, then two components a layer.",
        (
            "Make the list of names first: hook_embed, hook_pos_embed, and for each layer "
            "blocks.{layer}.hook_attn_out and blocks.{layer}.hook_mlp_out."
        ),
        "Each activation is [batch pos d_model]: take [:, -1] of each and torch.stack them.",
    ],
    difficulty=1,
    minutes=10,
)


# 3.2


def through_layer_norm(
    parts: Float[Tensor, "component batch d_model"], w: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "component batch d_model"]:
    """What each part contributes to the LayerNorm of their sum (its b left out)."""
    stream = parts.sum(dim=0)
    scale = (stream.var(dim=-1, correction=0, keepdim=True) + eps).sqrt()
    return (parts - parts.mean(dim=-1, keepdim=True)) / scale * w


def _root(variance: Tensor, eps: float) -> Tensor:
    return (variance + eps).sqrt()


def _frozen(
    parts, w, eps, *, stream=None, mean=None, variance=None, correction=0, scale=_root
) -> Tensor:
    stream = parts.sum(dim=0) if stream is None else stream
    if variance is None:
        variance = stream.var(dim=-1, correction=correction, keepdim=True)
    mean = parts.mean(dim=-1, keepdim=True) if mean is None else mean
    return (parts - mean) / scale(variance, eps) * w


def own_scale_for_each_part(parts, w, eps):
    """Your parts no longer sum to the LayerNorm of the stream: each was divided by a scale of its
    own. There is one scale a prompt, that of the whole stream, for all parts.

    The model divided once, when all parts had been added up. By which number?"""
    return _frozen(parts, w, eps, stream=parts)


def parts_not_centred(parts, w, eps):
    """LayerNorm subtracts the mean first, and that splits over the parts too: subtract from each
    part its own mean over d_model."""
    return _frozen(parts, w, eps, mean=0.0)


def scale_of_the_mean_part(parts, w, eps):
    """Your scale is that of the average part. The stream is the parts' sum: parts.sum(dim=0)."""
    return _frozen(parts, w, eps, stream=parts.mean(dim=0))


def whole_mean_from_each_part(parts, w, eps):
    """You subtracted the stream's mean from every part, so it was subtracted many times over. Each
    part gives up its own mean.

    The mean of a sum is the sum of ...?"""
    return _frozen(parts, w, eps, mean=parts.sum(dim=0).mean(dim=-1, keepdim=True))


def stretch_left_out(parts, w, eps):
    """You never used w: multiply each part by it, number by number."""
    return _frozen(parts, torch.ones_like(w), eps)


def divided_by_the_variance(parts, w, eps):
    """You divided by variance + eps. The scale is its root."""
    return _frozen(parts, w, eps, scale=torch.add)


def eps_left_out(parts, w, eps):
    """You divided by the root of the variance alone: eps is added under the root."""
    return _frozen(parts, w, 0.0)


def scale_by_d_model_minus_one(parts, w, eps):
    """Your scale divides by d_model - 1. LayerNorm's variance divides by d_model (torch's var needs
    correction=0)."""
    return _frozen(parts, w, eps, correction=1)


def one_scale_for_all_prompts(parts, w, eps):
    """You used one scale for the whole batch. Each prompt's stream has its own:
    var(dim=-1, keepdim=True).

    Without `dim`, var runs over every number there is. Print the shape of your scale: how many
    prompts are there?"""
    return _frozen(parts, w, eps, variance=parts.sum(dim=0).var(correction=0))


def eps_outside_the_root(parts, w, eps):
    """You added eps after the root. It is added to the variance: √(variance + eps)."""
    return _frozen(parts, w, eps, scale=lambda variance, eps: variance.sqrt() + eps)


def mean_of_the_parts(parts, w, eps):
    """You subtracted the average part. LayerNorm's mean is over d_model, one number a part:
    parts.mean(dim=-1, keepdim=True)."""
    return _frozen(parts, w, eps, mean=parts.mean(dim=0))


def mean_shared_equally(parts, w, eps):
    """Your sum is right and its terms are not: you shared the stream's mean out equally. Each part
    gives up its own mean."""
    return _frozen(parts, w, eps, mean=parts.mean(dim=(0, -1))[:, None])


def mean_square_for_variance(parts, w, eps):
    """Your scale is the root of the stream's mean square. The variance is taken around the mean:
    subtract that first."""
    return _frozen(parts, w, eps, variance=parts.sum(dim=0).pow(2).mean(dim=-1, keepdim=True))


def variances_summed(parts, w, eps):
    """You added up the parts' variances. That is not the variance of their sum: parts may point the
    same way, or against each other.

    Two parts, (1, -1) and (-1, 1): what are their variances, and what is that of their sum?"""
    variances = parts.var(dim=-1, correction=0, keepdim=True)
    return _frozen(parts, w, eps, variance=variances.sum(dim=0))


THROUGH_LAYER_NORM = Exercise(
    id="3.2",
    title="parts through the final LayerNorm",
    answer=through_layer_norm,
    cases={
        "three parts": (*normal((3, 2, 6), (6,)), 0.1),
        "one part far larger than the others": (
            normal((4, 3, 5), seed=1)[0] * torch.tensor([10.0, 1, 1, 1])[:, None, None] + 1,
            *normal((5,), seed=2),
            0.01,
        ),
    },
    mistakes=[
        own_scale_for_each_part,
        parts_not_centred,
        scale_of_the_mean_part,
        whole_mean_from_each_part,
        stretch_left_out,
        divided_by_the_variance,
        eps_left_out,
        scale_by_d_model_minus_one,
        one_scale_for_all_prompts,
        eps_outside_the_root,
        mean_of_the_parts,
        mean_shared_equally,
        mean_square_for_variance,
        variances_summed,
    ],
    variants=[
        lambda parts, w, eps: (
            (parts - parts.mean(-1)[..., None])
            * w
            * (parts.sum(0).var(-1, unbiased=False) + eps).rsqrt()[None, :, None]
        ),
    ],
    hints=[
        "Which steps of LayerNorm are linear in x, and which one is not?",
        (
            "The scale is one number for each prompt, made from the sum of the parts: "
            "√(variance of parts.sum(dim=0) + eps)."
        ),
        "Then for each part: minus its own mean over d_model, divided by that scale, times w.",
    ],
    difficulty=2,
    minutes=15,
)


# 3.3


def answer_direction(
    right: Sequence[int], wrong: Sequence[int], W_U: Float[Tensor, "d_model d_vocab"]
) -> Float[Tensor, " d_model"]:
    """The direction that raises the right token's logit over the wrong one's."""
    if len(right) != 1 or len(wrong) != 1:
        raise ValueError(f"Each answer must be one token; they have {len(right)} and {len(wrong)}.")
    return W_U[:, right[0]] - W_U[:, wrong[0]]


def wrong_minus_right(right, wrong, W_U):
    """The sign is turned: right minus wrong, so that a positive number helps the right answer."""
    return answer_direction(wrong, right, W_U)


def first_piece_of_a_longer_answer(right, wrong, W_U):
    """You took the first token of an answer that has several, in silence: many words begin with the
    same piece. Raise a ValueError unless each answer is one token.

    What does your function do with [5, 8], and what with an empty list? What should one who calls
    it learn?"""
    return W_U[:, right[0]] - W_U[:, wrong[0]]


def pieces_averaged(right, wrong, W_U):
    """You averaged over the pieces of a longer answer. The model says them one after the other,
    not at once: raise a ValueError unless each answer is one token."""
    return W_U[:, right].mean(dim=1) - W_U[:, wrong].mean(dim=1)


def pieces_summed(right, wrong, W_U):
    """You summed over the pieces of a longer answer, which adds up logits of different positions:
    raise a ValueError unless each answer is one token."""
    return W_U[:, right].sum(dim=1) - W_U[:, wrong].sum(dim=1)


def rows_of_W_U(right, wrong, W_U):
    """You took rows of W_U. It is [d_model d_vocab]: a token is a column, W_U[:, token].

    The direction is added to no token: it lies in the stream. How many numbers must it have?"""
    return answer_direction(right, wrong, W_U.mT)


def wrong_answer_ignored(right, wrong, W_U):
    """That is the right token's direction alone: what raises all names raises it too. Subtract the
    wrong token's column."""
    return answer_direction(right, wrong, W_U) + W_U[:, wrong[0]]


def length_one(right, wrong, W_U):
    """You scaled the direction to length 1. Leave it as it is: only then is a product with it a
    logit."""
    direction = answer_direction(right, wrong, W_U)
    return direction / direction.norm()


def columns_of_length_one(right, wrong, W_U):
    """You scaled each token's column to length 1 before the difference. A logit is the product with
    the column as it is."""
    return answer_direction(right, wrong, W_U / W_U.norm(dim=0, keepdim=True))


def last_piece_of_a_longer_answer(right, wrong, W_U):
    """You took the last token of an answer that has several, in silence. Raise a ValueError unless
    each answer is one token."""
    return W_U[:, right[-1]] - W_U[:, wrong[-1]]


def refused_only_where_both_are_long(right, wrong, W_U):
    """You refuse only where neither answer is one token. One that is not is enough: `or` in place
    of `and`."""
    if len(right) != 1 and len(wrong) != 1:
        raise ValueError
    return W_U[:, right[0]] - W_U[:, wrong[0]]


def wrong_answer_unchecked(right, wrong, W_U):
    """You refuse a right answer of several tokens, but not a wrong one. Check both."""
    return answer_direction(right, wrong[:1], W_U)


def right_answer_unchecked(right, wrong, W_U):
    """You refuse a wrong answer of several tokens, but not a right one. Check both."""
    return answer_direction(right[:1], wrong, W_U)


def error_returned(right, wrong, W_U):
    """You gave the error back as a result, and the reader's code would go on with it. Raise it:
    raise ValueError(...)."""
    try:
        return answer_direction(right, wrong, W_U)
    except ValueError as error:
        return error


def unpacked(right, wrong, W_U):
    (right_token,), (wrong_token,) = right, wrong  # Python raises the ValueError
    return (W_U[:, [right_token]] - W_U[:, [wrong_token]]).squeeze(-1)


def or_refused(
    function: Callable, right: list[int], wrong: list[int], W_U: Tensor
) -> dict[str, object]:
    """What the function returns, and whether it raised a ValueError."""
    try:
        direction = function(right, wrong, W_U)
    except ValueError:
        return {"raises ValueError": True, "direction": "none"}
    returned_error = isinstance(direction, Exception)
    return {"raises ValueError": False, "direction": "error" if returned_error else direction}


ANSWER_DIRECTION = Exercise(
    id="3.3",
    title="the direction of a logit difference",
    answer=answer_direction,
    run=or_refused,
    cases={
        "two tokens of five": ([3], [1], normal((4, 5))[0]),
        "as many tokens as d_model": ([0], [4], normal((5, 5), seed=1)[0]),
        "a right answer of two tokens": ([2, 0], [1], normal((4, 5), seed=2)[0]),
        "a wrong answer of two tokens": ([2], [0, 4], normal((4, 5), seed=3)[0]),
        "an empty answer": ([], [1], normal((4, 5), seed=4)[0]),
        "two answers of two tokens": ([2, 0], [1, 4], normal((4, 5), seed=5)[0]),
    },
    mistakes=[
        wrong_minus_right,
        first_piece_of_a_longer_answer,
        pieces_averaged,
        pieces_summed,
        rows_of_W_U,
        wrong_answer_ignored,
        length_one,
        columns_of_length_one,
        last_piece_of_a_longer_answer,
        refused_only_where_both_are_long,
        wrong_answer_unchecked,
        right_answer_unchecked,
        error_returned,
    ],
    variants=[unpacked],
    hints=[
        "A logit is final · W_U[:, token]. What is the difference of two of them?",
        "W_U[:, right] - W_U[:, wrong]; which sign means that the right answer gains?",
        "right and wrong are lists of token ids: raise ValueError unless len(...) == 1 for both.",
    ],
    difficulty=1,
    minutes=5,
)


# 3.4


def attribution(
    contributions: Float[Tensor, "component batch d_model"],
    direction: Float[Tensor, "batch d_model"],
    b: Float[Tensor, " d_model"],
) -> Float[Tensor, "component+1 batch"]:
    """What each component adds to the logit difference, and in the last row what b adds."""
    logits = einsum(
        contributions, direction, "component batch d_model, batch d_model -> component batch"
    )
    bias = direction @ b
    return torch.cat([logits, bias[None]])


def bias_left_out(contributions, direction, b):
    """The last row is missing: LayerNorm's b, which no component wrote, moves the logits too.
    Append direction · b.

    LayerNorm ends with + b. Add up your rows: what do they miss of the logit difference?"""
    return attribution(contributions, direction, b)[:-1]


def bias_given_to_every_component(contributions, direction, b):
    """You added b to every component, so it is counted many times. It gets a row of its own, the
    last.

    If a component had written nothing at all, what would you credit it with?"""
    return attribution(contributions + b, direction, b)


def bias_shared_out(contributions, direction, b):
    """You shared b out among the components. None of them wrote it: it is the last row, and no
    other."""
    return attribution(contributions + b / len(contributions), direction, b)


def bias_first(contributions, direction, b):
    """Your rows are in another order: the components first, b in the last row."""
    return attribution(contributions, direction, b).roll(1, dims=0)


def total_in_the_last_row(contributions, direction, b):
    """Your last row is the sum of all components. It should be what b adds: direction · b."""
    logits = attribution(contributions, direction, b)[:-1]
    return torch.cat([logits, logits.sum(dim=0, keepdim=True)])


def first_prompts_direction_for_all(contributions, direction, b):
    """Every prompt was read along the first one's direction. Keep `batch` in both tensors of the
    einsum: each prompt has its own answer."""
    return attribution(contributions, direction[:1].expand_as(direction), b)


def cosine_for_dot_product(contributions, direction, b):
    """You divided by the lengths. A logit is a plain dot product: a short vector moves it less."""
    logits = attribution(contributions / contributions.norm(dim=-1, keepdim=True), direction, b)
    return torch.cat([logits[:-1] / direction.norm(dim=-1), logits[-1:]])


def direction_of_length_one(contributions, direction, b):
    """You scaled the direction to length 1: your numbers no longer sum to the logit difference."""
    return attribution(contributions, direction / direction.norm(dim=-1, keepdim=True), b)


def sign_lost(contributions, direction, b):
    """You took absolute values: what pushes against the answer is negative, and must stay so."""
    return attribution(contributions, direction, b).abs()


def prompts_averaged(contributions, direction, b):
    """You averaged over the prompts. Keep `batch`: the average comes later, and it hides much."""
    return attribution(contributions, direction, b).mean(dim=1)


ATTRIBUTION = Exercise(
    id="3.4",
    title="attribution per layer",
    answer=attribution,
    cases={
        "four components, three prompts": normal((4, 3, 6), (3, 6), (6,)),
        "one prompt": normal((5, 1, 4), (1, 4), (4,), seed=1),
        "three of everything": normal((3, 3, 3), (3, 3), (3,), seed=2),
    },
    mistakes=[
        bias_left_out,
        bias_given_to_every_component,
        bias_shared_out,
        bias_first,
        total_in_the_last_row,
        first_prompts_direction_for_all,
        cosine_for_dot_product,
        direction_of_length_one,
        sign_lost,
        prompts_averaged,
    ],
    variants=[
        lambda contributions, direction, b: (
            torch.cat([contributions, b.expand_as(contributions[:1])]) * direction
        ).sum(dim=-1),
    ],
    hints=[
        "A logit difference is a dot product with `direction`. A dot product of a sum is ...?",
        (
            "einsum over d_model, with `component batch` left: each prompt meets its own row of "
            "`direction`."
        ),
        "The last row is direction @ b, one number a prompt; torch.cat([logits, bias[None]]).",
    ],
    difficulty=2,
    minutes=10,
)


# 3.5


def head_attribution(
    cache: Mapping[str, Tensor],
    layer: int,
    attn: Attention,
    direction: Float[Tensor, "batch d_model"],
) -> Float[Tensor, "head batch"]:
    """What each head of a layer adds to the logit difference at the last position."""
    z = cache[f"blocks.{layer}.attn.hook_z"][:, -1]
    scale = cache["ln_final.hook_scale"][:, -1]
    read = einsum(attn.W_O, direction, "head d_head d_model, batch d_model -> batch head d_head")
    return einsum(z, read / scale[..., None], "batch head d_head, batch head d_head -> head batch")


def _by_head(cache, layer, attn, direction, *, z=None, scale_at=-1, extra=0.0):
    if z is None:
        z = cache[f"blocks.{layer}.attn.hook_z"][:, -1]
    scale = cache["ln_final.hook_scale"][:, scale_at, 0]
    out = einsum(z, attn.W_O, "batch head d_head, head d_head d_model -> head batch d_model")
    return einsum(out + extra, direction, "head batch d_model, batch d_model -> head batch") / scale


def layer_bias_given_to_each_head(cache, layer, attn, direction):
    """Your heads together write more than the layer did: b_O went to each of them. It belongs to
    no head.

    If one head's z were 0 everywhere, what would it have written? And what do you credit it
    with?"""
    return _by_head(cache, layer, attn, direction, extra=attn.b_O)


def layer_bias_shared_out(cache, layer, attn, direction):
    """You shared b_O out among the heads. It belongs to the layer: no head wrote it, so none is
    credited."""
    return _by_head(cache, layer, attn, direction, extra=attn.b_O / len(attn.W_O))


def z_of_another_position(cache, layer, attn, direction):
    """You took z at the first position. What a head writes at the last position is made from z
    there: [:, -1]."""
    z = cache[f"blocks.{layer}.attn.hook_z"][:, 0]
    return _by_head(cache, layer, attn, direction, z=z)


def scale_of_another_position(cache, layer, attn, direction):
    """You divided by the scale of the first position. Each position has its own: take [:, -1]."""
    return _by_head(cache, layer, attn, direction, scale_at=0)


def scale_left_out(cache, layer, attn, direction):
    """Your numbers are a constant factor too large: divide by the final LayerNorm's scale,
    cache["ln_final.hook_scale"], at the last position.

    Between what the head wrote and the logits stands the final LayerNorm. Which of its steps is
    already in `direction`, and which is not?"""
    return _by_head(cache, layer, attn, direction) * cache["ln_final.hook_scale"][:, -1, 0]


def pattern_applied_twice(cache, layer, attn, direction):
    """You multiplied z by the pattern once more. z is already the weighted sum of the values.

    Look at the map of hook points in chapter 2: what comes first, the pattern or z?"""
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1]
    z = cache[f"blocks.{layer}.attn.hook_z"]
    z = einsum(pattern, z, "batch head pos, batch pos head d_head -> batch head d_head")
    return _by_head(cache, layer, attn, direction, z=z)


def value_at_the_last_position(cache, layer, attn, direction):
    """You took v, what this position has to offer, in place of z, what it fetched. z is the sum of
    the values that it read."""
    z = cache[f"blocks.{layer}.attn.hook_v"][:, -1]
    return _by_head(cache, layer, attn, direction, z=z)


def heads_summed(cache, layer, attn, direction):
    """You have one number a prompt, the whole layer's. Keep `head` on the right of the arrow."""
    return _by_head(cache, layer, attn, direction).sum(dim=0)


def head_and_batch_swapped(cache, layer, attn, direction):
    """The numbers are right, the axes are not: return [head batch]."""
    return _by_head(cache, layer, attn, direction).mT


def layer_always_the_first(cache, layer, attn, direction):
    """You read layer 0's z whatever `layer` is: put it into the name of the activation."""
    return _by_head(cache, 0, attn, direction)


def scale_of_the_layers_own_norm(cache, layer, attn, direction):
    """You divided by the scale with which this layer *reads*. What it wrote is read by the final
    LayerNorm: cache["ln_final.hook_scale"]."""
    unscaled = scale_left_out(cache, layer, attn, direction)
    return unscaled / cache[f"blocks.{layer}.ln1.hook_scale"][:, -1, 0]


def every_prompt_along_the_first_direction(cache, layer, attn, direction):
    """Every prompt was read along the first one's direction. Keep `batch` in both: each prompt has
    its own answer."""
    return _by_head(cache, layer, attn, direction[:1].expand_as(direction))


def positions_summed(cache, layer, attn, direction):
    """You summed over the positions. The answer is read off at the last one alone: z[:, -1]."""
    z = cache[f"blocks.{layer}.attn.hook_z"].sum(dim=1)
    return _by_head(cache, layer, attn, direction, z=z)


def scales_along_the_heads(cache, layer, attn, direction):
    """You divided [head batch] by a scale of shape [batch 1]: where there are as many heads as
    prompts, each *head* gets a prompt's scale, in silence. Take [:, -1, 0], of shape [batch]."""
    return scale_left_out(cache, layer, attn, direction) / cache["ln_final.hook_scale"][:, -1]


def of_a_run(layer: int, part: str, *, seed: int = 0, shape: tuple[int, int] = (2, 5), **sizes):
    """The arguments of the exercises about one layer: a cache, the layer, its weights, a
    direction."""
    weights = lively(seed=seed, **sizes)
    tokens = random_tokens(*shape, below=weights.cfg.d_vocab, seed=seed)
    _, cache = run_with_cache(weights, tokens)
    (direction,) = normal((shape[0], weights.cfg.d_model), seed=seed + 10)
    direction = direction - direction.mean(dim=-1, keepdim=True)  # as the chapter's u is
    return cache, layer, getattr(weights.blocks[layer], part), direction


HEAD_ATTRIBUTION = Exercise(
    id="3.5",
    title="attribution per head",
    answer=head_attribution,
    cases={
        "the second layer": partial(of_a_run, 1, "attn"),
        "the first layer": partial(of_a_run, 0, "attn", seed=1, shape=(3, 4)),
        "three heads, one prompt": partial(of_a_run, 1, "attn", seed=2, shape=(1, 6), n_heads=3),
    },
    mistakes=[
        layer_bias_given_to_each_head,
        layer_bias_shared_out,
        z_of_another_position,
        scale_of_another_position,
        scale_left_out,
        pattern_applied_twice,
        value_at_the_last_position,
        heads_summed,
        head_and_batch_swapped,
        layer_always_the_first,
        scale_of_the_layers_own_norm,
        every_prompt_along_the_first_direction,
        positions_summed,
        scales_along_the_heads,
    ],
    variants=[
        lambda cache, layer, attn, direction: _by_head(cache, layer, attn, direction),
        lambda cache, layer, attn, direction: _by_head(  # centred once more: no harm done
            cache, layer, attn, direction - direction.mean(dim=-1, keepdim=True)
        ),
        lambda cache, layer, attn, direction: einsum(
            cache[f"blocks.{layer}.attn.hook_z"][:, -1],
            attn.W_O,
            direction / cache["ln_final.hook_scale"][:, -1],
            "batch head d_head, head d_head d_model, batch d_model -> head batch",
        ),
    ],
    hints=[
        (
            "A head writes z W_O. You want (z W_O) · direction; which of the two products is "
            "cheaper to take first?"
        ),
        (
            "W_O direction first: [batch head d_head], what each number of z is worth. z is "
            "cache[f'blocks.{layer}.attn.hook_z'][:, -1], [batch head d_head]."
        ),
        (
            "Sum over d_head, divide by cache['ln_final.hook_scale'][:, -1] (one number a prompt), "
            "return [head batch]. b_O stays out."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 3.6


def source_attribution(
    cache: Mapping[str, Tensor],
    layer: int,
    attn: Attention,
    direction: Float[Tensor, "batch d_model"],
) -> Float[Tensor, "head batch k_pos"]:
    """What each head of a layer brings to the last position from each position that it reads."""
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1]
    v = cache[f"blocks.{layer}.attn.hook_v"]
    direction = direction / cache["ln_final.hook_scale"][:, -1]
    read = einsum(attn.W_O, direction, "head d_head d_model, batch d_model -> batch head d_head")
    worth = einsum(v, read, "batch k_pos head d_head, batch head d_head -> batch head k_pos")
    return einsum(pattern, worth, "batch head k_pos, batch head k_pos -> head batch k_pos")


def _by_source(cache, layer, attn, direction, *, pattern=None, v=None, scale=None):
    if pattern is None:
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1]
    v = cache[f"blocks.{layer}.attn.hook_v"] if v is None else v
    scale = cache["ln_final.hook_scale"][:, -1] if scale is None else scale
    return einsum(
        pattern / scale[:, None],
        v,
        attn.W_O,
        direction,
        "batch head k_pos, batch k_pos head d_head, head d_head d_model, batch d_model "
        "-> head batch k_pos",
    )


def pattern_for_evidence(cache, layer, attn, direction):
    """That is the attention pattern: where the head looks. What it brings from there depends on the
    values: multiply by v · (W_O direction) / scale.

    Your numbers lie between 0 and 1 and sum to 1. Can evidence against an answer look like that?"""
    return cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1].transpose(0, 1)


def attention_left_out(cache, layer, attn, direction):
    """You have what each position offers, read or not. Multiply by the attention that the last
    position pays to it."""
    pattern = torch.ones_like(cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1])
    return _by_source(cache, layer, attn, direction, pattern=pattern)


def scores_for_pattern(cache, layer, attn, direction):
    """You weighed by the attention scores, before the softmax. What is carried over is weighed by
    the pattern."""
    scores = cache[f"blocks.{layer}.attn.hook_attn_scores"][:, :, -1]
    return _by_source(cache, layer, attn, direction, pattern=scores)


def last_column_of_the_pattern(cache, layer, attn, direction):
    """You took the pattern's last column: who reads the last position. Rows read: take
    pattern[:, :, -1].

    In your column all numbers but the last are 0. Which positions can read the last one?"""
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][..., -1]
    return _by_source(cache, layer, attn, direction, pattern=pattern)


def pattern_averaged_over_readers(cache, layer, attn, direction):
    """You averaged over all positions that read. The answer is made at the last one:
    pattern[:, :, -1]."""
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"].mean(dim=2)
    return _by_source(cache, layer, attn, direction, pattern=pattern)


def z_for_v(cache, layer, attn, direction):
    """You took z at each source. z is what that position fetched for itself; what it hands out is
    v.

    z at the last position is a sum over sources. Which tensor is weighted and summed in it?"""
    z = cache[f"blocks.{layer}.attn.hook_z"]
    return _by_source(cache, layer, attn, direction, v=z)


def last_value_everywhere(cache, layer, attn, direction):
    """You used the last position's value for every source. Each source hands out its own:
    v[:, k_pos]."""
    v = cache[f"blocks.{layer}.attn.hook_v"]
    return _by_source(cache, layer, attn, direction, v=v[:, -1:].expand_as(v))


def scale_of_the_source(cache, layer, attn, direction):
    """You divided each source by the scale at its own position. The sum is read at the last
    position: one scale for all sources."""
    unscaled = scale_forgotten(cache, layer, attn, direction)
    return unscaled / cache["ln_final.hook_scale"][..., 0]


def scale_forgotten(cache, layer, attn, direction):
    """Your numbers are a constant factor too large: divide by the final LayerNorm's scale at the
    last position."""
    scale = torch.ones_like(cache["ln_final.hook_scale"][:, -1])
    return _by_source(cache, layer, attn, direction, scale=scale)


def sources_summed(cache, layer, attn, direction):
    """You summed over the sources, which gives the head's attribution again. Keep `k_pos` on the
    right of the arrow."""
    return _by_source(cache, layer, attn, direction).sum(dim=-1)


def source_axis_first(cache, layer, attn, direction):
    """The numbers are right, the axes are not: return [head batch k_pos]."""
    return _by_source(cache, layer, attn, direction).transpose(0, 1)


SOURCE_ATTRIBUTION = Exercise(
    id="3.6",
    title="attribution per source position",
    answer=source_attribution,
    cases={
        "the second layer": partial(of_a_run, 1, "attn", seed=3),
        "three heads, one prompt": partial(of_a_run, 0, "attn", seed=4, shape=(1, 6), n_heads=3),
        "as many prompts as heads as positions": partial(
            of_a_run, 1, "attn", seed=5, shape=(3, 3), n_heads=3
        ),
    },
    mistakes=[
        pattern_for_evidence,
        attention_left_out,
        scores_for_pattern,
        last_column_of_the_pattern,
        pattern_averaged_over_readers,
        z_for_v,
        last_value_everywhere,
        scale_of_the_source,
        scale_forgotten,
        sources_summed,
        source_axis_first,
    ],
    variants=[
        lambda cache, layer, attn, direction: _by_source(cache, layer, attn, direction),
        lambda cache, layer, attn, direction: torch.stack(
            [
                (v @ attn.W_O[head] @ direction[..., None])[..., 0]
                * cache[f"blocks.{layer}.attn.hook_pattern"][:, head, -1]
                / cache["ln_final.hook_scale"][:, -1]
                for head, v in enumerate(cache[f"blocks.{layer}.attn.hook_v"].unbind(dim=2))
            ]
        ),
    ],
    hints=[
        "z is a sum over positions: pattern times v. What if you do not carry out that sum?",
        (
            "The last position's row of the pattern is pattern[:, :, -1], [batch head k_pos]. The "
            "values are [batch k_pos head d_head]."
        ),
        (
            "v · (W_O direction) / scale is what each source is worth, [batch head k_pos]; times "
            "the pattern it is what was brought."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 3.7


def strongest_neurons(
    cache: Mapping[str, Tensor],
    layer: int,
    mlp: MLP,
    direction: Float[Tensor, "batch d_model"],
    k: int,
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The k neurons of an MLP that move the logit difference most, and by how much, on average."""
    post = cache[f"blocks.{layer}.mlp.hook_post"][:, -1]
    read = einsum(
        mlp.W_out,
        direction / cache["ln_final.hook_scale"][:, -1],
        "d_mlp d_model, batch d_model -> batch d_mlp",
    )
    logits = (post * read).mean(dim=0)
    strongest = logits.abs().topk(k).indices
    return strongest, logits[strongest]


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _neurons(
    cache, layer, mlp, direction, k, *, hook="post", share=_itself, rank=torch.abs, unscaled=False
):
    post = cache[f"blocks.{layer}.mlp.hook_{hook}"][:, -1]
    read = einsum(mlp.W_out, direction, "d_mlp d_model, batch d_model -> batch d_mlp")
    scale = 1.0 if unscaled else cache["ln_final.hook_scale"][:, -1]
    logits = share(post * read / scale).mean(dim=0)
    strongest = rank(logits).topk(k).indices
    return strongest, logits[strongest]


def only_those_that_help(cache, layer, mlp, direction, k):
    """You kept the largest numbers, so no neuron against the answer is among yours. Rank by the
    absolute value.

    Of +0.2, -0.9 and +0.5, which two move the answer most?"""
    return _neurons(cache, layer, mlp, direction, k, rank=_itself)


def absolute_values_returned(cache, layer, mlp, direction, k):
    """The neurons are right, but the signs are lost: rank by the absolute value, return the numbers
    themselves.

    topk gives values and indices. Which of the two can you use on a tensor that still has its
    signs?"""
    strongest, logits = _neurons(cache, layer, mlp, direction, k)
    return strongest, logits.abs()


def most_active_neurons(cache, layer, mlp, direction, k):
    """You ranked by activation. A neuron can be active and write nothing along the direction: rank
    by what it adds to the logits.

    A neuron's activation is 10, and its row of W_out is at right angles to the direction. What does
    it add?"""
    post = cache[f"blocks.{layer}.mlp.hook_post"][:, -1].mean(dim=0)
    return _neurons(cache, layer, mlp, direction, k, rank=lambda logits: post)


def before_the_nonlinearity(cache, layer, mlp, direction, k):
    """You used hook_pre, what goes into GELU. What is multiplied by W_out comes out of it:
    hook_post."""
    return _neurons(cache, layer, mlp, direction, k, hook="pre")


def scale_of_ln_final_left_out(cache, layer, mlp, direction, k):
    """Your numbers are too large: divide by the final LayerNorm's scale at the last position."""
    return _neurons(cache, layer, mlp, direction, k, unscaled=True)


def ranked_by_the_weights(cache, layer, mlp, direction, k):
    """You ranked by W_out · direction, the same for every text. A neuron that is silent here adds
    nothing: multiply by its activation."""
    read = einsum(mlp.W_out, direction, "d_mlp d_model, batch d_model -> batch d_mlp").mean(dim=0)
    return _neurons(cache, layer, mlp, direction, k, rank=lambda logits: read.abs())


def first_prompt_only(cache, layer, mlp, direction, k):
    """You looked at the first prompt alone: average over the batch."""
    first = {name: activation[:1] for name, activation in cache.items()}
    return _neurons(first, layer, mlp, direction[:1], k)


def averaged_before_multiplying(cache, layer, mlp, direction, k):
    """You averaged activations and directions apart, then multiplied: a neuron that helps each
    prompt's own answer is lost. Multiply first, then average over the batch."""
    mean = {name: activation.mean(dim=0, keepdim=True) for name, activation in cache.items()}
    return _neurons(mean, layer, mlp, direction.mean(dim=0, keepdim=True), k)


def absolute_before_averaging(cache, layer, mlp, direction, k):
    """You took absolute values before the average, so a neuron that pushes now for, now against
    comes out on top. Average first."""
    post = cache[f"blocks.{layer}.mlp.hook_post"][:, -1]
    read = einsum(mlp.W_out, direction, "d_mlp d_model, batch d_model -> batch d_mlp")
    each = (post * read / cache["ln_final.hook_scale"][:, -1]).abs().mean(dim=0)
    return _neurons(cache, layer, mlp, direction, k, rank=lambda logits: each)


def absolute_values_averaged(cache, layer, mlp, direction, k):
    """You took absolute values of each prompt's shares, then their average: a neuron that pushes
    now for, now against comes out on top, and no sign is left. Average first."""
    return _neurons(cache, layer, mlp, direction, k, share=torch.abs)


def strongest_last(cache, layer, mlp, direction, k):
    """The neurons are right, in the wrong order: strongest first (topk does so, argsort does
    not)."""
    return tuple(part.flip(0) for part in _neurons(cache, layer, mlp, direction, k))


def summed_over_prompts(cache, layer, mlp, direction, k):
    """The neurons are right, and you summed their shares over the prompts: take the mean."""
    strongest, logits = _neurons(cache, layer, mlp, direction, k)
    return strongest, logits * len(direction)


def neurons_of_the_first_position(cache, layer, mlp, direction, k):
    """These are activations of the first position. The answer is read off at the last one:
    [:, -1]."""
    flipped = {name: activation.flip(1) for name, activation in cache.items() if "post" in name}
    return _neurons({**cache, **flipped}, layer, mlp, direction, k)


STRONGEST_NEURONS = Exercise(
    id="3.7",
    title="attribution per neuron",
    answer=strongest_neurons,
    cases={
        "three of ten neurons": lambda: (*of_a_run(1, "mlp", seed=6, shape=(3, 5)), 3),
        "five of sixteen neurons": lambda: (
            *of_a_run(0, "mlp", seed=7, shape=(4, 4), d_mlp=16),
            5,
        ),
    },
    mistakes=[
        only_those_that_help,
        absolute_values_returned,
        most_active_neurons,
        before_the_nonlinearity,
        scale_of_ln_final_left_out,
        ranked_by_the_weights,
        first_prompt_only,
        averaged_before_multiplying,
        absolute_before_averaging,
        absolute_values_averaged,
        strongest_last,
        summed_over_prompts,
        neurons_of_the_first_position,
    ],
    variants=[
        lambda *arguments: _neurons(*arguments),
    ],
    hints=[
        "A neuron writes its activation times its row of W_out. How far along `direction`?",
        (
            "hook_post is [batch pos d_mlp]; W_out direction is [batch d_mlp]; their product, over "
            "the scale, is each neuron's share, prompt by prompt."
        ),
        (
            "Average over the batch, then .abs().topk(k).indices; return the indices and the "
            "averages there, with their signs."
        ),
    ],
    difficulty=2,
    minutes=10,
)


# 3.8


def evidence_and_bias(
    logits: Float[Tensor, "component batch"],
) -> tuple[Float[Tensor, "component pair"], Float[Tensor, "component pair"]]:
    """What a component adds for the right name, whichever it is, and for one name, right or not."""
    one_way, other_way = logits[:, 0::2], logits[:, 1::2]
    return (one_way + other_way) / 2, (one_way - other_way) / 2


def halves_for_pairs(logits):
    """You paired the first half of the prompts with the second. Pairs stand side by side: 0 and 1,
    2 and 3, ...

    Which prompts are logits[:, 0::2]? Try it on torch.arange(6)[None]."""
    halves = torch.arange(logits.shape[1]).view(2, -1)
    return evidence_and_bias(logits[:, halves.mT.flatten()])


def evidence_and_bias_swapped(logits):
    """You have them the wrong way round. Evidence keeps its sign when the right answer changes, so
    it is half the sum; bias turns it.

    A head adds 1 for the right name in both prompts of a pair. What is its evidence, what its
    bias, and what do you get?"""
    return tuple(reversed(evidence_and_bias(logits)))


def bias_for_the_other_name(logits):
    """Your bias has the other sign: the pair's first prompt minus its second.

    Evidence + bias should be what was added in the pair's first prompt. What is it with yours?"""
    evidence, bias = evidence_and_bias(logits)
    return evidence, -bias


def not_halved(logits):
    """Both are twice too large: they should sum to what was added in the pair's first prompt. Take
    half the sum and half the difference."""
    evidence, bias = evidence_and_bias(logits)
    return 2 * evidence, 2 * bias


def bias_not_halved(logits):
    """Your bias is twice too large: evidence + bias should be what was added in the pair's first
    prompt. Take half the difference."""
    evidence, bias = evidence_and_bias(logits)
    return evidence, 2 * bias


def pairs_averaged(logits):
    """You averaged over the pairs. Keep them: one column a pair, the average comes later."""
    return tuple(part.mean(dim=1) for part in evidence_and_bias(logits))


def components_paired(logits):
    """You paired components. Prompts are the columns: logits[:, 0::2] and logits[:, 1::2]."""
    return tuple(part.mT for part in evidence_and_bias(logits.mT))


def size_of_the_bias(logits):
    """Your bias has lost its sign, which says which of the two names it is for."""
    evidence, bias = evidence_and_bias(logits)
    return evidence, bias.abs()


EVIDENCE_AND_BIAS = Exercise(
    id="3.8",
    title="evidence and bias",
    answer=evidence_and_bias,
    cases={
        "five components, three pairs": normal((5, 6)),
        "four components, two pairs": normal((4, 4), seed=1),
    },
    mistakes=[
        halves_for_pairs,
        evidence_and_bias_swapped,
        bias_for_the_other_name,
        not_halved,
        bias_not_halved,
        pairs_averaged,
        components_paired,
        size_of_the_bias,
    ],
    variants=[
        lambda logits: (
            logits.unflatten(1, (-1, 2)).mean(dim=-1),
            logits.unflatten(1, (-1, 2)).diff(dim=-1)[..., 0] / -2,
        ),
    ],
    hints=[
        (
            "Write x for the evidence and y for the bias. In a pair's first prompt the component "
            "adds x + y. And in its second, where the other name is right?"
        ),
        "x + y and x - y are known. How do you get x and y back?",
        "logits[:, 0::2] holds every pair's first prompt, logits[:, 1::2] its second.",
    ],
    difficulty=2,
    minutes=10,
)


# 3.9


def fold(
    W: Float[Tensor, "*head d_model out"],
    bias: Float[Tensor, "*head out"],
    w: Float[Tensor, " d_model"],
    b: Float[Tensor, " d_model"],
) -> tuple[Float[Tensor, "*head d_model out"], Float[Tensor, "*head out"]]:
    """A reader's W and bias that have taken over the w and b of the LayerNorm before it."""
    return w[:, None] * W, bias + b @ W


def _stretched(W: Tensor, w: Tensor) -> Tensor:
    return w[:, None] * W


def _folded(W, bias, w, b, *, stretch=_stretched, through_new_W=False, add=None):
    new_W = stretch(W, w)
    added = b @ (new_W if through_new_W else W) if add is None else add
    return new_W, bias + added


def w_along_the_columns(W, bias, w, b):
    """You multiplied the columns of W by w. What is stretched is what W reads, so w belongs to its
    rows: w[:, None] * W.

    How many numbers has w, and which axis of W has as many, in every case?"""
    return _folded(W, bias, w, b, stretch=torch.mul)  # an error where W is not square


def bias_through_the_folded_W(W, bias, w, b):
    """Your b was stretched by w as well. LayerNorm adds b after w: it goes through W as it was.

    Did you change W first and use it again in the next line? Write out (n w + b) W: what does b
    meet?"""
    return _folded(W, bias, w, b, through_new_W=True)


def layer_norms_b_dropped(W, bias, w, b):
    """You folded w and dropped b. It reaches the reader through W: add b @ W to the bias."""
    return _folded(W, bias, w, torch.zeros_like(b))


def readers_bias_dropped(W, bias, w, b):
    """The reader had a bias of its own: add b @ W to it."""
    return _folded(W, torch.zeros_like(bias), w, b)


def divided_by_w(W, bias, w, b):
    """You divided by w. The LayerNorm will not multiply by w any more, so that W must."""
    return _folded(W, bias, 1 / w, b)


def only_the_bias(W, bias, w, b):
    """You folded b and left w out: multiply each row of W by its entry of w."""
    return _folded(W, bias, torch.ones_like(w), b)


def bias_stretched(W, bias, w, b):
    """You put w · b into the bias. It is w · x + b that W reads: only x meets w."""
    return _folded(W, bias, w, w * b, through_new_W=True)


def b_not_through_W(W, bias, w, b):
    """You added b itself to the reader's bias. It is in the stream's space: it reaches the reader
    through W, as b @ W.

    How many numbers has b, and how many the reader's bias, where W is not square?"""
    return _folded(W, bias, w, b, add=b)  # an error where W is not square


def multiplied_from_the_other_side(W, bias, w, b):
    """You multiplied W @ b, which sums over what the reader gives out. b is what it reads, the rows
    of W: b @ W."""
    return _folded(W, bias, w, b, add=W @ b)  # an error where W is not square


def b_minus(W, bias, w, b):
    """You subtracted b @ W. The LayerNorm will not add b any more, so that the bias must."""
    return _folded(W, bias, w, -b)


def what_is_read(
    function: Callable, x: Tensor, W: Tensor, bias: Tensor, w: Tensor, b: Tensor
) -> dict[str, Tensor]:
    """What the folded reader computes from normalised vectors; W may also be centred, which changes
    nothing."""
    normalised = x - x.mean(dim=-1, keepdim=True)
    normalised = normalised / normalised.pow(2).mean(dim=-1, keepdim=True).sqrt()
    folded = function(W, bias, w, b)
    if isinstance(folded, Tensor):
        raise ValueError("One tensor came back; wanted are two, the new W and the new bias.")
    if not isinstance(folded, tuple | list) or len(folded) != 2:
        return folded
    folded_W, folded_bias = (part.to(x.dtype) for part in folded)
    if folded_W.shape != W.shape or folded_bias.shape != bias.shape:
        came = f"{list(folded_W.shape)} and {list(folded_bias.shape)}"
        wanted = f"{list(W.shape)} and {list(bias.shape)}, as they were"
        raise ValueError(f"The new W and bias have the shapes {came}; wanted are {wanted}.")
    return {"normalised @ W + bias": normalised @ folded_W + folded_bias[..., None, :]}


FOLD = Exercise(
    id="3.9",
    title="fold LayerNorm into the weights",
    answer=fold,
    run=what_is_read,
    cases={
        "as many outputs as d_model": normal((9, 4), (4, 4), (4,), (4,), (4,), seed=1),
        "a reader of four outputs": normal((9, 5), (5, 4), (4,), (5,), (5,)),
        "three heads": normal((9, 5), (3, 5, 2), (3, 2), (5,), (5,), seed=2),
    },
    mistakes=[
        w_along_the_columns,
        bias_through_the_folded_W,
        layer_norms_b_dropped,
        readers_bias_dropped,
        divided_by_w,
        only_the_bias,
        bias_stretched,
        b_not_through_W,
        multiplied_from_the_other_side,
        b_minus,
    ],
    variants=[
        lambda W, bias, w, b: (
            w[:, None] * W - (w[:, None] * W).mean(dim=-2, keepdim=True),
            bias + einsum(b, W, "d_model, ... d_model out -> ... out"),
        ),
        lambda W, bias, w, b: (torch.diag(w) @ W, bias + (b[:, None] * W).sum(dim=-2)),
    ],
    hints=[
        "Write out (n w + b) W + bias, where n is the normalised vector. What does n meet?",
        "n (w W) + (b W + bias): the first bracket is the new W, the second the new bias.",
        "W may have heads in front: w[:, None] * W and b @ W work for both.",
    ],
    difficulty=2,
    minutes=15,
)


# 3.10


def actual_drop(
    model: Transformer,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """How far the logit difference falls when one head brings nothing, at any position."""

    def zero(z: Tensor) -> Tensor:
        z[:, :, head] = 0
        return z

    def difference(logits: Tensor) -> Tensor:
        rows = torch.arange(len(logits))
        return logits[rows, -1, right] - logits[rows, -1, wrong]

    ablated = run_with_edits(model, tokens, {f"blocks.{layer}.attn.hook_z": zero})
    return difference(model(tokens)) - difference(ablated)


def _of_this_head(z: Tensor, head: int) -> Tensor:
    return z[:, :, head]


def _drop(
    model,
    tokens,
    layer,
    head,
    right,
    wrong,
    *,
    part=_of_this_head,
    name="attn.hook_z",
    new=torch.zeros_like,
    pos=-1,
    of=None,
    rows=None,
    against=1,
):
    """The drop when `part` of an activation is replaced by what `new` makes of it."""

    def edit(activation):
        here = part(activation, head)
        here[:] = new(here)
        return activation

    def difference(logits):
        at = torch.arange(len(logits)) if rows is None else rows
        logits = logits[:, pos] if of is None else of(logits[:, pos])
        return logits[at, right] - against * logits[at, wrong]

    ablated = run_with_edits(model, tokens, {f"blocks.{layer}.{name}": edit})
    return difference(model(tokens)) - difference(ablated)


def change_for_drop(model, tokens, layer, head, right, wrong):
    """The sign is turned: a drop is before minus after, positive where the head was needed."""
    return -_drop(model, tokens, layer, head, right, wrong)


def whole_layer_zeroed(model, tokens, layer, head, right, wrong):
    """You zeroed every head of the layer. z is [batch pos head d_head]: z[:, :, head] = 0."""
    return _drop(model, tokens, layer, head, right, wrong, part=lambda z, head: z)


def position_for_head(model, tokens, layer, head, right, wrong):
    """You zeroed all heads at position `head`. z is [batch pos head d_head]: the head is the third
    axis.

    No error came, because there is a position of that number, too. How many colons stand before
    `head` in your brackets, and how many axes before the head's?"""
    return _drop(model, tokens, layer, head, right, wrong, part=lambda z, head: z[:, head])


def feature_for_head(model, tokens, layer, head, right, wrong):
    """You zeroed one number of every head's z. z is [batch pos head d_head]: the head is the third
    axis."""
    return _drop(model, tokens, layer, head, right, wrong, part=lambda z, head: z[..., head])


def only_at_the_last_position(model, tokens, layer, head, right, wrong):
    """You zeroed the head at the last position only. What it brings to earlier ones is read by
    later layers: zero it everywhere.

    Direct attribution looks at the last position alone. By which other way can a head's write at an
    earlier position reach the answer?"""
    return _drop(model, tokens, layer, head, right, wrong, part=lambda z, head: z[:, -1, head])


def attribution_for_drop(model, tokens, layer, head, right, wrong):
    """That is the prediction: what the head wrote along the direction. Run the model without the
    head and see."""
    cache = run_with_cache(model, tokens)[1]
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).mT * model.ln_final.w
    direction = direction - direction.mean(dim=-1, keepdim=True)
    attn = model.blocks[layer].attn
    return head_attribution(cache, layer, attn, direction)[head]


def right_logit_only(model, tokens, layer, head, right, wrong):
    """That is the drop of the right answer's logit. Subtract the wrong answer's: the difference is
    what decides.

    If both names lose 2 logits, has the model's choice between them changed?"""
    return _drop(model, tokens, layer, head, right, wrong, against=0)


def first_positions_logits(model, tokens, layer, head, right, wrong):
    """You read the logits at the first position. The answer comes after the last token: [:, -1]."""
    return _drop(model, tokens, layer, head, right, wrong, pos=0)


def drop_of_probability(model, tokens, layer, head, right, wrong):
    """You compared probabilities. Take the logits as they are: attribution is in logits, too."""
    return _drop(model, tokens, layer, head, right, wrong, of=lambda logits: logits.softmax(dim=-1))


def every_prompt_with_every_answer(model, tokens, layer, head, right, wrong):
    """You have a square of numbers: each prompt with the answers of all. logits[:, -1, right] takes
    every entry of `right` from every prompt; torch.arange(len(tokens)) in place of the colon pairs
    them."""
    return _drop(model, tokens, layer, head, right, wrong, rows=slice(None))


def queries_or_keys_zeroed(model, tokens, layer, head, right, wrong):
    """Your head is not silent: with q or k at 0 all its scores are 0, and it reads every position
    alike. What it brings is z: zero that.

    Softmax of equal numbers: what does each position get?"""
    return _drop(model, tokens, layer, head, right, wrong, name="attn.hook_q")


def averaged_over_prompts(model, tokens, layer, head, right, wrong):
    """You averaged over the prompts. Return one number for each."""
    return _drop(model, tokens, layer, head, right, wrong).mean()


def what_is_left(model, tokens, layer, head, right, wrong):
    """That is the logit difference without the head. The drop is the difference as it is, minus
    that."""
    rows = torch.arange(len(tokens))
    logits = model(tokens)[:, -1]
    before = logits[rows, right] - logits[rows, wrong]
    return before - _drop(model, tokens, layer, head, right, wrong)


def mean_for_zero(model, tokens, layer, head, right, wrong):
    """You put the head's mean in place of z. Here it brings nothing: 0."""

    def mean(here):
        return here.mean(dim=(0, 1))

    return _drop(model, tokens, layer, head, right, wrong, new=mean)


def head_of_layer_0(model, tokens, layer, head, right, wrong):
    """You zeroed this head in layer 0, whatever `layer` is: put it into the name of the
    activation."""
    return _drop(model, tokens, 0, head, right, wrong)


def layers_write_zeroed(model, tokens, layer, head, right, wrong):
    """You zeroed what the whole layer writes, b_O included. Zero the z of one head: z[:, :, head] =
    0."""
    return _drop(
        model,
        tokens,
        layer,
        head,
        right,
        wrong,
        part=lambda write, head: write,
        name="hook_attn_out",
    )


def a_run(layer: int, head: int, *, seed: int, shape: tuple[int, int] = (3, 5), **sizes):
    """The arguments of the exercise on ablation."""
    model = lively(seed=seed, **sizes)
    d_vocab = model.cfg.d_vocab
    right = random_tokens(shape[0], below=d_vocab, seed=seed + 20)
    wrong = (right + 3) % d_vocab
    return model, random_tokens(*shape, below=d_vocab, seed=seed), layer, head, right, wrong


ACTUAL_DROP = Exercise(
    id="3.10",
    title="predicted and actual drop",
    answer=actual_drop,
    cases={
        "a head of the first layer": partial(a_run, 0, 1, seed=0),
        "a head of the last layer": partial(a_run, 1, 0, seed=1),
        "the third head of three": partial(a_run, 0, 2, seed=2, n_heads=3, n_layers=3),
    },
    mistakes=[
        change_for_drop,
        whole_layer_zeroed,
        position_for_head,
        feature_for_head,
        only_at_the_last_position,
        attribution_for_drop,
        right_logit_only,
        first_positions_logits,
        drop_of_probability,
        every_prompt_with_every_answer,
        queries_or_keys_zeroed,
        averaged_over_prompts,
        what_is_left,
        mean_for_zero,
        head_of_layer_0,
        layers_write_zeroed,
    ],
    variants=[
        lambda model, tokens, layer, head, right, wrong: _drop(
            model, tokens, layer, head, right, wrong, name="attn.hook_v"
        ),
        lambda model, tokens, layer, head, right, wrong: _drop(
            model,
            tokens,
            layer,
            head,
            right,
            wrong,
            part=lambda pattern, head: pattern[:, head],
            name="attn.hook_pattern",
        ),
    ],
    hints=[
        (
            "Three steps: the logit difference as it is, the logit difference with the edit, "
            "before minus after."
        ),
        (
            "run_with_edits(model, tokens, {name: function}) gives each activation of that name to "
            "the function and goes on with what it returns. The name is "
            "f'blocks.{layer}.attn.hook_z'; z is [batch pos head d_head]."
        ),
        (
            "logits[torch.arange(len(tokens)), -1, right] takes, of each prompt, the right token's "
            "logit at the last position."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 3.11


def removed(
    writes: Float[Tensor, "component batch d_model"],
) -> Float[Tensor, "component component batch"]:
    """The share of each earlier write (column) that each later one (row) takes out again."""
    writes = writes - writes.mean(dim=-1, keepdim=True)
    dots = einsum(writes, writes, "late batch d_model, early batch d_model -> late early batch")
    share = -dots / writes.pow(2).sum(dim=-1)
    order = torch.arange(len(writes))
    return share * (order[:, None] > order)[..., None]


def _later(late: Tensor, early: Tensor) -> Tensor:
    return late > early


def _removed(writes, *, centre=True, lengths=None, kept=_later):
    if centre:
        writes = writes - writes.mean(dim=-1, keepdim=True)
    dots = einsum(writes, writes, "late batch d_model, early batch d_model -> late early batch")
    squares = writes.pow(2).sum(dim=-1)
    share = -dots / (squares if lengths is None else lengths(squares))
    order = torch.arange(len(writes))
    return share * kept(order[:, None], order)[..., None]


def what_is_added(writes):
    """The sign is turned: 1 means that all of it was removed, so take minus the dot product.

    A later write is minus the earlier one, so that nothing is left. What is their dot product, and
    what should the share be?"""
    return -_removed(writes)


def cosine_for_share(writes):
    """That is minus the cosine. It says whether two writes are opposite, not how much is gone: a
    short write cannot cancel a long one. Divide by the earlier write's squared length.

    The earlier write is (4, 0), the later one (-1, 0). How much of the earlier one is gone, and
    what is the cosine?"""
    return _removed(writes, lengths=lambda squares: (squares[:, None] * squares).sqrt())


def share_of_the_later_write(writes):
    """You divided by the later write's squared length. The share is of what was there before: the
    earlier one's."""
    return _removed(writes, lengths=lambda squares: squares[:, None])


def length_not_squared(writes):
    """You divided by the length of the earlier write. By its square: once to get the part along it,
    once more to make that a share."""
    return _removed(writes, lengths=lambda squares: squares.sqrt())


def before_it_was_written(writes):
    """Nobody can remove what is not written yet, nor itself: rows up to and including the column
    are 0."""
    return _removed(writes, kept=lambda late, early: late == late)


def earlier_in_the_rows(writes):
    """Rows and columns are swapped: the row is the later write, the column the earlier one."""
    return _removed(writes).transpose(0, 1)


def mean_left_in(writes):
    """You did not centre the writes. Readers subtract the mean, so what lies along it neither
    counts nor cancels."""
    return _removed(writes, centre=False)


def only_what_is_removed(writes):
    """You set negative shares to 0. They say that a later write repeats an earlier one: keep
    them."""
    return _removed(writes).relu()


def only_the_component_before(writes):
    """You compared each write with the one right before it. Compare it with all that were earlier:
    what is removed may be much older."""
    return _removed(writes, kept=lambda late, early: late == early + 1)


def removed_by_itself(writes):
    """Your diagonal is -1, each write against itself. Only later writes count: leave the diagonal
    out, too."""
    return _removed(writes, kept=torch.ge)


def upper_triangle_kept(writes):
    """You kept the rows that are *earlier* than the column. A later write is further down: keep
    what is below the diagonal."""
    return _removed(writes, kept=torch.lt)


def tril_over_the_batch(writes):
    """tril works on the last two axes, and your last axis is the batch. Make the mask from two
    component axes, then add one for the batch."""
    return _removed(writes, kept=lambda late, early: late == late).tril(diagonal=-1)


REMOVED = Exercise(
    id="3.11",
    title="who removes what",
    answer=removed,
    cases={
        "four writes, two prompts": (normal((4, 2, 6))[0] + 0.5,),
        "one prompt, writes of different lengths": (
            normal((5, 1, 5), seed=1)[0] * torch.tensor([5.0, 1, 2, 0.5, 3])[:, None, None],
        ),
    },
    mistakes=[
        what_is_added,
        cosine_for_share,
        share_of_the_later_write,
        length_not_squared,
        before_it_was_written,
        earlier_in_the_rows,
        mean_left_in,
        only_what_is_removed,
        only_the_component_before,
        removed_by_itself,
        upper_triangle_kept,
        tril_over_the_batch,
    ],
    variants=[
        lambda writes: (
            lambda centred: torch.stack(
                [
                    torch.stack(
                        [
                            -(late * early).sum(-1) / early.norm(dim=-1) ** 2 * (i > j)
                            for j, early in enumerate(centred)
                        ]
                    )
                    for i, late in enumerate(centred)
                ]
            )
        )(writes - writes.mean(dim=-1, keepdim=True)),
    ],
    hints=[
        (
            "The projection of a later write on an earlier one is (later · earlier) / |earlier|² "
            "times the earlier one. What is the factor if it cancels all of it?"
        ),
        (
            "Centre over d_model, then one einsum gives all dot products, [late early batch]; the "
            "squared lengths, [early batch], divide them."
        ),
        "Last, set everything to 0 where the row is not later than the column.",
    ],
    difficulty=2,
    minutes=15,
)


EXERCISES = (
    RESIDUAL_PARTS,
    THROUGH_LAYER_NORM,
    ANSWER_DIRECTION,
    ATTRIBUTION,
    HEAD_ATTRIBUTION,
    SOURCE_ATTRIBUTION,
    STRONGEST_NEURONS,
    EVIDENCE_AND_BIAS,
    FOLD,
    ACTUAL_DROP,
    REMOVED,
)

QUIZZES = (
    Quiz(
        id="3-a",
        question=(
            "Attribution divides every part by the same scale, the one that the final LayerNorm "
            "really had. What is approximate about the attribution of this run?"
        ),
        options=(
            Option(
                "Nothing: as an account of this run it is exact.",
                True,
                "Centring, dividing by a known number and the product with a direction are linear: "
                "the shares sum to the logit difference. Only in a run without a part may the "
                "scale be another.",
            ),
            Option(
                "The scale: it is right for small parts only.",
                False,
                "It is the number that the run divided by, the whole stream at once. No part's "
                "size comes into it.",
            ),
            Option(
                "The sum: it misses what the parts do together.",
                False,
                "Once the scale s is known nothing is left to do together: (x + y) / s is x / s + "
                "y / s.",
            ),
            Option(
                "The scale: without a part it would be another.",
                False,
                "It would, in a run that did not happen. Here the part was there.",
            ),
        ),
    ),
    Quiz(
        id="3-b",
        question=(
            "On a prompt whose answer is Mary, a head adds +0.8 to Mary minus John. You swap the "
            "names' roles, so that John is right, and it adds -0.6 to John minus Mary. How much "
            "evidence for the right answer does it bring, on average?"
        ),
        number=0.1,
        tolerance=0.005,
        slips={
            0.7: "That is its bias: what it adds for Mary, whether she is right or wrong.",
            1.4: "That is a difference. Both numbers are for the right answer: take their mean.",
            0.8: "That is the first prompt alone.",
            -0.6: "That is the second prompt alone.",
        },
        why=(
            "(0.8 + (-0.6)) / 2 = 0.1. The other (0.8 - (-0.6)) / 2 = 0.7 is bias for Mary, right "
            "or wrong. One prompt alone would have called this head important."
        ),
    ),
    Quiz(
        id="3-c",
        question=(
            "Two people attribute the same run of the same model, one with raw and one with centred"
            " weights. For which of these can they get different numbers?"
        ),
        options=(
            Option(
                "What an MLP adds to the logit of Mary.",
                True,
                "Centring W_U subtracts from each logit the mean of all logits: a write that raises"
                " every token loses that part.",
            ),
            Option(
                "What an MLP adds to the logit of Mary minus that of John.",
                False,
                "Its direction, Mary's column of W_U minus John's, is the same vector for both.",
            ),
            Option(
                "The probability of Mary.",
                False,
                "The model is the same: no guess that it makes, and no loss, is changed.",
            ),
            Option(
                "The length of the vector that an MLP writes.",
                True,
                "Centring takes the part along (1, ..., 1) away, which no LayerNorm lets through.",
            ),
            Option(
                "The scale that the final LayerNorm divides by.",
                False,
                "It is measured after LayerNorm has taken the mean out by itself.",
            ),
        ),
    ),
    Quiz(
        id="3-d",
        question=(
            "You zero a head. Attribution said that it wrote 3 logits for the answer, and the "
            "answer falls by less than 1. Which of these can be a reason?"
        ),
        options=(
            Option(
                "Earlier layers see that it is gone and write more for the answer.",
                False,
                "They have run already: what they write is the same number for number.",
            ),
            Option(
                "Later heads see that it is gone and write more for the answer.",
                True,
                "GPT-2's published table shows it; such heads are called backups.",
            ),
            Option(
                "Without it the final scale is smaller, so all other shares grow.",
                True,
                "The scale divides all shares. No component has to respond for that.",
            ),
            Option(
                "Direct attribution is an approximation, and 2 logits its error.",
                False,
                "It is exact about what the head wrote in the run with the head. It says nothing "
                "about a run without it.",
            ),
            Option(
                "Later heads that wrote against the answer write less against it.",
                True,
                "Taking away what they respond to takes away their resistance, too.",
            ),
        ),
    ),
)
