"""Loss and scores over the validation split."""

import numpy as np
import torch

from samplecnn.evaluation import score
from samplecnn.hardware import tuned
from samplecnn.models import SampleCNN, activate
from samplecnn.shards import Segments
from samplecnn.system.progress import Progress
from samplecnn.training.batches import batches, standardised
from samplecnn.training.losses import cross_entropy


@torch.no_grad()
def validate(
    model: SampleCNN,
    segments: Segments,
    batch_size: int,
    num_readers: int,
    device: torch.device,
    precision: str,
    title: str,
) -> dict[str, float] | None:
    """Loss and scores over all segments, each of which counts as a clip.

    Args:
        model: with its task, on the device; left in eval mode.
        segments: of the validation split.
        batch_size: segments in a batch.
        num_readers: threads that read batches ahead.
        device, precision: those of the training.
        title: of the progress bar.

    Returns:
        val_loss (mean over segments), val_roc_auc and, where a clip has one class, val_accuracy; None if the model
        gives values that are not finite.
    """
    task = segments.task
    model.eval()
    losses, counts, outputs = [], [], []
    bar = Progress(len(segments), title, "segments")
    with bar, tuned(device, precision):
        for audio, labels in batches(segments, np.arange(len(segments)), batch_size, num_readers, device=device):
            logits = model(standardised(audio, task))
            losses.append(cross_entropy(logits, labels, task))
            counts.append(len(audio))
            outputs.append(activate(logits, task))
            bar.advance(len(audio))
    total = sum(value * count for value, count in zip(torch.stack(losses).tolist(), counts, strict=True))
    probabilities = torch.cat(outputs).cpu().numpy()
    if not np.isfinite(probabilities).all():
        return None
    scores = score(segments.labels, probabilities, task)
    figures = {"val_loss": total / len(segments), "val_roc_auc": scores.roc_auc}
    if task.kind == "multiclass":
        figures["val_accuracy"] = scores.accuracy
    return figures
