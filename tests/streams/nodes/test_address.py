"""What a Redis URL says, in all of its forms; what nobody could connect to has one sentence."""

from __future__ import annotations

import pytest

from everfold.streams.border.addresses import masked_address
from everfold.streams.connections.tls import Tls
from everfold.streams.errors import ServerUrlInvalid
from everfold.streams.nodes.address import parse_address
from everfold.streams.nodes.endpoint import Endpoint, endpoint

SENTINEL = (
    "redis+sentinel://ada:p%40ss@h1:1,[::1]:2,h3/main/3?sentinel_user=s&sentinel_password=a%2Fb"
)


def test_a_sentinel_service_has_hosts_and_credentials_of_two_layers() -> None:
    address = parse_address(SENTINEL)

    assert (address.kind, address.service, address.has_tls) == ("sentinel", "main", False)
    assert [str(one) for one in address.endpoints] == ["h1:1", "[::1]:2", "h3:26379"]
    to = Endpoint("10.0.0.1", 6379)
    assert address.server_url(to).reveal() == "redis://ada:p%40ss@10.0.0.1:6379?db=3"
    assert address.sentinel_url(to).reveal() == "redis://s:a%2Fb@10.0.0.1:6379"


def test_sentinels_get_no_password_that_is_the_servers() -> None:
    address = parse_address("rediss+sentinel://ada:x@h/main?ssl_check_hostname=false&password=y")

    assert (
        address.sentinel_url(Endpoint("h", 1)).reveal() == "rediss://h:1?ssl_check_hostname=false"
    )
    assert "password=y" in address.server_url(Endpoint("h", 1)).reveal()


def test_a_cluster_has_hosts() -> None:
    address = parse_address("rediss+cluster://:pw@a:7000,b/0?ssl_cert_reqs=none")

    assert (address.kind, address.has_tls) == ("cluster", True)
    assert address.endpoints == (Endpoint("a", 7000), Endpoint("b", 6379))
    assert address.server_url(Endpoint("::1", 7)).reveal() == (
        "rediss://:pw@[::1]:7?ssl_cert_reqs=none&db=0"
    )


def test_one_server_is_as_it_was() -> None:
    address = parse_address("redis://ada:pw@h:7/2")

    assert address.endpoints == (Endpoint("h", 7),)
    assert address.server_url(Endpoint("h", 7)).reveal() == "redis://ada:pw@h:7/2"
    assert parse_address("unix:///tmp/x.sock?db=1").endpoints == ()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://a:1,b:2/0", "several hosts need"),
        ("redis://[::1]:1,[::2]:2", "several hosts need"),
        ("redis+sentinel://h:1", "the name of the service"),
        ("redis+sentinel://h:1/", "the name of the service"),
        ("redis+sentinel://h:1/main/x", "number of a database"),
        ("redis+sentinel://h:1,/main", "one of its hosts"),
        ("redis+sentinel://h:0/main", "from 1 to 65535"),
        ("redis+sentinel://h:99999/main", "from 1 to 65535"),
        ("redis+sentinel://u:a/b@h/main", "%2F"),
        ("redis+sentinel://h/main?sentinel_user=x", "needs sentinel_password"),
        ("redis+sentinel://h/main?ssl_cert_reqs=none", "needs rediss://"),
        ("redis+sentinel://h/main?host=x", "one of its options does not exist"),
        ("redis+cluster://h/1", "the database 0 only"),
        ("redis+cluster://h?db=1", "the database 0 only"),
        ("redis+cluster://h?sentinel_password=x", r"is for redis\+sentinel"),
        ("redis+cluster://", "one of its hosts"),
        (f"redis+cluster://{','.join(['h'] * 100)}", "more than 64"),
        ("redis://h/0?sentinel_password=x", r"is for redis\+sentinel"),
        ("redis://h/x", "number of a database"),
    ],
)
def test_what_nobody_could_connect_to_has_a_sentence(url: str, why: str) -> None:
    with pytest.raises(ServerUrlInvalid, match=why):
        parse_address(url)


def test_all_forms_are_masked() -> None:
    assert masked_address(SENTINEL.replace("h3", "h3:3")) == (
        "redis+sentinel://***@h1:1,[::1]:2,h3:3/main/3?sentinel_user=***&sentinel_password=***"
    )
    shown = "redis+cluster://***@h1:1,h2:2/0"
    assert masked_address("redis+cluster://ada:pw@h1:1,h2:2/0") == shown
    assert "secret" not in masked_address("redis+cluster://ada:secret,h2:2/0")
    assert "ada" not in repr(parse_address(SENTINEL))


def test_settings_of_tls_are_added_to_all_forms() -> None:
    tls = Tls(ca="/a")
    assert tls.added_to("rediss+cluster://h") == "rediss+cluster://h?ssl_ca_certs=/a"
    assert tls.added_to("rediss+sentinel://h/s") == "rediss+sentinel://h/s?ssl_ca_certs=/a"


@pytest.mark.parametrize(
    ("host", "port", "found"),
    [
        ("h", 1, "h:1"),
        ("::1", "6379", "[::1]:6379"),
        ("", 6379, "None"),
        ("h", 0, "None"),
        ("h", -1, "None"),
        ("h", "x", "None"),
        ("h\n", 1, "None"),
        ("h" * 300, 1, "None"),
    ],
)
def test_an_endpoint_that_a_server_names_is_checked(host: str, port: object, found: str) -> None:
    assert str(endpoint(host, port)) == found
