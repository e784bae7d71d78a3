"""Toy models against what the paper proves of them, dictionaries against features that we drew."""

import math

import pytest
import torch
from torch.nn import functional

from circuitbook.superposition import (
    sparse_features,
    train_dictionary,
    train_toy_models,
)

SEEDS = range(3)
FIVE = 0.9 ** torch.arange(5.0)


def cosines(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return functional.normalize(first, dim=-1) @ functional.normalize(second, dim=-1).T


@pytest.mark.parametrize("density", [0.02, 0.3, 1.0])
def test_features_are_there_as_often_as_asked_and_uniform_then(density):
    x = sparse_features(20_000, 6, density)
    there = x > 0
    assert (there.double().mean(dim=0) - density).abs().max() < 0.02
    assert abs(x[there].mean() - 0.5) < 0.02 and x.min() >= 0 and x.max() < 1


def test_features_come_independently_and_alike_for_one_seed():
    x = sparse_features(20_000, 6, 0.5)
    assert (torch.corrcoef((x > 0).double().T) - torch.eye(6)).abs().max() < 0.03
    torch.testing.assert_close(x, sparse_features(20_000, 6, 0.5), rtol=0, atol=0)
    assert not torch.equal(x, sparse_features(20_000, 6, 0.5, seed=1))


@pytest.mark.parametrize("seed", SEEDS)
def test_dense_features_get_a_dimension_each_and_the_least_important_none(seed):
    models = train_toy_models([1.0], 0.7 ** torch.arange(5.0), 2, seed=seed)
    gram = models.W[0] @ models.W[0].T
    wanted = torch.diag(torch.tensor([1.0, 1, 0, 0, 0])).double()
    assert (gram - wanted).abs().max() < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_sparse_features_share_two_dimensions_as_a_pentagon(seed):
    models = train_toy_models([0.05], FIVE, 2, seed=seed)
    angles = torch.atan2(models.W[0, :, 1], models.W[0, :, 0]).sort().values
    gaps = torch.cat([angles[1:] - angles[:-1], angles[:1] + 2 * math.pi - angles[-1:]])
    assert models.W[0].norm(dim=1).min() > 0.9
    assert (gaps - 2 * math.pi / 5).abs().max() < 0.25


def test_models_trained_side_by_side_do_not_disturb_each_other():
    """No model's loss reaches another's weights: exactly the same with a neighbour that differs."""
    first = train_toy_models([0.5, 1.0], FIVE, 2, steps=20)
    second = train_toy_models([0.5, 0.1], FIVE, 2, steps=20)
    torch.testing.assert_close(first.W[0], second.W[0], rtol=0, atol=0)
    assert not torch.allclose(first.W[1], second.W[1])


def test_an_unimportant_feature_is_given_up_first():
    """Whichever it is: the model keeps the two that cost most, wherever they stand."""
    for order in ([4, 1, 3, 0, 2], [0, 1, 2, 3, 4]):
        models = train_toy_models([1.0], 0.5 ** torch.tensor(order, dtype=torch.float64), 2)
        lengths = models.W[0].norm(dim=1)
        assert {order[place] for place in lengths.topk(2).indices.tolist()} == {0, 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dictionary_finds_features_that_share_their_space(seed):
    random = torch.Generator().manual_seed(seed)
    truth = functional.normalize(
        torch.tensor([[1.0, 0], [math.cos(2.1), math.sin(2.1)], [math.cos(4), math.sin(4)]]), dim=-1
    ).double()
    turn, _ = torch.linalg.qr(torch.randn(2, 2, generator=random, dtype=torch.float64))
    truth = truth @ turn
    hidden = sparse_features(20_000, 3, 0.1, seed) @ truth
    found = train_dictionary(hidden, 6, 0.2, seed=seed)
    assert cosines(truth, found.directions).max(dim=1).values.min() > 0.98
    torch.testing.assert_close(
        found.directions.norm(dim=-1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12
    )
    error = (found.rebuilt(hidden) - hidden).pow(2).sum() / hidden.pow(2).sum()
    assert error < 0.15


def test_a_larger_penalty_lets_fewer_latents_speak():
    hidden = sparse_features(5_000, 8, 0.1) @ torch.randn(
        8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    active = [
        (train_dictionary(hidden, 16, penalty, steps=600).latents(hidden) > 1e-3).double().mean()
        for penalty in (0.0, 0.1, 1.0)
    ]
    assert active[0] > active[1] > active[2]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: sparse_features(3, 2, 0.0), "probabilities above 0"),
        (lambda: sparse_features(3, 2, math.nan), "probabilities above 0"),
        (lambda: train_toy_models([0.5, 1.5], FIVE, 2), "1.5"),
        (lambda: train_toy_models([], FIVE, 2), r"came \[\]"),
        (lambda: train_toy_models([0.5], FIVE, 0), "d_hidden=0"),
        (lambda: train_dictionary(torch.ones(3, 2), 0, 0.1), "n_latents=0"),
        (lambda: train_dictionary(torch.ones(3, 2), 2, -0.1), "penalty -0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
