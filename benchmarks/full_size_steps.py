"""A few real training steps of CG-SAMR or SAMR at its published size: seconds per step and peak memory.

The options and the slices' size are those of conf/cgsamr_jhu or conf/samr_jhu. The cohort is not public, so the slices
are smooth random images with a lesion in them: speed and memory do not depend on what they show.

Command: python benchmarks/full_size_steps.py --batch 1 --steps 3
Result:  benchmarks/full_size_steps.json, one entry per method, device, precision and batch.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from entries import record
from scipy import ndimage

from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions

PROJECT = Path(__file__).parents[1]
SEQUENCES = ("APTw", "T1w", "FLAIR", "T2w", "T1ce")
CLASSES = ("edema", "cavity", "tumor")
KIB_PER_GIB = 2**20


def main() -> None:
    """Measure and add the entry to the JSON file."""
    options = arguments()
    parameters = yaml.safe_load((PROJECT / f"conf/{options.method}_jhu/parameters.yml").read_text(encoding="utf-8"))
    side = parameters["grid"]["size"][0]
    slices = smooth_slices(options.batch, side)
    settings = {name: value for name, value in parameters[options.method].items() if name != "training"}
    method = make_method(options.method, settings, Task(sequences=SEQUENCES, lesion_classes=CLASSES))
    times: list[float] = []
    training = TrainingOptions(
        unit="steps",
        constant=options.steps,
        decay=0,
        batch_size=options.batch,
        precision=options.precision,
        log_every=1,
        image_moments=(),
        checkpoint_every=options.steps + 1,
    )
    with TemporaryDirectory() as folder:  # the checkpoint of so many parameters takes 8 GB
        fit(method, slices, training, folder, tracker=Stopwatch(times), resume=False)
    weights = sum(p.numel() for p in method.parameters())
    record(__file__, entry(options, times, side, weights), ("method", "device", "precision", "batch"))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("cgsamr", "samr"), default="cgsamr")
    parser.add_argument("--batch", type=int, default=1, help="slices per step; the paper has 8")
    parser.add_argument("--steps", type=int, default=3, help="the first is left out as warm-up")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    return parser.parse_args()


def smooth_slices(count: int, side: int) -> Slices:
    """``count`` slices of five smooth random images with a round brain and a lesion of three classes."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((side, side)) - side / 2
    radius = np.hypot(rows / 1.15, columns)
    labels = np.select([radius < 12, radius < 18, radius < 30, radius < 90], [3, 4, 2, 1], 0).astype(np.uint8)

    def images(channels: int) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.normal(size=(count, channels, side, side)), (0, 0, 3, 3))
        return np.where(labels > 0, np.tanh(noise / noise.std()), -1).astype(np.float32)

    maps = np.broadcast_to(labels, (count, side, side))
    return Slices.from_arrays(images(len(SEQUENCES)), maps, images(3 * len(SEQUENCES)))


class Stopwatch:
    """A tracker that keeps the loop's own steps per second."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Seconds of the step just taken."""
        if "speed/steps_per_second" in values:
            self.times.append(1 / values["speed/steps_per_second"])

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """Nothing to keep."""


def entry(options: argparse.Namespace, times: list[float], side: int, parameters: int) -> dict[str, Any]:
    """What the JSON file says."""
    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
    gib = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else peak_gib()
    return {
        "method": options.method,
        "device": device,
        "precision": options.precision,
        "batch": options.batch,
        "side": side,
        "steps": len(times),
        "seconds_per_step": round(float(np.median(times[1:] or times)), 2),
        "peak_memory_gib": round(gib, 1),
        "parameters": parameters,
        "torch": torch.__version__,
    }


def peak_gib() -> float:
    """Peak resident memory of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s in all")
