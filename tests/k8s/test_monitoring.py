"""The dashboard and the alerts ask for metrics that the embedded server has, that the rules record, or that the cluster gives."""

import json
import re

import pytest
import yaml

from k8s.validate import K8S
from serving.server.engine import Engine
from serving.server.settings import Settings

FOLDER = K8S / "components" / "monitoring"
OF_THE_CLUSTER = {"container_memory_working_set_bytes", "kube_pod_container_resource_limits", "up"}
"""cAdvisor's and kube-state-metrics' names, and Prometheus' own."""
OF_THE_BINARY = {
    ":tensorflow:serving:batching_session:queuing_latency_bucket",
    ":tensorflow:serving:model_warmup_latency_count",
}
"""TensorFlow Serving's alone."""
RULES = yaml.safe_load((FOLDER / "prometheusrule.yaml").read_text())["spec"]["groups"]
PANELS = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
METRIC = re.compile(r"(?<![\w])(:?[a-z][a-z0-9_:]*[a-z0-9_])(?=[{\[]|$| [><=])")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    text = Engine(Settings(model_dir=tmp_path_factory.mktemp("models"))).metrics.render().decode()
    found = set(OF_THE_CLUSTER | OF_THE_BINARY)
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        found |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found | {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}


def asked(expression):
    return set(METRIC.findall(" ".join(expression.split())))


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_asks_for_what_is_there_and_has_a_unit(known, panel):
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert asked(target["expr"]), target
        assert asked(target["expr"]) <= known


def test_the_rules_ask_for_what_is_there(known):
    expressions = [rule["expr"] for group in RULES for rule in group["rules"]]
    assert len(expressions) > 5
    assert set().union(*map(asked, expressions)) <= known


def test_a_misspelt_metric_is_seen(known):
    assert asked('rate(seghgan_request_total{job="a"}[5m]) > 1') == {"seghgan_request_total"}
    assert "seghgan_request_total" not in known
