"""Pages and result tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from lesionlab.datasets import TableDataset, TextDataset
from lesionlab.metrics.statistics import TABLE_COLUMNS


@pytest.fixture
def table() -> pd.DataFrame:
    words = {"method": "unet", "cohort": "c", "protocol": "real", "sequence": "all", "class": "edema", "metric": "dice"}
    words |= {"synthesizer": "none", "training_subjects": 8}
    numbers = {"mean": 1 / 3, "std": 0.1, "median": 0.3, "ci_low": 0.2, "ci_high": 0.5, "n": 4, "seed": 0}
    return pd.DataFrame([{**words, **numbers, "published": np.nan, "p_value": 0.125}], columns=TABLE_COLUMNS)


def test_a_text_comes_back(tmp_path):
    dataset = TextDataset(filepath=str(tmp_path / "new" / "page.html"))
    assert not dataset.exists()
    dataset.save("<p>Nyúl</p>\n")
    assert dataset.exists() and dataset.load() == "<p>Nyúl</p>\n"
    assert (tmp_path / "new" / "page.html").read_bytes() == "<p>Nyúl</p>\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_a_text_that_cannot_be_written_leaves_the_older_one(tmp_path):
    dataset = TextDataset(filepath=str(tmp_path / "page.html"))
    dataset.save("old")
    with pytest.raises(DatasetError):
        dataset.save("\ud800")  # no UTF-8
    assert dataset.load() == "old"


def test_a_missing_text(tmp_path):
    with pytest.raises(DatasetError):
        TextDataset(filepath=str(tmp_path / "page.html")).load()


def test_a_table_comes_back_with_every_digit_and_lies_there_in_three_forms(tmp_path, table):
    dataset = TableDataset(filepath=str(tmp_path / "tables" / "augmentation.csv"))
    assert not dataset.exists()
    dataset.save(table)
    assert dataset.exists()
    pd.testing.assert_frame_equal(dataset.load(), table, check_exact=True)
    names = {"augmentation.csv", "augmentation.md", "augmentation.tex"}
    assert {path.name for path in (tmp_path / "tables").iterdir()} == names


def test_a_table_of_other_columns_is_refused_and_leaves_nothing(tmp_path, table):
    dataset = TableDataset(filepath=str(tmp_path / "tables" / "x.csv"))
    with pytest.raises(DatasetError, match=r"missing .*'median'"):
        dataset.save(table.drop(columns="median"))
    assert not dataset.exists()


def test_preview_of_a_table_is_rounded(tmp_path, table):
    dataset = TableDataset(filepath=str(tmp_path / "x.csv"))
    dataset.save(table)
    preview = dataset.preview()
    row = dict(zip(preview["columns"], preview["data"][0], strict=True))
    assert (row["mean"], row["n"], row["published"], row["p_value"]) == ("0.333", "4", "–", "0.125")
    json.dumps(preview)
