"""A library that stands beneath the HDF5 library and misbehaves for it, for files whose names ask for that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
/* pread, which misbehaves where the file's name says so; what stands beneath the HDF5 library misbehaves for it. */
static void misbehave(int fd) {
    char link[64], name[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, name, sizeof name - 1) < 0) return;
    if (strstr(name, "/crash")) raise(SIGSEGV);
    if (strstr(name, "/abort")) abort();
    if (strstr(name, "/hang")) for (;;) pause();
    if (strstr(name, "/spin")) for (;;) {}
    if (strstr(name, "/leave")) _exit(7);
}
ssize_t pread(int fd, void *to, size_t n, off_t at) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread");
    misbehave(fd);
    return real(fd, to, n, at);
}
ssize_t pread64(int fd, void *to, size_t n, off_t at) { return pread(fd, to, n, at); }
"""


def misbehaving(folder: Path) -> str:
    """The library, compiled into `folder`: for LD_PRELOAD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    return str(folder / "shim.so")
