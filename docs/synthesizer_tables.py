"""The tables of synthesizers.md, made from the scores in docs/reports.

Command: python docs/synthesizer_tables.py

Each table replaces what stands between its two marks, <!-- table NAME --> and <!-- end -->.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import yaml

from lesionlab.methods.registry import titles
from lesionlab.metrics.statistics import differences, is_clear, summarise

DOCS = Path(__file__).parent
PAGE = DOCS / "synthesizers.md"
PUBLISHED = DOCS.parent / "conf" / "base" / "parameters" / "published.yml"
METHODS = ["pix2pix", "pix2pixhd", "shin", "samr", "cgsamr"]
FLOORS = ["mean image", "atlas"]
COHORTS = {"phantom": "phantom_synthesizers", "glioma": "glioma"}
CLASSES = ["edema", "cavity", "tumor"]
PAPER = "Guo et al., IEEE TMI 2021"
NAMES = {**titles(), "mean image": "mean image (floor)", "atlas": "atlas (floor)"}


def main() -> None:
    """Make every table whose scores are there."""
    text = PAGE.read_text(encoding="utf-8")
    for cohort, folder in COHORTS.items():
        place = DOCS / "reports" / folder
        if place.is_dir():
            segmentation, synthesis = (
                pd.read_parquet(place / f"{kind}_scores.parquet") for kind in ("segmentation", "synthesis")
            )
            text = filled(text, f"{cohort} dice", dice(segmentation))
            text = filled(text, f"{cohort} synthesis", closeness(synthesis))
    PAGE.write_text(text, encoding="utf-8")


def filled(text: str, name: str, table: str) -> str:
    """The page with this table between its marks."""
    return re.sub(
        rf"(<!-- table {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.DOTALL
    )


def dice(scores: pd.DataFrame) -> str:
    """Dice of every arm, its difference to conventional augmentation, and the papers' figures."""
    scores = scores[scores["metric"].eq("dice") & scores["class"].isin(CLASSES)]
    trained = scores[scores["protocol"] != "floor"]
    means = summarise(trained, reference={"protocol": "real"}).set_index(["protocol", "synthesizer", "class"])
    change = differences(trained, {"protocol": "conventional"}).set_index(["protocol", "synthesizer", "class"])
    theirs = published("dice")
    lines = [
        "| arm | slices of | edema | cavity | tumor | over conventional: edema | cavity | tumor | published |",
        "|---|---|" + "---|" * 7,
    ]
    for protocol, drawn in dict.fromkeys(zip(trained["protocol"], trained["synthesizer"], strict=True)):
        cells = [_mean(means.loc[(protocol, drawn, name)]) for name in CLASSES]
        for name in CLASSES:
            key = (protocol, drawn, name)
            cells.append(_change(change.loc[key]) if key in change.index else "–")
        ours = theirs[(theirs["protocol"] == protocol) & (theirs["synthesizer"] == drawn)].set_index("class")["value"]
        cells.append(" / ".join(f"{ours[name]:.3f}" for name in CLASSES if name in ours) or "–")
        lines.append(f"| {protocol} | {NAMES.get(drawn, '–')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def closeness(scores: pd.DataFrame) -> str:
    """Pixel accuracy by class, SSIM and PSNR of the brain, means over sequences; the paper's over its five."""
    rows = [("pixel_accuracy", name) for name in (*CLASSES, "lesion", "brain")] + [("ssim", "image"), ("psnr", "image")]
    theirs = published("pixel_accuracy", "ssim", "psnr").groupby(["method", "metric", "class"])["value"].mean()
    patients = scores.groupby(["method", "metric", "class", "subject"])["value"].mean()
    means = patients.groupby(level=["method", "metric", "class"]).mean()
    heads = [*(f"pixel accuracy {name}" for _, name in rows[:1]), *(name for _, name in rows[1:5]), "SSIM", "PSNR"]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(rows)]
    for method in [*FLOORS, *METHODS]:
        cells = []
        for metric, name in rows:
            decimals = 1 if metric == "psnr" else 3
            own = f"{means[method, metric, name]:.{decimals}f}" if (method, metric, name) in means.index else "–"
            there = (method, metric, name) in theirs.index
            cells.append(own + (f" ({theirs[method, metric, name]:.{decimals}f})" if there else ""))
        lines.append(f"| {NAMES[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def published(*metrics: str) -> pd.DataFrame:
    """CG-SAMR's figures of these measures."""
    figures = pd.DataFrame(yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["published"])
    figures["synthesizer"] = figures["synthesizer"].fillna("none")
    return figures[figures["metric"].isin(metrics) & figures["source"].str.startswith("CG-SAMR")]


def _mean(row: pd.Series) -> str:
    return f"{row['mean']:.3f}"


def _change(row: pd.Series) -> str:
    text = f"{row['difference']:+.3f} ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
    return f"**{text}**" if is_clear(row) else text


if __name__ == "__main__":
    main()
