"""A real Triton server on the CPU, with its python backend, in a virtual environment of its own.

It is the one that nvidia-pytriton bundles (Triton 2.51). That wants numpy below 2, so it can't share an environment; it
is made once and kept in pytest's cache. fade_deploy is this checkout, found by a path file there.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
_LOWEST_GLIBC = (2, 35)  # of the bundled binaries
_PATIENCE = 120  # seconds until the server is ready, warm-up included

# Sends the arrays of an .npz file, and writes what comes back to another; an error of the server on one line.
_CLIENT = """
import importlib, sys
import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

protocol, url, model, given, taken, copies = sys.argv[1:]
triton = importlib.import_module(f"tritonclient.{protocol}")
tensors = np.load(given)
inputs = []
for name, value in tensors.items():
    inputs.append(triton.InferInput(name, value.shape, np_to_triton_dtype(value.dtype)))
    inputs[-1].set_data_from_numpy(value)
more = {"concurrency": int(copies)} if protocol == "http" else {}
client = triton.InferenceServerClient(url, **more)
try:
    if int(copies) == 1:
        results = [client.infer(model, inputs)]
    else:
        results = [request.get_result() for request in [client.async_infer(model, inputs) for _ in range(int(copies))]]
except InferenceServerException as error:
    print(error.message())
    sys.exit(3)
told = client.get_model_metadata(model)
outputs = told["outputs"] if protocol == "http" else told.outputs
names = [output["name"] if protocol == "http" else output.name for output in outputs]
np.savez(taken, **{f"{name} {i}": result.as_numpy(name) for i, result in enumerate(results) for name in names})
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where nvidia-pytriton is installed."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def environment(cache: pytest.Cache | None) -> Environment:
    """The environment, made where it is not there yet; the test is skipped, with the reason, where it can't be."""
    if cache is None:
        pytest.skip("Triton's environment is kept in pytest's cache, which is switched off")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip(f"nvidia-pytriton has no wheel for {platform.system()} {platform.machine()}")
    glibc = tuple(int(part) for part in (platform.libc_ver()[1] or "0").split(".")[:2])
    if glibc < _LOWEST_GLIBC:
        pytest.skip(f"nvidia-pytriton needs glibc 2.35, this system has {platform.libc_ver()}")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared library, which Triton's python backend loads")
    requirements = [
        "nvidia-pytriton==0.7.0",
        f"onnxruntime=={metadata.version('onnxruntime')}",  # this environment's: outputs are compared bit by bit
        f"pillow=={metadata.version('pillow')}",
    ]
    key = hashlib.sha256(" ".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = cache.mkdir("triton") / key
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, env=_clean())
        install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        finished = subprocess.run([*install, *requirements], env=_clean(), capture_output=True, text=True, check=False)
        if finished.returncode:
            pytest.skip(f"nvidia-pytriton can't be installed: {finished.stderr.strip().splitlines()[-1]}")
        complete.touch()
    made = Environment(folder)
    (made.packages / "this_checkout.pth").write_text(f"{ROOT}\n")
    return made


def _clean() -> dict[str, str]:
    """This process's variables without those that would show it, or pip, the packages of another environment."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and a folder for what is sent and what comes back."""

    environment: Environment
    folder: Path
    ports: Mapping[str, int]

    def url(self, protocol: str = "http") -> str:
        return f"127.0.0.1:{self.ports[protocol]}"

    def get(self, path: str) -> Any:
        """A JSON document that the server tells."""
        with urllib.request.urlopen(f"http://{self.url()}/{path}", timeout=10) as answer:
            return json.loads(answer.read() or "{}")

    def infer(
        self, protocol: str, model: str, tensors: Mapping[str, np.ndarray], *, copies: int = 1
    ) -> list[dict[str, np.ndarray]] | str:
        """Send the same request a few times at once; the outputs of each, or what the server says is wrong."""
        np.savez(self.folder / "given.npz", **tensors)
        arguments = (protocol, self.url(protocol), model, "given.npz", "taken.npz", str(copies))
        finished = self.run_client(_CLIENT, *arguments)
        if finished.returncode == 3:
            return finished.stdout.strip()
        assert finished.returncode == 0, finished.stderr
        with np.load(self.folder / "taken.npz") as taken:
            names = {name.rpartition(" ")[0] for name in taken}
            return [{name: taken[f"{name} {i}"] for name in names} for i in range(copies)]

    def run_client(self, code: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
        """Run a program in the environment, where tritonclient is."""
        words = [self.environment.python, "-c", code, *arguments]
        return subprocess.run(
            words, cwd=self.folder, env=_clean(), capture_output=True, text=True, timeout=120, check=False
        )


@contextlib.contextmanager
def serving(made: Environment, folder: Path, repositories: Sequence[Path]) -> Iterator[Server]:
    """A server of these repositories, ready for requests; it ends with the block.

    Raises:
        RuntimeError: It ended before it was ready; the message is its log.
    """
    bundled = made.packages / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (
        bundled / "backends" / "python" / "libtriton_python.so",
        bundled / "backends" / "python" / "triton_python_backend_utils.py",
        bundled / "python_backend_stubs" / version / "triton_python_backend_stub",
    ):
        shutil.copy(path, backend)
    ports = dict(zip(("http", "grpc"), _free_ports(2), strict=True))
    command = [
        bundled / "bin" / "tritonserver",
        *(f"--model-repository={repository}" for repository in repositories),
        f"--backend-directory={backend.parent}",
        *(f"--{name}-port={port}" for name, port in ports.items()),
        *(f"--{name}-address=127.0.0.1" for name in ports),
        "--allow-metrics=false",
    ]
    # The stub is linked to libpython, and runs no site of the environment: it finds the packages by PYTHONPATH.
    libraries = (made.packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
    variables = {
        "PATH": f"{made.folder / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PYTHONPATH": f"{made.packages}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**_clean(), **variables}, stdout=output, stderr=output, preexec_fn=_end_with_parent
        )
    server = Server(made, folder, ports)
    try:
        _wait(process, server, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            server.get("v2/health/ready")
            return
        time.sleep(0.2)
    raise RuntimeError(f"not ready after {_PATIENCE} s: {log.read_text()}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end_with_parent() -> None:
    """Have the kernel end the server with the test process, should that be killed (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, 15)
