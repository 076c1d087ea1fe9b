"""Gradients of a pool and its tasks at every checkpoint, projected, into a store."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peft import PeftModel

from gtp_core.collect.checkpoints import AdapterState
from gtp_core.collect.encode import Encoded
from gtp_core.collect.gradients import GradientModel
from gtp_core.collect.model import pad_id
from gtp_core.collect.pool import Record, example_table, parse, sample_table
from gtp_core.collect.projection import make_projection
from gtp_core.collect.rows import ROW_KINDS
from gtp_core.collect.template import Template
from gtp_core.collect.work import Collection, Progress, RowMaker, adapter_document
from gtp_core.errors import CollectError, StoreError
from gtp_core.store import Manifest, Store, is_name, written_whole
from gtp_core.store.append import part_paths, publish, write_table
from gtp_core.store.files import map_rows
from gtp_core.store.manifest import MANIFEST, all_files

PRODUCER = {"name": "gtp_core.collect", "version": "2"}
INVALID_ROWS = "invalid.jsonl"


def collect_store(
    model: PeftModel,
    tokenizer: Any,
    checkpoints: Sequence[AdapterState],
    records: Sequence[str],
    tasks: Mapping[str, Sequence[Mapping[str, str]]],
    folder: Path | str,
    *,
    dim: int,
    seed: int = 0,
    gradients: Mapping[str, str] | None = None,
    projection: str = "rademacher",
    name: str = "store",
    model_id: str = "unnamed",
    max_tokens: int = 2048,
    max_batch_tokens: int = 8192,
    part_rows: int = 65_536,
    progress: Progress | None = None,
) -> Store:
    """Collect a store: every sample and every validation example, at every checkpoint.

    Args:
        checkpoints: adapter states of a warm-up, in training order.
        records: the pool, one JSON object a line: id, source, prompt, completion. The lines are
            kept in the store byte for byte.
        tasks: per task name its validation examples: example_id, subtask, prompt, completion.
        dim: length of a projected gradient.
        seed: of the projection.
        gradients: `{"samples": kind, "tasks": kind}`, kinds from ROW_KINDS; default both `adam`.
        projection: `rademacher`, `sjlt`, `none` or `auto`.

    Zero, NaN and infinite gradients go into the store, which flags them.

    Raises:
        CollectError: a record cannot be used, or a gradient kind or projection is unknown.
        StoreError: the folder holds a store already.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        raise StoreError(
            f"{folder} already holds a store; a new one needs an empty folder. "
            "Choose another folder or delete this one."
        )
    kinds = checked_kinds(gradients or {"samples": "adam", "tasks": "adam"})
    template = Template(tokenizer, kind="plain", max_tokens=max_tokens)
    source = GradientModel(model, pad_id=pad_id(tokenizer))
    projected = make_projection(projection, input_dim=source.input_dim, dim=dim, seed=seed)
    collection = Collection(
        folder,
        maker=RowMaker(source, [projected], max_batch_tokens=max_batch_tokens),
        states=checkpoints,
        template=template,
        kinds=kinds,
        parts=_laid_out(folder, records, template, part_rows),
        tasks=write_tasks(folder, _task_records(tasks), template),
    )
    collection.run(collection.units(), progress)
    head = new_manifest(collection, name=name, model_id=model_id, producer=PRODUCER)
    return finish(collection, head)


def new_manifest(
    collection: Collection, *, name: str, model_id: str, producer: Mapping[str, Any]
) -> Manifest:
    """What a store says of itself before it has any part or task."""
    projection = collection.maker.projections[0]
    adapter = adapter_document(collection.maker.source.model)
    return Manifest(
        store_id="",
        name=name,
        n_samples=0,
        dim=projection.dim,
        checkpoints=tuple(state.checkpoint for state in collection.states),
        parts=(),
        tasks=(),
        producer=dict(producer),
        model={"id": model_id, "adapter": adapter},
        gradients=dict(collection.kinds),
        projection=projection.document(),
        invalid={"zero": 0, "nan": 0, "inf": 0},
    )


def finish(collection: Collection, manifest: Manifest) -> Store:
    """Say which rows are invalid and why, and write the manifest that makes a store."""
    why = invalid_rows(collection)
    if why:
        path = collection.folder / INVALID_ROWS
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        lines = [json.dumps(row, ensure_ascii=False) for row in why]
        with written_whole(path) as temporary:
            merged = dict.fromkeys([*before, *lines])  # a command that is repeated adds nothing
            temporary.write_text("".join(f"{line}\n" for line in merged), encoding="utf-8")
    return publish(
        collection.folder, manifest, parts=list(collection.parts), tasks=list(collection.tasks)
    )


def invalid_rows(collection: Collection) -> list[dict[str, Any]]:
    """Samples and examples without a usable gradient: where they are, and the reason.

    Rows are `{"part" or "task", "row", "id", "reason", "checkpoints"}`.
    """
    checkpoints = [state.checkpoint for state in collection.states]
    dim = collection.maker.projections[0].dim
    found = []
    for name in collection.parts:
        paths = [collection.folder / path for path in part_paths(name, checkpoints)]
        table = pl.read_parquet(paths[0], glob=False, columns=["sample_id", "record"])
        norms = np.stack([map_rows(p, rows=table.height, dim=dim)[1] for p in paths[1:]], axis=1)
        rows = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)).all(axis=1)).tolist()
        texts = collection.part_texts(name, rows)
        for row, text in zip(rows, texts, strict=True):
            found.append(
                {
                    "part": name,
                    "row": row,
                    "id": table["sample_id"][row],
                    "reason": _reason(norms[row], text),
                    "checkpoints": [
                        c.name
                        for c, norm in zip(checkpoints, norms[row], strict=True)
                        if not (np.isfinite(norm) and norm > 0)
                    ],
                }
            )
    return found


def facts(store: Store, seconds: float, tokens: int) -> dict[str, Any]:
    """What a command says of the store it has made, and how fast."""
    manifest = store.manifest
    return {
        "store": str(store.folder),
        "store_id": store.store_id,
        "n_samples": store.n_samples,
        "tasks": list(store.task_names),
        "checkpoints": [vars(checkpoint) for checkpoint in store.checkpoints],
        "bytes": sum(file.bytes for file in all_files(manifest)),
        "invalid": manifest.invalid,
        "projection": manifest.projection,
        "projection_error": manifest.producer.get("projection_error"),
        "seconds": round(seconds, 1),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
    }


def checked_kinds(gradients: Mapping[str, str]) -> dict[str, str]:
    """Kinds of the rows of samples and tasks; an unknown one is refused."""
    kinds = {who: gradients.get(who, "adam") for who in ("samples", "tasks")}
    for who, kind in kinds.items():
        if kind not in ROW_KINDS:
            raise CollectError(
                f"gradient kind of {who} is {kind!r}; it can be collected as one of "
                f"{', '.join(ROW_KINDS)}."
            )
    return kinds


def write_tasks(
    folder: Path, tasks: Mapping[str, Sequence[Record]], template: Template
) -> dict[str, list[Encoded]]:
    """Write every task's examples; they as the model reads them."""
    found = {}
    for name, records in tasks.items():
        if not is_name(name):
            raise CollectError(
                f"task name {name!r} is not 1 to 80 letters, digits, '.', '_' or '-'. Rename it."
            )
        if not records:
            raise CollectError(f"task {name} has no examples; give a file with at least two.")
        write_table(folder / "tasks" / name / "examples.parquet", example_table(list(records)))
        found[name] = [template.encode(record.content) for record in records]
    return found


def libraries() -> dict[str, str]:
    """Versions of what computes gradients: other versions may round otherwise."""
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")}


def _laid_out(
    folder: Path, records: Sequence[str], template: Template, part_rows: int
) -> dict[str, int]:
    parts: dict[str, int] = {}
    for start in range(0, len(records), part_rows):
        found = [
            parse(_json(line), line, path=Path("the pool"), number=start + at)
            for at, line in enumerate(records[start : start + part_rows])
        ]
        lengths = [len(template.encode(record.content)) for record in found]
        table = sample_table(found, lengths)
        name = f"part-{len(parts):05d}"
        write_table(folder / "samples" / f"{name}.parquet", table)
        parts[name] = sum(lengths)
    return parts


def _task_records(
    tasks: Mapping[str, Sequence[Mapping[str, str]]],
) -> dict[str, list[Record]]:
    return {
        name: [
            parse(dict(e), json.dumps(dict(e)), path=Path(f"task {name}"), number=at)
            for at, e in enumerate(examples)
        ]
        for name, examples in tasks.items()
    }


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _reason(norms: np.ndarray, text: Encoded) -> str:
    if text.n_learned == 0:
        return "completion cut away"
    if np.isnan(norms).any():
        return "NaN gradient"
    return "infinite gradient" if np.isinf(norms).any() else "zero gradient"
