/// Byte strings one behind the other in memory of their own, at fixed addresses: read in hot loops without retain or
/// exclusivity checks.
final class FlatKeys: @unchecked Sendable {
    // Unchecked: written in `init` only.
    private let bytes: UnsafeMutableRawPointer
    private let starts: UnsafeMutablePointer<Int>
    let count: Int

    init(_ keys: [[UInt8]]) {
        self.count = keys.count
        self.bytes = .allocate(byteCount: max(1, keys.reduce(0) { $0 + $1.count }), alignment: 8)
        self.starts = .allocate(capacity: keys.count + 1)
        var end = 0
        for (index, key) in keys.enumerated() {
            (self.starts + index).initialize(to: end)
            key.withUnsafeBytes { if let base = $0.baseAddress { (self.bytes + end).copyMemory(from: base, byteCount: $0.count) } }
            end += key.count
        }
        (self.starts + keys.count).initialize(to: end)
    }

    deinit {
        self.bytes.deallocate()
        self.starts.deallocate()
    }

    @inline(__always)
    subscript(_ index: Int) -> UnsafeRawBufferPointer {
        let start = self.starts[index]
        return UnsafeRawBufferPointer(start: self.bytes + start, count: self.starts[index &+ 1] &- start)
    }
}
