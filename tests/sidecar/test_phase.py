"""What a sidecar says of its instance."""

from legation.mesh.instance import InstanceSpec
from legation.sidecar.environment import app_environment, envoy_environment, handed_to_app
from legation.sidecar.phase import Phase


def test_an_instance_is_ready_when_both_its_envoy_and_its_app_are() -> None:
    phase = Phase(has_app=True)
    assert phase.state == "starting"
    assert phase.with_envoy(ready=True).state == "starting"
    assert phase.with_app(ready=True).state == "starting"
    assert phase.with_envoy(ready=True).with_app(ready=True).state == "ready"


def test_without_an_app_the_envoy_alone_decides() -> None:
    assert Phase(has_app=False).with_envoy(ready=True).state == "ready"


def test_one_whose_app_is_apart_has_callers_before_and_without_it() -> None:
    apart = Phase(has_app=True, apart=True)
    assert apart.state == "starting"
    serving = apart.with_envoy(ready=True)
    assert (serving.state, serving.serves_without_app) == ("restarting", True)
    assert serving.with_app(ready=True).state == "ready"
    assert serving.with_app(ready=True).with_app(ready=False).state == "restarting"
    assert not serving.with_envoy(ready=False).serves_without_app


def test_what_was_ready_once_is_restarting_not_starting() -> None:
    ready = Phase(has_app=True).with_envoy(ready=True).with_app(ready=True)
    assert ready.with_app(ready=False).state == "restarting"
    assert ready.with_envoy(ready=False).state == "restarting"
    assert ready.with_envoy(ready=False).with_envoy(ready=True).state == "ready"


def test_draining_is_final() -> None:
    ready = Phase(has_app=True).with_envoy(ready=True).with_app(ready=True)
    assert ready.drained().state == "draining"
    assert ready.drained().with_app(ready=True).state == "draining"


def test_the_app_learns_where_to_listen_and_whom_to_call() -> None:
    spec = InstanceSpec(
        "web-v1-0", "web", "v1", "1", "127.64.1.1", app_port=20001, outbound_ports={"order-book": 15100}
    )
    env = app_environment({"PATH": "/bin", "PORT": "1"}, spec)
    assert env == {
        "PATH": "/bin",
        "HOST": "127.0.0.1",
        "PORT": "20001",
        "INSTANCE": "web-v1-0",
        "VERSION": "v1",
        "ORDER_BOOK_URL": "http://127.64.1.1:15100",
        "ORDER_BOOK_HOST": "127.64.1.1",
        "ORDER_BOOK_PORT": "15100",
    }


def test_the_app_learns_of_the_proxy_to_what_has_no_name_here() -> None:
    """In place of the machine's own; one that mesh.yaml gives it stays."""
    spec = InstanceSpec("web-v1-0", "web", "v1", "1", "127.64.1.1", outbound_ports={"legation-passthrough": 15100})
    env = app_environment({"HTTP_PROXY": "http://machine", **handed_to_app({"https_proxy": "http://own"})}, spec)
    url = "http://127.64.1.1:15100"
    assert (env["HTTP_PROXY"], env["http_proxy"], env["HTTPS_PROXY"], env["https_proxy"]) == (
        url,
        url,
        url,
        "http://own",
    )
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,127.0.0.0/8,127.64.1.1"
    assert env["LEGATION_PASSTHROUGH_URL"] == url


def test_what_the_mesh_file_gives_the_app_reaches_nobody_else() -> None:
    given = {"PATH": "/bin"} | handed_to_app({"LD_PRELOAD": "own.so", "PATH": "/own"})
    spec = InstanceSpec("web-v1-0", "web", "v1", "1", "127.64.1.1", app_port=20001)
    assert {"LD_PRELOAD": "own.so", "PATH": "/own"}.items() <= app_environment(given, spec).items()
    assert "LD_PRELOAD" not in given
    assert envoy_environment(given, spec) == {
        "PATH": "/bin",
        "LEGATION_INSTANCE": "web-v1-0",
        "LEGATION_VERSION": "v1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=web-v1-0,service.version=v1",
    }
