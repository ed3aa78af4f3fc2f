"""Bad surroundings in which a person may call a command: each has what it changes of a call."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from everfold.commands.app import app
from everfold.commands.config.settings import all_settings
from tests.everfold.walk.walker import Call

NOWHERE = "/proc/nowhere/x"
HTTP_ANSWER = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
HUGE_BYTES = 3 << 30
ANSWER_WITHIN_S = 0.2


class Kind(Struct, frozen=True):
    """One kind of bad surroundings."""

    change: Callable[[Call], Call]
    codes: frozenset[int] = frozenset({0, 1, 2, 3, 4})
    """The exit codes that are right for a command that does not run until a signal."""
    is_silent: bool = False
    """Whether nobody could read a sentence on stderr."""
    is_slow: bool = False
    """Whether each call takes seconds: few commands are called, all of them in full length."""


def with_environ(**environ: str) -> Callable[[Call], Call]:
    return lambda call: replace(call, environ={**call.environ, **environ})


def with_streams(**streams: str) -> Callable[[Call], Call]:
    return lambda call: replace(call, streams=streams)


def with_words(word: str) -> Callable[[Call], Call]:
    """Return what puts a word in the place of each argument that was made up."""

    def change(call: Call) -> Call:
        return replace(call, arguments=[word if one == "word" else one for one in call.arguments])

    return change


def with_file(path: Path) -> Callable[[Call], Call]:
    """Return what puts a file in the place of each path of a call."""

    def change(call: Call) -> Call:
        words = [str(path) if Path(one).is_absolute() else one for one in call.arguments]
        return replace(call, arguments=words)

    return change


def interrupted(number: int, after_s: float) -> Kind:
    """Return the kind in which a signal comes, which a command may have forestalled by its end."""
    codes = frozenset({0, 1, 2, 3, 130, -signal.SIGTERM})
    return Kind(
        lambda call: replace(call, signal_at_start=number, signal_after_s=after_s),
        codes=codes,
        is_silent=True,
    )


def closed(name: str) -> Kind:
    return Kind(with_streams(**{name: "closed"}), is_silent=name != "stdin")


@contextmanager
def listening(answer: bytes | None, met: threading.Event | None = None) -> Iterator[str]:
    """Yield the Redis URL of a port that answers whatever it gets with the same bytes, or with
    nothing. `met` is set when somebody has connected."""
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            with ExitStack() as kept:
                while not over.is_set():
                    with suppress(OSError):
                        connection = kept.enter_context(server.accept()[0])
                        connection.settimeout(ANSWER_WITHIN_S)
                        if met is not None:
                            met.set()
                        if answer is not None:
                            connection.recv(1)
                            connection.sendall(answer)
                            connection.shutdown(socket.SHUT_RDWR)

        server.settimeout(ANSWER_WITHIN_S)
        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def odd_files(folder: Path) -> Mapping[str, Path]:
    """Make files that are no good argument."""
    names = ("binary", "huge", "empty", "deep", "folder")
    found = {name: folder / f"{name}.json" for name in names}
    found["binary"].write_bytes(bytes(range(256)) * 16)
    with found["huge"].open("wb") as file:
        file.truncate(HUGE_BYTES)
    found["empty"].touch()
    found["deep"].write_bytes(b"[" * 200_000)
    found["folder"].mkdir()
    return {**found, "missing": folder / "missing", "unreadable": Path("/proc/self/mem")}


def of_the_process(home: Path) -> dict[str, Kind]:
    """Return the kinds that need no server."""
    nonsense = {
        setting.variables[-1]: "nonsense{ff}"
        for setting in all_settings(app)
        if setting.command and not setting.is_per_call
    }
    kinds = {
        "no home": Kind(lambda call: replace(call, without=("HOME", "XDG_CONFIG_HOME"))),
        "no current folder": Kind(lambda call: replace(call, folder_is_gone=True)),
        "stdout is full": Kind(with_streams(stdout="full")),
        "nobody reads stdout": Kind(with_streams(stdout="unread"), is_silent=True),
        "nobody reads stderr": Kind(with_streams(stderr="unread"), is_silent=True),
        "nobody reads anything": Kind(
            with_streams(stdout="unread", stderr="unread"), is_silent=True
        ),
        "the disk is full": Kind(
            lambda call: replace(call, file_limit_bytes=16, in_terminal=True), is_silent=True
        ),
        "words are no text": Kind(with_words("{ff}word")),
        "words are empty": Kind(with_words("")),
        "every option is nonsense": Kind(with_environ(**nonsense)),
        "the namespace is no text": Kind(with_environ(EVERFOLD_NAMESPACE="{ff}")),
        "the level of logging is nonsense": Kind(with_environ(EVERFOLD_LOG="loud")),
        "no folder for temporary files": Kind(with_environ(TMPDIR=NOWHERE, TEMP=NOWHERE)),
        "an odd time zone": Kind(with_environ(TZ="Nonsense/Zone")),
        "an odd locale": Kind(with_environ(LC_ALL="xx_YY.latin-7", PYTHONIOENCODING="ascii")),
        "an odd terminal": Kind(
            lambda call: replace(
                call, in_terminal=True, environ={"COLUMNS": "0", "LINES": "x", "TERM": "{ff}"}
            )
        ),
        "no file may be written": Kind(
            with_environ(EVERFOLD_DATA=NOWHERE, EVERFOLD_ASSETS=NOWHERE, EVERFOLD_ARCHIVE=NOWHERE)
        ),
        "stopped in the first moment": interrupted(signal.SIGTERM, 0.001),
        "interrupted in the first moment": interrupted(signal.SIGINT, 0.001),
        "interrupted a little later": interrupted(signal.SIGINT, 0.05),
    }
    kinds |= {f"{name} is closed": closed(name) for name in ("stdin", "stdout", "stderr")}
    files = odd_files(home)
    return kinds | {f"a file is {name}": Kind(with_file(path)) for name, path in files.items()}


def of_settings(config: Path, port: int) -> dict[str, Kind]:
    """Return the kinds of settings that cannot work: a wrong config file, a port that is taken."""
    ports = {
        setting.variables[-1]: str(port)
        for setting in all_settings(app)
        if setting.command and setting.key.endswith("port")
    }
    config.write_text("[runner]\nslots = 'many'\n")
    return {
        "the config file is wrong": Kind(with_environ(EVERFOLD_CONFIG=str(config))),
        "the config file is gone": Kind(with_environ(EVERFOLD_CONFIG=NOWHERE)),
        "every port is taken": Kind(with_environ(**ports)),
    }


def of_the_server(urls: Mapping[str, str]) -> dict[str, Kind]:
    """Return the kinds of servers that are no good, by their URLs."""
    slow = {"the server is silent"}
    return {
        name: Kind(with_environ(REDIS_URL=url), is_slow=name in slow) for name, url in urls.items()
    }
