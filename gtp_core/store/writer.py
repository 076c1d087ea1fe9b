"""Write a store: parts and tasks first, each file whole, the manifest last."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.errors import StoreError
from gtp_core.store.files import map_rows, sha256, write_json, write_rows, written_whole
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
from gtp_core.store.seen import SeenIds
from gtp_core.store.units import RowSource, unit_rows

SAMPLE_COLUMNS = ("sample_id", "source", "prompt", "completion", "n_tokens", "record")
_WRITERS = 2  # each holds the unit rows of one part and checkpoint


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
        self._seen = SeenIds()
        self._invalid = {"zero": 0, "nan": 0, "inf": 0}
        self._check_head()

    def add_part(self, samples: pl.DataFrame, gradients: Mapping[str, RowSource]) -> Part:
        """Write a slice of the pool; what the manifest will say of it.

        Args:
            samples: SAMPLE_COLUMNS, one row per sample.
            gradients: per checkpoint name, raw projected gradients (rows, dim), any float type,
                as an array or as anything with a shape that gives rows by slice.
                Rows that are zero, NaN or Inf are stored as invalid, never dropped.

        Raises:
            StoreError: repeated ids, missing columns, or shapes that do not fit.
        """
        _check_columns(samples, SAMPLE_COLUMNS, "samples")
        self._check_gradients(gradients, samples.height)
        self._check_ids(samples["sample_id"])
        name = f"part-{len(self._parts):05d}"
        path = f"samples/{name}.parquet"
        self._write_table(samples.select(SAMPLE_COLUMNS), path)
        files, norms = self._write_rows(gradients, "gradients/{}/" + f"{name}.safetensors")
        self._count_invalid(norms)
        self._parts.append(Part(name, samples.height, (self._listed(path), *files)))
        return self._parts[-1]

    def keep_part(self, samples: pl.DataFrame, part: Part) -> None:
        """Take a part that an earlier attempt wrote in this folder, as `add_part` returned it.

        Raises:
            StoreError: repeated ids, or a file that is missing or short.
        """
        self._check_ids(samples["sample_id"])
        for file in part.files:
            path = self._folder / file.path
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise StoreError(
                    f"{path} is not the {file.bytes:,} bytes that were written before. "
                    "Delete the unfinished folder and begin again."
                )
        rows = [
            map_rows(self._folder / file.path, rows=part.rows, dim=self._dim)
            for file in part.files[1:]
        ]
        self._count_invalid([np.array(norm) for _, norm in rows])
        self._parts.append(part)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts so far."""
        return tuple(self._parts)

    def say(self, **producer: Any) -> None:
        """Add to what the manifest says of the producer, found while writing."""
        self._head["producer"].update(producer)

    def add_task(
        self, name: str, examples: pl.DataFrame, gradients: Mapping[str, RowSource]
    ) -> None:
        """Write a validation task: EXAMPLE_COLUMNS and raw gradients (n_examples, dim)."""
        if not is_name(name) or name in {task.name for task in self._tasks}:
            raise StoreError(
                f"task name {name!r} is repeated or not 1 to 80 letters, digits, '.', '_' or '-'; "
                "give every task a plain name of its own."
            )
        _check_columns(examples, EXAMPLE_COLUMNS, f"task {name!r}")
        self._check_gradients(gradients, examples.height)
        path = f"tasks/{name}/examples.parquet"
        self._write_table(examples.select(EXAMPLE_COLUMNS), path)
        files, _ = self._write_rows(gradients, f"tasks/{name}/" + "{}.safetensors")
        subtasks = tuple(examples["subtask"].unique(maintain_order=True).to_list())
        projection = self._head["projection"]
        listed = (self._listed(path), *files)
        self._tasks.append(Task(name, examples.height, subtasks, projection, listed))

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
        paths = [self._folder / part.files[0].path for part in self._parts]
        repeated = self._seen.repeated(ids, lambda: pl.scan_parquet(paths, glob=False))
        if repeated is not None:
            raise StoreError(
                f"sample_id {repeated!r} occurs more than once; ids must be unique in a store. "
                "Rename the samples."
            )
        self._seen.add(ids)

    def _check_gradients(self, gradients: Mapping[str, RowSource], rows: int) -> None:
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

    def _write_rows(
        self, gradients: Mapping[str, RowSource], path: str
    ) -> tuple[list[File], list[np.ndarray]]:
        """One file per checkpoint, two at a time: compiled loops, hashing and disk take turns."""

        def write(checkpoint: Checkpoint) -> tuple[File, np.ndarray]:
            place = path.format(checkpoint.name)
            unit, norm = unit_rows(gradients[checkpoint.name])
            digest = write_rows(self._folder / place, unit=unit, norm=norm)
            return File(place, (self._folder / place).stat().st_size, digest), norm

        with ThreadPoolExecutor(_WRITERS) as pool:
            done = list(pool.map(write, self._checkpoints))
        return [file for file, _ in done], [norm for _, norm in done]

    def _write_table(self, table: pl.DataFrame, path: str) -> None:
        with written_whole(self._folder / path) as temporary:
            table.write_parquet(temporary, compression="zstd", compression_level=9)

    def _count_invalid(self, norms: Sequence[np.ndarray]) -> None:
        self._invalid["zero"] += int(np.any([n == 0 for n in norms], axis=0).sum())
        self._invalid["nan"] += int(np.any([np.isnan(n) for n in norms], axis=0).sum())
        self._invalid["inf"] += int(np.any([np.isinf(n) for n in norms], axis=0).sum())

    def _listed(self, path: str) -> File:
        full = self._folder / path
        return File(path, full.stat().st_size, sha256(full))


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
