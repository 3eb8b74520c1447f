"""Headers that go before anything reads them: which, and how many passes over all headers that takes."""

import json
import re
import subprocess
from itertools import product
from random import Random

import pytest
from google.protobuf.json_format import MessageToDict

from bench.sidecars import listener
from legation.mesh.model.call import Allow
from legation.mesh.model.service import Service
from legation.runtime import binaries
from xds_server.compile.forged import forged

SHORT, LONG = ("x-team", "y_a-b", "team", "9-9", "-", "^a-b"), tuple(f"x-{'part-' * 9}{n}" for n in "abc")


def removed(headers: tuple[str, ...], **more) -> list[re.Pattern[str]]:
    """Return what is removed where rules look at some headers, and at `more`."""
    service = Service.model_validate({"protocol": "http", "port": 80})
    rule = Allow.model_validate({"headers": dict.fromkeys(headers, "a"), **more})
    return [re.compile(matcher.safe_regex.regex.replace(r"\C", ".")) for matcher in forged(service, [(rule,)])]


def is_removed(name: str, patterns: list[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(name) for pattern in patterns)


@pytest.mark.parametrize("headers", [SHORT, LONG, (*SHORT, *LONG)])
def test_each_header_that_rules_look_at_is_left_in_its_own_spelling_alone(headers):
    patterns = removed(headers)
    for header in headers:
        parts = re.split("[-_]", header)
        spelled = {
            "".join(map("".join, zip(parts, [*s, ""], strict=True))) for s in product("-_", repeat=len(parts) - 1)
        }
        assert {name for name in spelled if not is_removed(name, patterns)} == {header}
        assert not any(
            is_removed(f"{name}{more}", patterns) or is_removed(more + name, patterns)
            for name in spelled
            for more in "ax"
        )


OF_PROXIES = r"[-_](?:envoy|legation)|_forwarded|-forwarded.*_"


def test_short_ones_share_the_pass_of_all():
    assert [p.pattern for p in removed(("x-a", "x-b", "x-c"))] == [f"^x(?:(?:{OF_PROXIES}).*|_a|_b|_c)"]
    assert len(removed(("x-team",), paths=["/a"], methods=["GET"])) == 1
    assert len(removed(("x-team", "team-x"), paths=["/a"], methods=["GET"])) == 2


@pytest.mark.parametrize(
    ("name", "goes"),
    [("x-original-url", True), ("x_rewrite_url", True), ("x-original", False), ("x-http-method-override", True),
     ("x_method-override", True), ("x-http_method", True), ("x-methods", False), ("x-envoy-a", True),
     ("x_legation", True), ("x_forwarded-for", True), ("x-forwarded-for", False), ("x-forwarded-client_cert", True),
     ("x-forwarded-client-cert", False), ("x-forward", False), ("ax-envoy-a", False)],
)  # fmt: skip
def test_what_means_another_thing_than_rules_look_at_goes(name, goes):
    assert is_removed(name, removed((), paths=["/a"], methods=["GET"])) == goes


WORDS = ("x", "team", "of", "organisation", "request", "a")


def names_of(chance: Random) -> list[str]:
    return [
        chance.choice("-_").join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(chance.randint(1, 6))
    ]


def test_envoy_takes_what_is_joined(tmp_path):
    """It refuses what RE2 needs more than 100 steps for."""
    chance, more = Random(0), {"paths": ["/a"], "methods": ["GET"]}
    rules = [Allow.model_validate({"headers": dict.fromkeys(names_of(chance), "a"), **more}) for _ in range(300)]
    service = Service.model_validate({"protocol": "http", "port": 80})
    headers = [
        {"name": "a", "string_match": MessageToDict(matcher)}
        for rule in rules
        for matcher in forged(service, [(rule,)])
    ]
    row = {"match": {"prefix": "/", "headers": headers}, "direct_response": {"status": 200}}
    hosts = {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [row]}]}
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener("a", ("127.0.0.1", 0), hosts)]}}))
    command = [binaries.envoy(), "--mode", "validate", "-c", file, "-l", "error"]
    proof = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert proof.returncode == 0, proof.stderr[-500:]
