# Two commands set everything up on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
TEST_WORKERS ?= 2
NOTEBOOKS_SIZE ?= full
BIN := $(VENV)/bin
# OpenMP's threads spin while they wait: as long as they do by default, two of them beside any other busy process are up
# to 20 times slower than one; not at all, and an idle machine is half as fast.
export GOMP_SPINCOUNT = 10000
OFFLINE := WANDB_MODE=offline HF_HUB_OFFLINE=1 WANDB_SILENT=true

.PHONY: quickstart smoke study mllm-study mm-embed instructions reranking paper ablations notebooks test check bench kill-test install clean

quickstart: install       ## EmojiBEIR: shards, M_rand, mining, M_hard of CLIP_SF and an MLLM, report (at most 10 minutes on 2 cores)
	$(OFFLINE) $(BIN)/mmembed run experiments/emoji_beir/quickstart.yaml
	@echo "The report: runs/emoji_quickstart/shared/report/index.html"

smoke: install            ## Its CLIP_SF part with a few steps (at most 90 seconds)
	$(OFFLINE) $(BIN)/mmembed run experiments/emoji_beir/clip_sf.yaml --smoke
	@echo "The report: runs/emoji_clip_sf_smoke/shared/report/index.html"

study: install            ## M_rand, control, M_hard; with and without instructions; 3 seeds, one thread (2 hours)
	for seed in 0 1 2; do for recipe in study study_no_instructions; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run experiments/emoji_beir/$$recipe.yaml --seed $$seed || exit 1; done; done

mllm-study: install       ## CLIP_SF, LLaVA-E, LLaVA-P, NV-Embed: M_rand, control, M_hard; 3 seeds, one thread (2 hours)
	for seed in 0 1 2; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run experiments/emoji_beir/mllm_study.yaml --seed $$seed || exit 1; done

mm-embed: install         ## MM-Embed in small: random, hard and continual stages, joint training beside them; 3 seeds, one thread (2 hours)
	for seed in 0 1 2; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run experiments/emoji_beir/mm_embed.yaml --seed $$seed || exit 1; done

instructions: install     ## With and without instructions: zero-shot models, CLIP_SF, NV-Embed; 3 seeds, one thread (2 hours)
	for seed in 0 1 2; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run experiments/emoji_beir/instructions.yaml --seed $$seed || exit 1; done

reranking: install        ## An MLLM asked about the best ten: zero-shot, trained, and the labels; 3 seeds, one thread (2 hours after mm-embed)
	for seed in 0 1 2; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run experiments/emoji_beir/reranking.yaml --seed $$seed || exit 1; done

paper: mllm-study mm-embed instructions reranking ## Every table of the paper beside what came out on EmojiBEIR (8 hours; what is done is not run again)
	$(BIN)/mmembed report $(addprefix runs/emoji_,mm_embed mllm instructions reranking) --paper --on-conflict first --out runs/paper
	@echo "The tables: runs/paper/index.html"

ablations: install        ## Kinds of negatives, mining depth, temperature, batch size, pooling, prompts; 3 seeds, one thread (8 hours)
	for seed in 0 1 2; do for recipe in experiments/emoji_beir/ablations/*.yaml; do \
	  $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/mmembed run $$recipe --seed $$seed || exit 1; done; done

notebooks: install        ## Executes the notebooks; pages in build/notebooks. NOTEBOOKS_SIZE=smoke: on a small run only (under 10 minutes)
	$(OFFLINE) OMP_NUM_THREADS=1 MMEMBED_NOTEBOOKS=$(NOTEBOOKS_SIZE) $(BIN)/python -m nbconvert --execute --to html \
	  --output-dir build/notebooks --ExecutePreprocessor.timeout=3600 --ExecutePreprocessor.startup_timeout=300 \
	  --log-level=ERROR notebooks/*.ipynb

test: install             ## Every test but the slow ones (under 15 minutes on 2 cores)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n $(TEST_WORKERS) --dist loadfile

kill-test: install        ## Kills `mmembed run` 20 times at random points and compares with an uninterrupted run
	$(OFFLINE) $(BIN)/python -m pytest -m slow tests/cli/test_killed.py -s --timeout=7200

check: install            ## Style, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install            ## Ours, the best peer and the limit, in one run; ratios into benchmarks/results/
	$(BIN)/python -m pip install --quiet -c constraints.txt -r requirements-bench.txt
	for file in search metrics reader images step startup cached_step encoding rerank; do $(BIN)/python -m benchmarks.$$file || exit 1; done

install: $(VENV)/installed

REQUIREMENTS := requirements.txt requirements-dev.txt requirements-emoji.txt requirements-mteb.txt requirements-sweep.txt \
  requirements-notebooks.txt

$(VENV)/installed: $(REQUIREMENTS) constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(addprefix -r ,$(REQUIREMENTS))
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

clean:                    ## Remove what runs made, not the environment
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
