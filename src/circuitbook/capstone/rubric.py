"""`review` says what an investigation has and what it still lacks.

Never whether its finding is right: that is what the test of its claim is for.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor

from circuitbook.attribution import LogitAttribution, LogitLens
from circuitbook.capstone.claims import Claim, Investigation, RandomHeads
from circuitbook.capstone.prompts import Behaviour, Prompts
from circuitbook.exercises.cards import Card, ShownAsCard
from circuitbook.export import notebook_path, read_notebook

STEP = re.compile(r"^(#+)\s+Step\s+([1-6])\b")
PLACEHOLDER = re.compile(r"\*Write here:[^*]*\*")
STEPS = {
    1: "the behaviour and its prompts",
    2: "where",
    3: "which heads",
    4: "what they move",
    5: "the claim and its test",
    6: "the limits",
}
YOURS = "yours"  # the tag of cells in which the reader writes
BOOKS_ID = re.compile(r"[0-9a-f]{12}(-.*)?")  # ids of cells that `circuitbook build` made
FEWEST_WORDS = 6  # of a sentence
LONGEST_RUN = 4  # code cells with no sentence between them
DRAWS = re.compile(r"^[^#\n]*\b(plot_\w+|AttentionView)\(", re.MULTILINE)
BOOKS_FIGURE = re.compile(r"^[^#\n]*\bexplore\(", re.MULTILINE)
FIGURES = ("application/vnd.plotly.v1+json", "image/png", "image/svg+xml", "image/jpeg")
MOST_TOLD = 4  # numbers of a field that are told one by one
FIELDS = ("lens", "attribution", "attention", "heads", "qk", "ov", "claim", "test", "limits")

Steps = dict[int, list[dict]]  # the cells of each step


@dataclass(frozen=True)
class Criterion:
    """Something that an investigation needs: whether it is there, what was found or is to do."""

    name: str
    there: bool
    line: str


@dataclass(frozen=True, repr=False)
class Review(ShownAsCard):
    """What an investigation has and what it lacks; not whether its finding is right."""

    criteria: tuple[Criterion, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what is missing or wrong, in the order of the steps."""
        return tuple(one.name for one in self.criteria if not one.there)

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def card(self) -> Card:
        there = len(self.criteria) - len(self.missing)
        title = f"Your investigation has {there} of the {len(self.criteria)} things that it needs."
        lines = (f"{'✓' if one.there else '○'} {one.name}: {one.line}" for one in self.criteria)
        end = (
            "All is there. Whether the finding is right, this cannot tell: read it once more as "
            "somebody who doubts it, then `export` it."
            if self.complete
            else "It was read as it was last saved: after a change, save the notebook (Ctrl+S or "
            "Cmd+S) and run this cell again."
        )
        return Card("passed" if self.complete else "progress", title, (*lines, end))


class _LackingError(Exception):
    """What is missing or wrong, and what to do about it."""


def review(study: object, notebook: object = None) -> Review:
    """What an investigation has and what it lacks, from its fields and its notebook as last saved.

    Without a name, the notebook that calls this. It looks at what kind of thing stands in a field,
    and whether it belongs to the same prompts and heads, never whether a finding is right. Raises
    ValueError on what is no Investigation, and where there is no such notebook.
    """
    if not isinstance(study, Investigation):
        raise ValueError(
            f"review got a {type(study).__name__}; give your Investigation, then the name of the "
            'notebook: review(study, "06_inside_gpt2.ipynb").'
        )
    path = notebook_path(notebook)
    cells = read_notebook(path)["cells"]
    steps = _steps(cells)
    checks = (
        ("behaviour and prompts", lambda: _prompts_found(study)),
        ("accuracy", lambda: _accuracy_found(study, steps)),
        ("lens", lambda: _lens_found(study)),
        ("attribution", lambda: _attribution_found(study)),
        ("attention", lambda: _attention_found(study)),
        ("heads", lambda: _heads_found(study)),
        ("QK", lambda: _circuit_found(study, "qk")),
        ("OV", lambda: _circuit_found(study, "ov")),
        ("claim", lambda: _claim_found(study)),
        ("intervention", lambda: _test_found(study)),
        ("limits", lambda: _limits_found(study)),
        ("prose", lambda: _prose_found(steps, cells)),
        ("figures", lambda: _figures_found(steps)),
    )
    return Review(tuple(_criterion(name, check) for name, check in checks))


def _criterion(name: str, check: Callable[[], str]) -> Criterion:
    try:
        return Criterion(name, True, check())
    except _LackingError as lacking:
        return Criterion(name, False, str(lacking))
    except Exception as error:  # a reader's own object may raise whatever it likes
        problem = f"what stands there cannot be read ({type(error).__name__}); put in its result"
        return Criterion(name, False, f"{problem}: numbers, or what the library returned.")


# ... its fields


def _prompts_found(study: Investigation) -> str:
    chosen, prompts = study.behaviour, study.prompts
    if chosen is None or prompts is None:
        raise _LackingError(
            "nothing yet. Choose one of `behaviours()` and begin with "
            "`Investigation(chosen, chosen.prompts(tokenizer))` (step 1)."
        )
    if not isinstance(chosen, Behaviour):
        raise _LackingError(
            f"`study.behaviour` is a {type(chosen).__name__}; give what `behaviour(...)` returns."
        )
    if not isinstance(prompts, Prompts):
        raise _LackingError(
            f"`study.prompts` is a {type(prompts).__name__}; give what "
            "`study.behaviour.prompts(tokenizer)` returns."
        )
    if prompts.behaviour != chosen.name:
        raise _LackingError(
            f"the behaviour is {chosen.name!r}, but the prompts are of {prompts.behaviour!r}; "
            "make them again with `study.behaviour.prompts(tokenizer)`."
        )
    return f"{chosen.name}, {len(prompts)} prompts of {prompts.tokens.shape[1]} tokens"


def _accuracy_found(study: Investigation, steps: Steps) -> str:
    numbers = _numbers_in(
        study,
        "accuracy",
        "measure on all prompts how often and by how much the right answer is ahead, "
        "`accuracy(logits, prompts.right, prompts.wrong)` (exercise 6.1), before you look inside",
    )
    _measured_first(steps)
    return _told(numbers)


def _measured_first(steps: Steps) -> None:
    """Raises where the notebook fills another field before the accuracy."""
    sources = [_code(cell) for step in sorted(steps) for cell in steps[step]]
    first = {
        name: place
        for place, source in reversed(list(enumerate(sources)))
        for name in re.findall(r"^\s*\w+\.(\w+)\s*=[^=]", source, re.MULTILINE)
        if name in ("accuracy", *FIELDS)
    }
    if "accuracy" not in first:
        return
    early = [name for name in FIELDS if first.get(name, math.inf) < first["accuracy"]]
    if early:
        raise _LackingError(
            f"it is measured after {', '.join(early)}; move that cell up: whether the model does "
            "it at all comes first (step 1)."
        )


def _lens_found(study: Investigation) -> str:
    how = "read the stream after each layer with `logit_lens` (exercise 6.2; chapter 2)"
    value = study.lens
    if isinstance(value, LogitLens):
        value = value.logits
    if not isinstance(value, Tensor):
        numbers = _numbers_in(study, "lens", how)
        value = torch.cat([values.flatten() for _, values in numbers])
        if len(value) < 2:
            raise _LackingError(f"a single number is no lens; {how}.")
    _check_numbers(value, how)
    if value.ndim == 0 or value.ndim > 3:
        raise _LackingError(
            f"its shape {list(value.shape)} is not [reading] or [reading prompt]; {how}."
        )
    return _of_prompts(study, value.shape, "reading", how)


def _attribution_found(study: Investigation) -> str:
    how = (
        "split the logit difference with `logit_attribution` or `head_attribution` (exercise 6.2; "
        "chapter 3)"
    )
    value, names = study.attribution, None
    if isinstance(value, LogitAttribution):
        value, names = value.logits, value.components
    if not isinstance(value, Tensor):
        numbers = _numbers_in(study, "attribution", how)
        value = torch.cat([values.flatten() for _, values in numbers])
    _check_numbers(value, how)
    if value.ndim == 0 or value.numel() < 2:
        raise _LackingError(f"a single number is no attribution; {how}.")
    count = _n_prompts(study)
    by_head = names is None and value.ndim == 2 and value.shape[1] != count
    if by_head or (value.ndim == 3 and names is None):
        value = value.flatten(0, 1)  # layer and head
    return _of_prompts(study, value.shape, "component", how)


def _attention_found(study: Investigation) -> str:
    how = (
        "score each head by how much it looks at a role, `{role: attention_to(role)}` (exercise "
        "6.3; chapter 2)"
    )
    numbers = _numbers_in(study, "attention", how)
    total = 0
    for name, values in numbers:
        low, high = values.min().item(), values.max().item()
        if low < -1e-4 or high > 1 + 1e-4:
            raise _LackingError(
                f"{name or 'it'} has values from {low:.2g} to {high:.2g}; attention is a share "
                "from 0 to 1: take the patterns, after the softmax."
            )
        _check_attention(study, tuple(values.shape))
        total += values.numel()
    return f"{total} shares of attention" + (f" ({_names(numbers)})" if _names(numbers) else "")


def _check_attention(study: Investigation, shape: tuple[int, ...]) -> None:
    """Raises where patterns or scores are clearly of other prompts."""
    count = _n_prompts(study)
    if not count:
        return
    length = study.prompts.tokens.shape[1]
    fits = (
        len(shape) <= 2
        or (len(shape) == 3 and (count in (shape[0], shape[2]) or shape[1:] == (length, length)))
        or (len(shape) > 3 and shape[-2:] == (length, length))
    )
    if not fits:
        raise _LackingError(
            f"its shape {list(shape)} fits neither {count} prompts nor their {length} tokens; take "
            "the patterns of a run on `study.prompts.tokens`."
        )


def _heads_found(study: Investigation) -> str:
    if study.heads is None:
        raise _LackingError(
            'nothing yet. Name the heads that you looked at closely: `study.heads = ("L1H3",)` '
            "(exercise 6.3)."
        )
    return ", ".join(_head_names("`study.heads`", study.heads))


def _circuit_found(study: Investigation, which: str) -> str:
    if which == "qk":
        how = (
            "ask why each head looks there: does it in the twin, too, and what does its query hear "
            "(`metric_by_sender`)? A number a head, `{head: ...}` (step 4; chapter 4)"
        )
    else:
        how = (
            "ask how far each head raises the answer that it reads, `{head: moved(head, ...)}` "
            "(exercise 6.4; chapter 4)"
        )
    numbers = _numbers_in(study, which, how)
    heads = {part for name, _ in numbers for part in re.findall(r"L\d+H\d+", name)}
    claimed = _claimed(study)
    lacking = [head for head in claimed if head not in heads]
    if heads and lacking:
        raise _LackingError(
            f"it is of {', '.join(sorted(heads))}, and the claim names {', '.join(lacking)}, too; "
            f"{how}."
        )
    return _told(numbers)


def _claim_found(study: Investigation) -> str:
    claim = study.claim
    if claim is None:
        raise _LackingError(
            'nothing yet. `study.claim = Claim("...", heads=("L1H3",), refuted_if="...")`: a '
            "sentence that names heads, and what would show it to be wrong (exercise 6.5)."
        )
    if not isinstance(claim, Claim):
        raise _LackingError(f"`study.claim` is a {type(claim).__name__}; make it a `Claim(...)`.")
    for name, text in (("text", claim.text), ("refuted_if", claim.refuted_if)):
        if not _is_sentence(text):
            raise _LackingError(
                f"its `{name}` is {_short(text)}; write a whole sentence"
                + (", about these heads." if name == "text" else ": which result would refute it?")
            )
    if claim.text.strip() == claim.refuted_if.strip():
        raise _LackingError("`refuted_if` repeats the claim; say which result would refute it.")
    named = _head_names("its `heads`", claim.heads)
    seen = _valid(study.heads)
    new = [head for head in named if head not in seen]
    if seen and new:
        raise _LackingError(
            f"it names {', '.join(new)}, which `study.heads` ({', '.join(seen)}) does not: look at "
            "it in steps 3 and 4 first, or claim less."
        )
    return f"{', '.join(named)}; refuted if {_short(claim.refuted_if)}"


def _test_found(study: Investigation) -> str:
    how = (
        "`study.test = against_random_heads(model, study.prompts.tokens, study.claim.heads, "
        "metric)` (exercise 6.5)"
    )
    test = study.test
    if test is None:
        raise _LackingError(f"nothing yet. {how}.")
    if not isinstance(test, RandomHeads):
        raise _LackingError(
            f"`study.test` is a {type(test).__name__}, without random heads to compare with: {how}."
        )
    claimed = _claimed(study)
    if claimed and set(claimed) != set(test.heads):
        raise _LackingError(
            f"it is of {', '.join(test.heads)}, the claim of {', '.join(claimed)}: test exactly "
            f"the heads of the claim, {how}."
        )
    if _n_prompts(study) and not torch.equal(test.tokens.cpu(), study.prompts.tokens.cpu()):
        raise _LackingError(f"it was made on other prompts ({len(test.tokens)}): {how}.")
    others = test.random_effects.mean().item() + 0.0
    return (
        f"{test.effect:+.1f} without {', '.join(test.heads)}; {others:+.1f} on average without "
        f"random ones ({len(test.random_effects)} sets), {test.share_as_large:.0%} move it as far"
    )


def _limits_found(study: Investigation) -> str:
    how = "say on which prompts the claim holds and on which not (exercise 6.6)"
    if isinstance(study.limits, str):
        if not _is_sentence(study.limits):
            raise _LackingError(f"`study.limits` is {_short(study.limits)}; {how}.")
        return f"{_words(study.limits)} words"
    return _told(_numbers_in(study, "limits", how))


# ... what stands in a field


def _numbers(value: object, name: str = "") -> list[tuple[str, Tensor]]:
    """Every number inside a value, with the name of its place; nothing where there is none."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int | float):
        return [(name, torch.tensor(float(value)))]
    if isinstance(value, Tensor):
        return [(name, value.detach().cpu().double())] if value.numel() else []
    if isinstance(value, Mapping):
        inside = value.items()
    elif is_dataclass(value) and not isinstance(value, type):
        inside = [(one.name, getattr(value, one.name)) for one in fields(value)]
    elif isinstance(value, list | tuple):
        inside = [("", one) for one in value]
    elif hasattr(value, "__array__"):
        return _numbers(torch.as_tensor(value.__array__()), name)
    else:
        return []
    found = [
        pair
        for key, one in inside
        for pair in _numbers(one, ".".join(filter(None, (name, str(key)))))
    ]
    plain = found and isinstance(value, list | tuple) and all(one.ndim == 0 for _, one in found)
    return [(name, torch.stack([one for _, one in found]))] if plain else found


def _numbers_in(study: Investigation, which: str, how: str) -> list[tuple[str, Tensor]]:
    """The numbers of a field. Raises where there are none, or they are not finite."""
    value = getattr(study, which)
    if value is None:
        raise _LackingError(f"nothing yet. {_capital(how)}, and keep it as `study.{which}`.")
    numbers = _numbers(value)
    if not numbers:
        raise _LackingError(
            f"`study.{which}` is {_short(value)}, a {type(value).__name__} without numbers; {how}."
        )
    for _, values in numbers:
        _check_numbers(values, how)
    return numbers


def _check_numbers(values: Tensor, how: str) -> None:
    if not values.numel():
        raise _LackingError(f"it is an empty tensor; {how}.")
    if not values.isfinite().all():
        raise _LackingError(f"it holds NaN or infinity; mend what made it, then {how}.")


def _of_prompts(study: Investigation, shape: Sequence[int], what: str, how: str) -> str:
    """ "9 readings over 8 prompts"; raises where these are other prompts."""
    readings = f"{shape[0]} {what}s"
    if len(shape) == 1:
        return f"{readings}, mean of the prompts"
    count = _n_prompts(study)
    if count and count not in shape[:2]:
        raise _LackingError(
            f"{readings} over {shape[1]} prompts, but the study has {count}: {how}, on "
            "`study.prompts.tokens`."
        )
    if count and shape[1] != count:
        readings = f"{shape[1]} {what}s"
    return f"{readings} over {count or shape[1]} prompts"


def _n_prompts(study: Investigation) -> int:
    """How many prompts the study has; 0 where that is not known."""
    return len(study.prompts) if isinstance(study.prompts, Prompts) else 0


def _claimed(study: Investigation) -> tuple[str, ...]:
    """The claim's heads, as far as there are any."""
    return _valid(study.claim.heads) if isinstance(study.claim, Claim) else ()


def _valid(heads: object) -> tuple[str, ...]:
    """Names of heads; nothing where one of them is none, which its own criterion tells."""
    try:
        return _head_names("", heads)
    except _LackingError:
        return ()


def _head_names(where: str, heads: object) -> tuple[str, ...]:
    """Names of heads. Raises where they are none."""
    if isinstance(heads, str) or not isinstance(heads, Sequence) or not len(heads):
        raise _LackingError(f'{where} is {_short(heads)}; give a tuple of names: `("L1H3",)`.')
    named = tuple(str(head) for head in heads)
    wrong = [head for head in named if not re.fullmatch(r"L\d+H\d+", head)]
    if wrong:
        raise _LackingError(f"{where} has {_short(wrong[0])}; write head 3 of layer 1 as `L1H3`.")
    return named


def _names(numbers: Sequence[tuple[str, Tensor]]) -> str:
    return ", ".join(name for name, _ in numbers[:3] if name)


def _told(numbers: Sequence[tuple[str, Tensor]]) -> str:
    """A few numbers in words: "share right 1.00, mean difference 12.63"."""

    def one(name: str, values: Tensor) -> str:
        few = values.flatten().tolist()[:MOST_TOLD]
        shown = ", ".join(f"{value + 0.0:.2f}" for value in few)
        if values.numel() > MOST_TOLD:
            shown = f"{values.numel()} numbers"
        return f"{name} {shown}".strip()

    told = ", ".join(one(*pair) for pair in numbers[:MOST_TOLD])
    more = len(numbers) - MOST_TOLD
    return f"{told}, and {more} more" if more > 0 else told


def _is_sentence(text: object) -> bool:
    """Whether somebody wrote this: four words or more, and nothing left open."""
    if not isinstance(text, str) or PLACEHOLDER.search(text):
        return False
    return len(re.findall(r"\w+", text)) > 3 and not text.rstrip().endswith(("...", "…"))


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(value: object, letters: int = 60) -> str:
    """A value as it is written, cut where it is long."""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    text = f"{text[:letters]}…" if len(text) > letters else text
    return f"“{text}”"


# ... its notebook


def _steps(cells: Sequence[dict]) -> Steps:
    """The cells of each step: from its heading to the next of its rank, or the next step."""
    steps: Steps = {}
    step, rank = 0, 0
    for cell in cells:
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ .*", cell["source"], re.MULTILINE)
            for heading in headings:
                begun = STEP.match(heading)
                if begun:
                    rank, step = len(begun[1]), int(begun[2])
                elif len(heading) - len(heading.lstrip("#")) <= rank:
                    step = 0
        if step:
            steps.setdefault(step, []).append(cell)
    return steps


def _code(cell: dict) -> str:
    return cell["source"] if cell["cell_type"] == "code" else ""


def _is_own(cell: dict) -> bool:
    """Whether it is a cell of text in which the reader writes, or one that he added."""
    tagged = YOURS in cell.get("metadata", {}).get("tags", ())
    added = not BOOKS_ID.fullmatch(cell.get("id", ""))
    return cell["cell_type"] == "markdown" and (tagged or added)


def _own_words(cell: dict) -> int:
    """How many words of its reader a cell has, besides headings and what it asks him to write."""
    if not _is_own(cell):
        return 0
    text = PLACEHOLDER.sub("", cell["source"])
    return _words(re.sub(r"^#+ .*", "", text, flags=re.MULTILINE))


def _left_open(cell: dict) -> bool:
    """Whether the reader's own cell still says what to write."""
    return _is_own(cell) and bool(PLACEHOLDER.search(cell["source"]))


def _prose_found(steps: Steps, cells: Sequence[dict]) -> str:
    problems = []
    inside = [cell for of_step in steps.values() for cell in of_step]
    if any(_left_open(cell) for cell in cells if cell not in inside):
        problems.append("“Write here” still stands at the head: the title and what you found")
    absent = [step for step in STEPS if step not in steps]
    if absent:
        named = ", ".join(f"“Step {step}”" for step in absent)
        problems.append(f"no heading begins with {named}")
    empty = [step for step in steps if max(map(_own_words, steps[step]), default=0) < FEWEST_WORDS]
    if empty:
        named = ", ".join(f"{step} ({STEPS[step]})" for step in sorted(empty))
        problems.append(f"no sentence of your own in step {named}")
    left = [step for step, of_step in steps.items() if any(map(_left_open, of_step))]
    if left:
        problems.append(f"“Write here” still stands in step {', '.join(map(str, sorted(left)))}")
    for step, of_step in sorted(steps.items()):
        problems += [
            f"{len(run)} code cells without a sentence between them in step {step}, from "
            f"`{_short(_code(run[0]).strip().splitlines()[0], 40)[1:-1]}` on"
            for run in _runs(of_step)
        ]
    if problems:
        raise _LackingError(
            "; ".join(problems) + ". Say before each cell what you ask and after it what you see."
        )
    words = sum(map(_own_words, inside))
    return f"{words} words of your own in the six steps"


def _runs(cells: Sequence[dict]) -> list[list[dict]]:
    """Runs of more code cells than a reader follows without a sentence."""
    runs: list[list[dict]] = [[]]
    for cell in cells:
        if cell["cell_type"] == "markdown" and _words(cell["source"]):
            runs.append([])
        elif _code(cell).strip():
            runs[-1].append(cell)
    return [run for run in runs if len(run) > LONGEST_RUN]


def _figures_found(steps: Steps) -> str:
    """Counts cells that show a figure, or, in a notebook that has not run, cells that draw one.

    The explorer is no figure of the reader's: the book puts it there.
    """
    ran = any(cell.get("outputs") for cells in steps.values() for cell in cells)
    shows = _shows_figure if ran else (lambda cell: bool(DRAWS.search(_code(cell))))
    found = {
        step: sum(shows(cell) and not BOOKS_FIGURE.search(_code(cell)) for cell in cells)
        for step, cells in sorted(steps.items())
    }
    total = sum(found.values())
    if not total:
        raise _LackingError(
            "none in the saved notebook. Draw what you found, with a title that says it "
            "(`plot_heads`, `plot_lens`, `AttentionView`), run the cells and save."
        )
    return f"{total}, in step {', '.join(str(step) for step, count in found.items() if count)}"


def _shows_figure(cell: dict) -> bool:
    bundles = [output.get("data", {}) for output in cell.get("outputs", ())]
    pages = ["".join(bundle.get("text/html", "")) for bundle in bundles]
    drawn = any(kind in bundle for bundle in bundles for kind in FIGURES)
    return drawn or any("<img" in page or "<svg" in page for page in pages)
