"""telemetry's own log, for the bench of it: takes OTLP on a socket, and says what it has kept when asked."""

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from telemetry.logs.logs import Logs
from telemetry.logs.metrics import REASONS, LogMetrics


async def main(folder: Path) -> None:
    registry = CollectorRegistry()
    logs = Logs(folder / "store", folder / "instances", folder / "logs.sock", LogMetrics(registry))

    def value(name: str, label: str, of: tuple[str, ...]) -> int:
        return sum(int(registry.get_sample_value(name, {label: one}) or 0) for one in of)

    async with asyncio.TaskGroup() as group, logs.running(group):
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            kept = value("telemetry_log_records_total", "kind", ("access", "app"))
            print("counted", kept, value("telemetry_log_records_dropped_total", "reason", REASONS), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
