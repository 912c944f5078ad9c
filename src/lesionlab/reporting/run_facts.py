"""The facts of a run: what its page is called, its figures, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from lesionlab.evaluation.pictures import of_cohort
from lesionlab.evaluation.sections import Section, Table
from lesionlab.figures import formats
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.slices.coverage import share_in_slices
from lesionlab.slices.store import SliceStore
from lesionlab.trials.plan import SegmenterCase, SynthesizerCase, TrialPlan

_MANY = 3  # methods, from which on a title counts them
_REFERENCES = (
    "Avants BB et al. A reproducible evaluation of ANTs similarity metric performance in brain image registration. "
    "NeuroImage 54, 2011.",
    "Tustison NJ et al. N4ITK: improved N3 bias correction. IEEE Transactions on Medical Imaging 29(6), 2010.",
    "Van Leemput K, Maes F, Vandermeulen D, Suetens P. Automated model-based bias field correction of MR images of the "
    "brain. IEEE Transactions on Medical Imaging 18(10), 1999.",
    "Nyúl LG, Udupa JK, Zhang X. New variants of a method of MRI scale standardization. IEEE TMI 19(2), 2000.",
    "Fisch L et al. deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks. "
    "Computers in Biology and Medicine 179, 2024.",
)


class Facts(NamedTuple):
    """What a page says of its run; of several folds those of one.

    Attributes:
        parameters: all of them, validated, as plain data.
        plan: of the trial.
        titles: methods' names to titles.
        cohort: a row per scan.
        split: a row per subject.
        slices: real ones.
        synthetic: those that synthesizers have drawn, by key.
        folds: how many there are.
    """

    parameters: Mapping[str, Any]
    plan: TrialPlan
    titles: Mapping[str, str]
    cohort: pd.DataFrame
    split: pd.DataFrame
    slices: SliceStore
    synthetic: Mapping[str, SliceStore]
    folds: int = 1

    @property
    def drawn(self) -> int:
        """Synthetic slices of all synthesizers together."""
        return sum(len(store) for store in self.synthetic.values())

    @property
    def subjects(self) -> pd.Series:
        """Number of subjects by split, of those that gave slices."""
        return self.slices.table.groupby("split")["subject"].nunique()

    @property
    def segmenters(self) -> dict[str, str]:
        """The segmenters' methods to their titles."""
        names = dict.fromkeys(case.method for case in self.plan.segmenters)
        return {name: self.titles.get(name, name) for name in names}


def about(facts: Facts) -> str:
    """What was compared, on which cohort."""
    return f"{_compared(facts)} · cohort {facts.parameters['cohort']['name']}"


def _compared(facts: Facts) -> str:
    return _listed(facts.plan.titles().values() or facts.segmenters.values())


def title(facts: Facts) -> str:
    """The page's title."""
    names = facts.plan.titles() or facts.segmenters
    what = "synthesizers" if facts.plan.titles() else "segmenters"
    compared = _compared(facts) if len(names) < _MANY else f"{len(names)} {what}"
    question = "segmentation"
    if facts.plan.titles():
        question = "what synthetic lesions did to segmentation" if facts.plan.segmenters else "synthesis"
    return f"{compared} on {facts.parameters['cohort']['name']}: {question}"


def summary(facts: Facts) -> str:
    """Trained on whom and tested on whom, in one sentence."""
    cases: list[SynthesizerCase | SegmenterCase] = [*facts.plan.synthesizers, *facts.plan.segmenters]
    sizes = sorted({len(case.subjects) for case in cases})
    seeds = len({case.seed for case in cases})
    folds = f" in each of {facts.folds} folds" if facts.folds > 1 else ""
    return (
        f"{len(facts.parameters['sequences'])} sequences; {len(facts.plan.synthesizers)} synthesizers and "
        f"{len(facts.plan.segmenters)} segmenters trained on {_listed(map(str, sizes))} subjects, "
        f"{_count(seeds, 'seed')}; "
        f"tested on {_count(facts.subjects.get('test', 0), 'subject')} that none of them has seen{folds}."
    )


def figures(facts: Facts) -> dict[str, str]:
    """The figures at the top of the page."""
    number = facts.subjects
    found = {
        "subjects": str(len(facts.split)),
        "training / validation / test": " / ".join(str(number.get(s, 0)) for s in ("train", "validation", "test")),
        "sequences": ", ".join(facts.parameters["sequences"]),
        "real training slices": str(len(facts.slices.select(split="train"))),
    }
    return found | ({"synthetic slices": str(facts.drawn)} if facts.synthetic else {})


def cohort_section(facts: Facts) -> Section:
    """Who is in which part, and what their slices look like."""
    lead = "Subjects were split once; no subject is in two parts, and nothing learnt from the test part."
    tables = [Table(split_table(facts), numeric=["lesion volume, ml (least to most)"])]
    return Section("cohort", "Cohort", lead, pictures=[of_cohort(facts.slices)], tables=tables)


def split_table(facts: Facts) -> pd.DataFrame:
    """A row per split: subjects, slices, lesion volume."""
    table = facts.slices.table
    rows = []
    for name in ("train", "validation", "test"):
        own, people = table[table["split"] == name], facts.split[facts.split["split"] == name]
        if people.empty:
            continue
        rows.append(
            {
                "split": name,
                "subjects": len(people),
                "slices": len(own),
                "with lesion": int((own["domain"] == "pathological").sum()),
                "lesion volume, ml (least to most)": _range(people["lesion_ml"]),
            }
        )
    return pd.DataFrame(rows)


def made_section(facts: Facts, folds: Mapping[str, str] | None = None) -> Section:
    """How it was made, step by step; ``folds``: a fold's name to its own page's address."""
    lead = f"Each of {facts.folds} folds learnt everything anew; numbers are those of one." if folds else ""
    frame = pd.DataFrame(steps(facts), columns=["step", "setting", "figure"])
    return Section("made", "How it was made", lead, tables=[Table(frame)], links=list((folds or {}).items()))


def steps(facts: Facts) -> list[tuple[str, str, str]]:
    """Step, setting and figure of everything that was done, in order; stages that are off are left out."""
    return [*_preparation(facts), *_learning(facts)]


def _preparation(facts: Facts) -> list[tuple[str, str, str]]:
    own, number = facts.parameters, facts.subjects
    width, height = own["grid"]["size"]
    coregistered = f"{own['coregister']['kind']}, to {own['reference']}"
    parts = " + ".join(str(number.get(split, 0)) for split in ("train", "validation", "test"))
    grid = f"{width} × {height} pixels of {own['grid']['in_plane_mm']} mm"
    rows = [
        ("", "Scans", str(own["cohort"]["source"]), f"{len(facts.cohort)} scans"),
        ("", "Split", own["splits"]["protocol"].replace("_", " "), parts),
        ("coregister", "Co-registration", coregistered, ""),
        ("", "Brain extraction", own["brain"]["backend"], ""),
        ("bias", "Bias correction", own["bias"]["method"], ""),
        ("", "Standardization", own["standardize"]["rule"], ""),
        ("", "Grid", grid, ""),
        ("atlas", "Atlas", f"SyN, aligned: {own['atlas']['align']}", f"{number.get('train', 0)} subjects"),
        ("tissues", "Tissues", "Atropos", ""),
        ("", "Slices", "axial", f"{len(facts.slices)} slices"),
    ]
    return [(step, setting, figure) for stage, step, setting, figure in rows if not stage or own[stage]["enabled"]]


def _learning(facts: Facts) -> list[tuple[str, str, str]]:
    plan, tables = facts.plan, [store.table for store in facts.synthetic.values()]
    recipes = {case.name: case.recipe for case in plan.synthesizers}
    rows = [(one.title, _length(one.training.model_dump()), f"{_trained(plan, name)}") for name, one in recipes.items()]
    if tables:
        kinds = pd.concat(tables)["manipulation"].value_counts()
        done = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        rows.append(("Synthetic slices", done, f"{facts.drawn} slices"))
    for name, titled in facts.segmenters.items():
        own = [case.arm_name for case in plan.segmenters if case.method == name]
        arms = _listed(dict.fromkeys(own))
        length = _length(next(case.recipe.training for case in plan.segmenters if case.method == name).model_dump())
        rows.append((titled, f"{length}; arms: {arms}", _count(len(own), "training")))
    table = facts.slices.table
    share = share_in_slices(table[table["split"] == "test"], facts.cohort)
    planes = "" if math.isnan(share) else f", {share:.0%} of the lesions' volume"
    tested = _count(facts.subjects.get("test", 0), "subject")
    return [*rows, ("Evaluation", f"once per test subject, over the planes cut{planes}", tested)]


def qc_section(summary: QCSummary, quarantine: pd.DataFrame, page: str = "../qc/index.html") -> Section:
    """Whom quality control found odd, failed or left out."""
    odd = f" ({', '.join(summary.outliers)})" if summary.outliers else ""
    lead = f"{summary.studies} studies; {len(summary.failed)} failed; {len(summary.outliers)} stand out{odd}."
    return Section(
        "quality",
        "Quality control",
        lead,
        points=[(study, "; ".join(reasons)) for study, reasons in summary.failed.items()],
        tables=[Table(quarantine[["study", "reason"]], "Left out")] if len(quarantine) else [],
        links=[("The quality-control page: a strip of pictures of each study, outliers first", page)],
    )


def provenance_section(provenance: Mapping[str, str], durations: Mapping[str, float]) -> Section:
    """What the figures were made from, and how long each node took, in seconds."""
    took = pd.DataFrame([(name, formats.duration(seconds)) for name, seconds in durations.items()])
    tables = [Table(took.set_axis(["node", "time"], axis=1), "How long it took")] if len(took) else []
    return Section("provenance", "Provenance", points=list(provenance.items()), tables=tables)


def reference_section(papers: Iterable[str]) -> Section:
    """The methods' papers, then those of the preprocessing."""
    listed = dict.fromkeys(one for one in (*papers, *_REFERENCES) if one)
    return Section("references", "References", points=[("", one) for one in listed])


def _trained(plan: TrialPlan, name: str) -> str:
    return _count(sum(case.name == name for case in plan.synthesizers), "training")


def _length(training: Mapping[str, Any]) -> str:
    return f"{training['constant'] + training['decay']} {training['unit']}, batch {training['batch_size']}"


def _range(volumes: pd.Series) -> str:
    return f"{volumes.min():.1f} to {volumes.max():.1f}" if volumes.notna().any() else "no masks"


def _listed(names: Iterable[str]) -> str:
    *others, last = [*names] or ["nothing"]
    return f"{', '.join(others)} and {last}" if others else last


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
