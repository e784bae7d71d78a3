"""Chapter 6, "Inside GPT-2": the six functions that carry an investigation, the mistakes that
readers make in them, the chapter's quizzes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.exercises.engine import Exercise, Option, Quiz, normal


def whole(*numbers: int) -> Int[Tensor, " number"]:
    return torch.tensor(numbers)


# 6.1


def accuracy(
    logits: Float[Tensor, "batch pos d_vocab"],
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """The mean logit difference at the last position, the share of prompts whose right answer is
    ahead of the wrong one, and the share whose right answer is the likeliest token."""
    last = logits[:, -1]
    rows = torch.arange(len(last))
    differences = last[rows, right] - last[rows, wrong]
    return (
        differences.mean(),
        (differences > 0).float().mean(),
        (last.argmax(dim=-1) == right).float().mean(),
    )


def _accuracy(last, right, wrong):
    return accuracy(last[:, None], right, wrong)


def first_position(logits, right, wrong):
    """You read the logits at the first position, before the model has read the prompt. Its answer
    stands at the last: logits[:, -1]."""
    return accuracy(logits[:, :1], right, wrong)


def every_position(logits, right, wrong):
    """You averaged over positions, too. At the others the prompt is not yet read to its end, and
    another word is asked for: take the last, logits[:, -1]."""
    n_pos = logits.shape[1]
    answers = right.repeat_interleave(n_pos), wrong.repeat_interleave(n_pos)
    return accuracy(logits.flatten(0, 1)[:, None], *answers)


def every_prompt_with_every_answer(logits, right, wrong):
    """Each prompt was judged by the answers of all prompts: logits[:, -1, right] takes every pair
    of a row and an answer. Pair them: logits[torch.arange(len(logits)), -1, right]."""
    last = logits[:, -1]
    differences = last[:, right] - last[:, wrong]
    return differences.mean(), (differences > 0).float().mean(), accuracy(logits, right, wrong)[2]


def wrong_minus_right(logits, right, wrong):
    """The sign is turned: the right answer's logit minus the wrong one's."""
    difference, of_two, _ = accuracy(logits, wrong, right)
    return difference, of_two, accuracy(logits, right, wrong)[2]


def probabilities_for_logits(logits, right, wrong):
    """Your first number is a difference of probabilities, at most 1. Leave the softmax out: what
    you will attribute later is a difference of logits."""
    return (
        _accuracy(logits[:, -1].softmax(dim=-1), right, wrong)[0],
        *accuracy(logits, right, wrong)[1:],
    )


def right_answer_alone(logits, right, wrong):
    """Your first number is the right answer's own logit. Subtract the wrong one's: what raises both
    is no evidence."""
    last, rows = logits[:, -1], torch.arange(len(logits))
    return last[rows, right].mean(), *accuracy(logits, right, wrong)[1:]


def the_average_decides(logits, right, wrong):
    """Your second number can only be 0 or 1: you averaged first and compared then. Compare prompt
    by prompt, then average; a few easy prompts hide many failures."""
    difference, _, of_all = accuracy(logits, right, wrong)
    return difference, (difference > 0).float(), of_all


def shares_swapped(logits, right, wrong):
    """Your two shares stand the wrong way round: first against the wrong answer alone, then against
    every token."""
    difference, of_two, of_all = accuracy(logits, right, wrong)
    return difference, of_all, of_two


def percent_for_share(logits, right, wrong):
    """Your shares are percentages. A share is a number from 0 to 1."""
    difference, of_two, of_all = accuracy(logits, right, wrong)
    return difference, 100 * of_two, 100 * of_all


def counted_for_shared(logits, right, wrong):
    """You counted the prompts. A share is the count divided by how many there are: .mean()."""
    difference, of_two, of_all = accuracy(logits, right, wrong)
    return difference, len(logits) * of_two, len(logits) * of_all


def among_the_best_five(logits, right, wrong):
    """Your third number counts a prompt whose answer is among the five likeliest tokens. Wanted is
    the likeliest alone: argmax."""
    five = logits[:, -1].topk(5, dim=-1).indices
    found = (five == right[:, None]).any(dim=-1)
    return *accuracy(logits, right, wrong)[:2], found.float().mean()


def level_is_ahead(logits, right, wrong):
    """Your second number counts a prompt on which both answers are equally likely. There the model
    has not decided: ahead is more than, >."""
    difference, _, of_all = accuracy(logits, right, wrong)
    rows = torch.arange(len(logits))
    ahead = logits[rows, -1, right] >= logits[rows, -1, wrong]
    return difference, ahead.float().mean(), of_all


def any_position(logits, right, wrong):
    """You looked for the right answer at every position. Only the last one has read all of the
    prompt."""
    found = (logits.argmax(dim=-1) == right[:, None]).float()
    return *accuracy(logits, right, wrong)[:2], found.mean()


def _asked(*shape: int, seed: int, right: Tensor, wrong: Tensor, often: int) -> tuple:
    """Random logits in which the right answer is the likeliest in the first `often` prompts and
    only ahead of the wrong one in the next two; the wrong one is the likeliest in the last prompt
    but one, and in the last both are level. With the answers."""
    logits = normal(shape, seed=seed)[0]
    rows, ahead = torch.arange(often), torch.arange(often, often + 2)
    logits[rows, -1, right[:often]] = logits[rows, -1].amax(dim=-1) + 0.5
    logits[ahead, -1, right[ahead]] = logits[ahead, -1].amax(dim=-1) - 0.25
    logits[ahead, -1, wrong[ahead]] = logits[ahead, -1].amin(dim=-1) - 0.5
    logits[-2, -1, [right[-2], wrong[-2]]] = torch.tensor([5.0, 6.0])
    logits[-1, -1, [right[-1], wrong[-1]]] = 0.25
    return logits, right, wrong


ACCURACY = Exercise(
    id="6.1",
    title="accuracy first",
    answer=accuracy,
    cases={
        "eight prompts, in the last of which both answers are level": lambda: _asked(
            *(8, 4, 9),
            seed=3,
            right=whole(1, 4, 7, 2, 2, 0, 5, 3),
            wrong=whole(3, 3, 1, 8, 5, 6, 2, 7),
            often=3,
        ),
        "five prompts of one token": lambda: _asked(
            *(5, 2, 12),
            seed=4,
            right=whole(0, 1, 2, 3, 4),
            wrong=whole(5, 6, 7, 8, 9),
            often=1,
        ),
    },
    mistakes=[
        first_position,
        every_position,
        every_prompt_with_every_answer,
        wrong_minus_right,
        probabilities_for_logits,
        right_answer_alone,
        the_average_decides,
        shares_swapped,
        percent_for_share,
        counted_for_shared,
        among_the_best_five,
        level_is_ahead,
        any_position,
    ],
    variants=[
        lambda logits, right, wrong: tuple(
            torch.stack(numbers).float().mean()
            for numbers in zip(
                *(
                    (row[-1, r] - row[-1, w], row[-1, r] > row[-1, w], row[-1].argmax() == r)
                    for row, r, w in zip(logits, right, wrong, strict=True)
                ),
                strict=True,
            )
        ),
        lambda logits, right, wrong: (
            (
                logits[:, -1].log_softmax(-1).gather(1, right[:, None])
                - logits[:, -1].log_softmax(-1).gather(1, wrong[:, None])
            ).mean(),
            accuracy(logits, right, wrong)[1],
            (logits[:, -1].amax(-1) == logits[torch.arange(len(logits)), -1, right]).float().mean(),
        ),
    ],
    hints=[
        "All three are made from the logits at the last position, logits[:, -1].",
        (
            "To take another token in each row, index with both: "
            "last[torch.arange(len(last)), right]."
        ),
        "A comparison gives True and False; .float().mean() makes a share of them.",
    ],
    difficulty=1,
    minutes=10,
)


# 6.2


def decided(lens: Float[Tensor, "stream batch"], least: float) -> Int[Tensor, " batch"]:
    """For each prompt, the first reading from which on the right answer leads by more than `least`
    and never loses that lead again; the number of readings where it does not lead at the end."""
    numbers = torch.arange(1, len(lens) + 1)
    return ((lens <= least) * numbers[:, None]).amax(dim=0)


def first_lead(lens, least):
    """You took the first reading with the right answer ahead. It may fall behind again later: look
    for the last reading in which it does not lead, and take the one after it."""
    leads = lens > least
    return torch.where(leads.any(dim=0), leads.int().argmax(dim=0), len(lens))


def last_reading_without_the_lead(lens, least):
    """You are one too early: that is the last reading in which the right answer does not lead. It
    leads from the next one on."""
    return decided(lens, least) - 1


def a_lead_from_the_start_is_missed(lens, least):
    """Where the right answer leads from the first reading on, you say len(lens): argmax is 0 where
    nothing is True. Ask first whether there is a reading without the lead: .any(dim=0)."""
    return len(lens) - (lens <= least).flip(0).int().argmax(dim=0)


def the_average_prompt(lens, least):
    """You averaged over prompts first, so that all are decided at once. Find each prompt's own
    reading."""
    return decided(lens.mean(dim=1, keepdim=True), least).expand(lens.shape[1])


def how_often_behind(lens, least):
    """You counted the readings without a lead. That is the place only where the lead never changes
    hands: take the last of them instead."""
    return (lens <= least).sum(dim=0)


def how_long_ahead(lens, least):
    """You counted how many readings lead at the end. Wanted is the first of them: the number of
    readings minus that."""
    return len(lens) - decided(lens, least)


def any_lead_counts(lens, least):
    """You let any lead above 0 count. In the first readings the difference is next to nothing, and
    its sign is chance: leading is more than `least`."""
    return decided(lens, 0.0)


def a_tie_is_a_lead(lens, least):
    """You let a difference of exactly `least` count. Leading is more than that: >."""
    return decided(torch.where(lens == least, least + 1, lens), least)


def the_highest_reading(lens, least):
    """You took the reading in which the lead is largest. Asked is from where on there is a lead."""
    return lens.argmax(dim=0)


def the_largest_step(lens, least):
    """You took the reading before which the difference grew most. That is a good question too, but
    not this one: from where on does the right answer lead?"""
    return lens.diff(dim=0).argmax(dim=0) + 1


def never_is_0(lens, least):
    """Where the right answer does not lead at the end you say 0, as if it had led from the start.
    Say the number of readings, len(lens)."""
    return decided(lens, least) % len(lens)


def along_the_prompts(lens, least):
    """You went along the prompts. The readings are the rows: dim=0."""
    return decided(lens.mT, least)


DECIDED = Exercise(
    id="6.2",
    title="where it is decided",
    answer=decided,
    cases={
        "a lead that changes hands": (
            torch.tensor(
                [
                    [0.0, 0.1, 0.0, 0.0, 0.0],
                    [0.5, 0.3, 0.6, 0.8, 0.4],
                    [0.4, 0.9, 0.7, 0.5, 1.1],
                    [1.2, 1.4, 0.8, 0.9, 0.1],
                    [0.8, 2.0, 0.7, 2.5, 1.4],
                    [1.7, 1.6, 1.3, 2.2, 0.2],
                ]
            ),
            0.5,
        ),
        "one that leads from the start, one that never does": (
            torch.tensor([[0.2, 0.1], [0.6, -1.0], [0.4, -0.5]]),
            0.0,
        ),
    },
    mistakes=[
        first_lead,
        last_reading_without_the_lead,
        a_lead_from_the_start_is_missed,
        the_average_prompt,
        how_often_behind,
        how_long_ahead,
        any_lead_counts,
        a_tie_is_a_lead,
        the_highest_reading,
        the_largest_step,
        never_is_0,
        along_the_prompts,
    ],
    variants=[
        lambda lens, least: len(lens) - (lens > least).int().flip(0).cumprod(dim=0).sum(dim=0),
        lambda lens, least: torch.tensor(
            [
                next((at for at in range(len(lens)) if (column[at:] > least).all()), len(lens))
                for column in lens.mT
            ]
        ),
    ],
    hints=[
        "Go from the end: where was the last reading in which the right answer did not lead?",
        "Number the readings from 1; where it leads, put 0 instead. What is the largest number?",
        "((lens <= least) * numbers[:, None]) has one row a reading; take its maximum over dim=0.",
    ],
    difficulty=2,
    minutes=15,
)


# 6.3


def looks_at(
    pattern: Float[Tensor, "batch head q_pos k_pos"],
    reader: Int[Tensor, " batch"],
    read: Int[Tensor, " batch"],
) -> Float[Tensor, " head"]:
    """How much of its attention each head gives, from each prompt's own reading position to that
    prompt's own read position, on average over prompts."""
    return pattern[torch.arange(len(pattern)), :, reader, read].mean(dim=0)


def every_place_for_every_prompt(pattern, reader, read):
    """Each prompt was asked at the positions of all prompts: pattern[:, :, reader, read] pairs
    positions with each other, but not with rows. Index the rows too:
    pattern[torch.arange(len(pattern)), :, reader, read]."""
    return pattern[:, :, reader, read].mean(dim=(0, 2))


def places_of_all_prompts_left_over(pattern, reader, read):
    """You have a number for each head and each pair of places: pattern[:, :, reader, read] puts
    every prompt beside the places of all. Index the rows too, and average over them:
    pattern[torch.arange(len(pattern)), :, reader, read]."""
    return pattern[:, :, reader, read].mean(dim=0)


def prompts_left_over(pattern, reader, read):
    """You have a number for each prompt and head. Average over the prompts: dim=0."""
    return pattern[torch.arange(len(pattern)), :, reader, read]


def first_prompts_places(pattern, reader, read):
    """You used the first prompt's positions for all prompts. Each has its own."""
    return pattern[:, :, reader[0], read[0]].mean(dim=0)


def first_prompt_alone(pattern, reader, read):
    """That is the first prompt. One prompt cannot tell a role from a place: average over all."""
    return pattern[0, :, reader[0], read[0]]


def key_looks_at_query(pattern, reader, read):
    """You looked from the read position at the reader. The query comes first: pattern[..., reader,
    read]; the other way round is 0 wherever it would look ahead."""
    return looks_at(pattern, read, reader)


def from_everywhere(pattern, reader, read):
    """You averaged over all positions that read. Take each prompt's own reader."""
    rows = torch.arange(len(pattern))
    return pattern[rows, :, :, read].mean(dim=(0, 2))


def from_the_last_position(pattern, reader, read):
    """You always read from the last position, whatever `reader` says."""
    return looks_at(pattern, torch.full_like(reader, pattern.shape[2] - 1), read)


def how_often_most(pattern, reader, read):
    """You counted how often the position is the one most looked at. Wanted is how much: the mean of
    the shares of attention."""
    rows = torch.arange(len(pattern))
    most = pattern[rows, :, reader].argmax(dim=-1)
    return (most == read[:, None]).float().mean(dim=0)


def averaged_over_heads(pattern, reader, read):
    """You averaged over heads and kept the prompts. Keep the heads, average over prompts: dim=0."""
    return pattern[torch.arange(len(pattern)), :, reader, read].mean(dim=1)


def summed_over_prompts(pattern, reader, read):
    """You summed over prompts, so that your shares pass 1. Average."""
    return looks_at(pattern, reader, read) * len(pattern)


def best_prompt(pattern, reader, read):
    """You kept the prompt on which each head looks hardest. With enough prompts every head has one:
    average."""
    return pattern[torch.arange(len(pattern)), :, reader, read].amax(dim=0)


def the_next_position(pattern, reader, read):
    """You are one position too far to the right. Positions count from 0, the beginning-of-text
    token included."""
    return looks_at(pattern, reader, (read + 1).clamp(max=pattern.shape[-1] - 1))


def _patterns(*shape: int, seed: int) -> Tensor:
    scores = 2 * normal(shape, seed=seed)[0]
    later = torch.ones(shape[-2:]).triu(diagonal=1).bool()
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


LOOKS_AT = Exercise(
    id="6.3",
    title="which heads look there",
    answer=looks_at,
    cases={
        "four prompts, three heads": lambda: (
            _patterns(4, 3, 7, 7, seed=0),
            whole(6, 5, 6, 4),
            whole(2, 4, 0, 3),
        ),
        "two prompts, five heads": lambda: (
            _patterns(2, 5, 6, 6, seed=1),
            whole(4, 5),
            whole(1, 2),
        ),
    },
    mistakes=[
        every_place_for_every_prompt,
        places_of_all_prompts_left_over,
        prompts_left_over,
        first_prompts_places,
        first_prompt_alone,
        key_looks_at_query,
        from_everywhere,
        from_the_last_position,
        how_often_most,
        averaged_over_heads,
        summed_over_prompts,
        best_prompt,
        the_next_position,
    ],
    variants=[
        lambda pattern, reader, read: torch.stack(
            [rows[:, q, k] for rows, q, k in zip(pattern, reader, read, strict=True)]
        ).mean(dim=0),
    ],
    hints=[
        "For one prompt it is pattern[0, :, reader[0], read[0]]: one number a head.",
        "Three indices of length batch go together: rows, reader, read.",
        "pattern[rows, :, reader, read] is [batch head]; average over the first axis.",
    ],
    difficulty=2,
    minutes=10,
)


# 6.4


def raises(
    v: Float[Tensor, "candidate d_head"],
    W_O: Float[Tensor, "d_head d_model"],
    directions: Float[Tensor, "candidate d_model"],
) -> Float[Tensor, " candidate"]:
    """How far a head that reads a candidate raises this candidate's answer above the mean of the
    other candidates' answers, per unit of attention."""
    logits = v @ W_O @ directions.mT
    own = logits.diagonal()
    others = (logits.sum(dim=1) - own) / (len(logits) - 1)
    return own - others


def _raises(v, W_O, directions, dim=1, itself=False, divided=True):
    logits = v @ W_O @ directions.mT
    own = logits.diagonal()
    others = logits.sum(dim=dim) - (0 if itself else own)
    return own - (others / (len(logits) - (not itself)) if divided else others)


def _table(v, W_O, directions):
    return v @ W_O @ directions.mT


def own_answer_alone(v, W_O, directions):
    """You returned the logits of the candidates' own answers. A head may raise every candidate
    alike: subtract the mean of the others."""
    return _table(v, W_O, directions).diagonal()


def own_answer_among_the_others(v, W_O, directions):
    """Your mean includes the answer itself, so that your numbers are too small. Average over the
    others only: divide by the number of candidates minus 1."""
    return _raises(v, W_O, directions, itself=True)


def own_answer_left_in_the_sum(v, W_O, directions):
    """You divided by how many the others are, but your sum still has the answer itself: subtract
    the diagonal from it."""
    logits = _table(v, W_O, directions)
    return logits.diagonal() - logits.sum(dim=1) / (len(logits) - 1)


def best_of_the_others(v, W_O, directions):
    """You subtracted the greatest of the others. Wanted is above their mean."""
    logits = _table(v, W_O, directions)
    others = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool), -torch.inf)
    return logits.diagonal() - others.amax(dim=1)


def other_readers_for_other_answers(v, W_O, directions):
    """You compared along the wrong axis: what this answer gets when the head reads the other
    candidates. Stay in the row: what the other answers get when it reads this one."""
    return _raises(v, W_O, directions, dim=0)


def mean_over_all_pairs(v, W_O, directions):
    """You subtracted one mean from all: that of every pair off the diagonal. Each candidate has its
    own row."""
    logits = _table(v, W_O, directions)
    off = logits.sum() - logits.diagonal().sum()
    return logits.diagonal() - off / (len(logits) * (len(logits) - 1))


def others_summed(v, W_O, directions):
    """You subtracted the sum of the others. Divide it by how many they are."""
    return _raises(v, W_O, directions, divided=False)


def is_it_the_most_raised(v, W_O, directions):
    """You returned whether the own answer is raised most. Wanted is by how many logits."""
    logits = _table(v, W_O, directions)
    return (logits.argmax(dim=1) == torch.arange(len(logits))).float()


def one_number_for_the_head(v, W_O, directions):
    """You averaged over the candidates. Keep one number each: a head may move some and not
    others."""
    return _raises(v, W_O, directions).mean()


def cosines_for_logits(v, W_O, directions):
    """You scaled vectors to length 1. A logit is the product as it is: a head that writes little
    moves little."""
    written, answers = (
        torch.nn.functional.normalize(vectors, dim=-1) for vectors in (v @ W_O, directions)
    )
    return _raises(written, torch.eye(written.shape[1]), answers)


def sizes_for_signs(v, W_O, directions):
    """You dropped the sign. A head that pushes its own candidate down is the opposite of a mover:
    keep it."""
    return _raises(v, W_O, directions).abs()


RAISES = Exercise(
    id="6.4",
    title="what a head moves",
    answer=raises,
    cases={
        "four candidates": normal((4, 3), (3, 6), (4, 6), seed=2),
        "a head that copies, and lengths that differ": lambda: (
            torch.eye(5)[:3] * torch.tensor([1.0, 2, 0.5])[:, None],
            normal((5, 7), seed=1)[0],
            normal((5, 7), seed=1)[0][:3] + 0.3,
        ),
    },
    mistakes=[
        own_answer_alone,
        own_answer_among_the_others,
        own_answer_left_in_the_sum,
        best_of_the_others,
        other_readers_for_other_answers,
        mean_over_all_pairs,
        others_summed,
        is_it_the_most_raised,
        one_number_for_the_head,
        cosines_for_logits,
        sizes_for_signs,
    ],
    variants=[
        lambda v, W_O, directions: torch.stack(
            [
                (v[i] @ W_O)
                @ (directions[i] - torch.cat([directions[:i], directions[i + 1 :]]).mean(0))
                for i in range(len(v))
            ]
        ),
        lambda v, W_O, directions: (
            lambda logits: (logits.diagonal() - logits.mean(dim=1)) * len(v) / (len(v) - 1)
        )((v @ W_O) @ directions.T),
    ],
    hints=[
        "v @ W_O is what the head writes for each candidate. What does that do to each answer?",
        (
            "v @ W_O @ directions.mT is a table: rows are candidates that were read, columns are "
            "answers. Where do the candidates' own answers stand?"
        ),
        "Off the diagonal of a row: its sum minus the diagonal, over the number of others.",
    ],
    difficulty=2,
    minutes=15,
)


# 6.5


def verdict(
    before: Float[Tensor, " batch"],
    after: Float[Tensor, " batch"],
    after_random: Float[Tensor, "draw batch"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """How far the metric falls without the claim's heads; the share of random draws without which
    it falls at least as far; by how many of their standard deviations it falls further."""
    drop = (before - after).mean()
    random_drops = (before - after_random).mean(dim=1)
    share_as_large = (random_drops >= drop).float().mean()
    return drop, share_as_large, (drop - random_drops.mean()) / random_drops.std()


def _verdict(before, after, after_random, ties=True, centre=True, of_all=False, correction=1):
    drop, draws = (before - after).mean(), (before - after_random).mean(dim=1)
    share = (draws >= drop if ties else draws > drop).float().mean()
    drops = before - after_random if of_all else draws
    above = drop - drops.mean() if centre else drop
    return drop, share, above / drops.std(correction=correction)


def change_for_drop(before, after, after_random):
    """The sign is turned: after minus before is below 0 where the metric falls. Return before minus
    after."""
    drop, share, deviations = _verdict(before, after, after_random)
    return -drop, share, deviations


def what_is_left(before, after, after_random):
    """Your first number is what is left of the metric. How far it falls is before minus after."""
    return after.mean(), *_verdict(before, after, after_random)[1:]


def share_as_small(before, after, after_random):
    """Your share is of the draws that do *less* than the claim's heads. Asked are those that do at
    least as much: the smaller, the better for the claim."""
    drop, share, deviations = _verdict(before, after, after_random)
    return drop, 1 - share, deviations


def a_tie_is_beaten(before, after, after_random):
    """You left out draws that do exactly as much. They count against the claim: >=."""
    return _verdict(before, after, after_random, ties=False)


def prompt_by_prompt(before, after, after_random):
    """You compared prompt by prompt. A draw is one experiment, and its effect the mean over all
    prompts: average each draw first."""
    drop, _, deviations = _verdict(before, after, after_random)
    as_large = (before - after_random) >= (before - after)
    return drop, as_large.float().mean(), deviations


def spread_over_prompts(before, after, after_random):
    """Your standard deviation is of draws and prompts together. Average each draw over its prompts
    first: how much do draws differ?"""
    return _verdict(before, after, after_random, of_all=True)


def spread_of_the_claims_prompts(before, after, after_random):
    """You divided by the spread over prompts of the claim's own effect. The yardstick is how much
    random draws differ."""
    drop, share, _ = _verdict(before, after, after_random)
    drops = (before - after_random).mean(dim=1)
    return drop, share, (drop - drops.mean()) / (before - after).std()


def random_mean_left_in(before, after, after_random):
    """You divided the whole fall. Random heads make the metric fall as well: subtract their mean
    first."""
    return _verdict(before, after, after_random, centre=False)


def standard_error(before, after, after_random):
    """You divided by the standard error, which shrinks with every draw you add: more draws would
    make any claim look better. Divide by the standard deviation."""
    drop, share, deviations = _verdict(before, after, after_random)
    return drop, share, deviations * len(after_random) ** 0.5


def spread_over_n(before, after, after_random):
    """Your standard deviation divides by the number of draws. For a sample divide by one less, as
    torch's std does by itself."""
    return _verdict(before, after, after_random, correction=0)


def averaged_over_draws(before, after, after_random):
    """You averaged over draws and kept the prompts. Each draw is one experiment: average over its
    prompts, dim=1."""
    drop = (before - after).mean()
    drops = (before - after_random).mean(dim=0)
    share = (drops >= drop).float().mean()
    return drop, share, (drop - drops.mean()) / drops.std()


def either_way(before, after, after_random):
    """You dropped the sign, so that heads whose loss *helps* count as well. The claim is that the
    metric falls."""
    drop, _, deviations = _verdict(before, after, after_random)
    drops = (before - after_random).mean(dim=1)
    return drop, (drops.abs() >= drop.abs()).float().mean(), deviations


def without_the_baseline(before, after, after_random):
    """You compared what is left after the random draws with the fall without the claim's heads.
    Their falls are before minus after_random."""
    drop = (before - after).mean()
    left = after_random.mean(dim=1)
    return drop, (left >= drop).float().mean(), (drop - left.mean()) / left.std()


def _drops(n_draws: int, n_prompts: int, seed: int, tied: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A metric before, without the claim's heads, and without random ones; in one draw it rises, in
    one it falls as far as the claim's (`tied`) or further."""
    before, noise = normal((n_prompts,), (n_draws, n_prompts), seed=seed)
    before = before + 5
    after = before - 2 + normal((n_prompts,), seed=seed + 1)[0]
    after_random = before - 0.5 + noise
    after_random[0] = after if tied else after - 1
    after_random[1] = before + 4
    return before, after, after_random


VERDICT = Exercise(
    id="6.5",
    title="the verdict",
    answer=verdict,
    cases={
        "seven draws, five prompts": lambda: _drops(7, 5, seed=0, tied=False),
        "ten draws, four prompts, one as good as the claim": lambda: _drops(10, 4, 3, tied=True),
    },
    mistakes=[
        change_for_drop,
        what_is_left,
        share_as_small,
        a_tie_is_beaten,
        prompt_by_prompt,
        spread_over_prompts,
        spread_of_the_claims_prompts,
        random_mean_left_in,
        standard_error,
        spread_over_n,
        averaged_over_draws,
        either_way,
        without_the_baseline,
    ],
    variants=[
        lambda before, after, after_random: (
            before.mean() - after.mean(),
            (after_random.mean(1) <= after.mean()).float().mean(),
            (after_random.mean(1).mean() - after.mean()) / after_random.mean(1).std(),
        ),
    ],
    hints=[
        "A draw is one experiment: average over its prompts, and it has one fall.",
        "random_drops = (before - after_random).mean(dim=1): one number a draw.",
        "How many of these reach the claim's? And how far above their mean is it, in their std()?",
    ],
    difficulty=2,
    minutes=15,
)


# 6.6


def limits(
    drops: Float[Tensor, " batch"], group: Int[Tensor, " batch"], least: float
) -> tuple[Float[Tensor, " group"], Int[Tensor, ""]]:
    """For each group of prompts, the share on which the metric falls by more than `least`; and the
    prompt on which it falls least."""
    holds = (drops > least).float()
    shares = [holds[group == number].mean() for number in range(int(group.max()) + 1)]
    return torch.stack(shares), drops.argmin()


def means_that_hold(drops, group, least):
    """Your shares are 0 or 1: you averaged each group and compared then. Compare prompt by prompt:
    one prompt with a large effect can carry a group in which the others fail."""
    means = [drops[group == number].mean() for number in range(int(group.max()) + 1)]
    return (torch.stack(means) > least).float(), drops.argmin()


def shares_in_a_list(drops, group, least):
    """Your shares are right, but a list. Make one tensor of them: torch.stack(shares)."""
    shares, worst = limits(drops, group, least)
    return list(shares), worst


def share_of_all_prompts(drops, group, least):
    """You divided by all prompts. A group's share is of its own prompts: holds[group ==
    number].mean()."""
    shares, worst = limits(drops, group, least)
    sizes = group.bincount()
    return shares * sizes / len(drops), worst


def how_many_hold(drops, group, least):
    """You counted. Groups have different sizes: divide by the group's own."""
    shares, worst = limits(drops, group, least)
    return shares * group.bincount(), worst


def share_that_fails(drops, group, least):
    """Your shares are of the prompts on which the claim fails. Return those on which it holds."""
    shares, worst = limits(drops, group, least)
    return 1 - shares, worst


def best_for_worst(drops, group, least):
    """You found the prompt on which the claim holds best. The worst case is where the metric falls
    least: argmin."""
    return limits(drops, group, least)[0], drops.argmax()


def size_for_worst(drops, group, least):
    """You took the drop nearest to 0. One below 0 is worse: there the metric rises."""
    return limits(drops, group, least)[0], drops.abs().argmin()


def sign_dropped(drops, group, least):
    """You count a prompt on which the metric *rises* as one on which the claim holds: leave the
    sign."""
    shares, _ = limits(drops.abs(), group, least)
    return shares, drops.argmin()


def any_fall_counts(drops, group, least):
    """You let any fall count. The claim predicted more than `least`."""
    return limits(drops, group, 0.0)[0], drops.argmin()


def the_worst_drop(drops, group, least):
    """Your second value is how far the metric falls on the worst prompt. Wanted is which prompt:
    argmin."""
    return limits(drops, group, least)[0], drops.min()


def the_worst_group(drops, group, least):
    """Your second value is the worst group. Wanted is the worst prompt."""
    shares, _ = limits(drops, group, least)
    return shares, shares.argmin()


def one_share_for_all(drops, group, least):
    """You made one share of all prompts. The question is where the claim fails: one share a
    group."""
    return (drops > least).float().mean(), drops.argmin()


def at_least_for_more(drops, group, least):
    """You count a fall of exactly `least`. The claim said more than that: >."""
    return limits(torch.where(drops == least, least + 1, drops), group, least)[0], drops.argmin()


LIMITS = Exercise(
    id="6.6",
    title="where it stops",
    answer=limits,
    cases={
        "three groups": (
            torch.tensor([2.0, -0.25, 5.0, 0.1, -3.0, 1.0, 0.5, 4.0, 0.75]),
            whole(0, 1, 0, 2, 2, 1, 0, 2, 2),
            0.5,
        ),
        "two groups, of one and four prompts": (
            torch.tensor([0.3, 6.0, -0.2, 0.05, 2.0]),
            whole(1, 0, 0, 0, 0),
            1.0,
        ),
    },
    mistakes=[
        means_that_hold,
        shares_in_a_list,
        share_of_all_prompts,
        how_many_hold,
        share_that_fails,
        best_for_worst,
        size_for_worst,
        sign_dropped,
        any_fall_counts,
        the_worst_drop,
        the_worst_group,
        one_share_for_all,
        at_least_for_more,
    ],
    variants=[
        lambda drops, group, least: (
            torch.zeros(int(group.max()) + 1).index_add(0, group, (drops > least).float())
            / group.bincount(),
            drops.argmin(),
        ),
        lambda drops, group, least: (
            torch.stack([(drops[group == g] > least).float().mean() for g in group.unique()]),
            torch.argmin(drops),
        ),
    ],
    hints=[
        "First decide prompt by prompt whether the prediction holds: drops > least.",
        "holds[group == 0].mean() is the first group's share. How many groups are there?",
        "The worst prompt is the one whose drop is the smallest: drops.argmin().",
    ],
    difficulty=1,
    minutes=10,
)

EXERCISES = (ACCURACY, DECIDED, LOOKS_AT, RAISES, VERDICT, LIMITS)

QUIZZES = (
    Quiz(
        id="6-a",
        question=(
            "On a prompt whose right answer is Mary, a head of the last layer gives 98% of its "
            "attention at the last position to Mary. What does that prove?"
        ),
        options=(
            Option(
                "That at the last position the head raises the logit of what it reads, Mary.",
                False,
                "What it moves is up to its OV circuit, and that may have no use for names here.",
            ),
            Option(
                "That on this prompt the model would give a worse answer without the head.",
                False,
                "Only an intervention tells. Others may do the same, or nobody may listen.",
            ),
            Option(
                "That what it writes there is made almost only of what it reads at Mary.",
                True,
                (
                    "Its z is the average of values, weighted by the pattern. That is all that a "
                    "pattern says."
                ),
            ),
            Option(
                "That the head knows who received, and would turn to whoever else received.",
                False,
                "It may look at whoever stands first. One prompt cannot tell a role from a place.",
            ),
        ),
    ),
    Quiz(
        id="6-b",
        question=("Why do we replace a head's z by its mean over the prompts, and not by 0?"),
        options=(
            Option(
                "A head's average write is a constant that later layers were trained with.",
                True,
                (
                    "At 0 it is gone, too, and the damage that follows says nothing about what the "
                    "head tells apart."
                ),
            ),
            Option(
                "The mean leaves the model in a state that is nearer to those it knows.",
                True,
                "Nearer, though not certainly a state that any text would bring about.",
            ),
            Option(
                "With the mean in its place a metric never falls further than with a 0 there.",
                False,
                "Often it falls less far. No law says so.",
            ),
            Option(
                "The mean of balanced prompts holds no information on which answer is right.",
                True,
                "With roles swapped in half of them, what the head says about the roles cancels.",
            ),
        ),
    ),
    Quiz(
        id="6-c",
        question=(
            "Without your two heads the metric falls by 3. In 50 random draws of two heads of the "
            "same layers it never falls by more than 1. What does the baseline rule out?"
        ),
        options=(
            Option(
                "That heads of other layers matter to the metric as much as your two.",
                False,
                "Heads of other layers were never drawn.",
            ),
            Option(
                "That your two heads do something else than what you claim of them.",
                False,
                "How they do it takes a test that breaks one path and leaves the others.",
            ),
            Option(
                "That on prompts that you have not searched the metric falls by less.",
                False,
                "All sets ran on the prompts on which you found yours. New ones can surprise you.",
            ),
            Option(
                "That the metric falls by 3 without most pairs of heads of these layers.",
                True,
                "It says how large an effect is to be expected from heads that nobody chose.",
            ),
        ),
    ),
    Quiz(
        id="6-d",
        question="Which of these claims could an experiment of this chapter refute?",
        options=(
            Option(
                "Some attention heads of the last layers have a part in how the answer is chosen.",
                False,
                "Whatever comes out, some head is. A claim that nothing can refute says nothing.",
            ),
            Option(
                "Once L5H2's message to its query is cut, L8H1 looks at both names as much.",
                True,
                "It names heads, a path and a number that can come out otherwise.",
            ),
            Option(
                "L9H9 helps the right answer on some prompts and does something else on the rest.",
                False,
                "Every prompt fits it, whatever comes out. Say on which prompts, and by how much.",
            ),
            Option(
                "Without L9H9 the difference falls further than without any other head of layer 9.",
                True,
                "Eleven heads can prove it wrong.",
            ),
        ),
    ),
)
