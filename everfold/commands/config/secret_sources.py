"""Secrets that a setting names the place of: a file, or a command that prints them.

Rule: a command runs without a shell and for a bounded time; what it prints is a secret, is never
logged, and no sentence shows it or the command's arguments.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from everfold.streams.border.secrets import Secret

COMMAND_WITHIN_S = 10.0
SECRET_LIMIT_BYTES = 65_536


class NoSecret(Exception):
    """The place has no secret that can be used; the text says why, without any part of it."""


def secret_of_file(path: str) -> Secret:
    """Return what a file holds, without the line ends behind it. Raises NoSecret."""
    try:
        with Path(path).open("rb") as file:
            return _secret(file.read(SECRET_LIMIT_BYTES + 1))
    except OSError as error:
        raise NoSecret(f"{path} cannot be read: {(error.strerror or '').lower()}") from None


def secret_of_command(command: str | Sequence[str], folder: Path | None = None) -> Secret:
    """Return what a command prints, without the line ends behind it. Raises NoSecret.

    A text is split into words as a shell does, and nothing else of a shell is done. The command
    starts in `folder`, with all that it starts in turn it is killed after COMMAND_WITHIN_S.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError:
        raise NoSecret("the command has a quote that is not closed") from None
    if not words:
        raise NoSecret("the command is empty")
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or "its words are not usable").lower()
        raise NoSecret(f"the command {words[0]!r} does not start: {why}") from None
    with process:
        try:
            printed = _printed(process)
        except subprocess.TimeoutExpired:
            why = f"the command {words[0]!r} has not ended within {COMMAND_WITHIN_S:g} s"
            raise NoSecret(why) from None
        finally:
            with suppress(ProcessLookupError):  # what it has left behind as well
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode and len(printed) <= SECRET_LIMIT_BYTES:
        raise NoSecret(f"the command {words[0]!r} ended with exit code {process.returncode}")
    return _secret(printed)


def _printed(process: subprocess.Popen[bytes]) -> bytes:
    """Return what it prints until it ends, or a little more than a secret may have.

    Raises subprocess.TimeoutExpired.
    """
    assert process.stdout is not None
    printed, ends_at_s = bytearray(), time.monotonic() + COMMAND_WITHIN_S
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while len(printed) <= SECRET_LIMIT_BYTES:
            if not ready.select(max(0.0, ends_at_s - time.monotonic())):
                raise subprocess.TimeoutExpired(process.args, COMMAND_WITHIN_S)
            part = os.read(process.stdout.fileno(), SECRET_LIMIT_BYTES)
            if not part:
                process.wait(max(0.0, ends_at_s - time.monotonic()))
                break
            printed += part
    return bytes(printed)


def _secret(content: bytes) -> Secret:
    if len(content) > SECRET_LIMIT_BYTES:
        raise NoSecret(f"it is larger than {SECRET_LIMIT_BYTES} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise NoSecret("it is not UTF-8") from None
    if not text:
        raise NoSecret("it is empty")
    return Secret(text)
