"""Every attribute of TensorRT that our code touches exists in the real bindings of every version that is supported."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fade_deploy
from fade_deploy.engines.strategy import STRATEGIES
from fade_deploy.runtimes.engine_flavour import Flavour, major_minor
from tests.engines.record_bindings import FOLDER, public_names
from tests.engines.rtx import needs_rtx

PACKAGE = Path(fade_deploy.__file__).parent
FILES = sorted(
    path
    for path in (*(PACKAGE / "engines").glob("*.py"), *(PACKAGE / "runtimes").glob("engine*.py"))
    if "trt" in path.read_text(encoding="utf-8")
)
# Which class a variable of ours holds, by file; what is not listed is no object of TensorRT.
VARIABLES = {
    "engines/build_worker.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "told": "ParserError",
        "profile": "IOptimizationProfile",
        "config": "IBuilderConfig",
        "cache": "ITimingCache",
        "runtime": "Runtime",
        "tensor": "ITensor",
    },
    "engines/strategy.py": {"builder": "Builder", "config": "IBuilderConfig"},
    "engines/layers.py": {
        "network": "INetworkDefinition",
        "engine": "ICudaEngine",
        "native": "ILayer",
        "tensor": "ITensor",
    },
    "runtimes/engine.py": {"runtime": "Runtime", "engine": "ICudaEngine"},
}
# What their methods return.
RETURNS = {
    "create_engine_inspector": "EngineInspector",
    "get_plugin_registry": "IPluginRegistry",
    "get_timing_cache": "ITimingCache",
}
# Methods that TensorRT calls in classes of ours.
OVERRIDDEN = {"ILogger": {"log"}, "IProgressMonitor": {"phase_start", "step_complete", "phase_finish"}}
# Only where a strategy says that its TensorRT has them.
OF_COMPUTE_CAPABILITIES = {
    ("", "ComputeCapability"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}


def touched(path: Path) -> Iterator[tuple[str, str]]:
    """(class, attribute) of everything of TensorRT that a file names; the module itself is ""."""
    variables = VARIABLES.get(str(path.relative_to(PACKAGE)), {})

    def class_of(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return "" if node.id == "trt" else variables.get(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = class_of(node.func.value)
            return None if owner is None else RETURNS.get(node.func.attr)
        if isinstance(node, ast.Attribute) and class_of(node.value) == "":
            return node.attr  # an enumeration or a class
        return None

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and (owner := class_of(node.value)) is not None:
            yield owner, node.attr
        elif isinstance(node, ast.ClassDef) and isinstance(node.bases[0] if node.bases else None, ast.Attribute):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                    yield node.bases[0].attr, method.name


def all_touched() -> set[tuple[str, str]]:
    names = {name for path in FILES for name in touched(path) if not name[1].startswith("__")}
    levels = {level for strategy in STRATEGIES for level in strategy.hardware_levels.values()}
    return names | {("HardwareCompatibilityLevel", level) for level in levels}


RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def missing(document: dict[str, Any], *, has_compute_capabilities: bool) -> set[tuple[str, str]]:
    wanted = all_touched() - (set() if has_compute_capabilities else OF_COMPUTE_CAPABILITIES)
    names = document["names"]
    return {(owner, attribute) for owner, attribute in wanted if attribute not in names.get(owner, ())}


def test_both_major_versions_and_rtx_are_recorded():
    versions = {
        (Flavour.RTX if name.startswith("tensorrt_rtx") else Flavour.TENSORRT, major_minor(document["version"])[0])
        for name, document in RECORDED.items()
    }
    assert versions == {(strategy.flavour, strategy.major) for strategy in STRATEGIES}


@pytest.mark.parametrize("name", RECORDED)
def test_what_we_touch_is_in_the_recorded_bindings(name):
    assert missing(RECORDED[name], has_compute_capabilities=name.startswith("tensorrt_rtx")) == set()


@pytest.mark.parametrize("name", [name for name in RECORDED if not name.startswith("tensorrt_rtx")])
def test_only_rtx_has_compute_capabilities(name):
    assert "ComputeCapability" not in RECORDED[name]["names"]


def test_overridden_methods_are_all_there_are():
    """A method that we misspell would never be called; one that we leave out ends the process."""
    overridden = {(owner, name) for owner, names in OVERRIDDEN.items() for name in names}
    assert overridden <= all_touched()
    for document in RECORDED.values():
        for owner, names in OVERRIDDEN.items():
            assert names <= set(document["names"][owner])


@pytest.mark.parametrize(("file", "variable"), [(file, name) for file, names in VARIABLES.items() for name in names])
def test_the_table_of_variables_is_up_to_date(file, variable):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    used = {
        node.value.id for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert variable in used


def test_an_attribute_that_no_version_has_is_found():
    document = {"names": {**RECORDED[next(iter(RECORDED))]["names"], "Builder": []}}
    assert ("Builder", "build_serialized_network") in missing(document, has_compute_capabilities=False)


@needs_rtx
def test_what_we_touch_is_in_the_installed_rtx():
    assert missing(public_names("tensorrt_rtx", {}), has_compute_capabilities=True) == set()
