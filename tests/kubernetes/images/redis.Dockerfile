# A Redis for the tests' clusters, from the base that node and operator are built on, so that a test
# machine needs no other image. The context is this folder.
ARG BASE_IMAGE=python:3.13-slim
FROM ${BASE_IMAGE}
RUN apt-get update --quiet=2 \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/*
USER 999:999
ENTRYPOINT ["redis-server"]
