from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.cohort.templates import check_template, files, fill, matches, place
from lesionlab.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("name", "template", "subject", "visit"),
    [
        ("p01/p01_flair.nii.gz", "{subject}/{subject}_flair.nii.gz", "p01", ""),
        ("HGG/p_1/p_1_t1.nii", "*/{subject}/{subject}_t1.nii", "p_1", ""),
        ("patient20/study2_FLAIR.nii.gz", "{subject}/{visit}_*.nii.gz", "patient20", "study2"),
        ("p01_v_2.nii", "{subject}_{visit}.nii", "p01", "v_2"),  # the earlier placeholder takes the least
        ("sub-7/ses-b/anat/sub-7_ses-b_T1w.nii", "sub-{subject}/ses-{visit}/**/sub-{subject}_*_T1w.nii", "7", "b"),
        ("p01/study1.nii", "{subject}/{visit:study[0-9]}.nii", "p01", "study1"),
        ("p01/study1.nii", "{subject:p??}/{visit:[!x]tudy*}.nii", "p01", "study1"),
    ],
)
def test_placeholders_and_wildcards(tmp_path: Path, name: str, template: str, subject: str, visit: str) -> None:
    touch(tmp_path, name)
    assert list(matches(tmp_path, check_template(template))) == [(subject, visit, tmp_path / name)]
    assert files(tmp_path, template, subject, visit) == [tmp_path / name]


def test_what_does_not_fit(tmp_path: Path) -> None:
    touch(
        tmp_path, "p01/p02_t1.nii", "p01/other.nii", ".hidden/.hidden_t1.nii", "p03/._p03_t1.nii", "deep/p04/p04_t1.nii"
    )
    assert list(matches(tmp_path, "{subject}/{subject}_t1.nii")) == []
    assert list(matches(tmp_path, "{subject:q*}/*.nii")) == []
    assert files(tmp_path, "{subject}/*{subject}_t1.nii", "p03", "") == []  # the file is a hidden one


def test_a_subject_named_with_wildcard_characters_stands_for_itself(tmp_path: Path) -> None:
    touch(tmp_path, "p[1]/t1.nii", "p1/t1.nii")
    assert files(tmp_path, "{subject}/t1.nii", "p[1]", "") == [tmp_path / "p[1]/t1.nii"]


def test_a_template_that_needs_a_visit_names_nothing_without(tmp_path: Path) -> None:
    touch(tmp_path, "p01/_t1.nii")
    assert fill("{subject}/{visit}_t1.nii", "p01", "") is None
    assert files(tmp_path, "{subject}/{visit}_t1.nii", "p01", "") == []
    assert fill("{subject}/{visit:v*}_t1.nii", "p01", "v2") == "p01/v2_t1.nii"


@pytest.mark.parametrize(
    ("template", "name", "expected"),
    [
        ("{subject}", "p01/t1.nii", "p01"),
        ("*/{subject}/{subject}_t1.nii", "site/p01/p01_t1.nii", "site/p01"),  # a file: its folder
        ("*/{subject}/t1.nii", "site/p01/t1.nii", "site/p01"),
        ("{subject}/{visit}_*.nii", "p01/v1_t1.nii", "p01"),
    ],
)
def test_the_place_of_a_study(tmp_path: Path, template: str, name: str, expected: str) -> None:
    touch(tmp_path, name)
    path = tmp_path.joinpath(*Path(name).parts[: len(Path(template).parts)])
    assert place(tmp_path, template, path) == tmp_path / expected


@pytest.mark.parametrize("template", ["{subjet}/t1.nii", "{subject/t1.nii", "t1.nii", "/data/{subject}/t1.nii", ""])
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(InputError, match=r"Given.*Allowed.*Cure"):
        check_template(template)


def test_an_unknown_placeholder_gets_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean 'visit'"):
        check_template("{subject}/{vist}.nii")
