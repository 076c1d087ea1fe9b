"""Topics: parts of the pool whose trajectories point the same way, named by the words they use."""

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog

TOPICS = 24
_ROUNDS = 12
_WORD = r"\p{L}{3,24}"
_TEXTS_A_TOPIC = 2000  # drawn to name it
_NAMED_BY = 3


def find_topics(
    sketches: np.ndarray, usable: np.ndarray, *, count: int = TOPICS, seed: int = 0
) -> np.ndarray:
    """(n_samples,) topic from 0, the largest first; -1 where there is no trajectory.

    Spherical k-means over the sketches (Dhillon, Modha 2001) from a seeded start: each centre after
    the first is the sample least like those before, of a hundred drawn.
    """
    rows = np.flatnonzero(usable)
    label = np.full(len(usable), -1, np.int64)
    if len(rows) == 0:
        return label
    count = min(count, max(1, len(rows) // 10))
    generator = np.random.default_rng(seed)
    centres = _start(sketches, rows, count, generator)
    for _ in range(_ROUNDS):
        found = _nearest(sketches, rows, centres)
        for topic in range(count):
            mine = rows[found == topic]
            if len(mine):
                total = sketches[mine].sum(axis=0, dtype=np.float64)
                centres[topic] = total / max(np.linalg.norm(total), 1e-30)
    found = _nearest(sketches, rows, centres)
    sizes = np.bincount(found, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.lexsort((np.arange(count), -sizes))] = np.arange(count)
    label[rows] = rank[found]
    return label


def _start(
    sketches: np.ndarray, rows: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    chosen = [int(generator.choice(rows))]
    while len(chosen) < count:
        drawn = np.sort(generator.choice(rows, min(100, len(rows)), replace=False))
        likest = (sketches[drawn] @ sketches[chosen].T).max(axis=1)
        chosen.append(int(drawn[np.argmin(likest)]))
    return sketches[chosen].copy()


def _nearest(sketches: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    out = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), 16_384):
        some = rows[start : start + 16_384]
        out[start : start + len(some)] = (sketches[some] @ centres.T).argmax(axis=1)
    return out


def topic_words(catalog: Catalog, label: np.ndarray, seed: int = 0) -> list[str]:
    """A name for each topic: the words that many of its texts and few of the others have."""
    generator = np.random.default_rng(seed)
    drawn = []
    for topic in range(int(label.max(initial=-1)) + 1):
        rows = np.flatnonzero(label == topic)
        some = generator.choice(rows, min(len(rows), _TEXTS_A_TOPIC), replace=False)
        drawn.append(pl.DataFrame({"row": np.sort(some), "topic": topic}))
    if not drawn:
        return []
    chosen = pl.concat(drawn)
    texts = catalog.texts(chosen["row"].to_numpy()).select(
        pl.concat_str("prompt", pl.lit(" "), "completion").str.slice(0, 600).alias("text")
    )
    words = (
        pl.concat([chosen, texts], how="horizontal")
        .with_columns(pl.col("text").str.to_lowercase().str.extract_all(_WORD).list.unique())
        .explode("text", empty_as_null=False, keep_nulls=False)
        .group_by("topic", "text")
        .len()
    )
    sizes = chosen.group_by("topic").agg(pl.len().alias("size"))
    whole = words.group_by("text").agg(pl.col("len").sum().alias("whole"))
    scored = (
        words.join(sizes, on="topic")
        .join(whole, on="text")
        .with_columns((pl.col("len") / pl.col("size") * pl.col("len") / pl.col("whole")).alias("s"))
        .sort(["topic", "s", "text"], descending=[False, True, False])
    )
    best = scored.group_by("topic", maintain_order=True).head(_NAMED_BY)
    named = best.group_by("topic").agg(pl.col("text").str.join(", "))
    names = dict(named.iter_rows())
    found: list[str] = []
    for topic in range(len(drawn)):
        name = names.get(topic, "topic")
        found.append(name if name not in found else f"{name} ({topic + 1})")
    return found
