"""Weights from elsewhere into our model and back, and the rewritings that leave a model's answers
as they are.

Hugging Face's GPT-2 stores q, k and v as one matrix and multiplies on the right (its `Conv1D`);
TransformerLens' native models use `nn.Linear`, which multiplies on the left. Each table below says
how a tensor of ours (left of the arrow) is laid out in theirs (right of it).
"""

import copy
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from circuitbook.model import Config, Transformer

SAME = "... -> ..."
TRANSPOSED = "rows columns -> columns rows"

HUGGINGFACE = {"W_E": ("wte.weight", SAME), "W_pos": ("wpe.weight", SAME)}
HUGGINGFACE_BLOCK = {
    "ln1.w": ("ln_1.weight", SAME),
    "ln1.b": ("ln_1.bias", SAME),
    "attn.W_O": ("attn.c_proj.weight", "head d_head d_model -> (head d_head) d_model"),
    "attn.b_O": ("attn.c_proj.bias", SAME),
    "ln2.w": ("ln_2.weight", SAME),
    "ln2.b": ("ln_2.bias", SAME),
    "mlp.W_in": ("mlp.c_fc.weight", SAME),
    "mlp.b_in": ("mlp.c_fc.bias", SAME),
    "mlp.W_out": ("mlp.c_proj.weight", SAME),
    "mlp.b_out": ("mlp.c_proj.bias", SAME),
}
HUGGINGFACE_END = {"ln_final.w": ("ln_f.weight", SAME), "ln_final.b": ("ln_f.bias", SAME)}

_TO_LINEAR = "head d_model d_head -> (head d_head) d_model"
TRANSFORMERLENS = {"W_E": ("embed.weight", SAME), "W_pos": ("pos_embed.weight", SAME)}
TRANSFORMERLENS_BLOCK = {
    "ln1.w": ("ln1.weight", SAME),
    "ln1.b": ("ln1.bias", SAME),
    "attn.W_Q": ("attn.q.weight", _TO_LINEAR),
    "attn.b_Q": ("attn.q.bias", "head d_head -> (head d_head)"),
    "attn.W_K": ("attn.k.weight", _TO_LINEAR),
    "attn.b_K": ("attn.k.bias", "head d_head -> (head d_head)"),
    "attn.W_V": ("attn.v.weight", _TO_LINEAR),
    "attn.b_V": ("attn.v.bias", "head d_head -> (head d_head)"),
    "attn.W_O": ("attn.o.weight", "head d_head d_model -> d_model (head d_head)"),
    "attn.b_O": ("attn.o.bias", SAME),
    "ln2.w": ("ln2.weight", SAME),
    "ln2.b": ("ln2.bias", SAME),
    "mlp.W_in": ("mlp.in.weight", TRANSPOSED),
    "mlp.b_in": ("mlp.in.bias", SAME),
    "mlp.W_out": ("mlp.out.weight", TRANSPOSED),
    "mlp.b_out": ("mlp.out.bias", SAME),
}
TRANSFORMERLENS_END = {
    "ln_final.w": ("ln_final.weight", SAME),
    "ln_final.b": ("ln_final.bias", SAME),
    "W_U": ("unembed.weight", TRANSPOSED),
    "b_U": ("unembed.bias", SAME),
}


# Hugging Face's GPT-2


def split_c_attn(
    weight: Float[Tensor, "d_model three_d_model"],
    bias: Float[Tensor, " three_d_model"],
    n_heads: int,
) -> dict[str, Tensor]:
    """W_Q W_K W_V [head d_model d_head] and b_Q b_K b_V [head d_head] out of GPT-2's one `c_attn`.

    Its columns are all queries, then all keys, then all values; within each, head after head.
    """
    sizes = {"qkv": 3, "head": n_heads}
    W = rearrange(weight, "d_model (qkv head d_head) -> qkv head d_model d_head", **sizes)
    b = rearrange(bias, "(qkv head d_head) -> qkv head d_head", **sizes)
    return dict(zip(("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V"), (*W, *b), strict=True))


def from_huggingface(
    source: str | os.PathLike | Mapping[str, Tensor], config: Mapping | None = None
) -> Transformer:
    """Our model with the weights of a GPT-2 in Hugging Face's format.

    `source` is a folder with `config.json` and `model.safetensors`, or a state dict (then give its
    config, as a dict). Raises ValueError where a file cannot be read as safetensors, a tensor is
    missing, left over or of another shape than the config says, or the config describes something
    other than GPT-2.
    """
    if isinstance(source, Mapping):
        if config is None:
            raise ValueError("from_huggingface got a state dict alone; give its config as well.")
        state, where = source, "The state dict"
    else:
        folder = Path(source)
        config, state = _read_config(folder / "config.json"), _read_tensors(folder)
        where = str(folder / "model.safetensors")
    cfg = _config_from_huggingface(config)
    state = {
        name.removeprefix("transformer."): tensor
        for name, tensor in state.items()
        if not name.endswith((".attn.bias", ".attn.masked_bias"))  # old files: masks, not weights
    }
    if "lm_head.weight" in state and cfg.tied:
        if "wte.weight" in state and not torch.equal(state["lm_head.weight"], state["wte.weight"]):
            cfg = replace(cfg, tied=False)
        else:
            state.pop("lm_head.weight")

    dtype = next(iter(state.values())).dtype if state else torch.float32
    model = Transformer(cfg).to(dtype)
    wanted = _to_huggingface(model)
    _compare_names_and_shapes(where, state, wanted)
    ours = _renamed_back(state, _table(cfg, HUGGINGFACE, HUGGINGFACE_BLOCK, HUGGINGFACE_END), cfg)
    for layer in range(cfg.n_layers):
        c_attn = f"h.{layer}.attn.c_attn"
        parts = split_c_attn(state[f"{c_attn}.weight"], state[f"{c_attn}.bias"], cfg.n_heads)
        ours |= {f"blocks.{layer}.attn.{name}": tensor for name, tensor in parts.items()}
    if not cfg.tied:
        ours["untied_W_U"] = state["lm_head.weight"].T
    model.load_state_dict({"b_U": model.b_U} | ours)
    return model


def to_huggingface(model: Transformer) -> dict[str, Tensor]:
    """The model's weights under the names of Hugging Face's `GPT2LMHeadModel`.

    Raises ValueError for a model that GPT-2's format cannot hold: heads that do not share out
    d_model, no MLP, no LayerNorm, no biases, or an unembedding bias.
    """
    cfg = model.cfg
    reasons = {
        f"n_heads · d_head = {cfg.n_heads * cfg.d_head} is not d_model = {cfg.d_model}": (
            cfg.n_heads * cfg.d_head != cfg.d_model
        ),
        "it has no MLPs": cfg.d_mlp == 0,
        "it has no LayerNorm": not cfg.layer_norm,
        "it has no biases": not cfg.biases,
        "its b_U is not zero (was LayerNorm folded into it?)": bool(model.b_U.any()),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"This model does not fit GPT-2's format: {reason}. Save its state_dict instead."
            )
    state = {f"transformer.{name}": tensor for name, tensor in _to_huggingface(model).items()}
    if not cfg.tied:
        state["lm_head.weight"] = state.pop("transformer.lm_head.weight")
    return state


def save_huggingface(model: Transformer, folder: str | os.PathLike) -> Path:
    """Write `config.json` and `model.safetensors`, so that Hugging Face opens the folder as a
    GPT-2.

    Each file appears whole or not at all. Raises ValueError as `to_huggingface` does.
    """
    cfg, state, folder = model.cfg, to_huggingface(model), Path(folder)
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": cfg.n_layers,
        "n_embd": cfg.d_model,
        "n_head": cfg.n_heads,
        "n_inner": cfg.d_mlp,
        "vocab_size": cfg.d_vocab,
        "n_positions": cfg.n_ctx,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": cfg.eps,
        "tie_word_embeddings": cfg.tied,
        "dtype": str(model.W_E.dtype).removeprefix("torch."),
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
        Path(unfinished, "model.safetensors").write_bytes(save(tensors, {"format": "pt"}))
        Path(unfinished, "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for name in ("config.json", "model.safetensors"):
            os.replace(Path(unfinished, name), folder / name)
    return folder


def _read_config(file: Path) -> dict:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"There is no {file}; give the folder that holds config.json and model.safetensors."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON ({error}); fetch or save the model again.") from None


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    file = folder / "model.safetensors"
    if not file.exists():
        pickles = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))
        why = f"; {pickles[0].name} is a pickle, which we never open" if pickles else ""
        raise ValueError(f"There is no {file}{why}. Save the model as safetensors first.")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged or not a safetensors file ({error}); fetch or save it again."
        ) from None


def _config_from_huggingface(config: Mapping) -> Config:
    expected = {
        "model_type": "gpt2",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise ValueError(f"The config says {key}={config[key]!r}; GPT-2 has {value!r}.")
    if config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ValueError(
            f"The config says activation_function={config['activation_function']!r}; "
            "GPT-2 has 'gelu_new'."
        )
    sizes = ("n_layer", "n_embd", "n_head", "vocab_size", "n_positions")
    for key in sizes:
        if key not in config:
            raise ValueError(f"The config has no {key}; it needs {', '.join(sizes)}.")
    d_model, n_heads = config["n_embd"], config["n_head"]
    if d_model % n_heads:
        raise ValueError(
            f"The config says n_embd={d_model} and n_head={n_heads}; "
            f"GPT-2's heads share out n_embd, so n_head must divide it."
        )
    return Config(
        n_layers=config["n_layer"],
        d_model=d_model,
        n_heads=n_heads,
        d_head=d_model // n_heads,
        d_vocab=config["vocab_size"],
        n_ctx=config["n_positions"],
        d_mlp=config.get("n_inner") or 4 * d_model,
        tied=config.get("tie_word_embeddings", True),
        eps=config.get("layer_norm_epsilon", 1e-5),
    )


def _to_huggingface(model: Transformer) -> dict[str, Tensor]:
    """All tensors under Hugging Face's names, without the leading `transformer.`."""
    state = _renamed(model, _table(model.cfg, HUGGINGFACE, HUGGINGFACE_BLOCK, HUGGINGFACE_END))
    for layer, block in enumerate(model.blocks):
        attn = block.attn
        W = torch.stack([attn.W_Q, attn.W_K, attn.W_V])
        b = torch.stack([attn.b_Q, attn.b_K, attn.b_V])
        state[f"h.{layer}.attn.c_attn.weight"] = rearrange(
            W, "qkv head d_model d_head -> d_model (qkv head d_head)"
        )
        state[f"h.{layer}.attn.c_attn.bias"] = rearrange(b, "qkv head d_head -> (qkv head d_head)")
    if not model.cfg.tied:
        state["lm_head.weight"] = model.W_U.T
    return state


def _compare_names_and_shapes(
    where: str, came: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    for problem, names in (
        ("lacks", sorted(wanted.keys() - came.keys())),
        ("has, beyond what its config describes,", sorted(came.keys() - wanted.keys())),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"{where} {problem} {', '.join(names[:3])}{more}; "
                "give the weights that belong to this config."
            )
    for name, tensor in wanted.items():
        if came[name].shape != tensor.shape:
            raise ValueError(
                f"{where} has {name} of shape {list(came[name].shape)}; "
                f"its config asks for {list(tensor.shape)}."
            )


# TransformerLens' native models


def to_transformerlens(model: Transformer) -> dict[str, Tensor]:
    """The model's weights under the names of TransformerLens' native models (see `lens.py`)."""
    tables = (TRANSFORMERLENS, TRANSFORMERLENS_BLOCK, TRANSFORMERLENS_END)
    return _renamed(model, _table(model.cfg, *tables, blocks="blocks"))


def from_transformerlens(state: Mapping[str, Tensor], cfg: Config) -> Transformer:
    """Our model with the weights of a TransformerLens native model of these sizes.

    Raises ValueError where a tensor is missing, left over or of another shape than `cfg` says.
    """
    model = Transformer(replace(cfg, tied=False)).to(next(iter(state.values())).dtype)
    _compare_names_and_shapes("The state dict", state, to_transformerlens(model))
    tables = (TRANSFORMERLENS, TRANSFORMERLENS_BLOCK, TRANSFORMERLENS_END)
    ours = _renamed_back(state, _table(model.cfg, *tables, blocks="blocks"), cfg)
    ours["untied_W_U"] = ours.pop("W_U")
    model.load_state_dict(ours)
    return model


def _table(cfg: Config, start: dict, block: dict, end: dict, blocks: str = "h") -> dict:
    """The whole model's table: our name → (their name, layout), for the parts that this config
    has."""
    table = dict(start)
    for layer in range(cfg.n_layers):
        for ours, (theirs, layout) in block.items():
            table[f"blocks.{layer}.{ours}"] = (f"{blocks}.{layer}.{theirs}", layout)
    table |= end
    absent = () if cfg.layer_norm else ("ln1.", "ln2.", "ln_final.")
    absent += () if cfg.d_mlp else ("ln2.", "mlp.")
    return {ours: entry for ours, entry in table.items() if not any(map(ours.count, absent))}


def _renamed(model: Transformer, table: dict) -> dict[str, Tensor]:
    state = model.state_dict() | {"W_U": model.W_U}
    return {theirs: rearrange(state[ours], layout) for ours, (theirs, layout) in table.items()}


def _renamed_back(state: Mapping[str, Tensor], table: dict, cfg: Config) -> dict[str, Tensor]:
    ours = {}
    for name, (theirs, layout) in table.items():
        to_ours = " -> ".join(reversed(layout.split(" -> ")))
        n_heads = {"head": cfg.n_heads} if "(head" in layout else {}
        ours[name] = rearrange(state[theirs], to_ours, **n_heads)
    return ours


# Rewritings. Each returns a new model; "centring" always means: subtract the mean


@torch.no_grad()
def fold_layer_norm(model: Transformer) -> Transformer:
    """The same logits from a model whose LayerNorms have w = 1 and b = 0.

    What reads through a LayerNorm takes over its w and b: W' = w · W and b' = b_reader + b W. What
    it reads is centred, so a part of W' along (1, ..., 1) can change nothing and is removed. W_U is
    untied by this.
    Source: TransformerLens, "fold_layer_norm"; the idea is in Framework, "Handling Layer
    Normalization".
    """
    _needs_layer_norm(model, "fold_layer_norm")
    folded = _untied(model)
    for block in folded.blocks:
        for name in "QKV":
            _fold(block.ln1, getattr(block.attn, f"W_{name}"), getattr(block.attn, f"b_{name}"))
        if block.mlp is not None:
            _fold(block.ln2, block.mlp.W_in, block.mlp.b_in)
    _fold(folded.ln_final, folded.untied_W_U, folded.b_U)
    for module in folded.modules():
        if isinstance(module, type(folded.ln_final)):
            module.w.fill_(1)
            module.b.zero_()
    return folded


@torch.no_grad()
def centre_writing_weights(model: Transformer) -> Transformer:
    """The same logits from a model in which everything written into the stream has mean 0 over
    d_model.

    Every reader centres what it reads (LayerNorm), so the mean never mattered.
    """
    _needs_layer_norm(model, "centre_writing_weights")
    centred = _untied(model)  # W_E changes, W_U must not
    writers = [centred.W_E, centred.W_pos]
    for block in centred.blocks:
        writers += [block.attn.W_O, block.attn.b_O]
        writers += [block.mlp.W_out, block.mlp.b_out] if block.mlp is not None else []
    for writer in writers:
        writer -= writer.mean(dim=-1, keepdim=True)
    return centred


@torch.no_grad()
def centre_unembed(model: Transformer) -> Transformer:
    """The same probabilities from logits whose mean over the vocabulary is 0 at every position.

    Only differences between logits mean anything: a softmax does not see a constant.
    """
    centred = _untied(model)
    centred.untied_W_U -= centred.W_U.mean(dim=-1, keepdim=True)
    centred.b_U -= centred.b_U.mean()
    return centred


@torch.no_grad()
def fold_value_biases(model: Transformer) -> Transformer:
    """The same logits from a model whose b_V is 0: each pattern's row sums to 1, so b_V W_O
    joins b_O."""
    folded = copy.deepcopy(model)
    for block in folded.blocks:
        attn = block.attn
        attn.b_O += torch.einsum("hd,hdm->m", attn.b_V, attn.W_O)
        attn.b_V.zero_()
    return folded


def processed(model: Transformer) -> Transformer:
    """Folded and centred in every way above: what TransformerLens' compatibility mode does to a
    GPT-2."""
    model = centre_writing_weights(fold_layer_norm(model))
    return fold_value_biases(centre_unembed(model))


def _untied(model: Transformer) -> Transformer:
    """A copy whose W_U is a parameter of its own."""
    untied = copy.deepcopy(model)
    untied.cfg = replace(model.cfg, tied=False)
    untied.untied_W_U = torch.nn.Parameter(model.W_U.detach().clone().contiguous())
    return untied


def _fold(norm, W: Tensor, b: Tensor) -> None:
    """Move one LayerNorm's w and b into a reader W [*head d_model out], b [*head out], in place."""
    b += norm.b @ W
    W *= norm.w[:, None]
    W -= W.mean(dim=-2, keepdim=True)


def _needs_layer_norm(model: Transformer, name: str) -> None:
    if not model.cfg.layer_norm:
        raise ValueError(
            f"{name} got a model without LayerNorm: there is nothing to fold, and centring would "
            "change its logits. Use the model as it is."
        )
