# Run `make help` for the list of targets.
# `work` is the package pattern of all modules in go.work; `./...` would reach none of them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Deferred (=) and not immediate (:=): `make help` starts no go command.
MODULES = $(shell go list -m -f '{{.Dir}}')
STAGES := $(notdir $(patsubst %/,%,$(wildcard stage[1-5]-*/)))

# The race detector needs cgo, and that a C compiler.
RACE = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)
TEST_TIMEOUT ?= 10m

# Compiling the linter takes minutes, so it is done once, outside the tree.
LINT_VERSION := v2.15.0
CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/flashsale
LINT := $(CACHE)/golangci-lint-$(LINT_VERSION)/golangci-lint

# For every module: `$(call each,COMMAND)` runs COMMAND in its folder and stops at the first failure.
each = for dir in $(MODULES); do (cd "$$dir" && $(1)) || { echo "failed in $$dir" >&2; exit 1; }; done

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z\/%]+:.*## / {sub("%", "<stage>", $$1); printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  stages: $(STAGES)"

.PHONY: build
build: ## Build loadtest and the stages into bin/
	go build -o bin/ $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' work)

.PHONY: test
test: ## Test all modules, with the race detector where there is a C compiler (no Docker needed)
	@$(if $(RACE),,echo "without the race detector: it needs a C compiler, and there is none here" >&2)
	@echo "the compose smoke test is left out: make smoke" >&2
	go test $(RACE) -timeout $(TEST_TIMEOUT) -skip '^TestComposeFile$$' $(TESTFLAGS) work

.PHONY: smoke
smoke: ## Build the images and try docker-compose.yml (needs a container engine, else skips)
	go test -count=1 -v -timeout 20m -run '^TestComposeFile$$' ./harness/compose

.PHONY: lint
lint: $(LINT) ## Run golangci-lint on all modules
	$(LINT) run --config .golangci.yml $(addsuffix /...,$(MODULES))

$(LINT):
	@echo "compiling golangci-lint $(LINT_VERSION), once, a few minutes ..." >&2
	@mkdir -p $(dir $@)
	GOWORK=off GOBIN=$(dir $@) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: fmt
fmt: ## Format all Go files
	gofmt -s -w $(MODULES)

.PHONY: tidy
tidy: ## Tidy go.mod and go.sum of every module
	@$(call each,GOWORK=off go mod tidy)

.PHONY: verify
verify: ## Check formatting, vet and tidiness; writes nothing, and checks that, too
	@before=$$(git status --porcelain 2>/dev/null || true); \
	unformatted=$$(gofmt -s -l $(MODULES)); \
	if [ -n "$$unformatted" ]; then echo "make fmt would change:" >&2; echo "$$unformatted" >&2; exit 1; fi; \
	go vet work; \
	$(call each,GOWORK=off go mod tidy -diff); \
	after=$$(git status --porcelain 2>/dev/null || true); \
	if [ "$$before" != "$$after" ]; then echo "the checks changed the tree:" >&2; echo "$$after" >&2; exit 1; fi; \
	echo "verify: formatted, vetted, tidy"

.PHONY: standalone
standalone: ## Build and vet each module without the workspace
	@$(call each,GOWORK=off go build -o /dev/null ./... && GOWORK=off go vet ./... && echo "standalone: $$(basename $$PWD)")

run/%: ## Run one stage with its backing services until Ctrl-C (ARGS="--guard none")
	go run ./loadtest serve $* $(ARGS)

.PHONY: compare
compare: ## Measure all stages and print the table (ARGS="--stages 1,2")
	go run ./loadtest compare $(ARGS)
