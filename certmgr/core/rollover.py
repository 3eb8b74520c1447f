"""Roll-over of the mesh's CA as a plan: which step comes next, decided from what is known and a clock.

prepare   the operator makes the new CA; nothing uses it
trust     every proxy trusts both roots, and has both lists of revoked certificates
switch    the operator has the roles sign with the new intermediate
issue     every identity has a certificate of the new one, and every proxy has taken it
retire    the operator takes the right to sign from the old intermediate
settle    a time in which all can still be called off; the last certificate of the old one ends in it. It is not over
          while a host that has come meanwhile says that it has no certificate of the new one
drop      no proxy trusts what is left behind
done

A step of the proxies is over when every host has said so for each of its SDS streams, and every
instance of the registry is among them. Called off (`back`) it goes the same way to the old CA, from
wherever it is; once the old root is dropped, the way back is another roll-over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from legation.mesh.rollover import CaRef, HostProgress, Kind, Phase, Rollover, Standing

Actor = Literal["operator", "hosts", "time", "nobody"]

PHASES: tuple[Phase, ...] = ("prepare", "trust", "switch", "issue", "retire", "settle", "drop", "done")

ACTORS: Mapping[Phase, Actor] = {
    "prepare": "operator",
    "trust": "hosts",
    "switch": "operator",
    "issue": "hosts",
    "retire": "operator",
    "settle": "time",
    "drop": "hosts",
    "done": "nobody",
}

WORDS: Mapping[Phase, str] = {
    "prepare": "make the new CA in Vault; nothing uses it yet",
    "trust": "every proxy trusts the old root and the new one, and has the lists of both",
    "switch": "the roles in Vault sign with the new intermediate",
    "issue": "every identity gets a certificate of the new CA, and every proxy takes it",
    "retire": "the old intermediate may sign no certificates any more, lists alone",
    "settle": "wait, until no certificate of the old CA can be left anywhere; until its end all can be rolled back",
    "drop": "no proxy trusts the old CA any more",
    "done": "it is over",
}
"""What each step is, for people."""

_PAST = frozenset({"drop", "done"})


class CannotRollOver(Exception):
    """Why a roll-over cannot begin, or be called off; says what can be done."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What a host is to have: whom it trusts, whose certificates it has (None: as they are), and in which Vault."""

    trusted: tuple[CaRef, ...]
    issuer: CaRef | None


def begin(known: Standing, fresh: Rollover) -> Rollover:
    """Return the roll-over that begins now; CannotRollOver while another one is under way."""
    if known.rollover is not None and known.rollover.phase != "done":
        raise CannotRollOver(
            f"roll-over {known.rollover.id} is at {known.rollover.phase}: let it go on with legation certs rollover "
            "continue, or call it off with legation certs rollover rollback"
        )
    return fresh


def kept(rollover: Rollover) -> CaRef:
    """Return the CA that stays when it is over."""
    return rollover.old if rollover.back else rollover.new


def left(rollover: Rollover) -> CaRef:
    """Return the CA that nobody uses when it is over."""
    return rollover.new if rollover.back else rollover.old


def desired(rollover: Rollover) -> Desired:
    """Return what every host is to have in a phase."""
    both = (rollover.old, rollover.new)
    match rollover.phase:
        case "prepare":
            return Desired((left(rollover),), None)
        case "trust" | "switch":
            return Desired(both, None)
        case "issue" | "retire" | "settle":
            return Desired(both, kept(rollover))
        case "drop" | "done":
            return Desired((kept(rollover),), kept(rollover))


def following(rollover: Rollover, now: float) -> Rollover:
    """Return the roll-over in its next phase, whatever speaks against it."""
    after = PHASES[PHASES.index(rollover.phase) + 1]
    if rollover.kind == "vault" and after in {"switch", "retire"}:  # each host turns to the other Vault by itself
        after = PHASES[PHASES.index(after) + 1]
    return replace(rollover, phase=after, since=now)


def prepared(rollover: Rollover, new: CaRef, now: float) -> Rollover:
    """Return the roll-over with the CA that was made for it."""
    return following(replace(rollover, new=new), now)


def called_off(rollover: Rollover, now: float) -> Rollover:
    """Return the roll-over on its way back; CannotRollOver when there is none."""
    if rollover.back:
        raise CannotRollOver("it is being rolled back already")
    if rollover.phase in _PAST:
        raise CannotRollOver("the old CA is trusted no more: the way back is another roll-over, as there is no old one")
    never_switched: Mapping[Phase, Phase] = {"prepare": "done", "trust": "drop"}
    # after a switch that may have been half done, roles are switched back first
    back = replace(rollover, back=True, paused=False, since=now)
    if rollover.kind == "vault":
        return replace(back, phase=never_switched.get(rollover.phase, "issue"))
    return replace(back, phase=never_switched.get(rollover.phase, "switch"))


def step(standing: Standing, now: float) -> Rollover | None:
    """Return the roll-over one phase on, when nothing speaks against it and nobody is needed for that."""
    rollover = standing.rollover
    if rollover is None or rollover.paused or ACTORS[rollover.phase] in {"operator", "nobody"}:
        return None
    return None if waits_for(standing, now) else following(rollover, now)


def waits_for(standing: Standing, now: float) -> tuple[str, ...]:
    """Return what a phase waits for, each by its name; nothing when it can be left."""
    rollover = standing.rollover
    if rollover is None:
        return ()
    match ACTORS[rollover.phase]:
        case "operator":
            return (f"an operator's token, to {rollover.phase}: legation certs rollover continue --vault URL",)
        case "hosts":
            return (*_hosts(standing, rollover), *_instances(standing, rollover))
        case "time":
            return tuple(_settling(standing, rollover, now))
        case "nobody":
            return ()


def settles_at(rollover: Rollover) -> float | None:
    """Return when a phase that waits for time alone is over."""
    return rollover.since + rollover.settle if ACTORS[rollover.phase] == "time" else None


def _hosts(standing: Standing, rollover: Rollover) -> Iterator[str]:
    """Yield whom hosts wait for; a host that says nothing of this phase is one of them."""
    if not standing.hosts:
        yield "a certmgr: none has said anything"
    for host, said in sorted(standing.hosts.items()):
        if not _speaks_of(said, rollover):
            yield f"host {host}: its certmgr has said nothing of it yet"
        yield from _lacking(host, said, rollover)


def _lacking(host: str, said: HostProgress, rollover: Rollover) -> Iterator[str]:
    """Yield what a host says that it lacks; nothing when it does not speak of this phase."""
    yield from (f"host {host}: {who}" for who in said.waits if _speaks_of(said, rollover))


def _settling(standing: Standing, rollover: Rollover, now: float) -> Iterator[str]:
    """Yield the rest of the time, and what hosts lack: one that has come meanwhile may have the old CA alone."""
    rest = rollover.since + rollover.settle - now
    if rest > 0:
        yield f"{rest:.0f} s of its time to settle"
    for host, said in sorted(standing.hosts.items()):
        yield from _lacking(host, said, rollover)


def _instances(standing: Standing, rollover: Rollover) -> Iterator[str]:
    """Yield the instances of the registry that no host has a stream of."""
    taken = {i for said in standing.hosts.values() if _speaks_of(said, rollover) for i in said.taken}
    waiting = {who.partition(":")[0] for said in standing.hosts.values() for who in said.waits}
    for instance in standing.instances:
        if instance not in taken and instance not in waiting:
            yield f"{instance}: its proxy has not both of its SDS streams open"


def _speaks_of(said: HostProgress, rollover: Rollover) -> bool:
    return (said.rollover, said.phase, said.back) == (rollover.id, rollover.phase, rollover.back)


def steps(kind: Kind) -> tuple[tuple[Phase, Actor, str], ...]:
    """Return the plan of a kind of roll-over: each step, who takes it, what it is."""
    skipped = {"switch", "retire"} if kind == "vault" else set()
    return tuple((p, ACTORS[p], WORDS[p]) for p in PHASES if p not in {*skipped, "done"})
