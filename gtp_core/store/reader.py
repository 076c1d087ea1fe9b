"""Open a store: milliseconds whatever its size, because only the manifest is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from gtp_core.errors import StoreError, TaskError
from gtp_core.store.files import map_rows, sha256
from gtp_core.store.manifest import Checkpoint, Manifest, Task, all_files, read_manifest

EXAMPLE_COLUMNS = ("example_id", "subtask", "prompt", "completion")
Progress = Callable[[int, int, str], None]
"""Called as `progress(done, total, what)`; raise from it to cancel."""


@dataclass(frozen=True)
class Store:
    """A gradient store on disk: `n_samples` trajectories at `checkpoints`, and tasks.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
        digest: SHA-256 of the manifest; it changes whenever any file of the store does.
    """

    folder: Path
    manifest: Manifest
    digest: str

    @property
    def store_id(self) -> str:
        return self.manifest.store_id

    @property
    def n_samples(self) -> int:
        return self.manifest.n_samples

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        return self.manifest.checkpoints

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.manifest.tasks)

    def task(self, name: str) -> Task:
        """The task of that name, or a TaskError that lists the tasks there are."""
        for task in self.manifest.tasks:
            if task.name == name:
                return task
        raise TaskError(
            f"task {name!r} is not in this store; it has {', '.join(self.task_names) or 'none'}. "
            "Choose one of these."
        )

    def samples(self) -> pl.LazyFrame:
        """The pool, lazily and in row order, with the columns SAMPLE_COLUMNS."""
        paths = [self.folder / part.files[0].path for part in self.manifest.parts]
        return pl.scan_parquet(paths, glob=False)

    def examples(self, task: str) -> pl.DataFrame:
        """A task's validation examples: example_id, subtask, prompt, completion."""
        path = self.folder / self.task(task).files[0].path
        try:
            found = pl.read_parquet(path, glob=False, columns=list(EXAMPLE_COLUMNS))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{path} cannot be read ({type(error).__name__}); it must be Parquet with the "
                f"columns {', '.join(EXAMPLE_COLUMNS)}. Restore the file or rebuild the store."
            ) from None
        wanted = self.task(task).n_examples
        if found.height != wanted:
            raise StoreError(
                f"{path} has {found.height:,} examples; the manifest wants {wanted:,}. "
                "Restore the file or rebuild the store."
            )
        return found

    def part_rows(self, part: int, checkpoint: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit gradients (rows, dim) float16 and norms (rows,) of one part, memory-mapped."""
        entry = self.manifest.parts[part]
        path = self.folder / entry.files[1 + checkpoint].path
        return map_rows(path, rows=entry.rows, dim=self.dim)

    def task_rows(self, task: str, checkpoint: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit gradients (n_examples, dim) float16 and norms of a task's examples."""
        entry = self.task(task)
        path = self.folder / entry.files[1 + checkpoint].path
        return map_rows(path, rows=entry.n_examples, dim=self.dim)

    def norms(self) -> np.ndarray:
        """Gradient norms (n_samples, n_checkpoints) float32; zero, NaN or Inf is invalid."""
        columns = [
            np.concatenate([self.part_rows(p, c)[1] for p in range(len(self.manifest.parts))])
            for c in range(len(self.checkpoints))
        ]
        return np.stack(columns, axis=1)

    def verify(self, progress: Progress | None = None) -> int:
        """Read every byte and compare its SHA-256 with the manifest; the number of files checked.

        Raises:
            StoreError: the first file that is missing or whose bytes differ.
        """
        files = all_files(self.manifest)
        for done, file in enumerate(files):
            if progress:
                progress(done, len(files), file.path)
            _check_size(self.folder / file.path, file.bytes)
            found = sha256(self.folder / file.path)
            if found != file.sha256:
                raise StoreError(
                    f"{self.folder / file.path} has SHA-256 {found[:12]}...; the manifest wants "
                    f"{file.sha256[:12]}... Restore the file or rebuild the store."
                )
        return len(files)


def open_store(folder: Path | str) -> Store:
    """Open a gradient store (format 1) and check that every file is there in full.

    Sizes and gradient headers are checked; checksums are not (`Store.verify` reads every byte).

    Example:
        >>> store = open_store("data/demo")
        >>> len(store.checkpoints)
        4

    Raises:
        StoreError: the folder is no store, or a file is missing, short or of another shape.
    """
    folder = Path(folder)
    manifest, digest = read_manifest(folder)
    for file in all_files(manifest):
        _check_size(folder / file.path, file.bytes)
    store = Store(folder, manifest, digest)
    for checkpoint in range(len(manifest.checkpoints)):
        for part in range(len(manifest.parts)):
            store.part_rows(part, checkpoint)
        for task in store.task_names:
            store.task_rows(task, checkpoint)
    return store


def _check_size(path: Path, wanted: int) -> None:
    if not path.is_file():
        raise StoreError(
            f"{path} is missing; the manifest lists it. Restore the file or rebuild the store."
        )
    found = path.stat().st_size
    if found != wanted:
        raise StoreError(
            f"{path} is {found:,} bytes; the manifest wants {wanted:,}. "
            "Restore the file or rebuild the store."
        )
