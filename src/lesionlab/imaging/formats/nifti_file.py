"""NIfTI files, and what else nibabel reads: the header's traps told, and every byte checked before it counts."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError, SerializableImage
from nibabel.spatialimages import HeaderDataError

from lesionlab.errors import InputError
from lesionlab.imaging.formats.geometry import header_oddities
from lesionlab.imaging.formats.scan import (
    Scan,
    ScanHeader,
    check_affine,
    check_file,
    check_size,
    no_grey_values,
    three_axes,
    unreadable,
)
from lesionlab.imaging.scan_path import ScanPath

#: What reading a damaged file may raise, in the header or in the voxels
#: (a damaged header may ask for more memory than there is).
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    zlib.error,
    gzip.BadGzipFile,
)
_KIND = "NIfTI"
_GZIP_MAGIC, _GZIP_WINDOW = b"\x1f\x8b", 31
_SURPLUS = 1 << 16  # bytes after the voxels that are no fault: padding of some writers


def look(scan: ScanPath, path: Path | str, subject: str | None) -> ScanHeader:
    """Read the header alone; see :func:`lesionlab.imaging.formats.look`."""
    return _header(_open(scan.place, path, subject), scan, path, subject)


def load(scan: ScanPath, path: Path | str, subject: str | None, limit_mb: float | None) -> Scan:
    """Read a scan; see :func:`lesionlab.imaging.formats.load`. A compressed file is read to its end and checksum."""
    image = _open(scan.place, path, subject)
    header = _header(image, scan, path, subject)
    check_size(image.shape, limit_mb, path, subject)
    try:
        proxy = _whole(image, scan.place, path, subject).dataobj
        stored = proxy.get_unscaled() if scan.channel is None else _channel(proxy, scan.channel)
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(_KIND, error, path, _size(scan.place), subject) from error
    return Scan(header, np.asarray(stored).reshape(header.shape), float(proxy.slope), float(proxy.inter))


def _open(file: Path, path: Path | str, subject: str | None) -> Any:
    check_file(file, path, subject)
    try:
        return nib.load(file)
    except _UNREADABLE as error:
        raise unreadable(_KIND, error, path, _size(file), subject) from error


def _header(image: Any, scan: ScanPath, path: Path | str, subject: str | None) -> ScanHeader:
    kind = image.get_data_dtype()
    if kind.fields is not None or np.issubdtype(kind, np.complexfloating):
        raise no_grey_values(kind, path, subject)
    oddities = header_oddities(scan.place, path, subject)
    affine = check_affine(image.affine, path, subject)
    shape = image.shape if scan.channel is None else _channel_shape(image.shape, scan.channel, path, subject)
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    return ScanHeader(three_axes(shape, path, subject), affine, kind.newbyteorder("=").name, scaled, oddities)


def _channel_shape(shape: tuple[int, ...], channel: int, path: Path | str, subject: str | None) -> tuple[int, ...]:
    if len(shape) != 4 or channel >= shape[3]:
        raise InputError(
            "the file has no such channel",
            given=f"channel {channel} of shape {tuple(shape)}",
            allowed=f"channels 0 to {shape[3] - 1}" if len(shape) == 4 else "a file of four dimensions",
            cure="compare the channel names of dataset.json with the file",
            subject=subject,
            file=path,
        )
    return shape[:3]


def _channel(proxy: Any, channel: int) -> np.ndarray:
    unscaled = type(proxy)(proxy.file_like, (proxy.shape, proxy.dtype, proxy.offset, 1.0, 0.0), mmap=False)
    return np.asarray(unscaled[..., channel])


def _whole(image: Any, file: Path, path: Path | str, subject: str | None) -> Any:
    """The image over its whole content: a compressed file is unpacked to its end, where its checksum stands."""
    if not isinstance(image, SerializableImage) or not hasattr(image, "dataobj"):
        return image
    packed = file.read_bytes() if file.suffix.lower() in (".gz", ".mgz") else b""
    if not packed.startswith(_GZIP_MAGIC):
        return image
    proxy = image.dataobj
    wanted = proxy.offset + int(np.prod(proxy.shape, dtype=np.int64)) * proxy.dtype.itemsize
    content = _inflate(packed, wanted + _SURPLUS)
    if content is None:
        raise InputError(
            "the file holds more than its header says",
            given=f"more than the {wanted} bytes of shape {tuple(proxy.shape)}",
            allowed="as many voxels as the header gives",
            cure="convert the scan again: its header is probably damaged, or hides a fourth dimension",
            subject=subject,
            file=path,
        )
    return type(image).from_bytes(content)


def _inflate(packed: bytes, limit: int) -> bytes | None:
    """Unpack gzip members to the last one's checksum; ``None`` where more comes out than the limit.

    Raises:
        EOFError: the data end too early.
        zlib.error: they are damaged, or the checksum differs.
    """
    parts, have = [], 0
    while packed.startswith(_GZIP_MAGIC):
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            part = member.decompress(packed, limit + 1 - have)
            packed = member.unconsumed_tail
            if not part and not packed and not member.eof:
                raise EOFError("the compressed data end too early")
            have += len(part)
            if have > limit:
                return None
            parts.append(part)
        packed = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _size(file: Path) -> int:
    return file.stat().st_size
