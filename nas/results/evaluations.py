"""Recorded evaluations of the best candidates of a search, with the images of the winner."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nas.results.baselines import FOLDER, read_baselines
from nas.results.comparing import relation
from nas.running.node_requirements import missing_data
from nas.search.directory import SearchDir
from reports.page.summary import winner
from reports.search_data import Evaluations, Photo, SearchData, StageData
from search_spaces.errors import DataError
from trials.data.images import Image, encoded, fitted_size, read_image, resize
from trials.evaluation.record import EvaluationRecord, Picture
from trials.evaluation.record_file import load_record

BEST = 3  # candidates in a figure
EDGES = (800, 640, 480, 320)  # pixels of the longer side, until an image is small enough
PHOTO_BYTES = 100_000


def add_evaluations(directory: SearchDir, stages: Sequence[StageData]) -> tuple[StageData, ...]:
    """Return the stages with what their best trials have recorded of their last evaluations.

    Photos are those of the winner of the search.
    """
    found = tuple(replace(s, evaluations=_evaluations(directory, s, stages)) for s in stages)
    won = winner(SearchData(name="", stages=found))
    if won is None:
        return found
    best = replace(won.stage, evaluations=_with_photos(directory, won.stage))
    return tuple(best if stage is won.stage else stage for stage in found)


def _evaluations(
    directory: SearchDir, stage: StageData, stages: Sequence[StageData]
) -> Evaluations:
    """Return the records of the best, of the template if its AP is comparable, and of a baseline.

    The baseline is the best of `nas.results.baselines`.
    """
    best = [candidate.candidate for candidate in stage.finished[:BEST]]
    folders = {f"candidate {n}": directory.trial_folder(stage.stage, n) for n in best}
    folders |= dict(_template(directory, stage, stages))
    baselines = read_baselines(directory)
    if baselines:
        name = max(baselines, key=lambda name: baselines[name])
        folders[name] = directory.root / FOLDER / name
    records = {name: _record(folder) for name, folder in folders.items()}
    if not best or records[f"candidate {best[0]}"] is None:
        return Evaluations()
    return Evaluations(records={n: record for n, record in records.items() if record is not None})


def _template(
    directory: SearchDir, stage: StageData, stages: Sequence[StageData]
) -> Iterator[tuple[str, Path]]:
    """Yield name and folder of the candidate of an earlier stage that is the template."""
    requests, wanted = directory.requests(), stage.request.get("template_hash")
    for earlier in stages:
        is_before = earlier.stage < stage.stage
        if wanted is None or not is_before:
            continue
        if not relation(requests[earlier.stage], requests[stage.stage])[0]:
            continue
        for candidate in earlier.finished:
            if candidate.architecture.content_hash == wanted:
                number = candidate.candidate
                name = f"template ({number} of stage {earlier.stage})"
                yield name, directory.trial_folder(earlier.stage, number)


def _record(folder: Path) -> EvaluationRecord | None:
    try:
        return load_record(folder)
    except DataError:
        return None


def _with_photos(directory: SearchDir, stage: StageData) -> Evaluations:
    """Return the evaluations with the winner's photos, or with the reason for their absence."""
    evaluations = stage.evaluations
    if not evaluations.records:
        return evaluations
    request = directory.requests()[stage.stage]
    lacking = missing_data(request.data, request.data_fingerprint)
    if lacking:
        note = f"Pictures are left out, since this machine lacks the data: {lacking}."
        return replace(evaluations, note=note)
    pictures = next(iter(evaluations.records.values())).pictures
    photos = [_photo(Path(request.data), picture) for picture in pictures]
    read = tuple(photo for photo in photos if photo is not None)
    failed = len(photos) - len(read)
    note = f"{failed} of {len(photos)} pictures are left out: the images cannot be read."
    return replace(evaluations, photos=read, note=note if failed else "")


def _photo(data: Path, picture: Picture) -> Photo | None:
    try:
        image_HW3 = read_image(data / picture.path)
    except DataError:
        return None
    height, width = image_HW3.shape[:2]
    return Photo(picture=picture, size=(width, height), content=_small_file(image_HW3))


def _small_file(image_HW3: Image) -> bytes:
    """Return an image as a WEBP file of `PHOTO_BYTES`, or in the smallest of the sizes."""
    height, width = image_HW3.shape[:2]
    content = b""
    for edge in EDGES:
        size = fitted_size(height, width, long_edge=edge, short_edge=edge)
        content = encoded(resize(image_HW3, size) if size[0] < height else image_HW3, ".webp")
        if len(content) <= PHOTO_BYTES:
            break
    return content
