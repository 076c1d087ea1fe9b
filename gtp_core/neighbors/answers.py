"""Would you merge these? Pairs near a threshold, what a curator said, the threshold that fits."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog, Edit
from gtp_core.neighbors.keepers import ids_at, rows_of
from gtp_core.neighbors.pairs import Likeness

Pair = tuple[int, int]
_SAYS = {"duplicate": True, "distinct": False, "split": False}
_NEAR = {"side": pl.String, "row": pl.Int64, "other": pl.Int64, "score": pl.Float64}


def read_answers(edits: Iterable[Edit], row_of: Mapping[str, int]) -> dict[Pair, bool]:
    """Pairs of rows (one < other) with whether a curator calls them duplicates.

    That two samples must not stand for each other is a no as well. The last word counts.
    """
    said: dict[Pair, bool] = {}
    for edit in edits:
        other = row_of.get(edit.value)
        if edit.what not in _SAYS or other is None:
            continue
        for row in (row_of[name] for name in edit.samples if name in row_of):
            if row != other:
                pair = (min(row, other), max(row, other))
                said.pop(pair, None)
                said[pair] = _SAYS[edit.what]
    return said


def answers_of(catalog: Catalog) -> dict[Pair, bool]:
    """The same of the edits in force of an open store."""
    edits = [edit for edit in catalog.edits() if edit.what in _SAYS and edit.value]
    return read_answers(edits, rows_of(catalog, edits))


def scores_of(likeness: Likeness, pairs: Sequence[Pair]) -> np.ndarray:
    """(n_pairs,) similarity of pairs of rows: 1 for copies, NaN where it is below the floor."""
    copies = likeness.copies
    rows = np.sort(copies[np.array(pairs, np.int64).reshape(-1, 2)], axis=1)
    firsts = [(one, other) for one, other in rows.tolist()]
    known: dict[Pair, float] = {}
    for place in np.flatnonzero(np.isin(likeness.one, rows[:, 0])):
        one, other, score = _pair(likeness, int(place))
        known[one, other] = score
    return np.array(
        [1.0 if one == other >= 0 else known.get((one, other), np.nan) for one, other in firsts],
        np.float64,
    )


def pairs_near(
    likeness: Likeness,
    threshold: float,
    count: int = 6,
    seed: int = 0,
    answered: Collection[Pair] = (),
) -> pl.DataFrame:
    """Pairs drawn from those just above and just below a threshold, and not answered yet.

    "Just" is the nearest hundredth, or the `10 * count` nearest where that holds fewer.

    Returns:
        side (above, below), row, other, score; nearest to the threshold first.
    """
    generator = np.random.default_rng(seed)
    # Scores descend: what reaches the threshold comes first, and the nearest are in the middle.
    edge = int(np.searchsorted(-likeness.score, -(threshold - 1e-6), side="right"))
    sides = {"above": (edge - 1, -1, edge), "below": (edge, 1, len(likeness.score) - edge)}
    known = {tuple(sorted(likeness.copies[list(pair)].tolist())) for pair in answered}
    found: list[tuple[str, int, int, float]] = []
    for side, (start, step, size) in sides.items():
        places = start + step * np.arange(size)
        close = int((np.abs(likeness.score[places] - threshold) <= 0.01).sum())
        order = generator.permutation(min(max(close, 10 * count), size))
        drawn: list[int] = []
        for p in places[order].tolist():
            if len(drawn) < count and (int(likeness.one[p]), int(likeness.other[p])) not in known:
                drawn.append(p)
        drawn.sort(reverse=step < 0)
        found += [(side, *_pair(likeness, place)) for place in drawn]
    return pl.DataFrame(found, schema=_NEAR, orient="row")


def in_turn(near: pl.DataFrame, n_answered: int) -> pl.DataFrame:
    """Pairs of `pairs_near`, or their texts, one from above and one from below in turn."""
    sides = ["above", "below"] if n_answered % 2 == 0 else ["below", "above"]
    place = pl.int_range(pl.len()).over("side")
    first = pl.col("side").replace_strict({side: i for i, side in enumerate(sides)})
    return near.sort(place, first.cast(pl.Int64), maintain_order=True)


def brief_pairs(texts: pl.DataFrame, side: str) -> pl.DataFrame:
    """One side of the pairs with their texts, as a table shows them: beginnings of the texts."""
    cut = pl.col("text", "other_text").str.slice(0, 160)
    return texts.filter(side=side).with_columns(cut).drop("side").sort("score", descending=True)


def nearest_below(likeness: Likeness, threshold: float) -> pl.DataFrame:
    """The pair that is most alike of those below a threshold, as `pairs_near` has it; or none."""
    place = int(np.searchsorted(-likeness.score, -(threshold - 1e-6), side="right"))
    found = [("below", *_pair(likeness, place))] if place < len(likeness.score) else []
    return pl.DataFrame(found, schema=_NEAR, orient="row")


def _pair(likeness: Likeness, place: int) -> tuple[int, int, float]:
    row, other = int(likeness.one[place]), int(likeness.other[place])
    return row, other, float(likeness.score[place])


def threshold_steps(likeness: Likeness) -> list[float]:
    """The thresholds that a slider offers, from the floor to 1."""
    finest = {"text": [1.0], "gradient": [step / 200 for step in range(160, 201)]}
    steps = finest.get(likeness.basis, [step / 100 for step in range(50, 101)])
    return [step for step in steps if step >= likeness.floor - 1e-6]


def step_below(likeness: Likeness, score: float) -> float | None:
    """The highest of these thresholds that a pair of this similarity reaches, if any does."""
    return max((t for t in threshold_steps(likeness) if t <= score + 1e-6), default=None)


@dataclass(frozen=True)
class Suggestion:
    """The threshold that fits a curator's answers best.

    Attributes:
        threshold: of those offered; of several that fit as well, the nearest to the current one.
        agree: answers that it agrees with: yes from it on, no below.
        now: answers that the current threshold agrees with.
        known: answers about pairs whose similarity is known.
        yes, no: all answers.
    """

    threshold: float
    agree: int
    now: int
    known: int
    yes: int
    no: int


def suggested(
    likeness: Likeness,
    answers: Mapping[Pair, bool],
    current: float,
) -> Suggestion | None:
    """The best threshold by the answers; None where no answer tells anything."""
    scores = scores_of(likeness, list(answers))
    says = np.array(list(answers.values()), bool)
    known = ~np.isnan(scores)
    if not known.any():
        return None

    def agreeing(threshold: float) -> int:
        return int(((scores[known] >= threshold - 1e-6) == says[known]).sum())

    best = max(threshold_steps(likeness), key=lambda t: (agreeing(t), -abs(t - current)))
    return Suggestion(
        threshold=best,
        agree=agreeing(best),
        now=agreeing(current),
        known=int(known.sum()),
        yes=int(says.sum()),
        no=int((~says).sum()),
    )


def suggestion_sentence(told: Suggestion | None, answers: Mapping[Pair, bool]) -> str:
    """How many answers there are and what they say about the threshold, in a sentence or two."""
    yes = sum(answers.values())
    count = f"{len(answers):,} answered: {yes:,} yes, {len(answers) - yes:,} no."
    if told is None:
        return count if answers else "None answered yet."
    fits = f"{told.threshold:g} agrees with {told.agree:,} of {told.known:,} answers"
    if told.agree == told.now:
        return f"{count} No threshold fits them better than this one, which agrees with " + (
            f"{told.now:,} of {told.known:,}."
        )
    return f"{count} {fits}, this one with {told.now:,}."


def answer_table(
    catalog: Catalog, likeness: Likeness, answers: Mapping[Pair, bool], threshold: float
) -> pl.DataFrame:
    """What was said, the newest first: sample_id, other_id, answer, score, agrees."""
    pairs = list(answers)[::-1]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    ids = ids_at(catalog, rows.ravel().tolist())
    score = scores_of(likeness, pairs)
    says = np.array([answers[pair] for pair in pairs], bool)
    return pl.DataFrame(
        {
            "sample_id": ids[::2],
            "other_id": ids[1::2],
            "answer": pl.Series(["yes" if yes else "no" for yes in says], dtype=pl.String),
            "score": pl.Series(score, dtype=pl.Float64).fill_nan(None),
            "agrees": (np.nan_to_num(score, nan=-1.0) >= threshold - 1e-6) == says,
        }
    )
