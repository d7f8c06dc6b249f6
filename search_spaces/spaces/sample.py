"""The result of sampling a search space."""

from dataclasses import dataclass, replace

from search_spaces.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Distinct architectures in the order drawn.

    Attributes:
        feasible: distinct architectures that satisfy the constraints, None if uncounted.
        draws, accepted: of rejection sampling, 0 where it was not needed.
        note: a warning for the user, such as fewer candidates than requested.
    """

    architectures: tuple[Architecture, ...]
    feasible: int | None
    draws: int = 0
    accepted: int = 0
    note: str | None = None

    def noted(self, num: int) -> "Sample":
        """Return the sample with a note if it has fewer than the `num` requested."""
        found = len(self.architectures)
        if found >= num:
            return self
        reason = "no more satisfy the constraints"
        if found != self.feasible:
            reason = f"no more were found in {self.draws:,} draws"
        return replace(self, note=f"{found} of {num} candidates: {reason}")
