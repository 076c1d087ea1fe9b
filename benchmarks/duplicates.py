"""Precision and recall of duplicates: the demo against what was planted, a pool against its truth.

    python -m benchmarks.duplicates
    python -m benchmarks.duplicates --families
    python -m benchmarks.duplicates --pool pool.jsonl --groups truth.jsonl.gz --pairs near.csv

A pool is JSON lines of `id`, `prompt`, `completion` (a .zst is read with the `zstd` program),
groups are JSON lines of `kind` and `ids`, pairs a CSV of `id_a` and `id_b`: all pairs that have a
Jaccard similarity of at least 0.8, by brute force. Families are of 400 to 5,000 near copies each
among 1,000 strangers, against every pair; rows are gone through in an order drawn by chance.
"""

import argparse
import csv
import gzip
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl

from gtp_core.catalog import open_catalog
from gtp_core.neighbors import Likeness, prepare_neighbors
from gtp_core.neighbors.complete import Compare
from gtp_core.neighbors.graph import build_graph
from gtp_core.neighbors.groups import Splits, group
from gtp_core.neighbors.keepers import decide
from gtp_core.neighbors.pairs import FLOOR, MOST_PAIRS, candidates
from gtp_core.neighbors.settle import Comparer, settled
from gtp_core.neighbors.text import comparing, text_pairs

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
_PAIRS_A_GROUP = 500  # of a large group: the first, for it has thousands
_BATCH = 20_000
_TRUE = ("exact", "near")  # kinds of groups, by how their names begin, whose members are alike


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file, whatever it is packed with."""
    if path.suffix == ".zst":
        with subprocess.Popen(["zstdcat", path], stdout=subprocess.PIPE, text=True) as source:
            assert source.stdout
            yield from source.stdout
    elif path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as packed:
            yield from packed
    else:
        with open(path, encoding="utf-8") as plain:
            yield from plain


class Found:
    """The pairs of a likeness at a threshold, copies included."""

    def __init__(self, likeness: Likeness, threshold: float) -> None:
        kept = likeness.score >= threshold - 1e-6
        self.copies = likeness.copies
        self._pairs = set(
            zip(likeness.one[kept].tolist(), likeness.other[kept].tolist(), strict=True)
        )

    @property
    def distinct(self) -> set[tuple[int, int]]:
        """The pairs of first copies."""
        return self._pairs

    def has(self, one: int, other: int) -> bool:
        a, b = sorted((int(self.copies[one]), int(self.copies[other])))
        return a == b or (a, b) in self._pairs

    def all(self) -> set[tuple[int, int]]:
        """Every pair of samples, those of copies too."""
        members: dict[int, list[int]] = {}
        for row, first in enumerate(self.copies.tolist()):
            members.setdefault(first, []).append(row)
        found = {p for rows in members.values() for p in itertools.combinations(rows, 2)}
        for one, other in self._pairs:
            pairs = itertools.product(members[one], members[other])
            found |= {(min(pair), max(pair)) for pair in pairs}
        return found


def demo() -> None:
    """Planted duplicates of the demo, found by text and by gradient."""
    truth = [json.loads(line) for line in lines(DEMO / "truth.jsonl")]
    with tempfile.TemporaryDirectory() as work, closing(open_catalog(DEMO, workspace=work)) as c:
        known = prepare_neighbors(c)
        row_of = {name: row for row, name in enumerate(c.sample_ids())}
        planted = [t for t in truth if t["of"]]
        for basis, thresholds in (
            ("text", (1.0,)),
            ("near-text", (0.5, 0.8, 0.9)),
            ("gradient", (0.8, 0.9, 0.95)),
        ):
            for threshold in thresholds:
                found = Found(known.likenesses[basis], threshold)
                recall = {
                    kind: np.mean([found.has(row_of[t["id"]], row_of[t["of"]]) for t in some])
                    for kind in sorted({t["kind"] for t in planted})
                    if (some := [t for t in planted if t["kind"] == kind])
                }
                told = ", ".join(f"{kind} {share:.3f}" for kind, share in recall.items())
                print(f"{basis:>10} from {threshold:.2f}: {len(found.all()):,} pairs; {told}")


def families() -> None:
    """Large families of near gradients and near texts: pairs found, and rows that stay."""
    for size in (400, 2000, 5000):
        generator = np.random.default_rng(size)
        rows = generator.standard_normal((size + 1000, 64))
        rows[:size] = generator.standard_normal(64) + 0.1 * generator.standard_normal((size, 64))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        seen = np.zeros(len(rows))
        graph = build_graph(rows, np.ones(len(rows), bool))
        one, other, floor = candidates(graph, rows, FLOOR, MOST_PAIRS, seen)
        score = np.einsum("ij,ij->i", rows[one], rows[other])
        order = np.argsort(-score, kind="stable")
        near = Likeness(
            "gradient", graph.copies, one[order], other[order], score[order], floor, seen
        )
        _family(near, 0.95, lambda a, b, v=rows: np.einsum("ij,ij->i", v[a], v[b]))
        texts = [[f"w{i}" for i in range(60)] for _ in range(size)]
        for number, place in enumerate(generator.integers(0, 60, size).tolist()):
            texts[number][place] = f"x{number}"
        series = pl.Series([" ".join(words) for words in texts])
        likeness = text_pairs([series])
        _family(likeness, 0.8, comparing(series))


def _family(likeness: Likeness, threshold: float, compare: Compare) -> None:
    """Print what was found of a family, and how many rows stay of those that must."""
    n = len(likeness.copies)
    one, other = np.triu_indices(n, 1)
    alike = np.concatenate(
        [compare(one[at : at + 10**6], other[at : at + 10**6]) for at in range(0, len(one), 10**6)]
    )
    alike = alike >= threshold - 1e-6
    true = int(alike.sum())
    found = int((likeness.score >= threshold - 1e-6).sum())
    known = time.perf_counter()
    groups = {likeness.basis: group(likeness, threshold)}
    scores = np.random.default_rng(0).random(n)
    decision = settled(
        groups,
        lambda now: decide(now, scores, rule="chance"),
        {likeness.basis: lambda rows: Comparer(compare, 5_000_000)},
        Splits(),
    )
    seconds = time.perf_counter() - known
    near = np.zeros((n, n), bool)
    near[one, other] = near[other, one] = alike
    stay: list[int] = []
    for row in np.argsort(-scores).tolist():
        if not near[row, stay].any():
            stay.append(row)
    print(
        f"{likeness.basis}, {n:,} rows from {threshold:g}: {found:,} of {true:,} pairs "
        f"({found / true:.3f}); {int(decision.stays.sum()):,} stay, {len(stay):,} by brute force, "
        f"{decision.unmet:,} not compared; decided in {seconds:.1f} s"
    )


def pool(path: Path, groups: Path | None, pairs: Path | None) -> None:
    """Near texts of a pool against what is known of it."""
    ids, texts = [], []
    for line in lines(path):
        record = json.loads(line)
        ids.append(record["id"])
        texts.append(f"{record['prompt']}\n{record['completion']}")
    series = pl.Series(texts, dtype=pl.String)
    del texts
    wall, cpu = time.perf_counter(), time.process_time()
    likeness = text_pairs(series[at : at + _BATCH] for at in range(0, len(series), _BATCH))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(ids):,} texts in {wall:.1f} s ({cpu:.1f} of CPU); {len(likeness.one):,} pairs")
    row_of = {name: row for row, name in enumerate(ids)}
    found = Found(likeness, 0.8)
    if pairs:
        with open(pairs, encoding="utf-8") as file:
            truth = {
                tuple(sorted((row_of[row["id_a"]], row_of[row["id_b"]])))
                for row in csv.DictReader(file)
            }
        mine = found.all()
        both = len(mine & truth)
        print(
            f"pairs from 0.8: {len(mine):,} of ours, {len(truth):,} by brute force; "
            f"precision {both / max(len(mine), 1):.4f}, recall {both / max(len(truth), 1):.4f}"
        )
    shares: dict[str, list[float]] = {}
    alike: dict[int, set[int]] = {}  # by row, the groups of known near and exact duplicates
    for number, line in enumerate(lines(groups) if groups else ()):
        group = json.loads(line)
        rows = [row_of[name] for name in group["ids"] if name in row_of]
        for row in rows if group["kind"].startswith(_TRUE) else ():
            alike.setdefault(row, set()).add(number)
        some = list(itertools.islice(itertools.combinations(rows, 2), _PAIRS_A_GROUP))
        if some:
            shares.setdefault(group["kind"], []).append(
                float(np.mean([found.has(*pair) for pair in some]))
            )
    for kind, share in shares.items():
        print(f"{kind}: {len(share):,} groups, recall {np.mean(share):.4f} of their pairs")
    if alike:
        mine = found.distinct
        right = sum(bool(alike.get(a, set()) & alike.get(b, set())) for a, b in mine)
        print(
            f"pairs of different texts from 0.8: {len(mine):,} of ours, precision "
            f"{right / max(len(mine), 1):.4f} (both in one group of {' or '.join(_TRUE)})"
        )


def main() -> None:
    """Print what was found of what is known."""
    parser = argparse.ArgumentParser(description="Precision and recall of duplicates.")
    parser.add_argument("--pool", type=Path, help="JSON lines of id, prompt, completion")
    parser.add_argument("--groups", type=Path, help="JSON lines of kind and ids")
    parser.add_argument("--pairs", type=Path, help="CSV of id_a, id_b: all pairs from 0.8 on")
    parser.add_argument("--families", action="store_true", help="large families of near copies")
    asked = parser.parse_args()
    if asked.families:
        families()
    elif asked.pool:
        pool(asked.pool, asked.groups, asked.pairs)
    else:
        demo()


if __name__ == "__main__":
    main()
