"""The evolving subspace: a basis per checkpoint, and atoms in it.

Gradient Trajectory Pursuit matches gradients in a subspace that follows the training (Deng, Li, Li
2024). Here a checkpoint's basis is the principal directions of its unit gradients (of valid
samples, the common direction removed where the problem removes it); they belong to a store and a
geometry, not to a task, so they are fitted once and kept. A task adds what they miss of its target
as one direction more: in the subspace the target is whole, and a first round ranks as it would in
full dimension.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from gtp_core.atoms.block import Block, block_of, written
from gtp_core.atoms.matrix import StoredAtoms, strongest
from gtp_core.atoms.principal import Told, principal
from gtp_core.errors import CatalogError, TaskError
from gtp_core.store import Progress, written_whole
from gtp_core.trajectories import Trajectories

VERSION = 1  # of the files kept
_NOTHING = 1e-6  # of a target's length: what the basis may miss by rounding


@dataclass(frozen=True)
class Fitted:
    """A basis per checkpoint, and the samples in it.

    Attributes:
        basis: (n_checkpoints, rank, width) float32, orthonormal rows, most energy first.
        coordinates: <direction, unit gradient> of every sample, float16, by memory map.
        energy: (n_checkpoints,) share of the gradients' squared length that lies in the basis.
    """

    basis: np.ndarray
    coordinates: Trajectories
    energy: np.ndarray

    def lower(self, vector: np.ndarray) -> np.ndarray:
        """Coordinates (n_checkpoints * rank,) float64 of a vector (n_checkpoints * width,)."""
        pieces = vector.reshape(len(self.basis), -1)
        return np.einsum("trd,td->tr", self.basis, pieces, dtype=np.float64).ravel()

    def lifted(self, coordinates: np.ndarray) -> np.ndarray:
        """The vector (n_checkpoints * width,) float64 that has these coordinates."""
        pieces = coordinates.reshape(self.basis.shape[:2])
        return np.einsum("trd,tr->td", self.basis, pieces, dtype=np.float64).ravel()


@dataclass(frozen=True)
class SubspaceAtoms:
    """Atoms in a subspace and along one direction beside it: (n_samples, rank of all + 1).

    Attributes:
        coordinates: in the basis of every checkpoint.
        beside: (n_samples,) float32 along what the basis misses of the target.
        candidates: (n_samples,) bool.
    """

    coordinates: Trajectories
    beside: np.ndarray
    candidates: np.ndarray

    @property
    def n_samples(self) -> int:
        return self.coordinates.n_samples

    @property
    def dim(self) -> int:
        return self.coordinates.dim + 1

    def products(self, vectors: np.ndarray) -> np.ndarray:
        low = self.coordinates.products(vectors[:, :-1])
        return low + np.multiply.outer(self.beside, vectors[:, -1].astype(np.float32))

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return np.hstack([self.coordinates.rows(index), self.beside[index, None]])

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        return block_of(written(self.rows(index), space), np.ones(1), None)


class Subspaces:
    """The subspaces of a store's atoms in one geometry, each fitted once and kept on disk.

    Safe to share between threads.
    """

    def __init__(
        self, atoms: StoredAtoms, valid: np.ndarray, digest: str, folder: Path, targets: np.ndarray
    ) -> None:
        """What to fit and where to keep it; nothing is read yet.

        Args:
            atoms: of the store, in the problem's geometry.
            valid: (n_samples,) bool: the samples whose gradients count.
            digest: of the store.
            folder: where fitted subspaces are kept.
            targets: (k, dim) what may be pursued; products with all of them share a pass.
        """
        self._atoms, self._valid, self._targets = atoms, valid, targets
        self._digest, self._folder = digest, folder
        self._fitted: dict[int, Fitted] = {}
        self._beside: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = Lock()

    @property
    def width(self) -> int:
        """Length of one projected gradient: the largest rank there is."""
        return self._atoms.dim // len(self._atoms.trajectories.parts)

    def folder(self, rank: int) -> Path:
        """Where the subspace of this rank is kept: another store or geometry is another folder."""
        geometry = "kept" if self._atoms.direction is None else "removed"
        text = json.dumps([VERSION, self._digest, geometry, rank])
        return self._folder / f"pca{rank}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def fitted(self, rank: int, progress: Progress | None = None) -> Fitted:
        """The subspace of this rank; two passes over the store unless it is kept already."""
        with self._lock:
            if rank not in self._fitted:
                self._fitted[rank] = self._open(rank, progress)
            return self._fitted[rank]

    def atoms(
        self, rank: int, target: np.ndarray, candidates: np.ndarray
    ) -> tuple[SubspaceAtoms, np.ndarray]:
        """The atoms in the subspace of this rank, and a target (dim,) there, not a bit shorter.

        Raises:
            TaskError: the target is none of those announced.
        """
        found = np.flatnonzero((self._targets == target).all(axis=1))
        if len(found) == 0:
            raise TaskError(
                "this target was not announced when the problem was posed, so its subspace is "
                "unknown. Pose the problem again."
            )
        fitted = self.fitted(rank)
        with self._lock:
            if rank not in self._beside:
                self._beside[rank] = self._look_beside(fitted)
            lengths, beside = self._beside[rank]
        place = int(found[0])
        low = np.append(fitted.lower(target), lengths[place])
        return SubspaceAtoms(fitted.coordinates, beside[place], candidates), low

    def _look_beside(self, fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
        """What the basis misses of each target: its length, and every atom along it. One pass."""
        missed = np.stack([t - fitted.lifted(fitted.lower(t)) for t in self._targets])
        lengths = np.linalg.norm(missed, axis=1)
        lengths[lengths <= _NOTHING * np.linalg.norm(self._targets, axis=1)] = 0.0
        units = missed / np.where(lengths > 0, lengths, np.inf)[:, None]
        return lengths, np.ascontiguousarray(self._atoms.products(units).T)

    def _open(self, rank: int, progress: Progress | None) -> Fitted:
        whole, folder = self._atoms.trajectories, self.folder(rank)
        shape = whole.n_samples, rank, self.width
        pieces = []
        for t, parts in enumerate(whole.parts):
            known = _read(folder, t, *shape)
            if known is None:
                told = _telling(progress, t, len(whole.parts))
                direction = self._atoms.direction
                removed = None if direction is None else direction[t]
                _write(folder, t, *principal(parts, self._valid, removed, rank, told))
                known = _read(folder, t, *shape)
            if known is None:
                raise CatalogError(
                    f"{folder} cannot be read back after it was written. Check the disk, delete "
                    "that folder and select again."
                )
            pieces.append(known)
        coordinates, basis, energy = zip(*pieces, strict=True)
        low = Trajectories(tuple((rows,) for rows in coordinates), whole.eta)
        return Fitted(np.stack(basis), low, np.array(energy))


def _telling(progress: Progress | None, checkpoint: int, of: int) -> Told | None:
    if progress is None:
        return None
    what = f"fitting the subspace, checkpoint {checkpoint + 1} of {of}"
    return lambda done, total: progress(checkpoint * total + done, of * total, what)


_FILES = ("coordinates", "basis", "spectrum")  # of a checkpoint, in the order they are written


def _path(folder: Path, checkpoint: int, what: str) -> Path:
    return folder / f"{checkpoint:02d}-{what}.npy"


def _write(folder: Path, checkpoint: int, *arrays: np.ndarray) -> None:
    """Each file whole, the spectrum last: where it is, the checkpoint is done."""
    for what, array in zip(_FILES, arrays, strict=True):
        path = _path(folder, checkpoint, what)
        with written_whole(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, array)


def _read(
    folder: Path, checkpoint: int, n_samples: int, rank: int, width: int
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Coordinates, basis and the share of energy kept; None where they are absent or damaged."""
    coordinates, basis, spectrum = (_path(folder, checkpoint, what) for what in _FILES)
    try:
        energies = np.load(spectrum)
        low, rows = np.load(coordinates, mmap_mode="r"), np.load(basis)
    except (OSError, ValueError, EOFError):
        return None  # derived: it is fitted again
    told = [(array.shape, array.dtype) for array in (low, rows, energies)]
    wanted = [((n_samples, rank), np.float16), ((rank, width), np.float32), ((rank + 1,), float)]
    if told != wanted:
        return None
    return low, rows, float(energies[:-1].sum() / max(energies[-1], 1e-300))
