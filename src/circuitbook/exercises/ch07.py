"""Chapter 7, "What comes next": its four exercises, the mistakes that readers make in them, its
quizzes."""

from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from circuitbook.cache import run_from, run_with_cache
from circuitbook.exercises.ch01 import lively, random_tokens
from circuitbook.exercises.engine import Exercise, Option, Quiz, normal

# 7.1


def patching_map(
    run: Callable[[Tensor, int], Tensor],
    clean: Float[Tensor, "layer batch pos d_model"],
    corrupted: Float[Tensor, "layer batch pos d_model"],
) -> Float[Tensor, "layer pos"]:
    """The share of the clean run's metric that comes back with the clean stream at one place."""
    lowest, highest = run(corrupted[0], 0), run(clean[0], 0)
    n_layers, _, n_pos, _ = clean.shape
    shares = torch.zeros(n_layers, n_pos)
    for layer in range(n_layers):
        for pos in range(n_pos):
            patched = corrupted[layer].clone()
            patched[:, pos] = clean[layer, :, pos]
            shares[layer, pos] = (run(patched, layer) - lowest) / (highest - lowest)
    return shares


def _metrics(run, base, other, *, positions=lambda pos: [pos], source=None, start=lambda at: at):
    """The metric with `other` put into `base` at each place, and those of the two runs."""
    n_layers, _, n_pos, _ = base.shape
    metrics = torch.zeros(n_layers, n_pos)
    for layer in range(n_layers):
        for pos in range(n_pos):
            patched = base[layer].clone()
            where = list(positions(pos))
            patched[:, where] = other[layer if source is None else source][:, where]
            metrics[layer, pos] = run(patched, start(layer))
    return metrics, run(base[0], 0), run(other[0], 0)


def _shares(*arguments, **changes):
    metrics, lowest, highest = _metrics(*arguments, **changes)
    return (metrics - lowest) / (highest - lowest)


def _shares_with(run, clean, corrupted, place):
    """The shares with a patch at another place of the stream [batch pos d_model]."""
    n_layers, _, n_pos, _ = clean.shape
    metrics = torch.zeros(n_layers, n_pos)
    for layer in range(n_layers):
        for pos in range(n_pos):
            patched = corrupted[layer].clone()
            patched[place(pos)] = clean[layer][place(pos)]
            metrics[layer, pos] = run(patched, layer)
    lowest, highest = run(corrupted[0], 0), run(clean[0], 0)
    return (metrics - lowest) / (highest - lowest)


def noised_instead(run, clean, corrupted):
    """You put corrupted streams into the clean run: that is noising, and asks what breaks. Start
    from the corrupted stream and put the clean one in."""
    return _shares(run, clean, corrupted)


def noised_and_counted_down(run, clean, corrupted):
    """You put corrupted streams into the clean run and counted how far the metric falls. Start from
    the corrupted stream, put the clean one in, and count how far it rises."""
    return -_shares(run, clean, corrupted)


def what_noising_leaves(run, clean, corrupted):
    """Where nothing differs your shares are 1: you put corrupted streams into the clean run and
    measured what is left. Start from the corrupted stream, where nothing restored is 0."""
    return 1 - _shares(run, clean, corrupted)


def metric_itself(run, clean, corrupted):
    """You return the metric of each patched run. A share counts from the corrupted run's metric (0)
    to the clean run's (1)."""
    return _metrics(run, corrupted, clean)[0]


def change_not_divided(run, clean, corrupted):
    """You subtracted the corrupted metric and stopped: divide by the whole way, clean minus
    corrupted."""
    metrics, lowest, _ = _metrics(run, corrupted, clean)
    return metrics - lowest


def divided_by_the_clean_metric(run, clean, corrupted):
    """You divided by the clean metric. The whole way is clean minus corrupted: the corrupted run's
    metric is not 0."""
    metrics, lowest, highest = _metrics(run, corrupted, clean)
    return (metrics - lowest) / highest


def divided_by_the_corrupted_metric(run, clean, corrupted):
    """You divided by the corrupted metric. The whole way is clean minus corrupted: 1 means that all
    of it was made good."""
    metrics, lowest, _ = _metrics(run, corrupted, clean)
    return (metrics - lowest) / lowest


def part_of_the_clean_metric(run, clean, corrupted):
    """You compared the patched metric with the clean one, so that a patch that changes nothing does
    not get 0. Count both from the corrupted metric: subtract it above and below the line."""
    metrics, _, highest = _metrics(run, corrupted, clean)
    return metrics / highest


def brackets_left_out(run, clean, corrupted):
    """Your line divides one number alone: `/` comes before `-`. Put brackets round both
    differences: (patched - corrupted) / (clean - corrupted)."""
    metrics, lowest, highest = _metrics(run, corrupted, clean)
    return metrics - lowest / highest - lowest


def rows_made_to_sum_to_one(run, clean, corrupted):
    """You divided each row by its sum. These are no parts of one whole: leave each share as its own
    run gave it."""
    shares = _shares(run, corrupted, clean)
    return shares / shares.sum(dim=1, keepdim=True)


def share_without_its_zero(run, clean, corrupted):
    """A patch that changes nothing should get 0: subtract the corrupted metric above the line as
    well."""
    metrics, lowest, highest = _metrics(run, corrupted, clean)
    return metrics / (highest - lowest)


def share_that_is_missing(run, clean, corrupted):
    """Your numbers are 1 minus the right ones: you measured how far there is still to go. Count
    from the corrupted run's metric."""
    return 1 - _shares(run, corrupted, clean)


def all_positions_at_once(run, clean, corrupted):
    """All your shares are 1: you put in the whole clean stream, every position of it. One position
    at a time: patched[:, pos] = clean[layer, :, pos]."""
    everywhere = range(clean.shape[2])
    return _shares(run, corrupted, clean, positions=lambda pos: everywhere)


def patches_pile_up(run, clean, corrupted):
    """Patches at earlier positions are still in place when you patch the next. One position at a
    time, each into a fresh `corrupted[layer].clone()`.

    Where does the line with `.clone()` stand: before the loop over positions, or in it? Without a
    clone, `patched` is `corrupted` itself. And [:, :pos + 1] is more than one position."""
    return _shares(run, corrupted, clean, positions=lambda pos: range(pos + 1))


def first_stream_for_all_layers(run, clean, corrupted):
    """At every layer you put in clean[0], the stream before the first one. Take the stream of the
    layer that you patch: clean[layer]."""
    return _shares(run, corrupted, clean, source=0)


def started_from_the_first_layer(run, clean, corrupted):
    """Only your first row is right: you sent each patched stream through all the layers, also those
    that it has behind it. Go on from its layer: run(patched, layer)."""
    return _shares(run, corrupted, clean, start=lambda layer: 0)


def started_one_layer_late(run, clean, corrupted):
    """Your run leaves out the layer that you patch: the stream is the one *before* it. Go on with
    run(patched, layer)."""
    return _shares(run, corrupted, clean, start=lambda layer: layer + 1)


def clean_stream_added(run, clean, corrupted):
    """You added the clean stream to the corrupted one. A patch replaces: patched[:, pos] = ..."""
    return _shares(run, corrupted, clean + corrupted)


def position_on_the_prompt_axis(run, clean, corrupted):
    """You put the position where the prompts are counted. corrupted[layer] is [batch pos d_model]:
    patched[:, pos] = clean[layer, :, pos]."""
    return _shares_with(run, clean, corrupted, lambda pos: pos)


def position_on_the_last_axis(run, clean, corrupted):
    """You changed one number of every position's stream. corrupted[layer] is [batch pos d_model]:
    the position is on the middle axis, patched[:, pos] = clean[layer, :, pos]."""
    return _shares_with(run, clean, corrupted, lambda pos: (..., pos))


def first_prompt_alone(run, clean, corrupted):
    """You patched the first prompt and left the others corrupted. All of them, with a colon on the
    first axis: patched[:, pos] = clean[layer, :, pos]."""
    return _shares_with(run, clean, corrupted, lambda pos: (0, pos))


def from_this_position_on(run, clean, corrupted):
    """You put in the clean stream at this position and at all after it: [:, pos], not [:, pos:]."""
    return _shares_with(run, clean, corrupted, lambda pos: (slice(None), slice(pos, None)))


def halfway_patch(run, clean, corrupted):
    """You put in the mean of both streams. A patch replaces one by the other."""
    metrics, lowest, _ = _metrics(run, corrupted, (clean + corrupted) / 2)
    return (metrics - lowest) / (run(clean[0], 0) - lowest)


def positions_down_layers_across(run, clean, corrupted):
    """Your map lies on its side: layers are rows, positions columns."""
    return _shares(run, corrupted, clean).T


def rows_for_positions(run, clean, corrupted):
    """You patched whole prompts: the streams are [layer batch pos d_model], so a position is on the
    third axis: patched[:, pos] = clean[layer, :, pos]."""
    lowest, highest = run(corrupted[0], 0), run(clean[0], 0)
    shares = torch.zeros(clean.shape[:2])
    for layer in range(clean.shape[0]):
        for row in range(clean.shape[1]):
            patched = corrupted[layer].clone()
            patched[row] = clean[layer, row]
            shares[layer, row] = (run(patched, layer) - lowest) / (highest - lowest)
    return shares


def cut_to_shares(run, clean, corrupted):
    """You cut the shares at 0 and 1. A patch can do harm, or more than restore: leave such numbers
    as they are."""
    return _shares(run, corrupted, clean).clamp(0, 1)


def sign_lost(run, clean, corrupted):
    """You took absolute values: a patch that moves the metric the wrong way has a share below 0."""
    return _shares(run, corrupted, clean).abs()


def two_runs(*, seed: int, batch: int, n_pos: int, n_layers: int) -> tuple:
    """A small random model that goes on from any layer, and its streams on two sets of tokens."""
    weights = lively(seed=seed, n_layers=n_layers)
    below = weights.cfg.d_vocab
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(n_layers)]
    streams = []
    for which in (0, 1):
        tokens = random_tokens(batch, n_pos, below=below, seed=seed + 100 * which)
        _, cache = run_with_cache(weights, tokens, names)
        streams.append(torch.stack([cache[name] for name in names]))

    def run(stream: Tensor, layer: int) -> Tensor:
        logits = run_from(weights, stream.to(weights.W_E.dtype), layer)
        return (logits[:, -1, 0] - logits[:, -1, 1]).mean()

    return run, *streams


def _patched_by_mask(run, clean, corrupted):
    lowest, whole = run(corrupted[0], 0), run(clean[0], 0) - run(corrupted[0], 0)
    rows = []
    for layer, (ours, theirs) in enumerate(zip(clean, corrupted, strict=True)):
        here = torch.eye(clean.shape[2], dtype=torch.bool)
        rows.append([run(torch.where(one[:, None], ours, theirs), layer) for one in here])
    return (torch.tensor(rows) - lowest) / whole


PATCHING_MAP = Exercise(
    id="7.1",
    title="a map of patches",
    answer=patching_map,
    cases={
        "two layers, two prompts": lambda: two_runs(seed=1, batch=2, n_pos=4, n_layers=2),
        "four layers, three prompts": lambda: two_runs(seed=2, batch=3, n_pos=3, n_layers=4),
    },
    mistakes=[
        noised_instead,
        noised_and_counted_down,
        what_noising_leaves,
        metric_itself,
        change_not_divided,
        divided_by_the_clean_metric,
        divided_by_the_corrupted_metric,
        part_of_the_clean_metric,
        brackets_left_out,
        rows_made_to_sum_to_one,
        share_without_its_zero,
        share_that_is_missing,
        all_positions_at_once,
        patches_pile_up,
        first_stream_for_all_layers,
        started_from_the_first_layer,
        started_one_layer_late,
        clean_stream_added,
        position_on_the_prompt_axis,
        position_on_the_last_axis,
        first_prompt_alone,
        from_this_position_on,
        halfway_patch,
        positions_down_layers_across,
        rows_for_positions,
        cut_to_shares,
        sign_lost,
    ],
    variants=[_patched_by_mask],
    hints=[
        "What are the metrics of the two runs? `run(corrupted[0], 0)` is one of them.",
        (
            "For each layer and each position: clone corrupted[layer], put the clean stream in at "
            "[:, pos], go on with run(patched, layer)."
        ),
        (
            "A share is (patched metric - corrupted metric) / (clean metric - corrupted metric); "
            "collect them in torch.zeros(n_layers, n_pos)."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 7.2


def toy_loss(
    x: Float[Tensor, "sample feature"],
    W: Float[Tensor, "feature d_hidden"],
    b: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
) -> Float[Tensor, ""]:
    """What the toy model loses: the mean of importance times squared error."""
    hidden = x @ W
    output = (hidden @ W.T + b).relu()
    return (importance * (x - output) ** 2).mean()


def _same(tensor):
    return tensor


def _loss(
    x, W, b, importance, *, hidden=_same, output=torch.relu, error=torch.square, total=torch.mean
):
    """The loss with its steps open: what is done to h, to h Wᵀ + b, to the error, and to all."""
    made = output(hidden(x @ W) @ W.T + b)
    return total(importance * error(x - made))


def relu_left_out(x, W, b, importance):
    """Your model says negative sizes: the output goes through ReLU. It is what lets features share
    a dimension, since it hides negative interference."""
    return _loss(x, W, b, importance, output=_same)


def relu_inside_too(x, W, b, importance):
    """You cut off the hidden vector below 0. h = x W is linear, ReLU comes at the output alone."""
    return _loss(x, W, b, importance, hidden=torch.relu)


def relu_on_the_hidden_vector(x, W, b, importance):
    """You put the ReLU on the hidden vector. h = x W is linear; ReLU is the last step of the
    output."""
    return _loss(x, W, b, importance, hidden=torch.relu, output=_same)


def bias_left_out(x, W, b, importance):
    """You never used b: add it before the ReLU."""
    return _loss(x, W, torch.zeros_like(b), importance)


def bias_subtracted(x, W, b, importance):
    """You subtracted b. Add it: training makes it negative where that helps."""
    return _loss(x, W, -b, importance)


def bias_after_relu(x, W, b, importance):
    """You added b after the ReLU. It comes before: ReLU(h Wᵀ + b), so that a negative b can silence
    a little interference."""
    return _loss(x, W, torch.zeros_like(b), importance, output=lambda read: read.relu() + b)


def importance_left_out(x, W, b, importance):
    """All features cost the same in your loss: multiply each squared error by its importance."""
    return _loss(x, W, b, torch.ones_like(importance))


def importance_after_the_mean(x, W, b, importance):
    """You took the mean of the errors first: every feature then has the mean importance. Multiply
    each feature's squared error by its own, then take the mean.

    `functional.mse_loss` takes the mean at once: write the square out, importance * (x - output) **
    2, or give it reduction="none"."""
    return _loss(x, W, b, importance.mean())


def importance_squared(x, W, b, importance):
    """You squared the importance with the error. Square the error first, then weigh it."""
    return _loss(x, W, b, importance.square())


def importance_on_the_input(x, W, b, importance):
    """You weighed the features that go in. Importance belongs to the loss: it says what an error
    costs."""
    return _loss(x * importance, W, b, torch.ones_like(importance))


def importance_on_the_target(x, W, b, importance):
    """You weighed x before you compared it with the output. Compare them as they are, and weigh the
    squared error."""
    made = (x @ W @ W.T + b).relu()
    return (importance * x - made).square().mean()


def importance_on_the_output(x, W, b, importance):
    """You weighed the output before you compared it with x. Compare them as they are, and weigh the
    squared error."""
    return _loss(x, W, b, torch.ones_like(importance), output=lambda read: importance * read.relu())


def summed_over_features(x, W, b, importance):
    """Your loss is as many times too large as there are features: take the mean over both axes."""
    return _loss(x, W, b, importance, total=lambda loss: loss.sum(dim=1).mean())


def summed_over_samples(x, W, b, importance):
    """Your loss is as many times too large as there are samples: take the mean over both axes."""
    return _loss(x, W, b, importance, total=lambda loss: loss.sum(dim=0).mean())


def summed_over_all(x, W, b, importance):
    """You summed. Take the mean over samples and features, so that the loss does not grow with
    either."""
    return _loss(x, W, b, importance, total=torch.sum)


def mean_weighed_by_importance(x, W, b, importance):
    """You divided by the sum of the importances. Divide by the number of features: a plain mean."""
    return _loss(x, W, b, importance / importance.mean())


def error_not_squared(x, W, b, importance):
    """You did not square the error: what is too much and what is too little cancel. Square it."""
    return _loss(x, W, b, importance, error=_same)


def absolute_error(x, W, b, importance):
    """You took the error's size. The loss is its square."""
    return _loss(x, W, b, importance, error=torch.abs)


def squared_after_the_mean(x, W, b, importance):
    """You squared the mean. Square each error first: what is too much and what is too little must
    not cancel."""
    return _loss(x, W, b, importance, error=_same, total=lambda loss: loss.mean().square())


def root_of_the_loss(x, W, b, importance):
    """You took the root at the end: leave the mean of the squares as it is."""
    return _loss(x, W, b, importance, total=lambda loss: loss.mean().sqrt())


def one_loss_per_feature(x, W, b, importance):
    """You return one number for each feature. Training needs one number: take the mean over them as
    well."""
    return _loss(x, W, b, importance, total=lambda loss: loss.mean(dim=0))


def one_loss_per_sample(x, W, b, importance):
    """You return one number for each sample. Training needs one number: take the mean over them as
    well."""
    return _loss(x, W, b, importance, total=lambda loss: loss.mean(dim=1))


def half_of_it(x, W, b, importance):
    """Your loss is half the right one: there is no ½ in it."""
    return _loss(x, W, b, importance, total=lambda loss: loss.mean() / 2)


def the_output_itself(x, W, b, importance):
    """You return what the model says. The loss is how far that is from x: the mean of importance
    times squared error."""
    return (x @ W @ W.T + b).relu()


def toy_case(n_samples: int, n_features: int, d_hidden: int, seed: int) -> tuple:
    x, W, b, importance = normal(
        (n_samples, n_features), (n_features, d_hidden), (n_features,), (n_features,), seed=seed
    )
    return x.abs(), W, b, importance.abs()


TOY_LOSS = Exercise(
    id="7.2",
    title="what a toy model loses",
    answer=toy_loss,
    cases={
        "four samples of five features": toy_case(4, 5, 2, seed=1),
        "two dimensions for two features": toy_case(3, 2, 2, seed=2),
        "one sample": toy_case(1, 6, 3, seed=3),
    },
    mistakes=[
        relu_left_out,
        relu_inside_too,
        relu_on_the_hidden_vector,
        bias_left_out,
        bias_subtracted,
        bias_after_relu,
        importance_left_out,
        importance_after_the_mean,
        importance_squared,
        importance_on_the_input,
        importance_on_the_target,
        importance_on_the_output,
        summed_over_features,
        summed_over_samples,
        summed_over_all,
        mean_weighed_by_importance,
        error_not_squared,
        absolute_error,
        squared_after_the_mean,
        root_of_the_loss,
        one_loss_per_feature,
        one_loss_per_sample,
        half_of_it,
        the_output_itself,
    ],
    variants=[
        lambda x, W, b, importance: (
            einsum(
                (x - functional.relu(einsum(x, W, W, "s f, f d, g d -> s g") + b)).square(),
                importance,
                "s f, f ->",
            )
            / x.numel()
        ),
    ],
    hints=[
        "Three lines: the hidden vector, the output, the loss. Only one of them has a ReLU.",
        "The hidden vector is x @ W, and the output goes back through the same matrix: W.T.",
        "importance * (x - output) ** 2 has one number for each sample and feature: the mean.",
    ],
    difficulty=1,
    minutes=10,
)


# 7.3


def feature_dimensions(W: Float[Tensor, "feature d_hidden"]) -> Float[Tensor, " feature"]:
    """How much of a dimension each feature has to itself."""
    directions = functional.normalize(W, dim=1)
    along = (directions @ W.T).pow(2).sum(dim=1)
    return (W.pow(2).sum(dim=1) / along).nan_to_num()  # 0/0 where a feature has no weights


def _directions(W):
    return functional.normalize(W, dim=1)


def _sizes(W):
    return W.pow(2).sum(dim=1)


def _all_of_them(products):
    return products.sum(dim=1)


def _dimensions(
    W,
    *,
    first=_directions,
    second=_same,
    square=torch.square,
    total=_all_of_them,
    sizes=_sizes,
    without_weights=0.0,
):
    """The answer with its parts open: W_i and W_j in the dot products, these, their sum, |W_i|²."""
    along = total(square(first(W) @ second(W).T))
    return torch.where(_sizes(W) > 0, sizes(W) / _not_zero(along), without_weights)


def _not_zero(along):
    return torch.where(along == 0, torch.ones_like(along), along)


def _of_the_others(products):
    return (products * ~torch.eye(len(products), dtype=torch.bool)).sum(dim=1)


def zero_by_zero(W):
    """A feature with no weights at all gives you 0/0. It has no dimension: return 0 there."""
    return _dimensions(W, without_weights=torch.nan)


def one_by_zero(W):
    """A feature with no weights at all is infinite: something stands above the line, and 0 below.
    Return 0 there."""
    return _dimensions(W, without_weights=torch.inf)


def one_for_zero_by_zero(W):
    """A feature with no weights has no dimension, and gets 1 from you: return 0 there."""
    return _dimensions(W, without_weights=1.0)


def itself_left_out(W):
    """You summed over the *other* features only, so a feature with a dimension of its own gets a
    huge number. The sum goes over all, itself included: then such a feature gets 1."""
    return _dimensions(W, total=_of_the_others)


def interference_alone(W):
    """You returned what the others write along the feature. That is the interference; divide
    |W_i|² by it and |W_i|² together."""
    return _of_the_others((_directions(W) @ W.T).square())


def sum_alone(W):
    """You returned what stands below the line. Divide |W_i|² by it."""
    return _all_of_them((_directions(W) @ W.T).square())


def both_made_unit_length(W):
    """You divided both vectors by their length, so a feature that is hardly there takes as much
    room as any. Only the first, W_i, becomes a direction; W_j stays as long as it is."""
    return _dimensions(W, second=_directions)


def own_length_missing(W):
    """Your numbers lack |W_i|²: either it does not stand above the line, or W_i below it is as long
    as it was. There it is a direction, W_i / |W_i|."""
    return _dimensions(W, first=_same)


def no_lengths_left(W):
    """Lengths have dropped out of your numbers: a feature that is hardly there counts as much as
    any. W_i is made of length 1, and W_j stays as long as it is; the sum is over j. In directions @
    W.T that is the last axis.

    Which of the two do you divide by its length, and along which axis of the products does j run?
    Above the line stands |W_i|², whatever you do below."""
    return _dimensions(W, first=_same, second=_directions)


def divided_by_the_squared_length(W):
    """You divided W_i by |W_i|². Of length 1 it is after division by |W_i|."""
    return _dimensions(W, first=lambda W: W / W.pow(2).sum(dim=1, keepdim=True))


def columns_made_unit_length(W):
    """You divided each hidden dimension by its length. The features are the rows: dim=1, with
    keepdim=True."""
    return _dimensions(W, first=lambda W: functional.normalize(W, dim=0))


def divided_by_the_length_of_all(W):
    """You divided by the length of the whole matrix. Each row has a length of its own:
    W.norm(dim=1, keepdim=True)."""
    return _dimensions(W, first=lambda W: W / W.norm())


def products_not_squared(W):
    """You added the dot products as they are, so that opposite features cancel. Square each."""
    return _dimensions(W, square=_same)


def sizes_of_products(W):
    """You added the sizes of the dot products. Square them instead."""
    return _dimensions(W, square=torch.abs)


def squared_after_the_sum(W):
    """You squared the sum. Square each dot product first, then add: interference does not
    cancel."""
    return _dimensions(W, square=_same, total=lambda products: products.sum(dim=1).square())


def length_not_squared(W):
    """Above the line stands |W_i|, not its square."""
    return _dimensions(W, sizes=lambda W: W.norm(dim=1))


def multiplied_number_by_number(W):
    """You compared each feature with itself alone, number by number: `*` multiplies what stands at
    the same place. All dot products of two rows at once are directions @ W.T."""
    along = (_directions(W) * W).square().sum(dim=1)
    return torch.where(_sizes(W) > 0, _sizes(W) / _not_zero(along), 0.0)


def how_long_it_is(W):
    """You returned |W_i|²: whether the feature is represented. Divide by what all features write
    along its direction."""
    return _sizes(W)


def one_number_per_dimension(W):
    """You have a number for each hidden dimension. The features are the rows of W: compare rows, W
    @ W.T."""
    return feature_dimensions(W.T.contiguous())


def upside_down(W):
    """You divided the wrong way round: |W_i|² stands above the line, the sum below."""
    along = (_directions(W) @ W.T).square().sum(dim=1)
    return torch.where(_sizes(W) > 0, along / _not_zero(_sizes(W)), 0.0)


def dimensions_in_all(W):
    """You added up all features. Return one number for each."""
    return feature_dimensions(W).sum()


def _one_after_the_other(W):
    result = []
    for row in W:
        length = row.norm()
        if length == 0:
            result.append(length)
            continue
        result.append(length**2 / sum((row @ other / length) ** 2 for other in W))
    return torch.stack(result)


A_FEATURE_LEFT_OUT = torch.tensor([[1.0, 0.0], [0.0, 0.8], [0.0, 0.0], [-0.9, 0.1]])

FEATURE_DIMENSIONS = Exercise(
    id="7.3",
    title="how much of a dimension",
    answer=feature_dimensions,
    cases={
        "five features in two dimensions": normal((5, 2), seed=4),
        "one feature has no weights": (A_FEATURE_LEFT_OUT,),
        "four features in three dimensions": normal((4, 3), seed=5),
    },
    mistakes=[
        zero_by_zero,
        one_by_zero,
        one_for_zero_by_zero,
        itself_left_out,
        interference_alone,
        sum_alone,
        both_made_unit_length,
        own_length_missing,
        no_lengths_left,
        divided_by_the_squared_length,
        columns_made_unit_length,
        divided_by_the_length_of_all,
        products_not_squared,
        sizes_of_products,
        squared_after_the_sum,
        length_not_squared,
        multiplied_number_by_number,
        how_long_it_is,
        one_number_per_dimension,
        upside_down,
        dimensions_in_all,
    ],
    variants=[_one_after_the_other],
    hints=[
        "W @ W.T holds all dot products of two rows at once. What stands on its diagonal?",
        (
            "Directions are W / W.norm(dim=1, keepdim=True). (directions @ W.T) ** 2, summed over "
            "its last axis, is what stands below the line."
        ),
        "A row of zeros gives 0/0: torch.nan_to_num, or torch.where(size > 0, ..., 0), helps.",
    ],
    difficulty=2,
    minutes=15,
)


# 7.4


def steering_vector(
    towards: Float[Tensor, "prompt pos d_model"],
    away: Float[Tensor, "other_prompt pos d_model"],
    position: int,
) -> Float[Tensor, " d_model"]:
    """What the stream has, on average, in one set of prompts and not in the other."""
    return towards[:, position].mean(dim=0) - away[:, position].mean(dim=0)


def wrong_way_round(towards, away, position):
    """Your vector leads away from where it should: the mean of `towards` comes first."""
    return -steering_vector(towards, away, position)


def nothing_subtracted(towards, away, position):
    """You took the mean of one set. Most of it is the same in both sets: subtract the other's
    mean, so that only what differs is left."""
    return towards[:, position].mean(dim=0)


def every_position_averaged(towards, away, position):
    """You averaged over all positions, which thins out what only one of them knows: take
    [:, position] first."""
    return towards.mean(dim=(0, 1)) - away.mean(dim=(0, 1))


def last_position_taken(towards, away, position):
    """You took the last position. The position is an argument, and need not be the last."""
    return towards[:, -1].mean(dim=0) - away[:, -1].mean(dim=0)


def prompt_for_position(towards, away, position):
    """You indexed the prompts: streams are [prompt pos d_model], so a position is
    [:, position]."""
    return towards[position].mean(dim=0) - away[position].mean(dim=0)


def sums_for_means(towards, away, position):
    """You added the prompts up. With means, the vector is as long however many prompts there
    are, and sets of different size can be compared."""
    return towards[:, position].sum(dim=0) - away[:, position].sum(dim=0)


def made_unit_length(towards, away, position):
    """You made the vector of length 1. Its length says how far apart the two sets are: keep it, so
    that a coefficient of 1 means the whole way."""
    return functional.normalize(steering_vector(towards, away, position), dim=0)


def prompts_paired_up(towards, away, position):
    """You paired the prompts up and dropped those without a partner. Take the mean over all prompts
    of each set, then subtract."""
    n = min(len(towards), len(away))
    return steering_vector(towards[:n], away[:n], position)


def prompts_still_there(towards, away, position):
    """You subtract while the prompts are still there, and the two sets have different sizes. First
    the mean over the prompts, dim=0, of each set; then subtract."""
    return (towards[:, position] - away[:, position]).mean(dim=0)


def divided_by_all_prompts(towards, away, position):
    """You divided both sums by the number of all prompts. Each set has its own size: divide by it,
    or take .mean(dim=0) of each."""
    difference = towards[:, position].sum(dim=0) - away[:, position].sum(dim=0)
    return difference / (len(towards) + len(away))


def other_set_alone(towards, away, position):
    """You took the mean of `away`. Subtract it from the mean of `towards`."""
    return away[:, position].mean(dim=0)


def first_position_taken(towards, away, position):
    """You took the first position. The position is an argument: [:, position]."""
    return towards[:, 0].mean(dim=0) - away[:, 0].mean(dim=0)


def means_made_unit_length(towards, away, position):
    """You made each mean of length 1 before you subtracted. Take the means as they are: the vector
    is added to a stream of that length."""
    first, second = (streams[:, position].mean(dim=0) for streams in (towards, away))
    return functional.normalize(first, dim=0) - functional.normalize(second, dim=0)


def each_prompt_made_unit_length(towards, away, position):
    """You made each prompt's stream of length 1 before the mean: the vector is far too short for
    this stream. Take the means of the streams as they are."""
    directions = [functional.normalize(streams, dim=-1) for streams in (towards, away)]
    return steering_vector(*directions, position)


def centred_on_both_sets(towards, away, position):
    """You subtracted the mean of all prompts, of both sets. Subtract the mean of `away` alone."""
    every = torch.cat([towards, away])[:, position].mean(dim=0)
    return towards[:, position].mean(dim=0) - every


def half_the_way(towards, away, position):
    """Your vector is half as long as wanted: do not divide by 2."""
    return steering_vector(towards, away, position) / 2


def first_pair_alone(towards, away, position):
    """You compared the first prompts of the sets: a single pair differs in much else. Take the
    means."""
    return towards[0, position] - away[0, position]


def medians_for_means(towards, away, position):
    """You took medians. Take means."""
    return towards[:, position].median(dim=0).values - away[:, position].median(dim=0).values


def vectors_for_every_position(towards, away, position):
    """You kept all positions. Take the one that is asked for: [:, position]."""
    return towards.mean(dim=0) - away.mean(dim=0)


def both_sets_added(towards, away, position):
    """You added the two means. What differs is their difference."""
    return towards[:, position].mean(dim=0) + away[:, position].mean(dim=0)


STEERING_VECTOR = Exercise(
    id="7.4",
    title="a steering vector",
    answer=steering_vector,
    cases={
        "four prompts against three": (*normal((4, 5, 6), (3, 5, 6), seed=6), 1),
        "two against five": (*normal((2, 3, 4), (5, 3, 4), seed=7), 1),
        "counted from the end": (*normal((3, 4, 5), (4, 4, 5), seed=8), -2),
    },
    mistakes=[
        wrong_way_round,
        nothing_subtracted,
        every_position_averaged,
        last_position_taken,
        prompt_for_position,
        sums_for_means,
        prompts_paired_up,
        prompts_still_there,
        divided_by_all_prompts,
        other_set_alone,
        first_position_taken,
        made_unit_length,
        means_made_unit_length,
        each_prompt_made_unit_length,
        centred_on_both_sets,
        half_the_way,
        first_pair_alone,
        medians_for_means,
        vectors_for_every_position,
        both_sets_added,
    ],
    variants=[
        lambda towards, away, position: (
            einsum(towards[:, position], "p d -> d") / len(towards)
            - einsum(away[:, position], "p d -> d") / len(away)
        ),
    ],
    hints=[
        "Which axis counts the prompts, and which the positions?",
        "towards[:, position] is [prompt d_model]: one mean over the prompts, for each set.",
        "The sets may differ in size, so do not pair the prompts up: subtract mean from mean.",
    ],
    difficulty=1,
    minutes=5,
)


EXERCISES = (PATCHING_MAP, TOY_LOSS, FEATURE_DIMENSIONS, STEERING_VECTOR)

QUIZZES = (
    Quiz(
        id="7-a",
        question=(
            "In a run on a corrupted prompt you restore one activation, and the whole answer comes "
            "back. What have you shown?"
        ),
        options=(
            Option(
                "Without it the clean run would fail.",
                False,
                (
                    "That is the other question, noising. A second copy of the information may "
                    "stand elsewhere, and then the clean run does not notice."
                ),
            ),
            Option(
                "All that the answer needs passes through this activation.",
                False,
                (
                    "Only what differs between the two prompts does. What they share was in the "
                    "corrupted run already, and no patch shows it."
                ),
            ),
            Option(
                "With the rest of the corrupted run around it, this activation is enough.",
                True,
                "That is what denoising asks: what suffices to bring the difference back?",
            ),
        ),
    ),
    Quiz(
        id="7-b",
        question=(
            "Three features of length 1 lie in a plane, 120° apart. How much of a dimension does "
            "each of them have? (cos 120° = -0.5)"
        ),
        number=2 / 3,
        tolerance=0.01,
        why=(
            "1 / (1 + 0.25 + 0.25) = 2/3. Three of them make 2, the dimensions that there are: "
            "nothing is wasted, and each is disturbed by two."
        ),
    ),
    Quiz(
        id="7-c",
        question=(
            "A dictionary rebuilds a model's activations almost perfectly. Which follows from that "
            "alone?"
        ),
        options=(
            Option(
                "Its directions are the model's features.",
                False,
                (
                    "Enough directions rebuild everything, whichever they are: one along each axis "
                    "and one against it would do."
                ),
            ),
            Option(
                "Nothing about the directions.",
                True,
                (
                    "Without a penalty there is no reason why they should be the true ones; our "
                    "first row shows it. Here we could look, because the truth was known."
                ),
            ),
            Option(
                "The penalty was large enough.",
                False,
                "The opposite is likelier: a penalty always costs some of the reconstruction.",
            ),
        ),
    ),
    Quiz(
        id="7-d",
        question=(
            "You add a vector to the stream, and the model talks about weddings. Which of these "
            "must you know before you say that you found its direction for weddings?"
        ),
        options=(
            Option(
                "What random vectors of the same length do.",
                True,
                "If they change the topic as well, the length did it and not the direction.",
            ),
            Option(
                "Which neuron it is.",
                False,
                (
                    "None, in general: the stream has no preferred axes, and a direction is a "
                    "mixture of many."
                ),
            ),
            Option(
                "What it does on prompts that had no part in making it.",
                True,
                "Otherwise it may hold what is special about those few prompts.",
            ),
            Option(
                "What it costs on text that has nothing to do with it.",
                True,
                "A vector that breaks the model elsewhere moves more than the one thing.",
            ),
        ),
    ),
)
