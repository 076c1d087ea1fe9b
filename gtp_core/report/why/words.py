"""Why a sample was chosen or left out, in one sentence with its numbers; no reason is invented."""

from math import ceil

from gtp_core.report.fitted import Fitted
from gtp_core.report.quality import LOW_RELIABILITY, HeldOut, Reliability
from gtp_core.report.verdicts import HALF
from gtp_core.report.why.judged import Case, Judged

NO_SINGLE_REASON = "no single reason"
_NOTHING = 5e-6  # of the target: a change that no digit shown would tell


def because(judged: Judged, found: Case) -> str:
    """Why this sample is where it is: reason, gain, rank, all with numbers."""
    if found.verdict == "invalid":
        reason = f" ({found.note})" if found.note else ""
        return (
            f"Invalid: it has no usable gradient at every checkpoint{reason}, "
            "so nothing can be said of it and it is never chosen."
        )
    if found.place is None:
        return _left_out(judged, found)
    return _chosen(judged, found, found.place)


def share_of(value: float) -> str:
    """A change of the residual as a share of the target's length, in three digits."""
    return f"{100 * value:.3g} %"


def _chosen(judged: Judged, found: Case, place: int) -> str:
    n = len(judged.selection.support)
    if found.verdict == "pinned":
        start = f"Pinned ({found.note or 'by you'}), so it is in whatever its numbers"
    else:
        start = f"Chosen, rank {place + 1:,} of {n:,}"
    if found.weight > 0:
        start += f", with {found.weight_share:.2%} of all weight"
    if found.filled:
        return (
            f"{start}: it fills up the budget by its influence and has no weight, so taking it out "
            f"would change nothing. Top-k ranks it #{found.topk_rank:,}."
        )
    return (
        f"{start}. {_taken_out(judged.fitted, found, n)} Strongest at checkpoint "
        f"{found.strongest}. Top-k ranks it #{found.topk_rank:,}."
    )


def _taken_out(fitted: Fitted, found: Case, n: int) -> str:
    gain = found.gain or 0.0
    if abs(gain) < _NOTHING:
        return "Taking it out would not change the best residual: the others make up for it."
    way = "raise" if gain > 0 else "lower"
    now = fitted.residual
    return (
        f"Taking it out, with the others weighed anew, would {way} the residual by "
        f"{share_of(abs(gain))} of the target, from {now:.4f} to {now + gain:.4f} "
        f"(rank {found.gain_rank:,} of {n:,} by this gain)."
    )


def _left_out(judged: Judged, found: Case) -> str:
    n = len(judged.selection.support)
    although = "although top-k ranks it" if found.topk_rank <= n else "; top-k ranks it"
    start = f"Left out {although} #{found.topk_rank:,}".replace(" ;", ";")
    return f"{start}: {_reason(judged, found)}; {_put_in(judged, found)}."


def _reason(judged: Judged, found: Case) -> str:
    if found.verdict == "excluded":
        return _excluded(judged, found)
    if found.verdict == "duplicate":
        return f"its text is an exact copy of {found.keeper}, which is chosen"
    if found.verdict == "pruned":
        return f"it entered in some round and was dropped for stronger samples; {_covered(found)}"
    if found.verdict == "redundant":
        return _redundant(found)
    if found.pull <= 0:
        return f"it points away from the target (cosine {found.cosine:.3f})"
    return (
        f"{NO_SINGLE_REASON} (cosine {found.cosine:.3f} with the target, {found.covered or 0:.0%} "
        f"of its gradient covered where chance covers {found.chance:.0%}, "
        f"{found.left / found.pull:.0%} of its pull on the target left)"
    )


def _excluded(judged: Judged, found: Case) -> str:
    if judged.problem.atoms.candidates[found.row]:
        return "as many of its group are chosen as the cap allows"
    return f"excluded ({found.note})" if found.note else "excluded by a ban or outside the filter"


def _redundant(found: Case) -> str:
    """Whichever of its two grounds holds, with the numbers it rests on."""
    covered, chance = found.covered or 0.0, found.chance
    if chance < 1 and covered - chance >= HALF * (1 - chance):
        return _covered(found)
    return (
        f"the chosen samples already match {1 - found.left / found.pull:.0%} of its pull on the "
        "target"
    )


def _covered(found: Case) -> str:
    names = found.coverers["sample_id"].to_list()[:3]
    by = f", most of it by {', '.join(names)}" if names else ""
    return (
        f"{found.covered or 0:.0%} of its gradient is already covered by the chosen samples"
        f"{by} (chance covers {found.chance:.0%})"
    )


def _put_in(judged: Judged, found: Case) -> str:
    gain = found.gain or 0.0
    if abs(gain) < _NOTHING:
        return "adding it now would not change the best residual"
    way, now = ("lower" if gain > 0 else "raise"), judged.fitted.residual
    return (
        f"adding it now would {way} the residual by {share_of(abs(gain))} of the target, "
        f"from {now:.4f} to {now - gain:.4f}"
    )


def standing(judged: Judged, held: HeldOut | None) -> str:
    """Residual and held-out match of the selection a sample is looked at in, side by side."""
    selection = judged.selection
    text = (
        f"Residual {selection.residual_weighted:.4f} weighted, "
        f"{selection.residual_as_trained:.4f} as trained"
    )
    if abs(judged.fitted.residual - selection.residual_weighted) > _NOTHING:
        text += f", {judged.fitted.residual:.4f} with the best weights these samples can have"
    if held is None:
        return f"{text}; nothing could be held out."
    return f"{text}; held-out match {held.match:.3f} of a ceiling of {held.ceiling:.3f}."


def needed_examples(known: Reliability, wanted: float = LOW_RELIABILITY) -> int | None:
    """Validation examples for a wanted reliability, by Spearman-Brown; None where there is none."""
    full = known.full
    if not 0 < full < 1:
        return None
    return ceil(known.n_examples * wanted * (1 - full) / (full * (1 - wanted)))


def doubtful(known: Reliability | None) -> str | None:
    """What a low reliability means for one sample, and what more examples would buy."""
    if known is None:
        return (
            "This task has a single usable validation example: what explains a sample here may be "
            "that example's noise. Add validation examples."
        )
    if known.full >= LOW_RELIABILITY:
        return None
    text = (
        f"Reliability {known.full:.2f}: {1 - max(known.full, 0):.0%} of this target's squared "
        f"length is noise of its {known.n_examples:,} validation examples, so single samples may "
        f"be explained by noise. Twice the examples would give {known.doubled:.2f}"
    )
    wanted = needed_examples(known)
    return f"{text}; about {wanted:,} would give {LOW_RELIABILITY}." if wanted else f"{text}."
