"""An interrupted `samplecnn tag` is continued to the same result, with the same model and options only."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import typer
from typer.testing import CliRunner

from samplecnn.cli.tag import tag_command


def test_resuming_keeps_what_was_written(run, folder, tmp_path, refused):
    output = tmp_path / "tags.jsonl"
    options = (folder, "--format", "jsonl", "--output", output)
    assert run(*options).exit_code == 1
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    marked = lines[0].replace(b"0.", b"9.", 1)  # existing rows are kept, not written again
    (tmp_path / "tags.jsonl.part").write_bytes(marked + b"".join(lines[1:4]) + lines[4][:20])
    output.unlink()
    outcome = run(*options, "--resume")
    assert outcome.exit_code == 1 and output.read_bytes() == marked + b"".join(lines[1:])
    assert "5 of 9 files could not be tagged" in outcome.stderr, "failures before the interruption are counted"
    assert not (tmp_path / "tags.jsonl.part").exists()
    assert "--resume requires --output" in refused(run(folder, "--resume"))
    assert "only jsonl and csv" in refused(run(folder, "--output", tmp_path / "x", "--resume"))


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_result(root, model_folder, folder, tmp_path):
    copies = tmp_path / "many"
    copies.mkdir()
    for number in range(1200):
        (copies / f"{number:04}.wav").symlink_to(folder / "a-low.wav")
    output = tmp_path / "tags.csv"
    command = [sys.executable, "-m", "samplecnn", "tag", model_folder, copies, "--format", "csv", "-o", output]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=root)
    part = tmp_path / "tags.csv.part"
    while not (part.exists() and part.stat().st_size > 5000):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = part.read_bytes()
    assert not output.exists() and before.count(b"\n") < 1200
    done = subprocess.run([*command, "--resume"], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(output.read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == [str(copies / f"{number:04}.wav") for number in range(1200)]
    assert len({tuple(row[1:]) for row in rows[1:]}) == 1
    assert output.read_bytes().startswith(before[: before.rfind(b"\n", 0, before.rfind(b"\n")) + 1])


def test_a_resumed_run_needs_the_same_options(run, folder, tmp_path, refused):
    output, part = tmp_path / "tags.jsonl", tmp_path / "tags.jsonl.part"
    options = (folder, "--format", "jsonl", "--over-time", "--output", output)
    settings = ("--engine", "torch", "--precision", "fp32", "--hop", 0.05)
    run(*options, *settings)
    whole = output.read_bytes()
    assert not list(tmp_path.glob("tags.jsonl.part*"))

    def interrupt() -> None:
        output.unlink(missing_ok=True)
        part.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
        (tmp_path / "tags.jsonl.part.json").write_text('{"engine": "torch", "precision": "fp32", "hop": 0.05}')

    interrupt()
    message = "the interrupted run used --engine torch --precision fp32 --hop 0.05"
    assert message in refused(run(*options, "--resume"))
    assert message in refused(run(*options, "--resume", "--hop", 0.05, "--precision", "bf16"))
    assert message in refused(run(*options, "--resume", "--hop", 0.1))
    assert part.exists(), "a refused part is unchanged"
    assert "engine torch, fp32;" in run(*options, "--resume", "--hop", 0.05).stderr, (
        "auto resolves to the engine of the interrupted run"
    )
    assert output.read_bytes() == whole and not list(tmp_path.glob("tags.jsonl.part*"))


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_another_model_or_other_options_are_not_mixed_into_a_result(
    run, model, model_folder, folder, tmp_path, name, refused
):
    from samplecnn import model_files
    from samplecnn.models import SampleCNN

    output, part = tmp_path / "tags", tmp_path / "tags.part"
    options = ("--format", name, "--output", output, "--engine", "numpy")
    wanted = run(folder, *options, "--top", 2, "--threshold", 0.1)
    assert wanted.exit_code == 1
    whole = output.read_bytes()
    output.unlink()
    part.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    from samplecnn.tagging.output import Settings

    digest = hashlib.sha256((model_folder / "model.safetensors").read_bytes()).hexdigest()
    noted = Settings("numpy", "fp32", None, digest, 2, 0.1, False)
    (tmp_path / "tags.part.json").write_text(json.dumps(asdict(noted)))
    for other in (("--top", 1, "--threshold", 0.1), ("--top", 2), ("--threshold", 0.1)):
        assert "used --engine numpy --precision fp32 --top 2 --threshold 0.1 and no --hop" in refused(
            run(folder, *options, "--resume", *other)
        )
    other = SampleCNN(model.config, model.task)
    model_files.save(other, tmp_path / "other")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(tag_command)
    words = [str(tmp_path / "other"), str(folder), *map(str, options), "--resume", "--top", "2", "--threshold", "0.1"]
    assert f"another model (SHA-256 {digest[:12]}" in refused(CliRunner().invoke(app, words))
    assert run(folder, *options, "--resume", "--top", 2, "--threshold", 0.1).exit_code == 1
    assert output.read_bytes() == whole
