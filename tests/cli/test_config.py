"""Where options come from: command line, environment, a --config file, defaults, in this order."""

import os

import pytest
import typer
from typer.testing import CliRunner

from samplecnn.cli.verbs import SETTINGS, Verb, with_common
from samplecnn.system import log


@pytest.fixture(autouse=True)
def normal_verbosity():
    yield
    log.set_verbosity(log.Verbosity.NORMAL)


@pytest.fixture
def run(monkeypatch):
    """run(*words, file text, NAME=value...) -> the arguments of the command `train` of a small program, or its
    output.
    """

    def call(*words, env=None):
        received = {}

        def train(
            name: str = typer.Argument("x", help="Name."),
            lr: float = typer.Option(0.01, help="Rate."),
            batch_size: int = typer.Option(23, help="Size."),
            multi: bool = typer.Option(False, "--multi", help="Flag."),
            tag: list[str] = typer.Option([], help="Several."),
            resume: str = typer.Option(None, allow_from_autoenv=False, help="Run."),
        ) -> None:
            received.update(name=name, lr=lr, batch_size=batch_size, multi=multi, tag=list(tag), resume=resume)

        app = typer.Typer(**SETTINGS)
        app.command("train", cls=Verb)(with_common(train))
        app.command("other", cls=Verb)(with_common(lambda: None))
        app.callback()(with_common(lambda: None))
        result = CliRunner().invoke(app, [str(word) for word in words], env=env)
        result.received = received
        return result

    return call


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "samplecnn.toml"
        path.write_text(text)
        return path

    return write


def test_the_command_line_wins_over_environment_over_file_over_default(run, config):
    path = config("[train]\nlr = 0.5\nbatch-size = 7\nmulti = true\ntag = ['a', 'b']\n")
    assert run("train").received["lr"] == 0.01
    from_file = run("--config", path, "train").received
    assert (from_file["lr"], from_file["batch_size"], from_file["multi"]) == (0.5, 7, True)
    assert from_file["tag"] == ["a", "b"]
    env = {"SAMPLECNN_TRAIN_LR": "0.25"}
    assert run("--config", path, "train", env=env).received["lr"] == 0.25
    assert run("--config", path, "train", env=env).received["batch_size"] == 7
    assert run("--config", path, "train", "--lr", "0.125", env=env).received["lr"] == 0.125
    assert run("train", env={"SAMPLECNN_CONFIG": str(path)}).received["lr"] == 0.5
    assert run("train", env={"SAMPLECNN_TRAIN_MULTI": "1"}).received["multi"] is True


def test_the_file_may_be_given_before_or_after_the_command(run, config):
    path = config("[train]\nbatch_size = 7\n[other]\n")
    assert run("--config", path, "train").received == run("train", "--config", path).received
    assert run("train", "--config", path).received["batch_size"] == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepochs = 3\n", "[train] has no option epochs; use"),
        ("[train]\nbatchsize = 3\n", "[train] has no option batchsize; did you mean batch-size?"),
        ("[trian]\nlr = 1\n", "table trian is not a command of samplecnn; did you mean train?"),
        ("lr = 1\n", "key lr is not a command of samplecnn"),
        ("train = 1\n", "train must be a table: [train]"),
        ("[train]\nmulti = 1\n", "[train] multi must be true or false, not 1"),
        ("[train]\nlr = [1, 2]\n", "[train] lr must be a single value"),
        ("[train]\nlr = ''\n", "[train] lr is empty"),
        ("[train]\ntag = ['a', '']\n", "[train] tag is empty"),
        ("[train]\ntag = 'a'\n", "[train] tag must be a list, not 'a'"),
        ("[train]\nresume = 'run'\n", "give --resume on the command line"),
        ("[train\n", "not TOML"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_nearest_name(run, config, text, message):
    error = str(run("--config", config(text), "train").exception)
    assert message in error and "samplecnn.toml" in error and "\n" not in error


def test_what_is_no_file_is_named(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (
        ("no.toml", "not found"),
        (".", "a folder where a file is expected"),
        ("pipe", "not a regular"),
    ):
        message = str(run("--config", tmp_path / name, "train").exception)
        assert message.startswith(f"{tmp_path / name}: {problem}") and message.endswith(
            "; --config expects a TOML file"
        )


def test_a_value_of_the_wrong_type_names_its_origin(run, config):
    path = config("[train]\nlr = 'fast'\n")
    result = run("--config", path, "train")
    assert result.exit_code == 2 and "--lr" in result.output and str(path)[-14:] in "".join(result.output.split())
    result = run("train", env={"SAMPLECNN_TRAIN_LR": "fast"})
    assert result.exit_code == 2 and "SAMPLECNN_TRAIN_LR" in result.output


def test_a_variable_that_is_no_option_is_warned_of(run):
    result = run("train", env={"SAMPLECNN_TRAIN_BATCHSIZE": "3", "SAMPLECNN_TRAIN_RESUME": "run"})
    assert "warning: SAMPLECNN_TRAIN_BATCHSIZE has no effect" in result.output
    assert "did you mean SAMPLECNN_TRAIN_BATCH_SIZE?" in result.output
    assert result.received["resume"] is None and "SAMPLECNN_TRAIN_RESUME has no effect" in result.output


def test_quiet_and_verbose_before_or_after_the_command(run, config):
    path = config("[train]\nlr = 0.5\n")
    for words in (["-q", "train"], ["train", "--quiet"]):
        run(*words)
        assert log.is_quiet()
        log.set_verbosity(log.Verbosity.NORMAL)
    for words in (["-v", "--config", path, "train"], ["train", "--config", path, "--verbose"]):
        result = run(*words)
        assert log.verbosity() == log.Verbosity.VERBOSE
        assert f"--lr 0.5 ({path})" in result.output
        log.set_verbosity(log.Verbosity.NORMAL)


def test_messages_by_level(capsys):
    shown = {}
    for level in log.Verbosity:
        log.set_verbosity(level)
        log.warn("w")
        log.note("n")
        log.detail("d")
        shown[level.name] = capsys.readouterr().err.split()
    assert shown == {
        "SILENT": [],
        "QUIET": ["warning:", "w"], "NORMAL": ["warning:", "w", "n"], "VERBOSE": ["warning:", "w", "n", "d"],
    }  # fmt: skip
