"""Methods by name, and the checks before training."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from lesionlab.errors import InputError
from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method, methods


def test_names_are_the_methods_own():
    assert {name: method.name for name, method in methods().items()} == {name: name for name in methods()}


def test_a_mistyped_name_is_told_the_nearest(task):
    with pytest.raises(InputError, match=r"cgsmar.*did you mean .cgsamr"):
        make_method("cgsmar", {}, task)


def test_a_mistyped_option_is_refused(small, task):
    with pytest.raises(ValidationError, match="widht"):
        make_method("cgsamr", {**small, "generator": {"widht": 4}}, task)


def test_weights_depend_on_the_seed_alone(small, task):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = make_method("cgsamr", small, task, seed=1)
    assert torch.equal(torch.rand(1), expected)  # the caller's generator did not move
    same, other = make_method("cgsamr", small, task, seed=1), make_method("cgsamr", small, task, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_task_counts():
    task = Task(sequences=("T1w", "T1ce", "T2w", "FLAIR", "APTw"), lesion_classes=("edema", "cavity", "tumor"))
    assert (task.channels, task.classes, task.atlas_channels) == (5, 5, 15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.replace(images=b.images[:, :1]), "images have another number of channels.*Given: 1. Allowed: 2"),
        (lambda b: b.replace(atlas=b.atlas[:, :3]), "atlas have another number of channels.*Given: 3. Allowed: 6"),
        (lambda b: b.replace(labels=b.labels + 1), "label 4.*0 background, 1 brain, 2 edema, 3 tumor"),
    ],
)
def test_data_that_do_not_fit_are_refused(small, task, batch, change, message):
    with pytest.raises(InputError, match=message):
        make_method("cgsamr", small, task).check({"slices": change(batch)})
