"""The settings of backends: what tables, variables and flags say, and where secrets come from."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.commands.app import app
from everfold.commands.config import secret_sources
from everfold.commands.config.backends import Backends
from everfold.commands.config.config import of_backends
from everfold.commands.config.config_file import checked
from everfold.runner.access.access import Access
from everfold.runner.backend import BackendTraits
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import EverfoldError, Misconfigured
from tests.support.network.certificates import Certificates

MARK = "Zx9Qv"
URL = "http://gpu1:8188"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file that commands use; the environment says nothing of backends."""
    for name in os.environ:
        if name.startswith("EVERFOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("EVERFOLD_CONFIG", str(tmp_path / "everfold.toml"))
    (tmp_path / "everfold.toml").write_text("")
    return tmp_path / "everfold.toml"


def one(*flags: str) -> Access:
    """Return the only access that these flags choose."""
    (access,) = Backends.read().chosen(list(flags))
    return access


def urls(*flags: str) -> list[str]:
    return [access.url for access in Backends.read().chosen(list(flags))]


def test_a_table_says_all_of_a_backend(file: Path) -> None:
    (file.parent / "password").write_text(f"{MARK}\n")
    file.write_text(
        '[backends.gpu1]\nurl = "https://gpu1/comfy/"\nuser = "ada"\npassword-file = "password"\n'
        'labels = ["gpu:24gb", "video"]\nslots = 3\nca_file = "ca.pem"\n'
        f'client_cert = "/c.pem"\nheaders = {{ x-studio = "{MARK}" }}'
    )
    access = one()
    assert access.url == "https://gpu1/comfy"
    assert access.address.headers == {
        "Authorization": Secret("Basic YWRhOlp4OVF2"),
        "X-Studio": Secret(MARK),
    }
    assert (access.ca_file, access.client_cert) == (str(file.parent / "ca.pem"), "/c.pem")
    traits = access.traits
    assert (traits.title, traits.slots) == ("gpu1", 3)
    assert traits.labels == {"gpu:24gb", "video"}
    assert MARK not in repr(access)


def test_variables_come_before_the_file_and_need_no_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f'[backends.gpu-1]\nurl = "{URL}"\nuser = "a"\npassword = "b"\nslots = 1')
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU_1_PASSWORD", "c")
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU_1_HEADERS_X_API_KEY", "k")
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU_1_LABELS", "x, y")
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU_1_SLOTS", "4")
    monkeypatch.setenv("EVERFOLD_BACKENDS_ONLY_HERE_URL", "http://here:1")
    first, second = Backends.read().chosen(None)
    assert first.address.headers == {
        "Authorization": Secret("Basic YTpj"),
        "X-Api-Key": Secret("k"),
    }
    assert first.traits == BackendTraits(title="gpu-1", slots=4, labels=frozenset({"x", "y"}))
    assert (second.traits.title, second.url) == ("only_here", "http://here:1")


def test_the_variables_of_commands_and_of_other_programs_are_not_those_of_backends(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LS_NAMESPACE", "RETIRE_REDIS_URL", "SERVICE_HOST", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"EVERFOLD_BACKENDS_{name}", "redis://x")
    assert Backends.read().settings == {}
    file.write_text(f'[backends.gpu1]\nurl = "{URL}"')
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU1_PASWORD", MARK)
    with pytest.raises(Misconfigured, match=r"GPU1_PASWORD is no setting of backend gpu1$"):
        Backends.read()


def test_flags_choose_by_name_by_address_and_as_both(file: Path) -> None:
    file.write_text(
        f'[backends.gpu1]\nurl = "{URL}"\nslots = 5\n[backends.gpu2]\nurl = "http://gpu2:1"\n'
        'user = "u"\npassword = "p"'
    )
    assert urls() == [URL, "http://gpu2:1"]
    assert urls("gpu2") == ["http://gpu2:1"]
    assert one("HTTP://gpu1:8188/").traits.slots == 5
    moved = one("gpu1=http://elsewhere:2")
    assert (moved.url, moved.traits.slots, moved.traits.title) == ("http://elsewhere:2", 5, "gpu1")
    assert urls("gpu1,other=http://o:1", "http://h:1") == [URL, "http://o:1", "http://h:1"]
    assert urls("http://h:1", "http://h:1/") == ["http://h:1"]
    assert one("http://h:1").traits.title == ""
    (given,) = one("http://me:pw@gpu2:1").address.headers.values()
    assert given == Secret("Basic bWU6cHc=")


def test_a_take_over_knows_every_backend_that_has_settings(file: Path) -> None:
    file.write_text(
        f'[backends.gpu1]\nurl = "{URL}"\n[backends.gpu2]\nurl = "http://gpu2:1"\n'
        'user = "u"\npassword = "p"\n'
        '[backends.broken]\nurl = "http://b:1"\nuser = "u"\npassword_file = "none"'
    )
    backends = Backends.read()
    known = backends.known(backends.chosen(["gpu1=http://moved:1"]))
    assert sorted(known) == ["http://gpu2:1", "http://moved:1"]
    assert "Authorization" in known["http://gpu2:1"].address.headers


REFUSED = {
    "[backends.gpu1]\nurll = 'x'": "`urll` in [backends.gpu1] is unknown; did you mean `url`?",
    "[backends.gpu1]\nurl = 3": "`url` in [backends.gpu1] must be a string that is not empty",
    "[backends.gpu1]\npassword = 3": "`password` in [backends.gpu1] must be a string",
    "[backends.gpu1]\nslots = 0": "`slots` in [backends.gpu1] must be an integer from 1 to 1,000",
    "[backends.gpu1]\nslots = true": "`slots` in [backends.gpu1] must be an integer",
    "[backends.gpu1]\nlabels = [1]": "`labels` in [backends.gpu1] must be a list of strings",
    "[backends.gpu1]\nheaders = 'Zx9Qv'": "`headers` in [backends.gpu1] must be a table of headers",
    "[backends.gpu1.headers]\n'a b' = 'Zx9Qv'": "`headers.a b` in [backends.gpu1] cannot be",
    "[backends.gpu1.headers]\nHost = 'Zx9Qv'": "`headers.Host` in [backends.gpu1] cannot be sent",
    '[backends.gpu1.headers]\na = "Zx9Qv\\r\\nb: c"': "`headers.a` in [backends.gpu1] cannot",
    "[backends.gpu1]\npassword = 'Zx9Qv'\npassword_file = 'x'": "`password_file` in "
    "[backends.gpu1] is there twice, or in two ways",
    "[backends.gpu1]\npassword_command = 'x \"'": "`password_command` in [backends.gpu1] has a "
    "quote that is not closed",
    "[backends]\ngpu1 = 'http://x:1'": "`gpu1` in [backends] must be a table: write "
    "[backends.gpu1]",
    "[backends.'a b']\nurl = 'x'": "backend name 'a b' is not usable",
    "[backends.ls]\nurl = 'x'": "no backend can be named `ls`, which is a command",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_wrong_table_is_refused_with_a_sentence_that_names_no_value(
    text: str, file: Path
) -> None:
    file.write_text(text)
    with pytest.raises(Misconfigured) as refused:
        checked(file, app)
    assert str(refused.value).startswith(f"{file}: {REFUSED[text]}")
    assert MARK not in str(refused.value)


UNUSABLE = {
    "slots = 2": "backend gpu1: url is missing; write it like http://host:8188",
    "url = 'foo'": "'foo' is not the URL of a ComfyUI server: it has neither a scheme nor a port",
    "url = 'http://h:1'\npassword = 'Zx9Qv'": "backend gpu1: password needs user",
    "url = 'http://h:1'\nuser = 'u'": "backend gpu1: user needs password",
    "url = 'http://h:1'\nuser = 'u:v'\npassword = 'x'": "backend gpu1: user has a colon",
    "url = 'http://h:1'\nuser = 'u'\npassword_file = 'none'": "backend gpu1: password_file is not "
    "read: {folder}/none cannot be read: no such file",
    "url = 'http://h:1'\nuser = 'u'\npassword_file = 'empty'": "backend gpu1: password_file is "
    "not read: it is empty",
    "url = 'http://h:1'\nuser = 'u'\npassword_command = 'no-such-Zx 1'": "backend gpu1: "
    "password_command is not read: the command 'no-such-Zx' does not start: no such file",
    "url = 'http://h:1'\nuser = 'u'\npassword_command = ['false', 'Zx9Qv']": "backend gpu1: "
    "password_command is not read: the command 'false' ended with exit code 1",
    "url = 'http://h:1'\nheaders_file = { a = 'lines' }": "backend gpu1: headers.a cannot be sent",
    "url = 'http://h:1'\nuser = 'u'\npassword = 'p'\nheaders = { authorization = 'x' }": "backend "
    "gpu1: user and headers.Authorization exclude each other",
}


@pytest.mark.parametrize("text", UNUSABLE)
def test_an_access_that_cannot_be_used_says_what_to_change(text: str, file: Path) -> None:
    (file.parent / "empty").write_text("\n")
    (file.parent / "lines").write_text(f"{MARK}\nx: y\n")
    file.write_text(f"[backends.gpu1]\n{text}")
    with pytest.raises(Misconfigured) as refused:
        Backends.read().chosen(None)
    assert str(refused.value).startswith(UNUSABLE[text].format(folder=file.parent))
    assert MARK not in str(refused.value)


def test_a_word_that_is_no_address_and_no_backend_is_refused(file: Path) -> None:
    for word in ("foo", "gpu1=foo", "gpu1="):
        with pytest.raises(Misconfigured, match="is not the URL of a ComfyUI server"):
            Backends.read().chosen([word])
    with pytest.raises(Misconfigured, match="no ComfyUI is named"):
        Backends.read().chosen(None)


def test_one_address_has_one_name(file: Path) -> None:
    with pytest.raises(Misconfigured, match=r"backends a and b have one address, http://h:1$"):
        Backends.read().chosen(["a=http://h:1", "b=http://h:1/"])


# Secrets from elsewhere.


def script(folder: Path, text: str) -> str:
    place = folder / "secret.sh"
    place.write_text(f"#!{sys.executable}\n{text}")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    return f"./{place.name}"


def test_a_command_runs_in_the_folder_of_the_file_and_without_a_shell(file: Path) -> None:
    command = script(file.parent, "import sys; print('|'.join(sys.argv[1:]), end='\\r\\n\\n')")
    file.write_text(
        f'[backends.gpu1]\nurl = "{URL}"\n[backends.gpu1.headers-command]\n'
        f"X-Words = \"{command} 'a b' $HOME ; c\"\nX-List = ['{command}', 'd e']"
    )
    assert one().address.headers == {
        "X-Words": Secret("a b|$HOME|;|c"),
        "X-List": Secret("d e"),
    }


HANGS = "import os, time\nif not os.fork():\n    time.sleep(60)\ntime.sleep(60)"
FLOODS = "import os\nwhile True:\n    os.write(1, b'x' * 65536)"


@pytest.mark.parametrize(
    ("text", "why"),
    [(HANGS, "has not ended within 0.5 s"), (FLOODS, "it is larger than 65536 bytes")],
)
def test_a_command_that_does_not_end_or_prints_no_end_is_stopped(
    text: str, why: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_sources, "COMMAND_WITHIN_S", 0.5)
    command = script(file.parent, text)
    file.write_text(f'[backends.gpu1]\nurl = "{URL}"\nuser = "u"\npassword_command = "{command}"')
    began_s = time.monotonic()
    with pytest.raises(Misconfigured, match=why):
        Backends.read().chosen(None)
    assert time.monotonic() - began_s < 10


# Certificates.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def wrong_files(of: Certificates) -> Iterator[tuple[str, str]]:
    none, good, other = of.folder / "none", of.certificate("client"), of.key("good")
    yield f'ca_file = "{none}"', f"ca_file cannot be used: no such file or directory ({none})"
    yield f'ca_file = "{of.key("good")}"', "ca_file cannot be used: it holds no PEM of that kind"
    yield f'client_key = "{other}"', "client_key needs client_cert"
    yield f'client_cert = "{none}"', "client_cert, with its client_key, cannot be used: no such"
    yield (
        f'client_cert = "{good}"\nclient_key = "{other}"',
        "client_cert, with its client_key, cannot be used: the key is not that of the certificate",
    )


def test_files_that_cannot_be_used_are_named(file: Path, certificates: Certificates) -> None:
    for text, why in wrong_files(certificates):
        file.write_text(f'[backends.gpu1]\nurl = "https://h"\n{text}')
        with pytest.raises(EverfoldError) as refused:
            one().ssl_context()
        assert str(refused.value).startswith(f"backend gpu1: {why}")
    file.write_text('[backends.gpu1]\nurl = "http://h"\nca_file = "/x"')
    with pytest.raises(Misconfigured, match="url must begin with https://"):
        one().ssl_context()


# What is shown.


def test_what_is_set_is_shown_with_its_origin_and_without_secrets(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(
        f'[backends.gpu1]\nurl = "http://u:{MARK}@h:1"\nuser = "{MARK}"\npassword = "{MARK}"\n'
        f'labels = ["a", "b"]\nheaders_file = {{ X-A = "token" }}\n'
        f'client_key_password_command = ["printf", "{MARK}"]'
    )
    monkeypatch.setenv("EVERFOLD_BACKENDS_GPU1_SLOTS", "3")
    rows = [(row.setting, row.value, row.origin) for row in of_backends("everfold.toml")]
    assert [(name.removeprefix("backends.gpu1."), *rest) for name, *rest in rows] == [
        ("url", "http://***@h:1", "everfold.toml"),
        ("user", "***", "everfold.toml"),
        ("password", "***", "everfold.toml"),
        ("labels", ["a", "b"], "everfold.toml"),
        ("headers_file.x-a", "token", "everfold.toml"),
        ("client_key_password_command", "***", "everfold.toml"),
        ("slots", "3", "EVERFOLD_BACKENDS_GPU1_SLOTS"),
    ]
