"""The picture of manipulation.md, made from a trial's slices and one of its synthesizers.

Command: python docs/manipulation_examples.py data/experiments/phantom_trial cgsamr/16-subjects/seed-0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lesionlab.augmentation.manipulation import Donor, ManipulationOptions, manipulate
from lesionlab.figures import panels
from lesionlab.figures.panels import LabelledSlice
from lesionlab.methods.applying import draw
from lesionlab.slices.cutting import FIRST_LESION
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun

PICTURE = Path(__file__).parent / "img/manipulations.png"
TARGETS = 2  # training slices shown: those with all classes and most lesion, of different subjects
KINDS = ("mirror", "enlarge", "shrink", "swap", "mixture")


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("synthesizer")
    given = parser.parse_args()
    slices = SliceStore(given.data / "04_feature/slices")
    run = TrainingRun(given.data / "06_models/synthesizers" / given.synthesizer)
    rows = [row for place in shown_targets(slices, run.subjects()) for row in rows_of(place, slices, run)]
    PICTURE.write_bytes(panels.labelled_montage(rows, slices.sequences, slices.classes))


def shown_targets(slices: SliceStore, subjects: list[str]) -> list[int]:
    """Places of the slices to be manipulated."""
    table = slices.table.iloc[slices.select("train", subject=subjects)]
    pixels = table[[f"pixels_{name}" for name in slices.classes]]
    whole = table.assign(size=pixels.sum(axis=1))[pixels.gt(0).all(axis=1)]
    largest = whole.sort_values("size", ascending=False).drop_duplicates("subject")
    return [int(place) for place in largest["index"].head(TARGETS)]


def rows_of(place: int, slices: SliceStore, run: TrainingRun) -> list[LabelledSlice]:
    """A real slice, its own label map drawn, and one of each kind."""
    real = slices.batch([place])
    others = [one for one in run.subjects() if one != slices.table.loc[place, "subject"]]
    donors = [donor_of(slices, other) for other in slices.select("train", "pathological", others)]
    new = dict(manipulated(real.labels[0], donors, slices.classes, kind) for kind in KINDS)
    maps = {"own map, synthetic": real.labels[0], **new}
    priors = np.repeat(real.atlas, len(maps), axis=0)
    drawn = draw(run.method(), np.stack(list(maps.values())), priors).images.numpy()
    own = LabelledSlice(f"{slices.table.loc[place, 'study']}, real", real.labels[0], real.images[0])
    return [own, *map(LabelledSlice, maps, maps.values(), drawn)]


def donor_of(slices: SliceStore, place: int) -> Donor:
    """The slice at a place, as one that gives its lesion."""
    row = slices.table.iloc[place]
    return Donor(slices.labels()[place], row["subject"], row["study"], int(row["plane"]))


def manipulated(labels: np.ndarray, donors: list[Donor], classes: list[str], kind: str) -> tuple[str, np.ndarray]:
    """What was done to a label map's lesion, and the new map."""
    options = ManipulationOptions.model_validate({"kinds": {kind: 1.0}})
    made, record = manipulate(labels, donors, np.random.default_rng(0), classes, options)
    assert record["kind"] == kind and (made >= FIRST_LESION).any(), record
    donor = record["donor"]
    return (f"{kind}, of {donor['study']}" if donor else kind), made


if __name__ == "__main__":
    main()
