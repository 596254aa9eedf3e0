"""The command itself: quick help, one-line errors, exit codes, and every verb there."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import samplecnn
from samplecnn.cli.app import VERBS, app

HEAVY = ("torch", "pyarrow", "sklearn", "matplotlib", "soundfile", "numpy", "rich")


def samplecnn_command(*words: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "samplecnn", *words], capture_output=True, text=True, cwd=cwd)


def test_help_loads_nothing_heavy():
    """What makes --help slow is imports; these are left to the verbs."""
    code = f"import sys, samplecnn.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_names_every_option_in_words(verb):
    result = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert result.exit_code == 0 and "Usage" in result.output
    if not verb:
        assert all(f"  {name}  " in result.output for name in VERBS)


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"samplecnn {samplecnn.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "nowhere"], 2, "nowhere is not built yet"),
        (["train"], 2, "which data set"),
        (["train", "scd"], 2, "not built yet"),
        (["train", "scd", "--block", "se9"], 2, "se9"),
        (["train", "scd", "--lr", "-1"], 2, "--lr must be above 0"),
        (["eval", "scd", "no.h5"], 2, "not built yet"),
        (["tag", "no.h5", "no.wav"], 2, "no.wav"),
        (["tag", "no.h5", __file__], 2, "no.h5"),
        (["build", "mtt"], 2, "annotations_final.csv"),
        (["prepare", "xyz"], 2, "xyz"),
        (["fly"], 2, "No such command"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, words, code, said):
    done = samplecnn_command(*words, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.lower().startswith("error")]) == 1


def test_public_names_are_there():
    for name in samplecnn.__all__:
        assert callable(getattr(samplecnn, name)), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = samplecnn.nothing
