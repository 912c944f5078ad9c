"""The registered pipelines."""

from __future__ import annotations

from kedro.pipeline import Pipeline, pipeline

from lesionlab.pipelines import augmentation, cohort, evaluation, pool_folds, preprocess, report, slices, training

#: A trial's name to the pipeline that runs it from the scans to the report; `trials` in the parameters says what each
#: compares.
TRIALS = {
    "cgsamr": "cgsamr_augment_eval",
    "samr": "samr_augment_eval",
    "ablation": "ablation_eval",
    "comparison": "comparison_eval",
}
DEFAULT = "cgsamr_augment_eval"

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
    trials = {name: prepared + trial_pipeline(trial) for trial, name in TRIALS.items()}
    pools = {f"{trial}_pool_folds": _named(pool_folds.create_pipeline(trial), trial) for trial in TRIALS}
    return {
        "cohort": cohort.create_pipeline(),
        "preprocess": prepared,
        "slices": slices.create_pipeline(),
        **trials,
        **pools,
        "__default__": trials[DEFAULT],
    }


def trial_pipeline(trial: str) -> Pipeline:
    """Slices -> the trial's report."""
    rooms = (training, augmentation, evaluation, report)
    made = sum((room.create_pipeline(trial=trial) for room in rooms), Pipeline([]))
    return _named(made, trial)


def _named(made: Pipeline, trial: str) -> Pipeline:
    """A pipeline whose nodes and data carry the trial's name; parameters are everybody's."""
    parameters = {name for name in made.inputs() if name.startswith("params:") or name == "parameters"}
    inputs = {name for name in made.inputs() if name in _SHARED}
    return pipeline(made, namespace=trial, inputs=inputs, parameters=parameters)
