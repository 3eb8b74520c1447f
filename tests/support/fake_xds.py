"""A fake xds_server: its control API, for sidecars and hosts; it keeps what it was told and has no proxies."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from legation.mesh import names
from legation.mesh.errors import InvalidMesh
from legation.mesh.instance import InstanceSpec
from legation.mesh.load import load
from legation.mesh.summarize import summarize
from legation.runtime.control.messages import (
    ApplyResult,
    Instance,
    InstanceList,
    InstanceState,
    MeshDocument,
    RestartReason,
    SidecarPlan,
    SidecarRequest,
    Transition,
    TransitionResult,
    ViolationMessage,
)
from legation.runtime.control.server import bind_unix, events, reply, serve
from legation.runtime.state import StateFolder
from legation.runtime.tasks import Latest

STATES: dict[str, InstanceState] = {"ready": "ready", "restarting": "restarting", "withdraw": "draining"}


class FakeXds:
    """`calls` are the transitions that it was told, `bootstrap` what it plans for a sidecar."""

    def __init__(self, bootstrap: Callable[[SidecarRequest], str] = lambda _: "{}") -> None:
        self.bootstrap = bootstrap
        self.calls: list[tuple[str, str]] = []
        self.registry = Latest(InstanceList(instances=()))
        self.envoy_restarts: dict[RestartReason, int] = {}
        self.unsynced: tuple[str, ...] = ()
        self.broken = False
        self.specs: dict[str, InstanceSpec] = {}
        self.version = ""
        self.applied: list[str] = []

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/mesh", self._apply, methods=["PUT"]),
            Route("/sidecars", self._plan, methods=["POST"]),
            Route("/instances/watch", self._watch),
            Route("/instances/{id}/{verb}", self._transition, methods=["POST"]),
            Route("/services/{service}/unsynced", self._synced),
        ]

    @asynccontextmanager
    async def serving(self, state: StateFolder) -> AsyncIterator[None]:
        async with serve([bind_unix(state.control("xds_server"))], self.routes()):
            yield

    def said(self, instance: str) -> list[str]:
        return [verb for name, verb in self.calls if name == instance]

    def _up(self) -> None:
        if self.broken:
            raise HTTPException(503, "not now")

    async def _apply(self, request: Request) -> Response:
        self._up()
        document = msgspec.json.decode(await request.body(), type=MeshDocument)
        self.applied.append(document.text)
        try:
            mesh = load(document.text, document.file)
        except InvalidMesh as invalid:
            violations = tuple(ViolationMessage.of(v) for v in invalid.violations)
            return reply(ApplyResult(version=self.version, violations=violations), 422)
        self.version = mesh.version
        self.registry.set(InstanceList(instances=self.registry.value.instances, version=self.version))
        return reply(ApplyResult(version=mesh.version, desired=summarize(mesh), changed=True))

    async def _plan(self, request: Request) -> Response:
        self._up()
        asked = msgspec.json.decode(await request.body(), type=SidecarRequest)
        if asked.spec.service == "nowhere":
            raise HTTPException(404, "no service 'nowhere'")
        spec = replace(asked.spec, outbound_ports=asked.spec.outbound_ports or {"orders": 15100})
        self.specs[spec.id] = asked.spec
        spiffe_id = names.spiffe_id("shop.local", spec.service)
        return reply(SidecarPlan(spec=spec, spiffe_id=spiffe_id, bootstrap=self.bootstrap(asked)))

    async def _transition(self, request: Request) -> Response:
        self._up()
        name, verb = request.path_params["id"], request.path_params["verb"]
        self.calls.append((name, verb))
        self.envoy_restarts = msgspec.json.decode(await request.body(), type=Transition).envoy_restarts
        others = tuple(i for i in self.registry.value.instances if i.id != name)
        self.set(*others, *([self.instance(name, STATES[verb])] if verb != "withdraw" else []))
        return reply(TransitionResult(unsynced=self.unsynced))

    def instance(self, name: str, state: InstanceState = "ready", *, nacks: tuple[str, ...] = ()) -> Instance:
        spec = self.specs[name]
        spiffe_id = names.spiffe_id("shop.local", spec.service)
        return Instance(
            spec=spec, state=state, healthy=None, connected=True, synced=True, spiffe_id=spiffe_id, nacks=nacks
        )

    def set(self, *instances: Instance) -> None:
        self.registry.set(InstanceList(instances=instances, version=self.version))

    async def _watch(self, _: Request) -> Response:
        self._up()
        return events(self.registry)

    async def _synced(self, _: Request) -> Response:
        self._up()
        return reply(TransitionResult(unsynced=self.unsynced))
