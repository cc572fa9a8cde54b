"""Do the built manifests agree with themselves? Each check is a generator of problems, and has planted faults in tests/k8s."""

from k8s.checks import apiserver, network, ownership, pods, server
from k8s.checks.resources import Resource


def problems(resources: list[Resource], once: list[Resource] | None = None) -> list[str]:
    """Return what is wrong with the resources of one target, nothing where they agree.

    `once` is what a person creates beside them; the ConfigMap of labels as it is shipped where it is not given.
    """
    whole = [*resources, *(ownership.created_once(resources) if once is None else once)]
    checks = (*apiserver.CHECKS, *pods.CHECKS, *server.CHECKS, *network.CHECKS)
    found = [problem for check in checks for problem in check(whole)]
    return [*found, *ownership.ownership(resources), *ownership.promotions(resources)]
