"""Batches and the order of an epoch."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.slices.batches import EpochSampler, Slices, concatenate


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
    assert own.images.sum() == 0
    assert own.labels.dtype == torch.uint8


def test_concatenate_keeps_the_order():
    joined = concatenate([slices(2), slices(3, start=10)])
    assert joined.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 12]
    assert len(joined) == 5
    with pytest.raises(ValueError, match="different shapes"):
        concatenate([slices(2), slices(2, channels=3)])
    with pytest.raises(ValueError, match="nothing"):
        concatenate([])


def test_lengths_must_agree():
    one = slices(2)
    with pytest.raises(ValueError, match="one length"):
        Slices(one.images, one.labels[:1], one.atlas, one.tissues)


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
