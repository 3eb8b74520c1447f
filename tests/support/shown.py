"""Which certificates a mesh's instances show, and whom its host trusts."""

import socket
import ssl

from cryptography import x509

from tests.support.mesh import Mesh


def issuers(shop: Mesh) -> set[str]:
    """Who has signed what the instances of orders show to a new connection."""
    return {shown_at(i.inbound).issuer.rfc4514_string() for i in shop.instances("orders").values()}


def roots(shop: Mesh) -> str:
    """The roots that this host trusts."""
    found = x509.load_pem_x509_certificates((shop.state / "certmgr" / "root.pem").read_bytes())
    return ", ".join(root.subject.rfc4514_string() for root in found)


def serial(shop: Mesh, instance: str) -> str | None:
    return str(shop.instance(instance).certificate_serial)


def serial_on_the_wire(address: str) -> int:
    """The serial of the certificate that a new connection is shown."""
    return shown_at(address).serial_number


def shown_at(address: str) -> x509.Certificate:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as raw, context.wrap_socket(raw) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)
