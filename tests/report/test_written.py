"""Reports of real verifications, written as files."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
pytest.importorskip("jinja2", reason="the extra 'report' is not installed")
pytest.importorskip("polygraphy", reason="verifying needs polygraphy")

from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.report import check_report, write_benchmark_report, write_verification_report
from fade_deploy.api.verify.options import VerifyOptions, shapes_of
from fade_deploy.api.verify.verify import verify
from fade_deploy.errors import MissingDependency, OutputError
from tests.report.made import benchmark, segmentation

if TYPE_CHECKING:
    from fade_deploy.verification.verification import Verification

SAMPLES = Path(__file__).parents[2] / "samples"
LARGEST = 3_000_000  # bytes of a page that one can send


@pytest.fixture(scope="module")
def verified(tiny_checkpoint: Path, tiny_onnx: Path) -> Verification:
    return verify([tiny_checkpoint, tiny_onnx], VerifyOptions(shapes=shapes_of("1x64x96,2x32x32"), library="none"))


def section(page: str, title: str) -> str:
    return next(part for part in page.split("<section ") if f"<h2>{title}</h2>" in part)


def plain(html: str) -> str:
    return html.replace("<wbr>", "")


def test_a_page_shows_what_the_checkpoints_upsamplers_did(verified: Verification, tmp_path: Path) -> None:
    target = write_verification_report(verified, tmp_path / "out.html", command="fade-verify tiny.pth tiny.onnx")
    page = target.read_text(encoding="utf-8")
    assert '<p class="word">PASSED</p>' in page
    upsamplers = plain(section(page, "What the upsamplers did"))
    named = re.findall(r"<b>(decode_head\.upsamplers\.\d)</b>", upsamplers)
    assert sorted(set(named)) == [f"decode_head.upsamplers.{index}" for index in range(6)]
    assert len(named) == 12  # a gate and an entropy of each
    assert "FADE, K = 5" in upsamplers


def test_a_page_counts_the_graph_and_repeats_the_command(verified: Verification, tmp_path: Path) -> None:
    target = write_verification_report(verified, tmp_path / "out.html", command="fade-verify 'my tiny.pth'")
    page = target.read_text(encoding="utf-8")
    graphs = plain(section(page, "Graphs"))
    assert "fade.FadeHead" in graphs
    assert "decode_head" in graphs
    assert "<code>fade-verify &#39;my tiny.pth&#39;</code>" in page


def test_without_a_command_the_files_are_the_command(verified: Verification, tmp_path: Path) -> None:
    target = write_verification_report(verified, tmp_path / "out.html")
    command = f"fade-verify {verified.reference.file} {verified.runs[0].file}"
    assert f"<code>{command}</code>" in target.read_text(encoding="utf-8")


def test_the_same_verification_gives_the_same_bytes(verified: Verification, tmp_path: Path) -> None:
    first, second = (write_verification_report(verified, tmp_path / f"{name}.html", command="x") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_without_a_checkpoint_the_upsamplers_are_left_out_with_a_line(tmp_path: Path) -> None:
    result = segmentation(0.0)
    result = dataclasses.replace(result, reference=dataclasses.replace(result.reference, file="golden.onnx"))
    page = write_verification_report(result, tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Left out: golden.onnx is not a checkpoint" in section(page, "What the upsamplers did")


def test_a_checkpoint_that_has_gone_leaves_a_line_and_the_rest_of_the_page(tmp_path: Path) -> None:
    page = write_verification_report(segmentation(0.0), tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Left out: model.pth" in section(page, "What the upsamplers did")
    assert "Left out: model.onnx" in section(page, "Graphs")
    assert "1 run within tolerance" in page


def test_a_benchmark_has_its_page(tmp_path: Path) -> None:
    page = write_benchmark_report(benchmark(), tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Latency at 1x64x96" in page
    assert "<code>fade-bench a.onnx b.pth</code>" in page


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    target = write_benchmark_report(benchmark(names=("a\udcff.onnx cpu", "b.pth")), tmp_path / "out.html")
    assert rb"a\udcff" in target.read_bytes()


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    target.write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        write_benchmark_report(benchmark(), target)
    assert target.read_text() == "mine"
    write_benchmark_report(benchmark(), target, force=True)
    assert target.read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize("module", ["jinja2", "matplotlib", "PIL"])
def test_what_is_missing_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=r"fade-deploy\[report\]"):
        check_report(tmp_path / "out.html")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shapes", "matting"])
def test_pages_of_the_shipped_checkpoints_are_small(tmp_path: Path, name: str) -> None:
    folder = SAMPLES / {"shapes": "01_train_shapes", "matting": "02_train_matting"}[name]
    checkpoint = folder / f"{name}_fade.pth"
    exported = export(checkpoint, tmp_path / "model.onnx", ExportOptions(full_verification=False)).path
    result = verify([checkpoint, exported])
    assert result.passed
    page = write_verification_report(result, tmp_path / "out.html")
    print(f"{name}: {page.stat().st_size} bytes, {len(result.inputs)} inputs, {len(result.runs)} runs")
    assert page.stat().st_size < LARGEST
