"""What a trial compares: synthesizers, arms, sizes of the training set, seeds."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

_STRICT = ConfigDict(extra="forbid", frozen=True)

REAL = "real"  # the arm that every trial has: real slices alone
EVERYONE: Literal["all"] = "all"

PAPERS_ARMS = (REAL, "real+25%", "real+50%")  # those that every paper has


class Arm(BaseModel):
    """What one segmenter is trained on. The papers call arms experiments: real slices, and synthetic ones beside them.

    Attributes:
        real: whether the real training slices are among them.
        synthetic: synthetic slices as a multiple of the real ones (the papers' "25 %" is 0.5, their "50 %" is 1.0).
        conventional: whether slices are flipped, turned, warped and shaded at random while training.
        equal: what the arm shares with training on real slices alone: the number of steps, or of epochs (the papers),
            so that twice as many slices mean twice as many steps.
        length: of its training, as a multiple; 2 for real slices alone is the control of an arm of equal epochs.
    """

    model_config = _STRICT

    real: bool = True
    synthetic: float = Field(0.0, ge=0)
    conventional: bool = False
    equal: Literal["steps", "epochs"] = "steps"
    length: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.real and not self.synthetic:
            raise ValueError("an arm needs slices: set real, or synthetic above 0")
        return self

    @property
    def has_own_length(self) -> bool:
        """Whether it takes another number of steps than training on real slices alone."""
        return self.equal == "epochs" or self.length != 1


class Variant(BaseModel):
    """A synthesizer that differs from a method in some options: a part taken away, for an ablation study."""

    model_config = _STRICT

    of: str = Field(description="the method whose options are changed")
    change: dict[str, Any] = Field(min_length=1, description="options that differ, nested as the method's own")
    title: str = Field(description="its name in tables and figures")
    published: bool = Field(True, description="whether its method's paper has it too, and says that it does worse")


class TrialOptions(BaseModel):
    """One comparison: everything it names is trained on every set of subjects, once per seed.

    It may have synthesizers alone, segmenters alone, or both, and then arms with synthetic slices.
    """

    model_config = _STRICT

    synthesizers: tuple[str, ...] = Field((), description="methods, or names of `variants`")
    segmenters: tuple[str, ...] | None = Field(None, description="methods; null: the parameter `segmenter`")
    arms: tuple[str, ...] = Field(
        (REAL,), description="names of `arms`, the baseline first; none: no segmenter is trained"
    )
    training_subjects: tuple[PositiveInt | Literal["all"], ...] = Field(
        (EVERYONE,), min_length=1, description="sizes of the training set; the smaller ones lie within the larger"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="added to `seed`; each is a run of its own")

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with; ``real`` where there is none."""
        return self.arms[0] if self.arms else REAL
