"""The Docker Engine, through the `docker` SDK: loading images, running containers, building Dockerfiles. Nothing here knows targets."""
