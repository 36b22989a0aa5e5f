# The data part: plan, materialize, verify, audit, schedules. Nothing that trains.
#   docker build -f deploy/images/cpu.Dockerfile -t unlabeled:0.1.0-cpu .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pipeline pipeline
COPY trainers trainers
COPY jobs jobs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# wget and bash: the probes that KubeRay puts on Ray containers call them.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home --shell /bin/bash ray
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
# One lock for tests and images: constraints.txt pins what CI ran.
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt \
      "$(ls /wheels/unlabeled-*.whl)[text,audit]" \
 && rm -rf /wheels
USER 1000
WORKDIR /home/ray
ENV PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_task_oom_retries=2 \
    AWS_EC2_METADATA_DISABLED=true
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["unlabeled", "--help"]
