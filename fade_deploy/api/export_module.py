"""A user's own module as a verified ONNX file with our operators."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fade_deploy import contract
from fade_deploy.api.verified_file import ExportResult, check_target, publish_verified
from fade_deploy.errors import ExportError, InputError
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.tolerances import tolerance
from fade_deploy.verify.inputs import VerificationInput
from fade_deploy.version import __version__

__all__ = ["export_module"]

logger = logging.getLogger(__name__)


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output: Path | str,
    *,
    outputs: Sequence[str] = ("output",),
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    multiples: Mapping[str, int] | None = None,
    opset: int = 18,
    standard_ops: bool = False,
    tolerance_name: str = "ORT_CPU_FP32",
    force: bool = False,
) -> ExportResult:
    """Turn any module into one ``.onnx`` file that is checked against eager PyTorch before it gets its name.

    The module is compared on the given inputs and, where axes are dynamic, on noise at half and at a larger size.
    For CARAFE and its relatives inside, see :func:`fade_deploy.swap_upsamplers` and
    :func:`fade_deploy.carafe_replaced`.

    Args:
        module: In eval mode, on the CPU; takes the inputs by position.
        inputs: Name in the file -> example.
        output: Path of the file.
        outputs: Names of what the module returns: one tensor, or a sequence of them.
        dynamic_axes: Input name -> axis -> name of the dimension, as ``{"image": {0: "batch", 2: "height", 3:
            "width"}}``. Axes of one name have one size. By default every size is the example's.
        multiples: Name of a dimension -> what its sizes are multiples of, as ``{"height": 32, "width": 32}``.
        opset: Of the file.
        standard_ops: Inline the function bodies.
        tolerance_name: Of :mod:`fade_deploy.tolerances`.
        force: Replace existing files.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    target = Path(output)
    axes, multiples = dynamic_axes or {}, multiples or {}
    check_target(target, opset=opset, force=force)
    _check(module, inputs, axes, multiples)
    bound = tolerance(tolerance_name)

    start = time.perf_counter()
    sizes = {axes[name][axis]: x.shape[axis] for name, x in inputs.items() for axis in axes.get(name, {})}
    # Sizes that differ from each other and from 1: the exporter takes others for constants.
    traced = {dim: (2 + i) * multiples.get(dim, 1) for i, dim in enumerate(sizes)}
    options = GraphOptions(
        outputs=dict.fromkeys(outputs),
        dynamic_axes=axes,
        dimensions={
            dim: multiple * torch.export.Dim(f"{dim}_{multiple}", min=1) for dim, multiple in multiples.items()
        },
        opset=opset,
        standard_ops=standard_ops,
    )
    with _naming_the_module(module):
        graph = onnx_from_model(module, _resized(inputs, axes, traced) if sizes else inputs, options)
    logger.info("export: opset %d, %d nodes (%.1f s)", opset, len(graph.graph), time.perf_counter() - start)

    def eager(**tensors: Tensor) -> dict[str, Tensor]:
        try:
            result = module(*(tensors[name] for name in inputs))
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"{type(module).__name__} itself raises at {_shape(tensors)}: {reason}; expected a module that runs at "
                "any size of its dynamic axes: state their multiples, or leave dynamic_axes out"
            ) from error
        return dict(zip(outputs, (result,) if isinstance(result, Tensor) else result, strict=True))

    batches = [VerificationInput(shape=_shape(inputs), source="given", tensors=_arrays(inputs))]
    if sizes:
        half = {dim: max(size // multiples.get(dim, 1) // 2, 1) * multiples.get(dim, 1) for dim, size in sizes.items()}
        larger = {dim: size + multiples.get(dim, 1) for dim, size in sizes.items()}
        for other in (_resized(inputs, axes, half), _resized(inputs, axes, larger)):
            batches.append(VerificationInput(shape=_shape(other), source="noise", tensors=_arrays(other)))
    facts = {
        "task": "module",
        "model": type(module).__name__,
        "shape": "dynamic" if sizes else _shape(inputs),
        "opset": opset,
        "operators": "standard" if standard_ops else f"{contract.DOMAIN} {contract.VERSION}",
        "lowest_onnxruntime": contract.LOWEST_ONNXRUNTIME[opset],
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "versions": {
            "fade-deploy": __version__,
            **{package: metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnx-ir")},
        },
    }
    return publish_verified(
        graph,
        facts,
        target,
        eager=eager,
        outputs=list(outputs),
        inputs=batches,
        bound=bound,
        manifest_facts={"verification": "full", "reproduce": "fade_deploy.export_module, from the user's own code"},
    )


def _check(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    multiples: Mapping[str, int],
) -> None:
    if module.training:
        raise InputError(f"{type(module).__name__} is in training mode, expected evaluation: call module.eval() first")
    if unknown := sorted(axes.keys() - inputs.keys()):
        raise InputError(f"dynamic_axes names the input '{unknown[0]}', expected one of {', '.join(inputs)}")
    names = {dim for per_input in axes.values() for dim in per_input.values()}
    if unknown := sorted(multiples.keys() - names):
        raise InputError(
            f"multiples names the dimension '{unknown[0]}', expected one of dynamic_axes: {', '.join(sorted(names))}"
        )
    found: dict[str, int] = {}
    for name, per_input in axes.items():
        for axis, dim in per_input.items():
            if axis >= inputs[name].dim():
                raise InputError(f"input '{name}' has {inputs[name].dim()} axes, dynamic_axes names axis {axis}")
            size = inputs[name].shape[axis]
            if found.setdefault(dim, size) != size:
                raise InputError(f"dimension '{dim}' is {found[dim]} and {size} in the example, expected one size")
            if size % multiples.get(dim, 1):
                raise InputError(f"dimension '{dim}' is {size} in the example, expected a multiple of {multiples[dim]}")


def _resized(
    inputs: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]], sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    """Seeded noise like the examples, with other sizes; integers in the example's range."""
    generator = torch.Generator().manual_seed(0)
    resized = {}
    for name, x in inputs.items():
        dims = axes.get(name, {})
        shape = [sizes[dims[axis]] if axis in dims else size for axis, size in enumerate(x.shape)]
        if x.is_floating_point():
            resized[name] = torch.randn(shape, generator=generator).to(x.dtype)
        else:
            low, high = int(x.min()), int(x.max())
            resized[name] = torch.randint(low, high + 1, shape, generator=generator).to(x.dtype)
    return resized


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: x.numpy() for name, x in inputs.items()}


def _shape(inputs: Mapping[str, Tensor]) -> str:
    return ", ".join("x".join(map(str, x.shape)) for x in inputs.values())


@contextmanager
def _naming_the_module(module: nn.Module) -> Iterator[None]:
    """Turn what tracing raises into one line with the path of the module that was running."""
    running: list[str] = []
    hooks = []
    for path, inner in module.named_modules():
        hooks.append(inner.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        hooks.append(inner.register_forward_hook(lambda *_: (running.pop(), None)[1]))
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        path = running[-1] if running else ""
        where = f"'{path}' ({type(module.get_submodule(path)).__name__})" if path else type(module).__name__
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ExportError(
            f"{where} can't be exported: {reason}; expected operations that torch.export follows: replace an upsampler "
            "with fade_deploy.swap_upsamplers, a carafe function with fade_deploy.carafe_replaced"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
