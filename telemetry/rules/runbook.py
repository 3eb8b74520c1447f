"""The page that an alert's link leads to, in Markdown: from the alert's own value."""

from collections.abc import Iterable, Mapping

from telemetry.rules.rule import Alert

HEAD = "<!-- Written from the alert's value in telemetry/rules/alerts by `make golden`. -->"
_URGENCY = {
    "page": "**Page**: callers feel this now, or will within minutes.",
    "ticket": "**Ticket**: a cause that waits for working hours.",
}


def pages(alerts: Iterable[Alert]) -> Mapping[str, str]:
    """Return each alert's page by file name, and the list of all."""
    listed = {alert.name: alert for alert in alerts}
    rows = "".join(
        f"| [{name}]({name}.md) | {alert.severity} | {_shown(alert.summary)} |\n" for name, alert in listed.items()
    )
    index = f"{HEAD}\n# Runbooks\n\n| alert | severity | says |\n| --- | --- | --- |\n{rows}"
    return {"README.md": index, **{f"{name}.md": page(alert) for name, alert in listed.items()}}


def page(alert: Alert) -> str:
    """Return one alert's page: what it means, what to do, when exactly it fires."""
    hold = f", and that for {int(alert.hold.total_seconds()) // 60} min" if alert.hold else ""
    return (
        f"{HEAD}\n# {alert.name}\n\n{_URGENCY[alert.severity]}\n\n{_shown(alert.description)}\n\n"
        f"## What to do\n\n{alert.runbook}\n\n"
        f"## When it fires\n\nWhen this has a result{hold}:\n\n```\n{alert.expr}\n```\n\n"
        f"Its tests tell of: {'; '.join(case.name for case in alert.cases)}.\n"
    )


def _shown(text: str) -> str:
    """Return an annotation as a page shows it: `{{ $labels.service }}` is *service*, any `$value` *value*."""
    head, *rest = text.split("{{ ")
    for part in rest:
        name, _, tail = part.partition(" }}")
        word = "value" if name.startswith("$value") else name.removeprefix("$labels.")
        head += f"*{word}*{tail}"
    return head
