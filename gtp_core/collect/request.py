"""What one `collect` command asks for: its settings, and whether that is there already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gtp_core.collect import adding
from gtp_core.collect import plan as plans
from gtp_core.collect.model import resolved_dtype
from gtp_core.collect.plan import Sources
from gtp_core.collect.settings import CollectSettings, check_settings, from_document
from gtp_core.collect.template import Template
from gtp_core.store import Store, open_store
from gtp_core.store.manifest import MANIFEST


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        told: settings that were given; the others are the defaults, or what a store that is
            added to was collected with.
        append: add the pool and tasks to the store in `folder`.
        dry_run: say what it would cost, and stop.
    """

    sources: Sources
    folder: Path
    name: str
    told: Mapping[str, Any]
    append: bool = False
    dry_run: bool = False


def settings_of(request: Request, base: Store | None, device: torch.device) -> CollectSettings:
    """Defaults, or the store's own or the unfinished plan's, under what was told."""
    start = CollectSettings()
    unfinished = plans.saved_plan(request.folder)
    if base:
        start = from_document(base.manifest.producer.get("settings", {}))
        start = replace(start, limit=0)
    threads = torch.get_num_threads()
    if unfinished:
        threads = from_document(unfinished.settings).threads
    found = replace(start, **request.told)
    found = replace(
        found,
        device=device.type,
        dtype=resolved_dtype(found.dtype, device),
        threads=request.told.get("threads") or threads,
    )
    check_settings(found)
    return found


def is_done(
    folder: Path,
    sources: Sources,
    template: Template,
    settings: CollectSettings,
    *,
    base: Store | None,
    forget: bool,
) -> bool:
    """Whether the store is whole already.

    Args:
        base: the store that is added to.
        forget: remove a plan that was left behind; one process only may do so.

    Raises:
        CollectError: the folder holds another store.
    """
    unfinished = plans.saved_plan(folder)
    if not (folder / MANIFEST).is_file():
        return False
    store = open_store(folder)
    if unfinished and unfinished.base == store.digest:
        return False  # an append that has begun
    if unfinished and forget:  # killed between the manifest and the end
        plans.forget_plan(folder)
    digests = plans.digests_of(sources, template)
    said = store.manifest.producer.get("digests", {})
    if base:
        return adding.is_in(digests, said)
    found = {
        **said,
        "pool": next(iter(said.get("pool", [])), None),
        "tasks": {n: d for n, d in said.get("tasks", {}).items() if n in digests["tasks"]},
    }
    plans.check_same(digests, found, folder=folder, what="the finished store")
    was = store.manifest.producer.get("settings", {})
    wanted = settings.meaning() | {"limit": settings.limit}
    plans.check_same(wanted, was, folder=folder, what="the finished store")
    return True
