"""What the commands of `legation certs` have in common: their options."""

from pathlib import Path
from typing import Annotated

import typer

from legation.cli.find import read_mesh
from legation.cli.output import Format
from legation.mesh.model.mesh import Mesh

File = Annotated[Path | None, typer.Option("-f", "--file", help="the mesh file; without it ./mesh.yaml")]
MeshFile = Annotated[Path | None, typer.Option("-f", "--file", help="the mesh file; without it the running mesh's")]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="folder for this mesh's state and sockets on this host")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="table for people, json or yaml for programs")]

VaultUrl = Annotated[str, typer.Option("--vault", help="https URL of your Vault or OpenBao")]
VaultCa = Annotated[Path | None, typer.Option("--vault-ca", help="file with the CA that its certificate is checked by")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="file with an operator's token; without it VAULT_TOKEN, or you are asked"),
]
Root = Annotated[
    str | None, typer.Option("--root", help="MOUNT/ISSUER of a root that you have; without it one is made in mesh-root")
]
Key = Annotated[str, typer.Option("--key", help="leaf keys: ec-p256, ec-p384, rsa-2048, rsa-3072 or rsa-4096")]
MaxTtl = Annotated[str, typer.Option("--max-ttl", help="the longest life of a leaf that anybody may ask for")]


def mesh_at(file: Path | None) -> Mesh:
    """Return the mesh of a file, or of ./mesh.yaml; leaves with its violations."""
    return read_mesh((file or Path("mesh.yaml")).resolve()).mesh
