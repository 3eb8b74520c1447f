"""What autoscaling may know of this host: the workloads that follow the load, their instances, what their apps use."""

import os
from pathlib import Path

from legation.host.host import Host
from legation.runtime.control.messages import WorkloadInstance, WorkloadScale
from legation.sidecar import report

_TICK = os.sysconf("SC_CLK_TCK")


def workloads(host: Host) -> tuple[WorkloadScale, ...]:
    """Return every workload that follows the load."""
    running = host.running()
    return tuple(
        WorkloadScale(
            service=known.spec.service,
            version=known.spec.version,
            desired=known.replicas,
            instances=tuple(
                WorkloadInstance(id=r.id, ready=r.ready, cpu_seconds=_cpu_seconds(host, r.id))
                for r in running
                if (r.spec.service, r.spec.version) == (known.spec.service, known.spec.version)
            ),
        )
        for known in host.sets()
        if known.bounds is not None
    )


def _cpu_seconds(host: Host, instance: str) -> float | None:
    """Return the processor time of an instance's app and of what it has started; None while it does not run."""
    said = report.read(host.state.instance(instance))
    return None if said is None or said.pids.app is None else cpu_seconds(said.pids.app)


def cpu_seconds(pid: int) -> float | None:
    """Return the seconds of processor time of a process, its children that have ended, and those that run (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    own = sum(map(int, fields[11:15])) / _TICK
    return own + sum(cpu_seconds(int(child)) or 0.0 for child in children)
