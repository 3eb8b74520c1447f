"""Instances to Prometheus targets."""

from legation.mesh.model.telemetry_only import TelemetryOnly
from legation.runtime.control.messages import Instance
from telemetry.discovery import Here, TargetGroup, target_groups
from tests.telemetry.registry import instance


def test_a_sidecar_is_a_target_with_its_service_version_and_id():
    (group,) = target_groups("shop", [instance()], {})
    assert group == TargetGroup(
        ("127.0.1.1:15090",),
        {
            "mesh": "shop",
            "service": "web",
            "version": "v1",
            "instance": "web-v1-1",
            "__metrics_path__": "/stats/prometheus",
        },
    )


def test_a_zone_is_a_label_only_where_there_is_one():
    (group,) = target_groups("shop", [instance(zone="eu-1")], {})
    assert group.labels["zone"] == "eu-1"


def test_an_instance_without_a_stream_is_no_target():
    assert target_groups("shop", [instance(connected=False)], {}) == ()


def test_an_unhealthy_or_draining_instance_is_still_measured():
    groups = target_groups("shop", [instance(1, healthy=False), instance(2, state="draining")], {})
    assert [group.labels["instance"] for group in groups] == ["web-v1-1", "web-v1-2"]


def test_targets_are_in_the_order_of_their_ids_and_our_own_services_last():
    given: list[Instance] = [instance(2), instance(1)]
    groups = target_groups("shop", given, {"xds_server": "127.0.0.1:15011", "certmgr": "127.0.0.1:15012"})
    assert [group.labels["instance"] for group in groups] == ["web-v1-1", "web-v1-2", "certmgr", "xds_server"]


def test_our_own_services_have_a_part_and_no_service():
    (group,) = target_groups("shop", [], {"certmgr": "127.0.0.1:15012"})
    assert group == TargetGroup(
        ("127.0.0.1:15012",),
        {"mesh": "shop", "component": "certmgr", "instance": "certmgr", "__metrics_path__": "/metrics"},
    )


def test_an_envoy_that_takes_telemetry_alone_is_a_target_as_all_others():
    apart = [("orders", TelemetryOnly(address="10.0.0.7", zone="eu-1")), ("web", TelemetryOnly(address="w", port=9))]
    groups = target_groups("shop", [instance()], {"certmgr": "127.0.0.1:15012"}, telemetry_only=apart)
    assert [group.targets for group in groups] == [
        ("127.0.1.1:15090",),
        ("10.0.0.7:15090",),
        ("w:9",),
        ("127.0.0.1:15012",),
    ]
    assert groups[1].labels == {
        "mesh": "shop",
        "service": "orders",
        "version": "v1",
        "instance": "orders-v1-10-0-0-7",
        "zone": "eu-1",
        "__metrics_path__": "/stats/prometheus",
    }


def test_an_ipv6_address_is_in_brackets():
    (group,) = target_groups("shop", [instance(address="fd00::1")], {})
    assert group.targets == ("[fd00::1]:15090",)


def test_of_instances_that_other_hosts_reach_those_of_this_host_are_targets_by_their_loopback():
    given = [instance(n, address="10.0.0.1", loopback=f"127.{n}.9.1") for n in (64, 65)]
    (group,) = target_groups("shop", given, {}, Here("127.64.255.1"))
    assert group.targets == ("127.64.9.1:15090",)


def test_sidecars_of_other_hosts_are_asked_through_us_where_those_know_our_address():
    given = [instance(n, address=f"10.0.0.{n}", loopback="127.64.9.1") for n in (1, 2)]
    near, far = target_groups("shop", given, {}, Here("127.0.0.1", "10.0.0.1", "127.0.0.1:15080"))
    assert (near.targets, near.labels["__metrics_path__"]) == (("127.64.9.1:15090",), "/stats/prometheus")
    assert (far.targets, far.labels["instance"]) == (("127.0.0.1:15080",), "web-v1-2")
    assert far.labels["__metrics_path__"] == "/instances/web-v1-2/metrics"


def test_what_other_hosts_services_say_is_asked_through_us_where_we_have_such_services_too():
    given = [instance(n, address=f"10.0.0.{min(n, 2)}", loopback="127.64.9.1") for n in (1, 2, 3)]
    here = Here("127.0.0.1", "10.0.0.1", "127.0.0.1:15080")
    ours = {"xds_server": "127.0.0.1:15011", "certmgr": "127.0.0.1:15012"}
    *_, theirs = target_groups("shop", given, ours, here)
    assert theirs == TargetGroup(
        ("127.0.0.1:15080",),
        {
            "mesh": "shop",
            "component": "certmgr",
            "instance": "certmgr@10.0.0.2",
            "__metrics_path__": "/instances/certmgr@10.0.0.2/metrics",
        },
    )


def test_a_container_is_a_target_where_it_was_told_that_prometheus_is():
    near, alone = (
        instance(n, address="10.0.0.1", loopback="10.1.0.1", by_name=True, metrics_address=at)
        for n, at in ((1, "10.2.0.1"), (2, ""))
    )
    groups = target_groups("shop", [near, alone], {}, Here("0.0.0.0"))
    assert [group.targets for group in groups] == [("10.2.0.1:15090",)]
