"""Every parameter of the project in one typed tree: what ``conf/*/parameters*.yml`` and ``--params`` may say."""

from __future__ import annotations

import copy
import os
import typing
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, create_model, model_validator

from lesionlab.augmentation.conventional import ConventionalOptions
from lesionlab.augmentation.manipulation import ManipulationOptions
from lesionlab.cohort.layout import Layout
from lesionlab.cohort.splits import SplitOptions
from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.brain import BrainOptions
from lesionlab.imaging.anatomy.tissue import TissueOptions
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.intensity.bias import BiasOptions
from lesionlab.imaging.intensity.standardize import StandardizeOptions
from lesionlab.imaging.phantom.options import PhantomOptions
from lesionlab.imaging.quality.limits import QCOptions
from lesionlab.imaging.registration.coregistration import CoregisterOptions
from lesionlab.imaging.registration.template_space import TemplateOptions
from lesionlab.methods.base import Method, Segmenter, Synthesizer
from lesionlab.methods.registry import methods, with_capability
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.names import check_name, listed, suggestion
from lesionlab.slices.rules import SliceRules
from lesionlab.stages.engine import Engine
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import PAPERS_ARMS, Arm, TrialOptions, Variant
from lesionlab.trials.plan import Recipe
from lesionlab.trials.published import PublishedScore

_STRICT = ConfigDict(extra="forbid", frozen=True)


class CohortOptions(BaseModel):
    """Which scans to work on."""

    model_config = _STRICT

    name: str = Field(description="name of the cohort in tables and reports")
    source: Literal["files", "phantom"] = Field("files", description="phantom: lesionlab makes the scans itself")
    root: str | None = Field(None, description="folder of the scans; not needed for the phantom")
    layout: str = Field(description="how files are named: an entry of `layouts`")
    require_lesions: bool = Field(True, description="whether a cohort without any lesion is an error")
    may_lack: list[str] = Field([], description="sequences without which a study is kept, to be preprocessed")
    min_slices: int = Field(3, ge=1, description="voxels that a scan has at least along each axis")
    max_scan_mb: float = Field(1024.0, gt=0, description="a scan larger than this as float32 is not read")


class RunOptions(BaseModel):
    """How stages run over the studies."""

    model_config = _STRICT

    workers: int = Field(0, ge=0, description="processes; 0: one per core")
    trainings: int = Field(
        1, ge=1, description="at once, each in a process with its share of the cores, or with a GPU of its own"
    )
    allow_failures: bool = Field(False, description="go on without studies that a stage could not process")
    scheduler: str | None = Field(None, description="address of a Dask scheduler; null: processes of this machine")
    memory_gb: PositiveFloat | None = Field(None, description="what one worker may take; null: what is free")
    wait_minutes: float = Field(0, ge=0, description="for another run in the same folders to end; 0: stop at once")

    @property
    def processes(self) -> int:
        """The number of processes meant."""
        return self.workers or os.cpu_count() or 1

    @property
    def engine(self) -> Engine:
        """Where studies are computed."""
        return Engine(self.processes, self.scheduler, self.memory_gb)

    @property
    def lenient(self) -> Self:
        """For stages: a study that fails is left out, all others go on, and the run's end reports and judges."""
        return self.model_copy(update={"allow_failures": True})

    @property
    def alone(self) -> Self:
        """For a stage that is a single job, which spreads its own work over this machine's processes."""
        return self.model_copy(update={"workers": 1, "scheduler": None, "memory_gb": None})


class AugmentationOptions(BaseModel):
    """How slices are multiplied: new lesions drawn by a synthesizer, and chance deformations."""

    model_config = _STRICT

    manipulation: ManipulationOptions = ManipulationOptions()
    conventional: ConventionalOptions = ConventionalOptions()  # type: ignore[call-arg]
    synthesizers: ConventionalOptions | None = Field(
        None,
        description="random changes of the slices that synthesizers learn from, which the papers lack; without "
        "them discriminators know the slices of a few subjects by heart; null: none",
    )


class ParameterTree(BaseModel):
    """The root of the tree, without the methods' own branches, which :class:`Parameters` has beside these."""

    model_config = _STRICT

    workspace: str | None = Field(None, description="data/experiments/<this>; default: the experiment's name")
    seed: int = 0
    sequences: list[str] = Field(min_length=1, description="image channels, in order")
    reference: str = Field(description="the sequence whose grid the others are brought to")
    lesion_classes: list[str] = Field(min_length=1, description="labels 2, 3, ... in order")
    cohort: CohortOptions
    layouts: dict[str, Layout]
    splits: SplitOptions
    phantom: PhantomOptions
    run: RunOptions
    coregister: CoregisterOptions
    brain: BrainOptions
    bias: BiasOptions
    standardize: StandardizeOptions
    common_space: TemplateOptions = TemplateOptions()
    grid: GridOptions
    atlas: AtlasOptions
    tissues: TissueOptions
    quality: QCOptions = QCOptions()
    slices: SliceRules
    segmenter: str = Field(description="the method that trials segment with where they name none")
    variants: dict[str, Variant] = {}
    augmentation: AugmentationOptions
    arms: dict[str, Arm]
    trials: dict[str, TrialOptions] = {}
    statistics: StatisticsOptions
    published: list[PublishedScore]

    def recipes(self) -> dict[str, Recipe]:
        """Every synthesizer that can be trained: the methods, and their variants with parts taken away."""
        known = {name: self.recipe(name) for name in with_capability(Synthesizer)}
        return known | {name: self.recipe(variant.of, variant) for name, variant in self.variants.items()}

    def recipe(self, name: str, variant: Variant | None = None) -> Recipe:
        """How a method, or a variant of it, is made."""
        method, branch = methods()[name], getattr(self, name)
        options = method.Options.model_validate(branch.model_dump(mode="json", exclude={"training"}))
        if variant is not None:
            options = method.Options.model_validate(merged(options.model_dump(mode="json"), variant.change))
        return Recipe(
            method=name,
            title=variant.title if variant else method.title,
            options=options.model_dump(mode="json"),
            training=TrainingOptions.model_validate(branch.training.model_dump()),
            published=variant.published if variant else True,
            paper=method.paper,
            prior=method.prior_of(options),
            claims=method.claims,
        )

    def segmenters(self, trial: str) -> dict[str, Recipe]:
        """The segmenters that a trial trains, by name; none where it has no arm."""
        options = self.trial(trial)
        names = options.segmenters if options.segmenters is not None else (self.segmenter,)
        return {name: self.recipe(name) for name in names} if options.arms else {}

    def trial(self, name: str) -> TrialOptions:
        """A trial of this name.

        Raises:
            InputError: there is none.
        """
        if name not in self.trials:
            raise InputError(
                "there is no such trial",
                given=name,
                allowed=", ".join(self.trials),
                cure=f"{suggestion(name, self.trials)}name it under `trials`",
            )
        return self.trials[name]

    @model_validator(mode="before")
    @classmethod
    def _trial_of_each_synthesizer(cls, values: Any) -> Any:
        """Every synthesizer has a trial of its own name: itself, in the papers' arms, unless it says otherwise."""
        if not isinstance(values, dict):
            return values
        own = {name: {"synthesizers": [name], "arms": list(PAPERS_ARMS)} for name in with_capability(Synthesizer)}
        given = values.get("trials") or {}
        return {**values, "trials": merged(own, given) if isinstance(given, dict) else given}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse what would come out only after hours of work."""
        if self.reference not in self.sequences:
            raise ValueError(
                f"reference {self.reference!r} is none of the sequences {self.sequences}: name one of them"
            )
        if self.cohort.source == "phantom":
            missing = sorted(set(self.sequences) - set(self.phantom.sequences))
            if missing:
                made = list(self.phantom.sequences)
                raise ValueError(f"the phantom has no {', '.join(missing)}: add them to phantom.sequences {made}")
            if self.reference != self.phantom.reference:
                raise ValueError(
                    f"reference {self.reference!r} is not phantom.reference {self.phantom.reference!r}, on whose grid "
                    "the phantom's lesions and truth lie: set both alike"
                )
        if self.standardize.rule == "zscore_third" and self.slices.value_range[0] >= 0:
            raise ValueError(
                f"standardize.rule zscore_third centres the brain on 0, slices.value_range {self.slices.value_range} "
                "would cut its darker half off: set slices.value_range to [-1, 1]"
            )
        return self

    @model_validator(mode="after")
    def _names_of_folders(self) -> Self:
        """Refuse arms and variants by whose names no folder can be called, as those of their trainings are."""
        for what, names in (("arm", self.arms), ("variant", self.variants)):
            for name in names:
                try:
                    check_name(name, what)
                except InputError as error:
                    raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _variants(self) -> Self:
        """Refuse variants whose changes their method has not."""
        if taken := sorted(set(self.variants) & set(methods())):
            raise ValueError(f"variants names {listed(taken)}, as a method is named: give the variant another name")
        for name, variant in self.variants.items():
            _require_capability(f"variants.{name}.of", (variant.of,), Synthesizer)
            try:
                self.recipe(variant.of, variant)
            except ValidationError as error:
                raise ValueError("; ".join(_misfit(name, variant, fault) for fault in error.errors())) from error
        return self

    @model_validator(mode="after")
    def _trials(self) -> Self:
        """Refuse trials of what is not there, or whose arms leave nothing to compare."""
        known = self.recipes()
        for name, trial in self.trials.items():
            for what, given, allowed in (
                ("synthesizers", trial.synthesizers, known),
                ("arms", trial.arms, self.arms),
            ):
                if unknown := sorted(set(given) - set(allowed)):
                    raise ValueError(
                        f"trials.{name}.{what} names {', '.join(unknown)}: {suggestion(unknown[0], allowed)}"
                        f"name some of {', '.join(allowed)}"
                    )
            _require_capability(f"trials.{name}.segmenters", trial.segmenters or (self.segmenter,), Segmenter)
            if not trial.synthesizers and not trial.arms:
                raise ValueError(f"trials.{name} has neither synthesizers nor arms: give it one of them")
            if trial.arms and self.arms[trial.baseline].synthetic:
                raise ValueError(
                    f"trials.{name}.arms begins with {trial.baseline!r}, which has synthetic slices: begin with the "
                    "arm that the others are compared with, real slices alone"
                )
            if not trial.synthesizers and (drawn := [arm for arm in trial.arms if self.arms[arm].synthetic]):
                raise ValueError(
                    f"trials.{name}.arms has {listed(drawn)}, which take synthetic slices, and no synthesizer to draw "
                    "them: name some under synthesizers, or leave these arms out"
                )
        return self

    @model_validator(mode="after")
    def _may_lack(self) -> Self:
        may_lack, fallback = set(self.cohort.may_lack), set(self.coregister.reference_fallback)
        if unknown := sorted(may_lack - set(self.sequences)):
            raise ValueError(
                f"cohort.may_lack names {', '.join(unknown)}, none of the sequences {self.sequences}: take it out"
            )
        if may_lack >= set(self.sequences):
            raise ValueError(
                "cohort.may_lack names every sequence: take out at least one, which each study has to have"
            )
        if self.reference in may_lack and not fallback & set(self.sequences) - {self.reference}:
            raise ValueError(
                f"cohort.may_lack names the reference {self.reference!r}, and nothing takes its place: name another of "
                f"the sequences {self.sequences} in coregister.reference_fallback"
            )
        return self


def _misfit(name: str, variant: Variant, fault: Any) -> str:
    """Why a variant's change does not fit its method, with the nearest option."""
    *above, option = (str(part) for part in fault["loc"])
    path = ".".join(["variants", name, "change", *above, option])
    if fault["type"] != "extra_forbidden":
        return f"{path} = {fault['input']!r}: {fault['msg']}"
    allowed = known_names((variant.of, *above))
    told = suggestion(option, allowed) or f"allowed: {', '.join(allowed)}"
    return f"{path}: {methods()[variant.of].title} has no such option; {told.strip()}"


def _require_capability(place: str, names: Sequence[str], capability: type) -> None:
    allowed = with_capability(capability)
    if unknown := [name for name in names if name not in allowed]:
        raise ValueError(
            f"{place} names {', '.join(unknown)}: {suggestion(unknown[0], allowed)}name some of {', '.join(allowed)}"
        )


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid on a copy of ``base``, mapping by mapping."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _branch(method: type[Method]) -> tuple[Any, Any]:
    """A method's branch of the tree: its options, and ``training`` with its paper's defaults; all may be left out."""
    if "training" in method.Options.model_fields:
        raise InputError(
            "an option of a method is called as its training is in the configuration",
            given=f"{method.name}: training",
            allowed="another name",
            cure="rename the option",
        )
    fields = TrainingOptions.model_fields
    defaults: dict[str, Any] = {
        name: (fields[name].annotation, value) for name, value in method.training_defaults.items()
    }
    training = create_model(f"{method.name}Training", __base__=TrainingOptions, **defaults)
    branch = create_model(f"{method.name}Branch", __base__=method.Options, training=(training, training()))
    return branch, branch()


if typing.TYPE_CHECKING:
    Parameters = ParameterTree
else:
    if _taken := sorted(set(methods()) & set(ParameterTree.model_fields)):
        raise InputError(
            "a method has the name of a parameter",
            given=", ".join(_taken),
            allowed="another name",
            cure="rename the method",
        )
    Parameters = create_model(
        "Parameters", __base__=ParameterTree, **{name: _branch(method) for name, method in methods().items()}
    )
    Parameters.__doc__ = "The root of the tree: every parameter, and a branch for every method."


def known_names(path: Sequence[Any]) -> list[str]:
    """The names allowed at a place of the tree, for example ``("cgsamr", "weights")`` or ``("published", 0)``."""
    there: Any = Parameters
    for part in path:
        there = _inner(there, part)
    model = _model(there)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _inner(annotation: Any, part: Any) -> Any:
    """The type one step further: of a model's field, or of the values of a mapping or sequence."""
    if typing.get_origin(annotation) in (dict, list, tuple):
        return next(each for each in reversed(typing.get_args(annotation)) if each is not Ellipsis)
    model = _model(annotation)
    return model.model_fields[part].annotation if model and part in model.model_fields else None


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model an annotation names, alone or beside ``None``."""
    if typing.get_origin(annotation) in (dict, list, tuple):
        return None
    found = [each for each in (annotation, *typing.get_args(annotation)) if _is_model(each)]
    return found[0] if found else None


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)
