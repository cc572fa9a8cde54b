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
                yield where, [re.sub(r"\$\(\w+\)", "1", word) for word in words]
            elif container.get("command", [""])[0] == "/bin/sh":
                script = words[0].replace("\\\n", " ")
                for variable, value in _variables(resources, container).items():
                    script = re.sub(rf"\${variable}\b", lambda _, value=value: value, script)
                for line in re.findall(rf"{COMMAND} (.+)", script):
                    yield where, shlex.split(re.sub(r"\$\w+", "1", line))


def _variables(resources: list[Resource], container: Resource) -> dict[str, str]:
    """Return what ConfigMaps put into a container's environment; what is known only in the cluster counts as 1."""
    names = {one["configMapRef"]["name"] for one in container.get("envFrom", []) if "configMapRef" in one}
    maps = [one["data"] for one in of_kind(resources, "ConfigMap") if one["metadata"]["name"] in names]
    return {name: value for data in maps for name, value in data.items()}


def written(resources: list[Resource]) -> set[str]:
    """Return the folders of records that the conversions of a target write."""
    commands = [words for _, words in seghgan_commands(resources)]
    return {words[4] for words in commands if words[:2] == ["data", "convert"]} | {
        words[2] for words in commands if words[:2] == ["data", "merge"]
    }


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
    return found + list(_released(resources)) + list(_shared_out(resources))


def _shared_out(resources: list[Resource]) -> Iterator[str]:
    """Yield the conversions whose shares are not as many as the pods that make them, or are not all merged."""
    scripts = {one["metadata"]["name"]: one for one in of_kind(resources, "Job")}
    for name, job in scripts.items():
        script = str(job["spec"]["template"]["spec"]["containers"][0].get("args", [""])[0])
        if share := re.search(r'--shard "\$JOB_COMPLETION_INDEX/(\d+)"', script):
            if int(share[1]) != job["spec"].get("completions"):
                yield f"Job/{name}: makes {share[1]} shares with {job['spec'].get('completions')} pods"
            merging = scripts.get(
                name.replace("convert", "merge"), {"spec": {"template": {"spec": {"containers": [{}]}}}}
            )
            waits = str(merging["spec"]["template"]["spec"]["containers"][0].get("args", [""])[0])
            if f"= {share[1]}; do" not in waits or "data merge" not in waits:
                yield f"Job/{name}: no Job waits for its {share[1]} shares and merges them"


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
