# Training, evaluation, export and conversion: the command `seghgan`. Not built by us: no registry was at hand.
#   docker build -f k8s/images/train.Dockerfile --build-arg PYTHON_DIGEST=sha256:... -t REGISTRY/seghgan/train:0.1.0 .
# PYTHON_DIGEST has no default on purpose: a build without it stops.
ARG PYTHON_TAG=3.11-slim-bookworm
ARG PYTHON_DIGEST
FROM python:${PYTHON_TAG}@${PYTHON_DIGEST} AS build
WORKDIR /src
RUN python -m venv /opt/venv
COPY requirements.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --require-virtualenv -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY seghgan_tf ./seghgan_tf
COPY serving ./serving
COPY tfrecords_tools ./tfrecords_tools
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps .

FROM python:${PYTHON_TAG}@${PYTHON_DIGEST}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/opt/venv/bin/seghgan"]
