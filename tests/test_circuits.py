import torch

from circuitbook.circuits import copying_scores


def test_copying_scores_equal_those_of_the_full_matrix():
    torch.manual_seed(0)
    W_V, W_O = torch.randn(4, 10, 3), torch.randn(4, 3, 10)
    eigenvalues = torch.linalg.eigvals((W_V @ W_O).double())
    full = eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1)
    torch.testing.assert_close(copying_scores(W_V, W_O).double(), full, rtol=1e-5, atol=1e-5)


def test_a_copy_scores_one_and_its_opposite_minus_one():
    W_V = torch.linalg.qr(torch.randn(10, 3)).Q
    torch.testing.assert_close(copying_scores(W_V, W_V.mT), torch.tensor(1.0))
    torch.testing.assert_close(copying_scores(W_V, -W_V.mT), torch.tensor(-1.0))
