# %% [markdown]
# # Chapter 0: Start here
#
# This book opens transformers to see how they compute what they say. This chapter gets you ready
# for it, in an hour: it shows how the book works, lets you test what it builds on, and says what to
# read beside it, and when.
#
# Hardly anybody has all the prerequisites on the first day. For each one there is a cell that shows
# it, a check that tests it, and a place to refresh it. If a check passes at once, go on. If it does
# not, you have found out where an evening is well spent. Near the end, a cell makes a list of your
# own from what you passed.
#
# **After this chapter you can**
#
# - work with the book: check, hint, solution, quiz, progress;
# - say which of eight prerequisites you have, where to refresh the others, and by when;
# - compute the loss of a language model in nats, and say what a guess without knowledge costs;
# - choose what to read beside the book, and in which order.
#
# **Time:** 45 to 60 minutes, with 6 exercises and 5 quizzes. **You need:** Python.
#
# Run the cells from top to bottom: Shift+Enter runs one and goes on to the next.

# %%
import math

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.exercises.ch00 import to_refresh
from circuitbook.glossary import glossary
from circuitbook.language import book_language
from circuitbook.plots import NumberTable, plot_lines
from circuitbook.zoo import load

# %% [markdown]
# ## How the book works
#
# ### Which model runs
#
# Everything here works without a network and without a GPU: four small models ship with the book,
# and one of them, `pocket`, has GPT-2's architecture. Where GPT-2 small is on your machine or can
# be fetched, `load()` takes that instead, and one line says which model it is and why.
#
# Fetching GPT-2 takes half a gigabyte, once. If you would rather stay with the small model, write
# `load("pocket")` in the next cell.

# %%
loaded = load()

# %% [markdown]
# A language model reads **tokens**: words, or pieces of words. All tokens that it knows are its
# **vocabulary**, $d_{vocab}$ of them. At each position the model gives each of them a score: the
# higher, the likelier it comes next. Here is a sentence that we will meet often; the cell prints
# the token with the highest score after it. Who gets the drink? Guess first.

# %%
prompt = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
ids = loaded.tokenizer.encode(prompt)
print(" | ".join(loaded.tokenizer.pieces(ids)))

weights = loaded.model.requires_grad_(False)
logits = weights(torch.tensor([ids]))
best = logits[0, -1].argmax().item()
print(f"\n{loaded.name} goes on with:{loaded.tokenizer.decode([best])}")

# %%
assert loaded.tokenizer.decode([best]) == " Mary"
print(f"{loaded.name} knows {loaded.tokenizer.d_vocab:,} tokens, and it found the right one.")

# %% [markdown]
# ### Exercises
#
# An exercise is a function that you complete. The cell below it checks your version against ours on
# several inputs.
#
# | you write | and get |
# | --- | --- |
# | `check("0.1", along)` | passed, or what came, what was wanted, and which mistake it is |
# | `hint("0.1")` | the next hint, first on the mistake just named; in a chapter, remove the `#` |
# | `solution("0.1")` | our answer; if you have not tried yet, it asks once whether you mean it |
# | `answer("0.1")` | your function if it passed, else ours: nothing later depends on your answer |
# | `quiz("0-a")` | a question; `quiz("0-a", "b")` answers it |
# | `progress()` | what you have passed in all chapters; `progress(0)`: in this one |
# | `progress(0).reset()` | this chapter begun anew, once you confirm; `progress().reset()`: all |
# | `progress().export("mine.json")` | your progress as a file, to take along |
# | `glossary("token")` | a word of the book in one sentence, and where the book shows it |
# | `to_refresh()` | in this chapter only: your list of what to refresh |
#
# The dots after a heading say how hard it is, from ●○○ to ●●●, and the minutes are for a reader
# who meets it for the first time. What you pass is kept on your machine, between sessions and
# notebooks.
#
# A first line such as `x: Float[Tensor, "batch pos"]` tells you a shape: a tensor of real numbers
# with two axes, `batch` (the texts) and `pos` (the positions in each). `Int` is the same for whole
# numbers. These notes inform you; nothing enforces them.
#
# The glossary holds every word that the book defines; [appendix C](C_glossary.ipynb) prints it in
# full. Here is a word that we need from chapter 1 on. (Elsewhere, import `glossary` as in the first
# cell.)

# %%
glossary("residual stream")

# %% [markdown]
# ## Vectors: lengths, angles, projections
#
# Inside a transformer everything is a vector, and most questions that we will ask are dot products:
# *how far does what this head wrote point towards " Mary"?*
#
# The dot product $x \cdot d$ multiplies number by number and sums. From it come the length, $|x| =
# \sqrt{x \cdot x}$, and the angle between two vectors, by its cosine: 1 is the same direction, 0 a
# right angle, -1 the opposite.

# %%
x, east = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])
print("x·x =", (x @ x).item(), "so x is", (x @ x).item() ** 0.5, "long")
print("x·east =", (x @ east).item(), "so the cosine is", round((x @ east).item() / 5, 1))
print("the part of x that points east:", ((x @ east) * east).tolist())

# %% [markdown]
# The last line is a **projection**: the shadow that $x$ throws on a direction. It was that easy
# because `east` has length 1. Directions in a model hardly ever have it.

# %% [markdown]
# ### Exercise 0.1: lengths, angles, projections
# ●○○ · 5 minutes
#
# Return three things in a dict: the `"length"` of `x`, the `"cosine"` of the angle between `x` and
# `direction`, and the `"projection"` of `x` on `direction`, which is a vector. The direction can
# have any length (but 0), and the projection must not depend on it.
#
# $$\cos = \frac{x \cdot d}{|x| \, |d|}, \qquad
# \text{projection} = \frac{x \cdot d}{d \cdot d} \; d$$
#
# **Try the tools on this one.** First run the check as it is. Then make a mistake on purpose, such
# as forgetting the root in the length, and run it again. Then do it right.


# %%
def along(x: Float[Tensor, " d_model"], direction: Float[Tensor, " d_model"]) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    dot = x @ direction
    cosine = dot / (x.norm() * direction.norm())
    projection = dot / (direction @ direction) * direction
    return {"length": x.norm(), "cosine": cosine, "projection": projection}
    ### END SOLUTION


# %%
check("0.1", along)

# %%
# hint("0.1")

# %% [markdown]
# **What you saw.** The projection and what is left of $x$ stand at a right angle, so their squared
# lengths add up. A vector can be split along any direction we care about, and nothing is lost.

# %%
along = answer("0.1")

# %% [markdown]
# Is that so for vectors that a model learned? Every token has one, its row of the matrix `W_E`. We
# split Mary's vector along John's. Do you expect two names to point the same way?

# %%
mary, john, store = (
    weights.W_E[loaded.tokenizer.encode(word)[0]] for word in (" Mary", " John", " store")
)
part = along(mary, john)["projection"]
rest = mary - part
assert torch.isclose(part @ part + rest @ rest, mary @ mary, rtol=1e-4)
print(f"numbers in a vector: {len(mary)}")
print(f"cosine of Mary and John: {along(mary, john)['cosine']:.2f}")
print(f"cosine of Mary and store: {along(mary, store)['cosine']:.2f}")
print("The squared lengths of the part along John and of the rest add up to Mary's.")

# %%
assert along(mary, john)["cosine"] > along(mary, store)["cosine"]
print("Mary points more towards John, another name, than towards the store.")

# %% [markdown]
# **Refresh:** 3Blue1Brown, [Essence of linear
# algebra](https://www.3blue1brown.com/topics/linear-algebra), chapters 1 to 4, and 9 on dot
# products.

# %% [markdown]
# ## Shapes: broadcasting and einsum
#
# A model runs on many texts, positions and heads at once, so its tensors have three or four axes.
# Many of the errors that one makes with them are about axes, and some of those are silent.
#
# **Broadcasting** is what PyTorch (like NumPy) does when shapes differ. It lines them up *from
# the right*; an axis that is missing or has size 1 is repeated. Which numbers does each line below
# subtract from which?

# %%
table = torch.tensor([[1.0, 2, 3], [10, 20, 30]])
print("minus a row:     ", (table - torch.tensor([1.0, 2, 3])).tolist())
print("minus a column:  ", (table - torch.tensor([[1.0], [10]])).tolist())

# %% [markdown]
# A row `[3]` is repeated downwards, a column `[2, 1]` is repeated sideways.

# %%
### BEGIN SOLUTION: quiz("0-a")
quiz("0-a", "c")
### END SOLUTION

# %% [markdown]
# **Einsum** avoids the question: every axis gets a name. Where two tensors have a name in common,
# their numbers are multiplied along it; a name that is missing right of the arrow is summed over.

# %%
left, right = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[10.0, 20], [30, 40]])
print("matrix product:", einsum(left, right, "i k, k j -> i j").tolist())
print("sum of each row:", einsum(left, "row column -> row").tolist())
print("all dot products of rows:", einsum(left, right, "i k, j k -> i j").tolist())
assert torch.equal(einsum(left, right, "i k, k j -> i j"), left @ right)

# %% [markdown]
# ### Exercise 0.2: one einsum
# ●○○ · 5 minutes
#
# An attention head turns each position's vector into a *query* by a matrix of its own. Do it for
# all heads at once: `x` has one vector for each text and position, `W_Q` one matrix for each
# head. Every vector meets every matrix, so the result has four axes. Which axis is summed?
#
# $$q_{\text{batch},\,\text{pos},\,\text{head}} = x_{\text{batch},\,\text{pos}} \;
# W_Q^{\text{head}}$$


# %%
def queries(
    x: Float[Tensor, "batch pos d_model"], W_Q: Float[Tensor, "head d_model d_head"]
) -> Float[Tensor, "batch pos head d_head"]:
    ### BEGIN SOLUTION
    return einsum(x, W_Q, "batch pos d_model, head d_model d_head -> batch pos head d_head")
    ### END SOLUTION


# %%
check("0.2", queries)

# %%
# hint("0.2")

# %% [markdown]
# **What you saw.** Only the axis that both have, $d_{model}$, is summed. Each head gets a short
# vector, of $d_{head}$ numbers, at each position. This line is the first step of every attention
# layer.

# %%
queries = answer("0.2")

# %%
W_Q = weights.blocks[0].attn.W_Q
q = queries(weights.W_E[torch.tensor([ids])], W_Q)
assert q.shape == (1, len(ids), weights.cfg.n_heads, weights.cfg.d_head)
print("one text, its positions, heads, numbers in each query:", list(q.shape))

# %% [markdown]
# **Refresh:** NumPy, [Broadcasting](https://numpy.org/doc/stable/user/basics.broadcasting.html),
# and the einops tutorial, [Basics](https://einops.rocks/1-einops-basics/).

# %% [markdown]
# ## Probability
#
# A **distribution** says how probable each outcome is: numbers of at least 0 that sum to 1. Given
# that something has happened, the probabilities are others: $P(B \mid A) = P(A, B) / P(A)$.
#
# Here we need not estimate them. The models that ship with the book learned a small language,
# made from a grammar, so that we can compute how frequent each pair of neighbouring words is,
# exactly. Here are some pairs. Read a row as "first this, then that".

# %%
language = book_language()
pairs = language.bigram()  # [first token, next token]
first = language.tokenizer.encode(" gave went")
following = language.tokenizer.encode(" a it the to with home")

joint = pairs[first][:, following]
first_words, next_words = (language.tokenizer.pieces(tokens) for tokens in (first, following))
NumberTable(1000 * joint, rows=first_words, columns=next_words, caption="of 1000 pairs")

# %% [markdown]
# Now suppose that the first word is " gave". Only its row is left, and it has to sum to 1: divide
# it by its sum. What comes after " gave", most of the time?

# %%
after = joint / pairs[first].sum(dim=1, keepdim=True)
assert torch.allclose(after.sum(dim=1), torch.ones(2, dtype=after.dtype))
NumberTable(after, rows=first_words, columns=next_words, caption="P(next | first)")

# %% [markdown]
# The same pairs can be read the other way round, and then the question is another one: P(" gave" |
# next is " a") is not P(" a" | " gave"). They are easily mixed up, in interpretability as much as
# elsewhere.

# %%
gave, a = first[0], following[0]
one_way = pairs[gave, a] / pairs[gave].sum()
other_way = pairs[gave, a] / pairs[:, a].sum()
assert one_way > 5 * other_way
print(f'{one_way:.0%} of what comes after "gave" is "a".')
print(f'{other_way:.0%} of what stands before "a" is "gave".')

# %%
### BEGIN SOLUTION: quiz("0-b")
quiz("0-b", 0.486)
### END SOLUTION

# %% [markdown]
# **Refresh:** 3Blue1Brown, [Bayes' theorem](https://www.3blue1brown.com/lessons/bayes-theorem), and
# the animated [Seeing Theory](https://seeing-theory.brown.edu/) for distributions and expected
# values.

# %% [markdown]
# ## Softmax: from scores to probabilities
#
# A model does not output probabilities but scores, its **logits**: any numbers, one for each token.
# The softmax makes a distribution of them. It takes $e$ to the power of each score, which makes all
# of them positive, and divides by their sum:
#
# $$\mathrm{softmax}(s)_i = \frac{e^{s_i}}{\sum_j e^{s_j}}$$
#
# What happens if you add 10 to every score? Guess before you run the cell.

# %%
scores = torch.tensor([2.0, 1.0, 0.0])
shifts = [0.0, 10.0, 100.0]
rows = [(scores + shift).exp() / (scores + shift).exp().sum() for shift in shifts]
NumberTable(
    torch.stack(rows), rows=[f"add {shift:.0f}" for shift in shifts], columns=["2", "1", "0"]
)

# %% [markdown]
# Nothing happens: the factor $e^{10}$ stands above and below the line. Only *differences* between
# scores count. But the last row is broken. Why?

# %%
print("e to the power of 88:", f"{torch.tensor(88.0).exp():.1e}")
print("e to the power of 89:", torch.tensor(89.0).exp().item())
print("infinity divided by infinity:", (torch.tensor(torch.inf) / torch.tensor(torch.inf)).item())

# %% [markdown]
# A 32-bit float ends near $10^{38}$. Nothing keeps the scores of a model below 89, so a softmax
# must not take these powers as they are.

# %% [markdown]
# ### Exercise 0.3: softmax, stable
# ●○○ · 5 minutes
#
# Write the softmax over the last axis, for a tensor with any number of axes before it (that is what
# `*axes` says), so that no score is too large for it. You may add the same number to all scores of
# a row: which one helps? Do not use PyTorch's own `softmax`. Scores of $-\infty$ occur and get
# probability 0.


# %%
def softmax(scores: Float[Tensor, "*axes n"]) -> Float[Tensor, "*axes n"]:
    ### BEGIN SOLUTION
    powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()
    return powers / powers.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %%
check("0.3", softmax)

# %%
# hint("0.3")

# %% [markdown]
# **What you saw.** The greatest power is $e^0 = 1$, so nothing overflows, and the shares are the
# same. A softmax knows scores only up to a constant. That will matter in chapter 3: "this head adds
# 2 to the logit of Mary" says nothing until we ask what it adds to the others.

# %%
softmax = answer("0.3")

# %%
probabilities = softmax(logits)
assert torch.allclose(probabilities, logits.softmax(dim=-1), atol=1e-4)
assert torch.allclose(probabilities, softmax(logits + 1000), atol=1e-3)
print("At each position the probabilities sum to 1, and adding 1000 to all logits changes nothing.")
print(f"{loaded.name} gives{loaded.tokenizer.decode([best])} {probabilities[0, -1, best]:.0%}.")

# %% [markdown]
# **Refresh:** 3Blue1Brown, [Transformers, the tech behind
# LLMs](https://www.3blue1brown.com/lessons/gpt); its last part is about softmax.

# %% [markdown]
# ## Basic machine learning: loss, gradient, step
#
# A model has parameters. A **loss** says in one number how bad its guesses are. The **gradient**
# says for each parameter how the loss changes if the parameter grows a little. Gradient descent
# takes a small step against it, and again. Training is that, many times over.
#
# The smallest model there is has one parameter, $w$, and guesses $w x$ for $y$. Here $x = 2$ and
# $y = 6$, so we know where $w$ should end up. Will every step be as long as the first?

# %%
w = torch.tensor(1.0, requires_grad=True)
for step in range(5):
    loss = (w * 2 - 6) ** 2
    (gradient,) = torch.autograd.grad(loss, w)
    print(f"step {step}: w = {w:.3f}, loss = {loss:7.3f}, gradient = {gradient:8.3f}")
    w = (w - 0.1 * gradient).detach().requires_grad_()

# %% [markdown]
# No: the step is the **learning rate**, 0.1, times the gradient, and that gets smaller on the
# way. (What counts in the end is the loss on data that the model was not trained on; in this
# book's language there is always fresh text.)

# %%
### BEGIN SOLUTION: quiz("0-c")
quiz("0-c", 1.4)
### END SOLUTION

# %% [markdown]
# **Refresh:** 3Blue1Brown, [Neural networks](https://www.3blue1brown.com/topics/neural-networks),
# chapters 1 to 3; with code, Karpathy's [Zero to hero](https://karpathy.ai/zero-to-hero.html), the
# first lecture.

# %% [markdown]
# ## PyTorch
#
# You need little of it: tensors, indexing, sums over an axis, and gradients. Four habits save
# hours. What will each line print?

# %%
x = torch.arange(6.0).reshape(2, 3)
print("1. sum over axis 0, then over axis 1:", x.sum(dim=0).tolist(), x.sum(dim=1).tolist())
print("2. swapping axes is not reshaping:   ", x.mT.tolist(), x.reshape(3, 2).tolist())

row = x[0]  # a view: no numbers are copied
row += 100
print("3. x after its view has changed:     ", x.tolist())

w = torch.tensor(3.0, requires_grad=True)
for _ in range(2):
    (w**2).backward()
print("4. the gradient of w² at 3, twice:   ", w.grad.item())

# %% [markdown]
# 1. `dim` is the axis that *disappears*.
# 2. `reshape` never moves an axis; it cuts the same row of numbers into other lengths.
# 3. Slices share memory, so `+=` reaches further than you may think.
# 4. `backward` adds to the gradients that are there.

# %%
### BEGIN SOLUTION: quiz("0-d")
quiz("0-d", "a", "c")
### END SOLUTION

# %% [markdown]
# **Refresh:** PyTorch, [Learn the
# Basics](https://docs.pytorch.org/tutorials/beginner/basics/intro.html), the parts Tensors and
# Autograd.

# %% [markdown]
# ## The loss of a language model
#
# How bad is a guess about the next token? Look at the probability $p$ that it gave to the token
# which then came. The **surprise** is $-\ln p$, and its unit is the **nat**. Why the logarithm?
# Because probabilities of independent events multiply, and surprises then add.

# %%
chances = [1, 1 / 2, 1 / 10, 1 / 1000]
NumberTable(
    torch.tensor([[-math.log(chance)] for chance in chances]),
    rows=["certain", "1 in 2", "1 in 10", "1 in 1000"],
    columns=["surprise (nats)"],
)

# %% [markdown]
# ### Exercise 0.4: the loss of a language model
# ●●○ · 10 minutes
#
# Return the mean surprise of a batch of texts, one number, in nats: the *cross-entropy*. The logits
# at position $i$ are a guess about the token at position $i + 1$: nobody guesses the first token,
# and what comes after the last one is unknown. Logits are not yet probabilities.
#
# $$\text{loss} = \text{mean over texts and } i \text{ of} \; -\ln
# \mathrm{softmax}(\text{logits}_i)_{\text{token } i + 1}$$


# %%
def next_token_loss(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, ""]:
    ### BEGIN SOLUTION
    log_probabilities = logits[:, :-1].log_softmax(dim=-1)
    surprises = -log_probabilities.gather(dim=-1, index=tokens[:, 1:, None])
    return surprises.mean()
    ### END SOLUTION


# %%
check("0.4", next_token_loss)

# %%
# hint("0.4")

# %% [markdown]
# **What you saw.** Many a wrong loss looks right: a number of the right size, falling in training.
# A model whose loss is not shifted learns to repeat what it reads, and its loss is excellent.

# %%
next_token_loss = answer("0.4")

# %% [markdown]
# What does it cost to know nothing? An even guess gives each token $1 / d_{vocab}$, so its surprise
# is $\ln d_{vocab}$, whatever comes. A model that knows something should do better. How much?

# %%
tokens = torch.tensor([loaded.tokenizer.encode(prompt + " Mary.")])
loss = next_token_loss(weights(tokens), tokens)
uniform = next_token_loss(torch.zeros(*tokens.shape, loaded.tokenizer.d_vocab), tokens)
assert math.isclose(uniform, math.log(loaded.tokenizer.d_vocab), rel_tol=1e-5)
assert loss < uniform / 2
print(f"even guess: {uniform:.2f} nats per token, which is ln({loaded.tokenizer.d_vocab})")
print(f"{loaded.name}: {loss:.2f} nats per token on this sentence")
print(f"It chooses as if among {math.exp(loss):.1f} tokens, not among {loaded.tokenizer.d_vocab}.")

# %% [markdown]
# **Refresh:** as for basic machine learning, above.

# %% [markdown]
# ## Matrices: rank and singular values
#
# A column times a row is a matrix of **rank** 1: each of its rows is a multiple of one row. It
# reads one direction and writes one direction. A sum of $r$ such products has rank $r$ at most,
# and so has a product of a thin matrix `[n r]` and a flat one `[r n]`, however large $n$ is.
#
# The **singular value decomposition** goes back: it writes any matrix as such a sum,
# $M = \sum_i s_i \, u_i v_i^\top$, with $u_i$ and $v_i$ of length 1, at right angles among
# themselves, and the **singular values** $s_i$ falling. As many of them differ from 0 as the rank
# says. How many do you expect for each of these two?

# %%
column, row = torch.tensor([[1.0], [2], [2]]), torch.tensor([[3.0, 0, 4]])
one_product = column @ row
two_products = one_product + torch.tensor([[2.0], [-1], [0]]) @ torch.tensor([[0.0, 1, 0]])
for name, matrix in (("one product", one_product), ("a sum of two", two_products)):
    strengths = [abs(round(s, 2)) for s in torch.linalg.svdvals(matrix).tolist()]
    print(f"{name:13} {matrix.tolist()}  singular values: {strengths}")

# %% [markdown]
# ### Exercise 0.5: a product of thin matrices
# ●●○ · 10 minutes
#
# An attention head moves information by two matrices: `W_V` makes a short vector of what it reads,
# `W_O` turns that into what it writes. Together they are one map from $d_{model}$ numbers to
# $d_{model}$ numbers; vectors are rows, so a vector $x$ becomes $x W_V W_O$. Return in a dict:
#
# - `"product"`: the map, $[d_{model} \; d_{model}]$;
# - `"singular_values"`: those of the map, the largest first, and only as many as can differ from 0;
# - `"strongest"`: the matrix $s_1 u_1 v_1^\top$, the best copy of the map that has rank 1.
#
# `U, S, Vh = torch.linalg.svd(M)` gives $M = U \, \mathrm{diag}(S) \, V_h$.


# %%
def low_rank_map(
    W_V: Float[Tensor, "d_model d_head"], W_O: Float[Tensor, "d_head d_model"]
) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    product = W_V @ W_O
    U, S, Vh = torch.linalg.svd(product)
    return {
        "product": product,
        "singular_values": S[: W_V.shape[1]],
        "strongest": S[0] * torch.outer(U[:, 0], Vh[0]),
    }
    ### END SOLUTION


# %%
check("0.5", low_rank_map)

# %%
# hint("0.5")

# %% [markdown]
# **What you saw.** The map is a large square matrix, but it passes through a bottleneck. However
# the head was trained, it reads and writes $d_{head}$ directions at most.

# %%
low_rank_map = answer("0.5")

# %% [markdown]
# Here is the first head of the model that runs, with more singular values than its bottleneck lets
# through. After which number must the curve lie at zero?

# %% tags=["nbval-ignore-output"]
d_model, d_head = weights.cfg.d_model, weights.cfg.d_head
attention = weights.blocks[0].attn
head_map = low_rank_map(attention.W_V[0], attention.W_O[0])
all_of_them = torch.linalg.svdvals(head_map["product"])
shown = min(d_model, 3 * d_head)
plot_lines(
    torch.arange(1, shown + 1),
    {"singular value": all_of_them[:shown]},
    f"L0H0 of {loaded.name}: nothing after number {d_head}",
    x_title="number",
    y_title="singular value",
)

# %%
assert (all_of_them[d_head:] < 1e-4 * all_of_them[0]).all()
share = (head_map["singular_values"][0] ** 2 / (head_map["singular_values"] ** 2).sum()).item()
print(f"The map has {d_model} × {d_model} numbers, and its rank is at most d_head, {d_head}.")
print(f"Its strongest direction alone makes up {share:.0%} of the sum of its squared numbers.")

# %% [markdown]
# **Refresh:** 3Blue1Brown, [Essence of linear
# algebra](https://www.3blue1brown.com/topics/linear-algebra), chapter 7 on rank; then Strang's
# lecture on the singular value decomposition in [MIT
# 18.06](https://ocw.mit.edu/courses/18-06sc-linear-algebra-fall-2011/). Chapter 4 is the first that
# needs it.

# %% [markdown]
# ## Information theory: entropy and KL
#
# **Entropy** is the surprise that you must expect, if you know the true probabilities $p$: the
# mean of $-\ln p$, each outcome counted as often as it comes. It says how uncertain the next
# thing is, and no guess, however clever, does better on average.

# %%
coins = {"a fair coin": [0.5, 0.5], "a loaded coin": [0.9, 0.1], "a coin with two heads": [1.0, 0]}
for name, chances in coins.items():
    entropy = sum(-chance * math.log(chance) for chance in chances if chance > 0)
    print(f"{name:22} {entropy:.2f} nats")

# %% [markdown]
# If you expect $q$ while $p$ is true, you pay more. How much more is the **KL divergence**, which
# is never negative, and 0 only if $q = p$:
#
# $$H(p) = -\sum_i p_i \ln p_i, \qquad \mathrm{KL}(p \,\|\, q) = \sum_i p_i \ln \frac{p_i}{q_i}$$

# %% [markdown]
# ### Exercise 0.6: entropy and KL
# ●●○ · 10 minutes
#
# Return both in a dict, `"entropy"` of `p` and `"kl"` of `q` from `p`, in nats. Some tokens can
# have $p_i = 0$; they never come and cost nothing. No $q_i$ is 0. `torch.xlogy` may help.


# %%
def entropy_and_kl(p: Float[Tensor, " d_vocab"], q: Float[Tensor, " d_vocab"]) -> dict[str, Tensor]:
    ### BEGIN SOLUTION
    entropy = -torch.xlogy(p, p).sum()
    return {"entropy": entropy, "kl": torch.xlogy(p, p / q).sum()}
    ### END SOLUTION


# %%
check("0.6", entropy_and_kl)

# %%
# hint("0.6")

# %% [markdown]
# **What you saw.** $H(p) + \mathrm{KL}(p \,\|\, q)$ is the mean of $-\ln q$: the loss of a model
# that says $q$. A loss has two parts, what nobody can know and what this model does not know.

# %%
entropy_and_kl = answer("0.6")

# %% [markdown]
# For the book's language both parts can be computed. After which of these words would you expect
# the next one to be hardest to guess? We compare what is true after each of them with an even
# guess. The column "like 1 in" is $e$ to the entropy: so many words, all equally likely, would be
# as hard to guess.

# %%
d_vocab = language.tokenizer.d_vocab
even = torch.full((d_vocab,), 1 / d_vocab, dtype=pairs.dtype)
before = language.tokenizer.encode(" capital gave went a Mary of the to")
words = language.tokenizer.pieces(before)
results = [entropy_and_kl(row / row.sum(), even) for row in pairs[before]]
entropies = torch.tensor([float(result["entropy"]) for result in results])
kls = torch.tensor([float(result["kl"]) for result in results])
NumberTable(
    torch.stack([entropies, entropies.exp(), kls, entropies + kls], dim=1),
    rows=words,
    columns=["entropy", "like 1 in", "KL from even", "sum"],
    caption="after",
)

# %%
assert torch.allclose(entropies + kls, torch.tensor(math.log(d_vocab)), atol=1e-4)
hardest, easiest = words[entropies.argmax()].strip(), words[entropies.argmin()].strip()
print(f'Hardest to guess is what comes after "{hardest}", easiest what comes after "{easiest}".')
print(f"The sum is always {math.log(d_vocab):.2f} nats: ln({d_vocab}), what an even guess costs.")

# %% [markdown]
# So the uniform guess costs $\ln d_{vocab}$ on any text: it pays the entropy, and the rest as KL. A
# model is better by as much as its KL is smaller. How close to the truth is `pocket`, which was
# trained on this language?

# %%
pocket = load("pocket")
beginning = "<|endoftext|>When Mary and John went to the"
truth = language.oracle(beginning)
says = softmax(pocket.model(torch.tensor([pocket.tokenizer.encode(beginning)]))[0, -1]).detach()
result = entropy_and_kl(truth, says.to(truth.dtype))
assert 0 <= result["kl"] < 0.05
assert torch.allclose(truth[truth > 0], 1 / (truth > 0).sum(dtype=truth.dtype))
print(f"What comes next costs {result['entropy']:.2f} nats at least: there are ", end="")
print(f"{(truth > 0).sum()} places to go to, all alike.")
print(f"pocket pays {result['kl']:.3f} nats more than that; an even guess would pay ", end="")
print(f"{math.log(d_vocab) - result['entropy']:.2f} more.")

# %%
### BEGIN SOLUTION: quiz("0-e")
quiz("0-e", "c")
### END SOLUTION

# %% [markdown]
# **Refresh:** Olah, [Visual Information
# Theory](https://colah.github.io/posts/2015-09-Visual-Information/). Chapter 5, which compares
# models with the truth, is the first that needs it.

# %% [markdown]
# ## Your list
#
# This cell looks at what you passed above, and lists what is left: where to refresh it, and
# before which chapter. Passed means on your own: where you looked at the solution first, it
# suggests another try. Run it again whenever you like.

# %%
to_refresh()

# %% [markdown]
# You need not finish the list before you go on: chapter 1 explains each step as it comes. For a
# wider view of what this field asks for, see Nanda's [Barebones guide to mechanistic
# interpretability prerequisites](https://www.neelnanda.io/mechanistic-interpretability/prereqs).

# %% [markdown]
# ## What to read, and when
#
# This book stands on its own. The texts below go further, and they are easier once you have run
# what they describe. So read most of them *after* the chapter that they belong to.
#
# **Essential**, in this order:
#
# 1. 3Blue1Brown, [Transformers](https://www.3blue1brown.com/lessons/gpt) and
#    [Attention](https://www.3blue1brown.com/lessons/attention), two videos of half an hour each.
#    *Before chapter 1:* a picture of the whole machine before you build it.
# 2. Elhage et al. 2021, [A Mathematical Framework for Transformer
#    Circuits](https://transformer-circuits.pub/2021/framework/index.html), cited in this book as
#    *Framework*. *"Transformer Overview" after chapter 1, the rest with chapters 4 and 5:* it is
#    the paper that this book makes runnable.
# 3. Nanda, [Explainer and
#    glossary](https://www.neelnanda.io/mechanistic-interpretability/glossary). *Open from chapter 2
#    on:* to look words up, not to read through.
# 4. Olsson et al. 2022, [In-context Learning and Induction
#    Heads](https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html).
#    *After chapter 5:* the circuit that you will have found yourself, in large models, with the
#    evidence weighed.
#
# **Recommended.** Each makes one chapter richer:
#
# 5. Karpathy, [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY), a video, and
#    [nanoGPT](https://github.com/karpathy/nanoGPT). *Beside chapter 1:* the same machine built by
#    somebody else, with the training in full.
# 6. nostalgebraist 2020, [The logit
#    lens](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).
#    *With chapter 2:* one idea and many pictures of it.
# 7. Nanda, [A walkthrough of the Framework](https://www.youtube.com/watch?v=KV5gbOmHbjU), a video.
#    *With chapter 5:* one of the authors goes through the paper and says what was meant.
# 8. Wang et al. 2022, [Interpretability in the Wild](https://arxiv.org/abs/2211.00593). *Before
#    chapter 6:* the sentence about Mary and John, followed through GPT-2. It shows how to argue.
# 9. Nanda, [Quickstart
#    guide](https://www.neelnanda.io/mechanistic-interpretability/quickstart). *After chapter 6:*
#    from learning to research of your own.
# 10. [ARENA, chapter 1](https://learn.arena.education/chapter1_transformer_interp/). *After this
#     book:* a longer course, which goes on to superposition, autoencoders and probing.
#
# **Optional.** When a question leads you there:
#
# 11. Vaswani et al. 2017, [Attention Is All You Need](https://arxiv.org/abs/1706.03762): where it
#     began. It describes an encoder with a decoder, so section 3 is enough.
# 12. Alammar, [The Illustrated GPT-2](https://jalammar.github.io/illustrated-gpt2/): if you like
#     drawings better than formulas.
# 13. Geva et al. 2021, [Transformer Feed-Forward Layers Are Key-Value
#     Memories](https://arxiv.org/abs/2012.14913): what MLPs may be for.
# 14. Elhage et al. 2022, [Toy Models of
#     Superposition](https://transformer-circuits.pub/2022/toy_model/index.html): why single neurons
#     are hard to read. Chapter 7 has a taste of it.
# 15. The [documentation of TransformerLens](https://transformerlensorg.github.io/TransformerLens/):
#     when you go on with models of your own choice.
#
# Papers first and code later sounds natural. The other way round is quicker: many a sentence of the
# *Framework* explains itself once you have multiplied the matrices.

# %% [markdown]
# ## What you found

# %%
print(f"The model that runs is {loaded.name}. An even guess costs {uniform:.2f} nats per token;")
print(f"on one sentence its own guesses cost {loss:.2f}.")
print(f"One of its heads has a map of {d_model} × {d_model} numbers and rank {d_head} at most.")
print(f'After "{hardest}" the entropy of the next word is {entropies.max():.2f} nats: ', end="")
print(f"it is as hard to guess as 1 of {entropies.max().exp():.0f}.")
progress(0)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why may you add a constant to all logits, but
# not multiply them by one? Which axis does an einsum sum? Why does a model that always gives every
# token the same probability have the same loss on any text? How can a large matrix know only a few
# directions?
#
# **Read next.** The two videos at the top of the essential list. Then [chapter
# 1](01_build_a_transformer.ipynb), in which you build the machine.
