from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesionlab.errors import InputError
from lesionlab.metrics.statistics import DIFFERENCE_COLUMNS
from lesionlab.reporting import wording
from lesionlab.reporting.content import Line, PaperCell, PaperSection, PaperTable, Picture, ReportContent, Step
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.reporting.report import floor_rows, render_report, summary_table, truth_summary

CLASSES = ["edema", "tumor"]
LINES = [Line(18, "real", 480, 0), Line(18, "real+25%", 480, 240, True)]


def picture(dpi=None):
    stream = io.BytesIO()
    Image.new("RGB", (300, 40), (10, 200, 10)).save(stream, format="PNG", **({"dpi": (dpi, dpi)} if dpi else {}))
    return stream.getvalue()


def difference(change, low, high, p_value, n=12, name="tumor", protocol="real+25%", subjects=18):
    line = {"method": "U-Net", "cohort": "phantom", "protocol": protocol, "synthesizer": "cgsamr", "sequence": "all"}
    line |= {"class": name, "metric": "dice", "training_subjects": subjects, "reference": "U-Net, real, none"}
    return line | {"difference": change, "ci_low": low, "ci_high": high, "p_raw": p_value, "p_value": p_value, "n": n}


def differences(*rows):
    return pd.DataFrame(list(rows), columns=DIFFERENCE_COLUMNS)


@pytest.fixture
def content(line):
    def cell(method, protocol, name, mean, **given):
        return line(
            method=method, cohort="phantom", protocol=protocol, metric="dice", mean=mean, **{"class": name}, **given
        )

    augmentation = pd.concat(
        [
            cell("U-Net", own.protocol, c, 0.5 + 0.1 * at, published=0.647, training_subjects=18)
            for at, own in enumerate(LINES)
            for c in CLASSES
        ]
    )
    segmentation = pd.concat(
        [cell("U-Net", "real", c, 0.5) for c in CLASSES] + [cell("all tumor", "real", "tumor", 0.1)]
    )
    accuracy = {"metric": "pixel_accuracy", "sequence": "T1w", "class": "tumor"}
    synthesis = pd.concat([line(method="CG-SAMR", mean=0.7, **accuracy), line(method="atlas", mean=0.3, **accuracy)])
    return ReportContent(
        title="Does it help?",
        cohort="phantom",
        method="CG-SAMR",
        summary="A question & its answer.",
        augmentation=augmentation,
        synthesis=synthesis,
        segmentation=segmentation,
        lesion_classes=CLASSES,
        lines=LINES,
        compared=augmentation,
        facts={"subjects": "24"},
        steps=[Step("Slices", "Planes became slices.", "356 slices")],
        split=pd.DataFrame({"split": ["train", "test"], "subjects": [18, 6]}),
        differences=differences(difference(0.02, -0.01, 0.05, 0.25, n=4)),
        result_pictures=[Picture(picture(150), "A plot", "How to read it.")],
        leakage=pd.DataFrame({"place": ["segmenter real"], "purpose": "learns", "subjects": [18], "test": [0]}),
        moments=[Picture(picture(), "Three moments")],
        floors={"atlas": "The atlas itself.", "all tumor": "All is tumor."},
        truth=pd.DataFrame({"stage": "brain", "subject": ["a", "b"], "measure": "dice", "value": [0.9, 0.8]}),
        qc=QCSummary(24, ("phantom-03",), {"phantom-07": ("no brain found",)}),
        qc_href="qc/qc.html",
        parameters={"training": {"steps": np.int64(400), "betas": (0.5, 0.999)}},
        provenance={"commit": "0123abc"},
        durations={"training": 200.0},
        references=["Guo et al., https://example.org/paper"],
    )


def test_the_page_needs_no_other_file(content, page):
    seen = page(render_report(content))
    outside = [address for address in seen.addresses if not address.startswith(("data:image/png;base64,", "#"))]
    assert outside == ["qc/qc.html"]  # the quality-control page lies beside the report
    assert not {"link", "iframe", "object", "embed"} & set(seen.tags)
    assert "@import" not in render_report(content)
    assert "url(" not in render_report(content)


def test_the_contents_point_at_sections(content, page):
    seen = page(render_report(content))
    targets = {address[1:] for address in seen.addresses if address.startswith("#")}
    assert targets <= set(seen.ids)
    assert {"result", "done", "floors", "training", "truth", "quality", "leakage", "limits", "provenance"} <= targets


def test_what_was_given_is_told(content, page):
    html = render_report(content)
    for text in (
        "A question &amp; its answer.", "Planes became slices.", "356 slices", "no brain found", "phantom-03",
        "How to read it.", "0123abc", "3 min 20 s", "steps: 400", "https://example.org/paper", "All is tumor.",
        "segmenter real",
    ):  # fmt: skip
        assert text in html, text
    assert page(html).cells.count("0.647") == 4 + 4  # published: in the small table and in the whole one


def test_all_rows_of_the_tables_are_there(content, page):
    cells = page(render_report(content)).cells
    # Every row of the three tables has the cohort in a cell of its own, those of the synthesis have "x".
    assert cells.count("phantom") == 4 + 3
    assert cells.count("p_value") == 3


def test_empty_parts_are_left_out(content, page, line):
    bare = ReportContent(
        title="t", cohort="c", method="m", summary="s", augmentation=line().iloc[:0], synthesis=line().iloc[:0],
        segmentation=line().iloc[:0], lesion_classes=CLASSES, lines=[], compared=line().iloc[:0],
    )  # fmt: skip
    seen = page(render_report(bare))
    assert not {"truth", "quality", "leakage", "training", "floors", "cohort"} & set(seen.ids)
    assert "img" not in seen.tags


def test_the_same_content_gives_the_same_page(content):
    assert render_report(content) == render_report(content)


def test_a_table_with_other_columns_is_refused(content):
    from dataclasses import replace

    with pytest.raises(InputError, match="result table"):
        render_report(replace(content, synthesis=content.synthesis.drop(columns="n")))


def test_a_picture_that_is_none_is_refused(content):
    from dataclasses import replace

    with pytest.raises(ValueError, match="PNG"):
        render_report(replace(content, moments=[Picture(b"GIF89a", "no")]))


def test_plots_are_shown_at_their_size_in_inches(content):
    widths = re.findall(r'<img [^>]*width="(\d+)"', render_report(content))
    # 300 pixels at 150 a inch are 2 inches, 192 CSS pixels; without a resolution, pixel by pixel.
    assert widths == ["192", "300"]


def test_the_small_table_has_counts_interval_and_published(content):
    rows = summary_table(content)["rows"]
    assert [(row["protocol"], row["subjects"], row["real"], row["synthetic"]) for row in rows] == [
        ("real", "18", "480", "0"), ("real+25%", "18", "480", "240"),
    ]  # fmt: skip
    cell = rows[1]["cells"][0]
    assert (cell["mean"], cell["interval"], cell["published"]) == ("0.600", "0.400 to 0.600", "0.647")


def test_a_size_of_the_training_set_has_lines_and_comparisons_of_its_own(content, page):
    from dataclasses import replace

    assert "trainingsubjects" not in page(render_report(content)).cells  # one size: no column
    few = content.compared.assign(training_subjects=4, mean=0.2)
    both = replace(
        content,
        lines=[Line(4, "real", 100, 0), *LINES],
        compared=pd.concat([few, content.compared]),
        differences=differences(difference(0.1, 0, 1, 1, subjects=4), difference(0.2, 0, 1, 1)),
    )
    rows = summary_table(both)["rows"]
    # The line of 4 subjects with synthetic slices is in the table of scores, but none of the lines asked for.
    assert [(row["protocol"], row["subjects"], row["real"]) for row in rows] == [
        ("real", "4", "100"), ("real", "18", "480"), ("real+25%", "18", "480"),
    ]  # fmt: skip
    assert [row["cells"][0]["mean"] for row in rows] == ["0.200", "0.500", "0.600"]
    heads = page(render_report(both)).cells
    assert (heads.count("trainingsubjects"), heads.count("training subjects")) == (1, 1)  # one of them in two lines
    told = [(one["subjects"], one["difference"]) for one in wording.comparisons(both.differences)]
    assert told == [("4", "+0.100"), ("18", "+0.200")]


def claim(number: int, **given) -> dict:
    row = {"claim": f"claim {number}", "metric": "dice", "where": "tumor", "training_subjects": 18, "difference": 0.1}
    row |= {
        "ci_low": 0.05,
        "ci_high": 0.15,
        "p_value": 0.01,
        "cohens_dz": 0.8,
        "n": 12,
        "seeds": 3,
        "verdict": "holds here",
        "published": 0.2,
    }
    return row | given


def test_claims_are_told_in_sentences_and_many_of_them_folded_away(content, page):
    from dataclasses import replace

    few = render_report(replace(content, claims=pd.DataFrame([claim(1)])))
    assert "<b>claim 1</b>: holds here for tumor (+0.100" in few
    counts = pd.DataFrame({"claim": ["claim 1"], "holds here": [1]})
    many = pd.DataFrame([claim(number) for number in range(9)])
    html = render_report(replace(content, claims=many, claim_counts=counts))
    assert page(html).tags.count("details") == page(few).tags.count("details") + 1
    assert "<b>claim 8</b>: holds here" in html and "holds here" in page(html).cells


def test_parts_taken_away_have_a_table(content, page):
    from dataclasses import replace

    html = render_report(replace(content, ablations=pd.DataFrame([claim(1, part="w/o atlas", difference=-0.1)])))
    assert {"w/o atlas", "−0.100", "+0.200"} <= set(page(html).cells)


def test_a_papers_table_has_both_figures_in_a_cell(content, page):
    from dataclasses import replace

    lines = [("SAMR", [PaperCell("0.701", "0.821")]), ("pix2pix", [PaperCell("", "0.562")])]
    table = PaperTable("SAMR 2020, Table 2", "A note.", [("Dice", 1)], ["tumor"], [PaperSection("Experiment 1", lines)])
    seen = page(render_report(replace(content, paper_tables=[table])))
    assert {"0.701 0.821", "0.562", "Experiment 1", "pix2pix"} <= set(seen.cells) and "papers" in seen.ids
    assert "papers" not in page(render_report(content)).ids


def test_diversity_stands_with_the_synthetic_slices(content, page):
    from dataclasses import replace

    table = pd.DataFrame({"kind": ["mirror"], "ratio": [0.875]})
    both = replace(content, diversity=table, sample_quality=pd.DataFrame({"compared": ["test"]}))
    assert "0.875" in page(render_report(both)).cells


def test_floors_stand_beside_ours(content):
    assert [(row["name"], row["metric"], row["floor"], row["ours"]) for row in floor_rows(content)] == [
        ("atlas", "pixel accuracy", "0.300", "0.700"),
        ("all tumor", "dice", "0.100", "0.500"),
    ]


def test_floors_stand_beside_every_method_of_the_largest_training_set(content):
    """Another method, .1 below ours, and both of fewer subjects, who have no part in it."""
    other = content.synthesis.assign(method=content.synthesis["method"].replace("CG-SAMR", "SAMR"))
    other = other[other["method"] == "SAMR"].assign(mean=lambda rows: rows["mean"] - 0.1)
    largest = pd.concat([content.synthesis, other])
    fewer = largest.assign(training_subjects=4, mean=0.0)
    from dataclasses import replace

    (row, *_) = floor_rows(replace(content, synthesis=pd.concat([fewer, largest])))
    assert (row["floor"], row["ours"]) == ("0.300", "CG-SAMR 0.700, SAMR 0.600")


def test_a_measure_of_the_cohort_is_of_all_its_subjects(content):
    truth = pd.DataFrame([("standardize", "all", "wm_spread_ratio_T1w", 0.1)], columns=content.truth.columns)
    assert [row["subjects"] for row in truth_summary(truth).to_dict("records")] == ["all"]


def test_the_truth_is_summed_up_by_stage_and_measure(content):
    (row,) = truth_summary(content.truth).to_dict("records")
    assert row == {
        "stage": "brain", "measure": "dice", "mean": "0.850", "median": "0.850", "smallest": "0.800",
        "largest": "0.900", "subjects": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (difference(0.05, 0.01, 0.09, 0.01), "clear gain"),
        (difference(-0.05, -0.09, -0.01, 0.01), "clear loss"),
        (difference(0.05, 0.01, 0.09, 0.20), "no clear difference"),  # the test does not agree with the interval
        (difference(0.05, -0.01, 0.09, 0.01), "no clear difference"),  # the interval holds zero
        (difference(0.05, float("nan"), float("nan"), float("nan"), n=1), "no clear difference"),
    ],
)
def test_only_what_stands_out_is_called_clear(row, verdict):
    assert wording.comparisons(differences(row))[0]["verdict"] == verdict


def test_comparisons_are_told_class_by_class():
    rows = [difference(0.1, 0, 1, 1, name=c, protocol=p) for p in ("real+25%", "real+50%") for c in ("tumor", "edema")]
    told = [(one["class"], one["protocol"]) for one in wording.comparisons(differences(*rows))]
    assert told == [("tumor", "real+25%"), ("tumor", "real+50%"), ("edema", "real+25%"), ("edema", "real+50%")]


def test_the_headline_claims_no_more_than_the_figures():
    unclear = wording.headline(differences(difference(0.05, -0.1, 0.2, 0.5)))
    assert unclear.startswith("No clear effect: with 12 test patients")
    mixed = wording.headline(
        differences(
            difference(0.05, 0.01, 0.09, 0.01), difference(-0.04, -0.08, -0.01, 0.02, name="edema"),
            difference(0.01, -0.1, 0.1, 0.9, name="cavity"),
        )
    )  # fmt: skip
    assert "helped tumor in real+25% (+0.050)" in mixed
    assert "harmed edema in real+25% (−0.040)" in mixed
    assert "the other 1 of 3 comparisons show no clear effect" in mixed
    assert "not compared" in wording.headline(None)


def test_the_headline_names_the_size_of_the_training_set_where_there_are_several():
    told = wording.headline(
        differences(difference(0.05, 0.01, 0.09, 0.01, subjects=4), difference(0.01, -0.1, 0.1, 0.9, subjects=18))
    )
    assert "helped tumor in real+25% with 4 training subjects (+0.050)" in told


def test_the_headline_is_about_synthetic_slices_alone():
    clear = {protocol: difference(0.05, 0.01, 0.09, 0.01, protocol=protocol) for protocol in ("real+25%", "flips")}
    told = wording.headline(differences(*clear.values()), {"real+25%"})
    assert "tumor in real+25%" in told and "flips" not in told
    # Arms there were, but none that could tell.
    assert wording.headline(differences(clear["flips"]), {"real+25%"}) == (
        "No arm differs from the baseline by synthetic slices alone: what they add was not measured."
    )
    assert "not compared" in wording.headline(differences(), {"real+25%"})


def test_the_headline_counts_where_there_are_many():
    gains = [difference(0.05, 0.01, 0.09, 0.01, name=f"c{number}") for number in range(6)]
    loss = difference(-0.05, -0.09, -0.01, 0.01, protocol="real+50%")
    told = wording.headline(differences(*gains, loss, difference(0.01, -0.1, 0.1, 0.9)))
    assert "real+25% helped in 6 of 7 comparisons and harmed in 0; real+50% helped in 0 of 1 comparisons" in told


def test_where_no_difference_could_stand_out_the_headline_says_that():
    # Six patients: 2/64, twice for two protocols in a class, is 0.0625; one protocol alone could reach 0.03125.
    two = differences(*(difference(0.3, 0.2, 0.4, 0.0625, 6, protocol=p) for p in ("real+25%", "real+50%")))
    assert wording.attainable_p(two).tolist() == [0.0625, 0.0625]
    assert wording.headline(two).startswith("Too few patients to tell: with 6 test patients")
    # The correction counts both protocols, though the headline is about one of them.
    assert wording.headline(two, {"real+25%"}).startswith("Too few patients to tell: with 6 test patients")
    # Each size of the training set is corrected by itself, as its p is.
    sizes = differences(*(difference(0.3, 0.2, 0.4, 0.03125, 6, subjects=size) for size in (4, 8)))
    assert wording.attainable_p(sizes).tolist() == [0.03125, 0.03125]
    one = differences(difference(0.0, -0.2, 0.4, 0.5, 6))
    assert wording.headline(one).startswith("No clear effect: with 6 test patients")


def test_few_patients_one_seed_and_a_phantom_are_limits():
    # Four patients: of 2^4 sign patterns two are the most extreme, 2 / 16 = 0.125.
    assert wording.smallest_p(4) == 0.125
    told = wording.limits(differences(difference(0, 0, 0, 1, n=4)), ["7"], "phantom")
    assert len(told) == 3
    assert "0.125" in told[0]
    assert "One seed (7)" in told[1]
    few = wording.limits(differences(difference(0, 0, 0, 1, n=40)), ["7", "8", "7"], "patients")
    assert len(few) == 1 and few[0].startswith("2 seeds: intervals draw trainings anew")
    assert wording.limits(differences(difference(0, 0, 0, 1, n=40)), list("01234"), "patients") == []


def test_differences_without_a_column_are_refused():
    with pytest.raises(ValueError, match="p_value"):
        wording.comparisons(differences(difference(0, 0, 0, 1)).drop(columns="p_value"))
