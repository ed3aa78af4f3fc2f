"""What is sealed opens again as it was, and opens nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.erasing.seal_cipher import AesCipher, environment_cipher
from everfold.streams.border.sealed_form import (
    as_content,
    as_object,
    as_text,
    content_text,
    is_sealed,
    sealed_text,
)
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Misconfigured, SealKeyMissing
from everfold.streams.events.codec import decode, encode
from everfold.streams.events.event import (
    AssetInput,
    Canceled,
    CancelRequested,
    Event,
    Failed,
    Failure,
    Lost,
    NodeProblem,
    OutputSaved,
    Policy,
    Queued,
    Released,
    Retried,
    Submitted,
    Succeeded,
)
from everfold.streams.events.limits import EVENT_LIMIT_BYTES
from everfold.streams.sealing.cipher import SealBroken
from everfold.streams.sealing.sealed_values import (
    has_content,
    opened,
    sealed_event,
    sealed_keys,
)
from tests.support.network.ciphers import CIPHER, OTHER_CIPHER, OTHER_SEAL_KEY, SEAL_KEY

KEY = CIPHER.new_key()
KEY_ID = "a" * 40
WORD = "violet-hippopotamus"

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
values = st.recursive(
    leaves | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), values, max_size=5)

PHOTO = AssetInput(
    asset="a", hash="blake3:0", size_bytes=1, media_type="image/png", name=f"{WORD}.png"
)
PROBLEM = NodeProblem(node="3", node_class="KSampler", code="x", message=WORD)
FAILURE = Failure(code="x", message=WORD, traceback=f"in {WORD}", details=[PROBLEM])
OUTPUTS: dict[str, dict[str, object]] = {"9": {"text": [WORD], "n": 1}, "10": {}}
EVENTS: tuple[Event, ...] = (
    Submitted(
        kind="", user="ada", queue="default", priority="normal", workflow="0" * 64,
        metadata={"about": WORD}, policy=Policy(), inputs={"10.image": PHOTO},
    ),
    OutputSaved(attempt=1, node="9", output=OUTPUTS["9"]),
    Succeeded(attempt=1, outputs=OUTPUTS),
    Failed(attempt=1, failure=FAILURE, outputs=OUTPUTS),
    Canceled(reason=WORD, outputs=OUTPUTS),
    CancelRequested(reason=WORD),
    Lost(attempt=1, backend="http://a", cause="refused", failure=FAILURE),
    Retried(attempt=1, failure=FAILURE, not_before_ms=5),
    Queued(attempt=1, prompt_id="p", problems=[PROBLEM]),
    Released(reason="cannot_run", why=WORD),
)  # fmt: skip


def seal(content: bytes) -> str:
    return f"{KEY_ID}.{CIPHER.seal(KEY, content, 'job')}"


def unseal(text: str) -> bytes:
    return CIPHER.unseal(KEY, text.partition(".")[2], "job")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_no_content_of_an_event_is_left_plain_and_all_of_it_comes_back(event: Event) -> None:
    sealed = sealed_event(event, seal)
    payload = encode(sealed)

    assert has_content(event)
    assert WORD.encode() not in payload
    assert set(sealed_keys(sealed)) == {KEY_ID}
    assert decode(payload) == sealed
    assert opened(sealed, unseal) == event
    assert sealed_event(sealed, seal) == sealed


@given(metadata=objects, outputs=st.dictionaries(st.text(), objects, max_size=4))
def test_whatever_json_says_comes_back(
    metadata: dict[str, object], outputs: dict[str, dict[str, object]]
) -> None:
    for event in (
        OutputSaved(attempt=1, node="1", output=metadata),
        Succeeded(attempt=1, outputs=outputs),
    ):
        assert opened(sealed_event(event, seal), unseal) == event


@given(content=st.binary(min_size=1))
def test_bytes_come_back_and_equal_ones_have_equal_seals(content: bytes) -> None:
    stored = as_content(seal(content))

    assert stored == as_content(seal(content))
    assert content_text(stored)
    assert unseal(content_text(stored)) == content


@given(content=st.binary(min_size=1, max_size=40), at=st.integers(0), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(content: bytes, at: int, bit: int) -> None:
    sealed = bytearray(base64.urlsafe_b64decode(CIPHER.seal(KEY, content, "job") + "==="))
    sealed[at % len(sealed)] ^= 1 << bit
    text = base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    with pytest.raises(SealBroken):
        CIPHER.unseal(KEY, text, "job")


@given(text=st.text(max_size=60))
def test_what_was_never_sealed_is_refused_and_no_other_error_is_raised(text: str) -> None:
    with pytest.raises(SealBroken):
        CIPHER.unseal(KEY, text, "job")


def test_a_content_opens_in_its_place_and_under_its_key_alone() -> None:
    text = CIPHER.seal(KEY, b"{}", "job")

    for key, about in ((KEY, "other job"), (CIPHER.new_key(), "job")):
        with pytest.raises(SealBroken):
            CIPHER.unseal(key, text, about)


def test_the_place_of_what_cannot_be_opened_says_so() -> None:
    sealed = sealed_event(EVENTS[3], seal)
    told = opened(sealed, lambda _: "erased")

    assert isinstance(told, Failed)
    assert told.outputs == {node: {"everfold_sealed": "erased"} for node in OUTPUTS}
    assert told.failure.message == "(erased)"


@pytest.mark.parametrize(
    "value",
    [
        {"everfold_sealed": "erased"}, {"everfold_sealed": 5}, "everfold_sealed:x",
        {"everfold_sealed": f"{KEY_ID}.{'A' * 22}", "and": 1}, {}, "", [], None,
    ],
)  # fmt: skip
def test_what_only_looks_sealed_is_plain(value: object) -> None:
    assert not is_sealed(value)
    assert opened(value, unseal) == value


def test_the_forms_are_told_from_each_other() -> None:
    text = seal(b"{}")

    assert sealed_text(as_object(text)) == sealed_text(as_text(text)) == text
    assert content_text(b'{"everfold_sealed":"no"}') == content_text(b"{}") == ""


def test_sealed_outputs_are_never_cut() -> None:
    big: dict[str, dict[str, object]] = {"9": {"text": "x" * (EVENT_LIMIT_BYTES // 2)}}
    sealed = sealed_event(Succeeded(attempt=1, outputs=big), seal)

    found = decode(encode(sealed))
    assert opened(found, unseal) == Succeeded(attempt=1, outputs=big)


@pytest.mark.parametrize(
    "output",
    [
        {"text": [f"everfold_sealed:{'a' * 40}.{'b' * 30}"], "more": "x" * EVENT_LIMIT_BYTES},
        {"everfold_sealed": f"{'a' * 40}.{'b' * EVENT_LIMIT_BYTES}"},
    ],
)
def test_what_a_node_puts_out_that_looks_sealed_is_cut_as_all_else(
    output: dict[str, object],
) -> None:
    for event in (
        Succeeded(attempt=1, outputs={"9": output}),
        OutputSaved(attempt=1, node="9", output=output),
    ):
        assert len(encode(event)) < EVENT_LIMIT_BYTES


def test_many_small_outputs_fit_into_the_log_when_they_are_sealed() -> None:
    many: dict[str, dict[str, object]] = {str(node): {"text": ["a"]} for node in range(15_000)}

    assert len(encode(sealed_event(Succeeded(attempt=1, outputs=many), seal))) <= EVENT_LIMIT_BYTES


def test_a_key_of_a_user_opens_with_the_key_that_wrapped_it() -> None:
    wrapped = CIPHER.wrap(KEY, "field")

    assert CIPHER.unwrap(wrapped, "field") == KEY
    assert CIPHER.wrap(KEY, "field") != wrapped
    with pytest.raises(SealBroken):
        CIPHER.unwrap(wrapped, "another field")
    with pytest.raises(SealKeyMissing) as raised:
        OTHER_CIPHER.unwrap(wrapped, "field")
    assert raised.value.key == wrapped.by


def test_a_file_may_hold_the_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{OTHER_SEAL_KEY}\n{SEAL_KEY}\n")
    found = environment_cipher({"EVERFOLD_SEAL_KEY_FILE": str(file)})
    assert found is not None

    assert found.unwrap(CIPHER.wrap(KEY, "f"), "f") == KEY
    for text in ("", "hunter2"):
        file.write_text(text)
        with pytest.raises(Misconfigured, match="EVERFOLD_SEAL_KEY_FILE"):
            environment_cipher({"EVERFOLD_SEAL_KEY_FILE": str(file)})
    with pytest.raises(Misconfigured, match="cannot be read"):
        environment_cipher({"EVERFOLD_SEAL_KEY_FILE": str(tmp_path / "gone")})


def test_the_newest_key_wraps_and_older_ones_unwrap() -> None:
    old = environment_cipher({"EVERFOLD_SEAL_KEY": SEAL_KEY})
    both = environment_cipher({"EVERFOLD_SEAL_KEY": f"{OTHER_SEAL_KEY},{SEAL_KEY}"})
    new = environment_cipher({"EVERFOLD_SEAL_KEY": OTHER_SEAL_KEY})
    assert isinstance(old, AesCipher)
    assert isinstance(both, AesCipher)
    assert isinstance(new, AesCipher)

    assert both.unwrap(old.wrap(KEY, "f"), "f") == KEY
    assert new.unwrap(both.wrap(KEY, "f"), "f") == KEY


def test_without_a_key_there_is_no_cipher() -> None:
    assert environment_cipher({}) is None
    assert environment_cipher({"EVERFOLD_SEAL_KEY": ""}) is None


@pytest.mark.parametrize("text", ["hunter2-is-my-key", " ", SEAL_KEY[:-5], f"{SEAL_KEY},hunter2"])
def test_a_key_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        environment_cipher({"EVERFOLD_SEAL_KEY": text})

    assert "hunter2" not in str(raised.value)
    assert "openssl rand -base64 32" in str(raised.value)


def test_no_key_is_shown() -> None:
    assert Secret("x").reveal() not in repr(CIPHER.__dict__["_keys"]).replace("Secret", "")
    assert bytes(range(32)).hex() not in repr(vars(CIPHER))
