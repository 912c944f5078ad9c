"""Batches and the order of an epoch."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.errors import InputError
from lesionlab.slices.batches import Batch, EpochSampler, Slices, concatenate


def slices(n, start=0, channels=2):
    marks = np.arange(start, start + n, dtype=np.float32)
    return Slices.from_arrays(
        np.tile(marks[:, None, None, None], (1, channels, 4, 4)),
        np.tile(marks[:, None, None].astype(np.uint8), (1, 4, 4)),
        np.zeros((n, 3 * channels, 4, 4), np.float32),
        np.zeros((n, 3, 4, 4), np.float32),
    )


def test_take_gives_the_slices_in_order():
    batch = slices(5).take([3, 0])
    assert batch.images.shape == (2, 2, 4, 4)
    assert batch.images[:, 0, 0, 0].tolist() == [3.0, 0.0]
    assert batch.labels.dtype == torch.int64
    assert batch.labels[:, 0, 0].tolist() == [3, 0]
    assert slices(5).take(np.array([4])).images[0, 0, 0, 0] == 4
    assert slices(5).take(torch.tensor([1, 2])).atlas.shape == (2, 6, 4, 4)


def test_from_arrays_copies():
    array = np.zeros((1, 1, 2, 2), np.float32)
    own = Slices.from_arrays(array, np.zeros((1, 2, 2), np.uint8), array, array)
    array += 1
    assert own.tensors["images"].sum() == 0
    assert own.tensors["labels"].dtype == torch.uint8


def test_concatenate_keeps_the_order():
    joined = concatenate([slices(2), slices(3, start=10)])
    assert joined.tensors["images"][:, 0, 0, 0].tolist() == [0, 1, 10, 11, 12]
    assert len(joined) == 5
    with pytest.raises(ValueError, match="different shapes"):
        concatenate([slices(2), slices(2, channels=3)])
    with pytest.raises(ValueError, match="nothing"):
        concatenate([])


def test_lengths_must_agree():
    one = slices(2).tensors
    with pytest.raises(ValueError, match="one length"):
        Slices(**{**one, "labels": one["labels"][:1]})


def test_slices_of_other_fields_cannot_be_joined():
    bare = Slices(images=slices(2).tensors["images"])
    with pytest.raises(ValueError, match="different shapes"):
        concatenate([slices(2), bare])
    assert concatenate([bare, bare]).fields == ("images",)


def test_a_batch_has_the_fields_of_its_slices_in_their_order():
    whole = slices(3).tensors
    some = Slices(labels=whole["labels"], images=whole["images"])
    batch = some.take([2, 1])
    assert some.fields == batch.fields == tuple(batch.tensors) == ("images", "labels") and len(batch) == 2
    assert torch.equal(next(some.label_maps()), whole["labels"])
    assert list(Slices(images=whole["images"]).label_maps()) == []


@pytest.mark.parametrize("missing", ["images", "labels", "atlas", "tissues"])
def test_a_field_that_a_batch_does_not_hold_is_told_by_name(missing):
    held = [name for name in slices(2).fields if name != missing]
    batch = slices(2).all().only(held)
    assert all(torch.equal(getattr(batch, name), tensor) for name, tensor in batch.tensors.items())
    with pytest.raises(InputError, match=f"reads {missing}, which its stream does not name.*{', '.join(held)}"):
        getattr(batch, missing)
    with pytest.raises(InputError, match=f"reads {missing},"):
        batch.only(["images", "labels", missing])


def test_a_batch_has_no_other_fields():
    with pytest.raises(ValueError, match="no code, mask; its fields are images, labels, atlas, tissues"):
        Batch(images=torch.zeros(1), mask=torch.zeros(1), code=torch.zeros(1))


def test_every_field_of_a_batch_is_changed_alike():
    batch = slices(3).all()
    turned = batch.map(lambda tensor: tensor.flip(-1) + 1)
    assert turned.fields == batch.fields and turned.labels.dtype == torch.int64
    assert all(torch.equal(turned.tensors[name], tensor.flip(-1) + 1) for name, tensor in batch.tensors.items())


def test_fields_are_replaced_or_added_and_the_batch_stays_as_it_was():
    batch = slices(2).all().only(["atlas", "images"])
    assert batch.fields == ("images", "atlas")
    other = batch.replace(images=batch.images + 5, labels=torch.ones(2, 4, 4, dtype=torch.int64))
    assert other.fields == ("images", "labels", "atlas") and batch.fields == ("images", "atlas")
    assert torch.equal(other.images, batch.images + 5) and other.atlas is batch.atlas


def test_a_batch_in_equal_parts():
    batch = slices(6).take([5, 4, 3, 2, 1, 0]).only(["images", "labels"])
    parts = batch.chunk(3)
    assert [part.fields for part in parts] == [("images", "labels")] * 3
    assert [part.labels[:, 0, 0].tolist() for part in parts] == [[5, 4], [3, 2], [1, 0]]
    assert [part.images[:, 0, 0, 0].tolist() for part in parts] == [[5, 4], [3, 2], [1, 0]]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_an_epoch_visits_every_slice_once(n, batch_size, seed):
    sampler = EpochSampler(n, batch_size, seed)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(len(b) == batch_size for b in batches[:-1])
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def test_drop_last_leaves_out_the_small_batch():
    assert [len(b) for b in EpochSampler(10, 4, 0, drop_last=True)] == [4, 4]
    assert [len(b) for b in EpochSampler(10, 4, 0)] == [4, 4, 2]
    with pytest.raises(ValueError, match="no batch"):
        EpochSampler(3, 4, 0, drop_last=True)


def test_the_seed_fixes_the_order_and_epochs_differ():
    one, other = EpochSampler(20, 20, 1), EpochSampler(20, 20, 1)
    first, second = next(iter(one)), next(iter(one))
    assert first.tolist() == next(iter(other)).tolist()
    assert first.tolist() != second.tolist()
    assert first.tolist() != next(iter(EpochSampler(20, 20, 2))).tolist()


@given(st.integers(0, 14))
def test_a_resumed_sampler_goes_on_where_it_stopped(done):
    # 3 epochs of 5 batches; the checkpoint is taken within the step that follows `done` batches.
    def run(sampler, steps):
        while steps:
            for batch in sampler:
                yield batch.tolist()
                steps -= 1
                if not steps:
                    return

    whole = list(run(EpochSampler(9, 2, 3), 15))
    sampler = EpochSampler(9, 2, 3)
    before = list(run(sampler, done))
    resumed = EpochSampler(9, 2, 3)
    resumed.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    assert before + list(run(resumed, 15 - done)) == whole


def test_a_state_of_another_run_is_refused():
    with pytest.raises(ValueError, match="seed"):
        EpochSampler(9, 2, 3).load_state_dict(EpochSampler(9, 2, 4).state_dict())
