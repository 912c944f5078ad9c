"""The page shows what sections hold, and needs nothing else."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesionlab.errors import InputError
from lesionlab.evaluation.sections import PaperCell, PaperSection, PaperTable, Picture, Section, Table
from lesionlab.reporting import tables
from lesionlab.reporting.report import Page, render_report


def picture(dpi=None):
    stream = io.BytesIO()
    Image.new("RGB", (300, 40), (10, 200, 10)).save(stream, format="PNG", **({"dpi": (dpi, dpi)} if dpi else {}))
    return stream.getvalue()


@pytest.fixture
def report(line) -> Page:
    lines = [("SAMR", [PaperCell("0.701", "0.821")]), ("pix2pix", [PaperCell("", "0.562")])]
    paper = PaperTable("SAMR 2020, Table 2", "A note.", [("Dice", 1)], ["tumor"], [PaperSection("Experiment 1", lines)])
    results = line(method="U-Net", cohort="phantom", metric="dice", mean=0.51, published=0.647)
    return Page(
        title="Does it help?",
        about="CG-SAMR · cohort phantom",
        summary="A question & its answer.",
        facts={"subjects": "24"},
        sections=[
            Section(
                "result", "Result", pictures=[Picture(picture(150), "A plot", "How to read it.")], headline="It does."
            ),
            Section("empty", "Nothing"),
            Section("papers", "The papers' tables", tables=[paper, Table(pd.DataFrame({"gone": []}), "No row")]),
            Section("scores", "Scores", "A lead.", tables=[Table(results, "All of them")], limits=["Few.", "Few."]),
            Section(
                "quality", "Quality", links=[("the page", "qc/qc.html")], points=[("phantom-07", "no brain found")]
            ),
            Section("moments", "Moments", pictures=[Picture(picture(), "Three moments")]),
        ],
        parameters={"training": {"steps": np.int64(400), "betas": (0.5, 0.999)}},
    )


def test_the_page_needs_no_other_file(report, page):
    seen = page(render_report(report))
    outside = [address for address in seen.addresses if not address.startswith(("data:image/png;base64,", "#"))]
    assert outside == ["qc/qc.html"]  # the quality-control page lies beside the report
    assert not {"link", "iframe", "object", "embed"} & set(seen.tags)
    assert "@import" not in render_report(report)
    assert "url(" not in render_report(report)


def test_the_contents_are_the_sections_that_hold_something(report, page):
    seen = page(render_report(report))
    targets = {address[1:] for address in seen.addresses if address.startswith("#")}
    assert targets == {"result", "papers", "scores", "quality", "moments", "limits", "glossary", "parameters"}
    assert targets <= set(seen.ids) and "empty" not in seen.ids
    assert "No row" not in render_report(report)


def test_what_was_given_is_shown(report, page):
    html = render_report(report)
    for text in (
        "A question &amp; its answer.", "It does.", "A lead.", "no brain found", "How to read it.", "steps: 400", "24",
    ):  # fmt: skip
        assert text in html, text
    assert html.index("It does.") < html.index("24") < html.index("A plot")
    assert html.count("Few.") == 1  # a limit of several sections stands once
    cells = page(html).cells
    assert {"0.647", "0.701 0.821", "0.562", "Experiment 1", "pix2pix", "published"} <= set(cells)


def test_result_tables_are_rounded_as_their_files_are(report, line, page):
    table = pd.concat([line(metric="dice", mean=0.51234), line(metric="hd95", mean=23.456, ci_low=12.0, ci_high=30.0)])
    html = render_report(replace(report, sections=[Section("a", "A", tables=[Table(table)])]))
    assert {"0.512", "23.5"} <= set(page(html).cells) and "23.5" in tables.to_markdown(table)
    with pytest.raises(InputError, match="result table"):
        render_report(replace(report, sections=[Section("a", "A", tables=[Table(table.assign(more=1))])]))


def test_many_points_are_folded_away(report, page):
    def folds(count: int) -> int:
        points = [(f"claim {number}", "holds here") for number in range(count)]
        return page(render_report(replace(report, sections=[Section("a", "A", points=points)]))).tags.count("details")

    assert folds(9) == folds(8) + 1


def test_the_same_content_gives_the_same_page(report):
    assert render_report(report) == render_report(report)


def test_a_picture_that_is_none_is_refused(report):
    section = Section("a", "A", pictures=[Picture(b"GIF89a", "no")])
    with pytest.raises(ValueError, match="PNG"):
        render_report(replace(report, sections=[section]))


def test_plots_are_shown_at_their_size_in_inches(report):
    widths = re.findall(r'<img [^>]*width="(\d+)"', render_report(report))
    # 300 pixels at 150 a inch are 2 inches, 192 CSS pixels; without a resolution, pixel by pixel.
    assert widths == ["192", "300"]
