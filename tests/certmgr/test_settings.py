"""certmgr's settings: what makes no sense together is said, with what would."""

from pathlib import Path
from typing import Any

import pytest

from certmgr.settings import Settings

AWAY: dict[str, Any] = {"xds": "10.0.0.1:15014", "trust_domain": "shop.local", "vault_address": "https://vault:8200"}


def test_a_host_that_joins_needs_to_know_whom_and_by_which_vault(tmp_path: Path):
    settings = Settings(tmp_path, identities="web, orders,", **AWAY)
    settings.check()
    assert settings.chosen == {"web", "orders"}
    assert Settings(tmp_path).chosen == frozenset()
    Settings(tmp_path).check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trust_domain": ""}, "needs --trust-domain"),
        ({"xds": "10.0.0.1"}, "--xds '10.0.0.1': HOST:PORT, as"),
        ({"vault_address": ""}, "needs --vault-address"),
        ({"vault_auth": "magic"}, "magic"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, change, said):
    with pytest.raises(ValueError, match=said):
        Settings(tmp_path, **{**AWAY, **change}).check()
