"""Calls the command that a command line names. Raises what the command raises."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import CycloptsError

from everfold.commands.app import app, show_whole_help
from everfold.commands.arguments import with_options_last
from everfold.commands.config.config_file import read_config
from everfold.commands.output import complain
from everfold.commands.process.logs import log_of_one_call

USAGE = 2


def call(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    log_of_one_call()
    arguments = with_options_last(app, read_config(app, arguments))
    if arguments[:1] == ["submit"]:  # a lone - looks like an option to the command line's parser
        from everfold.workflow_file import STDIN

        arguments = [str(STDIN) if word == "-" else word for word in arguments]
    show_whole_help(arguments)
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        from everfold.commands.help.mistakes import mistake_in

        complain(mistake_in(error, app, arguments))
        return USAGE
    return code if isinstance(code, int) else 0
