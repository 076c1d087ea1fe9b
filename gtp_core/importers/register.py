"""The register of foreign formats, and what a user says of a source that it does not say itself."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gtp_core.errors import SourceError
from gtp_core.importers.plan import Plan


@dataclass(frozen=True)
class Asked:
    """What a user says of a source. Every field is an option of the command.

    Attributes:
        samples: training files, FILE or NAME=FILE (jsonl or parquet), in the order of the rows.
        task: tasks wanted, NAME or NAME=FILE with its examples; all that are found by default.
        task_gradients: NAME=FILE, a matrix of a task's rows where the source keeps none.
        train_pattern: where the samples' folders are, with {name}, {step} and * (less, bergson).
        task_pattern: the same for the tasks' folders.
        rows: which of several kinds of rows to take; what there is depends on the format.
        dim: which projected dimension to take where there are several.
        checkpoints: folder with the checkpoints' trainer_state.json, for step sizes.
        step_size: CHECKPOINT=VALUE, by name or step; all=1 makes them equal.
        subtasks: TASK=N, equal groups in order; TASK=each makes every example its own.
        module: GLOB=WEIGHT, scales the columns of modules that match; 0 leaves them out.
        model: name of the model.
        projection: type of the projection.
        projection_seed: its seed.
        input_dim: its input dimension.
        sample_kind: gradients of samples: adam, adam-less, sgd, sign or unknown.
        example_kind: gradients of examples.
        ids: `field` takes ids from the samples, `line` makes them from file name and line.
        name: name of the store; the source's folder by default.
    """

    samples: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    task_gradients: tuple[str, ...] = ()
    train_pattern: str | None = None
    task_pattern: str | None = None
    rows: str | None = None
    dim: int | None = None
    checkpoints: str | None = None
    step_size: tuple[str, ...] = ()
    subtasks: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    model: str | None = None
    projection: str | None = None
    projection_seed: int | None = None
    input_dim: int | None = None
    sample_kind: str | None = None
    example_kind: str | None = None
    ids: str = "field"
    name: str | None = None


WHOLE_NUMBERS = ("dim", "projection_seed", "input_dim")
Reader = Callable[[Path, Asked], Plan]
IMPORTERS: dict[str, Reader] = {}
_SIGNS: dict[str, tuple[str, ...]] = {}


def importer(name: str, *, signs: tuple[str, ...]) -> Callable[[Reader], Reader]:
    """Register a format; the first docstring line is its label.

    Args:
        name: what the format is called on the command line.
        signs: patterns of files of which a source of this format has one.
    """

    def register(function: Reader) -> Reader:
        IMPORTERS[name] = function
        _SIGNS[name] = signs
        return function

    return register


def label(name: str) -> str:
    """What a format is, in one line."""
    return (inspect.getdoc(IMPORTERS[name]) or "").partition("\n")[0].rstrip(".")


def options() -> dict[str, str]:
    """What a user may say of a source: each field of Asked with its words."""
    text = inspect.getdoc(Asked) or ""
    found = {}
    for field in fields(Asked):
        told = re.search(rf"^    {field.name}: (.+?)(?=\n    \S|\Z)", text, re.M | re.S)
        found[field.name] = " ".join(told[1].split()).rstrip(".") if told else ""
    return found


def takes_several(name: str) -> bool:
    """Whether an option may be told more than once."""
    return isinstance(getattr(Asked(), name), tuple)


def asked_from(told: Mapping[str, str]) -> Asked:
    """What was typed into a form, by field: several values one a line, nothing where empty.

    Raises:
        SourceError: a text where a whole number is wanted.
    """
    values: dict[str, Any] = {}
    for name, text in told.items():
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if not lines:
            continue
        if takes_several(name):
            values[name] = tuple(lines)
        elif name in WHOLE_NUMBERS:
            if not lines[0].isdecimal():
                raise SourceError(f"{name} is {lines[0]!r}; it must be a whole number. Mend it.")
            values[name] = int(lines[0])
        else:
            values[name] = lines[0]
    return Asked(**values)


def guess(source: Path | str) -> str | None:
    """The format whose files lie in a folder, or None."""
    folder = Path(source)
    found = [n for n, signs in _SIGNS.items() if any(next(folder.glob(s), None) for s in signs)]
    # Plain matrices lie in other stores too, so that sign counts only alone.
    return next((name for name in found if name != "arrays"), found[0] if found else None)


def survey(file_format: str, source: Path | str, asked: Asked | None = None) -> Plan:
    """What an import would bring in. Reads names, headers and samples' lines; writes nothing.

    Raises:
        SourceError: an unknown format, no such folder, or a source that cannot be used as it is.
    """
    if file_format not in IMPORTERS:
        raise SourceError(
            f"format {file_format!r} is unknown; there are {', '.join(IMPORTERS)}. Choose one."
        )
    folder = Path(source)
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError):
        is_folder = False
    if not is_folder:
        raise SourceError(f"{str(source)!r} is not a folder. Give the folder of a foreign store.")
    try:
        return replace(IMPORTERS[file_format](folder, asked or Asked()), source=folder).checked()
    except (OSError, RecursionError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        name = getattr(error, "filename", None) or source
        raise SourceError(f"{name} cannot be read ({why}). Mend the source.") from None
