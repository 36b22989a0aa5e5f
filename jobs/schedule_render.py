"""A schedule in the words of what runs it: Kubernetes CronJob, KubeRay RayCronJob, crontab, systemd timer."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from ..pipeline.errors import ConfigError, nearest
from .schedule import Schedule

#: Another try finds the same: wrong settings, too many rejects, a failed check. A person must look.
HOPELESS_EXIT_CODES = (2, 3, 5)
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CONTAINER: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "volumeMounts": [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
    ],
}


class Rendered(BaseModel):
    """A schedule in the words of what shall run it."""

    model_config = ConfigDict(frozen=True)

    to: str
    text: str


def render(schedule: Schedule, target: str, file: Path) -> Rendered:
    """Return the schedule as `target` takes it: cronjob, raycronjob, crontab or systemd.

    `file` is the definition itself, which crontab and systemd run again and again.

    Raises:
        ConfigError: no such target, or one that cannot express the schedule.
    """
    made: dict[str, Callable[[], str]] = {
        "cronjob": lambda: _yaml(cron_job(schedule)),
        "raycronjob": lambda: _yaml(ray_cron_job(schedule)),
        "crontab": lambda: crontab(schedule, file),
        "systemd": lambda: systemd(schedule, file),
    }
    if target not in made:
        raise ConfigError(f"`--to {target}`: expected one of {', '.join(made)}.{nearest(target, tuple(made))}")
    return Rendered(to=target, text=made[target]())


#: The name of the tick's own Job, the same for its tries.
_TICK = {"name": "TICK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}}


def cron_job(schedule: Schedule) -> dict[str, Any]:
    """Return a batch/v1 CronJob whose pod submits the command to a Ray cluster and follows it."""
    k8s = schedule.kubernetes
    # The same command under one name is one job, which a later tick would join; a queued tick is a job of its own.
    is_queued = schedule.overlap == "queue"
    container = {
        "name": "submit",
        "image": k8s.image,
        "command": [
            "unlabeled",
            "submit",
            "--follow",
            f"--address={k8s.address}",
            f"--job-name={'$(TICK)' if is_queued else schedule.name}",
            "--",
        ],
        "args": schedule.argv(),
        "env": [
            *([_TICK] if is_queued else []),
            {"name": "HOME", "value": "/scratch"},
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN_PATH", "value": "/var/run/ray/auth_token"},
        ],
        "envFrom": [{"configMapRef": {"name": k8s.config_map}}],
        **_CONTAINER,
    }
    token = {"name": "token", "mountPath": "/var/run/ray", "readOnly": True}
    container["volumeMounts"] = [*_CONTAINER["volumeMounts"], token]
    items = [{"key": "auth_token", "path": "auth_token"}]
    secret = {"secretName": k8s.token_secret, "defaultMode": 0o440, "items": items}
    pod = {
        **_pod([container]),
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "token", "secret": secret}],
    }
    never_again = {"containerName": "submit", "operator": "In", "values": list(HOPELESS_EXIT_CODES)}
    job = {
        "backoffLimit": schedule.retries,
        "activeDeadlineSeconds": schedule.deadline_seconds,
        "ttlSecondsAfterFinished": 259_200,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": never_again},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"metadata": {"labels": {"unlabeled.dev/role": "submitter"}}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": schedule.name},
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            # A queued tick waits for the dataset's lease, inside its run.
            "concurrencyPolicy": "Allow" if is_queued else "Forbid",
            "startingDeadlineSeconds": schedule.missed_within_seconds if schedule.missed == "once" else 60,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 7,
            "jobTemplate": {"spec": job},
        },
    }


def ray_cron_job(schedule: Schedule) -> dict[str, Any]:
    """Return a KubeRay RayCronJob (alpha) that runs the command on the cluster that stands.

    It has no overlap policy and makes up for every missed tick: the dataset's lease refuses or queues what overlaps,
    and a tick without news is a matter of seconds. Its job's tries are the submitter's.
    """
    k8s = schedule.kubernetes
    container = {
        "name": "submitter",
        "image": k8s.image,
        "env": [{"name": "HOME", "value": "/scratch"}],
        **_CONTAINER,
    }
    stop = {"RAY_JOB_STOP_WAIT_TIME_S": "130", "UNLABELED_STOP_GRACE_SECONDS": "120"}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": {"name": schedule.name},
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            "jobTemplate": {
                "clusterSelector": {"ray.io/cluster": k8s.cluster},
                "submissionMode": "K8sJobMode",
                "entrypoint": shlex.join(["exec", "unlabeled", *schedule.argv()]),
                "entrypointNumCpus": 1,
                "runtimeEnvYAML": _yaml({"env_vars": stop}),
                "activeDeadlineSeconds": schedule.deadline_seconds,
                "submitterConfig": {"backoffLimit": schedule.retries},
                "submitterPodTemplate": {
                    "metadata": {"labels": {"unlabeled.dev/role": "submitter"}},
                    "spec": {**_pod([container]), "volumes": [{"name": "scratch", "emptyDir": {}}]},
                },
            },
        },
    }


def crontab(schedule: Schedule, file: Path) -> str:
    """Return lines for a crontab; retries, deadline and overlap are the tick's own.

    Raises:
        ConfigError: missed ticks are to be made up for.
    """
    if schedule.missed == "once":
        raise ConfigError("`missed: once`: cron forgets what it missed; write `missed: skip`, or render to systemd.")
    line = f"{schedule.cron} unlabeled schedule tick {shlex.quote(str(file.absolute()))}".replace("%", "\\%")
    # Read by cronie; Debian's cron has the machine's zone alone.
    return f"CRON_TZ={schedule.time_zone}\n{line}\n"


def systemd(schedule: Schedule, file: Path) -> str:
    """Return a timer and its service, each after the name of its file.

    Raises:
        ConfigError: the cron expression restricts both kinds of day, which a timer cannot say.
    """
    path = str(file.absolute()).replace("%", "%%").replace('"', '\\"')
    persistent = "true" if schedule.missed == "once" else "false"
    return (
        f"# {schedule.name}.timer\n[Unit]\nDescription=unlabeled: {schedule.name}\n\n[Timer]\n"
        f"OnCalendar={calendar(schedule)}\nPersistent={persistent}\n\n[Install]\nWantedBy=timers.target\n\n"
        f"# {schedule.name}.service\n[Unit]\nDescription=unlabeled: {schedule.name}\n\n[Service]\nType=oneshot\n"
        f'ExecStart=unlabeled schedule tick "{path}"\n'
        f"TimeoutStartSec={schedule.deadline_seconds + 60}\nKillMode=mixed\nTimeoutStopSec=130\n"
    )


def calendar(schedule: Schedule) -> str:
    """Return the cron expression as systemd's calendar event (systemd.time(7)). Raises as `systemd`."""
    minute, hour, day, month, weekday = schedule.cron.split()
    if day != "*" and weekday != "*":
        raise ConfigError(f"`cron: {schedule.cron}`: days of month *or* of week, which a systemd timer cannot say.")
    days = "" if weekday == "*" else ",".join(_weekdays(part) for part in weekday.split(",")) + " "
    date = f"*-{_field(month, 1)}-{_field(day, 1)}"
    return f"{days}{date} {_field(hour, 0)}:{_field(minute, 0)}:00 {schedule.time_zone}"


def _field(text: str, first: int) -> str:
    parts = []
    for part in text.split(","):
        span, slash, step = part.partition("/")
        span = f"{first}" if span == "*" and slash else span.replace("-", "..")
        parts.append(span + slash + step)
    return ",".join(parts)


def _weekdays(text: str) -> str:
    names = [_DAYS[int(one)] if one.isdigit() else one.capitalize() for one in text.split("-")]
    return "..".join(names)


def _pod(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 1000},
        "containers": containers,
    }


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=110)
