"""The `everfold` command: one clear line for whatever goes wrong, and an exit code that says it."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import signal
import sys
from types import TracebackType

from everfold import __version__
from everfold.streams.errors import (
    EverfoldError,
    Misconfigured,
    NoServer,
    Refused,
    Unavailable,
    Unknown,
)

DONE, FAILED, USAGE, NOT_FOUND, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main() -> None:
    sys.excepthook = _show_uncaught
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a file that was written to before
                stream.reconfigure(errors="backslashreplace")
    try:
        code = run(sys.argv[1:])
        if code == INTERRUPTED:
            _leave_at_once()
    except KeyboardInterrupt:  # once more, while it ended
        _leave_at_once()
    # Else Python looks for garbage a last time, which takes a fifth of a short command's time.
    gc.freeze()
    sys.exit(code)


def _leave_at_once() -> None:
    """End without waiting for threads: after a second Ctrl-C one may wait for ever, or read a file
    of gigabytes to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; nothing is raised."""
    if arguments == ["--version"]:  # without loading the command line
        sys.stdout.write(f"{__version__}\n")
        return DONE
    try:
        from cyclopts import CycloptsError

        from everfold.commands.app import app, show_whole_help
        from everfold.commands.config.config_file import read_config
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            raise
        return _complain("the command line needs: pip install 'everfold[cli]'", USAGE)
    try:
        arguments = read_config(app, arguments)
        show_whole_help(arguments)
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _complain(_without_values(str(error)), USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:  # the command line's own, of an interrupt among others
        if isinstance(end.code, int):
            return end.code
        raise  # its code is a sentence, which is shown
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough of it
        return DONE
    except EverfoldError as error:
        return _complain(str(error), exit_code(error))
    except OSError as error:  # of a file that was named, or of the standard output
        place = f": {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{place}", FAILED)
    except BaseExceptionGroup as group:
        return _complain_of(group)
    except RuntimeError as error:  # a second Ctrl-C has ended what was cleaning up after the first
        if _was_interrupted(error):
            return INTERRUPTED
        raise
    return code if isinstance(code, int) else DONE


def _was_interrupted(error: BaseException | None) -> bool:
    """Say whether an error was raised while an interrupt was under way."""
    for _ in range(50):
        if error is None or isinstance(error, KeyboardInterrupt):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _complain_of(group: BaseExceptionGroup[BaseException]) -> int:
    """Tell what went wrong in one of several tasks; a mistake of ours is raised as it is."""
    ours, others = group.split(EverfoldError)
    if others is not None and others.split(KeyboardInterrupt)[1] is None:
        return INTERRUPTED
    if ours is None or others is not None:
        raise group
    error = ours.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, EverfoldError)
    return _complain(str(error), exit_code(error))


def exit_code(error: EverfoldError) -> int:
    """Return 2 for what the caller has to change, 3 for an unknown name, 4 for no server."""
    if isinstance(error, Unknown):
        return NOT_FOUND
    if isinstance(error, Unavailable | NoServer):
        return UNAVAILABLE
    return USAGE if isinstance(error, Refused | Misconfigured) else FAILED


def _complain(sentence: str, code: int) -> int:
    from everfold.commands.output import complain

    complain(sentence)
    return code


def _without_values(sentence: str) -> str:
    """Leave out the value of an option that is not known: it may be a secret's, misspelt."""
    return re.sub(r"(--[\w.-]+=)[^\"'\s]*", r"\1***", sentence)


def _show_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write a traceback as logs have it: masked, and without control characters."""
    from everfold.streams.border.log_formatter import traceback_lines

    sys.stderr.write("Traceback:\n" + "\n".join(traceback_lines(error)) + "\n")


if __name__ == "__main__":
    main()
