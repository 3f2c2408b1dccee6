"""Which modules of public repositories a swap knows, by class name, parameters and attributes, and what replaces each.

Nothing of those repositories is imported. A class that bears a known name and is something else is refused by a
``ValueError`` that says what was given and what is expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fade_deploy import contract
from fade_deploy.ops.fade import low_to_high_key
from fade_deploy.swap import adapters
from fade_deploy.swap.shapes import Shape, attribute, match_shapes, only

__all__ = ["KNOWN", "Kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A public module class.

    ``replacements`` gives, for an instance, the functions that it may compute: one, or two where files of equal keys
    differ. ``examples`` gives arguments for a trial, float64.
    """

    replacements: Callable[[nn.Module], tuple[nn.Module, ...]]
    examples: Callable[[nn.Module], tuple[Tensor, ...]]


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def _in_channels(module: nn.Module) -> int:
    return next(parameter.shape[1] for parameter in module.parameters() if parameter.dim() == 4)


def _pair(encoder_channels: int, decoder_channels: int) -> tuple[Tensor, ...]:
    # Square, because the reference's high-to-low file takes nothing else.
    return _noise(2, encoder_channels, 12, 12), _noise(2, decoder_channels, 6, 6)


# --- CARAFE -------------------------------------------------------------------------------------------------


def _carafe_pack(module: nn.Module) -> tuple[nn.Module, ...]:
    sizes = match_shapes(
        module,
        {
            "channel_compressor.weight": ("d", "C", 1, 1),
            "channel_compressor.bias": ("d",),
            "content_encoder.weight": ("outputs", "d", "k", "k"),
            "content_encoder.bias": ("outputs",),
        },
    )
    kernel_size, groups, scale = (attribute(module, name) for name in ("up_kernel", "up_group", "scale_factor"))
    contract.check_limits(kernel_size=kernel_size, scale=scale, groups=groups)
    if sizes["C"] % groups:
        raise ValueError(f"its up_group is {groups}, expected a divisor of its {sizes['C']} channels")
    outputs = groups * (kernel_size * scale) ** 2
    if sizes["outputs"] != outputs:
        raise ValueError(f"its content_encoder has {sizes['outputs']} outputs, expected {outputs} by its attributes")
    return (
        adapters.CARAFEPack(
            module.get_submodule("channel_compressor"),
            module.get_submodule("content_encoder"),
            kernel_size=kernel_size,
            groups=groups,
            scale=scale,
        ),
    )


def _carafe(module: nn.Module) -> tuple[nn.Module, ...]:
    """Three classes bear this name: mmcv's, that of FADE's plain PyTorch files, and that of many YOLO repositories."""
    children = dict(module.named_children())
    if children.keys() == {"comp", "enc", "pix_shf", "upsmp", "unfold"}:
        kernel_size, scale = attribute(children["unfold"], "kernel_size"), attribute(module, "scale")
        contract.check_limits(kernel_size=kernel_size, scale=scale)
        pack = adapters.CARAFEPack(
            children["comp"], children["enc"], kernel_size=kernel_size, groups=1, scale=scale, names=("comp", "enc")
        )
        return (pack,)
    match_shapes(module, {})
    if not hasattr(module, "kernel_size"):
        return (adapters.ReassemblyOfCall(),)
    kernel_size, groups, scale = (attribute(module, name) for name in ("kernel_size", "group_size", "scale_factor"))
    contract.check_limits(kernel_size=kernel_size, scale=scale, groups=groups)
    return (adapters.Reassembly(kernel_size=kernel_size, group_size=groups, scale_factor=scale),)


def _carafe_examples(module: nn.Module) -> tuple[Tensor, ...]:
    if any(True for _ in module.parameters()):
        return (_noise(2, _in_channels(module), 6, 6),)
    kernel_size, scale = getattr(module, "kernel_size", 5), getattr(module, "scale_factor", 2)
    groups = getattr(module, "group_size", 1)
    return _noise(2, 2 * groups, 6, 7), _noise(2, groups * kernel_size**2, 6 * scale, 7 * scale)


# --- FADE ---------------------------------------------------------------------------------------------------

_GATE: dict[str, Shape] = {"gate_generator.conv.weight": (1, "D", 1, 1), "gate_generator.conv.bias": (1,)}
_KERNELS: dict[str, Shape] = {
    "ker_generator.compressor_en.weight": ("d", "E", 1, 1),
    "ker_generator.compressor_en.bias": ("d",),
    "ker_generator.compressor_de.weight": ("d", "D", 1, 1),
    "ker_generator.content_encoder.weight": ("taps", "d", 3, 3),
    "ker_generator.content_encoder.bias": ("taps",),
}
_DEPTHWISE_KERNELS: dict[str, Shape] = _KERNELS | {
    "ker_generator.content_encoder.weight": ("d", 1, 3, 3),
    "ker_generator.content_encoder.bias": ("d",),
}
_HIGH_TO_LOW_NAMES = {
    "compressor_en.weight": "conv1_en.weight",
    "compressor_en.bias": "conv1_en.bias",
    "compressor_de.weight": "conv1_de.weight",
    "content_encoder.weight": "conv2_kernels",
    "content_encoder.bias": "conv2_bias",
}
_HIGH_TO_LOW: dict[str, Shape] = {
    f"kernel_generator.{name}": _KERNELS[f"ker_generator.{key}"] for key, name in _HIGH_TO_LOW_NAMES.items()
}


def _fade(module: nn.Module) -> tuple[nn.Module, ...]:
    if not hasattr(module, "kernel_generator"):
        return _built(module, _GATE | _KERNELS, (adapters.FADE,))
    # Two files have these keys. The scrambled function of the plain one is ours for widths that divide by 4.
    width = match_shapes(module, _GATE | _HIGH_TO_LOW)["d"]
    return _built(module, _GATE | _HIGH_TO_LOW, (adapters.FADE, adapters.ScrambledFADE)[: 1 if width % 4 else 2])


def _fade_lite(module: nn.Module) -> tuple[nn.Module, ...]:
    return _built(module, _GATE | _DEPTHWISE_KERNELS, (adapters.FADELite,))


def _semi_shift(module: nn.Module) -> tuple[nn.Module, ...]:
    return _built(module, _KERNELS, (adapters.SemiShiftUp,))


def _built(
    module: nn.Module, tensors: dict[str, Shape], classes: tuple[Callable[..., nn.Module], ...]
) -> tuple[nn.Module, ...]:
    sizes = match_shapes(module, tensors)
    only(module, "scale", 2)
    kernel_size = attribute(module, "up_kernel_size")
    contract.check_limits(kernel_size=kernel_size, scale=2)
    if sizes.get("taps", sizes["d"]) != kernel_size**2:
        raise ValueError(f"its kernel generator has not the {kernel_size**2} outputs of its up_kernel_size")
    if sizes["E"] != sizes["D"] and "gate_generator.conv.weight" in tensors:
        raise ValueError(f"it blends {sizes['E']} encoder channels with {sizes['D']} decoder channels, expected equal")
    choices = {"compressed": sizes["d"]} if "taps" in sizes else {}
    replacements = []
    for build in classes:
        with torch.device("meta"):  # only the structure; its tensors are replaced
            new = build(sizes["D"], kernel_size=kernel_size, **choices)
            if sizes["E"] != sizes["D"]:
                compressor = nn.Conv2d(sizes["E"], sizes["d"], 1)
                new.get_submodule("ker_generator").add_module("compressor_en", compressor)
        _adopt(new, module)
        replacements.append(new)
    return tuple(replacements)


def _adopt(new: nn.Module, original: nn.Module) -> None:
    """Give a new module the very tensors of the original."""
    for key, tensor in original.state_dict(keep_vars=True).items():
        path, _, name = low_to_high_key(key).rpartition(".")
        setattr(new.get_submodule(path), name, tensor)


def _fade_examples(module: nn.Module) -> tuple[Tensor, ...]:
    tensors = {low_to_high_key(key): value for key, value in module.state_dict().items()}
    return _pair(*(tensors[f"ker_generator.compressor_{name}.weight"].shape[1] for name in ("en", "de")))


# --- IndexNet -----------------------------------------------------------------------------------------------


def _index_block(module: nn.Module) -> tuple[nn.Module, ...]:
    """Depth-wise (one-to-one, many-to-one) blocks have four branches, the holistic one has one of four channels."""
    children = dict(module.named_children())
    if children.keys() not in ({"indexnet"}, {f"indexnet{i}" for i in range(1, 5)}):
        raise ValueError(f"it has the parts {sorted(children)}, expected indexnet, or indexnet1 to indexnet4")
    for name, branch in children.items():
        first = branch if isinstance(branch, nn.Conv2d) else next(branch.children(), None)
        if not isinstance(first, nn.Conv2d) or first.stride != (2, 2) or first.kernel_size not in ((2, 2), (4, 4)):
            raise ValueError(f"its '{name}' begins with {first}, expected a 2x2 or 4x4 convolution of stride 2")
        outputs = [part.out_channels for part in branch.modules() if isinstance(part, nn.Conv2d)][-1]
        expected = 4 if name == "indexnet" else first.in_channels
        if outputs != expected:
            raise ValueError(f"its '{name}' has {outputs} outputs, expected {expected}")
    return (adapters.IndexMaps(children),)


def _index_examples(module: nn.Module) -> tuple[Tensor, ...]:
    first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    return (_noise(2, first.in_channels, 12, 12),)


# --- A2U ----------------------------------------------------------------------------------------------------


def _affinity(module: nn.Module) -> tuple[nn.Module, ...]:
    convolutions = {f"bconv_{name}.1": "taps" if name in ("UP", "DP") else 1 for name in ("U", "V", "UP", "DP")}
    tensors: dict[str, Shape] = {f"{norm}.0.{part}": ("C",) for norm in ("bnu", "bnv") for part in ("weight", "bias")}
    for name, outputs in convolutions.items():
        tensors |= {f"{name}.weight": (outputs, "C", 1, 1), f"{name}.bias": (outputs,)}
    sizes = match_shapes(module, tensors)
    only(module, "group", 1)
    only(module, "k", 6)
    kernel_size = attribute(module, "s")
    if kernel_size == 1 or sizes["taps"] != 4 * kernel_size**2:
        raise ValueError(f"its kernels have {sizes['taps']} outputs and s={kernel_size}, expected 4*s*s and s above 1")
    with torch.device("meta"):
        new = adapters.InterChannelUpDown(sizes["C"], kernel_size)
    _adopt(new, module)
    for norm in ("bnu", "bnv"):  # with their eps and slope
        new.add_module(norm, module.get_submodule(norm))
    return (new,)


# --- SAPA ---------------------------------------------------------------------------------------------------


def _sapa(module: nn.Module) -> tuple[nn.Module, ...]:
    if getattr(module, "v", None) is not None:
        raise ValueError("it embeds its values (v), expected the decoder feature itself")
    tensors: dict[str, Shape] = {f"norm_{name}.{part}": ("C",) for name in "yx" for part in ("weight", "bias")}
    gated = hasattr(module, "gate")
    concatenated = not gated and getattr(module, "q_mode", "") == "cat"
    queries: dict[str, Shape] = {"q": ("d", "2C" if concatenated else "C")}
    if gated:
        queries = {"qy": ("d", "C"), "qx": ("d", "C"), "gate": (1, "C")}
    for name, shape in {**queries, "k": ("d", "C")}.items():
        tensors[f"{name}.weight"] = shape
        if f"{name}.bias" in dict(module.named_parameters()):
            tensors[f"{name}.bias"] = shape[:1]
    sizes = match_shapes(module, tensors)
    if concatenated and sizes["2C"] != 2 * sizes["C"]:
        raise ValueError(f"its query takes {sizes['2C']} channels, expected {2 * sizes['C']}")
    only(module, "up_factor", 2)
    kernel_size = attribute(module, "up_kernel_size")
    contract.check_limits(kernel_size=kernel_size, scale=2)
    build = adapters.SAPAGate if gated else adapters.SAPAConcat if concatenated else adapters.SAPA
    with torch.device("meta"):
        new = build(sizes["C"], kernel_size=kernel_size, compressed=sizes["d"])
    for key, _ in list(new.named_parameters()):
        if key not in tensors:  # a linear layer without bias
            new.get_submodule(key.rpartition(".")[0]).register_parameter("bias", None)
    _adopt(new, module)
    for norm in ("norm_y", "norm_x"):
        new.get_submodule(norm).eps = module.get_submodule(norm).eps
    return (new,)


def _sapa_examples(module: nn.Module) -> tuple[Tensor, ...]:
    channels = module.get_parameter("norm_y.weight").shape[0]
    return _pair(channels, channels)


_REASSEMBLY = Kind(replacements=_carafe, examples=_carafe_examples)
_INDEX_BLOCK = Kind(replacements=_index_block, examples=_index_examples)
_SAPA = Kind(replacements=_sapa, examples=_sapa_examples)

# Class name -> what is known of it.
KNOWN = {
    "CARAFEPack": Kind(replacements=_carafe_pack, examples=_carafe_examples),
    "CARAFE": _REASSEMBLY,
    "CARAFENaive": _REASSEMBLY,
    "BiupsampleNaive": _REASSEMBLY,
    "FADE": Kind(replacements=_fade, examples=_fade_examples),
    "FADELite": Kind(replacements=_fade_lite, examples=_fade_examples),
    "SemiShiftUp": Kind(replacements=_semi_shift, examples=_fade_examples),
    "DepthwiseM2OIndexBlock": _INDEX_BLOCK,
    "DepthwiseO2OIndexBlock": _INDEX_BLOCK,
    "HolisticIndexBlock": _INDEX_BLOCK,
    "InterChannelUpDown": Kind(replacements=_affinity, examples=_index_examples),
    "SAPA": _SAPA,
    "SAPAExp": _SAPA,
}
