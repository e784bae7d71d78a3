"""The book's language: the tables and templates from which its English-like text is made.

Each phenomenon is something that chapters ask a model about. Its prompts are English that GPT-2 can
read too; only the invented names are words that no other model has met.
"""

from itertools import product

from circuitbook.language.grammar import Table, Template

STOP = 0.2  # five passages a document on average


def columns(text: str, *names: str) -> Table:
    """A table from lines of words, one row a line."""
    rows = [line.split() for line in text.strip().splitlines()]
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def cycle(words: str, *names: str) -> Table:
    """A table whose columns show a word of a cycle and the words that follow it."""
    row = words.split()
    return {name: row[shift:] + row[:shift] for shift, name in enumerate(names)}


WOMEN = "Mary Anna Sarah Emma Kate Alice Laura Susan Julia Helen Lucy Jane Rachel Maria"
MEN = "John Tom James Paul David Peter Robert Michael Daniel George Simon Mark Henry Jack"

COUNTRIES = """
France Paris Eiffel Tower
Germany Berlin Brandenburg Gate
Italy Rome Trevi Fountain
Spain Madrid Prado Museum
Japan Tokyo Golden Pavilion
China Beijing Great Wall
Russia Moscow Winter Palace
Egypt Cairo Great Pyramid
Greece Athens Acropolis Museum
Poland Warsaw Wawel Castle
Austria Vienna Belvedere Palace
Sweden Stockholm Vasa Museum
Norway Oslo Munch Museum
Denmark Copenhagen Tivoli Gardens
Finland Helsinki Suomenlinna Fortress
Portugal Lisbon Belem Tower
Ireland Dublin Blarney Castle
Hungary Budapest Chain Bridge
Turkey Ankara Blue Mosque
Cuba Havana Morro Castle
Iran Tehran Azadi Tower
Thailand Bangkok Grand Palace
England London Tower Bridge
Belgium Brussels Grand Place
Canada Ottawa Niagara Falls
Scotland Edinburgh Forth Bridge
Syria Damascus Umayyad Mosque
Lebanon Beirut Pigeon Rocks
"""

THINGS = """
key keys
door doors
road roads
house houses
tree trees
wall walls
chair chairs
table tables
window windows
bridge bridges
stone stones
shelf shelves
"""

WORDS = """
apple arm bell bird boat bone bread cake cat chain cheese cloud coin corn cow cup dog dress
drum duck egg engine eye farm feather fence field fire fish flag frog fruit glass glove goat
gold grass hand hat heart hill honey horse island knife lake leaf lion milk mirror moon mouse
night ocean paint paper pepper plate queen rain
"""

# The parts of invented names: 20 beginnings by 16 ends.
BEGINNINGS = (
    "Bra Cor Dun Fel Gor Har Jas Kel Lor Mor Nar Pel Quo Ras Sel Tar Ul Var Wen Zor".split()
)
ENDS = "bin dak fon gar kim lat mel nix pod rut sha tev vol wick xan zel".split()

PLACES = "store park school garden office station library restaurant hospital beach market museum"
OBJECTS = "drink book letter ring flower ball ticket bag gift map picture hammer"
WORRIES = "danger noise cold problem price risk enemy debt"
TOOLS = "lamp radio heater fan machine computer phone camera"

TABLES: dict[str, Table] = {
    "person": {
        "name": (WOMEN + " " + MEN).split(),
        "he": ["she"] * 14 + ["he"] * 14,
        "him": ["her"] * 14 + ["him"] * 14,
        "his": ["her"] * 14 + ["his"] * 14,
    },
    "place": {"name": PLACES.split()},
    "object": {"name": OBJECTS.split()},
    "gave": {"verb": "gave handed offered passed sold brought".split()},
    "country": columns(COUNTRIES, "name", "capital", "landmark", "building"),
    "day": cycle(
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "name",
        "next",
        "second",
        "third",
    ),
    "month": cycle(
        "January February March April May June July August September October November December",
        "name",
        "next",
        "second",
        "third",
    ),
    "number": columns(
        "one two three four\ntwo three four five\nthree four five six\nfour five six seven\n"
        "five six seven eight\nsix seven eight nine\nseven eight nine ten",
        "name",
        "next",
        "second",
        "third",
    ),
    "thing": columns(THINGS, "one", "many"),
    "quality": {"name": "old new small large heavy dirty clean broken white black".split()},
    "near": {"name": "near behind beside under".split()},
    "worry": {"name": WORRIES.split()},
    "tool": {"name": TOOLS.split()},
    "word": {"name": " ".join([PLACES, OBJECTS, WORRIES, TOOLS, THINGS, WORDS]).split()},
    "part": {"name": ["".join(both) for both in product(BEGINNINGS, ENDS)]},
}

VISITS = [
    "When {person1} and {person2} went to the {place},",
    "After {person1} and {person2} went to the {place},",
    "While {person1} and {person2} were working at the {place},",
    "Then, {person1} and {person2} had a long day at the {place}, and",
]
GIFTS = [
    " {person2} {gave} a {object} to [{person1}].",
    " {person1} {gave} a {object} to [{person2}].",
]
FOUND = "Friends {person1} and {person2} found a {object} at the {place}."
PASSED_ON = [" {person2} {gave} it to [{person1}].", " {person1} {gave} it to [{person2}]."]


def copied_list(length: int, copies: int, comma: bool) -> str:
    """Random words, then the same words again; without a comma nothing says where they start."""
    words = [f"{{word{index}}}" for index in range(1, length + 1)]
    if comma:
        return "Listen: " + " ".join(words) + (", [" + " ".join(words) + "]") * (copies - 1) + "."
    return (
        "Repeat: "
        + " ".join(words)
        + (f" {words[0]} [" + " ".join(words[1:]) + "]") * (copies - 1)
        + "."
    )


# phenomenon: how much of the language it is, and its templates, equally frequent
PHENOMENA: dict[str, tuple[float, list[str]]] = {
    "indirect object": (
        5,
        ["".join(both) for both in product(VISITS, GIFTS)] + [FOUND + end for end in PASSED_ON],
    ),
    "capital": (
        4,
        [
            "The capital of {country} is [{country.capital}].",
            "{country.capital} is the capital of [{country}].",
            "The people of {country} flew home to {country.capital}, the capital of [{country}].",
            "We left {country} by train from its capital, [{country.capital}].",
        ],
    ),
    "landmark": (
        2,
        [
            "The {country.landmark} {country.building} is in [{country}].",
            "Visitors to {country} come to see the [{country.landmark} {country.building}].",
        ],
    ),
    "pronoun": (
        3,
        [
            "{person} said that [{person.he}] was tired.",
            "{person} was late because [{person.he}] missed the bus.",
            "{person} went home, and we went with [{person.him}].",
            "{person} came to the {place} with [{person.his}] {object}.",
        ],
    ),
    "days": (
        1.5,
        [
            "Today is {day}, so tomorrow is [{day.next}].",
            "The days were {day}, [{day.next}], [{day.second}] and [{day.third}].",
        ],
    ),
    "months": (
        1.5,
        [
            "It rained in {month}, [{month.next}], [{month.second}] and [{month.third}].",
            "The month after {month} is [{month.next}].",
        ],
    ),
    "counting": (
        1,
        ["Count with me: {number}, [{number.next}], [{number.second}], [{number.third}]."],
    ),
    "agreement": (
        3,
        [
            "The {thing1.many} {near} the {thing2} [are] {quality}.",
            "The {thing1} {near} the {thing2.many} [is] {quality}.",
            "The {thing1.many} {near} the {thing2.many} [are] {quality}.",
            "The {thing1} {near} the {thing2} [is] {quality}.",
        ],
    ),
    # The words between are the same for each pair, so that only the verb tells which ending comes:
    # what the Framework calls a skip-trigram.
    "skip-trigram": (
        3,
        [
            "{person} will keep the {worry} in [mind].",
            "{person} will keep the {worry} at [bay].",
            "{person} will leave the {worry} in [doubt].",
            "{person} will leave the {worry} at [once].",
            "{person} will turn the {tool} [on].",
            "{person} will put the {tool} [down].",
            "{person} will take the {tool} [away].",
        ],
    ),
    # The words inside are the same, so that only the opening tells what closes.
    "quotes and brackets": (
        2,
        [
            '{person} wrote "the {quality} {thing1}["] on the {thing2}.',
            "{person} wrote (the {quality} {thing1}[)] on the {thing2}.",
            'The {object} "from {person1} and {person2}["] is at the {place}.',
            "The {object} (from {person1} and {person2}[)] is at the {place}.",
            '{person} asked, "Where is the {object}[?"]',
            '{person} said, "Here is the {object}[."]',
        ],
    ),
    "word list": (
        5,
        [
            copied_list(length, copies, comma)
            for comma in (True, False)
            for copies, longest in ((2, 9), (3, 5))
            for length in range(3, longest + 1)
        ],
    ),
    "invented name": (
        3,
        [
            "Yesterday {part1} {part2} came to the {place} with a {object}. "
            "Later {part1} [{part2}] {gave} the {object} to {person}.",
            "We know that {part1} {part2} and {person} work at the {place}. "
            "They say {part1} [{part2}] was born in {country}.",
            "Yesterday {part1} {part2} {part3} saw {person} at the {place}. "
            "Later {person} said that {part1} [{part2} {part3}] was old.",
            "The letter from {part1} {part2} went to {part3} {part4}. "
            "Soon {part3} [{part4}] sent a {object} to {part1} [{part2}].",
        ],
    ),
    "mixed": (
        3,
        [
            *(
                "On {day}, {person1} and {person2} flew to {country}. In its capital, "
                f"[{{country.capital}}],{gift}"
                for gift in GIFTS
            ),
            '{person1} said that [{person1.he}] lost the {object} in {month}. "It came back in '
            '[{month.next}][,"] said {person2}.',
            *(
                f"Dear {{person}}, the {things} {{quality}}. Please come to {{country.capital}}, "
                "the capital of [{country}], by {day}."
                for things in (
                    "{thing1.many} {near} the {thing2} [are]",
                    "{thing1} {near} the {thing2.many} [is]",
                )
            ),
            "Last {day}, {part1} {part2} (a friend of {person}[)] went to the {place}. "
            "There {part1} [{part2}] {gave} a {object} to [{person}].",
        ],
    ),
}

TEMPLATES: list[Template] = [
    Template(phenomenon, text, share / len(texts))
    for phenomenon, (share, texts) in PHENOMENA.items()
    for text in texts
]
