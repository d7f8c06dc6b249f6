"""Recipes as data, and the learning rates that they describe."""

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.errors import ConfigError
from trials.recipe import BUILTIN, Recipe, load_recipe
from trials.training.schedule import learning_rate


def test_the_reference_recipe_is_that_of_scrfd() -> None:
    recipe = load_recipe("reference")
    assert recipe == Recipe()
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("sgd", 0.01, 0.9)
    assert (recipe.weight_decay, recipe.batch_size, recipe.nesterov) == (5e-4, 8, False)
    assert (recipe.gradient_clip, recipe.ema_decay, recipe.flip) == (0, 0, 0.5)
    assert recipe.crop_scales == (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)


@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0, 1.0), (54.99, 1.0), (55, 0.1), (67.99, 0.1), (68, 0.01), (79.99, 0.01)],
)
def test_reference_drops_at_epochs_55_and_68_of_80(epoch: float, share: float) -> None:
    steps = 10_000  # so many an epoch that the warm-up is over within the first
    iteration = 1500 if epoch == 0 else round(epoch * steps)
    rate = learning_rate(Recipe(), iteration, 80 * steps)
    assert rate == pytest.approx(0.01 * share)


def test_reference_drops_scale_to_30_epochs_by_iteration() -> None:
    rates = [learning_rate(Recipe(), i, 81 * 30) for i in range(81 * 30)]
    drops = [i / 81 for i in range(1, len(rates)) if rates[i] < 0.5 * rates[i - 1]]
    assert drops == pytest.approx([20.63, 25.5], abs=0.01)  # golden README: 20.6 and 25.5


def test_the_warm_up_is_linear_and_at_most_a_tenth_of_the_training() -> None:
    recipe = Recipe()
    assert recipe.warmup_length(81 * 30) == 243  # golden README
    assert recipe.warmup_length(1_000_000) == 1500
    assert learning_rate(recipe, 0, 2430) == pytest.approx(0.01 * 0.001)
    halfway = learning_rate(recipe, 1, 20)  # two iterations of warm-up
    assert halfway == pytest.approx(0.01 * (0.001 + 0.999 / 2))
    assert learning_rate(recipe, 243, 2430) == pytest.approx(0.01)


def test_a_training_of_one_iteration_has_no_warm_up() -> None:
    assert learning_rate(Recipe(), 0, 1) == 0.01


@pytest.mark.parametrize(("schedule", "quarter"), [("cosine", 0.8535534), ("linear", 0.75)])
def test_smooth_schedules_fall_to_the_final_ratio(schedule: str, quarter: float) -> None:
    recipe = Recipe(schedule=schedule, warmup_fraction=0.2, final_ratio=0.1, learning_rate=1.0)
    assert learning_rate(recipe, 20, 100) == pytest.approx(1.0)
    assert learning_rate(recipe, 40, 100) == pytest.approx(0.1 + 0.9 * quarter)
    assert learning_rate(recipe, 60, 100) == pytest.approx(0.1 + 0.9 * 0.5)
    assert learning_rate(recipe, 100, 100) == pytest.approx(0.1)


def test_built_in_recipes_round_trip_through_plain_data() -> None:
    for name, recipe in BUILTIN.items():
        assert Recipe.from_dict(recipe.to_dict()) == recipe, name


def test_a_file_inherits_from_its_base_or_from_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: quick\nlearning_rate: 0.05\ncrop_scales: [0.5, 1]\n")
    quick = load_recipe("quick")
    assert load_recipe(path) == replace(quick, learning_rate=0.05, crop_scales=(0.5, 1.0))
    path.write_text("batch_size: 16\n")
    assert load_recipe(path) == Recipe(batch_size=16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "learning_rat: 0.1",
            r"mine.yaml: a recipe has unknown keys \['learning_rat'\]; known are .*base",
        ),
        ("base: fast", "mine.yaml: the built-in recipes are reference, quick, got 'fast'"),
        ("- 1", "mine.yaml: a recipe must be a mapping, got list"),
        (
            "learning_rate: .nan",
            "learning_rate must be a finite number from 1e-12 to 1000, got nan",
        ),
        ("learning_rate: yes", "learning_rate must be a finite number"),
        ("batch_size: 0", "batch_size must be an integer from 1 to 65536, got 0"),
        ("batch_size: 8.5", "batch_size must be an integer"),
        ("optimizer: lion", "optimizer must be one of sgd, adamw, got 'lion'"),
        ("drops: [0.9, 0.5]", "drops must be in ascending order"),
        ("drops: 0.5", "drops must be a list of numbers, got 0.5"),
        ("crop_scales: []", "crop_scales must name at least one scale"),
        ("crop_weights: [1, 2]", "crop_weights must be 10 numbers"),
        ("distort: 1", "distort must be true or false, got 1"),
        ("flip: 1.5", "flip must be a finite number from 0 to 1, got 1.5"),
        ("{nesterov: true, momentum: 0}", "nesterov needs a momentum above 0"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be reference, quick or a YAML file, got 'slow'"):
        load_recipe("slow")


def test_crop_weights_become_probabilities() -> None:
    recipe = Recipe(crop_scales=(0.5, 1.0), crop_weights=(1.0, 3.0))
    assert recipe.crop_probabilities == (0.25, 0.75)
    assert Recipe().crop_probabilities is None
