import json
import re
from dataclasses import replace
from html import unescape

import pytest
from fake_stages import Made, make_candidate, make_stage

from reports.page.summary import conclusion, summary_section, winner
from reports.search_data import SearchData, StageData

SPREAD = (-0.01, 0.0, 0.01)


def search(*stages: StageData, **more: object) -> SearchData:
    values: dict[str, object] = {"name": "runs", "location": "runs/a b", **more}
    return SearchData(stages=stages, **values)  # type: ignore[arg-type]


def text(*stages: StageData, **more: object) -> str:
    """Return the words of the section, with single spaces."""
    words = re.sub(r"<[^>]*>", " ", summary_section(search(*stages, **more)))
    return " ".join(unescape(words).split())


def seeded(stage: int, *means: float) -> StageData:
    made = [
        replace(make_candidate(number, mean), hards=tuple(mean + step for step in SPREAD))
        for number, mean in enumerate(means, start=1)
    ]
    return make_stage(made, stage=stage)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([[0.5, 0.25], [0.25, 0.6]], (2, 2)),
        ([[0.5, 0.25], [0.25, 0.4]], (1, 1)),
        ([[0.5], [0.5]], (2, 1)),
        ([[0.5], [None, "failed"]], (1, 1)),
        ([["failed"]], None),
        ([], None),
    ],
)
def test_the_winner_is_the_best_of_all_stages(
    stages: list[list[float | str | None]], expected: tuple[int, int] | None
) -> None:
    found = winner(search(*(make_stage(made, stage=n) for n, made in enumerate(stages, start=1))))
    assert (found and (found.stage.stage, found.candidate.candidate)) == expected


def test_one_seed_must_be_confirmed() -> None:
    found = text(make_stage([0.5, 0.25, 0.125]))
    assert "Candidate 1 of stage 1 leads: hard AP 0.5000 Confirm it first" in found
    assert "scrfd-nas confirm --stage 1 --top 3 --seeds 3 --search-dir 'runs/a b'" in found
    assert "hard AP 0.5000 one seed" in found
    assert "+0.2500 hard AP over the median of the 3 candidates" in found


def test_a_trusted_winner_goes_on_to_the_next_step() -> None:
    first, second = seeded(1, 0.5, 0.25), seeded(2, 0.75, 0.25)
    found = text(first)
    assert "Candidate 1 of stage 1 wins: hard AP 0.5000 Trust it" in found
    assert "scrfd-nas stage2 --template best --search-dir 'runs/a b'" in found
    found = text(first, second)
    assert "scrfd-nas train 'runs/a b/stage2/0001' --data /data/faces --epochs 640" in found
    # t(0.975, 4) x 0.01 / sqrt(3) = 0.0160
    assert "0.7340 to 0.7660 (95 %, 3 seeds)" in found
    assert "+0.2500 hard AP over the best of stage 1, candidate 1 (beyond the spread" in found
    assert "within the spread of the seeds)" in text(seeded(1, 0.74), second)


def test_the_cheapest_of_a_tie_is_named() -> None:
    """A candidate's FLOPs grow with its number."""
    found = text(seeded(1, 0.49, 0.5, 0.25))
    assert "Candidate 2 of stage 1 leads: hard AP 0.5000 A tie with candidate 1" in found
    assert "candidate 1 is the cheapest of them" in found
    assert "--top 2 --seeds 5" in found


def test_baselines_and_how_to_train_one() -> None:
    stage = make_stage([0.5, 0.25])
    found = text(stage, baselines={"scrfd_0.5g": 0.45})
    assert "+0.0500 hard AP over scrfd_0.5g, trained in the same way (a single seed)" in found
    assert "No published network" not in found
    found = text(stage, baseline_command="scrfd-nas trial scrfd_0.5g --out x")
    assert "No published network was trained in the same way" in found
    assert "To train one: scrfd-nas trial scrfd_0.5g --out x" in found


def test_the_diagram_has_each_part_with_its_cost() -> None:
    page = summary_section(search(make_stage([None, None, 0.5])))
    parts = re.findall(r'<li class="(\w+)">', page)
    assert parts == ["stem", "c2", "c3", "c4", "c5", "neck", "head"]
    c5 = page[page.index('class="c5"') : page.index('class="neck"')]
    assert c5.count("<rect") == 3  # a bar for each block
    assert "<b>C5</b> 3\u00a0×\u00a032" in c5
    shares = re.findall(r"<small>([\d.]+) %</small>", page)
    assert sum(map(float, shares)) == pytest.approx(100, abs=0.4)


def test_an_unfinished_search_waits() -> None:
    assert "1 of 2 candidates have not ended." in text(make_stage([0.5, None]))
    assert "scrfd-nas resume --search-dir 'runs/a b'" in text(make_stage([0.5, None]))
    assert "No winner yet No candidate has finished; 2 are left." in text(make_stage([None, None]))


@pytest.mark.parametrize("made", [[0.5, 0.4], [0.5, None], ["broken", "broken"], [None]])
def test_the_conclusion_says_what_the_card_says(made: list[Made]) -> None:
    stage = make_stage(made)
    found = conclusion(search(stage))
    assert all(found[key] in text(stage) for key in ("label", "reason"))
    has_best = found["candidate"] is not None
    assert has_best == (made[0] == 0.5)
    assert not has_best or found["title"] in text(stage)
    assert json.loads(json.dumps(found)) == found


def test_the_conclusion_of_a_trusted_candidate_is_that_it_wins() -> None:
    found = conclusion(search(seeded(2, 0.5, 0.8)))
    assert (found["stage"], found["candidate"], found["kind"]) == (2, 2, "trust")
    assert found["title"] == "Candidate 2 of stage 2 wins: hard AP 0.8000"
