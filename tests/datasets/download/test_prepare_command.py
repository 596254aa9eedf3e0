"""`samplecnn prepare` on the command line."""

from dataclasses import replace

import pytest
import typer
from small_data_sets import serve
from typer.testing import CliRunner

from samplecnn.cli.prepare import prepare as command
from samplecnn.datasets.download import zip_decrypt
from samplecnn.datasets.published import PUBLISHED, SCD


@pytest.fixture
def run(monkeypatch):
    app = typer.Typer()
    app.command()(command)

    def go(published, *arguments):
        for name, value in published.items():
            monkeypatch.setitem(PUBLISHED, name, value)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return go


def test_command_prints_the_licence_and_the_sizes(server, tmp_path, run):
    published, _ = serve(server, "scd")
    result = run({"scd": published}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Please cite: P. Warden" in result.stdout and "train: 350 clips" in result.stdout
    assert f"{tmp_path / 'scd' / 'raw'} is ready" in result.stdout
    result = run({"scd": published}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 0 and "there was nothing to do" in result.stdout


def test_fewer_clips_than_the_original_are_not_complete(server, tmp_path, run):
    published, _ = serve(server, "scd")
    result = run({"scd": replace(published, expected=dict(SCD.expected))}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 1 and "is not complete" in result.stdout


def test_every_option_has_its_effect(server, tmp_path, run):
    published, _ = serve(server, "mtt", folder="public")
    public_names = {f"public/{d.name}" for d in published.downloads}
    for path in list(server.files):
        if path in public_names:
            server.files[path.replace("public", "near")] = server.files[path]
    raw = tmp_path / "mtt" / "raw"
    options = ["mtt", "--data-dir", tmp_path, "--mirror", f"{server.base}/near", "--keep-archives"]
    assert run({"mtt": published}, *options).exit_code == 0
    assert all(path.startswith("near/") for path, _ in server.requests)  # --mirror
    assert (raw / "mp3.zip.001").exists()  # --keep-archives
    victim = raw / "mp3" / "0" / "artist-album-00-title-0-29.mp3"
    victim.unlink()
    assert run({"mtt": published}, "mtt", "--data-dir", tmp_path).exit_code == 1
    assert run({"mtt": published}, "mtt", "--data-dir", tmp_path, "--again").exit_code == 0  # --again
    assert victim.exists()


def test_timeout_and_attempts(server, tmp_path, run):
    published, _ = serve(server, "scd", silent=True)
    result = run({"scd": published}, "scd", "--data-dir", tmp_path, "--timeout", 0.1, "--attempts", 1)
    assert "no answer in time" in str(result.exception)
    assert len(server.requests) == 1  # --attempts
    server.files["mirror/speech_commands_v0.02.tar.gz"].silent = False
    server.files["mirror/speech_commands_v0.02.tar.gz"].statuses = [500]
    assert run({"scd": published}, "scd", "--data-dir", tmp_path, "--attempts", 2).exit_code == 0


@pytest.mark.slow
def test_workers_option_is_passed_on(server, tmp_path, run, monkeypatch):
    published, _ = serve(server, "dcs")
    started = []

    class Counted(zip_decrypt.Worker):
        def __init__(self, *args, **kwargs):
            started.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(zip_decrypt, "Worker", Counted)
    result = run({"dcs": published}, "dcs", "--data-dir", tmp_path, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert len(started) == 6  # two for each of the three encrypted zips
