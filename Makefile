# make install   .venv with the versions of constraints.txt
# make demo      test and train the shipped VapSR-S on photographs; prints a table and an image's path
# make test      ruff and every test, on as many cores as there are, up to four
# make fuzz      10,000 damaged checkpoints, option files, images and stores each; CASES=... for another number; a report
# make bench-train  what training gains over BasicSR's, feature by feature; some ten minutes on two idle cores
# make bench-infer  how fast each network is on each engine, and what reduced precisions cost; an hour on two idle cores
# make bench-files  how long upscaling takes from file to file beside the network alone; ten minutes on two idle cores
# make bench-tiles  what upscaling in tiles changes; PHOTOGRAPHS=... names images; quarter of an hour for B100
# make bench-weights  what the shipped weights are worth, as tables: colours, gradients, sets, JPEG; some ten minutes a file
# make bench-data  what the data tools cost, beside BasicSR's; needs some 8 GB of temporary space
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt
SUPPORTED := 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c $(SUPPORTED) 2>/dev/null && echo $$python && break; done)

.PHONY: install demo test lint fuzz bench-train bench-infer bench-files bench-tiles bench-weights bench-data clean

install: $(VENV)/installed

# torch comes before torchvision, whose newer releases would bring another torch, and both before BasicSR, whose build
# imports torch and would download one more in an isolated build.
$(VENV)/installed: constraints.txt setup.py pyproject.toml
	@$(or $(PYTHON),false) -c $(SUPPORTED) || { echo "Python 3.10, 3.11 or 3.12 is needed (BasicSR 1.4.2 cannot be built on \
	3.13 and later): install one, or name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) torchvision numpy cython setuptools wheel
	$(PIP) --no-build-isolation basicsr
	$(PIP) --no-build-isolation -e '.[benchmark,demo,export,test]'
	@touch $@

demo: install
	$(BIN)/python -m vapsr_arch.report.demo data
	$(BIN)/vapsr test -opt options/demo/test_VapSR-S_x4.yml
	$(BIN)/vapsr train -opt options/demo/train_VapSR-S_x4.yml
	$(BIN)/python -m vapsr_arch.report.demo report

lint: install
	$(BIN)/ruff check .

test: lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

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

bench-data: install
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/bench_data.py

clean:
	rm -rf $(VENV) build *.egg-info
