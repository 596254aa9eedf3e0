"""The table and the plot of a result show the right values."""

from samplecnn.bench.results import baseline, draw, fastest_peer, print_table


def measured(**more):
    rows = [
        ("ours, fp32", True, [20, 30, 40]),
        ("plain PyTorch, fp32", False, [2, 3, 4]),
        ("fast", False, [10, 10, 10]),
    ]
    return {
        "bench": "train",
        "unit": "segments/s",
        "contenders": [
            {"name": name, "ours": ours, "median": sorted(rates)[1], "rates": rates} for name, ours, rates in rows
        ],
        "limit": {"what": "the limit", "rate": 60.0},
        "machine": {"cpu": "a cpu", "cores": 2, "torch": "1"},
        **more,
    }


def test_ratios_to_the_baseline_and_to_the_fastest_peer(capsys):
    result = measured(notes=["a note"], left_out=["x: no memory"])
    print_table(result)
    out = capsys.readouterr().out
    first = next(line for line in out.splitlines() if line.startswith("ours"))
    assert first.split() == ["ours,", "fp32", "30.0", "20.0", "40.0", "10.00", "3.00", "50%"]
    assert "x baseline: plain PyTorch, fp32" in out and "x best peer: fast" in out
    assert "a note" in out and "skipped: x: no memory" in out and "a cpu, 2 threads; torch 1" in out
    assert max(map(len, out.splitlines())) <= 110


def test_the_baseline_may_be_named_or_absent(capsys):
    assert baseline(measured())["name"] == "plain PyTorch, fp32"
    assert baseline(measured(baseline="fast"))["name"] == "fast"
    assert baseline(measured(bench="other")) is None and baseline(measured(baseline="none such")) is None
    print_table(measured(baseline="fast"))
    out = capsys.readouterr().out
    assert "x peer: fast" in out and "x baseline" not in out  # one column where both are the same
    print_table(measured(limit={"what": "the fast one", "rate": 10}))
    assert "x best peer" not in capsys.readouterr().out  # the reference has a column already
    alone = measured()
    alone["contenders"] = alone["contenders"][:1]
    print_table(alone)
    assert fastest_peer(alone) is None and "x peer" not in capsys.readouterr().out


def test_the_reference_has_a_name(capsys):
    print_table(measured(limit={"what": "1 TFLOP/s", "rate": 15.0}))
    out = capsys.readouterr().out
    assert "of PyTorch's matmul" in out and "200%" in out and "PyTorch's matmul: 15.0 segments/s, 1 TFLOP/s" in out


def test_best_batches_and_epochs(capsys):
    row = {"name": "ours", "ours": True, "best_batch": 92, "median": 5000.0, "peak_memory": 2_500_000_000}
    epoch = {"name": "ours", "batch_size": 92, "segments": 152_500, "seconds": 30.5, "rate": 5000.0}
    print_table(measured(best_batches=[row], epochs=[epoch]))
    out = capsys.readouterr().out
    assert "best batch of ours: 92, 5,000 segments/s, 2.5 GB" in out
    assert "an epoch of 152,500 in batches of 92: 30.5 s" in out


def test_the_picture(tmp_path):
    draw(measured(), tmp_path / "a.svg")
    assert "</svg>" in (tmp_path / "a.svg").read_text()
