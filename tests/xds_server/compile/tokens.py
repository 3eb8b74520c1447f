"""Who signs tokens: an issuer of ES256 tokens with its key set."""

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens by ES256 (RFC 7518 §3.4), and publishes its key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        x, y = (b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y}]}).encode()

    def token(self, **claims: Any) -> str:
        asked = {"iss": "https://id.example.com", "sub": "ann", "aud": "tokens", "exp": int(time.time()) + 60, **claims}
        head = b64(b'{"alg":"ES256","typ":"JWT"}')
        signed = f"{head}.{b64(json.dumps({k: v for k, v in asked.items() if v is not None}).encode())}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
