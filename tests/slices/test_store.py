"""The slice store gives back what was written, and takes nothing half-written for whole."""

import numpy as np
import pandas as pd
import pandera.errors
import pytest

from lesionlab.errors import InputError
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import is_current

SEQUENCES, CLASSES = ["T1w", "FLAIR"], ["edema", "tumor"]


def study(name, slices, split="train", side=6, priors=True, seed=0):
    rng = np.random.default_rng([seed, slices])
    table = pd.DataFrame(
        {
            "subject": name,
            "study": name,
            "plane": np.arange(slices),
            "split": split,
            "domain": ["healthy" if k % 2 else "pathological" for k in range(slices)],
            "spacing_x": 1.0,
            "spacing_y": 1.0,
            "spacing_z": 5.0,
            "pixels_edema": 1,
            "pixels_tumor": 2,
            "fill": 0.5,
            "clipped": 0,
            "source": "real",
            "manipulation": "none",
            "donor": "",
            "record": "{}",
        }
    )
    channels = (2, 6, 3) if priors else (2, 0, 0)
    images, atlas, tissues = (rng.random((slices, c, side, side), np.float32) for c in channels)
    return StudySlices(images, rng.integers(0, 4, (slices, side, side), np.uint8), atlas, tissues, table)


def test_what_is_written_comes_back_whole_and_lazily(tmp_path):
    parts = [study("a", 3), study("b", 4, "test")]
    store = SliceStore.write(tmp_path / "slices", iter(parts), SEQUENCES, CLASSES)
    again = SliceStore(tmp_path / "slices")
    assert len(store) == len(again) == 7
    assert again.sequences == SEQUENCES
    assert again.classes == CLASSES
    for name in ("images", "labels", "atlas", "tissues"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        lazy, whole = getattr(again, name)(lazy=True), getattr(again, name)(lazy=False)
        assert isinstance(lazy, np.memmap)
        assert whole.dtype == expected.dtype
        np.testing.assert_array_equal(lazy, expected)
        np.testing.assert_array_equal(whole, expected)
    assert again.table["index"].tolist() == list(range(7))
    assert again.table["study"].tolist() == ["a"] * 3 + ["b"] * 4


def test_select_and_batch(tmp_path):
    store = SliceStore.write(tmp_path / "s", [study("a", 3), study("b", 4, "test")], SEQUENCES, CLASSES)
    assert store.select(split="test").tolist() == [3, 4, 5, 6]
    assert store.select(split="test", domain="pathological").tolist() == [3, 5]
    assert store.select(subject=["a"]).tolist() == [0, 1, 2]
    assert store.select().tolist() == list(range(7))
    batch = store.batch([6, 0])
    np.testing.assert_array_equal(batch.images, store.images()[[6, 0]])
    np.testing.assert_array_equal(batch.labels, store.labels()[[6, 0]])
    assert store.batch().atlas.shape == (7, 6, 6, 6)


def test_slices_without_priors_have_no_channel_there(tmp_path):
    store = SliceStore.write(
        tmp_path / "s", [study("a", 2, priors=False), study("b", 1, priors=False)], SEQUENCES, CLASSES
    )
    assert store.atlas().shape == store.tissues().shape == (3, 0, 6, 6)
    assert store.batch([1]).tissues.shape == (1, 0, 6, 6)


def test_many_slices_do_not_break_the_header(tmp_path):
    # The number of slices is known only at the end: from 1 digit to 4 the header must keep its length.
    parts = (study(f"s{i}", 9, side=1, seed=i) for i in range(120))
    store = SliceStore.write(tmp_path / "s", parts, SEQUENCES, CLASSES)
    assert store.images(lazy=False).shape == (1080, 2, 1, 1)
    np.testing.assert_array_equal(store.images()[-9:], study("s119", 9, side=1, seed=119).images)


def test_studies_on_different_grids_are_refused(tmp_path):
    with pytest.raises(InputError, match="do not fit") as error:
        SliceStore.write(tmp_path / "s", [study("a", 2), study("b", 2, side=7)], SEQUENCES, CLASSES)
    assert error.value.subject == "b"
    with pytest.raises(InputError, match="no complete slice store"):
        SliceStore(tmp_path / "s")


def test_no_slices_are_refused(tmp_path):
    with pytest.raises(InputError, match="no slice to store"):
        SliceStore.write(tmp_path / "s", [], SEQUENCES, CLASSES)


def test_a_write_that_fails_leaves_nothing_or_the_older_store(tmp_path):
    def broken():
        yield study("b", 2)
        raise RuntimeError("disk full")

    for folder in (tmp_path / "new", tmp_path / "old"):
        if folder.name == "old":
            SliceStore.write(folder, [study("a", 3)], SEQUENCES, CLASSES)
        with pytest.raises(RuntimeError):
            SliceStore.write(folder, broken(), SEQUENCES, CLASSES)
    assert len(SliceStore(tmp_path / "old")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(InputError, match="no complete slice store"):
        SliceStore(tmp_path / "new")


def test_a_truncated_array_is_noticed(tmp_path):
    SliceStore.write(tmp_path / "s", [study("a", 3)], SEQUENCES, CLASSES)
    array = tmp_path / "s" / "labels.npy"
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(InputError, match="no complete slice store"):
        SliceStore(tmp_path / "s")


def test_the_fingerprint_tells_whether_a_store_is_current(tmp_path):
    SliceStore.write(tmp_path / "s", [study("a", 3)], SEQUENCES, CLASSES, fingerprint="f00d")
    assert is_current(tmp_path / "s", "f00d")
    assert not is_current(tmp_path / "s", "beef")


@pytest.mark.parametrize(("column", "value"), [("split", "training"), ("domain", "sick"), ("fill", 1.5)])
def test_the_table_is_validated(tmp_path, column, value):
    wrong = study("a", 2)
    wrong.table[column] = value
    with pytest.raises(pandera.errors.SchemaError):
        SliceStore.write(tmp_path / "s", [wrong], SEQUENCES, CLASSES)


def test_a_column_too_many_is_refused(tmp_path):
    wrong = study("a", 2)
    wrong.table["age"] = 40
    with pytest.raises(pandera.errors.SchemaErrors, match="age"):
        SliceStore.write(tmp_path / "s", [wrong], SEQUENCES, CLASSES)


def test_rows_are_read_when_they_are_asked_for(tmp_path):
    store = SliceStore.write(tmp_path / "s", [study("a", 6)], SEQUENCES, CLASSES)
    images, rows = store.images(lazy=False), store.rows("images", [4, 1, 5])
    assert len(rows) == 3
    np.testing.assert_array_equal(rows[0], images[4])
    np.testing.assert_array_equal(rows[1:], images[[1, 5]])
    np.testing.assert_array_equal(rows[:9], images[[4, 1, 5]])
    np.testing.assert_array_equal(rows.take([2, 0])[:], images[[5, 4]])
    part = rows[:2]
    part[:] = 7  # a copy: neither the file nor the rest is touched
    np.testing.assert_array_equal(store.images(), images)
