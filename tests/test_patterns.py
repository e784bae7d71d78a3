"""Scores of heads on patterns that are known to the last number."""

import pytest
import torch

from circuitbook.patterns import induction_scores, previous_token_scores, repeated_tokens

PERIOD, LENGTH = 4, 9


def looking(back: int) -> torch.Tensor:
    """The pattern [1 1 pos pos] of a head that reads `back` positions to the left, else the first
    position."""
    pattern = torch.zeros(1, 1, LENGTH, LENGTH)
    for position in range(LENGTH):
        pattern[0, 0, position, max(0, position - back)] = 1
    return pattern


def test_a_head_that_reads_the_last_token_scores_1_and_others_0():
    pattern = torch.cat([looking(1), looking(2), looking(0)], dim=1)
    assert previous_token_scores(pattern)[0] == 1
    assert previous_token_scores(pattern)[1] < 0.2  # position 1 has nothing else to read
    assert previous_token_scores(pattern)[2] == 0


def test_a_head_that_reads_what_came_after_the_last_occurrence_scores_1():
    pattern = torch.cat([looking(PERIOD - 1), looking(PERIOD), looking(1)], dim=1)
    assert induction_scores(pattern, PERIOD).tolist() == [1, 0, 0]


def test_an_even_head_scores_the_mean_of_its_shares():
    even = torch.ones(LENGTH, LENGTH).tril()
    even = (even / even.sum(dim=-1, keepdim=True))[None, None]
    shares = [1 / (position + 1) for position in range(LENGTH)]
    previous = sum(shares[1:]) / (LENGTH - 1)
    induction = sum(shares[PERIOD + 1 :]) / PERIOD
    torch.testing.assert_close(previous_token_scores(even), torch.tensor([previous]))
    torch.testing.assert_close(induction_scores(even, PERIOD), torch.tensor([induction]))


def test_a_pattern_of_another_length_is_refused():
    with pytest.raises(ValueError, match="9 positions for a period of 3"):
        induction_scores(looking(1), 3)


def test_repeated_tokens_come_twice_and_no_word_of_a_row_is_like_another():
    words = torch.arange(10, 20)
    tokens = repeated_tokens(words, first=0, period=5, batch=7, seed=1)
    assert tokens.shape == (7, 11)
    assert (tokens[:, 0] == 0).all()
    assert torch.equal(tokens[:, 1:6], tokens[:, 6:])
    assert all(len(set(row[1:6].tolist())) == 5 for row in tokens)
    assert torch.isin(tokens[:, 1:], words).all()
    assert torch.equal(tokens, repeated_tokens(words, 0, 5, 7, seed=1))
    assert not torch.equal(tokens, repeated_tokens(words, 0, 5, 7, seed=2))


def test_too_few_words_are_refused():
    with pytest.raises(ValueError, match="a period of 11 and 10 words"):
        repeated_tokens(torch.arange(10), 0, 11, 1)
