from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.quality.tissues import tissue_measures


@pytest.fixture
def shells(lattice):
    """White matter inside, gray around it, water outside: by depth 0-6 mm, 6-18 mm and deeper."""
    depth = lattice.depth()
    return {
        "CSF": ((depth > 0) & (depth <= 6)).astype(np.float32),
        "GM": ((depth > 6) & (depth <= 18)).astype(np.float32),
        "WM": (depth > 18).astype(np.float32),
    }


def test_shares_depths_and_places(shells, lattice):
    image = 20 * shells["CSF"] + 60 * shells["GM"] + 100 * shells["WM"]
    found = tissue_measures(shells, image, lattice)
    total = np.count_nonzero(lattice.brain)
    for name, share in shells.items():
        assert found[f"{name.lower()}_share"] == pytest.approx(share.sum() / total)
    depth = lattice.depth()
    deeper = depth[shells["WM"] > 0].mean() - depth[shells["GM"] > 0].mean()
    assert found["wm_deeper_mm"] == pytest.approx(deeper, abs=1e-3)
    assert found["gm_place"] == pytest.approx(0.5, abs=1e-4)  # 60 lies halfway between 20 and 100
    assert found["without_tissue"] == 0


def test_swapped_maps_turn_depths_and_places_over(shells, lattice):
    image = 20 * shells["CSF"] + 60 * shells["GM"] + 100 * shells["WM"]
    swapped = {"CSF": shells["CSF"], "GM": shells["WM"], "WM": shells["GM"]}
    found = tissue_measures(swapped, image, lattice)
    assert found["wm_deeper_mm"] < 0
    assert found["gm_place"] == pytest.approx(2, abs=1e-4)  # 100 lies twice as far from 20 as 60 does


def test_missing_tissue_is_told(shells, lattice):
    shells["WM"] = np.zeros_like(shells["WM"])
    assert tissue_measures(shells, shells["GM"], lattice)["wm_share"] == 0
    hole = {**shells, "WM": shells["CSF"], "CSF": shells["CSF"] * 0.01}
    empty = 1 - (shells["CSF"].sum() + shells["GM"].sum()) / np.count_nonzero(lattice.brain)
    assert tissue_measures(hole, hole["GM"], lattice)["without_tissue"] == pytest.approx(empty, abs=1e-6)


def test_lesions_need_no_tissue(shells, lattice):
    lesion = lattice.depth() > 24
    maps = {name: np.where(lesion, 0, share) for name, share in shells.items()}
    assert tissue_measures(maps, maps["GM"], lattice, lesion)["without_tissue"] == 0
    expected = lesion.sum() / np.count_nonzero(lattice.brain)
    assert tissue_measures(maps, maps["GM"], lattice)["without_tissue"] == pytest.approx(expected)
    assert tissue_measures(maps, maps["GM"], lattice, lattice.brain)["without_tissue"] == 0
