"""The candidates of one stage with what their folders say, for the driver that holds them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nas.early_stopping.rounds import Round, next_round
from nas.early_stopping.schedule import HardCurve
from nas.search.crop_search import crop_shares
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest
from nas.strategies.on_demand_proposals import Ask
from nas.study.trials import Entry
from reports.curves import read_curve
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from search_spaces.errors import DataError
from trials.result import Outcome, TrialFailure


@dataclass(frozen=True, kw_only=True)
class StageCandidates:
    """The candidates of a stage.

    Attributes:
        directory, request: of the stage.
        architectures: those chosen so far, by number; grows where `ask` chooses.
        ask: chooses the candidates that are missing, one by one; None where all are there.
    """

    directory: SearchDir
    request: AnyRequest
    architectures: dict[int, Architecture]
    ask: Ask | None = None

    @property
    def stage(self) -> int:
        """1 or 2."""
        return self.request.stage

    @property
    def expected(self) -> int:
        """How many candidates there will be."""
        return max(len(self.architectures), self.request.num_candidates if self.ask else 0)

    def outcomes(self) -> dict[int, Outcome]:
        """Of the candidates that have ended."""
        return self.directory.outcomes(self.stage)

    def pending(self) -> list[int]:
        """Chosen candidates that have not ended, ascending."""
        return sorted(set(self.architectures) - set(self.outcomes()))

    def is_done(self) -> bool:
        """Whether there is nothing left to run."""
        if self.pending() or len(self.architectures) < self.expected:
            return False
        return not (self.request.schedule.is_complete and self.next_round().numbers)

    def next_round(self) -> Round:
        """What complete rungs ask for."""
        failed = {n for n, outcome in self.outcomes().items() if isinstance(outcome, TrialFailure)}
        return next_round(self.request.schedule, self.curves(self.architectures), failed)

    def curves(self, numbers: Collection[int]) -> dict[int, HardCurve]:
        """Hard APs of some candidates; a damaged file counts as none."""
        return {number: self._curve(number) for number in sorted(numbers)}

    def epochs_done(self) -> dict[int, int]:
        """Epochs behind each candidate."""
        return {n: self.directory.epochs_done(self.stage, n) for n in self.architectures}

    def entries(self) -> Mapping[int, Entry]:
        """What the study knows of the candidates."""
        return {number: self.entry(number) for number in self.architectures}

    def entry(self, number: int) -> Entry:
        """What the study knows of one candidate."""
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
        """Take the failed candidates' outcomes away, so that they are tried again."""
        for number, outcome in self.outcomes().items():
            if isinstance(outcome, TrialFailure):
                self.forget(number)

    def forget(self, number: int) -> None:
        """Take a candidate's outcome away, so that it is taken up again."""
        self.directory.storage.remove(self.directory.result_file(self.stage, number))

    def choose(self) -> int | None:
        """Choose one more candidate and put it on disk; its number, None if all are there.

        Raises:
            InfeasibleError: there is no further one.
        """
        number = max(self.architectures, default=0) + 1
        if self.ask is None or number > self.request.num_candidates:
            return None
        architecture = self.ask(self.architectures, self.outcomes(), number)
        save_architecture(architecture, self.directory.architecture_file(self.stage, number))
        self.architectures[number] = architecture
        return number

    def _curve(self, number: int) -> HardCurve:
        folder = self.directory.trial_folder(self.stage, number)
        try:
            return read_curve(folder, number, self.architectures[number]).hard
        except DataError:
            return {}
