"""Builds a data set's shards: python build_dataset.py DATASET --data-dir ./data"""

from samplecnn.cli.app import run_alone
from samplecnn.cli.build import build

if __name__ == "__main__":
    run_alone(build)
