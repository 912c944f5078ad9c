"""Checkpoints that are damaged, foreign or dangerous are refused."""

from __future__ import annotations

import pickle

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.training.checkpoint import contents, load, load_method, save, save_method


def test_a_method_comes_back_from_its_file_alone(tmp_path, fresh, slices):
    method = fresh(seed=4).eval()
    save_method(method, tmp_path / "method.pt")
    loaded = load_method(tmp_path / "method.pt")
    batch = slices.take([0, 1])
    assert torch.equal(method.synthesize(batch), loaded.synthesize(batch))
    assert (loaded.options, loaded.task, loaded.training) == (method.options, method.task, False)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fresh, kept):
    path = tmp_path / "method.pt"
    save_method(fresh(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError, match=r"method\.pt: the checkpoint cannot be read.*train again"):
        load_method(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pt: the checkpoint is missing"):
        load_method(tmp_path / "nowhere.pt")


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self):
        return pickle.loads, (b"I42\n.",)


def test_code_in_a_file_is_not_executed(tmp_path):
    torch.save({"format": 1, "weights": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "trap.pt")


@pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, {"format": 99}])
def test_foreign_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="no checkpoint of lesionlab"):
        load(tmp_path / "foreign.pt")


def test_weights_that_do_not_fit_are_refused(tmp_path, fresh):
    content = contents(fresh())
    content["options"]["generator"]["width"] = 3
    save(content, tmp_path / "method.pt")
    with pytest.raises(InputError, match="does not fit this version"):
        load_method(tmp_path / "method.pt")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, fresh):
    path = tmp_path / "last.pt"
    save_method(fresh(), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save({"format": 1, "weights": lambda: None}, path)
    assert path.read_bytes() == before
