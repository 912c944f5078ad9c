"""What the papers claim of a trial's methods, held against its scores, in sentences that the figures alone decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesionlab.evaluation.sections import Section, Table
from lesionlab.evaluation.tables import figures_of
from lesionlab.figures import formats
from lesionlab.figures.charts import METRIC_WORDS
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.metrics.synthesis import BRAIN, WHOLE_IMAGE
from lesionlab.trials.claims import claims_of, hold_against, lowered_by, parts_taken_away, summary
from lesionlab.trials.plan import TrialPlan

FEW = 4  # comparisons of a claim, up to which its sentence names each
EFFECT_DECIMALS = 2
FIGURES = ("difference", "95 % interval", "p", "d", "n")  # columns of the table of parts


_RULE = (
    "Tested class by class, pixel accuracy by its mean over the sequences. A claim holds where the 95 % interval of "
    "the difference, over test patients and, with several seeds, over trainings, lies on its side of zero and p, "
    "corrected by Holm for all claims' comparisons of the same measure, class and training subjects, is below 0.05; "
    "it fails where the interval lies on the other side and p is as small; else it cannot be told. d: Cohen's d_z. "
    "Every comparison stands in claims.csv."
)


def held(
    plan: TrialPlan,
    synthesis_scores: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    published: Sequence[Mapping[str, object]],
    options: StatisticsOptions,
    seed: int,
) -> pd.DataFrame:
    """What the papers claim of the trial's methods, held against the trial's scores."""
    scores = pd.concat([synthesis_scores, segmentation_scores], ignore_index=True)
    classes = [name for name in dict.fromkeys(scores["class"]) if name not in (BRAIN, WHOLE_IMAGE)]
    arms, variants = plan.options.arms, plan.variants()
    figures = figures_of(published, plan)
    lowering = lowered_by(figures) if len(figures) else ()
    claimed = claims_of(plan.titles(), plan.claims(), arms, classes, variants, plan.unpublished(), lowering)
    return hold_against(claimed, scores, figures, seed=seed, resamples=options.resamples)


def section(plan: TrialPlan, claims: pd.DataFrame) -> Section:
    """A sentence for each claim, their verdicts counted, and what taking parts away changed."""
    tables = []
    if claims["claim"].nunique() > FEW:
        tables.append(Table(summary(claims).rename(columns=lambda name: str(name).replace("_", " ")), "Verdicts"))
    parts = parts_table(parts_taken_away(claims, plan.variants(), plan.methods()))
    if parts is not None:
        title = "Parts taken away: the variant minus the full method"
        tables.append(Table(parts, title, numeric=[name for name in FIGURES if name in parts]))
    points = [(one["claim"], one["found"]) for one in sentences(claims)]
    return Section("claims", "What the papers claim, held against this trial", _RULE, points=points, tables=tables)


def sentences(claims: pd.DataFrame | None) -> list[dict[str, str]]:
    """One sentence per claim and size of the training set.

    Args:
        claims: columns ``claim, metric, where, training_subjects, difference, ci_low, ci_high, p_value, cohens_dz, n,
            seeds, verdict``, a row per comparison.

    Returns:
        ``claim`` and ``found``: by verdict, each comparison where they are few, else their number and range.
    """
    if claims is None or claims.empty:
        return []
    several = claims["training_subjects"].nunique() > 1
    found = []
    for (claim, size), rows in claims.groupby(["claim", "training_subjects"], sort=False):
        trained = f", trained on {size} subjects" if several else ""
        verdicts = "; ".join(_verdict(str(verdict), own, rows) for verdict, own in rows.groupby("verdict", sort=False))
        found.append({"claim": f"{claim}{trained}", "found": f"{verdicts}."})
    return found


def _verdict(verdict: str, own: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The comparisons that have this verdict, of all comparisons of the claim."""
    if len(rows) <= FEW:
        return f"{verdict} for {', '.join(_comparison(row) for row in own.to_dict('records'))}"
    share = f"all {len(rows)}" if len(own) == len(rows) else f"{len(own)} of {len(rows)}"
    least, greatest = formats.signed(own["difference"].min()), formats.signed(own["difference"].max())
    between = f"difference {least}" if len(own) == 1 else f"differences {least} to {greatest}"
    return f"{verdict} in {share} comparisons ({between}, {_people(own)})"


def _comparison(row: Mapping[Any, Any]) -> str:
    interval = formats.interval(row["ci_low"], row["ci_high"], formats.signed)
    p_value = formats.p_value(row["p_value"])
    p_shown = f"p {p_value}" if p_value.startswith("<") else f"p = {p_value}"
    change = formats.signed(row["difference"])
    effect = f"d = {formats.signed(row['cohens_dz'], EFFECT_DECIMALS)}"
    return f"{row['where']} ({change}, 95 % interval {interval}, {p_shown}, {effect}, {_people(pd.DataFrame([row]))})"


def _people(rows: pd.DataFrame) -> str:
    return ", ".join(f"{name} = {_range(rows[column])}" for name, column in (("n", "n"), ("seeds", "seeds")))


def _range(counts: pd.Series) -> str:
    least, most = int(counts.min()), int(counts.max())
    return str(least) if least == most else f"{least} to {most}"


def parts_table(ablations: pd.DataFrame | None) -> pd.DataFrame | None:
    """What taking a part away changed, a line per variant, measure and class, as text.

    Args:
        ablations: as for :func:`sentences`, and ``part``: the variant's title, ``published``: the paper's difference.

    Returns:
        None where there is none. Differences are the variant's minus the full method's; Dice first.
    """
    if ablations is None or ablations.empty:
        return None
    rows = ablations.assign(last=ablations["metric"] != "dice").sort_values("last", kind="stable")
    table = pd.DataFrame(
        {
            "part taken away": rows["part"],
            "measure": rows["metric"].map(lambda name: METRIC_WORDS.get(name, name)),
            "where": rows["where"],
            "training subjects": rows["training_subjects"].map(formats.whole),
            "difference": rows["difference"].map(formats.signed),
            "95 % interval": [
                formats.interval(low, high, formats.signed)
                for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "p": rows["p_value"].astype(float).map(formats.p_value),
            "d": [formats.signed(value, EFFECT_DECIMALS) for value in rows["cohens_dz"]],
            "n": rows["n"].map(formats.whole),
            "published": rows["published"].astype(float).map(formats.signed),
            "that it does worse": rows["verdict"],
        }
    )
    return table if rows["training_subjects"].nunique() > 1 else table.drop(columns="training subjects")
