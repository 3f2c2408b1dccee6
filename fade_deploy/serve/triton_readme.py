"""The README.md of a Triton repository: the server's command, a client, and what was verified."""

from __future__ import annotations

from fade_deploy.runtimes.ort import ort_version
from fade_deploy.serve.triton_config import LABELS, max_batch_size
from fade_deploy.serve.triton_containers import (
    FIRST_WITH_TENSORRT_11,
    ONNXRUNTIME,
    SUPPORT_MATRIX,
    image,
    oldest_with_onnxruntime,
)
from fade_deploy.serve.triton_interface import Interface, Plan, dims, sides
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions
from fade_deploy.version import __version__

__all__ = ["readme_text"]

_NEWEST = next(iter(ONNXRUNTIME))


def readme_text(name: str, interface: Interface, options: TritonOptions, *, library: str = "") -> str:
    """The text of README.md.

    Args:
        name: Of the model.
        interface: What the artefact takes and returns.
        options: How it is served.
        library: Path of the native library, relative to the model's folder; empty: none.
    """
    parts = [
        f"# {name} on Triton Inference Server\n\nBackend `{options.backend}`, on the {options.instance.upper()}. "
        f"Written by fade-export {__version__}.",
        _server(name, interface, options, library),
        _requests(name, interface, options),
        _client(name, interface),
        _verified(interface, options),
    ]
    return "\n\n".join(parts) + "\n"


def _server(name: str, interface: Interface, options: TritonOptions, library: str) -> str:
    command = ["docker run --rm"]
    if options.instance is Instance.GPU:
        command.append("--gpus all")
    if options.backend is Backend.PYTHON:
        command.append("--shm-size=1g")
    command.append(f'-p 8000:8000 -p 8001:8001 -v "$PWD:{options.server_folder}:ro"')
    server = [f"tritonserver --model-repository={options.server_folder}"]
    plan = interface.plan
    if plan and (plan.embedded_plugin or plan.version_compatible):  # both are code for the host
        server.append("--backend-config=tensorrt,version-compatible=true")
    if plan and library:
        server.append(f"--backend-config=tensorrt,plugins={options.server_folder.rstrip('/')}/{name}/{library}")
    tag = {Backend.PYTHON: "fade-triton", Backend.TENSORRT: "IMAGE"}.get(options.backend, image(_NEWEST))
    words = " \\\n  ".join((" ".join(command), tag, *server))
    before, after = _image(interface, options, library)
    return f"## Start the server\n\n{before}In this folder:\n\n```bash\n{words}\n```{after}"


def _image(interface: Interface, options: TritonOptions, library: str) -> tuple[str, str]:
    """What to read before the command, and after it."""
    if interface.plan:
        after = "\n\n`plugins=` loads the FADE plugin; no LD_PRELOAD is needed." if library else ""
        return _image_of_engine(interface.plan), after
    lowest = interface.metadata.get("lowest_onnxruntime", "1.20")
    if options.backend is Backend.PYTHON:
        extra = "ort-cpu" if options.instance is Instance.CPU else "ort-gpu"
        return (
            "`model.py` needs fade_deploy and ONNX Runtime in the server's Python (3.12 in the images from 24.12 on), "
            "no PyTorch. Put them into an image, from a wheel of fade-deploy (`pip wheel --no-deps .` in its "
            "checkout):\n\n```dockerfile\n"
            f"FROM {image(_NEWEST)}\nCOPY fade_deploy-*.whl /tmp/\n"
            f'RUN PIP_BREAK_SYSTEM_PACKAGES=1 pip install "$(ls /tmp/fade_deploy-*.whl)[{extra}]"\n'
            "```\n\n```bash\ndocker build -t fade-triton .\n```\n\n"
            "A conda environment instead: add the parameter `EXECUTION_ENV_PATH` to config.pbtxt. ",
            "",
        )
    after = (
        f"\n\nThis image has ONNX Runtime {ONNXRUNTIME[_NEWEST]}; the file needs {lowest} or newer, which images have "
        f"since {oldest_with_onnxruntime(lowest)}."
    )
    if library:
        after += (
            f" `{library}` was built on another machine: see that the image has the system libraries that it needs, "
            "and leave `model_operations` out of config.pbtxt where it has not.\n\n```bash\n"
            f"docker run --rm -v \"$PWD:/models:ro\" {image(_NEWEST)} sh -c 'ldd /models/*/{library}'\n```"
        )
    return "", after


def _image_of_engine(plan: Plan) -> str:
    major = plan.tensorrt.split(".")[0]
    known = f"from {FIRST_WITH_TENSORRT_11} on" if int(major) >= 11 else f"before {FIRST_WITH_TENSORRT_11}"
    exact = f"this TensorRT or, of {major}, a newer one" if plan.version_compatible else "this very TensorRT"
    return (
        f"The engine was built by TensorRT {plan.tensorrt} and runs on the kind of GPU that it was built for. IMAGE is "
        f"a release of nvcr.io/nvidia/tritonserver (`YY.MM-py3`) that has {exact}: TensorRT {major} is in releases "
        f"{known}; which version exactly is in [NVIDIA's support matrix]({SUPPORT_MATRIX}), and an image tells it:"
        "\n\n```bash\ndocker run --rm IMAGE sh -c 'dpkg -l | grep -i nvinfer'\n```\n\n"
    )


def _requests(name: str, interface: Interface, options: TritonOptions) -> str:
    rows = [
        f"| {kind} | `{tensor.name}` | {tensor.dtype} | {dims(tensor.shape)} |"
        for kind, tensors in (("input", interface.inputs), ("output", interface.outputs))
        for tensor in tensors
    ]
    lines = ["| | name | dtype | shape |\n|---|---|---|---|\n" + "\n".join(rows)]
    if not interface.metadata["embed_preprocess"]:
        lines.append(
            f"`image` is RGB in 0..255, minus {interface.metadata['mean']}, divided by {interface.metadata['std']}."
        )
    if -1 in interface.inputs[0].shape[1:]:
        lines.append(f"Height and width are multiples of {interface.metadata['size_multiple']}.")
    if plan := interface.plan:
        lines.append(
            f"Batch, height and width lie within {plan.smallest} to {plan.largest}; kernels were chosen for "
            f"{plan.optimum}."
        )
    largest = max_batch_size(interface, options)
    if largest > 1:
        lines.append(
            f"Up to {largest} pictures a run: Triton joins requests that wait at the same time, those of equal height "
            "and width only. Clients that resize to few sizes gain from it, others don't."
        )
    elif not largest:
        lines.append("The batch is fixed in the file: one request is one run, and its tensors have the batch axis.")
    if interface.metadata.get("classes"):
        lines.append(
            f"`{name}/{LABELS}` names the classes, class i in line i + 1. It is for clients. It is no `label_filename` "
            "of config.pbtxt, because Triton's classification extension ranks all pixels of an output and labels them "
            "by their position."
        )
    lines.append(
        f"```bash\ncurl -s localhost:8000/v2/models/{name}/ready -o /dev/null -w '%{{http_code}}\\n'   # 200\n"
        f"curl -s localhost:8000/v2/models/{name}          # inputs and outputs\n"
        f"curl -s localhost:8000/v2/models/{name}/config   # with the parameters that tell a client how to prepare\n```"
    )
    return "## What it takes and returns\n\n" + "\n\n".join(lines)


def _client(name: str, interface: Interface) -> str:
    """A program for a picture; it prints the shape of what comes back."""
    facts = interface.metadata
    shape = interface.warmup[-1]["image"]
    height, width = sides(shape, facts)
    matting = any(tensor.name == "trimap" for tensor in interface.inputs)
    output = interface.outputs[0].name
    code = [
        "import sys",
        "",
        "import numpy as np",
        "import tritonclient.http as triton   # pip install 'tritonclient[http]' pillow",
        "from PIL import Image",
        "",
        f"size = ({width}, {height})   # any that the model takes",
        'picture = np.asarray(Image.open(sys.argv[1]).convert("RGB").resize(size, Image.Resampling.BILINEAR))',
    ]
    dtype = {"uint8": "UINT8", "float16": "FP16"}.get(interface.inputs[0].dtype, "FP32")
    numpy = interface.inputs[0].dtype
    if facts["embed_preprocess"]:
        code.append('tensors = {"image": picture[None]}')
    else:
        code += [
            f"normalised = (picture - np.array({facts['mean']})) / np.array({facts['std']})",
            f'tensors = {{"image": np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.{numpy})}}',
        ]
    if matting:
        code.append('trimap = np.asarray(Image.open(sys.argv[2]).convert("L").resize(size, Image.Resampling.NEAREST))')
        given = (
            "trimap[None, :, :, None]"
            if facts["embed_preprocess"]
            else f"(trimap / 255).astype(np.{numpy})[None, None]"
        )
        code.append(f'tensors["trimap"] = {given}   # 0 background, 128 unknown, 255 foreground')
    batch = shape[0]
    if not interface.batches and batch > 1:
        code.append(f"tensors = {{key: np.repeat(value, {batch}, axis=0) for key, value in tensors.items()}}")
    code += [
        "inputs = []",
        "for key, value in tensors.items():",
        f'    inputs.append(triton.InferInput(key, value.shape, "{dtype}"))',
        "    inputs[-1].set_data_from_numpy(value)",
        'client = triton.InferenceServerClient("localhost:8000")',
        f'result = client.infer("{name}", inputs).as_numpy("{output}")',
        "print(result.shape, result.dtype, result.min(), result.max())",
    ]
    arguments = "picture.jpg trimap.png" if matting else "picture.jpg"
    return (
        f"## A client\n\n`python client.py {arguments}`, with this as client.py:\n\n```python\n"
        + "\n".join(code)
        + "\n```"
    )


def _verified(interface: Interface, options: TritonOptions) -> str:
    if interface.plan:
        return (
            "## What was verified\n\nconfig.pbtxt was written from the engine's manifest. Neither the engine nor "
            "Triton was run for this repository: both need the GPU."
        )
    sizes = " and ".join(
        ", ".join(f"`{key}` {list(shape)}" for key, shape in shapes.items()) for shapes in interface.warmup
    )
    ran = (
        f"ONNX Runtime {ort_version()} ran the file on the CPU at {sizes}, on zeros, when this was written; the server "
        "does the same before it reports ready."
    )
    served = {
        Backend.PYTHON: "fade-deploy's own tests serve such a repository by Triton 2.51 on a CPU, over HTTP and gRPC, "
        "and hold the answers against ONNX Runtime; the image above was not run.",
        Backend.ONNXRUNTIME: "Triton's own onnxruntime backend and the image above were not run by fade-deploy.",
    }[options.backend]
    gpu = " Nothing was run on a GPU." if options.instance is Instance.GPU else ""
    return f"## What was verified\n\n{ran} {served}{gpu}"
