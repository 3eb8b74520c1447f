"""A roll-over of the mesh's CA as values: what everybody who has a part in it is told, and what each says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["intermediate", "root", "vault"]
"""What becomes another: the intermediate alone, the root with it, or the whole Vault."""

Phase = Literal["prepare", "trust", "switch", "issue", "retire", "settle", "drop", "done"]
"""The steps, in order; `certmgr.core.rollover` says what each is, and who takes it."""


@dataclass(frozen=True, slots=True)
class CaRef:
    """One CA: the names of its issuers in Vault, and the SHA-256 of their certificates (hex; empty: not made yet)."""

    issuer: str
    root_issuer: str
    root_mount: str = "mesh-root"
    intermediate: str = ""
    root: str = ""
    vault: str = ""
    """URL of its Vault; empty: each host's own."""


@dataclass(frozen=True, slots=True)
class Rollover:
    """Where a roll-over stands. Times are seconds since the epoch; `settle` is a span in seconds."""

    id: str
    kind: Kind
    old: CaRef
    new: CaRef
    phase: Phase
    since: float
    started: float
    settle: float = 0.0
    back: bool = False
    """It was called off: `old` is what stays."""
    paused: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class HostProgress:
    """What one host's certmgr says of a phase: who on it is not there yet, and which instances are.

    `waits` empty: all of this host is there.
    """

    host: str
    rollover: str = ""
    phase: str = ""
    back: bool = False
    waits: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A roll-over, what each host has said, and the instances that the registry knows."""

    version: int = 0
    rollover: Rollover | None = None
    hosts: Mapping[str, HostProgress] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
