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
	bench/tree_equal
	bench/cold_start
	bench/lazy_start
	bench/warm_start
	bench/memory
	bench/power_cut
	bench/full_disk
	bench/inject --every 5
	bench/kill9
