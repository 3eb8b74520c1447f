"""uv's settings from pip's: uv reads none of pip's, and whoever has an index of their own has told pip of it.

They go from pip to uv through the environment alone: an address may hold a password.
"""

import ast
import re
from pathlib import Path
from typing import Callable  # noqa: UP035 - for any python3

SECTIONS = ("global", "install", ":env:")
"""Whose settings pip follows when it installs; a later one wins."""

HARMLESS = {
    "disable-pip-version-check",
    "exists-action",
    "no-color",
    "no-input",
    "no-python-version-warning",
    "no-warn-conflicts",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "require-hashes",
    "require-virtualenv",
    "root-user-action",
    "verbose",
}
"""Settings of pip that make no difference to what is installed from a lock file, or from where."""

KEPT = re.compile(
    "UV_(DEFAULT_INDEX|INDEX_.*|INDEX|EXTRA_INDEX_URL|FIND_LINKS|INSECURE_HOST|HTTP_.*|KEYRING_PROVIDER|SYSTEM_CERTS"
    "|NATIVE_TLS|CACHE_DIR|NO_CACHE|LINK_MODE|CONCURRENT_.*|OFFLINE)"
)
"""uv's own variables that say where it takes packages from, and no more; others could change what is installed."""

OFF = {"", "0", "false", "no", "off", "n", "f"}


class NotTranslated(Exception):
    """pip is told something that uv cannot be told; its text is the setting's name."""


def read(listing: str) -> "dict[str, str]":
    """Return what pip is told about installing, by option, from the output of `pip config list`."""
    found = {}  # type: dict[str, dict[str, str]]
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        try:
            found.setdefault(section, {})[option.lstrip("-").replace("_", "-")] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):
            continue  # a line that is no setting
    return {option: value for section in SECTIONS for option, value in found.get(section, {}).items()}


def translate(settings: "dict[str, str]", environ: "dict[str, str]") -> "dict[str, str]":
    """Return the environment in which uv does what pip would do with these settings; NotTranslated where it cannot."""
    env = {name: value for name, value in environ.items() if not name.startswith("UV_") or KEPT.fullmatch(name)}
    bundle = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    told = {"UV_SYSTEM_CERTS": "true", "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_PROGRESS": "true"}
    # pip takes a package from whichever index has it, and so must uv: every one is checked by its hash
    if bundle:
        told.update(_certificate(bundle))
    for option, value in settings.items():
        told.update(_one(option, value.strip()))
    mine = {name: value for name, value in told.items() if not name.startswith("UV_") or name not in env}
    return dict(env, **mine)


def _one(option: str, value: str) -> "dict[str, str]":
    """Return the variables that say to uv what one option says to pip."""
    if option in HARMLESS:
        return {}
    if option in _SAID_BY:
        return _SAID_BY[option](value)
    if value.lower() in OFF:
        return {}
    raise NotTranslated(option)


def _as(name: str) -> "Callable[[str], dict[str, str]]":
    return lambda value: {name: " ".join(value.split())}


def _certificate(path: str) -> "dict[str, str]":
    return {"SSL_CERT_DIR" if Path(path).is_dir() else "SSL_CERT_FILE": path}


def _find_links(value: str) -> "dict[str, str]":
    """Leave out folders that are not there, of which pip only warns."""
    there = [link for link in value.split() if "://" in link or Path(link).expanduser().exists()]
    return {"UV_FIND_LINKS": ",".join(there)} if there else {}


def _proxy(value: str) -> "dict[str, str]":
    return dict.fromkeys(("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), value)


def _no_cache(value: str) -> "dict[str, str]":
    return {} if value.lower() in OFF else {"UV_NO_CACHE": "true"}


def _keyring(value: str) -> "dict[str, str]":
    if value not in ("disabled", "subprocess"):
        raise NotTranslated("keyring-provider")
    return {"UV_KEYRING_PROVIDER": value}


_SAID_BY = {
    "cache-dir": lambda value: {"UV_CACHE_DIR": str(Path(value).expanduser() / "uv")},
    "cert": _certificate,
    "client-cert": _as("SSL_CLIENT_CERT"),
    "default-timeout": _as("UV_HTTP_TIMEOUT"),
    "extra-index-url": _as("UV_INDEX"),
    "find-links": _find_links,
    "index-url": _as("UV_DEFAULT_INDEX"),
    "keyring-provider": _keyring,
    "no-cache-dir": _no_cache,
    "proxy": _proxy,
    "retries": _as("UV_HTTP_RETRIES"),
    "timeout": _as("UV_HTTP_TIMEOUT"),
    "trusted-host": _as("UV_INSECURE_HOST"),
}  # type: dict[str, Callable[[str], dict[str, str]]]
