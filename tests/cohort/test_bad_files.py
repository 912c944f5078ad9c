"""Files that are wrong in the ways files are: each costs its own study and says why, or is told as odd."""

from __future__ import annotations

import gzip
import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionlab.cohort.checks import CheckedCohort, CheckOptions, read_cohort
from lesionlab.cohort.layout import parse_layout
from lesionlab.cohort.oddities import find_oddities
from lesionlab.imaging.formats.nifti import read_volume

SHAPE = (6, 5, 4)
LAYOUT = parse_layout(
    {
        "study": "{subject}",
        "sequences": {"T1w": "{subject}/T1w.nii*"},
        "lesion": {"file": "{subject}/*mask.nii.gz", "drawn_on": "T1w", "codes": {1: "lesion"}, "optional": True},
    }
)
PIXDIM, QFORM_CODE, SFORM_CODE, SLOPE, SROW, UNITS, DIM = 76, 252, 254, 112, 280, 123, 40


def data(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1).reshape(shape, order="F").astype(np.int16)


def header(
    kind: int = 4, bits: int = 16, order: str = "<", shape: tuple[int, ...] = SHAPE, affine: np.ndarray | None = None
) -> bytearray:
    """A NIfTI-1 header by the standard's byte offsets, with an sform of 2 mm voxels."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    block = bytearray(352)
    struct.pack_into(order + "i", block, 0, 348)
    struct.pack_into(order + "8h", block, DIM, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into(order + "2h", block, 70, kind, bits)
    struct.pack_into(order + "8f", block, PIXDIM, 1.0, 2.0, 2.0, 2.0, 0, 0, 0, 0)
    struct.pack_into(order + "f", block, 108, 352.0)
    struct.pack_into("B", block, UNITS, 2)
    struct.pack_into(order + "2h", block, QFORM_CODE, 0, 1)
    struct.pack_into(order + "12f", block, SROW, *affine[:3].ravel())
    block[344:348] = b"n+1\0"
    return block


def put(path: Path, block: bytearray, voxels: bytes, *changes: tuple[str, int, tuple[float, ...]]) -> None:
    for layout, offset, values in changes:
        struct.pack_into(layout, block, offset, *values)
    path.write_bytes(gzip.compress(bytes(block) + voxels, mtime=0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "T1w.nii.gz", header(), data().astype("<i2").tobytes(order="F"))
    return tmp_path


def checked(root: Path, **options: Any) -> CheckedCohort:
    return read_cohort(root, LAYOUT, ["T1w"], ["lesion"], CheckOptions(require_lesions=False, **options))


def flip(path: Path) -> None:
    """One bit in the middle of the packed voxels, stored uncompressed so that only the checksum can tell."""
    content = gzip.decompress(path.read_bytes())
    packed = bytearray(gzip.compress(content, compresslevel=0, mtime=0))
    packed[len(packed) // 2] ^= 4
    path.write_bytes(packed)


def huge(path: Path) -> None:
    put(path, header(shape=(1024, 1024, 1024)), b"")


def surplus(path: Path) -> None:
    put(path, header(), bytes(200_000))


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("other.nii.gz"))
    path.with_name("other.nii.gz").symlink_to(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def two_slices(path: Path) -> None:
    put(path, header(shape=(6, 5, 2)), data((6, 5, 2)).tobytes(order="F"))


def colours(path: Path) -> None:
    put(path, header(128, 24), bytes(3 * 120))


def complex_numbers(path: Path) -> None:
    put(path, header(32, 64), np.ones(SHAPE, "<c8").tobytes())


def no_size(size: float) -> Callable[[Path], None]:
    return lambda path: put(path, header(), data().tobytes(), ("<2h", QFORM_CODE, (1, 0)), ("<f", PIXDIM + 8, (size,)))


FAULTS: list[tuple[str, Callable[[Path], None], str]] = [
    ("a bit flipped", flip, "cannot be read as NIfTI, it may be truncated or damaged"),
    ("cut", lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated or damaged"),
    ("a cube of 1024", huge, "larger than scans may be.*4096 MB.*cohort.max_scan_mb"),
    ("more than it says", surplus, "holds more than its header says"),
    ("two slices", two_slices, "2 slices, too few to be registered"),
    ("colours", colours, "no grey values"),
    ("complex", complex_numbers, "no grey values"),
    ("size 0", no_size(0.0), "voxel size that is not above 0"),
    ("size below 0", no_size(-2.0), "voxel size that is not above 0"),
    ("size NaN", no_size(float("nan")), "voxel size that is not above 0|cannot be read"),
]


@pytest.mark.parametrize(("spoil", "words"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_fault_costs_its_own_study(root: Path, spoil: Callable[[Path], None], words: str) -> None:
    path = root / "bad" / "T1w.nii.gz"
    spoil(path)
    result = checked(root, max_scan_mb=1024)
    assert list(result.table["study"]) == ["good"]
    reason = result.quarantine["reason"].item()
    assert re.search(words, reason, re.DOTALL) and "Cure:" in reason and str(path) in reason


@pytest.mark.parametrize(
    ("spoil", "words"), [(loop, "leads nowhere or in a circle"), (folder, "a folder of that name")]
)
def test_a_place_that_holds_no_file(root: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(root / "bad" / "T1w.nii.gz")
    result = checked(root)
    assert list(result.table["study"]) == ["good"] and list(result.quarantine["study"]) == ["bad"]
    with pytest.raises(ValueError, match=words):
        read_volume(root / "bad" / "T1w.nii.gz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(root: Path) -> None:
    (root / "bad" / "T1w.nii.gz").chmod(0)
    assert "permission denied" in checked(root).quarantine["reason"].item()


def test_permission_denied_by_what_the_system_raises(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is denied: the system call is made to answer as it does to others."""
    denied = root / "bad" / "T1w.nii.gz"
    real = nib.load

    def load(path: Path) -> Any:
        if Path(path) == denied:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(nib, "load", load)
    result = checked(root)
    assert "permission denied" in result.quarantine["reason"].item() and list(result.table["study"]) == ["good"]


def test_a_huge_header_is_refused_before_memory_is_taken(root: Path) -> None:
    huge(root / "bad" / "T1w.nii.gz")
    tracemalloc.start()
    checked(root, max_scan_mb=1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def odd(root: Path) -> str:
    result = checked(root)
    assert result.quarantine.empty
    table = find_oddities(result.scans)
    return "; ".join(table.loc[(table["study"] == "bad") & ~table["oddity"].str.contains("covers|same"), "oddity"])


def test_nothing_odd_about_a_good_file(root: Path) -> None:
    assert odd(root) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("<2h", QFORM_CODE, (0, 0))], "neither sform nor qform is set"),
        (  # quaternion 0 is no turn, so the two differ by the offset alone: (0, 3, 4) is 5 mm long
            [("<2h", QFORM_CODE, (1, 1)), ("<3f", 268, (0.0, 3.0, 4.0))],
            "sform and qform disagree by up to 5.0 mm; the sform is used",
        ),
        ([("<3f", PIXDIM + 4, (0.0, 2.0, 2.0))], "are not above 0; the sform's are used"),
        ([("<3f", PIXDIM + 4, (3.0, 2.0, 2.0))], "are not pixdim's [3.0, 2.0, 2.0]; the sform is used"),
        ([("B", UNITS, (3,))], "micrometres; taken as millimetres"),
    ],
)
def test_headers_that_contradict_themselves_are_told(root: Path, changes: list[Any], words: str) -> None:
    put(root / "bad" / "T1w.nii.gz", header(), data().tobytes(order="F"), *changes)
    assert words in odd(root)


def test_the_sform_is_used_where_the_two_disagree(root: Path) -> None:
    path = root / "bad" / "T1w.nii.gz"
    affine = np.array([[0, 2.0, 0, 5], [2.0, 0, 0, 6], [0, 0, -2.0, 7], [0, 0, 0, 1]])  # permuted and left-handed
    put(path, header(affine=affine), data().tobytes(order="F"), ("<2h", QFORM_CODE, (1, 1)))
    np.testing.assert_allclose(read_volume(path).affine, affine)


@pytest.mark.parametrize(
    ("affine", "orientation", "angle"),
    [
        (np.diag([2.0, 2, 2, 1]), "RAS", 0.0),
        (np.diag([-2.0, 2, 2, 1]), "LAS", 0.0),  # left-handed
        (np.array([[0, 0, 2.0, 0], [2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]]), "ASR", 0.0),  # permuted
        (
            np.array(
                [[np.cos(0.5), -np.sin(0.5), 0, 0], [np.sin(0.5), np.cos(0.5), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
            ),
            "RAS",
            np.degrees(0.5),
        ),
    ],
)
def test_orientations_are_told(root: Path, affine: np.ndarray, orientation: str, angle: float) -> None:
    put(root / "bad" / "T1w.nii.gz", header(affine=affine), data().tobytes(order="F"))
    row = checked(root).scans.set_index("study").loc["bad"]
    assert row["orientation"] == orientation
    assert row["oblique_deg"] == pytest.approx(angle, abs=0.06)
    np.testing.assert_allclose(read_volume(row["file"]).affine, affine, atol=1e-6)


def test_big_endian_and_scaled_bytes(root: Path) -> None:
    path = root / "bad" / "T1w.nii.gz"
    put(path, header(order=">"), data().astype(">i2").tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(path).data, data())
    assert checked(root).scans.set_index("study").loc["bad", "dtype"] == "int16"
    stored = (data() % 200 - 100).astype(np.int8)
    put(path, header(256, 8), stored.tobytes(order="F"), ("<2f", SLOPE, (0.5, -10.0)))
    np.testing.assert_allclose(read_volume(path).data, stored * 0.5 - 10)
    row = checked(root).scans.set_index("study").loc["bad"]
    assert (row["dtype"], row["minimum"], row["maximum"]) == (
        "int8 scaled",
        stored.min() * 0.5 - 10,
        stored.max() * 0.5 - 10,
    )


def test_four_dimensions_with_one_volume(root: Path) -> None:
    put(root / "bad" / "T1w.nii.gz", header(shape=(*SHAPE, 1)), data().tobytes(order="F"))
    assert odd(root) == ""
    np.testing.assert_array_equal(read_volume(root / "bad" / "T1w.nii.gz").data, data())


@pytest.mark.parametrize(
    "name", ["Jürgen Müller", 'O\'Neil "Bob"', "<script>alert(1)</script>"[:14], "中文", "a..b", "#1=2"]
)
def test_names_of_any_script(root: Path, name: str) -> None:
    (root / "bad").rename(root / name)
    assert set(checked(root).table["study"]) == {name, "good"}


def test_folders_that_link_in_a_circle(root: Path) -> None:
    (root / "bad" / "again").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    deep = parse_layout({"study": "**/{subject}/T1w.nii.gz", "sequences": {"T1w": "**/{subject}/T1w.nii.gz"}})
    result = read_cohort(root, deep, ["T1w"], ["lesion"], CheckOptions(require_lesions=False))
    assert set(result.table["study"]) == {"bad", "good"} and result.quarantine.empty


def test_an_empty_mask_is_odd_and_no_fault(root: Path) -> None:
    put(root / "bad" / "<b>mask.nii.gz", header(2, 8), bytes(120))
    assert odd(root) == "the lesion mask is empty"
