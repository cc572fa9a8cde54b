# The command `seghgan`, as three images. Not built by us: no registry was at hand.
#   docker build -f k8s/images/seghgan.Dockerfile --build-arg PYTHON_DIGEST=sha256:... -t REGISTRY/seghgan/train:0.2.0 .
#   docker build -f k8s/images/seghgan.Dockerfile --build-arg PYTHON_DIGEST=sha256:... --build-arg LOCK=requirements-gpu.lock \
#     -t REGISTRY/seghgan/train-gpu:0.2.0 .
#   docker build -f k8s/images/seghgan.Dockerfile --build-arg PYTHON_DIGEST=sha256:... --build-arg LOCK=k8s/images/data.lock \
#     -t REGISTRY/seghgan/data:0.2.0 .
# train: training, evaluation, export, gate, promotion. data: conversion, and Beam's workers. Every wheel is held to its hash.
# PYTHON_DIGEST has no default on purpose: a build without it stops.
ARG PYTHON_TAG=3.11-slim-bookworm
ARG PYTHON_DIGEST
FROM python:${PYTHON_TAG}@${PYTHON_DIGEST} AS build
ARG LOCK=k8s/images/train.lock
WORKDIR /src
RUN python -m venv /opt/venv
COPY ${LOCK} ./image.lock
COPY pyproject.toml README.md LICENSE ./
COPY seghgan_tf ./seghgan_tf
COPY serving ./serving
COPY tfrecords_tools ./tfrecords_tools
RUN /opt/venv/bin/pip install --no-cache-dir --require-virtualenv --require-hashes --no-deps -r image.lock \
  && /opt/venv/bin/pip install --no-cache-dir --require-virtualenv --no-index --no-deps --no-build-isolation .

FROM python:${PYTHON_TAG}@${PYTHON_DIGEST}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/opt/venv/bin/seghgan"]
