"""Writing what was found, part by part: resumable after a kill, whole or not there at the end."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl

from gtp_core.errors import GTPError, SourceError
from gtp_core.importers.plan import Plan
from gtp_core.locks import hold
from gtp_core.store import File, Part, RowSource, Store, StoreWriter, open_store
from gtp_core.store.files import map_rows
from gtp_core.store.manifest import MANIFEST

_PART_BYTES = 96 << 20  # of float16 in one gradient file; two are in memory at a time
_MOST_ROWS = 65_536
_JOURNAL = "import.jsonl"
_SUSPICIOUS = 16  # numbers of a row that tell it from others
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Slice:
    """Rows `start` to `stop` of a matrix, as a matrix."""

    base: RowSource
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stop - self.start, self.base.shape[1]

    def __getitem__(self, part: slice) -> Any:
        low, high, _ = part.indices(self.stop - self.start)
        return self.base[self.start + low : self.start + high]


def import_store(plan: Plan, out: Path | str, *, progress: Progress | None = None) -> Store:
    """Write a foreign store as one of ours; the source is only read.

    It is made in a hidden folder beside `out` and renamed when complete. A kill leaves that
    folder, and the same import begun again goes on from the last finished part; an error that
    the user has to mend takes it away.

    Args:
        plan: as `survey` found it.
        out: the store's folder; it must not exist, or be empty.
        progress: called as `progress(done, total, what)` in samples.

    Raises:
        SourceError: the folder is taken, or the source does not hold what was planned.
        StoreError: repeated ids.
    """
    out = Path(out)
    work = out.with_name(f".{out.name}.importing")
    _refuse_taken(out, plan)
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work) as journal:
            _written(plan, work, journal, progress)
            if out.is_dir():
                out.rmdir()
            journal.unlink()
            os.replace(work, out)
    except OSError as error:
        raise SourceError(
            f"{error.filename or out} cannot be read or written ({error.strerror}). "
            "Mend that and begin again."
        ) from None
    return open_store(out)


def _refuse_taken(out: Path, plan: Plan) -> None:
    try:
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    except OSError:
        taken = True
    if taken:
        raise SourceError(f"{out} exists already. Choose another folder for the store.")
    if plan.source is not None and out.resolve().is_relative_to(plan.source.resolve()):
        raise SourceError(f"{out} lies in the source, which is only read. Choose another folder.")
    if out.name in ("", ".", ".."):
        raise SourceError(f"{str(out)!r} cannot be made a store. Give the path of a new folder.")


@contextmanager
def _alone(work: Path) -> Iterator[Path]:
    """The journal, locked: a second import to the same place is refused.

    An error takes the folder away, but only if it is ours.
    """

    def refuse() -> NoReturn:
        raise SourceError(
            f"another import is writing to {work}. Wait for it, or choose another folder."
        )

    path = work / _JOURNAL
    with hold(path, refuse):
        try:
            yield path
        except (GTPError, OSError):
            shutil.rmtree(work, ignore_errors=True)
            raise


def _written(plan: Plan, work: Path, journal: Path, progress: Progress | None) -> None:
    size = part_rows(plan)
    digest = _digest(plan, size)
    done = _finished_parts(journal, digest)
    if not done:
        _begin(work, journal, digest)
    (work / MANIFEST).unlink(missing_ok=True)
    writer = _writer(plan, work)
    row, total = 0, plan.samples.rows
    for number, table in enumerate(plan.samples.tables(size)):
        stop = row + table.height
        if number < len(done):
            writer.keep_part(table, done[number])
        else:
            part = writer.add_part(table, _cut(plan.gradients, row, stop))
            _note(journal, asdict(part))
        row = stop
        if progress:
            progress(row, total, f"samples of {plan.name}")
    if row != total:
        raise SourceError(f"{row:,} samples were read where {total:,} were counted. Try again.")
    for task in plan.tasks:
        writer.add_task(task.name, task.examples, task.gradients)
    writer.say(notes=[*plan.notes, *_found_while_writing(plan, work, writer.parts)])
    writer.finish()


def part_rows(plan: Plan) -> int:
    """Samples per part: as many as keep a gradient file within its bytes."""
    return max(1, min(_MOST_ROWS, _PART_BYTES // (2 * plan.dim)))


def _writer(plan: Plan, work: Path) -> StoreWriter:
    return StoreWriter(
        work,
        name=plan.name,
        dim=plan.dim,
        checkpoints=plan.checkpoints,
        gradients=plan.kinds,
        projection=plan.projection,
        model=plan.model,
        producer={**plan.producer, "format": plan.format, "files": _files(plan)},
        declared=plan.declared,
    )


def _files(plan: Plan) -> list[dict[str, Any]]:
    return [{"name": name, "rows": rows} for name, rows in plan.samples.files]


def _cut(gradients: Mapping[str, RowSource], start: int, stop: int) -> dict[str, RowSource]:
    return {name: _Slice(matrix, start, stop) for name, matrix in gradients.items()}


def _digest(plan: Plan, size: int) -> str:
    """What an unfinished import must share with this one to be gone on with."""
    files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in plan.inputs]
    told = (plan.lines(), plan.producer, plan.name, size, files)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _finished_parts(journal: Path, digest: str) -> list[Part]:
    """Parts that an earlier attempt at the same import finished; a line cut short ends them."""
    lines = journal.read_bytes().split(b"\n")
    try:
        if json.loads(lines[0]) != {"import": digest}:
            return []
    except ValueError:
        return []
    done = []
    for line in lines[1:-1]:
        try:
            entry = json.loads(line)
            files = tuple(File(**file) for file in entry["files"])
        except (ValueError, KeyError, TypeError):
            break
        done.append(Part(entry["name"], entry["rows"], files))
    return done


def _begin(work: Path, journal: Path, digest: str) -> None:
    for path in work.iterdir():
        if path != journal:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    journal.write_bytes(b"")
    _note(journal, {"import": digest})


def _note(journal: Path, entry: object) -> None:
    """One more line in the journal, on disk before anything relies on it."""
    with open(journal, "ab") as handle:
        handle.write(json.dumps(entry).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())


def _found_while_writing(plan: Plan, work: Path, parts: tuple[Part, ...]) -> list[str]:
    """What only the rows show, one sentence each."""
    notes = []
    if not plan.samples.tokens_known:
        notes.append("Token counts are estimates: four bytes of text each.")
    same = _same_rows(work, parts, plan.dim)
    if same:
        notes.append(
            f"{same:,} samples share their gradient exactly with a sample of other text, as "
            "samples do whose completion was cut away: look at them before you train on them."
        )
    return notes


def _same_rows(work: Path, parts: tuple[Part, ...], dim: int) -> int:
    """Samples whose row at the first checkpoint is another's whose texts differ."""
    tables = []
    for part in parts:
        texts = pl.read_parquet(work / part.files[0].path, columns=["prompt", "completion"])
        unit, norm = map_rows(work / part.files[1].path, rows=part.rows, dim=dim)
        heads = np.ascontiguousarray(unit[:, :_SUSPICIOUS]).view(np.uint16).astype(np.uint64)
        mixed = heads @ _mixing(heads.shape[1]) + np.array(norm).view(np.uint32)
        usable = np.isfinite(norm) & (norm > 0)
        table = pl.DataFrame({"row": mixed, "text": texts.hash_rows()})
        tables.append(table.filter(pl.Series(usable)))
    groups = pl.concat(tables).group_by("row").agg(pl.len(), pl.col("text").n_unique())
    return int(groups.filter(pl.col("text") > 1)["len"].sum())


def _mixing(count: int) -> np.ndarray:
    """Odd 64-bit factors that make one number of several."""
    return np.random.default_rng(0).integers(1, 1 << 63, count, dtype=np.uint64) * 2 + 1
