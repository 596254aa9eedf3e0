"""Builds of the small data sets of conftest.py."""

from samplecnn.shards import build_table
from samplecnn.task import Task

TASK = Task("made", ("a", "b"), sample_rate=8000, window=2000)


def build(table, home, **options):
    return build_table(table, home, **{"workers": 1, "clips_per_shard": 10, "progress": False, **options})
