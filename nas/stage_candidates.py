"""Candidates of one stage: which there are, what their folders record, and how more are chosen."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from nas.candidates.screening import ScreeningOptions, screened_candidates
from nas.early_stopping.asha import RungDecision, RungRecords
from nas.early_stopping.rounds import Round, next_round
from nas.early_stopping.schedule import HardCurve
from nas.limited_candidates import latency_limit, within_limit
from nas.monitoring.counts import StageCounts
from nas.monitoring.progress import Display
from nas.run_options import RunOptions
from nas.search.crop_search import crop_shares
from nas.search.decisions import read_decided
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest, RedistributionRequest
from nas.search.stage_request import NO_SCREEN
from nas.strategies.on_demand_proposals import Ask
from nas.study.trials import Entry
from reports.curves import read_curve
from search_spaces.architecture import Architecture, load_architecture, save_architecture
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError, DataError, IncomparableError, counted
from search_spaces.files import write_text
from search_spaces.yaml_files import dump_yaml
from trials.result import Outcome, TrialFailure
from trials.trial import REQUEST_FILE


@dataclass(frozen=True, kw_only=True)
class StageCandidates:
    """Candidates of a stage.

    Attributes:
        directory, request: Search directory and the stage's request.
        architectures: Candidates chosen so far, by number; grows where `ask` chooses.
        ask: Chooses the missing candidates one by one; None where none are missing.
    """

    directory: SearchDir
    request: AnyRequest
    architectures: dict[int, Architecture]
    ask: Ask | None = None

    @property
    def stage(self) -> int:
        """Number of the stage: 1, 2 or 3."""
        return self.request.stage

    @property
    def expected(self) -> int:
        """Number of candidates at the end."""
        return max(len(self.architectures), self.request.num_candidates if self.ask else 0)

    def outcome(self, number: int) -> Outcome | None:
        """Return the outcome of a candidate, None before its end."""
        return self.directory.outcome(self.stage, number)

    def outcomes(self) -> dict[int, Outcome]:
        """Return the outcomes of the candidates that have ended."""
        return self.directory.outcomes(self.stage)

    def pending(self) -> list[int]:
        """Return the chosen candidates that have not ended, ascending."""
        return sorted(set(self.architectures) - set(self.outcomes()))

    def is_done(self) -> bool:
        """Return whether nothing is left to run."""
        if self.pending() or len(self.architectures) < self.expected:
            return False
        return not (self.request.schedule.is_complete and self.next_round().numbers)

    def next_round(self) -> Round:
        """Return the next round of complete rungs."""
        failed = {n for n, outcome in self.outcomes().items() if isinstance(outcome, TrialFailure)}
        return next_round(self.request.schedule, self.curves(self.architectures), failed)

    def round_decisions(self, now: Round) -> list[RungDecision]:
        """Return the candidates that continue in a round, then those that stop, by number."""
        ended, curves = self.outcomes(), self.curves(self.architectures)
        found = [(number, rung, True) for number, rung in sorted(now.promoted.items())]
        found += [(n, rung, False) for n, rung in sorted(now.stopped.items()) if n not in ended]
        return [
            RungDecision(number=n, rung=rung, hard=curves[n][rung], continues=continues)
            for n, rung, continues in found
        ]

    def rung_records(self) -> RungRecords:
        """Return the curves and decisions so far, for rungs that trials share."""
        return RungRecords(
            schedule=self.request.schedule,
            curves=self.curves(self.architectures),
            decided=read_decided(self.directory.stage_folder(self.stage)),
        )

    def curves(self, numbers: Collection[int]) -> dict[int, HardCurve]:
        """Return the hard APs of some candidates by epoch; a damaged file counts as empty."""
        return {number: self._curve(number) for number in sorted(numbers)}

    def counts(self) -> StageCounts:
        """Return the counts with which the stage's progress starts."""
        return StageCounts(
            stage=self.stage,
            epochs=self.request.epochs,
            done={n: self.directory.epochs_done(self.stage, n) for n in self.architectures},
            outcomes=self.outcomes(),
            expected=self.expected,
        )

    def entries(self) -> Mapping[int, Entry]:
        """Return the study's entries of all candidates."""
        return {number: self.entry(number) for number in self.architectures}

    def entry(self, number: int) -> Entry:
        """Return the study's entry of one candidate."""
        architecture = self.architectures[number]
        file = self.directory.architecture_file(self.stage, number)
        return Entry(
            architecture=architecture,
            file=str(file.relative_to(self.directory.root)),
            flops=total(flops_by_part(architecture)),
            params=total(params_by_part(architecture)),
            crops=crop_shares(self.request.recipe_of(number)) if self.stage == 3 else {},
        )

    def forget_failures(self) -> None:
        """Remove the outcomes of the failed candidates, so that they are trained again."""
        for number, outcome in self.outcomes().items():
            if isinstance(outcome, TrialFailure):
                self.forget(number)

    def forget(self, number: int) -> None:
        """Remove a candidate's outcome, so that it is trained further."""
        self.directory.storage.remove(self.directory.result_file(self.stage, number))

    def choose(self) -> int | None:
        """Choose one more candidate and save it; returns its number, None if none is missing.

        Raises:
            InfeasibleError: There is no further one.
        """
        number = next(_free_numbers(self.architectures))
        if self.ask is None or number > self.request.num_candidates:
            return None
        architecture = self.ask(self.architectures, self.outcomes(), number)
        save_architecture(architecture, self.directory.architecture_file(self.stage, number))
        self.architectures[number] = architecture
        return number

    def save(self, template: Architecture | None) -> None:
        """Write the files that are not there yet."""
        directory, stage = self.directory, self.stage
        if template is not None:
            save_architecture(template, directory.stage_folder(stage) / "template.yaml")
        for number in sorted(set(self.architectures) - set(directory.numbers(stage))):
            file = directory.architecture_file(stage, number)
            save_architecture(self.architectures[number], file)
            if stage == 3:
                recipe = dump_yaml(dict(self.request.recipe_of(number)))
                write_text(directory.recipe_file(stage, number), recipe)

    def _curve(self, number: int) -> HardCurve:
        folder = self.directory.trial_folder(self.stage, number)
        try:
            return read_curve(folder, number, self.architectures[number]).hard
        except DataError:
            return {}


def stage_candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    run: RunOptions,
    display: Display,
) -> StageCandidates:
    """Return the candidates that have a file and new ones, numbered from 1; nothing is written.

    Raises:
        IncomparableError: Random search would number the candidates in another way.
        InfeasibleError: No candidate satisfies the constraints.
    """
    existing, ask = directory.candidates(request.stage), None
    limit = latency_limit(directory, request, run, display)
    run = within_limit(run, limit) if limit else run
    if isinstance(request, RedistributionRequest) and template is not None:
        count = max([request.num_candidates, *existing])
        found = dict.fromkeys(range(1, count + 1), template)
    elif len(existing) >= request.num_candidates:
        found = existing
        if len(existing) > request.num_candidates:
            asked = f"asked for {request.num_candidates}"
            display.log(f"{len(existing)} candidates exist already; {asked}")
    elif request.screen != NO_SCREEN:
        screening = ScreeningOptions(
            pool=run.pool, audit=run.screen_audit, force=run.screen_force, limit=limit
        )
        chosen = screened_candidates(directory, request, template, screening, display)
        found = existing | dict(zip(_free_numbers(existing), chosen, strict=False))
    elif (ask := run.strategy(request, template)) is not None:
        found = existing
    else:
        found = _proposed(directory, request, template, run, display)
    return StageCandidates(directory=directory, request=request, architectures=found, ask=ask)


def _free_numbers(taken: Collection[int]) -> Iterator[int]:
    """Yield the numbers from 1 on that no candidate has."""
    return (number for number in itertools.count(1) if number not in taken)


def _proposed(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    run: RunOptions,
    display: Display,
) -> dict[int, Architecture]:
    """Return the proposals of random search, of which the first are those that have a file."""
    proposed = run.propose(request, template)
    if proposed.note:
        display.log(proposed.note)
    numbered = dict(enumerate(proposed.architectures, start=1))
    for number, architecture in directory.candidates(request.stage).items():
        if numbered.get(number) != architecture:
            raise IncomparableError(
                f"{directory.architecture_file(request.stage, number)}: random search would have "
                "another candidate under this number (a strategy chose this one, or another "
                "version of the program); choose another --strategy or --search-dir, or leave "
                "--num-candidates as it was"
            )
    return numbered


def repair_architectures(directory: SearchDir, stage: int, display: Display) -> None:
    """Write damaged files of architectures again; those of trials that have not begun are removed.

    Raises:
        ConfigError: The request of a trial that has begun is damaged too.
    """
    for number in directory.numbers(stage):
        file = directory.architecture_file(stage, number)
        try:
            load_architecture(file)
        except ConfigError as error:
            if (file.parent / REQUEST_FILE).exists():
                save_architecture(directory.architecture(stage, number), file)
            else:
                directory.storage.remove(file)
            display.log(f"{error}; it is written again")


def log_unfinished(directory: SearchDir, stage: int, display: Display) -> None:
    """Log how many candidates of a stage have no outcome, if any."""
    unfinished = set(directory.numbers(stage)) - set(directory.outcomes(stage))
    if unfinished:
        display.log(
            f"stage {stage} has {counted(len(unfinished), 'candidate')} without a result yet"
        )
