"""A secret is shown nowhere, in whatever form an address is written."""

from __future__ import annotations

import copy
import json
import pickle
import time
from collections.abc import Callable

import msgspec
import pytest

from everfold.runner.access.address import read_address
from everfold.sinks.addresses import check_url
from everfold.sinks.sql import _checked
from everfold.streams.border.addresses import masked_address, masked_receiver, masked_text
from everfold.streams.border.secrets import ReceiverUrl, Secret, SecretUrl
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.server import connect

MARK = "Zx9Qv"

FORMS = [
    f"redis://:{MARK}@h:6379/0",
    f"redis://ada:{MARK}@h",
    f"redis://{MARK}@h",
    f"redis://:{MARK}#x@h",
    f"redis://:x#{MARK}@h",
    f"redis://ada:x/{MARK}@h:1/0",
    f"redis://ada:{MARK}@h:notaport",
    f"redis://ada:{MARK}",
    f"redis://:x {MARK}@h/0",
    f"redis://h/0?password={MARK}",
    f"redis://h/0?x={MARK}",
    f"http://h/?{MARK}",
    f"http://h/x#{MARK}",
    f"http://a:b@h/?code=1&sig={MARK}",
    f"redis:/ada:{MARK}@h",
    f"redis:ada:{MARK}@h",
    f"//ada:{MARK}@h",
    f"ada:{MARK}@h:8188",
    f":{MARK}@h",
    f"{MARK}@h",
    f"http://a:1@h,http://b:{MARK}@h",
    f"a:1@h,b:{MARK}@h",
    f"http://[{MARK}@h",
    f"postgresql+asyncpg://u:{MARK}@h:x/db",
    f"postgresql://h/db?password={MARK}&ssl=y",
    f"unix:///a/b?password={MARK}",
    f"ftp://ada:{MARK}@h",
    f"https://h/done?sign=a@{MARK}",
    f"https://h?to=ada@h&key=b@{MARK}",
    f"https://h/done#a@{MARK}",
]


@pytest.mark.parametrize("form", FORMS)
def test_an_address_is_shown_without_its_secret(form: str) -> None:
    assert MARK not in masked_address(form)
    for shown in (SecretUrl(form), ReceiverUrl(form)):
        assert MARK not in f"{shown} {shown!r} {shown:>9} {[shown]} %s %r" % (shown, shown)


@pytest.mark.parametrize(
    "form", [form for form in FORMS if "://" in form and not {" ", "["} & {*form}]
)
def test_a_text_is_shown_without_the_secrets_in_it(form: str) -> None:
    assert MARK not in masked_text(f"{form!r} cannot be reached: {form}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "use",
    [
        connect,
        read_address,
        lambda url: check_url(url, allow_private=False),
        _checked,
    ],
    ids=["redis", "comfyui", "webhook", "sql"],
)
def test_no_error_of_an_address_shows_it(form: str, use: Callable[[str], object]) -> None:
    texts = list[str]()
    try:
        use(form)
    except EverfoldError as error:
        texts = said(error)
    assert not [text for text in texts if MARK in text]


def said(error: BaseException | None) -> list[str]:
    """Return all texts of an error and of what led to it."""
    if error is None:
        return []
    texts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    return texts + said(error.__cause__) + said(error.__context__)


@pytest.mark.parametrize(
    "text",
    [
        f"> Authorization: Basic {MARK}",
        f"headers {{'authorization': 'Bearer {MARK}'}}",
        f"X-Api-Key: {MARK}",
        f"secret whsec_{MARK} key phc_{MARK}",
        f"host=h password={MARK} user=u",
        f"{{'password': '{MARK}'}}",
        f'{{"db_password": "{MARK}"}}',
        f"Cookie: a=1; session={MARK}",
        f"{{'Cookie': 'a=1; session={MARK}', 'Host': 'h'}}",
        f"Authorization: Digest username='ada', response='{MARK}'",
        f"{{b'Authorization': b'Bearer {MARK}'}}",
        f"[('Authorization', 'Bearer {MARK}'), (b'x-api-key', b'{MARK}')]",
        f'{{\\"headers\\": {{\\"Cookie\\": \\"a=b; c={MARK}\\"}}}}',
        f"got 401 for Bearer 1234567{MARK}",
        f"{{'password': 'two {MARK}'}} and password='a \\' {MARK}' user=u",
        f"password: {MARK}",
        f"X-Auth-Token: {MARK}",
        f"EVERFOLD_SEAL_KEY={MARK} passphrase={MARK} private_key={MARK}",
        f"OTEL_EXPORTER_OTLP_HEADERS=api-key=x,other={MARK}",
        f"ERR unknown command 'AUTH', with args beginning with: 'ada' '{MARK}'",
    ],
)
def test_headers_and_keys_are_masked_in_texts(text: str) -> None:
    assert MARK not in masked_text(text)


@pytest.mark.parametrize(
    "unit", ["y", "a:", "a@", ":@", "x.", "a-", "token", "a ", ",", "http://", "a=", "'", "?a", "#"]
)
def test_masking_takes_no_longer_for_each_character_of_a_long_text(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    begun_s = time.process_time()
    masked_text(text)
    masked_address(text)
    masked_receiver(text)
    assert time.process_time() - begun_s < 2


def test_a_receiver_is_shown_as_its_host() -> None:
    assert masked_receiver(f"https://hooks.slack.com/services/T/{MARK}") == (
        "https://hooks.slack.com/***"
    )


def test_an_at_sign_behind_the_host_shows_nothing_that_follows_it() -> None:
    for form in (f"https://h/a@{MARK}", f"https://h/?a=b@{MARK}", f"https://h\\a@{MARK}"):
        assert masked_receiver(form) == "https://***"


def test_what_is_no_secret_stays() -> None:
    kept = ["redis://h:6379/0", "sqlite+aiosqlite:///jobs.db", "/home/me@x/f", "http://[::1]:8188"]
    assert [masked_address(one) for one in kept] == kept
    for text in (
        "job 12:30 of ada@example.com failed",
        "NoCredentialsError: unable to sign, see bearer authentication",
        "{'nodes': ['KSampler', 'VAEDecode'], 'seed': 7}",
    ):
        assert masked_text(text) == text


@pytest.mark.parametrize("behind", [",", ".", ":", ";", ")"])
def test_what_a_sentence_has_behind_an_address_is_no_part_of_it(behind: str) -> None:
    said = f"ask http://gpu1:8188{behind} it may answer"
    assert masked_text(said) == said
    assert MARK not in masked_text(f"ask http://gpu1:{MARK}{behind} it may answer")


def test_a_secret_cannot_leave_by_accident() -> None:
    secret = Secret(MARK)
    for leave in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError) as refused:
            leave(secret)
        assert MARK not in str(refused.value)
    assert secret.reveal() == MARK
    assert copy.deepcopy([secret]) == [secret] == [Secret(secret)]
    assert secret != Secret("other")
    assert secret != MARK
    assert not hasattr(secret, "__dict__")
