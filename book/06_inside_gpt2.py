# %% [markdown] tags=["course"]
# # Chapter 6: Inside GPT-2
#
# So far the book asked the questions. In this chapter you ask one: you choose something that a
# language model does, find out how it does it, and test what you found in a way that could prove
# you wrong. At the end you have a page to show to others: *this is what I found, this is how I
# know, and this is where it stops.*
#
# **After this chapter you can**
#
# - take a behaviour from "it does that" to a claim about named heads;
# - say before an experiment which result would refute you;
# - tell an effect from what any heads would do;
# - write it up so that somebody who doubts it can check it.
#
# **Time:** 4 to 8 hours, of which the six exercises take 75 minutes. There are 4 quizzes. **You
# need:** chapters 2 to 4, and of chapter 5 the section "The induction circuit". The model is GPT-2
# small where it can be had, else `pocket`, which has GPT-2's architecture. (On GPT-2 small a few
# cells take a minute or two.)

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: last of all, the head of your page. One line that says what you found, with a # and a
# blank before it, so that it is the title; then three or four sentences for somebody who has not
# read this book. What does the model do, which heads do it, how do you know, where does it stop?*

# %% [markdown] tags=["yours", "solution-only"]
# # Who receives? In search of the heads that find the indirect object
#
# After "When Mary and John went to the store, John gave a drink to" a language model says " Mary".
# How does it know? The head that looks right on one sentence is put to the test first. Then comes
# the claim that one head reads who gives and tells a second one, which brings the other name; a
# test that could refute it, on these sentences and on new ones; and how much of the answer it
# leaves unexplained. A shorter second part asks how the model comes to "she" or "he".

# %%
from collections import Counter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.attribution import answer_direction, logit_attribution, logit_lens
from circuitbook.cache import run_with_cache, run_with_edits
from circuitbook.capstone import (
    Claim,
    Investigation,
    against_random_heads,
    behaviour,
    behaviours,
    review,
)
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.explore import explore
from circuitbook.export import export
from circuitbook.interventions import (
    Averaged,
    combined,
    direct_path,
    metric_by_head,
    metric_by_position,
    metric_by_sender,
    patch_path,
    replace_head,
)
from circuitbook.parts import all_heads, head_named
from circuitbook.plots import (
    Edge,
    NumberTable,
    plot_bars,
    plot_circuit,
    plot_heads,
    plot_histogram,
    plot_lines,
)
from circuitbook.published import compare, gpt2_small
from circuitbook.weights import processed
from circuitbook.zoo import load

loaded = load()
model = processed(loaded.model).requires_grad_(False)  # folded and centred, as in chapter 3
tokenizer, cfg = loaded.tokenizer, model.cfg
names = [str(head) for head in all_heads(cfg)]
print(f"{loaded.name}: {cfg.n_layers} layers of {cfg.n_heads} heads")

# %% [markdown] tags=["course"]
# ## How this chapter works
#
# An investigation has six steps. Each begins with an exercise: you write the function that the step
# needs, and it is checked as always. Then comes **Your investigation**: you use the function on
# *your* behaviour. There nothing is checked, because nobody knows what you will find. Instead
# `review`, at the end, tells you what your notebook has and what it lacks. It does not tell you
# whether you are right. That is what the fifth step is for.
#
# Three rules make the difference between a finding and a story:
#
# 1. **Write down what you expect before you look.** The cells that begin with *Write here* are for
#    that: put your own words in place of theirs. You can only be surprised if you expected
#    something.
# 2. **Ask of each number: compared to what?**
# 3. **Keep what failed.** A hypothesis that a test refuted is a result.
#
# Save the notebook now and then (Ctrl+S or Cmd+S): `review` and `export` read the saved file. The
# page that `export` makes has your investigation and leaves out the exercises and what the book
# tells you to do.

# %% [markdown] tags=["learner-only", "course"]
# When you are stuck, the solution of this chapter is one whole investigation (who receives in "John
# gave a drink to"), with a hypothesis that looks right and is not, and a second, shorter one. You
# get more out of it if you have your own by then.

# %% [markdown] tags=["solution-only"]
# What follows is one whole investigation, of indirect objects, and a second, shorter one. The text
# was written before anybody knew which model would run, so it holds no head's name and no number:
# those come from the cells. GPT-2 small's published numbers stand beside ours.

# %% [markdown]
# ## Step 1: a behaviour, its prompts, its metric

# %% [markdown] tags=["course"]
# What can be investigated? Something that the model does reliably, whose answer is one token, and
# where you can say which *wrong* answer it must be told from. Here are five to choose from.

# %% tags=["course"]
behaviours()

# %% [markdown] tags=["course"]
# Choose one by its name. The card tells you what the metric means, and the traps that others walked
# into.

# %%
chosen = behaviour("indirect object")  # or another of the five
chosen

# %% [markdown]
# The prompts come as **twins**: 0 and 1, 2 and 3, and so on. What is right in one is wrong in the
# other, and nothing else differs. So whatever only likes a word, or a place in the sentence,
# cancels in the average (chapter 3, evidence and bias).

# %%
prompts = chosen.prompts(tokenizer)
answers = zip(prompts.texts, prompts.right, prompts.wrong, strict=True)
for text, right, wrong in answers:
    print(f"{text} →{tokenizer.decode([int(right)])}, not{tokenizer.decode([int(wrong)])}")

# %% [markdown] tags=["course"]
# `prompts.positions` says where each role stands, in each prompt for itself. `prompts.other` has
# for each prompt the tokens of its twin. `prompts.logit_difference(logits)` is the metric.

# %%
metric = prompts.logit_difference
for role, positions in prompts.positions.items():
    piece = tokenizer.decode([int(prompts.tokens[0, positions[0]])])
    print(f"{role}: at {sorted(set(positions.tolist()))}, in the first prompt{piece}")

# %% [markdown] tags=["learner-only", "course"]
# Play with it first: other names, other verbs. When does it go wrong?

# %% tags=["learner-only", "course", "nbval-ignore-output"]
explore(loaded, prompts.texts[0])

# %% [markdown]
# Before you look inside: does the model do it at all? An average can hide that it does it on half
# of the prompts, and a logit difference that it says neither of the two answers.

# %% [markdown]
# ### Exercise 6.1: accuracy first
# ●○○ · 10 minutes
#
# Return three numbers, each over all prompts, read at the **last** position: the mean logit
# difference (right minus wrong), the share of prompts on which the right answer is ahead of the
# wrong one (level is not ahead), and the share on which it is the likeliest token of *all*.
#
# Source: Wang et al. 2022, section 2, on the logit difference as a metric.


# %%
def accuracy(
    logits: Float[Tensor, "batch pos d_vocab"],
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    ### BEGIN SOLUTION
    last = logits[:, -1]
    rows = torch.arange(len(last))
    differences = last[rows, right] - last[rows, wrong]
    beats_wrong = (differences > 0).float().mean()
    beats_all = (last.argmax(dim=-1) == right).float().mean()
    return differences.mean(), beats_wrong, beats_all
    ### END SOLUTION


# %%
check("6.1", accuracy)

# %%
# hint("6.1")

# %% [markdown]
# **What you saw.** Three questions, three numbers. The first can be split into parts later, because
# it is a sum. The second and third say whether it is worth it.

# %%
accuracy = answer("6.1")

# %% [markdown] tags=["course"]
# ### Your investigation

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: which behaviour did you choose, and how do you think a model could do it? What would
# have to be read where, and brought where? Name two ways that differ, before you look.*

# %% [markdown] tags=["yours", "solution-only"]
# I choose the indirect object: two people are named, one of them gives, and the model must say the
# other. It cannot repeat the last name, nor the first. I expect three jobs. Something must notice
# *who gives*, at the second mention of that name. Something must keep the model from saying this
# name. And something must look back at the other name and say it. The simplest way to do all three:
# one head of the last layers that finds the receiver and copies it. Another way: one head finds out
# who gives and *tells* a second one, which then looks at whoever is left.

# %% [markdown] tags=["course"]
# `study` keeps what you find: each `None` in the cells to come waits for one of your results. Fill
# in the first.

# %%
study = Investigation(chosen, prompts)
logits, cache = run_with_cache(model, prompts.tokens)
_, twins = run_with_cache(model, prompts.other)
### BEGIN SOLUTION: study.accuracy = None  # your code here: accuracy(logits, ...)
study.accuracy = accuracy(logits, prompts.right, prompts.wrong)
### END SOLUTION

# %%
if study.accuracy is not None:
    difference, of_two, of_all = (float(number) for number in study.accuracy)
    print(f"mean logit difference: {difference:.1f}")
    print(f"right before wrong on {of_two:.0%} of the prompts, before every token on {of_all:.0%}")

# %% [markdown] tags=["solution-only"]
# Is it as reliable as in GPT-2 small? Its eight prompts and their differences were published. (On
# GPT-2 these are our prompts, and each number must agree.)

# %% tags=["solution-only"]
gpt2, is_gpt2 = gpt2_small(), loaded.name == "gpt2"
difference = float(study.accuracy[0])
per_prompt, theirs = metric(logits), gpt2.logit_difference_per_prompt.value
for name, each in ((loaded.name, per_prompt), ("GPT-2 small, published", theirs)):
    print(f"{name}: mean {each.mean():.2f}, from {each.min():.2f} to {each.max():.2f}")
if is_gpt2:
    print(compare(difference, gpt2.logit_difference))
    print(compare(per_prompt, gpt2.logit_difference_per_prompt))

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: is the model good enough at it to be worth opening up? Which prompt is the weakest?*

# %% [markdown] tags=["yours", "solution-only"]
# On every prompt the right name is ahead of the wrong one, so there is something to explain, but
# not equally far. I keep the weakest prompts in mind for the limits. From here on the mean
# difference is the whole that every part has to be compared with.

# %% [markdown]
# ## Step 2: where
#
# Two questions cut the model down to a size at which one can look at heads. *From which layer on*
# is the answer there? And *which component* wrote it? The logit lens answers the first (chapter 2),
# attribution the second (chapter 3).

# %% [markdown]
# ### Exercise 6.2: where it is decided
# ●●○ · 15 minutes
#
# `lens` is the logit difference, read off the stream after each half-layer. Return for each prompt
# the first reading **from which on the right answer leads and stays ahead** until the end, counted
# from 0. It leads where the difference is more than `least`: 1 logit makes it $e$ times as likely
# as the wrong one. Where it does not lead in the last reading, return the number of readings.
#
# Source: nostalgebraist 2020, "interpreting GPT: the logit lens".


# %%
def decided(lens: Float[Tensor, "stream batch"], least: float) -> Int[Tensor, " batch"]:
    ### BEGIN SOLUTION
    numbers = torch.arange(1, len(lens) + 1)
    return ((lens <= least) * numbers[:, None]).amax(dim=0)
    ### END SOLUTION


# %%
check("6.2", decided)

# %%
# hint("6.2")

# %% [markdown]
# **What you saw.** "The first time it leads" and "from where on it leads" are two things: in the
# first layers the difference wanders around 0 and crosses it by chance. That is also why `least` is
# not 0.

# %%
decided = answer("6.2")

# %% [markdown] tags=["course"]
# ### Your investigation

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: in which half of the model do you expect the decision, and by heads or by MLPs?*

# %% [markdown] tags=["yours", "solution-only"]
# I expect nothing before the giver has been recognized, and a sudden rise late, when the name is
# moved to the end. And I expect a head to write it: moving something from one place to another is
# what heads can do and MLPs cannot.

# %% [markdown] tags=["learner-only", "course"]
# `logit_lens(cache, model, prompts.right, prompts.wrong)` has `.logits` (a row for each reading, a
# column for each prompt) and `.streams` (the readings' names). From which reading on is each prompt
# decided by more than a logit?

# %%
### BEGIN SOLUTION: study.lens = None  # your code here: logit_lens(cache, model, ...)
study.lens = logit_lens(cache, model, prompts.right, prompts.wrong)
readings = [*study.lens.streams, "never"]
for reading, count in sorted(Counter(decided(study.lens.logits, least=1.0).tolist()).items()):
    print(f"{count} of {len(prompts)} prompts: by more than a logit {readings[reading]}")
### END SOLUTION

# %% [markdown] tags=["solution-only"]
# Late in depth, or early? Beside it GPT-2 small's published lens, at the same shares of the depth.
# (Both divided by the last LayerNorm's scale, as published, so that each step is what was written
# there.)

# %% tags=["nbval-ignore-output"]
### BEGIN SOLUTION: ...  # your code here: plot_lines(...), with a title that says what you found
ours = logit_lens(cache, model, prompts.right, prompts.wrong, scale="final").mean().logits
depth = torch.linspace(0, 1, len(ours))
theirs = gpt2.logit_lens.value[(depth * (len(gpt2.logit_lens.value) - 1)).round().long()]
less = {
    name: depth[(line <= line[-1] / 2).nonzero().max()].item()
    for name, line in (("ours", ours), ("theirs", theirs))
}
plot_lines(
    depth,
    {f"{loaded.name}, here": ours / ours[-1], "GPT-2 small, published": theirs / theirs[-1]},
    f"After {less['ours']:.0%} of the depth less than half of the answer is there; "
    f"in GPT-2 small after {less['theirs']:.0%}",
    x_title="share of the depth that was read",
    y_title="logit difference, share of the last",
)
### END SOLUTION

# %% [markdown]
# Which component wrote it? Attribution by head, and by MLP, for the average over twins.

# %% [markdown] tags=["learner-only", "course"]
# `logit_attribution(cache, model, prompts.right, prompts.wrong, by="head")` as in chapter 3; of it
# `.mean().strongest(6)` has the `.components` that write most and their `.logits`.

# %%
### BEGIN SOLUTION: study.attribution = None  # your code here: logit_attribution(..., by="head")
study.attribution = logit_attribution(cache, model, prompts.right, prompts.wrong, by="head")
averages = study.attribution.mean()
strongest = averages.strongest(6)
NumberTable(strongest.logits[:, None], rows=strongest.components, columns=["logits"], decimals=1)
### END SOLUTION

# %% tags=["solution-only"]
heads_here = averages.heads
by_heads, in_all = heads_here.sum().item(), averages.total.item()
by_mlps = averages.logits[["MLP" in name for name in averages.components]].sum().item()
published = gpt2.attribution_per_head.value  # [layer head]
print(f"{loaded.name}: heads write {by_heads:.1f} of {in_all:.1f}, MLPs {by_mlps:.1f}.")
layers_there = gpt2.attribution_per_layer
mlps_there = layers_there.value[[label.endswith("MLP") for label in layers_there.labels]].sum()
print(f"GPT-2 small, published: heads {published.sum():.1f}, MLPs {mlps_there:.1f}.")
if is_gpt2:
    print(compare(heads_here, gpt2.attribution_per_head))
same = (by_heads > by_mlps) == (published.sum() > mlps_there)
print("So the two models agree on who writes." if same else "Here the two models differ.")

# %% [markdown] tags=["solution-only"]
# At which *position* is the answer, before it is at the end? We run each prompt with the stream of
# its twin at one position and one layer. Where the answer turns into the twin's, what decides was
# there at that moment. (This is activation patching; chapter 7 has more on it.)

# %% tags=["solution-only"]
swept = metric_by_position(model, prompts.tokens, metric, twins, logits_at=[-1])
turned = swept.restored(-difference)  # 1: the twin's answer
where = turned.argmax(dim=1).tolist()
roles = {int(at[0]): role for role, at in prompts.positions.items() if len(set(at.tolist())) == 1}
for layer, position in enumerate(where):
    print(f"before layer {layer}: {roles.get(position, position)} ({turned[layer, position]:.0%})")
crossing = max(layer for layer in range(cfg.n_layers) if where[layer] != where[-1])
print(f"It comes to the end in layer {crossing}.")

# %% [markdown] tags=["learner-only", "course"]
# One more experiment is worth its line: `metric_by_position(model, prompts.tokens, metric, twins,
# logits_at=[-1]).effects`. It runs each prompt with the stream of its twin at one layer (row) and
# position (column). Where the metric falls most, there stands what decides.

# %% tags=["learner-only"]
...  # your code here: at which position does it stand, before which layer?

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: where is it decided, and what wrote it? Was that what you expected? Which layers will
# you look at?*

# %% [markdown] tags=["yours", "solution-only"]
# The rise is late, as I expected. Who writes it depends on the model, and the cells above say it:
# in one most is written by heads, in the other by an MLP, which then must have read a head that
# brought it something. The last table is more than I hoped for. What decides stands where the giver
# is named *again*, and moves to the end before the layers in which the answer rises.
# So there are two moves, not one: first *who gives*, then, later, the name.

# %% [markdown]
# ## Step 3: which heads
#
# Heads are the only parts that move anything from one position to another. So whatever word the
# answer depends on, some head looks at it. For each role: which heads look from the end to where it
# stands?

# %% [markdown]
# ### Exercise 6.3: which heads look there
# ●●○ · 10 minutes
#
# `reader` and `read` are two positions for each prompt, and each prompt has its own. Return how
# much of its attention each head gives from the one to the other, averaged over prompts.
#
# Source: Wang et al. 2022, section 3.1, whose name movers were recognized so.


# %%
def looks_at(
    pattern: Float[Tensor, "batch head q_pos k_pos"],
    reader: Int[Tensor, " batch"],
    read: Int[Tensor, " batch"],
) -> Float[Tensor, " head"]:
    ### BEGIN SOLUTION
    rows = torch.arange(len(pattern))
    return pattern[rows, :, reader, read].mean(dim=0)
    ### END SOLUTION


# %%
check("6.3", looks_at)

# %%
# hint("6.3")

# %% [markdown]
# **What you saw.** Three lists of positions go hand in hand, prompt by prompt. Where a role stands
# in another place in half of the prompts, the average tells a head that looks for the role from one
# that looks at the place.

# %%
looks_at = answer("6.3")

# %% tags=["course"]
### BEGIN SOLUTION: quiz("6-a")
quiz("6-a", "c")
### END SOLUTION

# %% [markdown] tags=["course"]
# ### Your investigation
#
# `attention_to(role)` applies your function to every layer.


# %%
def attention_to(role: str, run: object = cache) -> Float[Tensor, "layer head"]:
    """How much each head looks from the end to this role, on average over the prompts."""
    reader, read = prompts.positions["end"], prompts.positions[role]
    layers = range(cfg.n_layers)
    return torch.stack([looks_at(run["pattern", layer], reader, read) for layer in layers])


# %% [markdown] tags=["yours", "learner-only"]
# *Write here: which role must be looked at, and from where? What would a head look like that does
# it only by chance, for instance because of the place in the sentence?*

# %% [markdown] tags=["yours", "solution-only"]
# First what one does at first: take one prompt and look which head looks most at the right name.
# That gives a hypothesis: *this head finds the receiver and writes the name.*

# %% tags=["solution-only"]
read = prompts.positions["receiver"][0]
first_look = torch.stack([cache["pattern", layer][0, :, -1, read] for layer in range(cfg.n_layers)])
guess = names[first_look.argmax()]
receiver = tokenizer.decode([int(prompts.right[0])])
print(prompts.texts[0])
print(f"{guess} gives{receiver} {first_look.max():.0%} of its attention, more than any other head.")

# %% [markdown] tags=["solution-only"]
# It looks like the head that we are after. Now all prompts, and all three places where a name
# stands.

# %%
### BEGIN SOLUTION: study.attention = None  # your code here: attention_to(...)
study.attention = {role: attention_to(role) for role in ("receiver", "giver", "giver again")}
### END SOLUTION


# %% tags=["solution-only"]
def of(head: str, table: Float[Tensor, "layer head"]) -> float:
    return table[head_named(head, cfg)].item()


by_role = study.attention["receiver"] - study.attention["giver"]
tellers = [names[i] for i in study.attention["giver again"].flatten().topk(3).indices.tolist()]
lookers = [names[i] for i in by_role.flatten().topk(3).indices.tolist()]
shown = list(dict.fromkeys([guess, *lookers, *tellers]))
NumberTable(
    torch.tensor([[of(head, table) for table in study.attention.values()] for head in shown]),
    rows=shown,
    columns=list(study.attention),
    caption="attention",
)

# %% [markdown] tags=["solution-only"]
# Does the first guess look at a *role*, or at a *place*? The receiver stands first in half of the
# prompts and second in the others, so the two can be told apart.


# %% tags=["solution-only"]
def looks_at_place(read: Int[Tensor, " batch"]) -> Float[Tensor, "layer head"]:
    """The same as `attention_to`, for positions instead of a role."""
    patterns = [cache["pattern", layer] for layer in range(cfg.n_layers)]
    return torch.stack([looks_at(each, prompts.positions["end"], read) for each in patterns])


receivers, givers = prompts.positions["receiver"], prompts.positions["giver"]
to_first = looks_at_place(torch.minimum(receivers, givers))
to_second = looks_at_place(torch.maximum(receivers, givers))
goes_by_place = (to_first - to_second).abs() > by_role.abs()
reads = {"first name": to_first, "second name": to_second} | study.attention
print(f"{guess} looks:", ", ".join(f"{what} {of(guess, reads[what]):.0%}" for what in reads))
if of(guess, goes_by_place):
    print("It goes by the place, whoever receives. On the first prompt that was chance.")
else:
    print("It goes by the role, so the guess stands for now.")

# %% tags=["solution-only"]
strongly = goes_by_place & ((to_first - to_second).abs() > 0.5)
by_place = [head for head in names if of(head, strongly)]
print(f"Heads that go by the place of a name: {', '.join(by_place) or 'none'}.")

# %% [markdown] tags=["course"]
# A map of all heads shows whether you overlooked one. Then name those that you will follow, such as
# `("L1H3", "L3H4")`.

# %% tags=["nbval-ignore-output"]
### BEGIN SOLUTION: ...  # your code here: plot_heads(...), with a title that says what you found
plot_heads(
    by_role,
    f"{lookers[0]} prefers the receiver by {of(lookers[0], by_role):.2f}; the first guess, "
    f"{guess}, by {of(guess, by_role):z.2f}",
    unit="attention to the receiver minus that to the giver",
)
### END SOLUTION

# %%
### BEGIN SOLUTION: study.heads = None  # your code here: the names of those you will follow
study.heads = tuple(shown)
print("Heads to follow:", ", ".join(study.heads))
### END SOLUTION

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: which heads look at what? For each, what else could explain where it looks?*

# %% [markdown] tags=["yours", "solution-only"]
# The average over twins is a harder judge than one prompt. It also finds two kinds of heads, which
# fits the two moves of step 2: some look at the name that is *not* the giver's, others at the place
# where the giver is named again. But this is only where they look. From patterns alone I cannot say
# that any of them matters.

# %% [markdown]
# ## Step 4: what they move
#
# A head that looks at a name need not say it. Its OV circuit decides (chapter 4). We ask it on the
# prompts' own terms: the head reads a candidate; does it raise *this candidate's* answer above the
# others'?

# %% [markdown]
# ### Exercise 6.4: what a head moves
# ●●○ · 15 minutes
#
# `v[i]` is the head's value vector where candidate $i$ stands, `directions[i]` the direction of the
# answer that belongs to candidate $i$ (itself, where the head should copy; its capital, where it
# should look that up). Return for each candidate how far the head raises its answer, minus the mean
# of what it does to the answers of the *other* candidates, if it gave all its attention to this
# one:
#
# $$v_i W_O \cdot \left(u_i - \frac{1}{n-1} \sum_{j \neq i} u_j\right)$$
#
# Source: Wang et al. 2022, section 3.1, on the copying score of name movers; Framework, "Copying /
# Primitive In-Context Learning".


# %%
def raises(
    v: Float[Tensor, "candidate d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    directions: Float[Tensor, "candidate d_model"],
) -> Float[Tensor, " candidate"]:
    ### BEGIN SOLUTION
    logits = v @ W_O @ directions.mT
    own = logits.diagonal()
    return own - (logits.sum(dim=1) - own) / (len(logits) - 1)
    ### END SOLUTION


# %%
check("6.4", raises)

# %%
# hint("6.4")

# %% [markdown]
# **What you saw.** The diagonal of a small table, against the rest of its row. A head that raises
# every name gets 0 here, and rightly: it says "a name", not *which*.

# %%
raises = answer("6.4")

# %% [markdown] tags=["course"]
# ### Your investigation
#
# `moved` applies your function to one head. For example, `moved("L3H4", "receiver", prompts.right)`
# asks what L3H4 does for the right answers where it reads the receiver.

# %% [markdown]
# `moved(head, role, answers)`: the head reads this role in each prompt, and nothing else. How far
# does it raise the token that stands beside the prompt in `answers`, above those that stand beside
# the others? (In logits: divided by the final LayerNorm's scale.) Answers that come several times,
# such as "she", are candidates of their own, which makes the number smaller and leaves its sign.


# %%
def moved(head: str, role: str, answers: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """How far the head, if it read this role alone, would raise each answer above the others."""
    layer, index = head_named(head, cfg)
    rows, read = torch.arange(len(prompts)), prompts.positions[role]
    v = cache["v", layer][rows, read, index] / cache["ln_final.hook_scale"][:, -1]
    return raises(v, model.W_O[layer, index], answer_direction(model, answers).direction)


# %% [markdown] tags=["yours", "learner-only"]
# *Write here: what should each of your heads do to the answer, if you are right? And if it does
# nothing to it, who could make use of what it moves?*

# %% [markdown] tags=["yours", "solution-only"]
# A head that names the receiver should raise the name it reads. A head that looks at the giver
# should not: it may even lower it. And I compare all of them with what they *did* write on these
# prompts, their attribution.

# %%
### BEGIN SOLUTION: study.ov = None  # your code here: {head: moved(head, ...) for head in ...}
study.ov = {
    head: moved(head, "giver again", prompts.wrong).mean().item()
    if head in tellers and head not in lookers
    else moved(head, "receiver", prompts.right).mean().item()
    for head in study.heads
}
wrote = {head: of(head, heads_here) for head in study.heads}
### END SOLUTION

# %% tags=["solution-only"]
mover = max(lookers, key=wrote.get)
NumberTable(
    torch.tensor([[study.ov[head], wrote[head]] for head in study.heads]),
    rows=study.heads,
    columns=["raises the name it reads", "wrote for the receiver"],
    caption="logits",
    decimals=1,
)

# %% tags=["solution-only"]
print(f"Of those that look at the receiver, {mover} writes most for it: {wrote[mover]:+.1f}.")
if guess != mover:
    print(f"{guess}, the first guess, writes {wrote[guess]:z.1f}.")

# %% [markdown] tags=["solution-only"]
# In GPT-2 small three heads do this, and two write against it. Who are ours, and theirs, by
# attribution?


# %% tags=["solution-only"]
def in_gpt2(head: str) -> float:
    layer, index = (int(number) for number in head.removeprefix("L").split("H"))
    return published[layer, index].item()


for role in gpt2.roles:
    if role.name in ("name mover", "negative name mover"):
        told = ", ".join(f"{head} {in_gpt2(head):+.1f}" for head in role.heads)
        print(f"GPT-2 small, published, {role.name}s: {told}")
lowest, highest = names[heads_here.argmin()], names[heads_here.argmax()]
print(f"{loaded.name}: from {lowest} {of(lowest, heads_here):+.1f}", end="")
print(f" to {highest} {of(highest, heads_here):+.1f}")
against = of(lowest, heads_here) < -difference / 10
print("A head works against the answer here, too." if against else "None works against it here.")

# %% [markdown] tags=["solution-only"]
# Attribution finds who speaks. Who else matters? Each prompt runs as its twin, but for one head,
# which says what it says in the prompt itself: what share of the answer comes back? (For GPT-2
# small this table was published, too.)

# %% tags=["solution-only"]
restored = metric_by_head(model, prompts.other, metric, by=cache, logits_at=[-1])
restored = restored.restored(difference)
roles_there = {head: role.name for role in gpt2.roles for head in role.heads}
theirs = gpt2.patching_per_head
for place in restored.flatten().topk(3).indices.tolist():
    print(f"{loaded.name}: {names[place]} brings back {restored.flatten()[place]:.0%}")
for place in theirs.value.flatten().topk(5).indices.tolist():
    head = f"L{place // 12}H{place % 12}"
    known = roles_there.get(head, "no known role")
    print(f"GPT-2 small, published: {head} {theirs.value.flatten()[place]:.0%}, {known}")
if is_gpt2:
    print(compare(restored, theirs))

# %% [markdown] tags=["solution-only"]
# And why does the mover look at the receiver, and not at the giver? The QK circuit of the two names
# cannot know, for in the twin the same two names stand in the same two places. Something must have
# *told* it. So we give it, by one path at a time, what it would hear in the twin: from each earlier
# head, into its query, its keys or its values. How much of the way to the twin's answer does each
# path bring?

# %% [markdown] tags=["learner-only", "course"]
# And the other half: *why* does your head look there? Two experiments. Does it look there as much
# in the twin (`attention_to(role, twins)`)? Then QK goes by something that the twins share. And
# which earlier head does it hear? `metric_by_sender(model, prompts.tokens, metric, head, twins,
# "q")` gives its query what one earlier head would say in the twin; `"k"` and `"v"` do the same for
# keys and values; `.strongest(2)` names the senders, `.effects` has the numbers.

# %%
### BEGIN SOLUTION: study.qk = None  # your code here: {head: a number, for head in ...}
heard = {
    which: metric_by_sender(model, prompts.tokens, metric, mover, twins, which, logits_at=[-1])
    for which in "qkv"
}
for which, sweep in heard.items():
    first, then = sweep.strongest(2)
    shares = sweep.restored(-difference)
    print(f"{mover}'s {which}: {first} {of(first, shares):z.0%}, {then} {of(then, shares):z.0%}")
teller = heard["q"].strongest(1)[0]
by_path = of(teller, heard["q"].restored(-difference))
### END SOLUTION

# %% [markdown] tags=["solution-only"]
# Take the strongest message to the query. What does it do? We put the twin's in its place, change
# nothing else, and see where the mover looks then.

# %% tags=["solution-only"]
message = patch_path(model, prompts.tokens, cache, teller, mover, twins, "q")
_, misled = run_with_cache(model, prompts.tokens, edits=message)
misled_by_role = attention_to("receiver", misled) - attention_to("giver", misled)
NumberTable(
    torch.tensor(
        [
            [of(mover, attention_to(role, run)) for role in ("receiver", "giver")]
            for run in (cache, misled)
        ]
    ),
    rows=["as it is", f"told by {teller} of the twin"],
    columns=["to the receiver", "to the giver"],
    caption=f"{mover} looks",
)

# %% tags=["solution-only"]
study.qk = {teller: by_path, mover: of(mover, misled_by_role) - of(mover, by_role)}
study.heads = tuple(dict.fromkeys([*study.heads, teller]))
study.ov[teller] = moved(teller, "giver again", prompts.wrong).mean().item()
to_giver = of(teller, study.attention["giver again"])
verb = "lowers" if study.ov[teller] < 0 else "raises"
print(f"{teller} looks at the giver, named again ({to_giver:.0%}), and tells {mover}'s query.")
print(f"By itself it {verb} the name that it reads there, by {abs(study.ov[teller]):.1f} logits.")
print("In GPT-2 small the S-inhibition heads do this (Wang et al. 2022):", end=" ")
print(", ".join(head for head, role in roles_there.items() if role == "s inhibition"))
if is_gpt2:
    print(f"There {teller} is known as: {roles_there.get(teller, 'nothing')};", end=" ")
    print(f"{mover} as: {roles_there.get(mover, 'nothing')}.")

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: does what your heads move fit where they look? Tell the story of one head in two
# sentences, QK and OV together. What would a colleague ask now?*

# %% [markdown] tags=["yours", "solution-only"]
# Now QK and OV tell one story. The teller reads the giver at the second mention. What it moves goes
# into the mover's *query*, not into its keys or values, and there it says where not to look. The
# mover looks at the name that is left and raises it. How hard a head looks at a name says little of
# this: the column of what it wrote does. What a colleague will ask: are these two needed? Or would
# the model do as badly without any two heads?

# %% [markdown]
# ## Step 5: the claim and the test that could refute it
#
# A claim names heads and says what they do. And it says **which result would refute it**, before
# the test. The plainest test: without these heads, replaced by what they say on average, the metric
# falls. But it falls a little without *any* heads. So we draw random heads, as many of the same
# layers, and ask whether yours matter more. That is the **random-head baseline**.

# %% tags=["course"]
### BEGIN SOLUTION: quiz("6-b")
quiz("6-b", "a", "b", "d")
### END SOLUTION

# %% [markdown]
# ### Exercise 6.5: the verdict
# ●●○ · 15 minutes
#
# You get the metric on each prompt `before`, `after` the claim's heads are ablated, and
# `after_random`, with a row for each random draw. Return how far the metric falls on average; the
# share of draws without which it falls **at least as far**; and by how many standard deviations (of
# the draws' mean falls) your fall is above the mean of theirs.
#
# Source: Wang et al. 2022, section 4, on testing a circuit by ablating sets of heads.


# %%
def verdict(
    before: Float[Tensor, " batch"],
    after: Float[Tensor, " batch"],
    after_random: Float[Tensor, "draw batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    ### BEGIN SOLUTION
    drop = (before - after).mean()
    random_drops = (before - after_random).mean(dim=1)
    as_large = (random_drops >= drop).float().mean()
    return drop, as_large, (drop - random_drops.mean()) / random_drops.std()
    ### END SOLUTION


# %%
check("6.5", verdict)

# %%
# hint("6.5")

# %% [markdown]
# **What you saw.** The share is what to report: it asks for no bell curve, which random heads
# seldom follow (most do nothing, a few do much). But it is no p-value: you chose your heads
# *because* they matter on these prompts, and the random ones were not chosen so. Only prompts that
# had no part in the choice make it a fair match: step 6.

# %%
verdict = answer("6.5")

# %% tags=["course"]
### BEGIN SOLUTION: quiz("6-c")
quiz("6-c", "d")
### END SOLUTION

# %% [markdown] tags=["course"]
# ### Your investigation

# %% [markdown]
# `without(heads)` is the metric on each prompt when these heads say what they say on average over
# the prompts, position by position.


# %%
average = Averaged(cache, each_position=True)


def without(heads: tuple[str, ...]) -> Float[Tensor, " batch"]:
    """The metric on each prompt with these heads mean-ablated."""
    edits = combined(*(replace_head(head, cfg, average) for head in heads))
    return metric(run_with_edits(model, prompts.tokens, edits))


# %% [markdown] tags=["solution-only"]
# First the claim that looked right: *the first guess finds the receiver and names it.* Refuted if
# more than nine tenths of the difference are left without it.

# %% tags=["solution-only"]
first_claim = against_random_heads(model, prompts.tokens, (guess,), metric)
print(first_claim)
left = 1 + first_claim.effect / difference
print(f"{left:.0%} is left without {guess}: {'refuted' if left > 0.9 else 'not refuted'}.")

# %% [markdown] tags=["course"]
# Write your claim: one sentence, the heads, and which result would refute it. Once it has run, do
# not change the last.

# %%
### BEGIN SOLUTION: study.claim = None  # your code here: Claim("...", heads=..., refuted_if="...")
study.claim = Claim(
    f"At the end {teller} reads who gives and tells it to {mover}'s query, "
    f"so that {mover} looks at the other name and brings it.",
    heads=(teller, mover),
    refuted_if=f"without two heads of these layers that are neither, the difference falls as far; "
    f"or {mover} looks no less at the receiver when only {teller}'s message is the twin's",
)
### END SOLUTION
study.claim

# %% tags=["course"]
### BEGIN SOLUTION: quiz("6-d")
quiz("6-d", "b", "d")
### END SOLUTION

# %% [markdown] tags=["course"]
# And the test: `against_random_heads(model, prompts.tokens, study.claim.heads, metric)`.

# %%
### BEGIN SOLUTION: study.test = None  # your code here: against_random_heads(...)
study.test = against_random_heads(model, prompts.tokens, study.claim.heads, metric)
### END SOLUTION
study.test

# %% [markdown] tags=["course"]
# Your own `verdict` on the same random sets: does it agree with the library's?

# %%
if study.test is not None:
    after_random = torch.stack([without(heads) for heads in study.test.random_heads])
    drop, as_large, deviations = verdict(without(()), without(study.claim.heads), after_random)
    assert abs(drop + study.test.effect) < 0.01
    print(f"without the claim's heads {drop:.1f} less, {as_large:.0%} of random sets do as much;")
    print(f"{deviations:.1f} standard deviations above the mean of random sets")

# %% [markdown] tags=["course"]
# A picture of all random sets, with yours marked, says more than their mean.

# %% tags=["nbval-ignore-output"]
### BEGIN SOLUTION: ...  # your code here: plot_histogram(...), and add_vline(x=...) for your claim
figure = plot_histogram(
    study.test.random_effects.float(),
    [" and ".join(heads) for heads in study.test.random_heads],
    f"Without {' and '.join(study.claim.heads)}: {study.test.effect:+.1f} logits; "
    f"{study.test.share_as_large:.0%} of the random pairs do as much",
    unit="change of the logit difference",
    what="pairs of heads",
)
figure.add_vline(x=study.test.effect, line_dash="dash", annotation_text="the claim")
figure
### END SOLUTION

# %% [markdown] tags=["solution-only"]
# Which random pairs come close?


# %% tags=["solution-only"]
def strangers(test: object) -> Float[Tensor, " set"]:
    """The effects of those random sets that share no head with the claim."""
    apart = [not set(heads) & set(test.heads) for heads in test.random_heads]
    return test.random_effects[torch.tensor(apart)].float()


effects = study.test.random_effects
close, by_strangers = effects <= 0.8 * study.test.effect, strangers(study.test)
close_strangers = int((by_strangers <= 0.8 * study.test.effect).sum())
print(f"{int(close.sum())} of {len(effects)} pairs reach 80% of the effect; ", end="")
print(f"{int(close.sum()) - close_strangers} of these contain {teller} or {mover}.")
print(f"Of the {len(by_strangers)} pairs with neither, the worst costs {-by_strangers.min():.1f}.")

# %% [markdown] tags=["solution-only"]
# A pair with one of the two in it is no stranger. A finer test: each head alone, against the others
# of its layer.

# %% tags=["solution-only"]
alone = {
    head: against_random_heads(model, prompts.tokens, (head,), metric)
    for head in dict.fromkeys([teller, mover, guess])
}
NumberTable(
    torch.tensor(
        [
            [-test.effect, -test.random_effects.min().item(), test.share_as_large]
            for test in alone.values()
        ]
    ),
    rows=list(alone),
    columns=["drop", "worst other of its layer", "share as large"],
    caption="without",
    decimals=1,
)

# %% [markdown] tags=["solution-only"]
# Then the part of the claim that no ablation can test: *by what way*. Only what the mover's query
# hears of the teller (straight, or through the MLPs between) is the twin's; every other head says
# what it said. The baseline is the same with each other earlier head. The teller was chosen as the
# strongest of them, so its place is no news; how far ahead it is, is.

# %% tags=["solution-only"]
senders = heard["q"].restored(-difference).flatten()
others = torch.cat([senders[: names.index(teller)], senders[names.index(teller) + 1 :]])
print(f"{teller}'s message to {mover}'s query brings {by_path:.0%} of the twin's answer,")
print(f"that of any other of {len(others)} heads {others.max():z.0%} at most.")
looks = {role: of(mover, attention_to(role, misled)) for role in ("receiver", "giver")}
print(f"{mover} then looks", ", ".join(f"at the {role} {look:.0%}" for role, look in looks.items()))

# %% tags=["solution-only"]
needed = study.test.effect < by_strangers.min().item()
looks_less = of(mover, misled_by_role) < of(mover, by_role)
print(f"{study.test.effect / -difference:.0%} of the difference is gone without the two.")
print(f"No two strangers do as much: {needed}. {mover} is misled: {looks_less}.")
print("The claim survives." if needed and looks_less else "The claim is refuted.")

# %% [markdown] tags=["solution-only"]
# Is it two heads, or two *groups* of heads? We look for others that do either job at least half as
# well: earlier heads whose message misleads the mover, and heads that look at the receiver and
# write for it.

# %% tags=["solution-only"]
all_tellers = [head for head, share in zip(names, senders, strict=False) if share >= by_path / 2]
all_movers = [
    head
    for head in names
    if of(head, by_role) >= of(mover, by_role) / 2 and of(head, heads_here) >= wrote[mover] / 2
]
group_heads = tuple(dict.fromkeys([*all_tellers, *all_movers]))
print(f"tell: {', '.join(all_tellers)}; move: {', '.join(all_movers)}")
if set(group_heads) == set(study.claim.heads):
    print("Nobody else does either job half as well.")
else:
    print(against_random_heads(model, prompts.tokens, group_heads, metric))

# %% [markdown] tags=["solution-only"]
# GPT-2 is known for one more thing: silence a name mover, and others step in. Does the answer fall
# by less than the mover wrote, here, too? The mover is set to 0 at the last position, as was
# published for L9H9.

# %% tags=["solution-only"]
silenced = "L9H9" if is_gpt2 else mover
edit = replace_head(silenced, cfg, 0, positions=[-1])
still = metric(run_with_edits(model, prompts.tokens, edit)).mean().item()
backed = gpt2.logit_difference_without_L9H9
print(f"{loaded.name}: {silenced} writes {of(silenced, heads_here):.1f};", end=" ")
print(f"without it {difference:.1f} becomes {still:.1f}.")
print(f"GPT-2 small, published: L9H9 writes {in_gpt2('L9H9'):.1f};", end=" ")
print(f"without it {gpt2.logit_difference.value:.2f} becomes {backed.value:.2f}.")
if is_gpt2:
    print(compare(still, backed))
repaired = difference - still < of(silenced, heads_here)
print("On balance, others make up for part of it." if repaired else "On balance, nobody does.")

# %% [markdown] tags=["solution-only"]
# Who reads it? With later heads held still, the mover's change reaches the answer directly, or
# through MLPs.


# %% tags=["solution-only"]
def towards_twin(edits: dict) -> float:
    """The share of the way to the twin's answer."""
    changed = metric(run_with_edits(model, prompts.tokens, edits)).mean().item()
    return (difference - changed) / (2 * difference)


direct = towards_twin(direct_path(model, cache, mover, twins, through_mlps=False))
by_mlps = towards_twin(direct_path(model, cache, mover, twins)) - direct
in_all = towards_twin(replace_head(mover, cfg, twins))
print(f"With {mover} as in the twin: {in_all:.0%} of the way to the twin's answer,")
print(f"{direct:.0%} straight to the logits, {by_mlps:.0%} through MLPs.")

# %% tags=["solution-only", "nbval-ignore-output"]
to_receiver = of(mover, study.attention["receiver"])
plot_circuit(
    {
        "the sentence": ["the receiver", "the giver, again"],
        "tells": [teller],
        "moves": [mover],
        "MLPs": ["the MLPs after it"],
        "says": ["the receiver's name"],
    },
    [
        Edge("the giver, again", teller, to_giver, f"attention {to_giver:.2f}"),
        Edge(teller, mover, by_path, f"query: {by_path:.0%}"),
        Edge("the receiver", mover, to_receiver, f"attention {to_receiver:.2f}"),
        Edge(mover, "the MLPs after it", by_mlps, f"{by_mlps:.0%}"),
        Edge("the MLPs after it", "the receiver's name", by_mlps, f"{by_mlps:.0%}"),
        Edge(mover, "the receiver's name", direct, f"{direct:.0%}"),
    ],
    f"{teller} tells {mover} who gives; {mover} moves the other name",
    unit="share (attention, way to the twin's answer)",
)

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: what did you predict, and what came out? How large is the effect beside the random
# heads'? If the claim was refuted: what do you claim now?*

# %% [markdown] tags=["yours", "solution-only"]
# I predicted that no two strangers do as much as my two heads, and that the mover can be misled by
# one message. The cells above say what came out, for the model that ran. The random pairs taught me
# something that I had not asked: a pair with one of my two heads in it is no fair opponent. If the
# two are links of one chain, then the chain is cut with either of them, and what they cost together
# is not the sum of what they cost alone. And I chose both heads on these same prompts, as the best
# of many. So the match that counts is the one on new sentences, in step 6.

# %% [markdown]
# ## Step 6: the limits

# %% [markdown] tags=["course"]
# Where does your claim stop? On some of your own prompts, on sentences of another form, or in the
# part of the effect that it does not explain. A finding whose limits are known is worth more than
# one that seems to have none.

# %% [markdown]
# ### Exercise 6.6: where it stops
# ●○○ · 10 minutes
#
# `drops` says for each prompt how far the metric falls without your heads, `group` to which group
# each prompt belongs (0, 1, 2, ...): its template, its answer, whatever may matter. Return for each
# group the share of *its* prompts on which the metric falls by **more than** `least`, and the
# prompt on which it falls least.
#
# Source: Wang et al. 2022, section 4, on prompts that are made to break a circuit.


# %%
def limits(
    drops: Float[Tensor, " batch"], group: Int[Tensor, " batch"], least: float
) -> tuple[Float[Tensor, " group"], Int[Tensor, ""]]:
    ### BEGIN SOLUTION
    holds = (drops > least).float()
    shares = [holds[group == number].mean() for number in range(int(group.max()) + 1)]
    return torch.stack(shares), drops.argmin()
    ### END SOLUTION


# %%
check("6.6", limits)

# %%
# hint("6.6")

# %% [markdown]
# **What you saw.** An average over all prompts can hide a group on which the claim never holds. And
# the worst prompt is where to look next.

# %%
limits = answer("6.6")

# %% [markdown] tags=["course"]
# ### Your investigation

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: on which prompts do you expect the claim to fail, and why there?*

# %% [markdown] tags=["yours", "solution-only"]
# I expect trouble on the weakest prompts of step 1, and in sentences in which the giver is not
# named again in the same place. First my own prompts: the claim holds where the fall is more
# than half of the mean difference.

# %% [markdown] tags=["course"]
# The groups are the prompts' templates here. Where there is only one, group by the answer: `group =
# prompts.right.unique(return_inverse=True)[1]`.
#
# These are the prompts that you found the heads on. If you can, repeat your test on others in a new
# cell, on sentences of your own, or on the last four of `more = chosen.prompts(tokenizer,
# count=12)`: `against_random_heads` as before, with `more.tokens` and the metric `lambda logits:
# more.logit_difference(logits)[8:].mean()`.

# %%
templates = sorted(set(prompts.templates))
group = torch.tensor([templates.index(template) for template in prompts.templates])
### BEGIN SOLUTION: study.limits = None  # your code here: limits(...), per template or per answer
drops = without(()) - without(study.claim.heads)
shares, worst = limits(drops, group, least=difference / 2)
study.limits = dict(zip(templates, shares.tolist(), strict=True))
for template, share in study.limits.items():
    print(f"sentences with “{template}”: the claim holds on {share:.0%}")
print(f"least on: {prompts.texts[worst]} ({drops[worst]:.1f} of {per_prompt[worst]:.1f} logits)")
### END SOLUTION

# %% [markdown] tags=["solution-only"]
# Those are the prompts that we found it on. Does it hold on names and places that we have not
# looked at, and in sentences of another form?

# %% tags=["solution-only"]
women, men = ["Mary", "Sarah", "Kate", "Laura"], ["John", "Paul", "David", "Mark"]
forms = {
    "new names and places": "When {0} and {1} went to the station, {2} handed a map to",
    "two sentences": "Friends {0} and {1} found a ball at the park. {2} gave it to",
    "told later": "Then, {0} and {1} had a long day at the garden, and {2} passed a book to",
}


def asked(
    form: str,
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Prompts of this form, twins side by side, and their right and wrong answers."""
    told = [(a, b, giver) for a, b in zip(women, men, strict=True) for giver in (b, a)]
    texts = ["<|endoftext|>" + form.format(*people) for people in told]
    right = [tokenizer.encode(f" {a if giver == b else b}")[0] for a, b, giver in told]
    wrong = [tokenizer.encode(f" {giver}")[0] for _, _, giver in told]
    tokens = torch.tensor([tokenizer.encode(text) for text in texts])
    return tokens, torch.tensor(right), torch.tensor(wrong)


# %% tags=["solution-only"]
def tested(form: str) -> list[float]:
    """Before; without the claim's heads; without random pairs, at worst; the misleading message."""
    tokens, right, wrong = asked(form)
    rows = torch.arange(len(tokens))

    def ahead(logits: Tensor) -> Tensor:
        return logits[rows, -1, right] - logits[rows, -1, wrong]

    _, base = run_with_cache(model, tokens)
    _, twin = run_with_cache(model, tokens.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))
    test = against_random_heads(model, tokens, study.claim.heads, ahead)
    lie = patch_path(model, tokens, base, teller, mover, twin, "q")
    misled = ahead(run_with_edits(model, tokens, lie)).mean().item()
    worst = test.baseline + strangers(test).min().item()
    return [test.baseline, test.baseline + test.effect, worst, misled]


rows = {name: tested(form) for name, form in forms.items()}
NumberTable(
    torch.tensor(list(rows.values())),
    rows=list(rows),
    columns=["as it is", "without both", "worst two strangers", "misled by the message"],
    caption="logit difference",
    decimals=1,
)

# %% tags=["solution-only"]
for name, (whole, cut, worst, misled) in rows.items():
    holds = "holds" if cut < worst and misled < whole else "does not hold"
    share = (whole - misled) / (2 * whole)
    print(f"{name}: the claim {holds}; the message brings {share:.0%} of the twin's answer")

# %% [markdown] tags=["solution-only"]
# "Who gives" could mean two things: the name that comes for the second time, or the name that comes
# last. In all these sentences they are the same. So let somebody else give, who was not named
# before. Does the teller still look there?

# %% tags=["solution-only"]
stranger_gives = prompts.tokens.clone()
at_giver = prompts.positions["giver again"]
stranger_gives[torch.arange(len(prompts)), at_giver] = prompts.wrong.roll(2)
print(tokenizer.decode(stranger_gives[0, 1:].tolist()))
_, newcomer = run_with_cache(model, stranger_gives)
to_newcomer = of(teller, attention_to("giver again", newcomer))
print(f"{teller} looks there {to_newcomer:.0%}, at somebody named before {to_giver:.0%}.")
as_before = to_newcomer > 0.8 * to_giver
print("It looks there, new name or not." if as_before else "It looks there less at a new name.")

# %% [markdown] tags=["solution-only"]
# And how much is left to explain? The message goes one way; the teller as a whole may speak to
# others, and the mover may hear others.

# %% tags=["solution-only"]
in_total = {head: towards_twin(replace_head(head, cfg, twins)) for head in (teller, mover)}
print(f"{teller} as a whole brings {in_total[teller]:.0%} of the twin's answer, ", end="")
print(f"its message to {mover}'s query {by_path:.0%}.")
print(f"So {in_total[teller] - by_path:.0%} goes ways that the claim does not name.")

# %% [markdown] tags=["yours", "learner-only"]
# *Write here: where does the claim hold, where not, and what does it leave unexplained? What would
# you do with another day?*

# %% [markdown] tags=["yours", "solution-only"]
# The claim is about two heads and one message. The last cells say how much of the answer goes ways
# that it does not name, and whether "who gives" means more than "who was named last"; where it does
# not, the sentences that I used could not have told me. The claim says nothing of what the MLPs do
# with the name. And all of it was measured on sentences with two people in them. Three would be the
# next thing to try.

# %% [markdown] tags=["solution-only"]
# ## A second investigation: he or she?
#
# A head that looks at names by their *place*, as step 3 lists them, cannot tell who receives. Is
# there anything that it is good for? A shorter question, of another kind: after "Mary
# was late because", how does the model come to " she"? There is one name, and nothing to choose
# between. Something has to know that Mary is a woman, and to bring that to the end.
#
# My expectation: the gender is looked up where the name stands, early, by an MLP, for it is a fact
# about a word. Then some head that looks at the name carries it to the end. It cannot be *told*
# where to look, and need not be.

# %% tags=["solution-only"]
second = Investigation(behaviour("pronoun"), behaviour("pronoun").prompts(tokenizer, count=16))
people = second.prompts
logits_2, cache_2 = run_with_cache(model, people.tokens)
_, twins_2 = run_with_cache(model, people.other)
second.accuracy = accuracy(logits_2, people.right, people.wrong)
whole = second.accuracy[0].item()
print(f"{people.texts[0]} → {whole:.1f} logits on average, right on {second.accuracy[1]:.0%}")

# %% [markdown] tags=["solution-only"]
# Where does it stand, layer by layer? The stream at the name is replaced by that of the twin, whose
# name is of the other gender.

# %% tags=["solution-only"]
second.lens = logit_lens(cache_2, model, people.right, people.wrong)
name_at = people.positions["person"][0].item()
swept = metric_by_position(model, people.tokens, people.logit_difference, twins_2, logits_at=[-1])
at_name = swept.restored(-whole)[:, name_at]
still_there = max(layer for layer in range(cfg.n_layers) if at_name[layer] > 0.5)
print(
    f"It stands at the name until layer {still_there}: the twin's stream there, before that layer,"
)
print(f"brings {at_name[still_there]:.0%} of the twin's answer.")

# %% [markdown] tags=["solution-only"]
# Who carries it from there? The two heads that write most for the right pronoun; and what each
# would say, reading a woman's name or a man's.

# %% tags=["solution-only"]
second.attribution = logit_attribution(cache_2, model, people.right, people.wrong, by="head")
wrote_2 = second.attribution.mean().heads
carriers = tuple(sorted(names[place] for place in wrote_2.flatten().topk(2).indices.tolist()))
layers = [head_named(head, cfg).layer for head in carriers]
look = {
    head: looks_at(cache_2["pattern", layer], people.positions["end"], people.positions["person"])[
        head_named(head, cfg).index
    ].item()
    for head, layer in zip(carriers, layers, strict=True)
}
print(", ".join(f"{head} looks at the name {look[head]:.0%}" for head in carriers))
met = [head for head in carriers if head in by_place]
print(f"Among those that go by the place of a name: {', '.join(met) or 'neither'}.")

# %% tags=["solution-only"]
she, he = people.right[:2].tolist()
towards_she = answer_direction(model, she, he).direction[0]


def says_she(head: str) -> list[float]:
    """Towards she if the head read the name alone, for women and for men; what it wrote."""
    layer, index = head_named(head, cfg)
    scale = cache_2["ln_final.hook_scale"][:, -1, 0]
    v = cache_2["v", layer][:, name_at, index]
    logits = v @ model.W_O[layer, index] @ towards_she / scale
    return [logits[::2].mean().item(), logits[1::2].mean().item(), of(head, wrote_2)]


NumberTable(
    torch.tensor([says_she(head) for head in carriers]),
    rows=carriers,
    columns=["reading a woman", "reading a man", "wrote for the right one"],
    caption="logits for she",
    decimals=1,
)

# %% [markdown] tags=["solution-only"]
# The claim: *these two carry the gender, from the name to the end.* Refuted if two other heads of
# their layers do as much, or if the difference keeps more than half without them. (They, too, were
# chosen on these prompts; other sentences come after.)

# %% tags=["solution-only"]
second.claim = Claim(
    f"{' and '.join(carriers)} carry the gender from the name to the end.",
    heads=carriers,
    refuted_if="the difference falls as far without two strangers of their layers, "
    "or keeps more than half without these two",
)
second.test = against_random_heads(model, people.tokens, carriers, people.logit_difference)
print(second.test)
rest = (whole + second.test.effect) / whole
rest_of_others = (whole + strangers(second.test).min().item()) / whole
print(f"{rest:.0%} is left without the two; without two strangers {rest_of_others:.0%}, at worst.")
print("The claim survives." if rest < min(0.5, rest_of_others) else "The claim is refuted.")

# %% tags=["solution-only", "nbval-ignore-output"]
ablated = metric_by_head(
    model, people.tokens, people.logit_difference, Averaged(cache_2, each_position=True)
)
one_by_one = {head: of(head, ablated.effects) for head in ablated.strongest(8)}
plot_bars(
    {" and ".join(carriers): second.test.effect, **one_by_one},
    f"{' and '.join(carriers)} together cost {-second.test.effect:.1f} of {whole:.1f} logits",
    unit="change of the logit difference without the head",
)

# %% [markdown] tags=["solution-only"]
# And do they do it in other sentences, and in the indirect object?

# %% tags=["solution-only"]
other_forms = {
    "was late because": (" she", " he"),
    "said that": (" she", " he"),
    "went home, and we went with": (" her", " him"),
}


def carried(form: str, answers: tuple[str, str]) -> list[float]:
    """As it is; without the two; without two strangers, at worst. All names of the prompts."""
    words = [text.split()[0] for text in people.texts]
    tokens = torch.tensor([tokenizer.encode(f"<|endoftext|>{word} {form}") for word in words])
    her, him = (tokenizer.encode(answer)[0] for answer in answers)
    sign = torch.tensor([1.0, -1.0]).repeat(len(words) // 2)  # women and men in turn

    def ahead(logits: Tensor) -> Tensor:
        return sign * (logits[:, -1, her] - logits[:, -1, him])

    test = against_random_heads(model, tokens, carriers, ahead)
    worst = test.baseline + strangers(test).min().item()
    return [test.baseline, test.baseline + test.effect, worst]


NumberTable(
    torch.tensor([carried(form, answers) for form, answers in other_forms.items()]),
    rows=list(other_forms),
    columns=["as it is", "without the two", "worst two strangers"],
    caption="logit difference",
    decimals=1,
)

# %% tags=["solution-only"]
elsewhere = against_random_heads(model, prompts.tokens, carriers, metric)
print(f"Without {' and '.join(carriers)}: he or she {second.test.effect / whole:+z.0%}, ", end="")
print(f"the indirect object {elsewhere.effect / difference:+z.0%}.")

# %% [markdown] tags=["solution-only"]
# What this leaves open: *where* the gender is looked up. The stream at the name holds it early, but
# I have not shown which MLP, or the embedding itself, puts it there. And there are only two
# answers: a head that always writes " he" would look useful on half of the prompts, which is why
# everything here is an average over twins.

# %% [markdown] tags=["course"]
# ## What is there, what is missing
#
# `review` reads `study` and this notebook, as it was last saved, and says what is there. So save
# first (Ctrl+S or Cmd+S).

# %% tags=["course"]
review(study, "06_inside_gpt2.ipynb")

# %% [markdown] tags=["course"]
# ## Show it
#
# `export` writes your investigation, as it was last saved, as one HTML page beside the notebook.
# Code is folded away, figures are in it; it loads nothing from elsewhere, so you can send it by
# mail. Open it and read it as somebody who knows nothing of this book.

# %% tags=["learner-only", "course"]
# export("06_inside_gpt2.ipynb")  # take the # away once review is content

# %% [markdown] tags=["solution-only", "course"]
# Here we let it write into a folder that is thrown away, and look at what it made. (A copy with at
# least one output: while the book is built, this notebook has none yet, and `export` refuses
# those.)

# %% tags=["solution-only", "course"]
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

saved = json.loads(Path("06_inside_gpt2.ipynb").read_text(encoding="utf-8"))
first_cell = next(cell for cell in saved["cells"] if cell["cell_type"] == "code")
first_cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "an output"}]
with TemporaryDirectory() as folder:
    copy = Path(folder, "06_inside_gpt2.ipynb")
    copy.write_text(json.dumps(saved), encoding="utf-8")
    page = export(copy)
    text = page.read_text(encoding="utf-8")
loads = re.findall(r"<(?:script|img|iframe|link)[^>]+(?:src|href)=.https?:", text)
print(f"{page.name}: {text.count('<h2')} sections, {len(loads)} things to load from elsewhere")

# %% [markdown] tags=["course"]
# ## What you found

# %% tags=["solution-only", "course"]
print(f"A head that looked right, {guess}: {first_claim.effect:+.1f} of {difference:.1f} logits.")
print(f"{second.claim.text} Without them {second.test.effect:+.1f} of {whole:.1f} logits,", end=" ")
print(f"without two strangers {strangers(second.test).min():+.1f} at worst.")

# %% tags=["course"]
if study.claim is not None and study.test is not None:
    print(study.claim.text)
    print(f"Without {' and '.join(study.test.heads)}: {study.test.effect:+.1f} logits;", end=" ")
    print(f"without random heads {study.test.random_effects.mean():+.1f} on average.")
progress(6)

# %% [markdown] tags=["course"]
# **Explain it to a colleague.** Without looking back: Which result would have refuted your claim,
# and how likely was it? Why twins, why a mean and not 0, why random heads of the same layers? What
# does your claim leave open? And the question that decides: if somebody repeats it on sentences
# that you have not seen, what will they find?
#
# **Read next.** Wang et al. 2022, "Interpretability in the Wild", all of it: you know now how each
# of its figures is made. Then chapter 7, on what lies beyond heads: patching on a map, features
# that share directions, and a vector that steers.
