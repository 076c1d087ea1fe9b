"""Adding samples and tasks to a store that is there: only what was made in the same way."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gtp_core.collect.collect import PRODUCER
from gtp_core.collect.measure import with_tasks
from gtp_core.collect.plan import check_same
from gtp_core.collect.settings import CollectSettings
from gtp_core.collect.work import Collection
from gtp_core.errors import CollectError
from gtp_core.store import Manifest, Store, open_store

_NOTHING = hashlib.sha256().hexdigest()
_WHAT = "the store"


def base_store(folder: Path) -> Store:
    """The store that is added to.

    Raises:
        CollectError: it was not made by `collect`, so nobody knows how to make more of it.
    """
    store = open_store(folder)
    maker = store.manifest.producer.get("name")
    if maker != PRODUCER["name"]:
        raise CollectError(
            f"{folder} was not made by collect but by {maker!r}, so nothing can be added in the "
            "same way. Collect into another folder."
        )
    return store


def check_same_store(store: Store, digests: Mapping[str, Any], settings: CollectSettings) -> None:
    """Refuse to add to a store what would be made otherwise than its rows."""
    producer = store.manifest.producer
    wanted = {name: digests[name] for name in ("model", "template", "checkpoints")}
    check_same(wanted, producer.get("digests", {}), folder=store.folder, what=_WHAT)
    said = producer.get("settings", {})
    check_same(settings.meaning(), said, folder=store.folder, what=_WHAT)
    twice = next((name for name in digests["tasks"] if name in store.task_names), None)
    if twice:
        raise CollectError(
            f"task {twice} is in {store.folder} already; a task is added once. "
            "Give it another name, or collect into another folder."
        )


def is_in(digests: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether all that is to be added has been added already."""
    same = all(said.get("tasks", {}).get(n) == d for n, d in digests["tasks"].items())
    return same and digests["pool"] in [_NOTHING, *said.get("pool", [])]


def head(
    store: Store,
    collection: Collection,
    digests: Mapping[str, Any],
    error: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest that new parts and tasks are added to; `digests["pool"]` None adds no pool.

    Args:
        error: of the projection, as measured for the new tasks.

    Raises:
        CollectError: the rows were made with another projection or at other checkpoints.
    """
    manifest = store.manifest
    wanted = {
        "projection": collection.maker.projections[0].document(),
        "checkpoints": [vars(state.checkpoint) for state in collection.states],
    }
    found = {
        "projection": manifest.projection,
        "checkpoints": [vars(checkpoint) for checkpoint in manifest.checkpoints],
    }
    check_same(wanted, found, folder=store.folder, what=_WHAT)
    said = manifest.producer["digests"]
    pool = [*said["pool"], *([digests["pool"]] if digests["pool"] else [])]
    merged = {**said, "pool": pool, "tasks": {**said["tasks"], **digests["tasks"]}}
    before = manifest.producer.get("projection_error")
    producer = {**manifest.producer, "digests": merged}
    producer["projection_error"] = with_tasks(before, error, store.task_names)
    return replace(manifest, producer=producer)
