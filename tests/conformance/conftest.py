"""Which server is under test, in which variants a case runs on it, and the report at the end."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conformance.kit import Kit
from tests.conformance.report import Report, record
from tests.conformance.target import Target
from tests.conformance.variants import Variant

_REPORT = pytest.StashKey[Report]()
_TARGET = pytest.StashKey[Target]()
_KIT = pytest.StashKey[Kit]()
_RUNNER = pytest.StashKey[asyncio.Runner]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--target", metavar="HOST:PORT", help="the xDS server to test (default: as its adapter says)")
    group.addoption(
        "--adapter", metavar="HOST:PORT", help="the control port of its adapter; without one our own server runs"
    )
    group.addoption("--record", metavar="COMMAND", help="keep this run, by its command, in docs/conformance.md")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(id, title, needs): a case of the conformance kit")
    config.stash[_REPORT], config.stash[_RUNNER] = Report(), asyncio.Runner()
    target, adapter = config.getoption("--target"), config.getoption("--adapter")
    if target and not adapter:
        raise pytest.UsageError("--target needs --adapter HOST:PORT, the control port of the target's adapter")
    if adapter:
        config.stash[_TARGET] = Target.of(adapter, target or "")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_RUNNER].close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what the target cannot run: neither a pass nor a skip, but a row of the report with the reason."""
    report, target = config.stash[_REPORT], config.stash.get(_TARGET, None)
    taken = []
    for item in items:
        mark = item.get_closest_marker("case")
        if mark is None:
            continue
        number, title, needs = mark.args
        variant = _variant(item)
        report.expect(number, title, variant.name)
        lacks = {} if target is None else target.lacks
        missing = [lacks[need] for need in (*variant.needs, *needs) if need in lacks]
        if missing:
            report.set(number, variant.name, "n/a", missing[0])
            taken.append(item)
    config.hook.pytest_deselected(items=taken)
    items[:] = [item for item in items if item not in taken]


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The server under test: ours, as a process, where no other is named."""
    given = request.config.stash.get(_TARGET, None)
    if given is not None:
        request.config.stash[_REPORT].target = given.name
        yield given
        return
    command = [sys.executable, "-m", "tests.conformance.ours"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said, _, control = process.stdout.readline().strip().partition(" ")
        assert said == "control", f"our server did not start: {said!r}"
        ours = Target.of(control)
        assert not ours.lacks, "our own server lacks nothing that a case needs"
        request.config.stash[_REPORT].target = ours.name
        yield ours
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.fixture
def kit(request: pytest.FixtureRequest, target: Target, variant) -> Kit:
    """A node of this test's own."""
    kit = Kit(target, variant, f"{request.node.originalname.removeprefix('test_')}-{request.node.callspec.id}")
    request.node.stash[_KIT] = kit
    return kit


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a case, which is a coroutine, in the event loop of all: grpc.aio does not like to change it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None

    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    kit = pyfuncitem.funcargs["kit"]
    assert isinstance(kit, Kit)

    async def run() -> None:
        async with kit:
            await pyfuncitem.obj(**arguments)

    pyfuncitem.config.stash[_RUNNER].run(run())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Note how a case ended."""
    outcome = yield
    mark = item.get_closest_marker("case")
    if mark is not None and (outcome.when == "call" or outcome.failed):
        variant = _variant(item).name
        error = "" if call.excinfo is None else _first_line(call.excinfo.value)
        notes = item.stash[_KIT].notes if _KIT in item.stash else []
        item.config.stash[_REPORT].set(
            mark.args[0], variant, "pass" if outcome.passed else "FAIL", error or "; ".join(notes)
        )
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the report: one row a case."""
    report = config.stash[_REPORT]
    if report.target:
        terminalreporter.section(f"conformance of {report.target}")
        for line in report.lines():
            terminalreporter.write_line(line)
    if config.getoption("--record"):
        record(report, config.getoption("--record"))


def _variant(item: pytest.Item) -> Variant:
    assert isinstance(item, pytest.Function)
    variant = item.callspec.params["variant"]
    assert isinstance(variant, Variant)
    return variant


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error).strip() or type(error).__name__).splitlines()[0]
