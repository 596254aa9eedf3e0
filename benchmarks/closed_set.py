#!/usr/bin/env python3
"""Accuracy of a model among some of its classes: the most probable of these, on the test clips that have one of them.

    python benchmarks/closed_set.py DATASET MODEL CLASS[,CLASS...] [--data-dir DATA] [--half] [--split test]

For the keywords of a model that also has `_unknown_` and `_background_`, or the instruments of one whose other labels
are dynamics and articulations. Prints JSON: accuracy, its 95 % interval (Wilson), clips, and accuracy by class.
`--half` rounds the weights to float16 first, as packaged models have them.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np

import samplecnn
from samplecnn.evaluation import Predictions, predict
from samplecnn.shards import open_split
from samplecnn.task import Task
from samplecnn.zoo.card import wilson


def among(found: Predictions, task: Task, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of the clips that have one of the classes `names`: which, and the most probable of these, as indices of names."""
    columns = [task.classes.index(name) for name in names]
    one = found.y_true[:, columns].sum(1) == 1
    return found.y_true[one][:, columns].argmax(1), found.y_prob[one][:, columns].argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("model")
    parser.add_argument("classes", help="separated by commas")
    parser.add_argument("--data-dir", default="./data")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    options = parser.parse_args()
    model = samplecnn.load(options.model).eval()
    if options.half:
        model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    names = options.classes.split(",")
    found = predict(model, open_split(options.dataset, options.data_dir, options.split), batch_size=64)
    truth, guess = among(found, model.task, names)
    right = truth == guess
    share = float(right.mean())
    print(
        json.dumps(
            {
                "model": options.model,
                "dataset": options.dataset,
                "split": options.split,
                "half": options.half,
                "accuracy": round(share, 5),
                "interval": [round(value, 5) for value in wilson(int(right.sum()), len(right))],
                "clips": len(right),
                "by_class": {
                    name: [round(float(right[truth == index].mean()), 4), int((truth == index).sum())]
                    for index, name in enumerate(names)
                    if np.any(truth == index)
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
