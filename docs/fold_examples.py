"""Left-out patients beside what each synthesizer draws for their label maps, fold by fold: the picture of results.md.

Command: python docs/fold_examples.py data/experiments/cgsamr_brats2015 docs/img/brats2015.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lesionlab.data.slice_store import SliceStore
from lesionlab.data.slices import FIRST_LESION
from lesionlab.methods.applying import draw
from lesionlab.reporting import panels
from lesionlab.reporting.panels import LabelledSlice
from lesionlab.training.runs import TrainingRun

TITLES = {"samr": "SAMR", "cgsamr": "CG-SAMR"}


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    folds = sorted(given.data.glob("fold*"))
    slices = SliceStore(folds[0] / "04_feature/slices")
    shown = (row for fold in folds for row in rows(fold))
    given.picture.write_bytes(panels.labelled_montage(shown, slices.sequences, slices.classes, tile=160))


def rows(fold: Path) -> Iterator[LabelledSlice]:
    """The left-out patient's slice with most lesion, real and as each synthesizer of the fold draws it."""
    slices = SliceStore(fold / "04_feature/slices")
    places = slices.select("test")
    place = places[int(np.argmax([(slices.labels()[one] >= FIRST_LESION).sum() for one in places]))]
    real, study = slices.batch([place]), slices.table.loc[place, "study"]
    yield LabelledSlice(f"{study}, real", real.labels[0], real.images[0])
    for name, title in TITLES.items():
        (run,) = sorted((fold / "06_models/synthesizers" / name).glob("*/seed-0"))
        drawn = draw(TrainingRun(run).method(), real.labels, real.atlas).images.numpy()
        yield LabelledSlice(title, real.labels[0], drawn[0])


if __name__ == "__main__":
    main()
