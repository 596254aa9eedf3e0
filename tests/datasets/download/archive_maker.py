"""Archives for the tests: plain, split and packed ones, and what a folder then holds."""

import io
import itertools
import random
import tarfile
import zipfile

noise = random.Random(1).randbytes
FILES = {
    "0/one - two (live).mp3": noise(70_000),
    "0/ünï code.mp3": b"",
    "f/deep/er/three.mp3": bytes(200_000),
    "top.txt": b"hello",
}


def make_zip(files=FILES, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_tar(files=FILES, prefix=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def written(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def split(path, data, cuts):
    edges = [0, *cuts, len(data)]
    return [
        written(path.with_name(f"{path.name}.{number:03}"), data[start:end])
        for number, (start, end) in enumerate(itertools.pairwise(edges), start=1)
    ]
