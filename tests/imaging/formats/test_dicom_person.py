"""What names a patient is taken out of descriptions; what a sequence is called stays."""

from __future__ import annotations

import pytest

from lesionlab.imaging.formats.dicom_person import without_person

NAME, NUMBER, BIRTH = "0010|0010", "0010|0020", "0010|0030"
TAGS = {NAME: "Li^Anna-Xu", NUMBER: "T2", BIRTH: "19620304"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Li t1_mprage", "*** t1_mprage"),
        ("t1_LI_sag", "t1_***_sag"),
        ("t1-li", "t1-***"),
        ("flair localizer lin axial", "flair localizer lin axial"),  # "li" within words
        ("Anna t1, Xu", "*** t1, ***"),
        ("anna-xu t1", "*** t1"),
        ("ANNALI t1", "****** t1"),  # what is left of two names written as one is a word
        ("t2_tse", "t2_tse"),  # a number of two characters stays
    ],
)
def test_parts_of_names(text: str, expected: str) -> None:
    assert without_person(text, TAGS) == expected


@pytest.mark.parametrize(
    "date",
    ["19620304", "1962-03-04", "1962/3/4", "04.03.1962", "4.3.1962", "4. 3. 62", "04.03.62", "04031962", "040362",
     "620304", "62-03-04", "03/04/1962", "3/4/62", "04_03_1962", "4 3 1962", "03041962"],
)  # fmt: skip
def test_the_birth_date_however_it_is_written(date: str) -> None:
    assert without_person(f"t1 *{date} sag", TAGS) == "t1 **** sag"
    assert without_person(f"Li{date}_t1", TAGS) == "******_t1"


@pytest.mark.parametrize("text", ["t1 05.03.1962", "t1 104.03.19621", "t2 1962", "ep2d b1000 6203041"])
def test_other_numbers_stay(text: str) -> None:
    assert without_person(text, TAGS) == text


@pytest.mark.parametrize("birth", ["", "1962", "unknown"])
def test_a_date_that_is_none_hides_nothing_else(birth: str) -> None:
    assert without_person("t1 sag 3 4 62", {NAME: "", BIRTH: birth}) == "t1 sag 3 4 62"
