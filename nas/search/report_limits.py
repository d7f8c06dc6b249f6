"""What the report of a search will lack, stated before the search runs."""

from nas.search.request import AnyRequest
from reports.statistics.population import FEW, shows_noise
from trials.settings import VALIDATION


def report_limits(request: AnyRequest) -> list[str]:
    """Return a sentence for each thing that the report will lack, with the option that adds it."""
    settings = request.settings(threads=1)
    evaluated = [epoch for epoch in range(1, request.epochs + 1) if settings.is_evaluated(epoch)]
    found = [
        "the report will have one seed a candidate and no interval over seeds: `scrfd-nas "
        "confirm` trains the best candidates with more"
    ]
    if request.num_candidates < FEW:
        found.append(
            f"the report will have fewer than {FEW} candidates, too few to show where compute "
            f"should go: --num-candidates {FEW} or more"
        )
    if not shows_noise(evaluated) and request.epochs > 2:
        found.append(
            "the report will have no estimate of noise, since the last three epochs are not all "
            "evaluated: --eval-every 1"
        )
    if request.select_on == VALIDATION:
        found.append(
            "the report will quote APs of the images that candidates are ranked on, which favours "
            "the winner: --select-on holdout:0.1 ranks on training images instead"
        )
    return found
