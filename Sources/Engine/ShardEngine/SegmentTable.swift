/// Where each segment's rows lie, by slot: all that an id comparison needs, without touching a class.
///
/// A merged segment's slot stays for a while as a forwarding address, until its entries of the id map have been moved over
/// in small steps. Guarded by the shard's lock.
final class SegmentTable {
    private(set) var views: SegmentViews
    /// The segment in each slot; nil for free and forwarding slots.
    private(set) var segments: [Segment?] = []
    private var capacity = 16

    init() { self.views = SegmentViews(base: .allocate(capacity: 16)) }
    deinit { self.views.base.deallocate() }

    /// Gives the segment a free slot.
    func add(_ segment: Segment) {
        let view = SegmentViews.View(rows: UnsafePointer(segment.storage.rows), heap: UnsafeRawPointer(segment.storage.heap))
        if let free = self.segments.indices.first(where: { self.segments[$0] == nil && !self.views.base[$0].isForward }) {
            self.views.base[free] = view
            self.segments[free] = segment
            segment.slot = UInt32(free)
            return
        }
        let count = self.segments.count
        if count == self.capacity {
            let larger = UnsafeMutablePointer<SegmentViews.View>.allocate(capacity: self.capacity * 2)
            larger.moveInitialize(from: self.views.base, count: count)
            self.views.base.deallocate()
            self.views = SegmentViews(base: larger)
            self.capacity *= 2
        }
        (self.views.base + count).initialize(to: view)
        self.segments.append(segment)
        segment.slot = UInt32(count)
    }

    /// The same rows under the same slot, lying elsewhere.
    func replace(_ old: Segment, by new: Segment) {
        new.slot = old.slot
        self.segments[Int(old.slot)] = new
        self.views.base[Int(old.slot)].rows = UnsafePointer(new.storage.rows)
        self.views.base[Int(old.slot)].heap = UnsafeRawPointer(new.storage.heap)
    }

    /// The segment is gone; each of its rows is now the row of `target` that `rows` says. `rows` must live until
    /// ``release(_:)``.
    func forward(_ segment: Segment, to target: Segment, _ rows: UnsafePointer<UInt32>) {
        self.segments[Int(segment.slot)] = nil
        self.views.base[Int(segment.slot)] = SegmentViews.View(forward: rows, forwardSlot: target.slot)
    }

    func release(_ slot: UInt32) {
        self.segments[Int(slot)] = nil
        self.views.base[Int(slot)] = SegmentViews.View()
    }
}

/// The raw table behind ``SegmentTable``; valid while the shard's lock is held.
struct SegmentViews {
    struct View {
        var rows: UnsafePointer<RowRecord>?
        var heap: UnsafeRawPointer?
        /// The new row of each row; ``gone`` for rows that were deleted before the merge.
        var forward: UnsafePointer<UInt32>?
        var forwardSlot: UInt32 = 0

        var isForward: Bool { self.forward != nil }
    }
    static let gone = UInt32.max

    let base: UnsafeMutablePointer<View>

    /// Where a location taken from the id map lies now.
    @inline(__always)
    func resolve(_ location: Location) -> Location {
        let view = self.base + Int(location.slot)
        guard let forward = view.pointee.forward else { return location }
        return Location(slot: view.pointee.forwardSlot, row: forward[Int(location.row)])
    }

    /// Of a resolved location.
    @inline(__always)
    func record(_ location: Location) -> UnsafePointer<RowRecord> {
        self.base[Int(location.slot)].rows! + Int(location.row)
    }

    @inline(__always)
    func id(_ location: Location) -> UnsafeRawBufferPointer {
        let view = self.base + Int(location.slot)
        return view.pointee.rows![Int(location.row)].id(in: view.pointee.heap!)
    }

    /// Whether an entry of the id map is the point of this id.
    @inline(__always)
    func matches(_ location: Location, _ id: UnsafeRawBufferPointer) -> Bool {
        ByteOrder.equal(self.id(self.resolve(location)), id)
    }
}
