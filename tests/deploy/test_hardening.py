"""Pods are confined, networks closed, nothing floats."""

from __future__ import annotations

import json

import pytest

from .rendered import DEPLOY, PLACES, objects, of_kind, pod_specs


@pytest.mark.parametrize("place", PLACES)
def test_every_container_is_confined(place: str) -> None:
    for where, template in pod_specs(place):
        for container in template["spec"]["containers"]:
            confined = container["securityContext"]
            assert confined["runAsNonRoot"], where
            assert confined["readOnlyRootFilesystem"], where
            assert not confined["allowPrivilegeEscalation"], where
            assert confined["capabilities"] == {"drop": ["ALL"]}, where
            assert confined["seccompProfile"] == {"type": "RuntimeDefault"}, where
    for cluster in of_kind(place, "RayCluster"):
        assert cluster["spec"]["autoscalerOptions"]["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("place", PLACES)
def test_every_container_says_what_it_needs(place: str) -> None:
    for where, template in pod_specs(place):
        for container in template["spec"]["containers"]:
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), where


@pytest.mark.parametrize("place", PLACES)
def test_only_the_head_gets_a_token_of_the_kubernetes_api(place: str) -> None:
    for where, template in pod_specs(place):
        if not where.endswith("/head"):
            assert template["spec"]["automountServiceAccountToken"] is False, where


@pytest.mark.parametrize("place", PLACES)
def test_images_are_named_with_a_version(place: str) -> None:
    for where, template in pod_specs(place):
        for container in template["spec"]["containers"]:
            _, _, tag = container["image"].partition(":")
            assert tag, where
            assert "latest" not in tag, where


@pytest.mark.parametrize("place", PLACES)
def test_networks_are_closed_by_default(place: str) -> None:
    by_name = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(place, "NetworkPolicy")}
    assert by_name["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {policy["metadata"]["namespace"] for policy in of_kind(place, "NetworkPolicy")} == {"unlabeled"}


@pytest.mark.parametrize("place", PLACES)
def test_every_pod_with_a_role_can_reach_something(place: str) -> None:
    """A role that no policy selects would be cut off by deny-all."""
    selected = json.dumps([policy["spec"]["podSelector"] for policy in of_kind(place, "NetworkPolicy")])
    for where, template in pod_specs(place):
        assert template["metadata"]["labels"]["unlabeled.dev/role"] in selected, where


@pytest.mark.parametrize("place", PLACES)
def test_metadata_addresses_are_reached_where_identity_needs_them_alone(place: str) -> None:
    wide = [policy for policy in of_kind(place, "NetworkPolicy") if policy["metadata"]["name"] == "object-store"]
    assert "169.254.0.0/16" in wide[0]["spec"]["egress"][0]["to"][0]["ipBlock"]["except"]
    named = {policy["metadata"]["name"] for policy in of_kind(place, "NetworkPolicy")}
    assert ("metadata-server" in named) == (place == "overlays/gcs")


@pytest.mark.parametrize("place", PLACES)
def test_credentials_stand_in_no_manifest(place: str) -> None:
    """The laptop's own store has credentials that open nothing else."""
    if place != "overlays/laptop":
        assert not of_kind(place, "Secret")
    text = json.dumps([found for found in objects(place) if found["kind"] != "Secret"])
    assert "SECRET_ACCESS_KEY" not in text
    assert '"RAY_AUTH_TOKEN"' not in text


def test_pending_uploads_expire() -> None:
    (rule,) = json.loads((DEPLOY / "lifecycle/s3.json").read_text())["Rules"]
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    (rule,) = json.loads((DEPLOY / "lifecycle/gcs.json").read_text())["lifecycle"]["rule"]
    assert rule["action"]["type"] == "AbortIncompleteMultipartUpload"
