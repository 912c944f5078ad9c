"""Where a run computes: the device, its numerics, and the slices on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed import is_torchelastic_launched
from torch.nn.modules.batchnorm import _BatchNorm

from lesionlab.errors import InputError
from lesionlab.slices.batches import Slices, SliceSource
from lesionlab.training.memory import keep_freed_memory
from lesionlab.training.options import TrainingOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
DEVICE_SHARE = 0.5  # of the device's free memory that slices may take

_log = logging.getLogger(__name__)


def open_device(options: TrainingOptions) -> Fabric:
    """Fabric on the device of the options, launched; under torchrun one process of several.

    Raises:
        InputError: a device that this machine has not; several devices without torchrun.
    """
    from lightning.fabric import Fabric  # takes seconds to load, and most runs of the project train nothing
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        fabric = Fabric(
            accelerator=options.device,
            precision=PRECISIONS[options.precision],  # type: ignore[arg-type]
            **_processes(options),
        )
        fabric.launch()
        if fabric.device.type == "cpu":
            keep_freed_memory()
        return fabric
    except InputError:
        raise
    except (RuntimeError, ValueError, ImportError, MisconfigurationException) as error:
        raise InputError(
            "there is no such device on this machine",
            given=f"training device {options.device}",
            allowed=", ".join(devices_here()),
            cure="choose one of these, or auto, which takes the fastest",
        ) from error


def _processes(options: TrainingOptions) -> dict[str, Any]:
    if is_torchelastic_launched():
        from lightning.fabric.strategies import DDPStrategy

        here = int(os.environ["LOCAL_WORLD_SIZE"])
        # Flags and states of the host go by gloo, so that no process waits for its device to tell them.
        cuda = options.device in ("auto", "cuda") and torch.cuda.is_available()
        strategy = DDPStrategy(process_group_backend="cpu:gloo,cuda:nccl" if cuda else "gloo")
        return {"devices": here, "num_nodes": int(os.environ["WORLD_SIZE"]) // here, "strategy": strategy}
    if options.devices > 1:
        raise InputError(
            "this process is one, and was asked to train on several devices",
            given=f"devices {options.devices}, without torchrun",
            allowed="devices 1",
            cure="call lesionlab.training.launch.fit_on_devices, or start your script by torchrun --nproc-per-node",
        )
    return {"devices": 1}


def device_here(name: str) -> torch.device:
    """What a training's `device` means here for who only applies its method: the CPU where this machine has it not.

    auto: a GPU where there is one.
    """
    wanted = [kind for kind in devices_here()[2:] if name in ("auto", kind)]
    return torch.device(wanted[0] if wanted else "cpu")


def devices_here() -> list[str]:
    """What `device` may be on this machine."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["auto", "cpu", *(name for name, there in accelerators.items() if there)]


def warn_of_norms(method: nn.Module, device: torch.device, sync: bool) -> None:
    """Warn that batch norm sees one process's part of a batch alone, where it does."""
    if (device.type != "cuda" or not sync) and any(isinstance(m, _BatchNorm) for m in method.modules()):
        why = "CPUs cannot join it" if device.type != "cuda" else "sync_batch_norm is off"
        _log.warning(
            "batch norm looks at each process's part of a batch alone (%s): other results than one process's", why
        )


def compile_networks(method: nn.Module) -> None:
    """torch.compile each network of a method; what cannot be compiled here runs as it is, and torch's log says so."""
    torch._dynamo.config.suppress_errors = True
    for network in method.children():
        network.compile()


def on_device(slices: SliceSource, device: torch.device) -> SliceSource:
    """The slices on the device where they fit beside the networks, else where they are."""
    if not isinstance(slices, Slices):
        return slices
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(tensor.nbytes for tensor in slices.tensors.values()) > DEVICE_SHARE * free:
            return slices
    return slices.to(device)


@contextmanager
def lower_precision(fabric: Fabric) -> Iterator[None]:
    """Fabric's autocast, without its cache of converted weights.

    A training step updates networks several times; the cache would hand out weights from before an update.
    """
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with fabric.autocast():
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
