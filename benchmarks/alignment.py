"""How well a finished co-registration is aligned, told by tissue boundaries and not by the method's own metric.

The reference scan's brain is parted into three classes by k-means; the offset of each other sequence is the shift at
which its edges lie on the classes' boundaries (lesionlab.imaging.boundaries). The reference itself is measured too: its
offset is what the measure itself is off by. Fluid, grey and white matter have to differ in a sequence; on APTw they do
not, and its offsets mean nothing.

Command: python benchmarks/alignment.py data/03_primary/coregister data/03_primary/brain --reference T1w
Result:  a line per study and sequence, and benchmarks/alignment.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

from boundaries import boundary_offsets, tissue_classes

from lesionlab.stages.subject_store import SubjectStore

MASKS = ("brain", "lesion")
AXES = "xyz"


def main() -> None:
    """Measure every study, print, and write the JSON file."""
    options = arguments()
    rows = []
    for row in measured(SubjectStore(options.coregister), SubjectStore(options.brain), options.reference):
        rows.append(row)
        told = (row[f"{axis}_mm"] for axis in AXES)
        offsets = "  ".join("no peak" if offset is None else f"{offset:+.2f}" for offset in told)
        print(f"{row['study']:<24} {row['sequence']:<8} x, y, z {offsets} mm", flush=True)
    options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measured(coregister: SubjectStore, brain: SubjectStore, reference: str) -> Iterator[dict[str, str | float | None]]:
    """Study, sequence and offset along each voxel axis of the reference scan, mm; null where there is no peak."""
    for study in coregister.studies():
        classes = tissue_classes(coregister.volume(study, reference), brain.volume(study, "brain"))
        for sequence in coregister.names(study):
            if sequence not in MASKS:
                offsets = boundary_offsets(classes, coregister.volume(study, sequence))
                told = (None if math.isnan(offset) else round(offset, 3) for offset in offsets)
                named = {f"{axis}_mm": offset for axis, offset in zip(AXES, told, strict=True)}
                yield {"study": study, "sequence": sequence, **named}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("coregister", type=Path, help="the store of the stage, such as data/03_primary/coregister")
    parser.add_argument("brain", type=Path, help="the store with the brain masks, such as data/03_primary/brain")
    parser.add_argument("--reference", default="T1w", help="the reference sequence")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
