# docker build -f deploy/worker.Dockerfile -t worker .
#
# A worker is Enginewright and what actions import, and BuildBox, which fetches actions, runs one at a time and sends back what it made.
# Debian has BuildBox from release 14 ("forky") on.
FROM debian:forky-slim
RUN apt-get update && apt-get install -y --no-install-recommends buildbox python3 python3-venv && rm -rf /var/lib/apt/lists/*
COPY . /src
# Add --extra-index-url https://pypi.nvidia.com and tensorrt for engines that are built on the GPU.
RUN python3 -m venv /opt/enginewright && /opt/enginewright/bin/pip install --no-cache-dir /src && rm -rf /src
ENV PATH=/opt/enginewright/bin:/usr/local/bin:/usr/bin:/bin ENGINE=http://engine:50051 PROPERTIES=gpu-arch=sm_90
COPY deploy/start-worker.sh /usr/local/bin/start-worker
RUN useradd --create-home worker && mkdir -p /var/lib/worker && chown worker /var/lib/worker
USER worker
CMD ["start-worker"]
