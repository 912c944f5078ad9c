from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.reporting import tables


def test_the_columns_are_those_of_the_project_in_order(line):
    assert list(tables.COLUMNS) == list(line().columns)


def test_columns_are_put_in_order(line):
    shuffled = line()[sorted(line().columns)]
    assert tables.to_csv(shuffled) == tables.to_csv(line())
    assert tables.to_csv(shuffled).splitlines()[0] == ",".join(line().columns)


def test_other_columns_are_refused(line):
    with pytest.raises(InputError, match="missing \\['p_value'\\], unknown \\['p'\\]"):
        tables.to_csv(line().rename(columns={"p_value": "p"}))


def test_csv_keeps_every_digit(line):
    exact = 0.1 + 0.2  # 0.30000000000000004
    back = pd.read_csv(io.StringIO(tables.to_csv(line(mean=exact))))
    assert back["mean"][0] == exact
    assert np.isnan(back["published"][0])
    assert back["n"][0] == 4


def test_each_metric_has_its_own_decimals(line):
    both = pd.concat([line(metric="dice", mean=0.81234), line(metric="hd95", mean=12.3456, median=11.1)])
    assert list(tables.readable(both)["mean"]) == ["0.812", "12.3"]


def test_a_floor_that_is_far_off_takes_no_decimals_from_a_method(line):
    far = line(method="all normal", metric="hd95", mean=261.3, median=261.3, ci_low=250.0, ci_high=270.0)
    near = line(method="unet", metric="hd95", mean=3.4812, median=3.24, ci_low=2.41, ci_high=4.67)
    assert list(tables.readable(pd.concat([near, far]))["mean"]) == ["3.48", "261"]


def test_a_perfect_score_has_the_decimals_of_the_others(line):
    whole = {"median": 1.0, "std": 0.0, "ci_low": 1.0, "ci_high": 1.0}
    perfect = line(method="all normal", metric="specificity", mean=1.0, **whole)
    both = pd.concat([line(method="unet", metric="specificity", mean=0.9921), perfect])
    assert list(tables.readable(both)["mean"]) == ["0.992", "1.000"]


def test_a_published_figure_is_not_rounded_away_beside_whole_means(line):
    assert tables.readable(line(mean=0.0, median=0.0, std=0.0, ci_low=0.0, ci_high=0.0, published=0.647))[
        "published"
    ].item() == ("0.647")


def test_several_seeds_and_missing_values_are_readable(line):
    text = tables.readable(line(seed="1,2,3", published=None, p_value=0.0001, sequence="")).iloc[0]
    assert (text["seed"], text["published"], text["p_value"], text["sequence"]) == ("1,2,3", "–", "<0.001", "–")


def test_markdown_is_a_table_whose_numbers_stand_right(line):
    lines = tables.to_markdown(line(method="a|b")).splitlines()
    assert len({len(one) for one in lines}) == 1
    assert "a\\|b" in lines[2]
    rule = [part.strip() for part in lines[1].strip("|").split("|")]
    assert not rule[0].endswith(":")
    assert all(part.endswith(":") for part in rule[8:])


def test_latex_is_escaped_and_has_booktabs_rules(line):
    text = tables.to_latex(line(method="50% & a_b", protocol="real+25%", mean=-0.25, p_value=0.0001))
    assert r"50\% \& a\_b" in text
    assert r"ci\_low" in text
    assert "$-$0.250" in text
    assert r"\textless{}0.001" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert "{llllllllrrrrrrrrrrr}" in text
    body = next(one for one in text.splitlines() if one.startswith("50"))
    # 19 cells have 18 separators; the escaped ampersand is none.
    assert body.replace(r"\&", "").count("&") == 18


def test_every_character_latex_knows_is_escaped():
    assert tables.latex_escaped("\\{}$&#^_~%") == (r"\textbackslash{}\{\}\$\&\#\textasciicircum{}\_\textasciitilde{}\%")


def test_files_are_the_same_twice_and_nothing_is_left_beside_them(line, tmp_path):
    first = {
        kind: path.read_bytes() for kind, path in tables.write_table(line(), tmp_path / "a", "augmentation").items()
    }
    second = {
        kind: path.read_bytes() for kind, path in tables.write_table(line(), tmp_path / "a", "augmentation").items()
    }
    assert first == second
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "augmentation.csv",
        "augmentation.md",
        "augmentation.tex",
    ]


def test_a_refused_table_writes_nothing(line, tmp_path):
    with pytest.raises(InputError):
        tables.write_table(line().drop(columns="n"), tmp_path / "a", "augmentation")
    assert not (tmp_path / "a").exists()


def test_an_empty_table_is_a_header(line):
    empty = line().iloc[:0]
    assert len(tables.to_csv(empty).splitlines()) == 1
    assert len(tables.to_markdown(empty).splitlines()) == 2
    assert r"\midrule" in tables.to_latex(empty)
