"""Tables of scores against hand calculation."""

import numpy as np
import pandas as pd
import pytest

from lesionlab.metrics import statistics
from lesionlab.metrics.inference import bootstrap_ci
from lesionlab.metrics.statistics import DIFFERENCE_COLUMNS, TABLE_COLUMNS, differences, summarise


def scores(protocol, by_subject, name="tumor", method="CG-SAMR", seed=0, metric="dice", synthesizer="none"):
    return pd.DataFrame(
        {
            "method": method,
            "cohort": "phantom",
            "protocol": protocol,
            "synthesizer": synthesizer,
            "training_subjects": 8,
            "sequence": "all",
            "class": name,
            "metric": metric,
            "subject": list(by_subject),
            "value": list(by_subject.values()),
            "seed": seed,
        }
    )


REAL = {"a": 0.1, "b": 0.2, "c": 0.6}
MORE = {"a": 0.2, "b": 0.4, "c": 0.9}


def test_summary_columns_and_values():
    table = summarise(scores("real", REAL), seed=5)
    assert list(table.columns) == TABLE_COLUMNS
    row = table.iloc[0]
    assert row["mean"] == pytest.approx(0.3)
    assert row["std"] == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert row["median"] == 0.2
    assert (row["ci_low"], row["ci_high"]) == bootstrap_ci(np.array([0.1, 0.2, 0.6]), 5)
    assert row["n"] == 3
    assert row["seed"] == 0
    assert np.isnan(row["p_value"])
    assert np.isnan(row["published"])


def test_p_values_pair_subjects_and_are_corrected_over_the_family():
    table = summarise(
        pd.concat(
            [
                scores("real", REAL),
                # Another order of subjects, and one more who has no partner.
                scores("real+25%", {"c": 0.9, "z": 0.0, "b": 0.4, "a": 0.2}),
                scores("real+50%", REAL),
                scores("real", REAL, "edema"),
                scores("real+25%", REAL, "edema"),
                scores("real", REAL, metric="hd95"),
                scores("real+25%", MORE, metric="hd95"),
            ]
        ),
        reference={"protocol": "real"},
    )
    p = table.set_index(["metric", "class", "protocol"])["p_value"]
    # Differences 0.1, 0.2, 0.3: p = 2/8; no difference: p = 1. Holm over the two: 0.5 and 1.
    assert p["dice", "tumor", "real+25%"] == pytest.approx(0.5)
    assert p["dice", "tumor", "real+50%"] == 1.0
    # Another class or metric is another family.
    assert p["dice", "edema", "real+25%"] == 1.0
    assert p["hd95", "tumor", "real+25%"] == pytest.approx(0.25)
    assert p[:, :, "real"].isna().all()


def test_the_effect_size_has_the_sign_of_the_change():
    worse = {"a": 0.0, "b": 0.3, "c": 0.3}  # differences -0.1, +0.1, -0.3: ranks 1.5, 1.5, 3
    table = summarise(
        pd.concat([scores("real", REAL), scores("real+25%", MORE), scores("real+50%", worse)]),
        reference={"protocol": "real"},
    ).set_index("protocol")["rank_biserial"]
    assert table["real+25%"] == 1.0
    assert table["real+50%"] == pytest.approx((1.5 - 1.5 - 3) / 6)
    assert np.isnan(table["real"])


def test_the_reference_may_belong_to_one_other_method():
    table = summarise(
        pd.concat([scores("real", REAL, method="U-Net"), scores("real+25%", MORE, method="CG-SAMR")]),
        reference={"protocol": "real"},
    )
    assert table["p_value"].tolist()[1] == pytest.approx(0.25)
    # With a reference of its own, a method is compared with that one.
    own = pd.concat([scores("real", REAL, method=m) for m in ("A", "B")] + [scores("real+25%", MORE, method="B")])
    assert summarise(own, reference={"protocol": "real"})["p_value"].tolist()[2] == pytest.approx(0.25)


def test_methods_against_a_named_method():
    table = summarise(
        pd.concat([scores("synthesis", MORE), scores("synthesis", REAL, method="mean image")]),
        reference={"method": "mean image"},
    )
    assert table["p_value"].tolist()[0] == pytest.approx(0.25)


def test_what_stands_beside_the_reference_is_not_tested_against_it():
    floors = [scores("floor", REAL, method=name) for name in ("atlas", "mean image")]
    table = summarise(
        pd.concat([scores("paired", MORE, method="cgsamr"), *floors]),
        reference={"method": "atlas", "protocol": "floor"},
    ).set_index("method")["p_value"]
    # One comparison, so Holm changes nothing: 2/8.
    assert table["cgsamr"] == pytest.approx(0.25) and np.isnan(table["atlas"]) and np.isnan(table["mean image"])


def test_seeds_of_a_subject_are_averaged():
    table = summarise(pd.concat([scores("real", REAL, seed=1), scores("real", MORE, seed=0)]))
    assert len(table) == 1
    assert table["n"][0] == 3
    assert table["seed"][0] == "0,1"
    assert table["median"][0] == pytest.approx(0.3)


def test_the_spread_over_seeds_stands_apart_from_that_over_subjects():
    one, other = {"a": 0.1, "b": 0.5}, {"a": 0.3, "b": 0.9}
    row = summarise(pd.concat([scores("real", one, seed=1), scores("real", other, seed=2)])).iloc[0]
    # Means over subjects: 0.3 and 0.6; means over seeds: 0.2 and 0.7.
    assert row["seed_std"] == pytest.approx(0.3 / np.sqrt(2))
    assert row["std"] == pytest.approx(0.5 / np.sqrt(2))
    assert np.isnan(summarise(scores("real", one)).iloc[0]["seed_std"])


def test_a_subject_without_all_seeds_does_not_pass_for_chance_in_training():
    # Every value belongs to its subject alone, so the seeds do not differ: the mean of a alone is 0.1 for both.
    table = summarise(pd.concat([scores("real", {"a": 0.1, "b": 0.9}, seed=1), scores("real", {"a": 0.1}, seed=2)]))
    assert table["seed_std"].item() == 0
    assert table["n"].item() == 2
    disjoint = pd.concat([scores("real", {"b": 0.9}, seed=1), scores("real", {"a": 0.1}, seed=2)])
    assert np.isnan(summarise(disjoint)["seed_std"].item())


def test_more_seeds_are_no_more_subjects():
    once = summarise(pd.concat([scores("real", REAL), scores("+", MORE)]), reference={"protocol": "real"})
    many = [scores(p, v, seed=s) for s in range(5) for p, v in (("real", REAL), ("+", MORE))]
    often = summarise(pd.concat(many), reference={"protocol": "real"})
    for column in ("mean", "std", "ci_low", "ci_high", "n", "p_value", "rank_biserial"):
        assert often[column].tolist() == pytest.approx(once[column].tolist(), nan_ok=True)


def test_a_gain_of_one_training_alone_is_no_clear_gain():
    # Every subject gains on average, so that the test over subjects is sure; but all of it is one training's luck.
    people = [f"p{i}" for i in range(20)]
    parts = []
    for seed, gain in ((0, 0.3), (1, -0.01), (2, -0.01)):
        real = {name: 0.5 + 0.001 * i for i, name in enumerate(people)}
        parts += [scores("real", real, seed=seed)]
        parts += [scores("+", {name: value + gain for name, value in real.items()}, seed=seed)]
    row = differences(pd.concat(parts), {"protocol": "real"}).iloc[0]
    assert row["difference"] == pytest.approx(0.28 / 3)
    assert row["p_value"] == pytest.approx(2 / 2**20)
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((-0.01, 0.3))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((-0.01, 0.3))  # 1/27 of the draws, 8/27 of the others'


def test_differences_are_of_trainings_with_the_same_seed():
    real = [scores("real", REAL, seed=0), scores("real", MORE, seed=1)]
    more = [scores("+", MORE, seed=0)]
    row = differences(pd.concat([*real, *more]), {"protocol": "real"}).iloc[0]
    assert row["difference"] == pytest.approx(0.2)  # of seed 0: 0.1, 0.2, 0.3
    # Without a seed in common, the means over each one's seeds.
    row = differences(pd.concat([*real, scores("+", MORE, seed=7)]), {"protocol": "real"}).iloc[0]
    assert row["difference"] == pytest.approx(0.1)


def test_a_subject_that_lacks_a_seed_counts_with_the_others():
    real = pd.concat([scores("real", {"a": 0.1, "b": 0.1}, seed=seed) for seed in (0, 1)])
    more = pd.concat([scores("+", {"a": 0.2, "b": 0.5}, seed=0), scores("+", {"a": 0.4}, seed=1)])
    row = differences(pd.concat([real, more]), {"protocol": "real"}).iloc[0]
    assert (row["difference"], row["n"]) == (pytest.approx(0.3), 2)  # a: mean of 0.1 and 0.3, b: 0.4


def test_differences_to_the_baseline_by_hand():
    found = differences(
        pd.concat(
            [
                scores("real", REAL),
                scores("real+25%", {"c": 0.9, "z": 0.0, "b": 0.4, "a": 0.2}),  # +0.3, no partner, +0.2, +0.1
                scores("real+50%", REAL),
                scores("real", REAL, "edema"),
            ]
        ),
        {"protocol": "real"},
        seed=3,
    )
    assert list(found.columns) == DIFFERENCE_COLUMNS
    gain, none = found.to_dict("records")
    assert (gain["protocol"], gain["class"], gain["reference"]) == ("real+25%", "tumor", "CG-SAMR, real, none")
    assert gain["difference"] == pytest.approx(0.2)
    assert (gain["ci_low"], gain["ci_high"]) == pytest.approx(bootstrap_ci(np.array([0.3, 0.2, 0.1]), 3))
    assert (gain["p_raw"], gain["p_value"]) == (pytest.approx(2 / 8), pytest.approx(4 / 8))
    assert (gain["rank_biserial"], gain["cohens_dz"], gain["n"]) == (1, pytest.approx(0.2 / 0.1), 3)
    assert (none["difference"], none["p_raw"], none["p_value"], none["cohens_dz"]) == (0, 1, 1, 0)


def test_differences_and_summary_tell_the_same_p():
    together = pd.concat([scores(p, v, name) for name in ("tumor", "edema") for p, v in (("real", REAL), ("+", MORE))])
    table = summarise(together, reference={"protocol": "real"}).dropna(subset="p_value")
    found = differences(together, {"protocol": "real"})
    assert found["p_value"].tolist() == table["p_value"].tolist()
    assert found["rank_biserial"].tolist() == table["rank_biserial"].tolist()


def test_without_a_reference_line_there_is_no_difference():
    found = differences(scores("real+25%", MORE), {"protocol": "real"})
    assert found.empty and list(found.columns) == DIFFERENCE_COLUMNS


def test_each_size_of_the_training_set_is_compared_within_itself():
    few = pd.concat([scores("real", REAL), scores("+", MORE)]).assign(training_subjects=4)
    all_of_them = pd.concat([scores("real", MORE), scores("+", MORE)]).assign(training_subjects=16)
    both = pd.concat([few, all_of_them])
    table = summarise(both, reference={"protocol": "real"})
    assert table["training_subjects"].tolist() == [4, 4, 16, 16]
    # Each has its own reference line: all gained, nobody did; and its own family, so that Holm changes nothing: 2/8, 1.
    assert table["rank_biserial"].tolist() == pytest.approx([np.nan, 1, np.nan, 0], nan_ok=True)
    assert table["p_value"].tolist() == pytest.approx([np.nan, 2 / 8, np.nan, 1], nan_ok=True)
    found = differences(both, {"protocol": "real"})
    assert found["training_subjects"].tolist() == [4, 16] and found["n"].tolist() == [3, 3]


def test_every_synthesizers_slices_are_compared_with_the_baseline_that_has_none():
    less = {"a": 0.0, "b": 0.0, "c": 0.3}
    arms = [scores("real", REAL), scores("+", MORE, synthesizer="samr"), scores("+", less, synthesizer="cgsamr")]
    table = summarise(pd.concat(arms), reference={"protocol": "real"}).set_index("synthesizer")
    assert table["rank_biserial"].to_dict() == pytest.approx({"none": np.nan, "samr": 1, "cgsamr": -1}, nan_ok=True)
    # One family of two: the smaller 2/8 is doubled, and the other is no smaller.
    assert table["p_value"].to_dict() == pytest.approx({"none": np.nan, "samr": 4 / 8, "cgsamr": 4 / 8}, nan_ok=True)


def test_a_key_of_another_kind_is_carried_through(monkeypatch):
    for name in ("SCORE_COLUMNS", "TABLE_COLUMNS", "DIFFERENCE_COLUMNS", "CELL"):
        monkeypatch.setattr(statistics, name, ["scanner", *getattr(statistics, name)])
    one = pd.concat([scores("real", REAL), scores("+", MORE)]).assign(scanner="A")
    other = pd.concat([scores("real", MORE), scores("+", MORE)]).assign(scanner="B")
    table = summarise(pd.concat([one, other]), reference={"protocol": "real"})
    assert table["scanner"].tolist() == ["A", "A", "B", "B"]
    assert table["rank_biserial"].tolist() == pytest.approx([np.nan, 1, np.nan, 0], nan_ok=True)


def test_published_figures_stand_beside_ours():
    published = pd.DataFrame({"protocol": ["real"], "class": ["tumor"], "metric": ["dice"], "published": [0.793]})
    table = summarise(pd.concat([scores("real", REAL), scores("real", REAL, "edema")]), published=published)
    assert table.set_index("class")["published"]["tumor"] == 0.793
    assert np.isnan(table.set_index("class")["published"]["edema"])


def test_a_single_subject_has_no_spread():
    row = summarise(scores("real", {"a": 0.4})).iloc[0]
    assert row["mean"] == 0.4
    assert row[["std", "ci_low", "ci_high"]].isna().all()


def test_silent_nan_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        summarise(scores("real", {"a": np.nan, "b": 1.0}))
    with pytest.raises(ValueError, match="lack the columns"):
        summarise(scores("real", REAL).drop(columns="seed"))
    with pytest.raises(ValueError, match="no scores"):
        summarise(scores("real", {}))
    with pytest.raises(ValueError, match=r"no value in the columns \['protocol'\]"):
        summarise(scores("real", REAL).assign(protocol=["real", None, "real"]))
