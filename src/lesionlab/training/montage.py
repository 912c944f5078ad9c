"""A method's pictures of a batch as one grey montage, and as arrays beside the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lesionlab.training.files import write_whole

GAP = 2  # pixels between tiles
WHITE = 255


def montage(pictures: dict[str, Tensor]) -> np.ndarray:
    """Lay pictures out: for each slice a row per name, in it a tile per channel.

    Args:
        pictures: name -> ``(N, C, h, w)`` in [-1, 1]; smaller ones are enlarged to the largest size.

    Returns:
        ``(height, width)`` uint8, dark where tiles are missing.
    """
    size = max((tuple(p.shape[-2:]) for p in pictures.values()), key=lambda s: s[0])
    tiles = {name: _to_bytes(functional.interpolate(p.float(), size, mode="nearest")) for name, p in pictures.items()}
    columns = max(p.shape[1] for p in tiles.values())
    count = min(len(p) for p in tiles.values())
    rows = [_row(tiles[name][i], columns) for i in range(count) for name in tiles]
    return np.concatenate(rows, axis=0)


def _to_bytes(pictures: Tensor) -> np.ndarray:
    grey = ((pictures.clamp(-1, 1) + 1) / 2 * WHITE).round().to(torch.uint8)
    return np.pad(grey.cpu().numpy(), ((0, 0), (0, 0), (0, GAP), (0, GAP)))


def _row(tiles: np.ndarray, columns: int) -> np.ndarray:
    row = np.concatenate(list(tiles), axis=1)
    missing = columns * tiles.shape[-1] - row.shape[1]
    return np.pad(row, ((0, 0), (0, missing)))


def save_pictures(pictures: dict[str, Tensor], path: Path) -> None:
    """Keep pictures as float16 arrays in one ``.npz``, for figures made later."""
    arrays = {name: p.detach().float().cpu().numpy().astype(np.float16) for name, p in pictures.items()}
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
