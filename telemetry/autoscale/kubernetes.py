"""The same policies for Kubernetes: an HPA v2 and a KEDA ScaledObject each, and an adapter's rules. Pure.

An HPA reads its metrics from prometheus-adapter (external.metrics.k8s.io), which `adapter.yaml` tells of our queries.
KEDA asks Prometheus itself, and makes an HPA of its own: use one of the two.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from legation.mesh.model.autoscale import METRICS, Autoscale, Metric
from legation.mesh.model.mesh import Mesh
from telemetry.autoscale.decide import FASTEST_NUMBER, FASTEST_SHARE
from telemetry.autoscale.queries import policies, query
from telemetry.rules import promql
from telemetry.rules.conventions import MESH, SERVICE, VERSION
from telemetry.rules.yaml_text import dump

HEAD = "Written by legation from mesh.yaml; a change here is lost with the next rendering."
PROMETHEUS_URL = "http://prometheus-operated.monitoring.svc:9090"
"""Where Prometheus is in a cluster unless another place is given: the operator's own service."""

POLLING = 15
"""Seconds between two questions of KEDA: as often as an HPA looks."""

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scaled:
    """A Deployment and the policy that it follows; without a version it is of all versions of the service."""

    deployment: str
    service: str
    version: str
    policy: Autoscale


def render_kubernetes(mesh: Mesh, namespace: str = "", prometheus_url: str = PROMETHEUS_URL) -> Mapping[str, str]:
    """Return the files by relative path: `hpa/`, `keda/`, `adapter.yaml`; none where nothing follows the load."""
    every = tuple(scaled(mesh))
    if not every:
        return {}
    return {
        **{f"hpa/{one.deployment}.yaml": dump(hpa(mesh, one, namespace), HEAD) for one in every},
        **{f"keda/{one.deployment}.yaml": dump(keda(mesh, one, namespace, prometheus_url), HEAD) for one in every},
        "adapter.yaml": dump(adapter(mesh), HEAD),
    }


def scaled(mesh: Mesh) -> Iterator[Scaled]:
    """Yield what follows the load: a Deployment a service, or one a version where workloads start several."""
    for service, policy in policies(mesh).items():
        versions = [w.version for w in mesh.workloads if w.service == service and w.instances]
        if len(versions) > 1:
            yield from (Scaled(f"{service}-{version}", service, version, policy) for version in versions)
        else:
            yield Scaled(service, service, "", policy)


def hpa(mesh: Mesh, of: Scaled, namespace: str = "") -> Manifest:
    """Return a HorizontalPodAutoscaler (autoscaling/v2)."""
    labels = {MESH: mesh.mesh, SERVICE: of.service, **({VERSION: of.version} if of.version else {})}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(mesh, of, namespace),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of.deployment},
            "minReplicas": of.policy.min,
            "maxReplicas": of.policy.max,
            "metrics": [_hpa_metric(metric, target, labels) for metric, target in of.policy.targets()],
            "behavior": behaviour(of.policy),
        },
    }


def keda(mesh: Mesh, of: Scaled, namespace: str, prometheus_url: str) -> Manifest:
    """Return a ScaledObject (keda.sh/v1alpha1).

    It has no `fallback`, and takes no answer for no answer: an HPA that gets no metric takes nobody away.
    """
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(mesh, of, namespace),
        "spec": {
            "scaleTargetRef": {"name": of.deployment},
            "pollingInterval": POLLING,
            "minReplicaCount": of.policy.min,
            "maxReplicaCount": of.policy.max,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behaviour(of.policy)}},
            "triggers": [_trigger(mesh, of, metric, target, prometheus_url) for metric, target in of.policy.targets()],
        },
    }


def behaviour(policy: Autoscale) -> Manifest:
    """Return how fast the number changes: as `decide` has it, which has it from here."""
    period = _seconds(policy.cooldown)
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": round(FASTEST_SHARE * 100), "periodSeconds": period},
                {"type": "Pods", "value": FASTEST_NUMBER, "periodSeconds": period},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": max(_seconds(policy.stabilization_window), period),
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": period}],
        },
    }


def adapter(mesh: Mesh) -> Manifest:
    """Return prometheus-adapter's configuration: each metric of our policies, by the labels that an HPA names."""
    used = {metric for policy in policies(mesh).values() for metric, _ in policy.targets()}
    return {"externalRules": [_external(mesh, metric) for metric in METRICS if metric in used and metric != "cpu"]}


def _external(mesh: Mesh, metric: Metric) -> Manifest:
    """Return one rule; the adapter puts what an HPA selects in place of `<<.LabelMatchers>>` (a Go template)."""
    asked = query(metric, mesh.mesh, "").replace(f'{SERVICE}=""', "<<.LabelMatchers>>")
    seen = promql.metrics("adapter", query(metric, mesh.mesh, ""))[0]
    return {
        "seriesQuery": f'{seen}{{{MESH}="{mesh.mesh}",{SERVICE}!=""}}',
        "resources": {"namespaced": False},
        "name": {"as": f"legation_{metric}"},
        "metricsQuery": asked,
    }


def _metadata(mesh: Mesh, of: Scaled, namespace: str) -> Manifest:
    labels = {"app.kubernetes.io/managed-by": "legation", "app.kubernetes.io/part-of": mesh.mesh}
    return {"name": of.deployment, **({"namespace": namespace} if namespace else {}), "labels": labels}


def _hpa_metric(metric: Metric, target: float, labels: Mapping[str, str]) -> Manifest:
    if metric == "cpu":
        goal = {"type": "AverageValue", "averageValue": quantity(target)}
        return {"type": "Resource", "resource": {"name": "cpu", "target": goal}}
    goal = (
        {"type": "Value", "value": quantity(target)}
        if metric == "latency"
        else {"type": "AverageValue", "averageValue": quantity(target)}
    )
    named = {"name": f"legation_{metric}", "selector": {"matchLabels": dict(labels)}}
    return {"type": "External", "external": {"metric": named, "target": goal}}


def _trigger(mesh: Mesh, of: Scaled, metric: Metric, target: float, prometheus_url: str) -> Manifest:
    if metric == "cpu":
        return {"type": "cpu", "metricType": "AverageValue", "metadata": {"value": quantity(target)}}
    return {
        "type": "prometheus",
        "metricType": "Value" if metric == "latency" else "AverageValue",
        "metadata": {
            "serverAddress": prometheus_url.rstrip("/"),
            "query": query(metric, mesh.mesh, of.service, of.version),
            "threshold": f"{target:g}",
            "ignoreNullValues": "false",
        },
    }


def quantity(value: float) -> str:
    """Return a number as Kubernetes writes it: `200`, or thousandths, `250m`."""
    return f"{value:.0f}" if value == round(value) else f"{max(1, round(value * 1000))}m"


def _seconds(value: timedelta) -> int:
    return max(1, round(value.total_seconds()))
