"""Compiled loops over pairs: products of float16 rows, and the Jaccard similarity of sorted sets.

Apart from who asks for them, so that importing the room does not wait for the compiler.
"""

import numba as nb
import numpy as np

# Every float16 by its bits; 256 kB, which the second-level cache holds.
HALVES = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)


@nb.njit(nogil=True, cache=True)
def pair_products(
    left: np.ndarray,
    right: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    halves: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[p] = <left[one[p]], right[other[p]]> in float64.

    Args:
        left, right: (rows, dim) uint16 bits of float16, maybe of two files.
        one, other: (n_pairs,) which rows of them.
        halves: HALVES, the value of every pattern of bits.
        out: (n_pairs,) float64.
    """
    for p in range(one.shape[0]):
        a, b = left[one[p]], right[other[p]]
        total = 0.0
        for j in range(a.shape[0]):
            total += halves[a[j]] * halves[b[j]]
        out[p] = total


@nb.njit(nogil=True, cache=True)
def jaccard(
    codes: np.ndarray, starts: np.ndarray, one: np.ndarray, other: np.ndarray, out: np.ndarray
) -> None:
    """out[p] = |A & B| / |A | B| of the sets `one[p]` and `other[p]`; two empty sets give 1.

    Args:
        codes: uint64, the members of all sets, ascending within a set.
        starts: (n_sets + 1,) where each set begins.
        one, other: (n_pairs,) which sets.
        out: (n_pairs,) float32.
    """
    for p in range(one.shape[0]):
        i, j = starts[one[p]], starts[other[p]]
        end_i, end_j = starts[one[p] + 1], starts[other[p] + 1]
        union = (end_i - i) + (end_j - j)
        both = 0
        while i < end_i and j < end_j:
            if codes[i] == codes[j]:
                both += 1
                i += 1
                j += 1
            elif codes[i] < codes[j]:
                i += 1
            else:
                j += 1
        out[p] = np.float32(1.0) if union == both else np.float32(both / (union - both))


@nb.njit(nogil=True, cache=True)
def sort_sets(codes: np.ndarray, starts: np.ndarray, out: np.ndarray, sizes: np.ndarray) -> None:
    """Every set sorted and without repeats, in place of its list; `sizes` are theirs.

    Args:
        codes: uint64, the lists of all sets end to end.
        starts: (n_sets + 1,).
        out: as long as codes; set i is out[starts[i] : starts[i] + sizes[i]].
        sizes: (n_sets,).
    """
    for s in range(sizes.shape[0]):
        found = np.sort(codes[starts[s] : starts[s + 1]])
        count = 0
        for k in range(found.shape[0]):
            if k == 0 or found[k] != found[k - 1]:
                out[starts[s] + count] = found[k]
                count += 1
        sizes[s] = count
