"""An S3-compatible server as a real process of the tests: moto, which keeps all in memory."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO
from uuid import uuid4

from msgspec import Struct

SIGNED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host"
"""By which moto sees which service is meant."""


class S3Server(Struct, frozen=True):
    host: str
    port: int

    def new_bucket(self) -> str:
        """Make a bucket that no other test uses, and return its name."""
        name = f"everfold-{uuid4().hex[:12]}"
        self.ask("PUT", f"/{name}")
        return name

    def ask(self, method: str, path: str) -> bytes:
        """Return what it answers, past all that the code under test does."""
        connection = http.client.HTTPConnection(self.host, self.port)
        try:
            connection.request(
                method,
                path,
                headers={"Content-Length": "0", "Authorization": f"{SIGNED}, Signature=1"},
            )
            reply = connection.getresponse()
            found = reply.read()
            assert reply.status < 300, found
            return found
        finally:
            connection.close()

    def open_uploads(self, bucket: str) -> int:
        """Return how many uploads in parts were begun and neither completed nor aborted."""
        return self.ask("GET", f"/{bucket}?uploads").count(b"<UploadId>")


def settings(port: int) -> Mapping[str, str]:
    """Return the variables that send obstore to a server on loopback."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server until the context ends."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = _port(process.stdout)
        # What it prints is read all the time, so that it never blocks on that.
        reader = threading.Thread(target=process.stdout.read, daemon=True)
        reader.start()
        yield S3Server("127.0.0.1", port)
    finally:
        process.kill()
        process.wait()
    reader.join()
    process.stdout.close()


def _port(output: IO[str]) -> int:
    lines = list[str]()
    for line in output:
        lines.append(line)
        if found := re.search(r"Running on http://127.0.0.1:(\d+)", line):
            return int(found[1])
    raise AssertionError(f"moto did not start: {''.join(lines)}")
