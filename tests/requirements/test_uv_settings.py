"""What pip is told of indexes and proxies, uv is told too; what it cannot be told, pip has to do."""

import pytest
from uv_settings import NotTranslated, read, translate

ALWAYS = {"UV_SYSTEM_CERTS": "true", "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_PROGRESS": "true"}


@pytest.mark.parametrize(
    ("listing", "settings"),
    [
        ("", {}),
        ("global.index-url='https://me:secret@index/simple'\n", {"index-url": "https://me:secret@index/simple"}),
        ("global.timeout='15'\ninstall.timeout='20'\n:env:.timeout='30'", {"timeout": "30"}),
        ("install.timeout='20'\nglobal.timeout='15'", {"timeout": "20"}),
        ("download.timeout='20'", {}),
        (":env:.extra_index_url='https://a\\nhttps://b'", {"extra-index-url": "https://a\nhttps://b"}),
        ("WARNING: something about pip", {}),
    ],
    ids=["nothing", "an index", "the environment wins", "then the command", "another command", "two lines", "chatter"],
)
def test_settings_are_read_as_pip_ranks_them(listing: str, settings: dict[str, str]) -> None:
    assert read(listing) == settings


@pytest.mark.parametrize(
    ("option", "value", "variables"),
    [
        ("index-url", "https://i/simple", {"UV_DEFAULT_INDEX": "https://i/simple"}),
        ("extra-index-url", "https://a\nhttps://b", {"UV_INDEX": "https://a https://b"}),
        ("trusted-host", "a b", {"UV_INSECURE_HOST": "a b"}),
        ("find-links", "/ /not-there https://x", {"UV_FIND_LINKS": "/,https://x"}),
        ("find-links", "/not-there", {}),
        ("cert", "/ca.pem", {"SSL_CERT_FILE": "/ca.pem"}),
        ("cert", "/", {"SSL_CERT_DIR": "/"}),
        ("client-cert", "/me.pem", {"SSL_CLIENT_CERT": "/me.pem"}),
        ("default-timeout", "60", {"UV_HTTP_TIMEOUT": "60"}),
        ("retries", "9", {"UV_HTTP_RETRIES": "9"}),
        ("cache-dir", "/cache", {"UV_CACHE_DIR": "/cache/uv"}),
        ("no-cache-dir", "1", {"UV_NO_CACHE": "true"}),
        ("no-cache-dir", "off", {}),
        ("keyring-provider", "subprocess", {"UV_KEYRING_PROVIDER": "subprocess"}),
        ("disable-pip-version-check", "1", {}),
        ("no-index", "false", {}),
    ],
)
def test_each_setting_has_its_variable(option: str, value: str, variables: dict[str, str]) -> None:
    assert translate({option: value}, {}) == ALWAYS | variables


def test_a_proxy_of_pips_is_one_for_every_scheme() -> None:
    env = translate({"proxy": "http://p:1"}, {"HTTPS_PROXY": "http://other"})
    assert {env[name] for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy")} == {"http://p:1"}


@pytest.mark.parametrize("option", ["no-index", "constraint", "no-binary", "keyring-provider", "use-feature"])
def test_what_uv_does_not_know_is_named(option: str) -> None:
    with pytest.raises(NotTranslated, match=option):
        translate({option: "import"}, {})


def test_a_bundle_that_requests_is_told_is_uvs_too_and_pips_own_wins() -> None:
    environ = {"REQUESTS_CA_BUNDLE": "/theirs.pem"}
    assert translate({}, environ)["SSL_CERT_FILE"] == "/theirs.pem"
    assert translate({"cert": "/pips.pem"}, environ)["SSL_CERT_FILE"] == "/pips.pem"


def test_uv_keeps_what_it_is_told_of_indexes_and_loses_what_would_change_the_installation() -> None:
    environ = {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://uvs",
        "UV_INDEX_CORP_PASSWORD": "secret",
        "UV_NO_VERIFY_HASHES": "1",
        "UV_SYSTEM_PYTHON": "1",
    }
    env = translate({"index-url": "https://pips"}, environ)
    kept = {"PATH": "/bin", "UV_DEFAULT_INDEX": "https://uvs", "UV_INDEX_CORP_PASSWORD": "secret"}
    assert env == ALWAYS | kept
