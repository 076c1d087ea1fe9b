"""Methods that look at every sample alone."""

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.methods.register import OnRound, Settings, equal_weights, method
from gtp_core.pursuit import Selection


@method("top-k", passes="1")
def top_k(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Rank every sample alone by its influence and take the first (LESS)."""
    candidates = problem.atoms.candidates
    # With caps the best may be too many of one group, so all of them are put in order.
    wanted = problem.atoms.n_samples if problem.caps else count + len(problem.pinned)
    order = strongest(problem.influence, candidates, wanted, positive=False)
    return equal_weights(problem, "top-k", count, problem.first(order, count))


@method("random", passes="0")
def random(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Draw samples by chance, every source in its share of the pool."""
    rest = problem.atoms.candidates.copy()
    rest[problem.pinned] = False
    index = np.flatnonzero(rest)
    generator = np.random.default_rng([settings.seed, 7])
    shuffled = generator.permutation(index)
    # Position within its source over the source's size: taking the smallest is proportional.
    place = np.empty(len(shuffled))
    for source in np.unique(problem.sources[shuffled]):
        members = np.flatnonzero(problem.sources[shuffled] == source)
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    drawn = shuffled[np.argsort(place, kind="stable")]
    return equal_weights(problem, "random", count, problem.first(drawn, count))
