"""The release and rollback of docs/kubernetes.md, run word by word: the real kubectl on a stand-in of the API server."""

import http.server
import json
import re
import subprocess
import threading
from typing import Any

import pytest
import yaml

from k8s.checks import problems
from k8s.checks.ownership import KEY, MODELS, created_once
from k8s.checks.resources import of_kind
from k8s.checks.training import training_problems
from k8s.validate import BIN, K8S, TARGETS, VERSIONS, schema_problems
from serving.release.promote import listed

TEXT = (K8S.parent / "docs" / "kubernetes.md").read_text()
RELEASE = re.search(r"^release\(\) \{.*?^\}", TEXT, re.MULTILINE | re.DOTALL).group()
(BY_HAND,) = re.findall(r"^kubectl .* replace -f -$", TEXT, re.MULTILINE)
PROMOTED = [target for target in TARGETS if target.startswith("overlays/") and "dev" not in target]
BATCH, CORE = "/apis/batch/v1", "/api/v1"
KINDS = {BATCH: {"jobs": "Job", "cronjobs": "CronJob"}, CORE: {"configmaps": "ConfigMap"}}


def discovery() -> dict[str, Any]:
    """What kubectl asks first: groups, their kinds, and that the server itself looks for unknown fields."""
    batch = {"groupVersion": "batch/v1", "version": "v1"}
    groups = [{"name": "batch", "versions": [batch], "preferredVersion": batch}]
    found = {"/api": {"kind": "APIVersions", "versions": ["v1"]}, "/apis": {"kind": "APIGroupList", "groups": groups}}
    found["/openapi/v3"] = {"paths": {path[1:]: {"serverRelativeURL": f"/openapi/v3{path}"} for path in KINDS}}
    for path, kinds in KINDS.items():
        group = "batch/v1" if path == BATCH else "v1"
        listed = [{"name": name, "namespaced": True, "kind": kind, "verbs": []} for name, kind in kinds.items()]
        found[path] = {"kind": "APIResourceList", "groupVersion": group, "resources": listed}
        which = [{"group": group.rpartition("/")[0], "version": "v1", "kind": kind} for kind in kinds.values()]
        fields = [{"name": "fieldValidation", "in": "query"}]
        paths = {
            f"/{one['kind']}": {"patch": {"x-kubernetes-group-version-kind": one, "parameters": fields}}
            for one in which
        }
        info = {"title": "stand-in", "version": "1"}
        found[f"/openapi/v3{path}"] = {"openapi": "3.0.0", "info": info, "paths": paths}
    return found


@pytest.fixture
def cluster(tmp_path):
    """(run, objects): bash with kubectl for a stand-in of the API server, and what that one holds, by path."""
    objects = discovery()

    class Api(http.server.BaseHTTPRequestHandler):
        def _answer(self, code: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _put(self, name: str = "") -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = self.path.split("?")[0]
            objects[f"{path}/{body['metadata']['name']}" if name else path] = body
            self._answer(200, body)

        def do_GET(self) -> None:
            found = objects.get(self.path.split("?")[0])
            self._answer(404 if found is None else 200, found or {"kind": "Status", "status": "Failure", "code": 404})

        def do_POST(self) -> None:
            self._put("of the object")

        do_PUT = _put  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def run(script: str) -> None:
        config = tmp_path / "config"
        clusters = [{"name": "one", "cluster": {"server": address}}]
        context = [{"name": "one", "context": {"cluster": "one"}}]
        config.write_text(yaml.safe_dump({"clusters": clusters, "contexts": context, "current-context": "one"}))
        found = {"PATH": f"{BIN}:/usr/bin:/bin", "KUBECONFIG": str(config), "HOME": str(tmp_path)}
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=found, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr

    yield run, objects
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("label", "version"), [("canary", 2), ("stable", 1)])
def test_a_release_makes_a_job_with_label_and_version_and_all_that_the_manifests_promise(
    built, cluster, label, version
):
    run, objects = cluster
    resources = built("overlays/prod-cpu-tls")
    (template,) = of_kind(resources, "CronJob")
    objects[f"{BATCH}/namespaces/seghgan/cronjobs/seghgan-promote"] = template | {
        "metadata": template["metadata"] | {"uid": "1"}
    }
    run(f"{RELEASE}\nrelease {label} {version}")
    (job,) = [one for path, one in objects.items() if path.startswith(f"{BATCH}/namespaces/seghgan/jobs/")]
    assert job["metadata"]["name"].startswith(f"{label}-{version}-")
    pod = job["spec"]["template"]["spec"]
    given = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert (given["LABEL"], given["VERSION"]) == (label, str(version))
    before = template["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert {**pod, "containers": 0} == {**before, "containers": 0}
    job.pop("status")
    whole = [*resources, job]
    assert problems(whole) + training_problems(whole) + schema_problems([job], VERSIONS[-1:]) == []


def test_without_a_job_kubectl_moves_one_label_and_nothing_else(built, cluster):
    run, objects = cluster
    (labels,) = created_once(built("overlays/prod-cpu"))
    text = labels["data"][KEY].replace("versions: 1", "versions: 1 versions: 2")
    labels["data"][KEY] = text.replace("value: 1", "value: 2")
    before = listed(labels["data"][KEY], "seghgan")
    labels["metadata"]["resourceVersion"] = "7"
    path = f"{CORE}/namespaces/seghgan/configmaps/{MODELS}"
    objects[path] = labels
    run(BY_HAND)
    after = listed(objects[path]["data"][KEY], "seghgan")
    assert before.labels == {"stable": 2, "canary": 2}
    assert after == before._replace(labels={"stable": 1, "canary": 2})
    assert objects[path]["metadata"]["resourceVersion"] == "7", "so that somebody else's change is not overwritten"


@pytest.mark.parametrize("target", PROMOTED)
def test_a_promotion_may_reach_names_servers_and_api_server_and_the_servers_let_it_in(built, target):
    resources = built(target)
    (job,) = of_kind(resources, "CronJob")
    worn = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"].items()
    policies = of_kind(resources, "NetworkPolicy")
    (out,) = [one["spec"] for one in policies if one["spec"]["podSelector"].get("matchLabels", {0: 0}).items() <= worn]
    assert {port["port"] for rule in out["egress"] for port in rule["ports"]} == {53, 8500, 443, 6443}
    peers = [
        peer["podSelector"]["matchLabels"].items()
        for one in policies
        for rule in one["spec"].get("ingress", [])
        if {"protocol": "TCP", "port": 8500} in rule["ports"]
        for peer in rule["from"]
        if "namespaceSelector" not in peer
    ]
    assert any(peer <= worn for peer in peers)
