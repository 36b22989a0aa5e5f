# The training part: pretrain, finetune, evaluate, embed. torch with CUDA from PyPI's Linux wheels, which bring their own
# CUDA libraries; the node brings the driver.
#   docker build -f deploy/images/gpu.Dockerfile -t unlabeled:0.1.0-gpu .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pipeline pipeline
COPY trainers trainers
COPY jobs jobs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX="https://download.pytorch.org/whl/cu130"
# wget and bash: the probes that KubeRay puts on Ray containers call them. g++: torch.compile builds kernels with it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ tini wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home --shell /bin/bash ray
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" "torch==${TORCH_VERSION}" \
 && pip install --no-cache-dir --constraint /wheels/constraints.txt \
      "$(ls /wheels/unlabeled-*.whl)[text,audit,train]" \
 && rm -rf /wheels
USER 1000
WORKDIR /home/ray
ENV PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_task_oom_retries=2 \
    AWS_EC2_METADATA_DISABLED=true \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["unlabeled", "--help"]
