"""The register of foreign formats, and what a user says of a source that it does not say itself."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

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


def guess(source: Path | str) -> str | None:
    """The format whose files lie in a folder, or None."""
    folder = Path(source)
    for name, signs in _SIGNS.items():
        if any(next(folder.glob(sign), None) for sign in signs):
            return name
    return None


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
