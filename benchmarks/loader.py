"""What part of a training's time its loader takes: slices in memory, and slices that come from the disk each time.

Trains through the project's own loop, for the shares that its curve ``speed/loader_share`` shows. For `disk` the slices
lie in a store and ``memory: map`` reads them; between epochs the system is told to forget the store's pages, so that
each slice is read from the disk as in a cohort larger than memory. Segmenters read no atlas, as in the pipelines.

Command: python benchmarks/loader.py                      (all cases; --cases unet-demo for some)
Result:  benchmarks/loader.json, one entry per case, kind of memory, device and number of threads.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from entries import record
from training import CASES, MIB, TASK, machine, method_options, random_slices

from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices, SliceSource
from lesionlab.slices.mapped import Selection, open_slices
from lesionlab.stages.artifact import writing
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions

EPOCHS = {"cgsamr-demo": 4, "unet-demo": 12, "unet-240": 4, "cgsamr-240": 2}  # of KEPT slices; the first warms up
KEPT = {"cgsamr-demo": 64, "unet-demo": 256, "unet-240": 32, "cgsamr-240": 8}
KINDS = ("memory", "disk")
BLOCK = 512  # bytes, as the system counts what it reads from disks


def main() -> None:
    """Measure each case with slices in memory and on disk."""
    options = arguments()
    torch.set_num_threads(options.threads)
    for case in options.cases:
        for kind in KINDS:
            record(__file__, measure(case, kind, options), ("case", "slices", "device", "threads"))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def measure(case: str, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a case and keep what its curves say of each epoch but the first."""
    settings, count = CASES[case], KEPT[case]
    method = make_method(settings["method"], method_options(settings), TASK).to(options.device)
    with TemporaryDirectory(dir=Path(__file__).parent) as folder:  # here, for /tmp may lie in memory
        store = Path(folder) / "store"
        fields = method.streams["slices"].fields
        size = write_store(store, settings, count, fields)
        slices = opened(store, kind, fields)
        epochs = Epochs(store if kind == "disk" else None)
        steps = count // settings["batch"]
        training = TrainingOptions(
            constant=EPOCHS[case],
            decay=0,
            batch_size=settings["batch"],
            precision="bf16",
            device=options.device,
            threads=options.threads,
            memory="map" if kind == "disk" else "load",
            log_every=steps,
            image_moments=(),
            checkpoint_every=EPOCHS[case] * steps + 1,
        )
        epochs.forget()
        fit(method, slices, training, Path(folder) / "run", tracker=epochs, resume=False)
    return entry(case, kind, options, epochs, size / MIB)


def write_store(store: Path, settings: dict[str, Any], count: int, fields: Sequence[str]) -> int:
    """Random slices on disk, as the stage slices leaves them but for the table; how many bytes these fields take."""
    tensors = random_slices(settings["size"], count).tensors
    with writing(store, "random") as folder:
        for name, tensor in tensors.items():
            np.save(folder / f"{name}.npy", tensor.numpy())
    return sum((store / f"{name}.npy").stat().st_size for name in fields)


def opened(store: Path, kind: str, fields: tuple[str, ...]) -> SliceSource:
    """The fields of the store's slices that a method reads, in memory or on disk."""
    slices = open_slices([Selection(store=store, fields=fields)], "map" if kind == "disk" else "load")
    assert isinstance(slices, Slices) == (kind == "memory")
    return slices


class Epochs:
    """A tracker that keeps the loop's rates epoch by epoch, and after each makes the system forget the store."""

    def __init__(self, store: Path | None) -> None:
        self.store = store
        self.rates: list[dict[str, float]] = []
        self.blocks: list[int] = []  # read from the disk so far

    def metrics(self, values: dict[str, float], step: int) -> None:
        """The rates of the epoch just ended."""
        if "speed/loader_share" in values:
            self.rates.append(values)
            self.blocks.append(resource.getrusage(resource.RUSAGE_SELF).ru_inblock)
            self.forget()

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """Nothing to keep."""

    def forget(self) -> None:
        """No page of the store stays in the system's cache."""
        for path in self.store.glob("*.npy") if self.store else ():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def mib_read(self) -> float:
        """From the disk, in an epoch."""
        return statistics.median(np.diff(self.blocks)) * BLOCK / MIB

    def median(self, name: str) -> float:
        """A rate, over all epochs but the first, which warms up."""
        return statistics.median(values[f"speed/{name}"] for values in self.rates[1:])


def entry(case: str, kind: str, options: argparse.Namespace, epochs: Epochs, mib: float) -> dict[str, Any]:
    """What the JSON file says of a case."""
    return {
        "case": case,
        "slices": kind,
        "device": machine(options),
        "threads": options.threads,
        "load_average": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "batch": CASES[case]["batch"],
        "epochs": len(epochs.rates) - 1,
        "mib_of_slices": round(mib, 1),
        "mib_read_from_disk_an_epoch": round(epochs.mib_read(), 1),
        "steps_per_second": round(epochs.median("steps_per_second"), 3),
        "loader_share": round(epochs.median("loader_share"), 4),
    }


if __name__ == "__main__":
    main()
