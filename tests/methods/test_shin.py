"""Shin et al.: what sets it apart from pix2pix, its condition."""

from __future__ import annotations

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.methods.pix2pix import Pix2Pix
from lesionlab.methods.registry import make_method

SMALL = {"generator": {"width": 2, "downs": 3}, "discriminator": {"width": 2}}


@pytest.fixture
def batch(batch):
    """Twice as wide: five convolutions of the PatchGAN leave nothing of 16 pixels."""
    return batch.map(lambda tensor: tensor.repeat_interleave(2, -1))


@pytest.fixture
def method(task):
    return make_method("shin", SMALL, task)


def test_it_is_pix2pix_on_another_input(method):
    kind = type(method)
    assert issubclass(kind, Pix2Pix) and kind.training_step is Pix2Pix.training_step
    assert kind.prior == "tissues" and kind.streams["slices"].fields == ("images", "labels", "tissues")
    assert kind.claims == () and kind.training_defaults == Pix2Pix.training_defaults


def test_the_condition_is_lesion_classes_then_tissues(method, batch):
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 0, :4] = torch.tensor([0, 1, 2, 3])
    tissues = torch.tensor([0.1, 0.2, 0.7]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    seen = method.condition(batch.replace(labels=labels, tissues=tissues))
    # Two lesion classes, labels 2 and 3, then CSF, GM, WM where there is no lesion; background and brain have none.
    expected = [[0, 0, 0.1, 0.2, 0.7], [0, 0, 0.1, 0.2, 0.7], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    torch.testing.assert_close(seen[0, :, 0, :4].T, torch.tensor(expected))
    assert method.G.downs[0][0].in_channels == 5 and method.D.layers[0][0].in_channels == 5 + 2


def test_anatomy_comes_from_the_tissues(method, batch):
    given = batch.only(("labels", "tissues"))
    images = method.synthesize(given)
    assert images.shape == batch.images.shape
    assert not torch.equal(images, method.synthesize(given.replace(tissues=1 - batch.tissues)))
    assert not torch.equal(method.judge(batch), method.judge(batch.replace(tissues=1 - batch.tissues)))


def test_without_tissue_maps_it_says_what_to_do(method, batch):
    with pytest.raises(InputError, match="tissues"):
        method.synthesize(batch.only(("labels",)))
    with pytest.raises(InputError, match="tissues"):
        method.check({"slices": batch.replace(tissues=batch.tissues[:, :0]).only(("images", "labels", "tissues"))})
