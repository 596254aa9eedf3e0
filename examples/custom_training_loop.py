"""Trains a SampleCNN with a loop of your own: it is a torch.nn.Module, and built data sets give NumPy arrays.

    python custom_training_loop.py DATASET OUT [STEPS]

DATASET was built with `samplecnn build`; OUT is a folder that every command then takes as a MODEL.
"""

import sys

import numpy as np
import torch

import samplecnn
from samplecnn.audio import standardise
from samplecnn.model_files import save
from samplecnn.models import blocks_for_window
from samplecnn.shards import open_split


def main(dataset: str, out: str, steps: int = 60, batch_size: int = 16) -> None:
    segments = open_split(dataset, "./data", "train")
    task = segments.task
    config = samplecnn.ModelConfig(
        block="res1", num_blocks=blocks_for_window(task.window), num_classes=task.num_classes, features=8
    )
    model = samplecnn.SampleCNN(config, task).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        rows = np.sort(rng.integers(0, len(segments), batch_size))
        waves = torch.from_numpy(standardise(segments.gather(rows), task))  # float32 [batch, window]
        labels = torch.from_numpy(segments.labels[rows]).float()  # 0 or 1, [batch, classes]
        logits = model(waves)
        if task.kind == "multiclass":
            loss = torch.nn.functional.cross_entropy(logits, labels)
        else:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            print(f"step {step + 1}  loss {loss.item():.4f}")
    save(model.eval(), out)
    print("model:", out)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
