"""A file that a command writes: whole or not at all, and for this user alone."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from everfold.streams.errors import Misconfigured


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file of mode 0600, which takes the place of `path` at the end.

    After an error it is gone, and `path` is as it was. Raises Misconfigured where it cannot be
    written.
    """
    try:
        with contextlib.ExitStack() as stack:
            # Made anew with a name that nobody knows, so that nobody has put a link there.
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name[:64]}.", suffix=".part", dir=path.parent
            )
            stack.callback(os.close, handle)
            part = Path(name)
            stack.callback(part.unlink, missing_ok=True)
            yield part
            os.fsync(handle)
            part.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}") from error
