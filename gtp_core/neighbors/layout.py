"""The map: UMAP of trajectories, of one checkpoint's gradients, or of texts. For browsing only."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError
from gtp_core.neighbors.graph import Graph, build_graph
from gtp_core.neighbors.kept import prepare_neighbors, put
from gtp_core.neighbors.sketch import sketch, width_for
from gtp_core.neighbors.text import text_sketches
from gtp_core.neighbors.topics import find_topics, topic_words
from gtp_core.store import Progress, write_json
from gtp_core.trajectories import Trajectories, open_task, open_trajectories

MAP_VERSION = 3
WHOLE, TEXT = "trajectory", "text"
MAP_WORD = {WHOLE: "trajectories", TEXT: "texts"}
"""What maps are called where their source is no checkpoint's name."""

_MANY = 10_000  # points above which fewer epochs do, as umap-learn has it
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Map:
    """Where every sample lies.

    Attributes:
        source: `trajectory`, `text` or the name of a checkpoint.
        xy: (n_samples, 2) float32 in the unit square; NaN where there is nothing to place.
        topic: (n_samples,) topics of the trajectories, -1 where there are none.
        names: of the topics.
    """

    source: str
    xy: np.ndarray
    topic: np.ndarray
    names: tuple[str, ...]


def map_sources(catalog: Catalog) -> list[str]:
    """What can be mapped: the trajectory, every checkpoint, the texts."""
    return [WHOLE, *(c.name for c in catalog.store.checkpoints), TEXT]


def saved_map(catalog: Catalog, source: str = WHOLE, seed: int = 0) -> Map | None:
    """A map that was made before, here or by whoever made the store."""
    folder = _folder(catalog, source, seed)
    for place in (folder, catalog.store.folder / "neighbors" / folder.name):
        try:
            return _read(place, source)
        except (OSError, ValueError, KeyError, EOFError):
            continue
    return None


def prepare_map(
    catalog: Catalog, source: str = WHOLE, *, seed: int = 0, progress: Progress | None = None
) -> Map:
    """A map, made once and kept; the same seed gives the same map.

    Args:
        catalog: the open store.
        source: one of `map_sources`.
        seed: of the projection, the search and the layout.
        progress: told in percent.

    Raises:
        CatalogError: an unknown source.
    """
    if source not in map_sources(catalog):
        raise CatalogError(
            f"there is no map of {source!r}; there are {', '.join(map_sources(catalog))}."
        )
    known = saved_map(catalog, source, seed)
    if known is not None:
        return known
    told = progress or (lambda done, total, what: None)
    vectors, usable, whole = _vectors(catalog, source, seed, told)
    if source == WHOLE:
        graph = prepare_neighbors(catalog, seed=seed).graph
        told(40, 100, "laying out the map")
    else:
        told(20, 100, "nearest neighbours")
        graph = build_graph(vectors, usable, seed=seed)
    what = f"laying out {len(graph.points):,} points"
    told(60, 100, what)

    def epoch(done: int, total: int, _: str) -> None:
        told(60 + 38 * done // max(total, 1), 100, f"{what}, {done:,} of {total:,} rounds")

    xy = lay_out_points(vectors[graph.points], graph, seed, epoch)
    placed = np.full((len(usable), 2), np.nan, np.float32)
    inside = graph.copies >= 0
    placed[inside] = xy[np.searchsorted(graph.points, graph.copies[inside])]
    topic = find_topics(whole, catalog.valid(), seed=seed)
    names = topic_words(catalog, topic, seed)

    def write(staging: Path) -> None:
        np.save(staging / "xy.npy", placed)
        np.save(staging / "topic.npy", topic.astype(np.int16))
        write_json(staging / "manifest.json", _said(catalog, source, seed) | {"names": names})

    put(_folder(catalog, source, seed), write)
    told(100, 100, "done")
    return Map(source, placed, topic, tuple(names))


def _vectors(
    catalog: Catalog, source: str, seed: int, told: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors to lay out, which of them count, and sketches of the trajectories for topics."""
    trajectories = open_trajectories(catalog.store)
    width = width_for(trajectories.n_samples, trajectories.dim)
    whole, _ = sketch(trajectories, None, width=width, seed=seed)
    told(10, 100, "sketching")
    if source == WHOLE:
        return whole, catalog.valid(), whole
    if source == TEXT:
        vectors = text_sketches(catalog)
        return vectors, (vectors != 0).any(axis=1), whole
    place = [c.name for c in catalog.store.checkpoints].index(source)
    alone = Trajectories((trajectories.parts[place],), np.ones(1))
    vectors, _ = sketch(alone, None, width=width_for(alone.n_samples, alone.dim), seed=seed)
    return vectors, catalog.valid(), whole


class _Bar:
    """What umap-learn's progress bar writes to: the epoch it is in is told instead."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def write(self, text: str) -> None:
        """Take `epoch/epochs` out of what is written."""
        if found := re.search(r"(\d+)/(\d+)", text):
            self._progress(int(found[1]), int(found[2]), "")

    def flush(self) -> None:
        """Nothing is held back."""


def lay_out_points(
    vectors: np.ndarray, graph: Graph, seed: int, progress: Progress | None = None
) -> np.ndarray:
    """UMAP (McInnes, Healy, Melville 2018) of a graph's points: (n_points, 2) in the unit square.

    From umap-learn's own steps, because its class builds a graph of its own, and warns of what is
    meant here: one thread, so that a seed says all.
    """
    n, k = graph.neighbours.shape
    if n <= 3 or k < 2:
        spread = np.linspace(0.1, 0.9, max(n, 1), dtype=np.float32)[:n]
        return np.stack([spread, np.full(n, 0.5, np.float32)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # of a part that wants Tensorflow
        from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

    own = np.arange(n, dtype=np.int32)[:, None]
    near = np.hstack([own, graph.neighbours])[:, :_NEIGHBOURS]
    far = np.hstack([np.zeros((n, 1), np.float32), np.maximum(1 - graph.cosines, 0)])
    state = np.random.RandomState(seed)
    fuzzy, _, _ = fuzzy_simplicial_set(
        vectors, near.shape[1], state, "cosine", knn_indices=near, knn_dists=far[:, :_NEIGHBOURS]
    )
    a, b = find_ab_params(1.0, 0.1)
    bar = {"disable": progress is None, "bar_format": "{n}/{total}", "ascii": True}
    bar |= {"file": _Bar(progress), "mininterval": 0.5} if progress else {}
    found, _ = simplicial_set_embedding(
        vectors,
        fuzzy,
        2,
        1.0,
        a,
        b,
        1.0,
        5,
        500 if n <= _MANY else 200,
        _principal(vectors),
        state,
        "cosine",
        {},
        False,
        {},
        False,
        parallel=False,
        tqdm_kwds=bar,
    )
    return _to_square(np.asarray(found, np.float64))


def _principal(vectors: np.ndarray) -> np.ndarray:
    """Where UMAP begins: the two principal coordinates (n, 2) float32, from 0 to 10."""
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    main = directions[:, -2:][:, ::-1]
    main *= np.sign(main[np.abs(main).argmax(axis=0), [0, 1]])  # an eigenvector has no sign
    xy = centred @ main
    low, high = xy.min(axis=0), xy.max(axis=0)
    begun = 10 * (xy - low) / np.maximum(high - low, 1e-12)
    # Equal places would never part.
    shaken = begun + np.random.default_rng(0).normal(0, 1e-3, begun.shape)
    return np.asarray(shaken, np.float32)


def _to_square(xy: np.ndarray) -> np.ndarray:
    """Into the unit square, with a margin; a few strays do not press the rest together."""
    low, high = np.quantile(xy, [0.005, 0.995], axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low).max() / 2, 1e-12)
    return np.clip(0.5 + 0.46 * (xy - middle) / half, 0.005, 0.995).astype(np.float32)


def place_examples(map_: Map, cosines: np.ndarray, near: int = 5) -> np.ndarray:
    """Validation examples among the samples most like them: (n_examples, 2) float32.

    Args:
        map_: the map.
        cosines: (n_samples, n_examples) of trajectories in full dimension.
        near: how many samples' middle is taken.
    """
    usable = np.flatnonzero(np.isfinite(map_.xy[:, 0]))
    near = min(near, len(usable))
    if near == 0:
        return np.full((cosines.shape[1], 2), np.nan, np.float32)
    best = np.argpartition(-cosines[usable], near - 1, axis=0)[:near]
    return np.median(map_.xy[usable[best]], axis=0).astype(np.float32)


def task_cosines(catalog: Catalog, task: str) -> np.ndarray:
    """Products (n_samples, n_examples) of trajectories with a task's examples: one pass."""
    return open_trajectories(catalog.store).products(open_task(catalog.store, task).rows)


def panels_of(
    gtp: np.ndarray, topk: np.ndarray, *, together: bool
) -> dict[str, dict[str, np.ndarray]]:
    """Rows by class for the map's panels: GTP beside top-k, or both in one."""
    both = np.intersect1d(gtp, topk)
    alone = {"gtp": np.setdiff1d(gtp, both), "top-k": np.setdiff1d(topk, both)}
    if together:
        return {"GTP and top-k": {**alone, "both": both}}
    return {
        "GTP": {"gtp": alone["gtp"], "both": both},
        "top-k": {"top-k": alone["top-k"], "both": both},
    }


def rows_of_topic(map_: Map, number: str) -> np.ndarray:
    """Rows of the samples of a topic, by its number as a link carries it; of no other, none."""
    return np.flatnonzero(map_.topic == _topic(map_, number))


def topic_name(map_: Map, number: str) -> str:
    """The name of a topic, by its number as a link carries it."""
    place = _topic(map_, number)
    return map_.names[place] if place >= 0 else f"no topic {number}"


def _topic(map_: Map, number: str) -> int:
    """-2, which no sample has, where there is no such topic."""
    known = number.isascii() and number.isdigit() and int(number[:9]) < len(map_.names)
    return int(number[:9]) if known else -2


def topics_covered(map_: Map, supports: Mapping[str, np.ndarray]) -> str:
    """How many of the topics each selection takes something of, in a few words."""
    parts = [
        f"{name} takes {len(support):,} samples of {len(np.unique(topic[topic >= 0])):,} topics"
        for name, support in supports.items()
        for topic in [map_.topic[np.asarray(support, np.int64)]]
    ]
    return f"{', '.join(parts)}, of {len(map_.names):,}"


def density(map_: Map, without: Sequence[np.ndarray] = ()) -> np.ndarray:
    """How many samples lie where, (bins, bins) uint8 on a log scale, row by row from below.

    300 bins a side, or half of that in a pool of few samples.

    Args:
        map_: the map.
        without: rows that do not count.
    """
    placed = np.isfinite(map_.xy[:, 0])
    for rows in without:
        placed[rows] = False
    known = map_.xy[placed]
    bins = 300 if len(known) > _MANY else 150
    counts, _, _ = np.histogram2d(known[:, 1], known[:, 0], bins, [[0, 1], [0, 1]])
    logs = np.log1p(counts)
    return np.asarray(255 * logs / max(logs.max(), 1e-12), np.uint8)


def inside(map_: Map, polygon: np.ndarray | None) -> np.ndarray:
    """Rows of the samples within a polygon (n_corners, 2), by the even-odd rule; of none, none."""
    if polygon is None or len(polygon) < 3:
        return np.empty(0, np.int64)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    with np.errstate(invalid="ignore"):
        box = ((map_.xy >= low) & (map_.xy <= high)).all(axis=1)
    rows = np.flatnonzero(box)
    x, y = map_.xy[rows].astype(np.float64).T
    odd = np.zeros(len(rows), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        odd ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return rows[odd]


def _folder(catalog: Catalog, source: str, seed: int) -> Path:
    text = json.dumps(_said(catalog, source, seed), sort_keys=True)
    return catalog.workspace / "neighbors" / f"map-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _said(catalog: Catalog, source: str, seed: int) -> dict[str, object]:
    said = {"version": MAP_VERSION, "store": catalog.store.digest, "source": source}
    return said | {"seed": seed, "neighbours": _NEIGHBOURS}


def _read(folder: Path, source: str) -> Map:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    xy, topic = np.load(folder / "xy.npy"), np.load(folder / "topic.npy").astype(np.int64)
    return Map(source, xy, topic, tuple(manifest["names"]))
