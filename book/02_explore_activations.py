# %% [markdown]
# # Chapter 2: Explore activations
#
# You have built a transformer. Now we open one that somebody else trained, and look. Which head
# looks where? At which layer does the answer appear? Which heads does the model need to read a
# list that it has never seen, and to know how it goes on when it starts again? On the way you find
# previous-token heads and induction heads, the two halves of a circuit that chapter 5 takes apart.
#
# **After this chapter you can**
#
# - run any GPT-2 in TransformerLens, find an activation by its name, and change it on the way;
# - look at the attention patterns of all heads, and measure what you saw;
# - find the previous-token, duplicate-token and induction heads of a model, on a text made for it
#   and on one of your own;
# - say at which layer an answer appears, and which heads a model needs, not only which look right.
#
# **Time:** 2 to 3 hours, with 10 exercises and 4 quizzes. **You need:** chapter 1, or its words:
# residual stream, query, key, pattern, logits, nats.

# %%
from collections import Counter
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook import cache as ours
from circuitbook.attribution import logit_lens as lens_of_model
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.explore import explore
from circuitbook.interventions import Averaged, combined, metric_by_head, replace_head
from circuitbook.language import book_language
from circuitbook.language.english import TABLES
from circuitbook.lens import open_bridge
from circuitbook.model import loss_per_token
from circuitbook.parts import Head, head_named
from circuitbook.patterns import head_table
from circuitbook.plots import (
    AttentionView,
    HookMap,
    Table,
    plot_heads,
    plot_lens,
    plot_lines,
)
from circuitbook.published import gpt2_small
from circuitbook.zoo import load

# %% [markdown]
# ## A model that can be opened
#
# From here on each chapter runs on GPT-2 small where it can be had, and on the book's own small
# GPT, `pocket`, everywhere else. One line says which. The prompts are such that both can do them,
# and where we speak of GPT-2's own heads, their published numbers stand beside ours.
#
# **TransformerLens** is a library for looking inside models, and its names are those of this book.
# It wraps a model in a `TransformerBridge`, which lets you read and change what happens inside.
# `open_bridge` calls its `boot_transformers`: it opens the same folder that our chapter-1 code
# reads, and leaves the weights as they are. (With a network, `boot_transformers("gpt2")` fetches a
# model by its name.)

# %%
loaded = load()
model, tokenizer = loaded.model.requires_grad_(False), loaded.tokenizer
n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
bridge = open_bridge(loaded.folder)
print(f"{loaded.name}: {n_layers} layers of {n_heads} heads, d_model {model.cfg.d_model}")

# %% [markdown]
# `to_tokens` turns a text into tokens [batch pos], and `to_str_tokens` shows them. Both put
# `<|endoftext|>` first. In training it stood between one document and the next, so that whatever
# comes after it is the beginning of a text. A trap: if the text has it already, there are two of
# them now.

# %%
prompt = "When Mary and John went to the store, John gave a drink to"
tokens = bridge.to_tokens(prompt)
assert tokens[0].tolist() == tokenizer.encode("<|endoftext|>" + prompt)
print(" | ".join(bridge.to_str_tokens(prompt)))
print(f"{tokens.shape[1]} tokens;", end=" ")
print(f"{bridge.to_tokens('<|endoftext|>' + prompt).shape[1]} if the text begins with it already.")

# %% [markdown]
# `run_with_cache` runs the model and keeps every **activation** on the way: every tensor that has a
# name. What it keeps is the **cache**.

# %%
logits, cache = bridge.run_with_cache(tokens)
best = logits[0, -1].argmax()
assert tokenizer.decode([best.item()]) == " Mary"
print(f"{loaded.name} says{tokenizer.decode([best.item()])}, and keeps activations such as")
print([name for name in cache if name.startswith("blocks.1.")][:3])

# %% [markdown]
# ## Names and shapes
#
# A name is a path into the model: `blocks.1.attn.hook_pattern` is the pattern of the attention of
# layer 1. Most activations have two names, the older one, which we use, and a newer one that goes
# with the bridge's modules. And there is a short way to write it. Do they all mean the same
# numbers?

# %%
queries = cache["blocks.1.attn.hook_q"]
assert torch.equal(queries, cache["q", 1])  # the short way: (name, layer)
assert torch.equal(queries, cache["blocks.1.attn.q.hook_out"])  # the newer name
assert torch.equal(cache["resid_post", 0], cache["resid_pre", 1])  # two places, one stream
print("Three names for the queries of layer 1:", list(queries.shape))
print("What layer 0 leaves behind is what layer 1 reads.")

# %% [markdown]
# Here is the map. The blue band is the residual stream, from top to bottom as the model runs: a
# part *reads* it, computes, and *adds* to it. Each line is a **hook point**, a place where the
# model can be read or changed. The last column is the function of chapter 1 that makes it. Every
# layer has the same hook points. What `unembed` makes of the last line, `x @ W_U`, are the logits.

# %%
HookMap(cache, layer=0)

# %% [markdown]
# Which axis is the head's? In `q`, `k`, `v` and `z` it is the third: at each position there is one
# small vector a head. In `attn_scores` and `pattern` it is the second: for each head there is one
# square of positions.
#
# Our own `run_with_cache` (in `circuitbook.cache`) uses the same names. Does our code from chapter
# 1 make the same numbers?

# %%
_, our_cache = ours.run_with_cache(model, tokens)
gaps = {}
for name, activation in our_cache.items():
    mine, theirs = (each.clamp(min=-1e4) for each in (activation, cache[name]))  # masks: -inf or so
    gaps[name] = ((mine - theirs).abs().max() / theirs.abs().max()).item()
assert max(gaps.values()) < 1e-4
print(f"{len(gaps)} activations have the same name in both, and the same numbers to 4 digits.")

# %% [markdown]
# A wrong name is an error, here a bare `KeyError`; ours tells you what is near.

# %%
for source in (cache, our_cache):
    try:
        source["blocks.0.attn.hook_patern"]
    except (KeyError, ValueError) as error:
        print(f"{type(error).__name__}: {error}\n")

# %% [markdown]
# ### Exercise 2.1: names and shapes in the cache
# ●○○ · 10 minutes
#
# Return what one head computed, as a dict with the keys `"q"`, `"k"`, `"v"`, `"pattern"` and `"z"`,
# for all texts of the batch: `q`, `k`, `v` and `z` as [batch pos d_head], `pattern` as [batch q_pos
# k_pos]. Use the names `blocks.{layer}.attn.hook_...`.
#
# Source: TransformerLens, whose names these are.


# %%
def head_activations(cache, layer: int, head: int) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    attn = f"blocks.{layer}.attn"
    return {
        "q": cache[f"{attn}.hook_q"][:, :, head],
        "k": cache[f"{attn}.hook_k"][:, :, head],
        "v": cache[f"{attn}.hook_v"][:, :, head],
        "pattern": cache[f"{attn}.hook_pattern"][:, head],
        "z": cache[f"{attn}.hook_z"][:, :, head],
    }
    ### END SOLUTION


# %%
check("2.1", head_activations)

# %%
# hint("2.1")

# %% [markdown]
# **What you saw.** With a name and an axis you can reach every number in the model. A wrong axis
# often raises no error: it gives you numbers, of something else.

# %%
head_activations = answer("2.1")

# %% [markdown]
# So here is one head, complete. Two facts from chapter 1 must hold for it: the rows of its pattern
# sum to 1, and z is the pattern times the values.

# %%
one = head_activations(cache, layer=1, head=2)
for name, activation in one.items():
    print(f"{name:8}{list(activation.shape)}")
assert torch.allclose(one["pattern"].sum(dim=-1), torch.ones(tokens.shape), atol=1e-5)
assert torch.allclose(one["pattern"] @ one["v"], one["z"], atol=1e-4)
print("Rows sum to 1, and pattern @ v is z.")

# %%
### BEGIN SOLUTION: quiz("2-a")
quiz("2-a", "d")
### END SOLUTION

# %% [markdown]
# ## Hooks: read and change while the model runs
#
# A cache is for afterwards. A **hook** is a function that the model calls at a hook point, with the
# activation and the hook point; what it returns goes on in its place. A hook that returns what it
# got only looks.


# %%
def look(pattern: Tensor, hook) -> Tensor:
    print(f"{hook.name} came by: {list(pattern.shape)}")
    return pattern


looked = bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_pattern", look)])
assert torch.equal(looked, logits)

# %% [markdown]
# Now one that changes something. What will the model say if the attention of all layers after the
# first writes nothing? Guess: does it still know that a name comes, and which one?


# %%
def silence(activation: Tensor, hook) -> Tensor:
    return torch.zeros_like(activation)


silenced = [(f"blocks.{layer}.hook_attn_out", silence) for layer in range(1, n_layers)]
without = bridge.run_with_hooks(tokens, fwd_hooks=silenced)
mary, john = (tokenizer.encode(name)[0] for name in (" Mary", " John"))
for label, run in (("as it is", logits), ("silenced", without)):
    chances = run[0, -1].softmax(dim=-1)
    print(f"{label}: Mary {chances[mary]:.2f}, John {chances[john]:.2f};", end=" ")
    print(f"likeliest is{tokenizer.decode([chances.argmax().item()])}, {chances.max():.2f}")

# %%
assert without[0, -1].softmax(dim=-1)[mary] < 0.5 * logits[0, -1].softmax(dim=-1)[mary]
edits = {name: torch.zeros_like for name, _ in silenced}
assert torch.allclose(ours.run_with_edits(model, tokens, edits), without, atol=1e-2)
print("What layer 0 brings to the last word is not enough: the answer is gone.")
print("Our run_with_edits does the same with a dict of edits, and gives the same logits.")

# %% [markdown]
# ## Look at every pattern
#
# Before we measure anything: look. Here are the patterns of all heads, in every layer, on our
# sentence. A row reads, a column is read. Choose a head and hold the pointer on a word. What kinds
# do you find? Look for heads that read the word before, heads that read the first token, heads
# that read themselves. (The view is CircuitsVis'; where it cannot run you see still
# pictures. L1H3 is head 3 of layer 1, both counted from 0.)


# %% tags=["nbval-ignore-output"]
def patterns_of(cache, n_layers: int) -> Float[Tensor, "layer batch head q_pos k_pos"]:
    return torch.stack([cache["pattern", layer] for layer in range(n_layers)])


patterns = patterns_of(cache, n_layers)[:, 0]  # of the one text
names = [str(Head(layer, head)) for layer in range(n_layers) for head in range(n_heads)]
pieces = bridge.to_str_tokens(prompt)
AttentionView(patterns.flatten(0, 1), pieces, f"All heads of {loaded.name}", heads=names)

# %% [markdown]
# One question to all of them at once: what does the last word read most? It has to find out who
# gets the drink.

# %%
most_read = Counter(pieces[place] for place in patterns[:, :, -1].argmax(dim=-1).flatten())
for piece, count in most_read.most_common(4):
    print(f"{count} of {len(names)} heads read {piece!r} most")


# %%
def highest(scores: Float[Tensor, "layer head"]) -> Head:
    return Head(*divmod(scores.argmax().item(), scores.shape[1]))


to_mary = patterns[:, :, -1, pieces.index(" Mary")]
print(f"{highest(to_mary)} gives {to_mary.max():.0%} of the last word's attention to Mary.")

# %% [markdown]
# Looking finds ideas; it also finds what one hopes to see. So we turn each idea into a number that
# every head gets.

# %% [markdown]
# ### Exercise 2.2: mean attention to an offset
# ●○○ · 10 minutes
#
# How much does each head read from the position `offset` before its own, on average? An offset of
# 0 is the position itself, 1 the one just before. Average over texts and over all positions that
# have one so far before them: $\frac{1}{n - o} \sum_{i \ge o} A_{i, \, i - o}$, with $o$ for the
# offset and $n$ for the number of positions. The result is a number from 0 to 1 for each head.
#
# Source: Olsson et al. 2022, "In-context Learning and Induction Heads", on how heads are scored.


# %%
def attention_to_offset(
    pattern: Float[Tensor, "batch head q_pos k_pos"], offset: int
) -> Float[Tensor, " head"]:
    ### BEGIN SOLUTION
    return pattern.diagonal(offset=-offset, dim1=-2, dim2=-1).mean(dim=(0, -1))
    ### END SOLUTION


# %%
check("2.2", attention_to_offset)

# %%
# hint("2.2")

# %% [markdown]
# **What you saw.** "Looks at the word before" is a diagonal of the pattern. A head that did nothing
# else would score 1, and one that spreads its attention evenly scores little, though never 0.

# %%
attention_to_offset = answer("2.2")

# %% [markdown]
# Which heads of the whole model score highest at each offset?


# %%
def strongest(scores: Float[Tensor, "layer head"], count: int = 3) -> str:
    """Such as "L4H11 0.99, L3H7 0.53"."""
    values, places = scores.flatten().sort(descending=True)
    heads = [Head(*divmod(place, scores.shape[1])) for place in places[:count].tolist()]
    return ", ".join(f"{head} {value:.2f}" for head, value in zip(heads, values, strict=False))


for offset, place in enumerate(["itself", "1 before", "2 before", "3 before"]):
    scores = torch.stack([attention_to_offset(layer[None], offset) for layer in patterns])
    print(f"{place:9} {strongest(scores)}")

# %% [markdown]
# ## The previous-token head
#
# A head that reads the token just before each position sounds dull. But after it, a position knows
# its left neighbour, and it turns out that much is built on that. One sentence is thin evidence, so
# we take four, of the same length.

# %%
names_and_places = [("Mary", "John", "store", "drink"), ("Anna", "Tom", "park", "book")]
sentences = [
    f"When {one} and {other} went to the {place}, {giver} gave a {thing} to"
    for one, other, place, thing in names_and_places
    for giver in (one, other)
]
batch = bridge.to_tokens(sentences)
assert all(len(tokenizer.encode(text)) == batch.shape[1] - 1 for text in sentences)  # no padding
_, batch_cache = bridge.run_with_cache(batch)
batch_patterns = patterns_of(batch_cache, n_layers)
print("batch_patterns [layer batch head q_pos k_pos]:", list(batch_patterns.shape))

# %% [markdown]
# ### Exercise 2.3: previous-token scores of all heads
# ●○○ · 5 minutes
#
# Return the mean attention of every head in every layer to the position just before, as a table
# [layer head]. `patterns` are those of all layers. Each position counts but the first, which has
# none before it.
#
# Source: Framework, "Induction Heads", where such a head is the first half of the circuit.


# %%
def previous_token_scores(
    patterns: Float[Tensor, "layer batch head q_pos k_pos"],
) -> Float[Tensor, "layer head"]:
    ### BEGIN SOLUTION
    return torch.stack([attention_to_offset(pattern, 1) for pattern in patterns])
    ### END SOLUTION


# %%
check("2.3", previous_token_scores)

# %%
# hint("2.3")

# %% [markdown]
# **What you saw.** One number a head, and a whole model is a table that fits on a screen.

# %%
previous_token_scores = answer("2.3")

# %% [markdown]
# Three models side by side: ours; `two-layer`, which ships with the book and has two layers of
# attention and nothing else; and the real GPT-2 small, whose scores were published, measured on
# random tokens. Where is there a clear previous-token head?

# %%
two = load("two-layer")
two_tokens = [two.tokenizer.encode("<|endoftext|>" + sentence) for sentence in sentences]
_, two_cache = ours.run_with_cache(two.model, torch.tensor(two_tokens))
previous = {
    loaded.name: previous_token_scores(batch_patterns),
    "two-layer": previous_token_scores(patterns_of(two_cache, two.model.cfg.n_layers)),
    "GPT-2 small, published": gpt2_small().previous_token.value,
}
Table({"model": list(previous), "previous token": list(map(strongest, previous.values()))})

# %%
clear = {name: int((table > 0.8).sum()) for name, table in previous.items()}
for name, count in clear.items():
    print(f"{name}: {count} of {previous[name].numel()} heads score above 0.8")
if not clear[loaded.name]:
    print(f"{loaded.name} has no clear one: its best head gives {previous[loaded.name].max():.2f}.")

# %% [markdown]
# Where no head stands out, does nobody do the job, or do several share it? A score cannot tell. We
# will see which of these heads the model cannot do without.

# %% [markdown]
# ## Text that repeats itself
#
# What could a model do with a list of random words that comes twice? The first time there is
# nothing to go by. The second time everything is known: look for the last time that the present
# word came, and say what came after it. To see that ability and nothing else, we make such text.
#
# The words have to be ones that the model knows as single tokens: we take the nouns of the book's
# language.

# %%
nouns = [" " + word for word in TABLES["word"]["name"]]
words = torch.tensor([ids[0] for noun in nouns if len(ids := tokenizer.encode(noun)) == 1])
first = torch.tensor(tokenizer.encode("<|endoftext|>Repeat:"))
period = 8
print(f"{len(words)} words, such as{tokenizer.decode(words[60:64].tolist())}")
print(f"Each row begins with {tokenizer.pieces(first.tolist())}")

# %% [markdown]
# ### Exercise 2.4: a batch of repeated random tokens
# ●●○ · 15 minutes
#
# Return `batch` rows. Each begins with the tokens of `first`; then come `period` *different* words,
# drawn at random from `words`; then the same words again, in the same order. Draw for each row
# anew. Use torch's own random numbers (`torch.randperm` and the like), so that a seed set outside
# decides what comes.
#
# Why different words? If a word came twice within the list, "what came after it" would have two
# answers.
#
# Source: Olsson et al. 2022, who score heads on repeated random tokens.


# %%
def repeated_tokens(
    words: Int[Tensor, " word"], first: Int[Tensor, " first"], period: int, batch: int
) -> Int[Tensor, "batch pos"]:
    ### BEGIN SOLUTION
    drawn = [torch.randperm(len(words))[:period] for _ in range(batch)]
    once = words[torch.stack(drawn)]
    return torch.cat([first.expand(batch, -1), once, once], dim=1)
    ### END SOLUTION


# %%
check("2.4", repeated_tokens)

# %%
# hint("2.4")

# %% [markdown]
# **What you saw.** Nothing in such a text can be known from training: the words are drawn evenly,
# in any order. What the model gets right, it took from the text itself.

# %%
repeated_tokens = answer("2.4")

# %%
torch.manual_seed(0)
repeated = repeated_tokens(words, first, period, batch=8)
print(tokenizer.decode(repeated[0].tolist()))
repeated_logits, repeated_cache = bridge.run_with_cache(repeated)
repeated_patterns = patterns_of(repeated_cache, n_layers)

# %% [markdown]
# ## The induction head
#
# In A B C D A B C D, the second A wants to say B. An **induction head** reads, from the second A,
# the B that came after the first one. It has to find a position whose *left neighbour* is A. Which
# offset is that, if the list has `period` words? Write it down before you go on.

# %% [markdown]
# ### Exercise 2.5: induction scores
# ●●○ · 10 minutes
#
# Return each head's mean attention, over the second half, to the token that came after the present
# token's last occurrence. The second half are the last `period` positions; what stands before the
# first half does not matter.
#
# Source: Framework, "Induction Heads"; Olsson et al. 2022 call this prefix matching.


# %%
def induction_scores(
    pattern: Float[Tensor, "batch head q_pos k_pos"], period: int
) -> Float[Tensor, " head"]:
    ### BEGIN SOLUTION
    stripe = pattern.diagonal(offset=1 - period, dim1=-2, dim2=-1)
    return stripe[..., -period:].mean(dim=(0, -1))
    ### END SOLUTION


# %%
check("2.5", induction_scores)

# %%
# hint("2.5")

# %% [markdown]
# **What you saw.** The same token stands `period` back, so what came after it stands one less. One
# position off, and you would have measured another kind of head, the next exercise's.

# %%
induction_scores = answer("2.5")

# %% tags=["nbval-ignore-output"]
induction = torch.stack([induction_scores(pattern, period) for pattern in repeated_patterns])
inductor = highest(induction)
plot_heads(
    induction,
    f"{inductor} of {loaded.name} reads what came after the last occurrence: "
    f"{induction.max():.0%} of its attention",
    unit="share of attention",
)

# %% [markdown]
# That was on nouns. Does it matter which words we draw? If an induction head carries out a rule,
# any token will do. Guess: does it, in this model?

# %%
every_token = torch.arange(tokenizer.d_vocab)
every_token = every_token[every_token != tokenizer.end_of_text]
anything = repeated_tokens(every_token, first, period, batch=8)
_, anything_cache = bridge.run_with_cache(anything)
anything_patterns = patterns_of(anything_cache, n_layers)
on_anything = torch.stack([induction_scores(pattern, period) for pattern in anything_patterns])
print(f"on nouns:                  {strongest(induction)}")
print(f"on tokens of every kind:   {strongest(on_anything)}")
if on_anything.max() < induction.max() / 2:
    print(f"{loaded.name} has learned it for the words that come again in its texts, not for all.")
else:
    print(f"{loaded.name} does induction on tokens of every kind.")

# %% [markdown]
# What does such a head look like? Its pattern on the first list has a stripe that begins where the
# list starts again. Beside it, the strongest previous-token head on this text. A clear one would
# have its stripe just below the diagonal, and nothing else.

# %% tags=["nbval-ignore-output"]
on_lists = previous_token_scores(repeated_patterns)
before = highest(on_lists)
AttentionView(
    torch.stack([repeated_patterns[head.layer, 0, head.index] for head in (inductor, before)]),
    tokenizer.pieces(repeated[0].tolist()),
    f"{inductor}: a stripe in the second half. {before}: the nearest words",
    heads=[str(inductor), str(before)],
)

# %%
assert inductor.layer > before.layer
print(f"Induction: {strongest(induction)}")
print(f"Previous token, on this text: {strongest(on_lists)}")
near = [
    attention_to_offset(repeated_patterns[before.layer], back)[before.index] for back in range(3)
]
print(f"{before} reads itself {near[0]:.2f}, one before {near[1]:.2f}, two before {near[2]:.2f}.")
print(f"The best induction head ({inductor}) is in a later layer than {before}.")

# %% [markdown]
# It has to be later. At a position, a head can only compare what the stream there holds. To be
# found by "my left neighbour is A", a position must have been told what its left neighbour is, by a
# head in an earlier layer. (A head could also be told *at which position* A last stood, and read
# the next one. That, too, takes an earlier layer.) Chapter 5 takes the circuit apart; we go on
# looking.

# %% [markdown]
# ### Mr Jones
#
# Nobody writes lists twice. But texts do come back to what they have named: "Mr Jones ... Mr"
# wants " Jones" again. Here is a person with a made-up name. GPT-2 will hardly have met it, and in
# `pocket`'s language such names are drawn anew for each text. So whoever knows what comes after
# "Lornix" has read it here. The test: give him another second name, and see whether the answer
# follows.

# %%
story = "Yesterday Lornix {} came to the school with a ring. Later Lornix"
surnames = ["Tarvol", "Wenxan"]
pieces_of_them = [tokenizer.encode(f" {surname}")[0] for surname in surnames]
for place, surname in enumerate(surnames):
    chances = bridge(bridge.to_tokens(story.format(surname)))[0, -1].softmax(dim=-1)[pieces_of_them]
    print(f"Lornix {surname} ... Lornix:", end=" ")
    print(", ".join(f"{name} {chance:.2f}" for name, chance in zip(surnames, chances, strict=True)))
    assert chances.argmax() == place

# %% [markdown]
# The answer follows the text. (A name of several tokens is asked for its first.) And does the head
# that we found on lists of nouns do it here, too?

# %%
jones = bridge.to_tokens(story.format("Tarvol"))
_, jones_cache = bridge.run_with_cache(jones)
came_before = (jones[0, :-1] == jones[0, -1]).nonzero().flatten()[-1].item()
to_surname = patterns_of(jones_cache, n_layers)[:, 0, :, -1, came_before + 1]
read = tokenizer.pieces(jones[0].tolist())[came_before + 1]
print(f"From the last token to {read!r}: {strongest(to_surname)}")
inductors = to_surname[induction >= 0.5]
print(f"Of the {len(inductors)} heads that score 0.5 or more on lists, ", end="")
print(f"{(inductors > 0.3).sum()} give it more than 0.3 of their attention.")
assert inductors.max() > 0.3

# %% [markdown]
# Heads that we found on lists of random words do the same in a sentence. That is what makes them
# interesting: they carry out a rule, on words that never stood side by side before. (Source:
# Framework, "Induction Heads", on repeated random tokens.)

# %%
### BEGIN SOLUTION: quiz("2-b")
quiz("2-b", "b")
### END SOLUTION

# %% [markdown]
# ## A table of heads
#
# Two more kinds are easy to measure. A **duplicate-token head** reads the last occurrence of the
# present token itself. And a head can rest: each row of a pattern sums to 1, so it cannot read
# nothing, but where it finds nothing to do it can read the first token, which is always the same.
# In GPT-2 many heads do, much of the time. Do ours?

# %% [markdown]
# ### Exercise 2.6: a table that names each head's type
# ●●○ · 15 minutes
#
# For the heads of one layer, on repeated tokens, return a dict of three [head] tensors:
#
# - `"duplicate"`: mean attention over the second half to the same token's last occurrence;
# - `"first"`: mean attention to the first position, over all rows but the first, which can read
#   nothing else;
# - `"kind"`: what each head is called, as a place in the list ("previous", "duplicate",
#   "induction", "first", "-"), so 0 to 4. The highest of the first three scores decides, if it
#   reaches the threshold. If none does: 3 where the first-token score reaches it, else 4.
#
# The other two scores you have: `attention_to_offset(pattern, 1)` and `induction_scores`.
#
# Source: Wang et al. 2022, section 3, for duplicate-token heads; Vig and Belinkov 2019 for
# attention that rests on the first token.


# %%
def head_kinds(
    pattern: Float[Tensor, "batch head q_pos k_pos"], period: int, threshold: float
) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    length = pattern.shape[-1]
    second_half = pattern[:, :, -period:]
    duplicate = second_half.diagonal(length - 2 * period, dim1=-2, dim2=-1).mean(dim=(0, -1))
    first = pattern[:, :, 1:, 0].mean(dim=(0, -1))
    previous, induction = attention_to_offset(pattern, 1), induction_scores(pattern, period)
    highest, place = torch.stack([previous, duplicate, induction], dim=-1).max(dim=-1)
    resting = torch.where(first >= threshold, 3, 4)
    kind = torch.where(highest >= threshold, place, resting)
    return {"duplicate": duplicate, "first": first, "kind": kind}
    ### END SOLUTION


# %%
check("2.6", head_kinds)

# %%
# hint("2.6")

# %% [markdown]
# **What you saw.** A name is a threshold on a score, on one kind of text. It is a good way to find
# heads, and says nothing yet about what the model does with them.

# %%
head_kinds = answer("2.6")

# %% [markdown]
# Every head of our model, on the lists; a head gets a name if it spends half of its attention so.
# The library's `head_table` does what you wrote, for all layers; on the last one we compare.

# %%
table = head_table(repeated_cache, period, model.cfg, threshold=0.5)
kinds = ("previous", "duplicate", "induction", "first", "-")
last = head_kinds(repeated_patterns[-1], period, threshold=0.5)
assert [kinds[place] for place in last["kind"]] == [row.kind for row in table.rows[-n_heads:]]
table

# %%
for kind in kinds:
    named = table.of_kind(kind).names
    print(f"{kind:10}{len(named):3} of {n_heads * n_layers} heads", *named[:5] * (kind != "-"))

# %% [markdown]
# And the real GPT-2 small? Its scores were published, for 100 random tokens that come twice. Beside
# them ours, and those of `two-layer` on our lists. Before you look: in which part of GPT-2's twelve
# layers do you expect its induction heads?

# %%
two_words = torch.tensor([two.tokenizer.encode(noun)[0] for noun in nouns])
two_first = torch.tensor([two.tokenizer.end_of_text])
torch.manual_seed(0)
two_repeated = repeated_tokens(two_words, two_first, period, batch=8)
_, two_cache = ours.run_with_cache(two.model, two_repeated)


def kinds_of_score(patterns: Float[Tensor, "layer batch head q_pos k_pos"]) -> dict[str, Tensor]:
    duplicate = [head_kinds(pattern, period, 0.5)["duplicate"] for pattern in patterns]
    return {
        "previous token": previous_token_scores(patterns),
        "duplicate token": torch.stack(duplicate),
        "induction": torch.stack([induction_scores(pattern, period) for pattern in patterns]),
    }


# %%
published = gpt2_small()
found = {
    loaded.name: kinds_of_score(repeated_patterns),
    "two-layer": kinds_of_score(patterns_of(two_cache, two.model.cfg.n_layers)),
    "GPT-2 small, published": {
        "previous token": published.previous_token.value,
        "duplicate token": published.duplicate_token.value,
        "induction": published.induction.value,
    },
}
columns = {name: list(map(strongest, scores.values())) for name, scores in found.items()}
Table({"kind": list(found["two-layer"])} | columns)

# %%
for name, scores in found.items():
    depth = {kind: divmod(one.argmax().item(), one.shape[1])[0] for kind, one in scores.items()}
    several = int((scores["induction"] >= 0.5).sum())
    assert depth["previous token"] < depth["induction"] and several > 1
    print(f"{name}: best previous-token head in layer {depth['previous token']},", end=" ")
    print(f"best induction head in layer {depth['induction']};", end=" ")
    layers = sorted(set((scores["induction"] >= 0.5).nonzero()[:, 0].tolist()))
    print(f"{several} heads reach 0.5 in induction, in layer {', '.join(map(str, layers))}.")
print("In each model the best previous-token head comes first, and several heads do induction.")

# %%
print(published.induction.source)
print(published.induction.setting)

# %% [markdown]
# ## The loss knows it, too
#
# Patterns show where heads look. Does the model *profit*? Its loss says so: the surprise at each
# position, in nats.

# %%
### BEGIN SOLUTION: quiz("2-c")
quiz("2-c", 4.82)
### END SOLUTION

# %% [markdown]
# ### Exercise 2.7: loss by position
# ●●○ · 10 minutes
#
# `losses` [batch guess] are those of repeated tokens, `loss_per_token` of chapter 1; the last
# $2 \cdot$ `period` guesses are about the words. Average over the batch, and return a dict:
#
# - `"by position"`: the mean loss at each of the $2 \cdot$ `period` words;
# - `"first time"` and `"second time"`: the mean over the words of each half, from its *second* word
#   on (nothing announces that the list starts again, so the first word is a free guess);
# - `"falls at"`: the place among the words, counted from 0, at which the loss falls most compared
#   with the word before.
#
# Source: Olsson et al. 2022, on in-context learning as loss by position.


# %%
def loss_on_repeats(losses: Float[Tensor, "batch guess"], period: int) -> dict[str, object]:
    ### BEGIN SOLUTION
    words = losses.mean(dim=0)[-2 * period :]
    return {
        "by position": words,
        "first time": words[1:period].mean(),
        "second time": words[period + 1 :].mean(),
        "falls at": (words[:-1] - words[1:]).argmax().item() + 1,
    }
    ### END SOLUTION


# %%
check("2.7", loss_on_repeats)

# %%
# hint("2.7")

# %% [markdown]
# **What you saw.** One curve by position holds what an average over the text would have hidden.

# %%
loss_on_repeats = answer("2.7")

# %% tags=["nbval-ignore-output"]
repeat_losses = loss_on_repeats(loss_per_token(repeated_logits, repeated), period)
drop = (repeat_losses["first time"] - repeat_losses["second time"]).item()
plot_lines(
    torch.arange(1, 2 * period + 1),
    {loaded.name: repeat_losses["by position"]},
    f"The second time, a word costs {drop:.1f} nats less",
    x_title=f"word (the list starts again at word {period + 1})",
    y_title="loss (nats)",
    floors={f"an even guess among {len(words)} words": torch.tensor(len(words)).log().item()},
)

# %%
for when in ("first time", "second time"):
    print(f"{when}: {repeat_losses[when]:.1f} nats per word")
print(f"It falls most at word {repeat_losses['falls at'] + 1};", end=" ")
print(f"the list starts again at word {period + 1}.")
assert repeat_losses["second time"] < repeat_losses["first time"] - 1

# %% [markdown]
# This is **in-context learning** at its plainest: nothing was trained between the first list and
# the second, and yet the model predicts better, from what it has just read. On ordinary text the
# same shows as a loss that falls with the position. Here is `pocket` on its own language, at the
# beginning of a window of text and further on:

# %%
pocket = load("pocket").model.requires_grad_(False)
windows = next(book_language().batches(32, 128, seed=5))
by_position = loss_per_token(pocket(windows), windows).mean(dim=0)
parts = {
    "tokens 1 to 8": by_position[:8],
    "9 to 32": by_position[8:32],
    "33 to 127": by_position[32:],
}
for part, part_losses in parts.items():
    print(f"{part:14}{part_losses.mean():.1f} nats per token")
assert by_position[:8].mean() > by_position[32:].mean() + 0.2
print(f"Best possible with all the context: {book_language().losses().best:.1f}")

# %% [markdown]
# ## The logit lens: when does the answer appear?
#
# The residual stream is a sum that grows from layer to layer, and only its end is unembedded. What
# if we unembed it earlier, as if the model stopped there? That is the **logit lens**.
#
# One choice has to be stated. The final LayerNorm divides by the size of what it reads, and an
# early stream is mostly smaller than the last. Divide each by its *own* size, and we ask what the
# model would say if it stopped there. Divide all by the size of the *last*, and the step from row
# to row is what a layer added. Both are in use, and papers do not always say which.

# %% [markdown]
# ### Exercise 2.8: the logit lens
# ●●○ · 15 minutes
#
# `streams` [stream d_model] are the residual stream at one position, earliest first, the last being
# what the model itself unembeds. Return the logits [stream d_vocab] of each: centre it, divide by
# the *last* stream's scale $\sqrt{\mathrm{Var}(x_{last}) + \varepsilon}$, multiply by `w`, add `b`,
# then multiply by `W_U`. So the last row is the model's own output.
#
# Source: nostalgebraist 2020, "interpreting GPT: the logit lens", there with each stream's own
# scale; with the last one's for all, as here, in TransformerLens' demos.


# %%
def logit_lens(
    streams: Float[Tensor, "stream d_model"],
    w: Float[Tensor, " d_model"],
    b: Float[Tensor, " d_model"],
    eps: float,
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Float[Tensor, "stream d_vocab"]:
    ### BEGIN SOLUTION
    centred = streams - streams.mean(dim=-1, keepdim=True)
    scale = (centred[-1].pow(2).mean() + eps).sqrt()
    return (centred / scale * w + b) @ W_U
    ### END SOLUTION


# %%
check("2.8", logit_lens)

# %%
# hint("2.8")

# %% [markdown]
# **What you saw.** Except for the borrowed scale, this is the end of the forward pass, applied too
# early. It works as far as the layers speak one language, and nothing forces them to.

# %%
logit_lens = answer("2.8")

# %% [markdown]
# A sentence that asks for the capital of France: from which stage on is " Paris" what the model
# says?

# %%
question = "We left France by train from its capital,"
capital_logits, capital_cache = bridge.run_with_cache(bridge.to_tokens(question))
places = [
    f"blocks.{i}.{name}" for i in range(n_layers) for name in ("hook_resid_pre", "hook_resid_mid")
]
places.append(f"blocks.{n_layers - 1}.hook_resid_post")
streams = torch.stack([capital_cache[name][0, -1] for name in places])

norm = model.ln_final
lens = logit_lens(streams, norm.w, norm.b, norm.eps, model.W_U)
assert torch.allclose(lens[-1], capital_logits[0, -1], atol=1e-2)  # the model's own output
print([tokenizer.decode([token]) for token in lens.argmax(dim=-1).tolist()])

# %% [markdown]
# That was in the last scale. The library's `logit_lens`, here `lens_of_model`, takes each stream's
# own unless told otherwise: what would the model say if it stopped there? Does the choice matter?

# %%
library_lens = lens_of_model(capital_cache, model, pos=None)  # every position
own = library_lens.logits[:, 0, -1]
same = (own.argmax(dim=-1) == lens.argmax(dim=-1)).sum()
print(f"At {same} of {len(own)} stages both scales find the same token the likeliest.")

# %%
paris = tokenizer.encode(" Paris")[0]
ranks = 1 + (own > own[:, [paris]]).sum(dim=-1)  # 1 is the likeliest token
appears = max((row for row, rank in enumerate(ranks) if rank > ranks[-1]), default=-1) + 1
stage = library_lens.streams[appears]
reached = "the likeliest token" if ranks[-1] == 1 else f"number {ranks[-1]}"
early, final = own[[appears, -1]].softmax(dim=-1)[:, paris]
print(f'" Paris" is {reached} {stage}, and from there on.')
print(
    f"If the model stopped there it would give it {early:.2f}; at its end it gives it {final:.2f}."
)

# %% [markdown]
# Now every position at once, each stream in its own scale, so that the probabilities are those of a
# model that stops there. Bold is the token that really comes next.

# %% tags=["nbval-ignore-output"]
share, likeliest = library_lens.logits[:, 0].softmax(dim=-1).max(dim=-1)
come = torch.tensor(tokenizer.encode(question + " Paris"))
right = library_lens.logits[:, 0].gather(-1, come[None, :, None].expand(len(share), -1, 1))
plot_lens(
    share,
    [tokenizer.pieces(row) for row in likeliest.tolist()],
    f'" Paris" is {reached} {stage}',
    rows=library_lens.streams,
    columns=bridge.to_str_tokens(question),
    ranks=1 + (library_lens.logits[:, 0] > right).sum(dim=-1),
)

# %% [markdown]
# Before its last stages a stream often repeats the token that was read, or says a word that fits
# anywhere. The answer comes late. In steps? And whose? On the four sentences with two names we ask
# for one number: the logit of the right name minus that of the other. With the last scale for all,
# each step is what that attention or MLP added.

# %%
receivers = [" John", " Mary", " Tom", " Anna"]
givers = [" Mary", " John", " Anna", " Tom"]
right_ids, wrong_ids = (
    [tokenizer.encode(name)[0] for name in names] for names in (receivers, givers)
)
names_lens = lens_of_model(batch_cache, model, right_ids, wrong_ids, scale="final")
differences = names_lens.mean().logits
steps = differences.diff()
top = steps.argmax().item()
print(f"At the end: {differences[-1]:.1f} logits for the right name.")
print(f"Largest step: {steps[top]:+.1f}, and the stream is then {names_lens.streams[top + 1]}.")
later = differences[-1] - differences[top + 1]
print(f"All that comes later adds {later:+.1f}." if top + 1 < len(steps) else "It is the last.")
assert differences[-1] > 1

# %% [markdown]
# GPT-2 small's lens on eight such sentences was published. Do its last layers add to the answer?

# %% tags=["nbval-ignore-output"]
gpt2_lens = published.logit_lens
gpt2_steps = gpt2_lens.value.diff()
gpt2_top = gpt2_steps.argmax().item()
depth = torch.arange(25)  # GPT-2 has 24 half-layers; ours are stretched to as many
plot_lines(
    depth / 24,
    {
        loaded.name: differences[depth * (len(differences) - 1) // 24],
        "GPT-2 small, published": gpt2_lens.value,
    },
    f"Largest step: {names_lens.streams[top + 1]} in {loaded.name}, "
    f"{gpt2_lens.labels[gpt2_top + 1]} in GPT-2 small as published",
    x_title="share of the model's half-layers that have run",
    y_title="right name minus the other (logits)",
)

# %%
print(f"GPT-2 small: largest step {gpt2_steps[gpt2_top]:+.1f}, then the stream is", end=" ")
print(f"{gpt2_lens.labels[gpt2_top + 1]}: after the attention of that layer.")
print(f"All that comes later adds {gpt2_lens.value[-1] - gpt2_lens.value[gpt2_top + 1]:+.1f}.")
assert gpt2_lens.labels[gpt2_top + 1].endswith("mid")
verdict = "against" if gpt2_lens.value[-1] < gpt2_lens.value[gpt2_top + 1] else "for"
print(f"In GPT-2 the last layers work {verdict} the right name. Chapter 3 asks which heads do.")

# %% [markdown]
# ## Which heads does it need?
#
# A score says where a head looks. Whether the model *needs* it is another question, and only an
# intervention answers it: take the head away, and see what breaks. There are two usual ways.
# **Zero-ablation** puts 0 in place of what the head brings, its `z`. But 0 may be something that
# the model never sees. **Mean-ablation** puts the head's average there, so that only what is
# special about this position and text is lost.

# %% [markdown]
# ### Exercise 2.9: a hook that ablates a head
# ●●○ · 15 minutes
#
# Write a hook for `hook_z` [batch pos head d_head]. It returns z with one head replaced: by 0, or
# (`by_mean`) by the mean of that head's z over texts and positions, a vector of $d_{head}$ numbers.
# The hook point itself comes as `hook`; you need not use it.
#
# Source: Wang et al. 2022, section 2, on why to ablate by the mean and not by zero.


# %%
def ablate_head(
    z: Float[Tensor, "batch pos head d_head"], hook: object, head: int, by_mean: bool
) -> Float[Tensor, "batch pos head d_head"]:
    ### BEGIN SOLUTION
    ablated = z.clone()
    ablated[:, :, head] = z[:, :, head].mean(dim=(0, 1)) if by_mean else 0
    return ablated
    ### END SOLUTION


# %%
check("2.9", ablate_head)

# %%
# hint("2.9")

# %% [markdown]
# **What you saw.** Three lines are an experiment. The forward pass stays as it is; the hook decides
# what if.

# %%
ablate_head = answer("2.9")

# %% [markdown]
# `partial` fixes the head, so that TransformerLens can call the hook with the activation alone.
# First our best induction head: what does the second half cost without it?


# %%
def cost_of_second_half(logits: Float[Tensor, "batch pos d_vocab"]) -> float:
    return loss_on_repeats(loss_per_token(logits, repeated), period)["second time"].item()


usual = cost_of_second_half(repeated_logits)
for by_mean in (False, True):
    hook = partial(ablate_head, head=inductor.index, by_mean=by_mean)
    ablated = bridge.run_with_hooks(
        repeated, fwd_hooks=[(f"blocks.{inductor.layer}.attn.hook_z", hook)]
    )
    how = "its mean" if by_mean else "zero"
    print(f"{inductor} replaced by {how}: {usual:.1f} → {cost_of_second_half(ablated):.1f} nats")

# %% [markdown]
# And every other head, one after the other? The library's `metric_by_head` runs the same experiment
# for all of them, each from the layer that it changes. Which head do you expect to be needed most?

# %%
without_each = metric_by_head(model, repeated, cost_of_second_half, by=Averaged(repeated_cache))
assert abs(without_each.values[inductor] - cost_of_second_half(ablated)) < 0.01  # as by hand
for name in without_each.strongest(4):
    effect = without_each.effects[head_named(name, model.cfg)]
    print(f"{name} replaced by its mean: {effect:+.1f} nats")

# %% tags=["nbval-ignore-output"]
needed = highest(without_each.effects)
plot_heads(
    without_each.effects,
    f"Without {needed} the second list costs {without_each.effects.max():.1f} nats more",
    unit="loss of the second half, more than usual (nats)",
)

# %%
print(f"Needed most: {needed} (+{without_each.effects[needed]:.1f} nats).")
print(f"It scores {induction[needed]:.2f} in induction, {on_lists[needed]:.2f} in previous token,")
print(
    f"which makes it number {1 + (on_lists > on_lists[needed]).sum()} of the previous-token heads."
)
missed = {
    name: without_each.effects[head_named(name, model.cfg)]
    for name in table.of_kind("induction").names
}
for name, effect in missed.items():
    print(f"Without {name}, called an induction head: {effect:+.1f} nats.")

# %% [markdown]
# Looking and mattering are two things. A head with a modest score may be one that all the others
# build on, and a head with a splendid score may be one of several that do the same.
#
# One more question to the same experiment. If an induction head builds on a previous-token head,
# then it should lose its *place* when that one is silenced, though nothing in it has changed. We
# take away the strongest previous-token head and look at the best induction head's score.

# %%
silent = replace_head(before, model.cfg, by=Averaged(repeated_cache))
_, silent_cache = ours.run_with_cache(model, repeated, edits=silent)
found_alone = induction_scores(silent_cache["pattern", inductor.layer], period)[inductor.index]
print(f"{inductor}'s induction score without {before}: ", end="")
print(f"{induction[inductor]:.2f} → {found_alone:.2f}")
if found_alone < 0.8 * induction[inductor]:
    print(f"{inductor} finds its place with the help of {before}.")
else:
    print(f"{inductor} finds its place without {before}, too: others must help it.")

# %% [markdown]
# Last, the clean case. In `two-layer` the induction heads can learn about neighbours from the
# layer below alone. What is left of their scores without its clear previous-token heads?

# %%
clear_heads = (found["two-layer"]["previous token"] > 0.8).nonzero().tolist()
lookers = [Head(*place) for place in clear_heads]
taken_away = combined(*[replace_head(head, two.model.cfg, by=0.0) for head in lookers])
_, broken = ours.run_with_cache(two.model, two_repeated, edits=taken_away)
after = kinds_of_score(patterns_of(broken, two.model.cfg.n_layers))
print(f"Induction scores in two-layer, as it is and without {' and '.join(map(str, lookers))}:")
for place in found["two-layer"]["induction"].flatten().argsort(descending=True)[:4].tolist():
    head = Head(*divmod(place, two.model.cfg.n_heads))
    print(f"{head}: {found['two-layer']['induction'][head]:.2f} → {after['induction'][head]:.2f}")
assert found["two-layer"]["induction"].max() > 0.8 and after["induction"].max() < 0.3

# %%
### BEGIN SOLUTION: quiz("2-d")
quiz("2-d", "a", "c")
### END SOLUTION

# %% [markdown]
# ## On a text of your own
#
# Lists are made for measuring. Your own text has no period: a word comes again wherever it does.

# %% [markdown]
# ### Exercise 2.10: find the heads on a text of your own
# ●●○ · 15 minutes
#
# Return the induction score of every head on any text: for each position whose token has come
# before, take the *last* time it did, and the position right after that. The score is the mean
# attention between these pairs of positions. You may take for granted that some token comes twice.
#
# Source: Olsson et al. 2022, on prefix matching in natural text.


# %%
def induction_on_text(
    patterns: Float[Tensor, "layer head q_pos k_pos"], tokens: Int[Tensor, " pos"]
) -> Float[Tensor, "layer head"]:
    ### BEGIN SOLUTION
    reads, is_read = [], []
    for now in range(len(tokens)):
        earlier = [pos for pos in range(now) if tokens[pos] == tokens[now]]
        if earlier:
            reads.append(now)
            is_read.append(earlier[-1] + 1)
    return patterns[:, :, reads, is_read].mean(dim=-1)
    ### END SOLUTION


# %%
check("2.10", induction_on_text)

# %%
# hint("2.10")

# %% [markdown]
# **What you saw.** The rule of an induction head, in two lines: find the last time, read what came
# next. The head does it with one product of queries and keys.

# %%
induction_on_text = answer("2.10")

# %% [markdown]
# Put a text of your own here, one in which a name or a phrase comes back. (For `pocket` take words
# of its language: it has met no others.)

# %%
my_text = "We know that Kelgar Wenxan and Tom work at the museum. They say Kelgar"
mine = bridge.to_tokens(my_text)
my_logits, my_cache = bridge.run_with_cache(mine)
my_scores = induction_on_text(patterns_of(my_cache, n_layers)[:, 0], mine[0])
print(f"It goes on with{tokenizer.decode([my_logits[0, -1].argmax().item()])}")
print(f"Induction on this text: {strongest(my_scores)}")
print(f"On the lists it was:    {strongest(induction)}")

# %% [markdown]
# And to look at any prompt, head by head: the explorer shows tokens, one head's attention, the lens
# and (chapter 3) who wrote the answer. Type your own text, and try to find a head that we have no
# name for.

# %% tags=["nbval-ignore-output"]
explore(loaded, story.format("Tarvol"))

# %% [markdown]
# ## What you found

# %%
print(f"{loaded.name}, {n_layers} layers of {n_heads} heads:")
print(f"- previous token, on lists: {strongest(on_lists, 2)}")
print(
    f"- induction: {strongest(induction, 2)}; in a made-up name {inductor} gives the right place "
    f"{to_surname[inductor]:.2f} of its attention"
)
print(
    f"- a list costs {repeat_losses['first time']:.1f} nats a word the first time, "
    f"{repeat_losses['second time']:.1f} the second"
)
print(f"- needed most for that: {needed} (+{without_each.effects.max():.1f} nats without it)")
print(f'- " Paris" is {reached} {stage}')
print(f"- the largest step towards the right name: the stream {names_lens.streams[top + 1]}")
progress(2)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why must a previous-token head come before an
# induction head? Which offset would you look at to find a duplicate-token head, and which to find
# an induction head? What does the logit lens take for granted? Why is a head's score no measure of
# its importance, and what would you do to measure that?
#
# **Read next.** Framework, "Induction Heads", which found these heads in a two-layer model; then
# Olsson et al. 2022, "In-context Learning and Induction Heads", the first two sections. Chapter 3
# asks who wrote the answer: which head pushed for it, and by how many logits.
