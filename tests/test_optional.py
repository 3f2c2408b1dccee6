"""A missing package ends in the line that installs it, and only a missing one does."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from fade_deploy import optional
from fade_deploy.errors import MissingDependency
from fade_deploy.optional import require, require_exporting

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
# Import name -> package, where they differ.
PACKAGES = {"PIL": "pillow", "onnx_ir": "onnxscript", "markupsafe": "jinja2"}  # the latter two depend on them


@pytest.mark.parametrize("name", ["json", "json.decoder"])
def test_an_installed_module_is_imported(name: str) -> None:
    assert require(name, extra="export") is sys.modules[name]
    assert require("json", extra="export") is json


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part"])
def test_a_missing_package_is_told_with_the_line_that_installs_it(name: str) -> None:
    with pytest.raises(MissingDependency) as raised:
        require(name, extra="ort-cpu")
    assert str(raised.value) == (
        f"{name} is not installed; install it with: pip install 'fade-deploy[ort-cpu]' "
        "(from a clone: pip install '.[ort-cpu]')"
    )


def test_a_broken_package_is_not_explained_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import its_own_missing_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="its_own_missing_dependency"):
        require("half_installed", extra="export")


@pytest.mark.parametrize(
    ("absent", "told", "extra"),
    [
        (["onnxruntime"], "onnxruntime", "ort-cpu"),
        (["onnxscript"], "onnxscript", "export"),
        (["torch", "onnxruntime"], "torch", "export,ort-cpu"),  # one installation, not two in turn
    ],
)
def test_an_export_asks_once_for_all_that_it_lacks(
    absent: list[str], told: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = optional.require

    def requires(module: str, *, extra: str) -> object:
        return real(f"absent_{module}" if module in absent else "json", extra=extra)

    monkeypatch.setattr(optional, "require", requires)
    with pytest.raises(MissingDependency) as raised:
        require_exporting()
    assert str(raised.value).startswith(f"absent_{told} is not installed; ")
    assert f"fade-deploy[{extra}]'" in str(raised.value)


def required() -> list[tuple[str, str, str]]:
    """(file, module, extra) of every ``require`` in the package whose arguments are literals."""
    found = [("optional.py", module, "export") for module in optional._EXPORTING]
    for path in (ROOT / "fade_deploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("require", "optional.require"):
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                if all(isinstance(argument, ast.Constant) for argument in arguments):
                    module, extra = (argument.value for argument in arguments)
                    found.append((path.name, module, extra))
    return found


@pytest.mark.parametrize(("file", "module", "extra"), sorted(set(required())))
def test_the_extra_that_is_named_brings_the_package(file: str, module: str, extra: str) -> None:
    name = module.partition(".")[0]
    brought = {re.split(r"[<>=!~;\[ ]", line)[0] for line in EXTRAS[extra]}
    assert PACKAGES.get(name, name) in brought


def test_the_python_api_says_what_to_install_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import fade_deploy

    monkeypatch.setattr(optional, "_EXPORTING", ("no_such_package",))
    with pytest.raises(MissingDependency, match=r"fade-deploy\[export"):
        _ = fade_deploy.export
