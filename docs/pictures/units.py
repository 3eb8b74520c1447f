"""Values as Grafana writes them, by a panel's unit."""

import math

_TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNTS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
_AFTER = {"reqps": " req/s", "ops": " ops/s"}


def written(value: float, unit: str) -> str:
    """Return a value with its unit; `-` for one that is not known."""
    if math.isnan(value):
        return "-"
    match unit:
        case "percentunit":
            return f"{_number(value * 100)}%"
        case "s":
            return _scaled(value, _TIMES, " s")
        case "decbytes":
            return _scaled(value, _BYTES, " B")
        case "bool_yes_no":
            return "Yes" if value else "No"
        case _:
            return _scaled(value, _COUNTS, "").replace(" ", "") + _AFTER.get(unit, "")


def _scaled(value: float, scale: tuple[tuple[float, str], ...], none: str) -> str:
    for size, name in scale:
        if abs(value) >= size:
            return f"{_number(value / size)} {name}"
    return f"{_number(value)}{none}"


def _number(value: float) -> str:
    """Return three digits that count."""
    if not value or abs(value) >= 100:
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
