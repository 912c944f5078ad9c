"""Claims against scores whose verdicts are known beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.trials.claims import (
    FAILS,
    HOLDS,
    OPEN,
    claims_of,
    hold_against,
    lowered_by,
    parts_taken_away,
    summary,
    verdict,
)

CLASSES = ["edema", "cavity", "tumor"]
SUBJECTS = [f"s{number}" for number in range(10)]


def score(value: float, subject: str, **cell: object) -> dict:
    about = {"method": "unet", "cohort": "x", "protocol": "real", "synthesizer": "none", "training_subjects": 4}
    about |= {"sequence": "all", "class": "edema", "metric": "dice", "seed": 0}
    return {**about, **cell, "subject": subject, "value": value}


@pytest.fixture
def scores() -> pd.DataFrame:
    """Edema gains 0.1 in every subject, tumor loses as much, cavity gains in every other and loses in the rest."""
    change = {"edema": lambda n: 0.1, "tumor": lambda n: -0.1, "cavity": lambda n: 0.1 * (-1) ** n}
    rows = []
    for number, subject in enumerate(SUBJECTS):
        for name in CLASSES:
            base = 0.5 + 0.01 * number
            rows.append(score(base, subject, **{"class": name}))
            better = {"class": name, "protocol": "real+50%", "synthesizer": "cgsamr"}
            rows.append(score(base + change[name](number), subject, **better))
    return pd.DataFrame(rows)


def test_each_class_has_its_own_verdict(scores):
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), ["real", "real+50%"], CLASSES)
    assert [claim.words for claim in claims] == ["CG-SAMR's slices raise Dice (real+50% over real)"]
    found = hold_against(claims, scores, resamples=200).set_index("where")
    assert found["verdict"].to_dict() == {"edema": HOLDS, "cavity": OPEN, "tumor": FAILS}
    assert found["difference"].to_dict() == pytest.approx({"edema": 0.1, "cavity": 0.0, "tumor": -0.1}, abs=1e-9)
    assert set(found["n"]) == {10} and set(found["training_subjects"]) == {4} and set(found["seeds"]) == {1}
    # Every subject gains edema; of cavity as many gain as lose, alike. Ten differences of +-0.1 have a standard
    # deviation of 0.1 sqrt(10 / 9), their mean is 0.
    assert found["rank_biserial"].to_dict() == pytest.approx({"edema": 1, "cavity": 0, "tumor": -1}, abs=1e-9)
    assert found.loc["cavity", "cohens_dz"] == pytest.approx(0, abs=1e-9)


def test_published_differences_stand_beside(scores):
    # CG-SAMR, Table II: edema 0.807 with, 0.647 without.
    cell = {"method": "unet", "sequence": "all", "class": "edema", "metric": "dice"}
    published = pd.DataFrame(
        [
            # Another paper's figure for one of the lines comes first, and has no partner.
            {**cell, "protocol": "real", "synthesizer": "none", "published": 0.646, "source": "SAMR 2020, Table 2"},
            {**cell, "protocol": "real", "synthesizer": "none", "published": 0.647, "source": "CG-SAMR 2020, Table II"},
            {**cell, "protocol": "real+50%", "synthesizer": "cgsamr", "published": 0.807}
            | {"source": "CG-SAMR 2020, Table V"},
        ]
    )
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), ["real", "real+50%"], CLASSES)
    found = hold_against(claims, scores, published, resamples=200).set_index("where")["published"]
    assert found["edema"] == pytest.approx(0.16) and np.isnan(found["tumor"])


def test_a_part_taken_away_is_claimed_to_do_worse(scores):
    rows = []
    for number, subject in enumerate(SUBJECTS):
        for method, value in (("cgsamr", 0.7), ("without_atlas", 0.4)):
            about = {"method": method, "protocol": "paired", "metric": "pixel_accuracy", "sequence": "T1w"}
            rows.append(score(value + 0.01 * number, subject, **about))
    titles = {"cgsamr": "CG-SAMR", "without_atlas": "w/o atlas"}
    claims = claims_of(titles, [("cgsamr", "without_atlas")], ["real", "real+50%"], CLASSES)
    found = hold_against(claims, pd.concat([scores, pd.DataFrame(rows)]), resamples=200)
    own = found[found["claim"].str.startswith("w/o atlas synthesizes less well")]
    assert own["verdict"].tolist() == [HOLDS] and own["difference"].item() == pytest.approx(-0.3)
    # Of the variant's comparisons those with its method, of which this trial has scores for one.
    parts = parts_taken_away(found, {"without_atlas": "w/o atlas"}, {"without_atlas": "cgsamr"})
    assert parts["part"].tolist() == ["w/o atlas"] and parts["claim"].tolist() == own["claim"].tolist()


def test_sequences_are_one_comparison_and_only_whole_figures_stand_beside():
    """Better by 0.2 in FLAIR and worse by 0.1 in T1w: by 0.05 on average; the paper's means are 0.6 and 0.5."""
    rows, figures = [], []
    for method, (t1w, flair) in {"samr": (0.5, 0.5), "cgsamr": (0.4, 0.7)}.items():
        for sequence, value in (("T1w", t1w), ("FLAIR", flair)):
            about = {"method": method, "protocol": "paired", "metric": "pixel_accuracy", "sequence": sequence}
            rows += [score(value + 0.01 * n, subject, **about) for n, subject in enumerate(SUBJECTS)]
    for method, name, value in (("samr", "T1w", 0.4), ("samr", "FLAIR", 0.6), ("cgsamr", "T1w", 0.6)):
        cell = {"method": method, "protocol": "paired", "synthesizer": "none", "metric": "pixel_accuracy"}
        figures.append({**cell, "sequence": name, "class": "edema", "published": value, "source": "a paper"})
    claims = claims_of({"samr": "SAMR", "cgsamr": "CG-SAMR"}, [("cgsamr", "samr")], ["real"], CLASSES)
    alone = hold_against(claims, pd.DataFrame(rows), pd.DataFrame(figures), resamples=200)
    assert alone["where"].tolist() == ["edema"] and alone["difference"].item() == pytest.approx(-0.05)
    assert np.isnan(alone["published"].item())  # CG-SAMR's FLAIR is missing
    figures.append({**figures[-1], "sequence": "FLAIR"})
    whole = hold_against(claims, pd.DataFrame(rows), pd.DataFrame(figures), resamples=200)
    assert whole["published"].item() == pytest.approx(0.5 - 0.6)


def test_what_no_paper_says_is_not_put_into_its_mouth():
    titles = {"cgsamr": "CG-SAMR", "ours": "w/o this", "theirs": "w/o that"}
    pairs = [("cgsamr", "ours"), ("cgsamr", "theirs")]
    claims = claims_of(titles, pairs, ["real", "real+50%"], CLASSES, ["ours", "theirs"], ["ours"])
    told = {claim.synthesizer: claim.words for claim in claims if claim.metric == "dice" and claim.sign < 0}
    assert "no paper says so" in told["ours"] and "paper" not in told["theirs"]


def test_more_slices_are_compared_with_fewer_of_the_same_synthesizer():
    rows = []
    for number, subject in enumerate(SUBJECTS):
        for synthesizer, fewer, more in (("samr", 0.6, 0.5), ("cgsamr", 0.6, 0.7)):
            values = {"real+25%": fewer, "real+50%": more}
            rows += [
                score(value + 0.01 * number, subject, protocol=arm, synthesizer=synthesizer)
                for arm, value in values.items()
            ]
    arms = ["real", "real+25%", "real+50%"]
    claims = claims_of({"samr": "SAMR", "cgsamr": "CG-SAMR"}, (), arms, CLASSES)
    found = hold_against(claims, pd.DataFrame(rows), resamples=200)
    further = found[found["claim"].str.contains("further")].set_index("claim")["verdict"].to_dict()
    assert [words.split("'")[0].split()[-1] for words in further] == ["SAMR", "CG-SAMR"]
    assert list(further.values()) == [FAILS, HOLDS]


def test_what_a_trial_has_not_is_no_claim(scores):
    titles = {"samr": "SAMR", "cgsamr": "CG-SAMR"}
    words = [claim.words for claim in claims_of(titles, [("cgsamr", "samr")], ["real", "synthetic"], CLASSES)]
    assert words == ["SAMR synthesizes less well than CG-SAMR (pixel accuracy)"]
    assert hold_against([], scores).empty


def everybody(**above):
    """Scores of all subjects in each arm, so far above their own in real slices; arms with "50" are CG-SAMR's."""
    return pd.DataFrame(
        [
            score(0.5 + 0.01 * number + gain, subject, protocol=arm, synthesizer="cgsamr" if "50" in arm else "none")
            for number, subject in enumerate(SUBJECTS)
            for arm, gain in above.items()
        ]
    )


def test_a_synthetic_gain_has_to_go_beyond_conventional_augmentation():
    scores = everybody(**{"conventional": 0.2, "conventional+50%": 0.15})
    arms = ["real", "conventional", "conventional+50%"]
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), arms, CLASSES)
    found = hold_against(claims, scores, resamples=200)
    assert found["verdict"].tolist() == [FAILS] and "beyond conventional" in found["claim"].item()


def test_slices_of_a_synthesizer_are_held_against_conventional_augmentation():
    scores = everybody(**{"real": 0, "conventional": 0.2, "real+50%": 0.1})
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), ["real", "real+50%", "conventional"], CLASSES)
    found = hold_against(claims, scores, resamples=200).set_index("claim")
    over = found.loc[
        "CG-SAMR's slices raise Dice more than conventional augmentation does (real+50% over conventional)"
    ]
    # Better than real slices alone by 0.1 in everybody, worse than conventional augmentation by as much.
    assert (over["verdict"], over["reference"]) == (FAILS, "conventional")
    assert over["difference"] == pytest.approx(-0.1)
    assert found.loc["CG-SAMR's slices raise Dice (real+50% over real)", "verdict"] == HOLDS


def test_a_gain_that_as_many_steps_on_real_slices_give_is_not_the_slices():
    scores = everybody(**{"real": 0, "real longer": 0.2, "real+50% longer": 0.1})
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), ["real", "real longer", "real+50% longer"], CLASSES)
    found = hold_against(claims, scores, resamples=200)
    assert dict(zip(found["reference"], found["verdict"], strict=True)) == {"real": HOLDS, "real longer": FAILS}


def test_claims_of_one_family_are_corrected_together():
    """Six subjects of whom all gain: 2 of 2^6 sign patterns are as extreme, p = 0.03125; Holm doubles it for two."""
    rows = []
    for number, subject in enumerate(SUBJECTS[:6]):
        rows.append(score(0.5 + 0.01 * number, subject))
        for synthesizer in ("samr", "cgsamr"):
            better = {"protocol": "real+50%", "synthesizer": synthesizer}
            rows.append(score(0.6 + 0.02 * number, subject, **better))
    scores, arms = pd.DataFrame(rows), ["real", "real+50%"]
    alone = hold_against(claims_of({"samr": "SAMR"}, (), arms, CLASSES), scores, resamples=200)
    assert alone["p_value"].tolist() == [0.03125] and alone["verdict"].tolist() == [HOLDS]
    both = claims_of({"samr": "SAMR", "cgsamr": "CG-SAMR"}, (), arms, CLASSES)
    found = hold_against(both, scores, resamples=200)
    assert found["p_raw"].tolist() == [0.03125, 0.03125] and found["p_value"].tolist() == [0.0625, 0.0625]
    assert found["verdict"].tolist() == [OPEN, OPEN]
    # Of another class, metric or size of the training set each is a family of its own.
    for other in ({"class": "tumor"}, {"training_subjects": 8}):
        apart = scores.assign(
            **{key: scores[key].where(scores["synthesizer"] != "cgsamr", value) for key, value in other.items()}
        )
        more = scores[scores["protocol"] == "real"].assign(**other)
        found = hold_against(both, pd.concat([apart, more]), resamples=200)
        assert found["p_value"].tolist() == [0.03125, 0.03125] and found["verdict"].tolist() == [HOLDS, HOLDS]


def test_the_summary_counts_verdicts(scores):
    claims = claims_of({"cgsamr": "CG-SAMR"}, (), ["real", "real+50%"], CLASSES)
    table = summary(hold_against(claims, scores, resamples=200))
    assert table[[HOLDS, FAILS, OPEN]].to_numpy().tolist() == [[1, 1, 1]]
    assert (table["least_difference"].item(), table["greatest_difference"].item()) == pytest.approx((-0.1, 0.1))


@pytest.mark.parametrize(
    ("low", "high", "p_value", "sign", "expected"),
    [
        (0.01, 0.2, 0.04, 1, HOLDS),
        (0.01, 0.2, 0.06, 1, OPEN),  # the test does not say so
        (-0.01, 0.2, 0.04, 1, OPEN),  # the interval does not
        (-0.2, -0.01, 0.04, 1, FAILS),
        (-0.2, -0.01, 0.04, -1, HOLDS),
        (float("nan"), float("nan"), float("nan"), 1, OPEN),
    ],
)
def test_verdict(low, high, p_value, sign, expected):
    assert verdict({"ci_low": low, "ci_high": high, "p_value": p_value}, sign) == expected


def test_slices_that_lower_dice_by_the_papers_figures_are_claimed_to_lower_it():
    rows = [("real", "none", 0.6), ("real+50%", "pix2pix", 0.5), ("real+50%", "samr", 0.7), ("real+25%", "other", 0.1)]
    figures = pd.DataFrame(rows, columns=["protocol", "synthesizer", "published"])
    figures = figures.assign(source="a paper", metric="dice", **{"class": "edema"})
    assert lowered_by(figures) == {"pix2pix"}
    arms = ["real", "real+50%", "conventional"]
    claims = claims_of({"pix2pix": "pix2pix", "samr": "SAMR"}, (), arms, CLASSES, lowering={"pix2pix"})
    assert [(claim.words, claim.sign) for claim in claims] == [
        ("pix2pix's slices lower Dice (real+50% over real)", -1),
        ("SAMR's slices raise Dice (real+50% over real)", 1),
        ("SAMR's slices raise Dice more than conventional augmentation does (real+50% over conventional)", 1),
    ]
