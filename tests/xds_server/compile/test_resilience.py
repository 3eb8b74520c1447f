"""What of outlier detection, interest and access no request shows at once."""

import pytest

from legation.mesh.load import load
from legation.mesh.model.outlier_detection import OutlierDetection
from xds_server.compile.interest import interested
from xds_server.compile.locality import shares
from xds_server.compile.outlier_detection import detection
from xds_server.compile.rbac import callers

KINDS = ("consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure", "success_rate",
         "failure_percentage")  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ({}, {"consecutive_5xx"}),
        ({"interval": "1s"}, {"consecutive_5xx"}),
        ({"consecutive_gateway_failure": 2}, {"consecutive_gateway_failure"}),
        ({"success_rate_stdev_factor": 1000}, {"success_rate"}),
        ({"failure_percentage_threshold": 50}, {"failure_percentage"}),
        (
            {"consecutive_local_origin_failure": 2, "split_external_local_origin_errors": True},
            {"consecutive_local_origin_failure"},
        ),
    ],
)
def test_outlier_kinds_are_enforced_where_given(given, kinds):
    found = detection(OutlierDetection.model_validate(given))
    assert {kind for kind in KINDS if getattr(found, f"enforcing_{kind}").value == 100} == kinds


@pytest.mark.parametrize(
    ("callers", "called", "expected"),
    [
        ({"a": 1, "b": 1}, {"a": 1, "b": 1}, {"a": 10_000, "b": 1}),
        ({"a": 1}, {"a": 1, "b": 1}, {"a": 5000, "b": 5000}),
        ({"a": 2, "b": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 5000, "b": 1, "c": 5000}),
        ({"b": 1}, {"a": 3, "b": 1}, {"a": 3, "b": 1}),
        ({}, {"a": 3, "b": 1}, {"a": 3, "b": 1}),
        ({"a": 1}, {"b": 2}, {"b": 2}),
    ],
)
def test_zones_share_what_is_too_much_for_one(callers, called, expected):
    assert shares("a", callers, called) == expected


MESH = """
mesh: m
trust_domain: m.local
services:
  web: {protocol: http, port: 1, calls: [{service: a, allow: [{paths: [/x]}]}, c]}
  desk: {protocol: http, port: 1, calls: [a, {service: b, allow: [{paths: [/y]}]}]}
  a: {protocol: http, port: 1, failover: b}
  b: {protocol: http, port: 1}
  c: {protocol: http, port: 1, load_balancing: {locality: zone_aware}}
"""


def test_who_stands_in_is_told_to_the_callers_and_lets_them_in():
    mesh = load(MESH, "mesh.yaml").mesh
    assert interested(mesh)["b"] == {"web", "desk"}
    assert interested(mesh)["web"] == {"web"}
    allowed = callers(mesh)["b"]
    assert {name: [p for rule in rules for p in rule.paths] for name, rules in allowed.items()} == {
        "web": ["/x"], "desk": [],
    }  # fmt: skip
    assert allowed["desk"] == (), "desk may ask a for everything"
