"""Texts that are alike: the same byte for byte, or nearly so by their shingles of three words.

A word is a run of letters and digits, or a single character of a script without spaces, after
compatibility normalisation and case folding. MinHash (Broder 1997) with banding finds candidates;
what is reported is the exact Jaccard similarity of the two sets of shingles.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.neighbors.complete import Compare, completed
from gtp_core.neighbors.pairs import MOST_PAIRS, Likeness
from gtp_core.store import Progress
from gtp_core.trajectories import in_threads

TEXT_FLOOR = 0.5
"""The lowest Jaccard similarity of a pair that is kept."""

_CJK = r"\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{ac00}-\x{d7af}"
_WORD = rf"[{_CJK}]|[\p{{L}}\p{{N}}\p{{M}}_&&[^{_CJK}]]+"
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_TEXTS_AT_ONCE = 20_000
# A pair at similarity s shares a band with probability 1 - (1 - s^3)^42: 0.996 at 0.5, where the
# list ends, and 0.9999999 at 0.7.
_BANDS, _ROWS_A_BAND = 42, 3
_NONE, _NO_BANDS = np.empty(0, np.uint64), np.empty((0, _BANDS), np.uint64)
_BUCKET = 64  # members of a bucket up to which all its pairs are candidates
_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)  # from the floor: where groups are completed


def exact_texts(catalog: Catalog) -> Likeness:
    """Samples with the same prompt and completion, byte for byte."""
    found = catalog.query(
        "SELECT row, min(row) OVER (PARTITION BY prompt, completion) AS first FROM samples"
        " WHERE hash(prompt, completion) IN"
        " (SELECT hash(prompt, completion) FROM samples GROUP BY 1 HAVING count(*) > 1)"
    )
    copies = np.arange(catalog.store.n_samples)
    copies[found["row"].to_numpy()] = found["first"].to_numpy()
    none = np.empty(0, np.int64)
    return Likeness("text", copies, none, none, none.astype(np.float32), 1.0)


def near_texts(catalog: Catalog, progress: Progress | None = None) -> Likeness:
    """Pairs of samples whose shingles have a Jaccard similarity of at least the floor."""
    n_samples = catalog.store.n_samples

    def batches() -> Iterator[pl.Series]:
        for start in range(0, n_samples, _TEXTS_AT_ONCE):
            if progress:
                progress(start, n_samples, "reading texts")
            yield catalog.query(
                "SELECT prompt || chr(10) || completion AS text FROM samples"
                " WHERE row >= $1 AND row < $2 ORDER BY row",
                [start, start + _TEXTS_AT_ONCE],
            )["text"]

    return text_pairs(batches())


def text_pairs(batches: Iterable[pl.Series]) -> Likeness:
    """The same of texts, in pieces of some thousand.

    Texts of one bucket are candidates, and with them all pairs of the groups of up to 2,000 that
    these form, while there is room.
    """
    texts, codes, sizes, bands = [_NONE], [_NONE], [np.empty(0, np.int64)], [_NO_BANDS]
    for batch in batches:
        words, counts = _words(batch)
        texts.append(_text_codes(words, counts))
        kept, size = _sets(*_shingles(words, counts))
        codes.append(kept)
        sizes.append(size)
        bands.append(_bands(kept, size))
    size = np.concatenate(sizes)
    copies = _first_of(np.concatenate(texts))
    # Copies have the same shingles, and a text without words is like no other.
    firsts = np.flatnonzero((copies == np.arange(len(copies))) & (size > 0))
    n = max(len(firsts), 1)
    compare = _comparing(np.concatenate(codes), size, firsts)
    found = _bucket_pairs(np.concatenate(bands)[firsts])
    score = compare(found // n, found % n)
    kept = score >= TEXT_FLOOR
    found, score, whole = completed(found[kept], score[kept], n, _LEVELS, compare, MOST_PAIRS)
    seen = np.zeros(len(copies))
    seen[firsts] = whole[: len(firsts)]
    one, other = firsts[found // n], firsts[found % n]
    order = np.lexsort((other, one, -score))
    return Likeness("near-text", copies, one[order], other[order], score[order], TEXT_FLOOR, seen)


def comparing_texts(catalog: Catalog, rows: np.ndarray) -> Compare:
    """How alike these rows' texts are, pair by pair, as `near_texts` reports it."""
    rows = np.unique(rows)
    texts = [pl.Series([], dtype=pl.String)]
    for start in range(0, len(rows), _TEXTS_AT_ONCE):
        some = catalog.texts(rows[start : start + _TEXTS_AT_ONCE])
        texts.append(some["prompt"] + "\n" + some["completion"])
    compare = comparing(pl.concat(texts))
    return lambda one, other: compare(np.searchsorted(rows, one), np.searchsorted(rows, other))


def comparing(texts: pl.Series) -> Compare:
    """How alike texts are, by their places."""
    codes, sizes = [_NONE], [np.empty(0, np.int64)]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        kept, size = _sets(*_shingles(*_words(texts[start : start + _TEXTS_AT_ONCE])))
        codes.append(kept)
        sizes.append(size)
    return _comparing(np.concatenate(codes), np.concatenate(sizes), np.arange(len(texts)))


def _comparing(codes: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> Compare:
    """How alike the sets of these rows are, by their places in `rows`."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return lambda one, other: _jaccards(codes, starts, rows[one], rows[other])


def _words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all words end to end (uint64), and how many each text has."""
    plain = texts.str.normalize("NFKC").str.to_lowercase()
    found = plain.str.extract_all(_WORD)
    counts = found.list.len().to_numpy().astype(np.int64)
    codes = found.explode(empty_as_null=False, keep_nulls=False).hash(0)
    return codes.to_numpy(), counts


def _text_codes(words: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """One code for every text: equal for equal words in equal order."""
    ends = np.cumsum(counts)
    place = np.arange(len(words)) - np.repeat(ends - counts, counts)
    mixed = _mix(words + place.astype(np.uint64) * np.uint64(_FACTORS[0]))
    total = np.concatenate([[np.uint64(0)], np.cumsum(mixed)])
    return np.asarray(total[ends] - total[ends - counts], np.uint64)


def _shingles(words: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of three words in a row, end to end, and where each text begins.

    A text of one or two words has one shingle: itself.
    """
    starts = np.cumsum(counts) - counts
    sizes = np.where(counts >= 3, counts - 2, np.minimum(counts, 1))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    at = np.arange(edges[-1]) - np.repeat(edges[:-1], sizes) + np.repeat(starts, sizes)
    last = np.repeat(starts + counts - 1, sizes)
    code = np.zeros(len(at), np.uint64)
    for step, factor in enumerate(_FACTORS):
        word = words[np.minimum(at + step, last)]
        code = _mix(code + word * np.uint64(factor))
    return code, edges


def _mix(codes: np.ndarray) -> np.ndarray:
    """Bits spread over the whole number (the last step of SplitMix64)."""
    codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(codes ^ (codes >> np.uint64(31)))


def _sets(shingles: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sets end to end, each ascending, and their sizes."""
    from gtp_core.neighbors import loops

    out = np.empty_like(shingles)
    sizes = np.empty(len(starts) - 1, np.int64)
    in_threads(
        lambda a, b: loops.sort_sets(shingles, starts[a : b + 1], out, sizes[a:b]), len(sizes)
    )
    place = np.arange(len(out)) - np.repeat(starts[:-1], np.diff(starts))
    return out[place < np.repeat(sizes, np.diff(starts))], sizes


def _bands(codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One code for each band of every text's MinHash: (n_texts, _BANDS) uint64."""
    from rensa import RMinHash

    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    count = _BANDS * _ROWS_A_BAND
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(codes, offsets, count, 1)
    slots = np.array(matrix.to_rows(), np.uint64).reshape(len(sizes), _BANDS, _ROWS_A_BAND)
    code = np.full((len(sizes), _BANDS), 1, np.uint64) * np.arange(_BANDS, dtype=np.uint64)
    for place in range(_ROWS_A_BAND):
        code = _mix(code * np.uint64(_FACTORS[0]) + slots[:, :, place])
    return code


def _first_of(codes: np.ndarray) -> np.ndarray:
    """(n,) place of the first with the same code."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return first[inverse]


def _bucket_pairs(bands: np.ndarray) -> np.ndarray:
    """Pairs of texts that share a band, as codes `one * n + other`.

    In a bucket of more than 64 texts each is paired with the first and with the next: a template
    that thousands share would otherwise mean millions of pairs, and these connect them all.
    """
    n = len(bands)
    found = [np.empty(0, np.int64)]
    for column in bands.T:
        order = np.argsort(column, kind="stable")
        edges = np.flatnonzero(np.diff(column[order]) != 0) + 1
        starts = np.concatenate([[0], edges])
        sizes = np.diff(np.concatenate([starts, [n]]))
        for size in np.unique(sizes[(sizes > 1) & (sizes <= _BUCKET)]):
            members = order[starts[sizes == size][:, None] + np.arange(size)]
            a, b = np.triu_indices(int(size), 1)
            found.append((members[:, a] * n + members[:, b]).ravel())
        for start, size in zip(starts[sizes > _BUCKET], sizes[sizes > _BUCKET], strict=True):
            members = order[start : start + size]
            found.append(members[0] * n + members[1:])
            found.append(members[:-1] * n + members[1:])
    return np.unique(np.concatenate(found))


def _jaccards(
    codes: np.ndarray, starts: np.ndarray, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    from gtp_core.neighbors import loops

    out = np.empty(len(one), np.float32)
    in_threads(lambda a, b: loops.jaccard(codes, starts, one[a:b], other[a:b], out[a:b]), len(one))
    return out


def shingle_likeness(one: str, other: str) -> float:
    """The Jaccard similarity of two texts, as `near_texts` would report it.

    Example:
        >>> shingle_likeness("add three and four", "Add  three and FOUR!")
        1.0
    """
    words, counts = _words(pl.Series([one, other], dtype=pl.String))
    codes, sizes = _sets(*_shingles(words, counts))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return float(_jaccards(codes, starts, np.array([0]), np.array([1]))[0])


def text_sketches(catalog: Catalog, width: int = 256) -> np.ndarray:
    """Texts as short vectors (n_samples, width) float32 of unit length; zero without words.

    Words weigh by how rare they are (tf-idf; logarithm of their count in a text), and every word
    adds its weight to one of `width` places with a sign, both drawn by its code.
    """
    pieces = []
    for start in range(0, catalog.store.n_samples, _TEXTS_AT_ONCE):
        texts = catalog.query(
            "SELECT left(prompt || chr(10) || completion, 4000) AS text FROM samples"
            " WHERE row >= $1 AND row < $2 ORDER BY row",
            [start, start + _TEXTS_AT_ONCE],
        )["text"]
        words, counts = _words(texts)
        owner = start + np.repeat(np.arange(len(counts)), counts)
        table = pl.DataFrame({"row": owner, "word": words}).group_by("row", "word").len()
        pieces.append(table)
    whole = pl.concat(pieces) if pieces else pl.DataFrame({"row": [], "word": [], "len": []})
    rare = whole.group_by("word").agg(pl.len().alias("texts"))
    whole = whole.join(rare, on="word").filter(pl.col("texts") > 1).sort("row", "word")
    idf = np.log(catalog.store.n_samples / whole["texts"].to_numpy())
    weight = (1 + np.log(whole["len"].to_numpy())) * idf
    code = _mix(whole["word"].to_numpy().astype(np.uint64))
    place = (code % np.uint64(width)).astype(np.int64)
    sign = np.where(code >> np.uint64(63), 1.0, -1.0)
    flat = np.bincount(
        whole["row"].to_numpy() * width + place,
        weights=weight * sign,
        minlength=catalog.store.n_samples * width,
    )
    found = flat.reshape(catalog.store.n_samples, width).astype(np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))
