"""What has to hold of a study's scans and masks before they are registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume, same_grid


def pick_reference(reference: str, fallback: Sequence[str], present: Sequence[str]) -> str:
    """The reference sequence of a study: the wanted one, or the first of the fallback that the study has.

    Raises:
        InputError: the study has none of them.
    """
    for name in (reference, *fallback):
        if name in present:
            return name
    raise InputError(
        "the study lacks the reference sequence and all that may take its place",
        given=", ".join(present) or "no sequence",
        allowed=" or ".join((reference, *fallback)),
        cure="correct `reference`, or name another sequence in `coregister.reference_fallback`",
    )


def check_known(name: str, volumes: Mapping[str, Volume]) -> None:
    """Raise :class:`InputError` where the study has no sequence of that name."""
    if name not in volumes:
        raise InputError(
            "the study lacks a sequence that registration needs",
            given=name,
            allowed=", ".join(volumes),
            cure="correct `reference`, or the layout's `lesion.drawn_on`",
        )


def check_on(lesion: Volume | None, volume: Volume, sequence: str) -> None:
    """Raise :class:`InputError` where a lesion mask lies on another grid than the sequence it was drawn on."""
    if lesion is not None and not same_grid(lesion, volume):
        raise InputError(
            "the lesion mask lies on another grid than its sequence",
            given=_describe(lesion),
            allowed=f"{_describe(volume)}, as {sequence} has",
            cure=f"draw or resample the mask on {sequence}, or name the sequence it was drawn on in the layout",
        )


def sequence_of(what: str, mask: Volume | None, volumes: Mapping[str, Volume], preferred: Sequence[str]) -> str:
    """The sequence whose grid a mask shares: one of the preferred, else the first; the first preferred without a mask.

    Raises:
        InputError: no sequence has that grid.
    """
    if mask is None:
        return preferred[0]
    for name in (*preferred, *volumes):
        if same_grid(mask, volumes[name]):
            return name
    raise InputError(
        f"the {what} mask lies on the grid of no sequence",
        given=_describe(mask),
        allowed=" or ".join(f"{_describe(volume)} ({name})" for name, volume in volumes.items()),
        cure="draw or resample the mask on one of the sequences",
    )


def check_grid(name: str, volume: Volume, reference: str, fixed: Volume) -> None:
    """Raise :class:`InputError` where a sequence that is not registered lies on another grid than the reference."""
    if not same_grid(volume, fixed):
        raise InputError(
            f"registration is off, but {name} lies on another grid than {reference}",
            given=_describe(volume),
            allowed=_describe(fixed),
            cure="switch `coregister.enabled` on, or give registered scans",
        )


def _describe(volume: Volume) -> str:
    spacing = " x ".join(f"{size:.3g}" for size in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"shape {volume.shape}, voxels {spacing} mm, origin ({origin})"
