"""What a page says of a verification whose every number is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")

from fade_deploy.contract import Head
from fade_deploy.recipe import Shape
from fade_deploy.report.content import Cell, Commands, Gallery, Histogram, Note, Report, Section, Table, Tone
from fade_deploy.report.from_verification import verification_report
from fade_deploy.verification.verification import Reduced, TaskScores
from tests.report.made import REFERENCE, matting, segmentation


def section(report: Report, title: str) -> Section:
    return next(section for section in report.sections if section.title == title)


def table(report: Report, title: str) -> list[dict[str, str]]:
    """Rows of a section's table as column -> text."""
    (found,) = (block for block in section(report, title).blocks if isinstance(block, Table))
    names = [column.name for column in found.columns]
    texts = [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in found.rows]
    return [dict(zip(names, row, strict=True)) for row in texts]


def galleries(report: Report) -> list[Gallery]:
    return [block for block in section(report, "Pictures").blocks if isinstance(block, Gallery)]


def test_runs_that_agree_pass_with_their_largest_error_and_what_was_tolerated() -> None:
    verdict = verification_report(segmentation(0.0, 5e-5), command="fade-verify").verdict
    assert (verdict.tone, verdict.word) == (Tone.GOOD, "PASSED")
    assert verdict.headline == "2 runs within tolerance of model.pth (PyTorch, eager) on 1 input."
    assert verdict.lines == ("Largest error: model.onnx run 2 on 32x64: max error 5.0e-5, tolerated 1e-4.",)
    assert verdict.commands == ()


def test_a_run_that_disagrees_fails_with_the_commands_that_show_it() -> None:
    result = dataclasses.replace(
        segmentation(0.0, 0.5, command="fade-verify model.pth model.onnx --shapes 1x32x64"),
        reduced=Reduced(shape=Shape(1, 32, 32), command="fade-verify model.pth model.onnx --shapes 1x32x32"),
    )
    verdict = verification_report(result, command="fade-verify").verdict
    assert (verdict.tone, verdict.word) == (Tone.BAD, "FAILED")
    assert verdict.headline == "1 of 2 comparisons with model.pth (PyTorch, eager) disagree."
    assert verdict.lines[0].startswith("Worst: model.onnx run 2 on 32x64: max error 5.0e-01")
    assert verdict.lines[1] == "The smallest shape that still fails is 1x32x32."
    assert verdict.commands == (result.command, result.reduced.command if result.reduced else "")


def test_notes_stand_in_the_verdict() -> None:
    result = dataclasses.replace(segmentation(0.0), notes=("model.pth is not the checkpoint of the file",))
    verdict = verification_report(result, command="").verdict
    assert (verdict.word, verdict.lines[-1]) == ("PASSED", "Note: model.pth is not the checkpoint of the file.")


def test_a_gate_on_scores_fails_a_page_on_which_all_comparisons_pass() -> None:
    scores = (
        TaskScores(run=REFERENCE.name, pictures=2, scores={"miou": 0.75, "biou": 0.5}, differences=None),
        TaskScores(
            run="model.onnx run 1",
            pictures=2,
            scores={"miou": 0.7, "biou": 0.5},
            differences={"miou": -0.05, "biou": 0.0},
            passed=False,
        ),
    )
    report = verification_report(segmentation(0.0, scores=scores), command="fade-verify")
    assert report.verdict.word == "FAILED"
    assert report.verdict.lines[-1] == "Beyond its gate: model.onnx run 1, miou -0.05, biou 0."
    reference, run = table(report, "Scores against the truth")
    assert (reference["mIoU"], reference["verdict"]) == ("0.75", "")
    assert (run["mIoU"], run["bIoU"], run["verdict"]) == ("0.7 (-0.05)", "0.5 (0)", "beyond its gate")
    assert "more is better" in section(report, "Scores against the truth").intro


def test_the_runtimes_stand_with_tolerance_and_verdict() -> None:
    reference, first, second = table(verification_report(segmentation(5e-5, 0.5), command=""), "Runtimes")
    assert reference["run"] == "reference: model.pth pytorch"
    assert first == {
        "run": "model.onnx run 1",
        "computed by": "ONNX Runtime",
        "precision": "fp32",
        "tolerance": "1e-4 (BY_HAND)",
        "max error": "5.0e-5",
        "verdict": "1 of 1 agree",
    }
    assert (second["max error"], second["verdict"]) == ("5.0e-1", "0 of 1 agree")


def test_a_comparison_is_told_with_all_its_numbers() -> None:
    (row,) = table(verification_report(segmentation(math.nan), command=""), "Every comparison")
    assert (row["input"], row["run"], row["NaN, infinite"]) == ("32x64", "model.onnx run 1", "1, 0")
    assert row["verdict"] == "1 NaN and 0 infinite values"
    (row,) = table(verification_report(matting(2e-5), command=""), "Every comparison")
    assert (row["max"], row["p50"], row["verdict"]) == ("2.0e-5", "0", "agrees")
    assert row["unknown band, max / mean"].startswith("2.0e-5 / ")


def test_the_histogram_counts_every_value_but_those_that_are_equal() -> None:
    (plot,) = section(verification_report(segmentation(5e-5, sizes=((32, 64), (64, 64))), command=""), "Errors").blocks
    assert isinstance(plot, Histogram)
    (series,) = plot.series
    assert sum(series.values) == 2  # one value an input
    place = series.values.index(2)
    assert plot.edges[place] <= 5e-5 < plot.edges[place + 1]
    assert series.bound == 1e-4
    assert series.detail == "1,152 values, 99.8 % closer than 1.8e-10"  # 3 classes, 8x16 and 16x16


def test_labels_have_no_histogram() -> None:
    report = verification_report(segmentation(0.0, head=Head.LABELS), command="")
    assert section(report, "Errors").blocks == (Note("Labels are equal or not: there are no distances to count."),)


def test_a_picture_stands_with_what_each_run_made_of_it_and_where_it_is_wrong() -> None:
    (gallery,) = galleries(verification_report(segmentation(0.0, 5.0), command=""))
    assert [(tile.title, tile.number) for tile in gallery.pictures] == [
        ("picture", None),
        ("reference", None),
        ("model.onnx run 2", 2),  # what failed comes first
        ("labels of model.onnx run 2 that differ", 2),
        ("error of model.onnx run 2", 2),
        ("model.onnx run 1", 1),
        ("error of model.onnx run 1", 1),
    ]
    captions = {tile.title: tile.caption for tile in gallery.pictures}
    assert captions["labels of model.onnx run 2 that differ"] == "1 of 128, 0.8 %"
    assert captions["model.onnx run 1"] == "every label as the reference's"
    assert captions["error of model.onnx run 2"] == "at most 5.0e0"
    wrong = next(tile.pixels for tile in gallery.pictures if tile.title == "error of model.onnx run 2")
    right = next(tile.pixels for tile in gallery.pictures if tile.title == "error of model.onnx run 1")
    # The first of 8x16 cells is 4x4 pixels of the picture; elsewhere, and where nothing is wrong, both are alike.
    differs = (wrong != right).any(axis=2)
    assert differs[:4, :4].all()
    assert not differs[4:].any()
    assert not differs[:, 4:].any()


def test_runs_that_are_equal_to_the_reference_have_no_heat_but_a_sentence() -> None:
    (gallery,) = galleries(verification_report(segmentation(0.0), command=""))
    assert [tile.title for tile in gallery.pictures] == ["picture", "reference", "model.onnx run 1"]
    assert gallery.note.endswith("Every run gave exactly the reference's values here.")
    assert gallery.scales == ()


def test_a_value_that_is_no_number_is_shown_even_where_no_other_differs() -> None:
    (gallery,) = galleries(verification_report(matting(math.nan), command=""))
    error = next(tile for tile in gallery.pictures if tile.title.startswith("error"))
    assert error.caption == "at most NaN"
    assert error.pixels[0, 0].tolist() == [0, 255, 255]
    assert "Cyan is NaN or infinite." in gallery.note


def test_matting_shows_the_trimap_and_alpha() -> None:
    (gallery,) = galleries(verification_report(matting(2e-5), command=""))
    assert [tile.title for tile in gallery.pictures] == [
        "picture",
        "trimap",
        "reference",
        "model.onnx run 1",
        "error of model.onnx run 1",
    ]
    alpha = gallery.pictures[2].pixels
    assert alpha.shape == (32, 48)
    assert alpha[0, 0] == 128


def test_a_legend_names_the_classes_that_occur_commonest_first() -> None:
    names = ("sky", "sea", "<b>sand</b>")
    (gallery,) = galleries(verification_report(segmentation(0.0, classes=names), command=""))
    shares = [float(swatch.name.split()[-2]) for swatch in gallery.legend]
    assert {swatch.name.split()[0] for swatch in gallery.legend} == set(names)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_failing_inputs_are_shown_first_and_the_rest_is_counted() -> None:
    result = segmentation(5e-5, sizes=((32, 32), (32, 64), (64, 64), (64, 96)))
    failing = result.comparisons[3]
    comparisons = (*result.comparisons[:3], dataclasses.replace(failing, passed=False, reason="planted"))
    report = verification_report(dataclasses.replace(result, comparisons=comparisons), command="")
    assert next(gallery.title for gallery in galleries(report)) == "64x96"
    assert section(report, "Pictures").blocks[-1] == Note("Pictures of 1 more input are left out here.")


def test_a_verification_without_pictures_says_so() -> None:
    result = segmentation(0.0)
    result = dataclasses.replace(result, inputs=tuple(dataclasses.replace(one, kept=None) for one in result.inputs))
    (note,) = section(verification_report(result, command=""), "Pictures").blocks
    assert isinstance(note, Note)
    assert note.text.startswith("Left out: ")


def test_a_run_that_failed_to_run_is_told() -> None:
    result = segmentation(0.0)
    failed = dataclasses.replace(
        result.comparisons[0], passed=False, reason="can't run it: no memory", agreement=None, measures=None
    )
    report = verification_report(dataclasses.replace(result, comparisons=(failed,), worst=failed), command="")
    assert report.verdict.lines == ("Worst: model.onnx run 1 on 32x64: can't run it: no memory.",)
    (row,) = table(report, "Every comparison")
    assert row["max"] == "-"
    assert section(report, "Errors").blocks == (Note("Left out: no output could be compared value by value."),)


def test_provenance_names_files_inputs_bounds_and_the_command() -> None:
    blocks = section(verification_report(segmentation(0.0), command="fade-verify a b"), "Provenance").blocks
    assert blocks[-1] == Commands(title="To reproduce", lines=("fade-verify a b",))
    facts = {block.title: dict(block.items) for block in blocks[:-1]}
    assert facts["Files"] == {"model.pth": f"sha256 {'aa' * 32}", "model.onnx": f"sha256 {'bb' * 32}"}
    assert facts["Inputs"] == {"32x64": "1x32x64, seed 0"}
    assert facts["Tolerances"] == {"BY_HAND": "1e-4 absolute, 0 of the value: large enough to write down"}
    assert facts["Measured on"] == {"python": "3.11.7"}


def test_no_array_of_the_result_is_changed() -> None:
    result = segmentation(5e-5)
    kept = result.inputs[0].kept
    assert kept is not None
    before = kept.picture.copy()
    verification_report(result, command="")
    assert np.array_equal(kept.picture, before)
