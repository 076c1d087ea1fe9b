"""Two texts word by word: what both have, and what only one of them has."""

import re
from difflib import SequenceMatcher

import polars as pl

MOST_WORDS = 600
"""Of each text that are compared: beyond it, comparing would make a page wait."""

_WORDS = re.compile(r"\S+|\n")


def word_diff(here: str, there: str) -> pl.DataFrame:
    """The segments of two texts in reading order: where (`both`, `here`, `there`), text.

    Only the first 600 words of each are compared.
    """
    one, two = (_WORDS.findall(text)[:MOST_WORDS] for text in (here, there))
    rows: list[tuple[str, str]] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind == "equal":
            rows.append(("both", " ".join(one[a:b])))
            continue
        rows += [("here", " ".join(one[a:b]))] if b > a else []
        rows += [("there", " ".join(two[c:d]))] if d > c else []
    return pl.DataFrame(rows, schema={"where": pl.String, "text": pl.String}, orient="row")


def alike(segments: pl.DataFrame) -> float:
    """Share of the words that both texts have, of the words in either; 1 for equal texts."""
    counts = segments.with_columns(pl.col("text").str.count_matches(r"\S+").alias("n"))
    total = int(counts["n"].sum())
    both = int(counts.filter(pl.col("where") == "both")["n"].sum())
    return both / total if total else 1.0
