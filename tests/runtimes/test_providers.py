"""Execution providers: what is missing, what did not load and which node went astray is one clear line.

There is no GPU here, so onnxruntime-gpu is played by a stand-in. What it says was recorded from onnxruntime-gpu 1.31.1.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.provider import Provider
from fade_deploy.runtimes import providers
from fade_deploy.runtimes.native_libraries import NativeLibrary
from fade_deploy.runtimes.ort import output_of, session_from_onnx
from fade_deploy.runtimes.providers import (
    PlacedNode,
    check_loaded,
    check_placement,
    chosen,
    execution_providers,
    not_loaded,
    placed_nodes,
    prepared,
)
from tests.runtimes.test_ort import model_bytes, saved

GPU = (Provider.CUDA, Provider.TENSORRT)
CUDA_NAME, CPU_NAME, TENSORRT_NAME = "CUDAExecutionProvider", "CPUExecutionProvider", "TensorrtExecutionProvider"
# Where onnxruntime-gpu 1.31.1, loading on stand-ins for the CUDA libraries (no GPU was there, and nothing was run), put
# the operators of the two shipped models, fused, in their bodies.
RECORDED = {
    CPU_NAME: "Add Concat Div Gather Min Mul Pad Reshape Squeeze Sub",
    CUDA_NAME: (
        "Add And Clip Concat Conv Div Erf Exp Expand Gather Gemm Greater GreaterOrEqual LayerNormalization LeakyRelu "
        "Less MatMul MaxPool Min Mul Neg Pad Range ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid "
        "Slice Softmax SpaceToDepth Split Sub Transpose Unsqueeze Where"
    ),
}

NO_DEVICE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, int) [with ERRTYPE = cudaError; bool "
    "THRW = true] CUDA failure 100: no device is detected ; GPU=0 ; hostname=host ; file=/onnxruntime_src/"
    "onnxruntime/core/providers/cuda/cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id); \n"
)

NO_CUDNN = (
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Non-zero status code returned while running Conv node. Name:'n' Status "
    "Message: /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_kernel.h:296 static cudnnContext* "
    "onnxruntime::cuda::CudaKernel::RequireCudnnHandle(cudnnHandle_t) [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN "
    "is unavailable or disabled for CUDA Execution Provider: dlopen failed for libcudnn.so: libcudnn.so: cannot open "
    "shared object file: No such file or directory\n"
)


def recorded() -> list[PlacedNode]:
    return [
        PlacedNode(name=f"node_{operator}", operator=operator, provider=provider)
        for provider, operators in RECORDED.items()
        for operator in operators.split()
    ]


class Session:
    """Has the method that is asked for; ``providers`` are what a session says it has."""

    def __init__(self, loaded: list[str], parts: list[tuple[str, list[tuple[str, str, str]]]]) -> None:
        self.loaded, self.parts = loaded, parts

    def get_providers(self) -> list[str]:
        return self.loaded

    def disable_fallback(self) -> None: ...

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(
                ep_name=provider,
                get_nodes=lambda nodes=nodes: [
                    SimpleNamespace(name=name, domain=domain, op_type=operator) for name, domain, operator in nodes
                ],
            )
            for provider, nodes in self.parts
        ]


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class Runtime(ModuleType):
    """Stands in for the module onnxruntime, with a GPU's providers and a folder of libraries."""

    def __init__(self, folder: Path, session: Session | Exception, available: tuple[str, ...] = ()) -> None:
        super().__init__("onnxruntime")
        self.__version__, self.__file__ = "1.31.1", str(folder / "__init__.py")
        self.InferenceSession = Session
        self.SessionOptions = onnxruntime.SessionOptions
        self.severities: list[int] = []
        self.preloads = 0
        self._available = [*(available or (TENSORRT_NAME, CUDA_NAME)), CPU_NAME]
        self.asked: list[Any] = []

        def make(path: str, options: Any, *, providers: list[Any], **_: Any) -> Any:
            self.asked.append(providers)
            if providers == [CPU_NAME]:
                return onnxruntime.InferenceSession(path, options, providers=providers)
            if isinstance(session, Exception):
                raise session
            return session

        self._make = make

    def get_available_providers(self) -> list[str]:
        return self._available

    def preload_dlls(self) -> None:
        self.preloads += 1
        print("Failed to load libcublas.so.13")

    def set_default_logger_severity(self, severity: int) -> None:
        self.severities.append(severity)


def library(folder: Path, name: str, *, needing: str = "") -> None:
    """A real shared library, which needs another that is nowhere if so wished."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, which makes the libraries of the stand-in")
    (folder / "capi").mkdir(exist_ok=True)
    command = ["cc", "-shared", "-o", str(folder / "capi" / name), "-x", "c", "/dev/null"]
    if needing:
        absent = folder / needing
        subprocess.run([*command[:3], str(absent), *command[4:], f"-Wl,-soname,{needing}"], check=True)
        command += ["-x", "none", "-Wl,--no-as-needed", str(absent)]
        subprocess.run(command, check=True)
        absent.unlink()
        return
    subprocess.run(command, check=True)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a stand-in in the place of onnxruntime."""

    def put(session: Session | Exception, **more: Any) -> Runtime:
        runtime = Runtime(tmp_path, session, **more)

        class Made(Session):
            def __new__(cls, *arguments: Any, **options: Any) -> Any:
                return runtime._make(*arguments, **options)

        runtime.InferenceSession = Made
        monkeypatch.setattr("fade_deploy.runtimes.ort.require", lambda module, extra: runtime)
        return runtime

    return put


def test_an_unknown_provider_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^provider 'gpu' is unknown, expected one of cpu, cuda, tensorrt$"):
        session_from_onnx(tmp_path / "no.onnx", provider="gpu")
    assert chosen("cuda") is Provider.CUDA


@pytest.mark.parametrize("provider", GPU)
def test_a_provider_that_is_not_installed_is_one_clear_line(tmp_path: Path, provider: Provider) -> None:
    path = saved(tmp_path, model_bytes())
    with pytest.raises(MissingDependency) as error:
        session_from_onnx(path, provider=provider)
    text = str(error.value)
    assert "\n" not in text
    assert CPU_NAME in text
    assert "pip install 'fade-deploy[ort-gpu]'" in text


def test_an_onnxruntime_that_cannot_tell_where_nodes_run_is_refused(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path, Session([], []))
    runtime.InferenceSession = object
    with (
        pytest.raises(MissingDependency, match=r"^onnxruntime-gpu 1\.31\.1 can't tell .* pip install -U onnxruntime"),
        prepared(runtime, Provider.CUDA, Options()),
    ):
        pass


def test_the_cpu_needs_no_preparation(tmp_path: Path) -> None:
    runtime, options = Runtime(tmp_path, Session([], [])), Options()
    with prepared(runtime, Provider.CPU, options):
        pass
    assert (runtime.preloads, runtime.severities, options.entries) == (0, [], {})


@pytest.mark.parametrize("provider", GPU)
def test_a_gpu_gets_its_libraries_loaded_in_silence(
    tmp_path: Path, provider: Provider, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    runtime, options = Runtime(tmp_path, Session([], [])), Options()
    caplog.set_level(logging.DEBUG, logger="fade_deploy")
    with prepared(runtime, provider, options):
        assert runtime.severities == [4]
    assert runtime.preloads == 1
    assert runtime.severities == [4, 2]  # its own log is as it was
    assert options.entries == {"session.record_ep_graph_assignment_info": "1"}
    assert capfd.readouterr() == ("", "")
    assert "libcublas.so.13" in caplog.text


@pytest.mark.parametrize("stated", [None, "1"])
def test_float32_stays_float32_in_tensorrt_unless_a_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str | None
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0" if stated is None else stated)
    if stated is None:
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    with prepared(Runtime(tmp_path, Session([], [])), Provider.TENSORRT, Options()):
        assert os.environ["NVIDIA_TF32_OVERRIDE"] == (stated or "0")


def test_float32_stays_float32_on_a_gpu() -> None:
    assert execution_providers(Provider.CPU) == [CPU_NAME]
    assert execution_providers(Provider.CUDA) == [(CUDA_NAME, {"use_tf32": "0"}), CPU_NAME]
    assert execution_providers(Provider.TENSORRT) == [TENSORRT_NAME, (CUDA_NAME, {"use_tf32": "0"}), CPU_NAME]


@pytest.mark.parametrize(
    ("needing", "remedy"),
    [
        ("libcublasLt.so.13", "pip install 'onnxruntime-gpu[cuda,cudnn]' nvidia-cublas"),
        ("libcuda.so.1", "install NVIDIA's driver"),
        ("libnvinfer.so.10", "pip install tensorrt"),
    ],
)
def test_what_a_provider_lacks_is_named(tmp_path: Path, needing: str, remedy: str) -> None:
    library(tmp_path, "libonnxruntime_providers_shared.so")
    library(tmp_path, "libonnxruntime_providers_cuda.so", needing=needing)
    with pytest.raises(MissingDependency) as error:
        check_loaded(Runtime(tmp_path, Session([], [])), Provider.CUDA, [CPU_NAME])
    text = str(error.value)
    assert text.startswith("onnxruntime 1.31.1 can't use its CUDAExecutionProvider (")
    assert f"{needing}: cannot open shared object file" in text
    assert remedy in text
    assert "\n" not in text


def test_a_provider_whose_libraries_are_all_there_lacks_a_gpu(tmp_path: Path) -> None:
    for name in ("shared", "cuda"):
        library(tmp_path, f"libonnxruntime_providers_{name}.so")
    runtime = Runtime(tmp_path, Session([], []))
    assert "its GPU does not), expected a GPU: see that nvidia-smi" in not_loaded(runtime, Provider.CUDA)
    assert "(CUDA failure 35), expected a GPU" in not_loaded(runtime, Provider.CUDA, "CUDA failure 35")


def test_a_provider_that_is_there_passes(tmp_path: Path) -> None:
    check_loaded(Runtime(tmp_path, Session([], [])), Provider.CUDA, [CUDA_NAME, CPU_NAME])


def test_nodes_are_read_from_a_real_session(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(providers._RECORD_PLACEMENT, "1")
    session = onnxruntime.InferenceSession(model_bytes("Neg"), options, providers=[CPU_NAME])
    assert placed_nodes(session) == [PlacedNode(name="", operator="Neg", provider=CPU_NAME)]


def test_nodes_of_our_domain_carry_it() -> None:
    session = Session([], [(CUDA_NAME, [("a", "", "Conv"), ("b", "fade", "FadeUpsample")])])
    assert [node.operator for node in placed_nodes(session)] == ["Conv", "fade.FadeUpsample"]


@pytest.mark.parametrize("provider", [Provider.CPU, Provider.CUDA])
def test_arithmetic_on_sizes_may_run_on_the_cpu(provider: Provider) -> None:
    check_placement(recorded(), provider, name="a.onnx")


@pytest.mark.parametrize("operator", ["Conv", "Resize", "FadeUpsample", "fade.FadeUpsample", "com.microsoft.Gelu"])
@pytest.mark.parametrize("provider", GPU)
def test_any_other_node_on_the_cpu_is_named(operator: str, provider: Provider) -> None:
    nodes = [*recorded(), PlacedNode(name="head/x", operator=operator, provider=CPU_NAME)]
    with pytest.raises(InputError) as error:
        check_placement(nodes, provider, name="a.onnx")
    text = str(error.value)
    assert text.startswith(f"a.onnx has the node 'head/x' ({operator}) on the CPU, expected on {provider}: ")
    assert ("--library none" if operator.startswith("fade.") else "--provider cpu") in text


def test_several_stray_nodes_are_counted() -> None:
    stray = [PlacedNode(name=str(i), operator="Conv", provider=CPU_NAME) for i in range(3)]
    with pytest.raises(InputError, match=r"the node '0' \(Conv\) and 2 more on the CPU"):
        check_placement([*recorded(), *stray], Provider.CUDA, name="a.onnx")


def test_on_the_cpu_everything_may_run_there() -> None:
    check_placement([PlacedNode(name="", operator="Conv", provider=CPU_NAME)], Provider.CPU, name="a.onnx")


def test_a_provider_without_a_single_node_is_refused() -> None:
    nodes = [PlacedNode(name="", operator="Conv", provider=CUDA_NAME)]
    check_placement(nodes, Provider.CUDA, name="a.onnx")
    with pytest.raises(InputError, match=r"^a\.onnx has none of its 1 nodes on tensorrt"):
        check_placement(nodes, Provider.TENSORRT, name="a.onnx")


def test_a_graph_without_nodes_has_none_that_went_astray() -> None:
    check_placement([], Provider.CUDA, name="a.onnx")


def test_what_tensorrt_leaves_to_cuda_is_on_the_gpu() -> None:
    nodes = [*recorded(), PlacedNode(name="subgraph", operator="Conv", provider=TENSORRT_NAME)]
    check_placement(nodes, Provider.TENSORRT, name="a.onnx")


def test_a_session_on_a_gpu_is_given_back_when_its_nodes_are_there(tmp_path: Path, play: Any) -> None:
    session = Session([CUDA_NAME, CPU_NAME], [(CUDA_NAME, [("n", "", "Identity")])])
    runtime = play(session)
    path = saved(tmp_path, model_bytes())
    assert session_from_onnx(path, provider="cuda", library="none") is session
    assert runtime.asked == [execution_providers(Provider.CUDA)]


@pytest.mark.parametrize(
    ("message", "kind", "expected"),
    [
        (NO_CUDNN, MissingDependency, r"^a\.onnx has convolutions, and cuDNN .*No such file or directory\).*cudnn\]'$"),
        (
            NO_DEVICE,
            InputError,
            r"^a\.onnx failed on the GPU \(CUDA failure 100: no device is detected\), .*--provider cpu$",
        ),
        ("Input shape mismatch", InputError, r"^a\.onnx can't be run by onnxruntime .*export it again$"),
    ],
)
def test_a_run_that_fails_on_a_gpu_says_what_it_lacks(message: str, kind: type[Exception], expected: str) -> None:
    class Failing(Session):
        def run(self, outputs: list[str], inputs: dict[str, Any]) -> None:
            raise RuntimeError(message)

    with pytest.raises(kind, match=expected):
        output_of(Failing([], []), "logits", {}, name="a.onnx")


def test_a_session_that_fell_back_to_the_cpu_is_refused(tmp_path: Path, play: Any) -> None:
    play(Session([CPU_NAME], [(CPU_NAME, [("n", "", "Identity")])]))
    with pytest.raises(MissingDependency, match="can't use its CUDAExecutionProvider"):
        session_from_onnx(saved(tmp_path, model_bytes()), provider="cuda", library="none")


def test_a_session_with_a_stray_node_is_refused(tmp_path: Path, play: Any) -> None:
    play(Session([CUDA_NAME, CPU_NAME], [(CPU_NAME, [("n", "", "Conv")])]))
    path = saved(tmp_path, model_bytes())
    with pytest.raises(InputError, match=rf"^{path} has the node 'n' \(Conv\) on the CPU, expected on cuda"):
        session_from_onnx(path, provider="cuda", library="none")


def test_what_fails_on_a_gpu_alone_is_the_gpus_fault(tmp_path: Path, play: Any) -> None:
    for name in ("shared", "cuda"):
        library(tmp_path, f"libonnxruntime_providers_{name}.so")
    play(RuntimeError(NO_DEVICE))
    with pytest.raises(MissingDependency, match=r"CUDAExecutionProvider \(CUDA failure 100: no device is detected\), "):
        session_from_onnx(saved(tmp_path, model_bytes()), provider="cuda", library="none")


def test_what_fails_on_the_cpu_too_is_the_files_fault(tmp_path: Path, play: Any) -> None:
    play(RuntimeError("CUDA failure 35"))
    with pytest.raises(InputError, match="is not ONNX or is truncated"):
        session_from_onnx(saved(tmp_path, b"hello world\n" * 9), provider="cuda", library="none")


@pytest.mark.parametrize(
    ("provider", "choice", "expected"),
    [
        ("cpu", "auto", "libfade_onnxruntime.so"),
        ("cuda", "auto", "libfade_onnxruntime_cuda.so"),
        ("tensorrt", "auto", None),
        ("cpu", "none", None),
        ("cuda", "none", None),
        ("tensorrt", "none", None),
    ],
)
def test_each_provider_has_its_library(
    tmp_path: Path, play: Any, monkeypatch: pytest.MonkeyPatch, provider: str, choice: str, expected: str | None
) -> None:
    for name in NativeLibrary:
        (tmp_path / name).touch()
    monkeypatch.setattr("fade_deploy.runtimes.native_libraries._FOLDER", tmp_path)
    registered = []
    monkeypatch.setattr("fade_deploy.runtimes.ort.register", lambda options, path: registered.append(path.name))
    nodes = [(CUDA_NAME, [("n", "", "Identity")]), (TENSORRT_NAME, [("m", "", "Identity")])]
    play(Session([TENSORRT_NAME, CUDA_NAME, CPU_NAME], nodes))
    session_from_onnx(saved(tmp_path, model_bytes()), provider=provider, library=choice)
    assert registered == ([expected] if expected else [])


def test_a_library_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--library .*nowhere\.so is not there, expected .*'none'"):
        session_from_onnx(saved(tmp_path, model_bytes()), library=tmp_path / "nowhere.so")


def test_a_library_of_others_is_one_clear_line(tmp_path: Path) -> None:
    library(tmp_path, "libother.so")
    with pytest.raises(InputError, match=r"libother\.so can't be loaded by onnxruntime .*--library none$") as error:
        session_from_onnx(saved(tmp_path, model_bytes()), library=tmp_path / "capi" / "libother.so")
    assert "\n" not in str(error.value)
