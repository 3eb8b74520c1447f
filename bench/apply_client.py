"""Proxies for apply_server: `python -m bench.apply_client ADDRESS SERVICES STREAMS`.

One delta ADS stream each, of services all over the mesh; every response is ACKed. Prints `ready` once
each stream has had its clusters, listeners, endpoints and routes. Each line `connect N` on stdin opens one more, on a
connection of its own, of a service that has none yet, and is answered `configured SECONDS` once it has had all that.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from time import perf_counter

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from bench import world
from legation.mesh.instance import InstanceSpec
from xds_server.protocol.order import UPSERTS

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


async def main(address: str, services: int, streams: int) -> None:
    """Run until killed."""
    nodes = list(world.instances(services, 1))[:: max(1, services // streams)][:streams]
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        ready = [asyncio.Event() for _ in nodes]
        talks = [asyncio.ensure_future(_follow(channel, n, r)) for n, r in zip(nodes, ready, strict=True)]
        for event in ready:
            await event.wait()
        print("ready", flush=True)
        others = [node for node in world.instances(services, 1) if node not in nodes]
        while line := await asyncio.to_thread(sys.stdin.readline):
            print("configured", await _connect(address, others[int(line.split()[1])]), flush=True)
        for talk in talks:
            talk.cancel()


async def _connect(address: str, node: InstanceSpec) -> float:
    """Return the seconds until a new node has everything."""
    begun, ready = perf_counter(), asyncio.Event()
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        talk = asyncio.ensure_future(_follow(channel, node, ready))
        await ready.wait()
        took = perf_counter() - begun
        talk.cancel()
        return took


async def _follow(channel: grpc.aio.Channel, node: InstanceSpec, ready: asyncio.Event) -> None:
    stub = channel.stream_stream(
        _METHOD,
        request_serializer=DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=DeltaDiscoveryResponse.FromString,
    )
    call, missing = stub(), set(UPSERTS)
    for kind in UPSERTS:
        request = DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=["*"])
        request.node.id = node.id
        request.node.metadata.update({f: getattr(node, f) for f in ("service", "version", "boot", "address", "port")})
        await call.write(request)
    async for response in _responses(call):
        missing.discard(response.type_url)
        if not missing:
            ready.set()
        await call.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))


async def _responses(
    call: "grpc.aio.StreamStreamCall[DeltaDiscoveryRequest, DeltaDiscoveryResponse]",
) -> AsyncIterator[DeltaDiscoveryResponse]:
    while (response := await call.read()) is not grpc.aio.EOF:
        yield response


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
