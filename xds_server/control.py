"""xds_server's control API: the routes, thin."""

import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace

import msgspec
import structlog
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from legation.mesh import names
from legation.runtime.control.messages import (
    InstanceState,
    MeshDocument,
    Revoked,
    SidecarPlan,
    SidecarRequest,
    Transition,
    TransitionResult,
    XdsStatus,
)
from legation.runtime.control.mtls import Peer
from legation.runtime.control.remote import peer_of
from legation.runtime.control.server import events, reply
from xds_server import rights
from xds_server.compile import BootstrapInput, bootstrap
from xds_server.compile.by_name import indistinct
from xds_server.control_plane import ControlPlane
from xds_server.metrics import Metrics
from xds_server.registry.registry import UnknownInstance
from xds_server.registry.store import StoreFailed
from xds_server.rights import Call
from xds_server.rollover_control import RolloverControl

log = structlog.get_logger()

_STATES: dict[str, InstanceState] = {"ready": "ready", "restarting": "restarting", "withdraw": "draining"}


_Handler = Callable[[Request], Awaitable[Response]]


async def _refuse(request: Request) -> Response:
    raise HTTPException(403, f"this socket is for reading: not for {request.method} {request.url.path}")


class Control:
    """Answers for one control plane."""

    def __init__(self, plane: ControlPlane, ads_port: int = names.XDS_PORT) -> None:
        """Speak for a control plane, whose proxies find it at a port."""
        self._plane, self._ads_port = plane, ads_port
        self._rollover = RolloverControl(plane.rollovers)

    def routes(self, only: Collection[Call] | None = None) -> list[BaseRoute]:
        """Return all routes, each for whoever may ask it (`xds_server.rights`); what is not in `only`, nobody may."""
        handlers: dict[Call, _Handler] = {
            rights.APPLY: self.put_mesh,
            rights.READ_MESH: self.get_mesh,
            rights.WATCH_MESH: self.watch_mesh,
            rights.READ_INSTANCES: self.get_instances,
            rights.WATCH_INSTANCES: self.watch_instances,
            rights.TRANSITION: self.post_transition,
            rights.PLAN: self.post_sidecar,
            rights.UNSYNCED: self.get_unsynced,
            rights.REVOKED: self.put_revoked,
            rights.STATUS: self.get_status,
            rights.READ_ROLLOVER: self._rollover.get,
            rights.WATCH_ROLLOVER: self._rollover.watch,
            rights.MOVE_ROLLOVER: self._rollover.move,
            rights.REPORT_ROLLOVER: self._rollover.report,
            rights.FORGET_HOST: self._rollover.forget,
        }
        return [
            Route(c.path, self._guarded(c, handler) if only is None or c in only else _refuse, methods=[c.method])
            for c, handler in handlers.items()
        ]

    def _guarded(self, call: Call, handler: _Handler) -> _Handler:
        async def guarded(request: Request) -> Response:
            peer = peer_of(request)
            if peer is not None and not self._may(peer, call):
                raise self._refused(peer, f"may not ask {call.method} {call.path}")
            return await handler(request)

        return guarded

    def _may(self, peer: Peer, call: Call) -> bool:
        plane = self._plane
        if peer.serial in plane.publisher.revoked.serials:
            return False
        if plane.mesh is None:  # certmgr's may wait for the first mesh
            known, trust_domain = {}, names.trust_domain(peer.spiffe_id)
        else:
            known, trust_domain = plane.mesh.mesh.services, plane.mesh.mesh.trust_domain
        return rights.may(names.named(trust_domain, peer.spiffe_id), call, known)

    def _refused(self, peer: Peer, what: str) -> HTTPException:
        log.warning("request refused", peer=peer.spiffe_id, serial=peer.serial, what=what)
        return HTTPException(403, f"{peer.spiffe_id} {what}, or its certificate is revoked")

    def _check_own(self, request: Request, spiffe_id: str) -> None:
        """Refuse who speaks for somebody else; whoever may open the unix socket speaks for all."""
        peer = peer_of(request)
        if peer is not None and peer.spiffe_id != spiffe_id:
            raise self._refused(peer, f"does not speak for {spiffe_id}")

    async def put_mesh(self, request: Request) -> Response:
        """Apply a mesh file: 200, 422 with all violations, or 507 when it could not be kept."""
        try:
            document = msgspec.json.decode(await request.body(), type=MeshDocument)
            if (peer := peer_of(request)) is not None:
                document = msgspec.structs.replace(document, by=peer.spiffe_id)
            result = await self._plane.apply(document)
        except StoreFailed as failed:
            raise HTTPException(507, f"the mesh could not be stored, so it is not applied: {failed}") from failed
        return reply(result, 422 if result.violations else 200)

    async def get_mesh(self, _: Request) -> Response:
        """Return the applied mesh file."""
        return reply(self._plane.applier.document.value)

    async def watch_mesh(self, _: Request) -> Response:
        """Stream the applied mesh file, now and at each change."""
        return events(self._plane.applier.document)

    async def get_instances(self, _: Request) -> Response:
        """Return the registry."""
        return reply(self._plane.instance_list())

    async def watch_instances(self, _: Request) -> Response:
        """Stream the registry, now and at each change."""
        return events(self._plane.instances)

    async def post_transition(self, request: Request) -> Response:
        """Take an instance's word about itself."""
        verb = request.path_params["verb"]
        if verb not in _STATES:
            raise HTTPException(404, f"{verb!r} is none of {', '.join(_STATES)}")
        said = msgspec.json.decode(await request.body(), type=Transition)
        if (known := self._plane.registry.entries.get(request.path_params["id"])) is not None:
            self._check_own(request, known.spiffe_id)
        try:
            unsynced = await self._plane.transition(
                request.path_params["id"], said.boot, _STATES[verb], said.wait, said.envoy_restarts
            )
        except UnknownInstance as error:
            raise HTTPException(404, f"no instance {error} of that boot is registered") from error
        return reply(TransitionResult(unsynced=unsynced))

    async def post_sidecar(self, request: Request) -> Response:
        """Return what an instance needs to start: its outbound ports and its bootstrap."""
        asked = msgspec.json.decode(await request.body(), type=SidecarRequest)
        if self._plane.mesh is None:
            raise HTTPException(503, "no mesh is applied yet")
        mesh, service = self._plane.mesh.mesh, asked.spec.service
        self._check_own(request, names.spiffe_id(mesh.trust_domain, service))
        known = mesh.services.get(service)
        if known is None and service != names.GATEWAY:
            raise HTTPException(404, f"no service {service!r} in mesh {mesh.mesh!r}; it has {', '.join(mesh.services)}")
        if asked.spec.by_name and known and (lost := tuple(indistinct(mesh, mesh.reached(service)))):
            raise HTTPException(409, _indistinct(service, lost))
        listened = mesh.listened(service) if known and not asked.spec.by_name else ()
        ports = asked.spec.outbound_ports or names.outbound_ports(listened, {})
        given = BootstrapInput(
            node=replace(asked.spec, outbound_ports=ports),
            trust_domain=mesh.trust_domain,
            xds_host=asked.xds_host,
            xds_port=asked.xds_port or self._ads_port,
            sds_socket=asked.sds_socket,
            admin_socket=asked.admin_socket,
            counts_all=mesh.metrics.is_full,
            logs_socket=asked.logs_socket,
        )
        spiffe_id = names.spiffe_id(mesh.trust_domain, service)
        return reply(SidecarPlan(spec=given.node, spiffe_id=spiffe_id, bootstrap=bootstrap(given)))

    async def get_unsynced(self, request: Request) -> Response:
        """Return the callers' proxies that have not ACKed the newest endpoints of a service within `wait` seconds."""
        try:
            wait = min(30.0, float(request.query_params.get("wait", "0")))
        except ValueError as error:
            raise HTTPException(400, "wait is a number of seconds") from error
        unsynced = await self._plane.converged(frozenset([request.path_params["service"]]), wait)
        return reply(TransitionResult(unsynced=unsynced))

    async def put_revoked(self, request: Request) -> Response:
        """Take the serials of all revoked certificates; return whose proxies have not ACKed within `wait` seconds."""
        said = msgspec.json.decode(await request.body(), type=Revoked)
        try:
            return reply(await self._plane.revoke(said))
        except StoreFailed as failed:
            raise HTTPException(507, f"what is revoked could not be stored: {failed}") from failed

    async def get_status(self, _: Request) -> Response:
        """Return how we are."""
        plane = self._plane
        status = XdsStatus(
            pid=os.getpid(),
            ready=plane.mesh is not None,
            mesh=plane.mesh.mesh.mesh if plane.mesh else "",
            version=plane.applier.document.value.version,
            streams=len(plane.publisher.fleet.streams),
            instances=plane.instance_list().instances,
            violations=plane.applier.violations,
        )
        return reply(status)


def _indistinct(service: str, lost: Iterable[tuple[str, int]]) -> str:
    what = ", ".join(f"{name} (port {port})" for name, port in lost)
    return (
        f"{service} cannot call {what} by name: a TCP service that it calls has the same port, "
        "and connections do not say whom they are for: give one of them another port"
    )


def metrics_routes(metrics: Metrics) -> list[BaseRoute]:
    """Return the route that Prometheus scrapes."""

    async def scrape(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    return [Route("/metrics", scrape)]
