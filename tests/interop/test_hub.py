"""The real client of the hub against a hub on the loopback interface: models by id, downloads, faults, uploads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (the extra `hub`)")

import huggingface_hub
from fake_hub import TOKEN, FakeHub, Repository
from huggingface_hub import ModelCard, constants, file_download

import samplecnn
from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.inference.precision import random_model
from samplecnn.interop.hub.cache import HubId, cached_folder, possible_id
from samplecnn.interop.hub.upload import pull, push, write_folder
from samplecnn.models.config import ModelConfig
from samplecnn.task import Task
from samplecnn.zoo.packaged import resolved

NAME = "anna/birds"


@pytest.fixture(scope="module")
def server():
    hub = FakeHub()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small model of three classes, as a run directory."""
    folder = tmp_path_factory.mktemp("hub") / "run"
    task = Task("birds", ("owl", "_other_", "wren"), "multiclass", sample_rate=8000, window=729, mean=0.01, std=0.2)
    model = random_model(ModelConfig(block="se", num_blocks=5, num_classes=3, features=8), task)
    options = {"block": "se", "seed": 0, "dataset": "/home/anna/secret/birds"}
    training = {"samplecnn": "0.1.0", "segments": 90, "options": options, "data": {"clips": 120, "fingerprint": "ab"}}
    model_files.save(model, folder, training)
    tests = [{"event": "test", "accuracy": 0.5}, {"event": "test", "accuracy": 0.75, "roc_auc": 0.9, "f1": None}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tests))
    return folder


@pytest.fixture
def hub(server, run, tmp_path, monkeypatch):
    """The hub with one model, the client's settings for it, and an empty cache."""
    server.reset()
    server.repositories[NAME] = Repository()
    server.repositories[NAME].commit(
        {path.name: path.read_bytes() for path in (run / "config.json", run / "model.safetensors")}
    )
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)  # before it tries again
    monkeypatch.chdir(tmp_path)
    return server


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.startswith(NAME), text
    return text


def test_a_model_is_downloaded_once_and_then_used_without_the_hub(hub, run, tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 2000).astype(np.float32)
    expected = samplecnn.Tagger(run, engine="numpy")(wave, sample_rate=8000)
    found = samplecnn.Tagger(NAME, engine="numpy")(wave, sample_rate=8000)
    assert np.array_equal(found.scores, expected.scores) and found.classes == ("owl", "_other_", "wren")
    asked = len(hub.requests)
    assert asked >= 5
    again = samplecnn.Tagger(NAME, engine="numpy")(wave, sample_rate=8000)
    assert np.array_equal(again.scores, expected.scores)
    assert model_files.load_stored(NAME).task.name == "birds"
    assert len(hub.requests) == asked


def test_what_is_cached_is_used_until_pull_asks_for_the_newest(hub, run, tmp_path):
    first = resolved(NAME)
    changed = json.loads((run / "config.json").read_text())
    changed["task"]["name"] = "more birds"
    hub.repositories[NAME].commit({"config.json": json.dumps(changed).encode()})
    assert model_files.load_stored(NAME).task.name == "birds"
    assert pull(NAME) != first
    assert model_files.load_stored(NAME).task.name == "more birds"
    assert model_files.load_stored(f"{NAME}@{first.name}").task.name == "birds"


def test_revisions(hub, run):
    hub.repositories[NAME].refs["v1"] = hub.repositories[NAME].refs["main"]
    assert resolved(f"{NAME}@v1") == resolved(NAME)
    with pytest.raises(UsageError, match=r"has no revision v2; see http://127.0.0.1:\d+/anna/birds$") as error:
        samplecnn.Tagger(f"{NAME}@v2")
    assert one_line(error)


def test_pull_into_a_folder_copies_files_not_links(hub, run, tmp_path):
    hub.repositories[NAME].commit({"README.md": b"a card", "weights.pkl": b"never asked for"})
    assert pull(NAME, tmp_path / "mine" / "birds") == tmp_path / "mine" / "birds"
    files = {path.name: path for path in (tmp_path / "mine" / "birds").iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert not any(path.is_symlink() for path in files.values())
    assert files["model.safetensors"].read_bytes() == (run / "model.safetensors").read_bytes()
    assert not any("pkl" in request for request in hub.requests)
    with pytest.raises(UsageError, match="exists already; choose another name"):
        pull(NAME, tmp_path / "mine" / "birds")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["birds"]


def test_without_symbolic_links(hub, monkeypatch):
    def refuse(*words, **options):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    assert not (resolved(NAME) / "model.safetensors").is_symlink()
    assert samplecnn.Tagger(NAME, engine="numpy").task.name == "birds"


def test_a_download_that_breaks_off_is_continued(hub, run, monkeypatch, capsys):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # the client continues after its last whole chunk
    hub.breaks = 3
    weights = (run / "model.safetensors").read_bytes()
    assert (resolved(NAME) / "model.safetensors").read_bytes() == weights
    assert hub.ranges[0] == f"bytes={len(weights) // 2 // 1024 * 1024}-" and len(hub.ranges) == 3
    assert capsys.readouterr().err.count("Trying to resume download") == 3


def test_a_download_that_never_succeeds_leaves_no_model(hub, tmp_path, monkeypatch):
    hub.breaks = 10**9
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 30)  # so that no part counts as progress
    with pytest.raises(SampleCNNError, match="cannot be reached, or its answer cannot be used") as error:
        samplecnn.Tagger(NAME)
    assert one_line(error)
    hub.breaks = 0
    with pytest.raises(SampleCNNError, match="get it with `samplecnn pull anna/birds`"):
        cached_folder(HubId(NAME))
    assert samplecnn.Tagger(NAME, engine="numpy").task.name == "birds"


def test_other_weights_than_described_are_refused_and_removed(hub, run, tmp_path):
    hub.lies = True
    for _ in range(2):
        with pytest.raises(
            SampleCNNError, match=r"SHA-256 of its model.safetensors is not the one in its config.json"
        ) as error:
            samplecnn.Tagger(NAME)
        assert "nothing of it was kept" in one_line(error)
    weights = (run / "model.safetensors").stat().st_size
    assert all(path.stat().st_size != weights for path in (tmp_path / "cache").rglob("*") if path.is_file())
    hub.lies = False
    assert samplecnn.Tagger(NAME, engine="numpy").task.name == "birds"


def test_a_damaged_cache_is_renewed(hub, run, capsys):
    folder = resolved(NAME)
    weights = (folder / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1])
    assert (resolved(NAME) / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert "its copy in" in capsys.readouterr().err


def test_a_silent_hub(hub, monkeypatch):
    monkeypatch.setattr("samplecnn.interop.hub.cache.TIMEOUT", 0.2)
    hub.silent = 0.02
    assert resolved(NAME)
    hub.silent = 30.0
    with pytest.raises(SampleCNNError, match="cannot be reached") as error:
        pull(NAME)
    assert "ReadTimeout" in one_line(error)
    monkeypatch.setattr("samplecnn.interop.hub.upload.ANSWER_SECONDS", 0.2)
    with pytest.raises(SampleCNNError, match="cannot be reached") as error:
        push(NAME, NAME)
    assert "ReadTimeout" in one_line(error) and huggingface_hub.utils.get_session().timeout.read is None


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "no model of this name for you; check the name"),
        (401, {}, "wants a token, or another one; set HF_TOKEN"),
        (
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            "wants a token, or another one",
        ),
        (403, {"X-Error-Code": "GatedRepo"}, "request access at http"),
        (429, {"Retry-After": "3000"}, "too many requests to the hub; try again in 3000 s"),
        (500, {}, "answers with status 500; try again later"),
    ],
)
def test_refusals_are_one_line(hub, status, headers, message):
    hub.status, hub.headers = status, headers
    with pytest.raises(SampleCNNError) as error:
        samplecnn.Tagger(NAME)
    assert message in one_line(error)


def test_answers_that_are_not_those_of_a_hub(hub):
    hub.garbage = True
    with pytest.raises(SampleCNNError, match="its answer cannot be used") as error:
        samplecnn.Tagger(NAME)
    assert one_line(error)


def test_repositories_of_other_programs(hub):
    hub.repositories[NAME].commits[hub.repositories[NAME].refs["main"]].pop("config.json")
    with pytest.raises(UsageError, match=r"has no config.json, so it is not a model of samplecnn"):
        samplecnn.Tagger(NAME)
    hub.repositories[NAME].commit({"config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(SampleCNNError, match=r"config\.json") as error:
        pull(NAME)
    assert one_line(error)


def test_private_models_need_the_token(hub, monkeypatch):
    hub.repositories[NAME].private = True
    with pytest.raises(UsageError, match="no model of this name for you"):
        samplecnn.Tagger(NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert samplecnn.Tagger(NAME, engine="numpy").task.name == "birds"


@pytest.mark.parametrize(
    "name", ["log/20261126-birds", "./anna/birds", "anna/birds/model", "anna/birds.h5", "a b/c", "birds"]
)
def test_paths_are_not_looked_for_on_the_hub(hub, tmp_path, name):
    (tmp_path / "log").mkdir()
    with pytest.raises(UsageError, match="there is no such model"):
        samplecnn.Tagger(name)
    assert possible_id(name) is None and hub.requests == []


def test_a_path_that_exists_comes_first(hub, run, tmp_path):
    write_folder(run, tmp_path / NAME, "x/y")
    assert resolved(NAME) == tmp_path.__class__(NAME) and hub.requests == []


def test_a_hub_model_is_not_changed_in_the_cache(hub):
    with pytest.raises(UsageError, match="copy it with `samplecnn pull anna/birds FOLDER`"):
        model_files.update_description(NAME, {"listening": None})


def test_push_uploads_a_model_with_its_card_in_one_commit(hub, run, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="wants a token, or another one"):
        push(run, "anna/new")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    address = push(run, "anna/new", private=True, licence="cc-by-4.0", message="first")
    repository = hub.repositories["anna/new"]
    assert address == f"{hub.address}/anna/new/commit/{repository.refs['main']}"
    assert repository.private and repository.messages == ["first"] and len(repository.commits) == 2
    files = repository.commits[repository.refs["main"]]
    assert set(files) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert b"secret" not in b"".join(files.values())
    assert json.loads(files["config.json"])["training"]["options"]["dataset"] == "birds"

    card = ModelCard(files["README.md"].decode())
    data = card.data.to_dict()
    assert data["library_name"] == "samplecnn" and data["license"] == "cc-by-4.0"
    assert data["pipeline_tag"] == "audio-classification" and data["metrics"] == ["accuracy", "roc_auc"]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "accuracy": 0.75,
        "roc_auc": 0.9,
    }
    assert "samplecnn tag anna/new FILE" in card.text and "owl, `_other_`, wren" in card.text

    files["README.md"] = b"edited by hand"
    push(run, "anna/new")
    assert repository.commits[repository.refs["main"]]["README.md"] == b"edited by hand"
    push(run, "anna/new@next", replace_card=True)
    assert b"samplecnn tag" in repository.commits[repository.refs["next"]]["README.md"]
    assert model_files.load_stored("anna/new@next").task.classes == ("owl", "_other_", "wren")


def test_push_refuses_files_that_do_not_belong_together(hub, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    damaged = tmp_path / "damaged"
    write_folder(run, damaged, "x/y")
    description = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**description, "sha256": "0" * 64}))
    with pytest.raises(SampleCNNError, match="not the weights that config"):
        push(damaged, "anna/damaged")
    assert "anna/damaged" not in hub.repositories


def test_offline(hub, run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"^org/new: nothing can be pushed while HF_HUB_OFFLINE is set; unset it$"):
        push(run, "org/new")


def test_the_card_of_a_report(run, tmp_path):
    rows = [
        {"name": name, "support": 40, "precision": 0.5, "recall": 0.25, "f1": 0.3, "roc_auc": None, "pr_auc": 0.5}
        for name in ("owl", "_other_", "wren")
    ]
    (tmp_path / "eval.json").write_text(json.dumps({"accuracy": 0.96, "clips": 100, "per_class": rows}))
    write_folder(run, tmp_path / "out", "anna/birds", scores=tmp_path / "eval.json")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| accuracy | 0.9600 | 0.9016 to 0.9843 |" in text and "On 100 test clips" in text
    assert "| owl | 40 | 0.500 | 0.250 | 0.300 | – |" in text
    with pytest.raises(UsageError, match="not the scores of this model's classes"):
        write_folder("words-tiny", tmp_path / "other", "x/y", scores=tmp_path / "eval.json")


def test_a_packaged_model_keeps_its_card(tmp_path):
    write_folder("words-tiny", tmp_path / "out", "anna/words", licence="mit")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "## False alarms" in card.text and card.data.eval_results[0].metric_type == "accuracy"
    assert model_files.load_stored(tmp_path / "out").task.name == "words-tiny"


def test_the_commands(hub, run, tmp_path):
    tone = np.sin(np.arange(4000) / 5).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", 0.3 * tone, 8000)
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }  # fmt: skip
    program = (
        "import sys\nfrom samplecnn.cli.app import app\n"
        "for words in sys.argv[1].split(';'): app(words.split(), standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    words = f"push {run} anna/new --license mit;pull anna/new copy;tag anna/new a.wav --engine numpy;info anna/new"
    done = subprocess.run(
        [sys.executable, "-c", program, words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.address}/anna/new/commit/" in done.stdout and "model: copy" in done.stdout
    assert "a.wav  " in done.stdout and "task          birds" in done.stdout
    assert f"downloading anna/new (0.0 MB) from {hub.address}" in done.stderr


def test_without_huggingface_hub(monkeypatch, tmp_path):
    monkeypatch.setattr("samplecnn.zoo.packaged.is_installed", lambda name: False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"or a hub id after pip install 'samplecnn\[hub\]'$"):
        model_files.load_stored(NAME)


def test_modules_from_the_hub(hub, run, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `train`)")
    with pytest.raises(SampleCNNError, match="not in the cache"):
        samplecnn.SampleCNN.from_pretrained(NAME, local_files_only=True)
    model = samplecnn.SampleCNN.from_pretrained(NAME, cache_dir=tmp_path / "other")
    wave = torch.zeros(1, 729)
    assert torch.equal(model(wave), samplecnn.load(NAME)(wave)) and torch.equal(model(wave), samplecnn.load(run)(wave))
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert torch.equal(samplecnn.SampleCNN.from_pretrained(tmp_path / "saved")(wave), model(wave))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model.push_to_hub("anna/again")
    assert torch.equal(samplecnn.SampleCNN.from_pretrained("anna/again", revision="main")(wave), model(wave))
    with pytest.raises(UsageError, match="only a model of the hub has revisions"):
        samplecnn.SampleCNN.from_pretrained(run, revision="main")
