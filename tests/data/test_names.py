from __future__ import annotations

from lesionlab.data.names import listed, nearest, suggestion


def test_the_nearest_name_whatever_its_case() -> None:
    assert nearest("flair", ["T1w", "FLAIR"]) == "FLAIR"
    assert nearest("tumour", ["edema", "tumor", "cavity"]) == "tumor"
    assert nearest("xyz", ["T1w", "FLAIR"]) is None


def test_a_suggestion_opens_a_cure_or_is_empty() -> None:
    assert suggestion("brats2016", ["brats2015", "phantom"]) == "did you mean 'brats2015'? "
    assert suggestion("xyz", ["phantom"]) == ""


def test_long_lists_are_cut() -> None:
    assert listed([]) == "nothing"
    assert listed(range(3)) == "0, 1, 2"
    assert listed(range(5), limit=3) == "0, 1, 2 and 2 more"
