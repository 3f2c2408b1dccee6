"""Rows from what probes tell, for machines that are not at hand: with GPUs, drivers and versions of all kinds."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from fade_deploy.diagnosis import package_rows, runtime_rows
from fade_deploy.diagnosis.child import Answer, ask
from fade_deploy.diagnosis.installed import admitted
from fade_deploy.diagnosis.known_bad import load_known_bad
from fade_deploy.diagnosis.package_rows import Judge, own_row, python_row
from fade_deploy.diagnosis.row import Diagnosis, Row, Status, given_and_remedy
from fade_deploy.diagnosis.runtime_rows import (
    driver_row,
    driver_versions,
    onnxruntime_row,
    provider_row,
    tensorrt_row,
    triton_client_row,
    triton_server_row,
)
from fade_deploy.provider import Provider
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.providers import not_loaded
from tests.diagnosis.fakes import Fakes, compiled

RANGES = {
    "onnx": (SpecifierSet(">=1.18,<2"), "export"),
    "onnxruntime": (SpecifierSet(">=1.20,<2"), "ort-cpu"),
    "tensorrt": (SpecifierSet(">=10.15,<12"), "tensorrt"),
}
DRIVER = """
#include <stddef.h>
#include <string.h>
int cuDriverGetVersion(int* version) {{ *version = 12040; return 0; }}
int cuInit(unsigned flags) {{ return {init}; }}
int cuDeviceGetCount(int* count) {{ *count = {count}; return 0; }}
int cuDeviceGet(int* device, int index) {{ *device = index; return 0; }}
int cuDeviceGetName(char* name, int length, int device) {{ strcpy(name, "Card"); return 0; }}
int cuDeviceTotalMem_v2(size_t* bytes, int device) {{ *bytes = (size_t)24 << 30; return 0; }}
int cuDeviceGetAttribute(int* value, int attribute, int device) {{ *value = attribute == 75 ? 8 : 9; return 0; }}
int cuGetErrorString(int error, char const** text) {{ *text = "no CUDA-capable device is detected"; return 0; }}
"""


def judge(**versions: str) -> Judge:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return Judge(ranges=RANGES, known=load_known_bad(), versions=named)


def works(version: str = "", **facts: object) -> Answer:
    return Answer(facts={"version": version, "works": True, **facts})


def fault(text: str, **facts: object) -> Answer:
    return Answer(facts=facts, fault=text)


# --- packages


def test_a_package_that_works_is_ok() -> None:
    row = judge(onnx="1.23.2").package("onnx", works("1.23.2"), found="imported", why="exports")
    assert row == Row(name="onnx", status=Status.OK, version="1.23.2", found="imported")


def test_one_that_is_not_installed_is_missing_and_no_fault() -> None:
    row = judge().package("onnx", Answer(facts={}, absent="onnx"), found="", why="exports")
    assert (row.status, row.found) == (Status.MISSING, "not installed; it exports")
    assert row.remedy == "pip install 'fade-deploy[export]'"
    assert not Diagnosis(rows=(row,)).faults


def test_one_whose_files_are_gone_is_broken() -> None:
    row = judge(onnx="1.23.2").package("onnx", Answer(facts={}, absent="onnx"), found="", why="")
    assert (row.status, row.found) == (Status.BROKEN, "pip lists 1.23.2, and there is no module onnx")
    assert row.remedy == "pip install --force-reinstall 'onnx>=1.18,<2'"


def test_one_that_raises_or_computes_wrongly_is_broken() -> None:
    row = judge(onnx="1.23.2").package("onnx", fault("ImportError: why"), found="", why="")
    assert (row.status, row.version, row.found) == (Status.BROKEN, "1.23.2", "ImportError: why")
    wrong = Answer(facts={"version": "1.23.2", "works": False})
    assert judge(onnx="1.23.2").package("onnx", wrong, found="", why="").status is Status.BROKEN


@pytest.mark.parametrize("version", ["1.17.0", "2.0.0", "2.0.0rc1"])
def test_one_that_is_out_of_range_is_a_bad_version(version: str) -> None:
    row = judge(onnx=version).package("onnx", works(version), found="imported", why="")
    assert (row.status, row.found) == (Status.BAD_VERSION, "fade-deploy wants >=1.18,<2")
    assert row.remedy == "pip install 'onnx>=1.18,<2'"
    assert Diagnosis(rows=(row,)).faults == (row,)


def test_one_that_is_known_to_fail_is_a_bad_version_with_its_thread() -> None:
    row = judge(tensorrt="10.4.0").package("tensorrt", works("10.4.0"), found="", why="")
    assert row.status is Status.BAD_VERSION
    assert row.found.startswith("miscompiles vision transformers")
    assert row.thread == "https://github.com/NVIDIA/TensorRT/issues/4742"


def test_a_version_that_only_some_files_mind_is_no_fault_of_the_machine() -> None:
    row = judge(tensorrt="11.2.1.2").package("tensorrt", works("11.2.1.2"), found="", why="")
    assert row.status is Status.OK


def test_ranges_come_from_what_pip_knows_of_this_package() -> None:
    ranges = admitted()
    assert ranges["numpy"][1] == ""
    assert ranges["onnxruntime"][1] == "ort-cpu"
    assert "2.8" not in ranges["torch"][0]


def test_this_python_and_this_package_are_ok() -> None:
    assert (python_row().status, python_row().version) == (Status.OK, platform.python_version())
    assert own_row().status is Status.OK


def test_a_python_that_is_too_new_is_a_bad_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.14.0")
    assert python_row().status is Status.BAD_VERSION


@pytest.mark.parametrize(("listed", "found"), [("", "pip does not know it"), ("0.0.9", "where pip says 0.0.9")])
def test_a_package_that_pip_does_not_know_is_broken(monkeypatch: pytest.MonkeyPatch, listed: str, found: str) -> None:
    monkeypatch.setattr(package_rows, "installed_version", lambda name: listed)
    assert own_row().status is Status.BROKEN
    assert found in own_row().found


def test_errors_of_ours_are_taken_apart() -> None:
    assert given_and_remedy("a is b (c, d), expected e, f: do g: h") == ("a is b (c, d)", "do g: h")
    assert given_and_remedy("no such thing") == ("no such thing", "")


# --- onnxruntime


def test_both_packages_at_once_are_broken() -> None:
    row = onnxruntime_row(judge(onnxruntime="1.31.1", onnxruntime_gpu="1.30.0"), works("1.31.1"))
    assert row.status is Status.BROKEN
    assert "overwrite each other's files" in row.found
    assert row.remedy.startswith("pip uninstall -y onnxruntime onnxruntime-gpu, then pip install")


def test_a_driver_of_cuda_12_is_told_to_a_package_of_cuda_13() -> None:
    versions = {"onnxruntime-gpu": "1.31.1", **driver_versions(Answer(facts={"cuda": "12.4"}))}
    row = onnxruntime_row(Judge(ranges=RANGES, known=load_known_bad(), versions=versions), works("1.31.1", listed=[]))
    assert (row.name, row.status) == ("onnxruntime", Status.BAD_VERSION)
    assert row.thread == "https://github.com/dudarenok-maker/Castwright/issues/2534"


def test_a_failing_session_is_not_the_packages_fault_but_the_providers() -> None:
    answer = fault("it can't (why), expected this: do that", version="1.31.1", listed=["CPUExecutionProvider"])
    assert onnxruntime_row(judge(onnxruntime="1.31.1"), answer).status is Status.OK
    row = provider_row(judge(), Provider.CPU, answer)
    assert (row.status, row.found, row.remedy) == (Status.BROKEN, "it can't (why)", "do that")


def test_a_provider_without_its_libraries_says_which_and_how_to_get_them(tmp_path: Path) -> None:
    """The message of runtimes.providers, which the session's probe passes on."""
    from types import SimpleNamespace

    (tmp_path / "capi").mkdir()
    onnxruntime = SimpleNamespace(__file__=str(tmp_path / "__init__.py"), __version__="1.31.1")
    message = not_loaded(onnxruntime, Provider.CUDA)  # type: ignore[arg-type]
    row = provider_row(judge(), Provider.CUDA, fault(message))
    assert row.status is Status.BROKEN
    assert row.found.startswith("onnxruntime 1.31.1 can't use its CUDAExecutionProvider (")
    assert row.remedy.startswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_the_tensorrt_provider_without_tensorrt_is_missing_and_with_it_broken() -> None:
    answer = fault("it can't (libnvinfer.so.10), expected a GPU: pip install tensorrt")
    assert provider_row(judge(), Provider.TENSORRT, answer).status is Status.MISSING
    assert provider_row(judge(tensorrt="10.16.1.11"), Provider.TENSORRT, answer).status is Status.BROKEN


def test_a_provider_that_the_package_has_not_is_missing() -> None:
    row = provider_row(judge(), Provider.CUDA, None)
    assert (row.status, row.remedy) == (
        Status.MISSING,
        "pip uninstall -y onnxruntime, then pip install 'fade-deploy[ort-gpu]'",
    )


def test_a_provider_that_computes_wrongly_is_mended_by_the_package_that_has_it() -> None:
    """The other one would overwrite its files."""
    row = provider_row(judge(onnxruntime_gpu="1.31.1"), Provider.CUDA, Answer(facts={"works": False}))
    assert (row.status, row.remedy) == (Status.BROKEN, "pip install --force-reinstall onnxruntime-gpu")


# --- TensorRT


def test_tensorrt_without_a_gpu_makes_no_builder_and_is_ok() -> None:
    answer = Answer(facts={"version": "10.16.1.11", "builder": False, "builder_fault": "CUDA error 100"})
    row = tensorrt_row(judge(tensorrt="10.16.1.11"), Flavour.TENSORRT, answer)
    assert (row.status, row.found) == (
        Status.OK,
        "imported; made no builder (CUDA error 100): it needs a GPU that works",
    )


def test_bindings_without_their_libraries_are_broken() -> None:
    answer = fault("ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory")
    row = tensorrt_row(judge(tensorrt="10.16.1.11"), Flavour.TENSORRT, answer)
    assert row.status is Status.BROKEN
    assert row.remedy == "pip install --force-reinstall 'tensorrt>=10.15,<12'"


def test_the_name_that_its_wheel_lacks_is_told_beside_what_works() -> None:
    facts = {
        "version": "1.7.1.116",
        "builder": True,
        "layers": 4,
        "plain_name_found": False,
        "plugins": 4,
        "plugins_wanted": 4,
    }
    row = tensorrt_row(judge(tensorrt_rtx="1.7.1.116"), Flavour.RTX, Answer(facts=facts))
    assert row.status is Status.OK
    assert row.found == "made a builder and parsed the proof model (4 layers); registered 4 of 4 plugins of fade-deploy"
    assert "libtensorrt_rtx.so" in row.remedy
    assert "LD_LIBRARY_PATH" in row.remedy


def test_a_plugin_that_it_does_not_take_is_a_fault_of_its_row() -> None:
    facts = {"version": "10.16.1.11", "builder": True, "layers": 4, "plugins": 0, "plugins_wanted": 4}
    answer = Answer(facts={**facts, "plugin_fault": "built with the headers of TensorRT 11.1"})
    row = tensorrt_row(judge(tensorrt="10.16.1.11"), Flavour.TENSORRT, answer)
    assert row.status is Status.BROKEN
    assert row.found.endswith("registered 0 of 4 plugins of fade-deploy (built with the headers of TensorRT 11.1)")


# --- driver


def test_no_driver_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    row = driver_row(Answer(facts={"library": False, "reason": "libcuda.so.1: cannot open"}), Answer(facts={}))
    assert row.status is Status.MISSING


def test_a_driver_in_the_kernel_alone_is_broken() -> None:
    facts = {"kernel_module": "580.65.06", "library": False, "reason": "libcuda.so.1: cannot open"}
    row = driver_row(Answer(facts=facts), Answer(facts={}))
    assert (row.status, row.version) == (Status.BROKEN, "580.65.06")
    assert "--gpus all" in row.remedy


def test_a_gpu_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real probe on a stand-in for the driver's library."""
    compiled(DRIVER.format(init=0, count=2), tmp_path / "libcuda.so.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    answer = ask("driver", limit=30)
    assert driver_versions(answer) == {"cuda driver": "12.4"}
    row = driver_row(answer, Answer(facts={}))
    assert (row.status, row.found) == (Status.OK, "CUDA 12.4; Card, SM89, 24 GiB; Card, SM89, 24 GiB")


@pytest.mark.parametrize(
    ("init", "count", "found"),
    [(100, 0, "CUDA error 100, no CUDA-capable device is detected"), (0, 0, "it lists no GPU")],
)
def test_a_driver_without_a_gpu_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: int, count: int, found: str
) -> None:
    compiled(DRIVER.format(init=init, count=count), tmp_path / "libcuda.so.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    row = driver_row(ask("driver", limit=30), Answer(facts={}))
    assert (row.status, row.found) == (Status.BROKEN, found)


def test_a_pytorch_that_can_not_use_the_gpu_is_told() -> None:
    answer = Answer(facts={"library": True, "cuda": "12.4", "gpus": ["Card, SM89, 24 GiB"]})
    row = driver_row(answer, Answer(facts={"cuda": "13.0", "cuda_fault": "the driver is too old"}))
    assert row.status is Status.BROKEN
    assert row.found.endswith("PyTorch (CUDA 13.0) can't use it: the driver is too old")


# --- Triton


def test_a_client_without_one_of_its_protocols_is_ok_and_says_so() -> None:
    answer = works("2.73.0", without={"grpc": "No module named 'grpc'"})
    row = triton_client_row(judge(tritonclient="2.73.0"), answer)
    assert (row.status, row.found) == (Status.OK, "no grpc (No module named 'grpc')")
    assert row.remedy == "pip install 'tritonclient[all]'"


@pytest.mark.parametrize(
    ("library", "numpy", "status"),
    [
        (("glibc", "2.36"), "1.26.4", Status.OK),
        (("glibc", "2.31"), "1.26.4", Status.BROKEN),
        (("glibc", "2.4"), "1.26.4", Status.BROKEN),
        (("", ""), "1.26.4", Status.BROKEN),
        (("glibc", "2.36"), "2.4.6", Status.BROKEN),
    ],
)
def test_a_server_that_this_system_can_not_run_is_broken(
    monkeypatch: pytest.MonkeyPatch, library: tuple[str, str], numpy: str, status: Status
) -> None:
    monkeypatch.setattr(runtime_rows.platform, "libc_ver", lambda: library)
    row = triton_server_row({"nvidia-pytriton": "0.7.0", "numpy": numpy})
    assert row.status is status
    assert bool(row.remedy) is (status is Status.BROKEN)


def test_the_client_is_probed(fakes: Fakes) -> None:
    folder = fakes.folder / "tritonclient"
    folder.mkdir()
    (folder / "__init__.py").write_text("__version__ = '2.0'\n")
    (folder / "http.py").write_text("")
    (folder / "grpc.py").write_text("raise RuntimeError('install tritonclient[grpc]')\n")
    answer = ask("triton_client", limit=30)
    assert answer.facts == {"version": "2.0", "without": {"grpc": "install tritonclient[grpc]"}}
