"""Forms of strangers are read within bounds."""

from __future__ import annotations

import httpx
import pytest

from everfold.web.files.multipart import HEAD_LIMIT_BYTES, Multipart, NotMultipart

ODD = [
    *("filename*=idna''x..y", "filename*=a%00b''x", "filename*0*=undefined''x"),
    *("filename*=unicode_escape''%5Cud800", "filename*=utf-7''%2B2AA-"),
]


def test_the_head_of_a_part_has_a_limit() -> None:
    parser = Multipart("multipart/form-data; boundary=b")
    parser.feed(b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n')
    lines = (b"X-More: " + b"x" * 4_000 + b"\r\n") * (HEAD_LIMIT_BYTES // 4_000 + 1)
    with pytest.raises(NotMultipart, match="too long"):
        parser.feed(lines)


@pytest.mark.anyio
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("path", "part", "status"), [("/upload/image", "image", 400), ("/api/v2/assets", "file", 422)]
)
async def test_a_name_in_an_odd_character_set_is_refused(
    client: httpx.AsyncClient, path: str, part: str, status: int, odd: str
) -> None:
    head = f'Content-Disposition: form-data; name="{part}"; {odd}'
    answer = await client.post(
        path,
        content=f"--b\r\n{head}\r\n\r\nhi\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == status, answer.text
    assert "cannot be read" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["idna", "a%00b", "undefined"])
def test_a_boundary_in_an_odd_character_set_is_refused(charset: str) -> None:
    with pytest.raises(NotMultipart):
        Multipart(f"multipart/form-data; boundary*={charset}''x..y").feed(b"--x..y\r\n")
