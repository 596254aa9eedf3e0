from dataclasses import replace

import numpy as np
import pytest
import torch

from samplecnn import evaluate, model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation import check_fit, examine


@pytest.fixture
def data(tmp_path, task, write_shards):
    write_shards(tmp_path / "data" / "tones" / "arrow", task, clips=30)
    return tmp_path / "data"


def test_a_trained_model_scores_high_and_an_untrained_one_does_not(data, task, make_model, learn):
    assert evaluate(make_model(task), "tones", data).accuracy < 0.7
    scores = evaluate(learn(make_model(task)), "tones", data)
    assert scores.accuracy > 0.9 and scores.roc_auc > 0.95
    assert scores.clips == 30


def test_a_saved_model_scores_the_same(data, task, make_model, tmp_path):
    model = make_model(task)
    model_files.save(model, tmp_path / "run")
    in_memory = examine(model, "tones", data)
    from_folder = examine(tmp_path / "run", "tones", data, batch_size=4, num_readers=1, device="cpu")
    np.testing.assert_allclose(in_memory.predictions.y_prob, from_folder.predictions.y_prob, atol=1e-6)
    assert from_folder.settings == {
        "split": "test", "data_dir": str(data), "batch_size": 4, "num_readers": 1, "device": "cpu",
        "shards": str(data / "tones" / "arrow"), "records_left_out": 0,
        "engine": "the model itself", "precision": "fp32",
    }  # fmt: skip
    assert from_folder.to_dict()["segments"] == 90


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("low", "high", "middle")}, "different order of classes.*'high' at position 2.*'middle'"),
        ({"classes": ("low", "middle", "shrill")}, "model has 3 .including shrill.*data set 3 .including high"),
        ({"classes": ("low", "middle", "high", "top")}, "model has 4 .including top.*data set 3$"),
        ({"kind": "multilabel"}, "model has multilabel, the data set multiclass"),
        ({"sample_rate": 16000}, "model has 2,000 samples at 16,000 Hz, the data set 2,000 samples at 8,000 Hz"),
        ({"window": 2187}, "model has 2,187 samples at 8,000 Hz, the data set 2,000 samples"),
    ],
)
def test_a_model_of_another_task_is_refused_with_both_values(data, task, make_model, change, words):
    model = make_model(replace(task, **change))
    with pytest.raises(UsageError, match=f"does not fit data set tones.*{words}"):
        evaluate(model, "tones", data)


def test_different_statistics_and_thresholds_are_compatible(task):
    check_fit(replace(task, mean=0.5, std=2.0, threshold=0.1, padding="zero", clip_seconds=None), task, "m", "d")


def test_missing_parts_are_named(data, task, make_model, tmp_path, write_shards):
    with pytest.raises(UsageError, match="not built yet"):
        evaluate(make_model(task), "scd", data)
    with pytest.raises(UsageError, match="no such model"):
        evaluate(tmp_path / "nothing", "tones", data)
    with pytest.raises(UsageError, match="cannot be used here"):
        evaluate(make_model(task), "tones", data, device="abacus")
    write_shards(tmp_path / "data" / "few" / "arrow", task, clips=1, shards=1)
    with pytest.raises(SampleCNNError, match="only one clip"):
        evaluate(make_model(task), "few", data)


def test_a_diverged_model_is_reported_as_diverged(data, task, make_model):
    model = make_model(task)
    with torch.no_grad():
        model.logit.bias[0] = float("nan")
    with pytest.raises(SampleCNNError, match=r"30 of 30 clips are not finite"):
        evaluate(model, "tones", data)
