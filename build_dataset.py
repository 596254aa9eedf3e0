#!/usr/bin/env python3
"""python build_dataset.py DATASET: the original's command, the same as `samplecnn build`."""

from samplecnn.cli.app import run_script

if __name__ == "__main__":
    run_script("build")
