"""Training steps beside plain ones: steps per second, memory, and the share of the machine's matmul rate.

Two processes hold the same method with the same weights and slices. One takes the project's step (bfloat16 autocast,
channels-last, fused Adam), the other the plain one of plain_training.py (eager float32, contiguous, one pass per
discriminator and image, Adam parameter by parameter). They step in turns, so that a machine whose speed varies
cannot favour one. Wall time counts, and beside it the processor time, which others at work on the machine disturb less.

Command: python benchmarks/training.py                    (all cases; --cases cgsamr-demo for some, --device cuda)
Result:  benchmarks/training.json, one entry per case, device and number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from entries import record
from plain_training import plain_step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import FIELDS, TISSUES, Batch, Slices
from lesionlab.training.memory import keep_freed_memory
from lesionlab.training.stepping import TrainingStep

PROJECT = Path(__file__).parents[1]
TASK = Task(sequences=("T1w", "T1ce", "T2w", "FLAIR", "APTw"), lesion_classes=("edema", "cavity", "tumor"))
SIDES = ("plain", "ours")
WIDER = {"generator": {"width": 32, "downs": 4}, "discriminator": {"width": 32}, "unet": {"width": 32, "depth": 4}}
CASES: dict[str, dict[str, Any]] = {
    "cgsamr-demo": {"method": "cgsamr", "size": (80, 96), "batch": 4, "rounds": 12},
    "samr-demo": {"method": "samr", "size": (80, 96), "batch": 4, "rounds": 12},
    "unet-demo": {"method": "unet", "size": (80, 96), "batch": 16, "rounds": 12},
    "cgsamr-batch-16": {"method": "cgsamr", "size": (80, 96), "batch": 16, "rounds": 5},
    "cgsamr-240": {"method": "cgsamr", "size": (240, 240), "batch": 2, "rounds": 2, "options": WIDER},
    "samr-240": {"method": "samr", "size": (240, 240), "batch": 2, "rounds": 2, "options": WIDER},
    "unet-240": {"method": "unet", "size": (240, 240), "batch": 8, "rounds": 3, "options": {"network": {"width": 32}}},
}
KEPT_SLICES = 32
WARM_UP = 2
MATMUL = {"cpu": 2048, "cuda": 8192}
MATMUL_TRIES = 5
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
MIB = 2**20
KIND = ("case", "device", "threads", "compiled")


def main() -> None:
    """Measure the cases and put their entries into the JSON file."""
    options = arguments()
    if options.side:
        serve(options)
        return
    for case in options.cases:
        record(__file__, measure(case, options), KIND)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU, for each process")
    parser.add_argument("--rounds", type=int, help="turns of each side; by default what the case says")
    parser.add_argument("--compile", action="store_true", help="torch.compile the project's networks")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- one side ---------------------------------------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> None:
    """A child: builds its side, then answers each line of input by one line of JSON."""
    torch.set_num_threads(options.threads)
    side = Side(options.side, CASES[options.cases[0]], torch.device(options.device), options.compile)
    answers: dict[str, Callable[[], Any]] = {"step": side.timed_step, "facts": side.facts, "flops": side.flops}
    for _ in range(WARM_UP):
        side.timed_step()
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


class Side:
    """A method and the steps it takes, as the loop takes them or plainly."""

    def __init__(self, side: str, case: dict[str, Any], device: torch.device, compiled: bool) -> None:
        self.plain, self.device, self.batch_size = side == "plain", device, case["batch"]
        self.method = make_method(case["method"], method_options(case), TASK).to(device)
        self.slices = random_slices(case["size"], fields=self.method.streams["slices"].fields)
        self.loaded = self.taken = 0.0
        if self.plain:
            self.step = plain_step(self.method)
            return
        keep_freed_memory()
        torch.set_autocast_cache_enabled(False)  # weights change within a step
        self.method.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.optimizers = self.method.optimizers()
        for network in self.method.children() if compiled else ():
            network.compile()
        self.step = self.own_step

    def own_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step in bfloat16."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.method.training_step({"slices": batch}, TrainingStep(0, 1, self.update))

    def update(self, name: str, loss: Tensor) -> None:
        """As the loop does it, without clipping."""
        self.optimizers[name].zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, enabled=False):
            loss.backward()
        self.optimizers[name].step()

    def timed_step(self) -> dict[str, float]:
        """Seconds and processor seconds of loading a batch and stepping."""
        self.wait()
        wall, processor = time.perf_counter(), time.process_time()
        batch = self.load()
        self.loaded += time.perf_counter() - wall
        self.step(batch)
        self.wait()
        seconds = time.perf_counter() - wall
        self.taken += seconds
        return {"wall": seconds, "processor": time.process_time() - processor}

    def load(self) -> Batch:
        """A batch on the device, in the networks' memory format."""
        batch = self.slices.take(np.random.default_rng(0).permutation(KEPT_SLICES)[: self.batch_size])
        layout = torch.contiguous_format if self.plain else torch.channels_last
        device = self.device
        return batch.map(lambda t: t.to(device, memory_format=layout) if t.ndim == 4 else t.to(device))

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def flops(self) -> int:
        """Floating-point operations of the convolutions and products of a step, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.step(self.load())
        return counter.get_total_flops()

    def facts(self) -> dict[str, float]:
        """Peak memory, the matmul rate in this side's precision, and the loader's share."""
        on_gpu = self.device.type == "cuda"
        peak = (
            torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        rate = matmul_rate(self.device, torch.float32 if self.plain else torch.bfloat16, self.wait)
        return {"peak_mib": round(peak / MIB), "matmul_gflops": round(rate / 1e9), "loader": self.loaded / self.taken}


def method_options(case: dict[str, Any]) -> dict[str, Any]:
    """The demo's options, and what the case changes in them."""
    path = PROJECT / f"conf/base/parameters/methods/{case['method']}.yml"
    base, changes = yaml.safe_load(path.read_text(encoding="utf-8"))[case["method"]], case.get("options", {})
    return {key: {**value, **changes.get(key, {})} for key, value in base.items() if key != "training"}


def random_slices(size: tuple[int, int], count: int = KEPT_SLICES, fields: Sequence[str] = FIELDS) -> Slices:
    """Slices of noise with a round brain and a lesion of three classes: speed depends on their size alone."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(size) - np.array(size)[:, None, None] / 2
    radius = np.hypot(rows, columns) / min(size)
    labels = np.select([radius < 0.05, radius < 0.08, radius < 0.15, radius < 0.4], [3, 4, 2, 1], 0)
    maps = np.broadcast_to(labels, (count, *size))

    def noise(channels: int) -> np.ndarray:
        return rng.uniform(-1, 1, (count, channels, *size)).astype(np.float32)

    channels = {"images": TASK.channels, "atlas": TASK.atlas_channels, "tissues": TISSUES}
    return Slices.from_arrays(**{field: maps if field == "labels" else noise(channels[field]) for field in fields})


def matmul_rate(device: torch.device, precision: torch.dtype, wait: Callable[[], None]) -> float:
    """The best rate of a large square product, FLOP/s."""
    side = MATMUL[device.type]
    one, other = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    times = []
    for _ in range(MATMUL_TRIES):
        wait()
        start = time.perf_counter()
        one @ other
        wait()
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


# --- both sides in turns ----------------------------------------------------------------------------------------------


class Child:
    """A process that holds one side."""

    def __init__(self, side: str, case: str, options: argparse.Namespace) -> None:
        words = [sys.executable, __file__, "--side", side, "--cases", case]
        words += ["--device", options.device, "--threads", str(options.threads)]
        words += ["--compile"] if options.compile and side == "ours" else []
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: str) -> Any:
        """One line there, one line back."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides of a case in turns."""
    children = {side: Child(side, case, options) for side in SIDES}
    try:
        for child in children.values():  # both are warm before either is timed
            child.ask("step")
        rounds = options.rounds or CASES[case]["rounds"]
        taken = [{side: child.ask("step") for side, child in children.items()} for _ in range(rounds)]
        facts = {side: child.ask("facts") for side, child in children.items()}
        flops = children["plain"].ask("flops")
    finally:
        for child in children.values():
            child.end()
    return entry(case, options, taken, facts, flops)


def entry(
    case: str,
    options: argparse.Namespace,
    taken: list[dict[str, dict[str, float]]],
    facts: dict[str, dict[str, float]],
    flops: int,
) -> dict[str, Any]:
    """What the JSON file says of a case."""

    def ratio(clock: str) -> float:
        return round(statistics.median(turn["plain"][clock] / turn["ours"][clock] for turn in taken), 2)

    def side(name: str) -> dict[str, float]:
        seconds = statistics.median(turn[name]["wall"] for turn in taken)
        return {
            "steps_per_second": round(1 / seconds, 3),
            "processor_seconds_per_step": round(statistics.median(turn[name]["processor"] for turn in taken), 3),
            "peak_memory_mib": facts[name]["peak_mib"],
            "matmul_gflops": facts[name]["matmul_gflops"],
            "share_of_matmul_rate": round(flops / seconds / 1e9 / facts[name]["matmul_gflops"], 3),
            "loader_share": round(facts[name]["loader"], 4),
        }

    settings = CASES[case]
    return {
        "case": case,
        "device": machine(options),
        "threads": options.threads,
        "compiled": options.compile,
        "load_average": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "method": settings["method"],
        "options": method_options(settings),
        "size": settings["size"],
        "batch": settings["batch"],
        "rounds": len(taken),
        "gflop_per_step": round(flops / 1e9, 1),
        "plain": side("plain"),
        "ours": side("ours"),
        "times_faster": ratio("wall"),
        "times_faster_by_processor_time": ratio("processor"),
    }


def machine(options: argparse.Namespace) -> str:
    """The GPU, or the CPU with what it has for matrices."""
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"CPU, {platform.machine()}"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', 'CPU')}, {os.cpu_count()} cores, {' '.join(flags)}"


if __name__ == "__main__":
    main()
