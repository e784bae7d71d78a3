"""Chapter 5, "Zero, one and two layers": its exercises, and the mistakes that readers make."""

import math

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from circuitbook.exercises.engine import Exercise, Option, Quiz, normal


def patterns(*shape: int, seed: int = 0) -> Tensor:
    """Random attention patterns: no later position is read, each row sums to 1."""
    scores = normal(shape, seed=seed)[0]
    later = torch.ones(shape[-2:]).triu(diagonal=1).bool()
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


def distributions(rows: int, columns: int, zeros: int, seed: int = 0) -> Tensor:
    """A random distribution in each row, with so many zeros in it."""
    scores = normal((rows, columns), seed=seed)[0]
    least = scores.topk(zeros, dim=-1, largest=False).indices
    return scores.scatter(-1, least, -torch.inf).softmax(dim=-1)


def tokens_below(below: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


# 5.1


def bigram_divergences(
    W_E: Float[Tensor, "d_vocab d_model"],
    W_U: Float[Tensor, "d_model next"],
    true: Float[Tensor, "d_vocab next"],
) -> Float[Tensor, " d_vocab"]:
    """How far each row of the table softmax(W_E W_U) is from the true one, in nats."""
    guessed = (W_E @ W_U).log_softmax(dim=-1)
    return (torch.special.xlogy(true, true) - true * guessed).sum(dim=-1)


def _log_probabilities(logits):
    return logits.log_softmax(dim=-1)


def _p_log_p(true):
    return torch.special.xlogy(true, true)


def _divergences(W_E, W_U, true, *, own=_p_log_p, guess=_log_probabilities):
    """The truth's own part minus what the guess brings, each made like so."""
    return (own(true) - true * guess(W_E @ W_U)).sum(dim=-1)


def the_other_way_round(W_E, W_U, true):
    """You averaged with the model's probabilities: that is KL(model ‖ true), infinite wherever the
    truth is 0. Average with the true ones.

    The text is drawn from one of the two. A token that comes often counts often: from which?"""
    guessed = _log_probabilities(W_E @ W_U)
    return (guessed.exp() * (guessed - true.log())).sum(dim=-1)


def bits_for_nats(W_E, W_U, true):
    """Your numbers are 1.44 times too large: you took the logarithm to base 2. Nats take the
    natural one."""
    return _divergences(W_E, W_U, true) / math.log(2)


def logits_for_log_probabilities(W_E, W_U, true):
    """You used logits as if they were log-probabilities; some of your divergences may be below 0.
    Take log_softmax over the next token first.

    A log-probability is never above 0, and e to the power of a whole row of them sums to 1. Do
    yours?"""
    return _divergences(W_E, W_U, true, guess=torch.clone)


def softmax_over_the_first_token(W_E, W_U, true):
    """You made the columns of the table sum to 1. A row is what follows one token: dim=-1."""
    return _divergences(W_E, W_U, true, guess=lambda logits: logits.log_softmax(dim=0))


def probabilities_without_the_logarithm(W_E, W_U, true):
    """You took the guessed probabilities where their logarithms belong: log_softmax, not
    softmax."""
    return _divergences(W_E, W_U, true, guess=lambda logits: logits.softmax(dim=-1))


def zero_times_the_logarithm_of_zero(W_E, W_U, true):
    """You have NaN wherever a true probability is 0: 0 · log 0 counts as 0. torch.special.xlogy
    does that."""
    return _divergences(W_E, W_U, true, own=lambda true: true * true.log())


def cross_entropy(W_E, W_U, true):
    """You returned the cross-entropy, which is too large by the truth's own entropy: that part no
    model can avoid. Add Σ p log p.

    A divergence is 0 for a model that knows the truth. What is your number then?"""
    return _divergences(W_E, W_U, true, own=torch.zeros_like)


def mean_over_next_tokens(W_E, W_U, true):
    """Your numbers are d_vocab times too small. The true probabilities are the weights of the
    average already: sum over the next token."""
    return _divergences(W_E, W_U, true) / true.shape[-1]


def one_number_for_all(W_E, W_U, true):
    """You summed over all tokens. Give one divergence for each: sum over the next token alone."""
    return _divergences(W_E, W_U, true).sum()


def not_weighted(W_E, W_U, true):
    """You summed log p - log q over all next tokens alike, and it is infinite wherever p is 0. Each
    counts as often as it comes: times p."""
    return (true.log() - _log_probabilities(W_E @ W_U)).sum(dim=-1)


BIGRAM_DIVERGENCES = Exercise(
    id="5.1",
    title="W_E W_U against the true bigrams",
    answer=bigram_divergences,
    cases={
        "six tokens": (*normal((6, 3), (3, 6)), distributions(6, 6, 2)),
        "nothing impossible": (*normal((4, 4), (4, 4), seed=1), distributions(4, 4, 0, seed=1)),
        "a token that never occurs": (
            *normal((3, 2), (2, 3), seed=2),
            torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        ),
    },
    mistakes=[
        the_other_way_round,
        bits_for_nats,
        logits_for_log_probabilities,
        softmax_over_the_first_token,
        probabilities_without_the_logarithm,
        zero_times_the_logarithm_of_zero,
        cross_entropy,
        mean_over_next_tokens,
        one_number_for_all,
        not_weighted,
    ],
    variants=[
        lambda W_E, W_U, true: functional.kl_div(
            (W_E @ W_U).log_softmax(-1), true, reduction="none"
        ).sum(-1),
        lambda W_E, W_U, true: torch.where(
            true > 0, true * (true.clamp(min=1e-30).log() - (W_E @ W_U).log_softmax(1)), 0
        ).sum(1),
    ],
    hints=[
        "Row t of W_E @ W_U holds the logits after token t. What makes log-probabilities of them?",
        "KL(p ‖ q) = Σ p (log p - log q), summed over the next token, with p the true one.",
        "Where p is 0, p log p counts as 0: torch.special.xlogy(p, p) instead of p * p.log().",
    ],
    difficulty=1,
    minutes=10,
)


# 5.2


def kronecker(
    A: Float[Tensor, "q_pos k_pos"], W: Float[Tensor, "d_in d_out"]
) -> Float[Tensor, "written read"]:
    """The one matrix that takes x.flatten() to (A x W).flatten()."""
    together = einsum(A, W, "q k, i o -> q o k i")
    return rearrange(together, "q o k i -> (q o) (k i)")


def _kronecker(A, W, *, order="(q o) (k i)"):
    return rearrange(einsum(A, W, "q k, i o -> q o k i"), f"q o k i -> {order}")


def W_not_transposed(A, W):
    """Your matrix changes features by Wᵀ. It multiplies x.flatten() from the left, our W multiplies
    from the right: what is read must be a column.

    For one position, x W as a matrix times a column is (something) xᵀ. What is the something?"""
    return _kronecker(A, W.mT)


def features_before_positions(A, W):
    """Your rows and columns are sorted by feature first. x.flatten() goes position by position: A
    comes first, q o k i.

    Flatten x = [[1, 2], [3, 4]], two positions of two features. Which number follows the 1?"""
    return _kronecker(A, W, order="(o q) (i k)")


def columns_by_features_first(A, W):
    """Your columns are sorted by feature first, your rows by position. Both follow x.flatten(),
    position by position: "(q o) (k i)"."""
    return _kronecker(A, W, order="(q o) (i k)")


def A_transposed(A, W):
    """Your positions run backwards: information flows from the reader to what is read. Position k
    is read, so it belongs to the columns."""
    return _kronecker(A.mT, W)


def read_and_written_swapped(A, W):
    """Yours is the transposed matrix: its rows are what is read. Rows are written, columns are
    read."""
    return _kronecker(A, W, order="(k i) (q o)")


def added_instead_of_multiplied(A, W):
    """You added what A does and what W does. In A ⊗ W both are done to the same vector: each entry
    is a product."""
    n_pos, d = len(A), len(W)
    return torch.kron(A, torch.eye(d).to(A)) + torch.kron(torch.eye(n_pos).to(A), W.mT.contiguous())


KRONECKER = Exercise(
    id="5.2",
    title="A ⊗ W as one matrix",
    answer=kronecker,
    cases={
        "three positions, two features": normal((3, 3), (2, 2)),
        "as many positions as features": normal((3, 3), (3, 3), seed=1),
        "another number of features comes out": normal((4, 4), (2, 3), seed=2),
    },
    mistakes=[
        W_not_transposed,
        features_before_positions,
        columns_by_features_first,
        A_transposed,
        read_and_written_swapped,
        added_instead_of_multiplied,
    ],
    variants=[
        lambda A, W: torch.kron(A.contiguous(), W.mT.contiguous()),
        lambda A, W: torch.stack(
            [
                (A @ unit.reshape(A.shape[1], len(W)) @ W).flatten()
                for unit in torch.eye(A.shape[1] * len(W)).to(A)
            ],
            dim=1,
        ),
    ],
    hints=[
        "How much does feature i at position k count for feature o at position q? Two numbers, "
        "multiplied.",
        "A column is a pair (k, i), a row a pair (q, o); flatten() counts the features of position "
        "0 first.",
        'einsum to "q o k i", then rearrange to "(q o) (k i)". torch.kron does both, on '
        "contiguous tensors: which of its two needs .mT, and which comes first?",
    ],
    difficulty=2,
    minutes=10,
)


# 5.3


def one_layer_terms(
    x: Float[Tensor, "pos d_model"],
    pattern: Float[Tensor, "head q_pos k_pos"],
    W_OV: Float[Tensor, "head d_model d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> Float[Tensor, "term pos d_vocab"]:
    """What each path says about the next token: the direct one, then one through each head."""
    heads = einsum(pattern, x, W_OV, "head q k, k i, head i o -> head q o")
    return torch.cat([x[None], heads]) @ W_U


def direct_path_forgotten(x, pattern, W_OV, W_U):
    """Your terms do not add up: the direct path, x W_U, is missing. The stream is never
    overwritten, so the embedding arrives too.

    Multiply out (Id + Σ heads) x. Which term has no head in it?"""
    return one_layer_terms(x, pattern, W_OV, W_U)[1:]


def direct_path_last(x, pattern, W_OV, W_U):
    """The terms are right, their order is not: the direct path comes first, then head 0, 1, ..."""
    return one_layer_terms(x, pattern, W_OV, W_U).roll(-1, dims=0)


def pattern_left_out(x, pattern, W_OV, W_U):
    """Your heads read their own position: W_OV changes features, only the pattern moves anything.
    Multiply by it, too.

    A row of the pattern says how much of each position's x comes here. On which side of x does it
    stand?"""
    own = torch.eye(len(x)).expand_as(pattern)
    return one_layer_terms(x, own, W_OV, W_U)


def pattern_transposed(x, pattern, W_OV, W_U):
    """Your positions send to those that they should read from. The sum runs over k, the last axis
    of the pattern."""
    return one_layer_terms(x, pattern.mT, W_OV, W_U)


def W_OV_transposed(x, pattern, W_OV, W_U):
    """You multiplied by W_OVᵀ. The paper writes W x; here rows are vectors, x W: sum over the first
    of W_OV's two axes."""
    return one_layer_terms(x, pattern, W_OV.mT, W_U)


def left_in_the_stream(x, pattern, W_OV, W_U):
    """Your terms are still vectors of the stream. Multiply each by W_U to hear what it says about
    tokens."""
    return one_layer_terms(x, pattern, W_OV, torch.eye(x.shape[-1]).to(x))


def embedding_in_every_head(x, pattern, W_OV, W_U):
    """Each of your heads carries x along, so the sum counts it n_heads times too often. A head's
    term is what the head writes."""
    terms = one_layer_terms(x, pattern, W_OV, W_U)
    return torch.cat([terms[:1], terms[1:] + terms[0]])


def heads_added_up(x, pattern, W_OV, W_U):
    """You returned two terms: the heads are added up. Keep `head` on the right of the arrow."""
    terms = one_layer_terms(x, pattern, W_OV, W_U)
    return torch.stack([terms[0], terms[1:].sum(dim=0)])


def each_term_with_those_before(x, pattern, W_OV, W_U):
    """Your terms are running sums: each holds those before it. A term is what one path says."""
    return one_layer_terms(x, pattern, W_OV, W_U).cumsum(dim=0)


ONE_LAYER_TERMS = Exercise(
    id="5.3",
    title="expand a one-layer model",
    answer=one_layer_terms,
    cases={
        "two heads": (
            normal((4, 3))[0],
            patterns(2, 4, 4),
            *normal((2, 3, 3), (3, 6), seed=1),
        ),
        "three heads, square": (
            normal((3, 3), seed=2)[0],
            patterns(3, 3, 3, seed=2),
            *normal((3, 3, 3), (3, 3), seed=3),
        ),
    },
    mistakes=[
        direct_path_forgotten,
        direct_path_last,
        pattern_left_out,
        pattern_transposed,
        W_OV_transposed,
        left_in_the_stream,
        embedding_in_every_head,
        heads_added_up,
        each_term_with_those_before,
    ],
    variants=[
        lambda x, pattern, W_OV, W_U: torch.cat([x[None], pattern @ x @ W_OV]) @ W_U,
        lambda x, pattern, W_OV, W_U: torch.stack(
            [x @ W_U, *(A @ (x @ W @ W_U) for A, W in zip(pattern, W_OV, strict=True))]
        ),
    ],
    hints=[
        "Multiply out (Id + Σ A ⊗ W_OV) · x: one term has no head in it, each other has one.",
        "A head's term is A x W_OV W_U, and @ does all heads at once: pattern @ x @ W_OV.",
        "torch.cat([x[None], heads]) puts the direct path first; then one product with W_U.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.4


def skip_trigrams(
    scores: Float[Tensor, "destination source"], ov: Float[Tensor, "source out"], k: int
) -> Int[Tensor, "rule three"]:
    """The k strongest rules "source ... destination → out", one row (source, destination, out)
    each."""
    strengths = einsum(scores.softmax(dim=-1), ov, "d s, s o -> s d o")
    return _places(strengths, k)


def _places(strengths: Tensor, k: int, largest: bool = True) -> Tensor:
    best = strengths.flatten().topk(k, largest=largest).indices
    return torch.stack(torch.unravel_index(best, strengths.shape), dim=-1)


def _attention(scores):
    return scores.softmax(dim=-1)


def _trigrams(scores, ov, k, *, attention=_attention, both=torch.mul, of=torch.clone, largest=True):
    """The rules with the scores made into attention, joined with the logits and ranked like so."""
    strengths = both(attention(scores).mT[:, :, None], ov[:, None])
    return _places(of(strengths), k, largest)


def scores_for_attention(scores, ov, k):
    """You multiplied by scores, so a source with a low score and a low logit comes out strong:
    minus times minus. Take the softmax first.

    Two numbers below 0 have a product above 0. Which of a head's two factors can never be below
    0?"""
    return _trigrams(scores, ov, k, attention=torch.clone)


def softmax_over_destinations(scores, ov, k):
    """Your attention sums to 1 over those that read. It is each destination that shares its
    attention out among sources: dim=-1.

    The scores are [destination source]. Along which axis must a row of attention sum to 1?"""
    return _trigrams(scores, ov, k, attention=lambda scores: scores.softmax(dim=0))


def added_for_multiplied(scores, ov, k):
    """You added attention and logit. A head writes its value *times* its attention: multiply."""
    return _trigrams(scores, ov, k, both=torch.add)


def attention_ignored(scores, ov, k):
    """Every destination comes out alike: you looked at the OV circuit alone. Multiply by the
    attention."""
    return _trigrams(scores, ov, k, attention=torch.ones_like)


def size_for_strength(scores, ov, k):
    """You took the largest by size, so rules that lower a logit are among yours. Leave out the
    absolute value."""
    return _trigrams(scores, ov, k, of=torch.abs)


def destination_before_source(scores, ov, k):
    """The rules are right, their columns are not: source, destination, out, in this order."""
    return _trigrams(scores, ov, k)[:, [1, 0, 2]]


def weakest_rules(scores, ov, k):
    """You took the smallest strengths: what the head argues against. topk takes the largest unless
    told."""
    return _trigrams(scores, ov, k, largest=False)


def sources_blended(scores, ov, k):
    """You summed over sources: that is what the head says to each destination in all. A rule names
    its source: keep that axis."""
    places = _places(scores.softmax(dim=-1) @ ov, k)
    return torch.cat([torch.zeros_like(places[:, :1]), places], dim=1)


def softmax_over_outs_as_well(scores, ov, k):
    """You made probabilities of the OV circuit. Its entries are logits: several heads add to them,
    and the softmax comes after all of them."""
    return _trigrams(scores, ov.softmax(dim=-1), k)


def weakest_first(scores, ov, k):
    """The right rules, the strongest last. argsort goes upwards; topk, or flip(0), turns it."""
    return _trigrams(scores, ov, k).flip(0)


def one_row_for_each_end(scores, ov, k):
    """Your three rows are the sources, the destinations and the outs. Make a row of each rule:
    torch.stack(..., dim=-1)."""
    return _trigrams(scores, ov, k).mT


SKIP_TRIGRAMS = Exercise(
    id="5.4",
    title="table of skip-trigrams",
    answer=skip_trigrams,
    cases={
        "four sources": (*normal((3, 4), (4, 5)), 4),
        "as many of each": (*normal((4, 4), (4, 4), seed=1), 5),
        "large scores": (3 * normal((2, 5), seed=2)[0], *normal((5, 6), seed=3), 6),
    },
    mistakes=[
        scores_for_attention,
        softmax_over_destinations,
        added_for_multiplied,
        attention_ignored,
        size_for_strength,
        destination_before_source,
        weakest_rules,
        sources_blended,
        softmax_over_outs_as_well,
        weakest_first,
        one_row_for_each_end,
    ],
    variants=[
        lambda scores, ov, k: torch.tensor(
            sorted(
                (
                    (s, d, o)
                    for s in range(len(ov))
                    for d in range(len(scores))
                    for o in range(ov.shape[1])
                ),
                key=lambda rule: -(scores.softmax(-1)[rule[1], rule[0]] * ov[rule[0], rule[2]]),
            )[:k]
        ),
        lambda scores, ov, k: torch.stack(
            torch.unravel_index(
                (scores.softmax(1).T[:, :, None] * ov[:, None, :]).flatten().argsort()[-k:].flip(0),
                (len(ov), *scores.shape[:1], ov.shape[1]),
            ),
            dim=1,
        ),
    ],
    hints=[
        "A rule has three ends, so its strengths are a tensor of three axes: source, destination, "
        "out.",
        'einsum(attention, ov, "d s, s o -> s d o") multiplies; no axis is summed.',
        "flatten().topk(k).indices, then torch.unravel_index(indices, shape) gives the three "
        "numbers of each.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.5


def skip_trigram_bugs(
    strengths: Float[Tensor, "source destination out"],
    possible: Bool[Tensor, "source destination out"],
    k: int,
) -> Int[Tensor, "rule three"]:
    """The k strongest rules that are never right, though the source's word is right after another
    destination."""
    elsewhere = possible.any(dim=1, keepdim=True)
    bugs = strengths.masked_fill(possible | ~elsewhere, -torch.inf)
    return _places(bugs, k)


def _bugs(strengths, possible, k, *, elsewhere=None, never=None, hidden=-torch.inf, largest=True):
    """The strongest of what is possible elsewhere and never possible here, or of what is given."""
    elsewhere = possible.any(dim=1, keepdim=True) if elsewhere is None else elsewhere
    wanted = elsewhere & (~possible if never is None else never)
    return _places(strengths.where(wanted, hidden), k, largest)


def right_rules_among_them(strengths, possible, k):
    """Rules that the language does have are among yours. A bug is one that it has not: &
    ~possible."""
    return _bugs(strengths, possible, k, never=torch.ones_like(possible))


def everything_impossible(strengths, possible, k):
    """You listed everything impossible. Keep what the source's own words are: out must be possible
    after that source with another destination.

    "keep ... in → bay" is a bug because "keep ... at → bay" is right. Which of the three indices
    may change when you look for the right one, and which stay?"""
    return _bugs(strengths, possible, k, elsewhere=torch.ones_like(possible))


def possible_after_another_source(strengths, possible, k):
    """You asked whether another source allows the word there. Ask for the same source and another
    destination: any over axis 1.

    any(dim=...) runs over the axis that may change. The axes are source, destination, out."""
    return _bugs(strengths, possible, k, elsewhere=possible.any(dim=0, keepdim=True))


def another_word_possible(strengths, possible, k):
    """You asked whether any word is possible there. Ask for the same word and another destination:
    any over axis 1, not over the last."""
    return _bugs(strengths, possible, k, elsewhere=possible.any(dim=-1, keepdim=True))


def possible_after_every_destination(strengths, possible, k):
    """You asked for words that are possible after every destination: then none is left that is
    wrong anywhere. One other destination is enough: any, not all."""
    return _bugs(strengths, possible, k, elsewhere=possible.all(dim=1, keepdim=True))


def only_what_is_right(strengths, possible, k):
    """These rules are no bugs, the language has them: you kept what you meant to hide."""
    return _bugs(strengths, possible, k, never=possible)


def weakest_bugs(strengths, possible, k):
    """You took the weakest bugs: topk takes the largest, so hide what is no bug behind -inf, not
    +inf."""
    return _bugs(strengths, possible, k, hidden=torch.inf, largest=False)


def zero_for_minus_infinity(strengths, possible, k):
    """Among yours is a rule that is no bug: you hid such rules behind 0, and a bug may be weaker
    than that. Hide them behind -inf."""
    return _bugs(strengths, possible, k, hidden=0.0)


def size_for_strength_of_bugs(strengths, possible, k):
    """You took the largest by size, so bugs that lower a logit, and do no harm, are among yours.
    Leave out the absolute value."""
    return _bugs(strengths.abs(), possible, k)


def in_the_order_found(strengths, possible, k):
    """These are bugs, in the order of the table. Sort them by strength: the strongest first."""
    return (possible.any(dim=1, keepdim=True) & ~possible).nonzero()[:k]


def destination_first_in_bugs(strengths, possible, k):
    """The rules are right, their columns are not: source, destination, out, in this order."""
    return _bugs(strengths, possible, k)[:, [1, 0, 2]]


def _truth(*shape: int, seed: int) -> Tensor:
    return normal(shape, seed=seed)[0] > 0.4


SKIP_TRIGRAM_BUGS = Exercise(
    id="5.5",
    title="find the bug",
    answer=skip_trigram_bugs,
    cases={
        "two verbs, two prepositions, four endings": (
            normal((2, 2, 4), seed=5)[0],
            torch.tensor(
                [[[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]]], dtype=torch.bool
            ),
            4,
        ),
        "many": (normal((3, 4, 5), seed=1)[0], _truth(3, 4, 5, seed=2), 6),
        "as many of each": (normal((3, 3, 3), seed=3)[0], _truth(3, 3, 3, seed=4), 2),
    },
    mistakes=[
        right_rules_among_them,
        everything_impossible,
        possible_after_another_source,
        another_word_possible,
        possible_after_every_destination,
        only_what_is_right,
        weakest_bugs,
        zero_for_minus_infinity,
        size_for_strength_of_bugs,
        in_the_order_found,
        destination_first_in_bugs,
    ],
    variants=[
        lambda strengths, possible, k: torch.tensor(
            sorted(
                (
                    (s, d, o)
                    for s, d, o in (~possible).nonzero().tolist()
                    if possible[s, :, o].any()
                ),
                key=lambda rule: -strengths[rule],
            )[:k]
        ),
        lambda strengths, possible, k: _places(
            torch.where(possible.sum(1, keepdim=True).bool() & ~possible, strengths, -1e9), k
        ),
    ],
    hints=[
        "Two conditions: the rule itself is not possible; the same source and out are, with some "
        "other destination.",
        "possible.any(dim=1, keepdim=True) says whether a source is followed by an out anywhere.",
        "Put -inf where a rule is no bug, then take the k largest as in exercise 5.4.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.6


def two_layer_terms(
    x: Float[Tensor, "pos d_model"],
    pattern: Float[Tensor, "layer=2 head q_pos k_pos"],
    W_OV: Float[Tensor, "layer=2 head d_model d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
) -> dict[str, Float[Tensor, "... pos d_vocab"]]:
    """What each path says about the next token: direct, through one head, through two."""
    layer_0 = pattern[0] @ x @ W_OV[0]
    virtual = einsum(
        pattern[1], layer_0, W_OV[1], "head q k, first k i, head i o -> first head q o"
    )
    streams = {"direct": x, "layer 0": layer_0, "layer 1": pattern[1] @ x @ W_OV[1]}
    return {name: stream @ W_U for name, stream in (streams | {"virtual": virtual}).items()}


def _two_layer(x, pattern, W_OV, W_U, *, moves=None, circuits=None):
    """The right terms, but for the patterns [f h q k] or OV circuits [f h i o] of virtual heads."""
    if moves is None:
        moves = einsum(pattern[1], pattern[0], "h q m, f m k -> f h q k")
    if circuits is None:
        circuits = einsum(W_OV[0], W_OV[1], "f i j, h j o -> f h i o")
    terms = {"direct": x, "layer 0": pattern[0] @ x @ W_OV[0], "layer 1": pattern[1] @ x @ W_OV[1]}
    terms["virtual"] = moves @ x @ circuits
    return {name: stream @ W_U for name, stream in terms.items()}


def virtual_axes_swapped(x, pattern, W_OV, W_U):
    """Your virtual heads have the right numbers at [layer 1's head, layer 0's head]. The first axis
    is the head of layer 0: the order of travel."""
    terms = _two_layer(x, pattern, W_OV, W_U)
    return terms | {"virtual": terms["virtual"].transpose(0, 1)}


def virtual_W_OV_swapped(x, pattern, W_OV, W_U):
    """Your virtual heads multiply the OV circuits in the paper's order, for W x. Ours multiply on
    the right: x W_OV(layer 0) W_OV(layer 1).

    What does the head of layer 1 read? Write that first, with its own brackets, then what the head
    of layer 1 does to it."""
    swapped = einsum(W_OV[1], W_OV[0], "h i j, f j o -> f h i o")
    return _two_layer(x, pattern, W_OV, W_U, circuits=swapped)


def virtual_patterns_swapped(x, pattern, W_OV, W_U):
    """Your virtual heads apply layer 1's pattern first. Information goes through layer 0 first, so
    its pattern stands next to x: A₁ A₀ x."""
    swapped = einsum(pattern[0], pattern[1], "f q m, h m k -> f h q k")
    return _two_layer(x, pattern, W_OV, W_U, moves=swapped)


def virtual_patterns_multiplied_by_entries(x, pattern, W_OV, W_U):
    """Your virtual heads multiply the two patterns entry by entry. From k to q information goes by
    any position in between: a matrix product."""
    return _two_layer(x, pattern, W_OV, W_U, moves=pattern[1][None] * pattern[0][:, None])


def virtual_heads_without_the_second_pattern(x, pattern, W_OV, W_U):
    """Your virtual heads move information once: layer 1's pattern is missing. A₁ A₀ x W₀ W₁."""
    return _two_layer(x, pattern, W_OV, W_U, moves=pattern[0][:, None])


def virtual_heads_without_the_first_pattern(x, pattern, W_OV, W_U):
    """Your virtual heads move information once: layer 0's pattern is missing. A₁ A₀ x W₀ W₁."""
    return _two_layer(x, pattern, W_OV, W_U, moves=pattern[1][None])


def layer_1_reads_everything(x, pattern, W_OV, W_U):
    """Your layer 1 reads what layer 0 wrote, too, so these paths count twice: they are the virtual
    heads. In "layer 1" it reads x alone.

    Add up all your terms and compare with the logits of the model: what is in there twice?"""
    terms = _two_layer(x, pattern, W_OV, W_U)
    return terms | {"layer 1": terms["layer 1"] + terms["virtual"].sum(dim=0)}


def virtual_heads_read_the_whole_stream(x, pattern, W_OV, W_U):
    """Your virtual heads carry the embedding along: layer 1 reads x plus what the first head wrote.
    A virtual head is what the one makes of the other's write."""
    terms = _two_layer(x, pattern, W_OV, W_U)
    return terms | {"virtual": terms["virtual"] + terms["layer 1"]}


def virtual_heads_of_one_index(x, pattern, W_OV, W_U):
    """You paired head 0 with head 0, 1 with 1, and so on. Each head of layer 1 reads every head of
    layer 0: n_heads² pairs."""
    terms = _two_layer(x, pattern, W_OV, W_U)
    return terms | {"virtual": terms["virtual"].diagonal().movedim(-1, 0)}


def virtual_heads_added_up(x, pattern, W_OV, W_U):
    """You added up the virtual heads. Keep one term for each pair: [head of layer 0, head of layer
    1, pos, d_vocab]."""
    terms = _two_layer(x, pattern, W_OV, W_U)
    return terms | {"virtual": terms["virtual"].sum(dim=(0, 1))}


def layers_exchanged(x, pattern, W_OV, W_U):
    """You took layer 1 for layer 0 and layer 0 for layer 1: the first axis of both tensors counts
    layers from 0."""
    return _two_layer(x, pattern.flip(0), W_OV.flip(0), W_U)


def OV_circuits_transposed(x, pattern, W_OV, W_U):
    """You multiplied by W_OVᵀ. The paper writes W x; here rows are vectors, x W: sum over the first
    of W_OV's two axes."""
    return _two_layer(x, pattern, W_OV.mT, W_U)


def not_unembedded(x, pattern, W_OV, W_U):
    """Your terms are still vectors of the stream. Multiply each by W_U to hear what it says about
    tokens."""
    return _two_layer(x, pattern, W_OV, torch.eye(len(W_U)))


TWO_LAYER_TERMS = Exercise(
    id="5.6",
    title="expand a two-layer model",
    answer=two_layer_terms,
    cases={
        "two heads a layer": (
            normal((4, 3))[0],
            patterns(2, 2, 4, 4),
            *normal((2, 2, 3, 3), (3, 5), seed=1),
        ),
        "three heads a layer": (
            normal((3, 4), seed=2)[0],
            patterns(2, 3, 3, 3, seed=2),
            *normal((2, 3, 4, 4), (4, 4), seed=3),
        ),
    },
    mistakes=[
        virtual_axes_swapped,
        virtual_W_OV_swapped,
        virtual_patterns_swapped,
        virtual_patterns_multiplied_by_entries,
        virtual_heads_without_the_second_pattern,
        virtual_heads_without_the_first_pattern,
        layer_1_reads_everything,
        virtual_heads_read_the_whole_stream,
        virtual_heads_of_one_index,
        virtual_heads_added_up,
        layers_exchanged,
        OV_circuits_transposed,
        not_unembedded,
    ],
    variants=[
        lambda x, pattern, W_OV, W_U: {
            "direct": x @ W_U,
            "layer 0": pattern[0] @ x @ W_OV[0] @ W_U,
            "layer 1": pattern[1] @ x @ W_OV[1] @ W_U,
            "virtual": pattern[1] @ (pattern[0] @ x @ W_OV[0])[:, None] @ W_OV[1] @ W_U,
        },
        lambda x, pattern, W_OV, W_U: {
            "direct": x @ W_U,
            "layer 0": torch.stack(list(map(lambda A, W: A @ x @ W @ W_U, pattern[0], W_OV[0]))),
            "layer 1": torch.stack(list(map(lambda A, W: A @ x @ W @ W_U, pattern[1], W_OV[1]))),
            "virtual": torch.stack(
                [
                    torch.stack(
                        [
                            then @ first @ x @ W_0 @ W_1 @ W_U
                            for then, W_1 in zip(pattern[1], W_OV[1], strict=True)
                        ]
                    )
                    for first, W_0 in zip(pattern[0], W_OV[0], strict=True)
                ]
            ),
        },
    ],
    hints=[
        "Multiply out (Id + Σ layer 1) · (Id + Σ layer 0) · x: four kinds of terms.",
        "A virtual head is what a head of layer 1 makes of what a head of layer 0 wrote: reuse "
        "your layer 0 terms before W_U.",
        'For all pairs: einsum(pattern[1], layer_0, W_OV[1], "head q k, first k i, head i o -> '
        'first head q o").',
    ],
    difficulty=3,
    minutes=20,
)


# 5.7


def composition_scores(
    W_OV: Float[Tensor, "writer d_model d_model"],
    W: Float[Tensor, "reader d_model d_model"],
    kind: str,
) -> Float[Tensor, "writer reader"]:
    """How far each reader's query ("Q"), key ("K") or value ("V") is made of what each writer
    writes."""
    reads = W.mT if kind == "K" else W
    products = einsum(W_OV, reads, "writer i m, reader m j -> writer reader i j")
    norms = W_OV.norm(dim=(1, 2))[:, None] * reads.norm(dim=(1, 2))
    return products.norm(dim=(2, 3)) / norms


def _norm(matrices):
    return torch.linalg.matrix_norm(matrices)


def _composed(W_OV, W, kind, *, norm=_norm, product=torch.matmul, below=torch.mul):
    """The scores by this norm of this product, divided by this of both norms."""
    writes, reads = W_OV[:, None], _reads(W, kind)[None]
    return norm(product(writes, reads)) / below(norm(writes), norm(reads))


def _reads(W, kind):
    return W.mT if kind == "K" else W


def writer_and_reader_axes_swapped(W_OV, W, kind):
    """The numbers are right, the table is transposed: rows are writers, columns readers."""
    return _composed(W_OV, W, kind).mT


def not_normalised(W_OV, W, kind):
    """Your scores grow with the matrices: a loud head would seem to compose with everybody. Divide
    by both norms.

    What becomes of your score if W_OV is multiplied by 10? And of how far it is read?"""
    return _composed(W_OV, W, kind, below=lambda writes, reads: 1)


def normalised_by_the_writer_only(W_OV, W, kind):
    """Your scores still grow with the reader: you divided by the writer's norm only."""
    return _composed(W_OV, W, kind, below=lambda writes, reads: writes)


def normalised_by_the_reader_only(W_OV, W, kind):
    """Your scores still grow with the writer: you divided by the reader's norm only."""
    return _composed(W_OV, W, kind, below=lambda writes, reads: reads)


def norms_added(W_OV, W, kind):
    """You divided by the sum of the two norms, so your scores still grow with the matrices. Divide
    by the product of the norms: the norm of a product is never above it."""
    return _composed(W_OV, W, kind, below=torch.add)


def root_of_the_norms(W_OV, W, kind):
    """You took one root too many below the line: the norms are roots already. Divide by their
    product."""
    return _composed(W_OV, W, kind, below=lambda writes, reads: (writes * reads).sqrt())


def norm_over_all_heads(W_OV, W, kind):
    """You divided by the norm over all heads together, so with more heads every score is smaller.
    One norm for each head: over the last two axes."""
    return _composed(W_OV, W, kind, below=lambda writes, reads: writes.norm() * reads.norm())


def reader_before_writer(W_OV, W, kind):
    """You multiplied the reader first. What is written comes first and is then read: W_OV W."""
    return _composed(W_OV, W, kind, product=lambda writes, reads: reads @ writes)


def keys_taken_for_queries(W_OV, W, kind):
    """Your K scores are the Q scores. The query is the row side of W_QK, the key its column side:
    transpose W_QK for K.

    A score is x_q W_QK x_kᵀ. Now x_k is what the writer wrote, (...) W_OV. Put that in: what stands
    beside W_QK?"""
    return _composed(W_OV, W, "Q")


def queries_taken_for_keys(W_OV, W, kind):
    """Your Q and K scores are exchanged. x W_QK begins with the query's stream: transpose for K,
    not for Q."""
    return _composed(W_OV, W, {"Q": "K", "K": "Q"}.get(kind, kind))


def always_transposed(W_OV, W, kind):
    """You transposed for Q or V as well. Only for K does the writer's vector meet W_QK from the
    other side."""
    return _composed(W_OV, W, "K")


def values_transposed_too(W_OV, W, kind):
    """Your V scores are transposed. A value reads as a query does: x W_OV."""
    return _composed(W_OV, W, "Q" if kind == "Q" else "K")


def largest_singular_value_for_norm(W_OV, W, kind):
    """You took the spectral norm, the strongest direction alone. The Frobenius norm counts them
    all: the root of the sum of squares."""
    return _composed(W_OV, W, kind, norm=lambda each: torch.linalg.matrix_norm(each, 2))


def squares_without_the_root(W_OV, W, kind):
    """Your scores are squared: take the root of each sum of squares."""
    return _composed(W_OV, W, kind, norm=lambda each: each.square().sum(dim=(-2, -1)))


def multiplied_by_entries(W_OV, W, kind):
    """You multiplied entry by entry, with `*`. What one writes the other reads: a matrix product,
    `@`, then its norm."""
    return _composed(W_OV, W, kind, product=torch.mul)


def entries_compared(W_OV, W, kind):
    """You multiplied entry by entry and added up: that asks whether the matrices are alike. What
    one writes the other reads: a matrix product, then its norm."""
    products = (W_OV[:, None] * _reads(W, kind)).sum(dim=(-2, -1))
    return products / W_OV.norm(dim=(1, 2))[:, None] / W.norm(dim=(1, 2))


COMPOSITION_SCORES = Exercise(
    id="5.7",
    title="composition scores",
    answer=composition_scores,
    cases={
        "into queries": (*normal((2, 4, 4), (3, 4, 4)), "Q"),
        "into keys": (*normal((3, 4, 4), (3, 4, 4), seed=1), "K"),
        "into values": (*normal((3, 3, 3), (2, 3, 3), seed=2), "V"),
    },
    mistakes=[
        writer_and_reader_axes_swapped,
        not_normalised,
        normalised_by_the_writer_only,
        normalised_by_the_reader_only,
        norms_added,
        root_of_the_norms,
        norm_over_all_heads,
        reader_before_writer,
        keys_taken_for_queries,
        queries_taken_for_keys,
        always_transposed,
        values_transposed_too,
        largest_singular_value_for_norm,
        squares_without_the_root,
        multiplied_by_entries,
        entries_compared,
    ],
    variants=[
        lambda W_OV, W, kind: torch.stack(
            [
                torch.stack([(w @ _reads(r, kind)).norm() / (w.norm() * r.norm()) for r in W])
                for w in W_OV
            ]
        ),
        lambda W_OV, W, kind: (
            torch.linalg.matrix_norm(W_OV[:, None] @ _reads(W, kind))
            / torch.linalg.matrix_norm(W_OV)[:, None]
            / torch.linalg.matrix_norm(W)
        ),
    ],
    hints=[
        "A writer's vector is (something) W_OV. The reader multiplies it by W_QK when it asks; and "
        "when it is asked?",
        "x_q W_QK x_kᵀ: the key's vector meets W_QK from the other side, so for K it reads W_QKᵀ.",
        "One product for each pair, its Frobenius norm, divided by the norms of both matrices.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.8


def virtual_head(
    first: Float[Tensor, "q_pos k_pos"],
    then: Float[Tensor, "q_pos k_pos"],
    W_OV_first: Float[Tensor, "d_model d_model"],
    W_OV_then: Float[Tensor, "d_model d_model"],
) -> tuple[Float[Tensor, "q_pos k_pos"], Float[Tensor, "d_model d_model"]]:
    """The pattern and the OV circuit of two heads, one after the other, taken for one."""
    return then @ first, W_OV_first @ W_OV_then


def _virtual(first, then, W_OV_first, W_OV_then, *, moves=torch.matmul, writes=torch.matmul):
    """Both heads taken for one, their patterns and their OV circuits joined like so."""
    return moves(then, first), writes(W_OV_first, W_OV_then)


def pattern_in_the_order_of_travel(first, then, W_OV_first, W_OV_then):
    """Your pattern applies the second head first. Patterns multiply x from the left: what is done
    first stands next to x, on the right.

    A₁ x is what the first head moves. Now move that with A₂: on which side of A₁ does it stand?"""
    return _virtual(then, first, W_OV_first, W_OV_then)


def OV_in_the_papers_order(first, then, W_OV_first, W_OV_then):
    """Your OV circuit applies the second head first. The paper writes W x; our W multiply from the
    right, so the first stands first.

    Follow a row: x W₁ is what the first head writes. The second head reads that row: what does it
    meet next?"""
    return _virtual(first, then, W_OV_then, W_OV_first)


def both_the_wrong_way_round(first, then, W_OV_first, W_OV_then):
    """Yours is the virtual head of the other order: pattern and OV circuit both begin with the
    second head."""
    return _virtual(then, first, W_OV_then, W_OV_first)


def patterns_multiplied_by_entries(first, then, W_OV_first, W_OV_then):
    """Your pattern's rows do not sum to 1: you multiplied entry by entry. The way leads through any
    position in between: a matrix product."""
    return _virtual(first, then, W_OV_first, W_OV_then, moves=torch.mul)


def patterns_averaged(first, then, W_OV_first, W_OV_then):
    """You averaged the patterns, as if either head could move it. Both must, one after the other: a
    matrix product."""
    return _virtual(
        first, then, W_OV_first, W_OV_then, moves=lambda then, first: (then + first) / 2
    )


def OV_circuits_added(first, then, W_OV_first, W_OV_then):
    """You added the OV circuits. What the first wrote is what the second reads: multiply."""
    return _virtual(first, then, W_OV_first, W_OV_then, writes=torch.add)


def OV_circuits_multiplied_by_entries(first, then, W_OV_first, W_OV_then):
    """You multiplied the OV circuits entry by entry, with `*`. What the first wrote is what the
    second reads: a matrix product, `@`."""
    return _virtual(first, then, W_OV_first, W_OV_then, writes=torch.mul)


def softmax_of_the_product(first, then, W_OV_first, W_OV_then):
    """You took a softmax of the product. Its rows sum to 1 already, and later positions get 0: it
    is a pattern as it is."""
    pattern, W_OV = _virtual(first, then, W_OV_first, W_OV_then)
    return pattern.softmax(dim=-1), W_OV


def circuit_before_pattern(first, then, W_OV_first, W_OV_then):
    """You returned the OV circuit first. In the order of the task: the pattern, then W_OV."""
    pattern, W_OV = _virtual(first, then, W_OV_first, W_OV_then)
    return W_OV, pattern


VIRTUAL_HEAD = Exercise(
    id="5.8",
    title="a virtual head",
    answer=virtual_head,
    cases={
        "four positions": (patterns(4, 4), patterns(4, 4, seed=1), *normal((3, 3), (3, 3))),
        "as many positions as features": (
            patterns(3, 3, seed=2),
            patterns(3, 3, seed=3),
            *normal((3, 3), (3, 3), seed=4),
        ),
    },
    mistakes=[
        pattern_in_the_order_of_travel,
        OV_in_the_papers_order,
        both_the_wrong_way_round,
        patterns_multiplied_by_entries,
        patterns_averaged,
        OV_circuits_added,
        OV_circuits_multiplied_by_entries,
        softmax_of_the_product,
        circuit_before_pattern,
    ],
    variants=[
        lambda first, then, W_OV_first, W_OV_then: (
            einsum(then, first, "q m, m k -> q k"),
            einsum(W_OV_first, W_OV_then, "i m, m o -> i o"),
        ),
        lambda first, then, W_OV_first, W_OV_then: [
            torch.stack([row @ first for row in then]),
            (W_OV_then.mT @ W_OV_first.mT).mT,
        ],
    ],
    hints=[
        "Write down A₂ (A₁ x W₁) W₂ and drop the brackets: which matrices meet?",
        "Patterns stand to the left of x, OV circuits to its right.",
        "So the first head's pattern is the right factor of one product, its OV circuit the left "
        "factor of the other.",
    ],
    difficulty=1,
    minutes=10,
)


# 5.9


def reductions_by_order(
    by_order: Float[Tensor, "order batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, " order"]:
    """How far the loss falls when the paths of each order join those before, in nats per token."""
    up_to = by_order.cumsum(dim=0)[:, :, :-1].flatten(1, 2)
    losses = [functional.cross_entropy(logits, tokens[:, 1:].flatten()) for logits in up_to]
    uniform = torch.tensor(math.log(by_order.shape[-1])).to(by_order)
    return torch.stack([uniform, *losses]).diff().neg()


def _losses(by_order, tokens, *, seen=slice(None, -1), asked=slice(1, None)):
    """The loss at each position, of logits at some positions and the tokens that they are about."""
    log_probabilities = by_order[:, :, seen].log_softmax(dim=-1)
    index = tokens[None, :, asked, None].expand(len(by_order), -1, -1, -1)
    return -log_probabilities.gather(-1, index).flatten(1)


def _summed_up(by_order):
    return by_order.cumsum(dim=0)


def _means(losses):
    return losses.mean(dim=1)


def _falls(by_order, tokens, *, joined=_summed_up, losses=_losses, of_all=_means, start=None):
    """The falls from a first loss on, of orders joined and of losses put together like so."""
    start = math.log(by_order.shape[-1]) if start is None else start
    each = of_all(losses(joined(by_order), tokens))
    return torch.cat([torch.full_like(each[:1], start), each]).diff().neg()


def without_the_uniform_guess(by_order, tokens):
    """You have one number too few: the fall to the direct path is missing. Before any path the loss
    is ln d_vocab; put it in front."""
    return _falls(by_order, tokens)[1:]


def all_from_the_uniform_guess(by_order, tokens):
    """Your falls all start at the uniform guess, so each holds those before it. From order to
    order: the loss before, minus the loss with this order."""
    return _falls(by_order, tokens).cumsum(dim=0)


def rises_for_falls(by_order, tokens):
    """Your signs are turned: a loss that falls counts as above 0. Loss before minus loss after."""
    return -_falls(by_order, tokens)


def losses_for_falls(by_order, tokens):
    """You returned the losses. We ask how far each order lowers them: take differences, from the
    uniform loss on."""
    return math.log(by_order.shape[-1]) - _falls(by_order, tokens).cumsum(dim=0)


def each_order_alone(by_order, tokens):
    """You measured each order alone. A path through two heads corrects what the shorter ones say:
    add orders up, one after the other.

    With one order more, the logits are all that the model says so far. What stands in them besides
    the new order?"""
    return _falls(by_order, tokens, joined=torch.clone)


def from_zero_instead_of_uniform(by_order, tokens):
    """Your first number is minus the direct path's loss. Before any path all logits are 0, which is
    a uniform guess: ln d_vocab.

    A loss of 0 would be a model that is always sure and right. Which loss has one whose logits are
    all alike?"""
    return _falls(by_order, tokens, start=0.0)


def tokens_not_shifted(by_order, tokens):
    """You compared the logits at each position with the token there, which the model has read. They
    are about the next: tokens[:, 1:].

    The last position guesses a token that is not in the text, and nobody guesses the first token.
    So which logits, and which tokens, stay?"""
    both = {"seen": slice(None), "asked": slice(None)}
    return _falls(by_order, tokens, losses=lambda logits, tokens: _losses(logits, tokens, **both))


def shifted_the_wrong_way(by_order, tokens):
    """You compared each position's logits with the token before it. They are about the next:
    logits[:, :-1] with tokens[:, 1:]."""
    both = {"seen": slice(1, None), "asked": slice(None, -1)}
    return _falls(by_order, tokens, losses=lambda logits, tokens: _losses(logits, tokens, **both))


def summed_over_tokens(by_order, tokens):
    """Your losses are those of the whole text. Nats per token: take the mean."""
    return _falls(by_order, tokens, of_all=lambda losses: losses.sum(dim=1))


def left_out_in_turn(by_order, tokens):
    """You left each order out of the whole. The question is how far we get with paths up to an
    order: add, from the direct path on."""
    whole = by_order.sum(dim=0)
    without = _losses(whole - by_order, tokens).mean(dim=1)
    return without - _losses(whole[None], tokens).mean()


def probabilities_added(by_order, tokens):
    """You added probabilities. Paths add up in logits: sum first, softmax after."""
    n_joined = torch.arange(1, len(by_order) + 1).reshape(-1, 1, 1, 1)
    return _falls(
        *(by_order, tokens),
        joined=lambda logits: (logits.softmax(dim=-1).cumsum(dim=0) / n_joined).log(),
    )


REDUCTIONS_BY_ORDER = Exercise(
    id="5.9",
    title="term importance by order",
    answer=reductions_by_order,
    cases={
        "three orders": (normal((3, 2, 4, 5))[0], tokens_below(5, 2, 4)),
        "two orders, one row": (normal((2, 1, 6, 3), seed=1)[0], tokens_below(3, 1, 6, seed=1)),
        "large logits": (3 * normal((3, 3, 3, 4), seed=2)[0], tokens_below(4, 3, 3, seed=2)),
    },
    mistakes=[
        without_the_uniform_guess,
        all_from_the_uniform_guess,
        rises_for_falls,
        losses_for_falls,
        each_order_alone,
        from_zero_instead_of_uniform,
        tokens_not_shifted,
        shifted_the_wrong_way,
        summed_over_tokens,
        left_out_in_turn,
        probabilities_added,
    ],
    variants=[
        _falls,
        lambda by_order, tokens: torch.stack(
            [
                _losses(by_order[:n].sum(0, keepdim=True), tokens).mean()
                - _losses(by_order[: n + 1].sum(0, keepdim=True), tokens).mean()
                for n in range(len(by_order))
            ]
        ),
    ],
    hints=[
        "With the paths up to an order the logits are a cumulative sum over the first axis.",
        "The mean loss of each such sum; before them all, logits of 0, whose loss is ln d_vocab.",
        "Put the uniform loss in front of the others; minus torch.diff is how far each one falls.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.10


def induction_targets(tokens: Int[Tensor, " pos"]) -> Int[Tensor, " pos"]:
    """Where an induction head looks from each position; -1 where the token is new."""
    targets = torch.full_like(tokens, -1)
    for position, token in enumerate(tokens):
        earlier = (tokens[:position] == token).nonzero().flatten()
        if len(earlier):
            targets[position] = earlier[-1] + 1
    return targets


def _targets(tokens, *, up_to=0, which=-1, step=1, new=-1):
    """A step from one of the earlier places of each token, those before `up_to` further on."""
    targets = torch.full_like(tokens, new)
    for position, token in enumerate(tokens):
        earlier = (tokens[: position + up_to] == token).nonzero().flatten()
        if len(earlier):
            targets[position] = earlier[which] + step
    return targets


def the_occurrence_itself(tokens):
    """You point at the earlier occurrence: that is a duplicate-token head. An induction head looks
    at the token after it: + 1.

    In "A B ... A" the head is to say B. Where does it have to look to read B?"""
    return _targets(tokens, step=0)


def the_token_before(tokens):
    """You point at the token before the earlier occurrence. What came next then is one to the
    right: + 1, not - 1."""
    return _targets(tokens, step=-1)


def first_occurrence(tokens):
    """Where a token came several times you took the first. Take the latest before this position:
    earlier[-1]."""
    return _targets(tokens, which=0)


def finds_itself(tokens):
    """You found the token itself, at its own position. Search strictly before it:
    tokens[:position].

    Does tokens[: position + 1] hold the token at `position`? And which is then the latest place
    where it stands?"""
    return _targets(tokens, up_to=1)


def zero_for_new_tokens(tokens):
    """Position 0 is a position like any other: say -1 where the token is new."""
    return _targets(tokens, new=0)


def the_token_for_the_place(tokens):
    """You returned which token is predicted. Asked is where the head looks: a position."""
    targets = _targets(tokens)
    return torch.where(targets >= 0, tokens[targets], targets)


def looks_ahead(tokens):
    """You searched the whole text, later positions too. No head can read what is still to come."""
    return _targets(tokens, up_to=len(tokens))


def how_far_back(tokens):
    """You returned how many positions back the head looks. Give the position itself."""
    targets = _targets(tokens)
    return torch.where(targets >= 0, torch.arange(len(tokens)) - targets, targets)


def half_of_the_text_back(tokens):
    """You counted half of the text back, which is right only where the text is one half, twice.
    Search for the token."""
    half = len(tokens) // 2
    places = torch.arange(len(tokens)) - half + 1
    return torch.where(places > 0, places, -1)


INDUCTION_TARGETS = Exercise(
    id="5.10",
    title="predict an induction head",
    answer=induction_targets,
    cases={
        "A B C A B C": (torch.tensor([7, 3, 5, 7, 3, 5]),),
        "one word three times": (torch.tensor([4, 2, 4, 9, 4, 2, 1]),),
        "the same word twice in a row": (torch.tensor([6, 6, 8, 6]),),
    },
    mistakes=[
        the_occurrence_itself,
        the_token_before,
        first_occurrence,
        finds_itself,
        zero_for_new_tokens,
        the_token_for_the_place,
        looks_ahead,
        how_far_back,
        half_of_the_text_back,
    ],
    variants=[
        lambda tokens: torch.tensor(
            [
                max((j + 1 for j in range(i) if tokens[j] == tokens[i]), default=-1)
                for i in range(len(tokens))
            ]
        ),
        lambda tokens: torch.where(
            (same := (tokens[:, None] == tokens).tril(diagonal=-1)).any(dim=1),
            (same * torch.arange(1, len(tokens) + 1)).max(dim=1).values,
            -1,
        ),
    ],
    hints=[
        "For each position: where did this token stand before? Take the latest such place.",
        "(tokens[:position] == token).nonzero() lists the earlier places, in order.",
        "The head wants what came next then: one to the right of that place. No place: -1.",
    ],
    difficulty=1,
    minutes=10,
)


# 5.11


def mean_ablated(
    z: Float[Tensor, "batch pos head d_head"], heads: list[int]
) -> Float[Tensor, "batch pos head d_head"]:
    """z with what these heads bring replaced by what they bring on average."""
    ablated = z.clone()
    ablated[:, :, heads] = z.mean(dim=(0, 1))[heads]
    return ablated


def _ablated(z, heads, *, value=None):
    value = z.mean(dim=(0, 1), keepdim=True) if value is None else value
    ablated = z.clone()
    ablated[:, :, heads] = value.expand_as(z)[:, :, heads]
    return ablated


def zero_for_mean(z, heads):
    """You put zeros. A head that says the same everywhere is a bias the rest relies on; keep its
    mean, and only what varies is gone."""
    return _ablated(z, heads, value=torch.zeros_like(z))


def mean_at_each_position(z, heads):
    """Your mean runs over rows only, so each position keeps its own. Average over positions as
    well: dim=(0, 1).

    A mean for each position still says where in the text we are. Is that part of what the head
    brings, and is it to stay?"""
    return _ablated(z, heads, value=z.mean(dim=0, keepdim=True))


def mean_of_each_row(z, heads):
    """Your mean runs over positions only, so each row keeps its own. Average over the batch as
    well: dim=(0, 1)."""
    return _ablated(z, heads, value=z.mean(dim=1, keepdim=True))


def one_number_for_the_vector(z, heads):
    """You put one number into all of d_head. Each of its numbers has its own mean: average over
    batch and position alone.

    What a head brings is a vector. How many numbers has the average of many vectors?"""
    return _ablated(z, heads, value=z.mean(dim=(0, 1, 3), keepdim=True))


def mean_over_d_head(z, heads):
    """You averaged over d_head, so every place keeps what varies. What a head brings on average is
    one vector: average over batch and position, dim=(0, 1)."""
    return _ablated(z, heads, value=z.mean(dim=-1, keepdim=True))


def mean_of_all_heads(z, heads):
    """You put the mean over heads: each head has its own subspace, so average each by itself."""
    return _ablated(z, heads, value=z.mean(dim=(0, 1, 2), keepdim=True))


def whole_layer(z, heads):
    """You replaced every head of the layer. Replace those in `heads` only."""
    return _ablated(z, list(range(z.shape[2])))


def the_other_heads(z, heads):
    """You kept the heads that were to be ablated and replaced the others."""
    return _ablated(z, [head for head in range(z.shape[2]) if head not in heads])


def first_of_them(z, heads):
    """You replaced only the first of the heads: index with the whole list."""
    return _ablated(z, heads[:1])


def heads_taken_for_positions(z, heads):
    """You replaced positions, for all heads. The axes are batch, pos, head, d_head: head is the
    third."""
    ablated = z.clone()
    ablated[:, heads] = z.mean(dim=(0, 1))
    return ablated


def one_number_for_the_heads(z, heads):
    """You put one number into all of these heads. Each of a head's d_head numbers has its own mean:
    average over batch and position alone."""
    return _ablated(z, heads, value=z[:, :, heads].mean())


def mean_taken_off(z, heads):
    """You took the mean off and kept what varies. It is the other way round: the mean stays."""
    return _ablated(z, heads, value=z - z.mean(dim=(0, 1)))


MEAN_ABLATED = Exercise(
    id="5.11",
    title="break the previous-token head",
    answer=mean_ablated,
    cases={
        "two of three heads": (*normal((2, 5, 3, 4)), [0, 2]),
        "one of four": (*normal((3, 4, 4, 2), seed=1), [1]),
        "two, not in order": (*normal((2, 4, 4, 3), seed=2), [3, 1]),
    },
    mistakes=[
        zero_for_mean,
        mean_at_each_position,
        mean_of_each_row,
        one_number_for_the_vector,
        mean_over_d_head,
        mean_of_all_heads,
        whole_layer,
        the_other_heads,
        first_of_them,
        heads_taken_for_positions,
        one_number_for_the_heads,
        mean_taken_off,
    ],
    variants=[
        lambda z, heads: torch.where(
            torch.isin(torch.arange(z.shape[2]), torch.tensor(heads))[:, None],
            z.mean((0, 1), keepdim=True),
            z,
        ),
        lambda z, heads: torch.stack(
            [
                z[:, :, h].mean((0, 1)).expand_as(z[:, :, h]) if h in heads else z[:, :, h]
                for h in range(z.shape[2])
            ],
            dim=2,
        ),
    ],
    hints=[
        "What a head brings on average is one vector of d_head numbers: over which axes do you "
        "average?",
        "z.mean(dim=(0, 1)) is [head d_head].",
        "Clone z first, then write into ablated[:, :, heads]; the mean of those heads broadcasts.",
    ],
    difficulty=1,
    minutes=10,
)


# 5.12


def pattern_with_other_keys(
    query_stream: Float[Tensor, "pos d_model"],
    key_stream: Float[Tensor, "pos d_model"],
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
) -> Float[Tensor, "q_pos k_pos"]:
    """The pattern of a head whose queries read one stream and whose keys another."""
    scores = (query_stream @ W_Q) @ (key_stream @ W_K).mT / math.sqrt(W_Q.shape[-1])
    later = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


def _hidden(scores):
    later = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(later, -torch.inf)


def _shares(scores):
    return scores.softmax(dim=-1)


def _pattern(query_stream, key_stream, W_Q, W_K, *, width=None, mask=_hidden, shares=_shares):
    """The pattern of scores divided by the root of this width, masked and shared out like so."""
    scores = (query_stream @ W_Q) @ (key_stream @ W_K).mT
    return shares(mask(scores / math.sqrt(width or W_Q.shape[-1])))


def masked_after_the_softmax(query_stream, key_stream, W_Q, W_K):
    """Your rows sum to less than 1: hide the later positions before the softmax, not after it.

    What the softmax gave to later positions is taken from the others. Which number, put into the
    scores, gets nothing from it?"""
    return _pattern(query_stream, key_stream, W_Q, W_K, mask=torch.clone).tril()


def both_from_the_key_stream(query_stream, key_stream, W_Q, W_K):
    """Your queries read the other stream, too: then nobody can say which of the two mattered. Only
    the keys change."""
    return _pattern(key_stream, key_stream, W_Q, W_K)


def keys_not_replaced(query_stream, key_stream, W_Q, W_K):
    """Your keys still read the query's stream: nothing was replaced."""
    return _pattern(query_stream, query_stream, W_Q, W_K)


def queries_replaced(query_stream, key_stream, W_Q, W_K):
    """You replaced the queries and kept the keys. It is the other way round."""
    return _pattern(key_stream, query_stream, W_Q, W_K)


def rows_are_keys(query_stream, key_stream, W_Q, W_K):
    """Your rows are keys. A row is one query, its columns are what it can read.

    (a @ b.mT) has the rows of a along its rows. Which of queries and keys is your a?"""
    return _pattern(key_stream, query_stream, W_K, W_Q)


def not_scaled(query_stream, key_stream, W_Q, W_K):
    """Your rows are too peaked: divide the scores by √d_head."""
    return _pattern(query_stream, key_stream, W_Q, W_K, width=1)


def scaled_by_d_model(query_stream, key_stream, W_Q, W_K):
    """Your rows are too flat: you divided by √d_model. The dot product runs over d_head numbers."""
    return _pattern(query_stream, key_stream, W_Q, W_K, width=len(W_Q))


def later_positions_read(query_stream, key_stream, W_Q, W_K):
    """Your positions read later ones: set their scores to -inf before the softmax."""
    return _pattern(query_stream, key_stream, W_Q, W_K, mask=torch.clone)


def without_the_softmax(query_stream, key_stream, W_Q, W_K):
    """These are masked scores, no pattern yet: take the softmax of each row."""
    return _pattern(query_stream, key_stream, W_Q, W_K, shares=torch.clone)


def softmax_over_queries(query_stream, key_stream, W_Q, W_K):
    """Your columns sum to 1. A row is one query and shares 1 out among keys: dim=-1."""
    return _pattern(query_stream, key_stream, W_Q, W_K, shares=lambda scores: scores.softmax(dim=0))


def zero_for_the_mask(query_stream, key_stream, W_Q, W_K):
    """You set the scores of later positions to 0, and e⁰ is 1: they are read. Set them to -inf."""
    return _pattern(query_stream, key_stream, W_Q, W_K, mask=torch.tril)


def own_position_hidden(query_stream, key_stream, W_Q, W_K):
    """No position of yours reads itself, and the first has nothing to read. Hide what comes later
    only: triu(diagonal=1)."""

    def hidden(scores):
        return scores.masked_fill(torch.ones_like(scores).triu().bool(), -1e9)

    return _pattern(query_stream, key_stream, W_Q, W_K, mask=hidden)


PATTERN_WITH_OTHER_KEYS = Exercise(
    id="5.12",
    title="replace only the key input",
    answer=pattern_with_other_keys,
    cases={
        "four positions": normal((4, 5), (4, 5), (5, 2), (5, 2)),
        "as many positions as features": normal((4, 4), (4, 4), (4, 3), (4, 3), seed=1),
    },
    mistakes=[
        masked_after_the_softmax,
        both_from_the_key_stream,
        keys_not_replaced,
        queries_replaced,
        rows_are_keys,
        not_scaled,
        scaled_by_d_model,
        later_positions_read,
        without_the_softmax,
        softmax_over_queries,
        zero_for_the_mask,
        own_position_hidden,
    ],
    variants=[
        lambda query_stream, key_stream, W_Q, W_K: (
            einsum(query_stream, W_Q, W_K, key_stream, "q i, i h, j h, k j -> q k")
            / W_Q.shape[-1] ** 0.5
            + torch.full((len(key_stream),) * 2, -torch.inf).triu(1)
        ).softmax(-1),
        lambda query_stream, key_stream, W_Q, W_K: torch.stack(
            [
                functional.pad(
                    (
                        query_stream[q]
                        @ W_Q
                        @ W_K.mT
                        @ key_stream[: q + 1].mT
                        / W_Q.shape[1] ** 0.5
                    ).softmax(0),
                    (0, len(key_stream) - q - 1),
                )
                for q in range(len(query_stream))
            ]
        ),
    ],
    hints=[
        "Queries are query_stream @ W_Q. What do keys read?",
        "Scores: one row for each query, one column for each key, divided by √d_head.",
        "Then as in chapter 1: -inf for later positions, softmax along each row.",
    ],
    difficulty=2,
    minutes=10,
)


# 5.13


def matching_score(
    W_E: Float[Tensor, "d_vocab d_model"],
    W_QK: Float[Tensor, "d_model d_model"],
    W_OV: Float[Tensor, "d_model d_model"],
) -> Float[Tensor, ""]:
    """How positive the eigenvalues of W_E W_QK W_OVᵀ W_Eᵀ are: Σ Re λ / Σ |λ|."""
    eigenvalues = torch.linalg.eigvals(W_QK @ W_OV.mT @ (W_E.mT @ W_E))
    return eigenvalues.real.sum() / eigenvalues.abs().sum()


def _score(matrix, *, found=torch.linalg.eigvals, above=torch.real, below=torch.abs):
    """The sum of one thing by the sum of another, for what is found in the matrix."""
    values = found(matrix)
    return above(values).sum() / below(values).sum()


def _matching(W_E, W_QK, W_OV, *, above=torch.real, below=torch.abs):
    return _score(W_QK @ W_OV.mT @ (W_E.mT @ W_E), above=above, below=below)


def previous_head_left_out(W_E, W_QK, W_OV):
    """You asked which token looks for itself. The key is what the earlier head wrote: W_OVᵀ belongs
    between W_QK and W_Eᵀ."""
    return _matching(W_E, W_QK, torch.eye(len(W_OV)))


def W_OV_not_transposed(W_E, W_QK, W_OV):
    """The key is the row e W_OV; in a score it stands as a column, (e W_OV)ᵀ = W_OVᵀ eᵀ: transpose
    W_OV.

    Start from e_q W_QK (e_k W_OV)ᵀ and take the bracket apart: in which order do its two factors
    come out, and how?"""
    return _matching(W_E, W_QK, W_OV.mT)


def earlier_head_in_the_query(W_E, W_QK, W_OV):
    """You let the query pass through the earlier head: that is Q-composition. Here the key does."""
    return _score(W_OV @ W_QK @ (W_E.mT @ W_E))


def embedding_left_out(W_E, W_QK, W_OV):
    """Your eigenvalues are those of the stream's directions, whether a token uses them or not.
    Begin and end at tokens: W_E."""
    return _matching(torch.eye(W_E.shape[1]), W_QK, W_OV)


def sizes_for_real_parts(W_E, W_QK, W_OV):
    """Your score is 1 whatever the head does: the numerator sums sizes. It sums real parts, with
    their signs."""
    return _matching(W_E, W_QK, W_OV, above=torch.abs)


def size_of_the_whole_sum(W_E, W_QK, W_OV):
    """Your score is never below 0: you took |Σ λ|. Where tokens look away from their own kind it
    must come out negative: take the real part of the sum."""
    return _matching(W_E, W_QK, W_OV, above=lambda values: values.sum().abs())


def sum_not_divided(W_E, W_QK, W_OV):
    """Your score grows with the matrices: divide by the sum of the sizes, so that it lies between
    -1 and 1."""
    return _matching(W_E, W_QK, W_OV, below=lambda values: torch.ones(()))


def divided_by_how_many(W_E, W_QK, W_OV):
    """You took the mean of Re λ, which grows with the matrices. Divide by the sum of the sizes, not
    by how many there are."""
    return _matching(W_E, W_QK, W_OV, below=lambda values: torch.ones(len(values)))


def each_eigenvalue_alike(W_E, W_QK, W_OV):
    """You divided each eigenvalue by its own size, so tiny ones count as much as large ones. Sum
    first, divide after."""
    return _matching(
        *(W_E, W_QK, W_OV),
        above=lambda values: torch.sgn(values).real,
        below=lambda values: torch.ones(len(values)),
    )


def symmetric_part(W_E, W_QK, W_OV):
    """You took the eigenvalues of a symmetric matrix (eigvalsh looks at one half only). This one is
    not symmetric: torch.linalg.eigvals."""
    circuit = W_E @ W_QK @ W_OV.mT @ W_E.mT
    return _score((circuit + circuit.mT) / 2, found=torch.linalg.eigvalsh)


def share_that_is_positive(W_E, W_QK, W_OV):
    """You counted the positive ones, so tiny ones count as much as large ones. Sum the real parts,
    and divide by the sum of the sizes."""
    return _matching(
        *(W_E, W_QK, W_OV),
        above=lambda values: values.real > 0,
        below=lambda values: torch.ones(len(values)),
    )


def imaginary_parts_left_out(W_E, W_QK, W_OV):
    """You divided by the sizes of the real parts. An eigenvalue that turns as much as it matches
    counts with its whole size: |λ|.

    λ = a + ib has the size √(a² + b²), which .abs() of the complex number gives. Was .real taken
    before it?"""
    return _matching(W_E, W_QK, W_OV, below=lambda values: values.real.abs())


def norm_for_eigenvalues(W_E, W_QK, W_OV):
    """Your numerator is right: the trace is the sum of the eigenvalues. The Frobenius norm is not
    the sum of their sizes: torch.linalg.eigvals."""
    circuit = W_E @ W_QK @ W_OV.mT @ W_E.mT
    return torch.trace(circuit) / circuit.norm()


MATCHING_SCORE = Exercise(
    id="5.13",
    title="eigenvalues of QK through another head",
    answer=matching_score,
    cases={
        "six tokens": normal((6, 4), (4, 4), (4, 4)),
        "as many tokens as features": normal((5, 5), (5, 5), (5, 5), seed=1),
        "a match": (
            *normal((7, 3), seed=2),
            torch.diag(torch.tensor([1.0, 2.0, 3.0])) + 0.3 * normal((3, 3), seed=3)[0],
            torch.diag(torch.tensor([2.0, 1.0, 1.0])),
        ),
    },
    mistakes=[
        previous_head_left_out,
        W_OV_not_transposed,
        earlier_head_in_the_query,
        embedding_left_out,
        sizes_for_real_parts,
        size_of_the_whole_sum,
        sum_not_divided,
        divided_by_how_many,
        each_eigenvalue_alike,
        symmetric_part,
        share_that_is_positive,
        imaginary_parts_left_out,
        norm_for_eigenvalues,
    ],
    variants=[
        lambda W_E, W_QK, W_OV: _score(W_E @ W_QK @ W_OV.mT @ W_E.mT),
        lambda W_E, W_QK, W_OV: (
            torch.trace(W_E @ W_QK @ (W_E @ W_OV).mT)
            / torch.linalg.eigvals(W_E.mT @ W_E @ W_QK @ W_OV.mT).abs().sum()
        ),
    ],
    hints=[
        "The score between two tokens is e_q W_QK (e_k W_OV)ᵀ. As a table between all tokens?",
        "Its eigenvalues that are not 0 are those of the small matrix W_QK W_OVᵀ (W_Eᵀ W_E): the "
        "factor at the front may move to the back.",
        "torch.linalg.eigvals, then the sum of the real parts by the sum of the sizes.",
    ],
    difficulty=2,
    minutes=15,
)


# 5.14


def turning_step(steps: Int[Tensor, " point"], curve: Float[Tensor, " point"]) -> int:
    """The first step at which a curve has done half of its way from its first to its last value."""
    done = (curve - curve[0]) / (curve[-1] - curve[0])
    return steps[(done >= 0.5).nonzero()[0, 0]].item()


def _share(curve):
    return (curve - curve[0]) / (curve[-1] - curve[0])


def _first(is_done):
    return is_done.nonzero()[0, 0]


def _turning(steps, curve, *, share=_share, half=0.5, place=_first):
    """The step at a place among those where such a share of the way is done."""
    return steps[place(share(curve) >= half)].item()


def place_for_step(steps, curve):
    """You returned which measurement it was. Look up at which step that one was made."""
    return _turning(torch.arange(len(steps)), curve)


def half_of_the_last_value(steps, curve):
    """You waited for half of the last value. A curve need not start at 0: half of the way is the
    middle between first and last.

    A loss begins at 4 and ends at 3. At which value is half of the way done?"""
    return _turning(steps, curve, share=lambda curve: curve, half=curve[-1] / 2)


def only_for_rising_curves(steps, curve):
    """Right for curves that rise. A loss falls: measure which share of the way is done, then one
    rule serves both.

    (curve - first) is below 0 for a loss, and so is (last - first). What has their quotient, for
    curves of both kinds?"""
    return _turning(steps, curve, share=lambda curve: curve, half=(curve[0] + curve[-1]) / 2)


def way_to_the_extreme(steps, curve):
    """You took the whole range, from the least to the greatest value. A curve may overshoot: the
    way goes from the first to the last value."""

    def share(curve):
        done = (curve - curve.min()) / (curve.max() - curve.min())
        return done if curve[-1] > curve[0] else 1 - done

    return _turning(steps, curve, share=share)


def steepest_step(steps, curve):
    """You took the steepest stretch. Between two measurements far apart it is easily a wide one;
    take the first at which half is done."""
    return steps[(curve[1:] - curve[:-1]).abs().argmax() + 1].item()


def last_crossing(steps, curve):
    """You took the last time that the curve came over the half. Take the first."""
    return _turning(steps, curve, place=lambda done: (done[1:] & ~done[:-1]).nonzero()[-1, 0] + 1)


def last_step_before(steps, curve):
    """You returned the last step at which half was not yet done: one measurement too early."""
    return _turning(steps, curve, place=lambda done: _first(done) - 1)


def one_step_late(steps, curve):
    """You returned the measurement after the one at which half is done: one too late."""
    return _turning(steps, curve, place=lambda done: _first(done) + 1)


def more_than_half(steps, curve):
    """You waited for more than half of the way. Where a curve is in the middle exactly, half is
    done: >=, not >."""
    return _turning(steps, curve, half=0.5 + 1e-6)


def _curve(*values: float) -> Tensor:
    return torch.tensor(values)


def nearest_to_the_middle(steps, curve):
    """You took the measurement nearest to the middle: it may lie before it. Take the first at which
    half is done."""
    return steps[(curve - (curve[0] + curve[-1]) / 2).abs().argmin()].item()


def half_a_unit(steps, curve):
    """You waited for a change of 0.5. Half of the way depends on where the curve starts and ends:
    divide by curve[-1] - curve[0]."""
    return _turning(steps, curve, share=lambda curve: (curve - curve[0]).abs())


TURNING_STEP = Exercise(
    id="5.14",
    title="when it turns",
    answer=turning_step,
    cases={
        "a score that rises": (
            torch.tensor([0, 10, 20, 40, 80, 160]),
            _curve(0.1, 0.12, 0.3, 0.62, 0.9, 0.95),
        ),
        "a loss that falls": (
            torch.tensor([0, 5, 25, 50, 75, 100]),
            _curve(3.2, 3.1, 3.0, 1.6, 0.4, 0.2),
        ),
        "one that goes far": (
            torch.tensor([0, 2, 4, 6, 8, 10]),
            _curve(1.0, 2.0, 3.4, 9.0, 10.0, 11.0) * 0.5,
        ),
        "a steady climb": (
            torch.arange(0, 36, 3),
            _curve(*(0.5 + 0.2 * point + 0.001 * point**2 for point in range(12))),
        ),
        "one that jumps at both ends": (
            torch.arange(0, 36, 3),
            _curve(0.0, *(1.0 + 0.1 * point for point in range(10)), 3.0),
        ),
        "one that overshoots and comes back": (
            torch.tensor([1, 3, 5, 7, 9, 11, 13, 15]),
            _curve(1.0, 1.6, 2.3, 3.4, 1.2, 1.9, 2.1, 2.0),
        ),
    },
    mistakes=[
        place_for_step,
        half_of_the_last_value,
        only_for_rising_curves,
        way_to_the_extreme,
        steepest_step,
        last_crossing,
        last_step_before,
        one_step_late,
        more_than_half,
        nearest_to_the_middle,
        half_a_unit,
    ],
    variants=[
        lambda steps, curve: steps[
            ((curve - curve[0]) / (curve[-1] - curve[0]) >= 0.5).int().argmax()
        ].item(),
        lambda steps, curve: next(
            step
            for step, value in zip(steps.tolist(), curve.tolist(), strict=True)
            if (value - (curve[0] + curve[-1]) / 2) * (curve[-1] - curve[0]) >= 0
        ),
    ],
    hints=[
        "Which share of the way from curve[0] to curve[-1] is done at each point? It is 0 at first "
        "and 1 at last, for curves that rise and that fall.",
        "(share >= 0.5).nonzero() lists the places where half is done; you want the first.",
        "Return steps[that place].item().",
    ],
    difficulty=1,
    minutes=10,
)


# 5.15


def another_word_before(
    tokens: Int[Tensor, "batch pos"], position: int, period: int, words: Int[Tensor, " batch"]
) -> Int[Tensor, "batch pos"]:
    """The texts with one token replaced: the one whose follower an induction head at `position`
    reads."""
    changed = tokens.clone()
    changed[:, position - period] = words
    return changed


def what_is_read_replaced(tokens, position, period, words):
    """You replaced the token that the head reads. Then of course a score changes, in one layer too.
    Replace the one before it.

    The head looks for the place before which its own token stood. Which token makes that so?"""
    return another_word_before(tokens, position, period - 1, words)


def the_reader_replaced(tokens, position, period, words):
    """You replaced the token that reads: its query changes. Replace its earlier occurrence, which
    is neither reader nor read.

    Write the text as A B C A B C and let the second A be the reader. Where does it look, and which
    token stands before that place?"""
    return another_word_before(tokens, position, 0, words)


def one_too_early(tokens, position, period, words):
    """You replaced the token before the earlier occurrence. The occurrence itself is `period`
    positions before."""
    return another_word_before(tokens, position, period + 1, words)


def the_token_before_the_reader(tokens, position, period, words):
    """You replaced the token just before the reader. The head asks for the earlier occurrence of
    the reader's own token: `period` positions before."""
    return another_word_before(tokens, position, 1, words)


def the_period_for_the_place(tokens, position, period, words):
    """You replaced the token at `period`. Count back from the reader: position - period."""
    return another_word_before(tokens, position, position - period, words)


def both_occurrences(tokens, position, period, words):
    """You replaced both occurrences, so they still match each other. Replace the earlier one
    only."""
    changed = another_word_before(tokens, position, period, words)
    return another_word_before(changed, position, 0, words)


def all_that_came_before(tokens, position, period, words):
    """You replaced every token up to there. One is enough, and only one says which mattered."""
    changed = tokens.clone()
    changed[:, : position - period + 1] = words[:, None]
    return changed


def one_word_for_all(tokens, position, period, words):
    """You put the first word into every row. Each row has a word of its own."""
    return another_word_before(tokens, position, period, words[:1].expand_as(words))


ANOTHER_WORD_BEFORE = Exercise(
    id="5.15",
    title="one layer cannot",
    answer=another_word_before,
    cases={
        "period 3": (
            torch.tensor([[1, 2, 3, 1, 2, 3], [4, 5, 6, 4, 5, 6]]),
            4,
            3,
            torch.tensor([8, 9]),
        ),
        "period 4": (
            torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4], [5, 6, 7, 8, 5, 6, 7, 8]]),
            6,
            4,
            torch.tensor([9, 10]),
        ),
    },
    mistakes=[
        what_is_read_replaced,
        the_reader_replaced,
        one_too_early,
        the_token_before_the_reader,
        the_period_for_the_place,
        both_occurrences,
        all_that_came_before,
        one_word_for_all,
    ],
    variants=[
        lambda tokens, position, period, words: torch.cat(
            [
                tokens[:, : position - period],
                words[:, None],
                tokens[:, position - period + 1 :],
            ],
            dim=1,
        ),
        lambda tokens, position, period, words: tokens.scatter(
            1, torch.full_like(words, position - period)[:, None], words[:, None]
        ),
    ],
    hints=[
        "At `position` stands a token that stood `period` positions before, too. The head reads "
        "the one after that place. Which token is neither reader nor read?",
        "The earlier occurrence is at position - period.",
        "Clone first; then changed[:, place] = words.",
    ],
    difficulty=1,
    minutes=10,
)


EXERCISES = (
    BIGRAM_DIVERGENCES,
    KRONECKER,
    ONE_LAYER_TERMS,
    SKIP_TRIGRAMS,
    SKIP_TRIGRAM_BUGS,
    TWO_LAYER_TERMS,
    COMPOSITION_SCORES,
    VIRTUAL_HEAD,
    REDUCTIONS_BY_ORDER,
    INDUCTION_TARGETS,
    MEAN_ABLATED,
    PATTERN_WITH_OTHER_KEYS,
    MATCHING_SCORE,
    TURNING_STEP,
    ANOTHER_WORD_BEFORE,
)

QUIZZES = (
    Quiz(
        id="5-a",
        question=(
            "A model without layers is trained until its loss no longer falls, on English, with "
            "d_model as large as you like. What is its loss?"
        ),
        options=(
            Option(
                "0: with so much room it memorises the text.",
                False,
                'After " of" comes now " the" and now " a". Whatever it guesses there, one of them '
                "surprises.",
            ),
            Option(
                "That of the unigrams: nothing moves between positions.",
                False,
                'Then it would have to guess the same after " of" as after " Mr". The present '
                "token is there without being moved.",
            ),
            Option(
                "That of the trigrams: a large d_model has room for them.",
                False,
                "The token before the last stands at another position, and nothing in this model "
                "brings it here, however wide the stream is.",
            ),
            Option(
                "That of the bigrams: it can hold their whole table.",
                True,
                "What is left is the entropy of the next token, Σ p(token) · H(next | token). With "
                "a smaller d_model the table has rank d_model, and the loss is a little above.",
            ),
        ),
    ),
    Quiz(
        id="5-b",
        question=(
            "Which of these can one attention layer learn, without MLP and whatever its size?"
        ),
        options=(
            Option(
                "This very word stood here before: raise what came after it then.",
                False,
                "That needs the key of one position to know the token before it, and the key of "
                "layer 0 knows its own token and position only.",
            ),
            Option(
                '"(" has been read and not ")" yet: raise ")".',
                True,
                'A skip-trigram: "( ... word → )".',
            ),
            Option(
                'One head, reading "keep": "mind" over "bay" after "in", not after "at".',
                False,
                'Whoever reads "keep" gets the same vector, more of it or less: "mind" is over '
                '"bay" for both or for neither. Two heads can, where each reads from one of them.',
            ),
            Option(
                "A word that has been read is likelier than one that has not.",
                True,
                "Copying: a skip-trigram whose out is its source. It is how one-layer models do a "
                "little in-context learning.",
            ),
        ),
    ),
    Quiz(
        id="5-c",
        question=(
            "How many virtual heads of two heads has GPT-2 small, with 12 layers of 12 heads each?"
        ),
        number=float(math.comb(12, 2) * 12**2),
        tolerance=0.5,
        slips={
            66.0: "That is how many pairs of layers there are. Each layer has 12 heads.",
            144.0: "That is for one pair of layers. There are more.",
            792.0: "A pair of layers has more than 12 pairs of heads.",
            1584.0: "That is between neighbouring layers. A head reads all layers before it.",
            10_296.0: "That counts pairs within a layer, too, where no head reads another.",
            19_008.0: "That counts each pair twice. Only the later head reads the earlier one.",
            20_736.0: "That is each head with each. Which of these read one another?",
        },
        why=(
            "12 · 11 / 2 = 66 pairs of layers, and 12 · 12 = 144 pairs of heads for each: 9504. "
            "With three heads it is 220 · 1728. Most of them do nothing that matters."
        ),
    ),
    Quiz(
        id="5-d",
        question=(
            "In an induction circuit, what does the previous-token head write, and into what does "
            "it go?"
        ),
        options=(
            Option(
                "The token before, and it goes into the induction head's queries.",
                False,
                "That would find tokens which match the one before this: another circuit.",
            ),
            Option(
                "The token before, and it goes into the induction head's keys.",
                True,
                "So that a position says: A stood before me. The query at the second A asks this.",
            ),
            Option(
                "The token before, and it goes into the induction head's values.",
                False,
                "Then A B ... A would be continued by A: what is copied from B's place would be "
                "what stood before it.",
            ),
            Option(
                "The next token, and it goes from there straight to the logits.",
                False,
                "At its own position it cannot know it: no head sees what comes next.",
            ),
        ),
    ),
    Quiz(
        id="5-e",
        question=(
            "A head's induction score on texts of period 20 is 0.9. Which further facts speak "
            "against a head that only counts 19 positions back?"
        ),
        options=(
            Option(
                "Its score is as high with periods 5, 11 and 30.",
                True,
                "There the place is 4, 10 or 29 positions back.",
            ),
            Option(
                "Its score is as high on other words, with the same period.",
                False,
                "A head that counts would score so on each of them: it asks for no word.",
            ),
            Option(
                "With another word in the place of the earlier copy, it looks away.",
                True,
                "The positions are the same, so they cannot be the reason.",
            ),
            Option(
                "There is a clear previous-token head in the layer before it.",
                False,
                "It may be there and not be used; only breaking it tells.",
            ),
            Option(
                "Its OV circuit copies: it raises the very word that it reads.",
                False,
                "A head that counts can copy as well. OV says nothing of how it finds its place.",
            ),
        ),
    ),
)
