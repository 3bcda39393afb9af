import Glibc
internal import Primitives

/// A readers-writer lock that lets no new reader in while a writer waits: an entry becomes visible after the reads in
/// hand, however many others queue. Not recursive.
///
/// `@unchecked Sendable`: the lock itself, initialised before it is shared and destroyed after.
final class ShardLock: @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_rwlock_t>

    init() {
        self.lock = .allocate(capacity: 1)
        var attributes = pthread_rwlockattr_t()
        pthread_rwlockattr_init(&attributes)
        pthread_rwlockattr_setkind_np(&attributes, Int32(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP))
        let status = pthread_rwlock_init(self.lock, &attributes)
        precondition(status == 0, "pthread_rwlock_init: \(status)")
        pthread_rwlockattr_destroy(&attributes)
    }

    deinit {
        pthread_rwlock_destroy(self.lock)
        self.lock.deallocate()
    }

    @inline(__always)
    func reading<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        let status = pthread_rwlock_rdlock(self.lock)
        precondition(status == 0, "pthread_rwlock_rdlock: \(status)")
        defer { pthread_rwlock_unlock(self.lock) }
        return try body()
    }

    @inline(__always)
    func writing<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
        let status = pthread_rwlock_wrlock(self.lock)
        precondition(status == 0, "pthread_rwlock_wrlock: \(status)")
        defer { pthread_rwlock_unlock(self.lock) }
        return try body()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
@inline(__always)
func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) &* 1_000_000_000 &+ UInt64(now.tv_nsec)
}
