# make install   .venv with the versions of constraints.txt
# make demo      test and train the shipped VapSR-S on photographs; prints a table and an image's path
# make test      ruff and every test, in a process more than there are cores, as some tests wait, and up to four
# make docs      the site of the documents into site/, with the references of options and commands
# make fuzz      10,000 damaged checkpoints, option files, images and stores each; CASES=... for another number; a report
# make bench-train  what training gains over BasicSR's, feature by feature; some ten minutes on two idle cores
# make bench-infer  how fast each network is on each engine, and what reduced precisions cost; an hour on two idle cores
# make bench-files  how long upscaling takes from file to file beside the network alone; ten minutes on two idle cores
# make bench-tiles  what upscaling in tiles changes; PHOTOGRAPHS=... names images; quarter of an hour for B100
# make bench-weights  what the shipped weights are worth, as tables: colours, gradients, sets, JPEG; some ten minutes a file
# make leaderboard  docs/leaderboard.md: every network with weights that can be had, measured; an hour on two idle cores;
#                   REPOSITORIES=DIR takes code and checkpoints from clones
# make bench-data  what the data tools cost, beside BasicSR's; needs some 8 GB of temporary space
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt
VERSION := 'import sys; print("%d.%d" % sys.version_info[:2])'
SUPPORTED := 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'
PYTHON ?= $(shell for python in python3 python3.13 python3.14 python3.12 python3.11 python3.10; do \
	$$python -c $(SUPPORTED) 2>/dev/null && echo $$python && break; done)

.PHONY: install demo test chromium lint docs fuzz bench-train bench-infer bench-files bench-tiles bench-weights bench-data leaderboard \
	clean

install: $(VENV)/installed
ifeq ($(origin PYTHON),command line)
	@test "$$($(PYTHON) -c $(VERSION))" = "$$($(BIN)/python -c $(VERSION))" || { echo "$(VENV) is of Python $$($(BIN)/python -c \
	$(VERSION)), not $(PYTHON): run \`make clean\` first" >&2; exit 1; }
endif

# torch and torchvision first: whoever needs other builds of them installs those into .venv beforehand.
$(VENV)/installed: constraints.txt setup.py pyproject.toml tools/basicsr_wheel.py
	@$(or $(PYTHON),false) -c $(SUPPORTED) || { echo "Python 3.10 to 3.14 is needed: install one, or name it: \
	make install PYTHON=/path/to/python3.13" >&2; exit 1; }
	@echo "1/4 a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "2/4 torch and torchvision: on Linux a download of 2.8 GB, which takes 4.5 GB of disk, unless they are there"
	@$(PIP) torch torchvision setuptools wheel
	@echo "3/4 BasicSR, a wheel built from its source"
	@wheel=$$($(BIN)/python tools/basicsr_wheel.py) && $(PIP) "$$wheel"
	@echo "4/4 everything else"
	@$(PIP) --no-build-isolation -e '.[app,benchmark,demo,export,ncnn,test]'
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV needs libraries of the system; on Debian and Ubuntu: \
	apt-get install libgl1 libglib2.0-0 libxcb1" >&2; exit 1; }
	@touch $@

demo: install
	$(BIN)/python -m vapsr_arch.report.demo data
	$(BIN)/vapsr test -opt options/demo/test_VapSR-S_x4.yml
	$(BIN)/vapsr train -opt options/demo/train_VapSR-S_x4.yml
	$(BIN)/python -m vapsr_arch.report.demo report

lint: install
	$(BIN)/ruff check .

# For the tests of pages in a browser. VAPSR_REQUIRE=triton,chromium has the tests fail that are skipped without one of them.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
	echo "installing chromium with apt-get, for the tests of pages"; \
	test "$$(id -u)" = 0 && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium >/dev/null || \
	echo "chromium cannot be installed, which takes root and apt-get: tests of pages in a browser are skipped" >&2

test: lint chromium
	$(BIN)/pytest -n $$(($$(nproc) + 1)) --maxprocesses 4 --dist worksteal

docs: install
	$(PIP) --no-build-isolation -e '.[docs]'
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(or $(CASES),10000)

bench-train: install
	$(BIN)/python benchmarks/bench_train.py

bench-infer: install
	$(BIN)/python benchmarks/bench_infer.py

bench-files: install
	$(BIN)/python benchmarks/bench_files.py

bench-tiles: install
	$(BIN)/python benchmarks/bench_tiles.py $(PHOTOGRAPHS)

bench-weights: install
	$(BIN)/python benchmarks/bench_weights.py

leaderboard: install
	$(BIN)/python benchmarks/leaderboard.py $(if $(REPOSITORIES),--repositories $(REPOSITORIES))

bench-data: install
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/bench_data.py

clean:
	rm -rf $(VENV) build site *.egg-info
