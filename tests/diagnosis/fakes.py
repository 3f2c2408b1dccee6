"""Packages and libraries that do not work, put where Python and the loader look first."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HANGS = "import time\ntime.sleep(60)\n"
ABORTS = "import os\nos.abort()\n"
RAISES = "raise ImportError('libthat.so.1: cannot open shared object file')\n"
ABSENT = "raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"


class Fakes:
    """A folder that comes first on the path of this process and of its children."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))

    def module(self, name: str, code: str) -> None:
        """A module of that name, whatever else is installed."""
        (self.folder / f"{name}.py").write_text(code.replace("{name}", name))

    def distribution(self, name: str, version: str) -> None:
        """What pip would list."""
        folder = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def quick_torch(self) -> None:
        """The import that takes seconds is none; its row is then broken, which no test of another row minds."""
        self.module("torch", RAISES)


def compiled(source: str, path: Path) -> Path:
    """A shared library of C code."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for a library that is not ours")
    file = path.with_suffix(".c")
    file.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(file)], check=True, env=dict(os.environ))
    return path
