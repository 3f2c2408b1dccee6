"""An exported file is what its manifest says, runs as asked, repeats to the byte, and agreed before it had a name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fade_deploy.api.export.export as module
from fade_deploy.api.export import verified_file
from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.export.verified_file import ExportResult
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.recognise import model_from_checkpoint
from fade_deploy.contract import LOWEST_ONNXRUNTIME, METADATA_KEY, Head
from fade_deploy.errors import CheckpointError, ExportError, FadeDeployError, InputError, OutputError, RecipeError
from fade_deploy.models.segformer import SegFormer
from fade_deploy.recipe import Shape, load_recipe
from fade_deploy.runtimes import native_libraries
from fade_deploy.runtimes.native_libraries import NativeLibrary
from fade_deploy.tolerances import tolerance
from tests.command_line import contents
from tests.conftest import TINY_CLASSES, Reproduced

QUICK = ExportOptions(shape=Shape(1, 32, 32))  # the export that takes least


def manifest_of(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return document


def facts_in(path: Path) -> dict[str, Any]:
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    facts: dict[str, Any] = json.loads(entry.value)
    return facts


def sides(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_the_manifest_describes_the_file_beside_it(tiny_export: ExportResult, tiny_checkpoint: Path) -> None:
    data = tiny_export.path.read_bytes()
    manifest = manifest_of(tiny_export.path)
    assert manifest == tiny_export.document
    assert manifest["artefact"] == {
        "file": "tiny.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    assert manifest["checkpoint_sha256"] == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert manifest["passed"] is tiny_export.passed is True
    assert tiny_export.manifest == tiny_export.path.with_suffix(".json")
    assert set(contents(tiny_export.path.parent)) == {"tiny.onnx", "tiny.json"}


def test_the_file_says_the_same_of_itself_as_the_manifest(tiny_export: ExportResult) -> None:
    facts = facts_in(tiny_export.path)
    manifest = manifest_of(tiny_export.path)
    about_the_run = {"artefact", "passed", "agreement", "python", "reproduce", "golden"}
    assert facts == {key: value for key, value in manifest.items() if key not in about_the_run}


def test_the_facts_are_those_of_the_model(tiny_export: ExportResult, tiny_checkpoint: Path) -> None:
    facts = facts_in(tiny_export.path)
    recipe = load_recipe("segformer")
    weights = torch.load(tiny_checkpoint, weights_only=True)["state_dict"]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert facts["parameters"] == sum(value.numel() for key, value in weights.items() if not key.endswith(buffers))
    assert facts["classes"] == list(TINY_CLASSES)
    assert (facts["backbone"], facts["upsampler"], facts["kernel_size"]) == ("custom MiT", "fade", 5)
    assert (facts["mean"], facts["std"]) == (list(recipe.mean), list(recipe.std))
    assert (facts["task"], facts["head"], facts["shape"], facts["opset"]) == ("segmentation", "logits", "dynamic", 18)
    assert facts["operators"] == "fade 1"
    assert facts["lowest_onnxruntime"] == LOWEST_ONNXRUNTIME[18]
    assert facts["versions"]["torch"] == torch.__version__


def test_the_manifest_states_what_was_measured(tiny_export: ExportResult) -> None:
    agreement = tiny_export.document["agreement"]
    shapes = [str(shape) for shape in load_recipe("segformer").quick]
    ways = ["standard operators", *(["native operators"] if NativeLibrary.ONNXRUNTIME_CPU.installed else [])]
    measured_at = [(measured["shape"], measured["candidate"]) for measured in agreement["measured"]]
    assert measured_at == [(shape, way) for shape in shapes for way in ways]
    assert (agreement["worst"]["shape"], agreement["worst"]["run_with"]) in measured_at
    installed = NativeLibrary.ONNXRUNTIME_CPU.installed
    expected = None if installed is None else hashlib.sha256(installed.read_bytes()).hexdigest()
    assert agreement["native_library"] == expected
    for measured, returned in zip(agreement["measured"], tiny_export.agreements, strict=True):
        assert measured == dataclasses.asdict(returned)
        assert measured["passed"]
        assert 0 < measured["max_error"] < agreement["tolerance"]["atol"]
        assert measured["labels_compared"] == measured["labels_agreeing"] > 0
        assert measured["source"] == "sample pictures"
    # Logits of a 1/4 map, one label each; nearly all are decided.
    batch, height, width = (int(x) for x in shapes[1].split("x"))
    pixels = batch * height * width // 16
    assert 0.99 * pixels < agreement["measured"][len(ways)]["labels_compared"] <= pixels


def test_what_was_left_out_of_the_checkpoint_is_noted(tiny_export: ExportResult) -> None:
    assert any("num_batches_tracked" in note for note in tiny_export.notes)


# --- the same inputs, the same bytes ---------------------------------------------------------------------------------


def test_the_stated_command_gives_the_same_bytes_elsewhere(
    tiny_export: ExportResult, tiny_export_reproduced: Reproduced
) -> None:
    here, there = contents(tiny_export.path.parent), contents(tiny_export_reproduced.folder)
    assert there["tiny.onnx"] == here["tiny.onnx"]
    assert there["tiny.json"] == here["tiny.json"]
    assert set(there) == {"tiny.pth", "tiny.onnx", "tiny.json"}


def test_nothing_written_names_a_folder_or_a_user(tiny_export: ExportResult, tiny_checkpoint: Path) -> None:
    root = Path(__file__).parents[2]
    for data in contents(tiny_export.path.parent).values():
        assert data is not None
        for trace in (tiny_export.path.parent, tiny_checkpoint.parent, root, Path.home()):
            assert str(trace).encode() + b"/" not in data


# --- what runs is what was asked for ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One export; together the cases cover every option."""

    name: str
    options: dict[str, Any]
    image: str  # the input's declared shape and type
    output: str
    probe: Shape  # not among the shapes that the export verified, where it is dynamic
    reproduce: str = ""

    def __str__(self) -> str:
        return self.name


CASES = [
    Asked(
        name="labels-dynamic-uint8-opset21",
        options={"recipe": "small.toml", "head": Head.LABELS, "embed_preprocess": True, "opset": 21},
        image="uint8 batch height width 3",
        output="int64 batch height width",
        probe=Shape(2, 96, 32),
        reproduce="--recipe small.toml --head labels --opset 21 --embed-preprocess",
    ),
    Asked(
        name="probs-static-odd-standard",
        options={"head": Head.PROBS, "shape": Shape(1, 125, 157), "standard_ops": True, "full_verification": False},
        image="float 1 3 125 157",
        output="float 1 4 125 157",
        probe=Shape(1, 125, 157),
        reproduce="--head probs --shape 1x125x157 --verify quick --standard-ops",
    ),
    Asked(
        name="logits-static-uint8-opset23-unfused",
        # A plain string is what a user of the API may write; it must not be taken for another head.
        options={"head": "logits", "shape": Shape(2, 61, 64), "embed_preprocess": True, "opset": 23, "fuse": False},
        image="uint8 2 61 64 3",
        output="float 2 4 16 16",
        probe=Shape(2, 61, 64),
        reproduce="--head logits --opset 23 --shape 2x61x64 --no-fuse --embed-preprocess",
    ),
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Asked, ExportResult]]:
    asked: Asked = request.param
    folder = tmp_path_factory.mktemp("exported")
    shutil.copy(tiny_checkpoint, folder / "my tiny.pth")
    (folder / "small.toml").write_text(
        'extends = "segformer"\n[verify]\nquick = ["1x32x32"]\nfull = ["1x32x32", "2x64x96"]\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = dict(asked.options)
        if "recipe" in options:
            options["recipe"] = str(folder / options["recipe"])
        yield asked, export("my tiny.pth", options=ExportOptions(**options))


def eager_logits(checkpoint: Path, pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] through the checkpoint's own module, step by step."""
    model: SegFormer = model_from_checkpoint(read_checkpoint(checkpoint), load_recipe("segformer")).eval()
    mean, std = (torch.tensor(values) for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    image = ((torch.from_numpy(pictures).float() - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(image)


def test_the_file_computes_what_its_checkpoint_does(
    exported: tuple[Asked, ExportResult], tiny_checkpoint: Path
) -> None:
    asked, result = exported
    assert result.passed
    shape = asked.probe
    pictures = np.random.default_rng(5).integers(0, 256, (shape.batch, shape.height, shape.width, 3), np.uint8)
    logits = eager_logits(tiny_checkpoint, pictures)
    resized = F.interpolate(logits, size=(shape.height, shape.width), mode="bilinear", align_corners=False)

    image: np.ndarray = pictures
    if not asked.options.get("embed_preprocess"):
        recipe = load_recipe("segformer")
        normal = (pictures - np.array(recipe.mean)) / np.array(recipe.std)
        image = normal.transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": image})

    match asked.options.get("head"):
        case "labels":
            lead = torch.topk(resized, 2, dim=1).values
            decided = (lead[:, 0] - lead[:, 1] > tolerance("ORT_CPU_FP32").atol).numpy()
            assert decided.mean() > 0.99
            np.testing.assert_array_equal(output[decided], resized.argmax(1).numpy()[decided])
        case "probs":
            bound = tolerance("ORT_CPU_FP32_PROBS").atol
            np.testing.assert_allclose(output, resized.softmax(1).numpy(), atol=bound, rtol=0)
            np.testing.assert_allclose(output.sum(1), 1, atol=bound, rtol=0)
        case _:
            np.testing.assert_allclose(output, logits.numpy(), atol=tolerance("ORT_CPU_FP32").atol, rtol=0)


def test_the_interface_is_declared_as_it_is(exported: tuple[Asked, ExportResult]) -> None:
    asked, result = exported
    graph = onnx.load(result.path).graph
    (image,), (output,) = graph.input, graph.output
    head = str(asked.options.get("head", "logits"))
    assert (image.name, output.name) == ("image", head)
    for value, expected in ((image, asked.image), (output, asked.output)):
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        assert " ".join([kind, *(str(side) for side in sides(value))]) == expected


def test_the_options_are_in_the_file(exported: tuple[Asked, ExportResult]) -> None:
    asked, result = exported
    model, facts = onnx.load(result.path), facts_in(result.path)
    opset = asked.options.get("opset", 18)
    standard = asked.options.get("standard_ops", False)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert opsets == ({"": opset} if standard else {"": opset, "fade": 1})
    assert {node.domain for node in model.graph.node} == ({""} if standard else {"", "fade"})
    assert bool(model.functions) is not standard
    assert facts["operators"] == ("standard" if standard else "fade 1")
    assert facts["opset"] == opset
    assert facts["lowest_onnxruntime"] == LOWEST_ONNXRUNTIME[opset]
    assert facts["head"] == str(asked.options.get("head", "logits"))
    assert facts["embed_preprocess"] is asked.options.get("embed_preprocess", False)
    assert facts["shape"] == str(asked.options.get("shape", "dynamic"))
    fused = asked.options.get("fuse", True)
    assert facts["fused"] is fused
    assert bool(facts["rewrites"]) is fused
    if not standard:
        kinds = {node.op_type for node in model.graph.node if node.domain == "fade"}
        assert kinds == ({"FadeUpsample", "FadeHead"} if fused else {"FadeUpsample"})


def test_fused_nodes_name_the_modules_that_they_replace(tiny_export: ExportResult, tiny_checkpoint: Path) -> None:
    model = model_from_checkpoint(read_checkpoint(tiny_checkpoint), load_recipe("segformer"))
    modules = dict(model.named_modules())
    replaced: dict[str, set[str]] = {}
    for node in onnx.load(tiny_export.path).graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        if "fade.replaces" in notes:
            replaced.setdefault(node.op_type, set()).update(notes["fade.replaces"].split(", "))
        elif "fade.module" in notes:  # untouched, or only spelled in another way
            assert notes["fade.module"] in modules
    assert all(names <= set(modules) for names in replaced.values())
    assert {"decode_head.linear_fuse", "decode_head.linear_pred", "decode_head.upsamplers.2"} <= replaced["FadeHead"]
    assert {"decode_head.upsamplers.0", "decode_head.linear_c3"} <= replaced["FadeUpsample"]


def test_the_command_to_reproduce_names_every_option_and_no_folder(exported: tuple[Asked, ExportResult]) -> None:
    asked, result = exported
    start = "fade-export 'my tiny.pth' --format onnx -o 'my tiny.onnx' "
    assert result.document["reproduce"] == start + asked.reproduce


def test_the_default_name_is_the_stem_of_the_checkpoint_in_the_current_folder(
    exported: tuple[Asked, ExportResult],
) -> None:
    _, result = exported
    assert result.path == Path("my tiny.onnx")
    assert result.manifest == Path("my tiny.json")


# --- disagreement ----------------------------------------------------------------------------------------------------


def perturb_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the module and the file one class's bias grows by 0.01: a hundred times the tolerance."""
    real = module.onnx_from_model

    def damaged(*arguments: Any) -> Any:
        graph = real(*arguments)
        name = next(name for name in graph.graph.initializers if name.endswith("classes.bias"))
        value = graph.graph.initializers[name]
        bias = value.const_value.numpy().copy()
        bias[2] += 0.01
        value.const_value = module.ir.tensor(bias, name=name)
        return graph

    monkeypatch.setattr(module, "onnx_from_model", damaged)


def test_a_file_that_disagrees_never_gets_the_asked_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb_a_weight(monkeypatch)
    (tmp_path / "tiny.onnx").write_bytes(b"old model")
    (tmp_path / "tiny.json").write_bytes(b"old manifest")
    result = export(tiny_checkpoint, tmp_path / "tiny.onnx", dataclasses.replace(QUICK, force=True))

    left = contents(tmp_path)
    assert set(left) == {"tiny.onnx", "tiny.json", "tiny.unverified.onnx", "tiny.unverified.json"}
    assert (left["tiny.onnx"], left["tiny.json"]) == (b"old model", b"old manifest")
    assert not result.passed
    assert result.notes[-1] == f"{tmp_path / 'tiny.onnx'} is of an earlier export and was left as it is"
    assert result.path == tmp_path / "tiny.unverified.onnx"
    assert result.manifest == tmp_path / "tiny.unverified.json"

    manifest = manifest_of(result.path)
    assert manifest["passed"] is False
    assert manifest["artefact"]["file"] == "tiny.unverified.onnx"
    assert manifest["artefact"]["sha256"] == hashlib.sha256(result.path.read_bytes()).hexdigest()
    measured, *_ = manifest["agreement"]["measured"]
    assert not measured["passed"]
    assert measured["max_error"] == pytest.approx(0.01, abs=1e-5)
    assert measured["mean_error"] == pytest.approx(0.01 / 4, abs=1e-5)  # one class of four
    # What it takes to see the same again: the name that was asked for.
    assert " -o tiny.onnx " in manifest["reproduce"]


def test_native_operators_that_disagree_are_told_apart(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library whose results are off by 0.01, stood for by the file with another bias."""
    real = verified_file.session_from_onnx
    library = tmp_path / "libfade_other.so"
    library.write_bytes(b"any")

    def with_another_bias(path: Path, *, library: Path | str) -> onnxruntime.InferenceSession:
        if library == "none":
            return real(path, library="none")
        model = onnx.load(path)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("classes.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
        onnx.save(model, tmp_path / "other.onnx")
        return real(tmp_path / "other.onnx", library="none")

    monkeypatch.setattr(verified_file, "session_from_onnx", with_another_bias)
    result = export(tiny_checkpoint, tmp_path / "tiny.onnx", dataclasses.replace(QUICK, library=str(library)))
    assert not result.passed
    assert result.path == tmp_path / "tiny.unverified.onnx"
    assert {a.candidate: a.passed for a in result.agreements} == {"standard operators": True, "native operators": False}
    assert result.notes[-1] == f"only {library} disagrees: --library none exports for standard operators"
    assert result.document["agreement"]["native_library"] == hashlib.sha256(b"any").hexdigest()


def test_a_library_that_can_not_be_loaded_is_told_and_can_be_left_out(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_libraries, "_FOLDER", tmp_path / "_native")
    (tmp_path / "_native").mkdir()
    (tmp_path / "_native" / "libfade_onnxruntime.so").write_bytes(b"not a library")
    target = tmp_path / "tiny.onnx"
    with pytest.raises(InputError, match=r"libfade_onnxruntime\.so can't be loaded by onnxruntime .*--library none"):
        export(tiny_checkpoint, target, QUICK)
    assert set(contents(tmp_path)) == {"_native", "_native/libfade_onnxruntime.so"}
    result = export(tiny_checkpoint, target, dataclasses.replace(QUICK, library="none"))
    assert result.passed
    assert {agreement.candidate for agreement in result.agreements} == {"standard operators"}
    assert result.document["agreement"]["native_library"] is None


@pytest.mark.parametrize("head", [Head.LOGITS, Head.PROBS])
def test_a_bias_that_is_off_by_a_hundredth_is_found_behind_a_softmax_too(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: Head
) -> None:
    perturb_a_weight(monkeypatch)
    assert not export(tiny_checkpoint, tmp_path / "tiny.onnx", dataclasses.replace(QUICK, head=head)).passed


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=type)
def test_a_shape_that_this_machine_can_not_hold_is_told_and_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(verified_file, "compare", full)
    with pytest.raises(
        ExportError, match=r"at 1x32x32 takes more memory than this machine has: give a smaller --shape"
    ):
        export(tiny_checkpoint, tmp_path / "tiny.onnx", QUICK)
    assert contents(tmp_path) == {}


# --- refused before any work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.json", "tiny.unverified.onnx", "tiny.unverified.json"])
def test_an_existing_target_is_refused_before_the_checkpoint_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(OutputError, match=rf"{name} exists; .*--force"):
        export(tmp_path / "missing.pth", tmp_path / "tiny.onnx")
    assert contents(tmp_path) == {name: b"old"}
    with pytest.raises(CheckpointError):  # with --force it comes to reading
        export(tmp_path / "missing.pth", tmp_path / "tiny.onnx", ExportOptions(force=True))
    assert contents(tmp_path) == {name: b"old"}


@pytest.mark.parametrize(
    ("output", "options", "error", "told"),
    [
        ("tiny.onnx", {"opset": 17}, ExportError, "opset 17 is not supported: give --opset 18 to 23"),
        ("tiny.onnx", {"opset": 24}, ExportError, "opset 24 is not supported: give --opset 18 to 23"),
        ("tiny.bin", {}, ExportError, "does not end in .onnx"),
        ("tiny", {}, ExportError, "does not end in .onnx"),
        ("tiny.onnx", {"library": "missing.so"}, InputError, "--library missing.so is not there"),
    ],
)
def test_an_impossible_request_is_refused_before_the_checkpoint_is_read(
    tmp_path: Path, output: str, options: dict[str, Any], error: type[FadeDeployError], told: str
) -> None:
    with pytest.raises(error, match=told):
        export(tmp_path / "missing.pth", tmp_path / output, ExportOptions(**options))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[input]\nsize_multiple = 16", "has size_multiple 16, expected a multiple of 32"),
        ('[verify]\nfull = ["1x48x64"]', "verifies at 1x48x64, expected multiples of its size_multiple 32"),
        ('[verify]\npictures = ["missing.jpg"]', "sample picture missing.jpg"),
        ('[verify]\ntolerance = "LOOSE"', "tolerance 'LOOSE' is unknown, expected one of"),
        ("[model]\nheads = [1, 2, 5, 4]", "heads"),
    ],
)
def test_a_recipe_that_can_not_be_verified_is_refused_before_the_export(
    tiny_checkpoint: Path, tmp_path: Path, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "onnx_from_model", lambda *_: pytest.fail("exported all the same"))
    (tmp_path / "mine.toml").write_text(f'extends = "segformer"\n{text}\n')
    options = ExportOptions(recipe=str(tmp_path / "mine.toml"))
    with pytest.raises(FadeDeployError, match=told) as raised:
        export(tiny_checkpoint, tmp_path / "tiny.onnx", options)
    assert isinstance(raised.value, RecipeError | CheckpointError)
    assert set(contents(tmp_path)) == {"mine.toml"}


@pytest.mark.parametrize(
    ("shape", "nearest"), [("1x60x96", "64x96"), ("1x96x100", "96x128"), ("1x28x32", "32x32"), ("1x2x2", "32x32")]
)
def test_an_illegal_shape_is_refused_with_the_nearest_legal_one(
    tiny_checkpoint: Path, tmp_path: Path, shape: str, nearest: str
) -> None:
    with pytest.raises(ExportError, match=f"the nearest larger size is {nearest}"):
        export(tiny_checkpoint, tmp_path / "tiny.onnx", ExportOptions(shape=Shape.parse(shape)))
    assert contents(tmp_path) == {}
