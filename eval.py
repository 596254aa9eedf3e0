#!/usr/bin/env python3
"""python eval.py DATASET MODEL: the original's command, the same as `samplecnn eval`."""

from samplecnn.cli.app import run_alone
from samplecnn.cli.eval import evaluate_command

if __name__ == "__main__":
    run_alone(evaluate_command)
