"""Kills at random moments of a training: each is resumed, and its weights compared bit for bit with an unbroken run's.

A small CG-SAMR and a small U-Net on random slices, with dropout and batch norm, so that optimizers, random numbers, the
order of slices and running statistics all matter. Each is killed with SIGKILL at random moments of its course and begun
again by the same command, until it comes to its end. Once more each is sent SIGTERM, as clusters do before they take a
machine away, and begun again.

Command: python benchmarks/training_faults.py --kills 20
Result:  benchmarks/training_faults.json: what was killed when, and whether weights and losses are the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices
from lesionlab.training.checkpoint import load, load_method
from lesionlab.training.loop import CHECKPOINT, HISTORY, TRAINED, fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.stop import Interrupted

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
METHODS = {
    "cgsamr": {
        "generator": {
            "width": 4,
            "downs": 2,
            "encoder_blocks": 1,
            "decoder_blocks": 1,
            "upsampling": "resized",
            "show_labels": True,
        },
        "discriminator": {"width": 4},
        "unet": {"width": 4, "depth": 2, "dropout": 0.3},
    },
    "unet": {"network": {"width": 8, "depth": 3, "dropout": 0.3}},
}
SLICES, SIDE = 37, 32
STEPS, BATCH, CHECKPOINT_EVERY = 80, 4, 3
ABOUT_A_STEP_S = 0.05


@dataclass
class Kill:
    """One kill of a run, or one request to stop it."""

    method: str
    by: str
    after_step: int  # the last that the run had told of
    checkpoint_step: int | None  # what was on disk then
    status: int  # the run's exit status


class Tells:
    """A tracker that tells each step to the process that waits for it."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """The step's number, on a line."""
        print(step, flush=True)

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """Nothing."""


def random_slices(fields: Sequence[str]) -> Slices:
    """Noise with random label maps, the same each time; of its fields those that a method reads."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, TASK.classes, (SLICES, SIDE // 4, SIDE // 4), generator=draw)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    pictures = (torch.rand(SLICES, c, SIDE, SIDE, generator=draw) * 2 - 1 for c in (TASK.channels, TASK.atlas_channels))
    images, atlas = pictures
    whole = {"images": images, "labels": labels, "atlas": atlas}
    return Slices(**{field: whole[field] for field in fields})


def train(name: str, folder: Path, steps: int) -> int:
    """Train a method to its end, from its checkpoint if there is one; the exit status."""
    options = TrainingOptions(
        constant=steps // 2,
        decay=steps - steps // 2,
        unit="steps",
        batch_size=BATCH,
        device="cpu",
        threads=1,
        log_every=1,
        checkpoint_every=CHECKPOINT_EVERY,
    )
    try:
        method = make_method(name, METHODS[name], TASK)
        fit(method, random_slices(method.streams["slices"].fields), options, folder, tracker=Tells())
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_status
    return 0


def start(name: str, folder: Path, steps: int) -> subprocess.Popen[str]:
    """The training in a process of its own."""
    words = [sys.executable, __file__, "--run", str(folder), "--method", name, "--steps", str(steps)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def to_the_end(name: str, folder: Path, steps: int) -> None:
    """A run that nothing disturbs."""
    run = start(name, folder, steps)
    run.communicate()
    assert run.returncode == 0, f"{name} ended with status {run.returncode}"


def disturb(name: str, folder: Path, steps: int, at: int, number: signal.Signals, rng: random.Random) -> Kill | None:
    """Send a signal some moment after a step; None where the run had ended before."""
    run, step = start(name, folder, steps), 0
    assert run.stdout is not None
    for line in run.stdout:
        step = int(line)
        if step >= at:
            time.sleep(rng.uniform(0, ABOUT_A_STEP_S))
            run.send_signal(number)
            break
    run.communicate()
    if run.returncode == 0:
        return None
    last = folder / CHECKPOINT
    saved = load(last)["training"]["step"] if last.exists() else None
    return Kill(name, number.name, step, saved, run.returncode)


def same(one: Path, other: Path) -> tuple[bool, bool]:
    """Whether the weights of two finished runs are equal bit for bit, and whether their losses are."""
    weights = (load_method(folder / TRAINED).state_dict() for folder in (one, other))
    pairs = zip(*(state.values() for state in weights), strict=True)
    tables = (pd.read_csv(folder / HISTORY) for folder in (one, other))
    losses = [table[~table["name"].str.startswith("speed/")].reset_index(drop=True) for table in tables]
    return all(torch.equal(a, b) for a, b in pairs), losses[0].equals(losses[1])


def attempt(name: str, kills: int, root: Path, steps: int = STEPS) -> tuple[list[Kill], dict[str, bool]]:
    """A run killed so many times, one sent SIGTERM, and whether both end as an unbroken one."""
    rng = random.Random(name)
    unbroken, killed, stopped = (root / name / kind for kind in ("unbroken", "killed", "stopped"))
    to_the_end(name, unbroken, steps)
    moments = sorted(rng.sample(range(1, steps), kills))
    found = [disturb(name, killed, steps, at, signal.SIGKILL, rng) for at in moments]
    to_the_end(name, killed, steps)
    found.append(disturb(name, stopped, steps, rng.randrange(1, steps // 2), signal.SIGTERM, rng))
    to_the_end(name, stopped, steps)
    verdicts = {}
    for kind, folder in {"killed": killed, "stopped": stopped}.items():
        verdicts[f"{kind}: same weights"], verdicts[f"{kind}: same losses"] = same(unbroken, folder)
    return [kill for kill in found if kill], verdicts


def main() -> None:
    """Kill, resume, compare, and write the JSON beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--method", default="unet", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    options = parser.parse_args()
    if options.run:
        sys.exit(train(options.method, options.run, options.steps))
    with TemporaryDirectory(dir=Path.cwd()) as root:
        shares = {name: options.kills // 2 + (options.kills % 2 and name == "cgsamr") for name in METHODS}
        results = {name: attempt(name, kills, Path(root), options.steps) for name, kills in shares.items()}
    record(results, options.steps)


def record(results: dict[str, tuple[list[Kill], dict[str, bool]]], steps: int) -> None:
    """Write the JSON and print what counts."""
    kills = [kill for found, _ in results.values() for kill in found]
    summary = {
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "steps": steps,
        "kills": sum(kill.by == "SIGKILL" for kill in kills),
        "stops": sum(kill.by == "SIGTERM" for kill in kills),
        "resumed_before_the_first_checkpoint": sum(kill.checkpoint_step is None for kill in kills),
        "verdicts": {name: words for name, (_, words) in results.items()},
    }
    text = json.dumps({**summary, "outcomes": [asdict(kill) for kill in kills]}, indent=2)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
