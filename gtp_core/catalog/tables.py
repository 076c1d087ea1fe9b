"""The tables that a curator's SQL sees, and how runs, edits and gradients become rows of them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gtp_core.catalog.edits import Edit, active_edits, marks_of, tags_of
from gtp_core.store import Store

TABLES = {
    "samples": "the pool: row, sample_id, source, prompt, completion, n_tokens",
    "tasks": "task, n_examples, n_subtasks, n_invalid (examples without a usable gradient)",
    "examples": "validation examples: task, example_id, subtask, prompt, completion",
    "checkpoints": "checkpoint, position, step, step_size, eta, coherence, common_direction",
    "influences": "per sample and task: influence (LESS: best subtask), subtask, by_checkpoint",
    "health": "per sample: valid, reason, norms (one gradient norm per checkpoint)",
    "runs": "saved runs: settings, residuals, held-out match, why it stopped",
    "selections": "per run and choice: rank, sample_id, weight, influence, topk_rank, filled",
    "verdicts": "per run and sample: verdict, keeper (of duplicates), influence, proxy, covered, "
    "gain",
    "clusters": "duplicate clusters: basis, cluster, sample_id, keeper",
    "dropped": "duplicates that a keeper stands for: sample_id, keeper, basis, score, rule",
    "trials": "models that `verify` trained: verification, task, arm, run, method, budget, seed, "
    "n_samples, steps, equal (steps or epochs), weighted, n_test, test_loss, exact_match, "
    "residual_weighted, residual_as_trained, held_out_match, seconds",
    "trial_curves": "their losses: verification, arm, seed, step, train_loss, test_loss",
    "edits": "the log: edit, time, who, what (pin, ban, free, tag, untag, keeper, split, "
    "duplicate, distinct or undo), "
    "sample_id, value, undoes; an edit of many samples has a row for each",
    "tags": "tags in force: sample_id, tag",
    "marks": "pins and bans in force: sample_id, mark (pin or ban)",
}
"""The tables a curator's SQL sees, each with its columns in words."""

EMPTY = {
    "runs": "run VARCHAR, method VARCHAR, task VARCHAR, budget VARCHAR, n_selected BIGINT,"
    " residual_weighted DOUBLE, residual_as_trained DOUBLE, held_out_match DOUBLE,"
    " held_out_ceiling DOUBLE, stop VARCHAR, settings JSON",
    "selections": "run VARCHAR, rank BIGINT, sample_id VARCHAR, weight DOUBLE, influence DOUBLE,"
    " topk_rank BIGINT, filled BOOLEAN",
    "verdicts": "run VARCHAR, sample_id VARCHAR, verdict VARCHAR, keeper VARCHAR, influence"
    " DOUBLE, proxy DOUBLE, covered DOUBLE, gain DOUBLE",
    "clusters": "basis VARCHAR, cluster BIGINT, sample_id VARCHAR, keeper BOOLEAN",
    "dropped": "sample_id VARCHAR, keeper VARCHAR, basis VARCHAR, score DOUBLE, rule VARCHAR",
    "trials": "verification VARCHAR, task VARCHAR, arm VARCHAR, run VARCHAR, method VARCHAR, budget"
    " VARCHAR, seed BIGINT, n_samples BIGINT, steps BIGINT, equal VARCHAR, weighted BOOLEAN,"
    " n_test BIGINT, test_loss DOUBLE, exact_match DOUBLE, residual_weighted DOUBLE,"
    " residual_as_trained DOUBLE, held_out_match DOUBLE, seconds DOUBLE",
    "trial_curves": "verification VARCHAR, arm VARCHAR, seed BIGINT, step BIGINT, train_loss"
    " DOUBLE, test_loss DOUBLE",
    "edits": "edit BIGINT, time VARCHAR, who VARCHAR, what VARCHAR, sample_id VARCHAR,"
    " value VARCHAR, undoes BIGINT",
    "tags": "sample_id VARCHAR, tag VARCHAR",
    "marks": "sample_id VARCHAR, mark VARCHAR",
}
LOADED = ("samples", "tasks", "examples", "checkpoints", "influences", "health")


def columns_of(table: str) -> list[str]:
    """The columns of a table that is registered on top, in their order."""
    return [column.split()[0] for column in EMPTY[table].split(", ")]


def run_rows(
    run_id: str, run: dict[str, Any], tables: dict[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """A saved run as rows of `runs`, `selections` and `verdicts`, columns in their order."""
    held_out = run["held_out"] or {}
    row = {name: run[name] for name in ("method", "task", "budget", "n_selected")}
    row |= {name: run[name] for name in ("residual_weighted", "residual_as_trained", "stop")}
    row |= {"run": run_id, "budget": str(run["budget"]), "settings": json.dumps(run["settings"])}
    row |= {f"held_out_{name}": held_out.get(name) for name in ("match", "ceiling")}
    frames = {"runs": pl.DataFrame([row])}
    for name, saved in (("selections", "selection"), ("verdicts", "verdicts")):
        frames[name] = tables[saved].with_columns(pl.lit(run_id).alias("run"))
    since = pl.lit(None, pl.Float64)  # columns that older runs do not have
    verdicts = frames["verdicts"]
    for column in ("covered", "gain"):
        if column not in verdicts.columns:
            verdicts = verdicts.with_columns(since.alias(column))
    frames["verdicts"] = verdicts
    return {name: frame.select(columns_of(name)) for name, frame in frames.items()}


def cluster_rows(saved: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Saved duplicate clusters as rows of `clusters` and `dropped`, columns in their order."""
    gone = saved.filter(pl.col("kept").is_not_null())
    gone = gone.select("sample_id", pl.col("kept").alias("keeper"), "basis", "score", "rule")
    frames = {"clusters": saved, "dropped": gone}
    return {name: frame.select(columns_of(name)) for name, frame in frames.items()}


def edit_rows(log: Sequence[Edit]) -> dict[str, pl.DataFrame]:
    """The log as rows of `edits`, one a sample, and what it leaves in `tags` and `marks`."""
    active = active_edits(log)
    marks, tags = marks_of(active), tags_of(active)
    words = ("edit", "time", "who", "what", "value", "undoes")
    columns = {word: [getattr(edit, word) for edit in log] for word in words}
    columns["sample_id"] = [list(edit.samples) or [""] for edit in log]
    edits = pl.DataFrame(columns).explode("sample_id", empty_as_null=True)
    return {
        "edits": edits.select(columns_of("edits")),
        "tags": pl.DataFrame({"sample_id": [one for one, _ in tags], "tag": [t for _, t in tags]}),
        "marks": pl.DataFrame({"sample_id": list(marks), "mark": list(marks.values())}),
    }


def gradients_of(store: Store, rows: pa.Array, checkpoints: pa.Array) -> pa.Array:
    """SQL's gradient(row, checkpoint): a unit gradient from the memory map, or NULL."""
    position = {c.name: i for i, c in enumerate(store.checkpoints)}
    starts = np.cumsum([0] + [part.rows for part in store.manifest.parts])
    answer: list[np.ndarray | None] = []
    for row, name in zip(rows.to_pylist(), checkpoints.to_pylist(), strict=True):
        if name not in position or row is None or not 0 <= row < store.n_samples:
            answer.append(None)
            continue
        part = int(np.searchsorted(starts, row, side="right")) - 1
        unit, _ = store.part_rows(part, position[name])
        answer.append(unit[row - starts[part]].astype(np.float32))
    return pa.array(answer, type=pa.list_(pa.float32()))
