"""Does quality control find what goes wrong? Failures are planted in a finished run, one study at a time.

For each kind of failure and each of several studies the volumes of one stage are changed (benchmarks/planting.py), that
stage's quality measures are taken anew from the changed volumes alone, and the study is judged among the untouched
others. It counts as found where a measure of that very stage raises a flag. What the stage itself reported (mutual
information, for example) is left out: it was taken before the failure was planted. False alarms are flags on untouched
studies, by any measure of any stage.

Limits and measures were chosen with seed 0, limits by looking at training studies alone. The figures to trust are those
of another seed, which plants other failures in other studies, and among them those of the studies that were not for
training, which the result keeps apart.

Command: python benchmarks/planted_failures.py data --studies 3 --seed 1
Result:  benchmarks/planted_failures.json
"""

from __future__ import annotations

import argparse
import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from planting import KINDS, Patient

from lesionlab.imaging.quality import measure_study, profile_distances, study_profiles
from lesionlab.imaging.quality.limits import MEASURE_COLUMNS, QCOptions, flags, judged_measures
from lesionlab.imaging.volume import Volume
from lesionlab.pipelines.preprocess.quality import all_measures
from lesionlab.pipelines.preprocess.quality_stages import PROFILES, STAGES, QualityJob, measure
from lesionlab.stages.engine import Engine
from lesionlab.stages.subject_store import SubjectStore
from lesionlab.stages.workers import run_parallel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One failure to plant."""

    kind: str
    study: str
    other: str
    root: Path
    reference: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """A planted failure measured anew: its stage's measures and profiles."""

    what: str
    measures: dict[str, float]
    profiles: dict[str, list[list[float]]]


def main() -> None:
    """Plant, measure, judge, and write the result beside this file."""
    options = arguments()
    cohort = pd.read_parquet(options.data / "02_intermediate" / "cohort.parquet")
    primary = options.data / "03_primary"
    quality = Quality(measured(cohort, primary, options))
    clean = all_measures(cohort, {stage: SubjectStore(primary / stage) for stage in STAGES}, quality)  # type: ignore[arg-type]
    splits = cohort.drop_duplicates("study").set_index("study")["split"]
    trials = dict(_trials(splits, primary, options))
    rows = []
    for name, outcome in run_parallel(planted, trials, Engine(options.workers)):
        trial = trials[name]
        found = judged(trial, outcome, clean, quality)
        seen = sorted(found.apply(lambda row: f"{row['measure']} ({row['kind']})", axis=1)) if len(found) else []
        rows.append(
            {
                "kind": trial.kind,
                "study": trial.study,
                "split": splits[trial.study],
                "what": outcome.what,
                "found": bool(seen),
                "by": seen,
            }
        )
        print(f"{'found ' if seen else 'MISSED'} {trial.kind}, {trial.study}: {outcome.what}: {', '.join(seen[:4])}")
    rows.sort(key=lambda row: (row["kind"], row["study"]))
    result = report(rows, clean, splits, options.seed)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("training", "others")}, indent=1))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of a finished preprocessing run")
    parser.add_argument("--reference", default="T1w", help="the sequence the others were aligned to")
    parser.add_argument("--studies", type=int, default=4, help="of each part of the cohort, per kind of failure")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


@dataclass(frozen=True)
class Quality:
    """The quality measures of all studies, held in memory as their store holds them."""

    results: Mapping[str, Any]

    def studies(self) -> list[str]:
        """All studies."""
        return list(self.results)

    def measures(self, study: str) -> dict[str, float]:
        """``<stage>/<measure>`` to value."""
        return dict(self.results[study].qc)

    def record(self, study: str) -> dict[str, Any]:
        """The profiles."""
        return dict(self.results[study].record)


def measured(cohort: pd.DataFrame, primary: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The untouched studies' quality measures, in the cohort's order."""
    stores = {stage: SubjectStore(primary / stage) for stage in STAGES}
    studies = list(dict.fromkeys(cohort["study"]))
    jobs = {study: QualityJob(study, "", stores, options.reference) for study in studies}
    found = dict(run_parallel(measure, jobs, Engine(options.workers)))
    return {study: found[study] for study in studies}


def _trials(splits: pd.Series, primary: Path, options: argparse.Namespace) -> Iterator[tuple[str, Trial]]:
    """For each kind and each part of the cohort, studies drawn by chance."""
    parts = {"training": splits[splits == "train"], "others": splits[splits != "train"]}
    for kind in KINDS:
        for part, members in parts.items():
            rng = np.random.default_rng([options.seed, zlib.crc32(f"{kind}/{part}".encode())])
            for study in sorted(rng.permutation(members.index)[: options.studies]):
                other = str(rng.choice([name for name in splits.index if name != study]))
                yield f"{kind}/{study}", Trial(kind, str(study), other, primary, options.reference, options.seed)


def planted(trial: Trial) -> Outcome:
    """Plant one failure and measure its stage anew."""
    kind = KINDS[trial.kind]
    rng = np.random.default_rng([trial.seed, zlib.crc32(f"{trial.kind}/{trial.study}".encode())])
    done = kind.plant(Patient(_volumes(trial, trial.study), _volumes(trial, trial.other), trial.reference), rng)
    measures = measure_study(done.stages, trial.reference, [kind.stage]).get(kind.stage, {})
    if kind.stage == "brain":
        mask = done.stages["brain"]["brain"]
        measures["brain_ml"] = float(np.count_nonzero(mask.data) * mask.voxel_ml)
    return Outcome(done.what, measures, study_profiles(done.stages, trial.reference))


def _volumes(trial: Trial, study: str) -> dict[str, dict[str, Volume]]:
    return {stage: SubjectStore(trial.root / stage).volumes(study) for stage in STAGES}


def judged(trial: Trial, outcome: Outcome, clean: pd.DataFrame, quality: Quality) -> pd.DataFrame:
    """The flags of the failed study at the failed stage, among the untouched others."""
    stage = KINDS[trial.kind].stage
    fresh = dict(outcome.measures)
    fresh |= _distances(trial.study, stage, outcome, quality)
    own = (clean["study"] == trial.study) & (clean["stage"] == stage)
    subject = clean.loc[clean["study"] == trial.study, "subject"].iloc[0]
    rows = [(trial.study, subject, stage, name, value) for name, value in fresh.items()]
    table = pd.concat([clean[~own], pd.DataFrame(rows, columns=MEASURE_COLUMNS)], ignore_index=True)
    found = flags(judged_measures(table, QCOptions()), QCOptions())
    return found[(found["study"] == trial.study) & (found["stage"] == stage)]


def _distances(study: str, stage: str, outcome: Outcome, quality: Quality) -> dict[str, float]:
    """The failed study's distances from the cohort's median profiles, of one stage."""
    found = {}
    for name, own in outcome.profiles.items():
        if name.startswith(f"{stage}/"):
            everyone = {other: quality.record(other)[PROFILES][name] for other in quality.studies()} | {study: own}
            found[name.removeprefix(f"{stage}/")] = profile_distances(everyone)[study]
    return found


def report(rows: list[dict[str, Any]], clean: pd.DataFrame, splits: pd.Series, seed: int) -> dict[str, Any]:
    """Sensitivity by kind, and false alarms, of the training studies and of the others."""
    alarms = flags(judged_measures(clean, QCOptions()), QCOptions())
    table = pd.DataFrame(rows)
    result: dict[str, Any] = {}
    for part, training in (("training", True), ("others", False)):
        own = table[(table["split"] == "train") == training]
        studies = splits[(splits == "train") == training].index
        false = sorted(set(alarms["study"]) & set(studies))
        by_kind = {kind: f"{int(group['found'].sum())}/{len(group)}" for kind, group in own.groupby("kind")}
        result[part] = {
            "planted": len(own),
            "found": int(own["found"].sum()),
            "sensitivity": round(float(own["found"].mean()), 3),
            "untouched": len(studies),
            "false_alarms": len(false),
            "by_kind": by_kind,
        }
    columns = ["study", "stage", "measure", "value", "allowed", "kind", "z"]
    return {"seed": seed, **result, "alarms": json.loads(alarms[columns].to_json(orient="records")), "trials": rows}


if __name__ == "__main__":
    main()
