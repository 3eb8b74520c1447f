"""Every derived name of the mesh, once: identities, xDS resources, sockets, roles, addresses, ports."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A DNS label (RFC 1123): it becomes part of a SPIFFE ID, a Vault role and a file name."""

COMPONENT_PREFIX = "legation-"
"""How the names of our own components begin; no service may be called so (nor `legation`)."""

GATEWAY = f"{COMPONENT_PREFIX}gateway"
XDS_SERVER = f"{COMPONENT_PREFIX}xds-server"
COMPONENTS = (GATEWAY, XDS_SERVER)
"""The components of the suite that have an identity of their own."""

CERTMGR = f"{COMPONENT_PREFIX}certmgr"
TELEMETRY = f"{COMPONENT_PREFIX}telemetry"
HOST = f"{COMPONENT_PREFIX}host"
EDGE = f"{COMPONENT_PREFIX}edge"
"""Who has the gateway's certificates signed that its clients see, and in the ledger their owner. No identity."""
PASSTHROUGH = f"{COMPONENT_PREFIX}passthrough"
"""What a service calls that may call servers which mesh.yaml does not name: its listener, routes and cluster."""
PASSTHROUGH_FIRST = f"{PASSTHROUGH}-first"
"""Its cluster for Envoys that look at the first address of a name alone."""
AWAY = (CERTMGR, TELEMETRY, HOST)
"""Those that have one where they are on another host than xds_server."""

MESH_CERT = "mesh_cert"
MESH_CA = "mesh_ca"
"""The two SDS secrets of every socket. Constant, so that Envoy shares one provider (research: envoy#14000)."""

INBOUND = "inbound"
GATEWAY_LISTENERS = "gateway"
"""How the names of the gateway's listeners begin."""
LOCAL_APP = "local_app"
CHECKED_APP = "_checked_app"
"""The cluster by which an Envoy checks its app for us (HDS), in metrics too: no service begins with `_`."""
XDS_CLUSTER = "xds"
SDS_CLUSTER = "sds"
ADMIN_CLUSTER = "admin"
LOGS_CLUSTER = f"{COMPONENT_PREFIX}logs"
BLOCKED_STAT_PREFIX = "blocked"
"""What an app's requests to servers that mesh.yaml does not name are counted under, where it may not call them."""
LOGS_STAT_PREFIX = "to_telemetry."
"""In metrics: `envoy_access_logs_open_telemetry_access_log_to_telemetry_logs_dropped`."""
TRACES_CLUSTER = f"{COMPONENT_PREFIX}traces"

INBOUND_PORT = 15006
SHARED_INBOUND_PORTS = range(15020, 15080)
"""For further instances on an address that other hosts reach, where several share it."""
METRICS_PORT = 15090
INSTANCE_VARIABLE, VERSION_VARIABLE = "LEGATION_INSTANCE", "LEGATION_VERSION"
"""Who it is, in an Envoy's environment."""
OUTBOUND_PORT_BASE = 15100
XDS_PORT = 15010
XDS_METRICS_PORT = 15011
XDS_CONTROL_PORT = 15014
CERTMGR_METRICS_PORT = 15012
TELEMETRY_PORT = 15080
OPENBAO_CLUSTER_PORTS = (15015, 15013)
APP_PORTS = range(20000, 30000)
"""Below the ephemeral range, so that a client's own port never takes an app's."""

HOST_SLOT = 255
"""The slot of a loopback block that our own services use; instances take 0 to 254."""


def is_reserved(name: str) -> bool:
    """Say whether a service may not have this name, as it is one of ours."""
    return name == "legation" or name.startswith(COMPONENT_PREFIX)


def spiffe_id(trust_domain: str, name: str) -> str:
    """Return the SPIFFE ID of a service, or of one of our components (`legation-x` is `/legation/x`)."""
    path = f"legation/{name.removeprefix(COMPONENT_PREFIX)}" if name.startswith(COMPONENT_PREFIX) else name
    return f"spiffe://{trust_domain}/{path}"


_spiffe_id = spiffe_id
"""For functions with an argument of that name."""


def trust_domain(spiffe_id: str) -> str:
    """Return the trust domain of a SPIFFE ID."""
    return spiffe_id.removeprefix("spiffe://").partition("/")[0]


def named(trust_domain: str, spiffe_id: str) -> str | None:
    """Return the service or component that a SPIFFE ID names; None when it is not of this trust domain."""
    path = spiffe_id.removeprefix(f"spiffe://{trust_domain}/")
    name = f"{COMPONENT_PREFIX}{path.removeprefix('legation/')}" if path.startswith("legation/") else path
    return name if _spiffe_id(trust_domain, name) == spiffe_id and "/" not in name else None


def cluster(service: str, version: str | None = None) -> str:
    """Return the name of the cluster of a service, or of one version of it."""
    return service if version is None else f"{service}/{version}"


def jwks_cluster(service: str) -> str:
    """Return the name of the cluster where a service's proxies fetch the keys of tokens."""
    return f"jwks/{service}"


def stat_name(cluster_name: str) -> str:
    """Return a cluster's name in metrics: no dots or slashes, as Envoy splits names at them."""
    return cluster_name.replace("/", "_")


def own_stat_name(cluster_name: str) -> str:
    """Return in metrics a cluster that is no service's: no service begins with `_`."""
    return f"_{cluster_name}"


def outbound_stat_prefix(service: str) -> str:
    """Return what a caller's requests to a service are counted under: `http.outbound_orders.downstream_rq_2xx`."""
    return f"outbound_{service}"


def gateway_stat_prefix(service: str) -> str:
    """Return what requests from outside to an exposed service are counted under."""
    return f"gateway_{service}"


def outbound_listener(service: str) -> str:
    """Return the name of the listener through which an app reaches a service it calls."""
    return f"outbound/{service}"


def shared_listener(port: int) -> str:
    """Return the name of the listener through which an app reaches all that it calls at one port, by their names."""
    return f"outbound/:{port}"


def shared_outbound_prefix(port: int | str) -> str:
    """Return what requests through that listener are counted under, all in one; no service begins with `_`."""
    return f"outbound__{port}"


def shared_stat_prefix(port: int) -> str:
    """Return what requests from outside are counted under, all in one, on a port where the Host tells who is meant."""
    return f"gateway__{port}"


def gateway_listener(address: str, port: int) -> str:
    """Return the name of the gateway's listener on a port, and of the routes that its services share."""
    return f"{GATEWAY_LISTENERS}/{address}:{port}"


def gateway_routes(service: str) -> str:
    """Return the name of the routes of a service that has a certificate of its own at the gateway."""
    return f"{GATEWAY_LISTENERS}/{service}"


def edge_secret(service: str) -> str:
    """Return the SDS secret with the certificate that the gateway shows for a service."""
    return f"edge/{service}"


def instance_id(service: str, version: str, number: int) -> str:
    """Return the id of the n-th instance of a version of a service on a host."""
    return f"{service}-{version}-{number}"


def loopback_address(block: int, slot: int) -> str:
    """Return the loopback address of a slot (0..255) of a block (0..190): 127.(64+block).slot.1."""
    return f"127.{64 + block}.{slot}.1"


def outbound_ports(called: Iterable[str], pinned: Mapping[str, int]) -> dict[str, int]:
    """Return the outbound port of each called service: pinned ones stay, the others take the next free ones.

    An app learns its ports when it starts, so a later change of `calls` may not move them, nor lead one elsewhere.
    """
    ports = {name: pinned[name] for name in called if name in pinned}
    taken = set(pinned.values())
    free = (port for port in range(OUTBOUND_PORT_BASE, 65536) if port not in taken)
    return {name: ports[name] if name in ports else next(free) for name in called}


def standalone_instance(service: str, version: str, address: str) -> str:
    """Return the id of an Envoy that a team runs itself, where it has no other: `orders-v1-10-0-0-7`."""
    return f"{service}-{version}-{address.replace('.', '-').replace(':', '-')}"


def env_prefix(service: str) -> str:
    """Return how the environment variables for a called service begin: `ORDERS` in `ORDERS_URL`."""
    return service.upper().replace("-", "_")


def serial_text(number: int) -> str:
    """Return a certificate's serial number as Envoy prints it: lower-case hex, whole bytes, no colons."""
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def is_ip(host: str) -> bool:
    """Say whether a host is given by its address, and not by a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
