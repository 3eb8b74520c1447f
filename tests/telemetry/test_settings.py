"""Settings of telemetry."""

import pytest

from legation.runtime import settings
from telemetry.settings import Settings

NEEDED = ["--control", "/run/t.sock", "--xds-control", "/run/x.sock"]


def load(*argv: str) -> Settings:
    return settings.load(Settings, "TELEMETRY", [*NEEDED, *argv], {})


def test_only_loopback_is_listened_on_unless_asked():
    assert (load().host, load().port, load().component_addresses()) == ("127.0.0.1", 15080, {})


def test_parts_are_names_and_addresses():
    given = load("--components", "xds_server=127.0.0.1:15011,certmgr=[::1]:15012")
    assert given.component_addresses() == {"xds_server": "127.0.0.1:15011", "certmgr": "[::1]:15012"}


@pytest.mark.parametrize("bad", ["certmgr", "certmgr=", "=127.0.0.1:1", "certmgr=127.0.0.1", "certmgr=:1", "a=b:c"])
def test_a_part_of_another_form_is_refused(bad):
    with pytest.raises(ValueError, match=f"components: '{bad}' is not of the form name=host:port"):
        load("--components", bad).component_addresses()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "either --xds-control"),
        (("--xds-control", "/x", "--xds", "a:1", "--sds", "/s"), "either --xds-control"),
        (("--xds", "a:1"), "--xds a:1 needs --sds SOCKET"),
        (("--xds-control", "/x", "--listen", "a", "--sds", "/s"), "--listen 'a': HOST:PORT"),
        (("--xds-control", "/x", "--listen", "a:1"), "--listen a:1 needs --sds SOCKET"),
        (("--xds-control", "/x", "--logs-to", "a:1", "--sds", "/s"), "without --state no log is kept"),
    ],
)
def test_words_that_make_no_sense_together_are_refused(words, why):
    with pytest.raises(ValueError, match=why):
        settings.load(Settings, "TELEMETRY", ["--control", "/t", *words], {}).check()


def test_a_host_that_joins_another_ones_mesh_names_it():
    words = ["--control", "/t", "--xds", "a:1", "--sds", "/s", "--state", "/d", "--logs-to", "a:2"]
    settings.load(Settings, "TELEMETRY", words, {}).check()
