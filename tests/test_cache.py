import pytest
import torch
from models import GPT2_LIKE, random_model, random_tokens

from circuitbook.cache import run_with_cache, run_with_edits

MODEL = random_model(GPT2_LIKE)
TOKENS = random_tokens(GPT2_LIKE)


def test_the_cache_rebuilds_the_residual_stream_by_addition():
    _, cache = run_with_cache(MODEL, TOKENS)
    written = cache["hook_embed"] + cache["hook_pos_embed"]
    for layer in range(GPT2_LIKE.n_layers):
        torch.testing.assert_close(cache["resid_pre", layer], written)
        written = written + cache["attn_out", layer] + cache["mlp_out", layer]
    torch.testing.assert_close(cache["resid_post", GPT2_LIKE.n_layers - 1], written)


def test_a_short_name_and_a_layer_find_the_same_tensor():
    _, cache = run_with_cache(MODEL, TOKENS)
    assert cache["pattern", 1] is cache["blocks.1.attn.hook_pattern"]


def test_only_the_named_activations_are_kept():
    _, cache = run_with_cache(MODEL, TOKENS, ["blocks.1.attn.hook_z", "hook_embed"])
    assert list(cache) == ["hook_embed", "blocks.1.attn.hook_z"]


def test_an_edit_that_returns_what_came_changes_nothing():
    _, cache = run_with_cache(MODEL, TOKENS)
    for name in cache:
        assert torch.equal(run_with_edits(MODEL, TOKENS, {name: torch.clone}), MODEL(TOKENS))


def test_every_activation_is_on_the_way_to_the_logits():
    """Adding noise to any one of them changes the logits: nothing is recorded beside the
    computation."""
    logits, cache = run_with_cache(MODEL, TOKENS)
    for name in cache:
        edited = run_with_edits(MODEL, TOKENS, {name: lambda x: x + torch.randn_like(x)})
        assert not torch.allclose(edited, logits), name


def test_zeroing_both_writes_of_a_layer_removes_the_layer():
    edits = {f"blocks.1.hook_{part}_out": torch.zeros_like for part in ("attn", "mlp")}
    _, cache = run_with_cache(MODEL, TOKENS)
    logits = run_with_edits(MODEL, TOKENS, edits)
    skipped = run_with_edits(
        MODEL, TOKENS, {"blocks.1.hook_resid_post": lambda _: cache["resid_post", 0].clone()}
    )
    assert torch.equal(logits, skipped)


def test_an_edit_in_place_harms_no_cache():
    _, cache = run_with_cache(MODEL, TOKENS)
    before = cache["resid_pre", 0].clone()
    run_with_edits(MODEL, TOKENS, {"blocks.0.hook_resid_pre": lambda x: x.zero_()})
    assert torch.equal(run_with_cache(MODEL, TOKENS)[1]["resid_pre", 0], before)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: run_with_cache(MODEL, TOKENS)[1]["blocks.0.attn.hook_patern"],
        lambda: run_with_cache(MODEL, TOKENS, ["blocks.0.attn.hook_patern"]),
        lambda: run_with_edits(MODEL, TOKENS, {"blocks.0.attn.hook_patern": torch.clone}),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(ask):
    with pytest.raises(ValueError, match=r"hook_patern.*blocks\.0\.attn\.hook_pattern"):
        ask()


def test_an_edit_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"hook_z returned \[1, 16, 3, 8\].*\[2, 16, 3, 8\]"):
        run_with_edits(MODEL, TOKENS, {"blocks.0.attn.hook_z": lambda z: z[:1]})
