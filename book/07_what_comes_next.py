# %% [markdown]
# # Chapter 7: What comes next
#
# If you can explain the residual stream, split a head into its two circuits and trace induction,
# you have the base. Most of what the field does now builds on it. This chapter takes three steps
# further, one small experiment each, so that the papers you read next are about things you have
# done.
#
# **After this chapter you can**
#
# - patch activations from one run into another, read the map, and say what it does not show;
# - build a model that holds more features than it has dimensions, watch it happen, and find the
#   features again with a sparse dictionary;
# - make a steering vector, and test it against the controls without which it proves nothing.
#
# **Time:** 1 to 2 hours, with 4 exercises and 4 quizzes. **You need:** chapter 3 (the stream is a
# sum, logit differences, ablation). The experiments do not build on each other.

# %%
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from circuitbook.attribution import single_token
from circuitbook.cache import run_from, run_with_cache, run_with_edits
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.interventions import Averaged, metric_by_head, metric_by_position, replace
from circuitbook.language import book_language
from circuitbook.language.english import MEN, WOMEN
from circuitbook.model import loss_per_token
from circuitbook.parts import head_named
from circuitbook.plots import NumberTable, Table, plot_curves_together, plot_directions, plot_matrix
from circuitbook.superposition import sparse_features, train_dictionary, train_toy_models
from circuitbook.zoo import load

loaded = load()
model, tokenizer = loaded.model.requires_grad_(False), loaded.tokenizer
n_layers = model.cfg.n_layers

# %% [markdown]
# What you can do, and what it is the base of:
#
# | You can | so you are ready for |
# |---|---|
# | read the stream before a layer, and run the rest | activation patching, part 1 |
# | say why directions in the stream overlap | superposition and autoencoders, part 2 |
# | take a direction as a way to write | steering, part 3 |

# %% [markdown]
# ## Part 1: Activation patching
#
# Attribution asked who *says* the answer. Now the question is where the information *is* that
# decides it, at each layer, and when it moves. We take two prompts that differ in one token, and in
# the answer.

# %%
pairs = [(" Mary", " John"), (" John", " Mary"), (" Sarah", " Tom"), (" Tom", " Sarah")]


def as_tokens(texts: list[str]) -> Tensor:
    return torch.tensor([tokenizer.encode("<|endoftext|>" + text) for text in texts])


def story(first: str, second: str, giver: str) -> str:
    return f"When{first} and{second} went to the store,{giver} gave a drink to"


clean = as_tokens([story(one, other, other) for one, other in pairs])
corrupted = as_tokens([story(one, other, one) for one, other in pairs])
(changed,) = (clean != corrupted).any(dim=0).nonzero().flatten().tolist()
words = tokenizer.pieces(clean[0].tolist())
print(f"{story(*pairs[0], giver=pairs[0][1])} ...{pairs[0][0]}")
print(f"{story(*pairs[0], giver=pairs[0][0])} ...{pairs[0][1]}")

# %% [markdown]
# The first is the **clean** prompt, the second the **corrupted** one. The metric is the logit
# difference at the last position, counted in favour of the clean prompt's answer.


# %%
def ids(names: list[str]) -> Tensor:
    return torch.tensor([single_token(tokenizer, name) for name in names])


right, wrong = (ids(names) for names in zip(*pairs, strict=True))


def difference(
    logits: Float[Tensor, "batch pos d_vocab"], wrong: Tensor = wrong
) -> Float[Tensor, " batch"]:
    rows = torch.arange(len(logits))
    return logits[rows, -1, right] - logits[rows, -1, wrong]


clean_logits, clean_cache = run_with_cache(model, clean)
corrupted_logits, corrupted_cache = run_with_cache(model, corrupted)
clean_metric, corrupted_metric = (
    difference(logits).mean().item() for logits in (clean_logits, corrupted_logits)
)
assert corrupted_metric < 0 < clean_metric
print(f"clean: {clean_metric:.1f} logits, corrupted: {corrupted_metric:.1f} logits")

# %% [markdown]
# Now **activation patching**. A patch runs the model on the corrupted prompt, stops before some
# layer, replaces the stream at one position by what stood there in the *clean* run, and goes on. If
# the answer turns over, what decides it was in that place at that time.
#
# Two of these patches you can predict without running them. Before the first layer, at the one
# token that differs: what does the patch make of the corrupted prompt? And at the last position,
# before the last layer: what can the rest of the model still read elsewhere?


# %%
def run(stream: Float[Tensor, "batch pos d_model"], layer: int, wrong: Tensor = wrong) -> Tensor:
    """The metric when the model goes on from this stream, before this layer."""
    return difference(run_from(model, stream, layer, logits_at=[-1]), wrong).mean()


patched = corrupted_cache["resid_pre", 0].clone()
patched[:, changed] = clean_cache["resid_pre", 0][:, changed]
assert abs(run(patched, 0).item() - clean_metric) < 1e-3
print(f"Patched at {words[changed]!r} before layer 0: {run(patched, 0):.1f} logits, as clean.")

# %% [markdown]
# Of course: with that token's vector exchanged, the corrupted prompt *is* the clean one. All other
# places need the experiment.

# %% [markdown]
# ### Exercise 7.1: a map of patches
# ●●○ · 15 minutes
#
# Return the share of the clean run's metric that each patch restores, for every layer and position:
#
# $$\frac{\text{patched} - \text{corrupted}}{\text{clean} - \text{corrupted}}$$
#
# 0 means that the patch changed nothing, 1 that the model behaves as on the clean prompt. `clean`
# and `corrupted` hold the streams before each layer. `run(stream, layer)` goes on from a stream
# before a layer and returns the metric; the two metrics of whole runs are two calls of it. Do not
# change what you are given.
#
# Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2 (there it
# is called causal tracing); Heimersheim and Nanda 2024, "How to use and interpret activation
# patching", section 2.


# %%
def patching_map(
    run,  # run(stream [batch pos d_model], layer) -> the metric, one number
    clean: Float[Tensor, "layer batch pos d_model"],
    corrupted: Float[Tensor, "layer batch pos d_model"],
) -> Float[Tensor, "layer pos"]:
    ### BEGIN SOLUTION
    lowest, highest = run(corrupted[0], 0), run(clean[0], 0)
    n_layers, _, n_pos, _ = clean.shape
    shares = torch.zeros(n_layers, n_pos)
    for layer in range(n_layers):
        for pos in range(n_pos):
            patched = corrupted[layer].clone()
            patched[:, pos] = clean[layer, :, pos]
            shares[layer, pos] = (run(patched, layer) - lowest) / (highest - lowest)
    return shares
    ### END SOLUTION


# %%
check("7.1", patching_map)

# %%
# hint("7.1")

# %% [markdown]
# **What you saw.** One run of the rest of the model for each place; the library runs several at
# once, in one batch, and that is the whole difference. Shares need not lie between 0 and 1, and the
# shares of a row need not sum to 1: this is no attribution.

# %%
patching_map = answer("7.1")


# %%
def streams(cache) -> Float[Tensor, "layer batch pos d_model"]:
    return torch.stack([cache["resid_pre", layer] for layer in range(n_layers)])


shares = patching_map(run, streams(clean_cache), streams(corrupted_cache))
sweep = metric_by_position(model, corrupted, difference, clean_cache, logits_at=[-1])
assert torch.allclose(sweep.restored(clean_metric), shares, atol=1e-3)
print(f"{shares.numel()} patches; the library finds the same map, to 3 decimals.")


# %%
def reaches_the_end(shares: Float[Tensor, "layer pos"]) -> tuple[int, str]:
    """The first layer before which the last position has most of it, and that in words."""
    layer = [*(shares[:, -1] > 0.5).tolist(), True].index(True)
    in_words = f"before L{layer}" if layer < n_layers else f"only after L{n_layers - 1}, the last"
    return layer, in_words


moved, when_moved = reaches_the_end(shares)

# %% [markdown]
# Before you look: where will the ones be in the first row, and where in a row after the last?


# %% tags=["nbval-ignore-output"]
plot_matrix(
    shares,
    f"Who gives? First it stands at that name; the last word has it {when_moved}",
    rows=[f"before L{layer}" for layer in range(n_layers)],
    columns=words,
    unit="share restored",
    decimals=1 if n_layers < 7 else None,
)

# %%
for layer, row in enumerate(shares):
    place = row.argmax().item()
    print(f"before L{layer}: most at position {place}, {words[place]!r}: {row[place]:.2f}")
elsewhere = [pos for pos in range(len(words)) if pos not in (changed, len(words) - 1)]
print(f"most at any place but these two: {shares[:, elsewhere].abs().max():.2f}")

# %% [markdown]
# The information stands at the name that was exchanged, until some layer carries it to where the
# answer is said; the last line tells how much of it is anywhere else. We can patch what single
# heads bring to the last position, too: which of them matter most?

# %%
by_head = metric_by_head(model, corrupted, difference, clean_cache, positions=[-1], logits_at=[-1])
head_shares = by_head.restored(clean_metric)
carriers = by_head.strongest(3)
for name in carriers:
    layer, head = head_named(name, model.cfg)
    print(f"{name}, patched at the last position alone: {head_shares[layer, head]:.2f}")
print(f"All {head_shares.numel()} heads, one at a time, add up to {head_shares.sum():.1f}.")

# %% [markdown]
# They need not add up to 1: each head is asked alone, with all others corrupted. A head that hands
# something on and one that says it later can both restore the same, and a head that writes against
# the answer has a share below 0.

# %% [markdown]
# ### The map belongs to the pair
#
# Look at the first name in the map, the one that will be the answer. Its column is empty: 0 at
# every layer. Does the model not need it? Take another pair of prompts, in which that name is
# exchanged for a third, and the giver stays.

# %%
others = [" Anna", " Paul", " Julia", " Mark"]
renamed = as_tokens(
    [story(third, giver, giver) for (_, giver), third in zip(pairs, others, strict=True)]
)
(first_name,) = (clean != renamed).any(dim=0).nonzero().flatten().tolist()
_, renamed_cache = run_with_cache(model, renamed)
who_else = patching_map(
    partial(run, wrong=ids(others)), streams(clean_cache), streams(renamed_cache)
)

# %%
columns = [shares[:, changed], shares[:, -1], who_else[:, first_name], who_else[:, -1]]
NumberTable(
    torch.stack(columns, dim=1),
    rows=[f"before L{layer}" for layer in range(n_layers)],
    columns=["who gives: at the name", "at the end", "who receives: at the name", "at the end"],
)

# %%
later, when_later = reaches_the_end(who_else)
assert shares[:, first_name].abs().max() < 0.01 and (who_else[0, first_name] - 1).abs() < 0.01
print(f"Who gives has reached the last position {when_moved},")
print(f"who receives {when_later}.")
if moved < later:
    print("Which name is out is there first; the name to say is fetched after that.")

# %% [markdown]
# One sentence, two maps. A patch can only move what *differs* between its two prompts. In the first
# pair the first name was the same in both, so no patch could show that it is needed. And the two
# maps together can tell more than either: what comes first. (For GPT-2: Wang et al. 2022, section
# 3, who find heads for either job.)

# %% [markdown]
# ### Two questions that sound alike
#
# Putting clean activations into a corrupted run is **denoising**: what is *enough* to bring the
# answer back? Putting corrupted ones into the clean run is **noising**: what is *missed* when it is
# gone? They can differ as soon as something is said twice.

# %%
places = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid"}
places |= {"Germany": "Berlin", "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo"}
flights = [
    f"The people of {country} flew home to {capital}, the capital of"
    for country, capital in places.items()
]
flown = as_tokens(flights)
said_at = (flown != flown[0]).any(dim=0).nonzero().flatten().tolist()
assert len(said_at) == 2
print(flights[0], "...")

# %% [markdown]
# The answer, the country again, follows from the country and from its capital. To corrupt one of
# them we replace its vector, before the first layer, by the mean over all eight sentences: a word
# that is "some country" or "some capital". The metric is the right country's logit minus the mean
# of the other seven. With both gone all eight sentences are one and the same, so it is 0. Which of
# the two words does the model rely on?


# %%
answers = ids([f" {country}" for country in places])
_, flown_cache = run_with_cache(model, flown)
some = Averaged(flown_cache, each_position=True)


def right_country(corrupted_at: list[int]) -> float:
    edits = replace("blocks.0.hook_resid_pre", some, positions=corrupted_at)
    logits = run_with_edits(model, flown, edits)[:, -1, answers]
    own, n = logits.diagonal(), len(answers)
    return (own - (logits.sum(dim=-1) - own) / (n - 1)).mean().item()


country_at, capital_at = said_at
clean_run, no_country, no_capital, neither = (
    right_country(at) for at in ([], [country_at], [capital_at], said_at)
)
print(f"clean {clean_run:.1f}, without the country {no_country:.1f}, without the capital ", end="")
print(f"{no_capital:.1f}, without either {abs(neither):.1f} logits")

# %%
whole = clean_run - neither
restored = torch.tensor([no_capital - neither, no_country - neither]) / whole
lost = torch.tensor([clean_run - no_country, clean_run - no_capital]) / whole
NumberTable(
    torch.stack([restored, lost], dim=1),
    ["the country alone", "the capital alone"],
    ["enough: restored (denoising)", "missed: lost (noising)"],
)

# %%
stronger = "country" if lost[0] > lost[1] else "capital"
print(f"{loaded.name} relies more on the {stronger}.")
print(f"The country alone restores {restored[0]:.2f}; when it is gone, {lost[0]:.2f} is missed.")

# %% [markdown]
# "How important is the country?" is two questions: for bringing the answer back, or for not losing
# it? Say which you mean. Four runs made the table, and the two in the middle count twice: to
# restore the country in the corrupted sentence gives the very run that we get when we corrupt the
# capital in the clean one. So the two answers agree only where the two words' losses add up to 1.
#
# What does a patch *not* show, then? What the two prompts share, as the first name was in the
# map. What stands in several places, if you break only one. *How* the information is used: the map
# says where it is. And what the model does on natural text, because a patched run is a chimera of
# two: no sentence has "some country" in it.

# %%
### BEGIN SOLUTION: quiz("7-a")
quiz("7-a", "c")
### END SOLUTION

# %% [markdown]
# ## Part 2: Superposition
#
# In chapter 3 the stream was crowded: many more things want to be written than there are
# dimensions, and directions overlap. How can that work at all? And when does a model choose it? In
# a real model we do not know what its features are. So we make a world where we do.
#
# A sample $x$ has $n$ **features**. Each is there with some probability, its **density**, and then
# has a size between 0 and 1; otherwise it is 0. The toy model must squeeze them into $d < n$
# dimensions and say them again:
#
# $$h = x W \qquad x' = \mathrm{ReLU}(h W^\top + b)$$
#
# The row $W_i$ is the direction along which feature $i$ is written, and read. Some features matter
# more than others: an error in feature $i$ costs its **importance** $I_i$ times its square.
# (Source: Elhage et al. 2022, "Toy Models of Superposition". There $W$ is transposed, and sparsity
# is 1 minus our density.)

# %% [markdown]
# ### Exercise 7.2: what a toy model loses
# ●○○ · 10 minutes
#
# Return the loss, the mean over samples and features of $I_i \, (x_i - x'_i)^2$.
#
# Source: Elhage et al. 2022, "Demonstrating Superposition".


# %%
def toy_loss(
    x: Float[Tensor, "sample feature"],
    W: Float[Tensor, "feature d_hidden"],
    b: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
) -> Float[Tensor, ""]:
    ### BEGIN SOLUTION
    hidden = x @ W
    output = (hidden @ W.T + b).relu()
    return (importance * (x - output) ** 2).mean()
    ### END SOLUTION


# %%
check("7.2", toy_loss)

# %%
# hint("7.2")

# %% [markdown]
# **What you saw.** It is an autoencoder with one matrix, used twice. Without the ReLU it could do
# no better than keep the $d$ features that matter most (that is what principal components do). The
# ReLU is the loophole.

# %%
toy_loss = answer("7.2")

# %% [markdown]
# Five features, two dimensions, so that we can draw them. Three models, trained on dense, on rarer,
# and on rare features. Draw your guess on paper first: where do five arrows go?

# %%
importance = 0.9 ** torch.arange(5, dtype=torch.float64)
densities = (1.0, 0.25, 0.05)
five = train_toy_models(densities, importance, d_hidden=2, seed=2)
names = [f"density {density:g}" for density in densities]
n_kept = (five.W.norm(dim=-1) > 0.5).sum(dim=1).tolist()
assert n_kept[0] < n_kept[1] < n_kept[2]
NumberTable(five.W.norm(dim=-1), rows=names, columns=[f"|W_{i}|" for i in range(5)], decimals=1)

# %% tags=["nbval-ignore-output"]
plot_directions(
    dict(zip(names, five.W, strict=True)),
    "Five features in two dimensions: the rarer they are, the more of them get in",
    x_title="first hidden dimension",
    y_title="second hidden dimension",
)


# %%
def angles_between_neighbours(W: Float[Tensor, "feature 2"]) -> list[int]:
    """Around the circle, in degrees, of the features that are longer than 0.5."""
    long = W[W.norm(dim=1) > 0.5]
    around = torch.atan2(long[:, 1], long[:, 0]).rad2deg().sort().values
    around = torch.cat([around, around[:1] + 360])
    return [round(angle / 10) * 10 for angle in around.diff().tolist()]


for name, W in zip(names, five.W, strict=True):
    print(f"{name}: angles of about {angles_between_neighbours(W)} degrees")

# %% [markdown]
# Dense features get a dimension each, at a right angle, and the rest is given up. Rarer ones come
# in opposite **pairs** that share a line: one speaks along it, the other against it. Rare ones form
# a **pentagon**, where no feature has a direction to itself. That is **superposition**: more
# features than dimensions. (Another `seed` turns the figures, and may leave a pair unmade: training
# finds a good arrangement, not always the best.)
#
# Does it pay? Compare with a model that keeps the two most important features perfectly and says
# the average for the others.

# %%
keep_two = torch.eye(5, 2, dtype=torch.float64)
losses = []
for density, W, b in zip(densities, five.W, five.b, strict=True):
    x = sparse_features(50_000, 5, density, seed=1)
    average = torch.tensor([0, 0, 1, 1, 1]) * density / 2
    both = toy_loss(x, W, b, importance), toy_loss(x, keep_two, average, importance)
    losses.append([float(loss) for loss in both])
losses = torch.tensor(losses)
NumberTable(1000 * losses, names, ["trained", "keeps two"], "loss × 1000", decimals=1)

# %%
gain = losses[:, 1] / losses[:, 0]
assert gain[0] < 1.1 and gain[2] > 3
print(f"On dense features nothing is gained; on rare ones the loss is {gain[2]:.0f} times smaller.")

# %% [markdown]
# The price is **interference**: along each direction the model also reads a bit of the others. Why
# is that so cheap? Switch on one feature of the pentagon, alone, and follow it.

# %%
W, b = five.W[2], five.b[2]
alone = torch.eye(5, dtype=torch.float64)[0]
read = alone @ W @ W.T
neighbours, far = read[1:].topk(2).indices + 1, read[1:].topk(2, largest=False).indices + 1
print(f"read along its own direction:        {read[0]:.1f}")
print(f"along the two nearest, on average:   {read[neighbours].mean():.1f}")
print(f"along the two farthest, on average: {read[far].mean():.1f}")
print(f"b, on average:                      {b.mean():.1f}")
for size in (1, 0.5):
    said = (size * read + b).relu().tolist()
    print(f"of size {size:g}, said as: {[round(abs(value), 1) for value in said]}")

# %% [markdown]
# What is negative, the ReLU hides. Of what is positive and small, $b$ takes some away, or all of
# it. It takes as much from the feature itself, whose direction is a bit longer than 1 to make up
# for that. One feature alone comes through nearly clean. So what breaks it?

# %%
random = torch.Generator().manual_seed(0)
errors = []
for n_active in (1, 2, 3):
    chosen = torch.rand(20_000, 5, generator=random).argsort(dim=1) < n_active
    x = chosen * torch.rand(20_000, 5, generator=random, dtype=torch.float64)
    mean = float(toy_loss(x, W, b, torch.ones(5, dtype=torch.float64)))
    errors.append(5 * mean / n_active)  # 5 features in the mean, n_active that are there
together = sparse_features(100_000, 5, densities[2]).gt(0).sum(dim=1)
how_often = [(together == n_active).double().mean().item() for n_active in (1, 2, 3)]
Table(
    {
        "features at a time": ["one", "two", "three"],
        "squared error, for each": [f"{error:.2f}" for error in errors],
        "share of samples": [f"{share:.1%}" for share in how_often],
    }
)

# %%
assert errors[0] < errors[1] < errors[2] and how_often[2] < 0.01
print("What breaks it is several features at once, and rare ones seldom come so.")

# %% [markdown]
# ### Exercise 7.3: how much of a dimension
# ●●○ · 15 minutes
#
# Give each feature a number that says how much of a dimension it has to itself. With $\hat
# W_i=W_i/|W_i|$:
#
# $$D_i = \frac{|W_i|^2}{\sum_j (\hat W_i \cdot W_j)^2}$$
#
# The sum goes over all features, $i$ included: all that is written along feature $i$'s direction.
# What the others write there is its interference. A feature without any weights has 0.
#
# Source: Elhage et al. 2022, "The Geometry of Superposition".


# %%
def feature_dimensions(W: Float[Tensor, "feature d_hidden"]) -> Float[Tensor, " feature"]:
    ### BEGIN SOLUTION
    directions = functional.normalize(W, dim=1)
    along = (directions @ W.T).pow(2).sum(dim=1)
    return (W.pow(2).sum(dim=1) / along).nan_to_num()  # 0/0 where a feature has no weights
    ### END SOLUTION


# %%
check("7.3", feature_dimensions)

# %%
# hint("7.3")

# %% [markdown]
# **What you saw.** A feature alone on its line has 1. Two opposite ones have ½ each. In a pentagon
# each has ⅖: the same two dimensions, shared fairly.

# %%
feature_dimensions = answer("7.3")

# %%
dimensions = torch.stack([feature_dimensions(W) for W in five.W])
columns = [f"D_{i}" for i in range(5)] + ["sum"]
NumberTable(
    torch.cat([dimensions, dimensions.sum(dim=1, keepdim=True)], dim=1), names, columns, decimals=1
)

# %%
### BEGIN SOLUTION: quiz("7-b")
quiz("7-b", 0.667)
### END SOLUTION

# %% [markdown]
# ### All or nothing
#
# Now 20 features in 5 dimensions, and eight densities. As features get rarer, does each of them
# fade in slowly, or does it jump? (A feature that is all in has a length of about 1, so $|W|^2$,
# the sum of all squares in $W$, counts them; divided by 5, it says how many share a dimension.)

# %%
twenty_densities = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01)
twenty = train_toy_models(
    twenty_densities, 0.9 ** torch.arange(20, dtype=torch.float64), d_hidden=5, seed=1
)
lengths = twenty.W.norm(dim=-1)
kept = (lengths > 0.5).sum(dim=1)
rows = [f"{density:g}" for density in twenty_densities]
per_dimension = twenty.W.pow(2).sum(dim=(1, 2)) / 5
Table({"density": rows, "features kept": kept.tolist(), "|W|² / 5": per_dimension.tolist()}, 1)

# %% tags=["nbval-ignore-output"]
plot_matrix(
    lengths,
    f"A feature is in or out: {kept[0]} get into five dimensions when dense, {kept[-1]} when rare",
    rows=rows,
    columns=[str(i) for i in range(20)],
    unit="|W_i|",
    row_title="density",
    column_title="feature, the most important first",
)

# %%
between = ((lengths > 0.25) & (lengths < 0.75)).sum().item()
assert kept[0] == 5 and kept[-1] > 10 and between < 8
print(f"Of {lengths.numel()} features {between} have a length between 0.25 and 0.75.")
halves = [(feature_dimensions(W[W.norm(dim=1) > 0.5]) - 0.5).abs().max() < 0.1 for W in twenty.W]
print(f"Densities at which all that are in have half a dimension, in pairs: {sum(halves)}")

# %% [markdown]
# It jumps: hardly any feature is halfway. Either it is not represented at all or it has its full
# length, and the step from one to the other is sudden: a **phase change**. (Eight densities show
# that much; the paper draws the step itself.) Even the number of features per dimension likes
# certain values: over a stretch of densities it stays at 2, where everything is made of opposite
# pairs. Nobody told the model to build pairs and pentagons; they are what training finds cheap.
# (Source: Elhage et al. 2022, "Superposition as a Phase Change" and "The Geometry of
# Superposition".)

# %% [markdown]
# ### The way back
#
# You are given the hidden vectors of such a model, and nothing else. Can you find its features?
# With 5 dimensions there are only 5 principal components, at right angles, so they cannot be it. A
# **sparse autoencoder** (SAE) takes a larger **dictionary** of directions, and asks for one in
# which each vector is a sum of *few*:
#
# $$z = \mathrm{ReLU}(h W_{enc} + b_{enc}) \qquad h' = z \, D \qquad
# \text{loss} = |h - h'|^2 + \lambda \sum_k z_k$$
#
# The rows of $D$ have length 1. The penalty $\lambda$ is the dial. We take a dictionary of 40,
# because we pretend not to know how many features there are. Which $\lambda$ finds them: the one
# that rebuilds $h$ best? (Source: Cunningham et al. 2023, section 2; there $W_{enc}$ is
# $D^\top$.)

# %%
density, W = twenty_densities[5], twenty.W[5]
hidden = sparse_features(50_000, 20, density, seed=3) @ W
truth = functional.normalize(W[lengths[5] > 0.5], dim=1)


def found_by(directions: Float[Tensor, "latent d_hidden"]) -> tuple[int, float]:
    """How many of the true directions have one within 0.95, and the mean best cosine."""
    best = (truth @ directions.T).max(dim=1).values
    return (best > 0.95).sum().item(), best.mean().item()


table = {"penalty": [], "not rebuilt": [], "active at a time": [], "found": [], "best cosine": []}
for penalty in (0.0, 0.02, 0.1, 0.3):
    dictionary = train_dictionary(hidden, n_latents=40, penalty=penalty)
    error = (dictionary.rebuilt(hidden) - hidden).pow(2).sum() / hidden.pow(2).sum()
    active = (dictionary.latents(hidden) > 1e-3).sum(dim=1).double().mean()
    row = (f"{penalty:g}", f"{error:.0%}", f"{active:.1f}", *found_by(dictionary.directions))
    for column, cell in zip(table.values(), row, strict=True):
        column.append(cell)
Table(table)

# %%
chance = functional.normalize(torch.randn(40, 5, generator=random, dtype=torch.float64), dim=1)
n_chance, chance_cosine = found_by(chance)
least, most = table["found"][0], table["found"][-1]
assert most > len(truth) - 3 > least and error < 0.2
print(f"True features: {len(truth)}. Found with the largest penalty {most}, without one {least}.")
print(f"40 directions at random: {n_chance} found, mean best cosine {chance_cosine:.2f}")
print(f"In the data {density * len(truth):.1f} of them are there at a time.")

# %% [markdown]
# What rebuilds best finds least. It is sparsity that points at the features, and it costs some of
# the reconstruction. Two warnings. A cosine of 0.8 means little in 5 dimensions:
# among 40 random directions there is one as near. And what the toy model left out, no dictionary
# can bring back. In a language model there is no column "found": the truth is not known, and how to
# tell a good dictionary is what the papers at the end argue about.

# %%
### BEGIN SOLUTION: quiz("7-c")
quiz("7-c", "b")
### END SOLUTION

# %% [markdown]
# ## Part 3: A steering vector
#
# If a feature is a direction in the stream, we can write along it ourselves. Take a simple feature:
# whether the person spoken of is a woman or a man. The model must know, for it says *she* or *he*.
# We make its direction from one kind of sentence and one half of the names, and test it on others.

# %%
women, men = (
    [name for name in text.split() if len(tokenizer.encode(f" {name}")) == 1]
    for text in (WOMEN, MEN)
)
said = "Today is Monday, so tomorrow is Tuesday. {} said that"
late = "Count with me: one, two, three, four. {} was late because"
went = "The month after May is June. {} went home, and we went with"
she, he, her, him = (single_token(tokenizer, word) for word in (" she", " he", " her", " him"))


def about(names: list[str], sentence: str) -> Tensor:
    return as_tokens([sentence.format(name) for name in names])


her_prompts, his_prompts = about(women[:7], said), about(men[:7], said)
name_at = (her_prompts[0] != her_prompts[1]).nonzero().item()
said_of_him = model(his_prompts)[:, -1].softmax(dim=-1)
print(f"made from: {said.format(women[0])} ... / {said.format(men[0])} ...")
print(f"tested on: {late.format(men[7])} ...")
print(f"where it is made, of men: P(he) {said_of_him[:, he].mean():.2f}, ", end="")
print(f"P(she) {said_of_him[:, she].mean():.2f}")

# %% [markdown]
# ### Exercise 7.4: a steering vector
# ●○○ · 5 minutes
#
# Given the streams of two sets of prompts at one layer, return the **steering vector**: the mean of
# the first set at `position`, minus the mean of the second. The sets may differ in size.
#
# Source: Rimsky et al. 2023, "Steering Llama 2 via Contrastive Activation Addition", section 3;
# Turner et al. 2023, "Activation Addition", do it with a single pair.


# %%
def steering_vector(
    towards: Float[Tensor, "prompt pos d_model"],
    away: Float[Tensor, "other_prompt pos d_model"],
    position: int,
) -> Float[Tensor, " d_model"]:
    ### BEGIN SOLUTION
    return towards[:, position].mean(dim=0) - away[:, position].mean(dim=0)
    ### END SOLUTION


# %%
check("7.4", steering_vector)

# %%
# hint("7.4")

# %% [markdown]
# **What you saw.** Everything that the two sets share is subtracted away: the word order, the
# position, that a name stands here. What differs between single names averages out. What is left is
# what the sets *consistently* differ in, and you chose the sets. If all women's names had been
# longer, that would be in it, too.

# %%
steering_vector = answer("7.4")

# %% [markdown]
# Where do we take it, and where do we add it? We take it at the name, since that is where the two
# sets of prompts differ. We add it at every position but the first, as one does when nobody says
# where the person stands, times a **coefficient**. Both the layer and the coefficient are choices.
# We make them on the prompts that made the vector, and do not touch the others meanwhile.


# %%
_, her_cache = run_with_cache(model, her_prompts)
_, his_cache = run_with_cache(model, his_prompts)
vectors = [
    steering_vector(her_cache["resid_pre", at], his_cache["resid_pre", at], name_at)
    for at in range(n_layers)
]


def steer(layer: int, vector: Float[Tensor, " d_model"], at: int | slice = slice(1, None)) -> dict:
    """The edit that adds the vector to the stream before a layer, at some positions."""

    def edit(stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
        stream[:, at] += vector
        return stream

    return {f"blocks.{layer}.hook_resid_pre": edit}


def she_over_he(prompts: Tensor, edits: dict, woman: int = she, man: int = he) -> float:
    """The mean logit difference of two words at the last position."""
    last = run_with_edits(model, prompts, edits)[:, -1]
    return (last[:, woman] - last[:, man]).mean().item()


on_made = [she_over_he(his_prompts, steer(at, vectors[at])) for at in range(n_layers)]
layer = max(range(1, n_layers), key=lambda at: on_made[at])  # before L0 it is a mean of tokens
vector = vectors[layer]
share = vector.norm() / his_cache["resid_pre", layer][:, name_at].norm(dim=-1).mean()
print(f"The vector works best before layer {layer}, where it is {share:.0%} as long as the stream.")

# %%
steps = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
made = [she_over_he(his_prompts, steer(layer, step * vector)) for step in steps]
turning = [step for step, value in zip(steps, made, strict=True) if value > 0]
coefficient = turning[0] if turning else steps[-1]
turns = "turns" if turning else "is the largest we try, and does not turn"
print(f"Coefficient {coefficient:g} {turns} he into she where the vector was made.")

# %% [markdown]
# Now the test. Other men's names, another sentence. And women's names, with the vector turned
# round.

# %%
held_out = {"men's names": about(men[7:], late), "women's names": about(women[7:], late)}
table = []
for sign, prompts in zip((1, -1), held_out.values(), strict=True):
    for edits in ({}, steer(layer, sign * coefficient * vector)):
        said_now = run_with_edits(model, prompts, edits)[:, -1].softmax(dim=-1)
        table.append([said_now[:, he].mean(), said_now[:, she].mean()])
rows = [f"{kind}{how}" for kind in held_out for how in ("", ", steered")]
NumberTable(torch.tensor(table), rows, ["P(he)", "P(she)"])

# %%
his_late = held_out["men's names"]
before, after = (she_over_he(his_late, edits) for edits in ({}, steer(layer, coefficient * vector)))
print(f"she minus he, on men's names: {before:.1f} → {after:.1f} logits")
turned = "does" if after > 0 else "does not"
print(f"On sentences and names that had no part in it, the vector {turned} turn the pronoun.")

# %% [markdown]
# Is it a direction for the *word* " she", or for the person? It should move " her" and " him", too.
# But that is not enough: in $W_U$ the two differences may point much the same way, so that a push
# along one is a push along the other. What tells more is the *place*. A word is pushed where it is
# said, at the last position. A person is marked where the name stands, and later layers must read
# it there. Which is it?

# %%
W_U = model.W_U
alike = functional.cosine_similarity(W_U[:, she] - W_U[:, he], W_U[:, her] - W_U[:, him], dim=0)
print(f"cosine of she - he and her - him in W_U: {alike:.2f}")


def placed(prompts: Tensor, woman: int, man: int) -> list[float]:
    """The logit difference with the vector nowhere, at the name, at the end, and everywhere."""
    name = (prompts[0] != prompts[1]).nonzero().item()
    places = (slice(0), name, -1, slice(1, None))
    edits = [steer(layer, coefficient * vector, at) for at in places]
    return [she_over_he(prompts, edit, woman, man) for edit in edits]


by_place = torch.tensor([placed(his_late, she, he), placed(about(men[7:], went), her, him)]).T
NumberTable(
    by_place,
    ["without it", "added at the name", "at the last position", "at all but the first"],
    ["she minus he", "her minus him"],
    decimals=1,
)

# %%
plain, at_name, at_end, _ = by_place
if (at_name > torch.maximum(plain, at_end)).all():
    print(
        f"It works where the name stands: it marks the person, and from L{layer} on that is read."
    )
else:
    print("It does not work best where the name stands: it may be a push of the word.")

# %% [markdown]
# ### The controls
#
# Any long vector disturbs a model. So: do random vectors of the same length do it, too? They are an
# easy control, for most of them point where no stream ever goes. A harder one is a vector made like
# ours, but of nothing: from two parts of the *same* set, and made as long.


# %%
def as_long(other: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
    return functional.normalize(other, dim=-1) * vector.norm()


random = torch.Generator().manual_seed(1)
drawn = as_long(torch.randn(20, model.cfg.d_model, generator=random))
his = his_cache["resid_pre", layer]
orders = [torch.randperm(len(his), generator=random) for _ in drawn]
of_nothing = [as_long(steering_vector(his[order[:3]], his[order[3:]], name_at)) for order in orders]
for kind, others in {"random directions": drawn, "men minus other men": of_nothing}.items():
    values = [she_over_he(his_late, steer(layer, coefficient * each)) for each in others]
    as_much = sum(value >= after for value in values)
    print(f"{kind}: {min(values):.1f} to {max(values):.1f} logits, ours {after:.1f}; ", end="")
    print(f"{as_much} of {len(values)} do as much.")

# %% [markdown]
# And what does it cost where nobody is spoken of? For that we take text without a person's name,
# and look at the loss.

# %%
no_persons = ("capital", "landmark", "days", "months", "counting", "agreement")


def passage(seed: int) -> str:
    """One sentence of each kind."""
    language = book_language()
    examples = [language.examples(kind, 1, seed)[0] for kind in no_persons]
    return " ".join(language.tokenizer.decode(example.tokens[1:]) for example in examples)


rows = [tokenizer.encode("<|endoftext|>" + passage(seed)) for seed in range(8)]
text = torch.tensor([row[: min(map(len, rows))] for row in rows])
print(tokenizer.decode(text[0].tolist())[:100], "...")


# %%
unchanged = loss_per_token(model(text), text).mean()


def cost(vector: Float[Tensor, " d_model"]) -> float:
    """By how many nats a token the loss grows on this text."""
    logits = run_with_edits(model, text, steer(layer, vector))
    return (loss_per_token(logits, text).mean() - unchanged).item()


costs = [cost(step * vector) for step in steps]
random_costs = [sum(cost(step * each) for each in drawn[:3]) / 3 for step in steps]
on_held_out = [she_over_he(his_late, steer(layer, step * vector)) for step in steps]
on_random = [
    sum(she_over_he(his_late, steer(layer, step * each)) for each in drawn[:3]) / 3
    for step in steps
]
NumberTable(
    torch.tensor([on_held_out, costs, random_costs]).T,
    [f"{step:g}" for step in steps],
    ["she minus he (logits)", "cost (nats a token)", "cost of a random vector"],
    "coefficient",
)

# %%
price, random_price = (each[steps.index(coefficient)] for each in (costs, random_costs))
print(f"At coefficient {coefficient:g} the loss grows by {price:.2f} nats a token,")
print(f"with a random vector by {random_price:.2f}.")
if price > random_price:
    print("Ours costs more than a random one, also where no person stands.")

# %% tags=["nbval-ignore-output"]
plot_curves_together(
    torch.tensor(steps),
    {
        "she minus he (logits)": {
            "steering vector": torch.tensor(on_held_out),
            "random vectors": torch.tensor(on_random),
        },
        "cost (nats a token)": {
            "steering vector": torch.tensor(costs),
            "random vectors": torch.tensor(random_costs),
        },
    },
    f"Coefficient {coefficient:g}: she minus he {before:.0f} → {after:.0f}, "
    f"for {price:.2f} nats a token elsewhere",
    x_title="coefficient",
)

# %% [markdown]
# Gain and cost do not grow alike. Look for a stretch where the pronoun has turned and little else
# is lost: beyond it you pay for what you have already. A steering result without the second panel
# is half a result. Let the model go on writing, to see what the numbers mean.


# %%
def goes_on(start: str, edits: dict, n_words: int = 5) -> str:
    """The likeliest next tokens, one after the other."""
    tokens = as_tokens([start])
    for _ in range(n_words):
        likeliest = run_with_edits(model, tokens, edits)[:, -1:].argmax(dim=-1)
        tokens = torch.cat([tokens, likeliest], dim=1)
    return tokenizer.decode(tokens[0, -n_words:].tolist())


start = late.format(men[7])
for step in (0.0, coefficient, 8.0):
    print(f"{step:>4g}: ... {men[7]} was late because{goes_on(start, steer(layer, step * vector))}")

# %% [markdown]
# We took the vector at the name. Would the same recipe work at the *last* position, where the
# pronoun is said? The two sets differ there, too, once some layer has carried over who is meant.
# Whether it has, is the question of part 1.

# %%
at_last = steering_vector(her_cache["resid_pre", layer], his, -1)
ratio = (at_last.norm() / vector.norm()).item()
from_last = she_over_he(his_late, steer(layer, coefficient * as_long(at_last)))
print(f"Taken at the last position before layer {layer}, the vector is {ratio:.0%} as long.")
print(f"Made as long, it gives {from_last:.1f} logits; the one taken at the name {after:.1f}.")
print(f"Take it {'at the name' if after > from_last else 'at the last position'}.")

# %%
### BEGIN SOLUTION: quiz("7-d")
quiz("7-d", "a", "c", "d")
### END SOLUTION

# %% [markdown]
# ## Where to go
#
# **To practise.** [ARENA, chapter 1](https://learn.arena.education/chapter1_transformer_interp/):
# after its sections on induction heads, which you have behind you, those on indirect objects,
# superposition and sparse autoencoders, and function vectors go on from here, with exercises.
# Nanda's [quickstart guide](https://www.neelnanda.io/mechanistic-interpretability/quickstart) leads
# from a first notebook to a question of your own.
#
# **Patching.** Wang et al. 2022, [Interpretability in the Wild](https://arxiv.org/abs/2211.00593):
# a whole circuit, traced by patching paths. Zhang and Nanda 2023, [Towards Best Practices of
# Activation Patching](https://arxiv.org/abs/2309.16042): how much the metric and the kind of
# corruption change the result. Heimersheim and Nanda 2024, [How to use and interpret activation
# patching](https://arxiv.org/abs/2404.15255): what a patch proves, in more detail than here.
#
# **Superposition and sparse autoencoders.** Elhage et al. 2022, [Toy Models of
# Superposition](https://transformer-circuits.pub/2022/toy_model/index.html): part 2 and much more.
# Cunningham et al. 2023, [Sparse Autoencoders Find Highly Interpretable Features in Language
# Models](https://arxiv.org/abs/2309.08600), and Bricken et al. 2023, *Towards Monosemanticity*: the
# dictionary of part 2 on language models, found by two groups at once. Gao et al. 2024, [Scaling
# and evaluating sparse autoencoders](https://arxiv.org/abs/2406.04093): what to measure where there
# is no column "found".
#
# **Steering.** Turner et al. 2023, [Activation Addition](https://arxiv.org/abs/2308.10248): a
# vector from a single pair of prompts. Rimsky et al. 2023, [Steering Llama 2 via Contrastive
# Activation Addition](https://arxiv.org/abs/2312.06681): means over many, as here, with what it
# costs.

# %% [markdown]
# ## What you found

# %%
print(f"{loaded.name}: who gives has reached the last position {when_moved};")
restores = head_shares[head_named(carriers[0], model.cfg)]
print(f"{carriers[0]}, patched there alone, restores {restores:.2f}.")
print(f"The country: {restored[0]:.2f} is restored by it alone, {lost[0]:.2f} missed without it.")
print(f"Five features in two dimensions: {n_kept} kept as they get rarer.")
print(f"Of {len(truth)} features a sparse dictionary found {most}, one without a penalty {least}.")
print(f"A steering vector: {after - before:.1f} logits towards she, {price:.2f} nats a token.")
progress(7)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why is a column of a patching map empty,
# although the model needs that token? What do denoising and noising each prove? When does it pay to
# store more features than there are dimensions, and what breaks it? Why must an SAE be sparse?
# Which three controls belong to a steering vector?
#
# **Read next.** Elhage et al. 2022, "Toy Models of Superposition", up to "The Geometry of
# Superposition"; then one paper of your choice from the list. The appendices are there to come back
# to: a reading guide to the Framework, the conventions, and a glossary.
