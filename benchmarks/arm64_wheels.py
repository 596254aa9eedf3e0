"""Does every dependency have a wheel for 64-bit ARM, as on a Raspberry Pi? Asks the package index, installs nothing.

    python benchmarks/arm64_wheels.py [--json benchmarks/arm64.json]

For the installation without PyTorch and the extras, in groups, pip resolves the pinned versions of constraints.txt for
Linux on aarch64 and wheels only, with the Python and C library of two releases of Raspberry Pi OS.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}  # Raspberry Pi OS: Python, glibc 2.x
GROUPS = ("", "onnx,openvino,fast,serve,hub,av,tags,mqtt,wyoming", "mic")


def resolved(requirements: list[str], python: str, glibc: int) -> list[str] | str:
    """File names of the wheels that pip would install; or the error."""
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, glibc + 1))]
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--target", folder,
            "--disable-pip-version-check", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
            *(word for name in platforms for word in ("--platform", name)),
            "--constraint", str(ROOT / "constraints.txt"), "--report", f"{folder}/report.json", *requirements,
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            return next(line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR"))
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
        return sorted(item["download_info"]["url"].rpartition("/")[2] for item in report["install"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file for the result")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        group: project["dependencies"] + [word for extra in group.split(",") if extra for word in extras[extra]]
        for group in GROUPS
    }
    rows: list[dict[str, Any]] = []
    for system, (python, glibc) in SYSTEMS.items():
        for extra, requirements in wanted.items():
            found = resolved(requirements, python, glibc)
            row = {"system": system, "python": python, "extra": extra}
            rows.append(row | ({"error": found} if isinstance(found, str) else {"wheels": found}))
            said = found if isinstance(found, str) else f"{len(found)} wheels"
            print(f"{system}, Python {python}, {extra or 'samplecnn'}: {said}", flush=True)
            if options.json:
                result = json.dumps({"bench": "arm64", "arm64": rows}, indent=1) + "\n"
                Path(options.json).write_text(result, encoding="utf-8")
    sys.exit(any("error" in row for row in rows))


if __name__ == "__main__":
    main()
