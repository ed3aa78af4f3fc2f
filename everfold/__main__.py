"""The `everfold` command: one clear line for whatever goes wrong, and an exit code that says it.

Rule: nothing of it is loaded before `main` runs, so that Ctrl-C ends it in any moment without a
traceback.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from everfold.streams.errors import EverfoldError

DONE, FAILED, USAGE, NOT_FOUND, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
LEAST_COLUMNS, MOST_COLUMNS = 40, 1_000
FRAMES = 200
"""Of an error's chain that is looked through."""


def main() -> None:
    try:
        sys.excepthook, sys.unraisablehook = _show_uncaught, _show_ignored
        _open_standard_streams()
        _check_columns()
        code = run(sys.argv[1:])
        if code == INTERRUPTED:
            _leave_at_once()
        code = _flushed(code)
    except KeyboardInterrupt:  # while it holds what was half made, which complains when it goes
        _leave_at_once()
    # Else Python looks for garbage a last time, which takes a fifth of a short command's time.
    gc.freeze()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Let a closed standard stream be an empty one, else a connection may get its number; and
    let output that a stream's encoding does not have be escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if (opened := os.open(os.devnull, os.O_RDWR)) != number:
                os.dup2(opened, number)
                os.close(opened)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a file that was written to before
                stream.reconfigure(errors="backslashreplace")


def _check_columns() -> None:
    """Let COLUMNS be a width that a page can have; 0 or nonsense counts as not set."""
    for name in ("COLUMNS", "LINES"):
        if (value := os.environ.get(name)) is not None:
            columns = int(value) if value.isascii() and value.isdigit() and len(value) < 7 else 0
            if not columns:
                del os.environ[name]
            elif name == "COLUMNS":
                os.environ[name] = str(min(max(columns, LEAST_COLUMNS), MOST_COLUMNS))


def _flushed(code: int) -> int:
    """Return the exit code when all output is written, else that of what was in the way."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _output_is_over()
    except (OSError, ValueError) as error:
        _output_is_over()
        return _complain_of_file(error) if isinstance(error, OSError) else code
    return code


def _output_is_over() -> None:
    """Write nothing more to a standard output that nobody reads, or that takes nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_at_once() -> None:
    """End without waiting for threads: after a second Ctrl-C one may wait for ever, or read a file
    of gigabytes to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; nothing but an interrupt is raised."""
    try:
        return _called(arguments)
    except SystemExit as end:  # the command line's own
        if isinstance(end.__context__, BrokenPipeError):  # rich has met it
            return _complain_of_file(end.__context__)
        return end.code if isinstance(end.code, int) else _complain(str(end.code), FAILED)
    except OSError as error:  # of a file that was named, or of the standard output
        return _complain_of_file(error)
    except BaseExceptionGroup as group:
        return _complain_of_group(group)
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            return _complain_of_mistake(error)
        return _complain("the command line needs: pip install 'everfold[cli]'", USAGE)
    except Exception as error:
        from everfold.streams.errors import EverfoldError

        if isinstance(error, EverfoldError):
            return _complain(str(error), exit_code(error))
        return _complain_of_mistake(error)


def _called(arguments: list[str]) -> int:
    if arguments == ["--version"]:  # without loading the command line
        from everfold import __version__

        sys.stdout.write(f"{__version__}\n")
        return DONE
    # redis loads OpenTelemetry where that is installed: it would double a short command.
    sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # what hides a module
    from everfold.commands.call import call

    return call(arguments)


def _was_interrupted(error: BaseException | None) -> bool:
    """Say whether an error was raised while an interrupt was under way: by a second Ctrl-C, which
    ends what cleans up after the first."""
    for _ in range(FRAMES):
        if error is None or isinstance(error, KeyboardInterrupt):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _complain_of_group(group: BaseExceptionGroup[BaseException]) -> int:
    """Tell what went wrong first in one of several tasks."""
    from everfold.streams.errors import EverfoldError

    found = list(_leaves(group))
    if any(isinstance(error, KeyboardInterrupt) for error in found):
        raise KeyboardInterrupt
    for error in found:
        if not isinstance(error, EverfoldError | OSError):
            return _complain_of_mistake(error)
    if isinstance(found[0], EverfoldError):
        return _complain(str(found[0]), exit_code(found[0]))
    return _complain_of_file(found[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found = list[BaseException]()
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def exit_code(error: EverfoldError) -> int:
    """Return 2 for what the caller has to change, 3 for an unknown name, 4 for no server."""
    from everfold.streams import errors

    if isinstance(error, errors.Unknown):
        return NOT_FOUND
    if isinstance(error, errors.Unavailable | errors.NoServer):
        return UNAVAILABLE
    return USAGE if isinstance(error, errors.Refused | errors.Misconfigured) else FAILED


def _complain(sentence: str, code: int) -> int:
    from everfold.commands.output import complain

    with contextlib.suppress(OSError, ValueError):  # nobody reads that either
        complain(sentence)
    return code


def _complain_of_file(error: BaseException) -> int:
    """Tell of a file that was named, or of the standard output; say nothing when what read that
    has enough of it."""
    if isinstance(error, BrokenPipeError):
        _output_is_over()
        return DONE
    place = getattr(error, "filename", None)
    why = getattr(error, "strerror", None) or error
    return _complain(f"{place}: {why}" if place else f"the output cannot be written: {why}", FAILED)


def _complain_of_mistake(error: BaseException) -> int:
    """Tell of an error that nobody foresaw, and where it came from."""
    if _was_interrupted(error):
        raise KeyboardInterrupt
    if os.environ.get("EVERFOLD_LOG", "").upper() == "DEBUG":
        _show_uncaught(type(error), error, error.__traceback__)
    what = f"{type(error).__name__}: {error}".strip(": ")
    return _complain(
        f"this is a mistake of Everfold, please report it: {what}\n"
        f"in {_origin(error)}; EVERFOLD_LOG=DEBUG shows the traceback",
        FAILED,
    )


def _origin(error: BaseException) -> str:
    """Return the last place of our own code that an error came through."""
    found, trace = "the command line", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if isinstance(name, str) and name.startswith("everfold."):
            found = f"{name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _show_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write a traceback as logs have it: masked, and without control characters. An interrupt,
    which may come at the last moment, has none."""
    if issubclass(kind, KeyboardInterrupt):
        _leave_at_once()
    from everfold.streams.border.log_formatter import traceback_lines

    sys.stderr.write("Traceback:\n" + "\n".join(traceback_lines(error)) + "\n")


def _show_ignored(ignored: sys.UnraisableHookArgs) -> None:
    """Let an interrupt end the process also where Python would ignore it: in what is called as a
    value goes."""
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        _leave_at_once()
    sys.__unraisablehook__(ignored)


if __name__ == "__main__":
    main()
