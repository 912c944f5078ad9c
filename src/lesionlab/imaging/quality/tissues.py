"""Whether tissue maps have a brain's proportions and order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lesionlab.imaging.quality.lattice import Lattice

TISSUES = ("CSF", "GM", "WM")


def tissue_measures(
    maps: Mapping[str, np.ndarray], image: np.ndarray, lattice: Lattice, lesion: np.ndarray | None = None
) -> dict[str, float]:
    """Measures of CSF, GM and WM.

    Args:
        maps: ``CSF``, ``GM``, ``WM``: probabilities on the lattice.
        image: the sequence they were found on, on the lattice.
        lattice: the brain.
        lesion: bool, voxels that need not have a tissue; none by default.

    Returns:
        ``csf_share``, ``gm_share``, ``wm_share`` of all tissue; ``wm_deeper_mm``, how much deeper white matter lies
        than gray on average; ``gm_place``, where gray's mean intensity lies between CSF (0) and white matter (1);
        ``without_tissue``, the share of the brain outside lesions that has none.
    """
    inside = {name: np.where(lattice.brain, maps[name], 0) for name in TISSUES}
    totals = {name: float(share.sum()) for name, share in inside.items()}
    everything = sum(totals.values())
    if min(totals.values()) <= 0:
        return {f"{name.lower()}_share": total / everything if everything else 0.0 for name, total in totals.items()}
    depth = lattice.depth()
    deep = {name: float((share * depth).sum() / totals[name]) for name, share in inside.items()}
    bright = {name: float((share * image).sum() / totals[name]) for name, share in inside.items()}
    span = bright["WM"] - bright["CSF"]
    return {f"{name.lower()}_share": totals[name] / everything for name in TISSUES} | {
        "wm_deeper_mm": deep["WM"] - deep["GM"],
        "gm_place": (bright["GM"] - bright["CSF"]) / span if span else float("nan"),
        "without_tissue": _without_tissue(np.sum(list(inside.values()), axis=0), lattice.brain, lesion),
    }


def _without_tissue(total: np.ndarray, brain: np.ndarray, lesion: np.ndarray | None) -> float:
    looked_at = brain if lesion is None else brain & ~lesion
    return float((total[looked_at] < 0.5).mean()) if looked_at.any() else 0.0
