"""The messages of a roll-over of the CA, between an operator, every host and xds_server, which keeps it."""

from typing import Annotated

from msgspec import Meta

from legation.mesh.rollover import CaRef, HostProgress, Rollover, Standing
from legation.runtime.control.messages import Message


class RolloverView(Message, frozen=True, kw_only=True):
    """xds_server's `GET /rollover`, and the events of `GET /rollover/watch`: the CA's roll-over and how far it is."""

    standing: Standing
    schema: int = 1


class RolloverMove(Message, frozen=True, kw_only=True):
    """`PUT /rollover`: what it is to be from now on; 409 when it is not what it was at `version` any more."""

    version: int
    rollover: Rollover


class RolloverReport(Message, frozen=True, kw_only=True):
    """`PUT /rollover/hosts`: what a host's certmgr says of itself."""

    progress: HostProgress


class VaultCredentials(Message, frozen=True, kw_only=True):
    """certmgr's `PUT /vaults`: another Vault, and what this host logs in there with, wrapped for its one use."""

    url: str
    ca: Annotated[str, Meta(description="PEM of the CA that its certificate is checked by; empty: the system's")]
    role_id: str
    wrapped_secret_id: str


class PresentCa(Message, frozen=True, kw_only=True):
    """certmgr's `GET /ca`: the CA that signs for this host now."""

    ca: CaRef
