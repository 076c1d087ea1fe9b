"""A store of any size with the structure of real gradients, for measuring: nothing else is in it.

    python -m benchmarks.synthetic OUT [--samples 270679] [--checkpoints 4] [--dim 8192] [--seed 0]

Every row of sample i at checkpoint t is, before it is made a unit row,

    common_t * m_t  +  cos(a_t) * x_i  +  sin(a_t) * y_i

- m_t: the direction all rows share, as Adam's momentum does: the mean cosine of two rows is 0.30 at
  the first checkpoint and 0.45 at the last.
- x_i and y_i: the same 256 coefficients in two bases, plus white noise. Variance k falls as
  k**-0.7 and the 256 hold 65 %. 40 % of that comes from 40 topics, which every source mixes in
  shares of its own.
- a_t: how far the bases have turned by then, 0 to 0.67, as measured on the demo (two checkpoints'
  rows of one sample have cosine 0.79 to 0.99 there, and here).

How that compares (common direction removed, share of the variance in the 8, 32, 64, 128 first
principal directions of the first and the last checkpoint):

    data/demo, 4,000 x 256                     0.18-0.22  0.41-0.45  0.58-0.62  0.79-0.81
    here, 4,000 x 256 (127 coefficients)       0.24       0.49       0.64       0.83
    here, 30,000 x 1,024                       0.18       0.38       0.48       0.59
    LESS's own rows, 200 x 512, a tiny model   0.70-0.71  0.94-0.95  0.99       1.00

so the slope is the demo's, with more white noise as the dimension grows; 200 rows of a model of
4,096 parameters say little about large ones. The demo, whose Adam rows have no momentum, has a
mean cosine of 0.01; LESS's rows have 0.59 to 0.77.

Planted: 5 % of the rows are near copies of another (cosine 0.97 to 0.999, the same at every
checkpoint), 1 % are exact copies, and five rows are invalid; `OUT/truth.parquet` lists them (row,
kind, of, cosine). Three tasks of 64 examples in four subtasks aim at few topics each, with so much
noise that their reliability is about 0.35, 0.55 and 0.75. The same arguments give the same bytes on
the same machine.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numba as nb
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from gtp_core import GTPError, Store, StoreWriter, open_store
from gtp_core.store import Checkpoint, written_whole

VERSION = 1
N_SOURCES, N_TOPICS, MAX_RANK = 20, 40, 256
DECAY = 0.7  # variance of coefficient k falls as k**-DECAY
LOW_SHARE = 0.65  # of the variance beside the common direction; the rest is white
TOPIC_SHARE = 0.4  # of the coefficients' variance
COHERENCE = (0.30, 0.45)  # mean cosine of two rows, first and last checkpoint
NEAR_SHARE, EXACT_SHARE = 0.05, 0.01
NEAR_COSINES = (0.97, 0.999)
MAX_ORIGINALS = 512  # of exact copies: their rows are kept until the store is done
INVALID = {"zero": (0.0, 2), "nan": (np.nan, 2), "inf": (np.inf, 1)}
TASKS = {"broad": 0.35, "middle": 0.55, "clear": 0.75}  # name: reliability to plant
SUBTASKS, EXAMPLES_EACH = ("a", "b", "c", "d"), 16
_BLOCK_ROWS = 256  # multiplied at a time
_EXAMPLES = 1 << 40  # numbers of examples start here, beyond any sample's
_COPIES = 1 << 41  # numbers of the noise of near copies, once per checkpoint


@dataclass(frozen=True)
class Shape:
    """What a synthetic store is made from; equal shapes give equal stores."""

    n_samples: int = 270_679
    n_checkpoints: int = 4
    dim: int = 8192
    seed: int = 0
    part_rows: int = 4096

    @property
    def document(self) -> dict[str, int]:
        """As the manifest records it."""
        return {**asdict(self), "version": VERSION}


@nb.njit(nogil=True, cache=True, inline="always")
def _hash(key: np.uint64, place: np.uint64) -> np.uint64:
    """64 bits from a row's key and a place in the row (splitmix64: Steele et al. 2014)."""
    word = key + (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@nb.njit(nogil=True, cache=True, inline="always")
def _level(bits: np.uint64) -> np.float32:
    """The lowest 16 bits as a number with mean 0 and variance 1."""
    step = np.float32(3.4641016 / 65536)
    return (np.float32(np.int32(bits & np.uint64(0xFFFF))) - np.float32(32767.5)) * step


@nb.njit(nogil=True, cache=True)
def _draw(keys: np.ndarray, out: np.ndarray) -> None:
    """out (rows, rank): nearly normal numbers, sums of four uniform ones."""
    for i in range(out.shape[0]):
        for k in range(out.shape[1]):
            bits = _hash(keys[i] ^ np.uint64(0x5555555555555555), np.uint64(k))
            total = _level(bits) + _level(bits >> np.uint64(16))
            total += _level(bits >> np.uint64(32)) + _level(bits >> np.uint64(48))
            out[i, k] = np.float32(0.5) * total


@nb.njit(nogil=True, cache=True, fastmath=True)
def _add_noise(key: np.uint64, white: np.float32, x: np.ndarray, y: np.ndarray) -> None:
    for j in range(x.shape[0]):
        bits = _hash(key, np.uint64(j))
        x[j] += white * _level(bits)
        y[j] += white * _level(bits >> np.uint64(16))


@nb.njit(nogil=True, cache=True, fastmath=True)
def _combine(
    factors: np.ndarray, common: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray
) -> None:
    for j in range(x.shape[0]):
        out[j] = factors[0] * common[j] + factors[1] * x[j] + factors[2] * y[j]


@nb.njit(nogil=True, cache=True)
def _fill(
    low: np.ndarray,
    keys: np.ndarray,
    white: np.float32,
    common: np.ndarray,
    turn: np.ndarray,
    out: np.ndarray,
    start: int,
) -> None:
    """out[t, start + i] = more_i * common[t] + turn[t, 0] * x + turn[t, 1] * y, more_i about 1.

    Args:
        low: (rows, 2 * dim): x and y without their noise; overwritten with it.
        keys: (rows,) uint64; equal keys give equal noise.
        white: standard deviation of the noise in one coordinate.
        common: (n_checkpoints, dim); turn: (n_checkpoints, 2); out: (n_checkpoints, rows, dim).
    """
    dim = common.shape[1]
    factors = np.empty(3, np.float32)
    for i in range(low.shape[0]):
        x, y = low[i, :dim], low[i, dim:]
        _add_noise(keys[i], white, x, y)
        # One row leans on the common direction more than another, by up to 17 %.
        factors[0] = np.float32(1) + np.float32(0.1) * _level(_hash(~keys[i], np.uint64(0)))
        for t in range(common.shape[0]):
            factors[1:] = turn[t]
            _combine(factors, common[t], x, y, out[t, start + i])


@nb.njit(nogil=True, cache=True, fastmath=True)
def _copy_nearly(row: np.ndarray, cosine: float, key: np.uint64, noise: np.ndarray) -> None:
    """Turn a row away from itself in place, by white noise orthogonal to it."""
    along, length = 0.0, 0.0
    for j in range(row.shape[0]):
        noise[j] = _level(_hash(key, np.uint64(j)))
        along += noise[j] * row[j]
        length += row[j] * row[j]
    rest = 0.0
    for j in range(row.shape[0]):
        noise[j] -= np.float32(along / length) * row[j]
        rest += noise[j] * noise[j]
    swing = np.float32(np.sqrt((1 - cosine * cosine) * length / rest))
    for j in range(row.shape[0]):
        row[j] = np.float32(cosine) * row[j] + swing * noise[j]


@dataclass(frozen=True)
class World:
    """What all rows of a store share; small beside the store."""

    shape: Shape

    @cached_property
    def rank(self) -> int:
        return min(MAX_RANK, (self.shape.dim - 2) // 2)

    @cached_property
    def angles(self) -> np.ndarray:
        """(n_checkpoints,) how far the bases have turned: fast first, as on the demo."""
        return 0.67 * (1 - np.exp(-1.2 * np.arange(self.shape.n_checkpoints)))

    @cached_property
    def turn(self) -> np.ndarray:
        """(n_checkpoints, 2) float32: shares of x and y beside the common direction."""
        beside = np.sqrt(1 - self.coherence)[:, None]
        return (beside * self._cosines).astype(np.float32)

    @cached_property
    def coherence(self) -> np.ndarray:
        return np.linspace(*COHERENCE, self.shape.n_checkpoints)

    @cached_property
    def common(self) -> np.ndarray:
        """(n_checkpoints, dim) float32: the common direction, as long as its share."""
        plane = self._orthogonal[-2:]
        return (np.sqrt(self.coherence)[:, None] * (self._cosines @ plane)).astype(np.float32)

    @cached_property
    def basis(self) -> np.ndarray:
        """(rank, 2 * dim) float32: the directions of x, then those of y."""
        halves = self._orthogonal[: self.rank], self._orthogonal[self.rank : 2 * self.rank]
        return np.ascontiguousarray(np.hstack(halves))

    @cached_property
    def scales(self) -> np.ndarray:
        """(rank,) float32: standard deviation of each coefficient."""
        variance = np.arange(1, self.rank + 1, dtype=np.float64) ** -DECAY
        return np.sqrt(LOW_SHARE * variance / variance.sum()).astype(np.float32)

    @property
    def white(self) -> np.float32:
        return np.float32(np.sqrt((1 - LOW_SHARE) / self.shape.dim))

    @cached_property
    def topics(self) -> np.ndarray:
        """(N_TOPICS, rank) float32, nearly standard normal.

        Their mean over the pool is taken out: it would be a part of the common direction that
        tasks do not share, and what is left of theirs would make every target look reliable.
        """
        drawn = self.generator(2).standard_normal((N_TOPICS, self.rank), dtype=np.float32)
        return drawn - (self.source_shares @ self.mixture).astype(np.float32) @ drawn

    @cached_property
    def source_shares(self) -> np.ndarray:
        """(N_SOURCES,) of the pool: a few large sources and many small ones."""
        shares = 1.0 / np.arange(2, N_SOURCES + 2)
        return shares / shares.sum()

    @cached_property
    def mixture(self) -> np.ndarray:
        """(N_SOURCES, N_TOPICS): what every source is about."""
        return self.generator(7).dirichlet(np.full(N_TOPICS, 0.3), N_SOURCES)

    def generator(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.shape.seed, *stream])

    def keys(self, index: np.ndarray) -> np.ndarray:
        """(n,) uint64, far apart for different indices and seeds."""
        words = np.asarray(index, np.uint64) ^ self.generator(5).integers(1 << 63, dtype=np.uint64)
        with np.errstate(over="ignore"):
            words = (words ^ (words >> np.uint64(31))) * np.uint64(0xD6E8FEB86659FD93)
            return (words ^ (words >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)

    def lengths(self, first: int, size: tuple[int, ...]) -> np.ndarray:
        """Gradient norms, float32 of this size, of the samples from `first` on."""
        return self.generator(4, first).lognormal(0.0, 1.0, size).astype(np.float32)

    def fill(self, keys: np.ndarray, mean: np.ndarray, spread: float, out: np.ndarray) -> None:
        """Rows out (n_checkpoints, rows, dim) float32 with coefficients around `mean` (rows, rank).

        `spread` is the share of the deviation, beside the mean, that the coefficients keep.
        """
        drawn = np.empty((_BLOCK_ROWS, self.rank), np.float32)
        product = np.empty((_BLOCK_ROWS, 2 * self.shape.dim), np.float32)
        for start in range(0, len(keys), _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, len(keys)))
            some, low = drawn[: block.stop - start], product[: block.stop - start]
            _draw(keys[block], some)
            coefficients = (mean[block] + np.float32(spread) * some) * self.scales
            np.matmul(coefficients, self.basis, out=low)
            _fill(low, keys[block], self.white, self.common, self.turn, out, start)

    @cached_property
    def _cosines(self) -> np.ndarray:
        return np.stack([np.cos(self.angles), np.sin(self.angles)], axis=1)

    @cached_property
    def _orthogonal(self) -> np.ndarray:
        """(2 * rank + 2, dim) float32 orthonormal rows."""
        shape = (self.shape.dim, 2 * self.rank + 2)
        drawn = self.generator(1).standard_normal(shape, dtype=np.float32)
        return np.ascontiguousarray(np.linalg.qr(drawn)[0].T)


def plan(world: World) -> pl.DataFrame:
    """What every sample is: row, kind, of (the row it copies), cosine, source, topic."""
    n, generator = world.shape.n_samples, world.generator(3)
    order = generator.permutation(n)
    n_near, n_exact = int(NEAR_SHARE * n), int(EXACT_SHARE * n)
    n_originals = min(MAX_ORIGINALS, n_exact)
    cuts = np.cumsum([n_near, n_exact, *[count for _, count in INVALID.values()], n_originals])
    near, exact, *invalid, originals, plain = np.split(order, cuts)
    kind = np.full(n, "plain", dtype=object)
    of, cosine = np.arange(n), np.ones(n)
    kind[originals] = "original"
    kind[near], of[near] = "near", generator.choice(plain, n_near)
    cosine[near] = generator.uniform(*NEAR_COSINES, n_near)
    _copy_exactly(np.sort(originals), exact, kind, of, generator)
    for name, rows in zip(INVALID, invalid, strict=True):
        kind[rows] = name
    source = generator.choice(N_SOURCES, n, p=world.source_shares)
    cumulated = np.cumsum(world.mixture, axis=1)[source]
    topic = (generator.random(n)[:, None] > cumulated).sum(axis=1).clip(max=N_TOPICS - 1)
    return pl.DataFrame(
        {
            "row": np.arange(n),
            "kind": kind.astype(str),
            "of": of,
            "cosine": cosine,
            "source": source,
            "topic": topic[of],
        }
    )


def _copy_exactly(
    originals: np.ndarray,
    exact: np.ndarray,
    kind: np.ndarray,
    of: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """Every exact copy comes after its original, whose rows are kept while the store is written."""
    before = np.searchsorted(originals, exact)
    later = exact[before > 0]
    kind[later] = "exact"
    of[later] = originals[(generator.random(len(later)) * before[before > 0]).astype(int)]


def parts(world: World, table: pl.DataFrame) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows (n_checkpoints, rows, dim) float32 of every part; the next is made while one is used.

    The array is used again two parts later.
    """
    shape = world.shape
    size = min(shape.part_rows, shape.n_samples)
    per_row = shape.n_checkpoints * shape.dim
    buffers = [np.empty(size * per_row, np.float32) for _ in range(2)]
    kept: dict[int, np.ndarray] = {}
    starts = range(0, shape.n_samples, size)
    slices = [slice(start, min(start + size, shape.n_samples)) for start in starts]

    def make(number: int) -> np.ndarray:
        part = slices[number]
        rows = part.stop - part.start
        out = buffers[number % 2][: rows * per_row].reshape(shape.n_checkpoints, rows, shape.dim)
        _make_part(world, table[part], kept, out)
        return out

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, 0)
        for number, part in enumerate(slices):
            ready = coming.result()
            if number + 1 < len(slices):
                coming = pool.submit(make, number + 1)
            yield part, ready


def _make_part(
    world: World, table: pl.DataFrame, kept: dict[int, np.ndarray], out: np.ndarray
) -> None:
    """Fill one part and its copies; `kept` holds the originals met so far."""
    row, of = table["row"].to_numpy(), table["of"].to_numpy()
    kind, cosine = table["kind"].to_numpy(), table["cosine"].to_numpy()
    mean = np.sqrt(TOPIC_SHARE) * world.topics[table["topic"].to_numpy()]
    world.fill(world.keys(of), mean, np.sqrt(1 - TOPIC_SHARE), out)
    noise = np.empty(world.shape.dim, np.float32)
    for i in np.flatnonzero(kind == "near"):
        for t, key in enumerate(world.keys(row[i] + _COPIES * np.arange(1, len(out) + 1))):
            _copy_nearly(out[t, i], cosine[i], key, noise)
    out *= world.lengths(int(row[0]), out.shape[:2])[:, :, None]
    _copy_originals(row, of, kind, kept, out)
    for name, (value, _) in INVALID.items():
        for i in np.flatnonzero(kind == name):
            out[row[i] % len(out), i] = value


def _copy_originals(
    row: np.ndarray, of: np.ndarray, kind: np.ndarray, kept: dict[int, np.ndarray], out: np.ndarray
) -> None:
    for i in np.flatnonzero((kind == "original") | (kind == "exact")):
        if kind[i] == "original":
            kept[int(row[i])] = out[:, i].copy()
        else:
            out[:, i] = kept[int(of[i])]


def sample_table(table: pl.DataFrame) -> pl.DataFrame:
    """Short texts that say which row they are; an exact copy says what its original says."""
    sample_id = pl.format("s{}", pl.col("row").cast(pl.String).str.zfill(8))
    polite = pl.when(pl.col("kind") == "near").then(pl.lit(", please.")).otherwise(pl.lit("."))
    record = pl.concat_str(pl.lit('{"id": "'), sample_id, pl.lit('"}'))
    return table.select(
        sample_id.alias("sample_id"),
        pl.format("source-{}", pl.col("source").cast(pl.String).str.zfill(2)).alias("source"),
        pl.format("Topic {}: say {}{}", "topic", "of", polite).alias("prompt"),
        pl.format("{}.", "of").alias("completion"),
        (20 + (pl.col("of") * 7919) % 61 * ((pl.col("of") * 104729) % 31)).alias("n_tokens"),
        record.alias("record"),
    )


def example_table(task: str) -> pl.DataFrame:
    """The subtasks' examples, one subtask after the other."""
    subtasks = [name for name in SUBTASKS for _ in range(EXAMPLES_EACH)]
    numbers = range(len(subtasks))
    return pl.DataFrame(
        {
            "example_id": [f"{task}-{i:02d}" for i in numbers],
            "subtask": subtasks,
            "prompt": [f"Ask {i} of {task}." for i in numbers],
            "completion": [f"Answer {i}." for i in numbers],
        }
    )


def example_rows(world: World, number: int, reliability: float) -> np.ndarray:
    """Rows (n_checkpoints, n_examples, dim) float32 of a task.

    With signal s and noise of variance 1 per example, the mean of n examples has reliability
    s^2 / (s^2 + 1 / n); the signal is made as long as that asks.
    """
    generator = world.generator(6, number)
    n_examples = len(SUBTASKS) * EXAMPLES_EACH
    few = world.topics[generator.choice(N_TOPICS, 3, replace=False)]
    signal = generator.dirichlet(np.ones(3), len(SUBTASKS)).astype(np.float32) @ few
    length = np.linalg.norm(signal.mean(axis=0) * world.scales)
    signal *= np.sqrt(reliability / (1 - reliability) / n_examples) / length
    keys = world.keys(_EXAMPLES + n_examples * number + np.arange(n_examples))
    out = np.empty((world.shape.n_checkpoints, n_examples, world.shape.dim), np.float32)
    world.fill(keys, np.repeat(signal, EXAMPLES_EACH, axis=0), 1.0, out)
    return out


def make(folder: Path, shape: Shape) -> Store:
    """The store of this shape, made unless it is there in full.

    Raises:
        StoreError: another store lies there.
    """
    if (folder / "manifest.json").exists():
        store = open_store(folder)
        if store.manifest.declared.get("synthetic") == shape.document:
            return store
    world = World(shape)
    writer = _writer(folder, world)
    table = plan(world)
    names = [f"step-{t}" for t in range(shape.n_checkpoints)]
    with threadpool_limits(1):  # the other core writes; and one thread sums in one order
        for part, rows in parts(world, table):
            writer.add_part(sample_table(table[part]), dict(zip(names, rows, strict=True)))
        for number, (task, reliability) in enumerate(TASKS.items()):
            rows = example_rows(world, number, reliability)
            writer.add_task(task, example_table(task), dict(zip(names, rows, strict=True)))
    planted = table.filter(~pl.col("kind").is_in(["plain", "original"]))
    with written_whole(folder / "truth.parquet") as temporary:
        planted.select("row", "kind", "of", "cosine").write_parquet(temporary)
    return writer.finish()


def _writer(folder: Path, world: World) -> StoreWriter:
    shape = world.shape
    size = {"type": "none", "seed": shape.seed, "input_dim": shape.dim, "dim": shape.dim}
    return StoreWriter(
        folder,
        name="synthetic",
        dim=shape.dim,
        checkpoints=[
            Checkpoint(f"step-{t}", 100 * (t + 1), 1e-5 * (1 - t / (shape.n_checkpoints + 1)))
            for t in range(shape.n_checkpoints)
        ],
        gradients={"samples": "unknown", "tasks": "unknown"},
        projection=size,
        model={"id": "none", "adapter": {}},
        producer={"name": "benchmarks.synthetic", "version": str(VERSION)},
        declared={"synthetic": shape.document},
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a synthetic gradient store.")
    parser.add_argument("out", type=Path, help="folder of the store")
    parser.add_argument("--samples", type=int, default=Shape.n_samples)
    parser.add_argument("--checkpoints", type=int, default=Shape.n_checkpoints)
    parser.add_argument("--dim", type=int, default=Shape.dim)
    parser.add_argument("--seed", type=int, default=Shape.seed)
    return parser.parse_args()


def main() -> None:
    """Write the store and print its size and the speed."""
    asked = _asked()
    shape = Shape(asked.samples, asked.checkpoints, asked.dim, asked.seed)
    there, start = (asked.out / "manifest.json").exists(), time.perf_counter()
    try:
        store = make(asked.out, shape)
    except GTPError as error:
        sys.exit(str(error))
    seconds = time.perf_counter() - start
    size = 2 * shape.n_samples * shape.n_checkpoints * shape.dim
    what = f"{shape.n_samples:,} samples x {shape.n_checkpoints} x {shape.dim:,}"
    speed = "it is there already" if there else f"{seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s"
    print(f"{store.store_id}: {what}, {size / 1e9:.2f} GB; {speed}")


if __name__ == "__main__":
    main()
