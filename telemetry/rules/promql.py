"""What we ask of PromQL as a language: that it parses, and which selectors it holds. Never regular expressions."""

from typing import Any

import promql_parser

from telemetry.rules.conventions import ALERTS, GRPC_STATUS, RQ_GIVEN_UP


class InvalidQuery(Exception):
    """A query of ours that does not parse."""

    def __init__(self, where: str, expr: str, reason: str) -> None:
        """Keep the rule or panel, its query and the parser's word."""
        self.where, self.expr, self.reason = where, expr, reason
        super().__init__(f"{where}: {expr!r} is no PromQL: {reason}")


def parse(where: str, expr: str) -> Any:
    """Return the syntax tree of a query; InvalidQuery when there is none."""
    try:
        return promql_parser.parse(expr)
    except ValueError as error:
        raise InvalidQuery(where, expr, str(error)) from error


def selectors(where: str, expr: str) -> tuple[str, ...]:
    """Return the instant vector selectors of a query, each as a query of its own, sorted, each once."""
    return tuple(sorted(set(_selectors(parse(where, expr)))))


def lasting(where: str, expr: str) -> tuple[str, ...]:
    """Return those selectors that match something in a mesh that is well, and young: without their offset.

    Not a gRPC status, nor what was given up: their counters are there from the first hit only; and not an alert.
    """
    found = {text.partition(" offset ")[0] for text in selectors(where, expr)}
    return tuple(sorted(text for text in found if not text.startswith((GRPC_STATUS, RQ_GIVEN_UP, ALERTS))))


def metrics(where: str, expr: str) -> tuple[str, ...]:
    """Return the names of the metrics that a query reads, sorted, each once."""
    return tuple(sorted({text.partition("{")[0] for text in selectors(where, expr)}))


def _selectors(node: Any) -> list[str]:
    """Walk a tree; a range selector counts as the instant selector inside it."""
    match node:
        case promql_parser.VectorSelector():
            return [str(node)]
        case promql_parser.MatrixSelector():
            return [str(node.vector_selector)]
        case promql_parser.BinaryExpr():
            return _selectors(node.lhs) + _selectors(node.rhs)
        case promql_parser.Call():
            return [text for argument in node.args for text in _selectors(argument)]
        case (
            promql_parser.AggregateExpr()
            | promql_parser.ParenExpr()
            | promql_parser.SubqueryExpr()
            | promql_parser.UnaryExpr()
        ):
            return _selectors(node.expr)
        case _:
            return []
