"""The manifest: a store's table of contents, written last.

It is read with suspicion: every field that a reader relies on is checked once, here, so that the
rest of the package can trust it.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from gtp_core.errors import StoreError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
GRADIENT_KINDS = ("adam", "adam-less", "sgd", "sign", "unknown")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Checkpoint:
    """Where gradients were taken: a folder-safe name, the optimizer step, and its step size."""

    name: str
    step: int
    step_size: float


@dataclass(frozen=True)
class File:
    """One file of a store: path relative to the store, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """A slice of the pool's rows and the files that hold it: samples, then one per checkpoint."""

    name: str
    rows: int
    files: tuple[File, ...]


@dataclass(frozen=True)
class Task:
    """A validation task: how many examples, in which subtasks (in order), in which files.

    `projection` repeats what its gradients were made with; it must equal the store's.
    """

    name: str
    n_examples: int
    subtasks: tuple[str, ...]
    projection: dict[str, Any]
    files: tuple[File, ...]


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself (format 1)."""

    store_id: str
    name: str
    n_samples: int
    dim: int
    checkpoints: tuple[Checkpoint, ...]
    parts: tuple[Part, ...]
    tasks: tuple[Task, ...]
    producer: dict[str, Any]
    model: dict[str, Any]
    gradients: dict[str, str]
    projection: dict[str, Any]
    invalid: dict[str, int]
    declared: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float16"
    format_version: int = FORMAT_VERSION


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON types."""
    return asdict(manifest)


def store_id_of(document: dict[str, Any]) -> str:
    """`<name>-<12 hex digits>` from everything else the manifest says: equal stores, equal id."""
    rest = json.dumps({key: value for key, value in document.items() if key != "store_id"})
    # Once to JSON and back, so that the answer is the same before writing as after reading.
    digest = hashlib.sha256(json.dumps(json.loads(rest), sort_keys=True).encode()).hexdigest()
    return f"{document['name']}-{digest[:12]}"


def is_name(text: object) -> bool:
    """Whether a text may name a store, checkpoint or task: it becomes part of a path."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read and check a store's manifest; also its SHA-256, which keys everything derived from it.

    Raises:
        StoreError: no manifest, another format version, or a field that is wrong.
    """
    path = folder / MANIFEST
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name of 300 letters, or a folder above it that may not be read
        is_folder = False
    if not is_folder:
        raise StoreError(
            f"{folder} is not a folder; a store is a folder with a {MANIFEST}. "
            "Give the path of a store."
        )
    if not path.is_file():
        raise StoreError(
            f"{folder} has no {MANIFEST}, so it is no gradient store, or one that was never "
            "finished. Give the path of a store, or finish making this one."
        )
    raw = path.read_bytes()
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise StoreError(f"{path} is not JSON. Restore the file or rebuild the store.") from None
    return _checked(document, path), hashlib.sha256(raw).hexdigest()


def _checked(document: Any, path: Path) -> Manifest:
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise StoreError(
            f"{path} says format version {version!r}; this version reads {FORMAT_VERSION}. "
            "Open the store with the version that wrote it, or build it again."
        )
    try:
        manifest = _parse(document)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} is damaged ({type(error).__name__}: {error}). "
            "Restore the file or rebuild the store."
        ) from None
    problem = problem_of(manifest)
    if problem:
        raise StoreError(f"{path}: {problem} Rebuild the store.")
    if store_id_of(document) != manifest.store_id:
        raise StoreError(
            f"{path} was changed after it was finished: its contents make {store_id_of(document)} "
            f"and it says {manifest.store_id}. Restore the file or rebuild the store."
        )
    return manifest


def _parse(document: dict[str, Any]) -> Manifest:
    known = dict(document)
    known["checkpoints"] = tuple(Checkpoint(**c) for c in document["checkpoints"])
    known["parts"] = tuple(Part(**{**p, "files": _files(p["files"])}) for p in document["parts"])
    known["tasks"] = tuple(
        Task(**{**t, "subtasks": tuple(t["subtasks"]), "files": _files(t["files"])})
        for t in document["tasks"]
    )
    return Manifest(**known)


def _files(entries: list[dict[str, Any]]) -> tuple[File, ...]:
    return tuple(File(**entry) for entry in entries)


def problem_of(manifest: Manifest) -> str | None:
    """What is wrong with a manifest that parses, or None."""
    checks = (_bad_names, _bad_checkpoints, _bad_types, _bad_rows, _bad_files, _bad_projections)
    return next((wrong for check in checks if (wrong := check(manifest))), None)


def head_problem_of(manifest: Manifest) -> str | None:
    """What is wrong with a manifest before its first part is there, or None."""
    return _bad_names(manifest) or _bad_checkpoints(manifest)


def _bad_names(manifest: Manifest) -> str | None:
    checkpoints = [c.name for c in manifest.checkpoints]
    tasks = [t.name for t in manifest.tasks]
    parts = [p.name for p in manifest.parts]
    for kind, names in (("checkpoint", checkpoints), ("task", tasks), ("part", parts)):
        bad = [name for name in names if not is_name(name)]
        if bad:
            return f"{kind} name {bad[0]!r} is not 1 to 80 letters, digits, '.', '_' or '-'."
        if len(set(names)) < len(names):
            return f"two {kind}s share a name."
    if not checkpoints:
        return "it lists no checkpoint; a trajectory needs at least one."
    if not is_name(manifest.name):
        return f"name {manifest.name!r} is not 1 to 80 letters, digits, '.', '_' or '-'."
    return None


def _bad_types(manifest: Manifest) -> str | None:
    said = ("producer", "model", "gradients", "projection", "invalid", "declared")
    for name in said:
        if not isinstance(getattr(manifest, name), dict):
            return f"{name} is {getattr(manifest, name)!r}; it must be an object."
    for who in ("samples", "tasks"):
        if manifest.gradients.get(who) not in GRADIENT_KINDS:
            return f"gradients of {who} are none of {', '.join(GRADIENT_KINDS)}."
    for file in all_files(manifest):
        if not _count(file.bytes):
            return f"{file.path!r} has {file.bytes!r} bytes; it must be a whole number."
        if not (isinstance(file.sha256, str) and _SHA256.fullmatch(file.sha256)):
            return f"{file.path!r} has {file.sha256!r} as SHA-256; it must be 64 hex digits."
    for task in manifest.tasks:
        if not all(isinstance(name, str) for name in task.subtasks):
            return f"a subtask of task {task.name!r} is not a text."
    return None


def _bad_checkpoints(manifest: Manifest) -> str | None:
    if manifest.dtype != "float16":
        return f"dtype is {manifest.dtype!r}; format 1 stores float16."
    if not (_count(manifest.dim) and manifest.dim >= 1):
        return f"dim is {manifest.dim!r}; it must be a whole number of at least 1."
    sizes = [c.step_size for c in manifest.checkpoints]
    if not all(_is_step_size(size) for size in sizes):
        return "a step size is not a number from 0 to 1e300."
    if sum(sizes) <= 0:
        return "all step sizes are zero, so every trajectory would be empty."
    if not all(_count(c.step) for c in manifest.checkpoints):
        return "a checkpoint's step is not a whole number of at least 0."
    return None


def _bad_rows(manifest: Manifest) -> str | None:
    if not _count(manifest.n_samples) or not all(_count(p.rows) for p in manifest.parts):
        return "a row count is not a whole number of at least 0."
    total = sum(part.rows for part in manifest.parts)
    if total != manifest.n_samples or total == 0:
        return f"its parts hold {total:,} rows and it says {manifest.n_samples!r} samples."
    if not all(_count(task.n_examples) for task in manifest.tasks):
        return "a task's number of examples is not a whole number of at least 0."
    return None


def _bad_files(manifest: Manifest) -> str | None:
    names = [checkpoint.name for checkpoint in manifest.checkpoints]
    for part in manifest.parts:
        wanted = [f"samples/{part.name}.parquet"]
        wanted += [f"gradients/{name}/{part.name}.safetensors" for name in names]
        if [file.path for file in part.files] != wanted:
            return f"part {part.name!r} does not list its samples and each checkpoint in order."
    for task in manifest.tasks:
        wanted = [f"tasks/{task.name}/examples.parquet"]
        wanted += [f"tasks/{task.name}/{name}.safetensors" for name in names]
        if [file.path for file in task.files] != wanted:
            return (
                f"task {task.name!r} was not collected at the samples' checkpoints "
                f"({', '.join(names)})."
            )
    for file in all_files(manifest):
        pure = PurePosixPath(file.path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in file.path:
            return f"file path {file.path!r} leads outside the store."
    return None


def _bad_projections(manifest: Manifest) -> str | None:
    for task in manifest.tasks:
        if task.projection != manifest.projection:
            return (
                f"task {task.name!r} was projected with {task.projection}, the samples with "
                f"{manifest.projection}; their gradients cannot be compared."
            )
    return None


def all_files(manifest: Manifest) -> list[File]:
    """Every file the manifest lists, parts first."""
    entries: list[Part | Task] = [*manifest.parts, *manifest.tasks]
    return [file for entry in entries for file in entry.files]


def _is_step_size(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= 1e300


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
