"""`legation render bootstrap`: what an Envoy starts with that a team runs itself, without `legation run`."""

import os
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from legation.cli.find import read_mesh, running, state_of
from legation.cli.output import Exit, chatter, fail
from legation.cli.render import mesh_source
from legation.cli.with_envoy import known, left_out
from legation.host.layout import HostFile
from legation.mesh import names
from legation.mesh.instance import InstanceSpec
from legation.mesh.source import SourcedMesh
from legation.runtime import host_port
from legation.runtime.state import StateFolder
from xds_server.compile import BootstrapInput, bootstrap
from xds_server.compile.partial import certificates_alone, telemetry_alone

ONLY = ("certificates", "telemetry")


@dataclass(frozen=True, slots=True)
class Words:
    """What was said on the command line."""

    service: str
    address: str
    app_address: str
    app_port: int
    only: str | None
    instance: str | None
    version: str
    zone: str
    port: int
    metrics_port: int
    xds: str | None
    sds: Path | None
    admin: Path | None
    envoy: Path | None


def render(words: Words, file: Path | None, state: Path | None) -> None:
    """Write the bootstrap to stdout, and to stderr what there is to know of it."""
    source, folder = _mesh(file, state)
    _check(words, source)
    given = _input(words, source, folder)
    match words.only:
        case "certificates":
            text = certificates_alone(given, source)
            chatter("its listener, and who may call it, are as mesh.yaml is now: render it again when that changes")
            if words.envoy is None:
                chatter("it is for Envoy 1.40: name another with --envoy, and what that does not know is left out")
        case "telemetry":
            text = telemetry_alone(given)
            chatter(_found(words, source))
        case _:
            text = bootstrap(given)
            chatter(f"{given.node.id} takes requests once it has its configuration and its app answers its checks")
    sys.stdout.write(text)


def _found(words: Words, source: SourcedMesh) -> str:
    """Say how Prometheus finds an Envoy that takes telemetry alone."""
    at = (words.address, words.metrics_port)
    listed = {(one.address, one.port) for one in source.mesh.services[words.service].telemetry_only}
    if at in listed:
        return f"telemetry tells Prometheus of it, as services.{words.service}.telemetry_only says"
    port = "" if words.metrics_port == names.METRICS_PORT else f", port: {words.metrics_port}"
    version = "" if words.version == "v1" else f", version: {words.version}"
    return (
        f"Prometheus reads it at {words.address}:{words.metrics_port}/stats/prometheus; have telemetry tell it of that "
        f"in mesh.yaml: services.{words.service}.telemetry_only: [{{address: {words.address}{port}{version}}}]"
    )


def _mesh(file: Path | None, state: Path | None) -> tuple[SourcedMesh, StateFolder]:
    """Return the mesh that a file says, else the running one, and where its state is."""
    if file is not None:
        source = read_mesh(file)
        return source, state_of(source.mesh.mesh, state)
    folder = running(state, None)
    return mesh_source(folder), folder


def _check(words: Words, source: SourcedMesh) -> None:
    if words.service not in source.mesh.services:
        known = ", ".join(source.mesh.services)
        raise fail(Exit.USAGE, f"--service {words.service!r}: mesh {source.mesh.mesh} has {known}")
    if words.only not in (None, *ONLY):
        raise fail(Exit.USAGE, f"--only {words.only!r}: {' or '.join(ONLY)} is taken; without it, everything")
    for option, text in (("--address", words.address), ("--app-address", words.app_address)):
        try:
            usable = not ip_address(text).is_unspecified
        except ValueError:
            usable = False
        if not usable:
            raise fail(Exit.USAGE, f"{option} {text!r}: one IP address is taken, such as 10.0.0.7")


def _input(words: Words, source: SourcedMesh, folder: StateFolder) -> BootstrapInput:
    mesh = source.mesh
    instance = words.instance or names.standalone_instance(words.service, words.version, words.address)
    node = InstanceSpec(
        id=instance,
        service=words.service,
        version=words.version,
        boot=f"{time.time_ns():016x}",
        address=words.address,
        port=words.port,
        app_address=words.app_address,
        app_port=words.app_port,
        metrics_port=words.metrics_port,
        zone=words.zone,
        outbound_ports=names.outbound_ports(mesh.reached(words.service), {}),
        standalone=True,
        lacks=_lacks(words.envoy),
    )
    host, port = _xds(words, folder)
    sds, admin = words.sds or folder.sds(words.service), words.admin or folder.admin(instance)
    return BootstrapInput(node, mesh.trust_domain, host, port, os.path.abspath(sds), os.path.abspath(admin))  # noqa: PTH100 - symlinks stay


def _lacks(envoy: Path | None) -> tuple[str, ...]:
    """Return the parts that an Envoy does not know, and say what is lost; none for one that is not named."""
    if envoy is None:
        return ()
    found = known(envoy)
    for line in left_out(found):
        chatter(line)
    return found.lacks


def _xds(words: Words, folder: StateFolder) -> tuple[str, int]:
    """Return where xds_server listens: where it was said, else where the mesh runs here."""
    if words.only is not None:
        return "127.0.0.1", names.XDS_PORT  # it is not asked
    here = HostFile.read(folder.host_file)
    said = words.xds or (here.xds if here else None)
    if said is None:
        raise fail(Exit.USAGE, "no mesh runs here: say where xds_server listens for Envoys with --xds HOST:PORT")
    try:
        return host_port.split(said)
    except ValueError as error:
        raise fail(Exit.USAGE, f"--xds {error}") from error
