"""Entry point of `scrfd-nas`: builds the command line and reports errors in one line.

Exit codes: 0 done, 1 an error that the user can act on, 2 wrong usage, 75 ended by SIGTERM
or SIGHUP (the same command resumes), 130 interrupted.
A command's module is imported when the command is called (`nas.cli.guide`). It lists its functions
by name in `COMMANDS`, and imports heavy packages (torch, Ray, pandas) only inside them, since the
help of all commands needs every module.
"""

import io
import os
import sys
from typing import Annotated, Any, TextIO, cast

import typer

from nas.cli.guide import EPILOG, Commands, reflowed
from nas.cli.shared.common import OptionalOutput
from nas.running.signals import EXIT_RESUMABLE, Terminated, ending_tidily
from search_spaces.errors import ScrfdNasError, printable

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Newer versions of typer include their own click: its exceptions are found through typer's.
_UsageError: Any = typer.BadParameter.__mro__[1]
_ClickException: Any = _UsageError.__mro__[1]


def build_app() -> Any:
    """Return the command line as click's group of all `Commands`."""
    app = typer.Typer(
        name="scrfd-nas",
        no_args_is_help=True,
        epilog=reflowed(EPILOG),
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    group: Any = typer.main.get_command(app)
    group.commands = Commands()
    return group


def main(arguments: list[str] | None = None) -> None:
    """Run the command line on `arguments` (default: the process's) and exit."""
    # A search outlives its terminal. A process started with `2>&-` has no standard error.
    sys.stderr = cast("TextIO", OptionalOutput(sys.stderr or io.StringIO()))
    with ending_tidily():
        code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors print one line on standard error."""
    try:
        code = build_app().main(args=arguments, prog_name="scrfd-nas", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave_pipe()
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except Terminated as end:
        return _fail(f"ended by {end.name}", EXIT_RESUMABLE)
    except _ClickException as error:
        return _fail_usage(error)
    except ScrfdNasError as error:
        return _fail(f"error: {error}", EXIT_ERROR)
    except OSError as error:
        return _fail(f"error: {_os_error_text(error)}", EXIT_ERROR)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C inside a command into this code
        return _fail("interrupted", EXIT_INTERRUPTED)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(printable(" ".join(message.split())), file=sys.stderr)  # noqa: T201
    return code


def _fail_usage(error: Any) -> int:
    """Print a usage error and the command that shows the help."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help text
        print(error.format_message(), file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "scrfd-nas"
    message = error.format_message().rstrip(".")
    return _fail(f"error: {message} (see {command} --help)", EXIT_USAGE)


def _os_error_text(error: OSError) -> str:
    """Return `name: reason` if the system names the file, else the reason."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _leave_pipe() -> int:
    """Stop quietly after the reader of a pipe has left, also when Python flushes at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    return EXIT_ERROR


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"scrfd-nas {version('scrfd-nas')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Neural architecture search for SCRFD face detectors on Ray and Optuna."""


if __name__ == "__main__":
    main()
