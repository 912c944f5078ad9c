"""A trial's plan: every training it takes, with the subjects each is made from. Nothing is trained that is not here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import EVERYONE, Arm, TrialOptions
from lesionlab.trials.training_sets import training_set

_STRICT = ConfigDict(extra="forbid", frozen=True)

NO_SYNTHESIZER = "none"  # in tables and folders, of a segmenter that saw real slices alone


class Recipe(BaseModel):
    """How a method is made, without the subjects that it learns from.

    Attributes:
        method: its name in the registry of methods.
        title: its name in tables and figures.
        options: the method's options, JSON-able.
        training: how long and how it is trained.
        published: whether its paper has it too.
        paper: citation.
        prior: what it is given beside the lesions.
        claims: pairs (better, worse) of methods' names, as its paper claims them.
    """

    model_config = _STRICT

    method: str
    title: str
    options: dict[str, Any]
    training: TrainingOptions
    published: bool = True
    paper: str = ""
    prior: str | None = None
    claims: tuple[tuple[str, str], ...] = ()


class SynthesizerCase(BaseModel):
    """One synthesizer to be trained.

    Attributes:
        name: of the recipe.
        subjects: those it is trained on, and whose lesions are manipulated.
        seed: of its weights and of the order of slices.
    """

    model_config = _STRICT

    name: str
    recipe: Recipe
    subjects: tuple[str, ...]
    seed: int

    @property
    def key(self) -> str:
        """Its folder below the synthesizers', unique within a trial."""
        return f"{self.name}/{_of(self.subjects, self.seed)}"


class SegmenterCase(BaseModel):
    """One segmenter to be trained.

    Attributes:
        recipe: of the method that segments.
        arm_name: of the arm.
        synthesizer: key of the synthesizer whose slices it sees; None where it sees none.
        subjects: those whose real slices, and whose slices' manipulated copies, it sees.
        seed: of its weights and of the order of slices.
    """

    model_config = _STRICT

    recipe: Recipe
    arm_name: str
    arm: Arm
    synthesizer: str | None
    subjects: tuple[str, ...]
    seed: int

    @property
    def method(self) -> str:
        """Name of the method that segments."""
        return self.recipe.method

    @property
    def synthesizer_name(self) -> str:
        """The synthesizer's recipe, or ``none``."""
        return self.synthesizer.partition("/")[0] if self.synthesizer else NO_SYNTHESIZER

    @property
    def key(self) -> str:
        """Its folder below the segmenters', unique within a trial."""
        return f"{self.method}/{self.arm_name}/{self.synthesizer_name}/{_of(self.subjects, self.seed)}"


class TrialPlan(BaseModel):
    """All trainings of a trial, in the order they are done."""

    model_config = _STRICT

    name: str
    options: TrialOptions
    synthesizers: tuple[SynthesizerCase, ...]
    segmenters: tuple[SegmenterCase, ...]

    def synthesizer(self, key: str) -> SynthesizerCase:
        """The synthesizer of a key."""
        return next(case for case in self.synthesizers if case.key == key)

    def ratio(self, key: str) -> float:
        """How many synthetic slices, as a multiple of the real ones, the greediest arm takes from a synthesizer."""
        return max((case.arm.synthetic for case in self.segmenters if case.synthesizer == key), default=0.0)

    def shown(self) -> TrialPlan:
        """What pictures are made of: the trainings on the largest set of subjects, of the first seed."""
        every: list[SynthesizerCase | SegmenterCase] = [*self.synthesizers, *self.segmenters]
        most = max((len(case.subjects) for case in every), default=0)
        seed = every[0].seed if every else 0

        def chosen(case: SynthesizerCase | SegmenterCase) -> bool:
            return len(case.subjects) == most and case.seed == seed

        synthesizers = tuple(case for case in self.synthesizers if chosen(case))
        segmenters = tuple(case for case in self.segmenters if chosen(case))
        return self.model_copy(update={"synthesizers": synthesizers, "segmenters": segmenters})

    def label(self, case: SegmenterCase) -> str:
        """What a segmenter is called beside the others: its arm, and its synthesizer or method where several are."""
        parts = [case.arm_name]
        if len(self.titles()) > 1 and case.synthesizer:
            parts.append(self.titles()[case.synthesizer_name])
        if len({one.method for one in self.segmenters}) > 1:
            parts.append(case.recipe.title)
        return ", ".join(parts)

    def titles(self) -> dict[str, str]:
        """Synthesizers' names to what tables call them."""
        return {case.name: case.recipe.title for case in self.synthesizers}

    def methods(self) -> dict[str, str]:
        """Synthesizers' names to the methods they are, or are variants of."""
        return {case.name: case.recipe.method for case in self.synthesizers}

    def variants(self) -> dict[str, str]:
        """Names to titles, of the synthesizers that lack a part of their method."""
        return {name: title for name, title in self.titles().items() if self.methods()[name] != name}

    def unpublished(self) -> set[str]:
        """Names of the variants that no paper has."""
        return {case.name for case in self.synthesizers if not case.recipe.published}

    def claims(self) -> tuple[tuple[str, str], ...]:
        """Pairs (better, worse) of its synthesizers, as papers claim them: methods, then a method and its variants."""
        there = self.methods()
        claimed = (pair for case in self.synthesizers for pair in case.recipe.claims)
        pairs = [pair for pair in claimed if set(pair) <= set(there)]
        pairs += [(method, name) for name, method in there.items() if name != method and method in there]
        return tuple(dict.fromkeys(pairs))

    def table(self) -> pd.DataFrame:
        """A row per training: what, training, subjects (their number), seed, members (their names)."""
        every = [("synthesizer", case) for case in self.synthesizers] + [
            ("segmenter", case) for case in self.segmenters
        ]
        rows = [
            {"what": what, "training": case.key, "subjects": len(case.subjects), "seed": case.seed}
            | {"members": " ".join(case.subjects)}
            for what, case in every
        ]
        return pd.DataFrame(rows)


def plan_trial(
    name: str,
    options: TrialOptions,
    arms: Mapping[str, Arm],
    recipes: Mapping[str, Recipe],
    segmenters: Mapping[str, Recipe],
    slices: pd.DataFrame,
    seed: int,
) -> TrialPlan:
    """Lay out a trial.

    Args:
        name: of the trial.
        options: what it compares.
        arms: the configured arms by name.
        recipes: the synthesizers that can be trained, by name.
        segmenters: those that are trained in each arm, by name.
        slices: the slice store's table, which says who is there to learn from.
        seed: of the run, to which the trial's own seeds are added.

    Raises:
        InputError: see :func:`lesionlab.trials.training_sets.training_set`.
    """
    synthesizers: list[SynthesizerCase] = []
    segmented: list[SegmenterCase] = []
    chosen = {arm: arms[arm] for arm in options.arms}
    for size in _sizes(options, slices):
        for each in options.seeds:
            subjects = training_set(slices, size, seed + each)
            own = [
                SynthesizerCase(name=one, recipe=recipes[one], subjects=subjects, seed=seed + each)
                for one in options.synthesizers
            ]
            synthesizers += own
            for recipe in segmenters.values():
                segmented += _segmenters(recipe, chosen, own, subjects, seed + each)
    return TrialPlan(name=name, options=options, synthesizers=tuple(synthesizers), segmenters=tuple(segmented))


def _sizes(options: TrialOptions, slices: pd.DataFrame) -> list[int]:
    """The sizes of the training set, each once: ``all`` may be one of the numbers."""
    everyone = len(training_set(slices, EVERYONE, 0))
    return list(dict.fromkeys(everyone if size == EVERYONE else size for size in options.training_subjects))


def _segmenters(
    recipe: Recipe,
    arms: Mapping[str, Arm],
    synthesizers: list[SynthesizerCase],
    subjects: tuple[str, ...],
    seed: int,
) -> Iterator[SegmenterCase]:
    for name, arm in arms.items():
        for source in [case.key for case in synthesizers] if arm.synthetic else [None]:
            yield SegmenterCase(recipe=recipe, arm_name=name, arm=arm, synthesizer=source, subjects=subjects, seed=seed)


def _of(subjects: tuple[str, ...], seed: int) -> str:
    return f"{len(subjects)}-subjects/seed-{seed}"
