# make demo: from a bare Debian/Ubuntu machine to a finished search of Si8 on real DFT.
# make test: set everything up and run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= 2.13.0
WORKERS ?= 3
APT := build-essential python3-venv python3-dev libopenblas-dev libxc-dev libfftw3-dev libopenmpi-dev openmpi-bin libscalapack-openmpi-dev
# The browser of the tests of `nucleate serve`, which are skipped without it; Ubuntu has no such package.
APT_TESTS := chromium
# The batch system of the tests of cluster blocks, which start it in a folder of their own, as root; they are skipped without it.
APT_SLURM := slurmctld slurmd slurm-client munge
# The server of the tests of shared ledgers, which start it in a folder of their own; they are skipped without it.
APT_POSTGRES := postgresql
# One thread a process: with two busy processes, OpenMP's defaults ran 20-40 times slower.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
# Processes of the tests and benchmarks start twice as fast from compiled modules.
unexport PYTHONDONTWRITEBYTECODE

# What the automatic checks install.
EXTRAS := dft electrons spins surrogates molecules stability serve optimade ledger dev
comma := ,
space := $(subst ,, )
TORCH_INDEX := https://download.pytorch.org/whl/cpu
GPAW_SETTINGS := GPAW_CONFIG=$(CURDIR)/tools/gpaw_siteconfig.py

.PHONY: install demo test test-slow lint wheel docs docs-nightly faults faults-runs faults-inputs system browser slurm postgres clean lock locked audit

demo: $(VENV)/.installed
	$(BIN)/nucleate search Si8 --no-prototypes --settings examples/demo.toml --out demo
	@echo "Open demo/report.html in a browser."

# System packages and the virtual environment alone.
install: $(VENV)/.installed

# Three tests at a time on two cores: many tests wait for processes that they start.
test: $(VENV)/.installed lint browser slurm postgres
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/plain_words.py

# The wheel, built from the source archive and installed in an empty environment, searches: what a package index would hand out works.
wheel: $(VENV)/.installed
	rm -rf build/wheel && $(BIN)/python -m build -q --outdir build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install -q "torch==$(TORCH)+cpu" \
	  || build/wheel/venv/bin/pip install -q "torch==$(TORCH)" --index-url $(TORCH_INDEX)
	build/wheel/venv/bin/pip install -q build/wheel/*.whl
	cd build/wheel && venv/bin/nucleate search Al4 --settings $(CURDIR)/examples/aluminium.toml --out al4
	test -s build/wheel/al4/report.html

# The documentation site, docs/_build/html/index.html; a warning is an error. Two tutorials run at a time; their outputs are kept in docs/_build between builds.
docs: $(VENV)/.installed
	$(BIN)/python -c "import furo, myst_nb, sklearn, sphinx_copybutton, sphinx_design, ziamath" 2>/dev/null || $(BIN)/pip install -q -e ".[docs]"
	$(BIN)/python -m sphinx -j 2 -W --keep-going -b html docs docs/_build/html

# The same from nothing: every page and every tutorial anew.
docs-nightly:
	rm -rf docs/_build docs/reference/generated
	$(MAKE) docs

# Faults of machine, references and inputs in full: hours on two cores. What is done is kept in build/faults, and the same command goes on.
faults: $(VENV)/.installed
	mkdir -p build/faults
	$(MAKE) -j 2 faults-runs faults-inputs

faults-runs:
	$(BIN)/python benchmarks/faults/runs/run.py --out build/faults --result build/faults/runs.json

faults-inputs:
	$(BIN)/python benchmarks/faults/references/run.py --out build/faults --result build/faults/references.json
	$(BIN)/python benchmarks/faults/commands/run.py --count 50 --result build/faults/commands.json
	$(BIN)/python benchmarks/faults/inputs/run.py --count 10000 --out build/faults/inputs.json

# Packages that some tests need: $(1), for the tests of $(2). Without them, and where they cannot be installed, these tests are skipped.
define optional
@if dpkg -s $(1) >/dev/null 2>&1; then exit 0; fi; \
if [ "$$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then run=sudo; else \
  echo "missing: $(1); the tests of $(2) are skipped"; exit 0; fi; \
echo "installing $(1) for the tests of $(2)"; \
$$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null 2>&1 \
  || { $$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1); } \
  || echo "$(1) cannot be installed here: the tests of $(2) are skipped"
endef

browser:
	$(call optional,$(APT_TESTS),the web application)

slurm:
	$(call optional,$(APT_SLURM),cluster blocks)

postgres:
	$(call optional,$(APT_POSTGRES),shared ledgers)

system:
	@missing=$$(for package in $(APT); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -z "$$missing" ]; then echo "system packages: all there"; exit 0; fi; \
	missing=$$(echo $$missing); \
	if [ "$$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then run=sudo; else \
	  echo "These system packages are missing; install them as root, then run make again:"; \
	  echo "  apt-get update && apt-get install -y $$missing"; exit 1; fi; \
	echo "installing system packages: $$missing"; \
	$$run apt-get update -qq && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

# torch's CPU build: the wheel marked +cpu where pip can see one, else from PyTorch's own index; never the CUDA build.
$(VENV)/.installed: pyproject.toml tools/gpaw_siteconfig.py tools/compile_kernels.py
	$(MAKE) system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null \
	  || $(BIN)/pip install -q "torch==$(TORCH)+cpu" \
	  || $(BIN)/pip install -q "torch==$(TORCH)" --index-url $(TORCH_INDEX)
	@echo "installing nucleate with GPAW (compiled here with FFTW, ScaLAPACK and MPI; one or two minutes)"
	$(GPAW_SETTINGS) $(BIN)/pip install -q -e ".[$(subst $(space),$(comma),$(EXTRAS))]"
	$(BIN)/gpaw info | head -n 30
	@echo "compiling kernels (half a minute)"
	$(BIN)/python tools/compile_kernels.py
	touch $@

# The set-up of the automatic checks: the versions and hashes of requirements.lock, for Python 3.11 on Linux (x86-64).
locked:
	$(MAKE) system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.lock; GPAW is compiled here"
	$(GPAW_SETTINGS) $(BIN)/pip install -q --no-deps --require-hashes -r requirements.lock \
	  || $(GPAW_SETTINGS) $(BIN)/pip install -q --no-deps --require-hashes -r requirements.lock --extra-index-url $(TORCH_INDEX)
	$(BIN)/pip install -q --no-deps -e .
	touch $(VENV)/.installed

# Programs that write and check the lock file, apart from the environment.
build/tools:
	$(PYTHON) -m venv $@
	$@/bin/pip install -q uv pip-audit

# Renews requirements.lock from pyproject.toml, with the newest versions and torch's CPU build.
LOCK = compile pyproject.toml $(EXTRAS:%=--extra %) --extra docs --constraint build/torch.txt --upgrade --generate-hashes \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --custom-compile-command "make lock" --output-file requirements.lock
lock: build/tools
	@echo "torch==$(TORCH)+cpu" > build/torch.txt
	@UV_FIND_LINKS="$$PIP_FIND_LINKS" build/tools/bin/uv pip $(LOCK) --quiet || build/tools/bin/uv pip $(LOCK) --quiet --torch-backend cpu

# Published advisories about the versions of requirements.lock. A package that cannot be looked up is an error; PyPI knows torch without +cpu.
audit: build/tools
	sed -n 's/^\([A-Za-z0-9._-]*==[^ +]*\).*/\1/p' requirements.lock > build/audit.txt
	build/tools/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r build/audit.txt

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
