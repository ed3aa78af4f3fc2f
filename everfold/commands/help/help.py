"""`everfold help`: the page of a command, or the text of a topic."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everfold.commands.app import app, show_whole_help
from everfold.commands.arguments import command_words
from everfold.commands.help.topics import topic_text, topics
from everfold.commands.output import say
from everfold.streams.border.values import instead
from everfold.streams.errors import Misconfigured

Words = Annotated[str, Parameter(help="A command's words, such as jobs ls, or a topic.")]


def help(*words: Words) -> None:
    """Show the help of a command, or of a topic."""
    if not words:
        app.help_print([])
        _list_topics()
    elif (topic := "-".join(words).lower()) in (known := topics()):
        for line in topic_text(topic).splitlines():
            say(line)
    elif command_words(app, words) == list(words):
        show_whole_help(words)
        app.help_print(list(words))
    else:
        every = [name for name in app if not name.startswith("-")]
        meant = instead(words[0], [*known, *every]) if len(words) == 1 else "see `everfold help`"
        raise Misconfigured(f"there is no command and no topic {' '.join(words)!r}; {meant}")


def _list_topics() -> None:
    say("Topics, for everfold help TOPIC:")
    for name, sentence in topics().items():
        say(f"  {name:<14}{sentence}")
