#!/usr/bin/env python3
"""python eval.py DATASET MODEL: the original's command, the same as `samplecnn eval`."""

from samplecnn.cli.app import run_script

if __name__ == "__main__":
    run_script("eval")
