"""What a user gets from `pip install`: proved in bare environments, from a wheel built of this checkout.

Needs the package registry, and about a minute. Without the native library, whose wheels tests/plugins builds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fade_deploy
from fade_deploy.recipe import load_recipe
from tests.command_line import contents

ROOT = Path(__file__).parents[1]
# What a wheel is built from; a copy, so that building leaves nothing in the checkout.
SOURCES = ("fade_deploy", "export", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment with the package in it, and nothing of this checkout."""

    folder: Path
    source: Path

    def run(self, name: str, *arguments: Path | str, cwd: Path) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.run(
            [self.folder / "bin" / name, *arguments],
            cwd=cwd,
            env={**clean, "COLUMNS": "100", "FADE_NATIVE": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def install(self, *requirements: str) -> None:
        finished = self.run("python", "-m", "pip", "install", "--quiet", *requirements, cwd=self.source)
        assert finished.returncode == 0, finished.stderr

    def value(self, code: str, cwd: Path) -> object:
        """What an expression is there."""
        program = f"import json, importlib.util, fade_deploy.recipe as recipe\nprint(json.dumps({code}))"
        finished = self.run("python", "-I", "-c", program, cwd=cwd)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)


def made(folder: Path) -> Installed:
    source = folder / "checkout"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "_native"))
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    return Installed(folder / "venv", source)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install .`: enough for `import fade_deploy` and every --help."""
    environment = made(tmp_path_factory.mktemp("bare"))
    environment.install(str(environment.source))
    return environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install '.[ort-cpu]'`: an inference server."""
    environment = made(tmp_path_factory.mktemp("server"))
    # This environment's ONNX Runtime, so that predictions can be compared to the last pixel.
    environment.install(f"{environment.source}[ort-cpu]", f"onnxruntime=={metadata.version('onnxruntime')}")
    return environment


@pytest.mark.parametrize("command", ["fade-export", "fade-inspect", "fade-predict"])
def test_a_plain_installation_helps(bare: Installed, command: str, tmp_path: Path) -> None:
    finished = bare.run(command, "--help", cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Examples:" in finished.stdout


@pytest.mark.parametrize(
    ("command", "arguments", "extra"),
    [
        ("fade-export", ["model.pth"], "export,ort-cpu"),
        ("fade-inspect", ["model.pth"], "export"),
        ("fade-inspect", ["model.onnx"], "export"),
        ("fade-predict", ["model.onnx", "photo.png"], "ort-cpu"),
    ],
)
def test_a_plain_installation_says_what_to_install(
    bare: Installed, command: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    for name in ("model.pth", "model.onnx", "photo.png"):
        (tmp_path / name).write_bytes(b"content")
    before = contents(tmp_path)
    finished = bare.run(command, *arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    told = rf"FAILED  \w+ is not installed; install it with: pip install 'fade-deploy\[{extra}\]' .*\n"
    assert re.fullmatch(told, finished.stderr)
    assert contents(tmp_path) == before


def test_the_recipes_and_their_pictures_are_in_the_wheel(bare: Installed, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "export").glob("*.toml"))
    assert bare.value("recipe.list_recipes()", tmp_path) == names
    for name in names:
        assert bare.value(f"repr(recipe.load_recipe({name!r}))", tmp_path) == repr(load_recipe(name))


def test_the_wheel_holds_the_package_and_the_recipes_and_nothing_else(bare: Installed, tmp_path: Path) -> None:
    installed = Path(str(bare.value("recipe.__file__", tmp_path))).parent
    assert installed.parent.name == "site-packages"
    package, recipes = ROOT / "fade_deploy", ROOT / "export"
    files = {str(path.relative_to(installed)): path for path in installed.rglob("*.*")}
    expected = {str(path.relative_to(package)): path for path in package.rglob("*.*")}
    expected |= {f"_recipes/{path.relative_to(recipes)}": path for path in recipes.rglob("*.*")}
    for named in (files, expected):
        for name in [name for name in named if "__pycache__" in name or name.startswith("_native/")]:
            del named[name]
    assert files.keys() == expected.keys()
    for name, path in files.items():
        assert path.read_bytes() == expected[name].read_bytes(), name
    assert not (installed.parent / "tests").exists()


def test_building_leaves_nothing_behind(bare: Installed) -> None:
    assert {path.name for path in bare.source.iterdir()} == set(SOURCES)


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "polygraphy", "transformers", "safetensors"])
def test_a_server_has_none_of_what_exporting_needs(server: Installed, package: str, tmp_path: Path) -> None:
    assert server.value(f"importlib.util.find_spec({package!r}) is None", tmp_path) is True


def test_a_server_predicts_what_this_environment_does(server: Installed, tiny_onnx: Path, tmp_path: Path) -> None:
    with Image.open(ROOT / "export" / "pictures" / "coffee.jpg") as photo:
        photo.convert("RGB").resize((90, 60)).save(tmp_path / "photo.png")
    shutil.copy(tiny_onnx, tmp_path / "model.onnx")
    finished = server.run("fade-predict", "model.onnx", "photo.png", cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1].startswith("PASSED  photo.labels.png  90x60")
    here = fade_deploy.Predictor(tiny_onnx, library="none").predict(np.asarray(Image.open(tmp_path / "photo.png")))
    with Image.open(tmp_path / "photo.labels.png") as there:
        np.testing.assert_array_equal(np.asarray(there), here)
    assert len(np.unique(here)) > 1
