"""Is a difference larger than the noise? Paired over seeds, with a t interval, and in words."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
MEASURES = {"test_loss": "test loss", "exact_match": "exact match"}
Trial = Mapping[str, Any]


def paired(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """How far the second lies above the first, pair by pair, with the interval of that mean.

    Returns `difference`, `low`, `high`, `n` and `beyond_noise`: whether the interval leaves out 0.
    With a single pair there is no interval, and `beyond_noise` is None.

    Source: Student (1908).

    >>> found = paired([1.0, 2.0, 3.0], [2.0, 3.1, 3.9])
    >>> round(found["difference"], 3), found["beyond_noise"]
    (1.0, True)
    """
    apart = np.asarray(second, float) - np.asarray(first, float)
    n, mean = len(apart), float(apart.mean())
    if n < 2:
        return {"difference": mean, "low": None, "high": None, "n": n, "beyond_noise": None}
    reach = _reach(apart)
    low, high = mean - reach, mean + reach
    beyond = bool(low > 0 or high < 0)
    return {"difference": mean, "low": low, "high": high, "n": n, "beyond_noise": beyond}


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Ends of the 95 % t interval of a mean; None of fewer than two values (Student 1908)."""
    if len(values) < 2:
        return None, None
    mean, reach = float(np.mean(values)), _reach(np.asarray(values, float))
    return mean - reach, mean + reach


def _reach(values: np.ndarray) -> float:
    """Half of the t interval of a mean."""
    n = len(values)
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * values.std(ddof=1)) / sqrt(n)


def comparisons(trials: Sequence[Trial], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Every two arms on every measure: paired over the seeds that both have, and over examples.

    Over examples the seeds are averaged first: `examples_low`, `examples_high`, `n_examples`. A
    difference is beyond the noise where neither interval holds 0. Seeds alone would not do: two
    of them may agree to the last example on an exact match.
    """
    found = []
    for (first, second), measure in (
        (pair, measure) for pair in combinations(arms, 2) for measure in MEASURES
    ):
        one, other = (_by_seed(trials, arm, measure) for arm in (first, second))
        seeds = sorted(one.keys() & other.keys())
        if not seeds:
            continue
        over_seeds = paired(*([side[s].mean() for s in seeds] for side in (one, other)))
        over_examples = paired(*(np.mean([side[s] for s in seeds], 0) for side in (one, other)))
        found.append({"first": first, "second": second, "measure": measure, **over_seeds})
        found[-1] |= {f"examples_{end}": over_examples[end] for end in ("low", "high")}
        found[-1]["n_examples"] = over_examples["n"]
        if over_examples["beyond_noise"] is False and len(seeds) > 1:
            found[-1]["beyond_noise"] = False
    return found


def summary(trials: Sequence[Trial], arms: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each arm: size and steps; mean, deviation and 95 % interval of every measure."""
    rows = []
    for arm in arms:
        mine = [trial for trial in trials if trial["arm"] == arm]
        row: dict[str, Any] = {"arm": arm, "trials": len(mine)}
        for name in ("n_samples", "steps"):
            row[name] = mine[0][name] if mine else None
        for measure in MEASURES:
            numbers = [float(each.mean()) for each in _by_seed(trials, arm, measure).values()]
            row[measure] = float(np.mean(numbers)) if numbers else None
            row[f"{measure}_sd"] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
            row[f"{measure}_low"], row[f"{measure}_high"] = mean_interval(numbers)
        rows.append(row)
    return rows


def sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The comparisons in words, those with the first arm only where there are many."""
    first = found[0]["first"] if found else ""
    return [_sentence(one) for one in found if one["first"] == first]


def _sentence(one: Mapping[str, Any]) -> str:
    loss = one["measure"] == "test_loss"
    unit, higher = " nats" if loss else " points", one["difference"] > 0
    text = (
        f"{MEASURES[one['measure']].capitalize()} of {one['second']} is "
        f"{_number(one['difference'], loss=loss).lstrip('+-')}{unit} "
        f"{'higher' if higher else 'lower'} than of {one['first']}"
    )
    if one["beyond_noise"] is None:
        return f"{text}; one seed says nothing of the noise."
    ends = ("low", "high", "examples_low", "examples_high")
    low, high, least, most = (_number(one[end], loss=loss) for end in ends)
    noise = f"the noise of {one['n']} seeds (95 % interval {low} to {high})"
    if least:
        noise += f" and of {one['n_examples']:,} test examples ({least} to {most})"
    if not one["beyond_noise"]:
        return f"{text}, which is not more than {noise}."
    better = one["second"] if higher != loss else one["first"]
    return f"{text}, more than {noise}: {better} is better."


def _number(value: float | None, *, loss: bool) -> str:
    """A loss in nats, or a share in points of a hundred, with its sign."""
    return "" if value is None else f"{value:+.3f}" if loss else f"{100 * value:+.1f}"


def _by_seed(trials: Sequence[Trial], arm: str, measure: str) -> dict[int, np.ndarray]:
    """What a measure is the mean of, example by example, for every seed of an arm."""
    each = {"test_loss": "losses", "exact_match": "right"}[measure]
    return {
        trial["seed"]: np.asarray(trial[each], float)
        for trial in trials
        if trial["arm"] == arm and trial[each] is not None
    }
