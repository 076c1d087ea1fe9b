"""Pose a problem: which atoms, which target, in which geometry."""

from gtp_core.atoms.matrix import ArrayAtoms, Atoms, StoredAtoms, remove, strongest
from gtp_core.atoms.posing import CommonDirection, pose
from gtp_core.atoms.problem import Cap, Problem, Split, pose_array

__all__ = [
    "ArrayAtoms",
    "Atoms",
    "Cap",
    "CommonDirection",
    "Problem",
    "Split",
    "StoredAtoms",
    "pose",
    "pose_array",
    "remove",
    "strongest",
]
