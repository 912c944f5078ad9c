"""The tables of results.md, made from the folders of the runs they tell of.

Command: python docs/results_tables.py WHICH FOLDER
    WHICH   demo, comparison, ablation, samr_ablation or folds
    FOLDER  of the demo data, of the pooled folds data/experiments/cgsamr_brats2015; of the others the scores' own:
            data/experiments/phantom_trial/07_model_output/comparison, or what is kept of it in docs/reports

Each table replaces what stands between its two marks, <!-- table NAME --> and <!-- end -->.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from lesionlab.figures import formats
from lesionlab.metrics.statistics import SCORE_COLUMNS, differences, is_clear, summarise
from lesionlab.metrics.truth import EVERYBODY

PAGE = Path(__file__).with_name("results.md")
LESIONS = ["edema", "cavity", "tumor", "lesion"]
REGIONS = ["brain", *LESIONS]
TITLES = {
    "samr": "SAMR",
    "cgsamr": "CG-SAMR",
    "without_stretch_out": "w/o stretch-out",
    "without_label_wise": "w/o label-wise D",
    "without_atlas": "w/o atlas",
    "without_shape_consistency": "w/o shape consistency",
    "without_confidence": "w/o confidence",
    "without_confidence_loss": "w/o confidence loss",
    "without_feature_matching": "w/o feature matching",
}
FLOORS = ["mean image", "atlas"]
ARMS = [
    "real",
    "real longer",
    "conventional",
    "synthetic",
    "real+25%",
    "real+50%",
    "real+50% longer",
    "conventional+50%",
]
HEADLINE = ["conventional", *(f"{arm}, {one}" for arm in ("real+25%", "real+50%") for one in ("SAMR", "CG-SAMR"))]
AIMS = {
    "coregister tre_voxels": "below half a voxel",
    "brain dice": "0.96",
    "bias": "0.88",
    "tissues dice_CSF": "0.75",
    "tissues": "0.88",
    "atlas": "0.9",
    "standardize": "at most 0.25",
}

Tables = dict[str, str]


def demo(folder: Path) -> Tables:
    """Stages against the truth, synthesis and segmentation of the demo."""
    reporting = folder / "08_reporting"
    return {"demo stages": _stages(pd.read_csv(reporting / "qc/truth.csv")), **_single(reporting / "cgsamr", "demo")}


def comparison(folder: Path) -> Tables:
    """Arms and synthesizers by the number of training subjects."""
    dice, accuracy = _scores(folder)
    return {
        "dice": _levels(dice, LESIONS, _arm_of),
        "over real": _changes(dice, {"protocol": "real"}, LESIONS, _arm_of, HEADLINE),
        "over conventional": _over(dice, "conventional", ["conventional+50%"]),
        "over real longer": _over(dice, "real longer", ["real+50% longer"]),
        "accuracy": _levels(accuracy, REGIONS, _method_of),
        "over SAMR": _changes(accuracy, {"method": "samr"}, REGIONS, _method_of, ["CG-SAMR"]),
    }


def ablation(folder: Path) -> Tables:
    """CG-SAMR's parts, taken away one at a time."""
    return _parts(folder, "cgsamr", "ablation")


def samr_ablation(folder: Path) -> Tables:
    """SAMR's parts, likewise."""
    return _parts(folder, "samr", "samr ablation")


def _parts(folder: Path, whole: str, prefix: str) -> Tables:
    dice, accuracy = _scores(folder)
    variants = [title for name, title in TITLES.items() if name.startswith("without")]
    augmented = dice[dice["protocol"] == "real+50%"]
    return {
        f"{prefix} accuracy": _levels(accuracy, REGIONS, _method_of),
        f"{prefix} accuracy changes": _changes(accuracy, {"method": whole}, REGIONS, _method_of, variants),
        f"{prefix} dice": _levels(dice, LESIONS, _source_of),
        f"{prefix} dice changes": _changes(augmented, {"synthesizer": whole}, LESIONS, _source_of, variants),
    }


def folds(folder: Path) -> Tables:
    """The pooled folds of the real scans."""
    return _single(folder / "08_reporting/comparison", "folds")


def _scores(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dice, and pixel accuracy as its mean over the sequences."""
    dice = pd.read_parquet(folder / "segmentation_scores.parquet")
    found = pd.read_parquet(folder / "synthesis_scores.parquet")
    found = found[found["metric"] == "pixel_accuracy"].assign(sequence="all")
    accuracy = found.groupby([name for name in SCORE_COLUMNS if name != "value"], sort=False)["value"].mean()
    return dice[(dice["metric"] == "dice") & (dice["protocol"] != "floor")], accuracy.reset_index()


def _arm_of(line: Mapping[str, object]) -> str:
    source = TITLES.get(str(line["synthesizer"]))
    return f"{line['protocol']}, {source}" if source else str(line["protocol"])


def _method_of(line: Mapping[str, object]) -> str:
    return TITLES.get(str(line["method"]), str(line["method"]))


def _source_of(line: Mapping[str, object]) -> str:
    return TITLES.get(str(line["synthesizer"]), "none (`real`)")


def _order(name: str) -> tuple[int, int, str]:
    arm, _, source = name.partition(", ")
    places = [*ARMS, "none (`real`)", *TITLES.values(), *FLOORS]
    titles = list(TITLES.values())
    return places.index(arm), titles.index(source) if source in titles else -1, name


def _levels(scores: pd.DataFrame, classes: list[str], name_of: Callable[[Mapping[str, object]], str]) -> str:
    """Means with the standard deviation over seeds."""
    table = summarise(scores[scores["class"].isin(classes)])
    cells = (
        (
            (int(line["training_subjects"]), name_of(line)),
            line["class"],
            f"{line['mean']:.3f} ± {formats.number(line['seed_std'])}",
        )
        for line in table.to_dict("records")
    )
    return _pivot(cells, classes)


def _changes(
    scores: pd.DataFrame,
    reference: Mapping[str, object],
    classes: list[str],
    name_of: Callable[[Mapping[str, object]], str],
    only: list[str] | None = None,
) -> str:
    """Differences to a reference with interval and corrected p-value."""
    scores = scores[scores["class"].isin(classes) & ~scores["method"].isin(FLOORS)]
    table = differences(scores, reference)
    cells = (
        ((int(line["training_subjects"]), name_of(line)), line["class"], _change(line))
        for line in table.to_dict("records")
        if only is None or name_of(line) in only
    )
    return _pivot(cells, classes)


def _over(dice: pd.DataFrame, reference: str, arms: list[str]) -> str:
    chosen = dice[dice["protocol"].isin([reference, *arms])]
    return _changes(chosen, {"protocol": reference}, LESIONS, _arm_of)


def _change(line: Mapping[str, float]) -> str:
    """A difference with its interval and p, bold where both tell it from chance."""
    low, high = (_short(line[end]) for end in ("ci_low", "ci_high"))
    p_value = formats.p_value(line["p_value"]).replace("0.", ".").replace("<", "< ").replace("1.000", "1")
    text = f"{_short(line['difference'])} ({low} to {high}), p {p_value}"
    return f"**{text}**" if is_clear(line) else text


def _short(value: float) -> str:
    return formats.signed(value).replace("0.", ".", 1)


def _pivot(cells: Iterable[tuple[tuple[int, str], str, str]], classes: list[str]) -> str:
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for row, column, text in cells:
        rows.setdefault(row, {})[column] = text
    ordered = sorted(rows, key=lambda row: (row[0], _order(row[1])))
    several = len({size for size, _ in rows}) > 1
    header = [*(["training subjects"] if several else []), "of", *classes]
    body = [
        [*([str(row[0])] if several else []), row[1], *(rows[row].get(one, "–") for one in classes)] for row in ordered
    ]
    return _markdown(header, body)


def _markdown(header: list[str], body: Iterable[Iterable[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _stages(truth: pd.DataFrame) -> str:
    """Every measure of the stages; the worst is the smallest of what should be large."""
    rows = []
    for (stage, measure), own in truth.groupby(["stage", "measure"], sort=False):
        values, name = own["value"], str(measure)
        aim = next((text for part, text in AIMS.items() if f"{stage} {name}".startswith(part)), "–")
        worst = values.max() if name.startswith("tre") else values.min()
        of_cohort = set(own["subject"]) == {EVERYBODY}
        count = f"{truth['subject'].nunique() - 1} subjects" if of_cohort else str(len(own))
        shown = [formats.number(values.median()), "–" if of_cohort else formats.number(worst), count, aim]
        rows.append([str(stage), name.replace("_", " "), *shown])
    return _markdown(["stage", "measure", "median", "worst", "n", "aim"], rows)


def _single(reporting: Path, prefix: str) -> Tables:
    """Synthesis and segmentation of a run with one set of training subjects, from its own tables."""
    synthesis, segmentation = (
        pd.read_csv(reporting / f"tables/{name}.csv").query(f"metric == '{metric}'")
        for name, metric in (("synthesis", "pixel_accuracy"), ("augmentation", "dice"))
    )
    return {f"{prefix} synthesis": _accuracies(synthesis), f"{prefix} segmentation": _protocols(segmentation)}


def _accuracies(table: pd.DataFrame) -> str:
    made = table[table["protocol"] == "paired"]
    methods = list(dict.fromkeys(made["method"]))
    means = table.set_index(["method", "sequence", "class"])["mean"]
    rows = []
    for (sequence, region), own in made.groupby(["sequence", "class"], sort=False):
        lines = {line["method"]: line for line in own.to_dict("records")}
        ours = [f"{formats.number(lines[one]['mean'])} ({_interval(lines[one])})" for one in methods]
        floors = [formats.number(means[floor, sequence, region]) for floor in FLOORS]
        last = own.iloc[-1]
        rows.append([sequence, region, *ours, *floors, formats.number(last["published"]), str(last["n"])])
    titles = [f"{TITLES[name]} (95 % interval)" for name in methods]
    return _markdown(["sequence", "class", *titles, *FLOORS, "published", "n"], rows)


def _protocols(table: pd.DataFrame) -> str:
    rows = []
    for line in table.to_dict("records"):
        shown = [
            f"{line['mean']:.3f}",
            _interval(line),
            formats.p_value(line["p_value"]),
            formats.number(line["published"]),
        ]
        rows.append([_arm_of(line), str(line["class"]), *shown, str(line["n"])])
    return _markdown(["arm", "class", "Dice", "95 % interval", "p", "published", "n"], rows)


def _interval(line: Mapping[str, float]) -> str:
    return formats.interval(line["ci_low"], line["ci_high"], formats.number)


def fill(tables: Tables) -> None:
    """Put the tables between their marks.

    Raises:
        ValueError: a table has no marks in the page.
    """
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        page, found = re.subn(
            rf"(<!-- table {re.escape(name)} -->\n).*?(<!-- end -->)", rf"\1\n{table}\n\n\2", page, flags=re.S
        )
        if found != 1:
            raise ValueError(f"results.md has {found} places for the table {name}; give it one")
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    """Fill the tables of the run that was named."""
    kinds = {one.__name__: one for one in (demo, comparison, ablation, samr_ablation, folds)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=kinds)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    fill(kinds[chosen.which](chosen.folder))


if __name__ == "__main__":
    main()
