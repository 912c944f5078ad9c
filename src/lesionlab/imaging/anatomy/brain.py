"""Brain masks, by whichever way the cohort allows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.brain_quality import mask_quality, solid
from lesionlab.imaging.ants_bridge import scratch
from lesionlab.imaging.background import MOSTLY, commonest_on_border
from lesionlab.imaging.formats.nifti import read_volume, write_volume
from lesionlab.imaging.volume import Volume, same_grid

#: deepbet agrees with experts best on T1, then T1ce, then FLAIR (Dice 0.98, 0.97, 0.96 on scans of gliomas).
PREFERENCE = ("T1w", "T1W", "T1", "T1ce", "T1WKS", "FLAIR", "T2w", "T2W", "T2")

_SAME = 1e-6  # of the range: rounding of the background's value


class BrainOptions(BaseModel):
    """How the brain is found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["given", "skull_stripped", "deepbet", "hd-bet"] = Field(
        "deepbet",
        description="given: a mask file; skull_stripped: whatever is not background; "
        "else a network (hd-bet fetches its weights itself, the first time)",
    )
    from_sequence: str | None = Field(None, description="the sequence a network looks at; null: by preference")
    threshold: float = Field(0.5, gt=0, lt=1, description="of deepbet's probability")
    network_voxels: Literal[192, 256] = Field(
        256, description="sides of the cube deepbet looks at; 192 takes half the time, and 0.01 of the Dice"
    )
    fill_holes: bool = Field(True, description="fill holes and keep the largest piece of the mask")
    plausible_ml: tuple[float, float] = Field((400.0, 2500.0), description="brain volumes outside are an error")


@dataclass(frozen=True)
class BrainMask:
    """A brain mask.

    Attributes:
        mask: uint8, 1 in the brain.
        qc: see :func:`lesionlab.imaging.anatomy.brain_quality.mask_quality`, and, where ``fill_holes``,
            :func:`lesionlab.imaging.anatomy.brain_quality.solid`.
    """

    mask: Volume
    qc: dict[str, float]


def extract_brain(volumes: Mapping[str, Volume], options: BrainOptions, given: Volume | None = None) -> BrainMask:
    """Find the brain.

    Args:
        volumes: a study's sequences on one grid, in any orientation.
        options: see :class:`BrainOptions`.
        given: the cohort's own mask, for the backend ``given``: anything above 0 is brain.

    Raises:
        InputError: no mask was given though the backend asks for one, or it lies on another grid; the sequence asked
            for is not there; the backend is not installed or finds no brain; the brain's volume is implausible.
    """
    name = _choose(volumes, options)
    if options.backend == "given":
        mask = _given(volumes[name], given)
    elif options.backend == "skull_stripped":
        mask = _not_background(volumes)
    elif options.backend == "deepbet":
        mask = _deepbet(volumes[name], options)
    else:
        mask = _hd_bet(volumes[name])
    changes: dict[str, float] = {}
    if options.fill_holes:
        mask, changes = solid(mask)
    result = volumes[name].like(mask.astype(np.uint8))
    _check_volume(result, options)
    return BrainMask(result, mask_quality(result, volumes[name]) | changes)


def apply_mask(volume: Volume, mask: Volume, background: float = 0.0) -> Volume:
    """The volume with ``background`` outside the mask."""
    return volume.like(np.where(mask.data > 0, volume.data, np.asarray(background, dtype=volume.data.dtype)))


def _choose(volumes: Mapping[str, Volume], options: BrainOptions) -> str:
    wanted = options.from_sequence
    if wanted is not None and wanted not in volumes:
        raise InputError(
            "the brain is to be found in a sequence that the study lacks",
            given=wanted,
            allowed=", ".join(volumes),
            cure="correct `brain.from_sequence`, or leave it empty",
        )
    return wanted or next((name for name in PREFERENCE if name in volumes), next(iter(volumes)))


def _given(volume: Volume, given: Volume | None) -> np.ndarray:
    if given is None or not same_grid(given, volume):
        raise InputError(
            "no brain mask was given" if given is None else "the brain mask lies on another grid than the scans",
            given="none" if given is None else f"shape {given.shape}",
            allowed=f"a mask of shape {volume.shape} on the scans' grid",
            cure="name the mask as `brain_mask` in the layout, or choose `brain.backend: deepbet`",
        )
    return given.data > 0


def _not_background(volumes: Mapping[str, Volume]) -> np.ndarray:
    """Where any sequence differs from its own background: the commonest value on the field of view's border."""
    shape = next(iter(volumes.values())).shape
    mask = np.zeros(shape, dtype=bool)
    for name, volume in volumes.items():
        background, share = commonest_on_border(volume)
        if share < MOSTLY:
            raise InputError(
                f"{name} is not skull-stripped: its border holds no constant background",
                given=f"the commonest border value {background:g} fills {share:.0%} of it",
                allowed=f"one value in at least {MOSTLY:.0%} of the border",
                cure="choose `brain.backend: deepbet`",
            )
        mask |= np.abs(volume.data - background) > _SAME * np.ptp(volume.data)
    return mask


def _deepbet(volume: Volume, options: BrainOptions) -> np.ndarray:
    """deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845), its network comes with the package."""
    import nibabel as nib

    image = nib.Nifti1Image(volume.data.astype(np.float32), volume.affine)
    try:
        with _one_torch_thread():
            _, mask, _ = _deepbet_network(options.network_voxels).run(image, threshold=options.threshold)
    except (AssertionError, ValueError, IndexError) as error:
        raise _no_brain(f"deepbet: {error}") from error
    return np.asarray(mask.dataobj) > 0


@cache
def _deepbet_network(side: int) -> Any:
    try:
        from deepbet import BrainExtraction
    except ImportError as error:
        raise _not_installed("deepbet", "deepbet") from error
    network = BrainExtraction(no_gpu=True)
    network.run_model = partial(network.run_model, shape=(side, side, side))
    network.postprocess = lambda mask, _: mask  # pieces and holes are told about before they are mended
    return network


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    # Sums over several threads differ in the last digit, and each study has its own process anyway.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _hd_bet(volume: Volume) -> np.ndarray:
    """HD-BET 2 (Isensee et al. 2019, doi:10.1002/hbm.24750), run as the command its user has installed."""
    command = shutil.which("hd-bet")
    if command is None:
        raise _not_installed("HD-BET", "hd-bet")
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with scratch() as folder:
        files = ("-i", str(write_volume(volume, folder / "scan.nii.gz")), "-o", str(folder / "brain.nii.gz"))
        flags = ("-device", device, "--disable_tta", "--save_bet_mask", "--no_bet_image")
        done = subprocess.run([command, *files, *flags], capture_output=True, text=True, check=False)
        masks = sorted(folder.glob("brain*bet.nii.gz"))
        if done.returncode != 0 or not masks:
            # Its weights come by download at first use: the message says which file could not be had.
            raise _no_brain(f"hd-bet: {(done.stderr or done.stdout).strip()[-500:]}")
        return read_volume(masks[0]).data > 0


def _check_volume(mask: Volume, options: BrainOptions) -> None:
    ml = int(mask.data.sum()) * mask.voxel_ml
    low, high = options.plausible_ml
    if not low <= ml <= high:
        raise InputError(
            "the brain mask's volume is implausible",
            given=f"{ml:.0f} ml",
            allowed=f"{low:g} to {high:g} ml (`brain.plausible_ml`)",
            cure="look at the scan; choose another `brain.from_sequence` or backend, give a mask, or widen the range",
        )


def _no_brain(given: str) -> InputError:
    return InputError(
        "no brain was found",
        given=given,
        allowed="a scan of a whole head",
        cure="look at the scan; choose another `brain.from_sequence`, or give a mask (`brain.backend: given`)",
    )


def _not_installed(tool: str, package: str) -> InputError:
    return InputError(
        f"{tool} is not installed",
        given=f"brain.backend asks for {tool}",
        allowed="given, skull_stripped, deepbet; hd-bet where it is installed",
        cure=f"`pip install {package}`, or choose another `brain.backend`",
    )
