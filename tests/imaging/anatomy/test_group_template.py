from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from joblib import Parallel, delayed

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.group_template import build_template
from lesionlab.imaging.anatomy.warped_study import Member
from lesionlab.imaging.volume import Volume

SPACING = (4.5, 4.5, 7.0)
QUICK = AtlasOptions(iterations=1, affine_iterations=(30, 10), syn_iterations=(10, 5, 0))
AFFINE = QUICK.model_copy(update={"iterations": 0})


@dataclass(frozen=True)
class LoadedStudies:
    """Studies that are in memory already."""

    members: Mapping[str, Member]

    @property
    def names(self):
        return list(self.members)

    def load(self, name):
        return self.members[name]


def loaded(members):
    return LoadedStudies({f"study {k}": member for k, member in enumerate(members)})


@pytest.fixture(scope="module")
def template(heads):
    return build_template(loaded(heads), QUICK.model_copy(update={"iterations": 2}))


def test_it_holds_every_sequence_on_one_upright_grid(template):
    assert set(template.volumes) == {"T1w", "FLAIR"}
    affine = template.volumes["T1w"].affine
    np.testing.assert_allclose(affine[:3, :3], np.diag(SPACING))
    assert template.volumes["FLAIR"].shape == template.volumes["T1w"].shape
    assert template.volumes["T1w"].data.dtype == np.float32
    rim = template.volumes["T1w"].data[:, :, [0, -1]]
    assert (rim == 0).all()


def test_it_tells_how_it_converged(template):
    assert template.qc["studies"] == 3
    assert template.qc["rounds"] == 2
    for round_ in range(3):
        assert template.qc[f"round_{round_}_correlation"] > 0.9
        assert template.qc[f"round_{round_}_overlap"] > 0.95
        assert template.qc[f"round_{round_}_change"] < 0.1  # the heads are of one shape: there is little to change
    assert 0 < template.qc["round_2_warp_mm"] < 3
    assert 0 < template.qc["round_2_jacobian_low"] < 1 < template.qc["round_2_jacobian_high"] < 3
    assert "round_0_warp_mm" not in template.qc


def test_rounds_end_when_the_template_stands_still(heads, template):
    options = QUICK.model_copy(update={"iterations": 2, "tolerance": template.qc["round_1_change"] * 1.01})
    stopped = build_template(loaded(heads), options)
    assert stopped.qc["rounds"] == 1
    assert stopped.qc["round_1_change"] == template.qc["round_1_change"]


def test_workers_change_nothing(heads):
    def side_by_side(work, tasks):
        done = Parallel(n_jobs=2)(delayed(work)(task) for task in tasks.values())
        return reversed(list(zip(tasks, done, strict=True)))  # as they finish: in any order

    one = build_template(loaded(heads), QUICK).volumes
    two = build_template(loaded(heads), QUICK, each=side_by_side).volumes
    for name in one:
        assert one[name].data.tobytes() == two[name].data.tobytes()


class _Counting:
    """Studies that note how many of them are loaded."""

    def __init__(self, members):
        self.members, self.loads = members, []

    @property
    def names(self):
        return [str(k) for k in range(len(self.members))]

    def load(self, name):
        self.loads.append(name)
        return self.members[int(name)]


def test_a_study_is_loaded_where_it_is_worked_on(heads, tmp_path):
    studies = _Counting(heads)
    build_template(studies, AFFINE, folder=tmp_path)
    # once to be measured, once for the first average, once for the affine round
    assert sorted(studies.loads) == ["0", "0", "0", "1", "1", "1", "2", "2", "2"]
    assert list(tmp_path.iterdir()) == []


def ill_heads(heads):
    """A bright ball at the same place of the first of three heads, and its mask."""
    first = heads[0].volumes
    points = np.moveaxis(np.indices(first["T1w"].shape), 0, -1)
    ball = (((points - (15, 30, 13)) * SPACING) ** 2).sum(axis=-1) < 15**2
    ill = {name: v.like(np.where(ball, 5, v.data).astype(np.float32)) for name, v in first.items()}
    return [Member(ill, first["T1w"].like(ball.astype(np.uint8))), *heads[1:]]


@pytest.mark.parametrize("average", ["mean", "median"])
def test_a_known_lesion_leaves_no_ghost(heads, average):
    options = AFFINE.model_copy(update={"average": average, "sharpen": 0})
    members = ill_heads(heads)
    healthy = build_template(loaded(heads), options).volumes["T1w"].data
    known = build_template(loaded(members), options).volumes["T1w"].data
    blind = build_template(loaded(members), options.model_copy(update={"lesion_weight": 1})).volumes["T1w"].data
    brain = (healthy > 0) & (known > 0)  # at its border a template may hold a voxel more or less
    assert np.abs(known - healthy)[brain].max() < 0.15
    # The brain is at most 1 there, the ball 5: in a mean of three it raises the template by more than 1.
    if average == "mean":
        assert np.abs(blind - healthy).max() > 1


def test_where_all_have_lesions_all_count(heads):
    members = [
        Member(one.volumes, one.volumes["T1w"].like(np.ones(one.volumes["T1w"].shape, np.uint8))) for one in heads
    ]
    template = build_template(loaded(members), AFFINE.model_copy(update={"average": "mean"})).volumes["T1w"].data
    assert np.isfinite(template).all()
    assert template.max() > 0.5


def test_a_coarse_grid_is_coarse(heads):
    coarse = build_template(loaded(heads), AFFINE.model_copy(update={"grid_mm": 9.0})).volumes["T1w"]
    fine = build_template(loaded(heads), AFFINE).volumes["T1w"]
    assert coarse.spacing == (9, 9, 9)
    # The same brain: as many ml of it above the background.
    volumes = [(one.data > 0).sum() * one.voxel_ml for one in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_a_background_of_minus_one_stays_minus_one(heads):
    members = [Member({n: v.like(np.where(v.data > 0, v.data, -1)) for n, v in one.volumes.items()}) for one in heads]
    assert build_template(loaded(members), AFFINE).volumes["T1w"].data.min() == -1


def test_unusable_studies_are_told(heads):
    with pytest.raises(InputError, match="no study"):
        build_template(loaded([]), QUICK)
    with pytest.raises(InputError, match=r"study 1.*differ"):
        build_template(loaded([heads[0], Member({"T1w": heads[1].volumes["T1w"]})]), QUICK)
    first = heads[0].volumes
    small = Volume(np.zeros((3, 3, 3), np.uint8), first["T1w"].affine)
    with pytest.raises(InputError, match="another grid"):
        build_template(loaded([Member(first, small)]), QUICK)
