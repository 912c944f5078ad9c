"""From preprocessed volumes to labelled slices: pictures, label maps, and one row per slice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume, same_grid
from lesionlab.slices.rules import Domain, SliceRules, domain, select_planes

BACKGROUND, NORMAL_BRAIN, FIRST_LESION = 0, 1, 2  # codes of a label map; lesion classes follow in order
IMAGE_BACKGROUND = -1.0  # value of images and atlas outside the brain
TISSUES = ("CSF", "GM", "WM")
ATLAS_OFFSETS = (-1, 0, 1)  # adjacent planes of the atlas given as anatomic prior (SAMR, section 3)


@dataclass(frozen=True)
class StudySlices:
    """The slices of one study.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [-1, 1], background -1, channels in the order of the sequences.
        labels: ``(N, H, W)`` uint8 label maps.
        atlas: ``(N, 3 C, H, W)`` float32 in [-1, 1]: all sequences of plane k-1, then of k, then of k+1;
            ``(N, 0, H, W)`` where there is no atlas.
        tissues: ``(N, 3, H, W)`` float32 in [0, 1]: CSF, GM, WM; ``(N, 0, H, W)`` where there are none.
        table: one row per slice, as `slice_store.SliceSchema` has it, without the column `index`.
    """

    images: np.ndarray
    labels: np.ndarray
    atlas: np.ndarray
    tissues: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.labels)


def plane(data: np.ndarray, k: int) -> np.ndarray:
    """One axial plane as a picture, ``(X, Y, Z)`` with RAS axes -> ``(H, W)``.

    Rows run from anterior (row 0) to posterior. Columns follow the radiological convention: the patient's right
    lies on the left of the picture. Every picture of the project, arrays and figures alike, is made here.
    """
    return np.ascontiguousarray(data[::-1, ::-1, k].T)


def label_map(lesion: np.ndarray | None, brain: np.ndarray) -> tuple[np.ndarray, int]:
    """A label map and the number of lesion voxels that lay outside the brain and were dropped.

    Args:
        lesion: lesion codes, 0 none, 2.. the classes, any shape; None for a study without lesion mask.
        brain: brain mask of the same shape; non-zero is brain.

    Returns:
        uint8 map (0 background, 1 normal brain, 2.. lesion classes) and the count of clipped voxels.
    """
    inside = np.asarray(brain) > 0
    labels = inside.astype(np.uint8) * np.uint8(NORMAL_BRAIN)
    if lesion is None:
        return labels, 0
    if lesion.shape != brain.shape:
        raise InputError(
            "the lesion mask lies on another grid than the brain mask",
            given=f"shape {lesion.shape}",
            allowed=f"shape {brain.shape}",
            cure="bring both to one grid (stage grid)",
        )
    diseased = np.asarray(lesion) >= FIRST_LESION
    labels[diseased & inside] = lesion[diseased & inside].astype(np.uint8)
    return labels, int(np.count_nonzero(diseased & ~inside))


def to_image(values: np.ndarray, inside: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Standardized intensities -> float32 in [-1, 1], clipped; -1 where `inside` is false."""
    low, high = value_range
    scaled = (np.asarray(values, np.float32) - low) * np.float32(2.0 / (high - low)) - 1.0
    return np.where(inside, np.clip(scaled, -1.0, 1.0), IMAGE_BACKGROUND).astype(np.float32)


def study_slices(
    volumes: Mapping[str, Volume],
    lesion: Volume | None,
    brain: Volume,
    atlas: Mapping[str, Volume] | None,
    tissues: Mapping[str, Volume] | None,
    rules: SliceRules,
    sequences: Sequence[str],
    classes: Sequence[str],
    *,
    subject: str,
    study: str,
    split: str,
) -> StudySlices:
    """Cut one study into slices; all volumes lie on one grid with RAS axes.

    Args:
        volumes: standardized intensities by sequence, in the range of ``rules.value_range``.
        lesion: codes 0, 2.. of the lesion classes, or None.
        brain: mask, non-zero in the brain.
        atlas: template by sequence, aligned with the study, exactly 0 outside its brain; or None.
        tissues: CSF, GM, WM probabilities in [0, 1]; or None.
        rules: which planes, which domain.
        sequences: order of the image channels.
        classes: lesion classes in the order of their codes 2...
        subject: the person.
        study: the study's key.
        split: train, validation or test.

    Raises:
        InputError: a sequence or tissue is missing, a grid differs, a lesion code is unknown, or no plane is left.
    """
    _check(volumes, lesion, brain, atlas, tissues, sequences, classes, study)
    labels, _ = label_map(None if lesion is None else lesion.data, brain.data)
    planes = _passing_planes(labels, rules, study)
    maps = _stack(labels, planes)
    rows = _rows(maps, planes, rules, classes, brain.spacing)
    if lesion is not None:
        outside = (lesion.data >= FIRST_LESION) & (brain.data == 0)
        rows["clipped"] = [int(np.count_nonzero(outside[:, :, k])) for k in planes]
    images = [to_image(_stack(volumes[s].data, planes), maps > BACKGROUND, rules.value_range) for s in sequences]
    return StudySlices(
        images=np.stack(images, axis=1),
        labels=maps,
        atlas=_atlas_planes(atlas, planes, sequences, rules, maps.shape),
        tissues=_tissue_planes(tissues, planes, maps.shape),
        table=rows.assign(subject=subject, study=study, split=split),
    )


def _passing_planes(labels: np.ndarray, rules: SliceRules, study: str) -> list[int]:
    planes = [
        k for k in select_planes(labels, rules) if rules.keep_discarded or _domain_of(labels, k, rules) != "discarded"
    ]
    if not planes:
        raise InputError(
            "no plane of this study passes the slice rules",
            given=rules.model_dump(),
            allowed="rules that keep at least one plane",
            cure="lower slices.min_brain_fraction or widen slices.planes; look at the brain mask on the QC page",
            subject=study,
        )
    return planes


def _stack(data: np.ndarray, planes: Sequence[int]) -> np.ndarray:
    return np.stack([plane(data, k) for k in planes])


def _domain_of(labels: np.ndarray, k: int, rules: SliceRules) -> Domain:
    return domain(int(np.count_nonzero(labels[:, :, k] >= FIRST_LESION)), rules)


def _rows(
    maps: np.ndarray, planes: Sequence[int], rules: SliceRules, classes: Sequence[str], spacing: Sequence[float]
) -> pd.DataFrame:
    table = pd.DataFrame({"plane": np.asarray(planes, np.int64)})
    lesion_pixels = np.count_nonzero(maps >= FIRST_LESION, axis=(1, 2))
    table["domain"] = [domain(int(n), rules) for n in lesion_pixels]
    for axis, millimetres in zip("xyz", spacing, strict=True):
        table[f"spacing_{axis}"] = float(millimetres)
    for name, pixels in count_pixels(maps, classes).items():
        table[name] = pixels
    table["fill"] = np.count_nonzero(maps, axis=(1, 2)) / maps[0].size
    return table.assign(clipped=0, source="real", manipulation="none", donor="", record=json.dumps({}))


def count_pixels(maps: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Pixels of each lesion class in label maps ``(N, H, W)``, as the table's columns ``pixels_<class>``."""
    codes = enumerate(classes, start=FIRST_LESION)
    return {f"pixels_{name}": np.count_nonzero(maps == code, axis=(1, 2)).astype(np.int64) for code, name in codes}


def _atlas_planes(
    atlas: Mapping[str, Volume] | None,
    planes: Sequence[int],
    sequences: Sequence[str],
    rules: SliceRules,
    shape: tuple[int, ...],
) -> np.ndarray:
    if not atlas:
        return np.empty((shape[0], 0, *shape[1:]), np.float32)
    # A template is exactly 0 outside its own brain, whatever the range of its intensities.
    inside = np.any([atlas[s].data != 0 for s in sequences], axis=0)
    scaled = [to_image(atlas[s].data, inside, rules.value_range) for s in sequences]
    top = inside.shape[2] - 1
    neighbours = [[min(max(k + offset, 0), top) for k in planes] for offset in ATLAS_OFFSETS]
    return np.stack([_stack(volume, ks) for ks in neighbours for volume in scaled], axis=1)


def _tissue_planes(tissues: Mapping[str, Volume] | None, planes: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    if not tissues:
        return np.empty((shape[0], 0, *shape[1:]), np.float32)
    stacks = [_stack(tissues[name].data, planes) for name in TISSUES]
    return np.clip(np.stack(stacks, axis=1), 0.0, 1.0).astype(np.float32)


def _check(
    volumes: Mapping[str, Volume],
    lesion: Volume | None,
    brain: Volume,
    atlas: Mapping[str, Volume] | None,
    tissues: Mapping[str, Volume] | None,
    sequences: Sequence[str],
    classes: Sequence[str],
    study: str,
) -> None:
    groups = (("sequence", volumes, sequences), ("atlas", atlas, sequences), ("tissue map", tissues, TISSUES))
    for what, given, needed in groups:
        missing = [name for name in needed if (given or what == "sequence") and name not in (given or {})]
        if missing:
            raise InputError(
                f"a {what} is missing: {', '.join(missing)}",
                given=sorted(given or ()),
                allowed=list(needed),
                cure="run the stage before this one again, or change the list of sequences",
                subject=study,
            )
    for name, volume in _named(volumes, lesion, atlas, tissues):
        if not same_grid(volume, brain):
            raise InputError(
                f"{name} lies on another grid than the brain mask",
                given=f"shape {volume.shape}, spacing {volume.spacing}",
                allowed=f"shape {brain.shape}, spacing {brain.spacing}",
                cure="bring all volumes to one grid (stage grid)",
                subject=study,
            )
    if lesion is not None:
        _check_codes(lesion, classes, study)


def _check_codes(lesion: Volume, classes: Sequence[str], study: str) -> None:
    allowed = {BACKGROUND, *range(FIRST_LESION, FIRST_LESION + len(classes))}
    found = {int(code) for code in np.unique(lesion.data)}
    if not found <= allowed:
        raise InputError(
            "the lesion volume holds unknown codes",
            given=sorted(found - allowed),
            allowed=sorted(allowed),
            cure="map the file's codes to classes in the layout",
            subject=study,
        )


def _named(
    volumes: Mapping[str, Volume],
    lesion: Volume | None,
    atlas: Mapping[str, Volume] | None,
    tissues: Mapping[str, Volume] | None,
) -> Iterator[tuple[str, Volume]]:
    yield from volumes.items()
    if lesion is not None:
        yield "lesion", lesion
    for kind, group in (("atlas", atlas or {}), ("tissue", tissues or {})):
        for name, volume in group.items():
            yield f"{kind} {name}", volume
