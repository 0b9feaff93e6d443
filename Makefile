# These commands do everything on a fresh machine:
#   make run                  set-up and the embedded run: a simulated genome, from raw files to tables and figures
#   make test                 set-up and the quick tests
#   make test-all             all tests, with Slurm, a browser and LaTeX
#   make yeast DATA=folder    set-up, then the yeast genome and four of its histone marks: docs/yeast.md
#   make docs                 the documentation as a site, in docs/_build/html
#   make lint                 the checks of style
#   make clean                delete the environment and the embedded run
# Another interpreter: make run PYTHON=python3.12
# Without a GPU: make run PIP_INSTALL="install --extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
PIP_INSTALL ?= install
CORES ?= all

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help run yeast test test-all lint docs bedtools clean

run: .venv/installed bedtools
	snakemake --cores $(CORES) --logger rich
	@echo "Done. The page to begin with: results/embedded/report.html"

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

yeast: .venv/installed bedtools
	snakemake --cores $(CORES) --logger rich --configfile config/yeast_study.yaml --config data=$(DATA)
	snakemake --cores $(CORES) --logger rich --configfile config/yeast_local.yaml --config data=$(DATA)

test: .venv/installed-test bedtools
	pytest -n 2 --dist loadgroup -m "not slow and not cluster and not external"

test-all: .venv/installed-test bedtools
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-fail-under=85

docs: .venv/installed-test
	sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "Done. The first page: docs/_build/html/index.html"

lint: .venv/installed-test
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow && snakemake --lint

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] \
		+ "; name another with make run PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv

# Every package must have one of the hashes of its lock; torch has none there, for its builds differ by machine.
INSTALL = .venv/bin/pip $(PIP_INSTALL) --quiet --disable-pip-version-check
.venv/installed: pyproject.toml constraints.txt constraints-torch.txt | .venv/bin/pip
	$(INSTALL) --require-hashes --no-deps -r constraints.txt
	$(INSTALL) -r constraints-torch.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-test: .venv/installed constraints-test.txt
	$(INSTALL) --require-hashes --no-deps -r constraints-test.txt
	touch $@

# pybedtools calls the program bedtools, which pip cannot install.
bedtools:
	@command -v bedtools >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq bedtools >/dev/null; } \
		|| { echo "bedtools is missing. Install it with one of:" \
		"'sudo apt-get install bedtools', 'conda install -c bioconda bedtools', 'brew install bedtools'"; exit 1; }

clean:
	rm -rf .venv .snakemake resources/embedded results/embedded
