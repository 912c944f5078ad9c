"""Claims in words: every figure that a sentence gives stands in the table it is made from."""

from __future__ import annotations

import pandas as pd

from lesionlab.evaluation.claims import parts_table, sentences

HOLDS, OPEN = "holds here", "cannot be told"


def comparison(where: str, difference: float, verdict: str = HOLDS, **given) -> dict:
    row = {"claim": "X's slices raise Dice", "metric": "dice", "where": where, "training_subjects": 8}
    row |= {
        "ci_low": difference - 0.05,
        "ci_high": difference + 0.05,
        "p_value": 0.012,
        "cohens_dz": 0.5,
        "n": 20,
        "seeds": 3,
    }
    return row | {"difference": difference, "verdict": verdict, "published": float("nan")} | given


def test_few_comparisons_are_told_each():
    rows = [comparison("edema", 0.1), comparison("cavity", 0.01, OPEN, p_value=0.4), comparison("tumor", 0.2, n=19)]
    (told,) = sentences(pd.DataFrame(rows))
    assert told["claim"] == "X's slices raise Dice"  # one size of the training set, which goes without saying
    assert told["found"] == (
        "holds here for edema (+0.100, 95 % interval +0.050 to +0.150, p = 0.012, d = +0.50, n = 20, seeds = 3), "
        "tumor (+0.200, 95 % interval +0.150 to +0.250, p = 0.012, d = +0.50, n = 19, seeds = 3); "
        "cannot be told for cavity (+0.010, 95 % interval −0.040 to +0.060, p = 0.400, d = +0.50, n = 20, seeds = 3)."
    )


def test_many_comparisons_are_counted_with_their_range():
    rows = [comparison(f"c{at}", 0.01 * at, OPEN if at < 2 else HOLDS, n=20 - at % 2) for at in range(6)]
    (told,) = sentences(pd.DataFrame(rows))
    assert told["found"] == (
        "cannot be told in 2 of 6 comparisons (differences 0.000 to +0.010, n = 19 to 20, seeds = 3); "
        "holds here in 4 of 6 comparisons (differences +0.020 to +0.050, n = 19 to 20, seeds = 3)."
    )
    alike = sentences(pd.DataFrame([row | {"verdict": OPEN} for row in rows]))
    assert alike[0]["found"].startswith("cannot be told in all 6 comparisons")


def test_sizes_of_the_training_set_have_sentences_of_their_own():
    rows = [comparison("edema", 0.1, p_value=0.0001), comparison("edema", 0.3, training_subjects=16)]
    told = sentences(pd.DataFrame(rows))
    assert [one["claim"].rpartition(", ")[2] for one in told] == ["trained on 8 subjects", "trained on 16 subjects"]
    assert "p <0.001" in told[0]["found"] and "+0.300" in told[1]["found"]


def test_one_patient_leaves_no_interval():
    nothing = float("nan")
    row = comparison("edema", 0.1, OPEN, ci_low=nothing, ci_high=nothing, p_value=nothing, cohens_dz=nothing, n=1)
    assert sentences(pd.DataFrame([row]))[0]["found"] == (
        "cannot be told for edema (+0.100, 95 % interval –, p = –, d = –, n = 1, seeds = 3)."
    )


def test_without_claims_there_is_nothing_to_tell():
    assert sentences(None) == [] and sentences(pd.DataFrame()) == []
    assert parts_table(None) is None and parts_table(pd.DataFrame()) is None


def test_parts_taken_away_stand_with_dice_first():
    rows = [
        comparison("tumor, T1w", -0.2, part="w/o atlas", metric="pixel_accuracy", published=-0.09),
        comparison("tumor", -0.1, part="w/o atlas"),
    ]
    table = parts_table(pd.DataFrame(rows))
    assert table["measure"].tolist() == ["Dice", "pixel accuracy"]
    assert table["difference"].tolist() == ["−0.100", "−0.200"] and table["published"].tolist() == ["–", "−0.090"]
    assert table["95 % interval"].tolist()[0] == "−0.150 to −0.050"
    assert table["d"].tolist() == ["+0.50"] * 2
    assert "training subjects" not in table
    both = pd.DataFrame([*rows, rows[1] | {"training_subjects": 16}])
    assert parts_table(both)["training subjects"].tolist() == ["8", "16", "8"]
