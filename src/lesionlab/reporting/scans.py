"""Scans as they come from the scanner: several subjects, all sequences, whatever their grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lesionlab.imaging.volume import Volume
from lesionlab.reporting import strip_tiles, style
from lesionlab.reporting.frames import Frame, frame_of_size
from lesionlab.reporting.mosaic import Layout, Tile, mosaic, png

PIXELS = 184  # samples along a picture's longest side


def scan_montage(
    studies: Mapping[str, Mapping[str, Volume]],
    sequences: Sequence[str],
    *,
    lesions: Mapping[str, Volume] | None = None,
    lesion_classes: Sequence[str] = (),
    tile: int = 150,
) -> bytes:
    """Studies in rows, sequences in columns, each in one plane of the patient's world, as PNG.

    The scans may lie on any grids and in any order of axes; a misalignment between the sequences shows.

    Args:
        studies: study -> sequence -> scan; a missing sequence leaves its place empty, a study needs one at least.
        sequences: the columns.
        lesions: study -> lesion codes 2, 3, ...: the plane goes through its largest area, and it is outlined where
            ``lesion_classes`` are given.
        lesion_classes: lesion classes in the order of their codes.
        tile: longest side of a picture, pixels.
    """
    rows = []
    for study, scans in studies.items():
        lesion = (lesions or {}).get(study)
        first = next(scans[name] for name in sequences if name in scans)
        frame = frame_of_size(first, lesion, PIXELS)
        rows.append([_tile(scans.get(name), frame, lesion, lesion_classes) for name in sequences])
    legend = style.label_legend(lesion_classes)[1:] if lesions and lesion_classes else []
    layout = Layout(tile=tile, column_titles=list(sequences), row_titles=list(studies), legend=legend)
    return png(mosaic(rows, layout))


def _tile(scan: Volume | None, frame: Frame, lesion: Volume | None, lesion_classes: Sequence[str]) -> Tile | None:
    if scan is None:
        return None
    picture = strip_tiles.gray(scan, frame)(0)
    if lesion is None or not lesion_classes:
        return picture
    codes = frame.plane(lesion, 0, nearest=True)
    colours = style.class_colours(lesion_classes).values()
    return Tile(picture.pixels, tuple((codes == code, colour) for code, colour in enumerate(colours, start=2)))
