"""Five behaviours to investigate: prompts that GPT-2 and pocket can do, the metric, the traps."""

import random
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitbook.exercises.cards import Card
from circuitbook.language import END_OF_TEXT
from circuitbook.language.english import MEN, TABLES, WOMEN
from circuitbook.parts import Head
from circuitbook.plots import Table
from circuitbook.published import gpt2_small

COUNT = 8  # prompts, unless more are asked for
WIDTH = 95  # letters in a line of text


# Prompts


@dataclass(frozen=True)
class Question:
    """A text whose next word is asked for, before it is known whether a tokenizer can read it so.

    `places` has for each role the text before its token, and how many tokens further on it stands.
    """

    text: str
    right: str
    wrong: str
    template: str
    places: Mapping[str, tuple[str, int]]


Twins = tuple[Question, Question]  # what is right in the one is wrong in the other


@dataclass(frozen=True, eq=False)
class Prompts:
    """Texts of equally many tokens, each with a right answer and the one to tell it from.

    Rows 0 and 1 are twins, 2 and 3, and so on: what is right in the one is wrong in the other.
    """

    behaviour: str
    texts: tuple[str, ...]
    templates: tuple[str, ...]  # of each prompt
    tokens: Int[Tensor, "prompt pos"]  # <|endoftext|> first
    right: Int[Tensor, " prompt"]
    wrong: Int[Tensor, " prompt"]
    other: Int[Tensor, "prompt pos"]  # the twins: `right` and `wrong` have changed places
    positions: Mapping[str, Int[Tensor, " prompt"]]  # of each role: "end", "receiver", ...

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        roles = ", ".join(self.positions)
        return (
            f"{len(self)} prompts of {self.tokens.shape[1]} tokens ({self.behaviour}), such as "
            f"{self.texts[0]!r}; positions: {roles}"
        )

    def logit_difference(
        self, logits: Float[Tensor, "prompt pos d_vocab"]
    ) -> Float[Tensor, " prompt"]:
        """How far each prompt's right answer is ahead of its wrong one at the end, in logits.

        Raises ValueError on logits of other prompts.
        """
        if len(logits) != len(self):
            raise ValueError(
                f"logit_difference got logits of {len(logits)} prompts; these are {len(self)}. "
                "Give the logits of the run on `prompts.tokens`."
            )
        rows = torch.arange(len(self), device=logits.device)
        right, wrong = self.right.to(logits.device), self.wrong.to(logits.device)
        return logits[rows, -1, right] - logits[rows, -1, wrong]


@dataclass(frozen=True)
class Behaviour:
    """Something that a model does, and how to ask for it."""

    name: str
    question: str  # what an investigation could answer
    example: str
    metric: str  # what `Prompts.logit_difference` means here
    traps: tuple[str, ...]
    published: str  # what is known of GPT-2
    twins: Callable[[object], list[Twins]] = field(repr=False)  # to choose from, in order
    pieces: bool = False  # whether an answer's first token stands for it

    def _lines(self) -> list[str]:
        traps = (f"Trap: {trap}" for trap in self.traps)
        lines = [f"Example: {self.example}", f"Metric: {self.metric}.", *traps]
        return [*lines, f"Published: {self.published}"]

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.question}", *self._lines()]
        return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)

    def _repr_html_(self) -> str:
        return Card("hint", f"{self.name}: {self.question}", (*self._lines(),))._repr_html_()

    def prompts(self, tokenizer: object, count: int = COUNT) -> Prompts:
        """Prompts that this tokenizer fits; says in one line how many had to be left out.

        Every answer is one token, and all prompts are equally long. Raises ValueError where fewer
        than `count` are left, on an odd count, and where this is no tokenizer.
        """
        if not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "end_of_text")):
            raise ValueError(
                f"prompts got a {type(tokenizer).__name__}; give the tokenizer of the model, "
                "`loaded.tokenizer`."
            )
        if type(count) is not int or count < 2 or count % 2:
            raise ValueError(
                f"prompts got count={count!r}; give an even number from 2 on: prompts are twins."
            )
        fitting, left_out = _that_fit(tokenizer, self.twins(tokenizer), self.pieces, count // 2)
        why = "; ".join(f"{number}: {reason}" for reason, number in left_out.items())
        if len(fitting) < count // 2:
            raise ValueError(
                f"There are {2 * len(fitting)} prompts of {self.name!r} for this tokenizer, not "
                f"{count}{f' (left out, {why})' if why else ''}. Ask for fewer, or choose another "
                "behaviour."
            )
        if left_out:
            print(f"Left out {sum(left_out.values())} prompts that this tokenizer splits: {why}.")
        return _prompts(self.name, tokenizer, [one for twins in fitting for one in twins])


def _that_fit(
    tokenizer: object, candidates: Sequence[Twins], pieces: bool, count: int
) -> tuple[list[Twins], dict[str, int]]:
    """The first twins that can be asked, equally long, and how many before them cannot, and why."""
    reasons = [_misfit(tokenizer, twins, pieces) for twins in candidates]
    lengths = [len(tokenizer.encode(twins[0].text)) for twins in candidates]
    usable = [length for length, reason in zip(lengths, reasons, strict=True) if not reason]
    usual = max(usable, key=usable.count, default=0)
    fitting: list[Twins] = []
    left_out: dict[str, int] = {}
    for twins, length, reason in zip(candidates, lengths, reasons, strict=True):
        if len(fitting) == count:
            break
        if not reason and length == usual:
            fitting.append(twins)
        else:
            reason = reason or "they have another number of tokens than most"
            left_out[reason] = left_out.get(reason, 0) + 2
    return fitting, left_out


def _misfit(tokenizer: object, twins: Twins, pieces: bool) -> str:
    """Why two texts cannot be asked with this tokenizer; "" if they can."""
    answers = [tokenizer.encode(answer) for answer in (twins[0].right, twins[0].wrong)]
    if not pieces and any(len(answer) != 1 for answer in answers):
        return "an answer is more than one token"
    if answers[0][0] == answers[1][0]:
        return "both answers begin with the same token"
    if len({len(tokenizer.encode(question.text)) for question in twins}) > 1:
        return "the twins have different numbers of tokens"
    return ""


def _prompts(name: str, tokenizer: object, chosen: Sequence[Question]) -> Prompts:
    def first_tokens(texts: Sequence[str]) -> Int[Tensor, " prompt"]:
        return torch.tensor([tokenizer.encode(text)[0] for text in texts])

    def position(question: Question, role: str) -> int:
        before, further = question.places[role]
        return len(tokenizer.encode(END_OF_TEXT + before)) + further

    tokens = torch.tensor([tokenizer.encode(END_OF_TEXT + one.text) for one in chosen])
    positions = {
        role: torch.tensor([position(one, role) for one in chosen]) for role in chosen[0].places
    }
    return Prompts(
        behaviour=name,
        texts=tuple(one.text for one in chosen),
        templates=tuple(one.template for one in chosen),
        tokens=tokens,
        right=first_tokens([one.right for one in chosen]),
        wrong=first_tokens([one.wrong for one in chosen]),
        other=tokens.unflatten(0, (-1, 2)).flip(1).flatten(0, 1),
        positions={**positions, "end": torch.full((len(tokens),), tokens.shape[1] - 1)},
    )


def _before(text: str, word: str, time: int = 0) -> str:
    """The text before a word comes for the first time, the second (1), ..."""
    starts = [found.start() for found in re.finditer(f" {word}\\b", text)]
    return text[: starts[time]]


# The five behaviours


def _names_question(text: str, receiver: str, giver: str, template: str) -> Question:
    places = {
        "receiver": (_before(text, receiver), 0),
        "giver": (_before(text, giver), 0),
        "giver again": (_before(text, giver, 1), 0),
    }
    return Question(text, f" {receiver}", f" {giver}", template, places)


def _indirect_objects(tokenizer: object) -> list[Twins]:
    """The published eight where the tokenizer has their words, then sentences of our own."""
    questions = [
        _names_question(one.text, one.right[1:], one.wrong[1:], one.text.split()[0])
        for one in gpt2_small().prompts
    ]
    words = {word for one in questions for word in re.findall(r" \w+", one.text)}
    if any(len(tokenizer.encode(word)) > 1 for word in words):
        questions = []
    women, men = WOMEN.split(), MEN.split()
    places, objects = TABLES["place"]["name"], TABLES["object"]["name"]
    verbs = TABLES["gave"]["verb"]
    for index, (woman, man) in enumerate(zip(women, men, strict=True)):
        template = ("When", "After")[index % 2]
        first, second = (woman, man) if index % 4 < 2 else (man, woman)
        place, thing = places[index % len(places)], objects[(5 * index) % len(objects)]
        for receiver, giver in ((first, second), (second, first)):
            text = (
                f"{template} {first} and {second} went to the {place}, "
                f"{giver} {verbs[index % len(verbs)]} a {thing} to"
            )
            questions.append(_names_question(text, receiver, giver, template))
    return list(zip(questions[::2], questions[1::2], strict=True))


NAME_TEMPLATES = {
    "letter": "The letter from {other} {wrong} went to {name} {right}. Soon {name}",
    "saw": "Yesterday {name} {right} saw {other} {wrong} at the store. Later {name}",
}


def _invented_names(tokenizer: object) -> list[Twins]:
    """Sentences with two full names of which one is begun again; in the twin the second names have
    changed places."""
    draw = random.Random(0)

    def question(template: str, name: str, other: str, right: str, wrong: str) -> Question:
        text = NAME_TEMPLATES[template].format(name=name, other=other, right=right, wrong=wrong)
        places = {
            "first name": (_before(text, right), -1),
            "second name": (_before(text, right), 0),
            "other name": (_before(text, wrong), 0),
        }
        return Question(text, f" {right}", f" {wrong}", template, places)

    found = []
    for index in range(128):
        template = list(NAME_TEMPLATES)[index % 2]
        name, other, right, wrong = draw.sample(TABLES["part"]["name"], 4)
        found.append(
            (
                question(template, name, other, right, wrong),
                question(template, name, other, wrong, right),
            )
        )
    return found


def _twins_of_one(
    template: str,
    role: str,
    pairs: Sequence[tuple[str, str]],
    answers: Mapping[str, str],
) -> list[Twins]:
    """Texts that differ in one word, {}, on which the answer depends."""

    def question(word: str, instead: str) -> Question:
        text = template.format(word)
        before = template[: template.index(" {}")] if " {}" in template else ""
        right, wrong = f" {answers[word]}", f" {answers[instead]}"
        return Question(text, right, wrong, template, {role: (before, 0)})

    return [(question(one, two), question(two, one)) for one, two in pairs]


def _capitals(tokenizer: object) -> list[Twins]:
    country = TABLES["country"]
    answers = dict(zip(country["name"], country["capital"], strict=True))
    pairs = list(zip(country["name"][::2], country["name"][1::2], strict=True))
    template = "We left {} by train from its capital,"
    return _twins_of_one(template, "country", pairs, answers)


def _pronouns(tokenizer: object) -> list[Twins]:
    answers = dict(zip(TABLES["person"]["name"], TABLES["person"]["he"], strict=True))
    pairs = list(zip(WOMEN.split(), MEN.split(), strict=True))
    return _twins_of_one("{} was late because", "person", pairs, answers)


def _days(tokenizer: object) -> list[Twins]:
    """A day and its tomorrow, or two days and the third: both sentences are equally long."""
    day = TABLES["day"]
    tomorrow = dict(zip(day["name"], day["next"], strict=True))
    pairs = [("Monday", "Thursday"), ("Tuesday", "Friday"), ("Wednesday", "Saturday")]

    def question(word: str, instead: str, template: str) -> Question:
        if template == "tomorrow":
            text, asked = f"Today is {word}, so tomorrow is", word
        else:
            text, asked = f"The days were {word}, {tomorrow[word]},", tomorrow[word]
            instead = tomorrow[instead]
        right, wrong = f" {tomorrow[asked]}", f" {tomorrow[instead]}"
        return Question(text, right, wrong, template, {"day": (_before(text, asked), 0)})

    order = [(pair, template) for pair in range(3) for template in ("tomorrow", "sequence")]
    order = [order[place] for place in (0, 3, 4, 1, 2, 5)]  # each pair once, then the rest
    return [
        (question(*pairs[pair], template), question(*pairs[pair][::-1], template))
        for pair, template in order
    ]


def _known() -> tuple[Behaviour, ...]:
    gpt2 = gpt2_small()
    induction = gpt2.induction.value
    order = induction.flatten().argsort(descending=True)[:3].tolist()
    heads = ", ".join(str(Head(*divmod(place, induction.shape[1]))) for place in order)
    movers = next(role for role in gpt2.roles if role.name == "name mover")
    return (
        Behaviour(
            "indirect object",
            "Two people are named, one of them gives. How does the model know who receives?",
            "When Mary and John went to the store, John gave a drink to → Mary, not John",
            "the logit of who received minus that of who gave",
            (
                "A head that likes the name that comes first, or one of the two names, helps one "
                "twin and harms the other: average over both before you rank.",
                "Ablate a head that writes the answer and later heads may take over: what the "
                "others add has to be measured again, not subtracted.",
                "Some heads write against the right name; a large effect can be a negative one.",
            ),
            f"On eight prompts GPT-2 small's mean logit difference is "
            f"{gpt2.logit_difference.value:.2f}; without L9H9 "
            f"{gpt2.logit_difference_without_L9H9.value:.2f}. {', '.join(movers.heads)} read the "
            "receiver's name and write it (Wang et al. 2022).",
            _indirect_objects,
        ),
        Behaviour(
            "invented names",
            "A name that the model never saw is begun a second time. How does it know the rest?",
            "The letter from Corkim Duntev went to Tarlat Zorbin. Soon Tarlat → Zorbin, not Duntev",
            "the logit of the name that followed before minus that of the other second name",
            (
                "Does it go by the word or by its place in the sentence? Ask for the other name, "
                "“Soon Corkim”: a model may answer with the last name whatever you ask.",
                "GPT-2 splits such a name into pieces: the answer is the first piece of the second "
                "name, and the head that copies it looks from the last piece of the first.",
                "An induction head needs a head of an earlier layer: ablate that one, and the "
                "first stops. Which of the two does the claim name?",
            ),
            f"Induction heads (Olsson et al. 2022). In GPT-2 small, by the published table, "
            f"{heads} look most at what came after the same token before.",
            _invented_names,
            pieces=True,
        ),
        Behaviour(
            "capital",
            "Where is it known which city belongs to a country, and how does it come to the end?",
            "We left France by train from its capital, → Paris, not Berlin",
            "the logit of the country's capital minus that of the twin's",
            (
                "After “The capital of France is” GPT-2 does not say “ Paris” first, hence this "
                "sentence. Look at the likeliest words as well as at the difference.",
                "Facts may be looked up by MLPs where the country stands, and only be moved by "
                "heads: attribution at the end alone then finds the porter, not the library.",
                "Ablating a head by its mean keeps “a capital comes now” and removes which.",
            ),
            "In GPT-2 XL, MLPs of the middle layers at the subject's last token matter most (Meng "
            "et al. 2022); for GPT-2 small we know of no table to compare with.",
            _capitals,
        ),
        Behaviour(
            "pronoun",
            "How does a name decide between she and he?",
            "Mary was late because → she, not he",
            "the logit of the pronoun that fits minus that of the other",
            (
                "There are only two answers: a head that always writes “ he” has a large "
                "attribution and explains nothing. Average over twins.",
                "The name stands at the beginning, where many heads look for want of anything "
                "better: attention to it is not yet a reason.",
                "For some names the model was taught by few texts: look at the worst prompt.",
            ),
            "A first, unfinished circuit in GPT-2 small, for “So Mary is a really great friend, "
            "isn't”: Mathwin et al. 2023, a report of one weekend.",
            _pronouns,
        ),
        Behaviour(
            "days",
            "Is the next day looked up in a table, copied or counted, and where?",
            "Today is Monday, so tomorrow is → Tuesday, not Friday",
            "the logit of the day that comes next minus that of the twin's next day",
            (
                "A head that reads the last day and writes it would be wrong: the answer is its "
                "successor. Look at what the OV circuit makes of each day.",
                "The prompts have two forms, “tomorrow is” and a list of days; a claim may hold "
                "for one of them alone, and a mean over both at one position is of neither.",
                "There are only seven days: a few prompts more are not more evidence of another "
                "kind.",
            ),
            "Successor heads, which turn a day, a month or a number into the next, are in GPT-2, "
            "too (Gould et al. 2023).",
            _days,
        ),
    )


def behaviours() -> Table:
    """The behaviours to choose from: a name for `behaviour`, the question, an example."""
    known = _known()
    return Table(
        {
            "behaviour": [one.name for one in known],
            "question": [one.question for one in known],
            "example": [one.example for one in known],
        }
    )


def behaviour(name: object) -> Behaviour:
    """The behaviour of that name. Raises ValueError, with the names there are."""
    known = {one.name: one for one in _known()}
    if name not in known:
        raise ValueError(
            f"There is no behaviour {name!r}; choose one of {', '.join(map(repr, known))}."
        )
    return known[name]
