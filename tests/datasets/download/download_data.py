"""The file that the download tests fetch, and a network that gives up quickly."""

import hashlib
from pathlib import Path

from samplecnn.datasets.download.http import Network

QUICK = Network(timeout=2.0, attempts=3, pause=0.01)
BODY = bytes(range(256)) * 4000 + b"the end"  # 1.02 MB
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
