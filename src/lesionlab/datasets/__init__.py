"""Kedro datasets for the project's own kinds of file."""

from lesionlab.datasets.folders import Folders, FoldersDataset
from lesionlab.datasets.gallery import GalleryDataset
from lesionlab.datasets.index import SliceStoresDataset, TrainingRunsDataset
from lesionlab.datasets.plan import TrialPlanDataset
from lesionlab.datasets.store import SliceStoreDataset, SubjectStoreDataset
from lesionlab.datasets.text import TableDataset, TextDataset
from lesionlab.datasets.whole import WholeCSVDataset, WholeJSONDataset, WholeParquetDataset

__all__ = [
    "Folders",
    "FoldersDataset",
    "GalleryDataset",
    "SliceStoreDataset",
    "SliceStoresDataset",
    "SubjectStoreDataset",
    "TableDataset",
    "TextDataset",
    "TrainingRunsDataset",
    "TrialPlanDataset",
    "WholeCSVDataset",
    "WholeJSONDataset",
    "WholeParquetDataset",
]
