"""`host:port` as people write it."""

import pytest

from legation.runtime import host_port


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.1:8080", ("10.0.0.1", 8080)),
        ("orders:1", ("orders", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_what_is_split_is_the_same_once_it_is_joined(text: str, place: tuple[str, int]) -> None:
    assert host_port.split(text) == place
    assert host_port.join(*place) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "10.0.0.1", "10.0.0.1:", ":80", " :80", "[]:80", "[a]:80", "[::1]"),
        *("a:b", "a:-1", "a:0", "a:65536", "a:٣", "a:8 "),
    ],
)
def test_what_is_none_says_what_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match=r": HOST:PORT, as 10\.0\.0\.1:8080 or \[::1\]:8080") as error:
        host_port.split(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["::1:80", "fd00::7", "http://a:80"])
def test_an_ipv6_address_needs_its_brackets(text: str) -> None:
    with pytest.raises(ValueError, match="an IPv6 address in brackets"):
        host_port.split(text)


@pytest.mark.parametrize(
    ("text", "place"), [("a", ("a", 7)), ("a:1", ("a", 1)), ("[::1]", ("::1", 7)), ("[::1]:1", ("::1", 1))]
)
def test_a_port_may_have_a_default(text: str, place: tuple[str, int]) -> None:
    assert host_port.split(text, 7) == place


def test_who_listens_may_have_a_port_that_is_free() -> None:
    assert host_port.split("127.0.0.1:0", listens=True) == ("127.0.0.1", 0)


@pytest.mark.parametrize("text", ["", "a:", "::1", "[]"])
def test_a_default_mends_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        host_port.split(text, 7)
