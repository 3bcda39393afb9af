#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Files. Each call returns 0 (or what it says), or minus errno. Calls are repeated after EINTR and after short transfers.

/// One part of a gathered write.
typedef struct {
    const void *base;
    size_t count;
} vc_part;

/// flags: 0 read, 1 read and write, 2 also create, 3 create and refuse an existing one. Returns the descriptor.
int vc_file_open(const char *path, int flags);
/// Bytes read: fewer than asked only at the end of the file.
ssize_t vc_file_read(int fd, void *buffer, size_t count, off_t position);
int vc_file_write(int fd, const void *bytes, size_t count, off_t position);
/// The parts one behind the other, by as few system calls as IOV_MAX allows. `parts` has the layout of `struct iovec`.
int vc_file_writev(int fd, const vc_part *parts, size_t count, off_t position);
int vc_file_sync(int fd);
int vc_file_preallocate(int fd, off_t bytes);
/// A hint that the file's bytes need not stay in the system's memory; dirty ones do until they are written.
void vc_file_release_cache(int fd);
int vc_directory_sync(const char *path);
/// Bytes that an unprivileged writer may use.
int64_t vc_free_bytes(const char *path);
/// Opens, creating, and takes the exclusive advisory lock without waiting. Returns the descriptor.
int vc_file_lock(const char *path);
/// Milliseconds since 1970.
uint64_t vc_wall_milliseconds(void);
/// Nanoseconds of a clock that never steps back and counts suspension too.
uint64_t vc_boottime_nanoseconds(void);
/// Nanoseconds of the monotonic clock.
uint64_t vc_monotonic_nanoseconds(void);
