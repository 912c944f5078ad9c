"""What the figures say, in sentences that claim no more than the figures do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from lesionlab.figures import formats
from lesionlab.metrics.statistics import ALPHA, DIFFERENCE_COLUMNS, is_clear

NAMED = 6  # differences that stand out, up to which the headline names each
FEW = 10  # test patients; below this the report warns that they are few
ENOUGH_SEEDS = 5  # trainings that differ in their seed alone; below this too


def headline(differences: pd.DataFrame | None, protocols: Collection[str] | None = None, metric: str = "dice") -> str:
    """One sentence that sums up the augmentation: better, worse, or not to be told apart from real data alone.

    Args:
        differences: each protocol against the baseline.
        protocols: those that differ from it by synthetic slices alone; by default all.
        metric: of the comparison.
    """
    every = _of_metric(differences, metric)
    rows = every if protocols is None else every[every["protocol"].isin(protocols)]
    if every.empty:
        return "The protocols were not compared: there is no difference to the baseline to show."
    if rows.empty:
        return "No arm differs from the baseline by synthetic slices alone: what they add was not measured."
    better, worse = rows[rows.apply(is_clear, axis=1) & rows["difference"].gt(0)], _worse(rows)
    if better.empty and worse.empty:
        change = (
            f"with {_patients(rows)}, adding synthetic slices changed Dice by "
            f"{formats.signed(rows['difference'].min())} to {formats.signed(rows['difference'].max())}"
        )
        if attainable_p(every)[rows.index].min() >= ALPHA:  # p is corrected for all protocols, not for these alone
            return f"Too few patients to tell: {change}; no change, however large, could stand out from chance."
        return f"No clear effect: {change}, differences that chance alone could make."
    if len(better) + len(worse) > NAMED:
        return _counted(rows, better, worse)
    sizes = rows["training_subjects"].nunique() > 1
    parts = [f"helped {_names(better, sizes)}"] if not better.empty else []
    parts += [f"harmed {_names(worse, sizes)}"] if not worse.empty else []
    rest = len(rows) - len(better) - len(worse)
    tail = f"; the other {rest} of {len(rows)} comparisons show no clear effect" if rest else ""
    return f"Adding synthetic slices {' and '.join(parts)} ({_patients(rows)}){tail}."


def _counted(rows: pd.DataFrame, better: pd.DataFrame, worse: pd.DataFrame) -> str:
    """The headline of many comparisons, of each protocol how many stand out."""
    parts = [
        f"{name} helped in {(better['protocol'] == name).sum()} of {len(own)} comparisons and harmed in "
        f"{(worse['protocol'] == name).sum()}"
        for name, own in rows.groupby("protocol", sort=False)
    ]
    return f"Adding synthetic slices ({_patients(rows)}): {'; '.join(parts)}; the others show no clear effect."


def comparisons(differences: pd.DataFrame | None, metric: str = "dice") -> list[dict[str, Any]]:
    """Each comparison as text: method, class, protocol, difference, interval, p, n, and what follows."""
    rows = _of_metric(differences, metric)
    by_class = rows.assign(place=pd.factorize(rows["class"])[0]).sort_values("place", kind="stable")
    return [_comparison(row) for _, row in by_class.iterrows()]


def smallest_p(patients: int) -> float:
    """The smallest two-sided p that a paired signed-rank test can give for so many patients: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - patients))


def attainable_p(rows: pd.DataFrame) -> pd.Series:
    """The smallest p that each comparison could have given, corrected for those of its class and training set."""
    compared = rows.groupby(["class", "training_subjects"])["protocol"].transform("size")
    return (rows["n"].map(smallest_p) * compared).clip(upper=1.0)


def limits(differences: pd.DataFrame | None, seeds: Sequence[str], cohort: str) -> list[str]:
    """What the figures cannot tell, as far as the figures themselves show it."""
    found = []
    rows = _of_metric(differences, "dice")
    if not rows.empty and rows["n"].min() < FEW:
        patients = int(rows["n"].min())
        found.append(
            f"{patients} test patients are few: one of them can move a mean, and a paired test, corrected for the "
            f"protocols compared, cannot give a p below {attainable_p(rows).max():.3g} whatever the data."
        )
    if len(set(seeds)) == 1:
        found.append(
            f"One seed ({seeds[0]}): the spread between trainings that differ only in chance is not measured here, and "
            "no interval knows of it."
        )
    elif 1 < (trainings := len(set(seeds))) < ENOUGH_SEEDS:
        found.append(
            f"{trainings} seeds: intervals draw trainings anew as well as patients, but so few tell little of how far "
            "another one would lie."
        )
    if cohort == "phantom":
        found.append(
            "The cohort is made by computer. It shows that the chain works and how well each stage meets the known "
            "truth; it says nothing about patients."
        )
    return found


def _of_metric(differences: pd.DataFrame | None, metric: str) -> pd.DataFrame:
    if differences is None:
        return pd.DataFrame(columns=list(DIFFERENCE_COLUMNS))
    missing = set(DIFFERENCE_COLUMNS) - set(differences.columns)
    if missing:
        raise ValueError(f"differences need the columns {sorted(missing)}, have {list(differences.columns)}")
    return differences[differences["metric"] == metric]


def _worse(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.apply(is_clear, axis=1) & rows["difference"].lt(0)]


def _names(rows: pd.DataFrame, sizes: bool) -> str:
    return ", ".join(
        f"{row['class']} in {row['protocol']}{_size(row) if sizes else ''} ({formats.signed(row['difference'])})"
        for _, row in rows.iterrows()
    )


def _size(row: pd.Series) -> str:
    return f" with {row['training_subjects']:.0f} training subjects"


def _patients(rows: pd.DataFrame) -> str:
    numbers = sorted({int(n) for n in rows["n"]})
    count = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"{count} test patient{'' if numbers == [1] else 's'}"


def _comparison(row: pd.Series) -> dict[str, Any]:
    clear = is_clear(row)
    return {
        "method": row["method"],
        "class": row["class"],
        "protocol": row["protocol"],
        "subjects": formats.whole(row.get("training_subjects")),
        "difference": formats.signed(row["difference"]),
        "interval": formats.interval(row["ci_low"], row["ci_high"], formats.signed),
        "p": formats.p_value(row["p_value"]),
        "n": formats.whole(row["n"]),
        "so": ("clear gain" if row["difference"] > 0 else "clear loss") if clear else "no clear difference",
    }
