"""Where `prepare` gets files from: mirrors, alternatives to dead links, files placed by hand; and what it refuses."""

from dataclasses import replace

import pytest
from small_data_sets import EVALUATION, QUICK, TRAINING, layout, serve, zipped

from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.prepare import prepare
from samplecnn.errors import SampleCNNError, UsageError


def test_dead_links_are_listed_and_files_placed_by_hand_are_used(server, tmp_path):
    published, files = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    server.files["mirror/mp3.zip.002"].statuses = [404] * 9
    server.put("mirror/mp3.zip.003", b"<html>quota exceeded</html>", kind="text/html")
    with pytest.raises(SampleCNNError) as caught:
        prepare("mtt", tmp_path, published=published, network=QUICK)
    message = str(caught.value)
    assert f"{server.base}/mirror/mp3.zip.002: HTTP 404 Not Found" in message
    assert "mirg.city.ac.uk/codeapps" in message and f"into {raw} and run the same command again" in message
    assert "annotations_final.csv" in layout(raw)  # files that could be downloaded are there
    (raw / "mp3.zip.002").write_bytes(files["mp3.zip.002"])
    (raw / "mp3.zip.003").write_bytes(files["mp3.zip.003"])
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert report.complete and report.unpacked == {"mp3.zip": 40}
    left = layout(raw)
    assert "mp3.zip.001" not in left and {"mp3.zip.002", "mp3.zip.003"} <= set(left)  # a user's files are not deleted


def test_other_archives_are_prepared_when_one_is_dead(server, tmp_path):
    published, _ = serve(server, "dcs")
    server.files["mirror/groundtruth_weak_label_training_set.csv"].statuses = [500] * 9
    server.files["mirror/Task_4_DCASE_2017_testing_set.zip"].statuses = [403] * 9
    with pytest.raises(SampleCNNError) as caught:
        prepare("dcs", tmp_path, published=published, network=QUICK)
    message = str(caught.value)
    assert "HTTP 500" in message and "HTTP 403" in message and "drive.google.com" in message
    assert (tmp_path / "dcs" / "raw" / TRAINING).is_dir() and (tmp_path / "dcs" / "raw" / EVALUATION).is_dir()


@pytest.mark.parametrize("name", ["mp3.zip", "mp3_all.zip"])
def test_joined_zip_placed_by_hand_replaces_the_parts(server, tmp_path, name):
    published, files = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    raw.mkdir(parents=True)
    (raw / name).write_bytes(b"".join(files[f"mp3.zip.00{i}"] for i in (1, 2, 3)))
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert report.complete and report.downloaded == ["annotations_final.csv"]


def test_joined_zip_of_another_host_is_downloaded_where_a_part_is_dead(server, tmp_path):
    published, files = serve(server, "mtt")
    server.files["mirror/mp3.zip.003"].statuses = [404] * 9
    url = server.put("hub/mp3.zip", b"".join(files[f"mp3.zip.00{i}"] for i in (1, 2, 3)))
    downloads = [replace(d, urls=(url,)) if d.name == "mp3.zip" else d for d in published.downloads]
    report = prepare("mtt", tmp_path, published=replace(published, downloads=tuple(downloads)), network=QUICK)
    assert report.complete and "mp3.zip" in report.downloaded
    assert layout(tmp_path / "mtt" / "raw")[0] == "annotations_final.csv"
    assert not [name for name in layout(tmp_path / "mtt" / "raw") if ".zip" in name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda body: body[: len(body) // 2],
            r"has [\d,]+ of [\d,]+ bytes; delete it, or rename it to .*\.part to",
        ),
        (lambda body: b"<!DOCTYPE html><html>" + body, "a web page, not the file itself; delete it"),
        (lambda body: b"\x1f\x8b" + bytes(len(body) - 2), "its sha256 checksum is not the published one; delete it"),
    ],
    ids=["cut off", "web page", "other bytes"],
)
def test_wrong_file_placed_by_hand_is_refused_and_kept(server, tmp_path, damage, message):
    published, files = serve(server, "scd")
    path = tmp_path / "scd" / "raw" / "speech_commands_v0.02.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(files[path.name]))
    with pytest.raises(UsageError, match=rf"speech_commands_v0\.02\.tar\.gz: {message}"):
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
    assert "public/annotations_final.csv" in [path for path, _ in server.requests]  # the mirror lacks this file


def test_mirror_that_is_not_a_web_address(tmp_path):
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


def test_archive_with_paths_outside_the_folder(server, tmp_path):
    evil = zipped({"../../../evil.mp3": b"evil"})
    published = Published((Download("a.zip", (server.put("a.zip", evil),), unpack="zip", into="mp3"),), by_hand="")
    with pytest.raises(SampleCNNError, match="points outside the target folder"):
        prepare("own", tmp_path, published=published, network=QUICK)
    assert not list(tmp_path.rglob("evil*"))


def test_too_little_disk_space_is_reported_before_the_first_request(server, tmp_path, monkeypatch):
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
