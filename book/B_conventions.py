# %% [markdown]
# # Appendix B: Conventions
#
# Two people measure the same thing in the same model, and their numbers differ. Mostly nobody has
# made a mistake: one text began with a special token and the other did not, one library had
# rewritten the weights, one wrote matrices the other way round. This page takes one sentence, one
# head and one matrix, and measures each of them under each convention.
#
# **Use it** in two ways. Read it once after chapter 4, in 40 minutes. Come back when your number
# disagrees with somebody else's: then begin at
# [the five questions](#The-five-questions) near the end.
#
# | what differs | where |
# |---|---|
# | the text, and its first token | [The text](#The-text) |
# | nats, bits, sums, means | [One loss, five numbers](#One-loss,-five-numbers) |
# | raw, folded, centred weights; logits and log-probabilities | [The weights](#The-weights) |
# | what a head's share is a share of; `b_O`, `b_V` | [One head's share](#One-head's-share) |
# | TransformerLens with and without compatibility mode | [A silent error](#A-silent-error) |
# | which LayerNorm scale | [Whose scale?](#Whose-scale?) |
# | column vectors or right multiplication | [The order of matrices](#The-order-of-matrices) |
# | four copying scores of one head | [One copying score](#One-copying-score) |
# | layers, heads, positions from 0; 9.9 or L9H9 | [Counting](#Counting) |
# | zero, mean, another text; which way a patch goes | [Taken away](#Taken-away) |
# | one activation, four names | [Names](#Names) |

# %%
import math

import torch
from einops import rearrange
from torch import Tensor
from transformers import GPT2LMHeadModel

from circuitbook import attribution
from circuitbook.cache import run_with_cache, run_with_edits
from circuitbook.circuits import copying_scores, eigenvalue_scores, full_ov_eigenvalues
from circuitbook.interventions import Averaged, replace_head
from circuitbook.lens import open_bridge
from circuitbook.model import loss_per_token
from circuitbook.parts import Head
from circuitbook.plots import Table
from circuitbook.weights import fold_layer_norm, processed
from circuitbook.zoo import load

loaded = load()
model, tokenizer = loaded.model.requires_grad_(False), loaded.tokenizer
n_layers, last_layer = model.cfg.n_layers, model.cfg.n_layers - 1

# %% [markdown]
# The same file, in four hands: ours, Hugging Face's, TransformerLens' as it opens it, and
# TransformerLens' in **compatibility mode**, where it rewrites the weights. `centred` is our model
# with its weights rewritten in the same way. (With GPT-2 small all of them take about 4 GB.)

# %%
bridge, compatible = open_bridge(loaded.folder), open_bridge(loaded.folder)
compatible.enable_compatibility_mode(disable_warnings=True)
huggingface = GPT2LMHeadModel.from_pretrained(loaded.folder, attn_implementation="eager")
for theirs in (bridge, compatible, huggingface):
    theirs.requires_grad_(False)
folded, centred = (
    rewritten(model).requires_grad_(False) for rewritten in (fold_layer_norm, processed)
)

sentence = "When Mary and John went to the store, John gave a drink to"
mary, john = (attribution.single_token(tokenizer, name) for name in (" Mary", " John"))


def tokens_of(text: str) -> Tensor:
    return torch.tensor([tokenizer.encode(text)])


tokens = tokens_of("<|endoftext|>" + sentence)
print(f"{loaded.name}: {sum(weights.numel() for weights in model.parameters()):,} parameters")

# %% [markdown]
# Each section adds its rows to one table: a quantity, a convention, the number under it, and what
# you must want for it to be the right one. The whole table stands at the end.


# %%
def table_of(rows) -> Table:
    titles = ("quantity", "convention", "number", "right when you want")
    numbers = [(quantity, how, float(number), when) for quantity, how, number, when in rows]
    return Table(dict(zip(titles, zip(*numbers, strict=True), strict=True)))


whole_table = []


def measured(*rows: tuple[str, str, object, str]) -> Table:
    whole_table.extend(rows)
    return table_of(rows)


# %% [markdown]
# ## The text
#
# In training, `<|endoftext|>` stood between one text and the next. TransformerLens puts it before a
# text unless told not to, Hugging Face's tokenizer for GPT-2 does not, and this book writes it into
# the text, so that you can see it. If it stands there already, TransformerLens adds a second one.
# How much does one token far from the answer matter?


# %%
def chance_of_mary(logits: Tensor) -> Tensor:
    return logits[0, -1].softmax(dim=-1)[mary]


texts = {
    "as it is (Hugging Face)": tokens_of(sentence),
    "<|endoftext|> first (TransformerLens, ours)": bridge.to_tokens(sentence),
    "twice (TransformerLens, given one)": bridge.to_tokens("<|endoftext|>" + sentence),
}
when = ("to repeat Hugging Face", "a text that begins, as in training: ours", "nothing: a mistake")
chances = [chance_of_mary(model(text)) for text in texts.values()]
measured(
    *[("probability of Mary", *row) for row in zip(texts, chances, when, strict=True)],
)

# %%
plain, with_begin, _ = texts.values()
assert with_begin.tolist() == tokens.tolist()
assert torch.allclose(huggingface(plain).logits, model(plain), atol=1e-2)
assert torch.allclose(bridge(sentence), model(tokens), atol=1e-2)
print(f"One token at the beginning moves Mary by {max(chances) - min(chances):.3f}.")
print("On the same tokens all of them give the same logits. What differs is the tokens:")
print(" | ".join(tokenizer.pieces(plain[0].tolist())[:4]), "...", plain.shape[1], "tokens")
print(" | ".join(tokenizer.pieces(tokens[0].tolist())[:4]), "...", tokens.shape[1], "tokens")

# %% [markdown]
# Two more traps of this kind. " Mary" and "Mary" are two tokens: an answer needs its leading space.
# And a batch of texts of unequal lengths is padded: on the left, every position moves, and without
# an attention mask the padding is read. This book takes texts of one length.
#
# **This book:** `<|endoftext|>` first, written out, from chapter 1 on.

# %% [markdown]
# ## One loss, five numbers
#
# The loss of a text is the mean surprise of its tokens, each given those before it. In which unit?
# The mean over which tokens? Hugging Face gives the mean in nats, and without `<|endoftext|>` the
# first word is not predicted at all.

# %%
full = tokens_of("<|endoftext|>" + sentence + " Mary.")
losses = loss_per_token(model(full), full)[0]
short = full[:, 1:]
measured(
    ("loss", "nats a token", losses.mean(), "the usual: ours"),
    ("loss", "bits a token", losses.mean() / math.log(2), "to speak of compression"),
    ("loss", "perplexity", losses.mean().exp(), "to compare with papers that give it"),
    ("loss", "nats, whole text", losses.sum(), "to compare two tokenizers"),
    (
        "loss",
        "nats a token, no <|endoftext|>",
        huggingface(short, labels=short).loss,
        "to repeat Hugging Face",
    ),
)

# %%
ours_on_theirs = loss_per_token(model(short), short)
assert torch.allclose(ours_on_theirs.mean(), huggingface(short, labels=short).loss, atol=1e-3)
assert torch.allclose(losses.mean(), bridge(full, return_type="loss"), atol=1e-3)
print(f"with <|endoftext|> {losses.numel()} tokens are predicted, without {ours_on_theirs.numel()}")
print(f"the first word alone costs {losses[0]:.1f} nats: nothing yet says what the text is about")

# %% [markdown]
# **This book:** nats a token, with `<|endoftext|>`, from
# [0.4](00_start_here.ipynb#Exercise-0.4:-the-loss-of-a-language-model) on. A nat is a factor of
# $e$, a bit a factor of 2, so nats = bits · ln 2. A perplexity is $e$ to the loss in nats: of the
# mean, never the mean of each token's.

# %% [markdown]
# ## The weights
#
# Three ways to write the same function. *Raw*: as in the file. *Folded*: each LayerNorm's $w$ and
# $b$ belong to what reads after it. *Centred*: folded, and nobody writes a mean into the stream,
# `W_U` has mean 0 over the vocabulary, and `b_V` has joined `b_O`. Chapter 3 (3.9) does it by hand.
# Which of these numbers know the difference?

# %%
in_all = {"raw": model, "folded": folded, "centred": centred}
final = {how: weights(tokens)[0, -1] for how, weights in in_all.items()}


def against_john(logits: Tensor) -> Tensor:
    return logits[mary] - logits[john]


measured(
    ("logit of Mary", "raw", final["raw"][mary], "to repeat Hugging Face"),
    ("logit of Mary", "folded", final["folded"][mary], "the same as raw"),
    (
        "logit of Mary",
        "centred",
        final["centred"][mary],
        "Mary above the mean token",
    ),
    ("Mary minus John", "raw", against_john(final["raw"]), "always: all three agree"),
    ("Mary minus John", "centred", against_john(final["centred"]), "always: all three agree"),
    (
        "log-probability of Mary",
        "raw",
        final["raw"].log_softmax(-1)[mary],
        "always: all three agree",
    ),
    (
        "log-probability of Mary",
        "centred",
        final["centred"].log_softmax(-1)[mary],
        "always: all three agree",
    ),
)

# %% [markdown]
# Centring `W_U` takes the same number from all logits of a position. A softmax does not see it, and
# a difference does not see it. A single logit does: so which number was taken?

# %%
taken = final["raw"] - final["centred"]
assert torch.allclose(taken, final["raw"].mean(), atol=1e-2)
assert torch.allclose(final["raw"], final["folded"], atol=1e-2)
assert torch.allclose(final["raw"].softmax(-1), final["centred"].softmax(-1), atol=1e-4)
print(f"Centring takes {final['raw'].mean():.2f} from every logit, the mean of the raw ones.")
print("Folding takes nothing. No probability changes.")

# %% [markdown]
# A log-probability is a logit minus one more number, $\ln \sum_j e^{x_j}$. That number depends on
# every token's logit, so a log-probability is *not* a sum over components. A logit is, once the
# LayerNorm's scale is given.
#
# **This book:** raw weights up to chapter 3, which [shows all
# three](03_direct_logit_attribution.ipynb#Raw,-folded,-centred); centred ones (`processed`) from
# chapter 4 on, wherever weights are read, because what a matrix does with a mean that nobody reads
# should not count. The published figures of GPT-2 small are TransformerLens' with centred weights.

# %% [markdown]
# ## One head's share
#
# Direct logit attribution asks how far one head pushed the answer. Towards Mary alone, or Mary
# against John? On raw weights, or centred ones? Not on any head: we take the one with the largest
# share over four prompts like ours, each with its twin, in which the other name is right.

# %%
templates = [
    ("When{0} and{1} went to the store,{2} gave a drink to", " Mary", " John"),
    ("When{0} and{1} went to the park,{2} gave a ball to", " Tom", " James"),
    ("After{0} and{1} went to the school,{2} handed a book to", " Anna", " Paul"),
    ("After{0} and{1} went to the office,{2} handed a letter to", " Peter", " Sarah"),
]
prompts, right, wrong = [], [], []
for template, first, second in templates:
    for gets, gives in ((first, second), (second, first)):
        prompts.append(tokenizer.encode("<|endoftext|>" + template.format(first, second, gives)))
        right.append(attribution.single_token(tokenizer, gets))
        wrong.append(attribution.single_token(tokenizer, gives))
clean, right_ids, wrong_ids = (torch.tensor(each) for each in (prompts, right, wrong))

# %%
caches = {how: run_with_cache(weights, tokens)[1] for how, weights in in_all.items()}
_, on_clean = run_with_cache(centred, clean)
shares = attribution.head_attribution(on_clean, centred, right_ids, wrong_ids).mean().heads
top = Head(*divmod(shares.argmax().item(), model.cfg.n_heads))
print(f"{top}: the largest share, {shares.max():.1f} logits, over {len(clean)} prompts")


# %%
def share(how: str, wrong: int | None) -> Tensor:
    part = attribution.head_attribution(caches[how], in_all[how], mary, wrong)
    return part.heads[top.layer, top.index, 0]


of_top = f"share of {top}"
measured(
    (of_top, "Mary, raw", share("raw", None), "nothing: the mean of all logits is in it"),
    (of_top, "Mary, centred", share("centred", None), "Mary against the mean token"),
    (of_top, "Mary minus John, raw", share("raw", john), "its b_V's part included"),
    (of_top, "Mary minus John, centred", share("centred", john), "the head alone, on this prompt"),
    (of_top, f"the same, mean of {len(clean)} prompts", shares.max(), "evidence, no bias: ours"),
)

# %% [markdown]
# The last two differ by no weights, only by the prompts: on one, what the head adds for the right
# name cannot be told from what it adds for this name.
#
# What was nobody's? A layer's attention is the sum of its heads **plus `b_O`**, an MLP's write is
# its neurons' **plus `b_out`**, and the logits get what LayerNorm's $b$ adds. Leave one out, and
# the sum is off. And on raw weights a head's `b_V` counts as the head's, though it says the same
# wherever the head looks: the rows of a pattern sum to 1. Centred weights give it to `b_O`.

# %%
for how in ("raw", "centred"):
    attn = in_all[how].blocks[top.layer].attn
    z = caches[how]["z", top.layer][0]
    heads = torch.einsum("phd,hdm->pm", z, attn.W_O)
    layer = caches[how]["attn_out", top.layer][0]
    assert torch.allclose(heads + attn.b_O, layer, atol=1e-3)
    off = ((heads - layer).norm() / layer.norm()).item()
    print(f"{how}: the heads alone miss the layer's write by {off:.0%} of it;", end=" ")
    print(f"b_V is {'zero' if not attn.b_V.any() else 'not zero'}")

# %% [markdown]
# **This book:** the difference of two logits, with `b_O` and the rest of the biases in a row of
# their own, so that the column sums to what the model said
# ([3.4](03_direct_logit_attribution.ipynb#Exercise-3.4:-attribution-per-layer)), averaged over
# twins ([3.8](03_direct_logit_attribution.ipynb#Exercise-3.8:-evidence-and-bias)).

# %% [markdown]
# ## A silent error
#
# TransformerLens can attribute, too: `decompose_resid` gives the parts, `logit_attrs` what each
# adds. It takes for granted that the weights are folded. A bridge opens them raw. So here is the
# same code on both. What should the parts sum to?


# %%
def parts_by_transformerlens(lens) -> Tensor:
    """What TransformerLens says that each part adds to Mary minus John."""
    _, cache = lens.run_with_cache(tokens)
    parts = cache.decompose_resid(layer=-1, mode="all")[:, :, -1]
    return cache.logit_attrs(parts, tokens=mary, incorrect_tokens=john, pos_slice=-1).flatten()


by_raw, by_mode = parts_by_transformerlens(bridge), parts_by_transformerlens(compatible)
constant = compatible.b_U[mary] - compatible.b_U[john]  # what LayerNorm's b adds, once folded
ours_on_raw = attribution.logit_attribution(bridge.run_with_cache(tokens)[1], bridge, mary, john)
truth = against_john(final["raw"])
measured(
    ("sum of all parts", "TransformerLens, raw", by_raw.sum(), "nothing: no error, but wrong"),
    ("sum of all parts", "compatibility mode", by_mode.sum(), "to go on: b_U is missing"),
    ("sum of all parts", "the same, and b_U", by_mode.sum() + constant, "TransformerLens' shares"),
    ("sum of all parts", "our attribution, raw bridge", ours_on_raw.total, "our shares"),
    ("sum of all parts", "what the model says", truth, "to check: this is the truth"),
)

# %%
off = (by_raw - ours_on_raw.logits[:, 0]).abs()
assert torch.allclose(by_mode, ours_on_raw.logits[:, 0], atol=1e-2) and off.max() > 0.01
assert torch.allclose(by_mode.sum() + constant, truth, atol=1e-2)
worst = ours_on_raw.components[off.argmax()]
print(f"In compatibility mode each part is what ours says. Raw, {worst} is off by {off.max():.1f},")
print(f"the sum is {by_raw.sum():.1f} where the model says {truth:.1f}, and nothing is raised.")

# %% [markdown]
# Without the mode, `logit_attrs` divides by the scale and multiplies by `W_U`, but $w$ of the
# LayerNorm, which stands between the two, is nowhere. Nothing is wrong with the library: the recipe
# assumes what `HookedTransformer` did by default and a bridge does when asked. *Always sum the
# parts.* A second trap of the same function: `pos_slice` slices the scale alone, so slice the stack
# yourself, as above.
#
# **This book:** our `attribution` works on raw and on processed weights, ours or a bridge's, with
# $w$ and $b$ taken along, and refuses a cache of other weights.

# %% [markdown]
# ## Whose scale?
#
# The final LayerNorm divides by the size of what it reads. The logit lens reads an earlier stream.
# Divide by that stream's *own* size, or by the *final* one? At the stage where it matters most:

# %%
own, at_end = (
    attribution.logit_lens(caches["raw"], model, mary, john, scale=scale)
    for scale in ("own", "final")
)
stage = (own.logits - at_end.logits)[:, 0].abs().argmax().item()
what = f"lens, {own.streams[stage]}"
measured(
    (what, "its own scale", own.logits[stage, 0], "the answer, had it stopped there"),
    (what, "the final scale, frozen", at_end.logits[stage, 0], "steps that are layers' shares"),
    ("lens, at the end", "its own scale", own.logits[-1, 0], "the model's own output"),
    ("lens, at the end", "the final scale, frozen", at_end.logits[-1, 0], "the model's own output"),
)

# %%
by_layer = attribution.logit_attribution(caches["raw"], model, mary, john).logits[:, 0]
assert torch.allclose(at_end.logits[:, 0].diff(), by_layer[2:], atol=1e-3)
assert not torch.allclose(own.logits[:, 0].diff(), by_layer[2:], atol=1e-2)
print("Final scale: the steps of the lens are the shares of the components. Own scale: not so.")

# %% [markdown]
# In an attribution there is no such choice: all parts are divided by the scale of their sum
# (chapter 3), or they no longer sum to it.
#
# **This book:** [2.8](02_explore_activations.ipynb#Exercise-2.8:-the-logit-lens) has the final
# scale; the library's lens takes each stream's own unless
# told otherwise, and says so. The published lens of GPT-2 small has the final scale.

# %% [markdown]
# ## The order of matrices
#
# The Framework writes vectors as columns and matrices to their left: $W_{OV} = W_O W_V$ and
# $W_{QK} = W_Q^\top W_K$. Our vectors are rows, with matrices to their right, as in most code:
# `W_OV = W_V @ W_O`, `W_QK = W_Q @ W_K.mT`. Each weight of the paper is ours transposed. So what
# are its two products?

# %%
attn = model.blocks[top.layer].attn
W_Q, W_K, W_V, W_O = (getattr(attn, f"W_{letter}")[top.index] for letter in "QKVO")
papers = {"W_Q": W_Q.mT, "W_K": W_K.mT, "W_V": W_V.mT, "W_O": W_O.mT}  # for column vectors
x = caches["raw"]["resid_pre", top.layer][0, -1]

ours_moved = x @ (W_V @ W_O)
papers_moved = papers["W_O"] @ papers["W_V"] @ x
assert torch.allclose(ours_moved, papers_moved, atol=1e-3)
assert torch.allclose(papers["W_Q"].mT @ papers["W_K"], W_Q @ W_K.mT, atol=1e-3)
assert torch.allclose(papers["W_O"] @ papers["W_V"], (W_V @ W_O).mT, atol=1e-3)
print("x @ W_V @ W_O (ours) and W_O W_V x (the paper's) are the same vector.")
print("W_QK: the paper's and ours are one matrix. W_OV: one is the other's transpose.")

# %% [markdown]
# What does a mix-up cost? Eigenvalues and singular values stay: a matrix and its transpose share
# them. But what a head *reads* becomes what it writes. And `W_O @ W_V` with our shapes is a matrix
# of another size, which runs without an error and has the same eigenvalues: chapter 4 uses that.

# %%
W_OV, mixed = W_V @ W_O, W_O @ W_V
norms = [torch.linalg.matrix_norm(W).item() for W in (W_OV, W_OV.mT, mixed)]
traces = [W.trace().item() for W in (W_OV, W_OV.mT, mixed)]
assert torch.allclose(torch.tensor(traces), torch.tensor(traces[0]), atol=1e-3)
Table(
    {
        "W_OV as": ["W_V @ W_O", "its transpose", "W_O @ W_V, a mix-up"],
        "shape": [str(list(W.shape)) for W in (W_OV, W_OV.mT, mixed)],
        "sum of eigenvalues": traces,
        "Frobenius norm": norms,
    }
)

# %% [markdown]
# And the same weights lie in files in different ways. Three tensors, as three libraries hold them:

# %%
theirs = dict(huggingface.named_parameters())
layer = f"transformer.h.{top.layer}"
rows = {
    "queries of a layer": (
        attn.W_Q,
        bridge.blocks[top.layer].attn.W_Q,
        f"{layer}.attn.c_attn.weight",
    ),
    "MLP in": (
        model.blocks[top.layer].mlp.W_in,
        bridge.blocks[top.layer].mlp.W_in,
        f"{layer}.mlp.c_fc.weight",
    ),
    "unembedding": (model.W_U, bridge.W_U, "transformer.wte.weight"),
}
Table(
    {
        "weights": list(rows),
        "ours": [str(list(ours.shape)) for ours, _, _ in rows.values()],
        "TransformerLens": [str(list(bridges.shape)) for _, bridges, _ in rows.values()],
        "Hugging Face": [str(list(theirs[name].shape)) for _, _, name in rows.values()],
        "its name there": [name for _, _, name in rows.values()],
    }
)

# %% [markdown]
# Hugging Face keeps queries, keys and values side by side in one matrix, and all heads side by side
# in each (exercise 1.15); its `Conv1D` multiplies on the right, as we do, while `nn.Linear` holds
# the transpose. GPT-2's `W_U` is `W_E` transposed, so its file has no other.
#
# **This book:** right multiplication
# ([4.1](04_qk_and_ov_circuits.ipynb#Exercise-4.1:-W_QK-and-W_OV,-and-their-ranks)). For the
# Framework's $W_O W_V$ it has `W_V @ W_O`; appendix A has
# [both notations](A_reading_guide.ipynb#Two-notations) side by side.

# %% [markdown]
# ## One copying score
#
# $\sum \mathrm{Re} \, \lambda / \sum |\lambda|$ over the eigenvalues of ... which matrix? From
# stream to stream ($W_{OV}$) or from token to token ($W_E W_{OV} W_U$)? And of which weights?


# %%
def stream_scores(weights) -> Tensor:
    return copying_scores(weights.W_V, weights.W_O).double()


def token_scores(weights) -> Tensor:
    unembed_embed = weights.W_U.double() @ weights.W_E.double()
    small = weights.W_O.double() @ unembed_embed @ weights.W_V.double()  # d_head by d_head
    return eigenvalue_scores(torch.linalg.eigvals(small))


scores = torch.stack(
    [stream_scores(model), stream_scores(centred), token_scores(model), token_scores(centred)]
)
spread = scores.amax(dim=0) - scores.amin(dim=0)
unsure = Head(*divmod(spread.argmax().item(), model.cfg.n_heads))
four = scores[:, unsure.layer, unsure.index]
of_unsure = f"copying score of {unsure}"
measured(
    (of_unsure, "W_OV, raw", four[0], "nothing: ln1's w is missing"),
    (of_unsure, "W_OV, centred", four[1], "stream to stream"),
    (of_unsure, "W_E W_OV W_U, raw", four[2], "a model without LayerNorm"),
    (of_unsure, "W_E W_OV W_U, centred", four[3], "token to token: ours"),
)

# %%
assert torch.allclose(scores[3], eigenvalue_scores(full_ov_eigenvalues(centred)), atol=1e-3)
signs = (scores > 0).sum(dim=0)
turned = ((signs > 0) & (signs < len(scores))).sum().item()
print(f"{unsure} is the head on which the four differ most.")
print(f"For {turned} of {spread.numel()} heads the convention even decides the sign.")

# %% [markdown]
# **This book:** token to token on centred weights
# ([4.6](04_qk_and_ov_circuits.ipynb#Exercise-4.6:-the-copying-score)); 4.9 compares with the
# published scores of all heads of GPT-2 small. In none of the four is there an MLP, which rewrites
# the embedding before a later head reads it:
# [where the score misleads](04_qk_and_ov_circuits.ipynb#Where-the-score-misleads).

# %% [markdown]
# ## Counting
#
# Layers, heads and positions count from 0, here and in all the libraries. Head 9.9 of the papers is
# L9H9 here: `blocks.9.attn`, index 9 of the axis `head`. Whether the indices mean the same head
# elsewhere can be looked up: Hugging Face returns its patterns.

# %%
out = huggingface(tokens, output_attentions=True, output_hidden_states=True)
pattern = caches["raw"]["pattern", top.layer][0, top.index]
assert torch.allclose(out.attentions[top.layer][0, top.index], pattern, atol=1e-4)
print(f"Hugging Face: attentions[{top.layer}][0, {top.index}] is the pattern of {top}.")
print(f"On paper: {top.layer}.{top.index}. Rows read (queries), columns are read (keys).")

# %% [markdown]
# Its `hidden_states` has one entry more than there are layers. Entry 0 is the stream before layer
# 0, entry 1 the stream after it, and so on. And the last?

# %%
for layer in range(n_layers):
    assert torch.allclose(out.hidden_states[layer], caches["raw"]["resid_pre", layer], atol=1e-2)
end = caches["raw"]["resid_post", last_layer]
assert not torch.allclose(out.hidden_states[-1], end, atol=1e-2)
normed = caches["raw"]["ln_final.hook_normalized"] * model.ln_final.w + model.ln_final.b
assert torch.allclose(out.hidden_states[-1], normed, atol=1e-2)
print(f"hidden_states[0] to [{last_layer}] are the stream that each layer reads (resid_pre);")
print(f"hidden_states[{n_layers}] is not the stream after layer {last_layer}: it has been through")
print("the final LayerNorm, w and b included. A lens that normalises it again is off by that.")

# %% [markdown]
# Positions count from 0 as well, and `<|endoftext|>` *has* position 0. So "position 2" is another
# word with it than without it. To be safe, name the word.

# %%
for text in (tokens, plain):
    print(f"position 2 is {tokenizer.pieces(text[0].tolist())[2]!r};", end=" ")
    print(f"the last, -1, is {text.shape[1] - 1}")

# %% [markdown]
# **This book:** from 0, L9H9, rows read and columns are read.

# %% [markdown]
# ## Taken away
#
# "Without the head" has several meanings. Its output can become 0, or its mean over other texts, or
# what it wrote on another text. We use the eight prompts; a clean prompt's corrupted one is its
# twin.

# %%
texts_in_batch = torch.arange(len(clean))
corrupted = clean[texts_in_batch ^ 1]  # 0 and 1 are twins, 2 and 3, ...


def difference(logits: Tensor) -> Tensor:
    """The clean prompt's right name minus its wrong one, in logits."""
    return logits[texts_in_batch, -1, right_ids] - logits[texts_in_batch, -1, wrong_ids]


logits_clean, on_clean = run_with_cache(model, clean)
logits_corrupted, on_corrupted = run_with_cache(model, corrupted)
of_clean = difference(logits_clean).mean().item()
of_corrupted = difference(logits_corrupted).mean().item()
print(f"clean {of_clean:.1f}, corrupted {of_corrupted:.1f} logits")

# %%
by = {
    "by 0": (0, "to see whether it is used at all"),
    "by its mean, all positions": (Averaged(on_clean), "what it says beyond its average"),
    "by its mean, each position": (Averaged(on_clean, True), "the same, place by place"),
    "by the twin's": (on_corrupted, "what it says of who is who"),
}


def replaced(text: Tensor, value: object) -> float:
    """The difference, averaged over the prompts, with what the head brings replaced by a value."""
    edits = replace_head(top, model.cfg, value)
    return difference(run_with_edits(model, text, edits)).mean().item()


effects = {how: replaced(clean, value) - of_clean for how, (value, _) in by.items()}
measured(*[(f"{top} replaced, effect", how, effects[how], by[how][1]) for how in by])

# %% [markdown]
# Zero is not nothing: a stream without the head's usual output may be one that no later layer ever
# saw. The mean takes away what depends on the text and leaves the rest. The twin takes away only
# what differs between the twins: who is who.
#
# And a patch has a direction. *Noising*: put the corrupted activation into the clean run. Is the
# head needed? *Denoising*: put the clean one into the corrupted run. Is it enough? As shares of the
# way from one to the other:

# %%
way = of_clean - of_corrupted
lost = (of_clean - replaced(clean, on_corrupted)) / way
restored = (replaced(corrupted, on_clean) - of_corrupted) / way
measured(
    (f"patch of {top}", "noising: share lost", lost, "is it needed?"),
    (f"patch of {top}", "denoising: share restored", restored, "is it enough?"),
)

# %% [markdown]
# With twins the two are alike by construction: each prompt is clean once and corrupted once. With a
# corrupted prompt of another kind they need not be: where two heads do the same, each is enough,
# and neither is needed. So here is another kind: a stranger gives, the same one in both twins, so
# that nothing says who is right and the differences cancel.

# %%
assert abs(lost - restored) < 1e-3 and abs(of_clean + of_corrupted) < 1e-3
strangers = clean.clone()
for row, gives in enumerate(wrong):
    second_mention = (clean[row] == gives).nonzero()[-1]
    strangers[row, second_mention] = right[row - row % 2 - 2]  # a name of the pair before
print(tokenizer.decode(strangers[0].tolist()).removeprefix("<|endoftext|>"))
logits_strangers, on_strangers = run_with_cache(model, strangers)
assert difference(logits_strangers).mean().abs() < 1e-3
lost = 1 - replaced(clean, on_strangers) / of_clean
restored = replaced(strangers, on_clean) / of_clean
print(f"Into clean: {lost:.2f} lost. Into this: {restored:.2f} restored.")

# %% [markdown]
# **This book:** both ablations in
# [2.9](02_explore_activations.ipynb#Exercise-2.9:-a-hook-that-ablates-a-head), patching
# [both ways](07_what_comes_next.ipynb#Two-questions-that-sound-alike) in chapter 7. A sentence that
# reports one says what was replaced, by what, in which run, and against which two ends a share is
# measured.

# %% [markdown]
# ## Names
#
# One activation, four names: ours, which are TransformerLens' older ones and stand in nearly all
# papers; TransformerLens' newer ones, which follow the bridge's modules; and for Hugging Face the
# module at whose input or output it passes. A hook on every module of Hugging Face's model keeps
# what went in and what came out.

# %%
seen = {}


def keep(name: str):
    def hook(module, inputs, output):
        seen[f"{name}: output"] = output[0] if isinstance(output, tuple) else output
        if inputs:
            seen[f"{name}: input"] = inputs[0]

    return hook


handles = [part.register_forward_hook(keep(name)) for name, part in huggingface.named_modules()]
patterns = huggingface(tokens, output_attentions=True).attentions
for handle in handles:
    handle.remove()

# %%
LAYER = 1
h = f"transformer.h.{LAYER}"
PLACES = {
    "hook_embed": "transformer.wte: output",
    "hook_pos_embed": "transformer.wpe: output",
    f"blocks.{LAYER}.hook_resid_pre": f"{h}.ln_1: input",
    f"blocks.{LAYER}.attn.hook_q": f"{h}.attn.c_attn: output",
    f"blocks.{LAYER}.attn.hook_k": f"{h}.attn.c_attn: output",
    f"blocks.{LAYER}.attn.hook_v": f"{h}.attn.c_attn: output",
    f"blocks.{LAYER}.attn.hook_z": f"{h}.attn.c_proj: input",
    f"blocks.{LAYER}.hook_attn_out": f"{h}.attn.c_proj: output",
    f"blocks.{LAYER}.hook_resid_mid": f"{h}.ln_2: input",
    f"blocks.{LAYER}.mlp.hook_pre": f"{h}.mlp.c_fc: output",
    f"blocks.{LAYER}.mlp.hook_post": f"{h}.mlp.c_proj: input",
    f"blocks.{LAYER}.hook_mlp_out": f"{h}.mlp.c_proj: output",
    f"blocks.{LAYER}.hook_resid_post": f"{h}: output",
}


def as_theirs(name: str, activation: Tensor) -> Tensor:
    """Our activation with its heads side by side, as Hugging Face keeps them."""
    return rearrange(activation, "b p h d -> b p (h d)") if activation.ndim == 4 else activation


# %%
_, bridge_cache = bridge.run_with_cache(tokens)
d_model = model.cfg.d_model
for name, place in PLACES.items():
    ours = as_theirs(name, caches["raw"][name])
    assert torch.allclose(ours, as_theirs(name, bridge_cache[name]), atol=1e-2)
    found = seen[place]
    if "c_attn" in place:  # queries, keys and values side by side
        found = found.split(d_model, dim=-1)["qkv".index(name[-1])]
    assert torch.allclose(ours, found.expand_as(ours), atol=1e-2), name
assert torch.allclose(patterns[LAYER], caches["raw"]["pattern", LAYER], atol=1e-4)
print(f"{len(PLACES) + 1} activations are the same numbers in all three libraries.")

# %%
nowhere = {
    f"blocks.{LAYER}.ln1.hook_scale": "-",
    f"blocks.{LAYER}.ln1.hook_normalized": f"- ({h}.ln_1: output is n · w + b)",
    f"blocks.{LAYER}.attn.hook_attn_scores": "-",
    f"blocks.{LAYER}.attn.hook_pattern": f"attentions[{LAYER}]",
    f"blocks.{LAYER}.ln2.hook_scale": "-",
    f"blocks.{LAYER}.ln2.hook_normalized": f"- ({h}.ln_2: output is n · w + b)",
    "ln_final.hook_scale": "-",
    "ln_final.hook_normalized": "- (transformer.ln_f: output is n · w + b)",
}
places = PLACES | nowhere
names = [name for name in caches["raw"] if name in places]  # in the model's order
assert set(names) == set(places)
Table(
    {
        "ours and TransformerLens'": names,
        "TransformerLens, newer": [bridge.hook_dict[name].name for name in names],
        "Hugging Face": [places[name] for name in names],
    }
)

# %%
norm = model.blocks[LAYER].ln1
n = caches["raw"][f"blocks.{LAYER}.ln1.hook_normalized"]
assert torch.allclose(n * norm.w + norm.b, seen[f"{h}.ln_1: output"], atol=1e-2)
newer = {name: bridge.hook_dict[name].name for name in names}
assert all(torch.equal(bridge_cache[old], bridge_cache[new]) for old, new in newer.items())
hidden = {
    name: cache["attn_scores", 0][0, 0, 0, 1].item()
    for name, cache in (("ours", caches["raw"]), ("TransformerLens", bridge_cache))
}
print("A masked score is", ", ".join(f"{value:.1e} ({name})" for name, value in hidden.items()))

# %% [markdown]
# **This book:** the older names, in our cache and in theirs. Inside a hook, TransformerLens' says
# its newer name. [Appendix C](C_glossary.ipynb#The-hook-map) has the map, with each activation's
# shape and meaning.

# %% [markdown]
# ## The five questions
#
# Your number disagrees with somebody else's. Ask in this order, and stop at the first "no": what
# comes later cannot agree before what comes earlier does.
#
# 1. **The same text, token for token?** Compare token *ids*, not strings: `<|endoftext|>`, leading
#    spaces, padding.
# 2. **The same weights?** The same checkpoint, raw, folded or centred, in which precision? Compare
#    the logits of one position.
# 3. **The same quantity, in the same unit?** Logit, difference, probability, log-probability; nats
#    or bits; sum or mean, and over what?
# 4. **The same linearisation, the same intervention?** Whose scale, replaced by what, in which run,
#    as a share of what?
# 5. **The same place?** Layer, head and position from 0; rows and columns; a matrix or its
#    transpose; before a LayerNorm or after it.
#
# The first two can be settled in one step: take the logits of one position from both sides.


# %%
def compare_logits(ours: Tensor, theirs: Tensor) -> str:
    """What two vectors of logits [d_vocab] say about text and weights."""
    gap = ours - theirs
    if gap.abs().max() < 1e-2:
        return "the same text and the same weights"
    if gap.std() < 1e-2:
        return f"the same, but for a constant {gap.mean():.2f}: one W_U is centred"
    return f"another text or other weights; they differ by up to {gap.abs().max():.1f}"


for name, logits in {
    "Hugging Face, our tokens": huggingface(tokens).logits,
    "TransformerLens, as opened": bridge(sentence),
    "TransformerLens, compatibility mode": compatible(sentence),
    "Hugging Face, its own tokens": huggingface(plain).logits,
}.items():
    print(f"{name}: {compare_logits(final['raw'], logits[0, -1])}")

# %% [markdown]
# ## A case
#
# A colleague writes: "On that sentence, the head you speak of adds this much to Mary. You said it
# was something else. Who is wrong?" No more than the number is known. We measure the same head
# under every combination of three conventions and look which of them gives it.

# %%
inputs = {"<|endoftext|>": tokens, "none": plain}
against = {"Mary alone": None, "Mary minus John": john}
found = []
for begins, text in inputs.items():
    for how in ("raw", "centred"):
        _, cache = run_with_cache(in_all[how], text)
        for answer, other in against.items():
            part = attribution.head_attribution(cache, in_all[how], mary, other)
            found.append((begins, how, answer, part.heads[top.layer, top.index, 0].item()))
titles = ("text begins with", "weights", "share of", f"{top}, logits")
Table(dict(zip(titles, zip(*found, strict=True), strict=True)))

# %%
theirs = round(found[6][-1], 2)  # the colleague's number: put another one here
print(f"The colleague's number: {theirs:.2f}. Within 0.01 of it:")
for *conventions, number in found:
    if abs(number - theirs) <= 0.01:
        print(f"  {number:.2f}:", ", ".join(conventions))

# %% [markdown]
# A match is a guess until the colleague confirms it: with eight numbers to choose from, one may fit
# by chance. Ask for a second number.

# %% [markdown]
# ## The whole table

# %%
table_of(whole_table)
