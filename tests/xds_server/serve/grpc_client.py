"""grpcio's own xDS client, as a program: each line on stdin is a call over `xds:///TARGET`, answered by a line.

Run it with GRPC_XDS_BOOTSTRAP set, as that is read when grpcio starts.
"""

import sys

import grpc


def main(target: str) -> None:
    with grpc.insecure_channel(f"xds:///{target}") as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Who")
        for line in sys.stdin:
            try:
                said = ask(line.strip().encode(), timeout=10, wait_for_ready=False).decode()
            except grpc.RpcError as error:
                said = f"{error.code().name} {error.details()}".replace("\n", " ")
            print(said, flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main(sys.argv[1])
