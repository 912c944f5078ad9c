from __future__ import annotations

import pytest
from kedro.io import DatasetError

from lesionlab.datasets import GalleryDataset


@pytest.fixture
def pictures(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
    return {"a.webp": tmp_path / "one", "b.webp": tmp_path / "two"}


def test_pictures_are_copied_and_found(tmp_path, pictures):
    gallery = GalleryDataset(filepath=str(tmp_path / "qc" / "strips"))
    assert not gallery.exists()
    gallery.save(pictures)
    assert {name: path.read_bytes() for name, path in gallery.load().items()} == {"a.webp": b"one", "b.webp": b"two"}


def test_pictures_no_longer_wanted_go(tmp_path, pictures):
    gallery = GalleryDataset(filepath=str(tmp_path / "strips"))
    gallery.save(pictures)
    gallery.save({"b.webp": pictures["b.webp"]})
    assert list(gallery.load()) == ["b.webp"]
    assert not (tmp_path / "strips" / "a.webp").exists()


def test_nothing_is_written_where_nothing_changed(tmp_path, pictures):
    gallery = GalleryDataset(filepath=str(tmp_path / "strips"))
    gallery.save(pictures)
    before = (tmp_path / "strips").stat().st_ino
    gallery.save(pictures)
    assert (tmp_path / "strips").stat().st_ino == before
    pictures["a.webp"].write_bytes(b"another")
    gallery.save(pictures)
    assert gallery.load()["a.webp"].read_bytes() == b"another"


@pytest.mark.parametrize("name", ["../a.webp", "a/b.webp", "", "receipt.json", ".."])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, pictures, name):
    with pytest.raises(DatasetError, match="cannot name a picture"):
        GalleryDataset(filepath=str(tmp_path / "strips")).save({name: pictures["a.webp"]})
    assert not (tmp_path / "strips").exists()


def test_a_damaged_gallery_is_missing(tmp_path, pictures):
    gallery = GalleryDataset(filepath=str(tmp_path / "strips"))
    gallery.save(pictures)
    (tmp_path / "strips" / "a.webp").unlink()
    assert not gallery.exists()
    with pytest.raises(DatasetError, match="not whole"):
        gallery.load()
