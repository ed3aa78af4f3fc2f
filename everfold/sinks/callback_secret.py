"""The secret with which `everfold up` signs callbacks where none is given.

Rule: it is made once, for this user alone, in the data folder, and is never replaced.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from everfold.sinks.signing import PREFIX, read_secret
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Misconfigured

FILE = "callback-secret"
SECRET_BYTES = 32


def secret_file(folder: Path) -> tuple[Path, Secret]:
    """Return the file in a folder and the secret in it; both are made where they are missing.

    Raises Misconfigured where the folder cannot be written, or the file holds something else.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        secret = Secret(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Misconfigured(f"the secret of callbacks cannot be kept in {path}: {why}") from error
    read_secret(secret)
    return path, secret


def _make(path: Path) -> None:
    """Write a new secret under another name first: nobody reads a part of one."""
    if path.exists():
        return
    text = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode() + "\n"
    # Not with the process id: in a container the next process has the same one.
    part = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.link(part, path)
    except FileExistsError:
        return  # another process was first
    finally:
        part.unlink()
