"""What an importer found in a source: everything a store needs, and nothing written yet."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from gtp_core.errors import SourceError
from gtp_core.store import Checkpoint, RowSource, is_name
from gtp_core.store.manifest import GRADIENT_KINDS


class Texts(Protocol):
    """Samples in the order of the rows."""

    @property
    def rows(self) -> int: ...

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Name and rows of each training file, in order."""

    @property
    def tokens_known(self) -> bool: ...

    def tables(self, size: int) -> Iterator[pl.DataFrame]:
        """Tables of SAMPLE_COLUMNS, `size` rows each."""


@dataclass(frozen=True)
class FoundTask:
    """A task: its examples (EXAMPLE_COLUMNS) and per checkpoint its rows."""

    name: str
    examples: pl.DataFrame
    gradients: Mapping[str, RowSource]


@dataclass(frozen=True)
class Plan:
    """A foreign store, understood.

    Attributes:
        format: of which importer.
        name: of the store to be.
        checkpoints: in training order.
        samples: the pool's texts.
        gradients: per checkpoint name, the samples' rows (n_samples, dim).
        tasks: in order.
        kinds: gradient kinds of samples and tasks.
        projection: type, seed, input_dim, dim as far as known.
        model: id and adapter as far as known.
        producer: name and version of the program that made the source.
        declared: what the user said and the source did not.
        unsaid: what neither said, each with the option that would.
        notes: what is to be known of the source, one sentence each.
        source: the folder, in which nothing is ever written.
        inputs: files that are read, which tell whether an unfinished import may go on.
    """

    format: str
    name: str
    checkpoints: tuple[Checkpoint, ...]
    samples: Texts
    gradients: Mapping[str, RowSource]
    tasks: tuple[FoundTask, ...]
    kinds: Mapping[str, str]
    projection: Mapping[str, Any]
    model: Mapping[str, Any]
    producer: Mapping[str, Any]
    declared: Mapping[str, Any] = field(default_factory=dict)
    unsaid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    source: Path | None = None

    @property
    def dim(self) -> int:
        return next(iter(self.gradients.values())).shape[1]

    @property
    def bytes_out(self) -> int:
        """Bytes of the store's gradients, about."""
        rows = self.samples.rows + sum(task.examples.height for task in self.tasks)
        return rows * len(self.checkpoints) * (self.dim * 2 + 4)

    def lines(self) -> list[str]:
        """The plan in words, for a preview."""
        steps = ", ".join(f"{c.name} (step size {c.step_size:g})" for c in self.checkpoints)
        files = ", ".join(f"{name} {rows:,}" for name, rows in self.samples.files)
        lines = [
            f"{self.format}: {self.samples.rows:,} samples ({files}) x {len(self.checkpoints)} "
            f"checkpoints x {self.dim:,} dimensions, {self.bytes_out / 1e6:,.1f} MB as a store",
            f"checkpoints: {steps}",
            *(
                f"task {task.name}: {task.examples.height:,} examples in "
                f"{task.examples['subtask'].n_unique():,} subtasks"
                for task in self.tasks
            ),
            f"gradients: {self.kinds['samples']} (samples), {self.kinds['tasks']} (tasks); "
            f"projection: {self.projection.get('type') or 'not said'}",
            *(f"declared by you: {key} = {value}" for key, value in self.declared.items()),
        ]
        if self.unsaid:
            lines.append(f"nobody says: {', '.join(self.unsaid)}")
        return lines + list(self.notes)

    def checked(self) -> "Plan":
        """The plan, if rows, dimensions and names fit together.

        Raises:
            SourceError: what does not fit.
        """
        self._check_shapes()
        for kind in self.kinds.values():
            if kind not in GRADIENT_KINDS:
                raise SourceError(
                    f"gradient kind {kind!r} is unknown; it is one of {', '.join(GRADIENT_KINDS)}. "
                    "Choose one."
                )
        names = [self.name, *(c.name for c in self.checkpoints), *(t.name for t in self.tasks)]
        bad = next((name for name in names if not is_name(name)), None)
        if bad is not None:
            raise SourceError(
                f"name {bad!r} is not 1 to 80 letters, digits, '.', '_' or '-'. "
                "Rename it, or give another with --name, --task or the patterns."
            )
        sizes = [c.step_size for c in self.checkpoints]
        if not all(math.isfinite(size) and size >= 0 for size in sizes) or not sum(sizes) > 0:
            raise SourceError(
                f"step sizes {sizes} cannot weigh checkpoints; they must be 0 or more, one of "
                "them above 0. Give others with --step-size."
            )
        return self if self.tasks else replace(self, notes=(*self.notes, _NO_TASK))

    def _check_shapes(self) -> None:
        dim = self.dim
        wanted = [("the samples", self.samples.rows, self.gradients)]
        wanted += [(f"task {t.name}", t.examples.height, t.gradients) for t in self.tasks]
        for who, rows, gradients in wanted:
            for name, matrix in gradients.items():
                if matrix.shape[1] != dim:
                    raise SourceError(
                        f"{who} have {matrix.shape[1]:,} dimensions at {name}; the samples have "
                        f"{dim:,} at the first checkpoint, so they were projected differently. "
                        "Build them with the same projection."
                    )
                if matrix.shape[0] != rows:
                    raise SourceError(
                        f"{who} have {matrix.shape[0]:,} rows of gradients at {name} and "
                        f"{rows:,} texts; every row needs its text. Give the files that were "
                        "used to build the source, in the same order."
                    )
        if self.samples.rows == 0 or dim == 0:
            raise SourceError("the source holds no rows of gradients. Give one that does.")


_NO_TASK = "No task was found: import one too, or nothing can be chosen."
