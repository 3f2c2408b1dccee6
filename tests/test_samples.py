"""Every sample's README has the two headings, and its bash blocks run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = sorted(path.parent for path in (Path(__file__).parents[1] / "samples").glob("*/README.md"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_readme_blocks_run(sample, tmp_path):
    text = (sample / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:2] == ["Introduction", "Running the example"]
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks, "a sample shows at least one command"
    folder = tmp_path / sample.name
    shutil.copytree(sample, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
