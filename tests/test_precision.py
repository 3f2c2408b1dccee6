"""Precision plans: the shipped one is whole, a user's own is read strictly, the last rule wins, nothing is guessed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fade_deploy.errors import ExportError, FadeDeployError, RecipeError
from fade_deploy.precision import Precision, PrecisionPlan, Rule, check_io, default_plan, load_plan, lowest_of, plan_for

SHIPPED = Path(__file__).parents[1] / "export" / "precision" / "default.toml"

MINE = """
precision = "fp16"

[[rule]]
modules = ["decode_head*", "backbone.norm?"]
precision = "fp32"
reason = "the head is small"

[[rule]]
op_types = ["Conv"]
modules = ["decode_head.*"]
precision = "fp16"
reason = "but its convolutions are not"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, precision: Precision | None = None) -> str:
    with pytest.raises(RecipeError) as raised:
        load_plan(written(folder, text), precision)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("modules", "op_type", "expected"),
    [
        (["backbone.block1.0.attn"], "MatMul", "fp16"),  # no rule
        (["decode_head"], "FadeHead", "fp32"),  # the first
        (["decode_head"], "Conv", "fp32"),  # the second wants a dot
        (["decode_head.classes"], "Conv", "fp16"),  # both: the last wins
        (["decode_head.classes"], "Add", "fp32"),  # of the second only the module matches
        (["backbone.norm4"], "LayerNormalization", "fp32"),
        (["backbone.norm4.1"], "LayerNormalization", "fp16"),  # ? is one letter
        (["own.head", "decode_head.linear_pred"], "FadeHead", "fp32"),  # by a module that it replaces
        ([""], "Conv", "fp16"),
    ],
)
def test_the_last_rule_of_which_module_and_op_type_match_decides(modules, op_type, expected, tmp_path):
    assert load_plan(written(tmp_path, MINE)).precision_of(modules, op_type) == expected


def test_a_plan_is_written_as_it_is_read(tmp_path):
    plan = load_plan(written(tmp_path, MINE))
    assert plan.name == "mine"
    assert load_plan(written(tmp_path, plan.toml())) == plan
    odd = PrecisionPlan(
        name="mine",
        precision=Precision.BF16,
        rules=(Rule(modules=('a"\\b', "ü"), precision=Precision.FP32, reason='says "no"\tand\nmore'),),
    )
    assert load_plan(written(tmp_path, odd.toml())) == odd


def test_a_plan_as_json_says_what_the_file_says(tmp_path):
    assert load_plan(written(tmp_path, MINE)).as_dict() == {
        "name": "mine",
        "precision": "fp16",
        "rules": tomllib.loads(MINE)["rule"],
    }


# --- the shipped plan ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_the_shipped_plan_keeps_what_sums_many_terms_in_float32_and_lowers_the_rest(precision):
    plan = default_plan(precision)
    module = ["backbone.block1.0.attn"]
    for op_type in ("LayerNormalization", "Softmax", "ReduceMean"):
        assert plan.precision_of(module, op_type) is Precision.FP32
    for op_type in ("Conv", "MatMul", "Gemm", "Add", "Erf", "FadeUpsample", "FadeHead", "FadeAccumulate_k3_s1_t4"):
        assert plan.precision_of(module, op_type) is precision
    assert plan.precision_of([""], "Sub") is Precision.FP32  # pre- and post-processing
    assert plan.lowest is precision
    assert all(len(rule.reason) > 40 for rule in plan.rules)


def test_float32_needs_no_rule():
    assert default_plan(Precision.FP32) == PrecisionPlan(name="default", precision=Precision.FP32)


def test_a_copy_of_the_shipped_plan_with_its_precision_on_top_is_a_plan(tmp_path):
    text = 'precision = "bf16"\n' + SHIPPED.read_text(encoding="utf-8")
    assert load_plan(written(tmp_path, text)).rules == default_plan(Precision.BF16).rules


# --- what was asked for ----------------------------------------------------------------------------------------------


def test_a_plan_without_a_precision_serves_both(tmp_path):
    path = written(tmp_path, SHIPPED.read_text(encoding="utf-8"))
    assert plan_for(Precision.FP16, path).precision is Precision.FP16
    assert plan_for(Precision.BF16, path).precision is Precision.BF16
    with pytest.raises(RecipeError, match=re.escape("add --precision fp16 or bf16")):
        plan_for(None, path)


def test_nothing_asked_for_is_float32():
    assert plan_for(None, "").lowest is Precision.FP32


def test_the_plan_and_the_option_must_not_contradict_each_other(tmp_path):
    path = written(tmp_path, MINE)
    assert plan_for(None, path) == plan_for(Precision.FP16, path)
    with pytest.raises(RecipeError, match="is for fp16, --precision is bf16"):
        plan_for(Precision.BF16, path)


def test_the_lowest_precision_is_that_of_any_rule(tmp_path):
    plan = load_plan(written(tmp_path, MINE.replace('precision = "fp16"\n\n', 'precision = "fp32"\n\n', 1)))
    assert (plan.precision, plan.lowest) == ("fp32", "fp16")
    assert lowest_of([Precision.BF16, Precision.FP16, Precision.FP32]) is Precision.BF16


def test_inputs_and_outputs_are_what_numpy_has():
    check_io(Precision.FP32)
    check_io(Precision.FP16)
    with pytest.raises(ExportError, match="bf16 were asked for, expected fp32 or fp16"):
        check_io(Precision.BF16)


# --- refusals --------------------------------------------------------------------------------------------------------

RULE = '[[rule]]\nop_types = ["Conv"]\nprecision = "fp32"\nreason = "why"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("precision = fp16", "is not TOML"),
        ('precision = "fp8"', "precision 'fp8', expected one of fp32, fp16, bf16"),
        ('precision = "fp16"\nrules = []', "unknown field 'rules', expected precision and [[rule]]"),
        ('precision = "fp16"\nrule = "Conv"', "expected [[rule]] above each"),
        ('precision = "fp16"\n' + RULE.replace('"fp32"', "32"), "precision 32, expected one of"),
        (
            'precision = "fp16"\n' + RULE.replace("op_types", "op_type"),
            "rule 1 of precision plan 'mine' has the unknown",
        ),
        ('precision = "fp16"\n' + RULE + RULE.replace('reason = "why"', ""), "rule 2 of precision plan 'mine' lacks"),
        ('precision = "fp16"\n' + RULE.replace('"why"', '" "'), "expected a sentence"),
        ('precision = "fp16"\n' + RULE.replace('["Conv"]', "[]"), "names neither modules nor op_types"),
        ('precision = "fp16"\n' + RULE.replace('["Conv"]', '"Conv"'), "op_types 'Conv', expected a list"),
        ('precision = "fp16"\n' + RULE.replace('["Conv"]', "[1]"), "op_types [1], expected a list"),
    ],
)
def test_a_malformed_plan_is_refused_with_what_to_mend(text, expected, tmp_path):
    assert expected in refusal(tmp_path, text)


def test_a_plan_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"can't be read: .*; give the path of a \.toml file"):
        load_plan(tmp_path / "none.toml")


MODULES = ["backbone.block1.0.attn", "backbone.block1.0.mlp", "decode_head", "decode_head.classes"]


def test_a_pattern_that_matches_nothing_is_refused_with_close_names(tmp_path):
    plan = load_plan(written(tmp_path, MINE.replace("decode_head*", "decode_haed.classes")))
    with pytest.raises(
        FadeDeployError, match=r"'decode_haed\.classes' matches no module.*decode_head\.classes"
    ) as raised:
        plan.check_patterns(MODULES, ["Conv"])
    assert "\n" not in str(raised.value)
    plan = load_plan(written(tmp_path, RULE.replace("Conv", "LayerNorm")), Precision.FP16)
    with pytest.raises(FadeDeployError, match=r"'LayerNorm' matches no op type.*LayerNormalization"):
        plan.check_patterns(MODULES, ["Conv", "LayerNormalization"])


def test_patterns_that_match_are_accepted_and_so_is_no_module(tmp_path):
    plan = load_plan(written(tmp_path, MINE.replace("backbone.norm?", "")))
    plan.check_patterns(MODULES, ["Conv"])
