"""dattri (Deng et al. 2024): raw chunks with a JSON beside each, in a cache folder."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from gtp_core.errors import SourceError
from gtp_core.importers.arrays import matrix_rows
from gtp_core.importers.common import facts_of, store_name, tasks_of
from gtp_core.importers.folders import inside, pairs
from gtp_core.importers.matrices import FileRows, is_npy, raw_rows, stacked
from gtp_core.importers.plan import Plan
from gtp_core.importers.register import Asked, importer
from gtp_core.importers.steps import checkpoints_of
from gtp_core.importers.texts import sample_files
from gtp_core.store import RowSource

_FOLDERS = {"ifvp": "ifvp", "gradients": "grad"}
_TYPES = {"uint16": "bfloat16", "float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
_CHECKPOINT = "checkpoint"


@importer("dattri", signs=("batch_metadata.json",))
def read_dattri(source: Path, asked: Asked) -> Plan:
    """dattri: the disk cache of LoGra and FactGraSS, with task rows given as files."""
    rows = asked.rows or "ifvp"
    if rows not in _FOLDERS:
        raise SourceError(f"--rows {rows!r} is none of {', '.join(_FOLDERS)}. Choose one of these.")
    batches = _batches(source)
    samples = _chunks(source, rows, batches)
    found: dict[str, dict[str, RowSource]] = {
        name: {_CHECKPOINT: matrix_rows(Path(path))}
        for name, path in pairs("--task-gradients", asked.task_gradients).items()
    }
    tasks, said_of_tasks = tasks_of(found, asked)
    checkpoints, said = checkpoints_of([(_CHECKPOINT, 0)], asked)
    texts = sample_files(asked.samples, ["train"], line_ids=asked.ids == "line")
    facts = facts_of(asked, dim=samples.shape[1])
    facts["declared"] |= {**said, **said_of_tasks}
    facts["declared"]["samples"] = [part.path.name for part in texts.parts]
    if asked.task_gradients:
        facts["declared"]["task_gradients"] = [
            f"{name}={Path(path).name}"
            for name, path in pairs("--task-gradients", asked.task_gradients).items()
        ]
    return Plan(
        format="dattri",
        name=store_name(source, asked),
        checkpoints=checkpoints,
        samples=texts,
        gradients={_CHECKPOINT: samples},
        tasks=tasks,
        producer={"name": "dattri", "version": None, "rows": rows},
        notes=(_NOTE,) if rows == "ifvp" else (),
        inputs=tuple(sorted(source.glob("*/*.mmap"))),
        **facts,
    )


_NOTE = (
    "Sample rows are dattri's inverse-Fisher products: their products with the tasks' rows are "
    "dattri's scores; have gradients raw to rank by them: by angle, lengths do not count."
)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise SourceError(f"{path} is missing or no JSON object. Build the cache again.") from None
    return document


def _batches(source: Path) -> dict[int, tuple[int, int]]:
    """Per batch its first sample and how many it has."""
    path = source / "batch_metadata.json"
    if not path.is_file():
        raise SourceError(
            f"{source} has no batch_metadata.json, so it is no cache of dattri. Give the "
            "cache_dir of a LoGra or FactGraSS attributor; for TRAK's maps use the format trak."
        )
    try:
        info = _document(path)["batch_info"]
        found = {int(k): (int(v["start_idx"]), int(v["sample_count"])) for k, v in info.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceError(f"{path} has no usable batch_info. Build the cache again.") from None
    return dict(sorted(found.items()))


def _chunks(source: Path, rows: str, batches: dict[int, tuple[int, int]]) -> RowSource:
    """All chunks in the order of their batches (their names sort otherwise)."""
    folder = source / _FOLDERS[rows]
    found = [_chunk(path, rows) for path in folder.glob(f"chunk_{rows}_*_metadata.json")]
    found.sort(key=lambda entry: entry[0])
    if not found:
        raise SourceError(f"{folder} holds no chunk of {rows}. Choose another kind with --rows.")
    covered = [0, *(last + 1 for _, last, _ in found)]
    starts = [first for first, _, _ in found] + [len(batches)]
    if covered != starts or any(a >= b for a, b in pairwise(starts)):
        raise SourceError(
            f"the chunks in {folder} begin at batches {starts[:-1]} and end at {covered[1:]}; they "
            f"must cover the {len(batches):,} batches one after the other. Finish the cache first."
        )
    for first, last, matrix in found:
        wanted = sum(batches.get(batch, (0, 0))[1] for batch in range(first, last + 1))
        if wanted != matrix.rows:
            raise SourceError(
                f"{matrix.path} has {matrix.rows:,} rows; batches {first} to {last} have "
                f"{wanted:,} samples. Build the cache again."
            )
    return stacked([matrix for _, _, matrix in found], f"chunks in {folder}")


def _chunk(path: Path, rows: str) -> tuple[int, int, FileRows]:
    document = _document(path)
    try:
        first, last = int(document["batch_start"]), int(document["batch_end"])
        count, dim = (int(size) for size in document["shape"])
        kind = _TYPES[document["storage_dtype"]]
        if document["data_type"] != rows or count < 0 or dim < 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise SourceError(
            f"{path} does not say batches, shape and a known storage_dtype. Build the cache again."
        ) from None
    data = inside(path.parent, f"{document.get('chunk_filename')}.mmap")
    if data.is_file() and is_npy(data):
        raise SourceError(
            f"{data} is an .npy map, as TRAK writes; dattri's are raw. Mend the cache."
        )
    return first, last, raw_rows(data, kind=kind, rows=count, dim=dim)
