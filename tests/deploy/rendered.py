"""The manifests of deploy/ as kustomize renders them, and the schemas that a server would hold against them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PLACES = ("base", "overlays/laptop", "overlays/s3", "overlays/gcs", "overlays/azure")

Object = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of a command line tool that a package of the test extra brings."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is not installed"
    return found


@functools.cache
def objects(place: str) -> tuple[Object, ...]:
    """Return all objects of one base or overlay."""
    done = subprocess.run(
        [tool("kubectl"), "kustomize", str(DEPLOY / place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(place: str, kind: str) -> list[Object]:
    return [found for found in objects(place) if found["kind"] == kind]


def pod_specs(place: str) -> Iterator[tuple[str, Object]]:
    """Yield (where, pod template) of every pod that the objects make."""
    for found in objects(place):
        name = f"{found['kind']}/{found['metadata']['name']}"
        spec = found.get("spec", {})
        if found["kind"] == "RayCluster":
            yield f"{name}/head", spec["headGroupSpec"]["template"]
            for group in spec["workerGroupSpecs"]:
                yield f"{name}/{group['groupName']}", group["template"]
        elif found["kind"] == "RayJob":
            yield name, spec["submitterPodTemplate"]
        elif found["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]
        elif found["kind"] == "Deployment":
            yield name, spec["template"]


def strict(schema: Any) -> Any:
    """Return a resource definition's schema as strict JSON Schema: unknown fields are errors.

    As the API server does, what has a default need not be given.
    """
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
        if "required" in schema:
            made["required"] = [name for name in schema["required"] if "default" not in properties.get(name, {})]
    return made


def without_nulls(value: Any) -> Any:
    """Return `value` without its nulls, as the API server stores it."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
