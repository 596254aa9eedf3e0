"""Evaluation of models: clip-level probabilities, scores, the per-class table and plots."""

from samplecnn.evaluation.engine_comparison import Comparison, compare
from samplecnn.evaluation.evaluator import Evaluation, check_fit, evaluate, examine
from samplecnn.evaluation.metrics import ClassScores, Scores, score
from samplecnn.evaluation.predict import Predictions, predict

__all__ = [
    "ClassScores",
    "Comparison",
    "Evaluation",
    "Predictions",
    "Scores",
    "check_fit",
    "compare",
    "evaluate",
    "examine",
    "predict",
    "score",
]
