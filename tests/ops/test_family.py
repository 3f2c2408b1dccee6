"""The family of upsamplers against golden outputs of the reference code and against loops over numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fade_deploy.ops import numpy_oracle
from fade_deploy.ops.a2u import A2U, pooling_matrix
from fade_deploy.ops.carafe import CARAFE
from fade_deploy.ops.indexnet import IndexNet, IndexNetContext
from fade_deploy.ops.registry import build_upsampler
from fade_deploy.ops.sapa import SAPA
from fade_deploy.tolerances import tolerance
from tests.golden import recipe
from tests.golden_weights import GOLDEN

# case -> (class, prefix of our keys before the reference's operator)
CASES = {
    "op_carafe": (CARAFE, ""),
    "op_sapa": (SAPA, ""),
    "op_indexnet_m2o": (IndexNet, "index_net."),
    "op_indexnet_m2o_nc": (IndexNetContext, "index_net."),
    "op_a2u": (A2U, "kernel_gen."),
}
# Of the decoder: one pixel, smaller than a window, odd and not square.
SIZES = ((1, 1), (2, 1), (3, 5))


# --- golden ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_output_agrees_with_the_reference_code(case):
    build, prefix = CASES[case]
    manifest = recipe.load_manifest(GOLDEN / f"{case}.json")
    weights, inputs = recipe.make_state_dict(manifest), recipe.make_input(manifest)
    assert recipe.digest(weights) == manifest["weights_sha256"], "the recipe drifted: the golden data says nothing"
    assert recipe.digest(inputs) == manifest["inputs_sha256"], "the recipe drifted: the golden data says nothing"
    module = build(manifest["config"]["C"]).eval()
    module.load_state_dict({prefix + key: torch.from_numpy(value) for key, value in weights.items()})
    decoder = torch.from_numpy(inputs["de"])
    # CARAFE's case has no encoder, which it ignores.
    encoder = torch.from_numpy(inputs["en"]) if "en" in inputs else torch.full((2, 64, 24, 40), torch.nan)
    given = {"out": module(encoder, decoder)}
    if case == "op_a2u":
        given["mask_up"] = module.kernel_gen(encoder).softmax(1)
    slices = {entry["name"]: entry["slices"] for entry in manifest["outputs"]}
    with np.load(GOLDEN / f"{case}.npz") as expected:
        for name, value in given.items():
            array = recipe.take(value.numpy(), slices[name])
            np.testing.assert_allclose(array, expected[name], atol=tolerance("GOLDEN_FP32").atol, rtol=0)


# --- loops over numbers ---------------------------------------------------------------------------------------


def pixelwise(weights: dict, name: str, feature: np.ndarray) -> np.ndarray:
    """The layer ``name``, linear or a 1x1 convolution, at each pixel."""
    matrix = weights[f"{name}.weight"].reshape(len(weights[f"{name}.weight"]), -1)
    return np.tensordot(matrix, feature, (1, 1)).swapaxes(0, 1) + weights[f"{name}.bias"][:, None, None]


def convolution_3x3(weights: dict, name: str, feature: np.ndarray) -> np.ndarray:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    batch, _, height, width = feature.shape
    padded = np.pad(feature, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((batch, len(weight), height, width))
    for n, c, y, x in np.ndindex(*out.shape):
        out[n, c, y, x] = bias[c] + (weight[c] * padded[n, :, y : y + 3, x : x + 3]).sum()
    return out


def layer_norm(weights: dict, name: str, feature: np.ndarray) -> np.ndarray:
    centred = feature - feature.mean(1, keepdims=True)
    normed = centred / np.sqrt(feature.var(1, keepdims=True) + 1e-5)
    return normed * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def repeat(low: np.ndarray) -> np.ndarray:
    return low.repeat(2, axis=2).repeat(2, axis=3)


def carafe_logits(w, encoder, decoder, size):
    high = convolution_3x3(w, "content_encoder", pixelwise(w, "channel_compressor", decoder))
    logits = np.zeros((len(decoder), size**2, *encoder.shape[2:]))
    for n, tap, y, x in np.ndindex(*logits.shape):
        logits[n, tap, y, x] = high[n, tap * 4 + (y % 2) * 2 + x % 2, y // 2, x // 2]
    return logits


def encoder_only_logits(w, encoder, decoder, size):
    return convolution_3x3(w, "ker_generator.content_encoder", pixelwise(w, "ker_generator.compressor_en", encoder))


def naive_logits(w, encoder, decoder, size):
    both = np.concatenate([repeat(decoder), encoder], 1)
    return convolution_3x3(w, "ker_generator.content_encoder", pixelwise(w, "ker_generator.compressor", both))


def semi_shift_logits(w, encoder, decoder, size):
    no_bias = {**w, "ker_generator.compressor_de.bias": np.zeros(len(w["ker_generator.compressor_de.weight"]))}
    from_decoder = pixelwise(no_bias, "ker_generator.compressor_de", decoder)
    return encoder_only_logits(w, encoder, decoder, size) + repeat(
        convolution_3x3(w, "ker_generator.content_encoder", from_decoder)
    )


def sapa_logits(w, encoder, decoder, size):
    y, normed_x = layer_norm(w, "norm_y", encoder), layer_norm(w, "norm_x", decoder)
    if "gate.weight" in w:
        gate = repeat(1 / (1 + np.exp(-pixelwise(w, "gate", normed_x))))
        queries = gate * pixelwise(w, "qy", y) + (1 - gate) * pixelwise(w, "qx", repeat(decoder))
    elif w["q.weight"].shape[1] == 2 * encoder.shape[1]:
        queries = pixelwise(w, "q", np.concatenate([y, repeat(decoder)], 1))
    else:
        queries = pixelwise(w, "q", y)
    keys = pixelwise(w, "k", normed_x)
    height, width = keys.shape[2:]
    logits = np.zeros((len(keys), size**2, *encoder.shape[2:]))
    for n, tap, row, column in np.ndindex(*logits.shape):
        i, j = row // 2 + tap // size - size // 2, column // 2 + tap % size - size // 2
        if 0 <= i < height and 0 <= j < width:
            logits[n, tap, row, column] = queries[n, :, row, column] @ keys[n, :, i, j]
    return logits


LOOPS = {
    "carafe": carafe_logits,
    "sapa": sapa_logits,
    "sapa_gate": sapa_logits,
    "sapa_concat": sapa_logits,
    "encoder_only": encoder_only_logits,
    "naive": naive_logits,
    "semishift": semi_shift_logits,
    "skip": semi_shift_logits,
}


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    ("name", "kernel_size"), [(name, 5) for name in LOOPS] + [("sapa", 3), ("carafe", 7), ("naive", 1)]
)
@torch.no_grad()
def test_output_agrees_with_loops_over_numbers(name, kernel_size, height, width):
    torch.manual_seed(0)
    module = build_upsampler(name, 3, kernel_size=kernel_size, compressed=4).double()
    for parameter in module.parameters():  # of order 1 everywhere: norms and biases start as ones and zeros
        torch.nn.init.normal_(parameter, 0.2, 0.5)
    encoder = torch.randn(2, 3, 2 * height, 2 * width, dtype=torch.float64)
    decoder = torch.randn(2, 3, height, width, dtype=torch.float64)
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    logits = LOOPS[name](weights, encoder.numpy(), decoder.numpy(), kernel_size)
    expected = numpy_oracle.accumulate(
        decoder.numpy(),
        logits,
        encoder.numpy() if name == "skip" else np.zeros((1, 1, 1, 1)),
        np.ones((2, 1, height, width)),
        kernel_size=kernel_size,
        scale=2,
    )
    np.testing.assert_allclose(module(encoder, decoder).numpy(), expected, atol=tolerance("NUMPY_FP64").atol, rtol=0)


@torch.no_grad()
def test_index_of_sub_pixel_gates_the_repeated_pixel():
    # One channel, one decoder pixel: branch s sees the whole 2x2 encoder and gates output pixel s (row-major).
    module = IndexNet(1).double()
    for s in range(4):
        weight = getattr(module.index_net, f"indexnet{s + 1}")[0].weight
        weight.zero_()
        weight.view(-1)[3 - s] = 1.0
    encoder = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]], dtype=torch.float64)
    decoder = torch.full((1, 1, 1, 1), 10.0, dtype=torch.float64)
    expected = 10 / (1 + np.exp([[-3.0, -2.0], [-1.0, -0.0]]))
    np.testing.assert_allclose(module(encoder, decoder)[0, 0].numpy(), expected, atol=tolerance("NUMPY_FP64").atol)


@torch.no_grad()
def test_a2u_kernels_agree_with_loops_over_numbers_at_sizes_below_its_window():
    torch.manual_seed(0)
    module = A2U(64).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.2, 0.5)
    for height, width in ((1, 1), (3, 5)):
        encoder = torch.randn(2, 64, 2 * height, 2 * width, dtype=torch.float64)
        w = {key.removeprefix("kernel_gen."): value.numpy() for key, value in module.state_dict().items()}
        expected = np.stack([a2u_kernels(w, image) for image in encoder.numpy()])
        np.testing.assert_allclose(
            module.kernel_gen(encoder).numpy(), expected, atol=tolerance("NUMPY_FP64").atol, rtol=0
        )


def a2u_kernels(w: dict, image: np.ndarray) -> np.ndarray:
    """[C, 2h, 2w] -> [9, 2h, 2w], before the softmax."""
    channels, height, width = image.shape
    cells = np.zeros((channels, 6, 6))
    for i, j in np.ndindex(6, 6):
        rows = slice(i * height // 6, -(-(i + 1) * height // 6))
        columns = slice(j * width // 6, -(-(j + 1) * width // 6))
        cells[:, i, j] = image[:, rows, columns].mean((1, 2))
    padded = np.pad(image, ((0, 0), (2, 3), (2, 3)))
    similarity = np.ones((channels, height // 2, width // 2))
    for window, norm in (("bconv_U", "bnu"), ("bconv_V", "bnv")):
        kernel = np.tensordot(w[f"{window}.1.weight"][0, :, 0, 0], cells, 1) + w[f"{window}.1.bias"]
        feature = np.zeros_like(similarity)
        for c, y, x in np.ndindex(*feature.shape):
            feature[c, y, x] = (padded[c, 2 * y : 2 * y + 6, 2 * x : 2 * x + 6] * kernel).sum()
        groups = feature.reshape(32, -1)
        groups = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)
        normed = groups.reshape(feature.shape) * w[f"{norm}.0.weight"][:, None, None]
        normed += w[f"{norm}.0.bias"][:, None, None]
        similarity *= np.where(normed < 0, 0.01 * normed, normed)
    summed = similarity.sum(0) / np.sqrt(channels)
    weights = w["bconv_UP.1.weight"][:, :, 0, 0] @ image.mean((1, 2)) + w["bconv_UP.1.bias"]
    out = np.zeros((9, height, width))
    for tap, y, x in np.ndindex(*out.shape):
        out[tap, y, x] = weights[tap * 4 + (y % 2) * 2 + x % 2] * summed[y // 2, x // 2]
    return 1 / (1 + np.exp(-out))


@pytest.mark.parametrize("size", [*range(1, 40), 512])
def test_pooling_matrix_is_the_pooling_of_pytorch(size):
    identity = torch.eye(size, dtype=torch.float64)
    expected = F.adaptive_avg_pool1d(identity, 6).T
    given = pooling_matrix(size, 6, identity)
    torch.testing.assert_close(given, expected, atol=tolerance("NUMPY_FP64").atol, rtol=0)


def test_bilinear_resizes_to_the_encoders_size():
    decoder = torch.tensor([[[[0.0, 4.0]]]])
    out = build_upsampler("bilinear", 1)(torch.zeros(1, 1, 2, 4), decoder)
    assert out.tolist() == [[[[0.0, 1.0, 3.0, 4.0]] * 2]]
