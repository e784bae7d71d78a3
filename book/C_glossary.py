# %% [markdown]
# # Appendix C: Glossary and hook map
#
# Every word that this book defines, and those that you will meet in papers: what it means in one
# sentence, its letter, the hook point where you find it in a running model, its shape, and the
# section that shows it. Run all cells (menu *Run*, *Run All Cells*; it takes seconds), then search
# the page (Ctrl-F) or [the index](#Index) at its end. The links lead to the chapters.
#
# - One word: [look it up](#Look-a-word-up), or go through [the index](#Index).
# - The words of one subject: [text and model](#Text-and-model),
#   [residual stream](#Residual-stream), [attention](#Attention), [MLP](#MLP),
#   [circuits](#Circuits), [composition](#Composition), [training](#Training),
#   [methods](#Methods), [linear algebra](#Linear-algebra),
#   [information theory](#Information-theory), [what comes next](#What-comes-next).
# - An activation: [the hook map](#The-hook-map).
# - A weight: [the letters](#The-letters); what the Framework writes for them is in
#   [appendix A](A_reading_guide.ipynb#Two-notations).

# %%
import torch

from circuitbook.cache import run_with_cache
from circuitbook.circuits import Factored, full_ov_circuit, full_qk_circuit, ov_circuit, qk_circuit
from circuitbook.glossary import TermIndex, TermTable, glossary, subjects, terms
from circuitbook.lens import open_bridge
from circuitbook.plots import HookMap, Table
from circuitbook.weights import processed
from circuitbook.zoo import load

print(f"{len(terms())} terms of {len(subjects())} subjects")

# %% [markdown]
# ## Look a word up
#
# `from circuitbook.glossary import glossary` works in every chapter. It takes a word, a letter of
# the code, or the name of an activation in any layer.

# %%
glossary("OV circuit")

# %%
glossary("W_pos")

# %%
glossary("blocks.3.attn.hook_z")

# %% [markdown]
# A word that it does not know is told what is near.

# %%
for word in ("atention weights", "sink"):
    try:
        glossary(word)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Text and model

# %%
TermTable("text and model")

# %% [markdown]
# ## Residual stream

# %%
TermTable("residual stream")

# %% [markdown]
# ## Attention

# %%
TermTable("attention")

# %% [markdown]
# ## MLP

# %%
TermTable("MLP")

# %% [markdown]
# ## Circuits

# %%
TermTable("circuits")

# %% [markdown]
# ## Composition

# %%
TermTable("composition")

# %% [markdown]
# ## Training

# %%
TermTable("training")

# %% [markdown]
# ## Methods

# %%
TermTable("methods")

# %% [markdown]
# ## Linear algebra

# %%
TermTable("linear algebra")

# %% [markdown]
# ## Information theory

# %%
TermTable("information theory")

# %% [markdown]
# ## What comes next

# %%
TermTable("what comes next")

# %% [markdown]
# ## The hook map
#
# Where in the model is each activation, and what shape has it? We run a sentence through a model
# and draw what its cache holds. The blue band is the residual stream, from top to bottom as the
# model runs. A part *reads* it, computes, and *adds* to it; the last column is the function of
# `circuitbook.model` that makes the activation. Every layer has the same hook points.

# %%
loaded = load()
model, tokenizer = loaded.model.requires_grad_(False), loaded.tokenizer
text = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
tokens = torch.tensor([tokenizer.encode(text)])
logits, cache = run_with_cache(model, tokens)
HookMap(cache, layer=0)

# %% [markdown]
# The same as a list, with each one's meaning and its name in TransformerLens. Nearly all papers and
# notebooks use the first name, which is ours; TransformerLens knows both.

# %%
bridge = open_bridge(loaded.folder)
names = [name for name in cache if name.startswith("blocks.0.") or "blocks" not in name]
Table(
    {
        "hook point": names,
        "TransformerLens, newer": [bridge.hook_dict[name].name for name in names],
        "axes": [glossary(name).hook_shape for name in names],
        "meaning": [glossary(name).means.replace("`", "") for name in names],
    }
)

# %% [markdown]
# Are the axes true, and do all the names mean the same numbers? Each axis has one size in this run.

# %%
cfg = model.cfg
sizes = {"batch": 1, "pos": tokens.shape[1], "q_pos": tokens.shape[1], "k_pos": tokens.shape[1]}
sizes |= {"head": cfg.n_heads, "1": 1}
sizes |= {name: getattr(cfg, name) for name in ("d_model", "d_head", "d_mlp", "d_vocab", "n_ctx")}
meaning = {
    "batch": "texts that run together",
    "pos": "positions of a text",
    "q_pos": "positions that read: rows of a pattern",
    "k_pos": "positions that are read: columns of a pattern",
    "head": "heads of a layer",
    "1": "one number, kept as an axis so that it divides",
    "d_model": "numbers in the residual stream",
    "d_head": "numbers in a head's query, key, value, z",
    "d_mlp": "neurons of an MLP",
    "d_vocab": "tokens of the vocabulary",
    "n_ctx": "positions that the model knows",
}
Table({"axis": list(sizes), "here": list(sizes.values()), "it counts": [*map(meaning.get, sizes)]})

# %%
_, theirs = bridge.run_with_cache(tokens)
for name in names:
    wanted = [sizes[axis] for axis in glossary(name).hook_shape.split()]
    newer = bridge.hook_dict[name].name
    assert list(cache[name].shape) == list(theirs[name].shape) == wanted
    ours, old, new = (each.clamp(min=-1e4) for each in (cache[name], theirs[name], theirs[newer]))
    assert torch.equal(old, new) and torch.allclose(ours, old, rtol=1e-3, atol=1e-2)
print(f"{len(names)} hook points: shapes as stated, the same numbers under both names, as in ours.")

# %% [markdown]
# [Appendix B](B_conventions.ipynb#Names) has the third name of each, Hugging Face's.

# %% [markdown]
# ## The letters
#
# The weights, and what is made of them. A weight multiplies on the right: `x @ W`. Those of a layer
# are stacked where one asks the model for them: `model.W_Q` is `[layer head d_model d_head]`.

# %%
folded = processed(model)
layer = folded.blocks[0]
made = {
    "logits": logits,
    "w": model.blocks[0].ln1.w,
    "W_QK": qk_circuit(folded, "L0H0"),
    "W_OV": ov_circuit(folded, "L0H0"),
    "W_E W_QK W_Eᵀ": full_qk_circuit(folded, "L0H0"),
    "W_E W_OV W_U": full_ov_circuit(folded, "L0H0"),
    "W_E W_U": Factored(folded.W_E, folded.W_U),
}
letters = [term for term in terms() if term.letter and term.shape]
shapes = []
for term in letters:
    owners = [part for part in (folded, layer.attn, layer.mlp) if hasattr(part, term.letter)]
    tensor = made[term.letter] if term.letter in made else getattr(owners[-1], term.letter)
    shapes.append(list(tensor.shape))
assert shapes == [[sizes[axis] for axis in term.shape.split()] for term in letters]
Table(
    {
        "letter": [term.letter for term in letters],
        "axes": [term.shape for term in letters],
        "here": list(map(str, shapes)),
        "term": [term.name for term in letters],
    }
)

# %% [markdown]
# ## Index

# %%
TermIndex()
