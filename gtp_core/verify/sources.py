"""Where the model to fine-tune and the test examples lie; no library of training is loaded."""

from collections.abc import Sequence
from pathlib import Path

from gtp_core.atoms.aims import read_aim
from gtp_core.errors import MethodError, TaskError
from gtp_core.store import Store

MODEL = "model"
"""Folder in a store in which its model may lie, as the demo's does."""


def model_at(store: Store) -> Path:
    """The folder of the model that a store was collected with: in the store, or where it says.

    Raises:
        MethodError: it is not here.
    """
    named = str(store.manifest.model.get("id", ""))
    found = next((p for p in (store.folder / MODEL, Path(named)) if named and p.is_dir()), None)
    if found is None:
        raise MethodError(
            f"the store's model {named or 'without a name'!r} is no folder here; wanted the model "
            "to fine-tune. Give its folder, or its name on the hub, with --model."
        )
    return found


def tasks_of(store: Store, task: str) -> list[str]:
    """The tasks of the store that a run's task names: one, or those of `a=2,b=1`."""
    return [name for name in read_aim(task) if name in store.task_names]


def files_of(store: Store, tasks: Sequence[str], told: Path | None) -> list[Path]:
    """The file that was told, or those that lie beside the store as `tests/<task>.jsonl`.

    Raises:
        TaskError: no file is told and none lies there.
    """
    files = [told] if told else [store.folder / "tests" / f"{task}.jsonl" for task in tasks]
    missing = next((path for path in files if not path.exists()), None)
    if missing or not files:
        raise TaskError(
            f"{missing or 'a file of test examples'} is not there; models are asked examples that "
            "no selection was made with. Give such a file with --test."
        )
    return files


def at_hand(store: Store, task: str, *, model: str = "", test: str = "") -> dict[str, str]:
    """Where the model and the test examples lie, as `model` and `test`.

    Raises:
        MethodError, TaskError: one of them is not here, with what is wanted.
    """
    if model and not Path(model).is_dir():
        raise MethodError(
            f"{model} is no folder here; wanted the model to fine-tune: a folder with config.json, "
            "weights and tokenizer. Give another, or leave it empty for the store's own."
        )
    files = files_of(store, tasks_of(store, task), Path(test) if test else None)
    folder = Path(model) if model else model_at(store)
    return {"model": str(folder), "test": ", ".join(str(path) for path in files)}
