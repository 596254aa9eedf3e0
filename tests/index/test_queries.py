"""What is asked of an index without its recordings: tags and events in every format, similar sounds, differences."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import soundfile
from pyarrow import parquet

from samplecnn.cli.index import COMMANDS
from samplecnn.errors import UsageError
from samplecnn.index import read_index, update_index
from samplecnn.index.compare import compare_indexes
from samplecnn.index.output import with_tags, write_tags
from samplecnn.index.packing import packed, record_type, unpacked
from samplecnn.index.similar import Query, find_similar, query_of
from samplecnn.index.summary import describe_index
from samplecnn.index.verify import verify_index
from samplecnn.tagging import Tagger
from samplecnn.tagging.events import EventRules
from samplecnn.tagging.formats import FORMATS
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import Selection

RULES = EventRules(threshold=0.5, smooth=3, max_gap=0.1)


@pytest.mark.parametrize("kind", ["scores", "events", "windows"])
def test_every_format_from_an_index_without_sound(tmp_path, index, model, sounds, kind):
    """As `tag` writes them, up to the rounding of windows, and with the recordings gone."""
    formats = [name for name in FORMATS if name not in ("png", "svg")]
    selection = {
        "scores": Selection(), "events": Selection(events=RULES), "windows": Selection(over_time=True, top=2)
    }[kind]  # fmt: skip
    outputs = {"selection": selection, "output_dir": tmp_path / "tagged"}
    tag_paths(model, [sounds], formats, engine="numpy", precision="fp32", hop=0.05, **outputs)
    shutil.rmtree(sounds)
    known = read_index(index)
    assert write_tags(known, known.select(), formats, selection=selection, output_dir=tmp_path / "indexed") == 11
    tagged, indexed = (
        {str(path.relative_to(tmp_path / name)): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("tagged", "indexed")
    )
    assert tagged.keys() == indexed.keys() and len(tagged) > 50
    for name, wanted in tagged.items():
        same(content(indexed[name]), content(wanted), name)


def content(path):
    """What a file holds apart from what made it, as lists of numbers and words."""
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pydict()
    text = path.read_text()
    if path.suffix == ".json":
        values = json.loads(text)
        return values["files"] if "files" in values else values["classes"]
    if path.suffix == ".jams":
        return [each["data"] for each in json.loads(text)["annotations"]]
    text = re.sub(r"(?s)NOTE\n.*?\n\n", "", text)
    return [float(part) if re.fullmatch(r"\d+\.\d+", part) else part for part in re.split(r"(\d+\.\d+)", text)]


def same(found, wanted, name):
    if isinstance(wanted, float) and not math.isnan(wanted):
        digits = 2 if name.endswith((".txt", ".vtt", ".srt", ".TextGrid")) else 4  # of scores; a tie goes either way
        assert found == pytest.approx(wanted, abs=1.01 * 10**-digits), name
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key, value in wanted.items():
            same(found[key], value, name)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), name
        for one, two in zip(found, wanted, strict=True):
            same(one, two, name)
    else:
        assert found == wanted or wanted != wanted, name


def test_files_by_tag_path_and_error(index, sounds, run):
    known = read_index(index)
    limit = float(np.median(known.scores[~known.failed, 0]))
    wanted = [path for path, row in known.rows.items() if known.scores[row, 0] > limit]
    shown = run("tags", index, "--tag", f"low={limit}", "--format", "jsonl")
    assert [json.loads(line)["path"] for line in shown.output.splitlines()] == wanted and 0 < len(wanted) < 10
    both = run("tags", index, sounds / "a", "--tag", f"low={limit}", "--tag", "high=0", "--format", "jsonl")
    names = [json.loads(line)["path"] for line in both.output.splitlines()]
    assert names == [path for path in wanted if "/a/" in path]
    errors = run("tags", index, "--errors")
    assert errors.exit_code == 0 and errors.output.count("\n") == 1 and "broken.wav  error: not audio" in errors.output
    for words, said in (
        (["--tag", "bell"], "no class"),
        (["--tag", "low=x"], "not a score"),
        (["/nowhere"], "no files"),
    ):
        refused = run("tags", index, *words)
        assert isinstance(refused.exception, UsageError) and said in str(refused.exception)


def test_embeddings_from_an_index(tmp_path, index, run):
    assert run("tags", index, "--embeddings", tmp_path / "e.npz", "-o", tmp_path / "t").exit_code == 0
    stored, known = np.load(tmp_path / "e.npz"), read_index(index)
    for path, vector in zip(stored["paths"], stored["embeddings"], strict=True):
        tags = known.outcome(known.rows[str(path)], embeddings=True)
        np.testing.assert_allclose(vector, tags.embedding, rtol=1e-5)
    assert len(stored["paths"]) == 10


def test_rows_for_other_programs(index):
    """Two plain Parquet files with a common key: what a file's windows average to is its score."""
    files = parquet.read_table(index / "files.parquet")
    windows = parquet.read_table(next(index.glob("windows-*.parquet")))
    assert files.column_names[-3:] == ["low", "path (class)", "high"] == windows.column_names[-3:]
    means = windows.group_by("recording").aggregate([("high", "mean")])
    joined = files.select(["recording", "high"]).join(means, "recording", join_type="inner")
    assert joined.num_rows == 10
    np.testing.assert_allclose(joined["high"].to_numpy(), joined["high_mean"].to_numpy(), atol=1e-5)


def test_similar_windows_are_those_of_a_plain_search(index, monkeypatch):
    """All cosines one by one, in float64, from the stored embeddings."""
    monkeypatch.setattr("samplecnn.index.similar.BLOCK_BYTES", 4096)  # several blocks and threads
    monkeypatch.setattr("samplecnn.index.similar.usable_cpus", lambda: 3)
    known = read_index(index)
    vector = np.random.default_rng(5).normal(size=known.settings.embedding_size).astype(np.float32)
    plain = []
    for path, tags in known.outcomes(np.flatnonzero(~known.failed), embeddings=True):
        for start, embedding in zip(tags.times, tags.embedding_over_time.astype(np.float64), strict=True):
            plain.append((float(embedding @ vector / np.linalg.norm(embedding) / np.linalg.norm(vector)), path, start))
    plain.sort(reverse=True)
    hits = find_similar(known, Query(vector), 15, per_file=False)
    assert [hit.similarity for hit in hits] == pytest.approx([row[0] for row in plain[:15]], abs=1e-5)
    best = {path: (similarity, start) for similarity, path, start in reversed(plain)}
    hits = find_similar(known, Query(vector), 20)
    assert len(hits) == 10 and {hit.path: pytest.approx(hit.similarity, abs=1e-5) for hit in hits} == {
        path: similarity for path, (similarity, _) in best.items()
    }


def test_similar_to_files_and_moments(index, sounds, noise, run):
    one, two = sounds / "a" / "1.wav", sounds / "b" / "8.wav"  # 8 = 1 + 7: equally loud
    shutil.copy(one, sounds / "copy.wav")
    noise(sounds / "gone.wav", 300)
    update_index(index, engine="numpy")
    (sounds / "gone.wav").unlink()
    update_index(index, engine="numpy")
    known = read_index(index)
    hits = find_similar(known, query_of(known, str(one)), 20)
    names = [hit.path for hit in hits]
    assert len(names) == 9 and not {str(one), str(sounds / "copy.wav"), str(sounds / "gone.wav")} & set(names)
    moment = find_similar(known, query_of(known, f"{two}@0.5"), 5, per_file=False)
    assert not any(hit.path == str(two) and hit.start < 0.5 < hit.end for hit in moment)
    other = noise(sounds.parent / "other.wav", 8, 1.1)  # not in the index, but the content of 8.wav
    vectors = query_of(known, str(other), "numpy").vector, query_of(known, str(two)).vector
    np.testing.assert_allclose(*vectors, atol=np.ptp(vectors[0]) / 255)
    shown = run("similar", index, other, "--top", 2, "--json", "--engine", "numpy")
    wanted = find_similar(known, query_of(known, str(other), "numpy"), 2)
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [hit._asdict() for hit in wanted]
    for query, said in ((f"{two}@99", "ends at"), ("nowhere.wav", "no such file")):
        with pytest.raises(UsageError, match=said):
            query_of(known, query)


@pytest.mark.parametrize("score", ["nan", "inf", "1.5", "high"])
def test_a_score_to_select_by_is_from_0_to_1(index, score):
    known = read_index(index)
    with pytest.raises(UsageError, match=f"'{score}' is not a score from 0 to 1"):
        with_tags(known, known.select(), [f"low={score}"])


def test_packed_embeddings_at_the_edges():
    for vectors in (np.zeros((2, 3), np.float32), np.full((1, 4), -2.5, np.float32), np.zeros((0, 5), np.float32)):
        records = packed(vectors)
        assert records.dtype == record_type(vectors.shape[1])
        np.testing.assert_array_equal(unpacked(records), vectors)


def test_verify_names_what_differs(index, sounds, noise, run, monkeypatch):
    found = verify_index(read_index(index), 100, engine="numpy")
    assert found.agrees and (found.files, found.usable) == (10, 10) and found.worst < 1e-5 and not found.environment
    assert verify_index(read_index(index), 3, seed=1).files == 3
    (sounds / "a" / "0.wav").unlink()
    noise(sounds / "a" / "1.wav", 90)
    tag_files = Tagger.tag_files

    def disturbed(self, paths):
        for path, tags in tag_files(self, paths):
            if path.endswith("7.wav"):
                tags.over_time[2, 1] += 0.01
            yield path, tags

    monkeypatch.setattr(Tagger, "tag_files", disturbed)
    shown = run("verify", index, "--sample", 100, "--engine", "numpy")
    assert shown.exit_code == 1
    assert "7.wav: path at 0.10 s was" in shown.output and "1 file differs" in shown.output
    assert "0.wav: not there any more" in shown.output and "1.wav: has changed since" in shown.output
    assert "8 of 10 files were run again" in shown.output and ", 2 files could not be compared" in shown.output
    gone = run("verify", index, sounds / "a" / "1.wav", "--engine", "numpy")
    assert gone.exit_code == 1 and "0 of 1 files were run again, 1 file could not be compared" in gone.output


def test_diff_of_two_models(tmp_path, index, other_model, sounds, run):
    update_index(tmp_path / "other", other_model, [sounds], hop=0.05, engine="numpy", precision="fp32")
    first, second = read_index(index), read_index(tmp_path / "other")
    limit = 0.5
    found = compare_indexes(first, second, limit)
    was, now = (each.scores[~each.failed] > limit for each in (first, second))
    assert found.files == 10 and len(found.differences) == (was != now).sum() > 0
    for each in found.differences:
        row, label = second.rows[each.path], second.classes.index(each.label)
        assert each.after == second.scores[row, label] and each.gained == (each.after > limit)
        assert (each.before > limit) != each.gained
    assert sum(map(sum, found.counts.values())) == len(found.differences)
    assert not compare_indexes(first, first).differences
    shown = run("diff", index, tmp_path / "other", "--threshold", limit, "--json")
    assert [json.loads(line)["class"] for line in shown.stdout.splitlines()] == [
        each.label for each in found.differences
    ]


def test_diff_finds_files_by_content(tmp_path, index, model, sounds):
    shutil.move(sounds, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "a" / "0.wav").unlink()
    update_index(tmp_path / "moved", model, [tmp_path / "elsewhere"], hop=0.05, engine="numpy", precision="fp32")
    found = compare_indexes(read_index(index), read_index(tmp_path / "moved"))
    assert (found.files, found.changed, found.only_second) == (9, 0, [])
    assert found.only_first == [str(sounds / "a" / "0.wav")]


def test_info(index, sounds, run):
    described = describe_index(index)
    assert (described.files, described.failed, described.deleted) == (11, 1, 0)
    seconds = sum(soundfile.info(path).duration for path in sounds.rglob("[0-9].wav"))
    assert described.hours == pytest.approx(seconds / 3600)
    shown = run("info", index)
    assert "files      11, of which 1 cannot be used" in shown.output
    assert json.loads(run("info", index, "--json").output)["windows"] == described.windows


def test_the_command_updates_and_reports(tmp_path, model, sounds, noise, run):
    words = ("update", tmp_path / "i", "--model", model, sounds, "--engine", "numpy")
    first = run(*words)
    assert first.exit_code == 1 and "broken.wav: not audio" in first.stderr
    assert first.stdout == f"{tmp_path / 'i'}: 11 new\n"
    second = run("update", tmp_path / "i")
    assert second.exit_code == 0 and second.stdout.endswith(": 11 unchanged\n")
    assert "`index tags --errors`" in second.stderr
    listed = tmp_path / "list"
    listed.write_text(f"{noise(tmp_path / 'x.wav', 99)}\n")
    assert run("update", tmp_path / "i", "--files-from", listed).stdout.endswith(": 1 new\n")
    assert set(COMMANDS) >= {"update", "tags", "events", "similar", "verify", "diff", "info"}
