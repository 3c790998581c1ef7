/* Stands before the C library: writes and fsyncs of files whose name holds DISK_PATH fail as DISK says: eio, fsync, short or eintr. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int meant(int fd, const char *what) {
    static __thread char name[4096], link[64];
    const char *asked = getenv("DISK"), *path = getenv("DISK_PATH");
    if (!asked || !path || strcmp(asked, what)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strstr(name, path) != NULL;
}

#define WRITE(call, declaration, given)                                                   \
    ssize_t call declaration {                                                            \
        static ssize_t (*real) declaration;                                               \
        static __thread int calls;                                                        \
        if (!real) real = dlsym(RTLD_NEXT, #call);                                        \
        if (meant(fd, "eio")) { errno = EIO; return -1; }                                 \
        if (meant(fd, "eintr") && ++calls % 2) { errno = EINTR; return -1; }              \
        if (meant(fd, "short") && count > 1) count = count > 100000 ? 99991 : count / 2;  \
        return real given;                                                                \
    }

WRITE(write, (int fd, const void *buffer, size_t count), (fd, buffer, count))
WRITE(pwrite, (int fd, const void *buffer, size_t count, off_t at), (fd, buffer, count, at))
WRITE(pwrite64, (int fd, const void *buffer, size_t count, off_t at), (fd, buffer, count, at))

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (meant(fd, "fsync")) { errno = EIO; return -1; }
    return real(fd);
}
