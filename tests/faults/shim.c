/* Stands before the C library: makes chosen calls fail as another kernel would. SHIM names the calls, with commas between. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int asked(const char *name) {
    const char *shim = getenv("SHIM");
    return shim && strstr(shim, name);
}

int memfd_create(const char *name, unsigned flags) {
    static int (*real)(const char *, unsigned);
    if (asked("memfd_create")) { errno = ENOSYS; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "memfd_create");
    return real(name, flags);
}

/* Forks fail where the file named by SHIM_FORK exists, as under `ulimit -u`. */
pid_t fork(void) {
    static pid_t (*real)(void);
    const char *path = getenv("SHIM_FORK");
    if (path && access(path, F_OK) == 0) { errno = EAGAIN; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "fork");
    return real();
}

/* The clock on the wall jumps by a year at every look. */
int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    static long looks;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, at);
    if (which == CLOCK_REALTIME && asked("clock")) at->tv_sec += (++looks % 2 ? 1 : -1) * 31536000L;
    return status;
}
