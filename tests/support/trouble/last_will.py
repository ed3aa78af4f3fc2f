"""What is to be done when a test is killed: a shell beside it ends what the test cannot end.

Rule: the shell waits for the end of its input, which comes with the end of the test, however that
ends. The last line is what it runs then; each line takes the place of the one before.
"""

from __future__ import annotations

import subprocess

_WAITS = 'last=; while read -r line; do last=$line; done; eval "$last"'


class LastWill:
    """Made before what it is to end."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["sh", "-c", _WAITS],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the test, which ends its processes itself
        )

    def say(self, commands: str) -> None:
        """Let the shell run `commands`, one line, when this process ends or `close` is called."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{commands}\n".encode())
        self._shell.stdin.flush()

    def close(self) -> None:
        """Run what was said last."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()
