"""The samples most like another one by gradient, or most like a text by its words."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog, Nearest
from gtp_core.errors import CatalogError
from gtp_core.trajectories import open_trajectories

NEAREST = 200
"""How many of the most similar samples are looked at."""

_BUCKETS = 1 << 20  # words are told apart by a hash: two share a bucket once in a million
_CHARACTERS = 2000  # of each text that count
_BLOCK = 20_000  # samples whose words are in memory at a time
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|\w+"


def nearest_gradients(
    catalog: Catalog, problem: Problem, sample_id: str, count: int = NEAREST
) -> Nearest:
    """The samples whose trajectories have the largest cosine with one sample's, itself included.

    In full dimension with the problem's step sizes, nothing removed and lengths left aside: one
    pass over the atoms.

    Raises:
        CatalogError: no such sample, or it has no usable gradient.
    """
    row = int(catalog.rows_of([sample_id])[0])
    valid = catalog.valid()
    if not valid[row]:
        raise CatalogError(
            f"sample {sample_id!r} has no usable gradient, so none is similar to it. "
            "Look for similar gradients of another sample."
        )
    trajectories = open_trajectories(catalog.store, problem.settings["checkpoints"])
    asked = trajectories.rows(np.array([row]))[0].astype(np.float64)
    rough = np.where(valid, trajectories.products(asked[None])[:, 0], -np.inf)
    first = np.argsort(-rough, kind="stable")[: min(count, int(valid.sum()))]
    # Rows are kept in float16, so their lengths are 1 only to a thousandth.
    rows = trajectories.rows(first).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
    scores = rows @ asked / np.maximum(lengths, 1e-30)
    order = np.lexsort((first, -scores))
    return Nearest(first[order], scores[order])


@dataclass(frozen=True)
class TextIndex:
    """Which words every sample's texts have, for finding those most like another text.

    Texts are vectors of (1 + ln count) * (1 + ln(n_samples / samples with the word)), at length 1
    (TF-IDF; Salton, Buckley 1988). Kept by word, since a question has few words.

    Attributes:
        starts: (n_buckets + 1,) where a word's samples begin.
        rows: (n_pairs,) samples by word.
        weights: (n_pairs,) the word's part of each.
        rarity: (n_buckets,) the second factor.
    """

    starts: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    rarity: np.ndarray
    n_samples: int

    def nearest(self, text: str, count: int = NEAREST) -> Nearest:
        """The samples most like a text; only those that share a word with it."""
        words = _counted(
            pl.DataFrame({"row": [0], "text": [text.encode(errors="replace").decode()]})
        )
        buckets = words["bucket"].to_numpy()
        asked = (1 + np.log(words["n"].to_numpy())) * self.rarity[buckets]
        asked /= max(float(np.linalg.norm(asked)), 1e-30)
        scores = np.zeros(self.n_samples)
        for bucket, part in zip(buckets, asked, strict=True):
            here = slice(self.starts[bucket], self.starts[bucket + 1])
            scores[self.rows[here]] += part * self.weights[here]
        found = np.argsort(-scores, kind="stable")[:count]
        found = found[scores[found] > 0]
        return Nearest(found, scores[found])


def text_index(catalog: Catalog) -> TextIndex:
    """The words of all samples' prompts and completions; some seconds on a large store."""
    n_samples = catalog.store.n_samples
    blocks = []
    for start in range(0, n_samples, _BLOCK):
        texts = catalog.query(
            f"SELECT row, left(concat_ws(' ', prompt, completion), {_CHARACTERS}) AS text"
            " FROM samples WHERE row >= $1 AND row < $2",
            [start, start + _BLOCK],
        )
        blocks.append(_counted(texts))
    words = pl.concat(blocks).sort("bucket", "row")
    counts = np.bincount(words["bucket"].to_numpy(), minlength=_BUCKETS)
    rarity = 1 + np.log(n_samples / np.maximum(counts, 1))
    rows = words["row"].to_numpy()
    weights = (1 + np.log(words["n"].to_numpy())) * np.repeat(rarity, counts)
    lengths = np.sqrt(np.bincount(rows, weights * weights, minlength=n_samples))
    weights = (weights / np.maximum(lengths, 1e-30)[rows]).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return TextIndex(starts, rows, weights, rarity, n_samples)


def _counted(texts: pl.DataFrame) -> pl.DataFrame:
    """How often each text has each word: row, bucket, n."""
    words = texts.select(
        pl.col("row").cast(pl.Int32),
        pl.col("text").str.to_lowercase().str.extract_all(_WORD).alias("word"),
    ).explode("word", empty_as_null=True)
    hashed = (pl.col("word").hash(seed=0) % _BUCKETS).cast(pl.Int32).alias("bucket")
    known = words.filter(pl.col("word").is_not_null()).select("row", hashed)
    return known.group_by("row", "bucket").agg(pl.len().cast(pl.Int32).alias("n"))
