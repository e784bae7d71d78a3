"""The edits of answers are real, and a sample of them is caught; `make mutants` tries them all."""

import torch
from mutants import Mutant, all_exercises, function_of, mutants, other_inputs, tried

from circuitbook.exercises import diagnosis
from circuitbook.exercises.engine import Exercise, normal
from circuitbook.exercises.judging import judge

SAMPLE = 4  # edits of each exercise


def test_no_small_edit_of_an_answer_passes_and_does_something_else(monkeypatch):
    monkeypatch.setattr(diagnosis, "MISTAKE_SECONDS", 0)  # which mistake it is, nobody asks
    survivors = []
    for exercise in all_exercises():
        found = tried(exercise, most=SAMPLE, seed=len(exercise.title))
        assert found.n_mutants == SAMPLE, exercise.id
        survivors += [f"{exercise.id} {edit}" for edit in found.survivors]
    assert survivors == []


def later_mean(x):
    """The mean of all rows but the first, at least 0."""
    if len(x) < 2:
        raise ValueError("give two rows")
    return x[1:].mean(dim=0).clamp_min(0.0)


def exercise_with(*cases) -> Exercise:
    named = {str(i): (case,) for i, case in enumerate(cases)}
    return Exercise("9.9", "later mean", later_mean, named, mistakes=[], hints=[])


def edits_of(exercise: Exercise) -> dict[str, Mutant]:
    return {mutant.edit: mutant for mutant in mutants(exercise)}


def test_edits_change_one_place_and_leave_messages_alone(monkeypatch):
    monkeypatch.setattr("mutants._in_the_chapter", lambda exercise: ())
    edits = edits_of(exercise_with(*normal((3, 4))))
    for wanted in (
        "later_mean: `x[1:].mean` → `x[1:].sum`",
        "later_mean: `1` → `2`",
        "later_mean: `x[1:]` → `x`",
        "later_mean: `x[1:].mean(dim=0).clamp_min(0.0)` → `x[1:].mean(dim=0)`",
        "later_mean: `len(x) < 2` → `len(x) <= 2`",
    ):
        assert wanted in edits
    messages = [mutant.source for mutant in edits.values() if "raise" in mutant.source]
    assert messages and all("raise ValueError('give two rows')" in source for source in messages)
    assert not any("at least 0" in mutant.source for mutant in edits.values())


def test_an_edit_that_weak_cases_let_through_survives(monkeypatch):
    monkeypatch.setattr("mutants._in_the_chapter", lambda exercise: ())
    positive, mixed = normal((3, 4))[0].abs(), normal((4, 4), seed=1)[0]
    weak, strong = tried(exercise_with(positive)), tried(exercise_with(positive, mixed))
    assert any("clamp_min" in edit for edit in weak.survivors)
    assert strong.survivors == ()
    assert weak.n_mutants == strong.n_mutants == weak.n_caught + weak.n_same + len(weak.survivors)


def test_the_original_itself_passes_and_an_edit_of_it_does_not(monkeypatch):
    monkeypatch.setattr("mutants._in_the_chapter", lambda exercise: ())
    exercise = exercise_with(*normal((3, 4)))
    assert judge(exercise, later_mean)
    edited = function_of(edits_of(exercise)["later_mean: `x[1:].mean` → `x[1:].sum`"])
    assert not judge(exercise, edited)


def test_other_inputs_keep_what_makes_an_input_valid():
    pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    masked = torch.tensor([[0.3, -torch.inf], [0.1, 0.2]])
    chosen = torch.tensor([4, 7, 9])
    exercise = Exercise(
        "9.9", "many", lambda *inputs: 0, {"one": (pattern, masked, chosen)}, mistakes=[], hints=[]
    )
    for seed in range(5):
        ((probabilities, scores, tokens),) = other_inputs(exercise, seed)
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(2))
        assert probabilities[0, 1] == 0 and scores[0, 1] == -torch.inf
        assert sorted(tokens.tolist()) == [4, 7, 9]
