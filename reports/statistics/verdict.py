"""The verdict on the best candidate: whether its lead is real, and what would settle it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reports.statistics.confirmation import confirmed, unconfirmed_rivals
from search_spaces.errors import counted

TEST = "t-tests of all pairs, Holm's correction, 5 %"
SHOWN = 4  # candidates that a sentence names
SEEDS = 3  # of a first confirmation
TOP, MOST = 5, 10  # candidates of a first confirmation: at least, and at most
Kind: TypeAlias = Literal["none", "wait", "alone", "confirm", "tie", "trust"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on the best candidate.

    Attributes:
        kind: `none`: nothing has finished; `wait`: trials are left; `alone`: there is no other;
            `confirm`: a single seed, or others of a single seed are as close; `tie`: it does not
            differ from others over several seeds; `trust`: it does.
        label: the verdict in a few words.
        reason: one or two sentences.
        ties: the candidates that share the first rank with it.
        top, seeds: arguments of `scrfd-nas confirm` that may settle it; 0 where nothing is open.
    """

    kind: Kind
    label: str
    reason: str
    ties: tuple[int, ...] = ()
    top: int = 0
    seeds: int = 0


def verdict(
    hards: Mapping[int, Sequence[float]], *, left: int = 0, noise: float | None = None
) -> Verdict:
    """Return the verdict on the first of the finished candidates.

    Args:
        hards: hard APs by candidate and seed, the search's own seed first; the order of the
            candidates is that of the leaderboard.
        left: number of candidates without an outcome.
        noise: difference of two hard APs within the variation of the last epochs, None if unknown.
    """
    if not hards:
        reason = (
            f"No candidate has finished; {left} are left." if left else "No candidate finished."
        )
        return Verdict(kind="none", label="No winner yet", reason=reason)
    if left:
        reason = f"{left} of {len(hards) + left} candidates have not ended."
        return Verdict(kind="wait", label="Wait for the rest", reason=reason)
    if len(hards) == 1:
        reason = "It is the only finished candidate: there is none to compare it with."
        return Verdict(kind="alone", label="Nothing to compare with", reason=reason)
    if all(len(values) < 2 for values in hards.values()):
        return _one_seed(hards, noise)
    return _several_seeds(hards)


def _one_seed(hards: Mapping[int, Sequence[float]], noise: float | None) -> Verdict:
    best, *others = (values[0] for values in hards.values())
    near = sum(best - value < (noise or 0.0) for value in others)
    reason = f"One seed, and it leads by {best - others[0]:.4f}. "
    if noise is None:
        reason += "How much an AP varies cannot be estimated from this search."
    elif near:
        reason += f"APs of the last epochs vary by {noise:.4f}: {_count(near, 'other')} as close."
    else:
        reason += f"APs of the last epochs vary by less ({noise:.4f}), but seeds add more."
    top = min(len(hards), MOST, max(TOP, near + 1))
    return Verdict(kind="confirm", label="Confirm it first", reason=reason, top=top, seeds=SEEDS)


def _several_seeds(hards: Mapping[int, Sequence[float]]) -> Verdict:
    found = confirmed(hards)
    best, *ties = (number for number, item in found.items() if item.tie == 1)
    rivals, seeds = unconfirmed_rivals(hards, best), found[best].seeds
    close = ""
    if rivals:
        close = f" With one seed, {_count(len(rivals), 'more candidate')} as close: "
        close += f"{_listed(rivals)}."
    if ties:
        gap = found[best].mean - found[ties[0]].mean
        reason = f"Over {seeds} seeds it leads candidate {ties[0]} by {gap:.4f}, which is within "
        reason += f"the spread of the seeds ({TEST}).{close}"
        return Verdict(
            kind="tie",
            label=f"A tie with {'candidates' if len(ties) > 1 else 'candidate'} {_listed(ties)}",
            reason=reason,
            ties=tuple(ties),
            top=_reach(hards, [best, *ties, *rivals]),
            seeds=seeds + 2,
        )
    reason = f"It has {seeds} seeds."
    if len(found) > 1:
        reason = f"Over {seeds} seeds its lead over each other candidate with several seeds is "
        reason += f"larger than their spread ({TEST})."
    if not rivals:
        single = len(hards) > len(found)
        reason += " All candidates with one seed are further away." if single else ""
        return Verdict(kind="trust", label="Trust it", reason=reason)
    top = _reach(hards, [best, *rivals])
    return Verdict(
        kind="confirm", label="Confirm it first", reason=reason + close, top=top, seeds=seeds
    )


def _reach(hards: Mapping[int, Sequence[float]], numbers: Sequence[int]) -> int:
    """Return how many of the best by the search's own seed include these candidates."""
    order = sorted(hards, key=lambda number: (-hards[number][0], number))
    return 1 + max(order.index(number) for number in numbers)


def _listed(numbers: Sequence[int]) -> str:
    """Return `3`, `3 and 9`, or `3, 9, 12 and 2 more`."""
    shown = [str(number) for number in numbers[:SHOWN]]
    if len(numbers) > SHOWN:
        shown[SHOWN - 1 :] = [shown[-1], f"{len(numbers) - SHOWN} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _count(number: int, what: str) -> str:
    return f"{counted(number, what)} {'is' if number == 1 else 'are'}"
