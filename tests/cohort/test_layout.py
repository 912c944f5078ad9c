from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lesionlab.cohort.layout import check_classes, check_sequences, find_layout, parse_layout
from lesionlab.errors import InputError

CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters" / "layouts.yml"


def mapping(**changes: Any) -> dict[str, Any]:
    lesion = {"file": "{subject}/seg.nii", "drawn_on": "FLAIR", "codes": {1: "edema", 4: "tumor"}, "ignore": [9]}
    return {"study": "{subject}", "sequences": {"FLAIR": "{subject}/flair.nii"}, "lesion": lesion, **changes}


def test_one_template_or_alternatives() -> None:
    layout = parse_layout(mapping(sequences={"FLAIR": ["{subject}/a.nii", "{subject}/b.nii"]}))
    assert layout.study == ("{subject}",)
    assert layout.sequences["FLAIR"] == ("{subject}/a.nii", "{subject}/b.nii")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence": {}}, "layout.sequence.*did you mean 'sequences'"),
        ({"sequences": {}}, "`sequences` is empty"),
        ({"sequences": {"FLAIR": "{patient}/flair.nii"}}, "patient"),
        ({"study": "flair.nii"}, "which subject"),
        ({"lesion": {**mapping()["lesion"], "drawn_on": "T1w"}}, "'T1w'.*none of the sequences"),
        ({"lesion": {**mapping()["lesion"], "codes": {0: "edema"}}}, "both a lesion class and background"),
        ({"lesion": {**mapping()["lesion"], "ignore": [4]}}, "both a lesion class and background"),
        ({"lesion": {**mapping()["lesion"], "codes": {"one": "edema"}}}, "layout.lesion.codes"),
    ],
)
def test_wrong_entries_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}") as caught:
        parse_layout(mapping(**changes))
    assert "Cure" in str(caught.value)


def test_an_unknown_layout_gets_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean 'brats2015'"):
        find_layout({"brats2015": mapping(), "phantom": mapping()}, "brats2016")
    assert find_layout({"mine": mapping()}, "mine") == parse_layout(mapping())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(["FLIAR"], "did you mean 'FLAIR'"), ([], "no sequence"), (["FLAIR", "FLAIR"], "each once")],
)
def test_sequences_are_checked(wanted: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_sequences(parse_layout(mapping()), wanted)


def test_classes_of_the_codes_must_be_configured() -> None:
    lesion = parse_layout(mapping()).lesion
    assert lesion is not None
    check_classes(lesion, ["edema", "cavity", "tumor"])
    with pytest.raises(InputError, match=r"code 1.*Given: edema.*did you mean 'oedema'"):
        check_classes(lesion, ["oedema", "tumor"])


def test_built_in_layouts_can_be_read() -> None:
    layouts = yaml.safe_load(CONF.read_text(encoding="utf-8"))["layouts"]
    assert {"phantom", "brats2015", "brats2023", "bids", "msd", "dicom", "csv"} <= set(layouts)
    for name in layouts:
        find_layout(layouts, name)
    assert find_layout(layouts, "ms_raw").lesion is None
