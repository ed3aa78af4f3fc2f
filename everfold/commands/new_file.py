"""A file that a command writes: whole or not at all, and for this user alone.

Rule: what is no file, such as a device or a pipe, is written into and never replaced.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from everfold.streams.errors import Misconfigured


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file of mode 0600, which takes the place of `path` at the end.

    After an error it is gone, and `path` is as it was. A device or a pipe gets its content instead.
    Raises Misconfigured where it cannot be written.
    """
    try:
        is_stream = _is_stream(path)
        with contextlib.ExitStack() as stack:
            # Made anew with a name that nobody knows, so that nobody has put a link there.
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name[:64]}.", suffix=".part", dir=None if is_stream else path.parent
            )
            stack.callback(os.close, handle)
            part = Path(name)
            stack.callback(part.unlink, missing_ok=True)
            yield part
            os.fsync(handle)
            if is_stream:
                with part.open("rb") as made, path.open("wb") as stream:
                    shutil.copyfileobj(made, stream)
            else:
                part.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}") from error


def _is_stream(path: Path) -> bool:
    """Say whether it is a device, a pipe, or a standard stream by its name, which may be a file."""
    is_special = path.exists() and not path.is_file() and not path.is_dir()
    return is_special or path.absolute().is_relative_to("/dev")
