"""What a client gets who asks an SDS socket for more than it is for."""

import asyncio

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from legation.mesh import names
from legation.runtime.identity import METHOD
from tests.certmgr.world import ORDERS, WEB, world
from xds_server.snapshot import SECRET


def test_attack_09_client_that_asks_for_another_identity_gets_nothing_of_it_and_the_stream_stays(tmp_path):
    async def main():
        async with world(tmp_path, ORDERS, WEB) as here:
            await here.ready()
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
            async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'orders.sock'}", options=options) as channel:
                stream = channel.stream_stream(
                    METHOD,
                    request_serializer=DeltaDiscoveryRequest.SerializeToString,
                    response_deserializer=DeltaDiscoveryResponse.FromString,
                )(wait_for_ready=True)
                asked = ["web", "spiffe://shop.local/web", "mesh_cert/web", "../web"]
                wish = DeltaDiscoveryRequest(
                    node=Node(id="web", cluster="web"), type_url=SECRET, resource_names_subscribe=asked
                )
                await stream.write(wish)
                both = [names.MESH_CERT, names.MESH_CA]
                await stream.write(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=both))
                got: dict[str, bytes] = {}
                async with asyncio.timeout(10):
                    while set(both) - set(got):
                        answer = await stream.read()
                        assert isinstance(answer, DeltaDiscoveryResponse), "the stream stays"
                        got |= {resource.name: resource.resource.value for resource in answer.resources}
                assert set(got) == set(both)
                bundle = here.store.bundle("orders")
                assert bundle is not None
                assert bundle.key_pem() in got[names.MESH_CERT]
                other = here.store.bundle("web")
                assert other is not None
                assert other.key_pem() not in b"".join(got.values())

    asyncio.run(main())
