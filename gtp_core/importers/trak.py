"""TRAK (Park et al. 2023, traker): .npy maps per model, whatever their names end in."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gtp_core.errors import SourceError
from gtp_core.importers.common import facts_of, store_name, tasks_of
from gtp_core.importers.matrices import FileRows, Multiplied, is_npy, npy_rows
from gtp_core.importers.plan import Plan
from gtp_core.importers.register import Asked, importer
from gtp_core.importers.steps import checkpoints_of
from gtp_core.importers.texts import sample_files
from gtp_core.store import RowSource

_KINDS = ("features", "grads")


@importer("trak", signs=("metadata.json", "*/out_to_loss.mmap"))
def read_trak(source: Path, asked: Asked) -> Plan:
    """TRAK: features or gradients of the training set and gradients of its experiments."""
    rows = asked.rows or "features"
    if rows not in _KINDS:
        raise SourceError(f"--rows {rows!r} is none of {', '.join(_KINDS)}. Choose one of these.")
    metadata = _metadata(source)
    models = sorted((p for p in source.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    if not models:
        raise SourceError(f"{source} holds no folder of a model (0, 1, ...). Featurize one first.")
    for model in models:
        _refuse_unfinished(source, model, rows)
    factors = _out_to_loss(models) if rows == "features" else None
    names = [(f"model-{model.name}", int(model.name)) for model in models]
    gradients = {
        name: _train_rows(model / f"{rows}.mmap", factors)
        for (name, _), model in zip(names, models, strict=True)
    }
    found = {
        task: {
            name: npy_rows(_mapped(model / f"{task}_grads.mmap"))
            for (name, _), model in zip(names, models, strict=True)
        }
        for task in _experiments(models[0])
    }
    checkpoints, said = checkpoints_of(names, asked, equal=True)
    tasks, said_of_tasks = tasks_of(found, asked)
    texts = sample_files(asked.samples, ["train"], line_ids=asked.ids == "line")
    dim = next(iter(gradients.values())).shape[1]
    facts = facts_of(asked, dim=dim, projection={"type": metadata.get("JL matrix type")})
    facts["declared"] |= {**said, **said_of_tasks}
    facts["declared"]["samples"] = [part.path.name for part in texts.parts]
    return Plan(
        format="trak",
        name=store_name(source, asked),
        checkpoints=checkpoints,
        samples=texts,
        gradients=gradients,
        tasks=tasks,
        producer={"name": "trak", "version": None, "rows": rows},
        notes=(_NOTE,) if rows == "features" else (),
        inputs=tuple(sorted(source.glob("*/*.mmap"))),
        **facts,
    )


_NOTE = (
    "Sample rows are TRAK's features times the mean of out_to_loss: their products with the tasks' "
    "rows are TRAK's scores; have gradients raw to rank by them, for ranking by angle leaves "
    "lengths out."
)


def _metadata(source: Path) -> dict[str, Any]:
    try:
        document = json.loads((source / "metadata.json").read_bytes())
        if not isinstance(document, dict) or "JL dimension" not in document:
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise SourceError(
            f"{source} has no metadata.json with a JL dimension, so it is no TRAK save_dir. "
            "Give the save_dir of a TRAKer."
        ) from None
    return document


def _refuse_unfinished(source: Path, model: Path, rows: str) -> None:
    try:
        states = json.loads((source / f"id_{model.name}.json").read_bytes())[model.name]
        is_done = bool(states["is_featurized"]) and (
            rows == "grads" or bool(states["is_finalized"])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_done = False
    if not is_done:
        raise SourceError(
            f"model {model.name} in {source} is not featurized and finalized, so its rows are "
            "partly empty. Finish it with TRAK first."
        )


def _mapped(path: Path) -> Path:
    if path.is_file() and not is_npy(path):
        raise SourceError(
            f"{path} is a raw map, not the .npy map that TRAK writes. If dattri made it, import "
            "it with the format dattri."
        )
    return path


def _experiments(model: Path) -> list[str]:
    return sorted(p.name.removesuffix("_grads.mmap") for p in model.glob("?*_grads.mmap"))


def _out_to_loss(models: list[Path]) -> np.ndarray:
    """The mean over models of each sample's factor, which TRAK multiplies its scores by."""
    columns = [npy_rows(_mapped(model / "out_to_loss.mmap")) for model in models]
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or columns[0].dim != 1:
        raise SourceError(f"out_to_loss of the models has shapes {shapes}; wanted is one column.")
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(
            np.mean([column[:][:, 0] for column in columns], axis=0, dtype=np.float64)
        )


def _train_rows(path: Path, factors: np.ndarray | None) -> RowSource:
    matrix: FileRows = npy_rows(_mapped(path))
    if factors is None:
        return matrix
    if len(factors) != matrix.rows:
        raise SourceError(f"{path} has {matrix.rows:,} rows and out_to_loss {len(factors):,}.")
    return Multiplied(matrix, factors)
