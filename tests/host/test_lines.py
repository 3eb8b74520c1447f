"""What is said where no table can be drawn: each change once, and nothing that passes by itself."""

from msgspec.structs import replace

from legation.host.lines import Lines
from legation.runtime.control.messages import ComponentStatus, HostStatus, InstanceStatus, Pids, ServiceStatus
from tests.support import samples

STARTING = ComponentStatus(pid=None, control="/c", state="starting")
WEB = replace(samples.WEB, synced=False, healthy=False, state="starting", certificate_serial=None, pids=Pids())
GATEWAY = replace(WEB, id="legation-gateway-0")
STATUS = replace(
    samples.STATUS, openbao=STARTING, xds_server=STARTING, certmgr=STARTING, telemetry=STARTING, services=()
)


def web(*instances: InstanceStatus, **changes: object) -> HostStatus:
    return replace(STATUS, services=(ServiceStatus(name="web", instances=instances),), **changes)


def said(lines: Lines, status: HostStatus, now: float = 0) -> list[str]:
    return list(lines.news(status, now))


def test_each_change_is_said_once() -> None:
    lines = Lines()
    assert said(lines, STATUS) == []
    assert said(lines, replace(STATUS, openbao=replace(STARTING, state="running"))) == ["openbao: running"]
    running = web(WEB, openbao=replace(STARTING, state="running"), gateways=(GATEWAY,))
    assert said(lines, running) == ["gateway-0: starting", "web-v1-0: starting"]
    assert said(lines, running) == []
    assert said(lines, web(replace(WEB, healthy=True), gateways=(GATEWAY,))) == [
        "openbao: starting",
        "web-v1-0: healthy",
    ]
    assert said(lines, web()) == ["gateway-0: ended", "web-v1-0: ended"]


def test_a_problem_is_said_as_it_comes_and_as_it_goes() -> None:
    lines = Lines()
    assert said(lines, web(problems=("web-v1-0: no luck", "certmgr is away"))) == [
        "problem: web-v1-0: no luck",
        "problem: certmgr is away",
    ]
    assert said(lines, web(problems=("certmgr is away", "more"))) == ["problem: more", "solved: web-v1-0: no luck"]
    assert said(lines, web()) == ["solved: certmgr is away", "solved: more"]


def test_an_app_that_does_not_listen_yet_is_no_news_and_one_that_stays_ill_is() -> None:
    lines = Lines()
    ill = web(replace(WEB, state="ready"))
    assert said(lines, ill) == ["web-v1-0: starting"]
    assert said(lines, web(replace(WEB, state="ready", healthy=True)), 1) == ["web-v1-0: healthy"]
    assert said(lines, ill, 2) == []
    assert said(lines, web(replace(WEB, state="ready", healthy=True)), 3) == []
    assert said(lines, ill, 4) == []
    assert said(lines, ill, 8.9) == []
    assert said(lines, ill, 9) == ["web-v1-0: unhealthy"]
    assert said(lines, web(replace(WEB, state="ready", unwell="it says 503")), 10) == [
        "web-v1-0: unhealthy: it says 503"
    ]
