"""Write xds_server/compile/http1_wasm.py anew from http1_lines.wat: python -m tests.xds_server.compile.assemble."""

from base64 import b64encode
from pathlib import Path
from textwrap import wrap

import wasmtime

COMPILE = Path(__file__).parents[3] / "xds_server" / "compile"
SOURCE, MODULE = COMPILE / "http1_lines.wat", COMPILE / "http1_wasm.py"


def assembled() -> str:
    lines = "\n".join(f'    "{line}"' for line in wrap(b64encode(wasmtime.wat2wasm(SOURCE.read_text())).decode(), 110))
    about = '"""http1_lines.wat as a binary, which Envoy takes; written by tests/xds_server/compile/assemble.py."""'
    return f"{about}\n\nfrom base64 import b64decode\n\nWASM = b64decode(\n{lines}\n)\n"


if __name__ == "__main__":
    MODULE.write_text(assembled())
