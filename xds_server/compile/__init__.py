"""Mesh to Envoy protos, one feature a file. Pure: a mesh, a node and its endpoints in, a snapshot out."""

from xds_server.compile.bootstrap import BootstrapInput, bootstrap
from xds_server.compile.compiler import Compiler

__all__ = ["BootstrapInput", "Compiler", "bootstrap"]
