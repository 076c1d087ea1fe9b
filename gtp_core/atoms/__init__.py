"""Pose a problem: which atoms, which target, in which geometry."""

from gtp_core.atoms.aims import POOL
from gtp_core.atoms.block import Block, remove
from gtp_core.atoms.capping import CAPS
from gtp_core.atoms.matrix import ArrayAtoms, Atoms, StoredAtoms, strongest, weighted_sums
from gtp_core.atoms.posing import DEFAULTS, CommonDirection, pose
from gtp_core.atoms.problem import Cap, Problem, Split, pose_array
from gtp_core.atoms.sharing import cancellable, together

__all__ = [
    "CAPS",
    "DEFAULTS",
    "POOL",
    "ArrayAtoms",
    "Atoms",
    "Block",
    "Cap",
    "CommonDirection",
    "Problem",
    "Split",
    "StoredAtoms",
    "cancellable",
    "pose",
    "pose_array",
    "remove",
    "strongest",
    "together",
    "weighted_sums",
]
