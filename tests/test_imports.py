"""Every arrow of the house points one way, and what a user did not install is never imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fade_deploy"
MODULES = sorted(PACKAGE.rglob("*.py"))

# One row a layer: what it may import of the house, itself and the leaves aside.
ALLOWED = {
    "leaves": set(),
    "ops": set(),
    "swap": {"ops"},
    "models": {"ops"},
    "checkpoints": {"ops", "models"},
    "graph": {"ops"},  # never models
    "engines": {"graph", "runtimes"},
    "runtimes": set(),
    "verification": {"runtimes"},
    "serve": {"runtimes"},
    "diagnosis": {"runtimes"},
    "timing": {"runtimes", "verification"},
    "report": {"ops", "serve", "timing", "verification"},
    "api": {
        "checkpoints",
        "models",
        "graph",
        "runtimes",
        "verification",
        "serve",
        "diagnosis",
        "engines",
        "timing",
        "report",
    },
    "cli": {"api"},
    "face": {"api", "serve", "ops", "swap"},  # fade_deploy/__init__.py, and only when asked
}
LEAVES = {"errors", "optional", "contract", "tolerances", "recipe", "artefact", "precision", "provider", "version"}
# What each layer may import of others' packages, besides the standard library.
PACKAGES = {
    "leaves": {"numpy"},
    "ops": {"numpy", "torch"},
    "swap": {"torch"},
    "models": {"torch"},
    "checkpoints": {"numpy", "torch", "safetensors"},
    "graph": {"numpy", "torch", "onnx", "onnx_ir", "onnxscript"},
    "runtimes": {"numpy", "onnxruntime"},
    "engines": {"onnx", "onnx_ir"},
    "verification": {"numpy", "PIL", "polygraphy"},
    "serve": {"numpy", "PIL"},
    "diagnosis": {"numpy", "packaging"},
    "timing": {"numpy"},
    "report": {"numpy", "jinja2", "markupsafe", "matplotlib", "PIL"},
    "api": {"numpy"},
    "cli": {"rich", "typer"},
    "face": {"torch"},  # asks for it
}
# Single modules that go further, each inside the function that needs it or on an exporting machine only.
MORE_PACKAGES = {
    "optional.py": {"onnxruntime"},  # asks for it
    "cli/predict.py": {"onnxruntime", "PIL"},  # asks for them
    "runtimes/eager.py": {"torch", "polygraphy"},
    "runtimes/engine.py": {"numpy", "polygraphy"},
    "runtimes/reference.py": {"onnx", "polygraphy"},
    "runtimes/openvino.py": {"openvino", "onnx", "polygraphy"},
    "api/verify/verify.py": {"polygraphy"},
    "api/verify/runners.py": {"torch", "onnx", "onnx_ir", "polygraphy"},
    "api/verify/subjects.py": {"torch"},
    "api/verify/checkpoint.py": {"torch"},
    "api/verify/bisect.py": {"torch", "onnx_ir"},
    "api/verify/mending.py": {"onnx_ir", "polygraphy"},
    "api/verify/pictures.py": {"PIL"},
    "cli/verify.py": {"onnxruntime"},
    "report/upsamplers.py": {"torch"},
    "report/graph_summary.py": {"onnx"},
    "api/report.py": {"torch"},
    "timing/bound_run.py": {"onnxruntime", "torch", "polygraphy"},
    "timing/polygraphy_times.py": {"onnxruntime", "polygraphy"},
    "api/bench/bench.py": {"torch"},
    "api/bench/loading.py": {"torch"},
    "api/bench/worker.py": {"torch", "onnxruntime"},
    "cli/bench.py": {"onnxruntime"},
    "serve/triton_model.py": {"triton_python_backend_utils"},  # the server brings it; the file is copied there
    "diagnosis/probe_packages.py": {"torch", "onnx", "tritonclient", "google"},  # each in a process of its own
    "diagnosis/probe_onnxruntime.py": {"onnxruntime"},
    "api/export/export.py": {"torch", "onnx_ir"},
    "api/export/module.py": {"torch"},
    "api/export/module_interface.py": {"torch"},
    "api/tables.py": {"torch"},  # asks for it
    "api/export/verified_file.py": {"torch", "onnx", "onnx_ir", "polygraphy"},
    "api/export/manifest.py": {"torch"},
    "api/inspect.py": {"torch", "onnx"},  # each when asked for a file of that kind
}
# Not one of these for `import fade_deploy` or a --help.
HEAVY = (
    *("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx"),
    *("PIL", "polygraphy", "safetensors", "transformers", "jinja2", "matplotlib"),
)


def layer_of(path: Path) -> str:
    first, *others = path.relative_to(PACKAGE).parts
    if others:
        return first
    return "face" if first == "__init__.py" else "leaves"


def layer_of_name(name: str) -> str:
    """Of a dotted name below ``fade_deploy``."""
    first = name.split(".")[1]
    return "leaves" if first in LEAVES else first


def imported(path: Path) -> Iterator[str]:
    """Every dotted name that a module imports, at its top, inside a function, by ``require``, or for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("require", "import_module")):
            yield from (name.value for name in node.args[:1] if isinstance(name, ast.Constant))


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.startswith("fade_deploy.")}


def theirs(path: Path) -> set[str]:
    roots = {name.partition(".")[0] for name in imported(path)}
    return roots - set(sys.stdlib_module_names) - {"fade_deploy", "__future__"}


def identify(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_place() -> None:
    assert {layer_of(path) for path in MODULES} == set(ALLOWED)
    assert {path.stem for path in MODULES if layer_of(path) == "leaves"} == LEAVES


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_imports_point_one_way(path: Path) -> None:
    layer = layer_of(path)
    wrong = {name for name in ours(path) if layer_of_name(name) not in {"leaves", layer} | ALLOWED[layer]}
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_a_layer_imports_no_package_but_its_own(path: Path) -> None:
    allowed = PACKAGES[layer_of(path)] | MORE_PACKAGES.get(identify(path), set())
    assert theirs(path) <= allowed


def test_nobody_imports_the_commands() -> None:
    assert not [
        path for path in MODULES for name in ours(path) if "fade_deploy.cli" in name and layer_of(path) != "cli"
    ]


def test_no_module_is_named_for_nothing() -> None:
    names = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "common", "base", "misc"}


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys\nprint(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import fade_deploy; fade_deploy.__version__, dir(fade_deploy)") == set()


@pytest.mark.parametrize("name", ["bench", "doctor", "export", "inspect", "predict", "verify"])
def test_help_loads_nothing_heavy(name: str) -> None:
    code = f"""
import sys
sys.argv = ["fade-{name}", "--help"]
from fade_deploy.cli.{name} import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("from fade_deploy import Predictor", set()),  # onnxruntime comes with its first session
        ("from fade_deploy import predict", set()),
        ("import fade_deploy.api.inspect", set()),
        ("import fade_deploy.api.bench.bench", set()),
        ("import fade_deploy.api.report", set()),
        ("import fade_deploy.runtimes.ort", set()),
        ("import fade_deploy.runtimes.native_libraries", set()),
        ("import fade_deploy.ops.numpy_oracle", set()),
        ("from fade_deploy import MattingPredictor", set()),
        ("import fade_deploy.verification.segmentation_scores", set()),
        ("import fade_deploy.verification.matting_scores, fade_deploy.verification.reconstruction_scores", set()),
        ("import fade_deploy.verification.inputs", {"PIL"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_loads_only_what_it_uses(code: str, loaded: set[str]) -> None:
    assert loaded_by(code) == loaded


def test_every_public_name_is_there() -> None:
    import fade_deploy

    assert sorted(fade_deploy.__all__) == dir(fade_deploy)
    for name in fade_deploy.__all__:
        assert getattr(fade_deploy, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = fade_deploy.exprot
