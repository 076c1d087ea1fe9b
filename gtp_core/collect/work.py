"""The work of collecting: one part or task at one checkpoint after the other, each file whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from gtp_core.collect.checkpoints import AdapterState
from gtp_core.collect.encode import Encoded, batches
from gtp_core.collect.gradients import GradientModel
from gtp_core.collect.pool import content_of
from gtp_core.collect.projection import Projection
from gtp_core.collect.rows import Moments, gradient_rows
from gtp_core.collect.template import Template
from gtp_core.collect.warmup import load_adapter
from gtp_core.store.append import part_paths, task_paths, write_gradients

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done or not: the gradients of one file.

    Attributes:
        path: the file, relative to the store.
        of: name of the part or task.
        kind: of its rows.
        at: position of the checkpoint.
        tokens: that the model reads for it.
    """

    path: str
    of: str
    kind: str
    at: int
    tokens: int


class RowMaker:
    """Projected rows of encoded samples, made batch by batch at one checkpoint at a time."""

    def __init__(
        self,
        source: GradientModel,
        projections: Sequence[Projection],
        *,
        max_batch_tokens: int,
        max_batch_samples: int | None = None,
    ) -> None:
        self.source = source
        self.projections = projections
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_samples = max_batch_samples
        self._state: AdapterState | None = None
        self._moments: Moments | None = None

    def move_to(self, state: AdapterState) -> None:
        """Give the model the weights of a checkpoint, and take its moments."""
        if state is not self._state:
            load_adapter(self.source.model, state)
            self._moments = state.moments(self.source.names, self.source.device)
            self._state = state

    def leave(self) -> None:
        """Take the weights anew the next time, for another maker moves the model meanwhile."""
        self._state = None

    def rows(
        self, texts: Sequence[Encoded], kind: str, *, on_batch: Callable[[int], None] | None = None
    ) -> list[np.ndarray]:
        """Per projection, rows (n, dim) float32 in the order of the texts.

        A gradient that is zero gives a zero row whatever the kind: with momentum in it, the row of
        a sample that teaches nothing would look like any other. One with a NaN or an infinite
        number gives a row of these.
        """
        out = [np.zeros((len(texts), p.dim), np.float32) for p in self.projections]
        for batch in self._batches(texts):
            found = self._batch([texts[i] for i in batch], kind)
            for rows, projected in zip(out, found, strict=True):
                rows[batch] = projected.cpu().numpy()
            if on_batch:
                on_batch(sum(len(texts[i]) for i in batch))
        return out

    def _batch(self, texts: Sequence[Encoded], kind: str) -> list[torch.Tensor]:
        device = self.source.device
        sums = [torch.zeros((len(texts), p.dim), device=device) for p in self.projections]
        squares = torch.zeros(len(texts), dtype=torch.float64, device=device)

        def take(columns: slice, raw: torch.Tensor) -> None:
            squares.add_(torch.linalg.vector_norm(raw, dim=1).double().square())
            rows = gradient_rows(raw, kind=kind, moments=self._moments, columns=columns).float()
            for projection, out in zip(self.projections, sums, strict=True):
                projection.add(rows, start=columns.start, out=out)

        self.source.each_group(texts, take)
        for out in sums:
            out[squares == 0] = 0
            out[~squares.isfinite()] = squares[~squares.isfinite(), None].float()
        return sums

    def _batches(self, texts: Sequence[Encoded]) -> Iterator[list[int]]:
        for batch in batches(texts, max_batch_tokens=self.max_batch_tokens):
            step = self.max_batch_samples or len(batch)
            for start in range(0, len(batch), step):
                yield batch[start : start + step]


class Collection:
    """Everything that gradients are made of, and where their files go."""

    def __init__(
        self,
        folder: Path,
        *,
        maker: RowMaker,
        states: Sequence[AdapterState],
        template: Template,
        kinds: Mapping[str, str],
        parts: Mapping[str, int],
        tasks: Mapping[str, Sequence[Encoded]],
    ) -> None:
        """`parts` says how many tokens each has; their samples are in place already."""
        self.folder = folder
        self.maker = maker
        self.states = states
        self.template = template
        self.kinds = kinds
        self.parts = parts
        self.tasks = tasks

    def units(self) -> list[Unit]:
        """All work, in order: a part at every checkpoint, then the next."""
        checkpoints = [state.checkpoint for state in self.states]
        found = []
        for name, tokens in self.parts.items():
            paths = part_paths(name, checkpoints)[1:]
            found += [Unit(p, name, self.kinds["samples"], c, tokens) for c, p in enumerate(paths)]
        for name, texts in self.tasks.items():
            tokens, paths = sum(map(len, texts)), task_paths(name, checkpoints)[1:]
            found += [Unit(p, name, self.kinds["tasks"], c, tokens) for c, p in enumerate(paths)]
        return found

    def run(self, units: Sequence[Unit], progress: Progress | None = None) -> None:
        """Make the files of these units that are not there yet."""
        todo = [unit for unit in units if not (self.folder / unit.path).is_file()]
        total, done = sum(unit.tokens for unit in todo), 0
        texts: tuple[str, Sequence[Encoded]] = ("", [])
        for unit in todo:
            if unit.of != texts[0]:
                texts = (unit.of, self._texts(unit))
            state = self.states[unit.at]
            self.maker.move_to(state)
            ahead = _Ahead(progress, done, total, f"tokens, {unit.of} at {state.checkpoint.name}")
            rows = self.maker.rows(texts[1], unit.kind, on_batch=ahead)[0]
            write_gradients(self.folder / unit.path, rows)
            done += unit.tokens

    def part_texts(self, name: str, rows: Sequence[int] | None = None) -> list[Encoded]:
        """A part's samples as the model reads them; all of them, or some rows."""
        lines = pl.read_parquet(
            self.folder / "samples" / f"{name}.parquet", glob=False, columns=["record"]
        )["record"]
        wanted = lines if rows is None else lines.gather(list(rows))
        return [self.template.encode(content_of(line)) for line in wanted]

    def _texts(self, unit: Unit) -> Sequence[Encoded]:
        return self.tasks[unit.of] if unit.path.startswith("tasks/") else self.part_texts(unit.of)


class _Ahead:
    """Progress in tokens over all units, told batch by batch."""

    def __init__(self, progress: Progress | None, done: int, total: int, what: str) -> None:
        self._progress = progress
        self._done = done
        self._total = total
        self._what = what

    def __call__(self, tokens: int) -> None:
        self._done += tokens
        if self._progress:
            self._progress(self._done, self._total, self._what)


def adapter_document(model: Any) -> dict[str, Any]:
    """What the manifest says of the adapter."""
    config = model.peft_config[model.active_adapter]
    targets = config.target_modules
    return {
        "type": "lora",
        "rank": config.r,
        "alpha": config.lora_alpha,
        "target_modules": [targets] if isinstance(targets, str) else sorted(targets),
    }
