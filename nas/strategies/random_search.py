"""Random search: the candidates that a stage proposes without learning."""

from collections.abc import Collection, Sequence

from nas.strategies.observation import Observation
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture


class RandomSearch:
    """Candidate N is the N-th of the seed's sample, or the next one that is new."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def ask(
        self, observations: Sequence[Observation], known: Collection[str], number: int
    ) -> Architecture:
        """See `Strategy.ask`."""
        return self._shell.from_number(number, known)
