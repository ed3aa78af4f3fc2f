"""Requests that no client sends by mistake: bytes on the wire, made by chance from one seed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from urllib.parse import quote

from msgspec import Struct

from everfold.web.contracts import CONTRACTS
from everfold.web.operation import Operation

PATHS = [
    (row, under + row.path)
    for contract in CONTRACTS
    for under in contract.under
    for row in contract.operations
]

WORDS = (
    *("", " ", ".", "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "\\..\\x"),
    *("x" * 300, "x" * 9_000, "%00", "%0d%0aSet-Cookie:%20a=b", "%ff%fe", "%c3%28", "%", "%zz"),
    *("null", "None", "NaN", "-1", "0", "1e309", "9" * 400, "%F0%9F%92%A9", "'%22%3Cscript%3E"),
    *("*", "{job_id}", "$(id)", "default", "%20", "%09", "a%2Fb", "con", "blake3:zz", "ef_x_y"),
    "00000000-0000-0000-0000-000000000000",
)
NUMBERS = ("0", "-1", "1", "50", "99999999999999999999", "1e9", "1.5", "nan", "+1", "%2B1", "0x10")

PART = b"--x\r\nContent-Disposition: form-data"

BODIES: tuple[bytes, ...] = (
    b"", b"{}", b"[]", b"null", b"1", b'""', b"{", b'{"a"', b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"NaN", b'{"number": NaN}', b'{"limit": Infinity}', b'{"limit": 1e400}', b"-" * 5_000,
    b'{"limit": ' + b"9" * 5_000 + b"}", b"[" * 3_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    b'{"prompt": {}, "prompt": []}', b'{"filter": {}, "filter": {"user": 1}}',
    b'{"reason": "\\ud800"}',
    b'{"reason": "\\u0000"}', b'{"reason": ' + b'"x' * 1 + b"x" * 5_000 + b'"}', b'{"clear": true}',
    b'{"prompt": {"1": {"class_type": "X", "inputs": {}}}}', b'{"prompt": {"1": 1}}',
    b'{"prompt": {"1": {"class_type": 5, "inputs": []}}, "prompt_id": 7, "number": 1e308}',
    b'{"prompt": {"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}, "front": 3}',
    b'{"workflow": {"1": {"class_type": "X"}}, "metadata": {"a": {"b": [1]}}}',
    b'{"workflow": [], "inputs": {"1.image": {"__type": "core/ASSET", "id": "../x"}}}',
    b'{"delete": ["a", 1, null, {}]}', b'{"delete": "all"}', b'{"prompt_id": "\\uffff"}',
    b'{"job_ids": [[[[]]]]}', b'{"what": "running", "scope": "user", "name": "\\n", "number": 1}',
    b'{"what": "running", "scope": "user", "name": "u", "number": -0.0}', b'{"backend": ""}',
    b'{"priority": ["high"]}', b'{"changes": {"a.b.c": null, "": 1, "3.seed": 1e999}}',
    b'{"hash": "blake3:' + b"0" * 64 + b'"}', b'{"job_id": 5}', b'{"dry_run": "no", "filter": 0}',
    b"a=b&c=d", PART + b'; name="image"; filename="a"\r\n\r\n\r\n--x--',
    PART + b'; name="image"; filename="../../a\\0.png"\r\n\r\nhi\r\n--x--\r\n',
    PART + b'; name="image"; filename="good.png"\r\n\r\nhi\r\n--x--\r\n',
    PART + b'; name="file"\r\nContent-Type: \xff\r\n\r\nhi\r\n--x--\r\n',
    b"--x\r\n\r\n\r\n--x", b"--x\r\n" * 500, b"--x" + b"\r\nA: b" * 2_000 + b"\r\n\r\n1\r\n--x--",
)  # fmt: skip

TYPES = (
    *(
        "application/json",
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
    ),
    *(
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=" + "y" * 300,
        "\xff",
        ";;",
    ),
    *(
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "application/octet-stream",
    ),
)

HEADERS = (
    *("Range: bytes=0-0", "Range: bytes=5-2", "Range: bytes=-0", "Range: bytes=" + "0-1," * 500),
    *(
        "Range: bytes=99999999999999999999-",
        "Range: pages=1-2",
        "Range: bytes=a-b",
        "Range: bytes=-",
    ),
    *(
        "Last-Event-ID: -1",
        "Last-Event-ID: x",
        "Last-Event-ID: 0.0.0",
        "Last-Event-ID: " + "9" * 99,
    ),
    *("Accept: text/event-stream", "Accept: " + "a/b," * 900, "If-None-Match: *", "If-Range: x"),
    *(
        "Idempotency-Key: \xe9",
        "Idempotency-Key: " + "k" * 999,
        "Idempotency-Key: same",
        "Cookie: ;;=",
    ),
    *(
        "Comfy-User: ../../x",
        "Comfy-User: \x7f",
        "Authorization: Bearer",
        "Authorization: \xff \xff",
    ),
    *(
        "X-API-Key: ef_a_b",
        "Content-Encoding: gzip",
        "Content-Encoding: br, gzip",
        "Expect: 100-continue",
    ),
    *("Transfer-Encoding: gzip", "Content-Length: -5", "Content-Length: 1e3", "Upgrade: websocket"),
    *("Host: evil.example", "Host: a b", "X-Forwarded-For: " + "1.1.1.1," * 200, "Origin: null"),
    *(
        "Origin: http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Connection: Upgrade",
        "TE: trailers",
    ),
    *("X-HTTP-Method-Override: DELETE", "Accept-Encoding: " + "x" * 4_000, "Content-Length: 0"),
    "Content-Length: 99999999999999999999999",
)


class HostileRequest(Struct, frozen=True):
    """What is sent, and by which route it is meant to be answered."""

    row: str
    sent: bytes
    ends: bool = True
    """False: the sender goes away before the end of its body."""


class Hostile:
    """Makes requests. `known` are ids that there are: of jobs, files and prompts."""

    def __init__(self, seed: int, known: Sequence[str], host: str) -> None:
        self._chance = random.Random(seed)
        self._known = [*known]
        self._host = host

    def request(self, *, only_reads: bool = False) -> HostileRequest:
        """Return the next one."""
        chance = self._chance
        rows = [one for one in PATHS if one[0].method == "GET"] if only_reads else PATHS
        row, path = chance.choice(rows)
        method = row.method
        if not only_reads and chance.random() < 0.05:
            method = chance.choice(("GET", "HEAD", "OPTIONS", "TRACE", "PATCH", "BREW", "get"))
        target = self._target(row, path)
        head = [f"{method} {target} HTTP/1.1"]
        headers = {"Host": self._host, "Connection": "close"}
        body = b"" if row.method == "GET" and chance.random() < 0.9 else self._body()
        lines = [chance.choice(HEADERS) for _ in range(chance.choice((0, 0, 1, 1, 2, 5)))]
        given = {line.partition(":")[0] for line in lines}
        if body or row.method != "GET":
            headers["Content-Type"] = chance.choice(TYPES[:1] * 4 + TYPES)
            headers["Content-Length"] = str(len(body))
        ends = True
        if body and chance.random() < 0.04:
            headers["Content-Length"], ends = str(len(body) + 100), False
        elif body and chance.random() < 0.1:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
            body = chance.choice((_chunked, _badly_chunked))(body)
        head += [f"{name}: {value}" for name, value in headers.items() if name not in given]
        text = "\r\n".join([*head, *lines]) + "\r\n\r\n"
        return HostileRequest(row.name, text.encode("latin-1", "replace") + body, ends)

    def _target(self, row: Operation, path: str) -> str:
        target = re.sub(r"{\w+(?::\w+)?}", lambda _: self._word(), path)
        if not row.parameters or self._chance.random() < 0.3:
            return target
        names = [one.name for one in row.parameters if one.place == "query"] + ["x", ""]
        chosen = [self._chance.choice(names) for _ in range(self._chance.choice((1, 1, 2, 4)))]
        pairs = (f"{quote(name)}={self._value(row, name)}" for name in chosen)
        return f"{target}?{'&'.join(pairs)}"

    def _value(self, row: Operation, name: str) -> str:
        declared = next((one for one in row.parameters if one.name == name), None)
        if declared is not None and declared.choices and self._chance.random() < 0.5:
            return self._chance.choice(declared.choices)
        if declared is not None and declared.kind is not str and self._chance.random() < 0.8:
            return self._chance.choice(NUMBERS)
        return self._word()

    def _word(self) -> str:
        if self._known and self._chance.random() < 0.5:
            return quote(self._chance.choice(self._known), safe="")
        return self._chance.choice(WORDS).replace(" ", "%20") or "-"

    def _body(self) -> bytes:
        body = self._chance.choice(BODIES)
        if self._chance.random() < 0.1 and body:
            cut = self._chance.randrange(len(body))
            body = body[:cut] + bytes([self._chance.randrange(256)]) + body[cut + 1 :]
        return body


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def _badly_chunked(body: bytes) -> bytes:
    return b"%x;a=b\r\n%b\r\nzz\r\n" % (len(body), body)
