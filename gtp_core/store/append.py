"""A store put together from files that are there: made in any order, resumed, or added to later.

`StoreWriter` takes a store's parts one after the other. Here each file is written whole under its
final name by whoever made it; the manifest, written last, makes a store of them. Where there is a
store already, its files stay as they are and the new manifest lists more of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from gtp_core.errors import StoreError
from gtp_core.store.files import map_rows, sha256, write_json, write_rows, written_whole
from gtp_core.store.manifest import (
    MANIFEST,
    Checkpoint,
    File,
    Manifest,
    Part,
    Task,
    manifest_document,
    problem_of,
    store_id_of,
)
from gtp_core.store.reader import Store, open_store
from gtp_core.store.writer import unit_rows


def part_paths(name: str, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Where a part's files lie: its samples, then its gradients at every checkpoint."""
    gradients = [f"gradients/{c.name}/{name}.safetensors" for c in checkpoints]
    return [f"samples/{name}.parquet", *gradients]


def task_paths(name: str, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Where a task's files lie: its examples, then their gradients at every checkpoint."""
    gradients = [f"tasks/{name}/{c.name}.safetensors" for c in checkpoints]
    return [f"tasks/{name}/examples.parquet", *gradients]


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write samples or examples whole."""
    with written_whole(path) as temporary:
        table.write_parquet(temporary, compression="zstd", compression_level=9)


def write_gradients(path: Path, rows: np.ndarray) -> None:
    """Write raw projected gradients (rows, dim) whole, as unit rows and norms."""
    unit, norm = unit_rows(rows)
    write_rows(path, unit=unit, norm=norm)


def clear_temporaries(folder: Path) -> None:
    """Remove what a killed process was writing; files are renamed into place only when whole."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def publish(
    folder: Path, manifest: Manifest, *, parts: Sequence[str], tasks: Sequence[str]
) -> Store:
    """Write the manifest of all that it lists already and of new parts and tasks, and open it.

    Args:
        manifest: what the store says of itself; its `store_id` and counts are made anew.
        parts, tasks: names of new ones, whose files are all in place.

    Raises:
        StoreError: files that are missing or of another shape, or a manifest that says nonsense.
    """
    new_parts = [_part(folder, name, manifest) for name in parts]
    new_tasks = [_task(folder, name, manifest) for name in tasks]
    counts = [dict(manifest.invalid), *(_invalid(folder, p, manifest) for p in new_parts)]
    whole = replace(
        manifest,
        n_samples=manifest.n_samples + sum(part.rows for part in new_parts),
        parts=(*manifest.parts, *new_parts),
        tasks=(*manifest.tasks, *new_tasks),
        invalid={why: sum(c.get(why, 0) for c in counts) for why in ("zero", "nan", "inf")},
    )
    problem = problem_of(whole)
    if problem:
        raise StoreError(f"{folder} cannot become a store: {problem} Mend that first.")
    document = manifest_document(whole)
    document["store_id"] = store_id_of(document)
    write_json(folder / MANIFEST, document)
    return open_store(folder)


def _part(folder: Path, name: str, manifest: Manifest) -> Part:
    paths = part_paths(name, manifest.checkpoints)
    rows = _height(folder / paths[0])
    return Part(name, rows, _listed(folder, paths))


def _task(folder: Path, name: str, manifest: Manifest) -> Task:
    paths = task_paths(name, manifest.checkpoints)
    subtasks = pl.read_parquet(folder / paths[0], columns=["subtask"])["subtask"]
    names = tuple(subtasks.unique(maintain_order=True).to_list())
    return Task(name, len(subtasks), names, manifest.projection, _listed(folder, paths))


def _height(path: Path) -> int:
    return pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()


def _listed(folder: Path, paths: Sequence[str]) -> tuple[File, ...]:
    missing = next((path for path in paths if not (folder / path).is_file()), None)
    if missing:
        raise StoreError(
            f"{folder / missing} is missing, so the store is not whole. Run the command again."
        )
    return tuple(File(p, (folder / p).stat().st_size, sha256(folder / p)) for p in paths)


def _invalid(folder: Path, part: Part, manifest: Manifest) -> dict[str, int]:
    norms = [
        map_rows(folder / file.path, rows=part.rows, dim=manifest.dim)[1] for file in part.files[1:]
    ]
    return {
        "zero": int(np.any([n == 0 for n in norms], axis=0).sum()),
        "nan": int(np.any([np.isnan(n) for n in norms], axis=0).sum()),
        "inf": int(np.any([np.isinf(n) for n in norms], axis=0).sum()),
    }
