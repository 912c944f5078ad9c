"""What the papers claim, held against a trial's own scores, in words that the figures alone decide."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lesionlab.metrics.statistics import RESAMPLES, corrected, differences, is_clear
from lesionlab.trials.published import paper_of

HOLDS, FAILS, OPEN = "holds here", "does not hold here", "cannot be told"
CLAIM_COLUMNS = [
    "claim",
    "synthesizer",
    "reference",
    "metric",
    "where",
    "training_subjects",
    "published",
    "difference",
    "ci_low",
    "ci_high",
    "p_raw",
    "p_value",
    "rank_biserial",
    "cohens_dz",
    "n",
    "seeds",
    "seed_low",
    "seed_high",
    "verdict",
]
_LINE = ["method", "protocol", "synthesizer", "class", "metric"]  # of the papers' figures
_ALL = "all"  # the sequence of what is of all of them

#: What is said of synthesizers' slices: an arm, the arm it is held against (None: the trial's baseline), in words.
_HELP = (
    ("real+25%", None, "{}'s slices raise Dice"),
    ("real+50%", None, "{}'s slices raise Dice"),
    ("real+50%", "real+25%", "more of {}'s slices raise it further"),
    ("real+50% longer", None, "{}'s slices raise Dice after as many epochs"),
    ("real+50% longer", "real longer", "it is {}'s slices that raise it, not the steps they bring"),
    ("real+50%", "conventional", "{}'s slices raise Dice more than conventional augmentation does"),
    ("conventional+50%", "conventional", "{}'s slices raise Dice beyond conventional augmentation"),
)


class Claim(NamedTuple):
    """One claim: these lines of the scores lie above (or below) their reference lines.

    Attributes:
        words: the claim.
        synthesizer: whose claim it is.
        lines: what the lines that it is about have in common, column to value.
        reference: what a line is compared with, see :func:`lesionlab.metrics.statistics.differences`.
        metric: of the comparison.
        classes: lesion classes compared.
        sign: +1 where the lines are claimed to lie above, -1 below.
    """

    words: str
    synthesizer: str
    lines: Mapping[str, object]
    reference: Mapping[str, object]
    metric: str
    classes: Sequence[str]
    sign: int = 1


def claims_of(
    titles: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
    arms: Sequence[str],
    classes: Sequence[str],
    variants: Collection[str] = (),
    unpublished: Collection[str] = (),
    lowering: Collection[str] = (),
) -> list[Claim]:
    """The claims that a trial's synthesizers and arms can be held against.

    Args:
        titles: synthesizers' names to what they are called.
        pairs: two synthesizers each, of which a paper says that the first does better: a method and its variant, or a
            method and one that its paper compares it with.
        arms: the trial's arms, the baseline first.
        classes: lesion classes.
        variants: synthesizers that lack a part; nobody claims that their slices help, and claims that nobody makes
            would cost the others power.
        unpublished: those of the variants that no paper has, and of which the words say so.
        lowering: synthesizers whose slices lower Dice by the papers' figures; no paper claims that they help.
    """
    whole = {name: title for name, title in titles.items() if name not in variants}
    return [*_of_augmentation(whole, arms, classes, lowering), *_of_methods(titles, pairs, arms, classes, unpublished)]


def _of_augmentation(
    titles: Mapping[str, str], arms: Sequence[str], classes: Sequence[str], lowering: Collection[str]
) -> Iterable[Claim]:
    for name, title in titles.items():
        for arm, other, words in _HELP:
            reference, lowers = other or next(iter(arms), ""), name in lowering
            if {arm, reference} <= set(arms) and not (lowers and other):
                claim = f"{words.format(title)} ({arm} over {reference})"
                lines = {"synthesizer": name, "protocol": arm}
                claim, sign = (claim.replace("raise", "lower"), -1) if lowers else (claim, 1)
                yield Claim(claim, name, lines, {"protocol": reference}, "dice", classes, sign)


def lowered_by(published: pd.DataFrame) -> set[str]:
    """Synthesizers whose slices lower Dice in every paper that has their real+50% and real slices alone.

    Args:
        published: the papers' figures, columns ``protocol, synthesizer, class, metric, source, published``.
    """
    dice = published[published["metric"] == "dice"]
    means = dice.groupby(["source", "protocol", "synthesizer"])["published"].mean().reset_index()
    real = means[means["protocol"] == "real"].set_index("source")["published"]
    found: dict[str, list[bool]] = {}
    for row in means[(means["protocol"] == "real+50%") & means["source"].isin(real.index)].to_dict("records"):
        found.setdefault(row["synthesizer"], []).append(bool(row["published"] < real[row["source"]]))
    return {name for name, lower in found.items() if all(lower)}


def _of_methods(
    titles: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
    arms: Sequence[str],
    classes: Sequence[str],
    unpublished: Collection[str],
) -> Iterable[Claim]:
    for better, name in pairs:
        ours = "; our own question, no paper says so" if name in unpublished else ""
        words = f"{titles[name]} synthesizes less well than {titles[better]} (pixel accuracy{ours})"
        reference = {"method": better}
        lines = {"method": name, "protocol": "paired"}
        yield Claim(words, name, lines, reference, "pixel_accuracy", classes, -1)
        if "real+50%" in arms:
            words = f"{titles[name]}'s slices raise Dice less than {titles[better]}'s (real+50%{ours})"
            lines, reference = {"synthesizer": name, "protocol": "real+50%"}, {"synthesizer": better}
            yield Claim(words, name, lines, reference, "dice", classes, -1)


def hold_against(
    claims: Iterable[Claim],
    scores: pd.DataFrame,
    published: pd.DataFrame | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Test every claim class by class, for each number of training subjects; what has sequences, by the mean over them.

    Args:
        claims: what is claimed.
        scores: long form, of synthesis and segmentation together.
        published: the papers' figures: ``method, protocol, synthesizer, sequence, class, metric, source, published``;
            of two papers' figures for one line the first counts, if its paper has the other line too.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns ``CLAIM_COLUMNS``: ``reference`` is what the lines are compared with, ``where`` the class, and the
        segmenter where there are several; ``published`` the paper's difference; ``difference`` ours, over subjects.
        ``p_raw`` is Wilcoxon's test, ``p_value`` its p corrected by Holm over the comparisons of all claims that share
        cohort, training subjects, metric and class. ``verdict``: the claim holds (fails) where the interval, which
        knows of other subjects and of other trainings, lies on its side of 0 (on the other) and the corrected p is
        below 0.05; else it cannot be told. ``rank_biserial`` and ``cohens_dz`` are effect sizes over the ``n``
        subjects, ``seeds`` the trainings that a subject's value is the mean of, ``seed_low`` and ``seed_high`` the
        least and the greatest difference of one of them.
    """
    figures = _over_sequences(_of_our_sequences(published, scores), "published")
    means = _over_sequences(scores, "value")
    parts = [_compared(claim, means, figures, seed, resamples) for claim in claims]
    found = [part for part in parts if len(part)]
    if not found:
        return pd.DataFrame(columns=CLAIM_COLUMNS)
    table = corrected(pd.concat(found, ignore_index=True))
    return table.assign(verdict=[verdict(row, row["sign"]) for row in table.to_dict("records")])[CLAIM_COLUMNS]


def _compared(claim: Claim, scores: pd.DataFrame, published: pd.DataFrame, seed: int, resamples: int) -> pd.DataFrame:
    """A claim's comparisons, p as yet uncorrected."""
    wanted = scores[(scores["metric"] == claim.metric) & scores["class"].isin(claim.classes)]
    mine = _having(wanted, claim.lines)
    theirs = _having(wanted, claim.reference)
    if mine.empty or theirs.empty:
        return pd.DataFrame(columns=CLAIM_COLUMNS)
    both = pd.concat([mine, theirs]).drop_duplicates()
    segmenters = mine["method"].nunique()
    table = _having(differences(both, claim.reference, seed=seed, resamples=resamples), claim.lines)
    seeds = mine.groupby("training_subjects")["seed"].nunique()
    return table.assign(
        claim=claim.words,
        where=table["class"] if segmenters < 2 else table["class"] + ", " + table["method"],
        published=[_published(row, claim, published) for row in table.to_dict("records")],
        synthesizer=claim.synthesizer,
        reference=", ".join(map(str, claim.reference.values())),
        p_value=table["p_raw"],
        seeds=table["training_subjects"].map(seeds),
        sign=claim.sign,
    )


def _of_our_sequences(published: pd.DataFrame | None, scores: pd.DataFrame) -> pd.DataFrame:
    """The figures whose mean over sequences is comparable with ours: of lines that have each of ours."""
    if published is None or published.empty:
        return pd.DataFrame(columns=[*_LINE, "sequence", "source", "published"])
    ours = set(scores["sequence"]) - {_ALL}
    own = published[published["sequence"].isin({*ours, _ALL})]
    complete = own.groupby([*_LINE, "source"])["sequence"].transform(lambda names: set(names) in ({_ALL}, ours))
    return own[complete.astype(bool)]


def _over_sequences(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """The table with one row for all sequences of a line, the mean of their values; the order is kept."""
    keys = [name for name in table if name not in ("sequence", value)]
    return table.groupby(keys, sort=False, dropna=False)[value].mean().reset_index().assign(sequence=_ALL)


def verdict(row: Mapping[Hashable, Any], sign: int) -> str:
    """What a difference, its interval and its p say of a claim of this sign."""
    if not is_clear(row):
        return OPEN
    return HOLDS if sign * row["ci_low"] > 0 else FAILS  # both ends lie on one side of 0


def summary(tested: pd.DataFrame) -> pd.DataFrame:
    """A row per claim and number of training subjects: in how many comparisons it holds, fails, cannot be told."""
    rows = []
    for (claim, size), own in tested.groupby(["claim", "training_subjects"], sort=False):
        counts = own["verdict"].value_counts()
        rows.append(
            {
                "claim": claim,
                "training_subjects": size,
                **{name: int(counts.get(name, 0)) for name in (HOLDS, FAILS, OPEN)},
                "least_difference": own["difference"].min(),
                "greatest_difference": own["difference"].max(),
            }
        )
    return pd.DataFrame(rows)


def parts_taken_away(tested: pd.DataFrame, variants: Mapping[str, str], methods: Mapping[str, str]) -> pd.DataFrame:
    """The comparisons of a variant with the method that it lacks a part of, and ``part``, the variant's title.

    Args:
        tested: as :func:`hold_against` gives it.
        variants: names to titles, of the synthesizers that are variants.
        methods: synthesizers' names to the methods that they are, or are variants of.
    """
    rows = tested[
        tested["synthesizer"].isin(list(variants)) & (tested["reference"] == tested["synthesizer"].map(methods))
    ]
    return rows.assign(part=rows["synthesizer"].map(variants))


def _having(rows: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows


def _published(row: Mapping[Hashable, Any], claim: Claim, published: pd.DataFrame) -> float:
    """The difference between the two lines in the first paper that gives both; NaN where none does."""
    keys = {key: row[key] for key in _LINE}
    ours, theirs = (_by_paper(published, one) for one in (keys, {**keys, **_as_published(claim.reference)}))
    return next((value - theirs[paper] for paper, value in ours.items() if paper in theirs), float("nan"))


def _by_paper(published: pd.DataFrame, keys: Mapping[str, object]) -> dict[str, float]:
    """Paper to its figure for a line, in the order of the figures."""
    rows = _having(published, keys)
    return dict(zip(rows["source"].map(paper_of), rows["published"].astype(float), strict=True))


def _as_published(reference: Mapping[str, object]) -> dict[str, object]:
    """A reference among published lines: real slices alone go with no synthesizer."""
    return {"synthesizer": "none", **reference} if reference.get("protocol") == "real" else dict(reference)
