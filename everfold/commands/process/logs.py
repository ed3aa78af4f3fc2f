"""What a process that runs until a signal logs to standard error, from which level, in which form.

Rule: a person who looks on reads text, a program that collects reads JSON: what runs until a
signal writes JSON wherever its standard error is no terminal, as in a container or a unit.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import get_args

from everfold.commands.options import Form, Level
from everfold.streams.border.log_formatter import JsonLogFormatter, LogFormatter
from everfold.streams.border.log_writer import LogWriter
from everfold.streams.border.logger import write_logs
from everfold.streams.errors import Misconfigured

LEVEL, FORM = "EVERFOLD_LOG", "EVERFOLD_LOG_FORMAT"
"""The environment variables that choose both."""


def log_of_one_call() -> None:
    """Log as a command does that ends by itself: what goes wrong, for the person who called it.

    Raises Misconfigured as `begin_logging` does.
    """
    begin_logging(os.environ.get(LEVEL) or "WARNING", os.environ.get(FORM) or "text")


def begin_logging(level: str | None = None, form: str | None = None) -> None:
    """Log to standard error from `level`, in `form`. Both default to the environment's, else INFO,
    and text on a terminal, JSON anywhere else.

    Raises Misconfigured for a word that is none of them.
    """
    chosen = _level(level or os.environ.get(LEVEL) or "INFO")
    formatter = JsonLogFormatter() if _is_json(form) else LogFormatter()
    write_logs(_writer(formatter), chosen)


def _writer(formatter: logging.Formatter) -> logging.Handler:
    try:
        made: logging.Handler = LogWriter(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # it was closed before, or is no file
        return logging.NullHandler() if sys.stderr is None else _to_stream(formatter)
    made.setFormatter(formatter)
    return made


def _to_stream(formatter: logging.Formatter) -> logging.Handler:
    made = logging.StreamHandler()
    made.setFormatter(formatter)
    return made


def _level(name: str) -> int:
    if name.upper() not in get_args(Level):
        raise Misconfigured(f"{LEVEL} is {name!r}, which is no level of logging: write INFO")
    return logging.getLevelNamesMapping()[name.upper()]


def _is_json(form: str | None) -> bool:
    name = (form or os.environ.get(FORM) or "").lower()
    if name not in ("", *get_args(Form)):
        raise Misconfigured(f"{FORM} is {name!r}, which is no form of a log: write text or json")
    return name == "json" if name else not _is_terminal()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
