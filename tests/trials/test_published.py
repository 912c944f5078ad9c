"""Whose figure stands beside ours, where two papers have one."""

from __future__ import annotations

import pandas as pd

from lesionlab.trials.published import own_paper_first, with_equal_epochs

COLUMNS = ["method", "protocol", "synthesizer", "source", "published"]


def figures(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_methods_own_paper_comes_before_another_that_ran_it_too():
    both = figures(
        ("unet", "real+50%", "samr", "CG-SAMR 2020, Table II", 0.7),
        ("unet", "real+50%", "samr", "SAMR 2020, Table 2", 0.8),
    )
    assert own_paper_first(both, {"samr": "samr", "cgsamr": "cgsamr"})["published"].tolist() == [0.8, 0.7]


def test_a_variant_has_no_figures_but_those_of_its_own_methods_paper():
    """CG-SAMR's paper takes stretch-out from CG-SAMR; ours of the same name, in a trial of SAMR, lacks it in SAMR."""
    table = figures(
        ("without_stretch_out", "paired", "none", "CG-SAMR 2020, Table V", 0.66),
        ("unet", "real+50%", "without_stretch_out", "CG-SAMR 2020, Table V", 0.75),
        ("unet", "real+50%", "without_stretch_out", "SAMR 2020, Table 2", 0.68),
        ("samr", "paired", "none", "CG-SAMR 2020, Table I", 0.71),
    )
    of_samr = own_paper_first(table, {"samr": "samr", "without_stretch_out": "samr"})
    assert sorted(of_samr["published"]) == [0.68, 0.71]
    of_cgsamr = own_paper_first(table, {"cgsamr": "cgsamr", "without_stretch_out": "cgsamr"})
    assert sorted(of_cgsamr["published"]) == [0.66, 0.71, 0.75]


def test_the_papers_equal_epochs_stand_beside_the_longer_arm_too():
    table = figures(("unet", "real+50%", "samr", "SAMR 2020, Table 2", 0.8), ("unet", "real", "none", "SAMR 2020", 0.6))
    found = with_equal_epochs(table).set_index("protocol")["published"].to_dict()
    assert found == {"real+50%": 0.8, "real": 0.6, "real+50% longer": 0.8}


def test_without_figures_there_are_none():
    assert with_equal_epochs(own_paper_first(pd.DataFrame(), {})).empty
