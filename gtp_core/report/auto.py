"""`auto`: settings chosen for the task and the budget at hand, by the held-out match.

A ridge is only compared where its choice is as alike as the validation examples are
(`likeness.py`): below that the match may rise while the trained model gets worse.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gtp_core.atoms import Problem
from gtp_core.errors import MethodError
from gtp_core.methods import Settings, select
from gtp_core.pursuit import Selection
from gtp_core.report.likeness import likeness, likeness_of_examples
from gtp_core.report.quality import HeldOut, held_out
from gtp_core.store import Progress

AUTO = "auto"
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""What `ridge=auto` chooses from: every second one as long as the match rises, beginning with the
default of 1, then the two beside the best."""

RANKS = ("none", "pca:512", "pca:256", "pca:128", "pca:64", "pca:32")
"""What `subspace=auto` chooses from, those that a gradient is long enough for."""

RIDGED = ("gtp", "gtp-hierarchical", "omp", "grad-match")
_RANKED = ("gtp", "gtp-hierarchical")

LIKENESS, EXAMPLES = "likeness", "examples"
"""On the receipt: how alike the choice was at each ridge, and the examples are."""

Merit = Callable[[Settings], tuple[bool, float]]


@dataclass(frozen=True)
class Tuned:
    """What `auto` chose.

    Attributes:
        settings: with every setting that was left to it at the value it chose.
        scores: by setting, the held-out match at each value that was compared, in their order; and
            LIKENESS of what was chosen at every ridge and, under EXAMPLES, of the examples.
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
) -> Tuned:
    """Choose settings by the held-out match at this budget: the largest, ties to the first.

    Of ridges only those count whose choice is as alike as the examples are, unless none is. The
    ridge is chosen before the rank of the subspace, which is compared at that ridge.

    Args:
        problem: with splits of its validation examples.
        budget: as for `select`.
        method: one that the settings concern.
        settings: the others.
        auto: which are left to it: `ridge`, `subspace`.
        progress: called before every fit of a candidate.

    Raises:
        MethodError: nothing can be held out, or the method has no such setting.
    """
    _check(problem, method, auto)
    judge = _Judge(problem, budget, method, auto, progress)
    scores: dict[str, dict[str, float]] = {}
    if "ridge" in auto:
        settings = _climbed(settings, judge.alike_first)
        if not judge.alike(settings):  # the pool has nothing so alike
            settings = _climbed(settings, judge.by_match)
        scores = judge.ridges()
    if "subspace" in auto:
        ranks = [replace(settings, subspace=rank) for rank in _ranks(problem)]
        settings = max(ranks, key=judge.by_match)
        scores["subspace"] = {one.subspace: judge.match(one).match for one in ranks}
    return Tuned(settings, judge.match(settings), scores)


class _Judge:
    """Held-out matches and likenesses of candidates, each found once."""

    def __init__(
        self,
        problem: Problem,
        budget: str | int,
        method: str,
        auto: tuple[str, ...],
        progress: Progress | None,
    ) -> None:
        self._problem, self._budget, self._method = problem, budget, method
        self._auto, self._progress = auto, progress
        self._wanted = likeness_of_examples(problem)
        self._matches: dict[Settings, HeldOut] = {}
        self._likenesses: dict[Settings, float] = {}

    def match(self, candidate: Settings) -> HeldOut:
        if candidate not in self._matches:
            if self._progress:
                told = ", ".join(f"{name} {getattr(candidate, name)}" for name in self._auto)
                self._progress(len(self._matches), _most(self._auto), told)
            found = held_out(self._problem, self._budget, method=self._method, settings=candidate)
            assert found is not None, "checked: there are splits"
            self._matches[candidate] = found
        return self._matches[candidate]

    def alike(self, candidate: Settings) -> bool:
        """Whether its choice is as alike as the examples are, or they do not tell how alike."""
        if self._wanted is None:
            return True
        if candidate not in self._likenesses:
            chosen = select(self._problem, self._budget, method=self._method, settings=candidate)
            self._likenesses[candidate] = likeness(self._problem.atoms, chosen.support)
        return self._likenesses[candidate] >= self._wanted

    def alike_first(self, candidate: Settings) -> tuple[bool, float]:
        """Those that are alike by their match, before the others, by how alike they are."""
        if self.alike(candidate):
            return True, self.match(candidate).match
        return False, self._likenesses[candidate]

    def by_match(self, candidate: Settings) -> tuple[bool, float]:
        return True, self.match(candidate).match

    def ridges(self) -> dict[str, dict[str, float]]:
        """What was compared, by rising ridge, for the receipt."""
        matches = {one.ridge: found.match for one, found in self._matches.items()}
        scores = {"ridge": {str(ridge): matches[ridge] for ridge in sorted(matches)}}
        if self._wanted is not None:
            alike = {one.ridge: found for one, found in self._likenesses.items()}
            told = {str(ridge): alike[ridge] for ridge in sorted(alike)}
            scores[LIKENESS] = {EXAMPLES: self._wanted, **told}
        return scores


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


def _climbed(settings: Settings, merit: Merit) -> Settings:
    """The best ridge, met by rising and falling from the default."""
    steps = RIDGES[::2]
    start = steps.index(Settings.ridge)
    tried = {start - 1, start, start + 1}
    while True:
        best = _best(settings, [steps[i] for i in sorted(tried)], merit)
        at = steps.index(best.ridge)
        beside = {max(at - 1, 0), min(at + 1, len(steps) - 1)} - tried
        if not beside:
            break
        tried |= beside
    at = RIDGES.index(best.ridge)
    return _best(settings, RIDGES[max(at - 1, 0) : at + 2], merit)


def _best(settings: Settings, ridges: Sequence[float], merit: Merit) -> Settings:
    return max((replace(settings, ridge=ridge) for ridge in ridges), key=merit)


def auto_sentence(scores: Mapping[str, Mapping[str, float]], chosen: Mapping[str, Any]) -> str:
    """What auto chose, and the scores it compared, in one sentence."""
    parts = []
    for name in (name for name in scores if name != LIKENESS):
        compared = ", ".join(f"{value} has {match:.3f}" for value, match in scores[name].items())
        parts.append(f"{name} {chosen[name]} has the best held-out match ({compared})")
        if name == "ridge" and LIKENESS in scores:
            parts[-1] += _alike_words(scores[LIKENESS])
    return f"Auto: {'; '.join(parts)}. What was chosen by this match shows it a little too good."


def _alike_words(found: Mapping[str, float]) -> str:
    wanted = found[EXAMPLES]
    less = [f"{ridge} with {alike:.3f}" for ridge, alike in found.items() if alike < wanted]
    if len(less) == len(found) - 1:
        return f"; no choice is as alike as the examples are ({wanted:.3f})"
    said = f" of those whose choice is as alike as the examples are (mean cosine {wanted:.3f}"
    return said + (f"; not ridge {', '.join(less)})" if less else ")")
