"""A table of recordings (CSV, Parquet, JSON lines, a Raven table) as a data set."""

from pathlib import Path

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import CustomOptions
from samplecnn.datasets.manifest_reader import read_manifest
from samplecnn.datasets.rows import table_of_rows
from samplecnn.task import Task


class Manifest:
    """Paths are relative to the manifest's folder or absolute; several labels are separated by ``|``."""

    clips_per_shard = 300
    published: Published | None = None

    def __init__(self, name: str, path: Path, options: CustomOptions | None = None) -> None:
        self.name, self.path, self.options = name, path, options or CustomOptions()

    def task(self) -> Task:
        return self.table(self.path.parent).task

    def table(self, raw: Path) -> Table:
        """All rows in the manifest's order, relative paths starting from `raw`; see `rows.table_of_rows`.

        Raises:
            UsageError: a row or column that cannot be used, with the line.
        """
        rows = read_manifest(self.path, self.options.columns())
        return table_of_rows(self.path, raw, self.name, rows, self.options)
