import Foundation
import TestSupport

/// Wall clocks that a test sets while the processes that read them run: each node's by itself, clocks that only count on untouched.
///
/// A small library goes between a node and the C library, for all of its threads: it adds to what is read from `CLOCK_REALTIME` what
/// stands in a file that both have mapped.
package final class ClockShift: Sendable {
    private static let source = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdint.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <time.h>
        #include <unistd.h>

        static const int64_t *shift;
        static int (*real_clock)(clockid_t, struct timespec *);

        __attribute__((constructor)) static void begin(void) {
            real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
            const char *path = getenv("VECRAFT_TEST_CLOCK");
            int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
            if (file < 0) return;
            void *page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
            if (page != MAP_FAILED) shift = page;
            close(file);
        }

        int clock_gettime(clockid_t clock, struct timespec *out) {
            int result = real_clock ? real_clock(clock, out) : (int)syscall(SYS_clock_gettime, clock, out);
            if (result != 0 || !shift || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
            int64_t by = __atomic_load_n(shift, __ATOMIC_RELAXED);
            int64_t nanoseconds = out->tv_nsec + by % 1000000000;
            out->tv_sec += by / 1000000000;
            if (nanoseconds < 0) { nanoseconds += 1000000000; out->tv_sec -= 1; }
            if (nanoseconds >= 1000000000) { nanoseconds -= 1000000000; out->tv_sec += 1; }
            out->tv_nsec = nanoseconds;
            return 0;
        }

        int gettimeofday(struct timeval *out, void *zone) {
            (void)zone;
            struct timespec now;
            if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
            out->tv_sec = now.tv_sec;
            out->tv_usec = now.tv_nsec / 1000;
            return 0;
        }

        time_t time(time_t *out) {
            struct timespec now;
            if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
            if (out) *out = now.tv_sec;
            return now.tv_sec;
        }
        """

    /// Why this machine sets no clocks; nil if it does. Asked once.
    package static let obstacle: String? = {
        do {
            let directory = try TemporaryDirectory()
            _ = try ClockShift.build(in: directory)
            return nil
        } catch {
            return "\(error)"
        }
    }()

    private static func build(in directory: TemporaryDirectory) throws -> String {
        let (source, library) = (directory.file("clock_shift.c"), directory.file("clock_shift.so"))
        try Self.source.write(toFile: source, atomically: true, encoding: .utf8)
        let compiler = ["cc", "gcc", "clang"].first { findProgram($0) != nil } ?? "cc"
        try runCommand(compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl")
        return library
    }

    private let directory: TemporaryDirectory
    private let library: String

    package init() throws {
        self.directory = try TemporaryDirectory()
        self.library = try Self.build(in: self.directory)
    }

    private func path(_ node: Int) -> String { self.directory.file("node-\(node)") }

    /// What a node is started with. Its clock is right until it is set.
    package func environment(of node: Int) throws -> [String: String] {
        try self.set(node, to: .zero)
        return ["LD_PRELOAD": self.library, "VECRAFT_TEST_CLOCK": self.path(node)]
    }

    /// Puts a node's wall clock so far ahead of the machine's, or behind it.
    package func set(_ node: Int, to shift: Duration) throws {
        let file = open(self.path(node), O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw CommandFailure(description: "cannot open \(self.path(node))") }
        defer { close(file) }
        // Eight bytes of one page, in one call: whoever has it mapped sees the old or the new.
        var nanoseconds = Int64(shift / .nanoseconds(1))
        guard pwrite(file, &nanoseconds, 8, 0) == 8 else {
            throw CommandFailure(description: "cannot write \(self.path(node))")
        }
    }
}
