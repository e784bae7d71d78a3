"""Where heads look: attention patterns in, one score per head out."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def repeated_tokens(
    words: Int[Tensor, " word"], first: int, period: int, batch: int, seed: int = 0
) -> Int[Tensor, "batch pos"]:
    """Rows of `first`, then `period` different random words, then the same words again.

    Nothing but the text itself says what comes next in the second half. Raises ValueError where
    there are too few words.
    """
    if not 2 <= period <= len(words):
        raise ValueError(
            f"repeated_tokens got a period of {period} and {len(words)} words; give a period of at "
            "least 2 and at least as many words."
        )
    random = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(len(words), generator=random)[:period] for _ in range(batch)]
    once = words[torch.stack(drawn)]
    return torch.cat([torch.full((batch, 1), first), once, once], dim=1)


def previous_token_scores(
    pattern: Float[Tensor, "batch head q_pos k_pos"],
) -> Float[Tensor, " head"]:
    """How much each head reads from the position just before its own: from 0 to 1.

    The mean over all positions but the first, which has none before it.
    """
    return pattern.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=(0, -1))


def induction_scores(
    pattern: Float[Tensor, "batch head q_pos k_pos"], period: int
) -> Float[Tensor, " head"]:
    """How much each head reads from the token that came after this one's last occurrence: 0 to 1.

    `pattern` is of `repeated_tokens` with this period. The mean over the second half, where each
    token has occurred before, period - 1 positions to the left of the one that followed it. Raises
    ValueError where the pattern has another length.
    Source: Framework, "Induction Heads".
    """
    if pattern.shape[-1] != 2 * period + 1:
        raise ValueError(
            f"induction_scores got a pattern of {pattern.shape[-1]} positions for a period of "
            f"{period}; give that of repeated_tokens, 1 + 2 · period positions."
        )
    stripe = pattern.diagonal(offset=1 - period, dim1=-2, dim2=-1)  # begins at q_pos = period - 1
    return stripe[..., 2:].mean(dim=(0, -1))
