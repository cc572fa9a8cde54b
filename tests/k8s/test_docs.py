"""The commands of docs/kubernetes.md: manifests that build, options that exist, files that are there."""

import re
import shlex

import pytest
import typer.main

from k8s.checks.ownership import created_once
from k8s.validate import K8S, TARGETS
from seghgan_tf import cli
from serving.server.models_config import read_models

ROOT = K8S.parent
TEXT = (ROOT / "docs" / "kubernetes.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```\n(.+?)```", TEXT, re.DOTALL) for line in block.splitlines() if line.strip()
]


def test_twelve_commands_lead_to_an_endpoint():
    assert len(TEXT.split("```")[1].strip().splitlines()) == 12


def test_the_labels_are_created_from_a_file_that_servers_can_read():
    (file,) = set(re.findall(r"create configmap seghgan-models --from-file=(\S+)", TEXT))
    assert read_models(ROOT / file)["seghgan"].labels == {"stable": 1, "canary": 1}


def test_labels_are_created_in_every_namespace_whose_servers_need_them(built):
    needed = {one["metadata"]["namespace"] for target in TARGETS for one in created_once(built(target))}
    assert (
        needed == set(re.findall(r"-n (\S+) create configmap seghgan-models ", TEXT)) == {"seghgan", "seghgan-staging"}
    )


@pytest.mark.parametrize("line", [one for one in COMMANDS if one.startswith("seghgan ")])
def test_a_seghgan_command_has_its_options(line):
    command = typer.main.get_command(cli.app)
    _, name, *words = shlex.split(line)
    command = command.commands[name]
    context = command.context_class(command, info_name=name)
    given, _, _ = command.make_parser(context).parse_args(words)
    assert given


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"apply -k k8s/(\S+)", TEXT))))
def test_what_is_applied_builds(built, folder):
    kinds = {one["kind"] for one in built(folder)}
    assert kinds & {"Namespace", "Deployment"}


def test_the_files_named_are_there():
    for path in set(re.findall(r"\bk8s/[\w/.-]+\w", "\n".join(COMMANDS))):
        assert (ROOT / path).exists(), path
