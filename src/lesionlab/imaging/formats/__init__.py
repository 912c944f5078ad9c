"""The formats a scan may have on disk, read by one pair of functions: NIfTI, MetaImage, DICOM series."""

from lesionlab.imaging.formats.reading import load, look
from lesionlab.imaging.formats.scan import Scan, ScanHeader

__all__ = ["Scan", "ScanHeader", "load", "look"]
