"""The store: what was saved is there after a restart, whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from legation.mesh.instance import InstanceSpec
from legation.runtime.control.messages import MeshDocument
from xds_server.registry.entry import Entry
from xds_server.registry.store import SqliteStore


def entry(number: int, **changes: object) -> Entry:
    node = InstanceSpec(
        f"orders-v1-{number}", "orders", "v1", "1", "127.64.1.1", 15006, outbound_ports={"payments": 15100}
    )
    return Entry(node, "spiffe://shop.local/orders", **changes)  # type: ignore[arg-type]


def test_instances_and_mesh_outlive_the_process(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.sqlite")
    store.save([entry(0, state="ready", healthy=True), entry(1, state="draining")], [])
    store.save_mesh(MeshDocument(file="mesh.yaml", text="mesh: a", version="1"))
    store.save_mesh(MeshDocument(file="mesh.yaml", text="mesh: b", version="2"))
    store.close()
    again = SqliteStore(tmp_path / "registry.sqlite")
    assert again.load() == [entry(0, state="ready", healthy=True), entry(1, state="draining")]
    assert again.mesh() == MeshDocument(file="mesh.yaml", text="mesh: b", version="2")


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.sqlite")
    store.save([entry(0), entry(1)], [])
    store.save([entry(1, healthy=False)], ["orders-v1-0"])
    assert store.load() == [entry(1, healthy=False)]


def test_an_empty_store_knows_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.sqlite")
    assert store.load() == []
    assert store.mesh() is None


def test_instances_and_the_mesh_may_be_written_from_several_threads(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.sqlite")
    document = MeshDocument(file="mesh.yaml", text="x" * 10_000, version="1")
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(store.save, [entry(n % 7)], []) for n in range(200)]
        done += [pool.submit(store.save_mesh, document) for _ in range(200)]
        for each in done:
            each.result()
    assert len(store.load()) == 7
    assert store.mesh() == document
