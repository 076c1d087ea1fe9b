"""What a collection is made of, in digests: the same command goes on, another one is refused."""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gtp_core.collect.checkpoints import checkpoints_digest
from gtp_core.collect.model import MODEL_FILES
from gtp_core.collect.pool import Record, in_parts, pool_digest, read_records, sample_table
from gtp_core.collect.settings import CollectSettings
from gtp_core.collect.template import Template
from gtp_core.errors import CollectError, GTPError
from gtp_core.store import write_json
from gtp_core.store.append import write_table

PLAN = ".collect/plan.json"


@dataclass(frozen=True)
class Sources:
    """What the user gave: a model's folder, files of the pool and the tasks, and checkpoints.

    Attributes:
        model_id: what the model is called, as the user wrote it.
        checkpoints: folders of the user's own training; empty for a warm-up.
        adapter: folder of an adapter that the warm-up starts from, instead of a fresh one.
    """

    model: Path
    model_id: str
    pool: tuple[Path, ...]
    tasks: Mapping[str, Path]
    checkpoints: tuple[Path, ...] = ()
    adapter: Path | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is being collected, saved beside it until it is done.

    Attributes:
        settings: all of them.
        digests: SHA-256 of model, template, checkpoints, pool and every task.
        parts: rows and tokens of each new part, by name.
        base: digest of the manifest that is added to; empty for a new store.
    """

    settings: dict[str, Any]
    digests: dict[str, Any]
    parts: dict[str, list[int]] = field(default_factory=dict)
    base: str = ""


def digests_of(sources: Sources, template: Template) -> dict[str, Any]:
    """SHA-256 of everything that a store depends on beside its settings."""
    started = [sources.adapter] if sources.adapter else []
    return {
        "model": model_digest(sources.model),
        "template": template.digest(),
        "checkpoints": checkpoints_digest([*started, *sources.checkpoints]),
        "pool": pool_digest(list(sources.pool)),
        "tasks": {name: pool_digest([path]) for name, path in sources.tasks.items()},
    }


def model_digest(folder: Path) -> str:
    """SHA-256 over a model's weights, configuration and tokenizer, file by file."""
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with open(file, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def saved_plan(folder: Path) -> Plan | None:
    """The plan of a collection that has begun and not ended, or None."""
    try:
        return Plan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise CollectError(
            f"{folder / PLAN} is damaged, so nobody knows what was being collected. "
            "Delete the folder and begin again."
        ) from None


def check_same(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, folder: Path, what: str
) -> None:
    """Refuse when anything differs, and name it.

    Raises:
        CollectError: the first thing that is not what it was.
    """
    for name in wanted:
        if wanted[name] != found.get(name):
            was, now = (_short(v) for v in (found.get(name), wanted[name]))
            raise CollectError(
                f"{what} in {folder} was begun with another {name.replace('_', ' ')} ({was}; now "
                f"{now}), and rows of both cannot be mixed. Give what it was begun with, or "
                "collect into another folder."
            )


def lay_out(
    folder: Path,
    sources: Sources,
    template: Template,
    settings: CollectSettings,
    *,
    first: int = 0,
    taken: frozenset[str] = frozenset(),
) -> dict[str, list[int]]:
    """Write the samples of every new part, numbered from `first`; rows and tokens of each.

    The pool is read once, a part at a time; its size in memory does not matter.

    Raises:
        CollectError: an id that repeats or is `taken` already, or an empty pool.
    """
    records = (r for path in sources.pool for r in read_records(path))
    seen, left = set(taken), settings.limit or sys.maxsize
    parts: dict[str, list[int]] = {}
    try:
        for number, part in enumerate(in_parts(records, settings.part_rows), first):
            part = part[:left]
            left -= len(part)
            if not part:
                break
            _check_ids(part, seen)
            lengths = [len(template.encode(record.content)) for record in part]
            table = sample_table(part, lengths)
            name = f"part-{number:05d}"
            write_table(folder / "samples" / f"{name}.parquet", table)
            parts[name] = [len(part), sum(lengths)]
    except GTPError:
        for name in parts:  # nothing half-made stays beside a store that is added to
            (folder / "samples" / f"{name}.parquet").unlink()
        raise
    if sources.pool and not parts:
        raise CollectError("the pool has no samples; give a file with at least one.")
    return parts


def _check_ids(part: list[Record], seen: set[str]) -> None:
    for record in part:
        if record.id in seen:
            raise CollectError(
                f"sample id {record.id!r} occurs more than once; ids are unique in a store. "
                "Rename the sample, or leave it out."
            )
        seen.add(record.id)


def clear_stale(folder: Path, parts: Sequence[str], tasks: Sequence[str], *, warmup: bool) -> None:
    """Remove gradients that no plan vouches for, so that they are never taken for new ones."""
    patterns = [f"gradients/*/{name}.safetensors" for name in parts]
    patterns += [f"tasks/{name}/*.safetensors" for name in tasks]
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()
    if warmup:
        shutil.rmtree(folder / "warmup", ignore_errors=True)


def save_plan(folder: Path, plan: Plan) -> None:
    """Write the plan whole; from now on the same command goes on with it."""
    write_json(folder / PLAN, vars(plan))


def forget_plan(folder: Path) -> None:
    """The collection is done: nothing but the store is left."""
    shutil.rmtree((folder / PLAN).parent, ignore_errors=True)


def _short(value: Any) -> str:
    text = json.dumps(value) if value is not None else "none"
    return text if len(text) <= 40 else f"{text[:12]}...{text[-6:]}"
