# make run    builds, starts a container from a registry on this machine, says what it did
# make test   builds, all tests as root (and the rootless ones as an ordinary user), sanitizers
# make bench  what the README claims, against umoci, podman, crun and runc (root)
# Each installs the Debian packages it needs (.ci/packages), with sudo when not root.
.PHONY: run test bench

run:
	@.ci/setup build test
	@[ -d build ] || meson setup build >/dev/null
	@ninja -C build >/dev/null || ninja -C build
	@/usr/bin/python3 tests/e2e/demo.py

test:
	@.ci/setup build test
	@/usr/bin/python3 tests/all.py

bench:
	@.ci/setup build test bench
	@[ -d build ] || meson setup build >/dev/null
	@ninja -C build >/dev/null || ninja -C build
	@missed=; for b in tree_equal cold_start lazy_start warm_start memory power_cut full_disk "inject --places 6" kill9 chaos "fuzz --minutes 0.2 --jobs 2"; do \
		echo "--- bench/$$b"; bench/$$b || missed="$$missed $$b"; done; \
	[ -z "$$missed" ] || { echo "bounds missed:$$missed"; exit 1; }
