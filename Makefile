# Everything here is a thin name for a command; `make` alone lists them.

SHELL := /bin/bash
CONFIGURATION := release
# Demo and tests share one build: the same flags, so neither compiles again what the other did.
BUILD := swift build -c $(CONFIGURATION)
# 25,000 points, queries and their true neighbours; the sample under data/ is too small to measure on.
DATA := ../shared/data/debian-packages
# Which commit the program is built from; it says so in its version and its metrics.
REVISION = git describe --always --dirty --abbrev=12 --exclude='*' >$(VECRAFT).revision 2>/dev/null || true
VECRAFT := .build/$(CONFIGURATION)/vecraft
SWIFT_FILES := $$(git ls-files '*.swift' | grep -v -i generated)
export PATH := $(CURDIR)/.build/tools/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: metrics-docs cluster cluster-down help demo test simulate serve build packages proto format lint torture torture-cluster clean
.PHONY: bench bench-wire bench-mixed bench-ingest bench-journal bench-recall bench-failover bench-catchup bench-consistency bench-cluster bench-overhead bench-index

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## A node, 2,500 Debian packages, and searches (KEEP=1: leave it up)
	@$(VECRAFT) demo

serve: build ## A node that keeps its data in ./vecraft-data (ARGS="..." adds)
	@exec $(VECRAFT) serve --data-directory vecraft-data $(ARGS)

cluster: build ## etcd and a cluster of three nodes on loopback, data in ./vecraft-cluster (NODES=4 adds one)
	@.ci/packages cluster
	@deploy/local-cluster up $(NODES)

cluster-down: ## End that cluster; its data stay
	@deploy/local-cluster down

build: packages ## Build the program (release)
	@$(BUILD) --product vecraft
	@$(REVISION)

packages: ## Install the Debian packages that are missing
	@.ci/packages

# Tests begin a few at a time: hundreds at once on two cores keep each other waiting for minutes, and what was late no longer is.
TEST_WIDTH := 8

test: ## The whole test suite (FILTER=name runs a part)
	@.ci/packages test
	@.ci/python
	@$(BUILD) --build-tests
	@$(REVISION)
	@Proto/generate.py --check
	@SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$(TEST_WIDTH) \
	    swift test -c $(CONFIGURATION) --skip-build --disable-xctest $(if $(FILTER),--filter $(FILTER))

torture: ## The crash tests for long (ROUNDS=200 kills at random moments)
	@.ci/packages test
	@$(BUILD) --build-tests
	@VECRAFT_TORTURE_ROUNDS=$(or $(ROUNDS),200) \
	    swift test -c $(CONFIGURATION) --skip-build --disable-xctest --filter EndToEndTests.Torture

torture-cluster: ## Three nodes, all that can go wrong, under load (ROUNDS=100 faults, or MINUTES=10; SEED)
	@.ci/packages test
	@$(BUILD) --build-tests
	@VECRAFT_CLUSTER_ROUNDS=$(or $(ROUNDS),$(if $(MINUTES),,100)) VECRAFT_CLUSTER_MINUTES=$(MINUTES) VECRAFT_CLUSTER_SEED=$(SEED) \
	    swift test -c $(CONFIGURATION) --skip-build --disable-xctest --filter ClusterTortureTests

simulate: ## Whole Raft groups or control planes, one seed each (SEEDS=FROM..TO, PROFILE=mixed|storm|duel|control)
	@$(BUILD) --product simulate
	@.build/$(CONFIGURATION)/simulate $(or $(SEEDS),0..20000) $(or $(PROFILE),mixed)

proto: packages ## Generate again what is made from Proto/
	@Proto/generate.py

.PHONY: dashboards
dashboards: ## Write dashboards/grafana again from dashboards/boards
	@dashboards/generate.py

format: ## Lay out the Swift sources as .swift-format says
	@swift format format --in-place --parallel $(SWIFT_FILES)

lint: ## Say where the layout differs, changing nothing
	@swift format lint --strict --parallel $(SWIFT_FILES)

metrics-docs: build ## Write docs/METRICS.md from what the program declares
	@$(VECRAFT) metrics docs >docs/METRICS.md

bench: bench-wire bench-mixed bench-ingest bench-journal bench-recall ## All benchmarks of the server, one after another

bench-wire: ## Server CPU of a search call, beyond the index search itself
bench-mixed: ## Searches beside a full-speed import
bench-ingest: ## Durable bulk upserts of 384-d points from one client
bench-journal: ## 4 KiB appends, against Debian's etcd: one node, then three replicas (REPLICAS=1 or 3: one of them)
bench-failover: ## The leader killed under load (KILLS=50): how long until writes flow again
bench-catchup: ## A follower comes back from far behind (ENTRIES=100000) while writes go on
bench-consistency: ## Searches at each read level while replicas are late: 0, 100, 500 and 1,000 ms
bench-cluster: ## A cluster that runs itself: recall, kills, shards, hops, a node that joins (PART=join: that alone)
bench-overhead: ## What metrics and traces cost searches and ingest (PART=search: those alone)
bench-lineage: ## The history of a point among ENTRIES=1000000 entries, and what the index for it costs
bench-recall: ## 25,000 points, kill -9 in the middle, recall@10 (VECRAFT_DATASET names the data)
bench-journal: ARGUMENTS = $(REPLICAS)
bench-failover: ARGUMENTS = $(KILLS)
bench-catchup: ARGUMENTS = $(ENTRIES)
bench-cluster bench-overhead: ARGUMENTS = $(PART)
bench-lineage: ARGUMENTS = $(ENTRIES)
bench-wire bench-mixed bench-ingest bench-journal bench-recall bench-failover bench-catchup bench-consistency bench-cluster bench-lineage bench-overhead: bench-%: build
	@.ci/packages bench
	@$(BUILD) --product server-benchmark
	@.build/$(CONFIGURATION)/server-benchmark $* $(ARGUMENTS)

# Data of other shapes: SETS=l2-784,cosine-1536,duplicates,dominant,dot-256 (index_sets.py says what they are).
SETS := debian,l2-128

bench-index: ## The index beside hnswlib, faiss and usearch (SETS=a,b chooses the data)
	@.ci/python bench
	@$(BUILD) --product index-benchmark
	@.build/venv-bench/bin/python Benchmarks/compare_index.py .build/$(CONFIGURATION)/index-benchmark \
	    --sets $(SETS) --debian $(firstword $(wildcard $(DATA)) data/debian-packages) $(ARGS)

clean: ## Remove what was built
	@rm -rf .build
