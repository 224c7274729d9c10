#!/usr/bin/env python3
"""images: the images that the benches and bench/tree_equal use, made from Debian packages.

Kept in $LAZYRUN_BENCH_CACHE (default /var/tmp/lazyrun-bench) as one OCI layout, with tags NAME,
NAME-zstd and NAME-none, so that a second run builds nothing. Needs root: apt runs in a chroot over
overlayfs, and what it leaves in the upper directory becomes a layer, as docker makes them.

usage: bench/images.py [NAME...]     builds what is missing (default: all) and prints the tags
"""
import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../tests/e2e")]
import oci
import odd_image
import starts

CACHE = os.environ.get("LAZYRUN_BENCH_CACHE", "/var/tmp/lazyrun-bench")
MIRROR = os.environ.get("LAZYRUN_BENCH_MIRROR", "http://deb.debian.org/debian")
SUITE = "bookworm"

# name: packages of each layer above minbase, and the command whose first output ends a cold start
REAL = {
    "debian": ([], ["/bin/sh", "-c", "echo hello"]),
    "numpy": ([["python3"], ["python3-numpy"]],
              ["python3", "-c", "import numpy; print(numpy.__version__)"]),
    "nginx": ([["nginx"]], ["nginx", "-v"]),
    "redis": ([["redis-server"]], ["redis-server", "--version"]),
    "java": ([["openjdk-17-jre-headless"]], ["java", "-version"]),
    "node": ([["nodejs"]], starts.STARTS["node"].argv),
    "gcc": ([["gcc", "libc6-dev"]], starts.STARTS["gcc"].argv),
}
ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
DOCKER = ("nginx",)  # with docker's media types; umoci knows only OCI's, so NAME-oracle has those
ALL = list(REAL) + ["odd"]


def run(*argv, **kw):
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, **kw)


def layout():
    os.makedirs(CACHE, exist_ok=True)
    return oci.Layout(CACHE + "/layout")


def made_by_rename(path, make):
    """Calls make(temporary path) when `path` is not there yet."""
    if not os.path.lexists(path):
        part = path + ".part"
        if os.path.isdir(part):
            shutil.rmtree(part)
        make(part)
        os.rename(part, path)
    return path


def minbase_tar():
    def make(part):
        run("mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", "--quiet", SUITE, part,
            MIRROR)
    return made_by_rename(CACHE + "/minbase.tar", make)


def minbase_tree():
    def make(part):
        os.mkdir(part)
        run("tar", "-C", part, "-xpf", minbase_tar(), "--xattrs", "--xattrs-include=*",
            "--numeric-owner")
    return made_by_rename(CACHE + "/minbase", make)


@contextlib.contextmanager
def chroot_over(lowers, upper):
    """The lower trees with an upper directory above, ready for apt, at the path it yields. The
    package lists and archives are bind mounts, so they never become part of a layer."""
    work = tempfile.mkdtemp(dir=CACHE)
    root = work + "/root"
    mounted = []

    def mount(*argv, at):
        run("mount", *argv, at)
        mounted.append(at)
    try:
        for d in ("root", "work"):
            os.mkdir(f"{work}/{d}")
        os.makedirs(upper, exist_ok=True)
        mount("-t", "overlay", "overlay", "-o",
              f"lowerdir={':'.join(reversed(lowers))},upperdir={upper},workdir={work}/work", at=root)
        mount("-t", "proc", "proc", at=root + "/proc")
        mount("-t", "devpts", "devpts", "-o", "newinstance,ptmxmode=666", at=root + "/dev/pts")
        for name in ("lists", "archives"):
            os.makedirs(f"{CACHE}/apt/{name}/partial", exist_ok=True)
        mount("--bind", CACHE + "/apt/lists", at=root + "/var/lib/apt/lists")
        mount("--bind", CACHE + "/apt/archives", at=root + "/var/cache/apt/archives")
        mount("--bind", "/etc/resolv.conf", at=root + "/etc/resolv.conf")
        yield root
    finally:
        for at in reversed(mounted):
            run("umount", at)
        shutil.rmtree(work)


def apt_upper(lowers, packages):
    """The upper directory that installing `packages` leaves."""
    def make(part):
        environ = {"PATH": ENV[0][5:], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        with chroot_over(lowers, part) as root:
            if not [n for n in os.listdir(CACHE + "/apt/lists") if n.endswith("Packages")]:
                run("chroot", root, "apt-get", "-q", "update", env=environ,
                    stdout=subprocess.DEVNULL)
            policy = root + "/usr/sbin/policy-rc.d"  # no service is started in here
            with open(policy, "w") as f:
                f.write("#!/bin/sh\nexit 101\n")
            os.chmod(policy, 0o755)
            run("chroot", root, "apt-get", "-q", "-y", "--no-install-recommends", "install", *packages,
                env=environ, stdout=subprocess.DEVNULL)
            run("chroot", root, "sh", "-c", "rm -f /var/cache/apt/*.bin /usr/sbin/policy-rc.d")
    depth = len(lowers)
    return made_by_rename(f"{CACHE}/upper-{depth}-{packages[0]}", make)


def tar_of_upper(upper, out_path):
    """An overlay's upper directory as an OCI layer: whiteouts, opaque marks, hard links, xattrs."""
    links = {}
    with tarfile.open(out_path, "w", format=tarfile.PAX_FORMAT) as out:
        for top, dirs, files in os.walk(upper):
            dirs.sort()
            relative = os.path.relpath(top, upper)
            for name in sorted(dirs + files):
                path = os.path.join(top, name)
                inside = name if relative == "." else f"{relative}/{name}"
                st = os.lstat(path)
                if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
                    info, _ = oci.whiteout(inside)
                    out.addfile(info)
                    continue
                info = out.gettarinfo(path, inside)
                if info is None:
                    continue  # a socket
                info.mtime = int(st.st_mtime)
                info.uname = info.gname = ""
                if (st.st_dev, st.st_ino) in links:
                    info.type, info.linkname, info.size = (
                        tarfile.LNKTYPE, links[st.st_dev, st.st_ino], 0)
                elif st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
                    links[st.st_dev, st.st_ino] = inside
                names = os.listxattr(path, follow_symlinks=False)
                for x in names:
                    if not x.startswith("trusted.overlay."):
                        value = os.getxattr(path, x, follow_symlinks=False)
                        info.pax_headers["SCHILY.xattr." + x] = value.decode("utf-8", "surrogateescape")
                if info.isreg():
                    with open(path, "rb") as f:
                        out.addfile(info, f)
                else:
                    out.addfile(info)
                if "trusted.overlay.opaque" in names:
                    marker, _ = oci.opaque(inside)
                    out.addfile(marker)


def real_tars(name):
    """The plain tars of a real image, lowest first."""
    lowers, tars = [minbase_tree()], [minbase_tar()]
    for packages in REAL[name][0]:
        upper = apt_upper(lowers, packages)
        tars.append(made_by_rename(f"{upper}.tar", lambda part: tar_of_upper(upper, part)))
        lowers.append(upper)
    return tars


def image(name, form="gzip"):
    """Builds what is missing; returns (layout, tag)."""
    where = layout()
    tag = name if form == "gzip" else f"{name}-{form}"
    if name not in where.tags():
        if name == "odd":
            tars, command = odd_image.layers(), ["/bin/true"]
        else:
            tars, command = real_tars(name), REAL[name][1]
        config = {"Env": ENV, "Cmd": command}
        layers = [where.put_layer(t) for t in tars]
        where.put_image(name, layers, config, docker=name in DOCKER)
        if name == "odd":
            where.build("odd-oracle", odd_image.layers(for_umoci=True))
        if name in DOCKER:
            where.put_image(name + "-oracle", layers, config)
    if tag not in where.tags():
        where.convert(name, tag, form)
    return where, tag


def main():
    for name in sys.argv[1:] or ALL:
        for form in oci.FORMS:
            where, tag = image(name, form)
            size = sum(d["size"] for d in where.manifest(tag)["layers"])
            print(f"{where.path}:{tag}  {size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
