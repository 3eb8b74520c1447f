"""What a case is written with: a node of its own on the server under test, and proxies that speak for it."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Self

import grpc
import httpx
import pytest

from legation.runtime.tasks import until
from tests.conformance.proxy import LIMIT, Proxy
from tests.conformance.target import Control, Resource, Target, resources
from tests.conformance.variants import ALL, Variant


def case(number: int, title: str, *variants: Variant, needs: tuple[str, ...] = ()) -> Callable[[Callable], Callable]:
    """Say which case a test is, in which variants it means something, and what a target must have for it."""

    def mark(test: Callable) -> Callable:
        test = pytest.mark.case(f"case_{number:02d}", title, needs)(test)
        return pytest.mark.parametrize("variant", variants or ALL, ids=lambda v: v.name)(test)

    return mark


class Kit:
    """One case in one variant, against one server."""

    def __init__(self, target: Target, variant: Variant, node: str) -> None:
        self.target, self.variant, self.node = target, variant, node
        self.notes: list[str] = []
        """What could not be seen of this case, as the target does not show it."""

    async def __aenter__(self) -> Self:
        self._open = AsyncExitStack()
        http = httpx.AsyncClient(base_url=self.target.control, timeout=30, verify=False, trust_env=False)
        self.control = Control(await self._open.enter_async_context(http))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def give(self, node: str = "", /, **kinds: Mapping[str, int]) -> None:
        """Let a node have this, and nothing else: `give(clusters={"a": 1}, endpoints={"a": 1})`."""
        await self.give_resources(resources(0, **kinds), node)

    async def give_lasting(self, ttl: float, node: str = "", /, **kinds: Mapping[str, int]) -> None:
        """The same, with a TTL in seconds."""
        await self.give_resources(resources(ttl, **kinds), node)

    async def give_resources(self, what: list[Resource], node: str = "") -> None:
        await self.control.put(node or self.node, what)

    async def proxy(
        self,
        node: str = "",
        *,
        address: str = "",
        features: tuple[str, ...] = (),
        variant: Variant | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        **options: int,
    ) -> Proxy:
        """A proxy with a connection of its own; `options` are gRPC's, with `_` for `.` after `grpc_`."""
        chosen: list[tuple[str, int | str]] = [("grpc.use_local_subchannel_pool", 1)]
        chosen += [(f"grpc.{name}", value) for name, value in options.items()]
        where = address or self.target.address
        if credentials is None:
            channel = grpc.aio.insecure_channel(where, options=chosen)
        else:
            chosen += [("grpc.ssl_target_name_override", "xds.test")]
            channel = grpc.aio.secure_channel(where, credentials, options=chosen)
        await self._open.enter_async_context(channel)
        proxy = Proxy(variant or self.variant, channel, node or self.node, features)
        self._open.push_async_callback(proxy.gone)
        return proxy

    async def replica(self, tls: Mapping[str, str] | None = None) -> str:
        """Start one more server with the same snapshots; its address. It ends with the case."""
        address = await self.control.start(tls)
        self._open.push_async_callback(self.control.stop, address)
        return address

    def has(self, need: str, what: str) -> bool:
        """Whether the target has something; if not, the report says that `what` was not seen."""
        if need in self.target.lacks:
            self.notes.append(f"{what} not seen: {self.target.lacks[need]}")
        return need not in self.target.lacks

    async def answers(self, type_url: str) -> list[str | None]:
        """What the server saw the node answer of a type, in order: None is an ACK, a text a NACK."""
        said = await self.control.node(self.node)
        return [a["error"] for a in said["answers"] if a["type_url"] == type_url]

    async def behind(self) -> str:
        """Why the server says that the node does not have all that it should; empty when it says that it has."""
        return (await self.control.node(self.node))["behind"]

    async def seen(self, what: str, ask: Callable[[], Awaitable[bool]], limit: float = LIMIT) -> None:
        """Wait until something holds, and fail by its name when it does not in time."""
        assert await until(ask, limit, every=0.02), f"not within {limit:.0f} s: {what}"

    async def answered(self, type_url: str, *answers: str | None) -> None:
        """Wait until the server has seen exactly these answers of a type."""

        async def ask() -> bool:
            return await self.answers(type_url) == list(answers)

        if not await until(ask, LIMIT, every=0.02):
            assert await self.answers(type_url) == list(answers)
