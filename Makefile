# What one does with this repository. `make help` lists it.
export SKIPPED_TESTS := $(CURDIR)/.cache/skipped
# Most tests wait for brokers, not for processors.
export RUST_TEST_THREADS ?= 8
# One build for all that tests do: the one in which tests can kill the process at exact places.
ARMED := --locked --features failpoints

.PHONY: help demo test sim soak fuzz bench install build-tools

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: build-tools ## Build and run the main job on the embedded default; nothing else is needed
	cargo run --locked -- demo

test: install ## Install what the tests need and run everything
	@mkdir -p .cache && rm -f $(SKIPPED_TESTS)
	cargo fmt --check
	cargo clippy $(ARMED) --all-targets -- -D warnings
	cargo test $(ARMED); status=$$?; tests/skipped; exit $$status

SEEDS ?= 10000
sim: ## Many worlds of the simulation: make sim SEEDS=10000 (FIRST=n: from there on)
	SEEDS=$(SEEDS) cargo test $(ARMED) --test sim every_seed -- --nocapture

MINUTES ?= 20
soak: install ## Every fault with 100,000 messages, then everything at once: make soak MINUTES=20
	MINUTES=$(MINUTES) tests/soak

SECONDS_EACH ?= 600
fuzz: ## Every fuzz target for so long: make fuzz SECONDS=600 (gets cargo-fuzz)
	SECONDS_EACH=$(or $(SECONDS),$(SECONDS_EACH)) tests/fuzz

bench: install ## Measure against bare loops on real Kafka and Redis
	cargo bench --locked --bench sequences
	cargo bench --locked --bench sidecar

build-tools:
	@tests/install build-tools

install: ## Install what the tests need (Debian packages, Kafka's jars, helm); quick when all is there
	@tests/install
