"""Trains a SampleCNN: the original's train.py."""

from samplecnn.cli.app import run_alone
from samplecnn.cli.train import train

if __name__ == "__main__":
    run_alone(train)
