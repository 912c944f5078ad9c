from __future__ import annotations

import pytest

from lesionlab.errors import InputError
from lesionlab.names import check_name, listed, nearest, suggestion


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


@pytest.mark.parametrize("name", ["p01", 'O\'Neil "Bob"', "Jürgen Müller", "中文", "a..b", "<b>", "p" * 150])
def test_names_of_any_script(name: str) -> None:
    assert check_name(name, "subject") == name


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../p", "a/b", "a\\b", "a\0b", "a\nb", "_logs", ".x", "ä" * 76])
def test_names_that_cannot_be_a_folder(name: str) -> None:
    with pytest.raises(InputError, match=r"(?s)subject has a name that cannot be used.*rename the subject"):
        check_name(name, "subject")
