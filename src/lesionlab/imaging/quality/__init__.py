"""Quality measures of finished stages: pure functions of volumes, none of which the stages themselves optimise."""

from __future__ import annotations

from lesionlab.imaging.quality.intensity import landmark_distances
from lesionlab.imaging.quality.study import Stages, measure_study, scale_percentiles

__all__ = ["Stages", "landmark_distances", "measure_study", "scale_percentiles"]
