"""The registered pipelines."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from lesionlab.pipelines import augmentation, cohort, evaluation, pool_folds, preprocess, report, slices, training

_ROOMS = {
    "cohort": cohort,
    "preprocess": preprocess,
    "slices": slices,
    "training": training,
    "augmentation": augmentation,
    "evaluation": evaluation,
    "report": report,
    "pool_folds": pool_folds,
}


def register_pipelines() -> dict[str, Pipeline]:
    """Every room's pipeline by its name, the main job, and the default, which is the main job on the phantom."""
    # Kedro's own finder builds only the pipelines asked for by name, and these build on one another.
    rooms = {name: room.create_pipeline() for name, room in _ROOMS.items()}
    prepared = rooms["cohort"] + rooms["preprocess"] + rooms["slices"]
    main = prepared + sum((rooms[name] for name in ("training", "augmentation", "evaluation", "report")), Pipeline([]))
    return rooms | {"preprocess": prepared, "cgsamr_augment_eval": main, "__default__": main}
