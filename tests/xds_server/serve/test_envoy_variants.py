"""A stock Envoy in every variant: state of the world and delta, ADS and a stream for each type. No request fails."""

import asyncio
from collections import Counter

import httpx
import pytest

from legation.runtime.tasks import until
from tests.xds_server.serve.envoy import (
    ADS_SOURCE,
    alone,
    answers,
    app,
    cluster,
    endpoints,
    free_port,
    listener,
    running,
)
from tests.xds_server.serve.envoy import route as route_to
from xds_server import Nacked, Snapshot, SnapshotCache, serve

VARIANTS = {
    "sotw-ads": ("GRPC", False),
    "delta-ads": ("DELTA_GRPC", False),
    "sotw-separate": ("GRPC", True),
    "delta-separate": ("DELTA_GRPC", True),
}


class World:
    """What is published: services behind one listener, in steps where nothing orders the streams of a node."""

    def __init__(self, cache, server, port, source, *, stepwise):
        self._cache, self._server, self._source, self._stepwise = cache, server, source, stepwise
        self._fixed = listener("in", port, "r", source=source)
        self._now: tuple[dict, str] = ({}, "")

    async def publish(self, services: dict, to: str, connect: str = "1s"):
        """Have these services, by name with the ports of their apps, and the route lead to one of them."""
        made = {n: (cluster(n, connect, self._source), endpoints(n, *ports)) for n, ports in services.items()}
        known, led = self._now
        if self._stepwise:
            await self._set({**known, **made}, led or to)
            await self._set({**known, **made}, to)
        await self._set(made, to)
        self._now = made, to

    async def _set(self, made: dict, to: str):
        resources = [resource for pair in made.values() for resource in pair]
        self._cache.set("web-v1-0", Snapshot.of([*resources, self._fixed, route_to("r", to)]))
        await self._server.converged(timeout=10)


async def load(url: str, got: Counter):
    """Ask for ever, on a kept connection."""
    async with httpx.AsyncClient() as client:
        while True:
            try:
                response = await client.get(url)
                got[response.status_code, response.text] += 1
            except httpx.TransportError as error:
                got[0, repr(error)] += 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_41_services_come_change_are_renamed_and_go_under_load_without_a_failed_request(tmp_path, variant):
    api_type, separate = VARIANTS[variant]
    source = alone(api_type) if separate else ADS_SOURCE
    port, cache = free_port(), SnapshotCache()
    got: Counter[tuple[int, str]] = Counter()
    nacks: list[Nacked] = []

    async def main():
        async with (
            app("fine") as one,
            serve(cache, tmp_path / "xds.sock", on_nack=lambda _, nack: nacks.append(nack), grace=0.2) as server,
            running(tmp_path, api_type=api_type, source=source if separate else None) as envoy,
        ):
            world = World(cache, server, port, source, stepwise=separate)
            cache.set("web-v1-0", Snapshot.of())
            assert await until(envoy.ready, 10)
            await world.publish({"s0": [one]}, to="s0")
            url = f"http://127.0.0.1:{port}/"
            assert await answers(url, 200, "fine")
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(load(url, got)) for _ in range(3)]
                for n in range(1, 8):
                    services = {f"s{n}": [one]}
                    await world.publish({f"s{n - 1}": [one], f"other{n}": [one]}, to=f"s{n - 1}")  # one is added
                    await world.publish({f"s{n - 1}": [one]}, to=f"s{n - 1}", connect=f"{n + 1}s")  # warms, one goes
                    await world.publish(services, to=f"s{n}", connect=f"{n + 1}s")  # is renamed
                    if not n % 3:
                        await world.publish(services, to=f"s{n}")
                for task in tasks:
                    task.cancel()
            assert await envoy.stat("cluster_manager.active_clusters") == 2
            assert await envoy.stat("cluster_manager.warming_clusters") == 0

    asyncio.run(main())
    assert nacks == []
    assert set(got) == {(200, "fine")}, got
    assert got.total() > 23, "more than one request a change, on the slowest machine"
