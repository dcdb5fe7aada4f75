"""Runs a program as a user and under the system call filter of a systemd unit, without systemd:
confined.py UNIT UID PROGRAM ARGUMENTS...

The sets are those of this machine's systemd. systemd answers what is not in them with an error; here it ends the process,
so that nothing that is refused goes unseen. Held besides: RestrictAddressFamilies=, MemoryDenyWriteExecute= and
NoNewPrivileges=, as seccomp holds them.
"""

import mmap
import os
import socket
import subprocess
import sys

import pyseccomp as seccomp

# linux/shm.h, which Python does not have.
SHM_EXEC = 0o100000


def main():
    unit, user, program = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    settings = [line.strip().split("=", 1) for line in open(unit) if "=" in line and not line.startswith("#")]
    allowed = set()
    for value in values(settings, "SystemCallFilter"):
        taken = value.startswith("~")
        for name in value.lstrip("~").split():
            allowed = allowed - expanded(name) if taken else allowed | expanded(name)
    families = {getattr(socket, name) for name in values(settings, "RestrictAddressFamilies")[0].split()}
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    load(allowed, families)
    os.execv(program[0], program)


def values(settings, key):
    return [value for name, value in settings if name == key]


def expanded(name):
    """System calls by name; `@sets` may hold sets."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    members = [line.strip() for line in said.stdout.splitlines()[1:]]
    members = [member for member in members if member and not member.startswith("#")]
    return set().union(*(expanded(member) for member in members))


def load(allowed, families):
    syscalls = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    syscalls.set_attr(seccomp.Attr.CTL_NNP, True)
    exec_or_write = mmap.PROT_EXEC | mmap.PROT_WRITE
    # What is looked into is allowed only as far as no argument says otherwise.
    looked_into = {
        "socket": [[seccomp.Arg(0, seccomp.EQ, int(family))] for family in families],
        "mmap": [
            [seccomp.Arg(2, seccomp.MASKED_EQ, exec_or_write, bits)]
            for bits in (0, mmap.PROT_EXEC, mmap.PROT_WRITE)
        ],
        "mprotect": [[seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0)]],
        "pkey_mprotect": [[seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0)]],
        "shmat": [[seccomp.Arg(2, seccomp.MASKED_EQ, SHM_EXEC, 0)]],
    }
    for name in sorted(allowed):
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) < 0:
            # Of another machine.
            continue
        for arguments in looked_into.get(name, [[]]):
            syscalls.add_rule(seccomp.ALLOW, name, *arguments)
    syscalls.load()


main()
