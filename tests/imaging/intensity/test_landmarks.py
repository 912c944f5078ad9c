from __future__ import annotations

import json

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.intensity.landmarks import (
    Landmarks,
    LandmarkSet,
    brain_values,
    landmarks_file,
    read_landmarks,
    to_ends,
)
from lesionlab.imaging.volume import Volume

KEPT = LandmarkSet(
    studies=("zoë-02", "a-01"),
    exclude_lesions=True,
    sequences={"T1w": Landmarks(percentiles=(1, 50, 99), values=(0.05, 0.1 + 0.2, 0.8), studies=2)},
)


def write(path):
    path.write_bytes(landmarks_file(KEPT))
    return path


def test_landmarks_survive_their_file_to_the_last_digit(tmp_path):
    path = write(tmp_path / "landmarks.json")
    assert read_landmarks(path) == KEPT.sequences
    assert read_landmarks(path, exclude_lesions=True) == KEPT.sequences
    assert landmarks_file(KEPT) == path.read_bytes()
    said = json.loads(path.read_bytes())
    assert said["version"] == 1 and said["studies"] == ["zoë-02", "a-01"]
    assert said["sequences"]["T1w"]["percentiles"] == [1, 50, 99]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Invalid JSON"),
        (json.dumps({**KEPT.model_dump(mode="json"), "version": 2}), "version"),
        (json.dumps({**KEPT.model_dump(mode="json"), "sequences": {"T1w": {}}}), "sequences.T1w.percentiles"),
    ],
)
def test_another_file_is_told(tmp_path, text, told):
    path = tmp_path / "landmarks.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"cannot be read.*{told}"):
        read_landmarks(path)


def test_a_missing_file_and_another_treatment_of_lesions_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read.*No such file"):
        read_landmarks(tmp_path / "none.json")
    path = write(tmp_path / "landmarks.json")
    with pytest.raises(InputError, match=r"lesions treated otherwise.*`standardize.exclude_lesions` is False"):
        read_landmarks(path, exclude_lesions=False)


def test_a_brain_without_its_lesion():
    volume = Volume(np.arange(8.0).reshape(2, 2, 2), np.eye(4))
    mask, lesion = volume.like(volume.data >= 2), volume.like(volume.data >= 6)
    np.testing.assert_array_equal(brain_values(volume, mask, lesion), [2, 3, 4, 5])
    np.testing.assert_array_equal(brain_values(volume, mask), [2, 3, 4, 5, 6, 7])
    with pytest.raises(InputError, match="constant"):
        brain_values(volume, volume.like(np.zeros((2, 2, 2))))


def test_values_brought_to_their_ends():
    np.testing.assert_allclose(to_ends(np.array([2.0, 4.0, 12.0]), (0.0, 1.0)), [0, 0.2, 1])


def test_where_a_scan_saw_nothing_there_are_no_intensities():
    data = np.zeros((4, 4, 4), np.float32)
    data[:2] = np.arange(1, 33).reshape(2, 4, 4)  # the other half of the brain lay beyond the field of view
    values = brain_values(Volume(data, np.eye(4)), Volume(np.ones(data.shape, np.uint8), np.eye(4)))
    np.testing.assert_array_equal(np.sort(values), np.arange(1, 33))
