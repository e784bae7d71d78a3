"""The language's numbers against brute-force enumeration, long samples and the tokenizer."""

import math
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise, permutations, product

import pytest
import torch

from circuitbook.language import END_OF_TEXT, Grammar, Language, Template, book_language
from circuitbook.language.grammar import pieces
from circuitbook.language.tokenizer import tokenizer_of

STOP = 0.3
TABLES = {
    "person": {"name": ["Ann", "Bob", "Cyd"], "he": ["she", "he", "she"]},
    "thing": {"one": ["key", "door"], "many": ["keys", "doors"]},
}
TEMPLATES = [
    Template("order", "{person1} saw {person2}. {person2} saw [{person1}].", 2.0),
    Template("order", "{person1} saw {person2}. {person1} saw [{person2}].", 0.7),
    Template("pronoun", "{person} said [{person.he}] slept."),
    Template("late name", "So {person.he}, {person}, ran to {person2}.", 1.5),
    Template("list", "Go: {thing1} {thing2.many} [{thing1}] {thing2}."),
]


def grammar_of(templates, tables, stop=STOP) -> Grammar:
    """A grammar whose token ids are places in the sorted list of its words."""
    words = pieces(templates, tables)
    return Grammar(templates, tables, stop, {word: i for i, word in enumerate(words)}, len(words))


def texts(template: Template) -> list[str]:
    """Every text of a template of TABLES, by putting each choice of rows into it."""
    text = re.sub(r"[\[\]]", "", template.text)
    names = list(dict.fromkeys(re.findall(r"\{([a-z]+\d*)", text)))
    kinds = list(dict.fromkeys(name.rstrip("12") for name in names))
    found = []
    for rows in product(*(permutations(range(len(next(iter(TABLES[k].values()))))) for k in kinds)):
        filled, drawn = text, {kind: iter(row) for kind, row in zip(kinds, rows, strict=True)}
        for name in names:
            kind = name.rstrip("12")
            row, columns = next(drawn[kind]), TABLES[kind]
            filled = filled.replace(f"{{{name}}}", next(iter(columns.values()))[row])
            for column, words in columns.items():
                filled = filled.replace(f"{{{name}.{column}}}", words[row])
        found.append(filled)
    return found


def words_of(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"<\|endoftext\|>| ?\w+| ?[^\w\s]", text))


@pytest.fixture(scope="module")
def enumerated() -> dict[str, float]:
    """The probability of each passage, all of them written out."""
    total, passages = sum(template.weight for template in TEMPLATES), Counter()
    for template in TEMPLATES:
        written = texts(template)
        for text in written:
            passages[text] += template.weight / total / len(written)
    assert math.isclose(sum(passages.values()), 1)
    return passages


@pytest.fixture(scope="module")
def documents(enumerated) -> dict[tuple[str, ...], float]:
    """Starts of the stream, three passages long, with their probabilities."""
    starts = {(END_OF_TEXT,): 1.0}
    for place in range(3):
        longer = Counter()
        for (start, p), (text, q) in product(starts.items(), enumerated.items()):
            if place == 0:
                longer[start + words_of(text)] += p * q
            else:
                longer[start + words_of(" " + text)] += p * (1 - STOP) * q
                longer[(*start, END_OF_TEXT, *words_of(text))] += p * STOP * q
        starts = longer
    return starts


@pytest.fixture(scope="module")
def tiny() -> Grammar:
    return grammar_of(TEMPLATES, TABLES)


@pytest.fixture(scope="module")
def pair_counts(enumerated) -> Counter:
    """How often each pair of tokens occurs per passage, followed by what starts the next one."""
    counts = Counter()
    for text, p in enumerated.items():
        for form, share in ((words_of(text), STOP), (words_of(" " + text), 1 - STOP)):
            for pair in pairwise(form):
                counts[pair] += p * share
            counts[form[-1], END_OF_TEXT] += p * share * STOP
            for follower, q in enumerated.items():
                counts[form[-1], words_of(" " + follower)[0]] += p * share * (1 - STOP) * q
        counts[END_OF_TEXT, words_of(text)[0]] += STOP * p
    return counts


def test_bigrams_equal_the_enumerated_ones(tiny, pair_counts):
    expected = torch.zeros(tiny.d_vocab, tiny.d_vocab, dtype=torch.float64)
    ids = {word: token for token, word in tiny.words.items()}
    for (first, second), count in pair_counts.items():
        expected[ids[first], ids[second]] = count
    torch.testing.assert_close(tiny.bigram(), expected / expected.sum(), rtol=0, atol=1e-12)


def test_unigrams_are_what_both_sides_of_the_bigrams_sum_to(tiny):
    for axis in (0, 1):
        torch.testing.assert_close(tiny.unigram(), tiny.bigram().sum(axis), rtol=0, atol=1e-12)


def test_floors_equal_the_enumerated_entropies(tiny, enumerated, pair_counts):
    def entropy(shares):
        return -sum(share * math.log(share) for share in shares if share > 0)

    total = sum(pair_counts.values())
    first = Counter()
    for (word, _), count in pair_counts.items():
        first[word] += count / total
    mean_length = STOP + sum(p * len(words_of(text)) for text, p in enumerated.items())
    floors = tiny.losses()
    unigram = entropy(first.values())
    pairs = entropy(count / total for count in pair_counts.values())
    best = (entropy([STOP, 1 - STOP]) + entropy(enumerated.values())) / mean_length
    assert math.isclose(floors.uniform, math.log(tiny.d_vocab), abs_tol=1e-12)
    assert math.isclose(floors.unigram, unigram, abs_tol=1e-12)
    assert math.isclose(floors.bigram, pairs - unigram, abs_tol=1e-12)
    assert math.isclose(floors.best, best, abs_tol=1e-12)


def test_the_oracle_equals_enumeration_after_every_prefix(tiny, documents):
    ids = {word: token for token, word in tiny.words.items()}
    longest = 2 + min(len(document) for document in documents) // 3 * 2
    prefixes = {document[:length] for document in documents for length in range(1, longest)}
    following = {prefix: Counter() for prefix in prefixes}
    for document, p in documents.items():
        for length in range(1, longest):
            following[document[:length]][document[length]] += p
    for prefix, counts in following.items():
        expected = torch.zeros(tiny.d_vocab, dtype=torch.float64)
        for word, p in counts.items():
            expected[ids[word]] = p / counts.total()
        oracle = tiny.oracle([ids[word] for word in prefix])
        torch.testing.assert_close(oracle, expected, rtol=0, atol=1e-12)


def test_a_phenomenons_floor_is_its_mean_surprise(tiny, enumerated):
    late = {text: p for text, p in enumerated.items() if text.startswith("So")}
    surprise = -sum(p * math.log(p) for p in late.values())
    length = sum(p * len(words_of(text)) for text, p in late.items())
    assert math.isclose(tiny.floor("late name"), surprise / length, abs_tol=1e-12)


def test_leaving_the_language_names_the_token():
    with pytest.raises(ValueError, match=r"Token 9 \(' hospital'"):
        book_language().oracle("When Mary and John went to the store hospital")
    with pytest.raises(ValueError, match=r"Token 1 \(id \d+"):
        book_language().oracle("Xylophones")


def test_the_other_name_comes_after_a_gift():
    language = book_language()
    for giver, receiver in (("John", " Mary"), ("Mary", " John")):
        prompt = f"When Mary and John went to the store, {giver} gave a drink to"
        oracle = language.oracle(prompt)
        assert language.tokenizer.decode([int(oracle.argmax())]) == receiver
        assert math.isclose(oracle.max().item(), 1.0)


def test_every_answer_is_certain():
    language = book_language()
    for phenomenon in language.phenomena:
        for example in language.examples(phenomenon, 12, seed=3):
            for position in example.answers:
                oracle = language.oracle(example.tokens[:position])
                assert math.isclose(oracle[example.tokens[position]].item(), 1.0)


def test_each_phenomenon_has_answers():
    language = book_language()
    for phenomenon in language.phenomena:
        assert all(example.answers for example in language.examples(phenomenon, 5, seed=0))
    with pytest.raises(ValueError, match="there are indirect object"):
        language.examples("telepathy", 1, seed=0)


def test_a_wrong_answer_is_impossible_where_the_right_one_is_certain():
    language = book_language()
    for phenomenon in language.phenomena:
        for example in language.examples(phenomenon, 12, seed=3):
            for position, wrong in zip(example.answers, example.wrong, strict=True):
                assert language.oracle(example.tokens[:position])[wrong] == 0


@pytest.mark.parametrize(
    ("prompt", "right", "wrong"),
    [
        ("When Mary and John went to the store, John gave a drink to", " Mary", " John"),
        ("The keys near the door", " are", " is"),
        ('Anna wrote "the old door', '"', ")"),
        ("Anna wrote (the old door", ")", '"'),
        ('Anna asked, "Where is the drink', '?"', '."'),
        ("Anna said that", " she", " he"),
        ("Today is Monday, so tomorrow is", " Tuesday", " Monday"),
    ],
)
def test_the_wrong_answer_is_the_one_that_a_skimming_reader_gives(prompt, right, wrong):
    language = book_language()
    oracle = language.oracle(prompt)
    assert math.isclose(oracle[language.tokenizer.encode(right)[0]].item(), 1.0)
    pairs = {
        (language.tokenizer.decode([example.tokens[position]]), language.tokenizer.decode([token]))
        for phenomenon in language.phenomena
        for example in language.examples(phenomenon, 400, seed=0)
        for position, token in zip(example.answers, example.wrong, strict=True)
    }
    assert (right, wrong) in pairs


def test_what_opens_must_close_alike():
    language = book_language()
    for text, closing in (('"The', '"'), ("(the", ")")):
        assert len(language.tokenizer.encode(text)) == 2
        assert len(language.tokenizer.encode(" " + text[0])) == 1
        assert len(language.tokenizer.encode(closing)) == 1


def test_passages_mix_phenomena_with_capitals_and_punctuation():
    language = book_language()
    texts = [language.tokenizer.decode(e.tokens) for e in language.examples("mixed", 60, seed=0)]
    for sign in (",", ".", '"', "(", ")"):
        assert any(sign in text for text in texts), sign
    assert any("its capital" in text and " to " in text.split("capital")[1] for text in texts)


def test_the_oracles_mean_loss_is_the_best_possible():
    language = book_language()
    losses = language.grammar.oracle_losses(language.sample_tokens(8_000, seed=0).tolist())
    error = 2 * losses.std() / len(losses) ** 0.5  # twice: neighbours in a passage go together
    assert abs(losses.mean() - language.losses().best) < 3 * error


def test_long_samples_have_the_computed_frequencies():
    language, n_tokens = book_language(), 1_000_000
    tokens, d_vocab = language.sample_tokens(n_tokens, seed=0), language.tokenizer.d_vocab
    counts = torch.bincount(tokens, minlength=d_vocab)
    pairs = torch.bincount(tokens[:-1] * d_vocab + tokens[1:], minlength=d_vocab**2)
    for counted, expected in (
        (counts, language.unigram()),
        (pairs, language.bigram().flatten()),
    ):
        assert not counted[expected == 0].any()
        deviations = (counted - n_tokens * expected) / (n_tokens * expected).sqrt()
        assert deviations[expected > 20 / n_tokens].abs().max() < 8


def test_the_floors_are_well_apart():
    floors = book_language().losses()
    assert floors.uniform - floors.unigram > 1
    assert floors.unigram - floors.bigram > 1
    assert floors.bigram - floors.best > 1


def test_a_seed_fixes_the_sample_and_a_longer_one_begins_alike():
    language = book_language()
    sample = language.sample_tokens(100_000, seed=5)
    assert torch.equal(sample[:700], language.sample_tokens(700, seed=5))
    assert not torch.equal(sample[:700], language.sample_tokens(700, seed=6))


def test_batches_cut_one_stream_into_windows():
    language = book_language()
    batches = language.batches(4, 33, seed=5)
    seen = torch.cat([next(batches).flatten() for _ in range(1000)])
    assert torch.equal(seen, language.sample_tokens(len(seen), seed=5))


def test_sampling_never_starves_training():
    start = time.process_time()
    book_language().sample_tokens(500_000, seed=0)
    assert 500_000 / (time.process_time() - start) > 100_000  # tokens a second


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["{person} ran.", "{person1} ran. {person1} ran."], "begins with the other"),
        (["{person1} met {person2}.", "{person2} met {person1}."], "begins with the other"),
        (["Then {person.he} ran."], "hides which row"),
        (["{animal} ran."], "'animal', which is no table; there are person, thing"),
        (["{person.she} ran."], "column 'she' of 'person', which has name, he"),
        (["{thing1} {thing2} {thing3} ran."], "more rows than a table has"),
        (["{person ran."], "cannot be read after ''"),
        (["So  many."], "cannot be read after 'So'"),
        (["So [many."], "cannot be read"),
        ([""], "cannot be read"),
        ([], "0 templates"),
    ],
)
def test_a_grammar_that_cannot_be_exact_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        grammar_of([Template("any", text) for text in texts], TABLES)


def test_tables_need_a_word_in_each_row_and_each_word_one_token():
    with pytest.raises(ValueError, match="one word per row"):
        grammar_of([Template("any", "{a}.")], {"a": {"one": ["x", "y"], "two": ["z"]}})
    with pytest.raises(ValueError, match="' New York'"):
        Language([Template("any", "{city} grew.")], {"city": {"name": ["New York"]}}, STOP)


def test_sampled_text_is_split_into_the_same_tokens_again():
    language = book_language()
    tokens = language.sample_tokens(50_000, seed=2).tolist()
    assert language.tokenizer.encode(language.tokenizer.decode(tokens)) == tokens


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "The dog barked loudly.",
        "naïve café, 東京\n\n\ttabs  and 🦆",
        "\x00\x7f 1234",
        "'s",
    ],
)
def test_any_text_encodes_and_decodes_back(text):
    tokenizer = book_language().tokenizer
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert "".join(tokenizer.pieces(tokens)) == text or not text.isascii()


def test_end_of_text_is_one_token():
    tokenizer = book_language().tokenizer
    assert tokenizer.encode(END_OF_TEXT) == [tokenizer.end_of_text]
    assert tokenizer.pieces([tokenizer.end_of_text]) == [END_OF_TEXT]


def test_every_build_of_the_tokenizer_is_the_same():
    words = ["When", " Mary", " went", " to", ".", " wenting", "é"]
    program = (
        "from circuitbook.language.tokenizer import tokenizer_of;"
        f"print(tokenizer_of({words!r}).inner.to_str(), end='')"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout.decode() == tokenizer_of(words).inner.to_str()
