from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.anatomy.partial_volume import mixed


def test_a_mixture_is_split_by_intensity():
    # 40 voxels of pure fluid (10), 40 grey (50), 40 white (90); one more at 40, of which Atropos makes 0.6 fluid.
    image = np.concatenate([np.full(40, 10.0), np.full(40, 50.0), np.full(40, 90.0), [40.0]])
    shares = [np.zeros(121) for _ in range(3)]
    for tissue, share in enumerate(shares):
        share[40 * tissue : 40 * tissue + 40] = np.linspace(0.9, 1.0, 40)
    shares[0][-1], shares[1][-1] = 0.6, 0.4
    result = mixed(shares, [image])
    # 40 lies a quarter of the way from grey to fluid: 0.25 fluid, 0.75 grey.
    assert result[0][-1] == pytest.approx(0.25, abs=1e-3)
    assert result[1][-1] == pytest.approx(0.75, abs=1e-3)
    np.testing.assert_allclose(sum(result), sum(shares), atol=1e-6)
