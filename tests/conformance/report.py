"""What a run found: a row for each case, an outcome for each variant; and docs/conformance.md, made of such runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOC = HERE.parents[1] / "docs" / "conformance.md"


@dataclass(slots=True)
class Row:
    """One case: its outcomes by variant, `pass`, `FAIL` or `n/a`, each with what there is to say of it."""

    title: str
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Of the whole case: FAIL where one variant fails, n/a where none could run."""
        found = {outcome for outcome, _ in self.outcomes.values()}
        for verdict in ("FAIL", "not run", "pass"):
            if verdict in found:
                return verdict
        return "n/a"

    def details(self) -> list[str]:
        """What there is to say, with the variants that it is said of; the verdict first, where it is of all."""
        said: dict[tuple[str, str], list[str]] = {}
        for variant, (outcome, text) in self.outcomes.items():
            if outcome == "FAIL" or text:
                said.setdefault((outcome, text), []).append(variant)
        whole = [text for (_, text), variants in said.items() if len(variants) == len(self.outcomes)]
        return whole or [f"{', '.join(variants)} {outcome}: {text}" for (outcome, text), variants in said.items()]


@dataclass(slots=True)
class Report:
    """One run against one server."""

    target: str = ""
    rows: dict[str, Row] = field(default_factory=dict)

    def expect(self, number: str, title: str, variant: str) -> None:
        self.rows.setdefault(number, Row(title)).outcomes[variant] = ("not run", "")

    def set(self, number: str, variant: str, outcome: str, text: str = "") -> None:
        if self.rows[number].outcomes[variant][0] != "FAIL":
            self.rows[number].outcomes[variant] = (outcome, text)

    def lines(self) -> list[str]:
        """The report as text: what does not simply pass says why."""
        lines = []
        for number, row in sorted(self.rows.items()):
            if {outcome for outcome, _ in row.outcomes.values()} == {"not run"}:
                continue
            lines.append(f"{number}  {row.verdict:<7} {', '.join(row.outcomes)}: {row.title}")
            lines += [f"{'':17}{detail}" for detail in row.details()]
        return [*lines, self.total()]

    def total(self) -> str:
        verdicts = [row.verdict for row in self.rows.values()]
        counts = [f"{verdicts.count(v)} {word}" for v, word in _WORDS.items() if v in verdicts]
        return f"{len(verdicts)} cases: {', '.join(counts)}"


_WORDS = {"pass": "pass", "FAIL": "fail", "n/a": "n/a", "not run": "not run"}


def record(report: Report, command: str) -> None:
    """Keep a whole run under its server's name, and write the page anew."""
    missing = [number for number, row in report.rows.items() if "not run" in {o for o, _ in row.outcomes.values()}]
    if missing:
        raise ValueError(f"a run with parts left out is not kept: {', '.join(missing)}")
    cases = {
        number: {"title": row.title, "outcomes": {v: list(o) for v, o in row.outcomes.items()}}
        for number, row in sorted(report.rows.items())
    }
    data = {"target": report.target, "command": command, "cases": cases}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{report.target.partition(' ')[0]}.json").write_text(json.dumps(data, indent=1) + "\n")
    DOC.write_text(page())


def recorded() -> list[tuple[str, Report]]:
    """The runs that are kept, with their commands, ours first."""
    runs = []
    for path in sorted(RESULTS.glob("*.json"), key=lambda p: (p.stem != "legation", p.stem)):
        data = json.loads(path.read_text())
        rows = {
            number: Row(kept["title"], {v: (o[0], o[1]) for v, o in kept["outcomes"].items()})
            for number, kept in data["cases"].items()
        }
        runs.append((data["command"], Report(data["target"], rows)))
    return runs


def page() -> str:
    """docs/conformance.md, of the runs that are kept."""
    runs = recorded()
    head = (HERE / "page.md").read_text()
    names = [report.target for _, report in runs]
    table = [f"| case | | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for number, row in runs[0][1].rows.items():
        cells = [_cell(report.rows.get(number)) for _, report in runs]
        table.append(f"| {number} | {row.title} | {' | '.join(cells)} |")
    commands = [f"- {report.target}: `{command}` closed with {report.total()}." for command, report in runs]
    return "\n".join([head, *commands, "", *table, ""])


def _cell(row: Row | None) -> str:
    if row is None:
        return "not run"
    verdict = f"**{row.verdict}**" if row.verdict == "FAIL" else row.verdict
    return "<br>".join([verdict, *row.details()]).replace("|", "\\|")
