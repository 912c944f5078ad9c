"""What was done, in plain words with its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.parameters import Parameters
from lesionlab.pipelines.evaluation.nodes import ATLAS, MEAN_IMAGE, NORMAL_FLOOR, lesion_floor
from lesionlab.reporting.content import Step
from lesionlab.slices.coverage import share_in_slices
from lesionlab.slices.store import SliceStore
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.plan import Recipe, TrialPlan

_BIAS = {
    "tissue_fit": "The smooth shading that coils leave was fitted together with the classes of tissue, in all "
    "sequences at once, and removed.",
    "n4": "N4 removed the smooth shading that coils leave.",
}
_MANY = 3  # synthesizers, from which on a title counts them
TRUTH_NOTES: Mapping[str, str] = {
    "tre": "target registration error over the brain: where the found transform sends a point, against its true place",
    "log_field_correlation": "correlation of the logarithms of found and true bias field inside the brain",
    "wm_spread_ratio": "spread of white matter's mean between subjects, after standardization over before",
    "correlation": "the aligned atlas against a test subject's own image, where its brain has no lesion",
}
REFERENCES = (
    "Guo P, Wang P, Zhou J, Patel VM, Jiang S. Lesion Mask-based Simultaneous Synthesis of Anatomic and Molecular MR "
    "Images using a GAN. MICCAI 2020.",
    "Guo P, Wang P, Yasarla R, Zhou J, Patel VM, Jiang S. Anatomic and Molecular MR Image Synthesis Using Confidence "
    "Guided CNNs. IEEE Transactions on Medical Imaging 40(10), 2021.",
    "Ronneberger O, Fischer P, Brox T. U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI 2015.",
    "Avants BB et al. A reproducible evaluation of ANTs similarity metric performance in brain image registration. "
    "NeuroImage 54, 2011.",
    "Tustison NJ et al. N4ITK: improved N3 bias correction. IEEE Transactions on Medical Imaging 29(6), 2010.",
    "Van Leemput K, Maes F, Vandermeulen D, Suetens P. Automated model-based bias field correction of MR images of the "
    "brain. IEEE Transactions on Medical Imaging 18(10), 1999.",
    "Nyúl LG, Udupa JK, Zhang X. New variants of a method of MRI scale standardization. IEEE TMI 19(2), 2000.",
    "Fisch L et al. deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks. "
    "Computers in Biology and Medicine 179, 2024.",
)


def floors(classes: list[str]) -> dict[str, str]:
    """What each floor is."""
    return {
        MEAN_IMAGE: "the mean of all training slices, whatever the label map says",
        ATLAS: "the atlas aligned with the subject, without any lesion",
        lesion_floor(classes): f"every brain pixel called {classes[-1]}",
        NORMAL_FLOOR: "no lesion found anywhere",
    }


def slice_counts(plan: TrialPlan, slices: SliceStore) -> dict[str, tuple[int, int]]:
    """Real and synthetic training slices of every segmenter of a plan, by key."""
    found = {}
    for case in plan.segmenters:
        real = slices.table.iloc[slices.select("train", subject=case.subjects)]
        found[case.key] = (len(real) * case.arm.real, synthetic_count(real, case.arm.synthetic))
    return found


class Facts(NamedTuple):
    """What the sentences are made of; of several folds those of one."""

    options: Parameters
    plan: TrialPlan
    cohort: pd.DataFrame
    split: pd.DataFrame
    slices: SliceStore
    synthetic: Mapping[str, SliceStore]
    folds: int = 1

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Real and synthetic training slices of every segmenter."""
        return slice_counts(self.plan, self.slices)

    @property
    def drawn(self) -> int:
        """Synthetic slices of all synthesizers together."""
        return sum(len(store) for store in self.synthetic.values())

    @property
    def subjects(self) -> pd.Series:
        """Number of subjects by split, of those that gave slices."""
        return self.slices.table.groupby("split")["subject"].nunique()


def methods(facts: Facts) -> str:
    """The synthesizers' names."""
    titles = facts.plan.titles().values()
    return _listed(titles) if titles else "no synthesizer"


def title(facts: Facts) -> str:
    """The page's title."""
    compared = methods(facts) if len(facts.plan.titles()) < _MANY else f"{len(facts.plan.titles())} synthesizers"
    return f"{compared} on {facts.options.cohort.name}: what synthetic lesions did to segmentation"


def summary(facts: Facts) -> str:
    """The question and how it was answered, in one paragraph."""
    number, several = facts.subjects, len(facts.plan.titles()) > 1
    sizes = sorted({len(case.subjects) for case in facts.plan.segmenters})
    seeds = len({case.seed for case in facts.plan.segmenters})
    learnt = f"{_listed(facts.plan.titles().values())} {'each ' if several else ''}learnt to draw"
    repeated = f" Everything was trained {seeds} times, from other weights." if seeds > 1 else ""
    folds = f", in each of {facts.folds} folds on another" if facts.folds > 1 else ""
    return (
        f"Does a segmenter get better when synthetic lesions are added to its training slices? {learnt} "
        f"{len(facts.options.sequences)} MR sequences from {_given(facts)}, on the slices of "
        f"{_listed(map(str, sizes))} subjects. {'They' if several else 'It'} then drew new slices for manipulated "
        f"lesions of those same subjects. A U-Net was trained with and without them, {_for_how_long(facts)}, and "
        f"tested on {_subjects(number['test'])} it had never seen{folds}.{repeated}"
    )


def _given(facts: Facts) -> str:
    """What the synthesizers draw from."""
    shown = {bool(case.recipe.options["generator"]["atlas"]) for case in facts.plan.synthesizers}
    if not facts.options.atlas.enabled or shown == {False}:
        return "label maps"
    return "label maps and, but for those without, an atlas" if False in shown else "label maps and an atlas"


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _for_how_long(facts: Facts) -> str:
    longer = [facts.plan.label(case) for case in facts.plan.segmenters if case.arm.has_own_length]
    return f"for equal numbers of steps{f' (but for {_listed(dict.fromkeys(longer))})' if longer else ''}"


def _subjects(count: int) -> str:
    return f"{count} subject" if count == 1 else f"{count} subjects"


def figures(facts: Facts) -> dict[str, str]:
    """The figures at the top of the page."""
    number = facts.subjects
    return {
        "subjects": str(len(facts.split)),
        "training / validation / test": " / ".join(str(number.get(s, 0)) for s in ("train", "validation", "test")),
        "sequences": ", ".join(facts.options.sequences),
        "real training slices": str(len(facts.slices.select(split="train"))),
        "synthetic slices": str(facts.drawn),
    }


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


def _range(volumes: pd.Series) -> str:
    return f"{volumes.min():.1f} to {volumes.max():.1f}" if volumes.notna().any() else "no masks"


def steps(facts: Facts) -> list[Step]:
    """What was done, in order."""
    return [*_preparation(facts), *_learning(facts)]


def _preparation(facts: Facts) -> list[Step]:
    options, number = facts.options, facts.subjects
    made = "generated as raw head scans with known truth" if options.cohort.source == "phantom" else "read and checked"
    width, height = options.grid.size
    steps = [
        Step(
            "Scans",
            f"{len(facts.split)} subjects with {len(options.sequences)} sequences each were {made}.",
            f"{len(facts.cohort)} scans",
        ),
        Step(
            "Split",
            f"{_how_divided(options)} Everything below that learns "
            f"(intensity scale, atlas, networks) saw the {number['train']} training subjects only.",
            f"{number['train']} + {number.get('validation', 0)} + {number['test']}",
        ),
    ]
    if options.coregister.enabled:
        steps.append(
            Step(
                "Co-registration",
                f"Every sequence was aligned ({options.coregister.kind}) with the subject's "
                f"{options.reference}; the lesion mask followed.",
            )
        )
    steps.append(
        Step("Brain extraction", f"The brain was found ({options.brain.backend}); outside it every image is 0.")
    )
    if options.bias.enabled:
        steps.append(Step("Bias correction", _BIAS[options.bias.method]))
    steps += [
        Step("Standardization", f"Intensities were brought to one scale ({options.standardize.rule}).", ""),
        Step("Grid", f"Slices were resampled to {width} × {height} pixels of {options.grid.in_plane_mm} mm.", ""),
    ]
    if options.atlas.enabled:
        steps.append(
            Step(
                "Atlas",
                f"The training subjects' common anatomy, all sequences at once, was averaged (SyN) and "
                f"aligned ({options.atlas.align}) with every subject.",
                f"{number['train']} subjects",
            )
        )
    if options.tissues.enabled:
        steps.append(
            Step("Tissues", "Grey matter, white matter and fluid were told apart (Atropos with MNI152 priors).")
        )
    return [*steps, Step("Slices", "Axial planes with their label maps were cut.", f"{len(facts.slices)} slices")]


def _how_divided(options: Parameters) -> str:
    if options.splits.protocol == "leave_one_out":
        return "One subject was left out to be tested on; each fold leaves out another."
    if options.splits.protocol == "folds":
        return (
            f"Subjects were dealt to {options.splits.folds} folds at random, balanced by lesion volume; each fold is "
            "tested once, by what has learnt from the others."
        )
    return "Subjects were divided at random, balanced by lesion volume."


def _share_in_slices(facts: Facts) -> str:
    """How much of the test subjects' lesions lies in the planes that were cut, as their masks have it."""
    table = facts.slices.table
    share = share_in_slices(table[table["split"] == "test"], facts.cohort)
    return "" if math.isnan(share) else f", which hold {share:.0%} of the lesions' volume"


def _learning(facts: Facts) -> list[Step]:
    options, tables = facts.options, [store.table for store in facts.synthetic.values()]
    steps = [
        _synthesizer(recipe, options)
        for recipe in {case.name: case.recipe for case in facts.plan.synthesizers}.values()
    ]
    if tables:
        kinds = pd.concat(tables)["manipulation"].value_counts()
        done = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        told = f"Lesions of training slices were manipulated ({done}) and drawn by {methods(facts)}."
        steps.append(Step("Synthetic slices", told, f"{facts.drawn} slices"))
    arms = _listed(dict.fromkeys(case.arm_name for case in facts.plan.segmenters))
    return [
        *steps,
        Step(
            "U-Net",
            f"{len(facts.plan.segmenters)} segmenters ({arms}), {_for_how_long(facts)}, those of one seed from "
            "the same start.",
            _length(options.unet_training),
        ),
        Step(
            "Evaluation",
            "Every test subject was scored once by each segmenter, in three dimensions, over the planes that were cut"
            f"{_share_in_slices(facts)}.",
            _subjects(facts.subjects["test"]),
        ),
    ]


def _synthesizer(recipe: Recipe, options: Parameters) -> Step:
    weights = recipe.options["weights"]
    against = "six discriminators" if recipe.options["discriminator"]["label_wise"] else "two discriminators"
    given = "label map and atlas" if recipe.options["generator"]["atlas"] else "label map alone"
    changed = ", on slices changed by chance" if options.augmentation.synthesizers else ""
    told = f"A generator learnt to draw all sequences from {given}{changed}, against {against}, with {_terms(weights)}."
    return Step(recipe.title, told + _layout(recipe.options["generator"]), _length(recipe.training))


def _layout(generator: Mapping[str, Any]) -> str:
    """How the generator's end differs from the papers'."""
    parts = ["pixels are doubled before they are convolved"] if generator["upsampling"] == "resized" else []
    parts += ["its last layers see the label map"] if generator["show_labels"] else []
    return f" Otherwise than in the papers {_listed(parts)}." if parts else ""


def _terms(weights: Mapping[str, float]) -> str:
    """The generator's terms beside the adversarial one."""
    names = {
        "feature_matching": "feature matching",
        "shape_consistency": "shape consistency",
        "confidence": "confidence guidance",
        "reconstruction": "a reconstruction term that the paper has not",
    }
    return ", ".join(words for name, words in names.items() if weights.get(name)) or "no other term"


def _length(training: TrainingOptions) -> str:
    return f"{training.constant + training.decay} {training.unit}, batch {training.batch_size}"
