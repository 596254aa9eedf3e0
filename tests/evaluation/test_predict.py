import numpy as np
import pytest
import torch

from samplecnn.audio import from_int16
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation import predict
from samplecnn.evaluation.probabilities import full_precision
from samplecnn.hardware import choose_device
from samplecnn.models import ModelConfig, SampleCNN


def test_a_clips_probability_is_the_mean_over_its_segments(tmp_path, task, make_model, write_shards):
    segments, model = write_shards(tmp_path, task), make_model(task)
    found = predict(model, segments)
    assert found.ids == [f"clip{number:03}" for number in range(20)]
    assert found.segments.tolist() == [3] * 20
    assert found.y_true.dtype == np.uint8 and found.y_true.argmax(axis=1).tolist() == [n % 3 for n in range(20)]
    assert found.y_prob.dtype == np.float32 and found.y_prob.shape == (20, 3)
    wave = (from_int16(segments.gather([21, 22, 23])) - task.mean) / task.std
    with torch.inference_mode():
        wanted = torch.softmax(model(torch.from_numpy(wave.astype(np.float32))), dim=1).mean(dim=0)
    np.testing.assert_allclose(found.y_prob[7], wanted, atol=1e-6)
    assert np.ptp(found.y_prob, axis=0).max() > 0.01, "clips must differ, else the test shows nothing"


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_scores_do_not_depend_on_the_batch_size(tmp_path, multi_label_task, make_model, write_shards, batch_size):
    segments, model = write_shards(tmp_path, multi_label_task), make_model(multi_label_task)
    usual = predict(model, segments, batch_size=23).y_prob
    np.testing.assert_allclose(predict(model, segments, batch_size, num_readers=2).y_prob, usual, rtol=0, atol=1e-6)


def test_the_models_own_mean_and_std_are_used(tmp_path, task, make_model, write_shards):
    segments = write_shards(tmp_path, task)
    louder = make_model(task.with_statistics(0.0, 0.003))
    assert np.abs(predict(louder, segments).y_prob - predict(make_model(task), segments).y_prob).max() > 0.01


def test_the_model_is_unchanged_and_used_in_full_precision(tmp_path, task, make_model, write_shards):
    segments, model = write_shards(tmp_path, task), make_model(task)
    usual = predict(model, segments).y_prob
    model.train()
    model.compute_dtype = torch.bfloat16
    means = model.norm0.running_mean.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_allclose(predict(model, segments).y_prob, usual, atol=1e-6)
    assert model.training and model.compute_dtype == torch.bfloat16
    assert torch.equal(model.norm0.running_mean, means), "batch norm must not learn from the test set"


def test_clips_of_different_lengths(tmp_path, task, make_model, write_shards):
    segments, model = write_shards(tmp_path, task, clips=4, shards=1), make_model(task)
    whole = predict(model, segments)

    class Part:
        """The first clip's three segments, one of the second, two of the third."""

        rows = np.array([0, 1, 2, 3, 6, 7])
        task, ids, labels = segments.task, [segments.ids[row] for row in rows], segments.labels[rows]
        groups = None

        def __len__(self):
            return len(self.rows)

        def gather(self, indices):
            return segments.gather(self.rows[indices])

    found = predict(model, Part(), batch_size=4)
    assert found.ids == ["clip000", "clip001", "clip002"] and found.segments.tolist() == [3, 1, 2]
    np.testing.assert_allclose(found.y_prob[0], whole.y_prob[0], atol=1e-6)
    np.testing.assert_allclose(found.y_prob.sum(axis=1), 1, atol=1e-6)


def test_progress_is_shown_on_demand(tmp_path, task, make_model, write_shards, capfd, monkeypatch):
    from samplecnn.system.progress import Progress

    monkeypatch.setattr(Progress, "LINE_INTERVAL", 0.0)
    segments, model = write_shards(tmp_path, task), make_model(task)
    predict(model, segments)
    assert capfd.readouterr().err == ""
    predict(model, segments, progress=True)
    assert "60/60 segments" in capfd.readouterr().err


def test_invalid_input_is_refused_with_the_reason(tmp_path, task, make_model, write_shards):
    segments = write_shards(tmp_path, task)
    with pytest.raises(UsageError, match="the model has no task"):
        predict(SampleCNN(ModelConfig("basic", num_blocks=3, num_classes=3, features=8)), segments)
    with pytest.raises(UsageError, match="1 or more"):
        predict(make_model(task), segments, batch_size=0)
    with pytest.raises(SampleCNNError, match="no segments"):
        predict(make_model(task), write_shards(tmp_path / "empty", task, clips=0, shards=1))


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(None).type in ("cpu", "cuda")
    for name in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(UsageError, match=r"cannot be used|holds no values"):
            choose_device(name)


def test_settings_are_restored_after_an_error(task, make_model):
    model = make_model(task).train()
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(RuntimeError), full_precision(model):
        assert not model.training and not torch.backends.cudnn.allow_tf32
        raise RuntimeError
    assert model.training and torch.backends.cudnn.allow_tf32 == before
    assert not torch.is_inference_mode_enabled()
