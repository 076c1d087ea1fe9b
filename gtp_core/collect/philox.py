"""Philox random bits on any device: the same bits as NumPy's generator, drawn where they are used.

Source: Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

import numpy as np
import torch

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF


def random_bytes(seed: int, stream: int, count: int, *, device: torch.device) -> torch.Tensor:
    """The first `count` random bytes (uint8) of a stream."""
    return random_words(seed, stream, -(-count // 8), device=device).view(torch.uint8)[:count]


def random_words(
    seed: int, stream: int, count: int, *, start: int = 0, device: torch.device
) -> torch.Tensor:
    """Words of 64 bits from number `start` of a stream, as int64; every device gives the same.

    NumPy draws them on a CPU, because its loop is compiled; elsewhere torch does, so that nothing
    crosses to the device.
    """
    skipped = start % 4  # a counter gives four words
    if device.type == "cpu":
        generator = np.random.Philox(key=[seed, stream], counter=start // 4)
        raw = generator.random_raw(skipped + count)[skipped:]
        return torch.from_numpy(raw.view(np.int64))
    return philox(seed, stream, skipped + count, start // 4, device=device)[skipped:]


def philox(
    seed: int, stream: int, count: int, counter: int, *, device: torch.device
) -> torch.Tensor:
    """`count` words of Philox4x64-10 with key (seed, stream), as int64."""
    groups = -(-count // 4)
    # NumPy raises the counter before it draws, so the first group has number 1.
    words = [torch.arange(1, groups + 1, dtype=torch.int64, device=device) + counter]
    words += [torch.zeros_like(words[0]) for _ in range(3)]
    keys = [seed, stream]
    for _ in range(10):
        high0, low0 = _wide_product(words[0], _MULTIPLIERS[0])
        high1, low1 = _wide_product(words[2], _MULTIPLIERS[1])
        words = [
            high1 ^ words[1] ^ _signed(keys[0]),
            low1,
            high0 ^ words[3] ^ _signed(keys[1]),
            low0,
        ]
        keys = [(key + weyl) & (2**64 - 1) for key, weyl in zip(keys, _WEYL, strict=True)]
    return torch.stack(words, dim=1).flatten()[:count]


def _wide_product(word: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low 64 bits of an unsigned product; torch's int64 wraps, which is what is wanted."""
    a1, a0 = (word >> 32) & _LOW, word & _LOW
    b1, b0 = factor >> 32, factor & _LOW
    low = a0 * b0
    cross = a1 * b0 + ((low >> 32) & _LOW)
    other = a0 * b1 + (cross & _LOW)
    high = a1 * b1 + ((cross >> 32) & _LOW) + ((other >> 32) & _LOW)
    return high, word * _signed(factor)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
