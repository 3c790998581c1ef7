/* Reads that fail, come in halves, or are slow, and locks that a file system does not know: by what the file's name says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER 8192

static int named(int fd, const char *what) {
    char link[64], name[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, name, sizeof name - 1) > 0 && strstr(name, what) != NULL;
}

/* How many bytes may be read at once; -1 where reading fails. */
static ssize_t allowed(int fd, size_t n, off_t at) {
    if (named(fd, "/slow")) usleep(8000);
    if (at + (off_t)n <= HEADER) return n;
    if (named(fd, "/eio")) return -1;
    if (named(fd, "/short") && n > 1) return n / 2;
    return n;
}

ssize_t pread(int fd, void *to, size_t n, off_t at) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread");
    ssize_t most = allowed(fd, n, at);
    if (most < 0) { errno = EIO; return -1; }
    return real(fd, to, most, at);
}

ssize_t pread64(int fd, void *to, size_t n, off_t at) { return pread(fd, to, n, at); }

ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) {
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "preadv");
    if (count != 1) return real(fd, to, count, at);
    return pread(fd, to[0].iov_base, to[0].iov_len, at);
}

ssize_t preadv64(int fd, const struct iovec *to, int count, off_t at) { return preadv(fd, to, count, at); }

ssize_t preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) { return preadv(fd, to, count, at); }

ssize_t preadv64v2(int fd, const struct iovec *to, int count, off_t at, int flags) { return preadv(fd, to, count, at); }

int flock(int fd, int how) {
    static int (*real)(int, int);
    if (!real) real = dlsym(RTLD_NEXT, "flock");
    if (named(fd, "/nolock")) { errno = ENOLCK; return -1; }
    return real(fd, how);
}
