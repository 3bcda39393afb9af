import Synchronization

/// Rows of a segment in the order of their ids: what a scroll follows. Never changes.
///
/// `@unchecked Sendable`: see the line before; the memory is freed in deinit.
final class IDOrder: @unchecked Sendable {
    private let sorted: UnsafeBufferPointer<UInt32>
    private let owner: AnyObject?

    /// - Parameter owner: Keeps `sorted` alive; nil if this object shall free it.
    init(_ sorted: UnsafeBufferPointer<UInt32>, owner: AnyObject?) {
        self.sorted = sorted
        self.owner = owner
    }

    deinit { if self.owner == nil { self.sorted.baseAddress?.deallocate() } }

    var rows: UnsafeBufferPointer<UInt32> { self.sorted }

    private struct Keyed {
        /// The id's first eight bytes, so that most comparisons touch nothing else.
        var prefix: UInt64
        var row: UInt32
    }

    /// Sorts rows by id. The caller frees the memory, or hands it to ``init(_:owner:)``.
    static func sort(_ rows: some Collection<Int>, of storage: SegmentStorage) -> UnsafeBufferPointer<UInt32> {
        var keyed = rows.map { row in Keyed(prefix: Self.prefix(storage.id(row)), row: UInt32(row)) }
        keyed.sort { (a: Keyed, b: Keyed) -> Bool in
            if a.prefix != b.prefix { return a.prefix < b.prefix }
            return ByteOrder.less(storage.id(Int(a.row)), storage.id(Int(b.row)))
        }
        let sorted = UnsafeMutablePointer<UInt32>.allocate(capacity: max(1, keyed.count))
        for i in keyed.indices { (sorted + i).initialize(to: keyed[i].row) }
        return UnsafeBufferPointer(start: sorted, count: keyed.count)
    }

    /// Big-endian, padded with zeroes: a shorter id sorts before a longer one or is compared in full.
    static func prefix(_ id: UnsafeRawBufferPointer) -> UInt64 {
        if id.count >= 8 { return UInt64(bigEndian: id.loadUnaligned(as: UInt64.self)) }
        var value: UInt64 = 0
        for i in 0..<id.count { value |= UInt64(id[i]) << UInt64(56 - 8 * i) }
        return value
    }

    /// Where ids greater than `after` begin.
    static func position(
        in sorted: UnsafeBufferPointer<UInt32>, after: UnsafeRawBufferPointer?, _ storage: SegmentStorage
    ) -> Int {
        guard let after else { return 0 }
        var low = 0
        var high = sorted.count
        while low < high {
            let middle = (low + high) / 2
            if ByteOrder.less(after, storage.id(Int(sorted[middle]))) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// The order of a segment that still grows: runs of ``runRows`` rows, sorted when a scroll first needs them. The rows after
/// the last full run are the scroll's to look through.
final class IDRuns: Sendable {
    static let runRows = 4096
    private let runs = Mutex<[IDOrder]>([])

    /// All full runs among the first `rows` rows; makes what is missing.
    func full(_ rows: Int, _ storage: SegmentStorage) -> [IDOrder] {
        self.runs.withLock { runs in
            while (runs.count + 1) * Self.runRows <= rows {
                let start = runs.count * Self.runRows
                runs.append(IDOrder(IDOrder.sort(start..<start + Self.runRows, of: storage), owner: nil))
            }
            return runs
        }
    }
}
