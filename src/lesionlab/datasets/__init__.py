"""Kedro datasets for the project's own kinds of file."""

from lesionlab.datasets.folders import Folders, FoldersDataset
from lesionlab.datasets.gallery import GalleryDataset
from lesionlab.datasets.store import SliceStoreDataset, SubjectStoreDataset, TrainingRunDataset, TrainingRunsDataset
from lesionlab.datasets.text import TableDataset, TextDataset
from lesionlab.datasets.whole import WholeCSVDataset, WholeJSONDataset, WholeParquetDataset

__all__ = [
    "Folders",
    "FoldersDataset",
    "GalleryDataset",
    "SliceStoreDataset",
    "SubjectStoreDataset",
    "TableDataset",
    "TextDataset",
    "TrainingRunDataset",
    "TrainingRunsDataset",
    "WholeCSVDataset",
    "WholeJSONDataset",
    "WholeParquetDataset",
]
