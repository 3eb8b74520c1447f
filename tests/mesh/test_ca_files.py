"""Files of CAs that mesh.yaml names."""

import re
from pathlib import Path

import pytest

from legation.mesh.errors import InvalidMesh
from legation.mesh.load import load
from legation.runtime.edge_files import check_files
from tests.xds_server.compile.test_external import certificate

TEXT = """mesh: a
trust_domain: a.local
tracing: {{otlp: {{host: t, tls: true, ca: {ca}}}}}
logging: {{otlp: {{url: "https://l/v1/logs", ca: {ca}}}}}
services:
  web: {{protocol: http, port: 1, calls: [good, bare]}}
external:
  good: {{host: a.test, port: 443, ca: {ca}}}
  bare: {{host: b.test, port: 443}}
"""


def named(ca: str, file: str) -> set[str | None]:
    mesh = load(TEXT.format(ca=ca), file).mesh
    assert mesh.tracing is not None
    assert mesh.logging is not None
    assert mesh.logging.otlp is not None
    assert mesh.external["bare"].ca is None
    return {mesh.tracing.otlp.ca, mesh.logging.otlp.ca, mesh.external["good"].ca}


@pytest.mark.parametrize(
    ("ca", "file", "path"),
    [
        ("ca.pem", "/mesh/mesh.yaml", "/mesh/ca.pem"),
        ("tls/ca.pem", "mesh.yaml", "tls/ca.pem"),
        ("/etc/ca.pem", "/mesh/mesh.yaml", "/etc/ca.pem"),
    ],
)
def test_a_file_is_in_the_folder_of_the_one_that_names_it(ca: str, file: str, path: str) -> None:
    assert named(ca, file) == {path}


def test_one_of_that_folder_that_cannot_be_used_is_a_violation_and_others_are_for_who_reads_them(
    tmp_path: Path,
) -> None:
    file = str(tmp_path / "mesh.yaml")
    check_files(load(TEXT.format(ca="/nowhere/ca.pem"), file))
    with pytest.raises(InvalidMesh) as missing:
        check_files(load(TEXT.format(ca="outside.pem"), file))
    assert str(missing.value).splitlines() == [
        f"{file}:{at}: {field}: cannot read {tmp_path}/outside.pem: No such file or directory"
        for at, field in (("3:42", "tracing.otlp.ca"), ("4:48", "logging.otlp.ca"), ("8:39", "external.good.ca"))
    ]
    certificate(tmp_path)
    check_files(load(TEXT.format(ca="outside.pem"), file))
    with pytest.raises(InvalidMesh, match=re.escape(f"{tmp_path}/outside.key holds no certificate in PEM")):
        check_files(load(TEXT.format(ca="outside.key"), file))
