"""Training: one loop, the original's stage schedule, checkpoints that resume bit for bit."""

from samplecnn.training.loop import TrainResult
from samplecnn.training.options import TrainOptions
from samplecnn.training.setup import resume, train

__all__ = ["TrainOptions", "TrainResult", "resume", "train"]
