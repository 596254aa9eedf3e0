"""`samplecnn bench load`: the measurement is complete and consistent; no test depends on speed."""

import json
import time

import pytest
from typer.testing import CliRunner

from samplecnn.bench.load import bench_load
from samplecnn.bench.peers import Peer
from samplecnn.bench.results import draw, fastest_peer, paired_ratio
from samplecnn.bench.rounds import Contender, measure
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError, UsageError


def test_noise_is_generated_measured_and_removed(tmp_path):
    result = bench_load(data_dir=tmp_path, segments=30, batch_size=7, num_readers=2, rounds=2, tensorflow=None)
    assert list(tmp_path.iterdir()) == []
    assert result["settings"]["segments"] == 30 and result["settings"]["window"] == 59049
    ours = [row for row in result["contenders"] if row["ours"]]
    assert [row["name"] for row in ours] == [
        "samplecnn, TFRecord", "samplecnn, TFRecord, later epochs", "samplecnn, Arrow",
        "samplecnn, Arrow, int16 as stored",
    ]  # fmt: skip
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in ours)
    assert all(min(row["rates"]) <= row["median"] <= max(row["rates"]) for row in ours)
    assert result["limit"]["rate"] > 0


def test_a_built_data_set_gives_table_json_and_picture(built, tmp_path):
    from samplecnn import build

    for format in ("tfrecord", "arrow"):
        build(str(built / "sounds"), tmp_path, format=format, sample_rate=8000, window=729, progress=False)
    arguments = ["bench", "load", "sounds", "--data-dir", str(tmp_path), "--rounds", "1"]
    out = ["--json", str(tmp_path / "load.json"), "--picture", str(tmp_path / "load.png")]
    outcome = CliRunner().invoke(app, [*arguments, *out], catch_exceptions=False)
    assert outcome.exit_code == 0 and "samplecnn, TFRecord" in outcome.stdout and "memory copy: " in outcome.stdout
    values = json.loads((tmp_path / "load.json").read_text())
    assert values["settings"]["dataset"] == "sounds" and len(values["contenders"]) >= 3
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    folder = str(tmp_path / "sounds" / "tfrecord")
    alone = bench_load(folder, rounds=1)
    assert alone["settings"]["segments"] == values["settings"]["segments"]
    assert not any("Arrow" in row["name"] for row in alone["contenders"])


def test_a_data_set_that_was_not_built(tmp_path):
    with pytest.raises(UsageError, match="no TFRecords; run `samplecnn build sounds"):
        bench_load("sounds", tmp_path)


def test_peers_are_processes(tmp_path):
    import sys

    program = tmp_path / "peer.py"
    program.write_text(
        'import sys\nprint(\'{"version": "1"}\', flush=True)\n'
        "for _ in sys.stdin: print('{\"units\": %s}' % sys.argv[1], flush=True)\n"
    )
    peer = Peer(sys.executable, program, 42)
    contenders = [Contender("theirs", peer), Contender("ours", lambda: 7, ours=True)]
    measure(contenders, 3, "test")
    calls: list[int] = []
    measure([Contender("short", lambda: calls.append(1) or time.sleep(0.01) or 7)], 2, "test", seconds=0.1)
    assert len(calls) >= 6, "one call took 0.01 s, a turn 0.1 s, and there were three"
    peer.close()
    assert peer.about == {"version": "1"} and all(len(contender.rates) == 3 for contender in contenders)
    result = {"contenders": [contender.to_dict() for contender in contenders]}
    assert fastest_peer(result)["name"] == "theirs" and paired_ratio(*result["contenders"][::-1]) > 0
    program.write_text("raise SystemExit('no such thing here')")
    with pytest.raises(SampleCNNError, match=r"peer: its process ended \(no such thing here"):
        Peer(sys.executable, program)


@pytest.mark.slow
def test_with_tf_data(tensorflow_python, tmp_path):
    result = bench_load(data_dir=tmp_path, segments=60, rounds=1, tensorflow=tensorflow_python)
    peers = [row for row in result["contenders"] if not row["ours"]]
    assert len(peers) == 2 and all(row["median"] > 0 for row in peers) and "tensorflow" in result["machine"]
    draw(result, tmp_path / "load.svg")
    assert "</svg>" in (tmp_path / "load.svg").read_text()
