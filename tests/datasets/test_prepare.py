"""`prepare` from end to end: small data sets laid out as the real ones, from a server on this machine."""

import hashlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from samplecnn.cli.prepare import prepare as command
from samplecnn.datasets import REGISTRY
from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.http import Network
from samplecnn.datasets.download.prepare import prepare
from samplecnn.datasets.mtt import TAGS
from samplecnn.datasets.published import DCS, MTT, PUBLISHED, SCD
from samplecnn.errors import SampleCNNError, UsageError


def beside(name):
    """A module of this folder: there are no test packages to import it from."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


server = beside("local_server").server
cipher = beside("zip_cipher")

QUICK = Network(timeout=2.0, attempts=2, pause=0.01)
TRAINING = "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads"
TESTING = "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads"
EVALUATION = "evaluation_set_formatted_audio_segments"


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def mtt_files(clips=40):
    """By name on the server: the table of labels and the three parts of a zip with the folders 0 to f."""
    names = [f"{number % 16:x}/artist-album-{number:02}-title-0-29.mp3" for number in range(clips)]
    header = ["clip_id", *sorted(TAGS), "mp3_path"]
    rows = [
        [str(number), *(str(int(tag == "guitar")) for tag in sorted(TAGS)), name] for number, name in enumerate(names)
    ]
    table = "\n".join("\t".join(f'"{cell}"' for cell in row) for row in [header, *rows]) + "\n"
    archive = zipped({name: os.urandom(3000) for name in names})
    third = len(archive) // 3
    parts = [archive[:third], archive[third : 2 * third], archive[2 * third :]]
    return {"annotations_final.csv": table.encode(), **{f"mp3.zip.00{i}": part for i, part in enumerate(parts, 1)}}, {
        "train": sum(name[0] in "0123456789ab" for name in names),
        "val": sum(name[0] == "c" for name in names),
        "test": sum(name[0] in "def" for name in names),
    }


def scd_files(speakers=12):
    words = REGISTRY["scd"].task().classes
    names = [f"{word}/{speaker:08x}_nohash_0.wav" for word in words for speaker in range(speakers)]
    lists = {
        "validation_list.txt": [name for name in names if "/00000001_" in name],
        "testing_list.txt": [name for name in names if "/00000002_" in name],
    }
    files = {name: os.urandom(200) for name in names} | {"_background_noise_/pink_noise.wav": b"RIFF", "LICENSE": b"CC"}
    files |= {name: ("\n".join(lines) + "\n").encode() for name, lines in lists.items()}
    sizes = {"train": len(words) * (speakers - 2), "val": len(words), "test": len(words)}
    return {"speech_commands_v0.02.tar.gz": tarred(files)}, sizes


def dcs_files(clips=60):
    classes = REGISTRY["dcs"].task().classes
    files, spread = {}, {"training": clips, "testing": 17, "evaluation": 17}
    folders = {"training": TRAINING, "testing": TESTING, "evaluation": EVALUATION}
    archives = {
        "training": "Task_4_DCASE_2017_training_set.zip",
        "testing": "Task_4_DCASE_2017_testing_set.zip",
        "evaluation": "DCASE_2017_evaluation_set_audio_files.zip",
    }
    for part, count in spread.items():
        names = [f"{part[:4]}{number:07}_30.000_40.000.wav" for number in range(count)]
        rows = [f"{name}\t30.000\t40.000\t{classes[i % len(classes)]}\r\n" for i, name in enumerate(names)]
        files[f"groundtruth_weak_label_{part}_set.csv"] = "".join(rows).encode()
        audio = {f"{folders[part]}/Y{name}": os.urandom(500) for name in names}
        files[archives[part]] = cipher.encrypted_zip(audio, f"DCASE_2017_{part}_set")
    return files, {}


MAKE = {"mtt": (mtt_files, MTT), "scd": (scd_files, SCD), "dcs": (dcs_files, DCS)}


def serve(server, name, folder="mirror", **behaviour):
    """Puts a small data set on the server. Returns how it is published there, and its files.

    Names, ways of unpacking, passwords and folders are those of the real one; addresses, sizes and checksums its own.
    """
    make, real = MAKE[name]
    files, sizes = make()
    downloads = []
    for download in real.downloads:
        if download.name in files:
            body = files[download.name]
            url = server.put(f"{folder}/{download.name}", body, **behaviour)
            known = {"size": len(body), "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}"}
            downloads.append(replace(download, urls=(url,), **(known if download.size else {})))
        else:
            downloads.append(replace(download, urls=(), size=None))
    return replace(real, downloads=tuple(downloads), expected=sizes), files


def layout(raw):
    return sorted(
        path.relative_to(raw).as_posix()
        for path in raw.rglob("*")
        if path.is_file() and path.relative_to(raw).parts[0] != ".prepared"
    )


def test_mtt_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "mtt")
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    raw = tmp_path / "mtt" / "raw"
    found = layout(raw)
    assert found[0] == "annotations_final.csv"
    assert len(found) == 41 and all(name.startswith("mp3/") for name in found[1:])  # and no archive is left
    assert sorted(path.name for path in (raw / "mp3").iterdir()) == list("0123456789abcdef")
    assert report.unpacked == {"mp3.zip": 40}
    assert report.downloaded == ["annotations_final.csv", "mp3.zip.001", "mp3.zip.002", "mp3.zip.003"]
    assert report.complete and report.sizes == published.expected
    assert all(clip.path.is_file() for clip in REGISTRY["mtt"].table(raw).clips)


def test_scd_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "scd")
    report = prepare("scd", tmp_path, published=published, network=QUICK)
    found = layout(tmp_path / "scd" / "raw")
    assert {"validation_list.txt", "testing_list.txt", "LICENSE", "_background_noise_/pink_noise.wav"} <= set(found)
    assert "zero/00000000_nohash_0.wav" in found and len(found) == 35 * 12 + 4
    assert report.complete and report.sizes == {"train": 350, "val": 35, "test": 35}


def test_dcs_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "dcs")
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    raw = tmp_path / "dcs" / "raw"
    assert sorted(path.name for path in raw.iterdir() if path.name != ".prepared") == [
        EVALUATION,
        "groundtruth_weak_label_evaluation_set.csv",
        "groundtruth_weak_label_testing_set.csv",
        "groundtruth_weak_label_training_set.csv",
        TESTING,
        TRAINING,
    ]
    assert [len(list((raw / folder).iterdir())) for folder in (TRAINING, TESTING, EVALUATION)] == [60, 17, 17]
    assert report.missing == 0 and sum(report.sizes.values()) == 60 + 17 + 17 and report.sizes["test"] == 17


def test_testing_zip_of_dcs_opens_with_either_password_told_of_it(server, tmp_path):
    published, _ = serve(server, "dcs")
    name = "Task_4_DCASE_2017_testing_set.zip"
    audio = {f"{TESTING}/Ytest{number:07}_30.000_40.000.wav": os.urandom(50) for number in range(17)}
    server.put(f"mirror/{name}", cipher.encrypted_zip(audio, "DCASE_2017_evaluation_set"))
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    assert report.unpacked[name] == 17


@pytest.mark.parametrize("name", ["mtt", "scd", "dcs"])
def test_second_run_does_nothing_and_says_so(server, tmp_path, name):
    published, _ = serve(server, name)
    prepare(name, tmp_path, published=published, network=QUICK)
    asked, before = len(server.requests), layout(tmp_path / name / "raw")
    report = prepare(name, tmp_path, published=published, network=QUICK)
    assert report.nothing_to_do and report.missing == 0
    assert len(server.requests) == asked and layout(tmp_path / name / "raw") == before
    if report.complete:
        assert "there was nothing to do" in report.text()


def test_what_was_unpacked_by_hand_is_recognised(server, tmp_path):
    published, _ = serve(server, "mtt")
    prepare("mtt", tmp_path, published=published, network=QUICK)
    shutil.rmtree(tmp_path / "mtt" / "raw" / ".prepared")
    asked = len(server.requests)
    assert prepare("mtt", tmp_path, published=published, network=QUICK).nothing_to_do
    assert len(server.requests) == asked


def test_archives_are_kept_on_request_and_again_needs_no_download_then(server, tmp_path):
    published, _ = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    prepare("mtt", tmp_path, published=published, network=QUICK, keep_archives=True)
    assert {f"mp3.zip.00{i}" for i in (1, 2, 3)} <= set(layout(raw))
    asked = len(server.requests)
    victim = raw / "mp3" / "0" / "artist-album-00-title-0-29.mp3"
    victim.unlink()
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert not report.complete and report.missing == 1 and not victim.exists()
    assert "mp3/0/artist-album-00-title-0-29.mp3" in report.text() and "--again" in report.text()
    assert "1 of the 40 files of mp3.zip are gone" in report.text()
    report = prepare("mtt", tmp_path, published=published, network=QUICK, again=True, keep_archives=True)
    assert report.complete and victim.exists() and len(server.requests) == asked


def test_again_fetches_an_archive_that_is_gone(server, tmp_path):
    published, _ = serve(server, "scd")
    prepare("scd", tmp_path, published=published, network=QUICK)
    victim = tmp_path / "scd" / "raw" / "bed" / "00000003_nohash_0.wav"
    victim.unlink()
    report = prepare("scd", tmp_path, published=published, network=QUICK, again=True)
    assert victim.exists() and report.complete and report.downloaded == ["speech_commands_v0.02.tar.gz"]


def test_all_that_was_unpacked_is_gone(server, tmp_path):
    published, _ = serve(server, "mtt")
    prepare("mtt", tmp_path, published=published, network=QUICK)
    shutil.rmtree(tmp_path / "mtt" / "raw" / "mp3")
    assert prepare("mtt", tmp_path, published=published, network=QUICK).unpacked == {"mp3.zip": 40}


def test_dead_links_name_every_address_and_what_to_do_then_files_by_hand_are_taken(server, tmp_path):
    published, files = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    server.files["mirror/mp3.zip.002"].statuses = [404] * 9
    server.put("mirror/mp3.zip.003", b"<html>quota exceeded</html>", kind="text/html")
    with pytest.raises(SampleCNNError) as caught:
        prepare("mtt", tmp_path, published=published, network=QUICK)
    message = str(caught.value)
    assert f"{server.base}/mirror/mp3.zip.002: HTTP 404 Not Found" in message
    assert "mirg.city.ac.uk/codeapps" in message and f"into {raw} and run the same command again" in message
    assert "annotations_final.csv" in layout(raw)  # what could be had is there
    (raw / "mp3.zip.002").write_bytes(files["mp3.zip.002"])
    (raw / "mp3.zip.003").write_bytes(files["mp3.zip.003"])
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert report.complete and report.unpacked == {"mp3.zip": 40}
    left = layout(raw)
    assert "mp3.zip.001" not in left and {"mp3.zip.002", "mp3.zip.003"} <= set(left)  # a user's files are not deleted


def test_one_dead_archive_does_not_hold_up_the_others(server, tmp_path):
    published, _ = serve(server, "dcs")
    server.files["mirror/groundtruth_weak_label_training_set.csv"].statuses = [500] * 9
    server.files["mirror/Task_4_DCASE_2017_testing_set.zip"].statuses = [403] * 9
    with pytest.raises(SampleCNNError) as caught:
        prepare("dcs", tmp_path, published=published, network=QUICK)
    message = str(caught.value)
    assert "HTTP 500" in message and "HTTP 403" in message and "drive.google.com" in message
    assert (tmp_path / "dcs" / "raw" / TRAINING).is_dir() and (tmp_path / "dcs" / "raw" / EVALUATION).is_dir()


@pytest.mark.parametrize("name", ["mp3.zip", "mp3_all.zip"])
def test_joined_zip_put_there_by_hand_stands_for_the_parts(server, tmp_path, name):
    published, files = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    raw.mkdir(parents=True)
    (raw / name).write_bytes(b"".join(files[f"mp3.zip.00{i}"] for i in (1, 2, 3)))
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert report.complete and report.downloaded == ["annotations_final.csv"]


def test_joined_zip_of_another_host_is_fetched_where_a_part_is_dead(server, tmp_path):
    published, files = serve(server, "mtt")
    server.files["mirror/mp3.zip.003"].statuses = [404] * 9
    url = server.put("hub/mp3.zip", b"".join(files[f"mp3.zip.00{i}"] for i in (1, 2, 3)))
    downloads = [replace(d, urls=(url,)) if d.name == "mp3.zip" else d for d in published.downloads]
    report = prepare("mtt", tmp_path, published=replace(published, downloads=tuple(downloads)), network=QUICK)
    assert report.complete and "mp3.zip" in report.downloaded
    assert layout(tmp_path / "mtt" / "raw")[0] == "annotations_final.csv"
    assert not [name for name in layout(tmp_path / "mtt" / "raw") if ".zip" in name]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda body: body[: len(body) // 2], r"has [\d,]+ of [\d,]+ bytes; delete it, or rename it to .*\.part"),
        (lambda body: b"<!DOCTYPE html><html>" + body, "a web page, not the file itself; delete it"),
        (lambda body: b"\x1f\x8b" + bytes(len(body) - 2), "its sha256 checksum is not the published one; delete it"),
    ],
    ids=["cut off", "web page", "other bytes"],
)
def test_wrong_file_put_there_by_hand_is_refused_and_kept(server, tmp_path, damage, told):
    published, files = serve(server, "scd")
    path = tmp_path / "scd" / "raw" / "speech_commands_v0.02.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(files[path.name]))
    with pytest.raises(UsageError, match=rf"speech_commands_v0\.02\.tar\.gz: {told}"):
        prepare("scd", tmp_path, published=published, network=QUICK)
    assert path.exists() and server.requests == []


def test_mirror_is_asked_first(server, tmp_path):
    published, _ = serve(server, "scd", folder="public")
    name = "speech_commands_v0.02.tar.gz"
    server.put(f"near%20by/{name}", server.files[f"public/{name}"].body)
    report = prepare("scd", tmp_path, published=published, mirror=f"{server.base}/near%20by/", network=QUICK)
    assert report.complete and {path for path, _ in server.requests} == {f"near%20by/{name}"}


def test_mirror_with_the_joined_file_only(server, tmp_path):
    published, files = serve(server, "mtt", folder="public")
    server.put("near/mp3.zip", b"".join(files[f"mp3.zip.00{i}"] for i in (1, 2, 3)))
    report = prepare("mtt", tmp_path, published=published, mirror=f"{server.base}/near", network=QUICK)
    assert report.complete
    assert "public/mp3.zip.001" not in [path for path, _ in server.requests]
    assert "public/annotations_final.csv" in [
        path for path, _ in server.requests
    ]  # what it does not have comes from there


def test_mirror_that_is_no_address(tmp_path):
    with pytest.raises(UsageError, match=r"--mirror /some/folder: not an http:// or https:// address"):
        prepare("scd", tmp_path, mirror="/some/folder")


def test_damaged_archive_from_the_server(server, tmp_path):
    published, files = serve(server, "dcs")
    name = "Task_4_DCASE_2017_training_set.zip"
    server.put(f"mirror/{name}", files[name][:-4000])
    with pytest.raises(SampleCNNError, match=rf"{name}: damaged archive .*; delete it and run the same command again"):
        prepare("dcs", tmp_path, published=published, network=QUICK)
    (tmp_path / "dcs" / "raw" / name).unlink()
    server.put(f"mirror/{name}", files[name])
    assert prepare("dcs", tmp_path, published=published, network=QUICK).missing == 0


def test_archive_that_leads_out_of_the_folder(server, tmp_path):
    evil = zipped({"../../../evil.mp3": b"evil"})
    published = Published((Download("a.zip", (server.put("a.zip", evil),), unpack="zip", into="mp3"),), by_hand="")
    with pytest.raises(SampleCNNError, match="leads out of the folder"):
        prepare("own", tmp_path, published=published, network=QUICK)
    assert not list(tmp_path.rglob("evil*"))


def test_too_little_room_is_told_before_the_first_byte(server, tmp_path, monkeypatch):
    published, _ = serve(server, "mtt")
    monkeypatch.setattr(
        "samplecnn.datasets.download.prepare.shutil.disk_usage", lambda _: type("usage", (), {"free": 1000})
    )
    with pytest.raises(SampleCNNError, match="free some space or choose another --data-dir"):
        prepare("mtt", tmp_path, published=published, network=QUICK)
    assert server.requests == []


def test_data_dir_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SampleCNNError, match="check the folder and its permissions") as caught:
        prepare("scd", tmp_path / "file", network=QUICK)
    assert "\n" not in str(caught.value)


def test_sizes_other_than_the_original_are_told(server, tmp_path):
    published, _ = serve(server, "scd")
    report = prepare("scd", tmp_path, published=replace(published, expected=dict(SCD.expected)), network=QUICK)
    assert not report.complete
    assert "train: 350 clips, but the original has 84,843" in report.text()


def test_unknown_data_set(tmp_path):
    with pytest.raises(UsageError, match="'esc10' is not a published data set; expected dcs, mtt, scd"):
        prepare("esc10", tmp_path)


def test_published_addresses_are_sound():
    for name, published in PUBLISHED.items():
        assert published.licence and published.by_hand and set(published.expected) == {"train", "val", "test"}
        for download in published.downloads:
            assert all(url.startswith(("https://", "http://")) for url in download.urls)
            assert download.urls or download.instead_of
            assert Path(download.name).name == download.name
            kind, _, value = (download.checksum or "sha256:" + "0" * 64).partition(":")
            assert len(value) == {"sha256": 64, "md5": 32}[kind] and not value.strip("0123456789abcdef")
        assert REGISTRY[name].published is published


# -- interrupted at any point -----------------------------------------------------------------------------------------

DRIVER = textwrap.dedent(
    """
    import json, sys
    from dataclasses import replace
    from pathlib import Path
    from samplecnn.datasets.base import Download, Published
    from samplecnn.datasets.download.prepare import prepare
    from samplecnn.datasets.download.http import Network
    job = json.loads(sys.argv[1])
    if job["slow"]:  # makes each step of unpacking long enough to be hit
        import time
        from samplecnn.datasets.download import archives
        from samplecnn.datasets.download import zip_decrypt
        for module, owner, name in ((archives, archives, "_write"), (zip_decrypt, zip_decrypt._Lane, "put")):
            def slow(*args, real=getattr(owner, name)):
                time.sleep(0.02)
                return real(*args)
            setattr(owner, name, slow)
        zip_decrypt.STRETCH = 600
    downloads = tuple(Download(**{**d, "urls": tuple(d["urls"])}) for d in job["downloads"])
    published = Published(downloads, by_hand="", expected=job["expected"])
    patient = Network(2.0, 2, 0.01)
    report = prepare(job["name"], job["data_dir"], published=published, network=patient, workers=job["workers"])
    print(report.text())
    """
)


def start(name, published, data_dir, slow=False, workers=1):
    job = {
        "name": name,
        "data_dir": str(data_dir),
        "downloads": [vars(download) for download in published.downloads],
        "expected": published.expected,
        "slow": slow,
        "workers": workers,
    }
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(condition, process):
    limit = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_while_downloading_goes_on(server, tmp_path, how):
    published, files = serve(server, "scd")
    name = "speech_commands_v0.02.tar.gz"
    body = files[name] + b"\0" * 3_000_000  # zeros after a gzip stream are padding: the same archive, but larger
    server.put(f"mirror/{name}", body)
    checksum = f"sha256:{hashlib.sha256(body).hexdigest()}"
    downloads = tuple(replace(d, size=len(body), checksum=checksum) for d in published.downloads)
    published = replace(published, downloads=downloads)
    server.pace = 0.05
    part = tmp_path / "scd" / "raw" / f"{name}.part"
    process = start("scd", published, tmp_path)
    until(lambda: part.exists() and part.stat().st_size > 300_000, process)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    have = part.stat().st_size
    assert 300_000 <= have < len(body)
    server.pace = 0.0
    report = prepare("scd", tmp_path, published=published, network=QUICK)
    assert report.complete and server.requests[-1][1]["Range"] == f"bytes={have}-"
    assert not part.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mtt", "scd", "dcs"])
def test_killed_while_unpacking_goes_on(server, tmp_path, name):
    published, _ = serve(server, name)
    raw = tmp_path / name / "raw"
    archives = sum(bool(download.unpack) and bool(download.urls) for download in published.downloads)
    process = start(name, published, tmp_path, slow=True)
    until(lambda: len([file for file in layout(raw) if file.endswith((".mp3", ".wav"))]) > 5, process)
    process.kill()
    process.communicate()
    before = {file: (raw / file).stat().st_ino for file in layout(raw) if file.endswith((".mp3", ".wav"))}
    assert 5 < len(before) < sum(published.expected.values() or [94])
    asked = len(server.requests)
    report = prepare(name, tmp_path, published=published, network=QUICK)
    assert report.missing == 0 and (report.complete or name == "dcs")
    assert len(server.requests) - asked < archives + 3 and asked > 0
    assert all((raw / file).stat().st_ino == inode for file, inode in before.items())  # not written a second time
    assert not [file for file in layout(raw) if ".part" in file or ".zip" in file or ".tar" in file]


@pytest.mark.slow
def test_workers_of_a_killed_run_end(server, tmp_path):
    audio = {f"{TRAINING}/{number}.wav": os.urandom(20_000) for number in range(40)}
    body = cipher.encrypted_zip(audio, "p")
    published = Published((Download("a.zip", (server.put("a.zip", body),), unpack="zip", password="p"),), by_hand="")
    raw = tmp_path / "own" / "raw"
    process = start("own", published, tmp_path, workers=2)
    until(lambda: (raw / TRAINING).exists() and len(list((raw / TRAINING).glob("*.wav"))) > 2, process)
    process.kill()
    process.communicate()  # returns when the last worker has closed what it inherited
    assert len(list((raw / TRAINING).glob("*.wav"))) < 40  # they did not go on to the end
    report = prepare("own", tmp_path, published=published, network=QUICK)
    assert report.unpacked == {"a.zip": 40}
    assert {path.name: path.read_bytes() for path in (raw / TRAINING).iterdir()} == {
        Path(name).name: data for name, data in audio.items()
    }


@pytest.mark.slow
def test_killed_again_and_again_ends_well(server, tmp_path):
    published, _ = serve(server, "dcs")
    process = None
    for attempt in range(6):
        process = start("dcs", published, tmp_path, slow=True)
        try:
            process.communicate(timeout=0.4 + 0.25 * attempt)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    assert report.missing == 0 and sum(report.sizes.values()) == 94
    assert not [file for file in layout(tmp_path / "dcs" / "raw") if ".part" in file or ".zip" in file]


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_two_at_once_keep_out_of_each_others_way(server, tmp_path, monkeypatch):
    import fcntl

    published, _ = serve(server, "scd")
    (tmp_path / "scd" / "raw" / ".prepared").mkdir(parents=True)
    monkeypatch.setattr("samplecnn.datasets.download.prepare.PATIENCE", 0.2)
    with (tmp_path / "scd" / "raw" / ".prepared" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another `samplecnn prepare` is at work here"):
            prepare("scd", tmp_path, published=published, network=QUICK)
    assert prepare("scd", tmp_path, published=published, network=QUICK).complete


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    app = typer.Typer()
    app.command()(command)

    def go(published, *arguments):
        for name, value in published.items():
            monkeypatch.setitem(PUBLISHED, name, value)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return go


def test_command_prepares_and_tells_the_licence(server, tmp_path, run):
    published, _ = serve(server, "scd")
    result = run({"scd": published}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Please cite: P. Warden" in result.stdout and "train: 350 clips" in result.stdout
    assert f"{tmp_path / 'scd' / 'raw'} is ready" in result.stdout
    result = run({"scd": published}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 0 and "there was nothing to do" in result.stdout


def test_command_is_not_content_with_less_than_the_original(server, tmp_path, run):
    published, _ = serve(server, "scd")
    result = run({"scd": replace(published, expected=dict(SCD.expected))}, "scd", "--data-dir", tmp_path)
    assert result.exit_code == 1 and "is not complete" in result.stdout


def test_every_option_has_its_effect(server, tmp_path, run):
    published, _ = serve(server, "mtt", folder="public")
    shutil_names = {f"public/{d.name}" for d in published.downloads}
    for path in list(server.files):
        if path in shutil_names:
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


def test_patience_options(server, tmp_path, run):
    published, _ = serve(server, "scd", stall=1.0)
    began = time.monotonic()
    result = run({"scd": published}, "scd", "--data-dir", tmp_path, "--timeout", 0.1, "--attempts", 1)
    assert "no answer in time" in str(result.exception) and time.monotonic() - began < 5
    assert len(server.requests) == 1  # --attempts
    server.files["mirror/speech_commands_v0.02.tar.gz"].stall = 0.0
    server.files["mirror/speech_commands_v0.02.tar.gz"].statuses = [500]
    assert run({"scd": published}, "scd", "--data-dir", tmp_path, "--attempts", 2).exit_code == 0


def test_workers_option_is_passed_on(server, tmp_path, run, monkeypatch):
    published, _ = serve(server, "dcs")
    from samplecnn.datasets.download import zip_decrypt

    started = []

    class Counted(zip_decrypt.Worker):
        def __init__(self, *args, **kwargs):
            started.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(zip_decrypt, "Worker", Counted)
    result = run({"dcs": published}, "dcs", "--data-dir", tmp_path, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert len(started) == 6  # two for each of the three encrypted zips
