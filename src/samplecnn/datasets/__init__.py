"""Data sets: label files in, tables of (id, path, split, labels) out. Needs neither torch nor any recording."""

from samplecnn.datasets.base import SPLITS, Clip, DataSet, Download, Published, Table
from samplecnn.datasets.custom import CustomOptions
from samplecnn.datasets.folder import Folder
from samplecnn.datasets.info import DatasetInfo, describe
from samplecnn.datasets.manifest import Manifest
from samplecnn.datasets.registry import REGISTRY, Source, dataset_name, open_dataset

__all__ = [
    "REGISTRY",
    "SPLITS",
    "Clip",
    "CustomOptions",
    "DataSet",
    "DatasetInfo",
    "Download",
    "Folder",
    "Manifest",
    "Published",
    "Source",
    "Table",
    "dataset_name",
    "describe",
    "open_dataset",
]
