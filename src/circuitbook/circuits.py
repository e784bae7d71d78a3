"""What a head's weights say before any text is read: W_OV, and how much of it copies."""

import torch
from jaxtyping import Float
from torch import Tensor


def copying_scores(
    W_V: Float[Tensor, "*head d_model d_head"], W_O: Float[Tensor, "*head d_head d_model"]
) -> Float[Tensor, "*head"]:
    """How far each head writes back what it reads: from -1 (its opposite) to 1 (a copy).

    Σ Re λ / Σ |λ| over the eigenvalues λ of W_OV = W_V W_O; those of the small matrix W_O W_V are
    the same but for zeros. Fold and centre the weights first (`weights.processed`), else the means
    count too.
    Source: Framework, "Copying / OV circuits" and its appendix on eigenvalues.
    """
    eigenvalues = torch.linalg.eigvals((W_O @ W_V).double())
    return (eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1)).to(W_V.dtype)
