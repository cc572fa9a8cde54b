"""Services, fences, autoscalers and budgets."""

import ipaddress
from collections.abc import Iterator

from k8s.checks.resources import Resource, of_kind, servers

NODE_LOCAL = ipaddress.ip_network("169.254.20.10/32")
"""Where NodeLocal DNSCache listens."""
WIDEST = 2**12
"""Addresses that one rule may let out to."""


def _services(resources: list[Resource]) -> Iterator[str]:
    templates = [one["spec"]["template"] for one in servers(resources)]
    for service in of_kind(resources, "Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        if not name.startswith("seghgan") or name == "seghgan-train":
            continue
        chosen = [one for one in templates if spec["selector"].items() <= one["metadata"]["labels"].items()]
        if not chosen:
            yield f"Service/{name}: selects no pod"
        ports = {
            port["name"]: port["containerPort"] for one in chosen for port in one["spec"]["containers"][0]["ports"]
        }
        for port in spec["ports"]:
            if ports.get(port["targetPort"], port["targetPort"]) != port["port"]:
                yield f"Service/{name}: port {port['port']} is not the pods' {port['targetPort']}"
            if port["port"] == 8501 and not name.startswith("seghgan-metrics"):
                yield f"Service/{name}: clients must not see the REST port"
        if spec.get("type") in ("LoadBalancer", "NodePort"):
            yield f"Service/{name}: must not leave the cluster"
    for deployment in servers(resources):
        if (
            not deployment["spec"]["selector"]["matchLabels"].items()
            <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ):
            yield f"{deployment['metadata']['name']}: its selector does not match its pods"


def _fence(resources: list[Resource]) -> Iterator[str]:
    policies = of_kind(resources, "NetworkPolicy")
    if not servers(resources):
        return
    denied = [one for one in policies if one["spec"]["podSelector"] == {} and not one["spec"].get("ingress")]
    if not denied or sorted(denied[0]["spec"]["policyTypes"]) != ["Egress", "Ingress"]:
        yield "NetworkPolicy: nothing denies by default"
    for policy in policies:
        for rule in policy["spec"].get("ingress") or []:
            ports = [port.get("port") for port in rule.get("ports", [])]
            peers = rule.get("from", [])
            where = f"NetworkPolicy/{policy['metadata']['name']}"
            if not ports or not peers:
                yield f"{where}: opens every port, or to everybody"
            spaces = [one.get("namespaceSelector", {}).get("matchLabels", {}) for one in peers]
            if 8501 in ports and any(one.get("kubernetes.io/metadata.name") != "monitoring" for one in spaces):
                yield f"{where}: opens REST to others than monitoring"
            clients = [one.get("podSelector", {}).get("matchLabels", {}) for one in peers]
            if 8500 in ports and any(one.get("seghgan.io/client") != "true" for one in clients):
                yield f"{where}: opens gRPC to pods without the client label"


def _budget(resources: list[Resource]) -> Iterator[str]:
    deployments = {one["metadata"]["name"]: one for one in of_kind(resources, "Deployment")}
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        if target not in deployments:
            yield f"HorizontalPodAutoscaler: scales {target}, which is not there"
        elif "replicas" in deployments[target]["spec"]:
            yield f"{target}: replicas belong to the autoscaler"
        if scaler["spec"]["minReplicas"] < 2:
            yield "HorizontalPodAutoscaler: one pod is no service"
    for budget in of_kind(resources, "PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        if not any(wanted <= one["spec"]["template"]["metadata"]["labels"].items() for one in deployments.values()):
            yield "PodDisruptionBudget: selects no pod"
        if str(budget["spec"].get("maxUnavailable", "")) in ("0", "0%"):
            yield "PodDisruptionBudget: no node could ever be drained"


def _ways_out(resources: list[Resource]) -> Iterator[str]:
    for policy in of_kind(resources, "NetworkPolicy"):
        where = f"NetworkPolicy/{policy['metadata']['name']}"
        for rule in policy["spec"].get("egress") or []:
            peers = rule.get("to", [])
            if not peers or not rule.get("ports"):
                yield f"{where}: lets out to everybody, or on every port"
            blocks = [ipaddress.ip_network(one["ipBlock"]["cidr"]) for one in peers if "ipBlock" in one]
            for block in blocks:
                if block.num_addresses > WIDEST:
                    yield f"{where}: lets out to {block}, which is {block.num_addresses} addresses"
            if any(port.get("port") == 53 for port in rule.get("ports", [])) and NODE_LOCAL not in blocks:
                yield f"{where}: names are not found where NodeLocal DNSCache runs ({NODE_LOCAL})"


CHECKS = (_services, _fence, _budget, _ways_out)
