"""The working set: filters that a link can carry, turned into one query over the pool."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

FILTER_KINDS = {
    "source": "o",
    "verdict": "v",
    "tag": "t",
    "mark": "m",
    "search": "q",
    "where": "w",
    "like": "x",
    "near": "g",
    "region": "r",
    "topic": "c",
    "range": "n",
}
"""What a filter can be about, each with its letter in a link. `source`, `verdict`, `tag` and `mark`
(pin or ban) ask for equality, `search` for words or a /pattern/ in id and texts, `where` for an SQL
condition; `like` (a text) and `near` (a sample id) for what is most similar. `region` (corners on a
map), `topic` (its number) and `range` (of a measure) stand for any number of samples by saying
where they lie; who knows the map finds their rows."""

ORDERS = {
    "valuable": "most valuable",
    "surprising": "surprising",
    "fragile": "fragile",
    "long": "long but weak",
    "pool": "as in the pool",
}
"""Orders of the working set, each with its name on the page."""

_BY = {
    "valuable": "c.weight DESC NULLS LAST, c.gain DESC NULLS LAST, c.topk_rank",
    "surprising": "abs(ln(c.gtp_rank / c.topk_rank)) DESC",
    "fragile": "(c.leaves_at IS NULL), c.weight DESC NULLS LAST",
    "long": "(c.topk_rank * 2 <= (SELECT count(*) FROM current)), s.n_tokens DESC",
    "pool": "c.row",
}
_EQUAL = {
    "source": "s.source IN (SELECT unnest({}::VARCHAR[]))",
    "verdict": "c.verdict IN (SELECT unnest({}::VARCHAR[]))",
    "tag": "c.sample_id IN (SELECT sample_id FROM tags"
    " WHERE tag IN (SELECT unnest({}::VARCHAR[])))",
    "mark": "c.sample_id IN (SELECT sample_id FROM marks"
    " WHERE mark IN (SELECT unnest({}::VARCHAR[])))",
}
_TEXTS = ("s.sample_id", "s.prompt", "s.completion")
_MOST_FILTERS = 40
_MOST_CHARACTERS = 2000


@dataclass(frozen=True)
class Filter:
    """One pill: what it is about and what it asks for."""

    kind: str
    value: str


def read_filters(text: str) -> tuple[Filter, ...]:
    """Filters from a link; what is no filter, or too much, is left out."""
    kinds = {letter: kind for kind, letter in FILTER_KINDS.items()}
    found = [
        Filter(kinds[letter], value[:_MOST_CHARACTERS])
        for letter, value in parse_qsl(text, keep_blank_values=True)
        if letter in kinds and value
    ]
    return tuple(dict.fromkeys(found))[:_MOST_FILTERS]


def spell_filters(filters: Sequence[Filter]) -> str:
    """Filters as a link carries them."""
    pairs = [(FILTER_KINDS[one.kind], one.value) for one in filters]
    return urlencode(pairs, errors="replace")


def is_nearest(one: Filter) -> bool:
    """Whether a filter asks for what is most similar, and so orders what it finds."""
    return one.kind in ("like", "near")


def is_placed(one: Filter) -> bool:
    """Whether a filter says where samples lie, so that their rows are found outside SQL."""
    return one.kind in ("region", "topic", "range")


def within(placed: Mapping[Filter, np.ndarray]) -> list[np.ndarray]:
    """The rows to stay within: those of any of the topics, and of every region and range."""
    topics = [rows for one, rows in placed.items() if one.kind == "topic"]
    others = [rows for one, rows in placed.items() if one.kind != "topic"]
    return [np.unique(np.concatenate(topics)), *others] if topics else others


def working_set(
    filters: Sequence[Filter], order: str = "pool", among: Sequence[np.ndarray] = ()
) -> tuple[str, list[Any]]:
    """The one query behind every list of samples: rows of the pool that pass all filters.

    Filters of one kind of equality are alternatives; everything else must hold together.

    Args:
        filters: of any kind; those that ask for the most similar must be in `among` as well.
        order: a key of ORDERS.
        among: rows to stay within, found outside SQL.

    Returns:
        A SELECT of the column `row` over `samples` and `current`, and its parameters.
    """
    parts: list[str] = []
    params: list[Any] = []

    def add(part: str, value: Any) -> None:
        params.append(value)
        parts.append(part.replace("{}", f"${len(params)}"))

    for kind, part in _EQUAL.items():
        values = [one.value for one in filters if one.kind == kind]
        if values:
            add(part, values)
    for one in filters:
        if one.kind == "search":
            add(*_search(one.value))
        elif one.kind == "where":
            parts.append(
                "c.row IN (SELECT row FROM samples JOIN current USING (row, sample_id)"
                f" WHERE ({one.value}\n))"
            )
    for rows in among:
        add("c.row IN (SELECT unnest({}::BIGINT[]))", rows.tolist())
    where = f"WHERE {' AND '.join(parts)} " if parts else ""
    by = _BY.get(order, _BY["pool"])
    return (
        f"SELECT c.row FROM current c JOIN samples s USING (row) {where}ORDER BY {by}, c.row",
        params,
    )


def _search(value: str) -> tuple[str, str]:
    """A condition on the texts: they match the /pattern/, or hold the words as they are.

    Words are searched as an escaped pattern: half the time of comparing lower-case copies.
    """
    is_pattern = len(value) > 2 and value[0] == value[-1] == "/"
    pattern = value[1:-1] if is_pattern else re.escape(value)
    return "(" + " OR ".join(f"regexp_matches({t}, {{}}, 'i')" for t in _TEXTS) + ")", pattern
