"""Training: one loop, the original's stage schedule, checkpoints that resume bit for bit."""

from samplecnn.training.loop import TrainResult, resume, train
from samplecnn.training.options import TrainOptions

__all__ = ["TrainOptions", "TrainResult", "resume", "train"]
