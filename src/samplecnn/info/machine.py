"""This machine and installation: versions, extras, CPU and precision, sound formats, disk."""

import shutil
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from samplecnn import __version__, hardware
from samplecnn.extras import EXTRAS, is_installed

# Modules that every installation has, and their packages.
REQUIRED = {
    "numpy": "numpy",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "h5py": "h5py",
    "crc32c": "crc32c",
    "typer": "typer",
    "rich": "rich",
}
PACKAGES = {"sklearn": "scikit-learn"}  # packages whose name differs from their module's


@dataclass
class MachineDescription:
    """An installation and its machine.

    Args:
        rows: (label, text) for display.
        libraries: version by package, "" if it is not installed.
        extras: for each extra of samplecnn, its missing packages.
        problems: one line for each thing that does not work.
    """

    rows: list[tuple[str, str]] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)
    extras: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls) -> "MachineDescription":
        """Inspects this machine; imports every installed library, which takes a few seconds."""
        found = cls([("samplecnn", f"{__version__} in {Path(__file__).parent.parent}")])
        found._look_at_libraries()
        found._look_at_hardware()
        found._look_at_sound()
        free = shutil.disk_usage(Path.cwd()).free
        found.rows.append(("free disk space", f"{free / 1e9:,.1f} GB in {Path.cwd()}"))
        if free < 1 << 30:
            found.problems.append(f"less than 1 GB is free in {Path.cwd()}")
        return found

    def _look_at_libraries(self) -> None:
        for module, package in REQUIRED.items():
            self._look_at(module, package, required=True)
        self.rows.append(("libraries", self._listed(REQUIRED.values())))
        for extra, modules in EXTRAS.items():
            absent = [module for module in modules if not is_installed(module)]
            self.extras[extra] = [PACKAGES.get(module, module) for module in absent]
            present = [PACKAGES.get(module, module) for module in modules if module not in absent]
            for module in modules:
                if module not in absent:
                    self._look_at(module, PACKAGES.get(module, module), required=False)
            text = self._listed(present)
            if absent:
                text += f"{'; ' if text else ''}no {', '.join(self.extras[extra])}: pip install 'samplecnn[{extra}]'"
            self.rows.append((f"extra {extra}", text))

    def _look_at(self, module: str, package: str, required: bool) -> None:
        """Imports a library to detect a broken one; a missing one is a problem only if it is required."""
        try:
            self.libraries[package] = version(package)
        except PackageNotFoundError:
            self.libraries[package] = ""
        try:
            import_module(module)
        except Exception as error:  # a broken library may raise anything
            detail = " ".join(str(error).split())[:200]
            reason = "is not installed" if isinstance(error, ModuleNotFoundError) and required else "cannot be imported"
            self.problems.append(
                f"{package} {reason} ({detail}); install it again: pip install --force-reinstall {package}"
            )

    def _listed(self, packages: Any) -> str:
        return ", ".join(f"{package} {self.libraries.get(package, '')}".strip() for package in packages)

    def _look_at_hardware(self) -> None:
        """Measures which precision is faster if that is not known yet, as the first use of a model would."""
        from samplecnn.inference.registry import decide_precision

        try:
            decide_precision("auto", "auto", None)
            if not self.extras["train"]:
                from samplecnn.training.precision import training_precision

                training_precision("auto", None)
        except Exception as error:  # a broken library, or an invalid value of a variable
            self.problems.append(f"precision: {' '.join(str(error).split())[:200]}")
        self.rows += hardware.describe()

    def _look_at_sound(self) -> None:
        try:
            import soundfile
        except Exception:  # reported by _look_at_libraries
            return
        formats = sorted(soundfile.available_formats())
        self.rows.append(
            ("sound formats", f"{' '.join(formats).lower()} (libsndfile {soundfile.__libsndfile_version__})")
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "machine",
            "version": __version__,
            "machine": dict(self.rows),
            "libraries": self.libraries,
            "missing_extras": self.extras,
            "problems": self.problems,
        }

    def lines(self) -> list[str]:
        width = max(len(label) for label, _ in self.rows)
        lines = [f"{label:<{width}}  {text}" for label, text in self.rows]
        problems = [f"problem: {problem}" for problem in self.problems]
        return [*lines, *(problems or ["everything that is installed works"])]
