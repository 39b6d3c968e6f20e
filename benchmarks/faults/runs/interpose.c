/* Faults at a given write of a process, for tests of what survives them.

   Loaded with LD_PRELOAD. Every call that changes a file below a folder is counted, over all processes forked from the first one. From a
   given call on, or at it, something happens: see enum below. Nothing happens before `faults_arm`, and the counter is not changed then.
   Calls that the C library makes itself (fwrite) and memory maps are not seen. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { COUNT, FULL, READ_ONLY, KILL, TORN, TERMINATE, INTERRUPT, CLOCK };

struct shared {
    atomic_long calls, at;
    atomic_int armed, kind, fired;
    atomic_long seconds;
    char prefix[PATH_MAX];
};

static struct shared *state;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED) abort();
}

void faults_arm(const char *prefix, int kind, long at, long seconds) {
    snprintf(state->prefix, sizeof state->prefix, "%s", prefix);
    state->calls = 0;
    state->fired = 0;
    state->kind = kind;
    state->at = at;
    state->seconds = seconds;
    state->armed = 1;
}

void faults_disarm(void) { state->armed = 0; }
long faults_calls(void) { return state->calls; }
int faults_fired(void) { return state->fired; }

static int below(const char *path) {
    size_t n = strlen(state->prefix);
    return !strncmp(path, state->prefix, n) && (path[n] == '/' || path[n] == 0);
}

static int path_is_ours(int directory, const char *path) {
    char whole[PATH_MAX], link[64];
    if (!state || !state->armed || !path) return 0;
    if (path[0] == '/') return below(path);
    if (directory == AT_FDCWD) {
        if (!getcwd(whole, sizeof whole)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t n = readlink(link, whole, sizeof whole - 1);
        if (n < 0) return 0;
        whole[n] = 0;
    }
    size_t n = strlen(whole);
    snprintf(whole + n, sizeof whole - n, "/%s", path);
    return below(whole);
}

static int file_is_ours(int fd) {
    char link[64], path[PATH_MAX];
    if (!state || !state->armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

/* What a call does: 0 it is made, > 0 it fails with this error, -1 half of it is made and the process dies. */
static int next(int grows, int opens) {
    long call = atomic_fetch_add(&state->calls, 1) + 1;
    if (call < state->at) return 0;
    int first = !atomic_exchange(&state->fired, 1);
    switch (state->kind) {
    case FULL: return grows ? ENOSPC : 0;
    /* Files that are open when a disk turns read-only after an error cannot be written any more either. */
    case READ_ONLY: return opens ? EROFS : EIO;
    case KILL: if (first) kill(getpid(), SIGKILL); return 0;
    case TORN: return first ? -1 : 0;
    case TERMINATE: if (first) kill(getpid(), SIGTERM); return 0;
    case INTERRUPT: if (first) kill(getpid(), SIGINT); return 0;
    }
    return 0;
}

#define FAIL(fault) do { if ((fault) > 0) { errno = (fault); return -1; } } while (0)
#define DIE() kill(getpid(), SIGKILL)

ssize_t write(int fd, const void *data, size_t n) {
    if (file_is_ours(fd)) {
        int fault = next(1, 0);
        FAIL(fault);
        if (fault < 0) { REAL(write)(fd, data, n / 2); DIE(); }
    }
    return REAL(write)(fd, data, n);
}

#define POSITIONED(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t n, offset_type offset) { \
        if (file_is_ours(fd)) { \
            int fault = next(1, 0); \
            FAIL(fault); \
            if (fault < 0) { REAL(name)(fd, data, n / 2, offset); DIE(); } \
        } \
        return REAL(name)(fd, data, n, offset); \
    }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (file_is_ours(fd)) {
        int fault = next(1, 0);
        FAIL(fault);
        if (fault < 0) { REAL(writev)(fd, parts, count / 2); DIE(); }
    }
    return REAL(writev)(fd, parts, count);
}

/* The call itself, or death after it. */
#define CALL(ours, grows, opens, call) \
    do { \
        int fault = (ours) ? next(grows, opens) : 0; \
        FAIL(fault); \
        int result = call; \
        if (fault < 0) DIE(); \
        return result; \
    } while (0)

int fsync(int fd) { CALL(file_is_ours(fd), 0, 0, REAL(fsync)(fd)); }
int fdatasync(int fd) { CALL(file_is_ours(fd), 0, 0, REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t n) { CALL(file_is_ours(fd), 1, 0, REAL(ftruncate)(fd, n)); }
int ftruncate64(int fd, off64_t n) { CALL(file_is_ours(fd), 1, 0, REAL(ftruncate64)(fd, n)); }
int rename(const char *a, const char *b) { CALL(path_is_ours(AT_FDCWD, b), 0, 1, REAL(rename)(a, b)); }
int renameat(int d, const char *a, int e, const char *b) { CALL(path_is_ours(e, b), 0, 1, REAL(renameat)(d, a, e, b)); }
int mkdir(const char *path, mode_t mode) { CALL(path_is_ours(AT_FDCWD, path), 1, 1, REAL(mkdir)(path, mode)); }
int mkdirat(int d, const char *path, mode_t mode) { CALL(path_is_ours(d, path), 1, 1, REAL(mkdirat)(d, path, mode)); }
int unlink(const char *path) { CALL(path_is_ours(AT_FDCWD, path), 0, 1, REAL(unlink)(path)); }
int unlinkat(int d, const char *path, int flags) { CALL(path_is_ours(d, path), 0, 1, REAL(unlinkat)(d, path, flags)); }
int rmdir(const char *path) { CALL(path_is_ours(AT_FDCWD, path), 0, 1, REAL(rmdir)(path)); }

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

/* Each of them has a second name for large files. */
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags); \
        CALL(WRITES(flags) && path_is_ours(AT_FDCWD, path), (flags & O_CREAT) && access(path, F_OK), 1, REAL(name)(path, flags, mode)); \
    }
#define OPEN_AT(name) \
    int name(int d, const char *path, int flags, ...) { \
        MODE(flags); \
        CALL(WRITES(flags) && path_is_ours(d, path), (flags & O_CREAT) && faccessat(d, path, F_OK, 0), 1, REAL(name)(d, path, flags, mode)); \
    }
#define OPEN_STREAM(name) \
    FILE *name(const char *path, const char *mode) { \
        if (strpbrk(mode, "wa+") && path_is_ours(AT_FDCWD, path)) { \
            int fault = next(access(path, F_OK), 1); \
            if (fault > 0) { errno = fault; return NULL; } \
            if (fault < 0) DIE(); \
        } \
        return REAL(name)(path, mode); \
    }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
OPEN_STREAM(fopen)
OPEN_STREAM(fopen64)

static long jump(void) { return state && state->armed && state->kind == CLOCK && state->fired ? state->seconds : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    int result = REAL(gettimeofday)(now, zone);
    if (!result) now->tv_sec += jump();
    return result;
}
time_t time(time_t *out) {
    time_t now = REAL(time)(NULL) + jump();
    if (out) *out = now;
    return now;
}
