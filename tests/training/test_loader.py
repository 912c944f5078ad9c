"""Batches read ahead are the same, and a run that reads ahead goes on where it stopped."""

from __future__ import annotations

import threading

import pytest
import torch

from lesionlab.slices.batches import EpochSampler
from lesionlab.training.loader import Loader, make_sampler, reads_ahead
from lesionlab.training.loop import fit
from lesionlab.training.ranks import Ranks


class Afar:
    """Slices that are not in memory as far as the loop can tell; notes which thread takes what."""

    device = torch.device("cpu")

    def __init__(self, slices):
        self.slices, self.taken, self.threads = slices, [], set()

    @property
    def fields(self):
        return self.slices.fields

    def __len__(self):
        return len(self.slices)

    def take(self, indices):
        self.taken.append([int(index) for index in indices])
        self.threads.add(threading.current_thread())
        return self.slices.take(indices)

    def label_maps(self):
        return self.slices.label_maps()


class Broken(Afar):
    def take(self, indices):
        raise OSError("the disk is gone")


def loading(source, sampler, ranks=None, ahead=False):
    """A loader of one stream."""
    return Loader({"slices": source}, {"slices": sampler}, ranks or Ranks(), ahead)


def images(loader, count):
    return [loader.take()["slices"].images for _ in range(count)]


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_come_in_the_samplers_order(slices, ahead):
    with loading(slices, EpochSampler(7, 3, 0), ahead=ahead) as loader:
        given = images(loader, 5)
    sampler = EpochSampler(7, 3, 0)
    expected = [slices.take(indices).images for _ in range(2) for indices in sampler]  # two epochs of three batches
    assert all(torch.equal(a, b) for a, b in zip(given, expected[:5], strict=True))


def test_one_batch_is_read_ahead_by_another_thread_and_does_not_count(slices):
    source, sampler = Afar(slices), EpochSampler(7, 2, 0)
    with loading(source, sampler, ahead=True) as loader:
        assert loader.state_dict() == {"slices": EpochSampler(7, 2, 0).state_dict()}
        loader.take()
        loader.take()
        state = loader.state_dict()["slices"]
        assert (state["epoch"], state["position"]) == (0, 2) and sampler.position == 3
    order = sampler.order(0).tolist()
    assert source.taken[:2] == [order[:2], order[2:4]] and threading.main_thread() not in source.threads
    resumed = EpochSampler(7, 2, 0)
    resumed.load_state_dict(state)
    assert next(iter(resumed)).tolist() == order[4:6]


def test_each_process_takes_its_part(slices):
    sampler = EpochSampler(7, 6, 0)
    whole = sampler.order(0)[:6].tolist()
    parts = []
    for rank in range(3):
        source = Afar(slices)
        with loading(source, EpochSampler(7, 6, 0), Ranks(rank, 3)) as loader:
            loader.take()
        parts.append(source.taken[0])
    assert [len(part) for part in parts] == [2, 2, 2] and [*parts[0], *parts[1], *parts[2]] == whole


def test_what_fails_while_reading_ahead_fails_the_step(slices):
    with loading(Broken(slices), EpochSampler(7, 3, 0), ahead=True) as loader, pytest.raises(OSError):
        loader.take()


def test_what_comes_from_far_is_read_ahead(slices):
    cpu = torch.device("cpu")
    assert not reads_ahead(slices, cpu) and reads_ahead(Afar(slices), cpu)
    assert reads_ahead(slices, torch.device("meta"))


def test_a_run_that_reads_ahead_is_the_same_also_when_it_is_resumed(tmp_path, slices, fresh, options):
    near, far, continued = fresh(), fresh(), fresh()
    fit(near, slices, options, tmp_path / "near")
    fit(far, Afar(slices), options, tmp_path / "far")

    class Killed(Exception):
        pass

    class Killer:
        def metrics(self, values, step):
            if step == 4:
                raise Killed

        def images(self, array, name, step):
            pass

    with pytest.raises(Killed):
        fit(fresh(), Afar(slices), options, tmp_path / "killed", tracker=Killer())
    fit(continued, Afar(slices), options, tmp_path / "killed")
    for other in (far, continued):
        pairs = zip(near.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_order_of_blocks_comes_from_the_options(options):
    blocks = options.model_copy(update={"shuffle_block": 2, "shuffle_buffer": 2})
    order = make_sampler("slices", 8, blocks).order(0)
    assert all(abs(a - b) == 1 for a, b in order.reshape(-1, 2))  # blocks of two, mixed within themselves alone
