# Three images from one file:
#   docker build --target api .          the API, maintenance and the command line; no torch
#   docker build --target worker .       a worker on CPUs
#   docker build --target worker-cuda .  a worker on NVIDIA GPUs
# What goes into an image is what is copied into its builder: the API's has no `workers`.

ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/secateur && python3 -m venv /opt/tools
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
# Every package has its hash; torch and torchvision alone are what their index has (their builds differ
# by index, and have to match).
COPY deploy/requirements requirements
RUN /opt/tools/bin/pip install --require-hashes --no-deps -r requirements/tools.lock
COPY deploy/install /usr/local/bin/install-image
COPY app app
COPY migrations migrations

FROM builder AS api-builder
RUN /usr/local/bin/install-image api

FROM builder AS worker-builder
# An index that has builds for CPUs only; empty for what pip is set up with.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY workers workers
RUN /opt/secateur/bin/pip install ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
        'torch>=2.13,<2.14' 'torchvision>=0.28,<0.29' && \
    /usr/local/bin/install-image worker

FROM builder AS worker-cuda-builder
COPY workers workers
# What PyPI has for Linux carries CUDA.
RUN /opt/secateur/bin/pip install 'torch>=2.13,<2.14' 'torchvision>=0.28,<0.29' && \
    /usr/local/bin/install-image worker

FROM ${BASE} AS runtime
RUN groupadd --gid 10001 secateur && \
    useradd --uid 10001 --gid secateur --no-create-home --home-dir /data secateur && \
    install --directory --owner=secateur --group=secateur /data
ENV PATH=/opt/secateur/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    HOME=/data \
    SECATEUR_DATA_DIR=/data \
    SECATEUR_TELEMETRY__LOG_FORMAT=json \
    SECATEUR_TELEMETRY__METRICS_HOST=0.0.0.0 \
    SECATEUR_TELEMETRY__METRICS_PORT=9100
# Everything that is written goes to /data and /tmp; the root may be read-only.
VOLUME /data
WORKDIR /data
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS api
COPY --from=api-builder /opt/secateur /opt/secateur
ENV SECATEUR_API__HOST=0.0.0.0 SECATEUR_API__DRAIN_SECONDS=20
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/livez', timeout=4)"]
CMD ["python", "-m", "app.main"]

FROM runtime AS any-worker
# The linter takes TOKENIZERS_PARALLELISM for a secret.
# hadolint ignore=DL3064
ENV OMP_NUM_THREADS=4 TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 9100
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/', timeout=4)"]
CMD ["celery", "-A", "workers.runtime.celery_app", "worker", "--concurrency=1", "--loglevel=INFO"]

FROM any-worker AS worker-cuda
COPY --from=worker-cuda-builder /opt/secateur /opt/secateur
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM any-worker AS worker
COPY --from=worker-builder /opt/secateur /opt/secateur
