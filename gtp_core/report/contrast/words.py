"""A comparison in five sentences, each from a template and numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import Problem
from gtp_core.catalog import Catalog
from gtp_core.report.compare import source_mix
from gtp_core.report.contrast.contestants import Contestant
from gtp_core.report.contrast.tables import exclusive, overlaps, scores
from gtp_core.report.quality import LOW_RELIABILITY, Reliability

_FEW = 5  # samples of a source below which its share is chance
_EVEN = 1.5  # times its share of the pool: a source taken less often than this is as expected


def five_sentences(
    catalog: Catalog, problem: Problem, contestants: Sequence[Contestant]
) -> list[str]:
    """How these choices differ: samples needed, repetition, sources, overlap, held-out match."""
    return [
        needed(contestants),
        repeated(contestants),
        leaning(catalog, contestants),
        shared(contestants),
        matched(contestants),
    ]


def needed(contestants: Sequence[Contestant]) -> str:
    """How many of the best one's first samples leave what each other leaves with all of its own."""
    some = [one for one in contestants if len(one)]
    if len(some) < 2:
        return "A selection without samples leaves the whole target."
    best = min(some, key=lambda one: one.sums.falling[-1])
    parts = []
    for other in some:
        if other is not best:
            left = float(other.sums.falling[-1])
            enough = int(np.argmax(best.sums.falling <= left)) + 1
            few = f"{enough:,} sample{'s' if enough > 1 else ''}"
            parts.append(
                f"{best.name} needs {few} where {other.name} needs {len(other):,} for a residual "
                f"of {left:.3f}"
            )
    return f"As trained, {'; '.join(parts)}."


def repeated(contestants: Sequence[Contestant]) -> str:
    """How many picks nearly repeat another pick of the same selection."""
    parts = []
    for one in contestants:
        looked, all_of = len(one.likeness.places), len(one)
        of = f"{looked:,} looked at" if looked < all_of else f"{all_of:,}"
        parts.append(f"{one.likeness.n_alike:,} of {one.name}'s {of}")
    return f"At least 95 % alike to another pick of the same selection: {', '.join(parts)}."


def leaning(catalog: Catalog, contestants: Sequence[Contestant]) -> str:
    """The source that one of them takes most above its share of the pool."""
    names = [one.name for one in contestants]
    mix = source_mix(
        catalog, {name: one.support for name, one in zip(names, contestants, strict=True)}
    )
    found: list[tuple[float, str, str]] = []
    for one in contestants:
        enough = mix.filter(pl.col(one.name) * len(one) >= _FEW - 0.5)
        times = enough[one.name] / enough["pool"]
        found += list(zip(times, [one.name] * len(times), enough["source"], strict=True))
    if not found or max(found)[0] < _EVEN:
        return f"No source is {_EVEN:g} times over-represented in any of them."
    most, name, source = max(found, key=lambda one: one[0])
    row = mix.filter(pl.col("source") == source).row(0, named=True)
    others = ", ".join(f"{row[other]:.1%} of {other}" for other in names if other != name)
    return (
        f"Source {source} is {most:.1f} times over-represented in {name}: {row[name]:.1%}, where "
        f"it is {row['pool']:.1%} of the pool and {others}."
    )


def shared(contestants: Sequence[Contestant]) -> str:
    """How many samples every two have in common, and all of them."""
    parts = [
        f"{row['a']} and {row['b']} share {row['both']:,} samples (Jaccard {row['jaccard']:.2f})"
        for row in overlaps(contestants).iter_rows(named=True)
    ]
    if len(contestants) > 2:
        table = exclusive(contestants)
        names = [one.name for one in contestants]
        everywhere = table.filter(pl.all_horizontal(names))["samples"].sum()
        parts.append(f"all {len(contestants)} share {everywhere:,}")
    return f"{'; '.join(parts)}."


def matched(contestants: Sequence[Contestant]) -> str:
    """The two best held-out matches, and whether they differ by more than over the splits."""
    known = [(one.held, one) for one in contestants if one.held]
    unknown = [one.name for one in contestants if not one.held]
    if len(known) < 2:
        return f"The held-out match of {' and '.join(unknown)} is not known."
    known.sort(key=lambda pair: -pair[0].match)
    (held, first), (below, second), *rest = known
    if held.ceiling <= 0:
        return (
            f"Two halves of the validation examples do not agree at all (ceiling "
            f"{held.ceiling:.2f}), so no held-out match tells these selections apart."
        )
    others = "".join(f", {one.name} {found.match:.3f}" for found, one in rest)
    others += "".join(f", {name} not known" for name in unknown)
    return (
        f"Held-out match: {first.name} {held.match:.3f}, {second.name} {below.match:.3f}{others}, "
        f"with a ceiling of {held.ceiling:.3f}; {_spread(first, second, len(known))}."
    )


def _spread(first: Contestant, second: Contestant, n_known: int) -> str:
    """Whether two matches differ by more than that varies over the splits (standard deviation)."""
    if first.matches is None or second.matches is None:
        return "the spread over the splits was not measured"
    if len(first.matches) < 2 or len(first.matches) != len(second.matches):
        return "there are too few splits to say how much the difference varies"
    apart = first.matches - second.matches
    spread = float(apart.std(ddof=1))
    verdict = "larger" if abs(apart.mean()) > spread else "not larger"
    who = "" if n_known == 2 else f" between {first.name} and {second.name}"
    return (
        f"the difference{who} of {abs(apart.mean()):.3f} is {verdict} than its spread over the "
        f"{len(apart)} splits ({spread:.3f})"
    )


def doubt(known: Reliability | None) -> str | None:
    """What a task of low reliability means for a comparison; None where there is nothing to say."""
    if known is None:
        return (
            "This task has a single usable validation example, so nothing can be held out: lower "
            "residuals cannot be told from fitted noise."
        )
    if known.full >= LOW_RELIABILITY:
        return None
    return (
        f"Low reliability ({known.full:.2f}): two halves of the {known.n_examples} validation "
        "examples hardly agree on the target, so differences of residuals may be noise. Trust the "
        "held-out match."
    )


def contrasted(
    catalog: Catalog, problem: Problem, contestants: Sequence[Contestant]
) -> dict[str, Any]:
    """A comparison as plain JSON types, beside what `compare` says of the runs."""
    return {
        "judged_by": problem.settings["task"],
        "sentences": five_sentences(catalog, problem, contestants),
        "notes": [one.note for one in contestants if one.note],
        "scores": scores(contestants).to_dicts(),
        "overlaps": overlaps(contestants).to_dicts(),
        "combinations": [
            {"in": [name for name, there in row.items() if there is True], "samples": n}
            for row in exclusive(contestants).to_dicts()
            if (n := row["samples"])
        ],
    }
