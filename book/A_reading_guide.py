# %% [markdown]
# # Appendix A: A reading guide to the Framework
#
# "A Mathematical Framework for Transformer Circuits" (Elhage et al. 2021), in this book
# *Framework*, is [one long page](https://transformer-circuits.pub/2021/framework/index.html). This
# guide walks through it in its own order, under its own headings. For each section: what to take
# from it, what confuses readers and why, what to skim, and where this book makes it concrete. A few
# lines of code then show the claim on our models, and two questions let you check yourself.
#
# **With this guide you can**
#
# - read the whole paper in two passes, and know at each point what may be left out;
# - translate every formula of the paper into this book's notation, and back;
# - say which of its claims you have seen with your own eyes, and which were corrected later.
#
# **Time:** 4 to 6 hours; a cell below adds it up. **You need:** chapter 1 up to "Zero-Layer
# Transformers", chapters 4 and 5 from there on.
#
# Keep the paper open beside this page: read a section there and its part here, run the cell, and
# answer the two questions before you click on them. (A link to a chapter that is not open yet
# opens it at its top. Once it has loaded, click again: JupyterLab goes to the exercise.)

# %%
import copy
import math

import torch

from circuitbook.cache import run_with_cache
from circuitbook.circuits import (
    Factored,
    eigenvalue_scores,
    full_ov_circuit,
    full_ov_eigenvalues,
    full_qk_eigenvalues,
    self_ranks,
)
from circuitbook.composition import composition_scores
from circuitbook.language import book_language
from circuitbook.model import loss_per_token
from circuitbook.paths import (
    expand_logits,
    expand_scores,
    n_terms,
    tensor_product,
    term_importance,
)
from circuitbook.patterns import induction_scores, previous_token_scores, repeated_tokens
from circuitbook.plots import NumberTable, Table
from circuitbook.published import gpt2_small
from circuitbook.zoo import load

# %% [markdown]
# ## How long, in which order
#
# **First pass:** read for the claims. Everything up to "Zero-Layer Transformers", then of one layer
# the path expansion, the two circuits and the skip-trigrams, then the three kinds of composition,
# induction heads, and the last page. Pass over every formula that takes more than a minute.
#
# **Second pass,** best after chapter 5: the whole paper in its order, but "Notation" first, with
# the table below. Now stop at each formula until you can say what its shapes are.

# %%
minutes = {  # section: (first pass, second pass), with the cells and questions of this page
    "Summary of Results": (5, 5),
    "Model Simplifications": (5, 5),
    "High-Level Architecture": (5, 0),
    "Virtual Weights and the Residual Stream ...": (10, 15),
    "Attention Heads are Independent and Additive": (5, 5),
    "Attention Heads as Information Movement": (10, 15),
    "Zero-Layer Transformers": (5, 5),
    "The Path Expansion Trick": (5, 10),
    "Splitting Attention Head terms ...": (10, 10),
    "Interpretation as Skip-Trigrams": (10, 15),
    "Summarizing OV/QK Matrices": (0, 15),
    'Do We "Fully Understand" One-Layer Models?': (0, 5),
    "Three Kinds of Composition": (5, 10),
    "Path Expansion of Logits": (0, 10),
    "Path Expansion of Attention Scores QK Circuit": (0, 15),
    "Analyzing a Two-Layer Model": (0, 15),
    "Induction Heads": (10, 15),
    "Term Importance Analysis": (0, 10),
    "Virtual Attention Heads": (0, 10),
    "Where Does This Leave Us?": (5, 0),
    "Related Work": (0, 10),
    "Comments & Replications": (0, 5),
    "Additional Intuition and Observations": (0, 10),
    "Notation": (0, 10),
    "Technical Details": (0, 10),
}
passes = list(zip(*minutes.values(), strict=True))
first, second = map(sum, passes)
assert first == 90 and 4 * 60 <= first + second <= 6 * 60
print(f"First pass {first} minutes, second pass {second / 60:.1f} hours, ", end="")
print(f"{(first + second) / 60:.1f} hours in all.")
Table({"minutes for": list(minutes), "first pass": passes[0], "second pass": passes[1]})

# %% [markdown]
# ## Two notations
#
# Much of what confuses in the paper is one convention: there a vector is a column and a matrix
# stands on its *left*, here (as in most code) it is a row with the matrix on its *right*. So each
# weight of the paper ($W_E$, $W_Q$, ...) is the transpose of ours, and products run the other way.
#
# | | the paper | this book |
# | --- | --- | --- |
# | a map | $W x$, $x$ a column | `x @ W`, x a row |
# | tokens | $t$, one-hot; $x_0 = W_E t$ | ids; a row of $W_E$ $[d_{vocab} \; d_{model}]$ |
# | position | left out of the formulas | $W_{pos}$, added to the stream |
# | unembedding | $W_U x$ | `x @ W_U` |
# | OV | $W_{OV} = W_O W_V$ | $W_{OV} = W_V W_O$, its transpose |
# | QK | $W_{QK} = W_Q^\top W_K$ | $W_{QK} = W_Q W_K^\top$, **the same matrix** |
# | score | $x_q^\top W_{QK} \, x_k$, no root | $x_q \, W_{QK} \, x_k^\top / \sqrt{d_{head}}$ |
# | full QK circuit | $W_E^\top W_{QK} W_E$ | $W_E W_{QK} W_E^\top$, the same: a row asks |
# | full OV circuit | $W_U W_{OV} W_E$: a column is read | $W_E W_{OV} W_U$: a row is read |
# | $A \otimes W$ | $x \mapsto A \, x \, W^\top$ | $x \mapsto A \, x \, W$ |
# | heads $h_1$, then $h_2$ | $W_{OV}^{h_2} W_{OV}^{h_1}$ | $W_{OV}^{h_1} W_{OV}^{h_2}$ |
# | their patterns | $A^{h_2} A^{h_1}$ | $A^{h_2} A^{h_1}$, the same |
# | K-composition | $\lVert W_{QK} W_{OV} \rVert$ | $\lVert W_{OV} W_{QK}^\top \rVert$ |
# | Q-composition | $\lVert W_{QK}^\top W_{OV} \rVert$ | $\lVert W_{OV} W_{QK} \rVert$ |
# | layers | $H_1$, $H_2$ in formulas; head 1:8 | L1H8 |
#
# Four remarks. In $A \otimes W$ the $x$ has a row for each position in both notations; only $W$ is
# transposed. $\mathrm{Id} \otimes W$ moves nothing between positions. The star of the paper's
# $\text{softmax}^*$ is the mask of later positions. And its layers are counted from 1 in formulas,
# from 0 in the names of heads, and either way in prose: $h \in H_2$ and head 1:8 are of the same
# layer. The cell builds the paper's matrices for one head and compares.

# %%
language = book_language()
tokenizer = language.tokenizer
zero, one, two = (
    load(name).model.double().requires_grad_(False)
    for name in ("zero-layer", "one-layer", "two-layer")
)
W_E, W_U = one.W_E, one.W_U
W_Q, W_K, W_V, W_O = one.W_Q[0, 2], one.W_K[0, 2], one.W_V[0, 2], one.W_O[0, 2]
paper = {name: W.T for name, W in zip("EUQKVO", (W_E, W_U, W_Q, W_K, W_V, W_O), strict=True)}

pairs = {
    "W_QK is the same": (paper["Q"].T @ paper["K"], W_Q @ W_K.T),
    "W_OV is the transpose": (paper["O"] @ paper["V"], (W_V @ W_O).T),
    "so is the full OV circuit": (
        paper["U"] @ paper["O"] @ paper["V"] @ paper["E"],
        (W_E @ W_V @ W_O @ W_U).T,
    ),
}
for what, (theirs, ours) in pairs.items():
    print(f"{what}: {torch.allclose(theirs, ours)}")

# %% [markdown]
# ## Summary of Results
#
# **Take.** Four claims that build on each other. No layer: a table of bigrams. One: bigrams and
# skip-trigrams. Two: heads that compose. And models of one layer and of two use the context by
# *different algorithms*.
#
# **What confuses.** "In-context learning" is meant broadly: tokens read earlier in a text
# make later ones easier to predict. No prompt with worked examples is needed. And paths are linear
# once the attention patterns are frozen, not before.
#
# **Skim.** The second list, "Conceptual Take-Aways", is a table of contents in disguise. Read it
# fast now; at the end of the second pass each line should be plain.
#
# **In this book.** All of it: [chapter 5](05_composition_and_induction.ipynb). Here are the four
# claims as losses, on text of the book's language and on random words that come twice.

# %%
text = language.sample_tokens(16 * 64, seed=0).reshape(16, 64)
words = language.unigram().nonzero().flatten()
words = words[words != tokenizer.end_of_text]
period = 20
twice = repeated_tokens(words, tokenizer.end_of_text, period, batch=32)


def losses(model) -> list[float]:
    on_text, on_twice = (loss_per_token(model(tokens), tokens) for tokens in (text, twice))
    return [on_text.mean().item(), on_twice[:, period + 1 :].mean().item()]


NumberTable(
    torch.tensor([losses(model) for model in (zero, one, two)]),
    rows=["zero layers", "one layer", "two layers"],
    columns=["ordinary text", "random words, second time"],
    caption="loss (nats)",
)

# %%
no_layers, one_layer, two_layers = (losses(model)[1] for model in (zero, one, two))
assert no_layers > one_layer + 5 and one_layer > math.log(period) > 10 * two_layers
print(f"Who knows only which {period} words are in the text can reach ln {period} =", end=" ")
print(f"{math.log(period):.1f} nats the second time.")
print(f"An even guess costs {math.log(one.cfg.d_vocab):.1f}: bigrams mislead among random words.")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. One layer gains a lot on random words that come again. Is that the same
# algorithm as with two layers?</summary>
#
# No. It stays above ln 20, the loss of somebody who knows which words the text has and not which
# comes next. That is copying: a word that was read is likelier. Two layers fall far below, which
# needs the *order* of the words: induction.
#
# </details>
#
# <details><summary>2. Which of the four claims can be checked without running the model on any
# text?</summary>
#
# The tables of bigrams and skip-trigrams, and which heads compose, are read from the weights alone.
# That a head does in a text what its tables say needs a run: its attention pattern depends on all
# tokens of the text.
#
# </details>

# %% [markdown]
# ## Transformer Overview
#
# The part that carries over to nearly every transformer since.
#
# ### Model Simplifications
#
# **Take.** Leaving out MLPs changes a lot; leaving out biases and LayerNorm mainly makes the
# formulas shorter.
#
# **What confuses.** For LayerNorm there is a condition: *up to a variable scaling*. All but one
# step of it can be multiplied into the weights; the division, by another number at each position
# and before each reader, stays. More under "Technical Details".
#
# **Skim.** Nothing; it is half a page.
#
# **In this book.** [Exercise 1.3](01_build_a_transformer.ipynb#Exercise-1.3:-LayerNorm) builds it,
# [exercise 3.9](03_direct_logit_attribution.ipynb#Exercise-3.9:-fold-LayerNorm-into-the-weights)
# folds it, and chapter 5 says what each simplification costs under ["Three models, and what they
# leave out"](05_composition_and_induction.ipynb#Three-models,-and-what-they-leave-out).
#
# **Check yourself.**
#
# <details><summary>1. Which bias of GPT-2's attention changes nothing at all?</summary>
#
# That of the keys. It adds the same number, query · bias, to all scores of a row, and a softmax
# does not see that. (The bias of the queries does matter: bias · key differs from key to key.)
#
# </details>
#
# <details><summary>2. Why can attribution treat LayerNorm as if it were linear, although it is
# not?</summary>
#
# On one run the number that each position is divided by is known. Kept at that value, everything
# else is linear, and the parts add up exactly. What the parts would do with *another* number is
# not asked.
#
# </details>
#
# ### High-Level Architecture
#
# **Take.** Every component reads the stream by a projection and adds its result back.
#
# **What confuses.** The word layer: a "residual block" has two, attention and MLP; this book, as
# most code, calls the block one layer. In the later sections there are no MLPs, and a layer is an
# attention layer.
#
# **Skim.** All of it, if you have done [exercise
# 1.12](01_build_a_transformer.ipynb#Exercise-1.12:-the-block).
#
# **Check yourself.**
#
# <details><summary>1. Can a head of block 0 read what the MLP of block 0 wrote?</summary>
#
# No, that MLP comes after it. A head of block 1 can.
#
# </details>
#
# <details><summary>2. How many vectors are added up at one position of GPT-2 small, each layer's
# attention counted as one? And with each head counted?</summary>
#
# Token and position, 12 attention layers and 12 MLPs: 26. With heads: 2 + 144 + 12 MLPs, and 12
# output biases of the attention layers, which belong to no head: 170.
#
# </details>

# %% [markdown]
# ### Virtual Weights and the Residual Stream as a Communication Channel
#
# **Take.** The stream is a sum and does nothing itself. So the output matrix of any component can
# be multiplied with the input matrix of any later one: a **virtual weight**. And the channel is
# narrow for what goes through it.
#
# **What confuses.** (a) The *stream* is linear, what reads it need not be. (b) Nobody assigns
# subspaces; two components overlap more or less. (c) The 100: in the middle of 50 layers, 25 MLPs
# lie before it, each of four times as many neurons as the stream has numbers. (d) "No privileged
# basis" is a statement about the architecture. Training can still prefer the coordinates:
# Anthropic's later note "Privileged Bases in the Transformer Residual Stream" (2023) found that it
# does.
#
# **Skim.** The footnote on principal components. "Memory management" is a guess, and marked so.
#
# **In this book.** ["The residual stream"](01_build_a_transformer.ipynb#The-residual-stream), ["A
# crowded channel"](03_direct_logit_attribution.ipynb#A-crowded-channel), and for components that
# erase [exercise 3.11](03_direct_logit_attribution.ipynb#Exercise-3.11:-who-removes-what). Here we
# turn the stream of the two-layer model by a random rotation. What changes?

# %%
generator = torch.Generator().manual_seed(0)
d_model = two.cfg.d_model
R = torch.linalg.qr(torch.randn(d_model, d_model, generator=generator).double()).Q
turned = copy.deepcopy(two)
for name, weights in turned.named_parameters():
    writes = name.endswith(("W_E", "W_pos", "W_O"))
    weights.copy_(weights @ R if writes else R.T @ weights)

logits, cache = run_with_cache(two, text)
turned_logits, turned_cache = run_with_cache(turned, text)
assert not torch.allclose(cache["resid_post", 1], turned_cache["resid_post", 1])
assert torch.allclose(cache["k", 1], turned_cache["k", 1])
print("The stream has other numbers. The logits are the same:", end=" ")
print(torch.allclose(logits, turned_logits))
print(f"Layer 0 writes {two.cfg.n_heads} × {two.cfg.d_head} dimensions into {d_model}.")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Which other activations stayed the same, and why?</summary>
#
# Queries, keys, values, scores and patterns: whoever reads turns back ($R R^\top = \mathrm{Id}$).
# Only what is *in* the stream was turned. So single numbers of the stream have no meaning by
# themselves.
#
# </details>
#
# <details><summary>2. Could each head of layer 0 have a subspace of the stream to itself?</summary>
#
# Their dimensions add up to all of d_model, and token and position vectors need room as well: no.
# They must share, and a reader hears a little of everybody. That is why composition scores need a
# baseline.
#
# </details>
#
# ### Attention Heads are Independent and Additive
#
# **Take.** "Concatenate all heads and multiply by one big matrix" is the same as "each head has its
# own output matrix, and the results are added".
#
# **What confuses.** Independent within a layer: no head sees what its neighbours do. Between layers
# they read each other, and training makes them share work.
#
# **Skim.** The algebra, if you have done [exercise
# 1.8](01_build_a_transformer.ipynb#Exercise-1.8:-write-back-through-W_O).

# %%
z = cache["z", 0]  # what each head brings, [batch pos head d_head]
W_O = two.W_O[0]
concatenated = z.flatten(start_dim=2) @ W_O.flatten(end_dim=1)
added = sum(z[:, :, head] @ W_O[head] for head in range(two.cfg.n_heads))
print("concatenate and multiply = multiply and add:", torch.allclose(concatenated, added))

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Why does every implementation concatenate, then?</summary>
#
# One large matrix product is faster than many small ones. The fastest form of a computation is
# seldom the one that is easiest to understand; the section's point is that we may choose.
#
# </details>
#
# <details><summary>2. Without its head L0H3, do the other heads of layer 0 write anything
# else?</summary>
#
# No. Those of layer 1 may, for they read a stream in which something is missing.
#
# </details>

# %% [markdown]
# ### Attention Heads as Information Movement
#
# **Take.** A head is $A \otimes W_{OV}$: $A$ says from where to where, $W_{OV}$ what is read and
# how it is written, and neither knows of the other. Queries, keys and values are means to an end;
# only the products $W_{QK}$ and $W_{OV}$ matter.
#
# **What confuses.** (a) The sign $\otimes$. Put "$A \, x \, W$" wherever you see $A \otimes W$. (b)
# Freezing $A$ is a thing that *we* do to think; the model computes it anew for each text. (c)
# $W_{QK}$ and $W_{OV}$ have one shape and are different things: $W_{OV}$ takes a vector and gives a
# vector, $W_{QK}$ takes two and gives a number.
#
# **Skim.** The remark on (2,2)-tensors. Do read the list "Observations about Attention Heads" to
# its end: it is the paper in ten lines.
#
# **In this book.** [Exercise
# 4.1](04_qk_and_ov_circuits.ipynb#Exercise-4.1:-W_QK-and-W_OV,-and-their-ranks)
# and [exercise 4.2](04_qk_and_ov_circuits.ipynb#Exercise-4.2:-a-head-in-another-basis). Given its
# pattern, is a head linear? And how many directions does it read?

# %%
head = tensor_product(cache, two, "L1H0")
x = cache["resid_pre", 1]
y = torch.randn(x.shape, generator=generator).double()
print(f"{head}: linear:", torch.allclose(head(x + 3 * y), head(x) + 3 * head(y)))
rank = torch.linalg.matrix_rank(head.W).item()
assert rank == two.cfg.d_head
print(f"W_OV is {d_model} × {d_model} and has rank {rank}.")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. We multiply W_Q by an invertible matrix M, and W_K by the transpose of its
# inverse. What does the model do differently?</summary>
#
# Nothing: M cancels in $W_Q W_K^\top$. All queries and keys are other vectors, so their single
# numbers meant nothing.
#
# </details>
#
# <details><summary>2. So is attention linear?</summary>
#
# In what it moves, given where it looks. Where it looks is a softmax of products of two reads of
# the stream; that is not linear, and it is where the interesting things happen.
#
# </details>

# %% [markdown]
# ## Zero-Layer Transformers
#
# **Take.** Without layers, the logits after a token are a row of $W_E W_U$ (there $W_U W_E$), at
# best the log-probabilities of the bigrams. The same product is the "direct path" of every
# transformer.
#
# **What confuses.** (a) In a deeper model the direct path is *not* a bigram table: the layers say a
# part of the bigrams, too, and it says the rest. (b) A row is determined up to a constant only. (c)
# $W_U$ is not the inverse of $W_E$, in spite of its name.
#
# **Skim.** Nothing.
#
# **In this book.** [Exercise
# 5.1](05_composition_and_induction.ipynb#Exercise-5.1:-W_E-W_U-against-the-true-bigrams) compares
# with the truth, which for our language is known. Did $W_U$ undo $W_E$, each token's
# largest logit would be its own. For how many tokens is it?

# %%
for model in (zero, one, two):
    own = (self_ranks(Factored(model.W_E, model.W_U)) == 0).sum().item()
    assert own < 0.01 * model.cfg.d_vocab
    print(f"layers: {model.cfg.n_layers}; own logit largest: {own} of {model.cfg.d_vocab} tokens")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Why so few?</summary>
#
# The product answers "what comes next", and a word hardly ever follows itself.
#
# </details>
#
# <details><summary>2. Train such a model on endless text with d_model as large as d_vocab. Does its
# loss go to 0?</summary>
#
# No. It goes to the entropy of the next token given the last one. What depends on earlier tokens,
# and what is open, it cannot know (quiz 5-a).
#
# </details>

# %% [markdown]
# ## One-Layer Attention-Only Transformers
#
# ### The Path Expansion Trick
#
# **Take.** A model is a product with one factor for each layer; multiplied out it is a sum with
# one term for each path from the tokens to the logits. One layer: the direct path, and a path
# through each head.
#
# **What confuses.** The sum is exact, but the patterns in it are given. And terms can be "reasoned
# about independently" as parts of a logit; what a term does for a *probability* depends on the
# others, for a softmax comes after the sum.
#
# **Skim.** Nothing. Draw the picture with the paths once by hand.
#
# **In this book.** [Exercise
# 5.3](05_composition_and_induction.ipynb#Exercise-5.3:-expand-a-one-layer-model).

# %%
sentence = "<|endoftext|>Mary will keep the debt in"
tokens = torch.tensor([tokenizer.encode(sentence)])
one_logits, one_cache = run_with_cache(one, tokens)
expansion = expand_logits(one_cache, one).joined()
assert torch.allclose(expansion.total(), one_logits)
print(" + ".join(str(path) for path in expansion.paths))
print("add up to the logits:", torch.allclose(expansion.total(), one_logits))

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. How many terms has a model of one layer with 12 heads?</summary>
#
# 13. With position vectors in the stream, as ours has them, each splits in two: what started at the
# token, and what started at the position.
#
# </details>
#
# <details><summary>2. A head adds 5 to the logit of every token. What does it do to the
# prediction?</summary>
#
# Nothing. Within a term only differences count; take its mean over the vocabulary off before you
# read it.
#
# </details>

# %% [markdown]
# ### Splitting Attention Head terms into Query-Key and Output-Value Circuits
#
# **Take.** For each head two tables between tokens: the QK circuit says which token wants to read
# which, the OV circuit what a token does to the logits when it is read. The destination decides
# *how much* is read, and never *what* follows from it.
#
# **What confuses.** (a) Position is not in the formulas. With position vectors in the stream the
# QK circuit is four tables: token or position asks, token or position answers. (b) An entry is a
# score, not attention: a softmax over the row comes after. (c) The two are independent in how
# they are computed, not in what training makes of them.
#
# **Skim.** Nothing. (Running the model twice, in the thought experiment, is what freezing is.)
#
# **In this book.** [Exercise
# 4.3](04_qk_and_ov_circuits.ipynb#Exercise-4.3:-the-QK-circuit-on-chosen-tokens-and-positions),
# [exercise 4.4](04_qk_and_ov_circuits.ipynb#Exercise-4.4:-the-OV-circuit-on-chosen-tokens). Here is
# one score of L0H2 in the sentence "Mary will keep the debt in", from which the last word reads
# " keep", put together from the four tables.

# %%
keep, last = 3, tokens.shape[1] - 1
asks, answers = (
    {"token": one.W_E[tokens[0, place]], "position": one.W_pos[place]} for place in (last, keep)
)
W_QK = one.W_Q[0, 2] @ one.W_K[0, 2].T / math.sqrt(one.cfg.d_head)
table = torch.stack([torch.stack([q @ W_QK @ k for k in answers.values()]) for q in asks.values()])
assert torch.allclose(table.sum(), one_cache["attn_scores", 0][0, 2, last, keep])
attention = one_cache["pattern", 0][0, 2, last, keep]
assert attention > 0.9
print(f"Together they are the score that the model computes, {table.sum():.2f}.")
print(f"L0H2 gives “ keep” {attention:.2f} of its attention.")
NumberTable(
    table,
    rows=["the token “ in” asks", "its position asks"],
    columns=["the token “ keep” answers", "its position answers"],
)

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Two destinations give " keep" the same attention. Can the head tell the one
# to expect " mind" and the other " bay"?</summary>
#
# No. Each gets the same row of the OV circuit. This is the seed of the skip-trigram bug.
#
# </details>
#
# <details><summary>2. The score is below 0. How can nearly all attention go there?</summary>
#
# The others in its row are lower still: a softmax compares the keys of one query, and a constant
# added to the row changes nothing. (For the same reason, entries of two rows cannot be compared.)
#
# </details>

# %% [markdown]
# ### Interpretation as Skip-Trigrams
#
# **Take.** Source ... destination → out. Most heads of one layer spend themselves on copying. And
# the form has a **bug**: a head's rules are $f_1(\text{source}, \text{destination}) \cdot
# f_2(\text{source}, \text{out})$, so two right rules of one source bring two wrong ones.
#
# **What confuses.** (a) The order: in `keep … in → mind` the present token is "in", and "mind" is
# the guess. (b) The bug is of one head. Where the loss asks for it, another head repairs it. (c)
# "Primarily Positional Attention Heads": in the authors' models positions enter queries and keys
# alone, in ours the stream.
#
# **Skim.** The long lists of examples: take three that you can explain. Spend five minutes in one
# of the linked dumps of entries, without expecting to understand them all.
#
# **In this book.** [Exercise
# 5.4](05_composition_and_induction.ipynb#Exercise-5.4:-table-of-skip-trigrams) and [exercise
# 5.5](05_composition_and_induction.ipynb#Exercise-5.5:-find-the-bug), with the repair after them.
# The two factors of L0H2, for the source " keep":

# %%
destinations, outs = [" in", " at"], [" mind", " bay"]
_, at = (tokenizer.encode(word)[0] for word in destinations)
mind_or_bay = [tokenizer.encode(word)[0] for word in outs]
_, cache_at = run_with_cache(one, torch.tensor([[*tokens[0, :-1].tolist(), at]]))
f_1 = torch.stack([run["pattern", 0][0, 2, last, keep] for run in (one_cache, cache_at)])
read = full_ov_circuit(one, "L0H2", one.W_E[tokens[0, [keep]]]).full()[0]
f_2 = (read - read.mean())[mind_or_bay]
print(f"attention to “ keep”: from “ in” {f_1[0]:.2f}, from “ at” {f_1[1]:.2f}")
print(f"logits if it is read: “ mind” {f_2[0]:+.1f}, “ bay” {f_2[1]:+.1f}")
NumberTable(f_1[:, None] * f_2, rows=destinations, columns=outs, caption="f₁ · f₂", decimals=1)

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. The truth allows " mind" after " in" and " bay" after " at". Which property
# of the table above keeps it from being that?</summary>
#
# It is a column times a row: rank 1. The truth has rank 2. From " in" the head may read more or
# less, but " bay" is above " mind" in both rows or in neither.
#
# </details>
#
# <details><summary>2. How can a model of one layer get it right all the same?</summary>
#
# By a second head, that reads " keep" from one of the two alone. The sum of two tables of rank 1
# can have rank 2. In chapter 5 you see which head does so.
#
# </details>

# %% [markdown]
# ### Summarizing OV/QK Matrices
#
# **Take.** The tables are huge, but of rank $d_{head}$. Copying shows as positive eigenvalues, and
# $\sum \mathrm{Re} \, \lambda / \sum |\lambda|$ says so in one number. The authors count 10 of
# their 12 heads as copying, and doubt the number themselves.
#
# **What confuses.** (a) Eigenvalues of the *full* circuit, from tokens to logits, not of $W_{OV}$.
# (b) A copying matrix has positive eigenvalues; a matrix with positive eigenvalues need not copy
# each token. (c) In a deep model a head does not read tokens as they came in. GPT-2's best-known
# copying head shows it: see below, and ["Where the score
# misleads"](04_qk_and_ov_circuits.ipynb#Where-the-score-misleads).
#
# **Skim.** The footnote on random (Ginibre) matrices. In a first pass: the whole section.
#
# **In this book.** [Exercise 4.6](04_qk_and_ov_circuits.ipynb#Exercise-4.6:-the-copying-score) and
# [exercise 4.7](04_qk_and_ov_circuits.ipynb#Exercise-4.7:-the-share-of-tokens-that-a-head-copies).

# %%
scores = eigenvalue_scores(full_ov_eigenvalues(one))[0]
print(f"Our one layer: {(scores > 0.9).sum()} of {len(scores)} heads score above 0.9,", end=" ")
print(f"{(scores < -0.9).sum()} below -0.9.")
misleading = torch.tensor([[-1.0, 3.0], [-2.0, 4.0]])  # a circuit of two tokens
eigenvalues = torch.linalg.eigvals(misleading).real.sort().values
print(f"Eigenvalues {eigenvalues[0]:.0f} and {eigenvalues[1]:.0f}, so a score of 1;", end=" ")
print(f"and the first token's own logit: {misleading[0, 0]:+.0f}.")
published = gpt2_small()
mover = published.copying_scores.value[9, 9]
print(f"GPT-2's name mover L9H9: {mover:.2f} (published, of W_OV).")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. The eigenvalues of a matrix add up to the sum of its diagonal. What does a
# positive sum say about tokens?</summary>
#
# That they raise their own logit *on average*. The second token of the example does, by 4, and pays
# for the first.
#
# </details>
#
# <details><summary>2. How does one get the eigenvalues of a circuit of 50,257 × 50,257
# entries?</summary>
#
# From a matrix of d_head × d_head: the products AB and BA have the same ones, but for zeros
# (exercise 4.6; the paper's "Working with Low-Rank Matrices").
#
# </details>

# %% [markdown]
# ### Do We "Fully Understand" One-Layer Models?
#
# **Take.** As one understands a large linear regression or a database: no secret is left in the
# algorithm, and it is far too much to hold in one's head.
#
# **What confuses.** "Understand" changes its meaning between the two halves of that sentence. Say
# which of the two you mean when you claim it of a model.
#
# **Skim.** Nothing; half a page, and worth a discussion.

# %%
n_heads, d_vocab = one.cfg.n_heads, one.cfg.d_vocab
entries = (2 * n_heads + 1) * d_vocab**2
parameters = sum(weights.numel() for weights in one.parameters())
print(f"Between tokens, {2 * n_heads + 1} tables: QK and OV of each head, and the direct path.")
print(f"{entries:,} entries, made from {parameters:,} parameters:", end=" ")
print(f"{entries / parameters:.0f} entries for each.")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. What is missing from that kind of understanding?</summary>
#
# A summary: far fewer words than entries, from which one could predict the entries. That we know
# one exists (the parameters are fewer) does not give us one that means something.
#
# </details>
#
# <details><summary>2. Why is an MLP no such set of tables?</summary>
#
# A neuron's output is no sum over the tokens that it has heard of: what one of them adds depends on
# the others. A table would need a row for each combination.
#
# </details>

# %% [markdown]
# ## Two-Layer Attention-Only Transformers
#
# ### Three Kinds of Composition
#
# **Take.** A later head can read what an earlier one wrote in its query, its key or its value. Q
# and K change *where* it looks, V changes *what* it moves; only V makes two heads into one.
#
# **What confuses.** It is a matter of degree. Any two heads overlap a bit, random ones too, so the
# question is always: more than chance?
#
# **Skim.** Nothing. These few paragraphs carry the rest of the paper.
#
# **In this book.** [Exercise
# 5.7](05_composition_and_induction.ipynb#Exercise-5.7:-composition-scores).

# %%
composed = {kind: composition_scores(two, kind) for kind in "QKV"}
baseline = composed["K"].baseline
for kind, result in composed.items():
    best = result.strongest(1)[0]
    print(f"{kind}: {best.writer} → {best.reader} {best.score:.2f} (chance {result.baseline:.2f})")
assert composed["K"].strongest(1)[0].score > 2 * baseline

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. A head should read the word after the last place where the present word
# stood. Which kind does it need?</summary>
#
# K-composition. It must choose a *source* by what stands before that source. So something must have
# told the source's position what stands before it: an earlier head, read through the key.
#
# </details>
#
# <details><summary>2. And to ask with the word before the present one?</summary>
#
# Q-composition: the destination knows more than its own token, because an earlier head wrote there.
#
# </details>

# %% [markdown]
# ### Path Expansion of Logits
#
# **Take.** A factor more, and a new kind of term: through one head of each layer, a virtual head.
#
# **What confuses.** Q- and K-composition are nowhere in this sum. They hide in the patterns $A$,
# which it takes as given.
#
# **Skim.** The formula, once you can say how many terms it has.
#
# **In this book.** [Exercise
# 5.6](05_composition_and_induction.ipynb#Exercise-5.6:-expand-a-two-layer-model).

# %%
name_again = "<|endoftext|>We know that Corkim Duntev and Mary work at the park. They say Corkim"
named = torch.tensor([tokenizer.encode(name_again)])
pieces = tokenizer.pieces(named[0].tolist())
named_logits, named_cache = run_with_cache(two, named)
duntev = tokenizer.encode(" Duntev")
at_end = expand_logits(named_cache, two, position=-1).joined()
assert torch.allclose(at_end.total()[0, 0], named_logits[0, -1])
for order in range(3):
    some = at_end.where(lambda path, order=order: path.order == order)
    raised = (some.total() - some.total().mean(dim=-1, keepdim=True))[0, 0, duntev].item()
    print(f"through {order} heads: {len(some.paths):2} terms, “ Duntev” {raised:+.1f} logits")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. The model knows the name's second half by induction. In which terms of this
# sum do you see the composition that it needs?</summary>
#
# In none. You see single heads that move " Duntev". That they look at the right place is in their
# patterns: the next section.
#
# </details>
#
# <details><summary>2. How many terms are there with 12 heads in each of two layers?</summary>
#
# 1 + 24 + 144 = 13² = 169.
#
# </details>

# %% [markdown]
# ### Path Expansion of Attention Scores QK Circuit
#
# **Take.** A score of layer 1 is a sum over pairs: one path that brings the query, one that brings
# the key.
#
# **What confuses.** The six-dimensional tensors. Read $A_q \otimes A_k \otimes W$ as: what the
# query side gathered with the pattern $A_q$, and the key side with $A_k$, meet in $W$. In our
# notation the score is $A_q \, x \, W \, x^\top A_k^\top$. So $\mathrm{Id} \otimes A^{h} \otimes W$
# is pure K-composition: the query comes straight from the token, the key through head $h$.
#
# **Skim.** The sentence about (4,2)-tensors; the coloured formula's middle lines. Come back after
# "How Induction Heads Work".
#
# **In this book.** ["Attention scores expand,
# too"](05_composition_and_induction.ipynb#Attention-scores-expand,-too). Who makes L1H0 look from
# the second " Corkim" to " Duntev"?

# %%
place, end = pieces.index(" Duntev"), len(pieces) - 1
expanded = expand_scores(named_cache, two, "L1H0").joined()
by_pair = expanded.at(end, place)[..., 0]
assert torch.allclose(by_pair.sum(), named_cache["attn_scores", 1][0, 0, end, place])
print(f"{by_pair.numel()} pairs of paths add up to the score, {by_pair.sum():.1f};", end=" ")
print(f"{(by_pair < 0).sum()} of them are below 0. The greatest:")
for pair in by_pair.flatten().topk(3).indices.tolist():
    query, key = divmod(pair, len(expanded.keys.paths))
    print(f"query {expanded.queries.paths[query]}, key {expanded.keys.paths[key]}:", end=" ")
    print(f"{by_pair[query, key]:.1f}")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. How would Q-composition show in such a list?</summary>
#
# As a large pair whose *query* came through a head.
#
# </details>
#
# <details><summary>2. How many pairs has a score in the third layer, with eight heads a
# layer?</summary>
#
# The stream it reads has 1 + 16 + 64 = 81 paths, so 81² = 6561.
#
# </details>

# %% [markdown]
# ### Analyzing a Two-Layer Model
#
# **Take.** The method: measure who composes with whom, then look at those few heads.
#
# **What confuses.** (a) **The composition diagram as first published was wrong,** and the text
# beside it still argues from it: composition with one head of layer 0 only. The correction under
# "Comments & Replications" shows more of it. (b) The interactive figure shows *value-weighted*
# patterns: attention times the length of the value vector that is moved. A head that has nothing to
# do rests on the first token, where there is little to move, and in such a figure it fades.
#
# **Skim.** The figure's manual. Do play with the figure: find the stripes.
#
# **In this book.** [Chapter
# 5](05_composition_and_induction.ipynb#Composition:-who-reads-whom) on our model, where two heads
# of layer 0 are read by most of layer 1. Where does L1H0 look while there is nothing to induce?

# %%
_, twice_cache = run_with_cache(two, twice)
resting = twice_cache["pattern", 1][:, 0, 8:period, 0].mean()
lengths = twice_cache["v", 1][:, :, 0].norm(dim=-1)
at_start, elsewhere = lengths[:, 0].mean(), lengths[:, 1:].mean()
assert resting > 0.3 and at_start < 0.7 * elsewhere
print(f"On new words L1H0 gives the first token {resting:.2f} of its attention.")
print(f"The value there is {at_start / elsewhere:.1f} times as long as elsewhere.")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. A head gives the first token 90% of its attention. Is it about the first
# token?</summary>
#
# Not before you know how long the value there is, and what it does to the logits. A softmax must
# look somewhere; the first token is often the place for "nowhere".
#
# </details>
#
# <details><summary>2. Our L1H0 reads two heads of layer 0 by its keys, the paper's minimal story
# has one. Does that contradict it?</summary>
#
# No. The paper calls its story minimal and says that other models are less simple; its corrected
# figure shows more than one writer there as well.
#
# </details>

# %% [markdown]
# ### Induction Heads
#
# **Take.** `[a][b] … [a] → [b]`, on any tokens, even random ones. Made of two heads: one writes at
# each position which token came before; a later one finds the position whose predecessor is the
# present token, and copies the token there. And the check: positive eigenvalues of OV (copies), and
# of QK through the previous-token head (matches).
#
# **What confuses.** (a) The induction head looks at the token *after* the earlier occurrence. Who
# looks at the earlier occurrence itself is a duplicate-token head. (b) "Shifted keys" are not
# moved: an earlier head wrote them. (c) A footnote has a second way to build one, with positions
# instead of shifted tokens ("pointer arithmetic"). It needs positions in the stream.
#
# **Skim.** Nothing. If you read one section twice, read this one.
#
# **In this book.** ["The induction
# circuit"](05_composition_and_induction.ipynb#The-induction-circuit), step by step and broken at
# each step; [exercise
# 2.5](02_explore_activations.ipynb#Exercise-2.5:-induction-scores) and [exercise
# 5.13](05_composition_and_induction.ipynb#Exercise-5.13:-eigenvalues-of-QK-through-another-head).

# %%
induction = induction_scores(twice_cache["pattern", 1], period)
previous = previous_token_scores(twice_cache["pattern", 0])
shifter = f"L0H{previous.argmax().item()}"
copies = eigenvalue_scores(full_ov_eigenvalues(two))[1]
matches = eigenvalue_scores(full_qk_eigenvalues(two, through=shifter))[1]
in_the_corner = (copies > 0.9) & (matches > 0.9)
assert induction[in_the_corner].min() > 0.7 > induction[~in_the_corner].max()
print(f"{shifter} looks at the token before with {previous.max():.2f} of its attention.")
print(f"{in_the_corner.sum()} heads of layer 1 copy and match (both above 0.9).", end=" ")
print("They are those with induction scores above 0.7:", end=" ")
print(torch.equal(in_the_corner, induction > 0.7))

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. K-composition was how these heads were found. Is it circular to find it again
# in their eigenvalues?</summary>
#
# A score is a size. That the product is positive, so that the head looks for the *same* token and
# not for the opposite, does not follow from its size, nor that the OV circuit copies.
#
# </details>
#
# <details><summary>2. Eigenvalues and pictures: what more would you ask for?</summary>
#
# An intervention. Break the previous-token head, or cut it off from the keys alone, and see
# induction go ([exercise
# 5.11](05_composition_and_induction.ipynb#Exercise-5.11:-break-the-previous-token-head), [exercise
# 5.12](05_composition_and_induction.ipynb#Exercise-5.12:-replace-only-the-key-input)).
#
# </details>

# %% [markdown]
# ### Term Importance Analysis
#
# **Take.** Freeze the patterns and add paths by their number of heads: how far does the loss fall?
# Single heads bring much, virtual heads little.
#
# **What confuses.** With frozen patterns the question is about V-composition alone. "Layer 2" is
# the second layer. And little in all is not little for each: divide by the number of terms.
#
# **Skim.** The procedure of several runs. The paper needs it to get round an exponential number of
# terms; adding up by order, layer for layer, does the same.
#
# **In this book.** [Exercise
# 5.9](05_composition_and_induction.ipynb#Exercise-5.9:-term-importance-by-order).

# %%
importance = term_importance(cache, two, text)
direct, single, virtual = importance.reductions.tolist()
assert single > direct > 5 * virtual
Table(
    {
        "paths through": ["no head", "one head", "two heads"],
        "terms": importance.n_terms.tolist(),
        "the loss falls by (nats)": importance.reductions.tolist(),
        "by term": importance.reductions_per_term.tolist(),
    },
    decimals=3,
)

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Virtual heads hardly matter. So could layer 1 do without layer 0?</summary>
#
# No. Its patterns need layer 0 (K-composition), and here they are frozen at what layer 0 made them.
#
# </details>
#
# <details><summary>2. Why freeze them?</summary>
#
# So that leaving a path out changes no other. Else one would take away a term and at the same time
# make the others look elsewhere, and the fall would belong to both.
#
# </details>

# %% [markdown]
# ### Virtual Attention Heads
#
# **Take.** Two heads in a row have a pattern and an OV circuit of their own. There are many of
# them, and they are small and cheap; large models may use them.
#
# **What confuses.** "May": it is a guess, and this model does not.
#
# **Skim.** In a first pass, all of it.
#
# **In this book.** [Exercise
# 5.8](05_composition_and_induction.ipynb#Exercise-5.8:-a-virtual-head). How many has GPT-2 small?

# %%
for order in (1, 2, 3):
    print(f"through {order} of GPT-2 small's heads: {n_terms(12, 12, order):>7,} ways")

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. What is the virtual head of two previous-token heads?</summary>
#
# A head that looks two tokens back. Patterns multiply.
#
# </details>
#
# <details><summary>2. Why does the paper call ordinary heads large?</summary>
#
# One pattern and d_head dimensions are a lot for a task such as "is this text in the past tense?".
# A virtual head can move a few numbers without taking a head of its own.
#
# </details>

# %% [markdown]
# ## Where Does This Leave Us?
#
# **Take.** A foothold. Circuits of attention heads are found in large models, too, induction heads
# above all. MLPs hold two thirds of the parameters (embeddings not counted), and about them this
# paper says little.
#
# **What confuses.** That leaves less than the other third to be understood without MLPs: many heads
# read what MLPs wrote.
#
# **Skim.** Nothing; one page.
#
# **In this book.** GPT-2 in chapters [2](02_explore_activations.ipynb),
# [3](03_direct_logit_attribution.ipynb), [4](04_qk_and_ov_circuits.ipynb) and
# [6](06_inside_gpt2.ipynb). Its published scores show the same two kinds of heads, in the same
# order of layers:

# %%
scores = {"previous token": published.previous_token, "induction": published.induction}
layers = {}
for kind, score in scores.items():
    layer, head = divmod(score.value.argmax().item(), 12)
    layers[kind] = layer
    print(f"GPT-2's strongest {kind} head: L{layer}H{head}, {score.value.max():.2f}")
assert layers["previous token"] < layers["induction"]

# %% [markdown]
# **Check yourself.**
#
# <details><summary>1. Which tool of this paper fails first in a model with MLPs, and which goes on
# working?</summary>
#
# The expansion into paths stops at each MLP. That a logit is a sum of what components wrote stays
# exact (with LayerNorm frozen): chapter 3.
#
# </details>
#
# <details><summary>2. Name a number of this paper that misleads in GPT-2.</summary>
#
# The copying score: the name mover L9H9 copies names and scores low, a head that lowers the name
# scores high (chapter 4).
#
# </details>
#
# ## Related Work
#
# **Take.** Three pieces. "The Logit Lens" looks at the stream as a whole, this paper at its parts.
# "Criticism of Attention as Explanation" says in half a page when patterns mislead. And "Recent
# Architectural Changes" has a remark on Primer, which mixes into each key those just before it:
# what an induction head otherwise needs a second head for.
#
# **Skim.** The rest, unless you look for a reference.
#
# **In this book.** [Exercise
# 2.8](02_explore_activations.ipynb#Exercise-2.8:-the-logit-lens) beside [exercise
# 3.4](03_direct_logit_attribution.ipynb#Exercise-3.4:-attribution-per-layer).
#
# **Check yourself.**
#
# <details><summary>1. Why would a method that goes by gradients miss the previous-token
# head?</summary>
#
# An induction head that is sure has a saturated softmax. A small change of a key changes next to
# nothing, although without that key it would look elsewhere.
#
# </details>
#
# <details><summary>2. When may one read an attention pattern as an explanation?</summary>
#
# When the head acts by itself: its scores come from tokens and positions, and its output goes to
# the logits. With Q-, K- or V-composition, the position that is looked at stands for something
# else.
#
# </details>
#
# ## Comments & Replications
#
# **Take.** The correction. A bug in the authors' library for matrices of low rank made the
# composition diagram of "Analyzing a Two-Layer Model" measure something else, which induction heads
# have much of and other compositions hardly. No other figure was concerned. K-composition with the
# previous-token head stands; in addition two of the induction heads also read a head that attends
# to the last several tokens.
#
# **What confuses.** A note at the diagram points to the correction; the sentences around it were
# left as they were.
#
# **Check yourself.**
#
# <details><summary>1. Which sentence of the section should you now read with care?</summary>
#
# That there is significant K-composition only, and with one head of layer 0 only.
#
# </details>
#
# <details><summary>2. How could the bug have been found on the first day?</summary>
#
# By comparing the fast way with the slow one on small random matrices. (Exercise 5.7's answer and
# this book's library compute the scores in two ways, and chapter 5 compares them.)
#
# </details>
#
# ## Additional Intuition and Observations
#
# **Take.** "MLP Layers": how far the paths go in a model with MLPs, a must if you work on real
# models. The part on properties of activations: *privileged basis* (single coordinates may mean
# something) and *bottleneck* (few dimensions between many), words that the field still uses.
#
# **What confuses.** The "identity attention head", with $A = \mathrm{Id}$ and $W_{OV} =
# \mathrm{Id}$: a trick that lets the direct path count as one more head, so that formulas get
# shorter.
#
# **Skim.** Virtual weights as convolutions; pointer arithmetic, until you meet a head that looks
# for positions.
#
# **In this book.** ["The MLP: computing at one
# position"](01_build_a_transformer.ipynb#The-MLP:-computing-at-one-position), [exercise
# 3.7](03_direct_logit_attribution.ipynb#Exercise-3.7:-attribution-per-neuron), and superposition in
# [chapter 7](07_what_comes_next.ipynb).
#
# **Check yourself.**
#
# <details><summary>1. Of token ids, stream, queries, patterns, values, MLP activations and logits:
# which have a privileged basis?</summary>
#
# Tokens and logits (an axis for each token), patterns (one for each position), MLP activations. The
# others can be turned without changing the model, as you did above with the stream.
#
# </details>
#
# <details><summary>2. With the identity head as one more head in each layer, how many paths does a
# model of L layers with H heads have?</summary>
#
# $(1 + H)^L$: in each layer one chooses a head, or to pass by.
#
# </details>
#
# ## Notation
#
# **Take.** The table of variables says of each activation whether its basis is privileged. The part
# on tensor products has several readings of $\otimes$; choose one and stay with it (ours is $A \, x
# \, W$).
#
# **Skim.** The readings that you did not choose.
#
# **In this book.** "Two notations" above, and the [glossary](C_glossary.ipynb).
#
# **Check yourself.**
#
# <details><summary>1. Which of W_QK, W_OV and A are the same matrices in the paper and in this
# book?</summary>
#
# $W_{QK}$ and $A$; $W_{OV}$ is transposed. The first cell with models shows it.
#
# </details>
#
# <details><summary>2. What does (A₂ ⊗ W₂) · (A₁ ⊗ W₁) become in either notation?</summary>
#
# $A_2 A_1 \otimes W_2 W_1$ in the paper, $A_2 A_1 \otimes W_1 W_2$ here. Patterns stand in the same
# order in both, because they are on the left of $x$ in both.
#
# </details>
#
# ## Technical Details
#
# **Take.** The part on layer normalization, and "Working with Low-Rank Matrices": what chapters 3
# and 4 do, in one page.
#
# **Skim.** The models' sizes and data.
#
# **In this book.** [Exercise
# 3.2](03_direct_logit_attribution.ipynb#Exercise-3.2:-parts-through-the-final-LayerNorm), ["Rank
# at most d_head"](04_qk_and_ov_circuits.ipynb#Rank-at-most-d_head) and exercise 4.5 after it, and
# [Appendix B](B_conventions.ipynb) for what raw, folded and centred weights change.
#
# **Check yourself.**
#
# <details><summary>1. Which step of LayerNorm cannot be folded into weights?</summary>
#
# The division by the standard deviation: a number that depends on the stream at that position.
# Centring is a fixed linear map, and the learned scale and shift are, too.
#
# </details>
#
# <details><summary>2. Why does the paper find it hard to compare paths that end in different
# layers?</summary>
#
# Each LayerNorm on the way has divided by another number, so that the terms are weighted
# differently.
#
# </details>

# %% [markdown]
# ## What you found

# %%
print(f"{first} minutes for the claims, {second / 60:.1f} hours for the formulas.")
print(
    f"{len(expansion.paths)} and {n_terms(2, 8, 0) + n_terms(2, 8, 1) + n_terms(2, 8, 2)}", end=" "
)
print("paths add up to the logits of one layer and of two.")
print(
    f"A bug in a table of rank 1; a rotation that no logit sees; {in_the_corner.sum()} heads",
    end="",
)
print(" in the corner where copying meets matching.")

# %% [markdown]
# **Explain it to a colleague.** Without the paper: What is a path, and what is it that is frozen?
# Why are keys, queries and values "superficial"? Which sum shows V-composition, which shows
# K-composition? What was wrong in the diagram, and what stands?
#
# **Read next.** Olsson et al. 2022, ["In-context Learning and Induction
# Heads"](https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html),
# the second half of the story; and the authors' own
# [exercises](https://transformer-circuits.pub/2021/exercises/index.html), by which you can see
# whether it stuck.
