"""What a training's checkpoints take on disk, asked for before the first step instead of after a night."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from lesionlab.errors import InputError
from lesionlab.training.options import TrainingOptions

_MOMENTS = 2  # Adam keeps two values for each weight
_GIB = 2**30


def room_wanted(method: nn.Module, options: TrainingOptions) -> int:
    """Bytes that a training's folder holds at most: a checkpoint and the best, and the next ones while these stay."""
    weights = sum(values.nbytes for values in method.state_dict().values())
    checkpoint = weights + _MOMENTS * sum(values.nbytes for values in method.parameters())
    return 2 * (checkpoint + (weights if options.best else 0))


def require_room(method: nn.Module, options: TrainingOptions, folder: Path) -> None:
    """Raise ``InputError`` where the disk cannot hold what a training will write; what lies there already counts."""
    there = sum(file.stat().st_size for file in folder.glob("*.pt")) if folder.is_dir() else 0
    disk = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    wanted, free = room_wanted(method, options), there + shutil.disk_usage(disk).free
    if free < wanted:
        raise InputError(
            "the disk lacks the room that the checkpoints of this training take",
            given=f"{free / _GIB:.2f} GiB for {folder}",
            allowed=f"{wanted / _GIB:.2f} GiB: a checkpoint{' and the best one' if options.best else ''}, each twice",
            cure="make room, or train into a folder on another disk; nothing was begun",
        )
