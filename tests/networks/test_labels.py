"""One-hot maps and regions of interest."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.networks.labels import one_hot, region_masks


def test_one_hot_by_hand():
    assert one_hot(torch.tensor([[[0, 2]]]), 3).tolist() == [[[[1, 0]], [[0, 0]], [[0, 1]]]]


def test_regions_by_hand():
    # Background, brain, then any lesion: 0 | 1 | 2 3 4.
    masks = region_masks(torch.tensor([[[0, 1, 2, 3, 4]]]))
    assert masks[0, :, 0].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_regions_part_the_slice_and_leave_the_labels_alone(codes):
    labels = torch.tensor(codes).view(1, 1, -1)
    before = labels.clone()
    first, second = region_masks(labels), region_masks(labels)
    assert torch.equal(labels, before) and torch.equal(first, second)
    assert torch.equal(first.sum(1), torch.ones(1, 1, len(codes)))
    assert set(first.unique().tolist()) <= {0.0, 1.0}
