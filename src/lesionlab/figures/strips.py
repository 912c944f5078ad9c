"""A study's quality-control strip: three planes of the patient through every stage of preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from lesionlab.figures import strip_tiles as tiles
from lesionlab.figures import style
from lesionlab.figures.frames import Frame, foreground, frame_around
from lesionlab.figures.mosaic import PAPER, Layout, mosaic, webp
from lesionlab.imaging.volume import Volume

BAND = 13  # columns side by side before the strip goes on below
LESION_BACKDROP = "FLAIR"  # where lesions stand out; the reference where it is not there

Stages = Mapping[str, Mapping[str, Volume]]


@dataclass(frozen=True)
class Column:
    """One column of a strip: its group, its title, and how each of its planes is drawn."""

    group: str
    title: str
    draw: tiles.Draw


@dataclass(frozen=True)
class _View:
    stages: Stages
    frame: Frame
    sequences: Sequence[str]
    reference: str
    lesion_classes: Sequence[str]
    brain: Volume | None

    def stage(self, name: str) -> Mapping[str, Volume]:
        return self.stages.get(name, {})


def study_strip(
    stages: Stages,
    *,
    sequences: Sequence[str],
    reference: str,
    lesion_classes: Sequence[str] = (),
    tile: int = 104,
    quality: int = 75,
) -> bytes:
    """The strip of one study as WebP bytes: planes in rows, stages in columns, in as many bands as needed.

    The volumes may lie on any grids: all are sampled in the same planes of the patient's world, so that a shift, a
    flip or a wrong affine between stages shows. What is not there is left out.

    Args:
        stages: stage -> name -> volume. Read are ``raw`` (reference), ``coregister`` (sequences), ``bias`` (sequences
            and ``field_<sequence>``, log units), ``standardize`` (sequences, in [0, 1] or [-1, 1]), ``tissues``
            (``CSF``, ``GM``, ``WM``), ``atlas`` (sequences); ``brain`` (mask) and ``lesion`` (codes 2, 3, ...) are
            taken from the last stage that has them.
        sequences: sequences in the configured order.
        reference: the sequence the others were aligned to.
        lesion_classes: lesion classes in the order of their codes.
        tile: longest side of a picture, pixels.
        quality: WebP quality.

    Raises:
        ValueError: no stage has the reference sequence or a brain mask, or the mask is empty.
    """
    brain = last_named(stages, "brain")
    scan, seen = last_named(stages, reference), first_named(stages, reference)
    if brain is None and scan is None:
        raise ValueError(
            f"a strip needs the reference sequence {reference} or a brain mask, stages have {list(stages)}"
        )
    frame = frame_around(brain or foreground(scan), head=seen, lesion=last_named(stages, "lesion"))  # type: ignore[arg-type]
    columns = _columns(_View(stages, frame, sequences, reference, lesion_classes, brain))
    return webp(_in_bands(columns, len(frame.heights), tile), quality)


def strip_legend(lesion_classes: Sequence[str]) -> list[tuple[str, str]]:
    """Names and colours of what strips draw, for the page that shows them."""
    drawn = [("brain mask", tiles.MASK_COLOUR), ("edges of the reference", tiles.EDGE_COLOUR)]
    return [*drawn, *style.label_legend(lesion_classes)[1:], *zip(tiles.TISSUES, tiles.TISSUE_COLOURS, strict=True)]


def last_named(stages: Stages, name: str) -> Volume | None:
    """The volume of that name in the last stage that has one."""
    return next((volumes[name] for volumes in reversed(list(stages.values())) if name in volumes), None)


def first_named(stages: Stages, name: str) -> Volume | None:
    """The volume of that name in the first stage that has one."""
    return next((volumes[name] for volumes in stages.values() if name in volumes), None)


def _columns(view: _View) -> list[Column]:
    return [*_alignment(view), *_bias(view), *_standardized(view), *_lesion(view), *_priors(view)]


def _alignment(view: _View) -> list[Column]:
    raw, aligned, frame = view.stage("raw"), view.stage("coregister"), view.frame
    present = [name for name in view.sequences if name in aligned]
    columns = [Column("raw", view.reference, tiles.gray(raw[view.reference], frame))] if view.reference in raw else []
    columns += [Column("aligned, mask", name, tiles.outlined(aligned[name], frame, view.brain)) for name in present]
    if view.reference in aligned:
        over = aligned[view.reference]
        columns += [
            Column("reference's edges over", name, tiles.edges(aligned[name], over, frame, view.brain))
            for name in present
            if name != view.reference
        ]
    return columns


def _bias(view: _View) -> list[Column]:
    before, after, name = view.stage("coregister"), view.stage("bias"), view.reference
    if name not in after:
        return []
    group = f"bias, {name}"
    columns = [Column(group, "before", tiles.gray(before[name], view.frame, view.brain))] if name in before else []
    columns.append(Column(group, "after", tiles.gray(after[name], view.frame, view.brain)))
    field = after.get(f"field_{name}")
    if field is not None:
        columns.append(Column(group, "log field", tiles.log_field(field, view.frame, view.brain)))
    return columns


def _standardized(view: _View) -> list[Column]:
    volumes = view.stage("standardize")
    names = [name for name in view.sequences if name in volumes]
    return [Column("standardized", name, tiles.fixed(volumes[name], view.frame)) for name in names]


def _lesion(view: _View) -> list[Column]:
    codes = last_named(view.stages, "lesion")
    volumes = view.stage("standardize") or view.stage("coregister")
    name = LESION_BACKDROP if LESION_BACKDROP in volumes else view.reference
    if codes is None or name not in volumes:
        return []
    return [Column("lesion", f"on {name}", tiles.lesion(volumes[name], codes, view.frame, view.lesion_classes))]


def _priors(view: _View) -> list[Column]:
    tissues, atlas = view.stage("tissues"), view.stage("atlas")
    columns = []
    if all(name in tissues for name in tiles.TISSUES):
        columns.append(Column("tissues", "CSF GM WM", tiles.tissue(tissues, view.frame)))
    names = [name for name in view.sequences if name in atlas]
    return columns + [Column("atlas", name, tiles.fixed(atlas[name], view.frame)) for name in names]


def _in_bands(columns: Sequence[Column], planes: int, tile: int) -> Image.Image:
    bands = [_band(band, planes, tile) for band in _cut(columns)]
    space = tile // 8
    width, height = max(band.width for band in bands), sum(band.height + space for band in bands) - space
    canvas, top = Image.new("RGB", (width, height), PAPER), 0
    for band in bands:
        canvas.paste(band, (0, top))
        top += band.height + space
    return canvas


def _cut(columns: Sequence[Column]) -> list[list[Column]]:
    # Groups stay whole: a band ends before the group that would make it too wide.
    bands: list[list[Column]] = [[]]
    for group in _groups(columns):
        members = [column for column in columns if column.group == group]
        if bands[-1] and len(bands[-1]) + len(members) > BAND:
            bands.append([])
        bands[-1] += members
    return bands


def _band(columns: Sequence[Column], planes: int, tile: int) -> Image.Image:
    counts = [(group, sum(column.group == group for column in columns)) for group in _groups(columns)]
    layout = Layout(tile=tile, gap=2, font=12, column_titles=[column.title for column in columns], groups=counts)
    return mosaic([[column.draw(at) for column in columns] for at in range(planes)], layout)


def _groups(columns: Sequence[Column]) -> list[str]:
    return list(dict.fromkeys(column.group for column in columns))
