"""Reading files: every container that training writes loads, and nothing in a file is ever executed."""

from __future__ import annotations

import copyreg
import hashlib
import json
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fade_deploy.checkpoints import inert
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.safe_load import torch_file_content
from fade_deploy.errors import CheckpointError

MMENGINE = Path(__file__).parent / "fixtures" / "mmengine_ema.pth"
WEIGHTS = {"backbone.a": torch.tensor([1.0, 2.0]), "decode_head.b": torch.tensor([[3.0]])}


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def refusal(path: Path, **options: Any) -> str:
    """The one line that the file is refused with."""
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint(path, **options)
    text = str(raised.value)
    assert "\n" not in text
    assert text.isprintable()
    assert str(path) in text
    return text


def assert_weights(state_dict: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = WEIGHTS) -> None:
    torch.testing.assert_close(state_dict, dict(expected), rtol=0, atol=0)


# --- containers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("container", "name"),
    [
        (WEIGHTS, "plain state dict"),
        (OrderedDict(WEIGHTS), "plain state dict"),
        ({"state_dict": WEIGHTS, "meta": {"epoch": 3}}, "mmcv container"),
        ({"state_dict": WEIGHTS, "meta": {"mmengine_version": "0.10.7"}, "message_hub": {}}, "mmengine container"),
        ({"state_dict": WEIGHTS}, "training container"),
        ({"model": WEIGHTS, "epoch": 3}, "training container"),
        ({"model_state_dict": WEIGHTS}, "training container"),
        ({"net": WEIGHTS}, "training container"),
        ({"params": WEIGHTS}, "training container"),
    ],
)
def test_weights_are_found_in_every_container(tmp_path: Path, container: object, name: str, legacy: bool) -> None:
    path = saved(tmp_path / "a.pth", container, _use_new_zipfile_serialization=not legacy)
    read = read_checkpoint(path)
    assert_weights(read.state_dict)
    assert (read.path, read.container) == (path, name)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parameters_come_back_as_plain_tensors(tmp_path: Path) -> None:
    read = read_checkpoint(saved(tmp_path / "a.pth", {"w": torch.nn.Parameter(torch.ones(2))}))
    assert type(read.state_dict["w"]) is torch.Tensor
    assert not read.state_dict["w"].requires_grad


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module.model.", "_orig_mod.module.", "model.module."]
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    path = saved(tmp_path / "a.pth", {"state_dict": {prefix + key: value for key, value in WEIGHTS.items()}})
    assert_weights(read_checkpoint(path).state_dict)


def test_a_prefix_that_only_some_keys_have_is_a_name(tmp_path: Path) -> None:
    weights = {"model.a": torch.ones(1), "b": torch.ones(1)}
    assert_weights(read_checkpoint(saved(tmp_path / "a.pth", weights)).state_dict, weights)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_safetensors_are_recognised_by_content_not_by_ending(tmp_path: Path, name: str) -> None:
    facts = {"heads": [1, 2, 5, 8], "high_to_low": "exact", "classes": ["wall", "floor"]}
    safetensors.torch.save_file(WEIGHTS, tmp_path / name, metadata={"fade_deploy": json.dumps(facts)})
    read = read_checkpoint(tmp_path / name)
    assert_weights(read.state_dict)
    assert read.container == "safetensors"
    assert read.facts == {"heads": (1, 2, 5, 8), "high_to_low": "exact", "classes": ("wall", "floor")}
    assert read.classes == ("wall", "floor")


def test_a_torch_file_with_the_ending_of_safetensors_loads(tmp_path: Path) -> None:
    assert read_checkpoint(saved(tmp_path / "a.safetensors", WEIGHTS)).container == "plain state dict"


@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": ("wall", "floor"), "PALETTE": [[1, 2, 3], [4, 5, 6]]},
        {"classes": ["wall", "floor"], "palette": np.array([[1, 2, 3], [4, 5, 6]], np.uint8)},
        {"dataset_meta": {"classes": ("wall", "floor"), "palette": [(1, 2, 3), (4, 5, 6)]}},
        {"dataset_meta": {"CLASSES": ["wall", "floor"], "PALETTE": np.array([[1, 4], [2, 5], [3, 6]]).T}},
    ],
    ids=["mmcv", "array", "mmengine", "mmengine-upper-fortran"],
)
def test_class_names_and_colours_are_read(tmp_path: Path, meta: dict[str, Any]) -> None:
    read = read_checkpoint(saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "meta": meta}))
    assert read.classes == ("wall", "floor")
    assert read.palette == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"CLASSES": None, "PALETTE": "red"},
        {"CLASSES": "wall", "PALETTE": [[1, 2]]},
        {"CLASSES": [1, 2], "PALETTE": [[1, 2, 256]]},
        {"CLASSES": [[[[["deep"]]]]], "PALETTE": [[1.5, 2, 3]]},
        {"CLASSES": list(range(20_000)), "PALETTE": np.array(["red"])},
        {"dataset_meta": "none"},
    ],
)
def test_unusable_class_names_and_colours_count_as_absent(tmp_path: Path, meta: dict[str, Any]) -> None:
    read = read_checkpoint(saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "meta": meta}))
    assert (read.classes, read.palette) == ((), ())


def test_class_names_carry_no_control_characters(tmp_path: Path) -> None:
    meta = {"CLASSES": ["\x1b[31mwall\n", "floor"]}
    names = read_checkpoint(saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "meta": meta})).classes
    assert all(name.isprintable() for name in names)


def test_facts_come_back_as_plain_python_values(tmp_path: Path) -> None:
    facts = {"heads": np.array([1, 2, 5, 8]), "block_norm_eps": np.float64(1e-6), "high_to_low": "scrambled"}
    read = read_checkpoint(saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "meta": {"fade_deploy": facts}}))
    assert read.facts == {"heads": (1, 2, 5, 8), "block_norm_eps": 1e-6, "high_to_low": "scrambled"}
    assert type(read.facts["block_norm_eps"]) is float


@pytest.mark.parametrize("facts", ["text", [1], {"heads": torch.ones(4)}, {"heads": [[[[1]]]]}])
def test_malformed_facts_are_refused(tmp_path: Path, facts: object) -> None:
    path = saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "meta": {"fade_deploy": facts}})
    assert "meta['fade_deploy']" in refusal(path)


@pytest.mark.parametrize("facts", ["{", "[" * 100_000, '"text"'])
def test_malformed_facts_of_safetensors_are_refused(tmp_path: Path, facts: str) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "a.safetensors", metadata={"fade_deploy": facts})
    assert "fade_deploy" in refusal(tmp_path / "a.safetensors")


# --- what training leaves beside the weights -------------------------------------------------------------------------


def test_a_real_mmengine_container_loads() -> None:
    read = read_checkpoint(MMENGINE)
    assert read.container == "mmengine container"
    assert read.classes == ("wall", "floor")
    assert read.palette == ((120, 120, 120), (4, 200, 3))
    assert sorted(read.state_dict) == [
        "backbone.0.bias",
        "backbone.0.weight",
        "backbone.1.bias",
        "backbone.1.running_mean",
        "backbone.1.running_var",
        "backbone.1.weight",
        "decode_head.linear_pred.bias",
        "decode_head.linear_pred.weight",
    ]
    assert read.notes == (
        "used 'state_dict', the EMA weights: mmengine's EMAHook keeps the raw ones in 'ema_state_dict'",
        "left out the message hub: training logs",
        "left out the optimizer state",
        "left out the state of the learning-rate scheduler",
        "left out decode_head.conv_seg.* (2 tensors): unused by this head",
        "left out num_batches_tracked (1 tensor): a training counter",
    )


@pytest.mark.parametrize("ema", [False, True])
def test_the_state_dict_of_mmengine_is_the_average(ema: bool) -> None:
    with MMENGINE.open("rb") as stream:
        content = torch_file_content(stream, "fixture")
    # The witness: a hook of the fixture's training put the raw bias of the last step into the message hub.
    raw_bias = torch.tensor(inert.plain(content["message_hub"]["runtime_info"]["raw_bias"]))
    assert torch.equal(content["ema_state_dict"]["module.backbone.0.bias"], raw_bias)
    bias = read_checkpoint(MMENGINE, ema=ema).state_dict["backbone.0.bias"]
    assert torch.equal(bias, content["state_dict"]["backbone.0.bias"])
    assert not torch.equal(bias, raw_bias)


def test_leftovers_are_left_out_and_told(tmp_path: Path) -> None:
    leftovers = {
        "decode_head.conv_seg.weight": torch.ones(2),
        "decode_head.conv_seg.bias": torch.ones(2),
        "decode_head.linear_fuse.bn.num_batches_tracked": torch.tensor(5),
        "auxiliary_head.conv.weight": torch.ones(1),
        "backbone.head.weight": torch.ones(1),
        "backbone.head.bias": torch.ones(1),
        "decode_head.loss_decode.class_weight": torch.ones(1),
    }
    container = {
        "state_dict": {f"module.{key}": value for key, value in {**WEIGHTS, **leftovers}.items()},
        "optimizer": {"state": {}},
        "lr_scheduler": {},
        "epoch": np.int64(3),
        "measure": np.float64(31.1),
    }
    read = read_checkpoint(saved(tmp_path / "a.pth", container))
    assert_weights(read.state_dict)
    assert read.notes == (
        "left out the optimizer state",
        "left out the state of the learning-rate scheduler",
        "left out epoch, measure: not weights",
        "left out decode_head.conv_seg.* (2 tensors): unused by this head",
        "left out num_batches_tracked (1 tensor): a training counter",
        "left out auxiliary_head.* (1 tensor): used in training only",
        "left out backbone.head.* (2 tensors): the ImageNet classifier",
        "left out buffers of the loss (1 tensor): used in training only",
    )


def test_a_file_of_the_weights_alone_has_nothing_to_tell(tmp_path: Path) -> None:
    assert read_checkpoint(saved(tmp_path / "a.pth", WEIGHTS)).notes == ()


# --- EMA -------------------------------------------------------------------------------------------------------------

AVERAGED = {key: value + 1 for key, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("state_dict_ema", AVERAGED),
        ("model_ema", {f"module.{key}": value for key, value in AVERAGED.items()}),
        ("ema", {"module": AVERAGED, "updates": 7}),
        ("ema", {"shadow": AVERAGED}),
        ("ema_state_dict", {**{f"module.{key}": value for key, value in AVERAGED.items()}, "steps": torch.tensor(3)}),
        ("model_ema", {**{f"module.{key}": value for key, value in AVERAGED.items()}, "n_averaged": torch.tensor(3)}),
    ],
)
def test_ema_weights_are_used_on_request_and_told_otherwise(tmp_path: Path, key: str, held: object) -> None:
    path = saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, key: held})
    raw, averaged = read_checkpoint(path), read_checkpoint(path, ema=True)
    assert_weights(raw.state_dict)
    assert_weights(averaged.state_dict, AVERAGED)
    assert raw.notes == (f"this file also holds EMA weights ('{key}'); --ema uses them",)
    assert averaged.notes[0] == f"used the EMA weights in '{key}'"


@pytest.mark.parametrize("content", [WEIGHTS, {"state_dict": WEIGHTS}])
def test_asking_for_ema_weights_that_are_not_there_is_refused(tmp_path: Path, content: object) -> None:
    assert "leave out --ema" in refusal(saved(tmp_path / "a.pth", content), ema=True)
    safetensors.torch.save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert "leave out --ema" in refusal(tmp_path / "a.safetensors", ema=True)


def test_a_file_with_ema_weights_alone_asks_for_the_option(tmp_path: Path) -> None:
    assert "--ema" in refusal(saved(tmp_path / "a.pth", {"model_ema": WEIGHTS}))


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_floats_become_float32_and_are_told(tmp_path: Path, dtype: torch.dtype) -> None:
    read = read_checkpoint(saved(tmp_path / "a.pth", {key: value.to(dtype) for key, value in WEIGHTS.items()}))
    assert_weights(read.state_dict)
    assert read.notes == (f"converted 2 tensors from {str(dtype).removeprefix('torch.')} to float32",)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    text = refusal(saved(tmp_path / "a.pth", {**WEIGHTS, "bad.weight": torch.tensor([1.0, value])}))
    assert "'bad.weight' holds NaN or infinity in 1 of 2 numbers" in text


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(2).to_sparse(),
        torch.empty(3, device="meta"),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2).to(torch.float8_e4m3fn),
    ],
    ids=["sparse", "meta", "complex", "float8"],
)
def test_tensors_that_are_no_float_weights_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    assert "'odd' is not an ordinary dense tensor" in refusal(saved(tmp_path / "a.pth", {**WEIGHTS, "odd": tensor}))


def test_a_view_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    huge = torch.ones(1).expand(10**6, 10**6)  # four terabytes of a single number
    assert "claim more data than the file has" in refusal(saved(tmp_path / "a.pth", {"huge": huge}))


# --- files that are something else -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG picture"),
        (b"some text", "not a checkpoint"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x08\x0a\x12\x07pytorch", "this is an ONNX file"),
        (b"\x80", "damaged"),
        (b"\x80\x02", "damaged"),
        (b"\x80\x02" + b"\xff" * 50, "damaged"),
        (b"\x80\x02}.", "damaged"),
        (b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00}." * 5, "pickle protocol"),
        (b"PK\x03\x04" + bytes(64), "damaged"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{" + bytes(20), "damaged"),
        (bytes(100), "not a checkpoint"),
    ],
)
def test_other_files_are_refused_with_the_remedy(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    text = refusal(path)
    assert says in text
    assert "expected" in text


def test_an_onnx_file_is_known_by_its_ending_too(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"anything")
    assert "give the .pth" in refusal(tmp_path / "a.onnx")


def test_a_missing_path_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.pth")
    assert "is a folder" in refusal(tmp_path)
    assert "is not a file" in refusal(Path(os.devnull))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (torch.ones(2), "holds one tensor"),
        ([torch.ones(2)], "holds a list"),
        ({}, "holds no weights, but nothing"),
        ({"state_dict": {}}, "holds no weights, but state_dict"),
        ({"epoch": 3, "loss": 0.5}, "holds no weights, but epoch, loss"),
    ],
)
def test_a_torch_file_without_weights_is_refused(tmp_path: Path, content: object, says: str) -> None:
    assert says in refusal(saved(tmp_path / "a.pth", content))


@pytest.mark.parametrize("keep", [1, 3, 10, 100, 300, 600, 900, 1200, -1, -20])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, keep: int) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    weights = {f"layer{i}.weight": torch.ones(40) for i in range(8)}
    if kind == "safetensors":
        safetensors.torch.save_file(weights, whole)
    else:
        torch.save(weights, whole, _use_new_zipfile_serialization=kind == "zip")
    cut.write_bytes(whole.read_bytes()[:keep])
    refusal(cut)


def test_flipped_bytes_end_in_weights_or_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    data = saved(path, {"state_dict": WEIGHTS}, _use_new_zipfile_serialization=False).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        damaged[generator.integers(len(data))] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017 (most of the damage is in numbers and does not raise)


def test_an_archive_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "not one that torch.save wrote" in refusal(tmp_path / "a.pth")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "a.pt")
    assert "TorchScript" in refusal(tmp_path / "a.pt")


# --- files that would run code ---------------------------------------------------------------------------------------


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def attacks(marker: Path) -> dict[str, tuple[object, str]]:
    """id -> (what to save, what the refusal names)."""
    touch = f"touch {marker}"
    return {
        "os.system": (Call(os.system, touch), f"{os.name}.system"),
        "eval": (Call(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        "exec": (Call(exec, f"open({str(marker)!r}, 'w')"), "builtins.exec"),
        "open": (Call(open, str(marker), "w"), "io.open"),
        "subprocess": (Call(subprocess.Popen, touch, -1, None, None, None, None, None, True, True), "subprocess.Popen"),
        "import": (Call(__import__, "os"), "builtins.__import__"),
        "a class": (Path("here"), "pathlib."),
        "getattr of a module": (Call(getattr, Call(__import__, "os"), "system"), "builtins.__import__"),
        "beside weights": ({"state_dict": WEIGHTS, "meta": {"x": Call(os.system, touch)}}, f"{os.name}.system"),
        "a whole model": ({"model": torch.nn.Linear(1, 1)}, "torch.nn.modules.linear.Linear"),
        "torch hub": (Call(torch.hub.load, str(marker.parent), "x"), "torch.hub.load"),
    }


ATTACKS = tuple(attacks(Path()))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 2", "pickle 4"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, attack: str, form: str) -> None:
    marker = tmp_path / "marker"
    content, named = attacks(marker)[attack]
    path = tmp_path / "a.pth"
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(form[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    text = refusal(path)
    assert not marker.exists()
    assert f"refused, because its pickle asks for '{named}" in text
    assert "torch.save(model.state_dict()" in text


def rewritten(path: Path, pickled: bytes) -> Path:
    """A torch file of the zip format with this pickle in it."""
    torch.save({"a": torch.ones(1)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else data)
    return path


BUFFER = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
GETATTR = b"c__builtin__\ngetattr\n"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attribute(owner: bytes, name: str) -> bytes:
    """Opcodes that leave getattr(owner, name) on the stack."""
    return GETATTR + owner + text(name) + b"\x86R"


@pytest.mark.parametrize(
    "value",
    [
        attribute(attribute(BUFFER, "__init__"), "__globals__"),
        attribute(BUFFER, "__init__"),
        attribute(BUFFER, "__setstate__"),
        attribute(BUFFER, "__class__"),
        attribute(attribute(BUFFER, "mean"), "__class__"),
        attribute(attribute(BUFFER, "mean"), "mean"),
        attribute(BUFFER, "mean.__class__"),
        attribute(BUFFER + b")\x81", "mean"),
        attribute(b"cnumpy\nndarray\n", "tofile"),
        attribute(b"c_codecs\nencode\n", "__self__"),
        attribute(GETATTR, "__self__"),
        GETATTR + b")R",
        GETATTR + BUFFER + b"\x85R",
        GETATTR + BUFFER + text("mean") + text("default") + b"\x87R",
        GETATTR + BUFFER + b"K\x01\x86R",
    ],
)
def test_getattr_gives_nothing_but_placeholders_of_the_history_buffer(tmp_path: Path, value: bytes) -> None:
    path = rewritten(tmp_path / "a.pth", b"\x80\x02}" + text("x") + value + b"s.")
    assert "'builtins.getattr', which may run code" in refusal(path)


@pytest.mark.parametrize(
    "value",
    [
        attribute(BUFFER, "mean") + b")R",  # call the placeholder
        attribute(BUFFER, "mean") + b")\x81",  # make an object of it
        GETATTR + b")\x81",  # make an object of the function
        text("os.system") + b")R",  # call a string
    ],
)
def test_placeholders_can_not_be_called(tmp_path: Path, value: bytes) -> None:
    refusal(rewritten(tmp_path / "a.pth", b"\x80\x02}" + text("x") + value + b"s."))


def test_state_does_not_stick_to_placeholders(tmp_path: Path) -> None:
    state = b"}" + text("mean") + b"K\x01s"
    built = BUFFER + b")\x81" + state + b"b"
    weights = b"ctorch._utils\n_rebuild_tensor_v2\n"
    path = rewritten(tmp_path / "a.pth", b"\x80\x02}" + text("x") + built + b"s" + text("y") + weights + b"s.")
    assert "holds no weights" in refusal(path)
    assert not hasattr(inert.STAND_INS["mmengine.logging.history_buffer.HistoryBuffer"](), "mean")


def test_what_others_allowed_in_this_process_is_not_allowed_here(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {**WEIGHTS, "x": Call(os.system, "true")})
    here = tmp_path / "path.pth"
    saved(here, {**WEIGHTS, "x": Path("here")})
    with torch.serialization.safe_globals([type(Path()), (os.system, "posix.system")]):
        before = set(torch.serialization.get_safe_globals())
        refusal(path)
        refusal(here)
        assert set(torch.serialization.get_safe_globals()) == before


def test_the_environment_can_not_switch_the_protection_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    refusal(saved(tmp_path / "a.pth", Call(os.system, f"touch {tmp_path / 'marker'}")))
    assert not (tmp_path / "marker").exists()


def test_registered_reducers_are_not_looked_up(tmp_path: Path) -> None:
    pickled = b"\x80\x02\x82\x01."  # EXT1: an object of copyreg's extension registry
    copyreg.add_extension("os", "system", 1)
    try:
        refusal(rewritten(tmp_path / "a.pth", pickled))
    finally:
        copyreg.remove_extension("os", "system", 1)


@pytest.mark.parametrize("count", [101, 2_000_000])
@pytest.mark.parametrize("hidden", [b"", b"q\x00h\x00"], ids=["bare", "through the memo"])
def test_tuples_nested_to_crash_the_interpreter_are_refused(tmp_path: Path, count: int, hidden: bytes) -> None:
    pickled = b"\x80\x02}" + b")" + (b"\x85" + hidden) * min(count, 300_000 if hidden else count) + b"K\x01s."
    assert "nests more than 100 tuples" in refusal(rewritten(tmp_path / "a.pth", pickled))


def test_deeply_nested_lists_are_refused(tmp_path: Path) -> None:
    pickled = b"\x80\x02}" + text("meta") + b"]" * 50_000 + b"a" * 49_999 + b"s."
    assert "holds no weights" in refusal(rewritten(tmp_path / "a.pth", pickled))


@pytest.mark.parametrize("size", [10**12, 10**18])
def test_claims_of_huge_sizes_are_refused(tmp_path: Path, size: int) -> None:
    huge = b"\x8a\x09" + size.to_bytes(9, "little")
    assert refusal(
        rewritten(tmp_path / "a.pth", b"\x80\x02}" + text("x") + b"c__builtin__\nbytearray\n" + huge + b"\x85Rs.")
    )


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "a.pth", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert "is compressed" in refusal(tmp_path / "a.pth")


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    assert "\\n" in refusal(saved(tmp_path / "a.pth", {"a\n\x1b[31m": torch.tensor(float("nan"))}))
    refusal(rewritten(tmp_path / "b.pth", b"\x80\x02cevil\x1b\r\nsystem\n."))


def test_threads_that_read_at_once_do_not_disturb_each_other(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # torch keeps a set: its order may change
    path = tmp_path / "numpy.pth"
    torch.save({"state_dict": {"a.weight": torch.ones(2)}, "measure": np.float64(3.5)}, path)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: read_checkpoint(path), range(100)))
    assert all(checkpoint.state_dict["a.weight"].tolist() == [1, 1] for checkpoint in read)
    assert set(torch.serialization.get_safe_globals()) == before
