"""What several importers say alike: declared and unsaid facts, tasks, names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtp_core.errors import SourceError
from gtp_core.importers.folders import pairs
from gtp_core.importers.plan import FoundTask
from gtp_core.importers.register import Asked
from gtp_core.importers.texts import example_records, example_table, task_files
from gtp_core.store import RowSource


def store_name(source: Path, asked: Asked) -> str:
    """A plain name for the store: the user's, or the source folder's."""
    if asked.name is not None:
        return asked.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source.resolve().name).strip("-._")[:60] or "imported"


def facts_of(
    asked: Asked,
    *,
    dim: int,
    model: str | None = None,
    projection: Mapping[str, Any] | None = None,
    kinds: tuple[str, str] = ("unknown", "unknown"),
) -> dict[str, Any]:
    """Model, projection and gradient kinds: what the source says, else what the user declares.

    Args:
        dim: of the rows.
        model: the source's own word on the model.
        projection: the source's own words on the projection.
        kinds: of samples and tasks, `unknown` where the source does not say.

    Raises:
        SourceError: the user says something else than the source.
    """
    declared: dict[str, Any] = {}
    unsaid: list[str] = []
    said: dict[str, Any] = {**(projection or {}), "model": model}
    said |= {"sample_kind": _known(kinds[0]), "example_kind": _known(kinds[1])}
    names = {"type": "projection", "seed": "projection_seed"}
    for key in ("model", "type", "seed", "input_dim", "sample_kind", "example_kind"):
        option = names.get(key, key)
        value = getattr(asked, option)
        if said.get(key) is None:
            if value is None:
                unsaid.append(f"{option} (--{option.replace('_', '-')})")
            else:
                declared[option] = said[key] = value
        elif value is not None and value != said[key]:
            raise SourceError(
                f"--{option.replace('_', '-')} says {value!r}; the source says {said[key]!r}. "
                "Leave the option out."
            )
    made = {key: said.get(key) for key in ("type", "seed", "input_dim")}
    rest = {k: v for k, v in said.items() if k not in (*made, "model", "sample_kind")}
    rest.pop("example_kind")
    return {
        "model": {} if said["model"] is None else {"id": said["model"]},
        "projection": {**rest, **made, "dim": dim},
        "kinds": {
            "samples": said["sample_kind"] or "unknown",
            "tasks": said["example_kind"] or "unknown",
        },
        "declared": declared,
        "unsaid": tuple(unsaid),
    }


def _known(kind: str) -> str | None:
    return None if kind == "unknown" else kind


def tasks_of(
    found: Mapping[str, Mapping[str, RowSource]],
    asked: Asked,
    *,
    subtasks: Mapping[str, int] | None = None,
    known: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> tuple[tuple[FoundTask, ...], dict[str, Any]]:
    """The tasks wanted, with their examples, and what of it is declared by the user.

    Args:
        found: per task and checkpoint its rows.
        subtasks: numbers of equal groups that the producer itself uses.
        known: examples that the source itself holds.
    """
    files = task_files(asked.task)
    groups = pairs("--subtasks", asked.subtasks)
    _refuse_strangers("--task", files, found)
    _refuse_strangers("--subtasks", groups, found)
    tasks, declared = [], {}
    for name in files or found:
        rows = next(iter(found[name].values())).shape[0]
        records = example_records(Path(files[name])) if files.get(name) else None
        if records is not None:
            declared[f"examples of {name}"] = Path(files[name]).name
        table = _examples(name, rows, records, groups, subtasks or {}, known or {})
        if name in groups:
            declared[f"subtasks of {name}"] = groups[name]
        tasks.append(FoundTask(name, table, found[name]))
    return tuple(tasks), declared


def _examples(
    name: str,
    rows: int,
    records: Sequence[Mapping[str, Any]] | None,
    groups: Mapping[str, str],
    usual: Mapping[str, int],
    known: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Any:
    records = records if records is not None else known.get(name)
    told = groups.get(name)
    table = example_table(name, rows, records, told)
    if told is None and usual.get(name) and not any(table["subtask"]) and not rows % usual[name]:
        return example_table(name, rows, records, str(usual[name]))
    return table


def _refuse_strangers(flag: str, told: Mapping[str, str], found: Mapping[str, Any]) -> None:
    wrong = next((name for name in told if name not in found), None)
    if wrong is not None:
        raise SourceError(
            f"{flag} names {wrong!r}; the tasks of the source are {', '.join(found) or 'none'}. "
            "Name one of these."
        )
