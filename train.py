#!/usr/bin/env python3
"""python train.py DATASET [NAME]: the original's command, the same as `samplecnn train`."""

from samplecnn.cli.app import run_script

if __name__ == "__main__":
    run_script("train")
