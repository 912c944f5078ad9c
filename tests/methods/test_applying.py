"""Trained methods on many slices: some at a time, with the results of all at once."""

from __future__ import annotations

import pytest
import torch

from lesionlab.methods.applying import draw, judge, segment
from lesionlab.methods.registry import make_method
from lesionlab.slices.store import Rows

UNET = {"network": {"width": 2, "depth": 2}}


class Counting(torch.nn.Module):
    """Calls all that is brighter than black a tumor, and counts the slices it is given."""

    name = "counting"

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sizes = []

    def segment(self, images):
        self.sizes.append(len(images))
        brain = (images[:, 0] > -1).long() * 3
        return torch.nn.functional.one_hot(brain, 4).movedim(-1, 1).float()


def test_some_slices_at_a_time():
    segmenter = Counting()
    images = torch.full((10, 1, 4, 4), -1.0)
    images[7] = 0.5
    found = segment(segmenter, images, size=4)
    assert segmenter.sizes == [4, 4, 2]
    assert found.shape == (10, 4, 4) and (found[7] == 3).all() and found.sum() == 3 * 16


def test_slices_may_lie_on_disk():
    images = torch.rand(5, 1, 4, 4).numpy() * 2 - 1
    rows = Rows(images, [3, 0, 4])
    assert torch.equal(segment(Counting(), rows, size=2), segment(Counting(), images[[3, 0, 4]]))


def test_parts_are_drawn_as_all_at_once(task, small, batch):
    method = make_method("cgsamr", small, task)
    whole = method.confidence(batch)
    parts = draw(method, batch.labels.numpy().astype("uint8"), batch.atlas.numpy(), batch.tissues.numpy(), size=1)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_who_has_no_confidence_gives_none(task, small, batch):
    options = {**small, "generator": {**small["generator"], "guidance": None}}
    made = draw(make_method("cgsamr", options, task), batch.labels, batch.atlas, batch.tissues)
    assert made.images.shape == batch.images.shape and made.coarse is None and made.confidence is None


def test_judged_as_the_method_judges(task, small, batch):
    method = make_method("samr", small, task)
    assert torch.equal(judge(method, batch), method.judge(batch))


def test_a_method_is_asked_for_what_it_can_do(task, small, batch):
    with pytest.raises(TypeError, match="unet synthesizes no images"):
        draw(make_method("unet", UNET, task), batch.labels, batch.atlas, batch.tissues)
    with pytest.raises(TypeError, match="samr segments no images"):
        segment(make_method("samr", small, task), batch.images)
