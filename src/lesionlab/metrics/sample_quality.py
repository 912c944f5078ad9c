"""How a set of synthetic slices lies among the real ones: Frechet and kernel distance, precision, recall, diversity.

All of them compare features, ``(N, F)`` arrays. Ours are pooled from the lowest level of a U-Net that this project has
trained on real slices alone (:func:`pooled_features`). There is no ImageNet and no download, and hence no comparison
with published FIDs: figures compare only under one and the same U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionlab.metrics.distances import squared_distances

UNET_BOTTLENECK = "dropout"  # of networks.unet.UNet: what its lowest level gives passes through this layer
NEIGHBOURS = 3  # k of Kynkaanniemi et al. 2019
KERNEL_DEGREE = 3  # of Binkowski et al. 2018


def pooled_features(
    network: nn.Module, layer: str, images: Any, *, where: Tensor | None = None, batch_size: int = 32
) -> np.ndarray:
    """What a layer of a network says of images, averaged over the picture.

    For a trained ``UNetSegmenter``: ``pooled_features(segmenter.U, UNET_BOTTLENECK, images)``.

    Args:
        network: any module that takes the images; it runs in evaluation mode, on its own device, without gradients.
        layer: name of a submodule that gives ``(N, F, h, w)``, called once per pass.
        images: ``(N, C, H, W)`` in [-1, 1]: a tensor, an array, or rows on disk, of which some are read at a time.
        where: ``(N, H, W)`` weights >= 0 of the average, for example the lesion; default: the whole picture.
        batch_size: images per pass.

    Returns:
        ``(N, F)`` float32.

    Raises:
        ValueError: the layer gave no maps, or a slice's weights are all 0.
    """
    seen: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.append(output))
    training, device = network.training, next(network.parameters()).device
    network.eval()
    parts = []
    try:
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                seen.clear()
                network(torch.as_tensor(images[start : start + batch_size]).to(device))
                weights = None if where is None else where[start : start + batch_size].to(device)
                parts.append(_pool(_only(seen, layer), weights).cpu())
    finally:
        hook.remove()
        network.train(training)
    return torch.cat(parts).numpy()


def _only(seen: list[Tensor], layer: str) -> Tensor:
    if len(seen) != 1 or seen[0].ndim != 4:
        raise ValueError(f"layer {layer!r} must give maps (N, F, h, w) once per pass, gave {[s.shape for s in seen]}")
    return seen[0].float()


def _pool(maps: Tensor, where: Tensor | None) -> Tensor:
    """Mean of ``(N, F, h, w)`` over the picture, or weighted by ``(N, H, W)`` shrunk to its size."""
    if where is None:
        return maps.mean(dim=(2, 3))
    weights = functional.adaptive_avg_pool2d(where.float().unsqueeze(1), (maps.shape[2], maps.shape[3]))
    total = weights.sum(dim=(2, 3))
    if bool((total <= 0).any()):
        raise ValueError("features cannot be pooled where the weights of a slice are all 0; leave such slices out")
    return (maps * weights).sum(dim=(2, 3)) / total


def standardised(real: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Features in units of the real set: its mean 0, its standard deviation 1; those it does not vary become 0.

    Channels of a U-Net differ in scale by chance of training, and the loudest would make the distance alone.

    Returns:
        The real set, then the others, ``(N, F)`` float64 each.
    """
    real = np.asarray(real, np.float64)
    mean, spread = real.mean(axis=0), real.std(axis=0)
    varies = spread > np.finfo(np.float32).eps * np.maximum(np.abs(mean), 1)
    scale = np.where(varies, 1 / np.where(varies, spread, 1), 0.0)
    return tuple((np.asarray(features, np.float64) - mean) * scale for features in (real, *others))


def shrunk_covariance(features: np.ndarray) -> np.ndarray:
    """Covariance ``(F, F)`` of features ``(N, F)``, drawn towards a multiple of the identity (Ledoit and Wolf 2004).

    The best mixture in the mean of squares; it has full rank where N < F (from three samples on: two tell nothing of
    the error), and is the sample covariance where N is large.

    Raises:
        ValueError: fewer than two rows.
    """
    features = np.asarray(features, np.float64)
    n, size = features.shape
    if n < 2:
        raise ValueError(f"a covariance needs at least two samples, got {n}")
    centred = features - features.mean(axis=0)
    sample = centred.T @ centred / n
    level = np.trace(sample) / size
    distance = float((sample**2).sum() - size * level**2)
    if distance <= 0:
        return sample
    # Mean squared error of the sample covariance: the mean of |x x' - S|^2 over samples, over n.
    error = float((((centred**2).sum(axis=1)) ** 2).mean() - (sample**2).sum()) / n
    share = min(1.0, max(0.0, error / distance))
    return (1 - share) * sample + share * level * np.eye(size)


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (Heusel et al. 2017).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)``, with covariances by :func:`shrunk_covariance`. It is biased: two
    samples of one distribution lie apart, the more the smaller they are. So compare only distances between sets of the
    same sizes, and set beside them the distance between real slices of different subjects (training against test).

    Args:
        real: ``(n, F)``.
        synthetic: ``(m, F)``.

    Returns:
        >= 0, in the square of the features' unit.

    Raises:
        ValueError: the numbers of features differ, or a set has fewer than two samples.
    """
    _check_features(real, synthetic)
    one, other = shrunk_covariance(real), shrunk_covariance(synthetic)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ other @ root)
    means = float(((np.mean(real, axis=0) - np.mean(synthetic, axis=0)) ** 2).sum())
    return max(0.0, means + float(np.trace(one) + np.trace(other)) - 2 * float(np.sqrt(np.maximum(between, 0)).sum()))


def kernel_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under ``(x y / F + 1)^3``, the KID of Binkowski et al. 2018.

    Its expectation is 0 for samples of one distribution, whatever their sizes, so it suits few slices better than
    :func:`frechet_distance`; it can be negative.

    Raises:
        ValueError: the numbers of features differ, or a set has fewer than two samples.
    """
    _check_features(real, synthetic)
    one, other = np.asarray(real, np.float64), np.asarray(synthetic, np.float64)
    return (
        _mean_off_diagonal(_kernel(one, one))
        + _mean_off_diagonal(_kernel(other, other))
        - 2 * float(_kernel(one, other).mean())
    )


def _kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one @ other.T / one.shape[1] + 1) ** KERNEL_DEGREE


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1)))


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of synthetic samples that look real, of real samples that the synthetic set covers."""

    precision: float
    recall: float


def precision_recall(real: np.ndarray, synthetic: np.ndarray, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019).

    A set covers what lies in the ball around one of its samples that reaches that sample's k-th nearest neighbour.
    Both depend on the sizes of the sets: compare those of equal ones.

    Args:
        real: ``(n, F)``, n > k.
        synthetic: ``(m, F)``, m > k.
        neighbours: k.

    Raises:
        ValueError: the numbers of features differ, or a set has no more than k samples.
    """
    _check_features(real, synthetic, least=neighbours + 1)
    between = squared_distances(real, synthetic)
    covered = between <= _reach(real, neighbours)[:, None]  # by the real set
    covering = between <= _reach(synthetic, neighbours)[None]
    return PrecisionRecall(float(covered.any(axis=0).mean()), float(covering.any(axis=1).mean()))


def _reach(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance of each sample ``(n,)`` to its k-th nearest neighbour."""
    distances = squared_distances(features, features)
    np.fill_diagonal(distances, np.inf)
    return np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance between two different samples of a set ``(N, F)``; NaN for fewer than two."""
    if len(features) < 2:
        return float("nan")
    distances = np.sqrt(squared_distances(features, features))
    np.fill_diagonal(distances, 0.0)
    return float(distances.sum() / (len(features) * (len(features) - 1)))


def diversity(real: np.ndarray, synthetic: np.ndarray, kinds: Sequence[str]) -> pd.DataFrame:
    """Spread of the synthetic set over that of the real one, in all and for each kind of manipulation.

    Args:
        real: ``(n, F)``.
        synthetic: ``(m, F)``.
        kinds: of each synthetic sample, for example the column `manipulation` of a slice store.

    Returns:
        Columns kind (``all`` first, then as they appear), n, distance (mean pairwise distance within the kind), ratio
        (over the real set's; 1: as diverse as the real slices), NaN for kinds of one sample.
    """
    _check_features(real, synthetic)
    named = np.asarray(kinds)
    groups = {"all": np.ones(len(synthetic), bool)} | {kind: named == kind for kind in dict.fromkeys(kinds)}
    scale = mean_pairwise_distance(real)
    rows = []
    for kind, members in groups.items():
        distance = mean_pairwise_distance(synthetic[members])
        ratio = distance / scale if scale > 0 else float("nan")
        rows.append({"kind": kind, "n": int(members.sum()), "distance": distance, "ratio": ratio})
    return pd.DataFrame(rows)


def _check_features(real: np.ndarray, synthetic: np.ndarray, least: int = 2) -> None:
    shapes = np.shape(real), np.shape(synthetic)
    if any(len(shape) != 2 or shape[0] < least for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"features must be (n, F) and (m, F) of at least {least} samples, got {shapes}")
