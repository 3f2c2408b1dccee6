"""What a user can mend: exit code 2, one line that says how, no traceback, and nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.command_line import contents, run, run_here

ONE_PIXEL_EXPORT = ("--shape", "1x32x32", "-q")  # -q: a stage that succeeded tells of itself otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """One mistake: a command line in the prepared folder, and what its one line has to say."""

    line: str
    told: Sequence[str]
    absent: tuple[str, ...] = ()
    largest_file: int | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether it runs in another process: where it must, and where that takes less than a second or two."""
        loads_torch = self.line.startswith("fade-export") or ".pth" in self.line
        return bool(self.absent or self.largest_file) or not loads_torch or self.line in LIKE_A_USER

    def __str__(self) -> str:
        line = self.line if len(self.line) < 80 else self.line[:80]
        suffix = f" without {'+'.join(self.absent)}" if self.absent else ""
        return line + suffix + (" on a full disk" if self.largest_file else "")


def bad(line: str, *told: str, absent: tuple[str, ...] = (), largest_file: int | None = None) -> Bad:
    return Bad(line=line, told=told, absent=absent, largest_file=largest_file)


EXPORT_ALL = "pip install 'fade-deploy[export]'"
# Cases that load PyTorch, which takes seconds, and get a process of their own all the same: it might print something.
LIKE_A_USER = ("fade-export missing.pth", "fade-export evil.pth", "fade-inspect missing.pth")
CHECKPOINT = "expected a checkpoint written by torch.save"

CASES = [
    # The checkpoint.
    bad("fade-export missing.pth", "missing.pth does not exist", "check the path"),
    bad("fade-export pictures", "pictures is a folder", CHECKPOINT),
    bad("fade-export empty.pth", "empty.pth is empty", "copy or download it again"),
    bad("fade-export notes.txt", "notes.txt is not a checkpoint", CHECKPOINT),
    bad("fade-export photo.png", "photo.png: this is a PNG picture", "give the checkpoint first"),
    bad("fade-export model.onnx -o x.onnx", "model.onnx is exported already", "give another --format"),
    bad("fade-export truncated.pth", "truncated.pth: damaged, cut short", "copy or download it again"),
    bad("fade-export evil.pth", "refused, because its pickle asks for 'posix.system'", "re-save them"),
    bad("fade-export evil_zip.pth", "refused, because its pickle asks for 'posix.system'", "re-save them"),
    bad("fade-export resnet.pth", "resnet.pth", "expected"),
    bad("fade-export nan.pth", "holds NaN or infinity in 1 of", "from before the training diverged"),
    bad("fade-export tiny.pth --ema", "holds no EMA weights", "leave out --ema"),
    # What is asked for.
    bad("fade-export tiny.pth --shape 512x512", "'512x512' is not NxHxW", "for example 1x512x512"),
    bad("fade-export tiny.pth --shape big", "'big' is not NxHxW", "for example 1x512x512"),
    bad("fade-export tiny.pth -q --shape 1x3x60x96", "60x96 does not fit", "nearest larger size is 64x96"),
    bad("fade-export tiny.pth --opset 17", "opset 17 is not supported", "give --opset 18 to 23"),
    bad("fade-export tiny.pth --opset latest", "--opset", "valid integer", "see fade-export --help"),
    bad("fade-export tiny.pth --recipe resnet", "recipe 'resnet' was not found", "segformer, shapes"),
    bad("fade-export tiny.pth --recipe mine.toml", "recipe 'mine.toml' was not found", "path of a .toml file"),
    bad("fade-export tiny.pth --recipe bad.toml", "unknown field 'colour'", "known are block_norm_eps"),
    bad("fade-export tiny.pth --format tensorflow", "tensorflow", "onnx", "see fade-export --help"),
    bad("fade-export tiny.pth --head masks", "masks", "logits", "labels", "probs", "see fade-export --help"),
    bad("fade-export tiny.pth --bogus", "No such option: --bogus", "see fade-export --help"),
    bad("fade-export tiny.pth second.pth", "unexpected extra argument", "see fade-export --help"),
    bad("fade-export", "Missing argument", "see fade-export --help"),
    # The target.
    bad("fade-export tiny.pth -o missing/x.onnx", "missing does not exist", "create the folder"),
    bad("fade-export tiny.pth -o notes.txt/x.onnx", "notes.txt is no folder", "give another name"),
    bad("fade-export tiny.pth -o folder.onnx", "folder.onnx is a folder", "give a file name with -o"),
    bad("fade-export tiny.pth -o x.bin", "x.bin does not end in .onnx", "give another name with -o"),
    bad(f"fade-export tiny.pth -o {'n' * 260}.onnx", "File name too long", "give another name with -o"),
    bad("fade-export model.pth", "model.onnx exists", "give another name with -o, or --force"),
    bad("fade-export tiny.pth -o old.onnx", "old.json exists", "give another name with -o, or --force"),
    bad(
        f"fade-export tiny.pth -o old.onnx --force {' '.join(ONE_PIXEL_EXPORT)}",
        "old.onnx can't be written: File too large",
        "free some space or choose another place with -o",
        largest_file=1_000_000,  # the file has 1.3 million bytes
    ),
    # What is not installed.
    *(
        bad(f"fade-export tiny.pth -o {name}.onnx", f"{name} is not installed", EXPORT_ALL, absent=(name,))
        for name in ("torch", "onnx", "onnxscript", "polygraphy", "PIL")
    ),
    bad(
        "fade-export tiny.pth -o x.onnx",
        "onnxruntime is not installed",
        "pip install 'fade-deploy[ort-cpu]'",
        absent=("onnxruntime",),
    ),
    bad(
        "fade-export tiny.pth -o x.onnx",
        "torch is not installed",
        "pip install 'fade-deploy[export,ort-cpu]'",
        absent=("torch", "onnx", "onnxscript", "polygraphy", "onnxruntime", "PIL"),
    ),
    bad("fade-inspect tiny.pth", "torch is not installed", EXPORT_ALL, absent=("torch",)),
    bad("fade-inspect model.onnx", "onnx is not installed", EXPORT_ALL, absent=("onnx",)),
    *(
        bad(
            "fade-predict model.onnx photo.png",
            f"{name} is not installed",
            "pip install 'fade-deploy[ort-cpu]'",
            absent=(name,),
        )
        for name in ("onnxruntime", "PIL")
    ),
    # fade-inspect.
    bad("fade-inspect missing.onnx", "missing.onnx is not a file", "give an .onnx file or a checkpoint"),
    bad("fade-inspect missing.pth", "missing.pth does not exist", "check the path"),
    bad("fade-inspect void.onnx", "void.onnx", "export it again with fade-export"),
    bad("fade-inspect text.onnx", "text.onnx is not a readable ONNX file", "export it again with fade-export"),
    bad("fade-inspect cut.onnx", "cut.onnx is not a readable ONNX file", "export it again"),
    bad("fade-inspect evil.pth", "refused, because its pickle asks for 'posix.system'", "re-save them"),
    bad("fade-inspect tiny.pth --shape 1x60x96", "60x96 does not fit", "nearest larger size is 64x96"),
    # fade-predict.
    bad("fade-predict model.onnx missing.png", "missing.png can't be read", "give a picture such as a JPEG or PNG"),
    bad("fade-predict model.onnx notes.txt", "notes.txt is not a picture", "give a picture such as a JPEG or PNG"),
    bad("fade-predict model.onnx truncated.png", "truncated.png is damaged", "save it again as JPEG or PNG"),
    bad("fade-predict model.onnx pictures", "pictures can't be read", "give a picture such as a JPEG or PNG"),
    bad("fade-predict missing.onnx photo.png", "missing.onnx can't be read", "expected an .onnx file"),
    bad("fade-predict tiny.pth photo.png", "tiny.pth is not ONNX", "export it with fade-export"),
    bad("fade-predict cut.onnx photo.png", "cut.onnx", "export it"),
    bad("fade-predict foreign.onnx photo.png", "foreign.onnx has no metadata", "fade-export"),
    bad("fade-predict model.onnx photo.png --threads -1", "--threads", "see fade-predict --help"),
    bad("fade-predict model.onnx photo.png -o mask.jpg", "mask.jpg does not end in .png", "give another name"),
    bad("fade-predict model.onnx photo.png -o missing/m.png", "missing does not exist", "create the folder"),
    bad("fade-predict model.onnx photo.png -o old.png", "old.png exists", "or --force to replace it"),
    bad(
        "fade-predict model.onnx photo.png -o old.png --force",
        "old.png can't be written: File too large",
        "free some space",
        largest_file=60,
    ),
]


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> object:
        return os.system, ("touch executed",)


@pytest.fixture(scope="module")
def cupboard(tiny_checkpoint: Path, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each mistake."""
    import torch

    folder = tmp_path_factory.mktemp("cupboard")
    shutil.copy(tiny_checkpoint, folder)
    shutil.copy(tiny_onnx, folder / "model.onnx")
    for name in ("pictures", "folder.onnx"):
        (folder / name).mkdir()
    for name in ("empty.pth", "void.onnx"):
        (folder / name).touch()
    for name in ("notes.txt", "text.onnx"):
        (folder / name).write_text("Just some notes.\n")
    for name in ("old.json", "old.png"):
        (folder / name).write_text("old")
    (folder / "bad.toml").write_text('extends = "segformer"\ncolour = "red"\n')
    (folder / "truncated.pth").write_bytes(tiny_checkpoint.read_bytes()[:-5000])
    (folder / "cut.onnx").write_bytes(tiny_onnx.read_bytes()[:-5000])

    (folder / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    torch.save({"state_dict": Evil()}, folder / "evil_zip.pth")
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(1000, 512)}, folder / "resnet.pth")
    weights = torch.load(tiny_checkpoint, weights_only=True)
    weights["state_dict"]["decode_head.linear_pred.bias"][1] = float("nan")
    torch.save(weights, folder / "nan.pth")

    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    (folder / "truncated.png").write_bytes((folder / "photo.png").read_bytes()[:3000])

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["out"])], "foreign", value[:1], value[1:])
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), folder / "foreign.onnx"
    )
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_ends_in_one_line_that_says_how_to_mend_it(
    case: Bad, cupboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(cupboard, tmp_path / "work")
    command, *arguments = case.line.split()
    if case.elsewhere:
        finished = run(command, *arguments, cwd=folder, absent=case.absent, largest_file=case.largest_file)
    else:
        monkeypatch.chdir(folder)
        finished = run_here(command, *arguments, patch=monkeypatch, capture=capfd)
    assert re.fullmatch(r"FAILED  [^\n]+  \(\d+\.\d s\)\n", finished.err), finished.err
    assert (finished.code, finished.out) == (2, "")
    for words in case.told:
        assert words in finished.err
    assert contents(folder) == contents(cupboard)


def test_a_mistake_with_json_is_one_document_and_the_same_line(cupboard: Path) -> None:
    finished = run("fade-predict", "model.onnx", "notes.txt", "--json", cwd=cupboard)
    assert finished.code == 2
    document = json.loads(finished.out)
    assert document["status"] == "error"
    assert re.fullmatch(rf"FAILED  {re.escape(document['error'])}  \(\d+\.\d s\)\n", finished.err)


def test_no_case_stands_twice() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)
