"""The operators in PyTorch, against pencil, numpy loops and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fade_deploy import contract
from fade_deploy.models.complexity import count_call
from fade_deploy.ops import numpy_oracle, reassembly
from fade_deploy.ops.torch_ops import TORCH_OPS
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES
from tests.golden import recipe
from tests.golden_weights import GOLDEN

TORCH = {
    "FadeReassemble": reassembly.reassemble,
    "FadeUpsample": reassembly.upsample,
    "FadeAccumulate": reassembly.accumulate,
    "FadeUpsampleAdd": reassembly.upsample_add,
    "FadeHead": reassembly.head,
}
ORACLE = {
    "FadeReassemble": numpy_oracle.reassemble,
    "FadeUpsample": numpy_oracle.upsample,
    "FadeAccumulate": numpy_oracle.accumulate,
    "FadeUpsampleAdd": numpy_oracle.upsample_add,
    "FadeHead": numpy_oracle.head,
}
EXPORT_ONLY = (contract.UPSAMPLE_ADD, contract.HEAD)
ODD_CASES = [case for case in OPERATOR_CASES if case.channels == 6]
TUNED_ODD_CASES = [case for case in ODD_CASES if case.attributes == dict(case.operator.attributes)]
# K = 3, scale 2 on a 2x2 image whose pixels are 1, 2 / 3, 4.
IMAGE = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])


def one_hot_kernels(tap: int) -> np.ndarray:
    kernels = np.zeros((1, 9, 4, 4))
    kernels[:, tap] = 1
    return kernels


PENCIL = {
    "centre tap repeats each pixel": (
        one_hot_kernels(4),
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]],
    ),
    "corner tap shifts by one pixel down and right, zeros come in": (
        one_hot_kernels(0),
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
    ),
    "tap 5 is one to the right in the same row": (
        one_hot_kernels(5),
        [[2, 2, 0, 0], [2, 2, 0, 0], [4, 4, 0, 0], [4, 4, 0, 0]],
    ),
    "equal taps sum the window and are not renormalised at the border": (
        np.full((1, 9, 4, 4), 1.0),
        [[10, 10, 10, 10], [10, 10, 10, 10], [10, 10, 10, 10], [10, 10, 10, 10]],
    ),
}


@pytest.mark.parametrize("implementation", ["torch", "numpy"])
@pytest.mark.parametrize("name", PENCIL)
def test_reassembly_of_a_2x2_image_worked_by_hand(name, implementation):
    kernels, expected = PENCIL[name]
    if implementation == "numpy":
        out = numpy_oracle.reassemble(IMAGE, kernels, kernel_size=3, scale=2)
    else:
        out = reassembly.reassemble(torch.tensor(IMAGE), torch.tensor(kernels), kernel_size=3, scale=2).numpy()
    np.testing.assert_array_equal(out[0, 0], expected)


def test_a_closed_gate_gives_the_encoder_and_an_open_one_the_reassembly():
    encoder = torch.full((1, 1, 4, 4), 7.0)
    logits = torch.full((1, 9, 4, 4), -1e4)
    logits[:, 4] = 0  # all weight on the centre
    gate = torch.tensor([[[[50.0, -50.0], [-50.0, 50.0]]]])
    out = reassembly.upsample(torch.tensor(IMAGE, dtype=torch.float32), logits, encoder, gate, kernel_size=3, scale=2)
    assert out[0, 0].tolist() == [[7, 7, 2, 2], [7, 7, 2, 2], [3, 3, 7, 7], [3, 3, 7, 7]]


def test_groups_serve_neighbouring_channels():
    features = torch.ones(1, 4, 1, 1, dtype=torch.float64)
    kernels = torch.tensor([2.0, 5.0], dtype=torch.float64).view(1, 2, 1, 1)
    out = reassembly.reassemble(features, kernels, kernel_size=1, scale=1, groups=2)
    assert out.flatten().tolist() == [2, 2, 5, 5]


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=str)
def test_torch_op_agrees_with_numpy_loops(case):
    inputs = case.inputs()
    expected = ORACLE[case.operator.name](**inputs, **case.attributes)
    bound = tolerance("NUMPY_FP64")
    given = TORCH[case.operator.name](*map(torch.from_numpy, inputs.values()), **case.attributes)
    np.testing.assert_allclose(given.numpy(), expected, atol=bound.atol, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float32, "OPERATOR_FP32"), (torch.float16, "OPERATOR_FP16"), (torch.bfloat16, "OPERATOR_BF16")],
)
@pytest.mark.parametrize("case", ODD_CASES, ids=str)
def test_low_precision_keeps_its_dtype_and_accumulates_wide(case, dtype, name):
    inputs = {key: torch.from_numpy(value).to(dtype) for key, value in case.inputs().items()}
    rounded = {key: value.double().numpy() for key, value in inputs.items()}
    expected = ORACLE[case.operator.name](**rounded, **case.attributes)
    given = TORCH[case.operator.name](*inputs.values(), **case.attributes)
    assert given.dtype == dtype
    bound = tolerance(name)
    np.testing.assert_allclose(given.double().numpy(), expected, atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("case", [case for case in ODD_CASES if case.operator not in EXPORT_ONLY], ids=str)
def test_gradients_agree_with_finite_differences(case):
    inputs = tuple(torch.from_numpy(value).requires_grad_() for value in case.inputs().values())
    assert torch.autograd.gradcheck(lambda *x: TORCH[case.operator.name](*x, **case.attributes), inputs, fast_mode=True)


@pytest.mark.parametrize("case", [case for case in TUNED_ODD_CASES if case.operator in EXPORT_ONLY], ids=str)
def test_an_export_only_op_refuses_to_go_back(case):
    inputs = tuple(torch.from_numpy(value).requires_grad_() for value in case.inputs().values())
    out = TORCH[case.operator.name](*inputs, **case.attributes)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        out.sum().backward()


@pytest.mark.parametrize("case", TUNED_ODD_CASES, ids=str)
def test_ops_keep_the_rules_of_torch_custom_ops(case):
    op = TORCH_OPS[case.operator.name].default
    trained = case.operator not in EXPORT_ONLY
    inputs = tuple(torch.from_numpy(value).float().requires_grad_(trained) for value in case.inputs().values())
    torch.library.opcheck(op, (*inputs, *case.attributes.values()))


def test_memory_beyond_the_output_stays_a_small_multiple_of_it():
    # An unfold would take 25 outputs; shapes on the meta device cost nothing, so the real allocations are counted.
    features, kernels = torch.rand(1, 64, 64, 64), torch.rand(1, 25, 128, 128)
    output_bytes = 64 * 128 * 128 * 4
    with torch.profiler.profile(profile_memory=True) as profile:
        reassembly.reassemble(features, kernels, kernel_size=5, scale=2)
    live = peak = 0
    for event in sorted(
        (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()
    ):
        live += event.nbytes()
        peak = max(peak, live)
    assert output_bytes <= peak <= 4 * output_bytes


def head_shapes(**changed: tuple[int, ...]) -> list[tuple[int, ...]]:
    """E = 6, C = 2, M = 4; legal but for what is changed."""
    shapes = {
        "first": (1, 6, 3, 3), "second": (1, 7, 3, 3), "third": (1, 6, 3, 3),
        "encoder_logits": (1, 75, 6, 6), "decoder_logits": (1, 75, 3, 3), "gate_logits": (1, 3, 3, 3),
        "encoder": (1, 2, 6, 6), "encoder_weight": (6, 11), "encoder_bias": (6,),
        "class_weight": (4, 6), "class_bias": (4,),
    }  # fmt: skip
    return list((shapes | changed).values())


BAD_SHAPES = {
    "kernels of another size": (reassembly.reassemble, [(1, 4, 3, 3), (1, 25, 6, 7)], {}),
    "kernels of another K": (reassembly.reassemble, [(1, 4, 3, 3), (1, 9, 6, 6)], {}),
    "groups that do not divide": (reassembly.reassemble, [(1, 4, 3, 3), (1, 75, 6, 6)], {"groups": 3}),
    "an encoder of other channels": (
        reassembly.upsample, [(1, 4, 3, 3), (1, 25, 6, 6), (1, 5, 6, 6), (1, 1, 3, 3)], {}
    ),
    "a gate at high resolution": (reassembly.upsample, [(1, 4, 3, 3), (1, 25, 6, 6), (1, 4, 6, 6), (1, 1, 6, 6)], {}),
    "a base that does not broadcast": (
        reassembly.accumulate, [(1, 4, 3, 3), (1, 25, 6, 6), (1, 2, 6, 6), (1, 1, 3, 3)], {}
    ),
    "decoder logits at high resolution": (
        reassembly.upsample_add,
        [(1, 4, 3, 3), (1, 25, 6, 6), (1, 25, 6, 6), (1, 4, 6, 6), (1, 1, 3, 3), (1, 4, 6, 6)], {},
    ),
    "a skip at low resolution": (
        reassembly.upsample_add,
        [(1, 4, 3, 3), (1, 25, 6, 6), (1, 25, 3, 3), (1, 4, 6, 6), (1, 1, 3, 3), (1, 4, 3, 3)], {},
    ),
    "a decoder feature with fewer than E channels": (reassembly.head, head_shapes(second=(1, 5, 3, 3)), {}),
    "a decoder feature of another size": (reassembly.head, head_shapes(third=(1, 6, 3, 4)), {}),
    "an encoder weight for other channels": (reassembly.head, head_shapes(encoder_weight=(6, 12)), {}),
    "a class weight for other hidden channels": (reassembly.head, head_shapes(class_weight=(4, 5)), {}),
    "one class bias too few": (reassembly.head, head_shapes(class_bias=(3,)), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_wrong_shape_is_refused_with_both_shapes(name):
    function, shapes, attributes = BAD_SHAPES[name]
    with pytest.raises(ValueError, match=r"\[.*\].*\[.*\]|groups=3"):
        function(*(torch.zeros(shape) for shape in shapes), kernel_size=5, scale=2, **attributes)


def test_the_head_of_legal_shapes_is_taken():
    out = reassembly.head(*(torch.zeros(shape) for shape in head_shapes()), kernel_size=5, scale=2)
    assert out.shape == (1, 4, 6, 6)


def test_a_head_worked_by_hand():
    # K = 1 and scale 1, so R is the identity; the gates are 1/2; E = 1, C = 1, one pixel; second channels are not read.
    values = {
        "first": [[1, 90]], "second": [[2, 90]], "third": [[3]],
        "encoder_logits": [[5] * 3], "decoder_logits": [[7] * 3], "gate_logits": [[0] * 3], "encoder": [[6]],
    }  # fmt: skip
    maps = [torch.tensor(value, dtype=torch.float64)[..., None, None] for value in values.values()]
    weights = [[[10, 100, 1000, 0.1, 2, 4, 6]], [1], [[1], [-1]], [0, 0.5]]
    given = reassembly.head(*maps, *(torch.tensor(w, dtype=torch.float64) for w in weights), kernel_size=1, scale=1)
    hidden = 1 + (10 + 100 + 1000) * 6 / 2 + 0.1 * 6 + (2 + 4 + 6) / 2 + (1 + 2 + 3) / 2
    torch.testing.assert_close(given.flatten().tolist(), [hidden, 0.5 - hidden])


def test_costs_of_the_fused_stages_counted_by_hand():
    class Stage(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, *inputs):
            return self.function(*inputs, kernel_size=5, scale=2)

    # 36 output pixels; E = 6, C = 2, M = 4: three reassemblies, the encoder's product and the classes'.
    counted = count_call(Stage(reassembly.head), *head_shapes())
    assert counted.macs == 36 * (3 * 25 * 6 + 6 * 11 + 4 * 6)
    assert counted.blend_macs == 36 * 3 * (2 + 6)
    shapes = [(1, 4, 3, 3), (1, 25, 6, 6), (1, 25, 3, 3), (1, 4, 6, 6), (1, 1, 3, 3), (1, 4, 6, 6)]
    counted = count_call(Stage(reassembly.upsample_add), *shapes)
    assert (counted.macs, counted.blend_macs) == (36 * 4 * 25, 2 * 36 * 4)


@torch.no_grad()
def test_carafe_of_the_golden_data_is_softmax_and_reassembly():
    # An oracle that is not ours: the reference's CARAFE, whose kernels come from the decoder alone.
    manifest = recipe.load_manifest(GOLDEN / "op_carafe.json")
    weights = {key: torch.from_numpy(value) for key, value in recipe.make_state_dict(manifest).items()}
    features = torch.from_numpy(recipe.make_input(manifest)["de"])
    compressed = F.conv2d(features, weights["channel_compressor.weight"], weights["channel_compressor.bias"])
    encoded = F.conv2d(compressed, weights["content_encoder.weight"], weights["content_encoder.bias"], padding=1)
    kernels = F.pixel_shuffle(encoded, 2).softmax(1)
    given = {"kernels": kernels, "out": reassembly.reassemble(features, kernels, kernel_size=5, scale=2)}
    slices = {entry["name"]: entry["slices"] for entry in manifest["outputs"]}
    with np.load(GOLDEN / "op_carafe.npz") as expected:
        assert set(expected.files) == set(given)
        for name, tensor in given.items():
            array = recipe.take(tensor.numpy(), slices[name])
            np.testing.assert_allclose(array, expected[name], atol=tolerance("GOLDEN_FP32").atol, rtol=0)


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.int64, torch.int64)])
def test_mixed_and_integer_dtypes_are_refused(dtypes):
    features, kernels = torch.ones(1, 1, 2, 2, dtype=dtypes[0]), torch.ones(1, 9, 4, 4, dtype=dtypes[1])
    with pytest.raises(ValueError, match="one floating dtype"):
        reassembly.reassemble(features, kernels, kernel_size=3, scale=2)
