"""A selection in words: the five findings, the warnings, the chosen samples with their texts."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.pursuit import Selection, Stop
from gtp_core.report.compare import redundancy, source_mix, text_duplicates
from gtp_core.report.quality import LOW_RELIABILITY, HeldOut, Reliability
from gtp_core.report.runs import selection_table

_HARD = 0.9  # relative residual above which the pool hardly expresses the task
_NOISE = 0.1  # of the ceiling: a smaller difference of held-out matches is no news
_HEAVY = 0.2  # share of all weight on one sample that deserves a warning

Finding = tuple[str, str, str, str]
"""Name, value, comparison with top-k, and what the number means."""


def findings(
    catalog: Catalog, selections: Mapping[str, Selection], held: Mapping[str, HeldOut | None]
) -> list[Finding]:
    """The five numbers of the Overview, GTP first and top-k for comparison."""
    gtp, topk = selections["gtp"], selections["top-k"]
    copies = {name: text_duplicates(catalog, s.support) for name, s in selections.items()}
    match, other = held["gtp"], held["top-k"]
    n_chosen = len(gtp.support)
    share = n_chosen / catalog.store.n_samples
    return [
        (
            "Held-out match",
            f"{match.match:.3f}" if match else "not known",
            f"top-k {other.match:.3f} · ceiling {match.ceiling:.3f}" if match and other else "",
            "Fitted on half of the validation examples, compared with the other half: the cosine, "
            "averaged over splits. The ceiling is the cosine of the two halves' own targets; "
            "above it, the selection is closer to the task than half of its examples are.",
        ),
        (
            "Residual, weighted",
            f"{gtp.residual_weighted:.3f}",
            f"top-k {topk.residual_weighted:.3f}",
            "What is left of the target when every sample counts with its weight; 0 is perfect. "
            "It is measured on the examples the selection was fitted to, so it flatters.",
        ),
        (
            "Residual, as trained",
            f"{gtp.residual_as_trained:.3f}",
            f"top-k {topk.residual_as_trained:.3f}",
            "What is left when every chosen sample counts the same, as in ordinary training.",
        ),
        (
            "Samples",
            f"{n_chosen:,}",
            f"{share:.1%} of the pool · budget {gtp.budget:,}",
            "How many samples GTP took. It takes fewer than the budget when no other sample helps.",
        ),
        (
            "Exact copies",
            f"{copies['gtp']:,}",
            f"top-k {copies['top-k']:,}",
            "Chosen samples whose text repeats another chosen sample's.",
        ),
    ]


def answer(selections: Mapping[str, Selection], held: Mapping[str, HeldOut | None]) -> str:
    """Is this selection good? One sentence with numbers."""
    gtp, topk = selections["gtp"], selections["top-k"]
    match, other = held["gtp"], held["top-k"]
    n_gtp, n_topk = len(gtp.support), len(topk.support)
    residuals = (
        f"GTP's {n_gtp:,} samples leave a residual of {gtp.residual_weighted:.2f}, top-k's "
        f"{n_topk:,} leave {topk.residual_weighted:.2f}"
    )
    if match is None or other is None:
        return f"{residuals}; nothing could be held out to check either."
    if match.ceiling <= 0:
        return (
            f"{residuals}; but two halves of the validation examples do not agree at all "
            f"(ceiling {match.ceiling:.2f}), so neither can be trusted."
        )
    shares = [max(h.match, 0.0) / match.ceiling for h in (match, other)]
    return (
        f"On validation examples held out from the fit, GTP's {n_gtp:,} samples reach "
        f"{shares[0]:.0%} of the ceiling and top-k's {n_topk:,} reach {shares[1]:.0%}."
    )


def warnings(
    selection: Selection,
    held: Mapping[str, HeldOut | None],
    known: Reliability | None,
) -> list[str]:
    """What a curator should hear before trusting a selection, in plain words."""
    found = []
    match, other = held["gtp"], held["top-k"]
    if match and other and other.match > match.match + _NOISE * abs(match.ceiling):
        found.append(
            f"Top-k matches the held-out examples better here ({other.match:.3f} against "
            f"{match.match:.3f}): GTP fits the noise of this target. Let auto set the ridge under "
            "Settings, take top-k, or add validation examples."
        )
    if known is None:
        found.append(
            "This task has a single usable validation example, so nothing can be held out: "
            "the residual cannot be checked. Add validation examples."
        )
    elif known.full < LOW_RELIABILITY:
        found.append(
            f"Low reliability ({known.full:.2f}): two halves of the {known.n_examples} validation "
            "examples hardly agree on the target, so a low residual may be fitted noise. Trust the "
            f"held-out match. Twice the examples would give a reliability of {known.doubled:.2f}. "
            "On the one such task of our trial top-k's samples trained the better model at 1 % of "
            "the pool, where a ridge of auto (under Settings) made GTP level, and GTP's at half of "
            "that; the page Verify tries it on yours."
        )
    # A large ridge makes every weight small, and the weighted residual says nothing of the pool.
    if min(selection.residual_weighted, selection.residual_as_trained) > _HARD:
        found.append(
            f"Residual {selection.residual_weighted:.2f}: this pool can hardly express this task "
            "at this budget."
        )
    total = selection.weights.sum()
    if len(selection.weights) > 1 and total > 0 and selection.weights.max() > _HEAVY * total:
        share = selection.weights.max() / total
        found.append(f"One sample carries {share:.0%} of all weight.")
    return found


_ENOUGH = (
    "{:,} of {:,} samples are enough; no other lowers the residual, so the rest of the budget is "
    "not used."
)
_NOBODY = "None of {1:,} samples: nobody in this pool lowers the residual."
_WHY_FEWER = {
    Stop.CANCELLED: "{:,} of {:,} samples were chosen when it was cancelled.",
    Stop.ROUNDS: "{:,} of {:,} samples were chosen when the rounds were used up.",
    Stop.RANKED: "{:,} of {:,} samples: no others may be chosen beside them.",
}


def fill_sentence(selection: Selection) -> str:
    """What became of a budget that was larger than needed."""
    n_chosen = len(selection.support)
    if groups := selection.settings.get("groups"):
        return (
            f"This budget is above what one pursuit can tell apart, so {groups:,} parts of the "
            "pool were matched with the target one by one and their weights averaged: "
            f"{n_chosen:,} of {selection.budget:,} samples."
        )
    if selection.n_filled:
        needed = n_chosen - selection.n_filled
        return (
            f"{needed:,} samples already explain what this pool can; the other "
            f"{selection.n_filled:,} are filled by influence, with weight 0."
        )
    if n_chosen < selection.budget and selection.rounds:
        why = _WHY_FEWER.get(selection.stop, _ENOUGH if n_chosen else _NOBODY)
        return why.format(n_chosen, selection.budget)
    return f"The whole budget of {selection.budget:,} samples is used."


def chosen_table(
    catalog: Catalog, problem: Problem, selection: Selection, limit: int = 500
) -> pl.DataFrame:
    """The first `limit` chosen samples with text, strongest first.

    Returns:
        rank, sample_id, weight, influence, topk_rank, source, n_tokens, prompt, completion; texts
        are cut to 160 characters.
    """
    table = selection_table(catalog, problem, selection).head(limit)
    texts = catalog.texts(np.asarray(table["row"])).drop("sample_id")
    cut = [pl.col(name).str.slice(0, 160) for name in ("prompt", "completion")]
    return table.join(texts, on="row", how="left", maintain_order="left").select(
        *("rank", "sample_id", "weight", "influence", "topk_rank", "source", "n_tokens"), *cut
    )


def highlights(catalog: Catalog, problem: Problem, gtp: Selection, topk: Selection) -> pl.DataFrame:
    """A few things worth a look: what, sample_id (where there is one), detail."""
    chosen = selection_table(catalog, problem, gtp)
    ranked = selection_table(catalog, problem, topk)
    if chosen.is_empty() or ranked.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(("what", "sample_id", "detail"), pl.String))
    heaviest = chosen.row(0, named=True)
    total = max(float(gtp.weights.sum()), 1e-300)
    surprise = chosen.sort("topk_rank", "rank").row(-1, named=True)
    left_out = ranked.filter(~pl.col("sample_id").is_in(chosen["sample_id"].implode()))
    repeats = [redundancy(problem, s.support) for s in (gtp, topk)]
    rows: list[tuple[str, str | None, str]] = [
        (
            "Most weight in GTP",
            heaviest["sample_id"],
            f"{heaviest['weight'] / total:.1%} of all weight, top-k rank {heaviest['topk_rank']:,}",
        ),
        (
            "Chosen by GTP, ranked last by top-k",
            surprise["sample_id"],
            f"top-k rank {surprise['topk_rank']:,}, weight {surprise['weight']:.4f}",
        ),
    ]
    if left_out.height:
        first = left_out.row(0, named=True)
        rank = f"top-k rank {first['topk_rank']:,}, influence {first['influence']:.4f}"
        rows.append(("Ranked first by top-k, left out by GTP", first["sample_id"], rank))
    mix = source_mix(catalog, {"gtp": gtp.support})
    most = mix.sort(pl.col("gtp") / pl.col("pool"), "source").row(-1, named=True)
    rows.append(
        (
            "Source taken most above its share",
            None,
            f"{most['source']} is {most['pool']:.1%} of the pool and {most['gtp']:.1%} of GTP",
        )
    )
    if None not in repeats:
        both = f"GTP {repeats[0]:.2f}, top-k {repeats[1]:.2f} (mean cosine to the nearest other)"
        rows.append(("Redundancy among the chosen", None, both))
    return pl.DataFrame(rows, schema=["what", "sample_id", "detail"], orient="row")
