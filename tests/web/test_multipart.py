"""Forms of strangers are read within bounds."""

from __future__ import annotations

import pytest

from everfold.web.files.multipart import HEAD_LIMIT_BYTES, Multipart, NotMultipart


def test_the_head_of_a_part_has_a_limit() -> None:
    parser = Multipart("multipart/form-data; boundary=b")
    parser.feed(b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n')
    lines = (b"X-More: " + b"x" * 4_000 + b"\r\n") * (HEAD_LIMIT_BYTES // 4_000 + 1)
    with pytest.raises(NotMultipart, match="too long"):
        parser.feed(lines)
