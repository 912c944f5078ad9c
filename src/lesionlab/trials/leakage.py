"""That nothing which learns has seen a test subject: who was seen is read from what was used, in each run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pandas as pd

from lesionlab.errors import InputError
from lesionlab.names import listed

TRAIN, VALIDATION, TEST = "train", "validation", "test"

#: What may be seen where: everything learns from training subjects; what is chosen is chosen on validation subjects.
LEARNS, CHOOSES = (TRAIN,), (VALIDATION,)


def subjects_of(rows: pd.DataFrame, people: Mapping[str, str]) -> set[str]:
    """Everyone who had a part in slices.

    Of a synthetic slice that is the subject whose brain it shows, and the one whose lesion it was given, both as the
    table and the slice's own record have them.

    Args:
        rows: of a slice store's table.
        people: study to subject; a donor study that is not among them stands for itself, and so for nobody known.
    """
    seen = set(rows["subject"].astype(str)) | {people.get(study, study) for study in rows["donor"] if study}
    for record in rows["record"].map(json.loads):
        seen |= {str(record[role]["subject"]) for role in ("target", "donor") if record.get(role)}
    return seen


def people_of(table: pd.DataFrame) -> dict[str, str]:
    """Study to subject, of a cohort or of slices."""
    return dict(table[["study", "subject"]].drop_duplicates().astype(str).itertuples(index=False, name=None))


def splits_of(table: pd.DataFrame, place: str) -> dict[str, str]:
    """Subject to split, of a cohort or of slices; ``place`` names it in the error.

    Raises:
        InputError: a subject is in two splits.
    """
    pairs = table[["subject", "split"]].drop_duplicates()
    torn = pairs.loc[pairs["subject"].duplicated(), "subject"].unique()
    if len(torn):
        raise InputError(
            f"leakage: subjects of {place} are in more than one split",
            given=listed(torn),
            allowed="every subject in one of train, validation and test",
            cure="cut the slices anew after the split was made",
        )
    return dict(zip(pairs["subject"].astype(str), pairs["split"].astype(str), strict=True))


def require_same(slices: Mapping[str, str], cohort: Mapping[str, str]) -> None:
    """Check that slices have their subjects in the splits that the cohort has them in, both subject to split.

    Raises:
        InputError: a subject is in another split, or in none of the cohort's.
    """
    wrong = sorted(subject for subject, split in slices.items() if cohort.get(subject) != split)
    if wrong:
        raise InputError(
            "leakage: the slices have subjects in another split than the cohort has them in",
            given=listed(f"{one} ({slices[one]}, in the cohort {cohort.get(one, 'of no split')})" for one in wrong),
            allowed="the cohort's split",
            cure="cut the slices anew after the split was made",
        )


def require_within(seen: Iterable[str], planned: Iterable[str], place: str) -> None:
    """Check that a training on some of the subjects has seen none of the others; ``place`` names it in the error.

    Raises:
        InputError: it has.
    """
    beyond = sorted(set(seen) - set(planned))
    if beyond:
        raise InputError(
            f"leakage: {place} has seen subjects that are not in its training set",
            given=listed(beyond),
            allowed=f"{listed(planned)} alone, as planned",
            cure="remove its folder and run the trial again",
        )


def require(seen: Iterable[str], splits: Mapping[str, str], place: str, allowed: tuple[str, ...] = LEARNS) -> set[str]:
    """The subjects seen, after a check that all of them are of the splits that may be seen there.

    Args:
        seen: subjects.
        splits: subject to split.
        place: what has seen them, for the error.
        allowed: splits that may be seen there.

    Raises:
        InputError: a subject of another split, or of none.
    """
    seen = set(seen)
    wrong = sorted(subject for subject in seen if splits.get(subject) not in allowed)
    if wrong:
        raise InputError(
            f"leakage: {place} has seen subjects that it must not see",
            given=listed(f"{subject} ({splits.get(subject, 'of no split')})" for subject in wrong),
            allowed=f"{' and '.join(allowed)} subjects alone",
            cure="remove what was made under another split, or give the landmarks and the atlas of other people",
        )
    return seen


def audit(
    learnt: Mapping[str, Iterable[str]], chose: Mapping[str, Iterable[str]], splits: Mapping[str, str]
) -> pd.DataFrame:
    """Check everything that learns or chooses, and write down whom it has seen.

    Args:
        learnt: what learnt to the subjects it learnt from.
        chose: what was chosen to the subjects it was chosen on.
        splits: subject to split.

    Returns:
        A row each: ``place``, ``purpose`` (learns, chooses), ``subjects`` (their number), ``test`` (how many of these
        are test subjects: 0, or this would have raised), ``names``.

    Raises:
        InputError: see :func:`require`.
    """
    rows = []
    for purpose, places, allowed in (("learns", learnt, LEARNS), ("chooses", chose, CHOOSES)):
        for place, seen in places.items():
            names = sorted(require(seen, splits, place, allowed))
            tested = sum(splits[name] == TEST for name in names)
            rows.append((place, purpose, len(names), tested, " ".join(names)))
    return pd.DataFrame(rows, columns=["place", "purpose", "subjects", "test", "names"])
