"""What ``sandbox`` starts: ``python -I -S -B sandbox_child.py``. Imports nothing of sayso.

Reads a job, shuts itself in, runs the code, sends results. It says on standard error what it does
until the code starts; after that standard error leads nowhere.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import runpy
import signal
import struct
import sys
from typing import Any

NEW_USER, NEW_PIDS, NEW_NET, NEW_MOUNTS, NEW_IPC = (
    0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000,
)  # fmt: skip
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY = 442, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
NUM_CAPABILITIES = 64
NOBODY = 65534
FOLDER_MB = 16
MAX_DEPTH = 50
SECCOMP_MODE_FILTER, SECCOMP_ERRNO, SECCOMP_ALLOW = 2, 0x50000, 0x7FFF0000
BPF_LOAD, BPF_EQUAL, BPF_AT_LEAST, BPF_RETURN = 0x20, 0x15, 0x35, 0x06
NEW_PROCESS = {
    "x86_64": (0xC000003E, (56, 57, 58, 435)),  # clone, fork, vfork, clone3
    "aarch64": (0xC00000B7, (220, 435)),
}
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A call of the C library that must succeed.

    Raises:
        OSError: If it does not.
    """
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def shut_in(binds: list[str]) -> None:
    """Leave everything behind but the interpreter's files; the caller becomes process 1.

    Root changes its user afterwards; anybody else needs a user namespace to do the rest in.
    """
    user, group = os.getuid(), os.getgid()
    spaces = NEW_PIDS | NEW_NET | NEW_MOUNTS | NEW_IPC
    call("unshare", spaces if user == 0 else spaces | NEW_USER)
    if user:
        maps = {"uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in {"setgroups": "deny", **maps}.items():
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  # one write, no buffer
                file.write(text)
    say(f"inner {fork_inner()}")
    read_only_root(binds)
    drop_rights(change_user=user == 0)


def fork_inner() -> int:
    """Return in the process that runs the code; the outer one names it, waits, ends as it does."""
    reading, writing = os.pipe()
    inner = os.fork()
    if inner:
        os.close(reading)
        os.write(writing, str(inner).encode())
        os.close(writing)
        os.close(1)
        os.close(2)
        _, status = os.waitpid(inner, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(writing)
    number = int(os.read(reading, 32))
    os.close(reading)
    return number


def read_only_root(binds: list[str]) -> None:
    """A root of nothing but the folders named, read-only, and an empty one to work in."""
    root = os.getcwd()  # noqa: PTH109
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    flags = MS_NOSUID | MS_NODEV
    call("mount", b"tmpfs", root.encode(), b"tmpfs", flags, b"size=1m,mode=755")
    for path in binds:
        inside = root + path
        os.makedirs(os.path.dirname(inside), exist_ok=True)  # noqa: PTH103, PTH120
        if os.path.islink(path):  # noqa: PTH114
            os.symlink(os.readlink(path), inside)  # noqa: PTH115, PTH211
            continue
        if os.path.isdir(path):  # noqa: PTH112
            os.makedirs(inside, exist_ok=True)  # noqa: PTH103
        else:
            os.close(os.open(inside, os.O_CREAT))
        call("mount", path.encode(), inside.encode(), None, MS_BIND | MS_REC, None)
    for name in ("/work", "/dev"):
        os.mkdir(root + name)  # noqa: PTH102
    os.close(os.open(root + "/dev/null", os.O_CREAT))
    call("mount", b"/dev/null", (root + "/dev/null").encode(), None, MS_BIND, None)
    attributes = (ctypes.c_uint64 * 4)(ATTR_RDONLY, 0, 0, 0)
    call(
        "syscall", MOUNT_SETATTR, AT_FDCWD, root.encode(), AT_RECURSIVE,
        ctypes.byref(attributes), ctypes.sizeof(attributes),
    )  # fmt: skip
    options = f"size={FOLDER_MB}m,mode=1777".encode()
    call("mount", b"tmpfs", (root + "/work").encode(), b"tmpfs", flags, options)
    os.chroot(root)
    os.chdir("/work")


def drop_rights(*, change_user: bool) -> None:
    """No capability, now or after any exec; root becomes nobody."""
    for number in range(NUM_CAPABILITIES):
        libc.prctl(PR_CAPBSET_DROP, number)  # fails beyond the last one there is
    if change_user:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)  # another user: the kernel forgot it
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def forbid_processes() -> None:
    """No fork, no thread, by a filter of system calls: the kernel's limit does not hold for root.

    Raises:
        OSError: If there is no such filter here.
    """
    machine = os.uname().machine if sys.platform == "linux" else sys.platform
    if machine not in NEW_PROCESS:
        raise OSError(f"no limit keeps root from starting processes on {machine}")
    architecture, numbers = NEW_PROCESS[machine]
    refuse = (BPF_RETURN, 0, 0, SECCOMP_ERRNO | errno.EPERM)
    steps = [
        (BPF_LOAD, 0, 0, 4),
        (BPF_EQUAL, 1, 0, architecture),
        refuse,
        (BPF_LOAD, 0, 0, 0),
        (BPF_AT_LEAST, 0, 1, 0x40000000),  # the calls of x32
        refuse,
    ]
    for number in numbers:
        steps += [(BPF_EQUAL, 0, 1, number), refuse]
    steps.append((BPF_RETURN, 0, 0, SECCOMP_ALLOW))
    packed = b"".join(struct.pack("=HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("@HP", len(steps), ctypes.addressof(kept))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)


def set_limits(job: dict[str, Any]) -> None:
    """Of the kernel's own kind; none can be raised again."""
    seconds = int(job["seconds"]) + 1
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: FOLDER_MB * 1_000_000,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    if sys.platform == "linux":
        wanted[resource.RLIMIT_AS] = job["memory"]
    for kind, value in wanted.items():
        _, most = resource.getrlimit(kind)
        limit = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (limit, limit))


def encoded(value: Any, depth: int = 0) -> Any:
    """A result as JSON: numbers, texts, lists, and other containers by a tag.

    Raises:
        TypeError: If it is anything else.
    """
    kind = type(value)
    if depth > MAX_DEPTH:
        raise TypeError("nested too deeply")
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return [encoded(item, depth + 1) for item in value]
    if kind in (set, frozenset):
        items = [encoded(item, depth + 1) for item in value]
        return {"set": sorted(items, key=lambda item: json.dumps(item, sort_keys=True))}
    if kind is dict:
        pairs = [[encoded(k, depth + 1), encoded(v, depth + 1)] for k, v in value.items()]
        return {"dict": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))}
    raise TypeError(f"a result of type {kind.__name__}")


def call_functions(calls: list[list[Any]], answers: int) -> None:
    """Run the code once, then its functions, one line of JSON each; ``null`` for one that fails."""
    try:
        names = runpy.run_path("solution.py", run_name="solution")
    except BaseException:  # noqa: BLE001  # the policy's code; sys.exit() too
        return
    for function, arguments, keywords in calls:
        try:
            line = json.dumps([encoded(names[function](*arguments, **keywords))])
        except BaseException:  # noqa: BLE001
            line = "null"
        os.write(answers, line.encode() + b"\n")


def say(text: str) -> None:
    """Tell the parent, on standard error."""
    os.write(2, text.encode("utf-8", "replace") + b"\n")


def main() -> None:
    """One job."""
    job = json.loads(sys.stdin.buffer.read())
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)  # no orphan if the trainer is killed
    try:
        if job["isolate"]:
            shut_in(job["binds"])
        elif os.getuid() == 0:
            forbid_processes()
        with open("solution.py", "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            file.write(job["source"])
        set_limits(job)
    except Exception as error:  # noqa: BLE001  # told, and nothing is run
        say(f"{type(error).__name__}: {error}")
        os._exit(1)
    work, answers = job["work"], os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.write(2, b"started\n")
    os.dup2(nothing, 2)
    if "stdin" in work:
        reading, writing = os.pipe()
        os.write(writing, work["stdin"].encode()[:60_000])
        os.close(writing)
        os.dup2(reading, 0)
        os.close(answers)
        runpy.run_path("solution.py", run_name="__main__")
        return
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    call_functions(work["calls"], answers)
    os._exit(0)


if __name__ == "__main__":
    main()
