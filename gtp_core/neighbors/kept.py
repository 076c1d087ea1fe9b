"""What is found once and kept in `neighbors/<digest>/` of the workspace, the manifest last."""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gtp_core.catalog import Catalog
from gtp_core.locks import hold
from gtp_core.neighbors.complete import components
from gtp_core.neighbors.graph import NEIGHBOURS, Graph, build_graph
from gtp_core.neighbors.pairs import FLOOR, Likeness, gradient_pairs
from gtp_core.neighbors.sketch import sketch, width_for
from gtp_core.neighbors.text import TEXT_FLOOR, exact_texts, near_texts
from gtp_core.store import Progress, write_json
from gtp_core.trajectories import open_trajectories

VERSION = 1
MANIFEST = "manifest.json"
GEOMETRIES = ("kept", "removed")
_OLD_WHOLE = 64  # members up to which an older version looked at all pairs of a group
_STALE = 3600.0  # seconds after which an unfinished folder is nobody's
_SHARES = {"sketch": 20, "graph": 50, "pairs": 20, "texts": 10}
"""How the stages share the progress bar, in percent: as measured on 270,679 x 4 x 8,192."""


@dataclass(frozen=True)
class Neighbors:
    """The graph of a store and what is alike in it.

    Attributes:
        folder: where it is kept.
        graph: nearest neighbours of all distinct trajectories.
        likenesses: by basis: `text`, `near-text`, `gradient`.
        manifest: settings, counts and seconds.
    """

    folder: Path
    graph: Graph
    likenesses: dict[str, Likeness]
    manifest: dict[str, Any]


def neighbors_folder(catalog: Catalog, *, geometry: str = "kept", seed: int = 0) -> Path:
    """Where the graph of a store is kept: another store, geometry or seed is another folder."""
    said = _settings(catalog, geometry, seed)
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    return catalog.workspace / "neighbors" / digest


def saved_neighbors(catalog: Catalog, *, geometry: str = "kept", seed: int = 0) -> Neighbors | None:
    """The graph of a store if it was built before, here or by whoever made the store."""
    folder = neighbors_folder(catalog, geometry=geometry, seed=seed)
    for place in (folder, catalog.store.folder / "neighbors" / folder.name):
        try:
            return _read(place)
        except (OSError, ValueError, KeyError, EOFError, pl.exceptions.PolarsError):
            continue  # absent or damaged: it is derived, so it is built again
    return None


def prepare_neighbors(
    catalog: Catalog,
    *,
    geometry: str = "kept",
    seed: int = 0,
    progress: Progress | None = None,
) -> Neighbors:
    """The graph of a store and all its pairs, built once and kept in the workspace.

    While another process builds it, this one waits for it.

    Args:
        catalog: the open store.
        geometry: whether the pool's common direction is `kept` in the trajectories or `removed`.
        seed: of the projection and of the search.
        progress: told in percent; may raise to cancel.
    """
    known = saved_neighbors(catalog, geometry=geometry, seed=seed)
    if known is not None:
        return known
    folder = neighbors_folder(catalog, geometry=geometry, seed=seed)
    with alone(folder.with_name(f".{folder.name}.lock"), progress):
        known = saved_neighbors(catalog, geometry=geometry, seed=seed)
        return known or _made(catalog, folder, geometry, seed, progress)


def _made(
    catalog: Catalog, folder: Path, geometry: str, seed: int, progress: Progress | None
) -> Neighbors:
    graph, likenesses = _build(catalog, geometry, seed, progress)
    said = _settings(catalog, geometry, seed)
    counts: dict[str, Any] = {
        "n_samples": catalog.store.n_samples,
        "n_points": len(graph.points),
        "pairs": {basis: len(found.one) for basis, found in likenesses.items()},
        "floors": {basis: found.floor for basis, found in likenesses.items()},
    }

    def write(staging: Path) -> None:
        for name in ("copies", "points", "neighbours", "cosines"):
            np.save(staging / f"{name}.npy", getattr(graph, name))
        for basis, found in likenesses.items():
            np.save(staging / f"copies-{basis}.npy", found.copies)
            if found.seen is not None:
                np.save(staging / f"seen-{basis}.npy", found.seen.astype(np.float32))
            table = {"one": found.one, "other": found.other, "score": found.score}
            pl.DataFrame(table).write_parquet(staging / f"pairs-{basis}.parquet")
        write_json(staging / MANIFEST, said | counts)

    put(folder, write)
    return _read(folder)


@contextmanager
def alone(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold the lock on a file; wait for it where another process has it.

    Args:
        path: of the file; it is taken away in the end.
        progress: told while another process holds it; may raise to cancel.
    """

    def wait() -> None:
        if progress:
            progress(0, 100, "waiting for another process that builds the same graph")

    with hold(path, wait):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def put(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder beside this one, then rename it into place; the manifest last.

    What lies there already, damaged or made by someone else meanwhile, is replaced. What a kill
    left unfinished an hour ago or more is taken away.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".*.tmp"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    staging.mkdir()
    try:
        write(staging)
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _settings(catalog: Catalog, geometry: str, seed: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "store": catalog.store.digest,
        "common_direction": geometry,
        "seed": seed,
        "neighbours": NEIGHBOURS,
        "floor": [FLOOR, TEXT_FLOOR],
    }


def _build(
    catalog: Catalog, geometry: str, seed: int, progress: Progress | None
) -> tuple[Graph, dict[str, Likeness]]:
    told = _stages(progress)
    direction = catalog.common_direction() if geometry == "removed" else None
    trajectories = open_trajectories(catalog.store)
    width = width_for(trajectories.n_samples, trajectories.dim)
    sketches, along = sketch(
        trajectories, direction, width=width, seed=seed, progress=told("sketch")
    )
    told("graph")(0, 1, f"nearest neighbours of {len(sketches):,} samples")
    graph = build_graph(sketches, catalog.valid(), seed=seed)
    gradient = gradient_pairs(
        trajectories,
        None if direction is None else along,
        graph,
        sketches,
        exact=width == trajectories.dim,
        progress=told("pairs"),
    )
    texts = near_texts(catalog, told("texts"))
    told("texts")(1, 1, "done")
    return graph, {"text": exact_texts(catalog), "near-text": texts, "gradient": gradient}


def _stages(progress: Progress | None) -> Callable[[str], Progress]:
    """A progress for each stage, all told in percent of the whole."""
    before = dict(zip(_SHARES, np.cumsum([0, *_SHARES.values()]).tolist(), strict=False))

    def stage(name: str) -> Progress:
        def report(done: int, total: int, what: str) -> None:
            if progress:
                share = _SHARES[name] * done / max(total, 1)
                progress(round(before[name] + share), 100, what)

        return report

    return stage


def _read(folder: Path) -> Neighbors:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    arrays = {
        name: np.load(folder / f"{name}.npy")
        for name in ("copies", "points", "neighbours", "cosines")
    }
    found = {}
    for basis, floor in manifest["floors"].items():
        table = pl.read_parquet(folder / f"pairs-{basis}.parquet", glob=False)
        one, other, score = (table[name].to_numpy() for name in ("one", "other", "score"))
        copies = np.load(folder / f"copies-{basis}.npy")
        seen = _seen(folder / f"seen-{basis}.npy", one, other)
        found[basis] = Likeness(basis, copies, one, other, score, floor, seen)
    return Neighbors(folder, Graph(**arrays), found, manifest)


def _seen(path: Path, one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """From which threshold on all pairs of a row's group are known; None: from any.

    Older versions looked at all pairs of small groups only and did not say so.

    Raises:
        ValueError: it is not said, and there are larger groups.
    """
    if path.exists():
        return np.asarray(np.load(path), np.float64)
    labels, _ = components(one, other)
    if np.bincount(labels, minlength=1).max() > _OLD_WHOLE:
        raise ValueError(f"{path.parent} lists few of the pairs of its large groups")
    return None
