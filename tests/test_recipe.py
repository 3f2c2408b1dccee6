"""Recipes: the shipped ones are whole, a user's own is read strictly, and every refusal says what to mend."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from fade_deploy.errors import RecipeError
from fade_deploy.recipe import Recipe, Shape, list_recipes, load_recipe, recipe_folder
from fade_deploy.tolerances import tolerance

EXPORT = Path(__file__).parents[1] / "export"


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(name: str) -> str:
    with pytest.raises(RecipeError) as raised:
        load_recipe(name)
    return str(raised.value)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1x512x512", Shape(1, 512, 512)),
        ("2x256x384", Shape(2, 256, 384)),
        ("2x3x256x384", Shape(2, 256, 384)),  # channels may be told; they are three
        ("3x3x3", Shape(3, 3, 3)),  # three numbers are never NxCxHxW without a width
        ("1x125x157", Shape(1, 125, 157)),
    ],
)
def test_a_shape_is_batch_height_width_with_or_without_its_channels(text: str, shape: Shape) -> None:
    assert Shape.parse(text) == shape


def test_a_shape_prints_as_it_is_read() -> None:
    assert Shape.parse(str(Shape(2, 96, 160))) == Shape(2, 96, 160)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "512x512",
        "1x4x512x512",
        "1x512",
        "0x32x32",
        "1x0x32",
        "-1x32x32",
        "1X32X32",
        "1x32x32 ",
        "1x32.0x32",
        "axbxc",
    ],
)
def test_other_text_is_no_shape_and_the_message_shows_one(text: str) -> None:
    with pytest.raises(RecipeError, match="1x512x512 or 1x3x512x512"):
        Shape.parse(text)


# --- shipped recipes -------------------------------------------------------------------------------------------------


def test_the_shipped_recipes_are_those_of_the_export_folder() -> None:
    assert list_recipes() == sorted(path.stem for path in EXPORT.glob("*.toml"))
    assert "segformer" in list_recipes()


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPORT.glob("*.toml")))
def test_a_shipped_recipe_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert tolerance(recipe.tolerance).why
    assert recipe.pictures
    for picture in recipe.pictures:
        assert recipe_folder().joinpath(picture).is_file()
    for shape in (*recipe.quick, *recipe.full):
        assert (shape.height % recipe.size_multiple, shape.width % recipe.size_multiple) == (0, 0)
    assert set(recipe.quick) <= set(recipe.full)  # full is never less than quick
    # Batches, a size with H != W either way, and the smallest legal size: where exports have gone wrong.
    assert any(shape.batch > 1 for shape in recipe.full)
    assert {shape.height > shape.width for shape in recipe.full} == {True, False}
    assert Shape(1, recipe.size_multiple, recipe.size_multiple) in recipe.full


def test_segformer_has_the_values_of_mmsegmentation() -> None:
    recipe = load_recipe("segformer")
    assert recipe.mean == (123.675, 116.28, 103.53)
    assert recipe.std == (58.395, 57.12, 57.375)
    assert (recipe.short_side, recipe.long_side, recipe.size_multiple) == (512, 2048, 32)
    assert (recipe.heads, recipe.block_norm_eps, recipe.embed_norm_eps, recipe.high_to_low) == ((), 0.0, 0.0, "")


# --- a user's own ----------------------------------------------------------------------------------------------------


def test_an_extending_recipe_changes_only_what_it_names(tmp_path: Path) -> None:
    name = written(tmp_path, 'extends = "segformer"\nclasses = ["a", "b"]\n[predict]\nshort_side = 256\n')
    assert load_recipe(name) == dataclasses.replace(
        load_recipe("segformer"), name="mine", classes=("a", "b"), short_side=256
    )


def test_a_copy_of_a_shipped_recipe_is_that_recipe(tmp_path: Path) -> None:
    name = written(tmp_path, (EXPORT / "segformer.toml").read_text(encoding="utf-8"), "segformer.toml")
    assert load_recipe(name) == load_recipe("segformer")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends = ", "is not TOML"),
        ('extends = "resnet"', "extends 'resnet', expected one of"),
        ('extends = "mine"', "extends 'mine', expected one of"),
        ('extends = ["segformer"]', "expected one of"),
        ('task = "segmentation"', "lacks the field"),
        ('extends = "segformer"\nclases = ["a"]', "unknown field 'clases'; known are block_norm_eps, classes"),
        ('extends = "segformer"\n[input]\nsize_multipel = 32', "unknown field 'size_multipel'"),
        ('extends = "segformer"\ninput = 3', "unknown field 'input'"),
        ('extends = "segformer"\ntask = "detection"', "task 'detection', expected one of segmentation, matting"),
        ('extends = "segformer"\n[model]\nhigh_to_low = "both"', "expected 'exact' or 'scrambled'"),
        ('extends = "segformer"\nclasses = "sky"', "'sky' is not a list"),
        ('extends = "segformer"\nclasses = [1, 2]', "1 is not text"),
        ('extends = "segformer"\n[model]\nheads = "1258"', "'1258' is not a list"),
        ('extends = "segformer"\n[model]\nheads = [1.5]', "1.5 is not a whole number"),
        ('extends = "segformer"\n[input]\nmean = [1.0, 2.0]', "value of the wrong kind"),
        ('extends = "segformer"\n[input]\nmean = 1.0', "value of the wrong kind"),
        ('extends = "segformer"\n[input]\nmean = [nan, 0.0, 0.0]', "is not finite"),
        ('extends = "segformer"\n[input]\nstd = [1.0, inf, 1.0]', "is not finite"),
        ('extends = "segformer"\n[input]\nstd = [1.0, 0.0, 1.0]', "not positive"),
        ('extends = "segformer"\n[input]\nsize_multiple = 0', "not positive"),
        ('extends = "segformer"\n[input]\nsize_multiple = 32.5', "32.5 is not a whole number"),
        ('extends = "segformer"\n[input]\nsize_multiple = true', "True is not a whole number"),
        ('extends = "segformer"\n[predict]\nshort_side = 4096', "not positive"),
        ('extends = "segformer"\n[verify]\nquick = []', "verifies at no shape"),
        ('extends = "segformer"\n[verify]\nfull = []', "verifies at no shape"),
        ('extends = "segformer"\n[verify]\nquick = ["32x32"]', "shape '32x32' is not NxHxW"),
        ('extends = "segformer"\n[verify]\nquick = "1x32x32"', "'1x32x32' is not a list"),
    ],
)
def test_a_faulty_recipe_is_refused_with_the_fault_named(tmp_path: Path, text: str, told: str) -> None:
    message = refusal(written(tmp_path, text))
    assert told in message
    assert "\n" not in message


def test_a_recipe_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refusal(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["resnet", "missing.toml", ""])
def test_an_unknown_recipe_is_refused_with_the_known_ones(name: str) -> None:
    message = refusal(name)
    assert ", ".join(list_recipes()) in message
    assert "path of a .toml file" in message


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    assert "was not found" in refusal(str(tmp_path / "mine.toml"))


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_recipe("segformer").size_multiple = 16  # type: ignore[misc]


def test_every_field_of_a_recipe_is_read_from_its_file() -> None:
    flat = {field.name for field in dataclasses.fields(Recipe)} - {"name"}
    text = (EXPORT / "segformer.toml").read_text(encoding="utf-8")
    assert flat == {line.partition("=")[0].strip() for line in text.splitlines() if " = " in line}
    assert math.isclose(load_recipe("segformer").std[0], 58.395)
