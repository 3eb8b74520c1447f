"""A fake `legation run`: registers, reports and withdraws as the real one does, and is its own Envoy and app.

FAKE says what goes wrong: `never` (is never ready), `reject` (its app may not run), `crash` (ends at
once), `deaf` (Envoy's admin interface does not answer).
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from legation.runtime.state import StateFolder
from legation.runtime.tasks import until
from tests.support import tiny_http
from tests.support.fake_envoy import Envoy

SETTINGS: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
STATE = StateFolder(Path(SETTINGS["root"]))
SPEC: dict[str, Any] = {**SETTINGS["spec"], "boot": f"{time.time_ns():016x}", "address": SETTINGS["addresses"][0]}
SPIFFE_ID = f"spiffe://shop.local/{SPEC['service'].replace('legation-', 'legation/')}"


def report(problem: str | None = None) -> None:
    pids = dict.fromkeys(("run", "envoy", "app"), os.getpid())
    content = {"spec": SPEC, "spiffe_id": SPIFFE_ID, "pids": pids, "problem": problem}
    fresh = STATE.instance(SPEC["id"]) / "state.fresh"
    fresh.write_text(json.dumps(content))
    fresh.replace(fresh.with_name("state.json"))


def say(verb: str) -> int:
    body = json.dumps({"boot": SPEC["boot"]}).encode()
    return tiny_http.post(STATE.control("xds_server"), f"/instances/{SPEC['id']}/{verb}", body)


async def main() -> None:
    mode = os.environ.get("LEGATION_APP_ENV_FAKE", "")  # the app, which we are too, gets it as FAKE
    if mode == "crash":
        sys.exit("Error: no luck")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if mode != "deaf":
        chain = {
            "subject_alt_names": [{"uri": SPIFFE_ID}],
            "serial_number": "0A1B",
            "expiration_time": "2100-01-01T00:00:00Z",
        }
        prefix = "http.gateway_web" if "gateway" in SPEC["service"] else "http.inbound"
        stats = {f"{prefix}.downstream_rq_{name}": [7] for name in ("completed", "2xx")}
        envoy = Envoy({"listeners": [], "stats": stats, "certs": {"certificates": [{"cert_chain": [chain]}]}})
        await tiny_http.serve(STATE.admin(SPEC["id"]), envoy.answer)
    report("its app may not run here" if mode == "reject" else None)
    if mode == "reject":
        sys.exit(78)
    request = {"spec": SPEC, "xds_host": "x", "xds_port": 1, "sds_socket": "x", "admin_socket": "x"}
    body = json.dumps(request).encode()

    async def planned() -> bool:
        return stop.is_set() or tiny_http.post(STATE.control("xds_server"), "/sidecars", body) == 200

    if not await until(planned, limit=60):
        sys.exit("xds_server has no plan for us")
    if stop.is_set():
        return
    if mode != "never":
        say("ready")
    await stop.wait()
    say("withdraw")


if __name__ == "__main__":
    asyncio.run(main())
