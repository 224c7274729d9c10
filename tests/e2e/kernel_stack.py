"""kernel_stack: the layers of an image mounted by the kernel alone: EROFS below, overlayfs above.

System calls by ctypes, because mount(8) makes loop devices and its options end at 4095 bytes.
"""
import contextlib
import ctypes
import os
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MNT_DETACH = 2
SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 429, 430, 431, 432
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
MOVE_MOUNT_F_EMPTY_PATH = 4
AT_FDCWD = -100


def _check(result, what):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{what}: {os.strerror(e)}")
    return result


def mount(source, target, fstype, flags=0, data=""):
    _check(libc.mount(os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags),
                      os.fsencode(data)), f"mount {fstype} {source} {data}")


def umount(target):
    _check(libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def overlay(lowers, target):
    """Read-only overlay; lowers: paths, topmost first."""
    fs = _check(libc.syscall(SYS_FSOPEN, b"overlay", 0), "fsopen overlay")
    for key, value in [(b"source", b"overlay"), (b"xino", b"on")] + [
            (b"lowerdir+", os.fsencode(d)) for d in lowers]:
        _check(libc.syscall(SYS_FSCONFIG, fs, FSCONFIG_SET_STRING, key, value, 0),
               f"overlay {key.decode()}={value!r}")
    _check(libc.syscall(SYS_FSCONFIG, fs, FSCONFIG_CMD_CREATE, None, None, 0), "overlay")
    mnt = _check(libc.syscall(SYS_FSMOUNT, fs, 0, 0), "fsmount overlay")
    _check(libc.syscall(SYS_MOVE_MOUNT, mnt, b"", AT_FDCWD, os.fsencode(target),
                        MOVE_MOUNT_F_EMPTY_PATH), f"move_mount {target}")
    os.close(mnt)
    os.close(fs)


@contextlib.contextmanager
def stacked(layer_dirs):
    """The layers (directories with index.erofs and data, lowest first) as one tree; yields its path."""
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(tempfile.TemporaryDirectory(prefix="lazyrun-stack-", dir="/var/tmp"))
        lowers = []
        topmost_only = list(dict.fromkeys(reversed(layer_dirs)))  # a layer twice would be ELOOP
        for i, d in enumerate(topmost_only):
            at = f"{where}/{i}"
            os.mkdir(at)
            mount(d + "/index.erofs", at, "erofs", MS_RDONLY, f"device={d}/data")
            stack.callback(umount, at)
            lowers.append(at)
        if len(lowers) == 1:  # overlayfs wants two
            os.mkdir(where + "/empty")
            lowers.append(where + "/empty")
        os.mkdir(where + "/merged")
        overlay(lowers, where + "/merged")
        stack.callback(umount, where + "/merged")
        yield where + "/merged"
