"""One sample in one selection: its verdict, and every number that explains it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError
from gtp_core.estimate import on_one_thread
from gtp_core.pursuit import Selection
from gtp_core.report.fitted import Fitted, fitted
from gtp_core.report.joins import joining, leaving
from gtp_core.report.quality import combination
from gtp_core.report.runs import topk_ranks
from gtp_core.report.verdicts import chance_of, verdicts

COVERING = 5  # chosen samples that are named as covering another
_LEAST_SHARE = 0.005  # of a gradient, below which nobody is named


@dataclass(frozen=True)
class Judged:
    """A selection weighed as well as it can be, ready for questions about any sample.

    Attributes:
        problem: what was asked.
        selection: what was chosen.
        fitted: the chosen samples with their best weights.
        covered: (m,) share of each chosen sample that the other chosen ones cover.
        gain: (m,) by how much the best weighted residual rises if it leaves.
        rest: (dim,) what the selection itself leaves of the target.
        topk: (n_samples,) places by LESS's influence.
    """

    problem: Problem
    selection: Selection
    fitted: Fitted
    covered: np.ndarray
    gain: np.ndarray
    rest: np.ndarray
    topk: np.ndarray


@dataclass(frozen=True)
class Case:
    """One sample in one selection.

    Attributes:
        sample_id, row, source, n_tokens, prompt, completion: the sample.
        verdict: one of VERDICTS; keeper: the chosen sample of the same text, of a duplicate.
        place: position in the selection, from 0; None when it is not in it.
        weight: in the run; 0 outside.
        weight_share: of all weight.
        filled: in the selection only to use up the budget.
        topk_rank: place by LESS's influence.
        pull: inner product with the target; left: with what the selection leaves of it.
        cosine: of the whole trajectory with the target.
        covered: share of its gradient in the span of the (other) chosen; None if invalid.
        chance: what as many chosen samples cover of a random direction.
        coverers: sample_id and share of those that cover most of it, one after the other.
        gain: fall of the best weighted residual if it joins, rise if it leaves; None if invalid.
        gain_rank: its place by gain among the chosen, or the place it would have.
        strongest: name of the checkpoint where it points towards the target most.
        note: why it is invalid, or who pinned or banned it.
    """

    sample_id: str
    row: int
    source: str
    n_tokens: int
    prompt: str
    completion: str
    verdict: str
    keeper: str | None
    place: int | None
    weight: float
    weight_share: float
    filled: bool
    topk_rank: int
    pull: float
    left: float
    cosine: float
    covered: float | None
    chance: float
    coverers: pl.DataFrame
    gain: float | None
    gain_rank: int
    strongest: str
    note: str


def judge(problem: Problem, selection: Selection) -> Judged:
    """Weigh a selection once; questions about single samples then take no time."""
    found = fitted(problem, selection)
    covered, gain = leaving(found)
    rest = problem.target - combination(problem, selection)
    return Judged(problem, selection, found, covered, gain, rest, topk_ranks(problem))


def case(catalog: Catalog, judged: Judged, sample_id: str) -> Case:
    """Everything about one sample.

    Raises:
        CatalogError: no such sample, with the ids that resemble it.
    """
    row = _row(catalog, sample_id)
    problem, selection = judged.problem, judged.selection
    place = _place(selection, row)
    valid = bool(catalog.valid()[row])
    covered, gain = _covered_and_gain(judged, row, place) if valid else (None, None)
    atom, target = _atom(problem, row), problem.target
    pulls = np.array([[atom @ target, atom @ judged.rest]])
    keeper = _keeper(catalog, row, selection.support)
    known = np.array([np.nan if covered is None else covered])
    index = np.array([row])
    of_one = (index, pulls, known, np.array([keeper]), np.array([valid]))
    verdict = str(verdicts(problem, selection, *of_one)[0])
    text = catalog.texts(index).row(0, named=True)
    total = float(selection.weights.sum())
    weight = float(selection.weights[place]) if place is not None else 0.0
    length = float(np.linalg.norm(atom) * np.linalg.norm(target))
    return Case(
        **{name: text[name] for name in ("sample_id", "source", "n_tokens", "prompt")},
        completion=text["completion"],
        row=row,
        verdict=verdict,
        keeper=_ids(catalog, [keeper])[0] if verdict == "duplicate" else None,
        place=place,
        weight=weight,
        weight_share=weight / total if total > 0 else 0.0,
        filled=place is not None and place >= len(selection.support) - selection.n_filled,
        topk_rank=int(judged.topk[row]),
        pull=float(pulls[0, 0]),
        left=float(pulls[0, 1]),
        cosine=float(pulls[0, 0]) / length if length > 0 else 0.0,
        covered=covered,
        chance=chance_of(problem, selection),
        coverers=coverers(catalog, judged, row),
        gain=gain,
        gain_rank=1 + int((judged.gain > (gain or 0.0)).sum()),
        strongest=_strongest(catalog, atom, target),
        note=_note(catalog, text["sample_id"], verdict),
    )


def beside_in(catalog: Catalog, judged: Judged, found: Case) -> tuple[str | None, str | None]:
    """The ids before and after a sample: by rank in the selection, or by top-k among the rest."""
    rows = judged.selection.support
    if found.place is not None:
        before = rows[max(found.place - 1, 0) : found.place]
        after = rows[found.place + 1 : found.place + 2]
    else:
        ranks = judged.topk.copy()
        ranks[rows] = 0  # the chosen are in the other list
        lower, higher = (ranks > 0) & (ranks < found.topk_rank), ranks > found.topk_rank
        before = np.flatnonzero(ranks == ranks[lower].max(initial=-1))[:1]
        after = np.flatnonzero(ranks == ranks[higher].min(initial=len(ranks) + 1))[:1]
    ids = _ids(catalog, [*before.tolist(), *after.tolist()])
    return (ids[0] if len(before) else None), (ids[-1] if len(after) else None)


def nearest_ids(catalog: Catalog, text: str, count: int = 3) -> list[str]:
    """The ids that resemble a text most: as a part of them, or by edits."""
    found = catalog.query(
        "SELECT sample_id FROM samples ORDER BY NOT contains(lower(sample_id), lower($1)),"
        " levenshtein(left(sample_id, 80), $1), sample_id LIMIT $2",
        [text[:80], count],
    )
    return found["sample_id"].to_list()


@on_one_thread
def coverers(catalog: Catalog, judged: Judged, row: int, count: int = COVERING) -> pl.DataFrame:
    """The chosen samples that cover most of a sample, one after the other.

    Each is the one that covers most of what those before it leave, and its share is what it adds:
    together they cover the sum, and no share depends on those that come later (Pati, Rezaiifar,
    Krishnaprasad 1993).

    Returns:
        sample_id, share of the sample's squared length.
    """
    found = judged.fitted
    atom = _atom(judged.problem, row)
    square = max(float(atom @ atom), 1e-300)
    product = found.rows @ atom.astype(np.float32) if len(found.rows) else np.zeros(0)
    left, gram = product.astype(np.float64), found.gram.copy()
    free = (found.support != row) & (np.diag(gram) > 0)
    lengths = np.diag(gram).copy()
    picked: list[tuple[int, float]] = []
    while len(picked) < count and free.any():
        own = np.diag(gram)
        usable = free & (own > 1e-6 * lengths)
        shares = np.where(usable, left**2 / np.where(usable, own, 1.0), -1.0)
        best = int(shares.argmax())
        if shares[best] < _LEAST_SHARE * square:
            break
        picked.append((best, float(shares[best]) / square))
        column = gram[:, best] / own[best]
        left = left - column * left[best]
        gram = gram - np.outer(column, gram[best])
        free[best] = False
    names = _ids(catalog, [int(found.support[place]) for place, _ in picked])
    return pl.DataFrame(
        {"sample_id": names, "share": [share for _, share in picked]},
        schema={"sample_id": pl.String, "share": pl.Float64},
    )


def _ids(catalog: Catalog, rows: list[int]) -> list[str]:
    return catalog.texts(np.array(rows))["sample_id"].to_list() if rows else []


def _row(catalog: Catalog, sample_id: str) -> int:
    try:
        return int(catalog.rows_of([sample_id])[0])
    except CatalogError:
        near = ", ".join(nearest_ids(catalog, sample_id))
        raise CatalogError(
            f"sample {sample_id[:80]!r} is not in this store; the nearest ids are {near}. "
            "Give one of the store's."
        ) from None


def _place(selection: Selection, row: int) -> int | None:
    places = np.flatnonzero(selection.support == row)
    return int(places[0]) if len(places) else None


def _atom(problem: Problem, row: int) -> np.ndarray:
    return problem.atoms.rows(np.array([row]))[0].astype(np.float64)


def _covered_and_gain(judged: Judged, row: int, place: int | None) -> tuple[float, float]:
    if place is not None:
        return float(judged.covered[place]), float(judged.gain[place])
    covered, gain = joining(judged.problem, judged.fitted, np.array([row]))
    return float(covered[0]), float(gain[0])


def _keeper(catalog: Catalog, row: int, support: np.ndarray) -> int:
    """The first other chosen sample with the same text, or -1."""
    found = catalog.query(
        "SELECT min(b.row) AS row FROM samples a, samples b WHERE a.row = $1 AND b.row <> $1"
        " AND b.row IN (SELECT unnest($2::BIGINT[]))"
        " AND a.prompt = b.prompt AND a.completion = b.completion",
        [row, support.tolist()],
    ).item()
    return -1 if found is None else int(found)


def _strongest(catalog: Catalog, atom: np.ndarray, target: np.ndarray) -> str:
    names = [checkpoint.name for checkpoint in catalog.store.checkpoints]
    pulls = (atom * target).reshape(len(names), -1).sum(axis=1)
    return names[int(pulls.argmax())]


def _note(catalog: Catalog, sample_id: str, verdict: str) -> str:
    if verdict == "invalid":
        sql = "SELECT reason FROM health WHERE sample_id = $1"
        return str(catalog.query(sql, [sample_id]).item() or "")
    if verdict in ("pinned", "excluded"):
        wanted = "pin" if verdict == "pinned" else "ban"
        for edit in reversed(catalog.edits()):
            if sample_id in edit.samples and edit.what in ("pin", "ban", "free"):
                said = f"{wanted} by {edit.who} at {edit.time}"
                return said if edit.what == wanted else ""
    return ""
