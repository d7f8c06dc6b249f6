"""Recorded evaluations of a search, with and without the images of its data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_records import make_picture, make_record
from fake_search import FakeSearch
from fake_trials import make_data
from images import noise, save_image
from tiny import make_result

from nas.results import evaluations
from nas.results.report_data import read_search
from nas.search.directory import SearchDir
from reports.page.search_report import write_report
from reports.search_data import Evaluations
from trials.data.images import encoded
from trials.evaluation.record_file import RECORD_FILE, save_record
from trials.result import save_outcome

PATH = "val/images/e/a.png"


@pytest.fixture
def search(tmp_path: Path) -> FakeSearch:
    """Run a stage 1 of four candidates on data with one validation image; 4 is the best."""
    data = make_data(tmp_path / "data")
    save_image(data / PATH, noise(50, 100))
    search = FakeSearch(tmp_path, data)
    search.begin()
    return search


def record(directory: SearchDir, *numbers: int, stage: int = 1) -> None:
    """Record an evaluation with one picture in the folders of these candidates."""
    content = make_record(pictures=(make_picture(PATH, "most missed", missed=[[1, 2, 3, 4]]),))
    for number in numbers:
        save_record(content, directory.trial_folder(stage, number))


def read(directory: SearchDir, stage: int = 1) -> Evaluations:
    return read_search(directory).stages[stage - 1].evaluations


def test_the_best_three_and_the_pictures_of_the_winner(search: FakeSearch) -> None:
    order = list(search.column("hard"))
    record(search.directory, *order)
    found = read(search.directory)
    assert list(found.records) == [f"candidate {number}" for number in order[:3]]
    (photo,) = found.photos
    assert (photo.size, photo.picture.path, found.note) == ((100, 50), PATH, "")
    assert len(photo.content) < evaluations.PHOTO_BYTES


def test_candidates_without_a_readable_record_are_left_out(search: FakeSearch) -> None:
    best, second, third, _ = search.column("hard")
    assert read(search.directory) == Evaluations()
    record(search.directory, best, third)
    assert list(read(search.directory).records) == [f"candidate {n}" for n in (best, third)]
    for content in (b"", b"text"):
        (search.directory.trial_folder(1, third) / RECORD_FILE).write_bytes(content)
        assert list(read(search.directory).records) == [f"candidate {best}"]
    (search.directory.trial_folder(1, best) / RECORD_FILE).unlink()
    record(search.directory, second)
    assert read(search.directory).records == {}  # without the winner there is nothing to show


def test_without_the_data_the_records_stay(search: FakeSearch) -> None:
    record(search.directory, *search.column("hard"))
    search.data.rename(search.data.with_name("moved"))
    found = read(search.directory)
    assert (len(found.records), found.photos) == (3, ())
    assert found.note.startswith("Pictures are left out, since this machine lacks the data: it ")
    page = write_report(read_search(search.directory), search.root).read_text()
    assert "Pictures are left out" in page


def test_other_data_under_the_same_path_are_not_shown(search: FakeSearch) -> None:
    record(search.directory, *search.column("hard"))
    save_image(search.data / PATH, noise(60, 100))
    found = read(search.directory)
    assert found.photos == ()
    assert "holds other data" in found.note


def test_images_that_cannot_be_read_are_counted(search: FakeSearch) -> None:
    best = next(iter(search.column("hard")))
    pictures = [make_picture(path) for path in (PATH, "val/images/e/gone.png")]
    content = make_record(pictures=tuple(pictures))
    save_record(content, search.directory.trial_folder(1, best))
    found = read(search.directory)
    assert len(found.photos) == 1
    assert found.note == "1 of 2 pictures are left out: the images cannot be read."


def test_the_template_of_stage_2_is_shown_if_it_is_comparable(search: FakeSearch) -> None:
    template = next(iter(search.column("hard")))
    search.run(2, template=str(template), num_candidates=2)
    winner = next(iter(search.column("hard", stage=2)))
    record(search.directory, template)
    record(search.directory, winner, stage=2)
    first, second = (stage.evaluations for stage in read_search(search.directory).stages)
    assert list(second.records) == [f"candidate {winner}", f"template ({template} of stage 1)"]
    assert (len(first.photos), len(second.photos)) == (0, 1)  # those of the search's winner
    for number in search.directory.numbers(2):
        save_outcome(make_result(0.001), search.directory.trial_folder(2, number))
    first, second = (stage.evaluations for stage in read_search(search.directory).stages)
    assert (len(first.photos), len(second.photos)) == (1, 0)
    record(search.directory, *search.directory.numbers(2), stage=2)
    request = search.directory.requests()[1]
    search.directory.write_request(replace(request, epochs=9))
    assert list(read(search.directory, stage=2).records) == ["candidate 1", "candidate 2"]


def test_the_best_baseline_is_shown(search: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    best = next(iter(search.column("hard")))
    record(search.directory, best)
    for name in ("scrfd_0.5g", "scrfd_1g"):
        save_record(make_record(), search.directory.root / "baselines" / name)
    known = {"scrfd_0.5g": 0.2, "scrfd_1g": 0.3}
    monkeypatch.setattr(evaluations, "read_baselines", lambda directory: known)
    assert list(read(search.directory).records) == [f"candidate {best}", "scrfd_1g"]


def test_large_images_become_small_files() -> None:
    smooth = np.full((1000, 2000, 3), 90, np.uint8)
    small = evaluations._small_file(smooth)
    assert len(small) < 5000
    assert len(evaluations._small_file(noise(1000, 2000))) <= evaluations.PHOTO_BYTES
    assert evaluations._small_file(noise(20, 30)) == encoded(noise(20, 30), ".webp")
