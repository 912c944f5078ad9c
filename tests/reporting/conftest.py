"""What several tests of the reporting room need: small tables and pages read back."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

COLUMNS = [
    "method", "cohort", "protocol", "synthesizer", "training_subjects", "sequence", "class", "metric",
    "mean", "std", "median", "ci_low", "ci_high", "n", "seed", "seed_std", "published", "p_value", "rank_biserial",
]  # fmt: skip


class Page(HTMLParser):
    """An HTML page: its addresses, the texts of its cells, the ids of its articles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.articles: list[dict[str, str]] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] for name in ("src", "href", "data", "srcset", "action") if given.get(name)]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "article":
            self.articles.append(given)
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data


@pytest.fixture
def page():
    return Page


@pytest.fixture
def decoded():
    """Picture bytes as ``(H, W, 3)`` uint8."""

    def decode(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return decode


@pytest.fixture
def line():
    """One row of a result table; what is not given has a plain value."""

    def make(**given):
        row = dict.fromkeys(["method", "cohort", "protocol", "synthesizer", "sequence", "class", "metric"], "x")
        row |= {"training_subjects": 8}
        row |= {"mean": 0.5, "std": 0.1, "median": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 4, "seed": 7}
        row |= dict.fromkeys(["seed_std", "published", "p_value", "rank_biserial"], float("nan")) | given
        return pd.DataFrame([row], columns=COLUMNS)

    return make
