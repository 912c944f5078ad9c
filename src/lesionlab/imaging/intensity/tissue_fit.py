"""Bias fields from tissue classes: all sequences at once (Van Leemput et al. 1999, doi:10.1109/42.811268).

A voxel's logarithms over all sequences come from one of a few classes, each a Gaussian, plus one smooth field per
sequence. Classes and fields are estimated in turn. Two things go beyond the paper. A field's residual is taken against
what the voxel's other sequences let expect within its class, so that a cortex half full of fluid, dark in T1w and
bright in T2w, is not taken for field. And voxels that fit no class well, more so where their neighbours do not either,
count little (compare Van Leemput et al. 2001, doi:10.1109/42.938237): lesions need no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy import ndimage, stats
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lesionlab.imaging.intensity.smooth_field import SmoothField
from lesionlab.imaging.volume import Volume

_LLOYD_ROUNDS = 20
_START_ROUNDS = 6  # of the first sequence alone
_SHARPNESS = 2  # exponent with which an untypical voxel loses weight
_NEIGHBOURS_MM = 8.0  # a Gaussian's width: lesions are larger, noise is not
_NEIGHBOURS_POWER = 4
_LEAST_SPREAD = 0.03  # of a class, log units
_SIZEABLE = 0.1  # of the voxels; a smaller class is no tissue's core
_TINY = 1e-12


class TissueFitOptions(BaseModel):
    """How bias fields are fitted to tissue classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: tuple[str, ...] = Field(
        ("T1w", "T1W", "T1", "FLAIR"),
        description="the first of these starts the classes; none there: the study's first sequence",
    )
    grid_mm: float = Field(8.0, gt=0, description="distance of the voxels looked at; thick axes are kept")
    wavelength_mm: float = Field(
        110.0, gt=0, description="shorter waves are no bias field; of one twice as long 16/17 is kept"
    )
    classes: PositiveInt = Field(
        5, ge=2, description="of the mixture: fluid, grey and white matter, and what lies between"
    )
    rounds: PositiveInt = Field(15, description="of classes and fields in turn")
    typical: float = Field(0.7, gt=0, lt=1, description="share of a class's voxels that count in full")


@dataclass(frozen=True)
class TissueFit:
    """Fields and the classes they were fitted with.

    Attributes:
        log_fields: ``(X, Y, Z)`` float32 per sequence, natural logarithm.
        uniform: ``(X, Y, Z)`` bool, voxels looked at of the class that varies least, lesions left out.
    """

    log_fields: dict[str, np.ndarray]
    uniform: np.ndarray


def fit_tissues(volumes: Mapping[str, Volume], usable: np.ndarray, options: TissueFitOptions) -> TissueFit:
    """Fit one smooth field per sequence.

    Args:
        volumes: sequences on one grid.
        usable: ``(X, Y, Z)`` bool, not empty: brain where every sequence is positive.
        options: see :class:`TissueFitOptions`.
    """
    start = next((name for name in options.start if name in volumes), next(iter(volumes)))
    some = volumes[start]
    thin = tuple(slice(None, None, max(1, round(options.grid_mm / size))) for size in some.spacing)
    looked_at = np.zeros_like(usable)
    looked_at[thin] = usable[thin]
    if not looked_at.any():
        looked_at = usable
    names = [start, *(name for name in volumes if name != start)]
    values = np.stack([np.log(volumes[name].data[looked_at]) for name in names], axis=1).astype(np.float64)
    with threadpool_limits(1):  # sums over several threads differ in the last digit
        fit = _Fit(values, SmoothField(usable, some.spacing, options.wavelength_mm), looked_at, some.spacing, options)
        coefficients, uniform = fit.run()
        fields = {name: fit.smooth.on_grid(own) for name, own in zip(names, coefficients, strict=True)}
    marked = np.zeros_like(usable)
    marked[looked_at] = uniform
    return TissueFit({name: fields[name] for name in volumes}, marked)


class _Fit:
    """The estimation. ``values`` is ``(N, S)``: logarithms of N voxels in S sequences."""

    def __init__(
        self,
        values: np.ndarray,
        smooth: SmoothField,
        looked_at: np.ndarray,
        spacing: tuple[float, float, float],
        options: TissueFitOptions,
    ) -> None:
        self.values = values - np.median(values, axis=0)
        self.smooth = smooth
        self.options = options
        self.design = smooth.design(np.argwhere(looked_at))
        self.neighbours = _Neighbours(looked_at, spacing)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients ``(S, P)`` and which voxels are typical of the most uniform class ``(N,)``."""
        sequences = self.values.shape[1]
        coefficients = np.zeros((sequences, self.design.shape[1]))
        classes = _lloyd(self.values[:, 0], self.options.classes)
        weights = self._alternate(coefficients[:1], classes, _START_ROUNDS)
        weights = self._alternate(coefficients, weights, self.options.rounds)
        mixture = _Mixture.of(self.values - self._fields(coefficients), weights)
        spread = np.linalg.slogdet(mixture.covariances)[1]
        spread[mixture.sizes < min(_SIZEABLE, mixture.sizes.max())] = np.inf
        most_uniform = weights[:, int(spread.argmin())]
        return coefficients, most_uniform > most_uniform.max() / 2

    def _alternate(self, coefficients: np.ndarray, weights: np.ndarray, rounds: int) -> np.ndarray:
        """Classes and fields in turn, of the first sequences; changes ``coefficients`` and returns the weights."""
        values = self.values[:, : len(coefficients)]
        for _ in range(rounds):
            mixture = _Mixture.of(values - self._fields(coefficients), weights)
            weights = self._weights(mixture, values - self._fields(coefficients))
            mixture = _Mixture.of(values - self._fields(coefficients), weights)
            for sequence in range(len(coefficients)):
                fields = self._fields(coefficients)
                target, weight = mixture.expected(values - fields, weights, sequence)
                coefficients[sequence] = self.smooth.fit(self.design, target + fields[:, sequence], weight)
        return weights

    def _fields(self, coefficients: np.ndarray) -> np.ndarray:
        fields = self.design @ coefficients.T
        return fields - fields.mean(axis=0)

    def _weights(self, mixture: _Mixture, centred: np.ndarray) -> np.ndarray:
        """How much each voxel counts for each class ``(N, K)``."""
        shares, distance = mixture.shares_and_distances(centred)
        limit = stats.chi2.ppf(self.options.typical, centred.shape[1])
        typical = np.minimum(1, limit / np.maximum(distance, _TINY)) ** _SHARPNESS
        around = self.neighbours.mean((shares * typical).sum(axis=1))
        trust = np.minimum(1, around / np.median(around)) ** _NEIGHBOURS_POWER
        return shares * typical * trust[:, None]


@dataclass(frozen=True)
class _Mixture:
    """K Gaussians over S sequences: ``means (K, S)``, ``covariances (K, S, S)``, ``sizes (K,)``."""

    means: np.ndarray
    covariances: np.ndarray
    sizes: np.ndarray

    @staticmethod
    def of(values: np.ndarray, weights: np.ndarray) -> _Mixture:
        total = weights.sum(axis=0) + _TINY
        means = (weights.T @ values) / total[:, None]
        covariances = []
        for k, mean in enumerate(means):
            apart = values - mean
            covariances.append((apart * weights[:, k, None]).T @ apart / total[k])
        least = _LEAST_SPREAD**2 * np.eye(values.shape[1])
        return _Mixture(means, np.stack(covariances) + least, total / total.sum())

    def shares_and_distances(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each class's share of a voxel, summing to 1, and the squared Mahalanobis distances: both ``(N, K)``."""
        inverse = np.linalg.inv(self.covariances)
        apart = values[:, None] - self.means
        distance = np.stack([((apart[:, k] @ inverse[k]) * apart[:, k]).sum(axis=1) for k in range(len(inverse))], 1)
        score = np.log(self.sizes) - (distance + np.linalg.slogdet(self.covariances)[1]) / 2
        shares = np.exp(score - score.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True), distance

    def expected(self, values: np.ndarray, weights: np.ndarray, sequence: int) -> tuple[np.ndarray, np.ndarray]:
        """What one sequence shows beyond what class and other sequences let expect ``(N,)``, and its precision."""
        inverse = np.linalg.inv(self.covariances)[:, sequence]
        precision = inverse[:, sequence]
        beyond = (values @ inverse.T - (self.means * inverse).sum(axis=1)) / precision
        weighted = weights * precision
        total = weighted.sum(axis=1)
        return (weighted * beyond).sum(axis=1) / np.maximum(total, _TINY), total


class _Neighbours:
    """Means over a voxel's surroundings, of voxels thinned out from a grid."""

    def __init__(self, looked_at: np.ndarray, spacing: tuple[float, float, float]) -> None:
        places = np.argwhere(looked_at)
        axes = [np.unique(places[:, k], return_inverse=True) for k in range(3)]
        self._index = tuple(inverse for _, inverse in axes)
        self._shape = tuple(len(levels) for levels, _ in axes)
        steps = [float(np.diff(levels).min()) if len(levels) > 1 else 1.0 for levels, _ in axes]
        self._sigma = [_NEIGHBOURS_MM / (step * size) for step, size in zip(steps, spacing, strict=True)]
        self._count = self._smooth(np.ones(len(places)))

    def mean(self, values: np.ndarray) -> np.ndarray:
        return self._smooth(values) / self._count

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        grid = np.zeros(self._shape)
        grid[self._index] = values
        return ndimage.gaussian_filter(grid, self._sigma, mode="constant")[self._index]


def _lloyd(values: np.ndarray, count: int) -> np.ndarray:
    """Classes of values as indicators ``(N, count)``, darkest first (Lloyd's algorithm)."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(_LLOYD_ROUNDS):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        centres = np.array([values[nearest == k].mean() if (nearest == k).any() else centres[k] for k in range(count)])
    return np.eye(count)[nearest]
