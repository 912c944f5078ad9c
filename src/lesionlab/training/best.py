"""Which of a run's validations was the best, and when there is no more to hope for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lesionlab.errors import InputError


class BestRule(BaseModel):
    """What makes one checkpoint better than another: a measure on validation subjects, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: str = Field(description="a scalar that validation gives, for example validation/dice_tumor")
    goal: Literal["max", "min"] = "max"
    patience: int | None = Field(
        None, ge=1, description="validations in a row without a better value that end the run; null: it goes to its end"
    )


class Best:
    """The best value so far, its step, and how many validations have passed since.

    Args:
        rule: what is compared; None where nothing is, and no value is ever the best.
    """

    def __init__(self, rule: BestRule | None) -> None:
        self.rule = rule
        self.value, self.step, self.since = math.nan, 0, 0

    def see(self, values: Mapping[str, float], step: int) -> bool:
        """Take note of a validation; whether it is the best so far. A value of nan is worse than any other.

        Raises:
            InputError: validation does not give the rule's measure.
        """
        if self.rule is None:
            return False
        self.require(values)
        value = float(values[self.rule.measure])
        if not self.step or self._better(value):
            self.value, self.step, self.since = value, step, 0
            return True
        self.since += 1
        return False

    def _better(self, value: float) -> bool:
        if math.isnan(value) or math.isnan(self.value):
            return not math.isnan(value)
        return value > self.value if self.rule and self.rule.goal == "max" else value < self.value

    def require(self, values: Mapping[str, float]) -> None:
        """Raise ``InputError`` unless these values hold the rule's measure."""
        if self.rule and self.rule.measure not in values:
            raise InputError(
                "validation does not give the measure that chooses the best checkpoint",
                given=self.rule.measure,
                allowed=", ".join(sorted(values)) or "nothing, there is no validation",
                cure="name one of these in best.measure; without validation subjects, leave out best",
            )

    @property
    def exhausted(self) -> bool:
        """Whether patience has ended."""
        return self.rule is not None and self.rule.patience is not None and self.since >= self.rule.patience

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"value": self.value, "step": self.step, "since": self.since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.value, self.step, self.since = state["value"], state["step"], state["since"]
