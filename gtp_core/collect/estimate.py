"""What a collection will cost, measured on a few of its own samples before it begins."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gtp_core.collect.encode import Encoded
from gtp_core.collect.measure import spread
from gtp_core.collect.work import Collection, RowMaker
from gtp_core.errors import CollectError

_FEW = 8
_PROBED = 64
_QUICK_SECONDS = 2.0


@dataclass(frozen=True)
class Estimate:
    """Bytes that will be written and seconds it will take, on this machine as it is now."""

    n_samples: int
    n_examples: int
    n_checkpoints: int
    tokens: int
    bytes: int
    seconds: float
    tokens_per_second: float

    def sentence(self) -> str:
        """The same for people."""
        return (
            f"{self.n_samples:,} samples and {self.n_examples:,} examples at "
            f"{self.n_checkpoints} checkpoints: {size_words(self.bytes)} of gradients, "
            f"about {time_words(self.seconds)} for {self.tokens:,} tokens "
            f"({self.tokens_per_second:,.0f} tokens/s on a few of the samples)."
        )


def estimate(
    collection: Collection,
    *,
    n_samples: int,
    n_checkpoints: int,
    n_processes: int,
    warmup_share: float,
) -> Estimate:
    """What a collection that has not begun will cost.

    Args:
        n_samples: of the collection's parts together.
        warmup_share: of the pool that is trained on first, all epochs together, by one process.
    """
    name, once = next(iter(collection.parts), None), sum(collection.parts.values())
    examples = [text for texts in collection.tasks.values() for text in texts]
    texts = examples if name is None else collection.part_texts(name)
    rate = tokens_per_second(collection.maker, [texts[i] for i in spread(len(texts), _PROBED)])
    tokens = (once + sum(map(len, examples))) * n_checkpoints
    warming = round(warmup_share * once)
    row = 2 * collection.maker.projections[0].dim + 4
    return Estimate(
        n_samples,
        len(examples),
        n_checkpoints,
        tokens + warming,
        (n_samples + len(examples)) * n_checkpoints * row,
        (tokens / n_processes + warming) / rate,
        rate,
    )


def tokens_per_second(maker: RowMaker, texts: Sequence[Encoded]) -> float:
    """How fast gradients come, on a few texts; on more of them where that takes no time."""
    rate = 0.0
    for some in (texts[:_FEW], texts):  # the first run also pays for what is done only once
        start = time.perf_counter()
        maker.rows(some, "sgd")
        seconds = time.perf_counter() - start
        rate = sum(map(len, some)) / max(seconds, 1e-9)
        if seconds > _QUICK_SECONDS:
            break
    return rate


def check_space(folder: Path, wanted: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise CollectError(
            f"{folder} has {size_words(free)} free and the store needs {size_words(wanted)}. "
            "Make room, lower --dim, or choose another folder."
        )


def size_words(n_bytes: int) -> str:
    """Bytes for people, in powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes / 1e3:,.0f} kB"


def time_words(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
