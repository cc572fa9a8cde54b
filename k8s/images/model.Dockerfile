# A folder of exports (the current version and the one before) as an image, for components/model-image-volume.
#   docker build -f k8s/images/model.Dockerfile -t REGISTRY/seghgan/model:1 EXPORTS
# hadolint ignore=DL3006
FROM scratch
COPY --chown=10001:10001 . /
