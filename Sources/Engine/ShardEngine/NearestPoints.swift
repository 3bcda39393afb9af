/// The `k` nearest rows seen so far, over all segments: a binary heap whose root is the farthest kept.
///
/// Ordered by distance key, then by id: equal distances must fall alike in replicas whose segments differ. Ids are read
/// only when keys are equal.
final class NearestPoints {
    struct Entry {
        /// Order-preserving key of the distance (see `vk_key`).
        var key: UInt32
        var location: Location
    }
    private var entries: UnsafeMutablePointer<Entry>
    private var capacity: Int
    private(set) var limit = 0
    private(set) var count = 0

    init() {
        self.capacity = 16
        self.entries = .allocate(capacity: self.capacity)
    }
    deinit { self.entries.deallocate() }

    /// Empties it for a search of `limit` points, at least 1.
    func reset(limit: Int) {
        if limit > self.capacity {
            self.entries.deallocate()
            self.entries = .allocate(capacity: limit)
            self.capacity = limit
        }
        self.limit = limit
        self.count = 0
    }

    /// Keys above this cannot enter.
    @inline(__always)
    var bound: UInt32 { self.count < self.limit ? UInt32.max : self.entries[0].key }

    @inline(__always)
    func offer(_ key: UInt32, _ location: Location, _ views: SegmentViews) {
        if self.count < self.limit {
            self.entries[self.count] = Entry(key: key, location: location)
            self.count &+= 1
            self.siftUp(views)
        } else if key <= self.entries[0].key {
            let entry = Entry(key: key, location: location)
            if Self.before(entry, self.entries[0], views) {
                self.entries[0] = entry
                self.siftDown(0, self.count, views)
            }
        }
    }

    /// Sorts in place, nearest first. Nothing may be offered after it until ``reset(limit:)``.
    func sort(_ views: SegmentViews) {
        var end = self.count
        while end > 1 {
            end &-= 1
            (self.entries[0], self.entries[end]) = (self.entries[end], self.entries[0])
            self.siftDown(0, end, views)
        }
    }

    @inline(__always) subscript(_ i: Int) -> Entry { self.entries[i] }

    @inline(__always)
    private static func before(_ a: Entry, _ b: Entry, _ views: SegmentViews) -> Bool {
        if a.key != b.key { return a.key < b.key }
        return ByteOrder.less(views.id(a.location), views.id(b.location))
    }

    private func siftUp(_ views: SegmentViews) {
        let entry = self.entries[self.count &- 1]
        var i = self.count &- 1
        while i > 0 {
            let parent = (i &- 1) >> 1
            guard Self.before(self.entries[parent], entry, views) else { break }
            self.entries[i] = self.entries[parent]
            i = parent
        }
        self.entries[i] = entry
    }

    private func siftDown(_ start: Int, _ end: Int, _ views: SegmentViews) {
        let entry = self.entries[start]
        var i = start
        while true {
            var child = 2 &* i &+ 1
            guard child < end else { break }
            if child &+ 1 < end, Self.before(self.entries[child], self.entries[child &+ 1], views) { child &+= 1 }
            guard Self.before(entry, self.entries[child], views) else { break }
            self.entries[i] = self.entries[child]
            i = child
        }
        self.entries[i] = entry
    }
}
