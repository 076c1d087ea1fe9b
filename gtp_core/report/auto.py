"""`auto`: settings that the held-out match chooses, at the budget and for the task at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gtp_core.atoms import Problem
from gtp_core.errors import MethodError
from gtp_core.methods import IN_SUBSPACES, OnRound, Settings, prepare_subspace
from gtp_core.pursuit import Selection
from gtp_core.report.quality import HeldOut, held_out
from gtp_core.store import Progress

AUTO = "auto"
ALIKE, EXAMPLES = "alike", "examples"  # of `likeness.py`
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""What `ridge=auto` chooses from: every second one as long as the match rises, beginning with the
default of 1, then the two beside the best."""

RANKS = ("none", "pca:512", "pca:256", "pca:128", "pca:64", "pca:32")
"""What `subspace=auto` chooses from, those that a gradient is long enough for."""

RIDGED = ("gtp", "gtp-hierarchical", "omp", "grad-match")
_RANKED = ("gtp", "gtp-hierarchical")

Score = Callable[[Settings], HeldOut]


@dataclass(frozen=True)
class Tuned:
    """What `auto` chose.

    Attributes:
        settings: with every setting that was left to it at the value it chose.
        scores: by setting, the held-out match at each value that was compared, in their order; by
            ALIKE, how alike the choice was at each ridge, and the examples (EXAMPLES).
        held: the held-out match of the settings chosen. They were chosen by it, so it is a little
            too good.
    """

    settings: Settings
    held: HeldOut
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def noted(self, selection: Selection) -> Selection:
        """The selection with the comparison on its receipt, beside the values that won."""
        told = {name: dict(found) for name, found in self.scores.items()}
        return replace(selection, settings={**selection.settings, AUTO: told})


def tuned(
    problem: Problem,
    budget: str | int,
    *,
    method: str,
    settings: Settings,
    auto: tuple[str, ...] = ("ridge",),
    progress: Progress | None = None,
    on_round: OnRound | None = None,
) -> Tuned:
    """Choose settings by the held-out match at this budget: the largest, ties to the first.

    The ridge is chosen before the rank of the subspace, which is compared at that ridge.

    Args:
        problem: with splits of its validation examples.
        budget: as for `select`.
        method: one that the settings concern.
        settings: the others.
        auto: which are left to it: `ridge`, `subspace`.
        progress: called before every fit of a candidate, and while a subspace is fitted.
        on_round: hears the rounds of every fit; what it raises ends the comparison.

    Raises:
        MethodError: nothing can be held out, or the method has no such setting.
    """
    _check(problem, method, auto)
    kept: dict[Settings, HeldOut] = {}

    def score(candidate: Settings) -> HeldOut:
        if candidate not in kept:
            if progress:
                told = ", ".join(f"{name} {getattr(candidate, name)}" for name in auto)
                progress(len(kept), _most(auto), told)
            if method in IN_SUBSPACES:
                prepare_subspace(problem, candidate, progress)
            found = held_out(problem, budget, method=method, settings=candidate, on_round=on_round)
            assert found is not None, "checked: there are splits"
            kept[candidate] = found
        return kept[candidate]

    scores: dict[str, dict[str, float]] = {}
    if "ridge" in auto:
        settings, scores["ridge"] = _climbed(settings, score)
    if "subspace" in auto:
        settings, scores["subspace"] = _best(settings, "subspace", _ranks(problem), score)
    return Tuned(settings, score(settings), scores)


def _check(problem: Problem, method: str, auto: tuple[str, ...]) -> None:
    if not problem.parts:
        raise MethodError(
            f"{auto[0]}=auto compares held-out matches, and of a single validation example "
            f"nothing can be held out. Give the {auto[0]}, or add examples."
        )
    for name, methods in (("ridge", RIDGED), ("subspace", _RANKED)):
        if name in auto and method not in methods:
            raise MethodError(
                f"{name}=auto; method {method} has no {name}. Leave it out, or take gtp."
            )


def _most(auto: tuple[str, ...]) -> int:
    """Fits of candidates that there may be."""
    return len(RIDGES) * ("ridge" in auto) + len(RANKS) * ("subspace" in auto)


def _ranks(problem: Problem) -> tuple[str, ...]:
    """The ranks below the length of a gradient; none where atoms come from no store."""
    width = problem.subspaces.width if problem.subspaces else 0
    return tuple(r for r in RANKS if r == "none" or int(r.removeprefix("pca:")) < width)


def _climbed(settings: Settings, score: Score) -> tuple[Settings, dict[str, float]]:
    """The best ridge, and the scores met on the way to it by rising ridge."""
    steps = RIDGES[::2]
    start = steps.index(Settings.ridge)
    tried = {start - 1, start, start + 1}
    while True:
        best, found = _best(settings, "ridge", tuple(steps[i] for i in sorted(tried)), score)
        at = steps.index(best.ridge)
        beside = {max(at - 1, 0), min(at + 1, len(steps) - 1)} - tried
        if not beside:
            break
        tried |= beside
    at = RIDGES.index(best.ridge)
    best, near = _best(settings, "ridge", RIDGES[max(at - 1, 0) : at + 2], score)
    return best, dict(sorted((found | near).items(), key=lambda pair: float(pair[0])))


def _best(
    settings: Settings, name: str, values: tuple[Any, ...], score: Score
) -> tuple[Settings, dict[str, float]]:
    tried = [replace(settings, **{name: value}) for value in values]
    found = {str(getattr(one, name)): score(one).match for one in tried}
    return max(tried, key=lambda one: found[str(getattr(one, name))]), found


def auto_sentence(scores: Mapping[str, Mapping[str, float]], chosen: Mapping[str, Any]) -> str:
    """What was chosen, and the scores that were compared, in one sentence."""
    parts = []
    for name, found in scores.items():
        if name == ALIKE:
            parts.append(_alike_words(found, chosen["ridge"]))
            continue
        compared = ", ".join(f"{value} has {match:.3f}" for value, match in found.items())
        parts.append(f"{name} {chosen[name]} has the best held-out match ({compared})")
    if scores.keys() <= {ALIKE}:
        return f"Alike: {'; '.join(parts)}."
    told = "; ".join(parts)
    return f"Auto: {told}. What was chosen by this match shows it a little too good."


def _alike_words(found: Mapping[str, float], ridge: float) -> str:
    """Which ridge it was and what was compared, as part of a sentence."""
    told = {name: value for name, value in found.items() if name != EXAMPLES}
    compared = ", ".join(f"{name} has {value:.3f}" for name, value in told.items())
    if told.get(str(ridge), 0.0) < found[EXAMPLES]:
        said = f"ridge {ridge}, because no choice"
    else:
        said = f"ridge {ridge} is the least whose choice"
    wanted = f"mean cosine {found[EXAMPLES]:.3f}"
    return f"{said} is as alike as the validation examples ({wanted}; {compared})"
