"""Does each step of training read what an earlier step wrote? And are there the commands that the manifests run?"""

import re
import shlex
from collections.abc import Iterator

import typer.main

from k8s.checks.resources import Resource, of_kind, pod_specs
from seghgan_tf.cli import app

COMMAND = "/opt/venv/bin/seghgan"
USAGE_ERRORS = typer.BadParameter.__bases__
"""What a wrong command line raises, which Typer does not name itself."""


def seghgan_commands(resources: list[Resource]) -> Iterator[tuple[str, list[str]]]:
    """Yield `Kind/name/container` and the words after `seghgan` of each command that pods run, in the order of their steps."""
    for name, spec in pod_specs(resources):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            where, words = f"{name}/{container['name']}", container.get("args", [])
            if container.get("command", [""])[0] == COMMAND:
                yield where, words
            elif container.get("command", [""])[0] == "/bin/sh":
                for line in re.findall(rf"{COMMAND} (.+)", words[0].replace("\\\n", " ")):
                    lists = _lists(resources) if "$(cat /config/dataset-" in line else [[]]
                    for given in lists:
                        yield where, [*shlex.split(re.sub(r"\$\w+", "1", re.sub(r"\$\(cat [^)]+\)", "", line))), *given]


def _lists(resources: list[Resource]) -> list[list[str]]:
    """Return the words of each `dataset-*` of a ConfigMap: what one pod of the conversion adds to its command."""
    data = [one["data"] for one in of_kind(resources, "ConfigMap") if "dataset-0" in one.get("data", {})]
    return [shlex.split(text) for one in data for key, text in sorted(one.items()) if key.startswith("dataset-")]


def written(resources: list[Resource]) -> set[str]:
    """Return the folders of records that the conversions of a target write."""
    return {words[4] for _, words in seghgan_commands(resources) if words[:2] == ["data", "convert"]}


def read(words: list[str]) -> list[str]:
    """Return the folders of records that a `train` command reads."""
    return re.findall(r"--(?:expression|segmentation)=(\S+)", " ".join(words))


def training_problems(resources: list[Resource]) -> list[str]:
    """Return what is wrong with the steps of a target; nothing where it has none."""
    found: list[str] = []
    done: set[str] = set()
    for where, words in seghgan_commands(resources):
        found += _unknown(where, words)
        if words[:2] == ["data", "convert"]:
            done.add(words[4])
        elif words[0] == "train" and done:
            found += [f"{where}: reads {one}, which no earlier step wrote" for one in read(words) if one not in done]
        workdirs = re.findall(r"--workdir=(\S+)", " ".join(words))
        if words[0] == "train":
            done.update(workdirs)
        elif words[0] == "evaluate":
            found += [f"{where}: evaluates {one}, which no earlier step trained" for one in workdirs if one not in done]
    return found + list(_released(resources))


def _released(resources: list[Resource]) -> Iterator[str]:
    """Yield the gates and promotions that could take another export than the one that was made."""
    scripts = {
        f"{name}/{one['name']}": one["args"][0]
        for name, spec in pod_specs(resources)
        for one in [*spec.get("initContainers", []), *spec["containers"]]
        if one.get("command", [""])[0] == "/bin/sh"
    }
    made = {found for script in scripts.values() for found in re.findall(r"--receipt (\S+)", script)}
    for where, script in scripts.items():
        if re.search(rf"{COMMAND} (gate|promote) ", script):
            if '--digest "$digest"' not in script:
                yield f"{where}: takes no --digest, so that another export may have taken the place of the one that was made"
            read = re.search(r'read -r version digest < "/store/runs/\$RUN/(\S+)"', script)
            if read is None or "$version" not in script:
                yield f"{where}: must take the version and digest of the receipt"
            elif read[1] not in made:
                yield f"{where}: reads {read[1]}, which is not the name of the receipt that export writes"


def _unknown(where: str, words: list[str]) -> list[str]:
    """Parse a command as the command line itself does, its values included; paths need not be there."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and hasattr(command, "commands"):
        name = rest.pop(0)
        if name not in command.commands:
            return [f"{where}: `seghgan` has no command {name}"]
        command = command.commands[name]
    context = command.context_class(command, info_name=command.name)
    try:
        given, _, _ = command.make_parser(context).parse_args(rest)
    except USAGE_ERRORS as error:
        return [f"{where}: {error}"]
    found = []
    for parameter in command.get_params(context):
        try:
            parameter.process_value(context, given.get(parameter.name))
        except USAGE_ERRORS as error:
            if "does not exist" not in str(error):
                found.append(f"{where}: {error}")
    return found
