# The four commands are demo, test, check and bench; `make help` lists all. Each installs what it needs first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL: # cargo and Keycloak use all cores by themselves

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/passbridge
check_tools := $(cache)/venv-check/bin

##@ What people use

.PHONY: demo
demo: ## Watch a legacy client log in through the bridge at a real Keycloak (ONCE=1: and end)
	scripts/install demo
	scripts/keycloak fetch
	scripts/keycloak prepare
	cargo build --locked
	ONCE=$(ONCE) scripts/demo

.PHONY: test
test: ## Install what tests need and run all of them, those on real servers included
	scripts/install test
	scripts/keycloak fetch
	scripts/keycloak prepare
	$(MAKE) test-rust test-java test-static test-compose

.PHONY: check
check: ## Format, lints, licences, advisories, docs, unused dependencies, scripts: before a commit
	scripts/install check
	$(MAKE) check-format check-scripts check-dockerfile check-unused check-licences check-advisories check-lints check-docs
	@echo 'check: all fine' >&2

.PHONY: bench
bench: ## Each benchmark as a ratio against a peer measured in the same run; a table and JSON
	scripts/install bench
	scripts/bench

##@ Parts of `make test` (run it once whole: it installs)

.PHONY: test-rust
test-rust: ## Unit tests, `it` (fake realm) and `e2e` (real servers)
	cargo test --locked

.PHONY: test-java
test-java: ## The Keycloak provider's and the test programs' unit tests
	scripts/keycloak test

.PHONY: test-static
test-static: ## The program is static, answers, serves and drains
	scripts/test-static

.PHONY: test-shipped
test-shipped: ## The same of what ships, built as the image builds it: a quarter of an hour, so no part of `make test`
	scripts/test-shipped

.PHONY: test-compose
test-compose: ## docker-compose.yml means what it should
	scripts/test-compose

##@ Parts of `make check` (run it once whole: it installs)

.PHONY: check-format
check-format: ## rustfmt
	cargo fmt --check

.PHONY: check-lints
check-lints: ## clippy on everything; a warning is an error
	cargo clippy --locked --all-targets -- -D warnings

.PHONY: check-docs
check-docs: ## rustdoc, private items too; a warning is an error
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --document-private-items

.PHONY: check-licences
check-licences: ## Licences, bans and sources of everything locked
	'$(check_tools)'/cargo-deny --locked --log-level error check licenses bans sources

.PHONY: check-advisories
check-advisories: ## Known vulnerabilities of everything locked, where the database can be had
	scripts/advisories

.PHONY: check-unused
check-unused: ## Dependencies that nothing uses
	'$(check_tools)'/cargo-shear --locked

.PHONY: check-scripts
check-scripts: ## shellcheck on every shell script
	git ls-files -z --cached --others --exclude-standard -- scripts .ci | xargs -0 grep -lZE '^#(!.*sh$$| shellcheck shell)' | xargs -0 shellcheck --external-sources

.PHONY: check-dockerfile
check-dockerfile: ## hadolint
	git ls-files -z --cached --others --exclude-standard -- '*Dockerfile' | xargs -0 --no-run-if-empty '$(check_tools)'/hadolint --failure-threshold info

##@ Others

.PHONY: format
format: ## Format the Rust code
	cargo fmt

.PHONY: static
static: ## What ships, at target/static/passbridge: built twice, the second time by what the first one did
	scripts/build-static

.PHONY: clean
clean: ## Remove what was built; the cache of downloads stays
	cargo clean
	rm -rf keycloak/*/target

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-18s%s\n", $$1, $$2 }' Makefile
