"""What a quality-control strip draws: functions from a plane's number to a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage
from skimage import feature

from lesionlab.figures import style
from lesionlab.figures.frames import Frame
from lesionlab.figures.mosaic import Tile, windowed
from lesionlab.imaging.volume import Volume, same_grid

MASK_COLOUR = "#ff5252"
EDGE_COLOUR = "#35d0ff"
TISSUES = ("CSF", "GM", "WM")
TISSUE_COLOURS = ("#3f7fe0", "#e06a5a", "#e9e4d6")
FIELD_LIMIT = 0.5  # log units shown as full blue and full red
EDGE_SIGMA = 1.5  # smoothing before the edges are found, pixels
WINDOW = (1.0, 99.5)  # percentiles shown as black and white

Draw = Callable[[int], Tile]


def gray(volume: Volume, frame: Frame, brain: Volume | None = None) -> Draw:
    """The volume between its percentiles (inside the brain where given)."""
    low, high = window(volume, brain)
    return lambda at: Tile(windowed(frame.plane(volume, at), low, high))


def fixed(volume: Volume, frame: Frame) -> Draw:
    """A standardized volume on its scale, [0, 1] or [-1, 1]: what left the scale shows."""
    low, high = (-1.0, 1.0) if float(volume.data.min()) < 0 else (0.0, 1.0)
    return lambda at: Tile(windowed(frame.plane(volume, at), low, high))


def outlined(volume: Volume, frame: Frame, brain: Volume | None) -> Draw:
    """The volume with the brain mask's border."""
    picture = gray(volume, frame)

    def draw(at: int) -> Tile:
        contours = () if brain is None else ((frame.plane(brain, at) > 0.5, MASK_COLOUR),)
        return Tile(picture(at).pixels, contours)

    return draw


def edges(moving: Volume, reference: Volume, frame: Frame, brain: Volume | None) -> Draw:
    """The moving scan with the edges of the reference's brain: where they lie beside its own, they are not aligned."""
    under, over = gray(moving, frame), gray(reference, frame, brain)

    def draw(at: int) -> Tile:
        pixels = np.round(under(at).pixels * 255).astype(np.uint8)
        picture = np.repeat(pixels[:, :, None], 3, axis=2)
        inside = None if brain is None else frame.plane(brain, at) > 0.5
        found = feature.canny(over(at).pixels, sigma=EDGE_SIGMA, mask=inside)
        picture[found if inside is None else found | _rim(inside)] = style.rgb(EDGE_COLOUR)
        return Tile(picture)

    return draw


def log_field(field: Volume, frame: Frame, brain: Volume | None) -> Draw:
    """A bias field in log units: blue where the scan was too dark, red where too bright, white where right."""

    def draw(at: int) -> Tile:
        share = np.clip(frame.plane(field, at) / FIELD_LIMIT, -1.0, 1.0)
        picture = np.stack([1 + np.minimum(share, 0), 1 - np.abs(share), 1 - np.maximum(share, 0)], axis=-1)
        if brain is not None:
            picture = picture * (frame.plane(brain, at) > 0.5)[:, :, None]
        return Tile(np.round(picture * 255).astype(np.uint8))

    return draw


def lesion(backdrop: Volume, codes: Volume, frame: Frame, lesion_classes: Sequence[str]) -> Draw:
    """A standardized scan with the outline of each lesion class (codes 2, 3, ...)."""
    colours = list(style.class_colours(lesion_classes).values())
    picture = fixed(backdrop, frame)

    def draw(at: int) -> Tile:
        plane = frame.plane(codes, at, nearest=True)
        return Tile(picture(at).pixels, tuple((plane == code, colour) for code, colour in enumerate(colours, start=2)))

    return draw


def tissue(tissues: Mapping[str, Volume], frame: Frame) -> Draw:
    """CSF, GM and WM in their colours, mixed by probability."""
    colours = np.array([style.rgb(colour) for colour in TISSUE_COLOURS], dtype=np.float32)

    def draw(at: int) -> Tile:
        shares = np.stack([np.clip(frame.plane(tissues[name], at), 0, 1) for name in TISSUES], axis=-1)
        return Tile(np.round(np.clip(shares @ colours, 0, 255)).astype(np.uint8))

    return draw


def _rim(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def window(volume: Volume, brain: Volume | None = None) -> tuple[float, float]:
    """The intensities shown as black and white: percentiles of the brain, or of all that is not background."""
    data = np.asarray(volume.data, dtype=np.float32)
    inside = brain.data > 0 if brain is not None and same_grid(volume, brain) else data > data.min()
    values = data[inside] if np.any(inside) else data.ravel()
    low, high = np.percentile(values, WINDOW)
    return float(low), float(high)
