"""Rows of what runs a model: onnxruntime and its providers, TensorRT, the driver, Triton."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace

from fade_deploy.diagnosis.child import Answer
from fade_deploy.diagnosis.known_bad import DRIVER
from fade_deploy.diagnosis.package_rows import Judge
from fade_deploy.diagnosis.probe_tensorrt import RTX_LIBRARY
from fade_deploy.diagnosis.row import Row, Status, given_and_remedy
from fade_deploy.provider import Provider
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = [
    "driver_row",
    "driver_versions",
    "onnxruntime_row",
    "provider_row",
    "tensorrt_row",
    "triton_client_row",
    "triton_server_row",
]

_NATIVE_PROVIDERS = {"CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"}
_LOWEST_GLIBC = (2, 35)  # of the server in nvidia-pytriton 0.7, as its wheel's name says


def onnxruntime_row(judge: Judge, answer: Answer) -> Row:
    """The package, whichever of the two it is."""
    if {"onnxruntime", "onnxruntime-gpu"} <= judge.versions.keys():
        return Row(
            name="onnxruntime",
            status=Status.BROKEN,
            version=judge.versions["onnxruntime"],
            found=f"onnxruntime and onnxruntime-gpu {judge.versions['onnxruntime-gpu']} overwrite each other's files",
            remedy="pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'fade-deploy[ort-cpu]' or "
            "'fade-deploy[ort-gpu]'",
        )
    listed = answer.facts.get("listed", [])
    others = [name.removesuffix("ExecutionProvider") for name in listed if name not in _NATIVE_PROVIDERS]
    found = "imported" + (f"; its {', '.join(others)} is not used here" if others else "")
    # Its session is told by the rows of the providers.
    imported = Answer(facts={"version": answer.facts["version"]}) if "version" in answer.facts else answer
    return judge.package(_distribution(judge), imported, found=found, why="runs exported files", name="onnxruntime")


def _distribution(judge: Judge) -> str:
    """Of onnxruntime, as pip calls the one that is installed."""
    return "onnxruntime-gpu" if "onnxruntime-gpu" in judge.versions else "onnxruntime"


def provider_row(judge: Judge, provider: Provider, answer: Answer | None) -> Row:
    """A provider, proven by a session that ran the proof model.

    Args:
        judge: Knows what is installed; without TensorRT its provider is optional.
        provider: Which.
        answer: What the probe ``session`` told; None where the installed package has no such provider.
    """
    name = f"onnxruntime on {provider}"
    if answer is None:
        return Row(
            name=name,
            status=Status.MISSING,
            found="the installed onnxruntime has the CPU alone",
            remedy="pip uninstall -y onnxruntime, then pip install 'fade-deploy[ort-gpu]'",
        )
    if answer.facts.get("works"):
        return Row(name=name, status=Status.OK, found="ran the proof model, every number right")
    given, remedy = given_and_remedy(answer.fault or "it computes something else than it should")
    if provider is Provider.TENSORRT and "tensorrt" not in judge.versions:
        return Row(name=name, status=Status.MISSING, found=given, remedy="pip install 'fade-deploy[tensorrt]'")
    again = judge.install_again(_distribution(judge))
    return Row(name=name, status=Status.BROKEN, found=given, remedy=remedy or again)


def tensorrt_row(judge: Judge, flavour: Flavour, answer: Answer) -> Row:
    """TensorRT or TensorRT-RTX: imported, its builder made, the proof model parsed, the plugins registered."""
    facts = answer.facts
    done = []
    if facts.get("builder"):
        done.append(f"made a builder and parsed the proof model ({facts.get('layers')} layers)")
    elif "builder" in facts:
        done.append(f"imported; made no builder ({facts.get('builder_fault')}): it needs a GPU that works")
    if "plugins" in facts:
        done.append(f"registered {facts['plugins']} of {facts['plugins_wanted']} plugins of fade-deploy")
    row = judge.package(str(flavour), answer, found="; ".join(done), why=f"builds engines for {_gpus(flavour)}")
    if row.status is Status.OK and facts.get("plugins") != facts.get("plugins_wanted"):
        return replace(
            row,
            status=Status.BROKEN,
            found=f"{row.found} ({facts['plugin_fault'] or 'it gives no reason'})",
            remedy="build the plugin again with TENSORRT_ROOT naming the headers of this version, or leave it out",
        )
    if row.status is Status.OK and facts.get("plain_name_found") is False:
        return replace(
            row,
            remedy=f"for plugins in programs of yours put a folder with a link {RTX_LIBRARY} to the wheel's "
            f"{RTX_LIBRARY}.1 on LD_LIBRARY_PATH before they start; fade-export does so by itself",
        )
    return row


def _gpus(flavour: Flavour) -> str:
    return "data-centre GPUs" if flavour is Flavour.TENSORRT else "GeForce and RTX GPUs"


def driver_row(answer: Answer, torch: Answer) -> Row:
    """NVIDIA's driver and its GPUs, and whether PyTorch's CUDA agrees."""
    facts = answer.facts
    fault, patience = given_and_remedy(answer.fault.removeprefix("RuntimeError: "))

    def row(status: Status, found: str, remedy: str = "") -> Row:
        version = str(facts.get("kernel_module", ""))
        return Row(name="NVIDIA driver", status=status, version=version, found=found, remedy=patience or remedy)

    if facts.get("library") is False and "kernel_module" in facts:
        return row(
            Status.BROKEN,
            f"the kernel has it, and libcuda.so.1 can't be loaded ({facts['reason']})",
            "start the container with --gpus all, or install the driver's libraries",
        )
    if facts.get("library") is False:
        return row(
            Status.MISSING,
            "no libcuda.so.1: everything runs on the CPU",
            "install NVIDIA's driver and see that nvidia-smi lists a GPU",
        )
    if fault or not facts.get("gpus"):
        return row(
            Status.BROKEN,
            fault or "it lists no GPU",
            "see whether nvidia-smi lists a GPU; in a container start it with --gpus all",
        )
    found = f"CUDA {facts['cuda']}; {'; '.join(facts['gpus'])}"
    if torch.facts.get("cuda_fault"):
        return row(
            Status.BROKEN,
            f"{found}; PyTorch (CUDA {torch.facts['cuda']}) can't use it: {torch.facts['cuda_fault']}",
            "install a PyTorch whose CUDA is not newer than the driver's",
        )
    return row(Status.OK, found)


def driver_versions(answer: Answer) -> dict[str, str]:
    """The driver's CUDA as an entry of known-bad versions names it; empty without a driver."""
    return {DRIVER: str(answer.facts["cuda"])} if "cuda" in answer.facts else {}


def triton_client_row(judge: Judge, answer: Answer) -> Row:
    """The client of an inference server."""
    without: Mapping[str, str] = answer.facts.get("without", {})
    lacks = "; ".join(f"no {protocol} ({reason})" for protocol, reason in without.items())
    both = "http and grpc imported, a model's configuration read"
    row = judge.package("tritonclient", answer, found=lacks or both, why="asks an inference server")
    wants_more = row.status is Status.MISSING or (row.status is Status.OK and lacks)
    return replace(row, remedy="pip install 'tritonclient[all]'") if wants_more else row


def triton_server_row(versions: Mapping[str, str]) -> Row:
    """The inference server of nvidia-pytriton, where it is installed, judged by what it needs; it is not started."""
    version = versions["nvidia-pytriton"]
    name = "nvidia-pytriton"
    library, its_version = platform.libc_ver()
    if library != "glibc" or _numbers(its_version) < _LOWEST_GLIBC:
        return Row(
            name=name,
            status=Status.BROKEN,
            version=version,
            found=f"its server needs glibc 2.35, here is {library or 'another C library'} {its_version}",
            remedy="use a newer system (Ubuntu 22.04, Debian 12) or NVIDIA's container of Triton",
        )
    if not versions.get("numpy", "1").startswith("1."):
        return Row(
            name=name,
            status=Status.BROKEN,
            version=version,
            found=f"it needs numpy 1, here is {versions['numpy']}",
            remedy="give it a virtual environment of its own",
        )
    return Row(name=name, status=Status.OK, version=version, found="its server was not started")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
