"""Quality measures of finished stages: pure functions of volumes, none of which the stages themselves optimise."""

from __future__ import annotations

from lesionlab.imaging.quality.profiles import profile_distances
from lesionlab.imaging.quality.study import Stages, measure_study, study_profiles

__all__ = ["Stages", "measure_study", "profile_distances", "study_profiles"]
