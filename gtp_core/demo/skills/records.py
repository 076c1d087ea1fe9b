"""Skills about small data: tables, lists, strings and JSON."""

import json
from random import Random
from string import ascii_uppercase
from typing import Any

from gtp_core.demo.skills.example import Draft, Skill, choice_of, numeric, say
from gtp_core.demo.skills.words import (
    CITIES,
    COLORS,
    DAYS,
    GOODS,
    NAMES,
    counted,
)

_CELL = (
    "What is the {column} of the {item}?\n{table}",
    "Look at the table and give the {column} of the {item}.\n{table}",
    "Read the {column} in the row of the {item}:\n{table}",
)
_WHICH = (
    "Which item has a {column} of {value}?\n{table}",
    "Find the item whose {column} is {value}.\n{table}",
    "Name the row in which the {column} is {value}:\n{table}",
)
_HIGHEST = (
    "Which item has the highest {column}?\n{table}",
    "Look at the table: where is the {column} the highest?\n{table}",
    "Name the item with the highest {column}:\n{table}",
)


def _table(rng: Random) -> tuple[str, list[str], dict[str, list[int]]]:
    items = rng.sample(GOODS, 3)
    columns = {"price": rng.sample(range(2, 60), 3), "stock": rng.sample(range(1, 30), 3)}
    rows = [
        f"{item} | {columns['price'][i]} | {columns['stock'][i]}" for i, item in enumerate(items)
    ]
    return "\n".join(["item | price | stock", *rows]), items, columns


def _cell(rng: Random) -> Draft:
    table, items, columns = _table(rng)
    column, row = rng.choice(("price", "stock")), rng.randrange(3)
    others = tuple(str(value) for values in columns.values() for value in values)
    phrasings = say(_CELL, table=table, column=column, item=items[row])
    return choice_of(phrasings, str(columns[column][row]), others)


def _which_row(rng: Random) -> Draft:
    table, items, columns = _table(rng)
    column, row = rng.choice(("price", "stock")), rng.randrange(3)
    phrasings = say(_WHICH, table=table, column=column, value=columns[column][row])
    return choice_of(phrasings, items[row], tuple(items))


def _highest(rng: Random) -> Draft:
    table, items, columns = _table(rng)
    column = rng.choice(("price", "stock"))
    best = items[columns[column].index(max(columns[column]))]
    return choice_of(say(_HIGHEST, table=table, column=column), best, tuple(items))


_SORT = (
    "Sort these numbers from small to large: {shown}",
    "Put the numbers {shown} in rising order.",
    "Write this list again, smallest number first: {shown}",
)
_LARGEST = (
    "What is the largest number in this list? {shown}",
    "Find the maximum of these numbers: {shown}",
    "Which of the numbers {shown} is the largest one?",
)
_UNIQUE = (
    "Remove the repeated words and keep the order: {shown}",
    "Write each word of this list only once, in order: {shown}",
    "Drop the duplicates from this list: {shown}",
)
_COUNT = (
    'How many times does "{word}" appear in this list? {shown}',
    'Count the word "{word}" in the list: {shown}',
    'In the list {shown}, how often is "{word}" there?',
)


def _sorted(rng: Random) -> Draft:
    numbers = rng.sample(range(1, 30), rng.randint(3, 4))
    right, slip = sorted(numbers), sorted(numbers)
    slip[0], slip[1] = slip[1], slip[0]
    wrong = tuple(map(_listed, (slip, right[::-1], right[:-1])))
    return choice_of(say(_SORT, shown=_listed(numbers)), _listed(right), wrong)


def _largest(rng: Random) -> Draft:
    numbers = rng.sample(range(1, 50), rng.randint(3, 4))
    right = str(max(numbers))
    return choice_of(say(_LARGEST, shown=_listed(numbers)), right, tuple(map(str, numbers)))


def _without_repeats(rng: Random) -> Draft:
    words = rng.sample(COLORS + GOODS, rng.randint(2, 4))
    shown = words + rng.choices(words, k=rng.randint(1, 2))
    rng.shuffle(shown)
    kept = list(dict.fromkeys(shown))
    wrong = tuple(map(_listed, (shown, kept[::-1], kept[:-1])))
    return choice_of(say(_UNIQUE, shown=_listed(shown)), _listed(kept), wrong)


def _count(rng: Random) -> Draft:
    word, *rest = rng.sample(COLORS, 3)
    times = rng.randint(1, 4)
    shown = [word] * times + rng.choices(rest, k=rng.randint(1, 3))
    rng.shuffle(shown)
    return numeric(say(_COUNT, word=word, shown=_listed(shown)), times)


def _listed(entries: list) -> str:
    return ", ".join(map(str, entries))


_EDITED = COLORS + GOODS  # few words, so that a model that sees no letters can know them all
_REVERSE = (
    'Spell "{text}" backwards.',
    'Write the letters of "{text}" in reverse order.',
    'Reverse this text, letter by letter: "{text}"',
)
_UPPER = (
    'Write "{text}" in capital letters.',
    'Turn this text into upper case: "{text}"',
    'Put the whole of "{text}" in capitals.',
)
_NO_VOWELS = (
    'Remove all vowels (a, e, i, o, u) from "{text}".',
    'Write "{text}" without its vowels.',
    'Delete every a, e, i, o and u in this text: "{text}"',
)
_INITIALS = (
    'Take the first letter of each word in "{text}" and join them.',
    'Write only the initial letters of "{text}", without spaces.',
    'Which letters do the words in "{text}" start with? Join them.',
)


def _reverse(rng: Random) -> Draft:
    text = "-".join(rng.sample(ascii_uppercase, 3))
    return _edited(_REVERSE, text, text[::-1])


def _upper(rng: Random) -> Draft:
    text = f"{rng.choice(_EDITED)} {rng.choice(_EDITED)}"
    return _edited(_UPPER, text, text.upper())


def _without_vowels(rng: Random) -> Draft:
    text = f"{rng.choice(_EDITED)} {rng.choice(_EDITED)}"
    return _edited(_NO_VOWELS, text, "".join(c for c in text if c not in "aeiou"))


def _initials(rng: Random) -> Draft:
    words = rng.sample(_EDITED, rng.randint(2, 3))
    return _edited(_INITIALS, " ".join(words), "".join(word[0] for word in words))


def _edited(templates: tuple[str, ...], text: str, right: str) -> Draft:
    wrong = (right[:-1].rstrip(), right + right[-1], text, right[1:] + right[0])
    return choice_of(say(templates, text=text), right, wrong)


_PERSON = (
    "Extract name, age and city as JSON: {name} is {age} years old and lives in {city}.",
    "Turn the sentence into JSON with name, age, city: {name} from {city} is {age}.",
    "JSON with name, age and city, please: In {city} lives {name}, aged {age}.",
)
_ORDER = (
    "Extract item, count and buyer as JSON: {name} orders {goods}.",
    "Turn the order into JSON with item, count, buyer: Please send {goods} to {name}.",
    "JSON with item, count and buyer, please: {goods} for {name}.",
)
_MEETING = (
    "Extract who, day and hour as JSON: The call with {name} is on {day} at {hour}:00.",
    "Turn the note into JSON with who, day, hour: Meet {name} on {day} at {hour}:00.",
    "JSON with who, day and hour, please: {day}, {hour}:00, lunch with {name}.",
)


def _person(rng: Random) -> Draft:
    fields: dict[str, Any] = {
        "name": rng.choice(NAMES),
        "age": rng.randint(18, 80),
        "city": rng.choice(CITIES),
    }
    slip = {"age": fields["age"] + 1}
    return _as_json(say(_PERSON, **fields), fields, slip, "city")


def _order(rng: Random) -> Draft:
    item, count, name = rng.choice(GOODS), rng.randint(1, 12), rng.choice(NAMES)
    fields = {"item": item, "count": count, "buyer": name}
    phrasings = say(_ORDER, goods=counted(count, item), name=name)
    return _as_json(phrasings, fields, {"count": count + 1}, "buyer")


def _meeting(rng: Random) -> Draft:
    fields: dict[str, Any] = {
        "who": rng.choice(NAMES),
        "day": rng.choice(DAYS),
        "hour": rng.randint(8, 18),
    }
    slots = {"name": fields["who"], "day": fields["day"], "hour": fields["hour"]}
    return _as_json(say(_MEETING, **slots), fields, {"hour": fields["hour"] - 1}, "day")


def _as_json(phrasings: tuple[str, ...], fields: dict, slip: dict, lost: str) -> Draft:
    kept = {key: value for key, value in fields.items() if key != lost}
    right, *wrong = (json.dumps(f, ensure_ascii=False) for f in (fields, {**fields, **slip}, kept))
    return choice_of(phrasings, right, tuple(wrong))


RECORD_SKILLS = (
    Skill(
        "table-lookup",
        "Look up a cell, a row or the highest value in a three-row table.",
        {"cell": _cell, "which-row": _which_row, "highest": _highest},
    ),
    Skill(
        "list-ops",
        "Sort, search, count and deduplicate a short list.",
        {
            "sort": _sorted,
            "largest": _largest,
            "remove-repeats": _without_repeats,
            "count": _count,
        },
    ),
    Skill(
        "string-edit",
        "Reverse, capitalise, drop vowels, take first letters.",
        {
            "reverse": _reverse,
            "upper": _upper,
            "remove-vowels": _without_vowels,
            "first-letters": _initials,
        },
    ),
    Skill(
        "extract-json",
        "A sentence about a person, an order or a meeting as a JSON object.",
        {"person": _person, "order": _order, "meeting": _meeting},
    ),
)
