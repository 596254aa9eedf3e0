"""Tags written into real files: read back by mutagen and FFmpeg, the sound unchanged, every change undone."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.errors import AudioError, UsageError
from samplecnn.file_tags import read_changes, read_fields, sound_digest, undo_changes, write_fields
from samplecnn.file_tags.fields import GENRE, MODEL, MOOD, SCORES, TAGS
from samplecnn.file_tags.journal import Journal

mutagen = pytest.importorskip("mutagen", reason="needs mutagen (the extra tags)")
av = pytest.importorskip("av", reason="needs PyAV (the extra av)")

RATE = 44100
WRITTEN = {"wav": None, "aiff": None, "flac": None, "mp3": None, "ogg": "OGG", "opus": "OGG", "oga": "OGG"}
SUBTYPE = {"opus": "OPUS", "ogg": "VORBIS", "oga": "OPUS"}
FORMATS = [*WRITTEN, "m4a", "flac.ogg"]
NEW = {TAGS: ["rain", "wind|ü", "犬"], SCORES: ["rain=0.93; wind=0.6"], MODEL: ["words ab12"]}


def sound(seconds: float = 1.5) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE))
    return (0.2 * np.sin(np.arange(len(noise)) * 0.05) + 0.02 * noise).astype(np.float32)


def encoded(container: str, codec: str, options: dict[str, str] | None = None) -> bytes:
    memory = io.BytesIO()
    wave, kind = sound()[None], "fltp"
    if codec == "flac":
        wave, kind = (wave * 32767).astype(np.int16), "s16"
    with av.open(memory, "w", format=container, options=options or {}) as output:
        track = output.add_stream(codec, rate=RATE, layout="mono")
        track.format = kind
        for first in range(0, wave.shape[1], 4096):
            part = np.ascontiguousarray(wave[:, first : first + 4096])
            frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
            frame.sample_rate, frame.pts = RATE, first
            for packet in track.encode(frame):
                output.mux(packet)
        for packet in track.encode(None):
            output.mux(packet)
    return memory.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for suffix, kind in WRITTEN.items():
        rate = 48000 if SUBTYPE.get(suffix) == "OPUS" else RATE
        soundfile.write(folder / f"x.{suffix}", sound(), rate, format=kind, subtype=SUBTYPE.get(suffix))
    (folder / "x.m4a").write_bytes(encoded("ipod", "aac"))
    (folder / "x.flac.ogg").write_bytes(encoded("ogg", "flac"))
    return folder


@pytest.fixture
def copy(originals, tmp_path):
    """copy("mp3") -> a file of its own."""

    def make(suffix: str) -> Path:
        return Path(shutil.copy(originals / f"x.{suffix}", tmp_path / f"x.{suffix}"))

    return make


def decoded(path: Path) -> np.ndarray:
    with path.open("rb") as file, av.open(file) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_tags_are_read_back_and_the_sound_is_the_same(suffix, copy, tmp_path):
    path = copy(suffix)
    before, digest, content = decoded(path), sound_digest(path), path.read_bytes()
    with Journal(tmp_path / "j.jsonl") as journal:
        change = write_fields(path, NEW, journal)
        assert change and change.before == {name: [] for name in NEW}
        assert write_fields(path, NEW, journal) is None and journal.count == 1
    assert read_fields(path, list(NEW)) == NEW
    assert np.array_equal(decoded(path), before) and sound_digest(path) == digest and path.read_bytes() != content
    file = mutagen.File(path)
    if isinstance(file.tags, mutagen.id3.ID3):
        assert file.tags.getall(f"TXXX:{TAGS}")[0].text == NEW[TAGS]
    elif suffix == "m4a":
        assert bytes(file["----:com.apple.iTunes:SAMPLECNN_MODEL"][0]) == b"words ab12"
    else:
        assert file["samplecnn_tags"] == NEW[TAGS]
    with path.open("rb") as opened, av.open(opened) as container:
        seen = {**container.metadata, **container.streams.audio[0].metadata}
    if suffix != "aiff":
        assert any(key.upper().endswith(MODEL) and value == "words ab12" for key, value in seen.items()), seen
    ((undone, problem),) = undo_changes(read_changes(tmp_path / "j.jsonl"), Journal(tmp_path / "undo.jsonl"))
    assert undone == change and not problem and read_fields(path, list(NEW)) == {name: [] for name in NEW}
    assert np.array_equal(decoded(path), before) and sound_digest(path) == digest


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "wav"])
def test_tags_of_others_stay_and_genre_and_mood_come_back(suffix, copy, tmp_path):
    path = copy(suffix)
    file = mutagen.File(path, easy=suffix in ("mp3", "m4a"))
    if file.tags is None:
        file.add_tags()
    if suffix == "wav":
        file.tags.add(mutagen.id3.TIT2(text=["A title"]))
        file.tags.add(mutagen.id3.TCON(text=["Blues", "Jazz"]))
    else:
        file["title"], file["genre"] = ["A title"], ["Blues", "Jazz"]
    file.save()
    wanted = {GENRE: ["Rain"], MOOD: ["calm", "wet"], **NEW}
    with Journal(tmp_path / "j") as journal:
        change = write_fields(path, wanted, journal)
    assert change is not None and change.before[GENRE] == ["Blues", "Jazz"] and change.had_tags
    assert read_fields(path, list(wanted)) == wanted

    def title() -> str:
        found = mutagen.File(path).tags[{"m4a": "\xa9nam", "mp3": "TIT2", "wav": "TIT2"}.get(suffix, "title")]
        return str(found[0] if isinstance(found, list) else found)

    assert title() == "A title"
    assert [problem for _, problem in undo_changes(read_changes(tmp_path / "j"), Journal(tmp_path / "u"))] == [""]
    assert read_fields(path, [GENRE, MOOD, TAGS]) == {GENRE: ["Blues", "Jazz"], MOOD: [], TAGS: []}
    assert title() == "A title"


def test_the_version_of_id3_stays_and_so_does_id3v1(copy, tmp_path):
    path = copy("mp3")
    tags = mutagen.id3.ID3()
    for frame in (mutagen.id3.TIT2(text=["A title"]), mutagen.id3.TDRC(text=["2001-02-03"])):
        tags.add(frame)
    tags.update_to_v23()
    tags.save(path, v1=2, v2_version=3)
    end = path.read_bytes()[-128:]
    assert end[:3] == b"TAG"
    with Journal(tmp_path / "j") as journal:
        write_fields(path, {**NEW, GENRE: ["Rain"], MOOD: ["calm"]}, journal)
    raw = mutagen.id3.ID3(path, translate=False)
    assert raw.version == (2, 3, 0) and path.read_bytes()[-128:] == end
    assert str(raw["TYER"]) == "2001" and str(raw["TDAT"]) == "0302"
    assert raw["TXXX:MOOD"].text == ["calm"] and "TMOO" not in raw and raw[f"TXXX:{TAGS}"].text == NEW[TAGS]
    assert read_fields(path, [MOOD, TAGS]) == {MOOD: ["calm"], TAGS: NEW[TAGS]}


def test_without_a_journal_nothing_is_written(copy):
    path = copy("flac")
    content = path.read_bytes()
    change = write_fields(path, NEW)
    assert change is not None and change.after == NEW and path.read_bytes() == content


def test_tags_that_were_changed_since_are_not_undone(copy, tmp_path):
    first, second = copy("flac"), copy("ogg")
    with Journal(tmp_path / "j") as journal:
        for path in (first, second):
            write_fields(path, NEW, journal)
    file = mutagen.File(first)
    file[TAGS] = ["mine"]
    file.save()
    changes = read_changes(tmp_path / "j")
    dry = list(undo_changes(changes))
    assert read_fields(second, [TAGS])[TAGS] == NEW[TAGS]
    done = list(undo_changes(changes, Journal(tmp_path / "u")))
    assert [problem for _, problem in done] == [problem for _, problem in dry]
    assert [problem for _, problem in done] == ["", "its tags have been changed since then; correct them by hand"]
    assert read_fields(first, [TAGS])[TAGS] == ["mine"] and read_fields(second, [TAGS])[TAGS] == []


def test_a_crash_leaves_the_file_and_a_journal_that_undoes_nothing(copy, tmp_path, monkeypatch):
    """The journal is written first: after a crash in between, the file has its earlier tags already."""
    path = copy("mp3")
    content = path.read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, Journal(tmp_path / "j") as journal:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_fields(path, NEW, journal)
    assert path.read_bytes() == content and {path.name for path in tmp_path.iterdir()} == {"x.mp3", "j"}
    with (tmp_path / "j").open("a") as file:
        file.write('{"path": "/cut o')
    assert [problem for _, problem in undo_changes(read_changes(tmp_path / "j"), Journal(tmp_path / "u"))] == [""]
    assert path.read_bytes() == content and not (tmp_path / "u").exists()


def test_a_writer_that_harms_the_sound_is_noticed(copy, tmp_path, monkeypatch):
    """Whatever mutagen does to the copy, the file stays as it is unless all but its tags is the same."""
    from samplecnn.file_tags import fields

    for suffix in FORMATS:
        path = copy(suffix)
        content = path.read_bytes()

        def harm(tags, suffix=suffix):
            data = bytearray(tags.path.read_bytes())
            data[-200] ^= 1
            tags.path.write_bytes(data)

        with monkeypatch.context() as patched, Journal(tmp_path / "j") as journal:
            for kind in (fields.TagFile, fields.Id3, fields.Mp3):
                patched.setattr(kind, "save", harm)
            with pytest.raises(AudioError, match=r"left as it is|damaged|cannot be read"):
                write_fields(path, NEW, journal)
        assert path.read_bytes() == content and not (tmp_path / "j").exists()


@pytest.mark.parametrize("suffix", ["ogg", "m4a", "flac", "wav"])
def test_digests_tell_sounds_apart(suffix, copy, tmp_path):
    path = copy(suffix)
    digest = sound_digest(path)
    data = path.read_bytes()
    for at in (len(data) // 2, len(data) - 300):
        changed = bytearray(data)
        changed[at] ^= 4
        path.write_bytes(changed)
        try:
            assert sound_digest(path) != digest
        except AudioError:
            continue
    path.write_bytes(data[:-400])
    try:
        assert sound_digest(path) != digest
    except AudioError as error:
        assert "damaged" in str(error)


def test_files_that_cannot_be_written_are_named(copy, tmp_path):
    path = copy("wav")
    os.link(path, tmp_path / "again.wav")
    (tmp_path / "text.mp3").write_text("not sound")
    (tmp_path / "x.voc").write_bytes(b"Creative Voice File\x1a" + bytes(50))
    with Journal(tmp_path / "j") as journal:
        for name, message in [
            ("x.wav", "it has 2 names (hard links)"),
            ("text.mp3", "text.mp3: "),
            ("x.voc", "tags are written into mp3, flac, ogg, opus, m4a, wav and aiff files only"),
            ("gone.mp3", "no such file"),
        ]:
            with pytest.raises(AudioError) as error:
                write_fields(tmp_path / name, NEW, journal)
            assert str(error.value).startswith(str(tmp_path / name)) and message in str(error.value)
    assert not (tmp_path / "j").exists()
    (tmp_path / "link.flac").symlink_to(copy("flac"))
    with Journal(tmp_path / "j") as journal:
        assert write_fields(tmp_path / "link.flac", NEW, journal)
    assert (tmp_path / "link.flac").is_symlink() and read_fields(tmp_path / "x.flac", [TAGS])[TAGS] == NEW[TAGS]


RELATIVE = '{"path": "a.wav", "before": {}, "after": {}, "had_tags": true}\n'


@pytest.mark.parametrize("text", ["", "x\n", '{"path": "a"}\n', RELATIVE])
def test_what_is_no_journal_is_refused(text, tmp_path):
    (tmp_path / "j").write_text(text)
    with pytest.raises(UsageError, match="name the journal that write-tags has written"):
        read_changes(tmp_path / "j")


def test_kinds_of_files_that_are_refused(tmp_path):
    """Already in a dry run (without a journal), with one line each, and the files stay as they are."""
    soundfile.write(tmp_path / "x.wav", sound(), RATE, format="RF64")
    (tmp_path / "x.m4a").write_bytes(encoded("ipod", "aac", {"movflags": "frag_keyframe+empty_moov"}))
    for name, why in (("x.wav", "a wav file of the kind RF64"), ("x.m4a", "a fragmented mp4")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(AudioError, match=f"{name}: {why}; convert it .*or leave it out"):
            write_fields(tmp_path / name, NEW)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(("content", "suffix"), [("mp3", "wav"), ("m4a", "wav"), ("wav", "mp3"), ("flac", "m4a")])
def test_the_content_decides_the_kind_of_tags_and_not_the_suffix(content, suffix, originals, tmp_path):
    path = Path(shutil.copy(originals / f"x.{content}", tmp_path / f"x.{suffix}"))
    before, digest = decoded(path), sound_digest(path)
    with Journal(tmp_path / "j") as journal:
        write_fields(path, NEW, journal)
    assert read_fields(path, list(NEW)) == NEW and sound_digest(path) == digest
    assert np.array_equal(decoded(path), before)
    path.write_bytes(encoded("adts", "aac"))
    with pytest.raises(AudioError, match=r"tags are written into mp3, flac, .* files only; leave it out"):
        write_fields(path, NEW)


def test_flac_behind_id3_gets_comments(originals, tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(b"ID3\4\0\0\0\0\0\x10" + bytes(16) + (originals / "x.flac").read_bytes())
    digest = sound_digest(path)
    with Journal(tmp_path / "j") as journal:
        write_fields(path, NEW, journal)
    assert read_fields(path, list(NEW)) == NEW and sound_digest(path) == digest


def test_a_wav_file_of_unknown_length_is_left_as_it_is(originals, tmp_path):
    content = bytearray((originals / "x.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "x.wav").write_bytes(content)
    with (
        Journal(tmp_path / "j") as journal,
        pytest.raises(AudioError, match=r"x.wav: its .*; (repair|leave|it is left)"),
    ):
        write_fields(tmp_path / "x.wav", NEW, journal)
    assert (tmp_path / "x.wav").read_bytes() == content and not (tmp_path / "j").exists()
