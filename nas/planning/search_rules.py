"""Rules that turn a budget into the steps of a whole search.

docs/SEARCHING.md gives the evidence of each rule and its limits; its table is tested against them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nas.early_stopping.schedule import Schedule
from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError, counted
from trials.settings import VALIDATION, format_select_on

RESERVE = 0.1  # of the budget; `plan` has been wrong by 9 %
# Candidates of each stage (320: the published search), and the share of their epochs that asha
# trains with two rungs (`nas.planning.plan.expected_epochs`, by a test).
CANDIDATES = {8: 0.49, 16: 0.39, 24: 0.39, 32: 0.39, 64: 0.35, 128: 0.33, 320: 0.3}
FEWEST_CANDIDATES = 8  # below, a report shows no trends
FEWEST_EPOCHS, FEWEST_ITERATIONS = 9, 1440  # of a trial: the shortest whose ranks are recorded
MOST_EPOCHS = 160  # of a trial: a quarter of the published final training
FINAL_FACTOR, FINAL_EPOCHS = 8, 640  # published: trials of 80 epochs, a final training of 640
LEARNED_FROM = 320  # candidates; below, too few finish for a strategy to learn from
CONFIRMED, CONFIRMED_WELL = (3, 3), (5, 5)  # candidates of stage 2 and seeds of each
HELD_OUT, FEWEST_HELD_OUT = 0.1, 64  # share and number of the training images
SMALL_DATA = 5000  # training images below which the recipe is `quick`

STAGES = ("stage 1", "stage 2")
CONFIRMATION, FINAL, REST = "confirmation", "final training", "reserve"


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """What a search may cost, and what it costs here.

    Attributes:
        hours: Device-hours (`nas.search.budget`) of all steps together.
        epoch_hours: Device-hours of one epoch of a trial, evaluations included.
        slots: Trials that run at the same time.
        images: Training images.
        batch_size: Images of an iteration.
        recipe: Name of the recipe where `usual_recipe` chose it; empty: the user's.
        basis: Source of `epoch_hours`.
    """

    hours: float
    epoch_hours: float
    slots: int
    images: int
    batch_size: int
    recipe: str = ""
    basis: str = "given"

    def __post_init__(self) -> None:
        require_number(self.hours, "the budget in GPU-hours", 1e-9)
        require_number(self.epoch_hours, "hours of an epoch", 1e-12)
        for name in ("slots", "images", "batch_size"):
            require_integer(getattr(self, name), name, 1)


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Size of each step of a search.

    Attributes:
        candidates: Candidates of each of the two stages.
        epochs: Epochs of a whole trial.
        scheduler, grace_epochs, strategy, select_on: Options of the stages.
        confirmed, seeds: Best candidates of stage 2 that are trained with this many seeds in all;
            so is the template. 1 seed: none is.
        final_epochs: Epochs of the winner's training, on all training images.
        recipe: Name of the recipe; empty: as the user says.
        hours: Planned device-hours by step; the reserve completes the budget.
        wall_hours: Planned hours until the end.
        reasons: A sentence for each choice.
    """

    candidates: int
    epochs: int
    scheduler: str
    grace_epochs: int | None
    strategy: str
    select_on: str
    confirmed: int
    seeds: int
    final_epochs: int
    recipe: str = ""
    hours: Mapping[str, float] = field(default_factory=dict)
    wall_hours: float = 0.0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def schedule(self) -> Schedule:
        """Rule by which the trials of a stage end early."""
        return Schedule(
            epochs=self.epochs, scheduler=self.scheduler, grace_epochs=self.grace_epochs
        )

    @property
    def trainings(self) -> Mapping[str, int]:
        """Number of trainings by step, those that end early included."""
        confirmation = (self.confirmed + 1) * (self.seeds - 1)
        return {**dict.fromkeys(STAGES, self.candidates), CONFIRMATION: confirmation, FINAL: 1}

    @property
    def hours_after_stages(self) -> float:
        """Planned device-hours of the confirmation and the final training."""
        return sum(self.hours.get(step, 0.0) for step in (CONFIRMATION, FINAL))


def plan_search(budget: SearchBudget) -> SearchPlan:
    """Return the plan of a budget. Raises ConfigError: it is too small; says what is needed."""
    available = (1 - RESERVE) * budget.hours / budget.epoch_hours  # in epochs
    shortest = max(FEWEST_EPOCHS, math.ceil(FEWEST_ITERATIONS * budget.batch_size / budget.images))
    smallest = _sized(FEWEST_CANDIDATES, shortest, CONFIRMED, budget)
    needed = sum(_epochs(smallest).values())
    if available < needed:
        raise ConfigError(_too_small(budget, smallest, needed * budget.hours / available))
    longest = max(MOST_EPOCHS, shortest)
    epochs = min(longest, int(shortest * math.sqrt(available / needed)))
    thorough = _sized(FEWEST_CANDIDATES, epochs, CONFIRMED_WELL, budget)
    is_cheap = _epochs(thorough)[CONFIRMATION] <= available / 10
    plans = [
        _sized(candidates, epochs, CONFIRMED_WELL if is_cheap else CONFIRMED, budget)
        for candidates in CANDIDATES
    ]
    plan = [each for each in plans if sum(_epochs(each).values()) <= available][-1]
    spare = available / sum(_epochs(plan).values())  # between two numbers of candidates
    epochs = min(longest, int(spare * epochs))
    return _with_costs(
        _sized(plan.candidates, epochs, (plan.confirmed, plan.seeds), budget), budget
    )


def usual_recipe(images: int) -> str:
    """Return the name of the recipe for a number of training images."""
    return "quick" if images < SMALL_DATA else "reference"


def _sized(
    candidates: int, epochs: int, confirmed: tuple[int, int], budget: SearchBudget
) -> SearchPlan:
    held_out = HELD_OUT * budget.images >= FEWEST_HELD_OUT
    return SearchPlan(
        candidates=candidates,
        epochs=epochs,
        scheduler="asha",
        grace_epochs=math.ceil(epochs / 9),
        strategy="evolution" if candidates >= LEARNED_FROM else "random",
        select_on=format_select_on(HELD_OUT) if held_out else VALIDATION,
        confirmed=confirmed[0],
        seeds=confirmed[1],
        final_epochs=max(4 * epochs, min(FINAL_FACTOR * epochs, FINAL_EPOCHS)),
        recipe=budget.recipe,
    )


def _epochs(plan: SearchPlan) -> dict[str, float]:
    """Return the expected epochs of each step."""
    stage = CANDIDATES[plan.candidates] * plan.candidates * plan.epochs
    confirmation = float(plan.trainings[CONFIRMATION] * plan.epochs)
    return dict.fromkeys(STAGES, stage) | {CONFIRMATION: confirmation, FINAL: plan.final_epochs}


def _with_costs(plan: SearchPlan, budget: SearchBudget) -> SearchPlan:
    """Return the plan with the hours and the reasons."""
    hours = {step: n * budget.epoch_hours for step, n in _epochs(plan).items()}
    wall = sum(h / min(budget.slots, plan.trainings[step]) for step, h in hours.items())
    hours[REST] = budget.hours - sum(hours.values())
    return replace(plan, hours=hours, wall_hours=wall, reasons=_reasons(plan, budget, hours[REST]))


def _reasons(plan: SearchPlan, budget: SearchBudget, rest: float) -> dict[str, str]:
    iterations = plan.epochs * budget.images // budget.batch_size
    found = {
        f"{3600 * budget.epoch_hours:.3g} s an epoch, {counted(budget.slots, 'trial')} at a time": (
            budget.basis
        ),
        f"{plan.candidates} candidates a stage": (
            "More candidates and longer trials grow together with the budget, since no "
            "measurement favours one. Below 8 candidates a report shows no trends."
        ),
        f"{plan.epochs} epochs a trial, {iterations:,} iterations": (
            "Short trainings rank who learns fastest: a lead of 0.12 hard AP after 9 epochs was "
            "0.03 after 36."
        ),
        "asha, rungs after epochs " + " and ".join(map(str, plan.schedule.milestones)): (
            "It found the best of 24 recorded candidates in 55 epochs, a run without it in 108."
        ),
        f"strategy {plan.strategy}": (
            "Learning from finished trials beat random search on made-up objectives only."
            if plan.strategy != "random"
            else f"Strategies that learn need 10 finished trials: from {LEARNED_FROM} candidates."
        ),
        f"best {plan.confirmed} and the template with {plan.seeds} seeds": (
            "One network's seeds differed by up to 0.04 hard AP on small data."
        ),
        f"selection on {plan.select_on}": (
            "Nothing is chosen on the validation images, which then measure the winner."
            if plan.select_on != VALIDATION
            else f"A tenth of {budget.images:,} training images is too few to rank on; the "
            "winner's AP is measured on the images that chose it, and is too high."
        ),
        f"final training of {plan.final_epochs} epochs": (
            "Eight times a trial, as published (80 and 640), at most 640; at least four times."
        ),
    }
    if budget.recipe:
        found[f"recipe {budget.recipe}"] = (
            f"On 640 photos quick learned in 9 epochs what reference did in 30; up to "
            f"{SMALL_DATA:,} training images."
            if budget.recipe == "quick"
            else f"The published one, from {SMALL_DATA:,} training images on."
        )
    if rest > 2 * RESERVE * budget.hours:
        found[f"{rest:.3g} GPU-hours are not needed"] = (
            "Beyond 320 candidates and 160 epochs no measurement says what more would buy."
        )
    return found


def _too_small(budget: SearchBudget, smallest: SearchPlan, needed: float) -> str:
    """Return why a budget is refused; the hours needed are rounded up, so that they suffice."""
    digits = 1 - math.floor(math.log10(needed))
    enough = math.ceil(needed * 10**digits) / 10**digits
    return (
        f"a budget of {budget.hours:g} GPU-hours is too small for a meaningful answer: two stages "
        f"of {smallest.candidates} candidates, {smallest.epochs} epochs each, a confirmation and "
        f"a final training take {enough:g} GPU-hours; raise --max-gpu-hours, lower --flops or "
        "--image-size"
    )
