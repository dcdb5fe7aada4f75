# Everything that a person or CI calls. `make` alone says what there is.
#
#   make run         build, make certificates, start the demonstration, until Ctrl-C
#   make test        everything that must hold before a change lands (what CI runs)
#   make test-long   the same tests with more seeds, more accounts, more time; then make deny, make fuzz and
#                    make recovery
#   make check       formatting and lints alone
#   make certs       development certificates in certs/dev
#   make demo-check  every line that `make run` prints, tried
#   make recovery    a cell comes back before a crowd, behind each proxy in turn: 23 minutes (docs/recovery.md)
#   make bench       what a request costs cellgate, HAProxy, nginx and Envoy, side by side: 45 minutes
#                    (docs/performance.md)
#   make dist        cellgate built after a profile of its own work, into target/dist: half an hour on two
#                    cores (docs/decisions/0031-dist.md)
#   make book        docs/ as a book in target/book; installs mdbook if missing
#   make deny        licences, sources, bans and advisories of all dependencies; installs cargo-deny if missing
#   make deb         the Debian package, into target/debian; installs cargo-deb if missing (docs/deploy.md)
#   make fuzz        each fuzz target for FUZZ_SECONDS (60) or FUZZ_RUNS inputs; installs cargo-fuzz if missing

# Cargo.lock is what was tested; a build that would change it is an error.
CARGO := cargo
LOCKED := --locked

# See scripts/toolchain.
TOOLCHAIN := $(shell scripts/toolchain)
ifneq ($(TOOLCHAIN),)
export RUSTUP_TOOLCHAIN := $(TOOLCHAIN)
endif

.PHONY: help run test test-long check certs demo-check recovery bench dist book deny deb fuzz

# Cargo uses all cores by itself, and the steps of a target follow each other.
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile

run:
	@scripts/setup run
	@echo "Building (the first time takes some minutes)"
	@$(CARGO) build $(LOCKED) --release --workspace --bins
	@target/release/devcerts certs/dev >/dev/null
	@exec target/release/demo $(DEMO)

test: TESTS := $(LOCKED) --workspace
test:
	@scripts/setup test
	$(MAKE) --no-print-directory check
	@# One profile and one set of features for programs and tests, so that nothing is built twice.
	$(CARGO) build $(TESTS) --all-targets
	$(MAKE) --no-print-directory demo-check
	@# What a request costs, against what it did when somebody last kept that; a figure, and no test (docs/performance.md).
	target/debug/bench --count 1000 --against loadtest/instructions.json
	$(CARGO) test $(TESTS)

# Tests read CELLGATE_TEST_LONG where they can do more of the same.
test-long:
	CELLGATE_TEST_LONG=1 $(MAKE) --no-print-directory test
	$(MAKE) --no-print-directory deny
	$(MAKE) --no-print-directory fuzz
	$(MAKE) --no-print-directory recovery

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

certs:
	@$(CARGO) run $(LOCKED) --quiet -p devcerts -- certs/dev

demo-check:
	scripts/check-demo

# RECOVERY takes options: make recovery RECOVERY='--arms cellgate --seed 2'.
recovery:
	@scripts/setup test
	@$(CARGO) build $(LOCKED) --release --workspace --bins
	target/release/recovery $(RECOVERY)

# BENCH takes options: make bench BENCH='--scenarios h1,tls --accounts 100000'. The machine should do nothing else.
bench:
	@scripts/setup bench
	@$(CARGO) build $(LOCKED) --release --workspace --bins
	target/release/bench --json target/bench-report.json --svg target/bench-report.svg $(BENCH)

dist:
	@scripts/setup build
	@scripts/dist

book:
	@scripts/setup build
	@scripts/book

deny:
	@scripts/setup build
	@scripts/deny

deb:
	@scripts/setup build
	@scripts/deb

fuzz:
	@scripts/setup build
	@scripts/fuzz
