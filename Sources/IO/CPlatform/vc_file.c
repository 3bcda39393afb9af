#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "vc_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// Parts a system call takes; Linux allows 1024.
enum { parts_a_call = 1024 };

_Static_assert(sizeof(vc_part) == sizeof(struct iovec), "vc_part stands in for struct iovec");
_Static_assert(offsetof(vc_part, count) == offsetof(struct iovec, iov_len), "vc_part stands in for struct iovec");

int vc_file_open(const char *path, int flags) {
    static const int modes[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL};
    int fd;
    do fd = open(path, modes[flags] | O_CLOEXEC, 0640);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

ssize_t vc_file_read(int fd, void *buffer, size_t count, off_t position) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = pread(fd, (char *)buffer + done, count - done, position + (off_t)done);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        if (n == 0) break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int vc_file_write(int fd, const void *bytes, size_t count, off_t position) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, count - done, position + (off_t)done);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        // A write of nothing that is no error would loop for ever.
        if (n == 0) return -EIO;
        done += (size_t)n;
    }
    return 0;
}

int vc_file_writev(int fd, const vc_part *parts, size_t count, off_t position) {
    size_t next = 0;
    while (next < count) {
        size_t group = count - next < parts_a_call ? count - next : parts_a_call;
        ssize_t n = pwritev(fd, (const struct iovec *)(parts + next), (int)group, position);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        position += n;
        size_t left = (size_t)n;
        size_t end = next + group;
        while (next < end && left >= parts[next].count) left -= parts[next++].count;
        if (next == end) continue;
        // A part was cut: finish it alone, then go on with whole parts.
        if (n == 0) return -EIO;
        int fault = vc_file_write(fd, (const char *)parts[next].base + left, parts[next].count - left, position);
        if (fault) return fault;
        position += (off_t)(parts[next].count - left);
        next++;
    }
    return 0;
}

int vc_file_sync(int fd) {
#ifdef __linux__
    return fdatasync(fd) == 0 ? 0 : -errno;
#else
    return fsync(fd) == 0 ? 0 : -errno;
#endif
}

int vc_file_preallocate(int fd, off_t bytes) {
#ifdef __linux__
    int result;
    do result = fallocate(fd, 0, 0, bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0) return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return -errno;
#endif
    // No reservation to be had here: length alone, and a full disk shows at the write.
    struct stat status;
    if (fstat(fd, &status) != 0) return -errno;
    if (status.st_size >= bytes) return 0;
    return ftruncate(fd, bytes) == 0 ? 0 : -errno;
}

void vc_file_release_cache(int fd) {
#ifdef POSIX_FADV_DONTNEED
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#else
    (void)fd;
#endif
}

int vc_directory_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int fault = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return fault;
}

int64_t vc_free_bytes(const char *path) {
    struct statvfs status;
    if (statvfs(path, &status) != 0) return -errno;
    return (int64_t)status.f_bavail * (int64_t)status.f_frsize;
}

int vc_file_lock(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    int fault = -errno;
    close(fd);
    return fault;
}

uint64_t vc_wall_milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t vc_boottime_nanoseconds(void) {
    struct timespec t;
    // Where it is unknown the monotonic clock serves: it differs over suspension only.
    if (clock_gettime(CLOCK_BOOTTIME, &t) != 0) clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t vc_monotonic_nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
