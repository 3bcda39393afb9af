internal import VectorKernels

/// A sealed graph in memory of its own, in the form that ``HNSWGraph/init(mapped:rows:rowCount:)`` reads.
// Sendable: nobody writes to it any more.
package final class SealedBlock: @unchecked Sendable {
    private let memory: SealedMemory
    var base: UnsafeMutableRawPointer { self.memory.base }
    package let report: SealReport

    init(_ memory: SealedMemory, report: SealReport) {
        self.memory = memory
        self.report = report
    }

    package func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(self.bytes)
    }

    /// 64-byte aligned. Valid as long as the caller keeps this object.
    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: self.base, count: self.report.bytes) }
}

/// Where a sealed graph is made.
final class SealedMemory {
    /// 64-byte aligned, zeroes at first.
    let base: UnsafeMutableRawPointer
    let capacity: Int

    init(bytes: Int) {
        guard let base = vk_allocate(bytes) else {
            preconditionFailure("no address space for \(bytes) bytes of a sealed graph")
        }
        self.base = base
        self.capacity = bytes
    }

    deinit { vk_deallocate(self.base, self.capacity) }
}

/// What sealing a graph came to.
package struct SealReport: Sendable {
    /// Recall of ten on the graph's own points, against floats on the same graph.
    package struct Trial: Sendable {
        package var kind: CodeKind
        /// Candidates are measured again on float16 rather than float32 rows.
        package var halves: Bool
        /// At each of ``HNSWGraph/trialEfs``, on codes and on floats.
        package var recalls: [Double]
        package var baseline: [Double]
        package var holds: Bool
    }

    package var kind: CodeKind
    package var halves: Bool
    package var bytes: Int
    /// Of them, what walks read: all but the float16 rows.
    package var residentBytes: Int
    /// What was measured to choose, in order; empty unless ``Quantisation/auto`` was asked for.
    package var trials: [Trial]
}
