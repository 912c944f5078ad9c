"""Sets of features whose distances, coverage and spread are known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from lesionlab.metrics.sample_quality import (
    UNET_BOTTLENECK,
    diversity,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    pooled_features,
    precision_recall,
    shrunk_covariance,
    standardised,
)
from lesionlab.networks.unet import UNet, UNetShape

samples = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def normal(seed, n, mean=(0.0, 0.0), spread=(1.0, 1.0)):
    return np.random.default_rng(seed).normal(mean, spread, (n, len(mean)))


def test_frechet_distance_of_two_gaussians_by_hand():
    # |m1 - m2|^2 = 9 + 16; for covariances that commute, the rest is the sum of (s1 - s2)^2 = 1 + 4.
    one, other = normal(0, 200_000), normal(1, 200_000, (3, 4), (2, 3))
    assert frechet_distance(one, other) == pytest.approx(25 + 5, rel=0.02)


def test_frechet_distance_agrees_with_the_matrix_root():
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(40, 5)), draw.normal(size=(30, 5)) @ draw.normal(size=(5, 5)) + 1
    c1, c2 = shrunk_covariance(one), shrunk_covariance(other)
    root = linalg.sqrtm(c1 @ c2).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(samples)
def test_frechet_distance_is_symmetric_and_zero_to_itself(draw):
    one, other = draw.normal(size=(6, 9)), draw.normal(size=(4, 9)) + 0.5  # fewer samples than features
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) > 0


def test_the_bias_of_few_samples_is_as_documented():
    def apart(n):
        return frechet_distance(normal(1, n, [0.0] * 16, [1.0] * 16), normal(2, n, [0.0] * 16, [1.0] * 16))

    assert apart(12) > apart(60) > apart(2000) > 0


def test_covariance_is_a_mixture_by_ledoit_and_wolf():
    features = np.random.default_rng(3).normal(size=(10, 4)) * [1, 2, 3, 4]
    centred = features - features.mean(0)
    sample = centred.T @ centred / 10
    level = np.trace(sample) / 4
    error = np.mean([((np.outer(x, x) - sample) ** 2).sum() for x in centred]) / 10
    share = min(1, error / ((sample - level * np.eye(4)) ** 2).sum())
    assert 0 < share < 1
    np.testing.assert_allclose(shrunk_covariance(features), (1 - share) * sample + share * level * np.eye(4))


@settings(max_examples=30, deadline=None)
@given(samples, st.integers(3, 6))
def test_covariance_of_few_samples_has_full_rank(draw, n):
    features = draw.normal(size=(n, 12))
    covariance = shrunk_covariance(features)
    assert np.linalg.eigvalsh(covariance).min() > 0
    # The trace, the total variance, is not touched.
    assert np.trace(covariance) == pytest.approx(features.var(axis=0).sum())


def test_kernel_distance_of_two_points_each_by_hand():
    one, other = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    # k(x, y) = (xy + 1)^3: within the first 27, within the second 1, between 1, 8, 1, 27.
    assert kernel_distance(one, other) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)


def test_kernel_distance_has_no_bias_and_sees_a_shift():
    distances = [kernel_distance(normal(2 * i, 12, [0.0] * 8, [1.0] * 8), normal(2 * i + 1, 9, [0.0] * 8, [1.0] * 8))
                 for i in range(400)]  # fmt: skip
    assert min(distances) < 0 < max(distances)
    assert abs(np.mean(distances)) < 3 * np.std(distances) / np.sqrt(400)
    shifted = kernel_distance(normal(0, 60, [0.0] * 8, [1.0] * 8), normal(1, 60, [1.0] * 8, [1.0] * 8))
    assert shifted > max(distances)


def test_precision_and_recall_by_hand():
    real = np.array([[0.0], [1.0], [10.0], [11.0]])  # nearest neighbours 1 away: covers -1 to 2 and 9 to 12
    synthetic = np.array(
        [[0.5], [1.5], [5.0], [30.0]]
    )  # reaches 1, 1, 3.5, 25: covers -0.5 to 2.5, 1.5 to 8.5, 5 to 55
    found = precision_recall(real, synthetic, neighbours=1)
    assert found.precision == 2 / 4  # 0.5 and 1.5
    assert found.recall == 4 / 4  # 0, 1 by the first two; 10, 11 by the outlier at 30
    # Without the outlier reaching far: the third at 5 reaches 3.5 again.
    assert precision_recall(real, synthetic[:3], neighbours=1).recall == 2 / 4


@settings(max_examples=30, deadline=None)
@given(samples)
def test_precision_and_recall_change_places_with_their_sets(draw):
    one, other = draw.normal(size=(12, 3)), draw.normal(size=(9, 3)) * 2
    there, back = precision_recall(one, other), precision_recall(other, one)
    assert there == (back.recall, back.precision)
    assert precision_recall(one, one) == (1, 1)


def test_a_collapsed_set_is_precise_and_covers_little():
    real = normal(0, 200)
    collapsed = normal(1, 200, spread=(0.05, 0.05))
    found = precision_recall(real, collapsed)
    assert found.precision == 1 and found.recall < 0.1
    assert diversity(real, collapsed, ["swap"] * 200)["ratio"].tolist() == pytest.approx([0.05, 0.05], rel=0.1)


def test_diversity_by_hand():
    real = np.array([[0.0], [2.0]])
    synthetic = np.array([[0.0], [1.0], [5.0]])  # distances 1, 5, 4
    table = diversity(real, synthetic, ["mirror", "mirror", "swap"]).set_index("kind")
    assert table["n"].to_dict() == {"all": 3, "mirror": 2, "swap": 1}
    assert table["ratio"]["all"] == pytest.approx(10 / 3 / 2)
    assert table["ratio"]["mirror"] == pytest.approx(1 / 2)
    assert np.isnan(table["ratio"]["swap"])
    assert np.isnan(mean_pairwise_distance(real[:1]))


def test_standardised_features_have_the_real_sets_units():
    real = np.array([[1.0, 5.0, 7.0], [3.0, 9.0, 7.0]])
    ours, theirs = standardised(real, np.array([[4.0, 7.0, 8.0]]))
    np.testing.assert_allclose(ours, [[-1, -1, 0], [1, 1, 0]])
    np.testing.assert_allclose(theirs, [[2, 0, 0]])  # what the real set does not vary tells nothing


@pytest.mark.parametrize(
    ("one", "other"), [((3, 2), (3, 4)), ((1, 2), (3, 2)), ((3,), (3, 2))], ids=["features", "samples", "axes"]
)
def test_sets_that_do_not_fit_are_refused(one, other):
    for measure in (frechet_distance, kernel_distance, precision_recall):
        with pytest.raises(ValueError, match="features must be"):
            measure(np.zeros(one), np.zeros(other))


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet(2, 4, UNetShape(width=4, depth=2, dropout=0.5)).train()


def test_features_are_the_mean_of_the_lowest_level(unet):
    images = torch.randn(5, 2, 16, 12)
    found = pooled_features(unet, UNET_BOTTLENECK, images, batch_size=2)
    assert found.shape == (5, 16) and found.dtype == np.float32
    assert unet.training and not unet.dropout._forward_hooks  # as it was before
    unet.eval()
    with torch.no_grad():
        x = unet.enter(images)
        for down in unet.downs:
            x = down(torch.nn.functional.max_pool2d(x, 2))
    np.testing.assert_allclose(found, x.mean((2, 3)).numpy(), atol=1e-5)


def test_features_of_a_region_are_its_mean_alone(unet):
    images, where = torch.randn(2, 2, 16, 16), torch.zeros(2, 16, 16)
    where[:, 4:8, 8:12] = 1  # at a quarter of the size one pixel: row 1, column 2
    found = pooled_features(unet, UNET_BOTTLENECK, images, where=where)
    seen = []
    unet.dropout.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        unet.eval()(images)
    np.testing.assert_allclose(found, seen[0][:, :, 1, 2].numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="weights of a slice are all 0"):
        pooled_features(unet, UNET_BOTTLENECK, images, where=torch.zeros(2, 16, 16))


def test_a_layer_that_gives_no_maps_is_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    with pytest.raises(ValueError, match="must give maps"):
        pooled_features(network, "1", torch.zeros(2, 2, 2, 2))
