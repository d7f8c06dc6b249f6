"""Errors that a user can cause, and text of messages. The command line prints each as one line."""

_LONGEST_LINE = 200
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


class ScrfdNasError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(ScrfdNasError, ValueError):
    """A value in a flag, a YAML file or a constructor breaks a rule."""


class DataError(ScrfdNasError, ValueError):
    """Images, labels, ground truth or predictions are missing or malformed."""


class InfeasibleError(ScrfdNasError, ValueError):
    """No architecture satisfies the constraints; the message names what to relax."""


class IncomparableError(ScrfdNasError):
    """A resumed search has a changed option that would make its results incomparable."""


class TrialError(ScrfdNasError):
    """A trial could not finish (diverged, out of memory, corrupt checkpoint)."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, cut to 200 characters; its type if it has none."""
    return _lines(error)[0][:_LONGEST_LINE]


def last_line(error: BaseException) -> str:
    """Return the last line, as `first_line`; in a traceback it names the error."""
    return _lines(error)[-1][:_LONGEST_LINE]


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 trial` or `2,000 trials`; `plural` is for nouns that do not just add an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def shown(value: object) -> str:
    """Return `repr(value)` for a message, cut to 80 characters: input may be a megabyte long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def printable(text: str) -> str:
    """Return `text` with its control characters as `\\x1b`: a name must not command a terminal."""
    return text.translate(_CONTROLS)
