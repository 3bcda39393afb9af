internal import VectorKernels

/// The `k` nearest rows offered so far, over any number of segments. One thread at a time; made once and reused.
///
/// A max-heap while rows are offered; ``sort()`` turns it into the answer. Ties go to the smaller segment, then the smaller
/// row, so the same offers give the same answer in any order.
package final class TopK {
    struct Entry {
        /// Distance key in the high half, segment in the low half: most comparisons end here.
        var order: UInt64
        var row: UInt32

        @inline(__always) static func < (a: Entry, b: Entry) -> Bool {
            a.order != b.order ? a.order < b.order : a.row < b.row
        }
        var neighbour: Neighbour {
            Neighbour(
                distance: vk_distance(UInt32(truncatingIfNeeded: self.order &>> 32)), row: self.row,
                segment: UInt32(truncatingIfNeeded: self.order))
        }
    }

    // One thread at a time, and no call of ours reaches back in: nothing to check at run time.
    @exclusivity(unchecked) private var heap: UnsafeMutablePointer<Entry>
    private var capacity: Int
    @exclusivity(unchecked) package private(set) var k: Int
    @exclusivity(unchecked) package private(set) var count = 0
    @exclusivity(unchecked) private var sorted = true

    /// - Parameter k: Rows wanted, 1 or more.
    package init(k: Int = 10) {
        precondition(k > 0, "the nearest \(k) rows were asked for")
        self.k = k
        self.capacity = k
        self.heap = .allocate(capacity: k)
    }

    deinit { self.heap.deallocate() }

    /// Forgets everything. Allocates only when `k` is larger than ever before.
    package func reset(k: Int) {
        precondition(k > 0, "the nearest \(k) rows were asked for")
        if k > self.capacity {
            self.heap.deallocate()
            self.heap = .allocate(capacity: k)
            self.capacity = k
        }
        self.k = k
        self.count = 0
        self.sorted = true
    }

    package var isFull: Bool { self.count == self.k }

    /// The distance a row must beat to be kept; infinity while there is room.
    package var bound: Float { self.isFull ? self.farthest.neighbour.distance : .infinity }

    /// Keys at or above this cannot enter; `UInt32.max` while there is room.
    var boundKey: UInt32 { self.isFull ? UInt32(truncatingIfNeeded: self.farthest.order &>> 32) : .max }

    private var farthest: Entry { self.sorted ? self.heap[self.count - 1] : self.heap[0] }

    package func offer(_ neighbour: Neighbour) {
        self.offer(key: vk_key(neighbour.distance), row: neighbour.row, segment: neighbour.segment)
    }

    func offer(key: UInt32, row: UInt32, segment: UInt32) {
        if self.sorted { self.heapify() }
        let entry = Entry(order: UInt64(key) &<< 32 | UInt64(segment), row: row)
        let heap = self.heap
        var i: Int
        if self.count < self.k {
            i = self.count
            self.count &+= 1
            while i > 0 {
                let parent = (i &- 1) / 2
                guard heap[parent] < entry else { break }
                heap[i] = heap[parent]
                i = parent
            }
            heap[i] = entry
        } else if entry < heap[0] {
            self.sink(entry, from: 0)
        }
    }

    /// Puts `entry` at `start` or below it, where the heap wants it.
    private func sink(_ entry: Entry, from start: Int) {
        let heap = self.heap
        let count = self.count
        var i = start
        while true {
            var child = 2 &* i &+ 1
            if child >= count { break }
            if child &+ 1 < count, heap[child] < heap[child &+ 1] { child &+= 1 }
            guard entry < heap[child] else { break }
            heap[i] = heap[child]
            i = child
        }
        heap[i] = entry
    }

    private func heapify() {
        // An ascending array reversed is a max-heap.
        var entries = UnsafeMutableBufferPointer(start: self.heap, count: self.count)
        entries.reverse()
        self.sorted = false
    }

    /// Puts the rows in order, nearest first. Offers may go on afterwards.
    package func sort() {
        guard !self.sorted else { return }
        var entries = UnsafeMutableBufferPointer(start: self.heap, count: self.count)
        entries.sort { $0 < $1 }
        self.sorted = true
    }

    /// The `i`-th nearest; ``sort()`` first.
    package subscript(i: Int) -> Neighbour {
        precondition(self.sorted && i < self.count, "neighbour \(i) of \(self.count), sorted \(self.sorted)")
        return self.heap[i].neighbour
    }

    /// Sorts, and gives every row, nearest first.
    package func neighbours() -> [Neighbour] {
        self.sort()
        return (0..<self.count).map { self.heap[$0].neighbour }
    }
}
