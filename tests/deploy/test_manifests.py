"""Every manifest is what Kubernetes and KubeRay take, as far as that can be checked without a cluster."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from .rendered import PLACES, objects, of_kind, pod_specs, strict, without_nulls

CORE_VERSION = "1.33"


@pytest.mark.parametrize("place", PLACES)
def test_core_kinds_fit_their_schemas(place: str) -> None:
    for found in objects(place):
        if not found["apiVersion"].startswith("ray.io/"):
            kubernetes_validate.validate(found, CORE_VERSION, strict=True)


def test_a_misspelt_field_is_found() -> None:
    policy = of_kind("base", "NetworkPolicy")[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**policy, "spec": {**policy["spec"], "podSelektor": {}}}, CORE_VERSION, strict=True
        )


@functools.cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    """Return the check of a kind's version v1."""
    folder = os.environ.get("UNLABELED_DEPLOY_SCHEMAS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("UNLABELED_DEPLOY_SCHEMAS names no folder with KubeRay's resource definitions")
    text = (Path(folder) / f"ray.io_{kind.lower()}s.yaml").read_text()
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
    (version,) = [version for version in versions if version["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    # The server's own fields, which the definition leaves to it.
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.crds
@pytest.mark.parametrize("place", PLACES)
def test_ray_kinds_fit_kuberays_definitions(place: str) -> None:
    checked = [found for found in objects(place) if found["apiVersion"] == "ray.io/v1"]
    assert len(checked) == 2
    for found in checked:
        errors = list(_validator(found["kind"]).iter_errors(without_nulls(found)))
        assert not errors, [f"{list(error.path)}: {error.message}" for error in errors[:5]]


@pytest.mark.crds
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "headGroupSpecs"), {}),
        (("spec", "authOptions", "mode"), "tokens"),
        (("spec", "enableInTreeAutoscaling"), "yes"),
        (("spec", "headGroupSpec", "template", "spec", "containerz"), []),
    ],
)
def test_planted_mistakes_do_not_fit(path: tuple[str, ...], value: Any) -> None:
    (cluster,) = of_kind("base", "RayCluster")
    planted = yaml.safe_load(yaml.safe_dump(cluster))
    inner = planted
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    assert list(_validator("RayCluster").iter_errors(without_nulls(planted)))


# What KubeRay checks beyond its schema: ray-operator/controllers/ray/utils/validation.go, v1.7.


@pytest.mark.parametrize("place", PLACES)
def test_token_authentication_names_a_ray_version_that_has_it(place: str) -> None:
    (cluster,) = of_kind(place, "RayCluster")
    assert cluster["spec"]["authOptions"]["mode"] == "token"
    assert tuple(map(int, cluster["spec"]["rayVersion"].split("."))) >= (2, 60, 0)


@pytest.mark.parametrize("place", PLACES)
def test_pods_of_autoscaler_v2_never_restart(place: str) -> None:
    (cluster,) = of_kind(place, "RayCluster")
    assert cluster["spec"]["enableInTreeAutoscaling"]
    assert cluster["spec"]["autoscalerOptions"]["version"] == "v2"
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert {group["template"]["spec"].get("restartPolicy", "Never") for group in groups} == {"Never"}
    names = {entry["name"] for group in groups for entry in group["template"]["spec"]["containers"][0]["env"]}
    assert "RAY_enable_autoscaler_v2" not in names


@pytest.mark.parametrize("place", PLACES)
def test_resources_are_said_once(place: str) -> None:
    (cluster,) = of_kind(place, "RayCluster")
    for group in [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]:
        assert "resources" not in group
        assert "labels" not in group["rayStartParams"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("place", PLACES)
def test_names_are_labels_and_short_enough(place: str) -> None:
    for found in objects(place):
        name = found["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 47


@pytest.mark.parametrize("place", PLACES)
def test_a_job_runs_on_the_cluster_that_stands(place: str) -> None:
    (cluster,) = of_kind(place, "RayCluster")
    (job,) = of_kind(place, "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert job["spec"]["submissionMode"] != "SidecarMode"
    # With a selector there is nothing that a finished job could shut down.
    assert not {"suspend", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"} & set(job["spec"])


@pytest.mark.parametrize("place", PLACES)
def test_every_name_that_a_pod_uses_is_there(place: str) -> None:
    """Config maps, secrets, accounts and volumes; the operator makes the token's secret under the cluster's name."""
    made = {(found["kind"], found["metadata"]["name"]) for found in objects(place)}
    made |= {("Secret", found["metadata"]["name"]) for found in of_kind(place, "RayCluster")}
    for where, template in pod_specs(place):
        spec = template["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        account = spec.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in made, where
        for volume in volumes.values():
            secret = volume.get("secret", {}).get("secretName")
            assert secret is None or ("Secret", secret) in made, where
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes), where
            for source in container.get("envFrom", []):
                for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                    assert key not in source or (kind, source[key]["name"]) in made, where
