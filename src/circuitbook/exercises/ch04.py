"""Chapter 4, "QK and OV circuits": its ten exercises, the mistakes that readers make in them, its
quizzes."""

import math
from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from circuitbook.exercises.engine import Exercise, Option, Quiz, normal

REACH = 1e-5  # singular values below this share of the greatest are rounding errors


class NothingLarger(TorchFunctionMode):
    """Raises MemoryError at the line that makes a tensor of more than so many numbers."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        parts = result if isinstance(result, tuple | list) else [result]
        sizes = [Tensor.numel(part) for part in parts if isinstance(part, Tensor)]
        if max(sizes, default=0) > self.most:
            raise MemoryError(
                f"this line made a tensor of {max(sizes):,} numbers; hold at most {self.most:,} at "
                "a time"
            )
        return result


def integers(*shapes: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
    """Tensors of small whole numbers, as floats: their products have ties, and no rounding."""
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(-2, 3, shape, generator=random).float() for shape in shapes)


# 4.1


def qk_and_ov(
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
) -> tuple[
    Float[Tensor, "d_model d_model"], Float[Tensor, "d_model d_model"], Int[Tensor, " circuit=2"]
]:
    """Where a head looks and what it moves, as one matrix each, and the ranks of the two."""
    W_QK = W_Q @ W_K.mT
    W_OV = W_V @ W_O
    ranks = torch.linalg.matrix_rank(torch.stack([W_QK, W_OV]), rtol=1e-5)
    return W_QK, W_OV, ranks


def _ranks(*matrices):
    return torch.stack([torch.linalg.matrix_rank(matrix, rtol=REACH) for matrix in matrices])


def _circuits(W_Q, W_K, W_V, W_O, *, W_QK=None, W_OV=None, ranks=None):
    """The right circuits and their ranks, but for what is given."""
    right = W_Q @ W_K.mT, W_V @ W_O
    return (
        right[0] if W_QK is None else W_QK,
        right[1] if W_OV is None else W_OV,
        _ranks(*right) if ranks is None else ranks,
    )


def values_after_the_output(W_Q, W_K, W_V, W_O):
    """Your W_OV is only d_head × d_head: it is W_O W_V. A vector is a row and meets W_V first:
    x @ W_V @ W_O, so W_OV is W_V @ W_O."""
    return _circuits(W_Q, W_K, W_V, W_O, W_OV=W_O @ W_V)


def qk_transposed(W_Q, W_K, W_V, W_O):
    """Your W_QK is W_K W_Qᵀ: its rows read the key's vector. The query's comes first:
    score = x_q W_Q W_Kᵀ x_kᵀ.

    Both versions give numbers for two vectors. Which of your matrix's two ends does x_q meet in
    x_q @ W_QK @ x_k?"""
    return _circuits(W_Q, W_K, W_V, W_O, W_QK=W_K @ W_Q.mT)


def ov_transposed(W_Q, W_K, W_V, W_O):
    """Your W_OV is transposed: as it stands, x @ W_OV reads what the head writes. With vectors as
    rows it is W_V @ W_O."""
    return _circuits(W_Q, W_K, W_V, W_O, W_OV=(W_V @ W_O).mT)


def keys_not_transposed(W_Q, W_K, W_V, W_O):
    """Your W_QK is d_head × d_head: W_Qᵀ W_K sums over d_model. Queries and keys are compared over
    d_head: W_Q @ W_K.mT.

    The circuit takes two vectors of the stream, x_q and x_k, so both of its sides are d_model
    long. Which axis is left to sum over?"""
    return _circuits(W_Q, W_K, W_V, W_O, W_QK=W_Q.mT @ W_K)


def rank_is_d_head_always(W_Q, W_K, W_V, W_O):
    """You gave d_head as the rank. That is the most it can be: where two columns of W_K are alike,
    W_QK has fewer. Count its singular values that are not 0."""
    return _circuits(W_Q, W_K, W_V, W_O, ranks=torch.tensor([W_Q.shape[-1]] * 2))


def rank_is_d_model(W_Q, W_K, W_V, W_O):
    """You gave d_model as the rank: the matrix's size, or all singular values above 0, rounding
    errors included. Count those above 1e-5 of the greatest: its rows are combinations of d_head
    rows only."""
    return _circuits(W_Q, W_K, W_V, W_O, ranks=torch.tensor([W_Q.shape[0]] * 2))


def rank_of_a_factor(W_Q, W_K, W_V, W_O):
    """You counted the rank of one factor. The product can have less: two columns of W_Q may cancel
    against those of W_K. Decompose W_Q @ W_K.mT."""
    return _circuits(W_Q, W_K, W_V, W_O, ranks=_ranks(W_Q, W_K, W_V, W_O).view(2, 2).amin(dim=1))


def threshold_not_relative(W_Q, W_K, W_V, W_O):
    """You counted the singular values above 1e-5 itself, so a head with small weights has rank 0.
    Count those above 1e-5 of the greatest: rtol, not atol."""
    values = torch.linalg.svdvals(torch.stack([W_Q @ W_K.mT, W_V @ W_O]))
    return _circuits(W_Q, W_K, W_V, W_O, ranks=(values > REACH).sum(dim=-1))


def ranks_swapped(W_Q, W_K, W_V, W_O):
    """Your two ranks are in the wrong order: first that of W_QK, then that of W_OV."""
    W_QK, W_OV, ranks = _circuits(W_Q, W_K, W_V, W_O)
    return W_QK, W_OV, ranks.flip(0)


def circuits_swapped(W_Q, W_K, W_V, W_O):
    """You returned W_OV first. In the order of the task: W_QK, W_OV, the ranks."""
    W_QK, W_OV, ranks = _circuits(W_Q, W_K, W_V, W_O)
    return W_OV, W_QK, ranks.flip(0)


def score_scale_included(W_Q, W_K, W_V, W_O):
    """You divided W_QK by √d_head. Scores are divided by it later; W_QK itself is W_Q @ W_K.mT."""
    W_QK, W_OV, ranks = _circuits(W_Q, W_K, W_V, W_O)
    return W_QK / math.sqrt(W_Q.shape[-1]), W_OV, ranks


def both_in_the_head(W_Q, W_K, W_V, W_O):
    """Both of yours are d_head × d_head: W_Qᵀ W_K and W_O W_V sum over d_model. The circuits go
    from stream to stream: W_Q @ W_K.mT and W_V @ W_O."""
    return _circuits(W_Q, W_K, W_V, W_O, W_QK=W_Q.mT @ W_K, W_OV=W_O @ W_V)


def _keys_alike() -> tuple[Tensor, ...]:
    """A head of small weights whose third key column repeats the second."""
    W_Q, W_K, W_V, W_O = normal((6, 3), (6, 3), (6, 3), (3, 6), seed=1)
    W_K[:, 2] = W_K[:, 1]
    return W_Q / 1e4, W_K / 1e4, W_V / 1e4, W_O / 1e4


def _cancelling() -> tuple[Tensor, ...]:
    """A head in which the second column of queries and keys undoes the first."""
    W_Q, W_K, W_V, W_O = normal((6, 3), (6, 3), (6, 3), (3, 6), seed=2)
    W_Q[:, 1], W_K[:, 1] = W_Q[:, 0], -W_K[:, 0]
    return W_Q, W_K, W_V, W_O


QK_AND_OV = Exercise(
    id="4.1",
    title="W_QK and W_OV, and their ranks",
    answer=qk_and_ov,
    cases={
        "a head of width 2 in a stream of 5": normal((5, 2), (5, 2), (5, 2), (2, 5)),
        "small weights, two of the three keys alike": _keys_alike,
        "queries and keys of which two cancel": _cancelling,
    },
    mistakes=[
        values_after_the_output,
        qk_transposed,
        ov_transposed,
        keys_not_transposed,
        rank_is_d_head_always,
        rank_is_d_model,
        rank_of_a_factor,
        threshold_not_relative,
        ranks_swapped,
        circuits_swapped,
        score_scale_included,
        both_in_the_head,
    ],
    variants=[
        lambda W_Q, W_K, W_V, W_O: (
            torch.einsum("ih,jh->ij", W_Q, W_K),
            torch.einsum("ih,hj->ij", W_V, W_O),
            torch.stack(
                [
                    (torch.linalg.svdvals(W) > REACH * torch.linalg.svdvals(W).max()).sum()
                    for W in (W_Q @ W_K.mT, W_V @ W_O)
                ]
            ),
        ),
    ],
    hints=[
        (
            "Write the score of x_q and x_k as x_q (...) x_kᵀ, and what is moved as x (...). What "
            "stands in the brackets?"
        ),
        "The score sums over d_head: W_Q @ W_K.mT. Moving goes through W_V first, then W_O.",
        (
            "torch.linalg.matrix_rank(W, rtol=1e-5) counts the singular values above 1e-5 of the "
            "greatest; torch.stack makes one tensor of both."
        ),
    ],
    difficulty=1,
    minutes=10,
)


# 4.2


def in_another_basis(
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    M: Float[Tensor, "d_head d_head"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same head with queries q M and values v M."""
    inverse = torch.linalg.inv(M)
    return W_Q @ M, W_K @ inverse.mT, W_V @ M, inverse @ W_O


def _changed(W_Q, W_K, W_V, W_O, M, *, queries=None, keys=None, values=None, out=None):
    """The head with each of its four matrices multiplied by the right one, or by that given."""
    inverse = torch.linalg.inv(M)
    return (
        W_Q @ (M if queries is None else queries),
        W_K @ (inverse.mT if keys is None else keys),
        W_V @ (M if values is None else values),
        (inverse if out is None else out) @ W_O,
    )


def same_basis_for_the_keys(W_Q, W_K, W_V, W_O, M):
    """Your keys became k M, like the queries: then the scores are q M Mᵀ kᵀ, and only a rotation
    leaves those alone. Keys need the inverse, transposed.

    What must stand between q M and kᵀ for M to vanish? That is the transpose of what you multiply
    W_K by."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=M)


def inverse_not_transposed(W_Q, W_K, W_V, W_O, M):
    """Your new keys are k M⁻¹, so the scores are q M M⁻ᵀ kᵀ: M does not cancel. A key meets the
    query transposed: take the inverse transposed.

    With k N for the keys the scores are q M (k N)ᵀ. Write the bracket without its transpose."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=torch.linalg.inv(M))


def transposed_not_inverted(W_Q, W_K, W_V, W_O, M):
    """Your new keys are k Mᵀ, so the scores are q M M kᵀ. That is q kᵀ only where M is its own
    inverse: the keys need the inverse, transposed."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=M.mT)


def output_not_changed(W_Q, W_K, W_V, W_O, M):
    """You changed the values and left W_O: now the head writes v M W_O. W_O has to undo M first."""
    return _changed(W_Q, W_K, W_V, W_O, M, out=torch.eye(len(M)))


def output_changed_alike(W_Q, W_K, W_V, W_O, M):
    """Your new W_O is M W_O: the values meet M twice. Undo it: M⁻¹ W_O."""
    return _changed(W_Q, W_K, W_V, W_O, M, out=M)


def output_transposed_like_the_keys(W_Q, W_K, W_V, W_O, M):
    """Your new W_O is M⁻ᵀ W_O. The values meet W_O as they are, v M (...) W_O: here the inverse
    stands untransposed."""
    return _changed(W_Q, W_K, W_V, W_O, M, out=torch.linalg.inv(M).mT)


def output_transposed_not_inverted(W_Q, W_K, W_V, W_O, M):
    """Your new W_O is Mᵀ W_O. That undoes M only where M is a rotation; in general it takes the
    inverse."""
    return _changed(W_Q, W_K, W_V, W_O, M, out=M.mT)


def queries_left_alone(W_Q, W_K, W_V, W_O, M):
    """You returned the head as it was. That leaves it unchanged, but the new queries are to be
    q M and the new values v M."""
    same = torch.eye(len(M))
    return _changed(W_Q, W_K, W_V, W_O, M, queries=same, keys=same, values=same, out=same)


def inverse_for_the_queries(W_Q, W_K, W_V, W_O, M):
    """Your queries became q M⁻¹ and your values v M⁻¹. It is the same head, in another basis than
    asked for: W_Q and W_V take M, the two that meet them take the inverse."""
    return _changed(W_Q, W_K, W_V, W_O, torch.linalg.inv(M))


def basis_transposed(W_Q, W_K, W_V, W_O, M):
    """Your queries became q Mᵀ and your values v Mᵀ. It is the same head, in another basis than
    asked for: multiply by M as it is."""
    return _changed(W_Q, W_K, W_V, W_O, M.mT)


def keys_left_alone(W_Q, W_K, W_V, W_O, M):
    """You left W_K as it was: now the scores are q M kᵀ. The keys have to undo M."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=torch.eye(len(M)))


def values_left_alone(W_Q, W_K, W_V, W_O, M):
    """You changed queries and keys only. The values become v M as well, and W_O undoes it."""
    return _changed(W_Q, W_K, W_V, W_O, M, values=torch.eye(len(M)), out=torch.eye(len(M)))


def keys_and_output_left_alone(W_Q, W_K, W_V, W_O, M):
    """You stopped half way: with q M and v M the scores and what is written are others. W_K and W_O
    have to undo M.

    Begin with W_O. The head writes v M (...) W_O, and it has to be v W_O: what stands in the
    brackets? Then the same for q M and the keys, which meet it transposed."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=torch.eye(len(M)), out=torch.eye(len(M)))


def transposed_at_the_wrong_end(W_Q, W_K, W_V, W_O, M):
    """You transposed the inverse in W_O and not in W_K. A key meets the query transposed, a value
    meets W_O as it is: the other way round."""
    inverse = torch.linalg.inv(M)
    return _changed(W_Q, W_K, W_V, W_O, M, keys=inverse, out=inverse.mT)


def as_if_a_rotation(W_Q, W_K, W_V, W_O, M):
    """Yours holds where M is a rotation, for then Mᵀ is its inverse. M is any invertible matrix:
    keys take inv(M).mT, and W_O takes inv(M) in front."""
    return _changed(W_Q, W_K, W_V, W_O, M, keys=M, out=M.mT)


def _basis(size: int, seed: int) -> Tensor:
    return torch.eye(size) + 0.4 * normal((size, size), seed=seed)[0]


IN_ANOTHER_BASIS = Exercise(
    id="4.2",
    title="a head in another basis",
    answer=in_another_basis,
    cases={
        "a head of width 3": lambda: (*normal((5, 3), (5, 3), (5, 3), (3, 5)), _basis(3, seed=1)),
        "a head as wide as the stream": lambda: (
            *normal((4, 4), (4, 4), (4, 4), (4, 4), seed=2),
            _basis(4, seed=3),
        ),
    },
    mistakes=[
        same_basis_for_the_keys,
        inverse_not_transposed,
        transposed_not_inverted,
        output_not_changed,
        output_changed_alike,
        output_transposed_like_the_keys,
        output_transposed_not_inverted,
        queries_left_alone,
        inverse_for_the_queries,
        basis_transposed,
        keys_left_alone,
        values_left_alone,
        keys_and_output_left_alone,
        transposed_at_the_wrong_end,
        as_if_a_rotation,
    ],
    variants=[
        lambda W_Q, W_K, W_V, W_O, M: (
            W_Q @ M,
            torch.linalg.solve(M, W_K.mT).mT,
            W_V @ M,
            torch.linalg.solve(M, W_O),
        ),
    ],
    hints=[
        "Write down the score with W_Q M in place of W_Q. What must W_K become for M to vanish?",
        "(W_Q M)(W_K N)ᵀ = W_Q M Nᵀ W_Kᵀ: which N makes M Nᵀ the identity?",
        "N is torch.linalg.inv(M).mT; and W_O, which follows M directly, takes inv(M) in front.",
    ],
    difficulty=2,
    minutes=10,
)


# 4.3


def qk_scores(
    query_rows: Float[Tensor, "query d_model"],
    key_rows: Float[Tensor, "key d_model"],
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
) -> Float[Tensor, "query key"]:
    """How much each query row wants to read each key row: attention scores."""
    return (query_rows @ W_Q) @ (key_rows @ W_K).mT / math.sqrt(W_Q.shape[-1])


def queries_and_keys_swapped(query_rows, key_rows, W_Q, W_K):
    """You sent the queries through W_K and the keys through W_Q: this says who wants to be read by
    whom. Queries go through W_Q.

    Names are swapped more easily than letters: write queries = ... and keys = ... on two lines, and
    only then compare them."""
    return qk_scores(query_rows, key_rows, W_K, W_Q)


def rows_and_columns_swapped(query_rows, key_rows, W_Q, W_K):
    """Your rows are keys. Row i must hold the scores of query i, with the keys along the
    columns."""
    return qk_scores(query_rows, key_rows, W_Q, W_K).mT


def not_scaled(query_rows, key_rows, W_Q, W_K):
    """Your scores are √d_head times too large: divide, as in exercise 1.4, so that they are what
    the softmax gets.

    W_QK itself has no scale; scores do. Which axis of W_Q counts the numbers that a dot product of
    a query and a key sums over?"""
    return qk_scores(query_rows, key_rows, W_Q, W_K) * math.sqrt(W_Q.shape[-1])


def scaled_by_d_model(query_rows, key_rows, W_Q, W_K):
    """You divided by √d_model. The dot product runs over d_head numbers: divide by their root."""
    return qk_scores(query_rows, key_rows, W_Q, W_K) * math.sqrt(W_Q.shape[-1] / len(W_Q))


def query_rows_twice(query_rows, key_rows, W_Q, W_K):
    """Both ends of your scores come from the query rows. The keys are made from `key_rows`."""
    return qk_scores(query_rows, query_rows, W_Q, W_K)


def softmax_taken(query_rows, key_rows, W_Q, W_K):
    """Your rows sum to 1: you took the softmax. Which keys stand in a text decides what they
    compete with; wanted are the scores before it."""
    return qk_scores(query_rows, key_rows, W_Q, W_K).softmax(dim=-1)


def no_weights_at_all(query_rows, key_rows, W_Q, W_K):
    """You compared the rows themselves, without W_Q and W_K: that is how alike they are, for no
    head in particular."""
    return query_rows @ key_rows.mT / math.sqrt(W_Q.shape[-1])


def keys_made_by_W_Q(query_rows, key_rows, W_Q, W_K):
    """Your keys are made by W_Q, like the queries. A head has a matrix for each: key_rows @ W_K."""
    return qk_scores(query_rows, key_rows, W_Q, W_Q)


def key_rows_twice(query_rows, key_rows, W_Q, W_K):
    """Both ends of your scores come from the key rows. The queries are made from `query_rows`."""
    return qk_scores(key_rows, key_rows, W_Q, W_K)


def scaled_by_d_head(query_rows, key_rows, W_Q, W_K):
    """You divided by d_head. Divide by its root."""
    return qk_scores(query_rows, key_rows, W_Q, W_K) / math.sqrt(W_Q.shape[-1])


def later_keys_hidden(query_rows, key_rows, W_Q, W_K):
    """You hid the keys above the diagonal. These rows have no order in a text: nothing is later
    than anything else."""
    scores = qk_scores(query_rows, key_rows, W_Q, W_K)
    return scores.masked_fill(torch.ones_like(scores).triu(diagonal=1).bool(), -math.inf)


QK_SCORES = Exercise(
    id="4.3",
    title="the QK circuit on chosen tokens and positions",
    answer=qk_scores,
    cases={
        "three queries, four keys": normal((3, 5), (4, 5), (5, 2), (5, 2)),
        "as many queries as keys": normal((3, 6), (3, 6), (6, 4), (6, 4), seed=1),
    },
    mistakes=[
        softmax_taken,
        later_keys_hidden,
        queries_and_keys_swapped,
        rows_and_columns_swapped,
        not_scaled,
        scaled_by_d_model,
        query_rows_twice,
        no_weights_at_all,
        keys_made_by_W_Q,
        key_rows_twice,
        scaled_by_d_head,
    ],
    variants=[
        lambda query_rows, key_rows, W_Q, W_K: (
            query_rows @ (W_Q @ W_K.mT) @ key_rows.mT / W_Q.shape[-1] ** 0.5
        ),
        lambda query_rows, key_rows, W_Q, W_K: einsum(
            query_rows / W_Q.shape[-1] ** 0.5,
            W_Q,
            W_K,
            key_rows,
            "q i, i h, j h, k j -> q k",
        ),
    ],
    hints=[
        "Make a query of each query row and a key of each key row; then compare all with all.",
        "A row times W_Q is a query; (queries) @ (keys).mT has the queries along its rows.",
        "Divide by the root of d_head, which is the number of columns of W_Q.",
    ],
    difficulty=1,
    minutes=10,
)


# 4.4


def ov_logits(
    source_rows: Float[Tensor, "source d_model"],
    W_V: Float[Tensor, "d_model d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    outs: Int[Tensor, " out"],
) -> Float[Tensor, "source out"]:
    """What reading each source row alone adds to the logit of each of these tokens."""
    return source_rows @ W_V @ W_O @ W_U[:, outs]


def sources_along_the_columns(source_rows, W_V, W_O, W_U, outs):
    """Your result is transposed: one row for each source, one column for each token of `outs`."""
    return ov_logits(source_rows, W_V, W_O, W_U, outs).mT


def probabilities_for_logits(source_rows, W_V, W_O, W_U, outs):
    """You took a softmax. One head's share of the logits is no prediction: others add to it first.
    Return the logits."""
    return ov_logits(source_rows, W_V, W_O, W_U, outs).softmax(dim=-1)


def rows_of_the_unembedding(source_rows, W_V, W_O, W_U, outs):
    """You took rows of W_U. A token's logit is read by its column: W_U is [d_model d_vocab], so
    W_U[:, outs]."""
    return source_rows @ W_V @ W_O @ W_U[outs].mT


def output_before_values(source_rows, W_V, W_O, W_U, outs):
    """You sent the source through W_Oᵀ first and W_Vᵀ after: that reads where the head writes. A
    row meets W_V first."""
    return ov_logits(source_rows, W_O.mT, W_V.mT, W_U, outs)


def head_left_out(source_rows, W_V, W_O, W_U, outs):
    """You unembedded the source rows themselves: that is the direct path, in which no head takes
    part. W_V and W_O come in between."""
    same = torch.eye(len(W_V))
    return ov_logits(source_rows, same, same, W_U, outs)


def first_columns(source_rows, W_V, W_O, W_U, outs):
    """You returned the first columns of W_U, as many as there are tokens in `outs`. Index with
    `outs` itself."""
    return ov_logits(source_rows, W_V, W_O, W_U, torch.arange(len(outs)))


def outs_for_the_wrong_axis(source_rows, W_V, W_O, W_U, outs):
    """W_U[outs] takes rows of W_U, which count d_model. Tokens are its columns: W_U[:, outs].

    W_U is [d_model d_vocab]. To keep all of the first axis and some of the second, what stands
    before the comma?"""
    return source_rows @ W_V @ W_O @ W_U[outs]


def all_tokens_returned(source_rows, W_V, W_O, W_U, outs):
    """You returned the logits of the whole vocabulary. Keep the columns `outs`."""
    return ov_logits(source_rows, W_V, W_O, W_U, torch.arange(W_U.shape[1]))


def source_added(source_rows, W_V, W_O, W_U, outs):
    """You added the source row itself to what the head writes. It stands at another position: all
    that the head adds is its row times W_V W_O.

    The row that is read and the row that is written to belong to two positions. On which of the two
    does x stay where it was?"""
    same = torch.eye(len(W_V))
    return ov_logits(source_rows, W_V @ W_O + same, same, W_U, outs)


def probabilities_of_all(source_rows, W_V, W_O, W_U, outs):
    """You took a softmax over the vocabulary. One head's share of the logits is no prediction:
    others add to it first. Return the logits."""
    return (source_rows @ W_V @ W_O @ W_U).softmax(dim=-1)[:, outs]


OV_LOGITS = Exercise(
    id="4.4",
    title="the OV circuit on chosen tokens",
    answer=ov_logits,
    cases={
        "as many tokens as d_model": (
            *normal((3, 5), (5, 2), (2, 5), (5, 5)),
            torch.tensor([4, 0, 2]),
        ),
        "two sources, four tokens": (
            *normal((2, 4), (4, 3), (3, 4), (4, 9), seed=1),
            torch.tensor([3, 1, 1, 2]),
        ),
    },
    mistakes=[
        sources_along_the_columns,
        probabilities_for_logits,
        rows_of_the_unembedding,
        output_before_values,
        head_left_out,
        first_columns,
        outs_for_the_wrong_axis,
        all_tokens_returned,
        source_added,
        probabilities_of_all,
    ],
    variants=[
        lambda source_rows, W_V, W_O, W_U, outs: (source_rows @ (W_V @ W_O) @ W_U)[:, outs],
        lambda source_rows, W_V, W_O, W_U, outs: einsum(
            source_rows, W_V, W_O, W_U.index_select(1, outs), "s m, m h, h n, n o -> s o"
        ),
    ],
    hints=[
        "Follow one row: through W_V, through W_O, then into the logits.",
        "Which axis of W_U counts tokens? Index that one with `outs`.",
        "source_rows @ W_V @ W_O is what is written; the columns of W_U turn it into logits.",
    ],
    difficulty=1,
    minutes=5,
)


# 4.5


def strongest_entries(
    left: Float[Tensor, "row rank"],
    right: Float[Tensor, "rank column"],
    k: int,
    rows_at_once: int,
) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
    """The k greatest entries of left @ right, with their rows and columns; never all of it."""
    n_columns = right.shape[1]
    values, places = left.new_empty(0), torch.empty(0, dtype=torch.long)
    for first in range(0, len(left), rows_at_once):
        chunk = (left[first : first + rows_at_once] @ right).flatten()
        found = chunk.topk(min(k, len(chunk)))
        values = torch.cat([values, found.values])
        places = torch.cat([places, found.indices + first * n_columns])
        best = values.topk(min(k, len(values))).indices
        values, places = values[best], places[best]
    return values, places // n_columns, places % n_columns


def a_few_rows_at_a_time(function: Callable, left, right, k, rows_at_once):
    """The answer, equal entries in reading order; MemoryError where it held the whole matrix."""
    with NothingLarger(max(100, 4 * rows_at_once * right.shape[1])):
        entries = function(left, right, k, rows_at_once)
    return _ties_in_reading_order(entries)


def _ties_in_reading_order(entries: object) -> object:
    """Three tensors of entries, those of equal value from top to bottom and from left to right."""
    if not isinstance(entries, tuple | list) or len(entries) != 3:
        return entries
    if not all(isinstance(part, Tensor) and part.ndim == 1 for part in entries):
        return entries
    if len({len(part) for part in entries}) != 1:
        return entries
    values, rows, columns = (part.tolist() for part in entries)
    if values != sorted(values, reverse=True):
        return entries
    order = sorted(range(len(values)), key=lambda i: (-values[i], rows[i], columns[i]))
    return tuple(part[order] for part in entries)


def _of_whole(left, right, k):
    """The right answer of a small matrix, from all of it."""
    n_columns = right.shape[1]
    found = (left @ right).flatten().topk(k)
    return found.values, found.indices // n_columns, found.indices % n_columns


def _chunk_maxima(left, right, k, rows_at_once, *, offset: bool = True, size=None):
    """Each chunk's k greatest entries, one after the other, without merging them."""
    n_columns, found = right.shape[1], []
    for first in range(0, len(left), rows_at_once):
        values, rows, columns = _of_whole(
            left[first : first + rows_at_once],
            right,
            min(k, len(left[first : first + rows_at_once]) * n_columns),
        )
        found.append((values, rows + first * offset, columns))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _first_of(entries, k):
    best = entries[0].topk(min(k, len(entries[0]))).indices
    return tuple(part[best] for part in entries)


def materialises_it(left, right, k, rows_at_once):
    """You made all of left @ right at once. Between all of GPT-2's tokens that is 10 GB. Take
    `rows_at_once` rows of left at a time, and keep only the best so far.

    When you have seen the first rows, which of their entries can you forget for good?"""
    return _of_whole(left, right, k)


def misses_ties_across_chunks(left, right, k, rows_at_once):
    """Two equal entries of different chunks came out as one: a dict with the values as keys, or
    `unique`, keeps only one of them. Keep value, row and column together, and let equal ones
    stand."""
    values, rows, columns = _chunk_maxima(left, right, k, rows_at_once)
    kept = {
        value: (row, column)
        for value, row, column in zip(values.tolist(), rows.tolist(), columns.tolist(), strict=True)
    }
    best = sorted(kept, reverse=True)[:k]
    places = torch.tensor([kept[value] for value in best])
    return values.new_tensor(best), places[:, 0], places[:, 1]


def rows_counted_in_the_chunk(left, right, k, rows_at_once):
    """Your rows count from the beginning of each chunk. Add the chunk's first row to them.

    left[first : first + rows_at_once] @ right counts its rows from 0. Which row of the whole matrix
    is its row 0?"""
    return _first_of(_chunk_maxima(left, right, k, rows_at_once, offset=False), k)


def chunks_not_merged(left, right, k, rows_at_once):
    """You kept the k best of every chunk. Of all these together take the k best again."""
    return _chunk_maxima(left, right, k, rows_at_once)


def last_chunk_only(left, right, k, rows_at_once):
    """You returned the best of the last chunk: each chunk overwrites what came before. Compare with
    the best so far."""
    start = (len(left) - 1) // rows_at_once * rows_at_once
    values, rows, columns = _of_whole(left[start:], right, k)
    return values, rows + start, columns


def incomplete_chunk_lost(left, right, k, rows_at_once):
    """The last rows never came up: your loop counts whole chunks only. range(0, len(left),
    rows_at_once) has the incomplete one too."""
    whole = len(left) // rows_at_once * rows_at_once
    return _first_of(_chunk_maxima(left[:whole], right, k, rows_at_once), k)


def one_for_each_row(left, right, k, rows_at_once):
    """You kept the best entry of each row. A row may hold several of the strongest: take topk over
    the flattened chunk."""
    values, columns = (left @ right).max(dim=1) if len(left) < 100 else _row_maxima(left, right)
    return _first_of((values, torch.arange(len(left)), columns), k)


def _row_maxima(left, right):
    found = [(part @ right).max(dim=1) for part in left.split(50)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def sizes_for_values(left, right, k, rows_at_once):
    """You looked for the largest absolute values. An entry far below 0 is a token that the head
    keeps from coming; wanted are the greatest."""
    n_columns, found = right.shape[1], []
    for first in range(0, len(left), rows_at_once):
        chunk = (left[first : first + rows_at_once] @ right).flatten()
        best = chunk.abs().topk(min(k, len(chunk))).indices
        found.append((chunk[best], best // n_columns + first, best % n_columns))
    together = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    best = together[0].abs().topk(k).indices
    return tuple(part[best] for part in together)


def places_divided_by_rows(left, right, k, rows_at_once):
    """You found the row of a flattened entry by dividing by the number of rows. In a row stand as
    many entries as there are columns: divide by those."""
    values, rows, columns = _first_of(_chunk_maxima(left, right, k, rows_at_once), k)
    places = rows * right.shape[1] + columns
    return values, places // len(left), places % len(left)


def more_wanted_than_a_chunk_has(left, right, k, rows_at_once):
    """You asked topk for k entries of a chunk that has fewer: topk(min(k, chunk.numel()))."""
    for chunk in left.split(rows_at_once):
        (chunk @ right).flatten().topk(k)
    return _with_merged(left, right, k, rows_at_once)


def k_of_the_smallest_chunk(left, right, k, rows_at_once):
    """You returned fewer than k entries: min(k, chunk.numel()) is for the chunk alone. Of the best
    so far and the chunk's together keep k again."""
    n_columns = right.shape[1]
    k = min([k, *(len(chunk) * n_columns for chunk in left.split(rows_at_once))])
    return _first_of(_chunk_maxima(left, right, k, rows_at_once), k)


def rows_and_columns_exchanged(left, right, k, rows_at_once):
    """You exchanged rows and columns. Return values, rows, columns: place // n_columns is the row,
    place % n_columns the column."""
    values, rows, columns = _first_of(_chunk_maxima(left, right, k, rows_at_once), k)
    return values, columns, rows


def places_among_the_best(left, right, k, rows_at_once):
    """Your values are right; your rows and columns come from the places among the best so far, not
    in the matrix. Carry each value's place along: places = places[best].

    topk says where among the values that you gave it. Those are no row of the matrix any more, so
    what must you keep beside each of them?"""
    values, _, _ = _chunk_maxima(left, right, k, rows_at_once)
    found = values.topk(min(k, len(values)))
    return found.values, found.indices // right.shape[1], found.indices % right.shape[1]


def row_added_to_the_place(left, right, k, rows_at_once):
    """You added the chunk's first row to the place in the flattened chunk. A row is n_columns
    places long: add first * n_columns, or add `first` to the row after dividing."""
    values, rows, columns = _first_of(_chunk_maxima(left, right, k, rows_at_once), k)
    first = rows // rows_at_once * rows_at_once
    places = (rows - first) * right.shape[1] + columns + first
    return values, places // right.shape[1], places % right.shape[1]


def _with_merged(left, right, k, rows_at_once):
    """The same, merged once at the end."""
    return _first_of(_chunk_maxima(left, right, k, rows_at_once), k)


STRONGEST_ENTRIES = Exercise(
    id="4.5",
    title="the strongest entries of a circuit too large to hold",
    answer=strongest_entries,
    run=a_few_rows_at_a_time,
    cases={
        "7 × 5 whole numbers, three rows at a time": (*integers((7, 2), (2, 5), seed=32), 5, 3),
        "600 × 500, 50 rows at a time": (*normal((600, 3), (3, 500), seed=1), 6, 50),
        "more wanted than a chunk has": (*normal((5, 2), (2, 3), seed=2), 5, 1),
    },
    mistakes=[
        materialises_it,
        misses_ties_across_chunks,
        rows_counted_in_the_chunk,
        chunks_not_merged,
        last_chunk_only,
        incomplete_chunk_lost,
        one_for_each_row,
        sizes_for_values,
        places_divided_by_rows,
        more_wanted_than_a_chunk_has,
        k_of_the_smallest_chunk,
        rows_and_columns_exchanged,
        places_among_the_best,
        row_added_to_the_place,
    ],
    variants=[_with_merged],
    hints=[
        (
            "left[first : first + rows_at_once] @ right is some rows of the matrix. Which of its "
            "entries can still be among the k greatest of all?"
        ),
        (
            "Keep three tensors: values, rows, columns of the best so far. After each chunk put "
            "its k best behind them (torch.cat) and keep the k best of both."
        ),
        (
            "chunk.flatten().topk(min(k, chunk.numel())) gives values and places; place // columns "
            "is the row in the chunk (add first), place % columns the column."
        ),
    ],
    difficulty=3,
    minutes=20,
)


# 4.6


def copying_score(
    left: Float[Tensor, "token d_head"], right: Float[Tensor, "d_head token"]
) -> Float[Tensor, ""]:
    """How positive the eigenvalues of left @ right are, from -1 to 1."""
    eigenvalues = torch.linalg.eigvals(right @ left)
    return eigenvalues.real.sum() / eigenvalues.abs().sum()


def never_the_large_matrix(function: Callable, left, right):
    with NothingLarger(max(1000, len(left) ** 2 - 1)):
        return function(left, right)


def _copying(left, right, *, found=torch.linalg.eigvals, above=torch.real, below=torch.abs):
    """The sum of one thing by the sum of another, for what is found in the small matrix."""
    values = found(right @ left)
    return above(values).sum() / below(values).sum()


def eigenvalues_of_the_large_matrix(left, right):
    """You took the eigenvalues of left @ right, token × token: 10 GB for GPT-2, and days. The small
    matrix right @ left has the same ones, but for zeros.

    AB and BA have the same eigenvalues, but for zeros. With A = left and B = right, which of the
    two products is d_head × d_head?"""
    return _copying(right, left)


def absolute_values(left, right):
    """Your score is never below 0: you summed |Re λ|. A head that lowers what it reads has negative
    eigenvalues, and the score must show it: sum Re λ."""
    return _copying(left, right, above=lambda values: values.real.abs())


def real_parts_below_the_line(left, right):
    """You divided by Σ |Re λ|: a head that only rotates counts for nothing below the line. Divide
    by the sizes |λ|, imaginary parts included.

    λ = a + ib has the size √(a² + b²). torch's .abs() of a complex number is that, if .real was
    not taken first."""
    return _copying(left, right, below=lambda values: values.real.abs())


def of_the_symmetric_part(left, right):
    """You made the matrix symmetric, (W + Wᵀ) / 2, perhaps by eigvalsh, which reads one half of it
    only. Its eigenvalues are real, but other ones. Take torch.linalg.eigvals of the matrix
    itself."""
    return _copying(left, right, found=lambda small: torch.linalg.eigvalsh((small + small.mT) / 2))


def one_half_of_the_matrix(left, right):
    """You took eigvalsh, which is for symmetric matrices: it reads the lower half and believes that
    the upper is the same. Take torch.linalg.eigvals."""
    return _copying(left, right, found=torch.linalg.eigvalsh)


def singular_values_below_the_line(left, right):
    """You divided by singular values. They say how far vectors are stretched, not whether they come
    out as they went in. Divide by the sum of |λ|."""
    below = torch.linalg.svdvals(right @ left)
    return _copying(left, right, below=lambda values: below)


def norm_below_the_line(left, right):
    """You divided by the Frobenius norm. The trace is the sum of the eigenvalues, but the norm is
    not the sum of their sizes |λ|: for that you need the eigenvalues."""
    below = (right @ left).norm()
    return _copying(left, right, below=lambda values: below)


def root_of_the_squares(left, right):
    """You divided by the root of Σ |λ|². Add up the sizes themselves: Σ |λ|."""
    return _copying(left, right, below=lambda values: values.abs().square().sum().sqrt())


def share_of_positive_ones(left, right):
    """You counted the eigenvalues with a positive real part. Weigh them: Σ Re λ / Σ |λ|."""
    return _copying(left, right, above=lambda values: values.real > 0, below=torch.ones_like).real


def only_positive_ones(left, right):
    """Your score is never below 0: you left the negative real parts out of the sum. They are what
    tells a head that lowers from one that copies: sum all Re λ."""
    return _copying(left, right, above=lambda values: values.real.relu())


def not_divided(left, right):
    """Your score grows with the weights: divide Σ Re λ by Σ |λ|, so that heads can be compared."""
    return _copying(left, right, below=lambda values: torch.ones(()))


def divided_by_how_many(left, right):
    """You took the mean of Re λ, which grows with the weights. Divide the sum by Σ |λ|, not by how
    many there are."""
    return _copying(left, right, below=lambda values: torch.ones(len(values)))


def size_of_the_sum(left, right):
    """Your score is never below 0: you took |Σ λ|. A head that lowers what it reads must come out
    negative: take the real part of the sum."""
    return _copying(left, right, above=lambda values: values.sum().abs())


def mean_of_the_ratios(left, right):
    """You divided each eigenvalue by its own size, so that small ones count as much as large ones.
    Sum first: Σ Re λ / Σ |λ|."""
    return _copying(left, right, found=lambda small: torch.sgn(torch.linalg.eigvals(small)))


def left_complex(left, right):
    """Your score is a complex number. The imaginary parts cancel in the sum; take .real."""
    return _copying(left, right, above=lambda values: values)


def diagonal_for_eigenvalues(left, right):
    """You used the diagonal's entries for eigenvalues. They have the same sum, but not the same
    sizes: torch.linalg.eigvals(right @ left)."""
    return _copying(left, right, found=torch.diagonal)


def diagonal_of_the_large_matrix(left, right):
    """You used how much each token raises itself, the diagonal of left @ right, for eigenvalues.
    They have the same sum, but not the same sizes: torch.linalg.eigvals(right @ left)."""
    diagonal = (left * right.mT).sum(dim=-1)
    return _copying(left, right, found=lambda small: diagonal)


def one_for_every_head(left, right):
    """Your score is always 1: what you summed is never negative. Singular values have no sign;
    take torch.linalg.eigvals.

    A copying head gives a vector back as it came, a lowering one turns it round. Both stretch it
    alike, so no number that only says how far can tell them apart."""
    return _copying(left, right, found=torch.linalg.svdvals)


def _copier(tokens: int, d_head: int, sign: float, seed: int) -> tuple[Tensor, Tensor]:
    """A head that raises (sign 1) or lowers what it reads, with some noise."""
    left, noise = normal((tokens, d_head), (d_head, tokens), seed=seed)
    return left, sign * left.mT + 0.5 * noise


COPYING_SCORE = Exercise(
    id="4.6",
    title="the copying score",
    answer=copying_score,
    run=never_the_large_matrix,
    cases={
        "six tokens, d_head 3": normal((6, 3), (3, 6), seed=4),
        "a head that lowers what it reads": _copier(8, 4, -1.0, seed=1),
        "a vocabulary of 60 tokens": normal((60, 5), (5, 60), seed=2),
    },
    mistakes=[
        eigenvalues_of_the_large_matrix,
        absolute_values,
        real_parts_below_the_line,
        of_the_symmetric_part,
        one_half_of_the_matrix,
        singular_values_below_the_line,
        norm_below_the_line,
        root_of_the_squares,
        share_of_positive_ones,
        only_positive_ones,
        not_divided,
        divided_by_how_many,
        size_of_the_sum,
        mean_of_the_ratios,
        left_complex,
        diagonal_for_eigenvalues,
        diagonal_of_the_large_matrix,
        one_for_every_head,
    ],
    variants=[
        lambda left, right: (
            torch.trace(right @ left) / torch.linalg.eigvals(right @ left).abs().sum()
        ),
        lambda left, right: (
            torch.linalg.eig((right @ left).double()).eigenvalues.real.sum()
            / torch.linalg.eig((right @ left).double()).eigenvalues.abs().sum()
        ),
    ],
    hints=[
        "AB and BA have the same eigenvalues, but for zeros. Which of the two is small?",
        "torch.linalg.eigvals(right @ left) gives d_head complex numbers: .real and .abs().",
        "The sum of the real parts, divided by the sum of the absolute values.",
    ],
    difficulty=2,
    minutes=10,
)


# 4.7


def share_copied(
    circuit: Float[Tensor, "source d_vocab"], sources: Int[Tensor, " source"], k: int
) -> Float[Tensor, ""]:
    """The share of sources whose own logit is among the k that are raised most."""
    raised = circuit.topk(k, dim=-1).indices
    return (raised == sources[:, None]).any(dim=-1).float().mean()


def ranked_down_the_column(circuit, sources, k):
    """You ranked down each column: which source raises a token's logit most. Rank along the row:
    which token a source raises most."""
    raised = circuit[:, sources].topk(min(k, len(circuit)), dim=0).indices
    return (raised == torch.arange(len(sources))).any(dim=0).float().mean()


def rows_taken_for_tokens(circuit, sources, k):
    """You compared with the row's number. Row i belongs to the token sources[i].

    The columns count the whole vocabulary, the rows only the sources. In which column of row i
    stands its own logit?"""
    return share_copied(circuit, torch.arange(len(sources)), k)


def only_the_first(circuit, sources, k):
    """You looked at the most raised token alone, whatever k is. The k most raised count."""
    return share_copied(circuit, sources, 1)


def raised_at_all(circuit, sources, k):
    """You counted every source whose own logit goes up. Nearly all logits may go up: the token must
    be among the k that are raised most."""
    own = circuit.gather(1, sources[:, None])
    return (own > 0).float().mean()


def lowered_most(circuit, sources, k):
    """You took the k that are lowered most. topk finds the greatest unless it is told otherwise."""
    return share_copied(-circuit, sources, k)


def counted_not_shared(circuit, sources, k):
    """You returned how many they are. Divide by the number of sources."""
    return share_copied(circuit, sources, k) * len(sources)


def divided_by_k_too(circuit, sources, k):
    """You averaged over the k places as well: a source stands in one of them at most. Use any(),
    then mean()."""
    return share_copied(circuit, sources, k) / k


def sizes_ranked(circuit, sources, k):
    """You ranked by absolute value: a token that is lowered far counts as raised. Rank the entries
    as they are."""
    return share_copied(circuit.abs(), sources, k)


def one_place_too_many(circuit, sources, k):
    """You allowed k tokens above the own one: then it is number k + 1. Fewer than k, < k."""
    return share_copied(circuit, sources, k + 1)


def any_of_the_sources(circuit, sources, k):
    """You counted a row if any of the sources is raised most in it. Row i has to raise its own:
    compare with sources[:, None], a column."""
    raised = circuit.topk(k, dim=-1).indices
    return torch.isin(raised, sources).any(dim=-1).float().mean()


def sources_along_the_k(circuit, sources, k):
    """You compared the k most raised of each row with all sources side by side. Each row has one
    source of its own: make them a column, sources[:, None].

    Two tensors are lined up from the last axis on: [source k] against [source] compares k with
    source, or raises an error."""
    raised = circuit.topk(k, dim=-1).indices
    return (raised == sources).any(dim=-1).float().mean()


def ranked_among_the_sources(circuit, sources, k):
    """You ranked the sources among themselves. The own token must be among the k most raised of the
    whole vocabulary."""
    return share_copied(circuit[:, sources], torch.arange(len(sources)), k)


def booleans_have_no_mean(circuit, sources, k):
    """torch takes no mean of True and False: make numbers of them first, with .float()."""
    return (circuit.topk(k, dim=-1).indices == sources[:, None]).any(dim=-1).mean()


def _half_copied(sources: int, d_vocab: int, seed: int) -> tuple[Tensor, Tensor]:
    """A circuit in which every second source's own logit is raised far, and its tokens."""
    random = torch.Generator().manual_seed(seed)
    circuit = torch.randn(sources, d_vocab, generator=random)
    tokens = torch.randperm(d_vocab, generator=random)[:sources]
    circuit[torch.arange(0, sources, 2), tokens[::2]] += 2
    return circuit, tokens


SHARE_COPIED = Exercise(
    id="4.7",
    title="the share of tokens that a head copies",
    answer=share_copied,
    cases={
        "twenty sources, the most raised token": lambda: (*_half_copied(20, 30, seed=0), 1),
        "thirty sources, the three most raised": lambda: (*_half_copied(30, 40, seed=1), 3),
    },
    mistakes=[
        ranked_down_the_column,
        rows_taken_for_tokens,
        only_the_first,
        raised_at_all,
        lowered_most,
        counted_not_shared,
        divided_by_k_too,
        sizes_ranked,
        one_place_too_many,
        any_of_the_sources,
        sources_along_the_k,
        ranked_among_the_sources,
        booleans_have_no_mean,
    ],
    variants=[
        lambda circuit, sources, k: (
            ((circuit > circuit.gather(1, sources[:, None])).sum(dim=1) < k).double().mean()
        ),
        lambda circuit, sources, k: (
            sum(token in row.topk(k).indices for row, token in zip(circuit, sources, strict=True))
            / len(sources)
        ),
    ],
    hints=[
        "Row i says what reading the token sources[i] does to every logit. Which go up most?",
        "circuit.topk(k, dim=-1).indices is [source k]: is sources[i] one of row i's k?",
        "Compare with sources[:, None], then any(dim=-1), then the mean of the booleans as floats.",
    ],
    difficulty=1,
    minutes=10,
)


# 4.8


def reads_and_writes(
    W_V: Float[Tensor, "d_model d_head"], W_O: Float[Tensor, "d_head d_model"]
) -> tuple[
    Float[Tensor, " d_head"], Float[Tensor, "d_head d_model"], Float[Tensor, "d_head d_model"]
]:
    """The d_head singular values of W_OV, and the directions that it reads and writes, as rows."""
    U, S, Vh = torch.linalg.svd(W_V @ W_O)
    d_head = W_V.shape[-1]
    return S[:d_head], U[:, :d_head].mT, Vh[:d_head]


def with_fixed_signs(function: Callable, W_V, W_O):
    """Each pair of directions with the sign that makes the greatest number written positive."""
    directions = function(W_V, W_O)
    if not isinstance(directions, tuple | list) or len(directions) != 3:
        return directions
    S, reading, writing = directions
    if not (isinstance(writing, Tensor) and isinstance(reading, Tensor) and reading.ndim == 2):
        return directions
    if reading.shape != writing.shape or not writing.isfinite().all() or not writing.numel():
        return directions
    sign = writing.gather(-1, writing.abs().argmax(dim=-1, keepdim=True)).sign()
    return S, sign * reading, sign * writing


def reading_and_writing_swapped(W_V, W_O):
    """You swapped the two: with vectors as rows, x @ W_OV first meets U. What is read are U's
    columns, what is written Vh's rows.

    Write x @ U @ diag(S) @ Vh. Which factor takes the dot products with x, and along whose rows
    does the result come out?"""
    S, reading, writing = reads_and_writes(W_V, W_O)
    return S, writing, reading


def rows_of_U(W_V, W_O):
    """You took U's rows as what is read. Its singular vectors are its columns: U[:, :d_head].mT.

    Check it: x along one of your rows should come out S times as long. U's columns are read, Vh's
    rows are written: only one of the two has its vectors along the rows."""
    S, _, writing = reads_and_writes(W_V, W_O)
    return S, torch.linalg.svd(W_V @ W_O).U[: len(W_O)], writing


def columns_of_Vh(W_V, W_O):
    """You transposed Vh: torch returns V transposed already, with one direction a row."""
    S, reading, _ = reads_and_writes(W_V, W_O)
    return S, reading, torch.linalg.svd(W_V @ W_O).Vh[:, : len(W_O)].mT


def all_d_model_directions(W_V, W_O):
    """You returned d_model directions. From number d_head on the singular values are 0: the head
    reads nothing there. Keep the first d_head."""
    U, S, Vh = torch.linalg.svd(W_V @ W_O)
    return S, U.mT, Vh


def each_matrix_by_itself(W_V, W_O):
    """You took what W_V reads and what W_O writes from two decompositions: these pairs do not
    belong together, and they change with the basis of exercise 4.2. Decompose the product."""
    U, S, _ = torch.linalg.svd(W_V, full_matrices=False)
    _, T, Vh = torch.linalg.svd(W_O, full_matrices=False)
    return S * T, U.mT, Vh


def squared_singular_values(W_V, W_O):
    """Your strengths are squared: these are the eigenvalues of W_OV W_OVᵀ. Singular values are
    their roots."""
    S, reading, writing = reads_and_writes(W_V, W_O)
    return S**2, reading, writing


def directions_scaled(W_V, W_O):
    """You multiplied the directions by their singular values. Keep them unit vectors: the strength
    is in S."""
    S, reading, writing = reads_and_writes(W_V, W_O)
    return S, reading, S[:, None] * writing


def read_directions_as_columns(W_V, W_O):
    """What is read stands in your columns, as U has it. Return one direction a row:
    U[:, :d_head].mT."""
    S, reading, writing = reads_and_writes(W_V, W_O)
    return S, reading.mT, writing


def of_the_small_product(W_V, W_O):
    """You decomposed W_O @ W_V, d_head × d_head. It shares W_OV's eigenvalues (exercise 4.6), not
    its singular values, and its directions are none of the stream's. Decompose W_V @ W_O."""
    U, S, Vh = torch.linalg.svd(W_O @ W_V)
    return S, U.mT, Vh


def columns_of_the_weights(W_V, W_O):
    """You gave W_V's columns and W_O's rows. They change with the basis of exercise 4.2, and are
    not at right angles. Take the singular value decomposition of W_V @ W_O."""
    return torch.linalg.svdvals(W_V @ W_O)[: len(W_O)], W_V.mT, W_O


def _by_qr(W_V, W_O):
    """From a d_head × d_head decomposition, without the large matrix."""
    left, right = torch.linalg.qr(W_V), torch.linalg.qr(W_O.mT)
    U, S, Vh = torch.linalg.svd(left.R @ right.R.mT)
    return S, (left.Q @ U).mT, Vh @ right.Q.mT


READS_AND_WRITES = Exercise(
    id="4.8",
    title="what a head reads and what it writes",
    answer=reads_and_writes,
    run=with_fixed_signs,
    cases={
        "d_head 2 in a stream of 5": normal((5, 2), (2, 5), seed=5),
        "d_head 3 in a stream of 7": normal((7, 3), (3, 7), seed=1),
    },
    mistakes=[
        reading_and_writing_swapped,
        rows_of_U,
        columns_of_Vh,
        all_d_model_directions,
        each_matrix_by_itself,
        squared_singular_values,
        directions_scaled,
        read_directions_as_columns,
        of_the_small_product,
        columns_of_the_weights,
    ],
    variants=[_by_qr],
    hints=[
        "Decompose the product W_V @ W_O: torch.linalg.svd gives U, S and Vh.",
        "W_OV = U S Vh. A row x meets U's columns first and comes out along Vh's rows.",
        "Keep d_head of each: S[:d_head], U[:, :d_head] transposed, Vh[:d_head].",
    ],
    difficulty=2,
    minutes=10,
)


# 4.9


def copying_scores(
    w: Float[Tensor, "layer d_model"],
    W_V: Float[Tensor, "layer head d_model d_head"],
    W_O: Float[Tensor, "layer head d_head d_model"],
) -> Float[Tensor, "layer head"]:
    """The copying score of every head's W_OV, from raw weights."""
    W_V = (w[:, None, :, None] * W_V).double()
    W_V = W_V - W_V.mean(dim=-2, keepdim=True)
    eigenvalues = torch.linalg.eigvals(W_O.double() @ W_V)
    return eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1)


def small_matrices_only(function: Callable, w, W_V, W_O):
    with NothingLarger(w.shape[-1] ** 2 - 1):
        return function(w, W_V, W_O)


def _means(W):
    return W.mean(dim=-2, keepdim=True)


def _scores(w, W_V, W_O, *, means=_means, above=torch.real, below=torch.abs, dim=-1):
    """The scores with these means subtracted, and these parts of the eigenvalues summed."""
    W_V = w[:, None, :, None] * W_V
    eigenvalues = torch.linalg.eigvals((W_O @ (W_V - means(W_V))).double())
    return above(eigenvalues).sum(dim=dim) / below(eigenvalues).sum(dim=dim)


def not_folded(w, W_V, W_O):
    """You never used w: the head reads the stream only after the LayerNorm has stretched it.
    Multiply row i of W_V by w[i]."""
    return _scores(torch.ones_like(w), W_V, W_O)


def folded_not_centred(w, W_V, W_O):
    """You folded w in and left the means: LayerNorm subtracts them from what the head reads. Take
    from each column of W_V its mean over d_model."""
    return _scores(w, W_V, W_O, means=torch.zeros_like)


def raw_weights(w, W_V, W_O):
    """You scored the weights as they are stored. LayerNorm stands before the head: fold w into W_V
    first, then centre it.

    Chapter 3 did both: `processed` multiplies each row of W_V by its w, and takes from each column
    its mean. Begin with the first."""
    return _scores(torch.ones_like(w), W_V, W_O, means=torch.zeros_like)


def centred_before_folding(w, W_V, W_O):
    """You centred W_V first and multiplied by w after (or W_O by w, which comes to the same): then
    the columns have means again. Fold first.

    The LayerNorm centres x, then stretches it by w. Written for the matrix, the last step before
    W_V is the first that you put into it."""
    return _scores(w, W_V - _means(W_V), W_O, means=torch.zeros_like)


def divided_by_w(w, W_V, W_O):
    """You divided W_V by w. The LayerNorm multiplies each number of the stream by its w before W_V
    reads it: multiply row i by w[i]."""
    return _scores(1 / w, W_V, W_O)


def centred_over_the_head(w, W_V, W_O):
    """You took the mean over d_head. What is centred is the stream: the mean runs over d_model,
    dim=-2 of W_V.

    The axes of W_V are layer, head, d_model, d_head. LayerNorm takes the mean of one vector of the
    stream: which of these axes counts its numbers?"""
    return _scores(w, W_V, W_O, means=lambda W: W.mean(dim=-1, keepdim=True))


def whole_circuits(w, W_V, W_O):
    """You took the eigenvalues of W_V @ W_O, d_model × d_model for each head: slow, and all but
    d_head of them are rounding errors. W_O @ W_V is d_head × d_head."""
    folded = w[:, None, :, None] * W_V
    return torch.linalg.eigvals((folded - _means(folded)) @ W_O)


def sizes_above_the_line(w, W_V, W_O):
    """No score of yours is below 0: you summed |Re λ|. Sum Re λ."""
    return _scores(w, W_V, W_O, above=lambda eigenvalues: eigenvalues.real.abs())


def heads_by_layers(w, W_V, W_O):
    """Your table is [head layer]: layers go along the rows."""
    return _scores(w, W_V, W_O).mT


def one_score_for_all(w, W_V, W_O):
    """You summed over the heads as well, and have one score. Sum over the eigenvalues alone,
    dim=-1."""
    return _scores(w, W_V, W_O, dim=None)


def one_mean_for_all(w, W_V, W_O):
    """You subtracted the mean of all numbers. Each column of each head's W_V has its own:
    mean(dim=-2, keepdim=True)."""
    return _scores(w, W_V, W_O, means=torch.mean)


def centred_over_the_heads(w, W_V, W_O):
    """You took the mean over the heads. What is centred is the stream: the mean runs over d_model,
    dim=-2."""
    return _scores(w, W_V, W_O, means=lambda W: W.mean(dim=1, keepdim=True))


def mean_without_keepdim(w, W_V, W_O):
    """The mean lost its axis, so it does not line up with W_V: mean(dim=-2, keepdim=True)."""
    return _scores(w, W_V, W_O, means=lambda W: W.mean(dim=-2))


def stretched_along_d_head(w, W_V, W_O):
    """Your w runs along d_head. It has one number for each of the d_model rows of W_V:
    w[:, None, :, None]."""
    return w[:, None, None, :] * W_V


def only_real_parts_below_the_line(w, W_V, W_O):
    """You divided by Σ |Re λ|. Divide by the sizes |λ|, imaginary parts included."""
    return _scores(w, W_V, W_O, below=lambda eigenvalues: eigenvalues.real.abs())


def mean_of_each_ratio(w, W_V, W_O):
    """You divided each eigenvalue by its own size, so that small ones count as much as large ones.
    Sum first: Σ Re λ / Σ |λ|, as in exercise 4.6."""
    return _scores(
        *(w, W_V, W_O),
        above=lambda eigenvalues: torch.sgn(eigenvalues).real,
        below=lambda eigenvalues: torch.ones_like(eigenvalues.real),
    )


def _raw_heads(layers: int, heads: int, seed: int) -> tuple[Tensor, ...]:
    """Weights whose LayerNorm and whose means matter."""
    w, W_V, W_O, means = normal(
        (layers, 30),
        (layers, heads, 30, 3),
        (layers, heads, 3, 30),
        (layers, heads, 1, 3),
        seed=seed,
    )
    return 1 + 0.5 * w, W_V + means, W_O + 0.5 + 0.3 * W_V.mT


def _centred_output(w, W_V, W_O):
    """The means taken off W_O, where they stand in the same product."""
    return _scores(w, W_V, W_O - W_O.mean(dim=-1, keepdim=True), means=torch.zeros_like)


def _head_by_head(w, W_V, W_O):
    layers, heads = W_V.shape[:2]
    scores = [
        _scores(w[i : i + 1], W_V[i : i + 1, j : j + 1], W_O[i : i + 1, j : j + 1])
        for i in range(layers)
        for j in range(heads)
    ]
    return torch.cat(scores).reshape(layers, heads)


ALL_COPYING_SCORES = Exercise(
    id="4.9",
    title="the copying scores of all heads",
    answer=copying_scores,
    run=small_matrices_only,
    cases={
        "two layers of three heads": lambda: _raw_heads(2, 3, seed=0),
        "three layers of two heads": lambda: _raw_heads(3, 2, seed=1),
    },
    mistakes=[
        not_folded,
        folded_not_centred,
        raw_weights,
        centred_before_folding,
        divided_by_w,
        centred_over_the_head,
        whole_circuits,
        sizes_above_the_line,
        heads_by_layers,
        one_score_for_all,
        one_mean_for_all,
        centred_over_the_heads,
        mean_without_keepdim,
        stretched_along_d_head,
        only_real_parts_below_the_line,
        mean_of_each_ratio,
    ],
    variants=[
        _centred_output,
        _head_by_head,
    ],
    hints=[
        "Two steps on W_V: each row times its w, then from each column its mean over d_model.",
        (
            "w[:, None, :, None] has the axes layer, head, d_model, d_head. The mean is over "
            "dim=-2; keepdim=True lets you subtract it."
        ),
        (
            "torch.linalg.eigvals works on the last two axes: of W_O @ W_V, in double(), it gives "
            "[layer head d_head]. Then exercise 4.6, with dim=-1."
        ),
    ],
    difficulty=2,
    minutes=15,
)


# 4.10


def story(
    pattern: Float[Tensor, "batch q_pos k_pos"],
    x: Float[Tensor, "batch pos d_model"],
    W_QK: Float[Tensor, "d_model d_model"],
    W_OV: Float[Tensor, "d_model d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> dict[str, Int[Tensor, " batch"]]:
    """What one head does at the last position, as its pattern, its QK and its OV tell it."""
    last = pattern[:, -1]
    scores = einsum(x[:, -1] @ W_QK, x, "batch d_model, batch pos d_model -> batch pos")
    read = einsum(last, x, "batch pos, batch pos d_model -> batch d_model")
    return {
        "looks at": last.argmax(dim=-1),
        "wants": scores.argmax(dim=-1),
        "raises": (read @ W_OV @ W_U).argmax(dim=-1),
    }


def _story(pattern, x, W_QK, W_OV, W_U, *, read=None, most=torch.argmax):
    """The right story, but for what is read and for which token is chosen."""
    last = pattern[:, -1]
    scores = einsum(x[:, -1] @ W_QK, x, "batch d_model, batch pos d_model -> batch pos")
    read = einsum(last, x, "batch pos, batch pos d -> batch d") if read is None else read
    return {
        "looks at": last.argmax(dim=-1),
        "wants": scores.argmax(dim=-1),
        "raises": most(read @ W_OV @ W_U, dim=-1),
    }


def column_for_row(pattern, x, W_QK, W_OV, W_U):
    """You took the pattern's last column: who reads the last position. The last row is what the
    last position reads: pattern[:, -1].

    The axes are batch, q_pos, k_pos. Which of the two position axes do you fix, and which is left
    to take the argmax over?"""
    return _story(pattern.mT, x, W_QK, W_OV, W_U)


def rows_averaged(pattern, x, W_QK, W_OV, W_U):
    """You averaged the pattern over all positions that read. The story is about the last one:
    pattern[:, -1]."""
    return _story(pattern.mean(dim=1, keepdim=True), x, W_QK, W_OV, W_U)


def query_and_key_swapped(pattern, x, W_QK, W_OV, W_U):
    """What yours wants is wrong: you multiplied the last position by W_QK's columns, as if it were
    the key. The query comes first: x[:, -1] @ W_QK."""
    return _story(pattern, x, W_QK.mT, W_OV, W_U)


def reads_itself(pattern, x, W_QK, W_OV, W_U):
    """You sent the last position's own x through W_OV. The head writes what it read: x of all
    positions, weighted by the pattern.

    If the pattern gave all attention to position 2, which x would the head move? And if it gave
    half to 2 and half to 5?"""
    return _story(pattern, x, W_QK, W_OV, W_U, read=x[:, -1])


def only_the_most_read(pattern, x, W_QK, W_OV, W_U):
    """You sent only the most read position through W_OV. The others' shares add up: weigh every
    position by the pattern."""
    read = x[torch.arange(len(x)), pattern[:, -1].argmax(dim=-1)]
    return _story(pattern, x, W_QK, W_OV, W_U, read=read)


def nothing_moved(pattern, x, W_QK, W_OV, W_U):
    """You unembedded what the head reads. It writes something else: W_OV comes in between."""
    return _story(pattern, x, W_QK, torch.eye(len(W_OV)), W_U)


def W_OV_transposed(pattern, x, W_QK, W_OV, W_U):
    """What yours raises is wrong: W_OV came in transposed. What is read is a row and stands on its
    left: read @ W_OV."""
    return _story(pattern, x, W_QK, W_OV.mT, W_U)


def lowered(pattern, x, W_QK, W_OV, W_U):
    """You found the token that is lowered most: argmin. Wanted is the one that is raised most."""
    return _story(pattern, x, W_QK, W_OV, W_U, most=torch.argmin)


def wants_taken_from_the_pattern(pattern, x, W_QK, W_OV, W_U):
    """You took "wants" from the pattern, so that the two always agree. Compute it from W_QK: the
    story is worth something only if they could differ."""
    told = _story(pattern, x, W_QK, W_OV, W_U)
    return told | {"wants": told["looks at"]}


def told_for_every_position(pattern, x, W_QK, W_OV, W_U):
    """You told the story of every position. Keep the last one: [:, -1]."""
    scores = einsum(x @ W_QK, x, "batch q_pos d, batch k_pos d -> batch q_pos k_pos")
    return {
        "looks at": pattern.argmax(dim=-1),
        "wants": scores.argmax(dim=-1),
        "raises": (pattern @ x @ W_OV @ W_U).argmax(dim=-1),
    }


def all_read_alike(pattern, x, W_QK, W_OV, W_U):
    """You added up the x of all positions alike. The head reads each as much as the pattern's last
    row says."""
    return _story(pattern, x, W_QK, W_OV, W_U, read=x.sum(dim=1))


def stream_added(pattern, x, W_QK, W_OV, W_U):
    """You added what the head writes to the stream, and looked at both. Wanted is what the head
    alone raises."""
    stream = x[:, -1] @ W_U
    return _story(
        *(pattern, x, W_QK, W_OV, W_U),
        most=lambda logits, dim: (logits + stream).argmax(dim=dim),
    )


def changed_most(pattern, x, W_QK, W_OV, W_U):
    """You took the token whose logit changes most, up or down. Wanted is the one that is raised
    most: no absolute values."""
    return _story(
        pattern, x, W_QK, W_OV, W_U, most=lambda logits, dim: logits.abs().argmax(dim=dim)
    )


def last_position_left_out(pattern, x, W_QK, W_OV, W_U):
    """You left the last position out of the keys. It can read itself too."""
    told = _story(pattern, x, W_QK, W_OV, W_U)
    scores = einsum(x[:, -1] @ W_QK, x[:, :-1], "batch d_model, batch pos d_model -> batch pos")
    return told | {"wants": scores.argmax(dim=-1)}


def no_query_key_circuit(pattern, x, W_QK, W_OV, W_U):
    """You compared the last x with every x, without W_QK: that is which positions are alike, for no
    head in particular."""
    return _story(pattern, x, torch.eye(len(W_QK)), W_OV, W_U)


def _prompts(batch: int, pos: int, d_model: int, d_vocab: int, seed: int) -> tuple[Tensor, ...]:
    scores, x, W_QK, W_OV, W_U = normal(
        (batch, pos, pos),
        (batch, pos, d_model),
        (d_model, d_model),
        (d_model, d_model),
        (d_model, d_vocab),
        seed=seed,
    )
    later = torch.ones(pos, pos).triu(diagonal=1).bool()
    return (scores * 1.5).masked_fill(later, -torch.inf).softmax(dim=-1), x, W_QK, W_OV, W_U


STORY = Exercise(
    id="4.10",
    title="the story of one head",
    answer=story,
    cases={
        "eight texts of six tokens": lambda: _prompts(8, 6, 5, 11, seed=0),
        "six texts of nine tokens": lambda: _prompts(6, 9, 4, 7, seed=1),
    },
    mistakes=[
        column_for_row,
        rows_averaged,
        query_and_key_swapped,
        reads_itself,
        only_the_most_read,
        nothing_moved,
        W_OV_transposed,
        lowered,
        wants_taken_from_the_pattern,
        told_for_every_position,
        all_read_alike,
        stream_added,
        changed_most,
        last_position_left_out,
        no_query_key_circuit,
    ],
    variants=[
        lambda pattern, x, W_QK, W_OV, W_U: {
            "wants": torch.stack([(texts @ W_QK.mT @ texts[-1]).argmax() for texts in x]),
            "raises": ((pattern @ (x @ W_OV))[:, -1] @ W_U).argmax(dim=1),
            "looks at": pattern.argmax(dim=2)[:, -1],
        },
    ],
    hints=[
        "Three answers, each from one thing: the pattern's last row, W_QK, W_OV.",
        (
            '"wants": the scores of the last position\'s x with the x of every position, '
            "x_last W_QK xᵀ; einsum keeps the batch apart."
        ),
        (
            '"raises": what is read is the sum of all x, weighted by the pattern\'s last row; then '
            "@ W_OV @ W_U, and argmax over the vocabulary."
        ),
    ],
    difficulty=3,
    minutes=20,
)


EXERCISES = (
    QK_AND_OV,
    IN_ANOTHER_BASIS,
    QK_SCORES,
    OV_LOGITS,
    STRONGEST_ENTRIES,
    COPYING_SCORE,
    SHARE_COPIED,
    READS_AND_WRITES,
    ALL_COPYING_SCORES,
    STORY,
)

QUIZZES = (
    Quiz(
        id="4-a",
        question=(
            "Somebody plots W_Q of one head as a heatmap and finds that its third column is large. "
            "What follows?"
        ),
        options=(
            Option(
                "The third number of its queries matters most.",
                False,
                "It is multiplied by the third number of the key. If W_K has a column of zeros "
                "there, it does not matter at all.",
            ),
            Option(
                "Nothing about what the head does.",
                True,
                "Divide that column by a hundred and multiply the same column of W_K by a hundred: "
                "every score stays as it is. Only the product of the two means something.",
            ),
            Option(
                "The head attends to the third position.",
                False,
                "Columns of W_Q count d_head. Positions come in with the stream that is read.",
            ),
            Option(
                "The head reads the stream's third wire most.",
                False,
                "W_Q is [d_model d_head]: the wires of the stream are its rows.",
            ),
        ),
    ),
    Quiz(
        id="4-b",
        question=(
            "GPT-2 has 50,257 tokens. How many GB would one full OV circuit take, token × token, "
            "with 4 bytes a number? (1 GB is 10⁹ bytes.)"
        ),
        number=50_257**2 * 4 / 1e9,
        tolerance=0.2,
        slips={
            2.526: "That is how many numbers it has, in billions. Each takes 4 bytes.",
            5.05: "That is with 2 bytes a number. Here each takes 4.",
            20.2: "That is with 8 bytes a number. Here each takes 4.",
            80.8: "That is in bits. A byte has 8 of them.",
            0.0257: "That is its two factors, [50,257 64] each. The whole table is asked for.",
        },
        why=(
            "50,257² = 2,525,766,049 numbers of 4 bytes: 10.1 GB. Its two factors have 2 · 50,257 ·"
            " 64 numbers, 26 MB."
        ),
    ),
    Quiz(
        id="4-c",
        question="A head of a late layer has a copying score near 1. What do you know?",
        options=(
            Option(
                "It raises the logit of whatever token it attends to.",
                False,
                "GPT-2's negative name mover, head 10 of layer 11, has 0.996 and lowers the name "
                "that it attends to.",
            ),
            Option(
                "It attends to the last place where the same token stood.",
                False,
                "Where it attends is its QK circuit's business. The score is about OV alone.",
            ),
            Option(
                "Without it the model would copy fewer words of a text.",
                False,
                "The score is made of weights, without any text. Its pattern may rest on the first "
                "token, or other heads may copy the same words.",
            ),
            Option(
                "Of vectors as they are in W_E it mostly writes more.",
                True,
                "This much is algebra. Whether a late head reads such vectors is a question about "
                "the layers before it.",
            ),
        ),
    ),
    Quiz(
        id="4-d",
        question=(
            "A head's pattern rests on the answer's position, with 0.9. Which of these could still "
            "be true?"
        ),
        options=(
            Option(
                "Before the softmax another position was ahead.",
                False,
                "A softmax keeps the order. Every other position has 0.1 at most, so its score is "
                "lower by ln 9 = 2.2 or more.",
            ),
            Option(
                "Without the head, the model's answer stays the same.",
                True,
                "Attention is not use: it may write little of what it reads, or others may do the "
                "same.",
            ),
            Option(
                "With another W_V it would attend elsewhere.",
                False,
                "Its pattern is made of its queries and keys alone, and W_V makes neither.",
            ),
            Option(
                "The head lowers the answer's logit.",
                True,
                "OV decides what is done with what is read. Negative name movers do just that.",
            ),
            Option(
                "It raises another token most of all.",
                True,
                "It writes what W_OV makes of what it read, and a later MLP may turn that into the "
                "answer.",
            ),
        ),
    ),
)
