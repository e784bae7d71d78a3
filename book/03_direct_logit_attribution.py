# %% [markdown]
# # Chapter 3: Direct logit attribution
#
# A model says " Mary". Which of its heads, MLPs and neurons said so? In this chapter you take the
# answer apart, exactly: every component gets its share of the logits, and the shares sum to what
# the model said. Then you learn what such a share does not tell you.
#
# **After this chapter you can**
#
# - write any logit as a sum with one term for each component, to the last decimal;
# - go on to heads, to the tokens that a head read, and to single neurons;
# - say why one prompt proves little, and which numbers change with a convention;
# - tell direct from total effect, by an experiment.
#
# **Time:** about 3 hours, with 11 exercises and 4 quizzes. **You need:** chapter 1 (the residual
# stream, LayerNorm, heads, MLPs); of chapter 2 the cache and ablation.

# %%
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from circuitbook import attribution as library
from circuitbook.cache import run_with_cache, run_with_edits
from circuitbook.exercises import answer, check, hint, progress, quiz, solution
from circuitbook.explore import explore
from circuitbook.interventions import Averaged, direct_path, metric_by_head, replace_head
from circuitbook.model import MLP, Attention, Config, Transformer
from circuitbook.parts import all_heads
from circuitbook.plots import (
    ColouredText,
    NumberTable,
    plot_heads,
    plot_matrix,
    plot_plane,
    plot_stream,
)
from circuitbook.published import compare, gpt2_small
from circuitbook.weights import fold_layer_norm, processed
from circuitbook.zoo import load

loaded = load()
model, tokenizer = loaded.model.requires_grad_(False), loaded.tokenizer

# %% [markdown]
# ## The question
#
# Two people are named, one of them gives. Who receives?

# %%
prompt = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
tokens = torch.tensor([tokenizer.encode(prompt)])
mary, john = (library.single_token(tokenizer, name) for name in (" Mary", " John"))

logits, cache = run_with_cache(model, tokens)
difference = (logits[0, -1, mary] - logits[0, -1, john]).item()
assert difference > 0
print(f"{loaded.name}: the logit of Mary is {difference:.1f} higher than that of John.")
for name, token in (("Mary", mary), ("John", john)):
    above = logits[0, -1, token] - logits[0, -1].mean()
    print(f"    that of {name} is {above:.1f} higher than the mean of all tokens")

# %% [markdown]
# That is the number to explain: the **logit difference**, the right answer's logit minus that of
# the answer it must be told from. Why not the logit of " Mary" alone? Much of that says no more
# than "a name comes here", as John's logit shows, which is high as well. And why not the
# probability of " Mary"? That depends on all tokens at once, through the softmax. The logit
# difference asks one question, *Mary or John?*, and it is a sum. If it is $x$, Mary is $e^x$ times
# as probable as John. Is that so?

# %%
probabilities = logits[0, -1].softmax(dim=-1)
odds = probabilities[mary] / probabilities[john]
assert torch.isclose(odds.log(), torch.tensor(difference), atol=1e-3)
print("The logarithm of P(Mary) / P(John) is the logit difference, to 3 decimals.")

# %% [markdown]
# ## The stream is a sum
#
# At the last position, the final LayerNorm and `W_U` turn the residual stream into logits. The
# stream is what the components wrote, added up (chapter 1). So the first step is to get the
# summands.

# %% [markdown]
# ### Exercise 3.1: the stream as a sum
# ●○○ · 10 minutes
#
# Return what each component wrote at the **last** position, stacked in model order: the token's
# embedding, the position's, then for each layer its attention and its MLP. `cache` holds each of
# them under the name that chapter 1 used: `hook_embed`, `hook_pos_embed`,
# `blocks.0.hook_attn_out`, `blocks.0.hook_mlp_out`, ..., each `[batch pos d_model]`.
#
# $$x_{\text{final}} = x_{\text{embed}} + x_{\text{pos}} + \sum_{\text{layers}} (a_l + m_l)$$
#
# Source: Framework, "Virtual Weights and the Residual Stream as a Communication Channel".


# %%
def residual_parts(
    cache: dict[str, Tensor], n_layers: int
) -> Float[Tensor, "component batch d_model"]:
    ### BEGIN SOLUTION
    names = ["hook_embed", "hook_pos_embed"]
    for layer in range(n_layers):
        names += [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
    return torch.stack([cache[name][:, -1] for name in names])
    ### END SOLUTION


# %%
check("3.1", residual_parts)

# %%
# hint("3.1")

# %% [markdown]
# **What you saw.** A stack of vectors, one a component. Whatever happens from here on happens to
# their sum, and a sum can be followed term by term as long as what follows is linear.

# %%
residual_parts = answer("3.1")

# %%
n_layers = model.cfg.n_layers
components = ["embed", "pos_embed"]
components += [f"L{layer} {part}" for layer in range(n_layers) for part in ("attn", "MLP")]

parts = residual_parts(cache, n_layers)
stream = cache["resid_post", n_layers - 1][:, -1]
gap = (parts.sum(dim=0) - stream).abs().max() / stream.abs().max()
assert gap < 1e-5
print(f"{len(parts)} parts sum to the final stream; relative difference below 1e-5.")

# %% [markdown]
# ## LayerNorm is a division by one number
#
# Between the stream and `W_U` stands the final LayerNorm, and it is not linear. How bad is that?
# Write it out, with $s$ for the standard deviation (its $\varepsilon$ included):
#
# $$\mathrm{LN}(x) = \frac{x - \bar x}{s} \cdot w + b$$
#
# Put in $x = \sum_c x_c$. Subtracting the mean is linear: the mean of a sum is the sum of the
# means. Multiplying by $w$ is linear. Only $s$ depends on all parts together. But in a run that
# has happened, $s$ is a **number**, one for each position. We read it off the cache, **freeze** it,
# and what is left is linear:
#
# $$\mathrm{LN}(x) = \sum_c \frac{x_c - \bar x_c}{s} \cdot w \; + \; b$$
#
# Nothing was approximated. (Source: Framework, "Handling Layer Normalization".)

# %% [markdown]
# ### Exercise 3.2: parts through the final LayerNorm
# ●●○ · 15 minutes
#
# Return what each part contributes to $\mathrm{LN}(x)$: the terms of the last sum, without $b$.
# Make $s$ from the parts themselves: $x$ is their sum, and $s = \sqrt{\mathrm{Var}(x) +
# \varepsilon}$, with the variance divided by $d_{model}$, one $s$ for each prompt.
#
# Source: Framework, "Handling Layer Normalization".


# %%
def through_layer_norm(
    parts: Float[Tensor, "component batch d_model"], w: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "component batch d_model"]:
    ### BEGIN SOLUTION
    stream = parts.sum(dim=0)
    scale = (stream.var(dim=-1, correction=0, keepdim=True) + eps).sqrt()
    return (parts - parts.mean(dim=-1, keepdim=True)) / scale * w
    ### END SOLUTION


# %%
check("3.2", through_layer_norm)

# %%
# hint("3.2")

# %% [markdown]
# **What you saw.** One scale for all parts. A part that is large makes $s$ large, and so makes
# every other part's contribution smaller: the parts compete. That is a fact about this run, and it
# is in the number $s$.

# %%
through_layer_norm = answer("3.2")

# %%
ln_final = model.ln_final
contributions = through_layer_norm(parts, ln_final.w, ln_final.eps)
rebuilt = (contributions.sum(dim=0) + ln_final.b) @ model.W_U + model.b_U
gap = (rebuilt - logits[:, -1]).abs().max() / logits[:, -1].abs().max()
assert gap < 1e-5
print("The contributions rebuild every logit; relative difference below 1e-5.")

# %% [markdown]
# What if every part were divided by a scale of its own, as if it were alone? How far off is the sum
# then?

# %%
alone = torch.cat([through_layer_norm(part[None], ln_final.w, ln_final.eps) for part in parts])
wrong_sum = (alone.sum(dim=0) + ln_final.b) @ model.W_U + model.b_U
wrong_difference = (wrong_sum[0, mary] - wrong_sum[0, john]).item()
assert abs(wrong_difference - difference) > 0.1
print(f"with one scale: {difference:.1f}, with a scale for each part: {wrong_difference:.1f}")

# %% [markdown]
# ## Which way is Mary?
#
# A logit is a dot product of $\mathrm{LN}(x)$ with a column of `W_U`. A difference of two logits is
# therefore a dot product with the difference of two columns: one fixed **direction**, in which
# the answer lies.

# %% [markdown]
# ### Exercise 3.3: the direction of a logit difference
# ●○○ · 5 minutes
#
# Return $W_U[:, \text{right}] - W_U[:, \text{wrong}]$. The answers come as the tokenizer makes
# them: lists of token ids. An answer of several tokens has no direction (its pieces are said one
# after the other, at different positions), so raise a `ValueError` unless each is exactly one
# token.
#
# Source: Wang et al. 2022, section 2, on the logit difference.


# %%
def answer_direction(
    right: list[int], wrong: list[int], W_U: Float[Tensor, "d_model d_vocab"]
) -> Float[Tensor, " d_model"]:
    ### BEGIN SOLUTION
    if len(right) != 1 or len(wrong) != 1:
        raise ValueError(f"Each answer must be one token; they have {len(right)} and {len(wrong)}.")
    return W_U[:, right[0]] - W_U[:, wrong[0]]
    ### END SOLUTION


# %%
check("3.3", answer_direction)

# %%
# hint("3.3")

# %% [markdown]
# **What you saw.** Whatever lies along this direction speaks for the right answer, whatever lies
# against it for the wrong one, and what stands at a right angle to it says nothing on this
# question, however much it may do otherwise.

# %%
answer_direction = answer("3.3")

# %%
direction = answer_direction(tokenizer.encode(" Mary"), tokenizer.encode(" John"), model.W_U)
several = tokenizer.encode(" Mary") + tokenizer.encode(" John")
try:
    answer_direction(several, tokenizer.encode(" John"), model.W_U)
except ValueError as refused:
    print("Two tokens as one answer:", refused)

# %% [markdown]
# ### Exercise 3.4: attribution per layer
# ●●○ · 10 minutes
#
# Now multiply. Return what each component adds to the logit difference, one row a component, and a
# last row for what LayerNorm's $b$ adds, which no component wrote. (A model with a `b_U` would need
# one more row for that; GPT-2 and `pocket` have none.) `direction` has a row for each prompt, so
# that prompts may have different answers.
#
# $$\text{attribution}_c = \frac{x_c - \bar x_c}{s} \cdot w \;\; \cdot \; (W_U[:, \text{right}] -
# W_U[:, \text{wrong}])$$
#
# This is **direct logit attribution**. Source: TransformerLens, Exploratory Analysis Demo, "Direct
# Logit Attribution"; the logits as a sum over paths are in Framework, "The Path Expansion Trick".


# %%
def attribution(
    contributions: Float[Tensor, "component batch d_model"],
    direction: Float[Tensor, "batch d_model"],
    b: Float[Tensor, " d_model"],
) -> Float[Tensor, "component+1 batch"]:
    ### BEGIN SOLUTION
    logits = einsum(
        contributions, direction, "component batch d_model, batch d_model -> component batch"
    )
    bias = direction @ b
    return torch.cat([logits, bias[None]])
    ### END SOLUTION


# %%
check("3.4", attribution)

# %%
# hint("3.4")

# %% [markdown]
# **What you saw.** Logits, with a sign: positive for the right answer, negative against it. There
# is no threshold and no unexplained rest.

# %%
attribution = answer("3.4")

# %%
by_component = attribution(contributions, direction[None], ln_final.b)[:, 0]
assert not model.b_U.any()
assert abs(by_component.sum().item() - difference) < 1e-3
print(f"The attributions sum to the logit difference, {difference:.1f}, to 3 decimals.")
NumberTable(by_component[:, None], rows=[*components, "bias"], columns=["logits"])

# %% [markdown]
# Here is the same, as the stream grows from left to right. Which layer takes the largest step?

# %% tags=["nbval-ignore-output"]
values = dict(zip([*components, "bias"], by_component.tolist(), strict=True))
stages = {"embeddings": {name: values[name] for name in ("embed", "pos_embed")}}
for layer in range(model.cfg.n_layers):
    stages[f"layer {layer}"] = {name: values[name] for name in components[2 * layer + 2 :][:2]}
stages["bias"] = {"bias": values["bias"]}
largest = max(values, key=lambda name: abs(values[name]))
plot_stream(stages, f"Mary or John: the largest step is {largest}", unit="logits, Mary minus John")

# %%
before = sum(value for name, value in values.items() if not name.startswith(f"L{n_layers - 1}"))
print(f"{largest} adds {values[largest]:.1f}; all together are {difference:.1f} logits.")
print(f"The bias and all that was written before the last layer add up to {before:.1f}.")

# %%
### BEGIN SOLUTION: quiz("3-a")
quiz("3-a", "a")
### END SOLUTION

# %% [markdown]
# One step makes what follows shorter. Centring and $w$ can be moved from the parts to the
# direction, once: with $u = w \cdot \text{direction}$, centred, the attribution of *any* vector
# $x_c$ is $x_c \cdot u / s$. So we need not push anything through LayerNorm again.


# %%
def centred(x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
    return x - x.mean(dim=-1, keepdim=True)


u = centred(ln_final.w * direction)
scale = cache["ln_final.hook_scale"][:, -1, 0]
moved = parts @ u / scale
assert torch.allclose(moved[:, 0], by_component[:-1], atol=1e-4)
print("The same attributions to 4 decimals, from one dot product each.")

# %% [markdown]
# ## Which heads?
#
# A layer's attention is a sum, too: of its heads, and of `b_O`, which is nobody's. Head $h$ wrote
# $z_h W_O^h$. To build these vectors for all heads of GPT-2 small at one position takes 144 × 768
# numbers. We do not need them:
#
# $$(z_h W_O^h) \cdot u = z_h \cdot (W_O^h u)$$
#
# On the right there are only $d_{head}$ numbers a head.

# %% [markdown]
# ### Exercise 3.5: attribution per head
# ●●○ · 15 minutes
#
# Return what each head of one layer adds to the logit difference at the last position. `cache` has
# `blocks.{layer}.attn.hook_z` $[\text{batch pos head } d_{head}]$ and `ln_final.hook_scale`
# $[\text{batch pos } 1]$; `attn` has this layer's `W_O` $[\text{head } d_{head} \; d_{model}]$;
# `direction` is $u$, with a row a prompt, so that LayerNorm is dealt with but for the scale.
#
# Source: Framework, "Attention Heads are Independent and Additive".


# %%
def head_attribution(
    cache: dict[str, Tensor],
    layer: int,
    attn: Attention,
    direction: Float[Tensor, "batch d_model"],
) -> Float[Tensor, "head batch"]:
    ### BEGIN SOLUTION
    z = cache[f"blocks.{layer}.attn.hook_z"][:, -1]
    scale = cache["ln_final.hook_scale"][:, -1]
    read = einsum(attn.W_O, direction, "head d_head d_model, batch d_model -> batch head d_head")
    return einsum(z, read / scale[..., None], "batch head d_head, batch head d_head -> head batch")
    ### END SOLUTION


# %%
check("3.5", head_attribution)

# %%
# hint("3.5")

# %% [markdown]
# **What you saw.** `W_O` times the direction is what a head's output is *worth*, before any text is
# read; $z$ is what it brought this time.

# %%
head_attribution = answer("3.5")

# %% [markdown]
# All heads. And a check that no layer lost anything: its heads and its `b_O` must sum to what we
# found for the layer.

# %%
heads = torch.stack(
    [
        head_attribution(cache, layer, block.attn, u[None])
        for layer, block in enumerate(model.blocks)
    ]
)[..., 0]
nobodys = torch.stack([block.attn.b_O for block in model.blocks]) @ u / scale.item()
layers = torch.tensor([values[f"L{layer} attn"] for layer in range(n_layers)])
assert torch.allclose(heads.sum(dim=1) + nobodys, layers, atol=1e-3)
print(f"{heads.numel()} heads and {n_layers} biases sum to the attention layers, to 3 decimals.")

# %% tags=["nbval-ignore-output"]
names = [str(head) for head in all_heads(model.cfg)]
one_prompt = dict(zip(names, heads.flatten().tolist(), strict=True))
ranked = sorted(one_prompt, key=one_prompt.get)
plot_heads(
    heads,
    f"On this prompt {ranked[-1]} speaks most for Mary, {ranked[0]} most against her",
    unit="logits, Mary minus John",
)

# %%
print("for Mary:    ", ", ".join(f"{name} {one_prompt[name]:+.1f}" for name in ranked[:-4:-1]))
print("against her: ", ", ".join(f"{name} {one_prompt[name]:+.1f}" for name in ranked[:3]))

# %% [markdown]
# ## Where did it come from?
#
# A head's $z$ is a weighted sum of the values at the positions it reads. Do not carry out that sum,
# and each position keeps its own share: which token did the evidence come from?

# %% [markdown]
# ### Exercise 3.6: attribution per source position
# ●●○ · 15 minutes
#
# Return what each head of a layer brings to the last position **from each position** that it reads,
# in logits: attention times what the value there is worth.
#
# $$A_{\text{last},\,k} \; v_k \cdot (W_O u) / s$$
#
# `cache` has `blocks.{layer}.attn.hook_pattern` $[\text{batch head q k}]$ and
# `blocks.{layer}.attn.hook_v` $[\text{batch pos head } d_{head}]$; `direction` is $u$ again.
#
# Source: Framework, "Attention Heads as Information Movement".


# %%
def source_attribution(
    cache: dict[str, Tensor],
    layer: int,
    attn: Attention,
    direction: Float[Tensor, "batch d_model"],
) -> Float[Tensor, "head batch k_pos"]:
    ### BEGIN SOLUTION
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1]
    v = cache[f"blocks.{layer}.attn.hook_v"]
    direction = direction / cache["ln_final.hook_scale"][:, -1]
    read = einsum(attn.W_O, direction, "head d_head d_model, batch d_model -> batch head d_head")
    worth = einsum(v, read, "batch k_pos head d_head, batch head d_head -> batch head k_pos")
    return einsum(pattern, worth, "batch head k_pos, batch head k_pos -> head batch k_pos")
    ### END SOLUTION


# %%
check("3.6", source_attribution)

# %%
# hint("3.6")

# %% [markdown]
# **What you saw.** Two factors: how much it looks, and what is there to be had. A head can look
# hard at a token and take nothing from it that matters for this question.

# %%
source_attribution = answer("3.6")

# %% [markdown]
# We take the head with the largest share on this prompt, for or against. Does it bring most from
# where it looks most?

# %%
loudest = max(one_prompt, key=lambda name: abs(one_prompt[name]))
layer, index = all_heads(model.cfg)[names.index(loudest)]
sources = source_attribution(cache, layer, model.blocks[layer].attn, u[None])[index, 0]
assert abs(sources.sum().item() - one_prompt[loudest]) < 1e-3

pieces = tokenizer.pieces(tokens[0].tolist())
attention = cache["pattern", layer][0, index, -1]
read_most = attention.topk(3).indices.tolist()
NumberTable(
    torch.stack([attention, sources], dim=1)[read_most],
    rows=[f"{place}{pieces[place]}" for place in read_most],
    columns=["attention", "logits"],
    caption=loudest,
)

# %% tags=["nbval-ignore-output"]
most = sources.abs().argmax().item()
ColouredText(
    pieces,
    sources,
    f"{loudest} gets its largest share from{pieces[most]}, at position {most}",
    unit="logits, Mary minus John",
)

# %%
print(f"{loudest} looks most at{pieces[read_most[0]]} ({attention[read_most[0]]:.0%}).")
here, elsewhere = sources[read_most[0]], sources.sum() - sources[read_most[0]]
print(f"From there it brings {here:+.1f}, from everywhere else {elsewhere:+.1f}.")
if most == read_most[0]:
    print("It brings most from where it looks most.")
else:
    print(f"It brings most from{pieces[most]}: a look is not yet evidence.")

# %% [markdown]
# ## Which neurons?
#
# An MLP's write is a sum as well: each neuron's activation times its row of `W_out` (and `b_out`).
# The same trick, `W_out` times the direction, gives each neuron's share.

# %% [markdown]
# ### Exercise 3.7: attribution per neuron
# ●●○ · 10 minutes
#
# Return the `k` neurons of an MLP that move the logit difference most, for or against, strongest
# first, and how far each moves it: its activation at the last position times $W_{out}[n] \cdot u /
# s$, averaged over the prompts. Average first, then rank. `direction` is $u$; `cache` has
# `blocks.{layer}.mlp.hook_post` $[\text{batch pos } d_{mlp}]$.
#
# Source: Geva et al. 2021, section 2: an MLP's output is a sum of its neurons' values.


# %%
def strongest_neurons(
    cache: dict[str, Tensor],
    layer: int,
    mlp: MLP,
    direction: Float[Tensor, "batch d_model"],
    k: int,
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    ### BEGIN SOLUTION
    post = cache[f"blocks.{layer}.mlp.hook_post"][:, -1]
    read = einsum(
        mlp.W_out,
        direction / cache["ln_final.hook_scale"][:, -1],
        "d_mlp d_model, batch d_model -> batch d_mlp",
    )
    logits = (post * read).mean(dim=0)
    strongest = logits.abs().topk(k).indices
    return strongest, logits[strongest]
    ### END SOLUTION


# %%
check("3.7", strongest_neurons)

# %%
# hint("3.7")

# %% [markdown]
# **What you saw.** It takes two things to matter: to be active on this text, and to write along
# this direction.

# %%
strongest_neurons = answer("3.7")

# %%
in_mlps = torch.tensor([values[f"L{layer} MLP"] for layer in range(n_layers)])
mlp_layer = in_mlps.abs().argmax().item()
mlp, d_mlp = model.blocks[mlp_layer].mlp, model.cfg.d_mlp

neurons, neuron_logits = strongest_neurons(cache, mlp_layer, mlp, u[None], 10)
activations = cache["post", mlp_layer][0, -1, neurons]
NumberTable(
    torch.stack([neuron_logits, activations], dim=1),
    rows=[f"neuron {neuron}" for neuron in neurons.tolist()],
    columns=["logits", "activation"],
    caption=f"L{mlp_layer} MLP",
)

# %% [markdown]
# Do these ten make up the MLP's share, or is it a crowd?

# %%
_, all_logits = strongest_neurons(cache, mlp_layer, mlp, u[None], d_mlp)
sizes = all_logits.abs()
n_half = int((sizes.cumsum(dim=0) < sizes.sum() / 2).sum()) + 1
nobodys = (mlp.b_out @ u / scale).item()
assert abs(all_logits.sum().item() + nobodys - in_mlps[mlp_layer].item()) < 1e-3
print(
    f"The MLP adds {in_mlps[mlp_layer]:+.1f}, these ten neurons {neuron_logits.sum():+.1f} of it."
)
print(f"Half of all pushing, for and against, is done by {n_half} of {d_mlp} neurons.")

# %% [markdown]
# ## One prompt proves little
#
# We have a story for one prompt. Is it about *who was repeated*, or about *Mary*? Swap the roles:
# "Mary gave a drink to", and " John" is right. A component that understands the sentence helps the
# right name in both. One that likes Mary helps in the first and harms in the second. So each text
# needs its twin.

# %%
templates = [
    ("When{0} and{1} went to the store,{2} gave a drink to", " Mary", " John"),
    ("When{0} and{1} went to the park,{2} gave a ball to", " Tom", " James"),
    ("After{0} and{1} went to the school,{2} handed a book to", " Anna", " Paul"),
    ("After{0} and{1} went to the office,{2} passed a letter to", " Peter", " Sarah"),
]
texts, right, wrong = [], [], []
for template, first, second in templates:
    for gets, gives in ((first, second), (second, first)):
        texts.append("<|endoftext|>" + template.format(first, second, gives))
        right.append(tokenizer.encode(gets))
        wrong.append(tokenizer.encode(gives))
print("\n".join(text.removeprefix("<|endoftext|>") for text in texts))

# %%
eight = torch.tensor([tokenizer.encode(text) for text in texts])
right_ids, wrong_ids = torch.tensor(right)[:, 0], torch.tensor(wrong)[:, 0]
rows = torch.arange(len(eight))


def difference_of(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, " batch"]:
    return logits[rows, -1, right_ids] - logits[rows, -1, wrong_ids]


logits_8, cache_8 = run_with_cache(model, eight)
baseline = difference_of(logits_8).mean().item()
n_right = int((difference_of(logits_8) > 0).sum())
print(f"The right name wins in {n_right} of {len(eight)}, by {baseline:.1f} logits on average.")

# %% [markdown]
# Each prompt has a direction of its own, and your functions take one a prompt. What does each head
# add on each of the eight?

# %%
directions = torch.stack(
    [answer_direction(*pair, model.W_U) for pair in zip(right, wrong, strict=True)]
)
reading = centred(ln_final.w * directions)
heads_8 = torch.cat(
    [
        head_attribution(cache_8, layer, block.attn, reading)
        for layer, block in enumerate(model.blocks)
    ]
)
ours = library.head_attribution(cache_8, model, right_ids, wrong_ids)
assert torch.allclose(heads_8, ours.logits, atol=1e-3)
print(f"{list(heads_8.shape)}: {len(heads_8)} heads, {len(eight)} prompts. The library agrees.")

# %% [markdown]
# ### Exercise 3.8: evidence and bias
# ●●○ · 10 minutes
#
# The prompts come in pairs: 0 and 1 are twins, 2 and 3, and so on. Suppose a component adds $x$
# for whichever name is right, its **evidence**, and $y$ for the first twin's right name whether it
# is right or not, its **bias**. Then it adds $x + y$ in the first twin and $x - y$ in the second.
# Return evidence and bias for each component and each pair.
#
# Source: Wang et al. 2022, section 2, whose prompts come in both orders of the names.


# %%
def evidence_and_bias(
    logits: Float[Tensor, "component batch"],
) -> tuple[Float[Tensor, "component pair"], Float[Tensor, "component pair"]]:
    ### BEGIN SOLUTION
    one_way, other_way = logits[:, 0::2], logits[:, 1::2]
    return (one_way + other_way) / 2, (one_way - other_way) / 2
    ### END SOLUTION


# %%
check("3.8", evidence_and_bias)

# %%
# hint("3.8")

# %% [markdown]
# **What you saw.** The average over twins is the evidence: a bias for one of the two names cancels,
# whatever it comes from. A single prompt shows the sum of the two and cannot tell them apart.

# %%
evidence_and_bias = answer("3.8")

# %% [markdown]
# In our prompts, the first twin's right name is always the one named first. So a bias that is the
# same in all pairs is a bias for the *first name of the sentence*.

# %% tags=["nbval-ignore-output"]
evidence, bias = (part.mean(dim=1) for part in evidence_and_bias(heads_8))
top, biased = names[evidence.argmax()], names[bias.abs().argmax()]
largest_of_both = torch.maximum(evidence.abs(), bias.abs())
loud = [names[place] for place in (largest_of_both > 0.3).nonzero()[:, 0].tolist()]
plot_plane(
    evidence,
    bias,
    names,
    f"{top} brings most evidence, {biased} has the largest bias",
    x_title="evidence: logits for the right name",
    y_title="bias: logits for the name that stands first",
    groups={"above 0.3 on either axis": loud},
)

# %%
averages = dict(zip(names, evidence.tolist(), strict=True))
both = torch.tensor([[one_prompt[name], averages[name], bias[names.index(name)]] for name in loud])
NumberTable(both, rows=loud, columns=["first prompt", "evidence", "bias"], decimals=1)

# %%
turned = [name for name in loud if one_prompt[name] * averages[name] < 0]
for name in turned:
    print(f"{name}: {one_prompt[name]:+.2f} on the first prompt, {averages[name]:+.2f} on average.")
print(f"{len(turned)} of these {len(loud)} heads change sign between one prompt and the average.")

# %% [markdown]
# Whole models have biases, too. GPT-2 small's logit difference on each of eight such prompts has
# been published, twin by twin, so your function can split it. In each row the bias is for the name
# on the left.

# %%
gpt2 = gpt2_small()
gpt2_evidence, gpt2_bias = evidence_and_bias(gpt2.logit_difference_per_prompt.value[None])
NumberTable(
    torch.stack([gpt2_evidence[0], gpt2_bias[0]], dim=1),
    rows=[f"{prompt.right} or{prompt.wrong}" for prompt in gpt2.prompts[::2]],
    columns=["evidence", "bias"],
    caption="GPT-2 small, logits",
)

# %%
pair = gpt2_bias[0].abs().argmax().item()
liked = gpt2.prompts[2 * pair].right if gpt2_bias[0, pair] > 0 else gpt2.prompts[2 * pair].wrong
print(f"GPT-2 small's largest bias is for{liked}: {gpt2_bias[0, pair].abs():.1f} logits.")

# %% [markdown]
# From here on we use all eight of our prompts.

# %%
### BEGIN SOLUTION: quiz("3-b")
quiz("3-b", 0.1)
### END SOLUTION

# %% [markdown]
# ## Raw, folded, centred
#
# Look up a published attribution of GPT-2, compute it yourself, and the two may well differ, with
# no mistake on either side. The same function can be written with different weights, and some
# numbers depend on which. There are two rewritings to know.
#
# **Folding**: a LayerNorm's $w$ and $b$ can be given to the matrix that reads after it, once and
# for all. What is left of the LayerNorm is to centre and to divide.

# %% [markdown]
# ### Exercise 3.9: fold LayerNorm into the weights
# ●●○ · 15 minutes
#
# A reader computes $(n \cdot w + b) W + \text{bias}$, where $n$ is the normalised vector (centred,
# divided by its scale). Return the matrix and the bias with which it can read $n$ itself:
# $n W' + \text{bias}'$. `W` may be one matrix, `W_in` or `W_U`, or one a head, like `W_Q`.
#
# Source: Framework, "Handling Layer Normalization".


# %%
def fold(
    W: Float[Tensor, "*head d_model out"],
    bias: Float[Tensor, "*head out"],
    w: Float[Tensor, " d_model"],
    b: Float[Tensor, " d_model"],
) -> tuple[Float[Tensor, "*head d_model out"], Float[Tensor, "*head out"]]:
    ### BEGIN SOLUTION
    return w[:, None] * W, bias + b @ W
    ### END SOLUTION


# %%
check("3.9", fold)

# %%
# hint("3.9")

# %% [markdown]
# **What you saw.** $w$ and $b$ are not part of what LayerNorm does to information. They belong to
# whoever reads next, which is why chapter 4 folds them before it looks at a single weight.

# %%
fold = answer("3.9")

# %% [markdown]
# Does every reader of the model read the same, folded? We try all of them: the queries, keys and
# values of each layer, its MLP, and the logits.

# %%
pairs = []  # what is read from folded weights, and what the model read
for layer, block in enumerate(model.blocks):
    n = cache_8[f"blocks.{layer}.ln1.hook_normalized"]
    for letter in "QKV":
        W, b = getattr(block.attn, f"W_{letter}"), getattr(block.attn, f"b_{letter}")
        W, b = fold(W, b, block.ln1.w, block.ln1.b)
        read = einsum(n, W, "batch pos d_model, head d_model d_head -> batch pos head d_head")
        pairs.append((read + b, cache_8[letter.lower(), layer]))
    W, b = fold(block.mlp.W_in, block.mlp.b_in, block.ln2.w, block.ln2.b)
    n = cache_8[f"blocks.{layer}.ln2.hook_normalized"]
    pairs.append((n @ W + b, cache_8["pre", layer]))
W, b = fold(model.W_U, model.b_U, ln_final.w, ln_final.b)
pairs.append((cache_8["ln_final.hook_normalized"] @ W + b, logits_8))

# %%
gaps = [((ours - models).abs().max() / models.abs().max()).item() for ours, models in pairs]
assert max(gaps) < 1e-4
print(f"{len(pairs)} readers read the same; relative difference below 1e-4.")

# %% [markdown]
# **Centring** goes one step further. Every reader subtracts the mean of what it reads, so the mean
# of what anybody *writes* may be taken away beforehand. And a softmax does not see a constant, so
# `W_U` may be centred over the vocabulary: then the logits of each position have mean 0.
# `processed` does all of it. (It also lets `b_V` join `b_O`: a pattern's rows sum to 1, so what
# `b_V` writes is the same wherever a head looks.) What changes, and what does not? Here is what we
# measure, on raw, folded and centred weights.

# %%
top_layer, top_index = all_heads(model.cfg)[names.index(top)]


def quantities(weights: Transformer) -> list[float]:
    logits, cache = run_with_cache(weights, eight)
    alone = library.logit_attribution(cache, weights, right_ids, by="layer").mean()
    against = library.logit_attribution(cache, weights, right_ids, wrong_ids, by="head").mean()
    return [
        logits[rows, -1, right_ids].mean(),
        difference_of(logits).mean(),
        logits[:, -1].softmax(dim=-1)[rows, right_ids].mean(),
        cache["resid_post", n_layers - 1][:, -1].mean() * 100,
        alone.logits[components.index(f"L{mlp_layer} MLP")],
        alone.rest,
        against.logits[against.components.index(f"L{mlp_layer} MLP")],
        against.heads[top_layer, top_index],
    ]


# %% [markdown]
# Guess for each row before you run the cell: do the three columns agree?

# %%
centred_model = processed(model)
three = [quantities(weights) for weights in (model, fold_layer_norm(model), centred_model)]
NumberTable(
    torch.tensor(three).T,
    rows=[
        "logit of the right name",
        "logit difference",
        "probability of the right name",
        "mean of the final stream, × 100",
        f"L{mlp_layer} MLP's share of the logit",
        "the biases' share of the logit",
        f"L{mlp_layer} MLP's share of the difference",
        f"{top}'s share of the difference",
    ],
    columns=["raw", "folded", "centred"],
)

# %%
raw, folded, centred_numbers = torch.tensor(three)
same = torch.isclose(raw, centred_numbers, atol=1e-2)
assert torch.allclose(raw, folded, rtol=1e-3, atol=2e-2)
assert same[[1, 2, 6]].all() and not same[[0, 4, 5]].any()
print("Folding changes none of these numbers.")
print("Centring changes the logit alone and its shares; the difference and the MLP's share stay.")
kept = "keeps its share: its b_V wrote next to nothing here"
lost = "loses what its b_V wrote, which now counts as the layer's"
print(f"{top} {kept if same[7] else lost}.")

# %% [markdown]
# So that is one more reason for logit differences. Folding matters when you read *weights*
# (chapter 4); centring matters as soon as you speak of a single logit.
#
# A third thing is no rewriting but another input: the **beginning-of-text token**. TransformerLens
# puts `<|endoftext|>` before every text unless told not to; Hugging Face's tokenizer for GPT-2 does
# not. In training it stood between documents, and heads that have nothing to find often look at it.
# So here is one prompt in three hands: Hugging Face's, TransformerLens' and ours. Which rows will
# agree?

# %%
from transformers import AutoModelForCausalLM

from circuitbook.lens import open_bridge

bridge = open_bridge(loaded.folder)
bridge.enable_compatibility_mode(disable_warnings=True)
plain_text = prompt.removeprefix("<|endoftext|>")
transformerlens = bridge(bridge.to_tokens(plain_text)).detach()

plain = torch.tensor([tokenizer.encode(plain_text)])
huggingface = AutoModelForCausalLM.from_pretrained(loaded.folder)(plain).logits.detach()

# %%
runs = {
    "Hugging Face": huggingface,
    "TransformerLens": transformerlens,
    "raw": logits,
    "centred": centred_model(tokens),
    "raw, no <|endoftext|>": model(plain),
}
last = torch.stack([run[0, -1] for run in runs.values()])
of_mary, of_john, shares_of_1 = last[:, mary], last[:, john], last.softmax(dim=-1)
NumberTable(
    torch.stack([of_mary, of_mary - of_john, shares_of_1[:, mary]], dim=1),
    rows=list(runs),
    columns=["logit of Mary", "Mary minus John", "P(Mary)"],
)

# %%
assert torch.allclose(last[0], last[4], atol=1e-2) and torch.allclose(last[1], last[3], atol=1e-2)
print("Hugging Face's numbers are ours with raw weights and no <|endoftext|>;")
print("TransformerLens' are ours with centred weights and <|endoftext|>.")

# %% [markdown]
# Nobody is wrong, and everything is explained. Say with each number which convention it has; the
# conventions page at the end of the book has the whole list.

# %%
### BEGIN SOLUTION: quiz("3-c")
quiz("3-c", "a", "d")
### END SOLUTION

# %% [markdown]
# ## The same, for GPT-2 small
#
# These figures of GPT-2 small were published with TransformerLens (centred weights, eight prompts
# like ours, each with its twin). If GPT-2 is what you run, the next cell compares them with your
# own measurement, head by head.

# %%
print(gpt2.attribution_per_head.source)
if loaded.name == "gpt2":
    theirs = torch.tensor([tokenizer.encode("<|endoftext|>" + p.text) for p in gpt2.prompts])
    gets = [library.single_token(tokenizer, p.right) for p in gpt2.prompts]
    gives = [library.single_token(tokenizer, p.wrong) for p in gpt2.prompts]
    _, on_theirs = run_with_cache(centred_model, theirs)
    measured = library.head_attribution(on_theirs, centred_model, gets, gives).mean()
    print(compare(measured.heads, gpt2.attribution_per_head))
else:
    print(f"{loaded.name} does not know all of their names; here are GPT-2's numbers beside ours.")

# %% [markdown]
# Who writes the answer, attention or MLPs? The two models need not agree.

# %%
by_layer = library.logit_attribution(cache_8, model, right_ids, wrong_ids).mean()
published = gpt2.attribution_per_layer


def by_kind(logits: Float[Tensor, " component"]) -> Float[Tensor, " kind"]:
    """The sum over both embeddings, all attention layers, all MLPs, and over everything."""
    return torch.stack([logits[:2].sum(), logits[2::2].sum(), logits[3::2].sum(), logits.sum()])


both = torch.stack([by_kind(published.value), by_kind(by_layer.logits)])
columns = ["embeddings", "attention", "MLPs", "all components"]
NumberTable(both, rows=["GPT-2 small", loaded.name], columns=columns, caption="logits")

# %%
attention_share, mlp_share = both[:, 1] / both[:, 3], both[:, 2] / both[:, 3]
for place, name in enumerate(("GPT-2 small", loaded.name)):
    print(
        f"{name}: attention layers write {attention_share[place]:.0%} of the difference, "
        f"MLPs {mlp_share[place]:.0%}"
    )

# %% [markdown]
# And which of GPT-2's heads?

# %% tags=["nbval-ignore-output"]
table = gpt2.attribution_per_head.value
gpt2_heads = {f"L{i // 12}H{i % 12}": x for i, x in enumerate(table.flatten().tolist())}
gpt2_ranked = sorted(gpt2_heads, key=gpt2_heads.get)
plot_heads(
    table,
    f"GPT-2 small: {gpt2_ranked[-1]} and {gpt2_ranked[-2]} for the right name, "
    f"{gpt2_ranked[0]} and {gpt2_ranked[1]} against it",
    unit="logits, right minus wrong",
)

# %%
for name, found in (("GPT-2 small", gpt2_heads), (loaded.name, averages)):
    order = sorted(found, key=found.get)
    strong = [head for head in found if abs(found[head]) > 0.1]
    for_it = ", ".join(f"{head} {found[head]:+.2f}" for head in order[:-4:-1])
    against = ", ".join(f"{head} {found[head]:+.2f}" for head in order[:2])
    print(f"{name}: {for_it}; against: {against}")
    print(f"    {len(strong)} of {len(found)} heads write more than 0.1 logits, for or against")
roles = {head: role.name for role in gpt2.roles for head in role.heads}
assert {roles[head] for head in gpt2_ranked[-2:]} == {"name mover"}
assert {roles[head] for head in gpt2_ranked[:2]} == {"negative name mover"}

# %% [markdown]
# GPT-2's first two have a name since the paper that found them: **name movers**, heads that attend
# to a name and write it. Those against the answer are **negative name movers**: they do the same
# and write the opposite. (Source: Wang et al. 2022, section 3.1.)

# %% [markdown]
# ## Take the top head away
#
# Attribution says how much of the answer the top head wrote. So if it were silent, the answer
# should lose that much. Will it? Make your prediction, then run the experiment.

# %% [markdown]
# ### Exercise 3.10: predicted and actual drop
# ●●○ · 15 minutes
#
# Return how far the logit difference *falls* at the last position when one head brings nothing: its
# $z$ is 0, at every position. Positive means that the head was needed.
#
# `run_with_edits(model, tokens, {name: function})` gives the activation called `name` to your
# function and goes on with what that returns; here the name is `blocks.{layer}.attn.hook_z`, and
# $z$ is `[batch pos head d_head]`. `model(tokens)` is the run without edits.
#
# Source: Wang et al. 2022, section 2, on knocking out.


# %%
def actual_drop(
    model: Transformer,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    ### BEGIN SOLUTION
    def zero(z: Tensor) -> Tensor:
        z[:, :, head] = 0
        return z

    def difference(logits: Tensor) -> Tensor:
        rows = torch.arange(len(logits))
        return logits[rows, -1, right] - logits[rows, -1, wrong]

    ablated = run_with_edits(model, tokens, {f"blocks.{layer}.attn.hook_z": zero})
    return difference(model(tokens)) - difference(ablated)
    ### END SOLUTION


# %%
check("3.10", actual_drop)

# %%
# hint("3.10")

# %% [markdown]
# **What you saw.** This is another kind of question. Attribution asks what was written in a run
# that happened. Ablation asks what would happen without it.

# %%
actual_drop = answer("3.10")

# %% [markdown]
# The top head, on our eight prompts. Beside the zero stands chapter 2's other way to silence a
# head: its mean over the prompts, position by position.

# %%
predicted = averages[top]
dropped = actual_drop(model, eight, top_layer, top_index, right_ids, wrong_ids).mean().item()
by_mean = replace_head(top, model.cfg, Averaged(cache_8, each_position=True))
mean_dropped = baseline - difference_of(run_with_edits(model, eight, by_mean)).mean().item()
NumberTable(
    torch.tensor([[predicted, dropped, mean_dropped]]),
    rows=[top],
    columns=["attribution", "when zeroed", "when replaced by its mean"],
    caption="drop (logits)",
)

# %%
verdict = "more" if dropped > predicted else "less"
assert abs(dropped - predicted) > 0.1
print(f"{top} wrote {predicted:.1f} logits. Without it the answer loses {dropped:.1f}: {verdict}.")

# %% [markdown]
# Neither prediction nor measurement is wrong. (Where the two ways to silence a head differ, that is
# a warning, too: 0 may be a value that later layers have never seen.) So who else changed? We
# attribute once more, in the run without the head, and compare component by component.

# %%
_, cache_without = run_with_cache(model, eight, edits=replace_head(top, model.cfg, 0))
before_it = library.logit_attribution(cache_8, model, right_ids, wrong_ids, by="head").mean()
after_it = library.logit_attribution(cache_without, model, right_ids, wrong_ids, by="head").mean()
changes = after_it.logits - before_it.logits
order = changes.abs().argsort(descending=True)[:5].tolist()
NumberTable(
    torch.stack([before_it.logits, after_it.logits, changes], dim=1)[order],
    rows=[before_it.components[place] for place in order],
    columns=["before", "after", "change"],
    caption=f"without {top}",
)

# %% [markdown]
# Is there a component among these that comes *before* the head? It cannot have noticed anything. So
# what is it that changed its share? Only $s$ is left: the final scale of the run without the head.

# %%
untouched = f"blocks.{top_layer}.hook_resid_pre"
assert torch.equal(cache_8[untouched], cache_without[untouched])
old, new = (run["ln_final.hook_scale"][:, -1].mean() for run in (cache_8, cache_without))
print(f"Before layer {top_layer} every number is the same with and without {top}.")
print(
    f"The final scale is {old:.2f} with it and {new:.2f} without it, on average over the prompts."
)

# %% [markdown]
# So a table of changes mixes two things: what later components write otherwise, and one factor that
# all shares have in common. And GPT-2, without its top head, as published (there $z$ was zeroed at
# the last position alone)? The first paper on its heads gave them these names:

# %%
without = gpt2.attribution_per_head_without_L9H9.value
gpt2_changes = (without - table).flatten()
order = gpt2_changes.abs().argsort(descending=True)[:7].tolist()
NumberTable(
    torch.stack([table.flatten(), without.flatten(), gpt2_changes], dim=1)[order],
    rows=[f"{head}, {roles[head]}" for head in (list(gpt2_heads)[place] for place in order)],
    columns=["before", "after", "change"],
    caption="without L9H9",
)

# %%
gpt2_drop = gpt2.logit_difference.value - gpt2.logit_difference_without_L9H9.value
for name, wrote, fell in (
    ("GPT-2 small", gpt2_heads["L9H9"], gpt2_drop),
    (loaded.name, predicted, dropped),
):
    others = wrote - fell
    what = "made up for" if others > 0 else "lost another"
    print(f"{name}: its top head wrote {wrote:.2f}, the answer fell by {fell:.2f};")
    print(f"    the others {what} {abs(others):.2f}, {abs(others) / wrote:.0%} of what it wrote")

# %% [markdown]
# In GPT-2 most of the loss is made good, which is called **self-repair**. **Backup** heads write
# the name when the name mover is silent, and a negative one, with less to respond to, writes less
# against it. It can also go the other way: what a head wrote was *read* as well, and whoever builds
# on it falls with it. Attribution cannot tell you which of the two you have. (Source: Wang et al.
# 2022, section 3.4, on backup name movers; McGrath et al. 2023, "The Hydra Effect", on self-repair;
# Rushing and Nanda 2024, "Explorations of Self-Repair in Language Models", on the scale's part.)

# %%
### BEGIN SOLUTION: quiz("3-d")
quiz("3-d", "b", "c", "e")
### END SOLUTION

# %% [markdown]
# ## A crowded channel
#
# Why do components respond to each other at all? Because they share one stream, and it is narrow.
# How many things want to be told apart on it?

# %%
sizes = {loaded.name: model.cfg, "GPT-2 small": Config.gpt2_small()}
for name, cfg in sizes.items():
    written = cfg.n_layers * cfg.n_heads * cfg.d_head
    print(f"{name}: {cfg.d_model} numbers a position")
    print(f"    {cfg.d_vocab:,} tokens to name")
    print(
        f"    {cfg.n_layers * cfg.d_mlp:,} neurons and {written:,} dimensions of heads that write"
    )

# %% [markdown]
# At most $d_{model}$ vectors can all stand at right angles to each other. Each MLP alone has four
# times as many neurons, and each neuron writes along a direction of its own. So the directions must
# overlap. How much, compared with directions drawn at random? For those the mean size of the cosine
# is about $\sqrt{2 / (\pi \, d_{model})}$.


# %%
def overlap(vectors: Float[Tensor, "vector d_model"]) -> float:
    """The mean size of the cosine between two different vectors."""
    unit = functional.normalize(centred(vectors), dim=-1)
    cosines = (unit @ unit.T).abs()
    return ((cosines.sum() - len(unit)) / (len(unit) * (len(unit) - 1))).item()


d_model = model.cfg.d_model
chance = torch.randn(1000, d_model, generator=torch.Generator().manual_seed(0))
overlaps = {
    "random directions": overlap(chance),
    "the formula": (2 / (torch.pi * d_model)) ** 0.5,
    f"neurons of L{mlp_layer} (W_out)": overlap(model.blocks[mlp_layer].mlp.W_out),
    "tokens (W_E)": overlap(model.W_E[:: model.cfg.d_vocab // 1000]),
}
NumberTable(torch.tensor([*overlaps.values()])[:, None], rows=list(overlaps), columns=["|cosine|"])

# %%
at_chance, _, of_neurons, of_tokens = overlaps.values()
print(f"Neurons overlap {of_neurons / at_chance:.1f} times as much as random directions,")
print(f"tokens {of_tokens / at_chance:.1f} times. Above 1: the space is not even filled evenly.")

# %% [markdown]
# On such a channel, what is not needed any more is in the way. The Framework suggests that some
# components do **memory management**: they read what an earlier one wrote and write its opposite.
# One place to look is single neurons. A neuron whose row of `W_out` points against its column of
# `W_in` (folded) takes out what it reads. How many do, and would random directions do it?

# %%
for layer, block in enumerate(model.blocks):
    reads, _ = fold(block.mlp.W_in, block.mlp.b_in, block.ln2.w, block.ln2.b)
    in_and_out = functional.cosine_similarity(centred(reads.T), centred(block.mlp.W_out), dim=-1)
    erase = (in_and_out < -0.3).float().mean()
    print(f"L{layer}: cosine below -0.3 in {erase:.0%} of the neurons")
drawn = functional.cosine_similarity(chance[:500], chance[500:], dim=-1)
print(f"random directions: {(drawn < -0.3).float().mean():.0%}")

# %% [markdown]
# Now whole components. How much of an earlier write does a later one take out?

# %% [markdown]
# ### Exercise 3.11: who removes what
# ●●○ · 15 minutes
#
# Given what each component wrote, in model order, return for each pair which share of the earlier
# write (column) the later one (row) removes:
#
# $$-\frac{\text{later} \cdot \text{earlier}}{|\text{earlier}|^2}$$
#
# 1 means that nothing is left along the earlier write, a negative share that it was written again.
# Centre the writes first, as every reader will. Where the row is not later than the column, the
# share is 0.
#
# Source: Framework, "Subspaces and Residual Stream Bandwidth".


# %%
def removed(
    writes: Float[Tensor, "component batch d_model"],
) -> Float[Tensor, "component component batch"]:
    ### BEGIN SOLUTION
    writes = writes - writes.mean(dim=-1, keepdim=True)
    dots = einsum(writes, writes, "late batch d_model, early batch d_model -> late early batch")
    share = -dots / writes.pow(2).sum(dim=-1)
    order = torch.arange(len(writes))
    return share * (order[:, None] > order)[..., None]
    ### END SOLUTION


# %%
check("3.11", removed)

# %%
# hint("3.11")

# %% [markdown]
# **What you saw.** The share depends on lengths, the cosine does not. A share far beyond 1 says
# that the later write is much longer, and that what it does to the earlier one is hardly its
# purpose. Look at both numbers.

# %%
removed = answer("3.11")

# %% [markdown]
# Both embeddings are there from the start, so we take them as one write. Among all pairs we look
# for the one in which the greatest length is gone: the share that is removed, at most 1, times the
# length of the earlier write.

# %%
parts_8 = residual_parts(cache_8, n_layers)
writes = torch.cat([parts_8[:2].sum(dim=0, keepdim=True), parts_8[2:]])
writers = ["embeddings", *components[2:]]
shares = removed(writes).mean(dim=2)
gone = shares.clamp(0, 1) * centred(writes).norm(dim=-1).mean(dim=1)
late, early = divmod(gone.argmax().item(), len(writers))
share = shares[late, early].item()
print(f"{writers[late]} takes out {share:.0%} of what {writers[early]} wrote.")

# %% [markdown]
# The cosines of all pairs: red cells are later components that point *against* an earlier one.

# %% tags=["nbval-ignore-output"]
unit = functional.normalize(centred(writes), dim=-1)
cosines = einsum(unit, unit, "late batch d, early batch d -> late early batch").mean(dim=2)
plot_matrix(
    cosines.masked_fill(torch.ones_like(cosines).triu().bool(), torch.nan),
    f"{writers[late]} writes against {writers[early]}",
    rows=writers,
    columns=writers,
    unit="cosine",
    row_title="later",
    column_title="earlier",
    decimals=1 if len(writers) < 12 else None,
)

# %% [markdown]
# Two vectors can point against each other for a dull reason: each has a part that is the same at
# every token, and these parts happen to be opposite. So take away each component's average over
# all positions but the first, and look at what varies from token to token. Is it still removed?

# %%
assert cosines[late, early] < 0 < share
every = library.residual_parts(cache_8, model).writes[:, :, 1:].flatten(1, 2)
every = torch.cat([every[:2].sum(dim=0, keepdim=True), every[2:]])
varying = centred(every - every.mean(dim=1, keepdim=True))
still = functional.cosine_similarity(varying[late], varying[early], dim=-1).mean().item()
print(f"cosine of the whole writes: {cosines[late, early]:.2f}")
print(f"cosine of what varies from token to token: {still:.2f}")
kept_share = still / cosines[late, early].item()
print("Most of it was the same at every token." if kept_share < 0.5 else "It is not the average.")

# %% [markdown]
# That is geometry. Does the removal matter to the answer? Stop it: from the later write, at the
# last position, subtract the part that lies along the earlier one. For comparison, subtract vectors
# of the same length in 20 directions drawn at random.


# %%
def without(part: Float[Tensor, "batch d_model"]) -> float:
    """The mean logit difference when this part is taken out of the later write."""

    def edit(write: Float[Tensor, "batch pos d_model"]) -> Tensor:
        write[:, -1] -= part
        return write

    kind = {"attn": "attn_out", "MLP": "mlp_out"}[writers[late].split()[1]]
    name = f"blocks.{(late - 1) // 2}.hook_{kind}"
    return difference_of(run_with_edits(model, eight, {name: edit})).mean().item()


along = (writes[late] * unit[early]).sum(dim=-1, keepdim=True)  # a length, below 0
kept = without(along * unit[early])
at_random = [
    without(along * functional.normalize(centred(vector), dim=-1)) for vector in chance[:20]
]
print(f"as it is: {baseline:.1f}; with the removal stopped: {kept:.1f}")
print(f"with vectors of that length at random: {min(at_random):.1f} to {max(at_random):.1f}")

# %%
n_worse = sum(value < kept for value in at_random)
print(f"{n_worse} of {len(at_random)} random vectors cost more than stopping the removal.")
if n_worse:
    print("Many a push of that length hurts: this is no proof that the removal has a use here.")
else:
    print("No random push of that length costs as much: the removal seems to be of use here.")

# %% [markdown]
# Without the control, the first line alone would have looked like a discovery. The geometry is
# real, but a purpose needs an experiment, and the experiment something to compare it to.

# %% [markdown]
# ## The experiment that tells direct from total
#
# Back to the question that 3.10 left open. A head's write reaches the logits in two ways: by
# itself, straight through the stream to `W_U` (the **direct effect**), or because later components
# read it and write something else (the **indirect** effect). Both together are the **total
# effect**, which ablation measures. To see the direct effect alone, we silence the head and *hold
# everything after it still*: later heads and MLPs write what they wrote before, whatever they would
# like to. `direct_path` makes these edits. Then we let the MLPs go, and last the heads.
# (Source: Wang et al. 2022, section 3.1, on path patching.)


# %%
def drop(edits: dict) -> float:
    return baseline - difference_of(run_with_edits(model, eight, edits)).mean().item()


def effects(head: str) -> list[float]:
    """The attribution; the drop when the stream alone carries the change; what the MLPs add to
    that; what later heads add; the whole drop."""
    direct = drop(direct_path(model, cache_8, head, 0, through_mlps=False))
    with_mlps = drop(direct_path(model, cache_8, head, 0))
    total = drop(replace_head(head, model.cfg, 0))
    return [averages[head], direct, with_mlps - direct, total - with_mlps, total]


# %% [markdown]
# Which heads? The one with most evidence, and the three that cost most when they are zeroed.

# %%
sweep = metric_by_head(model, eight, difference_of, 0)
total = -sweep.effects.flatten()
costly = [names[place] for place in total.topk(3).indices.tolist()]
shown = list(dict.fromkeys([top, *costly]))
by_path = torch.tensor([effects(head) for head in shown])
NumberTable(
    by_path,
    rows=shown,
    columns=["attribution", "direct", "+ MLPs", "+ later heads", "= total"],
    caption="drop (logits)",
    decimals=1,
)

# %%
assert torch.allclose(by_path[:, 1:4].sum(dim=1), by_path[:, 4], atol=1e-3)
indirect = by_path[:, 4].abs() - by_path[:, 1].abs()
hidden = shown[indirect.argmax()]
_, direct, by_mlps, by_heads, in_all = by_path[indirect.argmax()].tolist()
print(f"{hidden}: of {in_all:.1f} logits {direct:.1f} go straight to the unembedding,")
print(f"{by_mlps:.1f} go through MLPs and {by_heads:.1f} through later heads.")

# %% [markdown]
# Even the direct effect is not the attribution. In that run everything but the head wrote what it
# wrote before. So what else can have changed? Only one number: the final scale $s$, which is no
# longer the frozen one, and divides everybody's share. If that is all, then we can compute the
# direct effect from the attribution and the two scales. Can we?

# %%
held = direct_path(model, cache_8, top, 0, through_mlps=False)
held_logits, held_cache = run_with_cache(model, eight, edits=held)
scale_then = cache_8["ln_final.hook_scale"][:, -1, 0]
scale_now = held_cache["ln_final.hook_scale"][:, -1, 0]

wrote, bias_8 = heads_8[names.index(top)], directions @ ln_final.b
written_by_others = difference_of(logits_8) - bias_8 - wrote
expected = written_by_others * scale_then / scale_now + bias_8
assert torch.allclose(expected, difference_of(held_logits), atol=1e-2)
change = (scale_now / scale_then).mean().item() - 1
print(f"Yes. Without {top} the scale is {change:+.0%} on average, and that explains all of it.")

# %% tags=["nbval-ignore-output"]
plot_plane(
    evidence,
    total,
    names,
    f"{hidden} writes {averages[hidden]:.1f} logits itself, and {in_all:.1f} are lost without it",
    x_title="attribution: logits that it wrote",
    y_title="drop when zeroed: logits (total)",
    groups={"in the table": shown},
)

# %%
matter = total.abs() > 1
little = evidence.abs()[matter] < total.abs()[matter] / 3
print(f"{int(matter.sum())} heads move the answer by more than a logit when they are zeroed;")
print(f"{int(little.sum())} of them wrote less than a third of that themselves.")

# %% [markdown]
# So attribution finds who *speaks*. It does not find who told them what to say. For that one has to
# intervene, and chapters 5 and 6 do it head by head. Until then: where does the last position look
# in a head that costs much and says little? Look it up in the explorer below.

# %% [markdown]
# ## A sentence of your own
#
# Type a prompt, choose a head, a right answer and what it is told from: the explorer shows that
# head's attention, the logit lens and the attribution of each component, as you have built them
# here. Try a sentence with three names, or a capital.

# %% tags=["nbval-ignore-output"]
explore(loaded, plain_text, instead_of=" John")

# %% [markdown]
# ## What you found

# %%
print(f"{len(parts)} components, {len(names)} heads: their shares sum to the logits, exactly.")
print(f"Most evidence: {top}, {averages[top]:+.1f} logits; largest bias: {biased}.")
print(f"{len(turned)} of {len(loud)} heads look otherwise from a single prompt.")
print(f"{writers[late]} takes out {share:.0%} of what {writers[early]} wrote.")
print(f"Without {top} the answer falls by {dropped:.1f}, not by {predicted:.1f};")
print(f"the head that it needs most is {costly[0]}, which wrote {averages[costly[0]]:.1f} itself.")
progress(3)

# %% [markdown]
# **Explain it to a colleague.** Without looking back: Why is direct logit attribution exact
# although LayerNorm is not linear? Why do we ask for a difference of two logits, and on twin
# prompts? A colleague's number for the same head is not yours: which three conventions do you ask
# about first? And what would you do before you call a head with a large attribution important?
#
# **Read next.** Framework, "Virtual Weights and the Residual Stream as a Communication Channel" and
# "Handling Layer Normalization"; Wang et al. 2022, section 3. Then chapter 4, which reads the
# heads' weights themselves.
