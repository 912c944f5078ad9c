"""Kedro's settings of the project."""

import os

from lesionlab.config import ExperimentConfigLoader
from lesionlab.hooks import EndingHooks, QuarantineHooks, RequirementHooks, TrackingHooks
from lesionlab.run_lock import LockHooks

# Patient data is involved: nothing reports to anyone.
_SILENT = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "KEDRO_DISABLE_TELEMETRY": "true"}
for _name, _value in _SILENT.items():
    os.environ.setdefault(_name, _value)

HOOKS = (LockHooks(), RequirementHooks(), QuarantineHooks(), TrackingHooks(), EndingHooks())
CONFIG_LOADER_CLASS = ExperimentConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"]},
}
