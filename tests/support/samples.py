"""A status of a mesh that is in order, for tests of what is made of one."""

from legation.runtime.control.messages import ComponentStatus, HostStatus, InstanceStatus, Pids, ServiceStatus

UP = ComponentStatus(pid=1, control="/c", state="running")
WEB = InstanceStatus(
    id="web-v1-0",
    version="v1",
    inbound="127.64.0.1:15006",
    admin="unix:/nowhere/admin.sock",
    synced=True,
    healthy=True,
    state="ready",
    spiffe_id="spiffe://shop.local/web",
    certificate_expires="2030-01-01T01:02:00Z",
    certificate_serial="0a",
    requests=1200,
    pids=Pids(run=1, envoy=2, app=3),
)
STATUS = HostStatus(
    mesh="shop",
    state="/state",
    gateway=None,
    isolation="none",
    openbao=UP,
    xds_server=UP,
    certmgr=UP,
    telemetry=UP,
    services=(ServiceStatus(name="web", instances=(WEB,)),),
)
