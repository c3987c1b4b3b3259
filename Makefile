# The work is done by scripts/; this file only names it. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup run build release test lint fmt bench bench-browser bench-server size soak simulate fuzz clean
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## the development server with demo data, on http://127.0.0.1:3000
	@scripts/setup
	@scripts/run

test: ## everything: format, clippy, Rust tests, a minute of fuzzing, release build, browser tests
	@scripts/setup browser
	@scripts/check

build: ## a debug build of server and browser code
	@scripts/setup
	@scripts/build

release: ## the optimised build, into dist/
	@scripts/setup release
	@scripts/release

lint: ## format check and clippy only
	@scripts/setup
	@scripts/check fmt clippy

fmt: ## format the Rust sources
	@cargo fmt --all
	@cargo fmt --manifest-path fuzz/Cargo.toml

bench: ## the benchmarks of the engine
	@scripts/setup
	@scripts/bench

bench-browser: ## the benchmarks in a browser, of a release build
	@scripts/setup browser
	@scripts/release
	@scripts/bench-browser

bench-server: ## the release build under load: commits, latency, fan-out, memory and more
	@scripts/setup release
	@scripts/release
	@scripts/bench-server

size: ## what a browser loads of the release in dist/
	@scripts/size

soak: ## for long what `make test` does in short: an hour of fuzzing, the feed, and every browser test five times
	@scripts/setup browser
	@scripts/release
	@scripts/soak

simulate: ## the simulator over SEEDS=100000 schedules, or one of them again with SEED=1234
	@scripts/setup
	@scripts/simulate

fuzz: ## read what comes from outside with inputs that are made for it, for SECONDS=60
	@scripts/setup browser
	@scripts/fuzz $(SECONDS)

setup: ## install all that the other targets need (they also do it themselves)
	@scripts/setup browser

clean: ## remove what builds and tests leave in this folder
	rm -rf target dist dist.new.* dist.old.* end2end/test-results end2end/playwright-report fuzz/corpus fuzz/artifacts
