"""The registered pipelines."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import yaml
from kedro.pipeline import Pipeline, pipeline

from lesionlab.methods.base import Synthesizer
from lesionlab.methods.registry import with_capability
from lesionlab.pipelines import augmentation, cohort, evaluation, pool_folds, preprocess, report, slices, training

DEFAULT = "cgsamr_augment_eval"
_CONF = Path("conf") if Path("conf").is_dir() else Path(__file__).parents[2] / "conf"

#: What the rooms of a trial take from outside: everything else carries the trial's name.
_SHARED = {
    "cohort",
    "folders",
    "landmarks",
    "qc_summary",
    "quarantine",
    "slices",
    "split_record",
    "studies",
    "template",
    "truth",
}


def register_pipelines() -> dict[str, Pipeline]:
    """Preparation, the trials, and the default, which is the CG-SAMR trial on the phantom."""
    # Kedro's own finder builds only the pipelines asked for by name, and these build on one another.
    prepared = cohort.create_pipeline() + preprocess.create_pipeline() + slices.create_pipeline()
    trials = {name: prepared + trial_pipeline(trial) for trial, name in trial_pipelines().items()}
    pools = {f"{trial}_pool_folds": _named(pool_folds.create_pipeline(trial), trial) for trial in trial_pipelines()}
    return {
        "cohort": cohort.create_pipeline(),
        "preprocess": prepared,
        "slices": slices.create_pipeline(),
        **trials,
        **pools,
        "__default__": trials[DEFAULT],
    }


@cache
def trial_pipelines() -> dict[str, str]:
    """A trial's name to the pipeline that runs it from the scans to the report.

    Each synthesizer has a trial of its own name, ``<name>_augment_eval``; those that any experiment under conf/ names
    under ``trials`` are ``<name>_eval``. What each compares is in the parameters.
    """
    own = {name: f"{name}_augment_eval" for name in with_capability(Synthesizer)}
    named = (name for path in sorted(_CONF.glob("*/**/*.yml")) for name in _trials_in(path))
    return own | {name: f"{name}_eval" for name in named if name not in own}


def _trials_in(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if (
        not path.parts[-1].startswith("parameters") and "parameters" not in path.parts
    ) or "\ntrials:" not in f"\n{text}":
        return []
    return list(yaml.safe_load(text)["trials"] or {})


def trial_pipeline(trial: str) -> Pipeline:
    """Slices -> the trial's report."""
    rooms = (training, augmentation, evaluation, report)
    made = sum((room.create_pipeline(trial=trial) for room in rooms), Pipeline([]))
    return _named(made, trial)


def main(trial: str) -> int:
    """Print the name of a trial's pipeline, for the Makefile; the exit status."""
    if trial in trial_pipelines():
        print(trial_pipelines()[trial])
        return 0
    print(f"there is no trial {trial}; TRIAL is {', '.join(trial_pipelines())}", file=sys.stderr)
    return 1


def _named(made: Pipeline, trial: str) -> Pipeline:
    """A pipeline whose nodes and data carry the trial's name; parameters are everybody's."""
    parameters = {name for name in made.inputs() if name.startswith("params:") or name == "parameters"}
    inputs = {name for name in made.inputs() if name in _SHARED}
    return pipeline(made, namespace=trial, inputs=inputs, parameters=parameters)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
