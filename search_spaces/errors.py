"""The errors that a user can cause. The command line prints them as one line."""

_LONGEST_LINE = 200


class ScrfdNasError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(ScrfdNasError, ValueError):
    """A value in a flag, a YAML file or a constructor breaks a rule."""


class DataError(ScrfdNasError, ValueError):
    """Images, labels, ground truth or predictions are missing or malformed."""


class InfeasibleError(ScrfdNasError, ValueError):
    """No architecture satisfies the constraints; the message names what to relax."""


class IncomparableError(ScrfdNasError):
    """A continued search was asked for something that would make results incomparable."""


class TrialError(ScrfdNasError):
    """A trial could not finish (diverged, out of memory, corrupt checkpoint)."""


def first_line(error: BaseException) -> str:
    """Of an error's text, at most 200 characters; the error's type where it has no text."""
    return _lines(error)[0][:_LONGEST_LINE]


def last_line(error: BaseException) -> str:
    """As `first_line`: of a traceback it is the line that says what happened."""
    return _lines(error)[-1][:_LONGEST_LINE]


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]


def shown(value: object) -> str:
    """`repr(value)` for a message, cut to 80 characters: a stranger's value may be a megabyte."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
