"""What is found of one link between a request and an answer about it."""

from typing import Annotated, Literal

from msgspec import Meta

from legation.runtime.control.messages import Message

State = Literal["ok", "broken", "off", "unknown"]
"""`off`: mesh.yaml does not ask for it. `unknown`: it could not be looked at."""


class Finding(Message, frozen=True, kw_only=True):
    """One link: whether it holds, what was seen, and what mends it."""

    link: str
    state: State
    said: str
    fix: Annotated[str, Meta(description="what to do; empty where nothing is to be done")] = ""


class Hop(Message, frozen=True, kw_only=True):
    """Which way the request takes: from one instance's app, as if it had sent it, to a service."""

    instance: str
    source: str
    destination: str
    address: Annotated[str, Meta(description="where the instance's Envoy takes requests to the service")]
    port: int
    metrics: Annotated[tuple[str, int], Meta(description="where it shows what it counts")]


class Diagnosis(Message, frozen=True, kw_only=True):
    """`legation telemetry doctor -o json`."""

    mesh: str
    hop: Hop | None
    trace: str
    request: Annotated[str, Meta(description="x-request-id")]
    findings: tuple[Finding, ...]
