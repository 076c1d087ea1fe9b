"""bergson (EleutherAI): one index folder per data set and checkpoint, all versions since 0.4.6."""

import fnmatch
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gtp_core.errors import SourceError
from gtp_core.importers.common import facts_of, store_name, tasks_of
from gtp_core.importers.folders import inside, listed, matcher, pairs
from gtp_core.importers.matrices import Scaled, Summed, float_type, raw_rows
from gtp_core.importers.plan import Plan
from gtp_core.importers.register import Asked, importer
from gtp_core.importers.steps import checkpoints_of
from gtp_core.importers.texts import (
    SampleFiles,
    TextFile,
    count_records,
    prompt_and_completion,
    sample_files,
)
from gtp_core.store import RowSource

_USUAL = ("{name}-ckpt{step}", "{name}-checkpoint-{step}", "checkpoint-{step}/{name}", "{name}")
_DATA = ("gradients.bin", "token_gradients.bin")
_PROJECTION = (
    "projection_dim",
    "projection_type",
    "projection_target",
    "projection_scale",
    "projection_seed",
    "projection_version",
    "reshape_to_square",
    "include_bias",
)


@dataclass(frozen=True)
class _Index:
    """One index folder, as its JSON and YAML describe it."""

    path: Path
    items: int
    sizes: Mapping[str, int]
    gradients: RowSource
    projection: Mapping[str, Any]
    build: Mapping[str, Any]
    version: str | None


@importer("bergson", signs=("**/gradients.bin", "**/token_gradients.bin"))
def read_bergson(source: Path, asked: Asked) -> Plan:
    """bergson: one index folder per data set and checkpoint, global or per module."""
    folders = _index_folders(source)
    train, tasks = _who_is_who(source, folders, asked)
    steps = sorted(train)
    names = [f"step-{step}" if len(steps) > 1 or step else "checkpoint" for step in steps]
    pool = [_read(train[step], asked) for step in steps]
    indexes = {
        name: [_read(_at(name, at, step), asked) for step in steps] for name, at in tasks.items()
    }
    everything = [*pool, *(index for some in indexes.values() for index in some)]
    _refuse_mixed(everything)
    texts = _texts(pool[0], asked)
    gradients = dict(zip(names, (index.gradients for index in pool), strict=True))
    found = {
        name: dict(zip(names, (index.gradients for index in some), strict=True))
        for name, some in indexes.items()
    }
    known = {name: records for name, some in indexes.items() if (records := _examples(some[0]))}
    wanted, said_of_tasks = tasks_of(found, asked, known=known)
    checkpoints, said = checkpoints_of(list(zip(names, steps, strict=True)), asked)
    facts = _facts(pool[0], indexes, asked)
    facts["declared"] |= {**said, **said_of_tasks}
    if asked.samples:
        facts["declared"]["samples"] = [part.path.name for part in texts.parts]
    if asked.train_pattern or asked.task_pattern:
        facts["declared"]["patterns"] = [asked.train_pattern, asked.task_pattern]
    if asked.module:
        facts["declared"]["modules"] = list(asked.module)
    return Plan(
        format="bergson",
        name=store_name(source, asked),
        checkpoints=checkpoints,
        samples=texts,
        gradients=gradients,
        tasks=wanted,
        producer={"name": "bergson", "version": pool[0].version},
        notes=_notes(pool),
        inputs=tuple(file for i in everything for file in (_data_of(i.path), i.path / "info.json")),
        **facts,
    )


def _data_of(folder: Path) -> Path:
    """The file of rows; 0.10 kept those per token under a name of their own."""
    return next((folder / name for name in _DATA if (folder / name).is_file()), folder / _DATA[0])


def _index_folders(source: Path) -> list[Path]:
    found = sorted({path.parent for name in _DATA for path in source.rglob(name)})
    if not found:
        raise SourceError(
            f"{source} holds no gradients.bin. Give the folder that bergson's run paths lie in."
        )
    return found


def _who_is_who(
    source: Path, folders: Sequence[Path], asked: Asked
) -> tuple[dict[int, Path], dict[str, dict[int, Path]]]:
    """The samples' folder per step, and the tasks'."""
    by_name: dict[str, dict[int, Path]] = defaultdict(dict)
    train: dict[int, Path] = {}
    for path in folders:
        place = "." if path == source else path.relative_to(source).as_posix()
        is_train, name, step = _role(place, asked)
        if name is None:
            continue
        into = train if is_train else by_name[name]
        if step in into:
            raise SourceError(
                f"{into[step]} and {path} both fit as {name} at step {step}. "
                "Give --train-pattern and --task-pattern that tell them apart."
            )
        into[step] = path
    wanted = [text.partition("=")[0] for text in asked.task]
    kept = {name: at for name, at in sorted(by_name.items()) if not wanted or name in wanted}
    for path in [*train.values(), *(path for at in kept.values() for path in at.values())]:
        if path.suffix == ".part" or any(p.suffix == ".part" for p in path.parents):
            raise SourceError(
                f"{path} ends in .part, so bergson did not finish it and its rows are partly "
                "empty. Build it again."
            )
    if not train:
        names = [path.relative_to(source).as_posix() for path in folders]
        raise SourceError(
            f"nothing says which of {listed(names)} holds the samples. Give --train-pattern like "
            "'train-ckpt{step}' and --task-pattern like '{name}-ckpt{step}'."
        )
    return train, kept


def _role(place: str, asked: Asked) -> tuple[bool, str | None, int]:
    """Whether a folder is the samples', of which name and step; name None leaves it aside."""
    bare = place.removesuffix(".part")
    if asked.train_pattern and (fits := matcher(asked.train_pattern).fullmatch(bare)):
        return True, "train", int(fits.groupdict().get("step", 0))
    patterns = (asked.task_pattern,) if asked.task_pattern else _USUAL
    for pattern in patterns:
        if fits := matcher(pattern).fullmatch(bare):
            parts = fits.groupdict()
            name = parts.get("name", "task")
            is_train = not asked.train_pattern and (name.startswith("train") or bare == ".")
            return is_train, name, int(parts.get("step", 0))
    return False, None, 0


def _at(name: str, folders: Mapping[int, Path], step: int) -> Path:
    if step in folders:
        return folders[step]
    raise SourceError(
        f"task {name} has no folder at step {step}, the samples have. Build it, or choose the "
        "tasks with --task."
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SourceError(f"{path} is missing. Build the index again.") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceError(f"{path} is no JSON object. Build the index again.")
    return document


def _described(folder: Path, name: str) -> dict[str, Any]:
    """A configuration under either of the names it had: YAML since 0.10, JSON before."""
    if (folder / f"{name}.json").is_file():
        return _json(folder / f"{name}.json")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        return {}
    try:
        document = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceError(f"{path} is no usable YAML. Build the index again.")
    return document


def _read(folder: Path, asked: Asked) -> _Index:
    info = _json(folder / "info.json")
    try:
        rows: Any = info.get("num_grads", info.get("total_tokens"))
        sizes = info["grad_sizes"]
        items = info.get("num_items", rows)
        if not all(_count(v) for v in (rows, items, *sizes.values())):
            raise ValueError
    except (KeyError, ValueError, AttributeError):
        raise SourceError(
            f"{folder / 'info.json'} does not say num_grads and grad_sizes. Build the index again."
        ) from None
    kind = float_type(info.get("base_dtype"), folder / "info.json")
    dim = sum(sizes.values())
    base: RowSource = raw_rows(_data_of(folder), kind=kind, rows=rows, dim=dim)
    if info.get("attribute_tokens") or (folder / "offsets.npy").is_file():
        base, items = _summed(folder, base), items
    elif items != rows:
        raise SourceError(
            f"{folder} has {rows:,} rows for {items:,} items and no offsets.npy that joins them. "
            "Build the index again."
        )
    if base.shape[0] != items and "num_items" in info:
        raise SourceError(
            f"{folder / 'offsets.npy'} joins {base.shape[0]:,} items; info.json says {items:,}. "
            "Build the index again."
        )
    if asked.module:
        base = _weighted(base, sizes, asked.module)
    build, version = _build_of(folder)
    projection = _described(folder, "processor_config")
    return _Index(folder, base.shape[0], sizes, base, projection, build, version)


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _summed(folder: Path, base: RowSource) -> Summed:
    """Per-token rows summed to samples by offsets.npy (n_items + 1)."""
    path = folder / "offsets.npy"
    try:
        offsets = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError):
        raise SourceError(f"{path} is missing or no .npy file. Build the index again.") from None
    good = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 0
    if good:
        offsets = offsets.astype(np.int64)
        good = (
            offsets[0] == 0 and offsets[-1] == base.shape[0] and bool((np.diff(offsets) >= 0).all())
        )
    if not good:
        raise SourceError(
            f"{path} must rise from 0 to {base.shape[0]:,}, the rows of gradients.bin. "
            "Build the index again."
        )
    return Summed(base, offsets)


def _weighted(base: RowSource, sizes: Mapping[str, int], told: Sequence[str]) -> Scaled:
    """Columns scaled by module: the last --module whose pattern fits counts, others are 1."""
    factors = np.ones(sum(sizes.values()), np.float32)
    for pattern, text in pairs("--module", told).items():
        start, met = 0, False
        try:
            weight = float(text)
        except ValueError:
            weight = np.nan
        for name, size in sizes.items():
            if fnmatch.fnmatchcase(name, pattern):
                factors[start : start + size], met = weight, True
            start += size
        if not met or not np.isfinite(weight):
            raise SourceError(
                f"--module {pattern}={text} fits no module or is no number; modules are "
                f"{listed(list(sizes))}. Write --module 'layers.0.*=0.5'."
            )
    return Scaled(base, factors)


def _build_of(folder: Path) -> tuple[dict[str, Any], str | None]:
    """What the build was told, as one flat mapping, and bergson's version if it says so."""
    document = _described(folder, "config") or _described(folder, "index_config")
    metadata = document.get("metadata")
    version = metadata.get("bergson_version") if isinstance(metadata, dict) else None
    flat: dict[str, Any] = {}
    _flatten(document, flat)
    return flat, version if isinstance(version, str) else None


def _flatten(value: Any, into: dict[str, Any], depth: int = 0) -> None:
    if isinstance(value, dict) and depth < 8:
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                _flatten(inner, into, depth + 1)
            else:
                into.setdefault(str(key), inner)
    elif isinstance(value, list) and depth < 8:
        for inner in value:
            _flatten(inner, into, depth + 1)


def _refuse_mixed(indexes: Sequence[_Index]) -> None:
    first = indexes[0]
    for index in indexes[1:]:
        if list(index.sizes.items()) != list(first.sizes.items()):
            raise SourceError(
                f"{index.path} has other modules, sizes or another order of them than "
                f"{first.path}, so their rows cannot be multiplied. Build them alike."
            )
        for key in _PROJECTION:
            a, b = first.projection.get(key), index.projection.get(key)
            if a != b:
                raise SourceError(
                    f"{index.path} says {key} {b!r}, {first.path} {a!r}, so they were projected "
                    "differently. Build them with the same projection."
                )


def _texts(index: _Index, asked: Asked) -> SampleFiles:
    line_ids = asked.ids == "line"
    if asked.samples:
        return sample_files(
            asked.samples, ["train"] if len(asked.samples) == 1 else [], line_ids=line_ids
        )
    arrows = _arrow_files(index.path)
    first = next((r for path in arrows for _, r in TextFile("", path, 0).records()), {})
    if not any(prompt_and_completion(first)):
        raise SourceError(
            f"{index.path / 'data.hf'} holds no texts (the index was built with its columns "
            "dropped). Give the data set's file with --samples FILE."
        )
    name = Path(str(index.build.get("dataset") or "train")).stem
    parts = [TextFile(name, path, count_records(path)) for path in arrows]
    return SampleFiles(tuple(parts), line_ids)


def _arrow_files(folder: Path) -> list[Path]:
    """The Arrow files of `data.hf`, which its state.json lists; none leads outside."""
    data = folder / "data.hf"
    if not (data / "state.json").is_file():
        return []
    entries = _json(data / "state.json").get("_data_files")
    if not isinstance(entries, list):
        return []
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    return [inside(data, name) for name in names]


def _examples(index: _Index) -> list[dict[str, Any]]:
    """What data.hf says of a task's examples; nothing where columns were dropped."""
    records = [r for path in _arrow_files(index.path) for _, r in TextFile("", path, 0).records()]
    return records if len(records) == index.items else []


def _facts(pool: _Index, tasks: Mapping[str, Sequence[_Index]], asked: Asked) -> dict[str, Any]:
    projection = {f"bergson_{k}": v for k, v in pool.projection.items()}
    seed = pool.projection.get("projection_seed")
    projection |= {
        "type": pool.projection.get("projection_type") or pool.build.get("projection_type"),
        "seed": 0 if seed is None and pool.projection else seed,
    }
    model = pool.build.get("model")
    model = Path(model).name if isinstance(model, str) and model.startswith("/") else model
    queries = [index for some in tasks.values() for index in some]
    kinds = (_kind([pool]), _kind(queries) if queries else _kind([pool]))
    return facts_of(
        asked,
        dim=pool.gradients.shape[1],
        model=model if isinstance(model, str) and model else None,
        projection=projection,
        kinds=kinds,
    )


def _kind(indexes: Iterable[_Index]) -> str:
    """bergson divides by the root of Adam's second moment where it was given a state."""
    states = {bool(index.build.get("optimizer_state")) for index in indexes if index.build}
    return {frozenset({True}): "adam", frozenset({False}): "sgd"}.get(frozenset(states), "unknown")


def _notes(pool: Sequence[_Index]) -> tuple[str, ...]:
    notes = []
    if any(index.build.get("unit_normalize") for index in pool):
        notes.append("Rows were made unit length by bergson, so norms say nothing.")
    if any(isinstance(index.gradients, Summed) for index in pool):
        notes.append("Rows per token were summed to samples.")
    unsupervised = _without_labels(pool[0])
    if unsupervised:
        notes.append(
            f"{unsupervised:,} samples have no supervised token, so their gradient says nothing."
        )
    return tuple(notes)


def _without_labels(index: _Index) -> int:
    count = 0
    for path in _arrow_files(index.path):
        for _, record in TextFile("", path, 0).records():
            labels = record.get("labels")
            if isinstance(labels, list) and all(label == -100 for label in labels):
                count += 1
    return count
