# %% [markdown]
# # Chapter 4: QK and OV circuits
#
# So far we ran a model and watched. Now we read a head's weights, before any text comes in. Four
# matrices seem a lot, but they only ever work in pairs: one pair decides where the head looks,
# the other what it moves. Read right, each pair is one matrix that says something about tokens.
#
# **After this chapter you can**
#
# - write a head as two matrices of low rank, and say why none of its four means anything alone;
# - ask a head's QK circuit which tokens want to read which, and its OV circuit what follows;
# - search a matrix of 50,257 × 50,257 entries without ever holding it;
# - compute the copying score of every head of a model, and say where it misleads about GPT-2's;
# - tell the story of one head from its weights, and try to refute it.
#
# **Time:** 3 hours, with 10 exercises and 4 quizzes. **You need:** chapter 1 (attention), chapter
# 2 (previous-token and induction heads), chapter 3 (attribution); singular values and eigenvalues.

# %%
import copy

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook import circuits as library
from circuitbook.attribution import head_attribution, logit_attribution
from circuitbook.cache import run_from, run_with_cache, run_with_edits
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.interventions import Averaged, replace_head
from circuitbook.language import book_language
from circuitbook.language.english import TABLES
from circuitbook.model import Config, layer_norm, mlp
from circuitbook.parts import Head, all_heads, head_named
from circuitbook.patterns import head_table, repeated_tokens
from circuitbook.plots import (
    AttentionView,
    NumberTable,
    Table,
    plot_eigenvalues,
    plot_histogram,
    plot_matrix,
    plot_singular_values,
)
from circuitbook.published import compare, gpt2_small
from circuitbook.weights import processed
from circuitbook.zoo import load

loaded = load()
tokenizer = loaded.tokenizer
model = processed(loaded.model).requires_grad_(False)

# %% [markdown]
# `processed` folds each LayerNorm's weights into the matrices that read through it, and centres
# what is written (chapter 3). Without that, a head's matrices are not what acts on the stream.
#
# Beside this model we use a simpler one, which ships with the book: `two-layer` has two layers of
# attention and nothing else, no MLP, no LayerNorm, no biases. In it the mathematics of this
# chapter is exact. What is left of it in a real GPT-2 is the question of the second half.

# %%
toy = load("two-layer")
small = toy.model.requires_grad_(False)
print(f"two-layer: {small.cfg.n_layers} layers of {small.cfg.n_heads} heads,", end=" ")
print(f"d_model {small.cfg.d_model}, d_head {small.cfg.d_head}")

# %% [markdown]
# To have heads to ask about, we look where each of them reads on random words that come twice
# (chapter 2).

# %%
nouns = TABLES["word"]["name"]
toy_words = torch.tensor([toy.tokenizer.encode(f" {noun}")[0] for noun in nouns])
toy_tokens = repeated_tokens(toy_words, toy.tokenizer.encode("<|endoftext|>")[0], 12, 20)
_, toy_cache = run_with_cache(small, toy_tokens)
table = head_table(toy_cache, 12, small.cfg)
previous, inductor = (table.strongest(kind, 1).rows[0].head for kind in ("previous", "induction"))
assert previous.layer == 0 and inductor.layer == 1
print(f"{previous} reads the token before; {inductor} reads what followed this token last time.")

# %% [markdown]
# ## A head is two maps
#
# A head compares the query of one position with the key of another, $q \cdot k$, and then moves
# a value through $W_O$. Put the definitions in (vectors are rows):
#
# $$q \cdot k = (x_q W_Q)(x_k W_K)^\top = x_q \; \underbrace{W_Q W_K^\top}_{W_{QK}} \; x_k^\top
# \qquad v W_O = x_k \; \underbrace{W_V W_O}_{W_{OV}}$$
#
# In a head without biases the four matrices never appear but in these two products. $W_{QK}$ is
# the **QK circuit**: where to look. $W_{OV}$ is the **OV circuit**: what is moved from there. Both
# are $d_{model} \times d_{model}$, from stream to stream. The two have nothing in common but the
# head's name.

# %% [markdown]
# ### Exercise 4.1: W_QK and W_OV, and their ranks
# ●○○ · 10 minutes
#
# Return $W_{QK}$, $W_{OV}$ and a tensor of their two ranks, in this order. The **rank** is how
# many singular values are not 0. On a computer those that should be 0 are rounding errors, so
# count those above $10^{-5}$ of the greatest.
#
# Source: Framework, "Splitting Attention Head terms into Query-Key and Output-Value Circuits".


# %%
def qk_and_ov(
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
) -> tuple[
    Float[Tensor, "d_model d_model"], Float[Tensor, "d_model d_model"], Int[Tensor, " circuit=2"]
]:
    ### BEGIN SOLUTION
    W_QK = W_Q @ W_K.mT
    W_OV = W_V @ W_O
    ranks = torch.linalg.matrix_rank(torch.stack([W_QK, W_OV]), rtol=1e-5)
    return W_QK, W_OV, ranks
    ### END SOLUTION


# %%
check("4.1", qk_and_ov)

# %%
# hint("4.1")

# %% [markdown]
# **What you saw.** Large matrices of small rank: all the head can see of a query and a key, and
# all it can move, passes through $d_{head}$ numbers.

# %%
qk_and_ov = answer("4.1")

# %% [markdown]
# Are these two matrices really all there is? We take the stream as the induction head's layer saw
# it, compute scores and output from $W_{QK}$ and $W_{OV}$ alone, and compare with what the model
# recorded.

# %%
layer, index = inductor
W_QK, W_OV, ranks = qk_and_ov(
    small.W_Q[layer, index],
    small.W_K[layer, index],
    small.W_V[layer, index],
    small.W_O[layer, index],
)
x = toy_cache["resid_pre", layer]
scores = einsum(x @ W_QK, x, "batch q_pos d, batch k_pos d -> batch q_pos k_pos")
scores = scores / small.cfg.d_head**0.5
seen = toy_cache["attn_scores", layer][:, index]
written = toy_cache["pattern", layer][:, index] @ x @ W_OV
recorded = toy_cache["z", layer][:, :, index] @ small.W_O[layer, index]
assert torch.allclose(scores[seen > -1e4], seen[seen > -1e4], atol=1e-3)
assert torch.allclose(written, recorded, atol=1e-3)
print(f"{inductor}: W_QK and W_OV are {list(W_QK.shape)}, of ranks {ranks.tolist()}.")
print("Scores from W_QK and output from W_OV equal the recorded ones, to 3 decimals.")

# %% [markdown]
# A model with biases has a little more: $(x_q W_Q + b_Q)(x_k W_K + b_K)^\top$ has four terms. Two
# of them do not contain $x_k$. They move a whole row of scores up or down, and the softmax does
# not see that. What stays besides $W_{QK}$ is $b_Q (x_k W_K)^\top$: a taste for some keys, whoever
# asks. (On the other side $b_V$ and $b_O$ add the same vector wherever the head looks, for each row
# of a pattern sums to 1.) Is that all, in the model that we loaded?

# %%
text = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
tokens = torch.tensor([tokenizer.encode(text)])
logits, cache = run_with_cache(model, tokens)
last = model.cfg.n_layers - 1
x = cache[f"blocks.{last}.ln1.hook_normalized"][0]
scores = x[-1] @ (model.W_Q[last] @ model.W_K[last].mT) @ x.T
taste = einsum(model.b_Q[last], x @ model.W_K[last], "head d_head, head pos d_head -> head pos")
pattern = ((scores + taste) / model.cfg.d_head**0.5).softmax(dim=-1)
assert torch.allclose(pattern, cache["pattern", last][0, :, -1], atol=1e-3)
print("W_QK and the taste for keys give the last layer's patterns, to 3 decimals.")

# %% [markdown]
# The two maps are of different kinds. $W_{OV}$ is linear in one vector. $W_{QK}$ takes two: it is
# **bilinear**, it depends on both ends at once. If a score were "how much this query looks around"
# plus "how much this key is worth reading", then in any two rows and columns
# $s_{11} + s_{22} = s_{12} + s_{21}$. Does that hold?

# %%
ends = small.W_E[toy_words[:2]]
s = ends @ W_QK @ ends.mT
together = s[0, 0] + s[1, 1] - s[0, 1] - s[1, 0]
moved = (ends[0] + ends[1]) @ W_OV - ends[0] @ W_OV - ends[1] @ W_OV
assert together.abs() > 0.2 and moved.abs().max() < 1e-3
print(f"W_QK: left over is {together:.1f}, so which key is best depends on who asks.")
print("W_OV: two vectors together move the sum of what each moves, to 3 decimals.")

# %% [markdown]
# ## W_Q and W_K alone mean nothing
#
# It is tempting to look at $W_Q$ itself: which of its numbers are large, which rows look alike.
# But choose any invertible $M$ $[d_{head} \; d_{head}]$ and let the head's queries be $q M$. Is
# there a $W_K'$ with which every score stays as it is?

# %% [markdown]
# ### Exercise 4.2: a head in another basis
# ●●○ · 10 minutes
#
# Return new $W_Q, W_K, W_V, W_O$ of the same head, in this order: its queries are now $q M$, its
# values $v M$, and every score and everything it writes is what it was.
#
# $$W_Q' W_K'^\top = W_Q W_K^\top \qquad W_V' W_O' = W_V W_O$$
#
# Source: Framework, "Observations about Attention Heads".


# %%
def in_another_basis(
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    M: Float[Tensor, "d_head d_head"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ### BEGIN SOLUTION
    inverse = torch.linalg.inv(M)
    return W_Q @ M, W_K @ inverse.mT, W_V @ M, inverse @ W_O
    ### END SOLUTION


# %%
check("4.2", in_another_basis)

# %%
# hint("4.2")

# %% [markdown]
# **What you saw.** $M$ and its inverse meet in the middle and vanish. Every head can be written in
# infinitely many ways, and they all are the same head.

# %%
in_another_basis = answer("4.2")

# %% [markdown]
# Let us do it to the induction head and run the model. What will change: its queries, the logits,
# both, neither?

# %%
M = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
disguised = copy.deepcopy(small)
attention = disguised.blocks[layer].attn
names = ("W_Q", "W_K", "W_V", "W_O")
new = in_another_basis(*(getattr(attention, name)[index] for name in names), M)
for name, W in zip(names, new, strict=True):
    getattr(attention, name)[index] = W

# %%
disguised_logits, disguised_cache = run_with_cache(disguised, toy_tokens)
queries, new_queries = (each["q", layer][:, :, index] for each in (toy_cache, disguised_cache))
change = ((new_queries - queries).norm() / queries.norm()).item()
assert change > 1
assert torch.allclose(disguised_logits, small(toy_tokens), atol=1e-2)
print("Its queries moved by more than their own length.")
print("The logits agree to 2 decimals.")

# %%
### BEGIN SOLUTION: quiz("4-a")
quiz("4-a", "b")
### END SOLUTION

# %% [markdown]
# ## Rank at most d_head
#
# A matrix of size $d_{model}$ can have $d_{model}$ singular values. How many do these have? On the
# scale of the figure, equal steps down are equal factors.

# %% tags=["nbval-ignore-output"]
plot_singular_values(
    {"W_QK": torch.linalg.svdvals(W_QK), "W_OV": torch.linalg.svdvals(W_OV)},
    f"After {small.cfg.d_head} singular values there are only rounding errors",
    d_head=small.cfg.d_head,
)

# %%
for name, matrix in {"W_QK": W_QK, "W_OV": W_OV}.items():
    values = torch.linalg.svdvals(matrix)
    left = (values > 1e-5 * values[0]).sum().item()
    assert left == small.cfg.d_head
    print(f"{name} of {inductor}: {left} of {len(values)} singular values are not 0.")

# %% [markdown]
# So each circuit reads $d_{head}$ directions of the stream and is blind to the rest. That is a
# choice of architecture: many narrow heads rather than one wide one. It also means that the two
# thin factors are the better way to hold a circuit. `library.qk_circuit` and `library.ov_circuit`
# keep them apart (`left`, `right`), and `W_E @ circuit @ W_U` multiplies the thin sides only.

# %% [markdown]
# ## The QK circuit: which tokens want to read which
#
# A direction of the stream means nothing to us. Tokens do. So put token vectors at both ends:
# $W_E W_{QK} W_E^\top$ $[d_{vocab} \; d_{vocab}]$ is the **full QK circuit**. Its row is a token
# that asks, its column a token that might be read, its entry the score. The ends need not be
# tokens: any rows of $d_{model}$ numbers will do, such as position vectors.

# %% [markdown]
# ### Exercise 4.3: the QK circuit on chosen tokens and positions
# ●○○ · 10 minutes
#
# Return the score of each query row with each key row, as the softmax gets it:
#
# $$s_{ij} = x_i W_Q W_K^\top y_j^\top / \sqrt{d_{head}}$$
#
# Source: Framework, "Splitting Attention Head terms into Query-Key and Output-Value Circuits".


# %%
def qk_scores(
    query_rows: Float[Tensor, "query d_model"],
    key_rows: Float[Tensor, "key d_model"],
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
) -> Float[Tensor, "query key"]:
    ### BEGIN SOLUTION
    return (query_rows @ W_Q) @ (key_rows @ W_K).mT / W_Q.shape[-1] ** 0.5
    ### END SOLUTION


# %%
check("4.3", qk_scores)

# %%
# hint("4.3")

# %% [markdown]
# **What you saw.** Nothing was run: no text, no softmax, only weights. What comes out is what the
# head would like to read, whatever the text.

# %%
qk_scores = answer("4.3")

# %% [markdown]
# First positions. The head that reads the token before must know where it stands. Do its weights
# say so? We take the scores between position vectors, hide the later ones, and take the softmax:
# the attention that this head would pay if positions were all it saw.

# %% tags=["nbval-ignore-output"]
by_position = qk_scores(small.W_pos, small.W_pos, small.W_Q[previous], small.W_K[previous])
later = torch.ones_like(by_position).triu(diagonal=1).bool()
attention = by_position.masked_fill(later, -torch.inf).softmax(dim=-1)
plot_matrix(
    attention[:16, :16],
    f"Positions alone make {previous} look one to the left",
    rows=list(map(str, range(16))),
    columns=list(map(str, range(16))),
    unit="attention",
    row_title="position that reads",
    column_title="position that is read",
)

# %%
to_the_left = (attention[1:].argmax(dim=-1) == torch.arange(63)).float().mean().item()
assert to_the_left > 0.9
print(f"By position alone {previous} reads most from the one before in", end=" ")
print(f"{to_the_left:.0%} of 63 positions, with {attention.diagonal(-1).mean():.2f} on average.")

# %% [markdown]
# Now tokens, for the induction head. It is said to look for the position *after* the same token's
# last occurrence. Let the same words be queries and keys. Does a word want to read itself?

# %%
W_Q, W_K = small.W_Q[inductor], small.W_K[inductor]
asking = small.W_E[toy_words]
by_token = qk_scores(asking, asking, W_Q, W_K)
itself = (by_token.argmax(dim=-1) == torch.arange(len(nouns))).float().mean()
assert itself < 0.1
print(f"Of {len(nouns)} words, {itself:.0%} want most to read themselves.")

# %% [markdown]
# No. But a key holds more than the token at its own position. The previous-token head of layer 0
# ran before, and wrote there what it read: the token before, sent through its OV circuit. Take
# *that* as the key: $W_E W_{OV}^{\text{previous}}$.

# %% tags=["nbval-ignore-output"]
one_before = asking @ library.ov_circuit(small, previous).full()
through = qk_scores(asking, one_before, W_Q, W_K)
plot_matrix(
    through[:8, :8],
    f"{inductor} looks for what {previous} wrote about the same word",
    rows=nouns[:8],
    columns=[f"after {noun}" for noun in nouns[:8]],
    unit="score",
    row_title="word that reads",
    column_title="position after this word",
    decimals=1,
)

# %%
after_itself = (through.argmax(dim=-1) == torch.arange(len(nouns))).float().mean()
assert after_itself > 0.8
print(f"Of {len(nouns)} words, {after_itself:.0%} want most to read the position after themselves.")

# %% [markdown]
# That is the induction head's "where", read off the weights: *find the position before which my
# own token stood*. One head's OV circuit is in another's QK circuit; chapter 5 calls it
# K-composition.
#
# It also is a warning. The full QK circuit with $W_E$ at both ends was not wrong, it is one exact
# term of the score. But it was not the term that mattered. What a head of a later layer reads is
# $W_E$ *and all that was written since*. In layer 0 nothing has been written yet, and tokens and
# positions are all there is. So let us ask the layer-0 heads of the model that we loaded which
# of the tokens of everyday text they want most to read.

# %%
language = book_language()
examples = [e for kind in language.phenomena for e in language.examples(kind, 8, seed=0)]
everyday = " ".join(language.tokenizer.decode(list(e.tokens[1:])) for e in examples)
common = torch.tensor(sorted(set(tokenizer.encode(everyday))))
asked = [" Mary", " Friday", " France", " the", " to"]
rows = model.W_E[[tokenizer.encode(word)[0] for word in asked]]
wants = {}
for head in range(model.cfg.n_heads):
    scores = qk_scores(rows, model.W_E[common], model.W_Q[0, head], model.W_K[0, head])
    wants[f"L0H{head}"] = tokenizer.pieces(common[scores.argmax(dim=-1)].tolist())
Table({"token that reads": asked} | wants)

# %% [markdown]
# Read it as: "in a text with all these tokens, this head at ' France' would look at ...", with
# position, biases and LayerNorm's division left aside. Several askers with one answer: the head
# has a taste of its own. Different answers: it depends on who asks.

# %%
answers = {head: len(set(tokens)) for head, tokens in wants.items()}
most, fewest = max(answers, key=answers.get), min(answers, key=answers.get)
print(f"Five askers get {answers[most]} different answers from {most},", end=" ")
print(f"{answers[fewest]} from {fewest}.")

# %% [markdown]
# ## The OV circuit: what happens to the logits
#
# Now suppose the head has looked. $W_E W_{OV} W_U$ $[d_{vocab} \; d_{vocab}]$ is the **full OV
# circuit**: its row is the token that is read, its column a token of the vocabulary, its entry
# what the column's logit gains if the row is all that is read.

# %% [markdown]
# ### Exercise 4.4: the OV circuit on chosen tokens
# ●○○ · 5 minutes
#
# Return what reading each of `source_rows` alone adds to the logits of the tokens `outs`:
#
# $$x W_V W_O W_U[:, \text{outs}]$$
#
# Source: Framework, "Splitting Attention Head terms into Query-Key and Output-Value Circuits".


# %%
def ov_logits(
    source_rows: Float[Tensor, "source d_model"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    outs: Int[Tensor, " out"],
) -> Float[Tensor, "source out"]:
    ### BEGIN SOLUTION
    return source_rows @ W_V @ W_O @ W_U[:, outs]
    ### END SOLUTION


# %%
check("4.4", ov_logits)

# %%
# hint("4.4")

# %% [markdown]
# **What you saw.** A straight line from a token that is read to the logits: no softmax on the way.
# Whatever the pattern is, it only weighs these rows.

# %%
ov_logits = answer("4.4")

# %% [markdown]
# What does the induction head do with the word that it reads? Where will the large entries be?

# %% tags=["nbval-ignore-output"]
W_V, W_O = small.W_V[inductor], small.W_O[inductor]
adds = ov_logits(small.W_E[toy_words], W_V, W_O, small.W_U, toy_words)
plot_matrix(
    adds[:8, :8],
    f"{inductor} raises the word that it reads",
    rows=nouns[:8],
    columns=nouns[:8],
    unit="logits",
    row_title="word that is read",
    column_title="word whose logit changes",
    decimals=1,
)

# %%
own = adds.diagonal().mean()
others = (adds.sum() - adds.diagonal().sum()) / (adds.numel() - len(adds))
assert own > others + 2
print(f"Reading a word adds {own:.1f} logits to the word itself, {others:.1f} to another one.")

# %% [markdown]
# Eight words of a vocabulary. To say what a head does, we want the strongest entries of *all*.

# %%
### BEGIN SOLUTION: quiz("4-b")
quiz("4-b", 10.1)
### END SOLUTION

# %% [markdown]
# ### Exercise 4.5: the strongest entries of a circuit too large to hold
# ●●● · 20 minutes
#
# The circuit comes as its two thin factors. Return the `k` greatest entries of `left @ right`, the
# greatest first: their values, their rows, their columns. Never make more than `rows_at_once` rows
# of the product at a time: the check notices. Entries can be equal, also in different parts; each
# of them counts, in any order.


# %%
def strongest_entries(
    left: Float[Tensor, "row rank"],
    right: Float[Tensor, "rank column"],
    k: int,
    rows_at_once: int,
) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    ### BEGIN SOLUTION
    n_columns = right.shape[1]
    values, places = left.new_empty(0), torch.empty(0, dtype=torch.long)
    for first in range(0, len(left), rows_at_once):
        chunk = (left[first : first + rows_at_once] @ right).flatten()
        found = chunk.topk(min(k, len(chunk)))
        values = torch.cat([values, found.values])
        places = torch.cat([places, found.indices + first * n_columns])
        best = values.topk(min(k, len(values))).indices
        values, places = values[best], places[best]
    return values, places // n_columns, places % n_columns
    ### END SOLUTION


# %%
check("4.5", strongest_entries)

# %%
# hint("4.5")

# %% [markdown]
# **What you saw.** What cannot be among the best $k$ of its own part cannot be among the best of
# all, and can be forgotten at once. The work is that of the whole product, the memory that of a
# few rows.

# %%
strongest_entries = answer("4.5")

# %% [markdown]
# The two-layer model is small enough to compare with the whole matrix. Which entries, of nearly
# three million, will be the strongest?

# %%
circuit = library.full_ov_circuit(small, inductor)
values, sources, outs = strongest_entries(circuit.left, circuit.right, 8, 200)
whole = circuit.full()
assert torch.allclose(values, whole.flatten().topk(8).values, atol=1e-4)
assert torch.allclose(values, whole[sources, outs], atol=1e-4)
print(f"The 8 greatest of {whole.numel():,} entries, found 200 rows at a time:")
Table(
    {
        "is read": toy.tokenizer.pieces(sources.tolist()),
        "is raised": toy.tokenizer.pieces(outs.tolist()),
        "logits": values.tolist(),
    },
    decimals=1,
)

# %%
copied = (sources == outs).sum().item()
assert copied >= 6
print(f"{copied} of the 8 strongest entries of {inductor} raise the very token that is read.")

# %% [markdown]
# (`library.strongest_entries`, `library.row_top_k` and `library.self_ranks` do this for
# circuits of any size, and are exact with ties.)

# %% [markdown]
# ## Copying, in one number
#
# A head that raises what it reads has a large diagonal. But a diagonal is not the whole story: a
# head might map " Mary" to " Anna" and " Anna" to " Mary", or raise a whole group of tokens
# together. Eigenvalues ask the question for all combinations of tokens at once. If a combination
# $v$ of tokens is an **eigenvector**, $v \, W_E W_{OV} W_U = \lambda v$, then reading it gives
# back more of the same for $\lambda > 0$: it is copied. For $\lambda < 0$ it is lowered; a complex
# $\lambda$ turns some combinations into each other. The **copying score** is
#
# $$\frac{\sum_i \mathrm{Re} \, \lambda_i}{\sum_i |\lambda_i|}$$
#
# from −1 (every eigenvector is lowered) to 1 (every one is raised). It is about combinations: a
# single token can still do otherwise.
#
# The matrix is $d_{vocab} \times d_{vocab}$, and nobody can take its eigenvalues. But $AB$ and $BA$
# have the same ones, except for zeros: if $v AB = \lambda v$, then $(vA) BA = \lambda (vA)$. With
# $A = W_E W_V$ and $B = W_O W_U$ one of the two is tiny.

# %% [markdown]
# ### Exercise 4.6: the copying score
# ●●○ · 10 minutes
#
# Return the copying score of the square matrix `left @ right`, where `left` has few columns. The
# check notices if you make the large matrix.
#
# Source: Framework, "Detecting Copying Behavior" and "Summarizing OV/QK Matrices".


# %%
def copying_score(
    left: Float[Tensor, "token d_head"], right: Float[Tensor, "d_head token"]
) -> Float[Tensor, ""]:
    ### BEGIN SOLUTION
    eigenvalues = torch.linalg.eigvals(right @ left)
    return eigenvalues.real.sum() / eigenvalues.abs().sum()
    ### END SOLUTION


# %%
check("4.6", copying_score)

# %%
# hint("4.6")

# %% [markdown]
# **What you saw.** The sum of the eigenvalues is the trace, the sum of the diagonal: so the score
# is the diagonal's sum, weighed against the sizes of all eigenvalues.

# %%
copying_score = answer("4.6")

# %% [markdown]
# Two heads of layer 1: the induction head, and the one with the lowest score. Where do their
# eigenvalues lie?

# %% tags=["nbval-ignore-output"]
of_heads = library.full_ov_eigenvalues(small)
opposite = Head(1, library.eigenvalue_scores(of_heads)[1].argmin().item())
plot_eigenvalues(
    {str(head): of_heads[head] for head in (inductor, opposite)},
    f"{inductor} raises what it reads; {opposite} lowers it",
    unit="logits",
)

# %% [markdown]
# All sixteen heads of the two-layer model. Which do you expect to copy: those that write the
# answer, or those that prepare something for others?

# %%
toy_scores = torch.tensor(
    [
        float(copying_score(small.W_E @ small.W_V[head], small.W_O[head] @ small.W_U))
        for head in all_heads(small.cfg)
    ]
).reshape(2, 8)
columns = [f"H{head}" for head in range(8)]
NumberTable(toy_scores, rows=["L0", "L1"], columns=columns, caption="copying score")

# %%
assert torch.allclose(toy_scores.double(), library.eigenvalue_scores(of_heads), atol=1e-3)
copiers = (toy_scores[1] > 0.5).sum().item()
early = (toy_scores[0] > 0.5).sum().item()
print(f"{copiers} of 8 heads in layer 1 score above 0.5, {early} of 8 in layer 0.")

# %% [markdown]
# We put $W_E$ and $W_U$ at the ends. Is that needed? $W_{OV}$ alone, from stream to stream, has
# eigenvalues too.

# %%
bare = copying_score(W_V, W_O)
assert bare < 0 < 0.9 < toy_scores[inductor]
print(f"{inductor}: {toy_scores[inductor]:.2f} between tokens, {bare:.2f} for W_OV alone.")

# %% [markdown]
# The opposite! In this model the vectors with which tokens come in ($W_E$) and those with which
# they go out ($W_U$) are different ones, so "the same vector again" is not "the same token again".
# *An eigenvalue means copying only if what goes in and what comes out are written in the same
# language.* Keep that in mind.
#
# Eigenvalues are abstract. A plainer measure: for how many tokens is the most raised logit its
# own?

# %% [markdown]
# ### Exercise 4.7: the share of tokens that a head copies
# ●○○ · 10 minutes
#
# `circuit` holds some rows of a full OV circuit: row $i$ is what reading the token `sources[i]`
# does to each logit. Return the share of sources whose own logit is among the `k` that are raised
# most.
#
# Source: Wang et al. 2022, section 3.1, where $k = 5$ and the sources are names.


# %%
def share_copied(
    circuit: Float[Tensor, "source d_vocab"], sources: Int[Tensor, " source"], k: int
) -> Float[Tensor, ""]:
    ### BEGIN SOLUTION
    raised = circuit.topk(k, dim=-1).indices
    return (raised == sources[:, None]).any(dim=-1).float().mean()
    ### END SOLUTION


# %%
check("4.7", share_copied)

# %%
# hint("4.7")

# %% [markdown]
# **What you saw.** A rank among all tokens, not a size: a head that raises everything alike copies
# nothing. How do the two measures agree, in layer 1?

# %%
share_copied = answer("4.7")


# %%
def words_copied(weights, head: Head, basis: Tensor, words: Tensor) -> float:
    """The share of these words that a head copies, each read as its row of the basis."""
    of_words = library.full_ov_circuit(weights, head, basis[words]).full()
    return float(share_copied(of_words, words, 1))


in_layer_1 = [Head(1, head) for head in range(8)]
shares = torch.tensor([words_copied(small, head, small.W_E, toy_words) for head in in_layer_1])
NumberTable(
    torch.stack([toy_scores[1], shares]),
    rows=["copying score", "share of nouns copied"],
    columns=list(map(str, in_layer_1)),
)

# %%
assert shares[toy_scores[1] < 0].max() == 0
print(f"{(shares > 0.5).sum().item()} heads copy most nouns, though {copiers} score above 0.5.")

# %% [markdown]
# Where the score is below 0, no noun is copied. Where it is high, it does not say what: a head may
# copy the days of the week and leave nouns alone. Which tokens does a head handle, then?

# %% [markdown]
# ## What a head reads, what it writes
#
# The singular value decomposition takes $W_{OV}$ apart into $d_{head}$ lanes:
#
# $$W_{OV} = \sum_i \sigma_i \; r_i \otimes w_i$$
#
# Lane $i$ reads how much of the direction $r_i$ is in the stream, and writes as much of $w_i$,
# times $\sigma_i$. All $r_i$ are at right angles to each other, and so are all $w_i$.

# %% [markdown]
# ### Exercise 4.8: what a head reads and what it writes
# ●●○ · 10 minutes
#
# Return the $d_{head}$ singular values of $W_{OV}$, the directions $r_i$ as rows, and the
# directions $w_i$ as rows. (Each pair's sign is free, and the check does not mind it.)
#
# Source: Framework, "Subspaces and Residual Stream Bandwidth", for the idea.


# %%
def reads_and_writes(
    W_V: Float[Tensor, "d_model d_head"], W_O: Float[Tensor, "d_head d_model"]
) -> tuple[
    Float[Tensor, " d_head"], Float[Tensor, "d_head d_model"], Float[Tensor, "d_head d_model"]
]:
    ### BEGIN SOLUTION
    U, S, Vh = torch.linalg.svd(W_V @ W_O)
    d_head = W_V.shape[-1]
    return S[:d_head], U[:, :d_head].mT, Vh[:d_head]
    ### END SOLUTION


# %%
check("4.8", reads_and_writes)

# %%
# hint("4.8")

# %% [markdown]
# **What you saw.** Here is a basis of the head that does mean something: it is the same whatever
# basis $W_V$ and $W_O$ are written in.

# %%
reads_and_writes = answer("4.8")

# %% [markdown]
# Which tokens are in the lanes of the induction head? For a direction that is read, we list the
# tokens whose embeddings have most of it; for one that is written, those whose logits it raises
# most. If the head copies, the two lists should share tokens. (Only tokens that the language
# really uses: the vectors of the others were never trained.)

# %%
used = (language.unigram() > 0).nonzero()[:, 0]
S, reading, writing = reads_and_writes(W_V, W_O)
assert torch.allclose(einsum(S, reading, writing, "i, i r, i c -> r c"), W_OV, atol=1e-3)
lanes = library.ov_circuit(small, inductor).directions()  # the same, with a rule for the sign
assert torch.allclose(lanes.singular_values, S, atol=1e-3)
read = (small.W_E[used] @ lanes.reading.mT).topk(20, dim=0).indices.mT
raised = (lanes.writing @ small.W_U[:, used]).topk(20, dim=-1).indices

# %%
shared = [len(set(r.tolist()) & set(w.tolist())) for r, w in zip(read, raised, strict=True)]
first_tokens = [
    ["".join(toy.tokenizer.pieces(used[top].tolist())) for top in each[:4, :5]]
    for each in (read, raised)
]
Table(
    {
        "lane": [0, 1, 2, 3],
        "strength": S[:4].tolist(),
        "reads most": first_tokens[0],
        "raises most": first_tokens[1],
        "shared, of 20": shared[:4],
    },
    decimals=1,
)

# %%
by_chance = 20 * 20 / len(used)
assert sum(shared) / len(shared) > 10
print(f"Over {len(shared)} lanes, more than half of the 20 tokens are in both lists on average;")
print(f"by chance it would be {by_chance:.1f}.")

# %% [markdown]
# And what it does not read it cannot move: take any vector, remove the $d_{head}$ directions, and
# the head sees nothing.

# %%
vector = small.W_E[toy_words[0]]
unread = vector - (vector @ reading.mT) @ reading
length_left = (unread.norm() / vector.norm()).item()
assert (unread @ W_OV).abs().max() < 1e-4
print(f"{length_left:.0%} of the length of '{nouns[0]}' lies where {inductor} reads nothing.")

# %% [markdown]
# ## All heads of GPT-2
#
# Back to a real model. TransformerLens publishes the copying score of each of GPT-2 small's 144
# heads, computed for $W_{OV}$ from stream to stream: GPT-2 uses one matrix for coming in and going
# out ($W_U = W_E^\top$), so here both ends seem to be in one language. Can you reproduce it from
# raw weights?

# %% [markdown]
# ### Exercise 4.9: the copying scores of all heads
# ●●○ · 15 minutes
#
# Raw weights have to be brought into the form in which they act on the stream:
#
# 1. fold: multiply row $i$ of each head's $W_V$ by $w_i$, the weight of the LayerNorm before it;
# 2. centre: subtract from each column of that its mean over $d_{model}$, for the LayerNorm removes
#    the mean from what the head reads;
# 3. the score of exercise 4.6, for every head at once, in `float64`.
#
# (Centring what $W_O$ writes as well, as TransformerLens does, changes no eigenvalue.)
#
# Source: Framework, "Handling Layer Normalization" and "Detecting Copying Behavior".


# %%
def copying_scores(
    w: Float[Tensor, "layer d_model"],
    W_V: Float[Tensor, "layer head d_model d_head"],
    W_O: Float[Tensor, "layer head d_head d_model"],
) -> Float[Tensor, "layer head"]:
    ### BEGIN SOLUTION
    W_V = (w[:, None, :, None] * W_V).double()
    W_V = W_V - W_V.mean(dim=-2, keepdim=True)
    eigenvalues = torch.linalg.eigvals(W_O.double() @ W_V)
    return eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1)
    ### END SOLUTION


# %%
check("4.9", copying_scores)

# %%
# hint("4.9")

# %% [markdown]
# **What you saw.** One small matrix a head, $d_{head} \times d_{head}$, and one call for all of
# them: no $W_{OV}$ was ever made.

# %%
copying_scores = answer("4.9")

# %% [markdown]
# Where GPT-2's weights are loaded, your scores are compared with the published ones, head by head.
# Elsewhere we compare the two ways to compute them: yours from raw weights, the library's from the
# processed model.

# %%
raw = loaded.model.requires_grad_(False)
stretch = torch.stack([block.ln1.w for block in raw.blocks])
of_loaded = copying_scores(stretch, raw.W_V, raw.W_O).double()
assert torch.allclose(of_loaded, library.copying_scores(model.W_V, model.W_O).double(), atol=1e-3)
published = gpt2_small()
if loaded.name == "gpt2":
    print(compare(of_loaded, published.copying_scores))
else:
    print(f"{loaded.name}: yours and the library's scores agree to 3 decimals, for all heads.")

# %% tags=["nbval-ignore-output"]
gpt2_heads = [str(Head(layer, head)) for layer in range(12) for head in range(12)]
of_gpt2 = published.copying_scores.value
plot_histogram(
    of_gpt2.flatten(),
    gpt2_heads,
    f"{(of_gpt2 > 0.5).sum()} of GPT-2's 144 heads have a copying score above 0.5",
    unit="copying score of W_OV (published)",
    what="heads",
)

# %%
print(f"{(of_gpt2 > 0.5).sum()} of 144 heads have a score above 0.5,", end=" ")
print(f"{(of_gpt2 < -0.5).sum()} have one below -0.5.")
print(f"Source: {published.copying_scores.source}.")

# %% [markdown]
# ## Where the score misleads
#
# GPT-2 answers "When Mary and John went to the store, John gave a drink to" by **name movers**:
# heads that read " Mary" and raise it. Others, the **negative name movers**, read it and lower it
# (Wang et al. 2022). Name movers copy if anything does. What should their scores be? And those of
# the negative ones?

# %%
roles = {role.name: role.heads for role in published.roles}
kinds = ["name mover", "negative name mover"]
named = [(kind, name) for kind in kinds for name in roles[kind]]
places = [head_named(name, Config.gpt2_small()) for _, name in named]
Table(
    {
        "GPT-2's": [kind for kind, _ in named],
        "head": [name for _, name in named],
        "logits towards the answer": [
            published.attribution_per_head.value[place].item() for place in places
        ],
        "score of W_OV": [of_gpt2[place].item() for place in places],
        "score between tokens": [
            published.full_copying_scores.value[place].item() for place in places
        ],
    },
)

# %%
mover, negative = (9, 9), (11, 10)
attributed = published.attribution_per_head.value
assert attributed[mover] == attributed.max() and of_gpt2[mover] < 0.15
assert attributed[negative] < -0.9 and of_gpt2[negative] > 0.99
assert published.full_copying_scores.value[mover] < 0.3
print(f"L9H9 writes {attributed[mover]:+.1f} logits, more than any other head;", end=" ")
print(f"its score is {of_gpt2[mover]:.2f}.")
print(f"L11H10 writes {attributed[negative]:+.1f} logits, against the name that it reads;", end=" ")
print(f"its score is {of_gpt2[negative]:.3f}.")

# %% [markdown]
# The score fails twice, plainly: the head that writes most of the answer hardly scores, and a head
# that lowers what it reads scores almost 1. Between tokens ($W_E W_{OV} W_U$) it is no better. What
# went wrong? Let us look for the same in the model that we loaded, where we can open everything.
#
# The task: a list of eight words, and then the same list again. The text stops where the seventh
# should come.

# %%
encoded = [tokenizer.encode(f" {noun}") for noun in nouns]
words = torch.tensor([ids[0] for ids in encoded if len(ids) == 1])
start = torch.tensor(tokenizer.encode("<|endoftext|>Repeat:"))
place = len(start) + 6  # of the seventh word, when the list comes first
once_and_again = repeated_tokens(words, 0, period=8, batch=40)[:, 1:15]
lists = torch.cat([start.expand(40, -1), once_and_again], dim=1)
right = lists[:, place]
list_logits, list_cache = run_with_cache(model, lists)
print(tokenizer.decode(lists[0].tolist()).removeprefix("<|endoftext|>"), "...")
print("The likeliest next token is the right word in", end=" ")
print(f"{(list_logits[:, -1].argmax(dim=-1) == right).float().mean():.0%} of {len(lists)} lists.")

# %% [markdown]
# Which head writes most of the right word's logit (chapter 3), and what is its copying score?

# %%
heads = all_heads(model.cfg)
attribution = head_attribution(list_cache, model, right).mean()
writer = heads[attribution.heads.argmax().item()]
token_scores = library.eigenvalue_scores(library.full_ov_eigenvalues(model))
print(f"{writer} writes {attribution.heads[writer]:+.1f} logits towards the right word.")
print(f"Its copying score: {of_loaded[writer]:.2f} for W_OV,", end=" ")
print(f"{token_scores[writer]:.2f} between tokens.")
share = words_copied(model, writer, model.W_E, words)
print(f"Share of words that it copies, read as rows of W_E: {share:.2f}")

# %% [markdown]
# The full circuit starts from $W_E$: it supposes that a head reads tokens as they came in. Is that
# what stands in the stream when a late head reads it? One thing has happened to every token by
# then, whatever the text: the MLP of layer 0. Compare what it writes with the embedding itself.

# %%
mlp0, ln2 = model.blocks[0].mlp, model.blocks[0].ln2
written = torch.cat(
    [
        mlp(layer_norm(part, ln2.w, ln2.b, ln2.eps), mlp0)[0]
        for part in model.W_E[None].split(4096, dim=1)
    ]
)
effective = model.W_E + written
longer = (written.norm(dim=-1).mean() / model.W_E.norm(dim=-1).mean()).item()
print(f"What the MLP of layer 0 writes is {longer:.0f} times as long as the token's vector.")

# %% [markdown]
# $E' = W_E + \mathrm{MLP}_0(W_E)$ is called the **effective embedding**: the token as later layers
# find it. It is a proxy too, for it leaves out attention, and all layers in between. Which of the
# two is closer to what our head reads? We compare both with the stream at the word's position, by
# the cosine.

# %%
reads = list_cache[f"blocks.{writer.layer}.ln1.hook_normalized"][:, place]
for name, basis in {"W_E": model.W_E, "effective embedding": effective}.items():
    cosine = torch.cosine_similarity(reads, basis[right], dim=-1).mean()
    print(f"cosine of what {writer} reads with {name}: {round(cosine.item(), 1) + 0:.1f}")

# %% [markdown]
# Now the same questions with $E'$ in place of $W_E$. Only the left end of the circuit changes:
# what comes out is still measured by $W_U$. (For the eigenvalues $E'$ may go round to the other
# end, as $AB$ and $BA$ allow: $W_{OV} W_U E'$ is $d_{model} \times d_{model}$.)

# %%
effective_scores = library.eigenvalue_scores(
    (library.ov_circuit(model) @ (model.W_U @ effective)).eigenvalues
)
effective_shares = torch.tensor([words_copied(model, head, effective, words) for head in heads])
effective_shares = effective_shares.reshape(model.cfg.n_layers, -1)
order = attribution.heads.flatten().argsort(descending=True)[:6].tolist()
best = [heads[place] for place in order]
Table(
    {
        "head": [str(head) for head in best],
        "logits towards the word": [attribution.heads[head].item() for head in best],
        "score, W_E": [token_scores[head].item() for head in best],
        "score, E'": [effective_scores[head].item() for head in best],
        "words copied, E'": [effective_shares[head].item() for head in best],
    }
)

# %%
leader = heads[effective_shares.argmax().item()]
typical = effective_shares.median().item()
print(f"{leader} copies most words, read as E': {effective_shares[leader]:.0%}", end=" ")
print(f"(the head in the middle: {typical:.0%}).")
print(f"It is the head that writes most of the answer: {leader == writer}.")

# %% [markdown]
# Compare the two columns of scores. The heads are the same and so is the arithmetic: what changed
# is the *basis*. The score was made for models of attention alone, where $W_E$ still stands in the
# stream at the end, and of the two-layer model's induction head it told the truth. Behind an MLP
# the token has been translated, and a head that copies it must translate it back, which
# eigenvalues of $W_E W_{OV} W_U$ cannot see.
#
# Wang et al. measured it so for GPT-2: names after the first MLP, through OV and unembedding, top
# five. Then the name movers copy more than 95 % of names, an average head less than 20 %; and the
# negative name movers, with the sign turned round, 98 % against 12 % (section 3.1).

# %%
### BEGIN SOLUTION: quiz("4-c")
quiz("4-c", "d")
### END SOLUTION

# %% [markdown]
# ## One head, one story
#
# Now all together, for the head that writes most of the answer. First where it looks, on one
# list, at the end:

# %% tags=["nbval-ignore-output"]
writer_pattern = list_cache["pattern", writer.layer][:, writer.index]
AttentionView(
    writer_pattern[:1],
    tokenizer.pieces(lists[0].tolist()),
    f"{writer} on a list that comes twice",
    heads=[str(writer)],
)

# %%
looks = writer_pattern[:, -1, place].mean().item()
print(f"At the end of {len(lists)} lists {writer} gives {looks:.2f} of its attention to one place:")
print("the word that came after this one the first time.")

# %% [markdown]
# *Why there?* A key can hold two things: the word at its own place, and the word before it, if an
# earlier head wrote that there. Which of them does the head match with the word that it is at? We
# take texts of two words, in all combinations of twelve: "... *before own*". Keys averaged over
# the own word keep only the word before, and the other way round; a query for each word is made
# in the same way. Which score is higher where the two words are the same?

# %%
twelve = words[:12]
pairs = torch.cartesian_prod(twelve, twelve)
two_words = torch.cat([start.expand(len(pairs), -1), pairs], dim=1)
_, pair_cache = run_with_cache(model, two_words)
x = pair_cache[f"blocks.{writer.layer}.ln1.hook_normalized"][:, -1]
x = x.reshape(12, 12, -1)  # before, own, d_model
W_Q, W_K = model.W_Q[writer], model.W_K[writer]
for what, keys in {"the word before": x.mean(dim=1), "the word itself": x.mean(dim=0)}.items():
    scores = qk_scores(x.mean(dim=0), keys, W_Q, W_K)
    same = scores.diagonal().mean()
    other = (scores.sum() - scores.diagonal().sum()) / (12 * 11)
    print(f"If {what} is the one that asks, the score is {same - other:+.1f} against others.")

# %% [markdown]
# A score that is higher by $s$ is an attention that is $e^s$ times as large. The averages are
# exact: scores are linear in the keys, and in the queries. So weights and keys say what the head
# looks for, whatever its pattern was.
#
# Now you put the three together, for many texts at once.

# %% [markdown]
# ### Exercise 4.10: the story of one head
# ●●● · 20 minutes
#
# Return what the head does at the last position of each text, as its pattern, its QK circuit and
# its OV circuit tell it: a dict of three tensors of whole numbers.
#
# - `"looks at"`: the position to which the pattern gives most attention;
# - `"wants"`: the position with the highest score $x_{last} W_{QK} x_k^\top$;
# - `"raises"`: the token whose logit is raised most by what is written, $\big(\sum_k A_{last,k} \,
#   x_k\big) W_{OV} W_U$.
#
# `x` is what the head reads at each position. If the three do not fit together, the story is
# wrong.


# %%
def story(
    pattern: Float[Tensor, "batch q_pos k_pos"],
    x: Float[Tensor, "batch pos d_model"],
    W_QK: Float[Tensor, "d_model d_model"],
    W_OV: Float[Tensor, "d_model d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> dict[str, Int[Tensor, " batch"]]:
    ### BEGIN SOLUTION
    last = pattern[:, -1]
    scores = einsum(x[:, -1] @ W_QK, x, "batch d_model, batch pos d_model -> batch pos")
    read = einsum(last, x, "batch pos, batch pos d_model -> batch d_model")
    return {
        "looks at": last.argmax(dim=-1),
        "wants": scores.argmax(dim=-1),
        "raises": (read @ W_OV @ W_U).argmax(dim=-1),
    }
    ### END SOLUTION


# %%
check("4.10", story)

# %%
# hint("4.10")

# %% [markdown]
# **What you saw.** Only the first is in the pattern. The second could have said otherwise (biases
# take part in the pattern and not in $W_{QK}$). The third takes the pattern as it is, and asks what
# $W_{OV}$ makes of it. Do they fit together?

# %%
story = answer("4.10")

# %%
W_QK = library.qk_circuit(model, writer).full()
W_OV = library.ov_circuit(model, writer).full()
reads = list_cache[f"blocks.{writer.layer}.ln1.hook_normalized"]
told = story(writer_pattern, reads, W_QK, W_OV, model.W_U)
looks_right, wants_right = (
    (told[part] == place).float().mean().item() for part in ("looks at", "wants")
)
raises_right = (told["raises"] == right).float().mean().item()
print(f"Of {len(lists)} lists, {writer} looks at the word to come in {looks_right:.0%},")
print(f"its QK circuit wants that position in {wants_right:.0%},")
print(f"and of all {model.cfg.d_vocab:,} tokens it raises that word most in {raises_right:.0%}.")

# %% [markdown]
# The story, in one sentence:

# %%
sentence = (
    f"{writer} looks for the position before which its own word stood, "
    "and raises the word that it finds there."
)
print(sentence)

# %% [markdown]
# A sentence like this is worth what it forbids. Two tests. First: if we take the head away, the
# right word must become less likely, and by more than without any other head of its layer. In place
# of the head we put what it says on average over all lists. (Nothing before its layer changes, so
# we run the model from there on.)

# %%
before = list_cache["resid_pre", writer.layer]


def last_logits(edits: dict) -> Float[Tensor, "batch d_vocab"]:
    return run_from(model, before, writer.layer, edits, logits_at=[-1])[:, 0]


def log_probability(edits: dict) -> float:
    return last_logits(edits).log_softmax(dim=-1).gather(-1, right[:, None]).mean().item()


average = Averaged(list_cache)
losses = {
    head: log_probability({}) - log_probability(replace_head(head, model.cfg, average))
    for head in heads
    if head.layer == writer.layer
}
dearest, runner_up = sorted(losses, key=losses.get, reverse=True)[:2]
print(f"Without {writer}, the right word's log-probability falls by {losses[writer]:.1f} nats.")
print(f"Most in its layer costs {dearest}; after it comes {runner_up}", end=" ")
print(f"with {round(losses[runner_up], 1) + 0:.1f} nats.")

# %% [markdown]
# Second, and sharper: if we turn its gaze to *another* word of the list, by hand, then that word
# must be raised instead, though nothing else in the model was told. We let it read the third word.

# %%
third = len(start) + 2


def turn_the_gaze(pattern: Tensor) -> Tensor:
    pattern[:, writer.index, -1] = 0
    pattern[:, writer.index, -1, third] = 1
    return pattern


turned = last_logits({f"blocks.{writer.layer}.attn.hook_pattern": turn_the_gaze})
gains = (turned - last_logits({})).gather(-1, lists[:, len(start) : len(start) + 8])
most_raised = (gains.argmax(dim=-1) == 2).float().mean().item()
print(f"The third word gains {gains[:, 2].mean():+.0f} logits, the right one", end=" ")
print(f"{gains[:, 6].mean():+.0f};")
print(f"in {most_raised:.0%} of the lists the third gains most of the eight words.")

# %%
confirmed = dearest == writer and most_raised > 0.5
told_by_tests = (
    f"{'Both tests confirm' if confirmed else 'The tests do not both confirm'}: {sentence}"
)
print(told_by_tests)

# %% [markdown]
# ### A pattern alone is no story
#
# Last, back to Mary and John. Which head reads " Mary" most, from the last position? And what does
# its OV circuit do with her?

# %%
mary, john = (tokenizer.encode(name)[0] for name in (" Mary", " John"))
at_mary = tokens[0].tolist().index(mary)
gaze = torch.stack([cache["pattern", each][0, :, -1, at_mary] for each in range(last + 1)])
watcher = heads[gaze.argmax().item()]
x = cache[f"blocks.{watcher.layer}.ln1.hook_normalized"]
adds = x[0, at_mary] @ library.ov_circuit(model, watcher).full() @ model.W_U
print(f"{watcher} gives {gaze.max():.0%} of its attention to Mary.")
more = (adds > adds[mary]).float().mean().item()
print(f"{more:.0%} of all tokens are raised more by it than ' Mary' is.")

# %%
difference = (logits[0, -1, mary] - logits[0, -1, john]).item()
removed = run_with_edits(model, tokens, replace_head(watcher, model.cfg, 0))[0, -1]
parts = logit_attribution(cache, model, mary, john).mean()
loudest = parts.logits.argmax().item()
print(f"Mary's logit is {difference:.1f} above John's;", end=" ")
print(f"without {watcher} it is {(removed[mary] - removed[john]).item():.1f}.")
print(f"The component that writes most of it is {parts.components[loudest]}:", end=" ")
print(f"{parts.logits[loudest].item():+.1f} logits.")

# %% [markdown]
# Compare the numbers. A head that reads the answer and is needed for it is not yet a head that
# writes it: it may hand it to an MLP that does. Where its OV circuit raises the name that it
# reads, "name mover" is its name; where it does not, the pattern has told half a story. *QK and OV
# together, or the story is wrong.*

# %%
### BEGIN SOLUTION: quiz("4-d")
quiz("4-d", "b", "d", "e")
### END SOLUTION

# %% [markdown]
# ## What you found

# %%
print(f"{inductor} of two-layer: W_QK and W_OV of rank {small.cfg.d_head} are all there is to it.")
print(f"It wants the position after its own word ({after_itself:.0%}), and copies what it reads")
print(f"(score {toy_scores[inductor]:.2f}).")
print(f"GPT-2's L9H9 copies, with a score of {of_gpt2[mover]:.2f}; L11H10 lowers, with", end=" ")
print(f"{of_gpt2[negative]:.3f}.")
print(f"{writer} of {loaded.name}: {token_scores[writer]:.2f} by W_E,", end=" ")
print(f"{effective_scores[writer]:.2f} by the effective embedding.")
print(told_by_tests)
progress(4)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why does a heatmap of $W_Q$ mean nothing,
# and one of $W_E W_{QK} W_E^\top$ something? How do you get the eigenvalues of a matrix that you
# cannot hold? A head has copying score −0.9: name two reasons why it could still copy. What would
# have refuted the sentence about our head?
#
# **Read next.** Framework, "One-Layer Attention-Only Transformers" up to "Detecting Copying
# Behavior"; Wang et al. 2022, section 3.1. Then chapter 5, where heads read what heads wrote.
