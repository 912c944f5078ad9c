from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from lesionlab.stages.artifact import is_current, read_receipt, seal, write_json, writing


def make(folder: Path, fingerprint: str = "f1", text: str = "whole") -> None:
    with writing(folder, fingerprint) as aside:
        (aside / "inner").mkdir()
        (aside / "inner/file.txt").write_text(text)


def test_it_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "atlas"
    with writing(folder, "f1") as aside:
        (aside / "file.txt").write_text("x")
        assert not folder.exists()
        assert not is_current(folder, "f1")
    assert (folder / "file.txt").read_text() == "x"
    assert is_current(folder, "f1")
    assert not is_current(folder, "f2")
    assert [path.name for path in folder.parent.iterdir()] == ["atlas"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    make(folder)
    with pytest.raises(RuntimeError, match=r"half-way"), writing(folder, "f2") as aside:
        (aside / "file.txt").write_text("half")
        raise RuntimeError("half-way")
    assert is_current(folder, "f1")
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"]


def test_a_new_one_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    make(folder)
    with writing(folder, "f2") as aside:
        (aside / "other.txt").write_text("new")
    assert sorted(path.name for path in folder.iterdir()) == ["other.txt", "receipt.json"]
    assert is_current(folder, "f2")


@pytest.mark.parametrize("damage", ["truncate", "delete", "receipt", "garbled"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "atlas"
    make(folder)
    if damage == "truncate":
        (folder / "inner/file.txt").write_text("who")
    elif damage == "delete":
        (folder / "inner/file.txt").unlink()
    elif damage == "receipt":
        (folder / "receipt.json").unlink()
    else:
        (folder / "receipt.json").write_text("{")
    assert not is_current(folder, "f1")
    assert read_receipt(folder) is None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".atlas.aside-123").mkdir()
    (tmp_path / ".atlas.2.aside-123").mkdir()  # another artifact's, perhaps being written
    make(tmp_path / "atlas")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".atlas.2.aside-123", "atlas"]


def test_all_is_on_the_disk_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A power cut cannot be had here; so the order is looked at in which the system is asked to write.
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        name = re.sub(r"^\.(.*)\.aside-.*", r"\1", path.name)
        synced.append((name, (tmp_path / "atlas").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    make(tmp_path / "atlas")
    before = {name for name, in_place in synced if not in_place}
    assert before == {"file.txt", "inner", "receipt.json", "atlas"}  # contents, and the lists of names
    assert [name for name, in_place in synced if in_place] == [tmp_path.name]  # and then the new name itself
    synced.clear()
    write_json(tmp_path / "manifest.json", {}, durable=True)
    assert [name for name, _ in synced] == ["manifest.json", tmp_path.name]


def test_json_takes_numpy_and_paths(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"affine": np.eye(2), "n": np.int64(3), "path": Path("x/y")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"affine": [[1, 0], [0, 1]], "n": 3, "path": "x/y"}
    with pytest.raises(TypeError, match=r"object"):
        write_json(tmp_path / "b.json", {"a": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_was_filled_in_place_is_whole_once_it_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    assert not is_current(tmp_path, "f1")
    seal(tmp_path, "f1")
    assert is_current(tmp_path, "f1")
    (tmp_path / "weights").write_text("")
    assert not is_current(tmp_path, "f1")
