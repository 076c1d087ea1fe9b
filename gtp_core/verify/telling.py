"""What trials say: a table, learning curves, comparisons, correlations and sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gtp_core.verify.comparing import MEASURES, comparisons, mean_interval, sentences, summary
from gtp_core.verify.correlating import LEAST, correlation_sentences, correlations
from gtp_core.verify.steps import samples_met

BASE, FULL, RANDOM = "base", "full", "random"
_METHODS = {"gtp": "GTP", RANDOM: "random", "ids": "list"}
Trial = Mapping[str, Any]


def answer(
    trials: Sequence[Trial],
    arms: Sequence[str],
    settings: Mapping[str, Any],
    *,
    names: Mapping[str, str] | None = None,
    kept: Sequence[Trial] | None = None,
) -> dict[str, Any]:
    """`table`, `comparisons`, `sentences`, `correlations` and `correlation_sentences`.

    A row of the table has `n_met` too: the samples that a step came by, of `n_samples`.

    Args:
        trials: those that are told.
        arms: those that the table and the comparisons are of, the one all are held against first.
        settings: that they were trained with.
        names: what to call arms, where not by their own names.
        kept: those that correlations are over, where these are more.
    """
    names, kept = names or {}, trials if kept is None else kept
    called = [{**trial, "arm": names.get(trial["arm"], trial["arm"])} for trial in trials]
    shown = [names.get(arm, arm) for arm in arms]
    found = comparisons(called, shown)
    held = judged(kept, settings)
    related = correlations(held) if held["arm"].n_unique() >= LEAST else []
    table = summary(called, [names.get(BASE, BASE), *shown])
    return {
        "table": [{**row, "n_met": _met(row, settings)} for row in table],
        "comparisons": found,
        "sentences": sentences(found),
        "correlations": related,
        "correlation_sentences": correlation_sentences(related),
    }


def _met(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    """How many of its samples a trial was trained on; fewer than all where the steps are few."""
    if trial["n_samples"] is None:
        return None
    return samples_met(trial["n_samples"], trial["steps"], settings["batch_size"])


def judged(trials: Sequence[Trial], settings: Mapping[str, Any]) -> pl.DataFrame:
    """A row for each trained model, as `correlations` wants it: arm, seed, judges and loss.

    Those that did not come by all their samples are left out: the judges are of all.
    """
    rows = [
        {
            "arm": trial["arm"],
            "seed": trial["seed"],
            "method": trial.get("method"),
            "residual_weighted": trial.get("residual_weighted"),
            "residual_as_trained": trial.get("residual_as_trained"),
            "match": trial.get("held_out_match"),
            "loss": trial["test_loss"],
        }
        for trial in trials
        if trial["arm"] != BASE and _met(trial, settings) == trial["n_samples"]
    ]
    schema = {"arm": pl.String, "seed": pl.Int64, "method": pl.String}
    numbers = ("residual_weighted", "residual_as_trained", "match", "loss")
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(numbers, pl.Float64))


def subsets_in(trials: Sequence[Trial]) -> list[str]:
    """The arms that are subsets: GTP's runs, other runs, chance draws, and the whole pool last."""
    methods = {t["arm"]: t.get("method") for t in trials if t["arm"] != BASE}
    ranks = {"gtp": 0, RANDOM: 2, FULL: 3}
    return sorted(methods, key=lambda arm: ranks.get(methods[arm] or "", 1))


def names_of(trials: Sequence[Trial]) -> dict[str, str]:
    """What to call arms on screen: `GTP 200`, `random 200`; a run's digest where two are alike."""
    names = {BASE: "untrained", FULL: "the whole pool"}
    plain: dict[str, str] = {}
    for trial in trials:
        if trial["arm"] not in names:
            method = trial.get("method") or trial["arm"]
            plain[trial["arm"]] = f"{_METHODS.get(method, method)} {trial['n_samples']:,}"
    twice = {name for name in plain.values() if list(plain.values()).count(name) > 1}
    for arm, name in plain.items():
        names[arm] = f"{name} ({arm.rpartition('-')[2]})" if name in twice else name
    return names


def curves(
    trials: Sequence[Trial], arms: Sequence[str], *, names: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Test loss by step: arm, step, loss, low, high, seeds; mean and 95 % interval over seeds.

    Every curve begins with the untrained model's loss, where that is known. With `names`, arms are
    called by them.
    """
    base = [t["test_loss"] for t in trials if t["arm"] == BASE and t["test_loss"] is not None]
    rows: list[dict[str, Any]] = []
    for arm in arms:
        losses: dict[int, list[float]] = {0: base[:1]} if base else {}
        for trial in trials:
            for point in trial["curve"] if trial["arm"] == arm else ():
                if point["test_loss"] is not None:
                    losses.setdefault(point["step"], []).append(point["test_loss"])
        for step, values in sorted(losses.items()):
            low, high = mean_interval(values)
            mean = float(np.mean(values))
            found = {"loss": mean, "low": low, "high": high, "seeds": len(values)}
            rows.append({"arm": (names or {}).get(arm, arm), "step": step, **found})
    numbers = dict.fromkeys(("loss", "low", "high"), pl.Float64)
    schema = {"arm": pl.String, "step": pl.Int64, **numbers, "seeds": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def how_trained(settings: Mapping[str, Any]) -> str:
    """What was equal, and how losses counted, in one sentence."""
    steps, epochs = settings["steps"], settings["epochs"]
    equal = (
        f"every subset gets {steps:,} steps (equal steps)"
        if steps
        else f"every subset is gone through {epochs:,} times (equal epochs)"
    )
    loss = "weighted" if settings["weighted"] else "unweighted"
    return f"Fine-tuned with LoRA of rank {settings['rank']}, {loss} loss; {equal}."


def remarks(
    trials: Sequence[Trial],
    arms: Sequence[str],
    settings: Mapping[str, Any],
    *,
    names: Mapping[str, str] | None = None,
) -> list[str]:
    """What is to be known of some arms: samples not met, weights dropped, prompts, divergence."""
    mine = [trial for trial in trials if trial["arm"] in arms]
    called = {arm: (names or {}).get(arm, arm) for arm in arms}
    notes = []
    for trial in {t["arm"]: t for t in mine if t["arm"] != BASE}.values():
        if (met := _met(trial, settings)) != trial["n_samples"]:
            notes.append(
                f"{called[trial['arm']]}: {trial['steps']:,} steps come by {met:,} of its "
                f"{trial['n_samples']:,} samples; residuals and match are of all of them, and not "
                "held against its loss."
            )
    dropped = {t["arm"]: None for t in mine if t.get("solved_weighted")}
    if dropped and not settings["weighted"]:
        notes.append(
            f"{', '.join(called[arm] for arm in dropped)}: solved with weights and trained "
            "without them, so that the residual as trained counts here and not the weighted one."
        )
    seen = {t["arm"]: t["n_seen"] for t in mine if t.get("n_seen")}
    if seen:
        each = ", ".join(f"{called[arm]} {count:,}" for arm, count in seen.items())
        notes.append(
            f"{max(seen.values()):,} of {mine[0]['n_test']:,} test examples have the prompt of a "
            f"sample that is trained on ({each})."
        )
    bad = [f"{called[t['arm']]} with seed {t['seed']}" for t in mine if t["test_loss"] is None]
    if bad:
        notes.append(f"Training diverged and is left out: {', '.join(bad)}.")
    return notes


def shown_table(table: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The table of `answer` for a screen: deviations as intervals, nothing that was not measured.

    Exact match is in percent.
    """
    taken = [name for name in MEASURES if any(row[name] is not None for row in table)]
    rows = []
    for row in table:
        shown = {"trained on": row["arm"], "models": row["trials"]}
        shown |= {"samples": row["n_samples"]}
        if any(each["n_met"] != each["n_samples"] for each in table):
            shown["trained on, of these"] = row["n_met"]
        shown["steps"] = row["steps"]
        for name in taken:
            scale = 100 if name == "exact_match" else 1
            for end, word in (("", ""), ("_low", " from"), ("_high", " to")):
                value = row[f"{name}{end}"]
                shown[f"{MEASURES[name]}{word}"] = None if value is None else scale * value
        rows.append(shown)
    whole = pl.DataFrame(rows, infer_schema_length=None)
    return whole.select(column for column in whole if column.null_count() < whole.height)
