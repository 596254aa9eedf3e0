"""Loss and scores over the validation split, and scores of the test split; several processes divide them."""

import numpy as np
import torch

from samplecnn.evaluation import Scores, predict, score
from samplecnn.hardware import tuned
from samplecnn.models import SampleCNN, activate
from samplecnn.processes import ONE, Processes
from samplecnn.shards import Segments
from samplecnn.shards.folds import Subset
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
    processes: Processes = ONE,
) -> dict[str, float] | None:
    """Loss and scores over all segments, each of which counts as a clip.

    Args:
        model: with its task, on the device; left in eval mode.
        segments: of the validation split.
        batch_size: segments in a batch.
        num_readers: threads that read batches ahead.
        device, precision: those of the training.
        title: of the progress bar.
        processes: that divide the segments; each has all figures in the end.

    Returns:
        val_loss (mean over segments), val_roc_auc and, where a clip has one class, val_accuracy; None if the model
        gives values that are not finite.
    """
    task = segments.task
    model.eval()
    losses, counts, outputs, rows = [], [], [], processes.rows(len(segments))
    bar = Progress(len(rows), title, "segments")
    with bar, tuned(device, precision):
        for audio, labels in batches(segments, rows, batch_size, num_readers, device=device):
            logits = model(standardised(audio, task))
            losses.append(cross_entropy(logits, labels, task))
            counts.append(len(audio))
            outputs.append(activate(logits, task))
            bar.advance(len(audio))
    values = torch.stack(losses).tolist() if losses else []
    own = sum(value * count for value, count in zip(values, counts, strict=True))
    parts = processes.gather((own, torch.cat(outputs).cpu().numpy() if outputs else None))
    total = sum(part[0] for part in parts)
    probabilities = np.concatenate([part[1] for part in parts if part[1] is not None])
    if not np.isfinite(probabilities).all():
        return None
    scores = score(segments.labels, probabilities, task)
    figures = {"val_loss": total / len(segments), "val_roc_auc": scores.roc_auc}
    if task.kind == "multiclass":
        figures["val_accuracy"] = scores.accuracy
    return figures


def test_scores(
    model: SampleCNN, segments: Segments, batch_size: int, num_readers: int, processes: Processes = ONE
) -> Scores:
    """Scores of a split from the probabilities of its clips, in full precision.

    Args: as for `validate`.
    """
    part, own = _part(segments, processes), None
    if part is not None:
        found = predict(model, part, batch_size, progress=True, num_readers=num_readers)
        own = found.y_true, found.y_prob
    parts = [values for values in processes.gather(own) if values is not None]
    y_true, y_prob = (np.concatenate(values) for values in zip(*parts, strict=True))
    return score(y_true, y_prob, segments.task)


def _part(segments: Segments, processes: Processes) -> Segments | None:
    """The clips that this process scores; None if there are fewer clips than processes."""
    if processes.count == 1:
        return segments
    clips, ends = processes.rows(segments.num_clips), np.append(segments.clip_starts, len(segments))
    if len(clips) == 0:
        return None
    return Subset([segments], np.arange(ends[clips[0]], ends[clips[-1] + 1]), segments.split, segments.task)
