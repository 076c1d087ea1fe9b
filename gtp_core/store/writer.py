"""Write a store: parts and tasks first, each file whole, the manifest last."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.errors import StoreError
from gtp_core.store.files import sha256, write_json, write_rows, written_whole
from gtp_core.store.manifest import (
    GRADIENT_KINDS,
    MANIFEST,
    Checkpoint,
    File,
    Manifest,
    Part,
    Task,
    head_problem_of,
    is_name,
    manifest_document,
    problem_of,
    store_id_of,
)
from gtp_core.store.reader import EXAMPLE_COLUMNS, Store, open_store

SAMPLE_COLUMNS = ("sample_id", "source", "prompt", "completion", "n_tokens", "record")


class StoreWriter:
    """Makes a store in an empty folder. Nothing is a store until `finish` has written its manifest.

    Args:
        folder: where the store goes; must not hold a store already.
        name: a plain name; the store id is this name and a digest.
        dim: length of a projected gradient.
        checkpoints: in training order, with the step size of each.
        gradients: `{"samples": kind, "tasks": kind}` with kinds from GRADIENT_KINDS.
        projection: `{"type", "seed", "input_dim", "dim"}`.
        model: `{"id", "adapter": {...}}`.
        producer: `{"name", "version"}`.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str,
        dim: int,
        checkpoints: Sequence[Checkpoint],
        gradients: Mapping[str, str],
        projection: Mapping[str, Any],
        model: Mapping[str, Any],
        producer: Mapping[str, Any],
        declared: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._name = name
        self._dim = dim
        self._checkpoints = tuple(checkpoints)
        self._head: dict[str, Any] = {
            "gradients": dict(gradients),
            "projection": dict(projection),
            "model": dict(model),
            "producer": dict(producer),
            "declared": dict(declared or {}),
        }
        self._parts: list[Part] = []
        self._tasks: list[Task] = []
        self._seen: set[str] = set()
        self._invalid = {"zero": 0, "nan": 0, "inf": 0}
        self._check_head()

    def add_part(self, samples: pl.DataFrame, gradients: Mapping[str, np.ndarray]) -> None:
        """Write a slice of the pool.

        Args:
            samples: SAMPLE_COLUMNS, one row per sample.
            gradients: per checkpoint name, raw projected gradients (rows, dim), any float type.
                Rows that are zero, NaN or Inf are stored as invalid, never dropped.

        Raises:
            StoreError: repeated ids, missing columns, or shapes that do not fit.
        """
        _check_columns(samples, SAMPLE_COLUMNS, "samples")
        self._check_ids(samples["sample_id"])
        name = f"part-{len(self._parts):05d}"
        rows = self._unit_rows(gradients, samples.height)
        path = f"samples/{name}.parquet"
        self._write_table(samples.select(SAMPLE_COLUMNS), path)
        paths = [path]
        for checkpoint, (unit, norm) in rows.items():
            paths.append(f"gradients/{checkpoint}/{name}.safetensors")
            write_rows(self._folder / paths[-1], unit=unit, norm=norm)
        self._count_invalid([norm for _, norm in rows.values()])
        self._parts.append(Part(name, samples.height, self._listed(paths)))

    def add_task(
        self, name: str, examples: pl.DataFrame, gradients: Mapping[str, np.ndarray]
    ) -> None:
        """Write a validation task: EXAMPLE_COLUMNS and raw gradients (n_examples, dim)."""
        if not is_name(name) or name in {task.name for task in self._tasks}:
            raise StoreError(
                f"task name {name!r} is repeated or not 1 to 80 letters, digits, '.', '_' or '-'; "
                "give every task a plain name of its own."
            )
        _check_columns(examples, EXAMPLE_COLUMNS, f"task {name!r}")
        paths = [f"tasks/{name}/examples.parquet"]
        self._write_table(examples.select(EXAMPLE_COLUMNS), paths[0])
        for checkpoint, (unit, norm) in self._unit_rows(gradients, examples.height).items():
            paths.append(f"tasks/{name}/{checkpoint}.safetensors")
            write_rows(self._folder / paths[-1], unit=unit, norm=norm)
        subtasks = tuple(examples["subtask"].unique(maintain_order=True).to_list())
        projection = self._head["projection"]
        task = Task(name, examples.height, subtasks, projection, self._listed(paths))
        self._tasks.append(task)

    def finish(self) -> Store:
        """Write the manifest, which makes the folder a store, and open it."""
        manifest = self._manifest()
        problem = problem_of(manifest)
        if problem:
            raise StoreError(f"{self._folder} cannot become a store: {problem} Mend that first.")
        document = manifest_document(manifest)
        document["store_id"] = store_id_of(document)
        write_json(self._folder / MANIFEST, document)
        return open_store(self._folder)

    def _manifest(self) -> Manifest:
        return Manifest(
            store_id="",
            name=self._name,
            n_samples=sum(part.rows for part in self._parts),
            dim=self._dim,
            checkpoints=self._checkpoints,
            parts=tuple(self._parts),
            tasks=tuple(self._tasks),
            invalid=self._invalid,
            **self._head,
        )

    def _check_head(self) -> None:
        if (self._folder / MANIFEST).exists():
            raise StoreError(
                f"{self._folder} already holds a store; a new one needs an empty folder. "
                "Choose another folder or delete this one."
            )
        problem = head_problem_of(self._manifest())
        if problem:
            raise StoreError(f"{self._folder} cannot become a store: {problem} Mend that first.")
        for who in ("samples", "tasks"):
            kind = self._head["gradients"].get(who)
            if kind not in GRADIENT_KINDS:
                raise StoreError(
                    f"gradient kind of {who} is {kind!r}; it must be one of "
                    f"{', '.join(GRADIENT_KINDS)}."
                )

    def _check_ids(self, ids: pl.Series) -> None:
        new = ids.to_list()
        repeated = next((i for i in new if i in self._seen), None)
        if repeated is None and len(set(new)) < len(new):
            repeated = ids.filter(ids.is_duplicated())[0]
        if repeated is not None:
            raise StoreError(
                f"sample_id {repeated!r} occurs more than once; ids must be unique in a store. "
                "Rename the samples."
            )
        self._seen.update(new)

    def _unit_rows(
        self, gradients: Mapping[str, np.ndarray], rows: int
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        wanted = {checkpoint.name for checkpoint in self._checkpoints}
        if set(gradients) != wanted:
            raise StoreError(
                f"gradients are for checkpoints {sorted(gradients)}; this store has "
                f"{sorted(wanted)}. Give one matrix per checkpoint."
            )
        for name, matrix in gradients.items():
            if matrix.shape != (rows, self._dim):
                raise StoreError(
                    f"gradients at {name} have shape {matrix.shape}; wanted {(rows, self._dim)}. "
                    "Give one row per sample in the order of the samples."
                )
        return {c.name: unit_rows(gradients[c.name]) for c in self._checkpoints}

    def _write_table(self, table: pl.DataFrame, path: str) -> None:
        with written_whole(self._folder / path) as temporary:
            table.write_parquet(temporary, compression="zstd", compression_level=9)

    def _count_invalid(self, norms: Sequence[np.ndarray]) -> None:
        self._invalid["zero"] += int(np.any([n == 0 for n in norms], axis=0).sum())
        self._invalid["nan"] += int(np.any([np.isnan(n) for n in norms], axis=0).sum())
        self._invalid["inf"] += int(np.any([np.isinf(n) for n in norms], axis=0).sum())

    def _listed(self, paths: Sequence[str]) -> tuple[File, ...]:
        full = [self._folder / path for path in paths]
        return tuple(
            File(path, file.stat().st_size, sha256(file))
            for path, file in zip(paths, full, strict=True)
        )


def unit_rows(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split raw gradients (rows, dim) into unit rows (float16) and Euclidean norms (float32).

    A row with a zero, NaN or infinite norm is invalid: its unit row is zero and its norm says why.
    """
    raw = np.asarray(gradients, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.sqrt(np.einsum("ij,ij->i", raw, raw))
        norm = length.astype(np.float32)
        valid = np.isfinite(norm) & (norm > 0)
        scale = np.where(valid, length, 1.0)[:, None]
        unit = np.where(valid[:, None], raw / scale, 0.0).astype(np.float16)
    return unit, norm


def _check_columns(table: pl.DataFrame, wanted: Sequence[str], what: str) -> None:
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise StoreError(
            f"{what} have no column {missing[0]!r}; they need {', '.join(wanted)}. Add it."
        )
    for name in wanted:
        kind = "whole numbers" if name == "n_tokens" else "text"
        column = table[name]
        fits = column.dtype.is_integer() if name == "n_tokens" else column.dtype == pl.String
        if not fits or column.null_count():
            raise StoreError(
                f"column {name!r} of {what} is {column.dtype} with {column.null_count():,} nulls; "
                f"it must be {kind} without nulls. Convert it."
            )
