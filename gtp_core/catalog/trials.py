"""Trials that `verify` kept, as rows: every file is whole or absent, so a kill leaves no half one.

verify/<key>/plan.json                    what was asked: task, settings, test examples
verify/<key>/trials/<arm>.seed-<n>.json   one trained and tested model
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

FOLDER, PLAN, TRIALS = "verify", "plan.json", "trials"
_COLUMNS = {
    "verification": pl.String,
    "task": pl.String,
    "arm": pl.String,
    "run": pl.String,
    "method": pl.String,
    "budget": pl.String,
    "seed": pl.Int64,
    "n_samples": pl.Int64,
    "steps": pl.Int64,
    "equal": pl.String,
    "weighted": pl.Boolean,
    "n_test": pl.Int64,
    "test_loss": pl.Float64,
    "exact_match": pl.Float64,
    "residual_weighted": pl.Float64,
    "residual_as_trained": pl.Float64,
    "held_out_match": pl.Float64,
    "seconds": pl.Float64,
}
_POINTS = {
    "verification": pl.String,
    "arm": pl.String,
    "seed": pl.Int64,
    "step": pl.Int64,
    "train_loss": pl.Float64,
    "test_loss": pl.Float64,
}


def trial_files(workspace: Path) -> tuple[tuple[str, int], ...]:
    """Every kept trial and when it was written: another answer as soon as one comes or goes."""
    found = []
    for folder in _folders(workspace):
        with suppress(OSError), os.scandir(folder / TRIALS) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    found.append((entry.path, entry.stat().st_mtime_ns))
    return tuple(sorted(found))


def kept_trials(
    workspace: Path, digest: str
) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Key, plan and trials of every verification of the store with this digest, newest first.

    A damaged file is left out: `verify` does such a trial again.
    """
    for folder in _folders(workspace):
        plan = _json(folder / PLAN)
        if plan is None or plan.get("store") != digest:
            continue
        yield folder.name, plan, trials_in(folder)


def trials_in(folder: Path) -> list[dict[str, Any]]:
    """The whole trials in the folder of one verification."""
    found = [_json(path) for path in sorted((folder / TRIALS).glob("[!.]*.json"))]
    return [one for one in found if one is not None and "arm" in one]


def trial_rows(workspace: Path, digest: str) -> dict[str, pl.DataFrame]:
    """The rows of `trials` and `trial_curves`, columns in their order."""
    rows, points = [], []
    for key, plan, trials in kept_trials(workspace, digest):
        settings = plan.get("settings", {})
        same = {
            "verification": key,
            "task": plan.get("task"),
            "equal": "steps" if settings.get("steps") else "epochs",
            "weighted": bool(settings.get("weighted")),
        }
        for trial in trials:
            told = {name: trial.get(name) for name in _COLUMNS if name not in same}
            told["n_test"] = trial.get("n_test", plan.get("n_test"))
            rows.append({**told, **same})
            mine = {"verification": key, "arm": trial["arm"], "seed": trial.get("seed")}
            points += [{**point, **mine} for point in trial.get("curve") or ()]
    return {
        "trials": pl.DataFrame(rows, schema=_COLUMNS, strict=False),
        "trial_curves": pl.DataFrame(points, schema=_POINTS, strict=False),
    }


def _folders(workspace: Path) -> list[Path]:
    """The folders of verifications, the one begun or asked last first."""
    found = []
    for plan in (workspace / FOLDER).glob(f"*/{PLAN}"):
        with suppress(OSError):
            found.append((plan.stat().st_mtime_ns, plan.parent))
    return [folder for _, folder in sorted(found, reverse=True)]


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
