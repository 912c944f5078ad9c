"""Does the synthesizer repeat its training slices? Nearest neighbours, and membership by discriminator score.

A synthetic slice has the brain outline and the atlas of its target, a real training slice, so it lies near slices of
that subject without having learnt anything by heart. Neighbours are therefore looked for in three scopes apart: the
target itself, other slices of its subject, and slices of other subjects. The last compares with what is natural: how
near real slices of different subjects lie to each other.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from lesionlab.metrics.distances import CHUNK, chunks
from lesionlab.metrics.inference import LEVEL, RESAMPLES

Region = Literal["image", "lesion"]
FIRST_LESION = 2  # code of the first lesion class in a label map
BLACK = -1.0  # value of the background; distances are computed from it, where most pixels are then 0
SCOPES = ("target", "same_subject", "other_subjects")
PERCENTILE = 5.0


class Pictures(NamedTuple):
    """Slices to compare, in memory or on disk: some are read at a time.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [-1, 1]: an array, or what is indexed as one.
        labels: ``(N, H, W)`` uint8 label maps, likewise.
        table: their rows of a slice store's table, in this order: columns subject, study, plane. In a synthetic store
            these are the target's.
    """

    images: Any
    labels: Any
    table: pd.DataFrame


def nearest(queries: Pictures, training: Pictures, region: Region = "image", chunk: int = CHUNK) -> pd.DataFrame:
    """For each query its nearest training slice in each scope.

    The distance is the mean squared difference over pixels and sequences: of the whole picture (``image``), or over
    the union of both lesions (``lesion``), so that a lesion must be copied with its outline, at its place, to be near.
    Every training slice is compared, but never more than ``chunk`` slices of each set are in memory.

    Args:
        queries: synthetic slices, or real ones for reference: training slices against themselves, test against
            training.
        training: real slices that the synthesizer was trained on.
        region: where slices are compared.
        chunk: slices in memory at once.

    Returns:
        One row per query, in order. For each scope of `SCOPES` the columns ``<scope>_distance`` and ``<scope>_place``
        (row of `training`), NaN and -1 where the scope is empty or neither slice has a lesion. The slice that a
        swapped lesion was taken from is among the other subjects', and near in the lesion by its outline alone.
    """
    found = {scope: (np.full(len(queries.images), np.inf), np.full(len(queries.images), -1)) for scope in SCOPES}
    pixels = None if region == "image" else _lesion_pixels(queries, training)
    for columns in chunks(len(training.images), chunk):
        theirs = _prepare(training, columns, pixels)
        for rows in chunks(len(queries.images), chunk):
            distances = _distances(_prepare(queries, rows, pixels), theirs)
            for scope, allowed in _scopes(queries.table.iloc[rows], training.table.iloc[columns]).items():
                _keep_nearest(np.where(allowed, distances, np.inf), rows, columns.start, *found[scope])
    table = {}
    for scope, (_, places) in found.items():
        table[f"{scope}_distance"] = _exact(queries, training, places, region)
        table[f"{scope}_place"] = places
    return pd.DataFrame(table)


def compare_nearest(synthetic: pd.DataFrame, reference: pd.DataFrame, percentile: float = PERCENTILE) -> pd.DataFrame:
    """How near synthetic slices lie to training slices, beside how near real slices of different subjects lie.

    Args:
        synthetic: what :func:`nearest` gave for synthetic slices.
        reference: what it gave for real slices, with as many subjects to be near to as synthetic ones have; only their
            nearest slices of other subjects count.
        percentile: of the reference's distances; what is nearer counts as suspiciously near.

    Returns:
        One row per scope: scope, n, median, reference_n, reference_median, ratio (of medians; far below 1 speaks of
        copies), limit (the reference's percentile), share_below (of the synthetic slices; about ``percentile`` % where
        they lie as real ones do).

    Raises:
        ValueError: no reference slice has a neighbour in another subject.
    """
    natural = reference["other_subjects_distance"].dropna()
    if natural.empty:
        raise ValueError("no reference slice has a neighbour in another subject")
    limit, middle = float(np.percentile(natural, percentile)), float(natural.median())
    rows = []
    for scope in SCOPES:
        distances = synthetic[f"{scope}_distance"].dropna()
        median = float(distances.median()) if len(distances) else float("nan")
        rows.append(
            {
                "scope": scope,
                "n": len(distances),
                "median": median,
                "reference_n": len(natural),
                "reference_median": middle,
                "ratio": median / middle if middle > 0 else float("nan"),
                "limit": limit,
                "share_below": float((distances < limit).mean()) if len(distances) else float("nan"),
            }
        )
    return pd.DataFrame(rows)


class Membership(NamedTuple):
    """How well a score tells training slices from held-out ones.

    Attributes:
        auc: probability that a training slice scores higher than a held-out one, ties half; 0.5 is chance.
        ci_low: lower bound of its 95 % bootstrap interval, subjects resampled; NaN for one subject in a group.
        ci_high: upper bound.
    """

    auc: float
    ci_low: float
    ci_high: float


def membership_inference(
    training_scores: np.ndarray,
    training_subjects: np.ndarray,
    held_out_scores: np.ndarray,
    held_out_subjects: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Membership:
    """Can the discriminator's score of a real slice tell whether it was trained on? Mann-Whitney's AUC.

    Args:
        training_scores: ``(n,)``, for example the mean logit of the discriminators.
        training_subjects: ``(n,)`` the person of each.
        held_out_scores: ``(m,)``, of real slices that no network has seen.
        held_out_subjects: ``(m,)``.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        ValueError: a group is empty, or scores and subjects differ in number.
    """
    if not len(training_scores) or not len(held_out_scores):
        raise ValueError("membership inference needs scores of training and of held-out slices")
    members, outsiders = _by_person(training_scores, training_subjects), _by_person(held_out_scores, held_out_subjects)
    wins = np.array([[_wins(own, other) for other in outsiders] for own in members])
    pairs = np.array([[len(own) * len(other) for other in outsiders] for own in members], np.float64)
    auc = float(wins.sum() / pairs.sum())
    if min(wins.shape) < 2:
        return Membership(auc, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64) for n in wins.shape)
    values = ((rows @ wins) * columns).sum(axis=1) / ((rows @ pairs) * columns).sum(axis=1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Membership(auc, float(low), float(high))


def _by_person(scores: np.ndarray, subjects: np.ndarray) -> list[np.ndarray]:
    """Sorted scores of each person."""
    scores, subjects = np.asarray(scores, np.float64), np.asarray(subjects)
    if scores.shape != subjects.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and subjects {subjects.shape} must have one length")
    return [np.sort(scores[subjects == person]) for person in np.unique(subjects)]


def _wins(own: np.ndarray, other: np.ndarray) -> float:
    """Pairs in which the first scores higher, ties half; both sorted."""
    below = np.searchsorted(other, own, side="left").sum()
    not_above = np.searchsorted(other, own, side="right").sum()
    return float(below + not_above) / 2


class _Prepared(NamedTuple):
    """A chunk of slices, counted from black: ``P`` pixels of ``C`` sequences.

    Attributes:
        values: ``(n, C, P)`` float32.
        inside: ``(n, P)`` float32, 1 in the lesion; None where the whole picture counts.
    """

    values: np.ndarray
    inside: np.ndarray | None

    def flat(self) -> np.ndarray:
        """``(n, C P)``."""
        return self.values.reshape(len(self.values), self.values.shape[1] * self.values.shape[2])


def _lesion_pixels(*sets: Pictures) -> np.ndarray:
    """Flat places of the pixels where any slice has a lesion; no other one can lie in a union."""
    anywhere = [
        (pictures.labels[rows] >= FIRST_LESION).any(axis=0)
        for pictures in sets
        for rows in chunks(len(pictures.labels))
    ]
    return np.flatnonzero(np.any(anywhere, axis=0))


def _prepare(pictures: Pictures, rows: slice, pixels: np.ndarray | None) -> _Prepared:
    """The chunk's slices, whole or at these pixels."""
    images = np.asarray(pictures.images[rows], np.float32)
    values = images.reshape(*images.shape[:2], -1) - np.float32(BLACK)
    if pixels is None:
        return _Prepared(values, None)
    inside = np.asarray(pictures.labels[rows]).reshape(len(values), -1)[:, pixels] >= FIRST_LESION
    return _Prepared(values[:, :, pixels], inside.astype(np.float32))


def _distances(one: _Prepared, other: _Prepared) -> np.ndarray:
    """Mean squared differences of all pairs ``(n, m)``; inf where both lesions are empty."""
    if one.inside is None or other.inside is None:
        a, b = one.flat(), other.flat()
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None]
        return np.maximum(squares - 2 * a @ b.T, 0) / a.shape[1]
    all_own, all_its = np.ones_like(one.inside), np.ones_like(other.inside)
    # Over the union: over one's lesion, plus over the other's, minus over what they share.
    squared = _within(one, other, one.inside, all_its) + _within(one, other, all_own, other.inside)
    squared -= _within(one, other, one.inside, other.inside)
    pixels = one.inside.sum(axis=1)[:, None] + other.inside.sum(axis=1)[None] - one.inside @ other.inside.T
    nowhere = np.full(squared.shape, np.inf)
    return np.divide(np.maximum(squared, 0), pixels * one.values.shape[1], out=nowhere, where=pixels > 0)


def _within(one: _Prepared, other: _Prepared, own: np.ndarray, its: np.ndarray) -> np.ndarray:
    """Summed squared differences ``(n, m)`` where both masks hold: ``a^2 m + b^2 m - 2 a b m`` as products."""
    a, b = _Prepared(one.values * own[:, None], own), _Prepared(other.values * its[:, None], its)
    return _energy(a) @ its.T + own @ _energy(b).T - 2 * a.flat() @ b.flat().T


def _energy(prepared: _Prepared) -> np.ndarray:
    """Squares summed over sequences ``(n, P)``."""
    return (prepared.values**2).sum(axis=1)


def _scopes(queries: pd.DataFrame, training: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which pairs ``(n, m)`` belong to each scope."""

    def same(column: str) -> np.ndarray:
        return queries[column].to_numpy()[:, None] == training[column].to_numpy()[None]

    subject = same("subject")
    target = subject & same("study") & same("plane")
    return {"target": target, "same_subject": subject & ~target, "other_subjects": ~subject}


def _keep_nearest(distances: np.ndarray, rows: slice, first_column: int, best: np.ndarray, places: np.ndarray) -> None:
    """Write what is nearer than before into `best` and `places`."""
    column = distances.argmin(axis=1)
    value = np.take_along_axis(distances, column[:, None], axis=1)[:, 0]
    nearer = value < best[rows]
    best[rows] = np.where(nearer, value, best[rows])
    places[rows] = np.where(nearer, first_column + column, places[rows])


def _exact(queries: Pictures, training: Pictures, places: np.ndarray, region: Region) -> np.ndarray:
    """The distances of the pairs found, without the rounding of the products; NaN where there is none."""
    exact = np.full(len(places), np.nan)
    for row in np.flatnonzero(places >= 0):
        squares = (np.asarray(queries.images[row], np.float64) - training.images[places[row]]) ** 2
        if region == "lesion":
            union = (queries.labels[row] >= FIRST_LESION) | (training.labels[places[row]] >= FIRST_LESION)
            squares = squares[:, union]
        exact[row] = squares.mean()
    return exact
