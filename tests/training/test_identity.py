"""What a run is made from, and how a refusal names what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.slices.batches import Slices
from lesionlab.training.identity import difference, identify, require_same_run


def identity(method, slices, options):
    return identify(method, {"slices": slices}, options)


def test_the_same_run_is_the_same_whatever_has_no_effect(fresh, slices, options):
    base = identity(fresh(), slices, options)
    assert base == identity(fresh(), slices, options.model_copy(update={"log_every": 7, "threads": 1}))
    assert base == json.loads(json.dumps(base))
    require_same_run(base, identity(fresh(), slices, options), Path("last.pt"))


def test_what_differs_is_named(fresh, slices, options):
    base = identity(fresh(), slices, options)
    fewer = Slices(**{name: tensor[1:] for name, tensor in slices.tensors.items()})
    other_seed = difference(base, identity(fresh(seed=1), slices, options))
    assert [key for key, _, _ in other_seed] == ["first_weights"]
    half = options.model_copy(update={"precision": "bf16"})
    assert difference(base, identity(fresh(), slices, half)) == [("training.precision", "fp32", "bf16")]
    keys = [key for key, _, _ in difference(base, identity(fresh(), fewer, options))]
    assert keys == ["streams.slices.count", "streams.slices.content"]
    bare = Slices(images=slices.tensors["images"], labels=slices.tensors["labels"])
    keys = [key for key, _, _ in difference(base, identity(fresh(), bare, options))]
    assert keys == ["streams.slices.fields", "streams.slices.content"]


def test_every_stream_counts_by_its_name(fresh, slices, options):
    one = identify(fresh(), {"healthy": slices, "pathological": slices.first(5)}, options)
    other = identify(fresh(), {"healthy": slices, "pathological": slices.first(4)}, options)
    keys = [key for key, _, _ in difference(one, other)]
    assert keys == ["streams.pathological.count", "streams.pathological.content"]


@pytest.mark.parametrize("place", [0, 77, 199])
def test_every_slice_counts(fresh, options, place):
    def many() -> Slices:
        draw = torch.Generator().manual_seed(1)
        images, atlas = (torch.rand(200, channels, 8, 8, generator=draw) * 2 - 1 for channels in (2, 6))
        return Slices(images=images, labels=torch.ones(200, 8, 8, dtype=torch.uint8), atlas=atlas)

    base, images, labels = identity(fresh(), many(), options), many(), many()
    images.tensors["images"][place, 1, 3, 3] += 0.01
    labels.tensors["labels"][place, 3, 3] = 2
    assert difference(base, identity(fresh(), many(), options)) == []
    for other in (images, labels):
        assert [key for key, _, _ in difference(base, identity(fresh(), other, options))] == ["streams.slices.content"]


def test_keys_that_one_side_lacks_differ_too():
    given, wanted = {"a": {"b": 1, "old": 2}}, {"a": {"b": 1, "new": [3]}}
    assert difference(given, wanted) == [("a.new", "nothing", [3]), ("a.old", 2, "nothing")]


def test_the_error_gives_both_values(fresh, slices, options):
    given, wanted = (identity(fresh(), slices, options.model_copy(update={"seed": s, "decay": s})) for s in (4, 5))
    with pytest.raises(InputError) as caught:
        require_same_run(given, wanted, Path("last.pt"))
    assert caught.value.what == "the checkpoint belongs to another run: training.decay, training.seed differ"
    assert caught.value.given == "training.decay = 4, training.seed = 4"
    assert caught.value.allowed == "training.decay = 5, training.seed = 5"


def test_many_differences_are_counted():
    wanted = {str(number): number for number in range(10)}
    with pytest.raises(InputError, match=r"0, 1, 2, 3, 4, 5, 6, 7, and 2 more differ\. Given: 0 = nothing"):
        require_same_run({}, wanted, Path("last.pt"))
