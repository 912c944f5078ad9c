"""Slices left on disk give the batches that slices in memory give, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.slices.batches import EpochSampler, Shuffle, Slices, concatenate
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.mapped import LOOKED_AT, MappedSlices, RowFile, Selection, open_slices
from lesionlab.slices.store import SliceStore


def write_store(folder: Path, count: int, side: int = 6, priors: bool = True, seed: int = 0) -> Path:
    """A store of ``count`` random slices of one study."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({"subject": "a", "study": "a", "plane": np.arange(count), "split": "train"})
    table = table.assign(domain="pathological", spacing_x=1.0, spacing_y=1.0, spacing_z=5.0, fill=0.5, clipped=0)
    table = table.assign(source="real", manipulation="none", donor="", record="{}")
    images, atlas, tissues = (
        draw.random((count, c, side, side), np.float32) for c in ((2, 6, 3) if priors else (2, 0, 0))
    )
    labels = draw.integers(0, 4, (count, side, side), np.uint8)
    SliceStore.write(folder, [StudySlices(images, labels, atlas, tissues, table)], ["T1w", "FLAIR"], ["edema", "tumor"])
    return folder


@pytest.fixture
def parts(tmp_path) -> list[Selection]:
    """Some slices of one store, not in order, then all of another."""
    one, other = write_store(tmp_path / "real", 9, seed=1), write_store(tmp_path / "made", 5, seed=2)
    return [Selection(store=one, places=(8, 0, 3, 4)), Selection(store=other)]


def same(one, other) -> bool:
    pairs = zip(one.tensors.values(), other.tensors.values(), strict=True)
    return one.fields == other.fields and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def test_the_same_batches_as_in_memory(parts):
    mapped, loaded = open_slices(parts, "map"), open_slices(parts, "load")
    stores = [Slices.from_arrays(*SliceStore(part.store).batch(part.places)) for part in parts]
    assert isinstance(mapped, MappedSlices) and len(mapped) == len(loaded) == 9
    assert same(loaded.all(), concatenate(stores).all())
    assert mapped.device == torch.device("cpu")
    for indices in ([0], [3, 4], [8, 0, 5, 2], range(9), torch.tensor([1, 1]), np.array([7])):
        assert same(mapped.take(indices), loaded.take(indices))
    sampler = EpochSampler(9, 2, seed=3)
    assert all(same(mapped.take(batch), loaded.take(batch)) for batch in sampler)


def test_slices_without_priors(tmp_path):
    part = Selection(store=write_store(tmp_path / "store", 3, priors=False))
    assert same(MappedSlices([part]).take([2, 0]), part.in_memory().take([2, 0]))


@pytest.mark.parametrize("memory", ["map", "load"])
def test_only_the_fields_that_are_asked_for_are_read(parts, memory):
    chosen = [part.model_copy(update={"fields": ("labels", "images")}) for part in parts]
    slices, whole = open_slices(chosen, memory), open_slices(parts, memory)
    assert slices.fields == slices.take([0]).fields == ("images", "labels")  # in the store's order
    assert same(slices.take([5, 1]), whole.take([5, 1]).only(["images", "labels"]))
    for name in ("atlas", "tissues"):
        with pytest.raises(InputError, match=f"reads {name}, which its stream does not name"):
            getattr(slices.take([0]), name)


@pytest.mark.parametrize("memory", ["map", "load"])
def test_without_labels_there_are_no_label_maps(parts, memory):
    chosen = [part.model_copy(update={"fields": ("images",)}) for part in parts]
    assert list(open_slices(chosen, memory).label_maps()) == []


def test_selections_of_other_fields_cannot_be_joined(parts):
    with pytest.raises(ValueError, match="different fields"):
        MappedSlices([parts[0], parts[1].model_copy(update={"fields": ("images",)})])


def test_label_maps_come_in_pieces(tmp_path):
    part = Selection(store=write_store(tmp_path / "store", LOOKED_AT + 3, side=2))
    pieces = list(MappedSlices([part]).label_maps())
    assert [len(piece) for piece in pieces] == [LOOKED_AT, 3]
    assert torch.equal(torch.cat(pieces), part.in_memory().tensors["labels"])


def test_stores_that_do_not_fit_together_are_refused(tmp_path):
    one, other = write_store(tmp_path / "one", 2), write_store(tmp_path / "other", 2, side=8)
    with pytest.raises(
        InputError, match=r"other: slices of different shapes.*\(2, 8, 8\).*Allowed: images \(2, 6, 6\)"
    ):
        MappedSlices([Selection(store=one), Selection(store=other)])


def test_an_unfinished_store_is_refused(tmp_path):
    (write_store(tmp_path / "store", 2) / "labels.npy").unlink()
    with pytest.raises(InputError, match="no complete slice store"):
        MappedSlices([Selection(store=tmp_path / "store")])


def test_a_file_that_was_cut_meanwhile_is_told(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(12.0).reshape(4, 3))
    rows = RowFile(path)
    path.write_bytes(path.read_bytes()[:-8])
    into = np.zeros((1, 3))
    rows.read([2], into)
    assert into.tolist() == [[6, 7, 8]]
    with pytest.raises(InputError, match=r"rows\.npy: a file of slices ends too early\. Given: no row 3"):
        rows.read([3], into)


MEASURE = """
import json, resource, sys
import numpy as np
from lesionlab.slices.mapped import MappedSlices, Selection
from lesionlab.slices.batches import EpochSampler
slices = MappedSlices([Selection(store=sys.argv[1])])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
slices.take(range(4))
before, total = peak(), 0.0
for _ in slices.label_maps():
    pass
for batch in EpochSampler(len(slices), 4, 0):
    total += float(slices.take(batch).images.sum(dtype=__import__("torch").float64))
print(json.dumps([before, peak(), total]))
"""


def test_memory_stays_bounded(tmp_path):
    side, count, studies = 128, 64, 6
    folder = tmp_path / "store"
    one = SliceStore(write_store(tmp_path / "one", count, side))
    arrays = one.batch()
    table = one.table.drop(columns="index")
    SliceStore.write(
        folder, (StudySlices(*arrays, table) for _ in range(studies)), ["T1w", "FLAIR"], ["edema", "tumor"]
    )
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
    done = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, check=True)
    before, after, total = json.loads(done.stdout)
    # 384 slices of 11 float32 pictures of 128 x 128: 283 MB; four slices of a batch are 3 MB.
    assert size > 280e6 and after - before < 30e6
    assert total == pytest.approx(studies * arrays.images.sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize(("block", "buffer"), [(1, 1), (4, 10), (7, 100), (50, 3)])
def test_a_block_shuffle_visits_every_slice_once(block, buffer):
    shuffle = Shuffle(block, buffer)
    orders = [EpochSampler(41, 5, seed, shuffle=shuffle).order(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(41)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4 or block == 50  # one block, pairs of neighbours alone mixed


def test_a_block_shuffle_reads_within_its_buffer():
    # 1000 slices in blocks of 10 and buffers of 50: each 50 in a row lie in at most 5 + 1 blocks of the disk.
    order = EpochSampler(1000, 10, 0, shuffle=Shuffle(10, 50)).order(0)
    assert all(len(set(order[start : start + 50] // 10)) <= 6 for start in range(0, 1000, 50))
    spread = EpochSampler(1000, 10, 0).order(0)
    assert len(set(spread[:50] // 10)) > 20


def test_a_block_shuffle_is_resumed_where_it_stopped():
    shuffle = Shuffle(4, 8)
    whole = [batch.tolist() for batch in EpochSampler(20, 3, 1, shuffle=shuffle)]
    sampler = EpochSampler(20, 3, 1, shuffle=shuffle)
    batches = iter(sampler)
    before = [next(batches).tolist() for _ in range(3)]
    resumed = EpochSampler(20, 3, 1, shuffle=shuffle)
    resumed.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    assert before + [batch.tolist() for batch in resumed] == whole
    with pytest.raises(ValueError, match="block"):
        EpochSampler(20, 3, 1).load_state_dict(sampler.state_dict())
