# %% [markdown]
# # Chapter 1: Build a transformer
#
# You are about to write GPT-2, piece by piece, in plain tensor operations. Each piece is a few
# lines. At the end your pieces, put together, run the weights of a trained model and give the same
# numbers as a library that researchers use; then you train a small model of your own and watch it
# learn.
#
# **After this chapter you can**
#
# - say what the residual stream is, and why a transformer's output is a sum;
# - compute one attention head by hand, and then all heads of all layers at once;
# - load a GPT-2 checkpoint into code of your own and prove that it is right;
# - read a loss in nats, draw text from a model, and train one.
#
# **Time:** 4 to 8 hours, with 19 exercises and 4 quizzes. **You need:** Python, matrix products, a
# softmax, a little PyTorch.
#
# A note such as `Int[Tensor, "batch pos"]` in a function's first line reads: a tensor of whole
# numbers with two axes, the texts of a batch and the positions in each. `Float` is the same for
# real numbers; in `q_pos=pos` a second name says that the size is the same. These notes tell you
# the shapes, nothing enforces them.
#
# In every exercise you complete a function and run the cell below it: `check` compares it with
# ours on several inputs and, if it is wrong, tries to name the mistake. Stuck? Remove the `#`
# before `hint(...)`; each call gives the next hint. Nothing later depends on your answer: after
# each exercise we go on with your function if it passed, with ours if not.

# %%
import math
from itertools import islice
from unittest.mock import patch

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from circuitbook.cache import run_with_cache
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.language import book_language
from circuitbook.language.english import TABLES
from circuitbook.model import MLP, Attention, Block, Config, Transformer, project
from circuitbook.plots import LiveLosses, NumberTable, plot_bars, plot_lines, plot_matrix
from circuitbook.weights import fold_layer_norm, from_huggingface
from circuitbook.zoo import load

# %% [markdown]
# ## What a transformer does
#
# It reads a text and says, at every position, how likely each token is to come next. A **token**
# is a word or a piece of one; the **vocabulary** is all tokens there are, $d_{vocab}$ of them.
#
# We keep a small trained model beside us in this chapter: `pocket`, which has GPT-2's architecture
# and learned the book's own little language. In the sentence below, two people are named. Who gets
# the drink? Guess before you run the cell.

# %%
pocket = load("pocket")
trained = pocket.model.requires_grad_(False)
prompt = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
tokens = torch.tensor([pocket.tokenizer.encode(prompt)])

likeliest = trained(tokens)[0, -1].softmax(dim=-1).topk(4)
NumberTable(
    likeliest.values[:, None],
    rows=pocket.tokenizer.pieces(likeliest.indices),
    columns=["probability"],
)

# %%
guess = pocket.tokenizer.decode([likeliest.indices[0].item()])
assert guess == " Mary"
print(f"{pocket.name} says{guess}: it found the name that was not repeated.")

# %% [markdown]
# How does it know? That is the question of this book. In this chapter we build the machine that
# can be asked.

# %% [markdown]
# ## The residual stream
#
# At each position the model keeps one vector of $d_{model}$ numbers, the **residual stream**.
# Think of a bus with $d_{model}$ wires that runs past every layer. A layer reads the bus, computes
# something, and *adds* its result to what is there. Nothing is overwritten. So the vector at the
# end is a sum, with one term for each component that wrote:
#
# $$\text{final} = \text{token vector} + \text{position vector}
# + \sum_{\text{layers}} (\text{attention} + \text{MLP})$$
#
# Is that literally true, number for number? `run_with_cache` keeps every activation of a run, by
# name. Let us add up what was written and compare with what arrived. (Source: Framework, "Virtual
# Weights and the Residual Stream as a Communication Channel".)

# %%
_, cache = run_with_cache(trained, tokens)
writers = ("hook_embed", "hook_pos_embed", "hook_attn_out", "hook_mlp_out")
written = {name: activation[0] for name, activation in cache.items() if name.endswith(writers)}
final = cache["resid_post", trained.cfg.n_layers - 1][0]

difference = (sum(written.values()) - final).abs().max()
assert difference < 1e-4
print(f"{len(written)} vectors are written at each position: {', '.join(written)}")
print("Their sum is the final residual stream, to 4 decimals:", (difference < 1e-4).item())

# %% [markdown]
# Who writes how much? The length of each written vector, at the last position, where the name has
# to come out:

# %% tags=["nbval-ignore-output"]
lengths = {name: vector[-1].norm().item() for name, vector in written.items()}
plot_bars(
    lengths,
    f"{max(lengths, key=lengths.get)} writes the longest vector at the last position",
    unit="length of the written vector",
)

# %% [markdown]
# Because it is a sum, we can ask of each term what it did. Chapters 3 to 6 live on that.

# %%
### BEGIN SOLUTION: quiz("1-a")
quiz("1-a", "a")
### END SOLUTION

# %% [markdown]
# ## Where the stream begins: two lookups
#
# A token is a whole number. The first thing the model does is to look up its vector, row `token`
# of the **embedding** matrix `W_E` $[d_{vocab} \; d_{model}]$. Multiplying a one-hot vector by
# `W_E` would give the same; looking up is that product without the zeros.

# %% [markdown]
# ### Exercise 1.1: embed
# ●○○ · 5 minutes
#
# Return the vector of each token. `tokens` holds whole numbers; the result has `tokens`' shape,
# and then $d_{model}$.
#
# Source: Framework, "High-Level Architecture".


# %%
def embed(
    tokens: Int[Tensor, "batch pos"], W_E: Float[Tensor, "d_vocab d_model"]
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    return W_E[tokens]
    ### END SOLUTION


# %%
check("1.1", embed)

# %%
# hint("1.1")

# %% [markdown]
# **What you saw.** The same token always starts as the same vector, wherever it stands. All that
# the model knows of a word before it reads the others is in this one row.

# %%
embed = answer("1.1")

# %% [markdown]
# What is in such a row? At first random numbers. Training moves the rows of tokens that are used
# alike towards each other. Here are some rows of the trained `pocket`, compared by the cosine of
# the angle between them: 1 is the same direction, 0 a right angle. Will a name be nearer to
# another name than to a country?

# %% tags=["nbval-ignore-output"]
names, days = [" Mary", " Anna", " John", " Tom"], [" Monday", " Tuesday", " Friday", " Sunday"]
countries = [" France", " Italy", " Egypt", " Japan"]
words = names + days + countries
word_tokens = torch.tensor([pocket.tokenizer.encode(word) for word in words]).T
vectors = functional.normalize(embed(word_tokens, trained.W_E)[0], dim=-1)
cosines = vectors @ vectors.T
plot_matrix(
    cosines,
    "Names, days and countries: three groups of directions",
    rows=words,
    columns=words,
    unit="cosine",
)

# %%
same_kind = torch.block_diag(*[torch.ones(4, 4)] * 3).bool() & ~torch.eye(12).bool()
other_kind = torch.block_diag(*[torch.ones(4, 4)] * 3) == 0
within, between = cosines[same_kind].mean(), cosines[other_kind].mean()
assert within > between + 0.1
print(f"mean cosine within a kind: {within:.2f}, between kinds: {between:.2f}")

# %% [markdown]
# The embedding says nothing about order: "John gave Mary" and "Mary gave John" would be the same
# three vectors. So GPT-2 adds a second lookup, by position: row `pos` of `W_pos` $[n_{ctx} \;
# d_{model}]$.

# %% [markdown]
# ### Exercise 1.2: positional embedding
# ●○○ · 5 minutes
#
# Return the vector of each position, for every row of the batch. It depends on how many tokens
# there are, and not on which.
#
# Source: Radford et al. 2018 (GPT), section 3.1, which GPT-2 follows.


# %%
def positional_embedding(
    tokens: Int[Tensor, "batch pos"], W_pos: Float[Tensor, "n_ctx d_model"]
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    batch, length = tokens.shape
    return repeat(W_pos[:length], "pos d_model -> batch pos d_model", batch=batch)
    ### END SOLUTION


# %%
check("1.2", positional_embedding)

# %%
# hint("1.2")

# %% [markdown]
# **What you saw.** Two tables, two lookups, one sum: `embed(...) + positional_embedding(...)` is
# the residual stream before the first layer. There are only $n_{ctx}$ rows: a text longer than
# that has no vector for its last tokens.

# %%
positional_embedding = answer("1.2")

# %%
start = embed(tokens, trained.W_E) + positional_embedding(tokens, trained.W_pos)
assert torch.allclose(start, cache["resid_pre", 0], atol=1e-5)
print("Token and position vectors add up to the stream that layer 0 reads:", list(start.shape))

# %% [markdown]
# ## Reading the stream: LayerNorm
#
# Every layer adds, so the stream grows. Whoever reads it reads a tidied copy: **LayerNorm** takes
# the vector of one position, subtracts its mean, divides by its standard deviation, and then
# stretches and shifts each number by parameters `w` and `b` $[d_{model}]$:
#
# $$\mathrm{LN}(x) = \frac{x - \bar x}{\sqrt{\mathrm{Var}(x) + \varepsilon}} \cdot w + b, \qquad
# \mathrm{Var}(x) = \frac{1}{d_{model}} \sum_i (x_i - \bar x)^2$$

# %% [markdown]
# ### Exercise 1.3: LayerNorm
# ●●○ · 10 minutes
#
# Write the formula. Note that the variance divides by $d_{model}$, that $\varepsilon$ is under the
# root, and that each vector (each position of each row) has its own mean and variance.
#
# Source: Ba, Kiros and Hinton 2016, section 3.


# %%
def layer_norm(
    x: Float[Tensor, "batch pos d_model"],
    w: Float[Tensor, " d_model"],
    b: Float[Tensor, " d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.pow(2).mean(dim=-1, keepdim=True)
    return centred / (variance + eps).sqrt() * w + b
    ### END SOLUTION


# %%
check("1.3", layer_norm)

# %%
# hint("1.3")

# %% [markdown]
# **What you saw.** Only the scale is not linear. Once it is known for a position, the rest is
# linear: subtracting a mean, dividing by one number, multiplying by constants (and adding b). The
# next two cells use that.

# %%
layer_norm = answer("1.3")

# %% [markdown]
# What does LayerNorm hide from whoever reads? The length of the stream's vector, for one thing:
# make the stream ten times longer and the reader hardly notices.

# %%
ln1 = trained.blocks[0].ln1
once, ten_times = (layer_norm(scale * start, ln1.w, ln1.b, ln1.eps) for scale in (1, 10))
gap = ((once - ten_times).abs().max() / once.abs().max()).item()
assert gap < 0.02
print(
    f"A stream ten times longer is read the same to within {math.ceil(100 * gap)} % (the rest: ε)."
)

# %% [markdown]
# The Framework leaves LayerNorm out. It does matter to training, but it hides little: `w` and `b`
# can be multiplied into the matrices that read (`fold_layer_norm` does it), and what is left then
# is to subtract the mean and to divide by one number per position. Is the folded model really the
# same model?

# %%
folded = fold_layer_norm(trained)
change = (folded(tokens) - trained(tokens)).abs().max().item()
assert change < 1e-3
print("All w are 1 and all b are 0 in the folded model:", bool((folded.blocks[0].ln1.w == 1).all()))
print("Its logits agree with the original's to 3 decimals:", change < 1e-3)

# %% [markdown]
# So a circuit can be read off the matrices as if LayerNorm were not there, up to one positive
# factor per position. Chapter 3 makes that exact. (Source: Framework, "Handling Layer
# Normalization".)

# %% [markdown]
# ## Attention: moving information between positions
#
# So far each position knows its own token only. An **attention head** lets a position fetch
# something from earlier ones, in six steps: *read* the stream, *project* it to a query, a key and
# a value, *score* each query against each key, hide the later ones and *softmax* the rest into
# weights, take the *weighted sum* of the values, and *write* it back.
#
# First by hand. Three words, "the cat sat", and a head whose purpose is: *a verb finds its noun*.
# Our stream has five wires, and for once we know what each one means.

# %%
wires = ["article", "noun", "verb", "cat", "its subject is a cat"]
sentence = ["the", "cat", "sat"]
stream = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0]])
NumberTable(stream, rows=sentence, columns=wires, caption="1. read", decimals=0)

# %% [markdown]
# The head has $d_{head} = 2$. Its matrix `W_Q` turns a verb into the **query** (4, 0): "I look for
# whatever has a large first number". `W_K` turns a noun into the **key** (1, 0): "I have one". An
# article's key is (0, 1), which nobody asks for. `W_V` turns what is said about a cat into the
# **value** (1, 0), the content that is sent when somebody attends.

# %%
W_Q, W_K, W_V = torch.zeros(3, 5, 2)
W_Q[wires.index("verb"), 0] = 4
W_K[wires.index("noun"), 0] = 1
W_K[wires.index("article"), 1] = 1
W_V[wires.index("cat"), 0] = 1

queries, keys, values = stream @ W_Q, stream @ W_K, stream @ W_V
NumberTable(
    torch.cat([queries, keys, values], dim=1),
    rows=sentence,
    columns=["query 0", "query 1", "key 0", "key 1", "value 0", "value 1"],
    caption="2. project",
    decimals=0,
)

# %% [markdown]
# Step 3: the score of a query with a key is their dot product, divided by $\sqrt{d_{head}}$. Rows
# ask, columns are asked. Before you run it: which one entry is not zero?

# %%
by_hand = queries @ keys.T / math.sqrt(2)
NumberTable(by_hand, rows=sentence, columns=sentence, caption="3. score")

# %% [markdown]
# Step 4: no word may read a later one, so those scores become $-\infty$. Then a softmax turns each
# row into weights that sum to 1. "the" has nothing but itself to read.

# %%
by_hand = by_hand.masked_fill(torch.ones(3, 3).triu(diagonal=1).bool(), -torch.inf)
weights_by_hand = by_hand.softmax(dim=-1)
NumberTable(weights_by_hand, rows=sentence, columns=sentence, caption="4. softmax")

# %% [markdown]
# Steps 5 and 6: each word takes the weighted sum of the values, and `W_O` writes it back into the
# stream, here onto the wire that we left free.

# %%
W_O = torch.zeros(2, 5)
W_O[0, wires.index("its subject is a cat")] = 1

fetched = weights_by_hand @ values
after = stream + fetched @ W_O
NumberTable(after, rows=sentence, columns=wires, caption="5. and 6. sum, write")

# %%
assert after[2, 4] > 0.8 > after[1, 4] > after[0, 4]
print(f'"sat" now carries {after[2, 4]:.2f} of "its subject is a cat".')
print(f'"cat" got {after[1, 4]:.2f}: nothing to look for, so it shares its attention out evenly.')

# %% [markdown]
# That is all a head does. Now in general, for every head and every row of a batch at once.
# Queries, keys and values come from `project`, which we give you:
#
# ```python
# def project(x, W, b):    # x [batch pos d_model], W [head d_model d_head], b [head d_head]
#     return einsum(x, W, "batch pos d_model, head d_model d_head -> batch pos head d_head") + b
# ```
#
# `einsum` names the axes: those that are missing on the right are summed. A letter for each
# tensor: **q**, **k**, **v**, each `[batch pos head d_head]`.

# %% [markdown]
# ### Exercise 1.4: attention scores
# ●●○ · 10 minutes
#
# Return $q \cdot k / \sqrt{d_{head}}$ for every head and every pair of positions: the query's
# position along the rows, the key's along the columns. Why the root? A dot product of $d_{head}$
# random numbers of size 1 is about $\sqrt{d_{head}}$ large; divided by it, scores start out at
# size 1 and the softmax is not yet sure of anything.
#
# Source: Vaswani et al. 2017, section 3.2.1.


# %%
def attention_scores(
    q: Float[Tensor, "batch pos head d_head"], k: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch head q_pos=pos k_pos=pos"]:
    ### BEGIN SOLUTION
    scores = einsum(
        q, k, "batch q_pos head d_head, batch k_pos head d_head -> batch head q_pos k_pos"
    )
    return scores / math.sqrt(q.shape[-1])
    ### END SOLUTION


# %%
check("1.4", attention_scores)

# %%
# hint("1.4")

# %% [markdown]
# **What you saw.** A score needs both ends: the query's position and the key's. Neither `W_Q` nor
# `W_K` means anything alone; chapter 4 multiplies them into one matrix.

# %%
attention_scores = answer("1.4")

# %% [markdown]
# ### Exercise 1.5: causal mask
# ●○○ · 10 minutes
#
# Set every score to $-\infty$ whose key comes later than its query. The model is trained to guess
# the next token at every position at once; if a position could read ahead, it would copy.
#
# Source: Vaswani et al. 2017, section 3.2.3.


# %%
def causal_mask(
    scores: Float[Tensor, "batch head q_pos k_pos"],
) -> Float[Tensor, "batch head q_pos k_pos"]:
    ### BEGIN SOLUTION
    later = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(later, -torch.inf)
    ### END SOLUTION


# %%
check("1.5", causal_mask)

# %%
# hint("1.5")

# %% [markdown]
# **What you saw.** $-\infty$ (or a number so low that nothing of it is left) and not 0: the
# softmax that follows takes $e$ to the power of each score, and $e^0$ is 1, $e^{-\infty}$ is 0.

# %%
causal_mask = answer("1.5")

# %% [markdown]
# ### Exercise 1.6: attention pattern
# ●○○ · 5 minutes
#
# Turn masked scores into weights: how much each position (row) reads from itself and each earlier
# one (column). Scores can be large: $e^s$ must not overflow.
#
# $$A_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}}$$
#
# Source: Framework, "Attention Heads as Information Movement".


# %%
def attention_pattern(
    masked_scores: Float[Tensor, "batch head q_pos k_pos"],
) -> Float[Tensor, "batch head q_pos k_pos"]:
    ### BEGIN SOLUTION
    return masked_scores.softmax(dim=-1)
    ### END SOLUTION


# %%
check("1.6", attention_pattern)

# %%
# hint("1.6")

# %% [markdown]
# **What you saw.** Each row is a distribution: attention is shared out, and looking harder at one
# place means looking less at the others. The **pattern** is where a head looks; it says nothing
# yet about what it brings.

# %%
attention_pattern = answer("1.6")

# %% [markdown]
# Here is a pattern of the trained model. At the last position it has to find the name that was not
# repeated. Does a head look there? We take, of all heads, the one whose last row gives most
# attention to " Mary".

# %% tags=["nbval-ignore-output"]
pieces = [
    f"{index}{piece}" for index, piece in enumerate(pocket.tokenizer.pieces(tokens[0].tolist()))
]
patterns = torch.cat([cache["pattern", index][0] for index in range(trained.cfg.n_layers)])
to_mary = patterns[:, -1, pieces.index("2 Mary")]
layer, head = divmod(to_mary.argmax().item(), trained.cfg.n_heads)
plot_matrix(
    cache["pattern", layer][0, head],
    f"In L{layer}H{head} the last word gives {to_mary.max():.0%} of its attention to Mary",
    rows=pieces,
    columns=pieces,
    unit="attention",
    row_title="reads (query)",
    column_title="is read (key)",
)

# %% [markdown]
# ### Exercise 1.7: weighted sum of values
# ●●○ · 5 minutes
#
# For every position and head, add up the values of the positions that it reads, each times its
# weight. The result is called **z** `[batch pos head d_head]`.
#
# Source: Vaswani et al. 2017, section 3.2.1.


# %%
def weighted_values(
    pattern: Float[Tensor, "batch head q_pos k_pos"], v: Float[Tensor, "batch k_pos head d_head"]
) -> Float[Tensor, "batch q_pos head d_head"]:
    ### BEGIN SOLUTION
    return einsum(
        pattern, v, "batch head q_pos k_pos, batch k_pos head d_head -> batch q_pos head d_head"
    )
    ### END SOLUTION


# %%
check("1.7", weighted_values)

# %%
# hint("1.7")

# %% [markdown]
# **What you saw.** Only here does the content of one position reach another. The scores before it
# set how much; everything else works at each position alone.

# %%
weighted_values = answer("1.7")

# %% [markdown]
# ### Exercise 1.8: write back through W_O
# ●●○ · 10 minutes
#
# Each head maps its `z` into the stream by its own `W_O` $[d_{head} \; d_{model}]$. The layer
# writes the sum over heads, plus `b_O`, which belongs to the layer and is added once. (Many
# codebases glue the heads' `z` together and multiply by one tall matrix. It is the same sum, and
# it hides that the heads are independent.)
#
# Source: Framework, "Attention Heads are Independent and Additive".


# %%
def attention_out(
    z: Float[Tensor, "batch pos head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    b_O: Float[Tensor, " d_model"],
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    return einsum(z, W_O, "batch pos head d_head, head d_head d_model -> batch pos d_model") + b_O
    ### END SOLUTION


# %%
check("1.8", attention_out)

# %%
# hint("1.8")

# %% [markdown]
# **What you saw.** A head's contribution is a term of its own in the stream's sum. That is why we
# can speak of "what L0H3 did".

# %%
attention_out = answer("1.8")

# %% [markdown]
# ### Exercise 1.9: the attention layer
# ●●○ · 15 minutes
#
# Put the steps together: project, score, mask, softmax, weighted sum, write back. `x` is the
# normalised copy already; reading it off the stream is the block's job, and so is adding the
# result to the stream. `weights` holds this layer's `W_Q`, `b_Q`, `W_K`, `b_K`, `W_V`, `b_V`,
# `W_O` and `b_O`, as `weights.W_Q` and so on; it only holds them and cannot be called.
#
# Source: Framework, "Attention Heads as Information Movement".


# %%
def attention(
    x: Float[Tensor, "batch pos d_model"], weights: Attention
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    q = project(x, weights.W_Q, weights.b_Q)
    k = project(x, weights.W_K, weights.b_K)
    v = project(x, weights.W_V, weights.b_V)
    pattern = attention_pattern(causal_mask(attention_scores(q, k)))
    return attention_out(weighted_values(pattern, v), weights.W_O, weights.b_O)
    ### END SOLUTION


# %%
check("1.9", attention)

# %%
# hint("1.9")

# %% [markdown]
# **What you saw.** Queries and keys decide *where* to read, values and `W_O` decide *what* is
# moved. The two halves meet only in the weighted sum; chapter 4 studies them apart, as the QK and
# the OV circuit.

# %%
attention = answer("1.9")

# %%
### BEGIN SOLUTION: quiz("1-b")
quiz("1-b", "b", "d")
### END SOLUTION

# %% [markdown]
# ## The MLP: computing at one position
#
# Attention moves; it hardly computes. What it moved is worked on by the **MLP**, at each position
# alone and by the same map everywhere:
#
# $$\mathrm{MLP}(x) = \mathrm{gelu}(x W_{in} + b_{in}) \, W_{out} + b_{out}$$
#
# Each of its $d_{mlp}$ **neurons** has a *key*, its column of `W_in`: how well does what I read
# fit this? And it has a *value*, its row of `W_out`: what do I write if it does? (These are not
# attention's keys and values, though the idea is alike.) In between stands a nonlinearity.

# %% [markdown]
# ### Exercise 1.10: GELU
# ●○○ · 5 minutes
#
# Return this function of every number in `x`, whatever the tensor's shape:
#
# $$\mathrm{gelu}(x) = \tfrac12 \, x
# \left(1 + \tanh\left(\sqrt{2/\pi} \, (x + 0.044715 \, x^3)\right)\right)$$
#
# The exact GELU is $x$ times the normal distribution's $\Phi(x)$. GPT-2 was trained with this
# approximation; the two differ by less than a thousandth, and the check can tell.
#
# Source: Hendrycks and Gimpel 2016, section 2.


# %%
def gelu(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    ### BEGIN SOLUTION
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ### END SOLUTION


# %%
check("1.10", gelu)

# %%
# hint("1.10")

# %% [markdown]
# **What you saw.** Far to the right GELU is $x$, far to the left it is 0: a neuron passes on what
# fits and keeps silent otherwise, with a soft bend between.

# %%
gelu = answer("1.10")

# %% tags=["nbval-ignore-output"]
x = torch.linspace(-4, 4, 161)
assert 0 < (gelu(x) - functional.gelu(x)).abs().max() < 1e-3  # PyTorch's default is the exact form
plot_lines(
    x,
    {"GELU": gelu(x), "ReLU": x.relu(), "identity": x},
    "GELU is a ReLU with a soft bend",
    x_title="input of the neuron",
    y_title="output",
)

# %% [markdown]
# ### Exercise 1.11: MLP
# ●○○ · 5 minutes
#
# Into the neurons, the nonlinearity, out again. `weights` holds `W_in`, `b_in`, `W_out`, `b_out`;
# we write `x @ W`.
#
# Source: Vaswani et al. 2017, section 3.3, with GELU in place of ReLU; the reading as keys and
# values: Geva et al. 2021, section 2.


# %%
def mlp(x: Float[Tensor, "batch pos d_model"], weights: MLP) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    return gelu(x @ weights.W_in + weights.b_in) @ weights.W_out + weights.b_out
    ### END SOLUTION


# %%
check("1.11", mlp)

# %%
# hint("1.11")

# %% [markdown]
# **What you saw.** No position appears in it: the MLP does the same wherever it stands. Attention
# routes, MLPs compute.

# %%
mlp = answer("1.11")

# %% [markdown]
# Why the nonlinearity? Without it the layer would be one matrix (biases left out), however many
# neurons it has. Take it away and compare:

# %%
layer = trained.blocks[1].mlp
some_x = cache["blocks.1.ln2.hook_normalized"]
two_matrices = some_x @ layer.W_in @ layer.W_out
one_matrix = some_x @ (layer.W_in @ layer.W_out)
assert torch.allclose(two_matrices, one_matrix, atol=1e-3)
print(
    "Without GELU,",
    layer.W_in.shape[1],
    "neurons are one matrix of shape",
    list((layer.W_in @ layer.W_out).shape),
)

# %% [markdown]
# And with it? A neuron can say "if". This one is to fire only if *both* of its inputs are on. Its
# key is (8, 8), its bias -12, its value ¼: one input alone is not enough. Is there a single matrix
# (plus a bias) that does the same? Look at the last row: a linear map, with a bias or without, that
# gives 0 for the first three must give 0 for the fourth.

# %%
inputs = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
fires = gelu(inputs @ torch.tensor([[8.0], [8.0]]) - 12) / 4
NumberTable(
    torch.cat([inputs, fires], dim=1),
    rows=["neither", "only the first", "only the second", "both"],
    columns=["first", "second", "neuron"],
)

# %%
assert fires[:3].abs().max() < 0.01 < 0.99 < fires[3]
print("The neuron computes AND; no linear map does.")

# %% [markdown]
# ## One block
#
# A **block** (or layer) is attention and then an MLP. Each reads the stream through a LayerNorm of
# its own, and adds to it:
#
# ```
# resid_pre ──┬───────────────────────(+)── resid_mid ──┬─────────────────(+)── resid_post
#             └── ln1 ── attention ────┘                └── ln2 ── MLP ────┘
# ```
#
# The stream itself is never normalised, only the copy that is read ("pre-norm").

# %% [markdown]
# ### Exercise 1.12: the block
# ●●○ · 15 minutes
#
# `weights` holds `ln1`, `attn`, `ln2` and `mlp`; each LayerNorm has `w`, `b` and `eps`.
#
# Source: Radford et al. 2019 (GPT-2), section 2.3.


# %%
def block(
    resid_pre: Float[Tensor, "batch pos d_model"], weights: Block
) -> Float[Tensor, "batch pos d_model"]:
    ### BEGIN SOLUTION
    ln1, ln2 = weights.ln1, weights.ln2
    resid_mid = resid_pre + attention(layer_norm(resid_pre, ln1.w, ln1.b, ln1.eps), weights.attn)
    return resid_mid + mlp(layer_norm(resid_mid, ln2.w, ln2.b, ln2.eps), weights.mlp)
    ### END SOLUTION


# %%
check("1.12", block)

# %%
# hint("1.12")

# %% [markdown]
# **What you saw.** Two reads, two additions. The MLP of a layer sees what attention of the same
# layer just moved.

# %%
block = answer("1.12")

# %% [markdown]
# ## Out of the stream: unembedding
#
# After the last block each position's vector is turned into one number for each token of the
# vocabulary, its **logit**: through a final LayerNorm, and then by `W_U` $[d_{model} \;
# d_{vocab}]$, the **unembedding**. In GPT-2 `W_U` is `W_E` transposed: a token's logit is the dot
# product of the normalised stream with that token's own vector. A softmax of the logits gives
# probabilities.

# %% [markdown]
# ### Exercise 1.13: unembed
# ●○○ · 5 minutes
#
# Here `weights` is the whole model: it has `ln_final`, `W_U` and `b_U` (zero in GPT-2). Return the
# logits at every position.
#
# Source: Framework, "High-Level Architecture".


# %%
def unembed(
    resid: Float[Tensor, "batch pos d_model"], weights: Transformer
) -> Float[Tensor, "batch pos d_vocab"]:
    ### BEGIN SOLUTION
    ln_final = weights.ln_final
    return layer_norm(resid, ln_final.w, ln_final.b, ln_final.eps) @ weights.W_U + weights.b_U
    ### END SOLUTION


# %%
check("1.13", unembed)

# %%
# hint("1.13")

# %% [markdown]
# **What you saw.** Up to the LayerNorm's scale, a logit is linear in the final stream, and the
# stream is a sum. So a logit is a sum as well, with a term for each component: direct logit
# attribution, chapter 3.

# %%
unembed = answer("1.13")

# %% [markdown]
# ### Exercise 1.14: the transformer
# ●●○ · 10 minutes
#
# All pieces are there. `weights` has `W_E`, `W_pos`, `blocks` (a list, in order), and what
# `unembed` needs.


# %%
def transformer(
    tokens: Int[Tensor, "batch pos"], weights: Transformer
) -> Float[Tensor, "batch pos d_vocab"]:
    ### BEGIN SOLUTION
    resid = embed(tokens, weights.W_E) + positional_embedding(tokens, weights.W_pos)
    for block_weights in weights.blocks:
        resid = block(resid, block_weights)
    return unembed(resid, weights)
    ### END SOLUTION


# %%
check("1.14", transformer)

# %%
# hint("1.14")

# %% [markdown]
# **What you saw.** This is GPT-2, all of it:
#
# ```
#  tokens ─ embed ──┐
#                  (+)─ block 0 ─ block 1 ─ ... ─ block n-1 ─ unembed ─ logits
#  positions ───────┘
# ```

# %%
transformer = answer("1.14")

# %% [markdown]
# ## Real weights
#
# Every tensor of a checkpoint must land in the right place, the right way round. GPT-2's files
# have two surprises. They store queries, keys and values of all heads in one matrix, `c_attn`
# $[d_{model} \; 3 d_{model}]$. And their "Conv1D" layers multiply on the right, as we do, so
# nothing is to be transposed, although every `nn.Linear` would have to be. `pocket` is stored just
# as GPT-2 is:

# %%
from safetensors.torch import load_file

checkpoint = load_file(pocket.folder / "model.safetensors")
for name, tensor in list(checkpoint.items())[:12]:
    print(f"{name:42} {list(tensor.shape)}")

# %% [markdown]
# ### Exercise 1.15: load a GPT-2 checkpoint
# ●●○ · 10 minutes
#
# Split `c_attn`'s weight and bias. The columns are all queries, then all keys, then all values;
# within each, head 0's $d_{head}$ columns come first, then head 1's, and so on ($d_{head}$ is not
# given: the number of columns is $3 \cdot n_{heads} \cdot d_{head}$). Return a dict with `W_Q`,
# `W_K`, `W_V` `[head d_model d_head]` and `b_Q`, `b_K`, `b_V` `[head d_head]`.
#
# Source: the released GPT-2 code, `attn` in `src/model.py`.


# %%
def split_c_attn(
    weight: Float[Tensor, "d_model three_d_model"],
    bias: Float[Tensor, " three_d_model"],
    n_heads: int,
) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    W = rearrange(
        weight, "d_model (qkv head d_head) -> qkv head d_model d_head", qkv=3, head=n_heads
    )
    b = rearrange(bias, "(qkv head d_head) -> qkv head d_head", qkv=3, head=n_heads)
    return dict(zip(("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V"), (*W, *b), strict=True))
    ### END SOLUTION


# %%
check("1.15", split_c_attn)

# %%
# hint("1.15")

# %% [markdown]
# **What you saw.** A wrong split raises no error: shapes agree, and the model talks nonsense. Only
# comparing with numbers known to be right shows it, which is the next exercise.

# %%
split_c_attn = answer("1.15")

# %% [markdown]
# `from_huggingface` fills a `Transformer` from such a folder. We let it use your `split_c_attn`,
# and run your `transformer` on the result: every exercise's function in this run is yours if it
# passed.

# %%
with patch("circuitbook.weights.split_c_attn", split_c_attn):
    loaded = from_huggingface(pocket.folder).requires_grad_(False)

guess = transformer(tokens, loaded)[0, -1].argmax()
assert pocket.tokenizer.decode([guess.item()]) == " Mary"
print(f"Your transformer with the trained weights says:{pocket.tokenizer.decode([guess.item()])}")

# %% [markdown]
# A right answer is no proof. **TransformerLens** is the library that most of this field uses; it
# opens the same folder by itself. It keeps every activation under a name such as
# `blocks.0.attn.hook_pattern`, and so does our `run_with_cache`. If each of them agrees, the model
# is right, and if not, the first that differs tells you where it is wrong.

# %%
from circuitbook.lens import open_bridge

bridge = open_bridge(pocket.folder)
their_logits, theirs = bridge.run_with_cache(tokens)
print("TransformerLens keeps", len(theirs), "names, for example", ", ".join(list(theirs)[-5:-2]))

# %% [markdown]
# ### Exercise 1.16: compare with TransformerLens
# ●●○ · 10 minutes
#
# For every activation in `ours`, find the largest absolute difference from the one of the same
# name in `theirs` (which has more names than ours). One trap: masked scores are $-\infty$ for us,
# and for TransformerLens the least number that a float can hold, about $-3.4 \cdot 10^{38}$. Where
# both are below $-10^4$, both say "hidden", and the difference counts as 0. Where only one is, the
# masks disagree, and that must show.


# %%
def largest_differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    ### BEGIN SOLUTION
    differences = {}
    for name, activation in ours.items():
        hidden = (activation < -1e4) & (theirs[name] < -1e4)
        difference = (activation - theirs[name]).masked_fill(hidden, 0)
        differences[name] = difference.abs().max().item()
    return differences
    ### END SOLUTION


# %%
check("1.16", largest_differences)

# %%
# hint("1.16")

# %% [markdown]
# **What you saw.** A maximum, not a mean: one wrong head among many would vanish in an average.

# %%
largest_differences = answer("1.16")

# %% [markdown]
# Now the real comparison. `patch.multiple` puts your small functions in place of ours for the
# length of this run. The frame that names and keeps the activations stays ours; the logits at the
# end come from your `transformer`.

# %%
with patch.multiple(
    "circuitbook.model",
    embed=embed,
    positional_embedding=positional_embedding,
    attention_scores=attention_scores,
    causal_mask=causal_mask,
    attention_pattern=attention_pattern,
    weighted_values=weighted_values,
    attention_out=attention_out,
    gelu=gelu,
):
    _, ours = run_with_cache(loaded, tokens)

differences = largest_differences(ours, theirs)
assert max(differences.values()) < 1e-4
assert (transformer(tokens, loaded) - their_logits).abs().max() < 1e-4
print(f"{len(differences)} activations and the logits agree with TransformerLens to 4 decimals.")

# %% [markdown]
# And the real GPT-2? The same lines load it wherever its weights can be had. If they are not on
# this machine, the next cell says how to get them, and nothing that follows needs them.

# %% tags=["nbval-ignore-output"]
try:
    gpt2 = load("gpt2")
    gpt2_tokens = torch.tensor([gpt2.tokenizer.encode(prompt)])
    best = transformer(gpt2_tokens, gpt2.model)[0, -1].argmax()
    print(f"GPT-2 small, in your transformer, says:{gpt2.tokenizer.decode([best.item()])}")
except ValueError as reason:
    print(reason)

# %% [markdown]
# ## How many parameters, and where
#
# We need no weights to count them: on PyTorch's "meta" device a tensor has a shape and nothing in
# it. Where do you expect most of GPT-2 small's parameters, in attention, in MLPs or in the
# embedding?

# %%
with torch.device("meta"):
    gpt2_small = Transformer(Config.gpt2_small())


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


in_all = count(gpt2_small)
in_attention = count(*[block_weights.attn for block_weights in gpt2_small.blocks])
in_mlps = count(*[block_weights.mlp for block_weights in gpt2_small.blocks])
in_embeddings = gpt2_small.W_E.numel() + gpt2_small.W_pos.numel()
print(f"in all        {in_all:>11,}")
print(f"embeddings    {in_embeddings:>11,}  (W_E serves as W_U too)")
print(
    f"attention     {in_attention:>11,}  {in_attention / (in_all - in_embeddings):.1%} of the rest"
)
print(f"MLPs          {in_mlps:>11,}  {in_mlps / (in_all - in_embeddings):.1%} of the rest")
print(f"LayerNorms    {in_all - in_embeddings - in_attention - in_mlps:>11,}")

# %%
assert in_all == 124_439_808
assert abs(in_attention / (in_all - in_embeddings) - 1 / 3) < 0.001
assert abs(in_mlps / (in_all - in_embeddings) - 2 / 3) < 0.001
print("A third of the non-embedding parameters is in attention, two thirds are in MLPs.")

# %%
### BEGIN SOLUTION: quiz("1-c")
quiz("1-c", 4.72)
### END SOLUTION

# %% [markdown]
# ## How good is a guess: the loss
#
# The model's **loss** at a token is its surprise: minus the logarithm of the probability that it
# gave to the token which came. With the natural logarithm the unit is the **nat**. Probability 1
# costs nothing; an even guess among $n$ tokens costs $\ln n$.

# %% [markdown]
# ### Exercise 1.17: loss per token
# ●●○ · 10 minutes
#
# Return $-\ln p(\text{token}_{i+1} \mid \text{tokens}_{0..i})$ for each token after the first: the
# logits at position $i$ are a guess about token $i + 1$. Nobody guesses the first token, and the
# last logits have nothing to be compared with, so the result is one shorter than the text. Logits
# can be large: where a probability rounds to 0, the loss must not become infinite.


# %%
def loss_per_token(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    ### BEGIN SOLUTION
    log_probabilities = logits[:, :-1].log_softmax(dim=-1)
    return -log_probabilities.gather(dim=-1, index=tokens[:, 1:, None]).squeeze(-1)
    ### END SOLUTION


# %%
check("1.17", loss_per_token)

# %%
# hint("1.17")

# %% [markdown]
# **What you saw.** One number a token: a text has easy places and hard ones. Averages come later,
# and hide that.

# %%
loss_per_token = answer("1.17")

# %% [markdown]
# How good *could* a guess be? For natural text nobody knows. Our language is different: it comes
# from a grammar, so the true probability of each next token can be computed. Here is the model's
# surprise beside that of an **oracle** that knows the grammar. Where they are alike, no model
# could do better: the place is hard because it is a free choice. Where the model is more surprised
# than the oracle, it has something left to learn. Which row is that?

# %%
language = book_language()
text = prompt + " Mary."
ids = pocket.tokenizer.encode(text)
models_surprise = loss_per_token(transformer(torch.tensor([ids]), loaded), torch.tensor([ids]))[0]
oracles_surprise = torch.tensor(
    [-math.log(language.oracle(ids[:end])[ids[end]]) for end in range(1, len(ids))]
)
NumberTable(
    torch.stack([models_surprise, oracles_surprise], dim=1),
    rows=pocket.tokenizer.pieces(ids[1:]),
    columns=["the model", "the oracle"],
    caption="surprise (nats)",
    decimals=1,
)

# %%
name_at = len(ids) - 3  # the last " Mary", counted among the tokens that are guessed
assert ids[name_at + 1] == pocket.tokenizer.encode(" Mary")[0]
assert oracles_surprise[name_at] < 0.01 and models_surprise[name_at] < 0.7
print(
    f"The first name is hard for the oracle too ({oracles_surprise[1]:.1f} nats); the last is "
    "certain, and the model knows it."
)
gap = (models_surprise - oracles_surprise).argmax().item()
print(
    f"Furthest from the oracle is token {gap + 1},{pocket.tokenizer.pieces(ids)[gap + 1]}: "
    f"{models_surprise[gap]:.1f} nats against {oracles_surprise[gap]:.1f}."
)

# %% [markdown]
# ## From logits to text: sampling
#
# To write, a model draws the next token from its probabilities, appends it and goes on. Drawn
# plainly, an unlikely token comes now and then and derails the text; always taking the likeliest
# (**greedy**) repeats itself. Between the two: divide the logits by a **temperature**; keep the
# $k$ likeliest tokens (**top-k**); or keep the fewest likeliest tokens that together reach a share
# $p$ (**top-p**).

# %% [markdown]
# ### Exercise 1.18: sampling
# ●●● · 20 minutes
#
# Return the probabilities from which the next token is drawn, in the order of the vocabulary:
#
# 1. temperature 0 means greedy: probability 1 for the greatest logit; else divide the logits by
#    the temperature and take the softmax;
# 2. with `top_k`, set all but the `top_k` likeliest to 0, and scale what is left to sum to 1;
# 3. with `top_p`, keep a token if the likelier ones before it sum to less than `top_p`, so that
#    what is kept just reaches it;
# 4. scale what is left to sum to 1.
#
# Source: Holtzman et al. 2020, section 3.1, for top-p.


# %%
def next_token_probabilities(
    logits: Float[Tensor, " d_vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, " d_vocab"]:
    ### BEGIN SOLUTION
    if temperature == 0:
        return functional.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    probabilities, order = (logits / temperature).softmax(dim=-1).sort(descending=True)
    if top_k is not None:
        probabilities[top_k:] = 0
        probabilities = probabilities / probabilities.sum()
    if top_p is not None:
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities[before >= top_p] = 0
    return torch.zeros_like(logits).scatter(0, order, probabilities / probabilities.sum())
    ### END SOLUTION


# %%
check("1.18", next_token_probabilities)

# %%
# hint("1.18")

# %% [markdown]
# **What you saw.** Top-k and top-p cut off the long tail of unlikely tokens; a temperature below 1
# thins it.

# %%
next_token_probabilities = answer("1.18")

# %% [markdown]
# Let the model write. The loop is the whole of text generation: run, draw, append.


# %%
def continued(text: str, n_tokens: int, seed: int, **sampling) -> str:
    random = torch.Generator().manual_seed(seed)
    ids = torch.tensor(pocket.tokenizer.encode(text))
    for _ in range(n_tokens):
        logits = transformer(ids[None], loaded)[0, -1]
        probabilities = next_token_probabilities(logits, **sampling)
        ids = torch.cat([ids, torch.multinomial(probabilities, 1, generator=random)])
    return pocket.tokenizer.decode(ids.tolist()).removeprefix("<|endoftext|>")


start_of_text = "<|endoftext|>When Anna and Tom went to the park,"
print("greedy:         ", continued(start_of_text, 25, seed=0, temperature=0))
print("plain:          ", continued(start_of_text, 25, seed=2))
print("temperature 2:  ", continued(start_of_text, 25, seed=2, temperature=2.0))
print("top-p 0.5:      ", continued(start_of_text, 25, seed=2, top_p=0.5))

# %%
### BEGIN SOLUTION: quiz("1-d")
quiz("1-d", "c")
### END SOLUTION

# %% [markdown]
# ## Train one
#
# Everything so far ran on weights that somebody else had trained. Last, start from random numbers.
# What should we expect to see? A model that knows nothing guesses evenly among all tokens. One
# that knows how frequent each token is does better, one that knows which token follows which does
# better still. For our language these losses are known exactly, and so is the loss of the oracle,
# below which no model gets on average:

# %%
floors = language.losses()
NumberTable(
    torch.tensor([[floors.uniform], [floors.unigram], [floors.bigram], [floors.best]]),
    rows=[
        "uniform: every token alike",
        "unigram: its frequency",
        "bigram: after the last token",
        "the oracle",
    ],
    columns=["nats per token"],
)

# %%
assert math.isclose(floors.uniform, math.log(language.tokenizer.d_vocab))
print(f"The first is ln({language.tokenizer.d_vocab}), the logarithm of the vocabulary's size.")

# %% [markdown]
# To get below the bigram floor a model must use more than the last token. It has to attend.

# %% [markdown]
# ### Exercise 1.19: train it
# ●●○ · 15 minutes
#
# Write one step of training: the mean loss of `transformer(tokens, weights)` on this batch, its
# gradients, one step of the optimizer. Return the loss, without its graph (`.detach()`). PyTorch
# adds new gradients to old ones, so clear them each time.


# %%
def training_step(
    tokens: Int[Tensor, "batch pos"], weights: Transformer, optimizer: torch.optim.Optimizer
) -> Float[Tensor, ""]:
    ### BEGIN SOLUTION
    loss = loss_per_token(transformer(tokens, weights), tokens).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
    ### END SOLUTION


# %%
check("1.19", training_step)

# %%
# hint("1.19")

# %% [markdown]
# **What you saw.** Five lines train anything. What is learned is decided by the data, and in the
# next cell you can watch in which order.

# %%
training_step = answer("1.19")

# %% [markdown]
# Two layers, a stream of 64 numbers, four heads a layer; it takes half a minute to a minute. Which
# floors will it pass, and where will it slow down?

# %% tags=["nbval-ignore-output"]
cfg = Config(
    n_layers=2,
    d_model=64,
    n_heads=4,
    d_head=16,
    d_mlp=256,
    n_ctx=64,
    d_vocab=language.tokenizer.d_vocab,
)
student = Transformer(cfg, seed=0)
optimizer = torch.optim.AdamW(student.parameters(), lr=4e-3)
steps, batch = 500, 16
known = {
    "uniform": floors.uniform,
    "unigram": floors.unigram,
    "bigram": floors.bigram,
    "oracle": floors.best,
}

torch.set_num_threads(1)  # these tensors are small: more threads wait for each other
watch = LiveLosses(steps, known, tokens_per_step=batch * cfg.n_ctx)
for text_batch in islice(language.batches(batch, cfg.n_ctx, seed=1), steps):
    watch(training_step(text_batch, student, optimizer))

# %%
smooth = torch.tensor(watch.losses).unfold(0, 20, 20).mean(dim=1)  # means of 20 steps
assert abs(watch.losses[0] - floors.uniform) < 0.1
assert floors.best < smooth[-1] < floors.bigram < smooth[0] < floors.uniform
passed = {
    name: (smooth < floor).nonzero()[0].item() * 20 for name, floor in list(known.items())[1:3]
}
print("It starts at the uniform floor, to one decimal: it knows nothing.")
print("It ends below the bigram floor: it uses more than the last token.")
print(
    "It passed the unigram floor in the first quarter of training:", passed["unigram"] < steps / 4
)
print("and the bigram floor later than that:", passed["unigram"] < passed["bigram"])
first_half, second_half = (
    smooth[0] - smooth[len(smooth) // 2],
    smooth[len(smooth) // 2] - smooth[-1],
)
assert second_half < first_half / 5
print("Most of the fall is in the first half; then it slows down, above the oracle.")

# %% [markdown]
# Has it learned *why* " Mary"? A minute is short. Ask it, and compare with `pocket`, which trained
# much longer on the same language.

# %% tags=["nbval-ignore-output"]
student.requires_grad_(False)
people = [" " + name for name in TABLES["person"]["name"]]
rest = [name for name in people if name not in (" Mary", " John")]


def probability_of(names: list[str], weights: Transformer) -> Tensor:
    ids = [pocket.tokenizer.encode(name)[0] for name in names]
    return transformer(tokens, weights)[0, -1].softmax(dim=-1)[ids].sum()


groups = {" Mary": [" Mary"], " John": [" John"], "the other names": rest}
chances = torch.stack(
    [
        torch.stack([probability_of(group, weights) for group in groups.values()])
        for weights in (student, loaded)
    ]
)
NumberTable(
    chances, rows=["trained here, a minute", "pocket"], columns=list(groups), caption="probability"
)

# %%
assert chances[0].sum() > 0.6 and chances[1, 0] > 0.9
print("The minute taught it that a name comes here; pocket also knows which.")

# %% [markdown]
# ## What you found

# %%
print(
    f"The residual stream at the end is the sum of {len(written)} written vectors, to 4 decimals."
)
print(f"{len(differences)} activations of your functions agree with TransformerLens to 4 decimals.")
print(f"GPT-2 small has {in_all:,} parameters; a third of the non-embedding ones is in attention.")
print(
    f"A uniform guess costs {floors.uniform:.2f} nats, the oracle {floors.best:.2f}; "
    "your model ended between bigram and oracle."
)
progress(1)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why can nothing in a transformer be
# overwritten? In which single step does information cross from one position to another? What would
# a transformer without MLPs lack, and what would one without attention lack? How would you find
# out that a checkpoint was loaded with queries and keys swapped?
#
# **Read next.** Framework, "Transformer Overview", with the code of this chapter beside it. Then
# chapter 2, where we look at what the heads of a trained model do.
