from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.figures import charts, curves, panels, style
from lesionlab.figures.mosaic import Layout, Tile, border, mosaic, windowed

CLASSES = ["edema", "cavity", "tumor"]
SEQUENCES = ["T1w", "FLAIR"]


@pytest.fixture
def label():
    """Codes 0 to 4 in vertical stripes, 30 x 20."""
    return np.repeat(np.arange(5, dtype=np.uint8), 4)[None, :].repeat(30, axis=0)


def test_label_maps_have_the_papers_colours(label):
    picture = style.coloured(label, CLASSES)
    background, brain, edema, cavity, tumor = (picture[0, 4 * code].astype(int) for code in range(5))
    assert not background.any()
    assert np.ptp(brain) < 16  # gray
    assert edema.argmax() == 1  # green
    assert cavity.argmax() == 2  # blue
    assert tumor[:2].min() > 150 > tumor[2]  # yellow


def test_colours_follow_the_classes_not_their_order(label):
    swapped = style.coloured(label, ["tumor", "cavity", "edema"])
    assert (swapped[0, 8] == style.coloured(label, CLASSES)[0, 16]).all()


def test_a_code_without_class_is_refused(label):
    with pytest.raises(ValueError, match="allowed are 0 to 2"):
        style.coloured(label, ["lesion"])


def test_unknown_classes_get_colours_of_their_own():
    colours = style.class_colours(["edema", "lesion", "other"])
    assert len(set(colours.values())) == 3


def test_a_window_clips():
    assert windowed(np.array([-5.0, 0.0, 1.0, 9.0, np.nan]), 0.0, 2.0).tolist() == [0.0, 0.0, 0.5, 1.0, 0.0]
    assert np.isfinite(windowed(np.ones(3), 1.0, 1.0)).all()


def test_the_border_of_a_square_is_its_outermost_ring():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    # 4 x 4 pixels without the 2 x 2 inside.
    assert border(mask, (8, 8)).sum() == 12


def test_a_mosaic_sets_tiles_where_it_should():
    white, black = Tile(np.ones((10, 20))), Tile(np.zeros((10, 20)))
    picture = np.asarray(mosaic([[white, black], [None, white]], Layout(tile=20, gap=4)))
    # Two rows of 10 and two columns of 20 with one gap of 4 each.
    assert picture.shape == (24, 44, 3)
    assert (picture[5, 5] == 255).all()
    assert (picture[5, 30] == 0).all()
    assert (picture[20, 30] == 255).all()


def test_contours_are_drawn_in_their_colour():
    mask = np.zeros((10, 10), bool)
    mask[3:7, 3:7] = True
    picture = np.asarray(mosaic([[Tile(np.zeros((10, 10)), ((mask, "#ff0000"),))]], Layout(tile=10)))
    assert (picture[3, 3] == [255, 0, 0]).all()
    assert (picture[5, 5] == 0).all()


def test_a_legend_wider_than_the_pictures_is_not_cut_off():
    names = [(name, "#ff0000") for name in ("normal brain", "edema", "tumor")]
    tile = Tile(np.zeros((20, 20)))
    plain = mosaic([[tile]], Layout(tile=20, row_titles=["a long title of the row"]))
    wide = mosaic([[tile]], Layout(tile=20, row_titles=["a long title of the row"], legend=names))
    # What follows the last swatch to the right is its name, and then paper.
    strip = np.asarray(wide)[plain.height :]
    assert wide.width > plain.width and (strip[:, -3:] == strip[0, -1]).all()


def test_a_mosaic_without_picture_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        mosaic([[None]])


def test_montage_has_a_row_per_subject_and_a_column_per_sequence(decoded, label):
    images = np.linspace(-1, 1, 3 * 2 * 30 * 20, dtype=np.float32).reshape(3, 2, 30, 20)
    bare = decoded(panels.montage(images, [""] * 3, ["", ""], tile=30))
    # Three rows of 30 and two columns of 20 pixels and gaps of 3; above them a title's line and a gap, left a margin
    # of one letter's height.
    assert bare.shape == (3 * 30 + 2 * 3 + round(13 * 1.35) + 3, 2 * 20 + 3 + 13, 3)
    labelled = decoded(
        panels.montage(images, ["a"] * 3, SEQUENCES, labels=np.stack([label] * 3), lesion_classes=CLASSES, tile=60)
    )
    colours = {tuple(colour) for colour in labelled.reshape(-1, 3)}
    assert {style.rgb(colour) for colour in style.CLASS_COLOURS.values()} <= colours


@pytest.mark.parametrize("channels", [2, 5])
def test_a_panel_shows_label_real_synthetic_and_unsureness(decoded, label, channels):
    real = np.full((channels, 30, 20), -0.5, np.float32)
    row = panels.PanelRow("s", label, real, -real, np.full((channels, 15, 10), 0.75, np.float32))
    picture = decoded(panels.synthesis_panel([row], [f"q{at}" for at in range(channels)], CLASSES, tile=30))
    gray, counts = np.unique(picture[(np.ptp(picture, axis=2) == 0)][:, 0], return_counts=True)
    pixels = dict(zip(gray.tolist(), counts.tolist(), strict=True))
    # -0.5, 0.5 and 1 - 0.75 on a scale of 0 to 255; -0.5 in [-1, 1] is 0.25 too, so real and unsureness share a gray.
    assert pixels[64] >= 2 * channels * 30 * 20
    assert pixels[191] >= channels * 30 * 20
    # Two sequences: one row of 30 pixels, a legend and two lines of titles. Five: three rows.
    assert (picture.shape[0] > 120) == (channels == 5)


def test_a_panel_without_confidence_has_two_kinds(decoded, label):
    image = np.zeros((2, 30, 20), np.float32)
    sure = np.ones((2, 30, 20), np.float32)
    widths = [
        decoded(panels.synthesis_panel([panels.PanelRow("s", label, image, image, c)], SEQUENCES, CLASSES)).shape[1]
        for c in (None, sure)
    ]
    assert widths[0] < widths[1]


def test_moments_stand_in_order_above_the_real_slices(decoded, label):
    levels = {"step 1": -0.8, "step 2": -0.2}
    moments = {name: np.full((1, 1, 30, 20), value, np.float32) for name, value in levels.items()}
    real = np.full((1, 1, 30, 20), 0.6, np.float32)
    picture = decoded(panels.moments_panel(moments, real, label[None], ["s"], ["T1w"], CLASSES, tile=30))
    first = {}
    for level in (-0.8, -0.2, 0.6):
        alike = (picture == round(255 * (level + 1) / 2)).all(axis=2).sum(axis=1)
        first[level] = np.flatnonzero(alike >= 20)[0]  # the first line of pixels of a whole tile's width
    assert first[-0.8] < first[-0.2] < first[0.6]


def history():
    steps = np.arange(0, 300, 3)
    parts = [
        pd.DataFrame({"step": steps, "name": name, "value": np.exp(-steps / 100.0), "run": run})
        for name in ("G/adversarial", "D", "lr")
        for run in ("real", "real+25%")
    ]
    return pd.concat(parts, ignore_index=True)


def test_training_curves_draw_what_is_asked(decoded):
    everything = decoded(curves.training_curves(history()))
    one = decoded(curves.training_curves(history(), names=["D"]))
    assert everything.shape[1] > one.shape[1]
    assert {style.rgb(style.SERIES[0]), style.rgb(style.SERIES[1])} <= {tuple(c) for c in one.reshape(-1, 3)}
    assert curves.training_curves(history()) == curves.training_curves(history())


def test_a_history_without_the_columns_is_refused():
    with pytest.raises(ValueError, match="value"):
        curves.training_curves(history().drop(columns="value"))
    with pytest.raises(ValueError, match="no curve"):
        curves.training_curves(history(), names=["nothing"])


def test_the_running_mean_is_a_mean():
    values = np.zeros(90)  # 90 / 30 = windows of 3
    values[10] = 3.0
    assert curves.running_mean(values)[8:13].tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def dice(patients):
    rng = np.random.default_rng(0)
    rows = [
        (protocol, name, "dice", f"s{at}", rng.uniform(0.4, 0.9))
        for protocol in ("real", "real+25%")
        for name in CLASSES
        for at in range(patients)
    ]
    return pd.DataFrame(rows, columns=["protocol", "class", "metric", "subject", "value"])


@pytest.mark.parametrize("patients", [1, 4, 12])
def test_scores_by_protocol(decoded, patients):
    counts = {"real": (480, 0), "real+25%": (480, 240)}
    data = charts.scores_by_protocol(
        dice(patients),
        classes=CLASSES,
        protocols=list(counts),
        counts=counts,
        floors={"all tumor": {"edema": 0.1, "tumor": 0.05}},
    )
    colours = {tuple(colour) for colour in decoded(data).reshape(-1, 3)}
    assert {style.rgb(style.SERIES[0]), style.rgb(style.SERIES[1]), style.rgb(style.WARNING)} <= colours


def test_a_protocol_is_named_with_its_slices():
    counts = {"real": (480, 0), "real+25%": (480, 240)}
    assert charts.protocol_name("real", counts) == "real (480 real)"
    assert charts.protocol_name("real+25%", counts) == "real+25% (480 real + 240 synthetic)"
    assert charts.protocol_name("other", counts) == charts.protocol_name("other", None) == "other"


def test_more_protocols_than_colours_are_drawn():
    names = [f"arm {at}" for at in range(len(style.SERIES) + 2)]
    rows = pd.concat([dice(2)[lambda table: table["protocol"] == "real"].assign(protocol=name) for name in names])
    assert charts.scores_by_protocol(rows, classes=CLASSES, protocols=names)


def curve(protocols, sizes):
    rows = [
        dict(protocol=p, training_subjects=n, metric="dice", mean=0.5, ci_low=0.4, ci_high=0.6, **{"class": c})
        for p in protocols
        for n in sizes
        for c in CLASSES
    ]
    return pd.DataFrame(rows)


def test_the_low_data_curve_has_a_line_for_each_protocol(decoded):
    table = curve(["real", "real+50%", "not asked for"], [16, 4, 8])
    rows = {"SAMR": {"real": "real", "real+50%": "real+50%"}}
    data = charts.low_data_curve(table, classes=CLASSES, rows=rows)
    colours = {tuple(colour) for colour in decoded(data).reshape(-1, 3)}
    assert {style.rgb(style.SERIES[0]), style.rgb(style.SERIES[1])} <= colours
    assert style.rgb(style.SERIES[2]) not in colours
    with pytest.raises(ValueError, match="no row of hd95"):
        charts.low_data_curve(table, classes=CLASSES, rows=rows, metric="hd95")
    another = {**rows, "CG-SAMR": {"real": "real", "real+50%": "not asked for"}}
    taller = decoded(charts.low_data_curve(table, classes=CLASSES, rows=another))
    assert len(taller) > 1.5 * len(decoded(data))  # a row of plots each


def test_nothing_to_plot_is_refused():
    with pytest.raises(ValueError, match="no score of hd95"):
        charts.scores_by_protocol(dice(2), classes=CLASSES, protocols=["real"], metric="hd95")


def test_differences_and_bars(decoded, line):
    rows = [
        dict(protocol=p, **{"class": c}, metric="dice", difference=0.1, ci_low=-0.1, ci_high=0.3, p_value=0.5, n=4)
        for p in ("real+25%", "real+50%")
        for c in CLASSES
    ]
    picture = decoded(charts.differences_plot(pd.DataFrame(rows)))
    assert {style.rgb(style.SERIES[1]), style.rgb(style.SERIES[2])} <= {tuple(c) for c in picture.reshape(-1, 3)}
    cells = [
        line(method=m, sequence=s, metric="pixel_accuracy", **{"class": c})
        for m in ("CG-SAMR", "atlas")
        for s in SEQUENCES
        for c in CLASSES
    ]
    bars = charts.accuracy_bars(pd.concat(cells), methods=["CG-SAMR", "atlas"], sequences=SEQUENCES, classes=CLASSES)
    assert style.rgb(style.ACCENT) in {tuple(colour) for colour in decoded(bars).reshape(-1, 3)}


def test_the_look_leaves_the_users_settings_alone():
    import matplotlib

    before = matplotlib.rcParams["axes.titlesize"], matplotlib.rcParams["font.size"]
    curves.training_curves(history(), names=["D"])
    assert (matplotlib.rcParams["axes.titlesize"], matplotlib.rcParams["font.size"]) == before


def test_the_zoom_holds_the_lesion_and_has_the_pictures_proportions():
    label = np.ones((40, 80), np.uint8)
    label[4:10, 60:70] = 2
    rows, columns = panels.zoom_on(label)
    assert rows.start <= 4 and rows.stop >= 10 and columns.start <= 60 and columns.stop >= 70
    # The lesion takes 6 / 40 of the height, the larger share: half as much again is 9 of 40, and 18 of 80.
    assert (rows.stop - rows.start, columns.stop - columns.start) == (9, 18)
    assert panels.zoom_on(np.ones((4, 4))) == (slice(None), slice(None))


def test_synthesizers_stand_below_each_other_with_their_difference_to_the_real_slice(decoded):
    label = np.ones((20, 20), np.uint8)
    label[8:12, 8:12] = 2
    real = np.zeros((1, 20, 20), np.float32)
    row = panels.ComparedSlice("a", label, {"real": real, "alike": real, "off by a quarter": real + 0.25})
    picture = decoded(panels.comparison_panel([row], ["T1w"], ["edema"], tile=50))
    # Differences of 0 are black, of 0.25 on the scale to 0.5 half gray; there is none beside the real slice.
    columns = picture[:, -25]
    shown = {tuple(colour) for colour in columns.tolist()}
    assert (0, 0, 0) in shown and any(120 <= colour[0] <= 135 for colour in shown)
