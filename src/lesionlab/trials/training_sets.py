"""Which subjects a method learns from when it may see only some of them: the low-data curve."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from lesionlab.errors import InputError

TRAIN = "train"
SICK = "pathological"


def training_set(slices: pd.DataFrame, size: int | Literal["all"], seed: int) -> tuple[str, ...]:
    """Draw training subjects, by name in order.

    The sets of one seed lie within one another: four subjects are four of the eight. Where some training subjects have
    no lesion, those who have one come first, since nothing is learnt of lesions without them.

    Args:
        slices: a slice store's table.
        size: how many, or ``all``.
        seed: of the order in which they are drawn.

    Raises:
        InputError: there are fewer training subjects than asked for.
    """
    training = slices[slices["split"] == TRAIN]
    subjects = sorted(training["subject"].unique())
    if size == "all":
        return tuple(subjects)
    if size > len(subjects):
        raise InputError(
            "there are fewer training subjects than a trial asks for",
            given=f"training_subjects: {size}",
            allowed=f"at most {len(subjects)}, or all",
            cure="ask for fewer, or leave fewer subjects to validation and test",
        )
    sick = set(training.loc[training["domain"] == SICK, "subject"])
    drawn = [subjects[at] for at in np.random.default_rng([seed, len(subjects)]).permutation(len(subjects))]
    drawn.sort(key=lambda subject: subject not in sick)
    return tuple(sorted(drawn[:size]))
