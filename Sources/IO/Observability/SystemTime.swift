import Glibc

/// The process's clocks, for measuring and stamping what is observed. Decisions take their time from the caller
/// instead.
package enum SystemTime {
    /// Nanoseconds since some fixed moment; never steps back.
    package static var monotonicNanoseconds: UInt64 { Self.read(CLOCK_MONOTONIC) }
    /// The same, and it goes on while the machine is suspended: for ages and promises between nodes.
    package static var steadyNanoseconds: UInt64 { Self.read(CLOCK_BOOTTIME) }
    /// Nanoseconds since 1970.
    package static var nanoseconds: UInt64 { Self.read(CLOCK_REALTIME) }
    /// Milliseconds since 1970, up to a scheduler tick old and several times cheaper to read.
    package static var coarseMilliseconds: UInt64 { Self.read(CLOCK_REALTIME_COARSE) / 1_000_000 }
    /// Milliseconds since 1970, rounded up: for ages that must not be understated.
    package static var nextMillisecond: UInt64 { (Self.nanoseconds + 999_999) / 1_000_000 }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension Duration {
    /// As a number of seconds, for metrics.
    package var seconds: Double {
        Double(self.components.seconds) + Double(self.components.attoseconds) * 1e-18
    }
}
