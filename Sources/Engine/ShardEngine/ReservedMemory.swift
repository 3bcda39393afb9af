import Glibc
import Primitives

/// A range of addresses reserved at once and given memory as it fills, so that what lies in it never moves.
///
/// The reservation is inaccessible (`PROT_NONE`) and counts for nothing; `commit(through:)` makes a prefix usable, zeroed.
/// From the second 2 MiB on, huge pages are asked for: a large segment walks its graph with fewer TLB misses, and a tiny
/// one does not cost 2 MiB.
///
/// `@unchecked Sendable`: addresses are fixed at init; `committed` is touched by the one thread that fills the range.
final class ReservedMemory: @unchecked Sendable {
    private static let hugePage = 2 << 20
    private static let page = 4096
    /// A commit extends by at least this, so that a stream of small appends makes few system calls.
    private static let step = 64 << 10

    private let mapping: UnsafeMutableRawPointer
    private let mappingBytes: Int
    let base: UnsafeMutableRawPointer
    let reserved: Int
    private(set) var committed = 0

    /// - Throws: RESOURCE_EXHAUSTED if the kernel has no such range.
    init(bytes: Int) throws(VecraftError) {
        self.reserved = (max(bytes, 1) + Self.page - 1) / Self.page * Self.page
        let big = self.reserved > Self.hugePage
        self.mappingBytes = self.reserved + (big ? Self.hugePage : 0)
        guard
            let mapping = mmap(
                nil, self.mappingBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            mapping != MAP_FAILED
        else {
            throw VecraftError(
                .resourceExhausted, "no address range of \(bytes) bytes for a segment (errno \(errno))",
                reason: "MEMORY")
        }
        self.mapping = mapping
        if big {
            let aligned = (UInt(bitPattern: mapping) + UInt(Self.hugePage) - 1) & ~UInt(Self.hugePage - 1)
            self.base = UnsafeMutableRawPointer(bitPattern: aligned)!
            // Advice only: without huge pages everything works, a little slower.
            madvise(self.base + Self.hugePage, self.reserved - Self.hugePage, MADV_HUGEPAGE)
        } else {
            self.base = mapping
        }
    }

    deinit { munmap(self.mapping, self.mappingBytes) }

    /// Makes the first `bytes` usable. New memory is zero.
    /// - Throws: RESOURCE_EXHAUSTED if the kernel refuses memory; what was committed before stays.
    func commit(through bytes: Int) throws(VecraftError) {
        guard bytes > self.committed else { return }
        precondition(bytes <= self.reserved, "commit of \(bytes) bytes in a reservation of \(self.reserved)")
        // A quarter ahead, at most 16 MiB.
        let ahead = min(max(Self.step, bytes / 4), 16 << 20)
        let target = min(self.reserved, (bytes + ahead + Self.page - 1) / Self.page * Self.page)
        guard mprotect(self.base + self.committed, target - self.committed, PROT_READ | PROT_WRITE) == 0 else {
            throw VecraftError(
                .resourceExhausted, "no memory for a segment: \(target) bytes (errno \(errno))", reason: "MEMORY")
        }
        self.committed = target
    }
}
