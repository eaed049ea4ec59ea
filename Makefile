# Every target calls a script of the same name: people, this file and CI run the same lines.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with everything in it (done by the others when needed)
	@scripts/setup

demo: ## train on the built-in data if there is no bundle yet, serve, and play
	@scripts/demo $(ARGS)

test: ## the tests, with branch coverage; ARGS="--slow" runs the long ones instead
	@scripts/test $(ARGS)

check: ## formatting, lint, types, version and house rules
	@scripts/check

bench: ## list the benchmarks; ARGS="NAME ..." runs one
	@scripts/bench $(ARGS)

docs: ## write the file table and the settings table anew from the code
	@scripts/docs

lock: ## write requirements.txt anew from what is installed in the environment
	@scripts/lock
