"""The `everfold` command: one clear line for whatever goes wrong, and an exit code that says it."""

from __future__ import annotations

import gc
import sys

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
    code = run(sys.argv[1:])
    # Else Python looks for garbage a last time, which takes a fifth of a short command's time.
    gc.freeze()
    sys.exit(code)


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
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough of it
        return DONE
    except EverfoldError as error:
        return _complain(str(error), exit_code(error))
    except BaseExceptionGroup as group:
        return _complain_of(group)
    return code if isinstance(code, int) else DONE


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
    sys.stderr.write(f"everfold: {sentence}\n")
    return code


if __name__ == "__main__":
    main()
