internal import VectorKernels

/// Working memory of one search or insertion: visited rows, candidates, measured keys. Made once, reused by one thread at a
/// time; grows to the largest graph and `ef` it has served, and never shrinks.
package final class SearchScratch {
    /// Plain pointers for the loops; valid until the next ``prepare(capacity:candidates:m:book:)``.
    struct Memory {
        /// One byte a row: the number of the walk that met it last. Bytes, for links often lead to rows side by side: setting
        /// their bits in one word would make each wait for the one before.
        let visited: UnsafeMutablePointer<UInt8>
        let visitedBytes: Int
        /// The number of the walk under way, never 0.
        let walk: UnsafeMutablePointer<UInt8>
        /// Rows that may be returned: filter, deletes and row limit in one bitmap.
        var eligible: UnsafeMutablePointer<UInt64>
        /// Sorted candidates, with `VK_POOL_SLACK` words to either side.
        let pool: UnsafeMutablePointer<UInt64>
        /// Rows about to be measured, and what came out.
        let ids: UnsafeMutablePointer<UInt32>
        /// Rows to be measured after those.
        let ahead: UnsafeMutablePointer<UInt32>
        let keys: UnsafeMutablePointer<UInt32>
        let query: UnsafeMutablePointer<vk_query>
        let queryCodes: UnsafeMutablePointer<UInt8>
        /// The query as float16 rows want it.
        let queryFloats: UnsafeMutablePointer<Float>
        /// A row as a query, for comparing rows with one another.
        let other: UnsafeMutablePointer<vk_query>
        /// The query once more, for measuring candidates again.
        let again: UnsafeMutablePointer<vk_query>
        /// The query as sketches want it.
        let sketched: UnsafeMutablePointer<vk_query>
        let sketchPlanes: UnsafeMutablePointer<UInt64>
        /// Neighbours chosen for a new point: `m` a level, and how many.
        let chosen: UnsafeMutablePointer<UInt64>
        let chosenCount: UnsafeMutablePointer<Int>
        /// Lists being worked on: entries, those kept and those passed over.
        let list: UnsafeMutablePointer<UInt64>
        let kept: UnsafeMutablePointer<UInt64>
        let passedOver: UnsafeMutablePointer<UInt64>
        /// The nearest candidates by their floats; slack as `pool`.
        let best: UnsafeMutablePointer<UInt64>
        let keptRows: UnsafeMutablePointer<UInt32>
        /// Keys of a scan, the first ``scannedLimit`` of them.
        let scanned: UnsafeMutablePointer<UInt32>
        let scannedLimit: Int
    }

    /// Rows measured in one call when a scan or a two-hop gathering can fill a batch.
    static let batch = 256
    /// Keys of one scan that are kept: 128 KiB.
    static let scannedMost = 32_768

    private var visited = Block<UInt8>()
    private var walk = Block<UInt8>()
    private var eligible = Block<UInt64>()
    private var pool = Block<UInt64>()
    private var ids = Block<UInt32>()
    private var ahead = Block<UInt32>()
    private var keys = Block<UInt32>()
    private var queryCodes = Block<UInt8>()
    private var queryFloats = Block<Float>()
    private var queries = Block<vk_query>()
    private var sketchPlanes = Block<UInt64>()
    private var chosen = Block<UInt64>()
    private var chosenCount = Block<Int>()
    private var list = Block<UInt64>()
    private var kept = Block<UInt64>()
    private var passedOver = Block<UInt64>()
    private var keptRows = Block<UInt32>()
    private var best = Block<UInt64>()
    private var scanned = Block<UInt32>()

    package init() {}

    deinit {
        self.visited.free()
        self.walk.free()
        self.eligible.free()
        self.pool.free()
        self.ids.free()
        self.ahead.free()
        self.keys.free()
        self.queryCodes.free()
        self.queryFloats.free()
        self.queries.free()
        self.sketchPlanes.free()
        self.chosen.free()
        self.chosenCount.free()
        self.list.free()
        self.kept.free()
        self.passedOver.free()
        self.keptRows.free()
        self.best.free()
        self.scanned.free()
    }

    /// Makes room, and says where everything is.
    ///
    /// - Parameters:
    ///   - capacity: Rows the graph can have.
    ///   - candidates: Entries the pool must hold.
    ///   - m: Links a point above level 0; 0 for a scan.
    ///   - book: How queries become codes; nil when none do.
    func prepare(capacity: Int, candidates: Int, m: Int, book: CodeBook?) -> Memory {
        let words = (capacity + 63) / 64
        let slack = Int(VK_POOL_SLACK)
        self.visited.reserve(capacity)
        self.walk.reserve(1)
        self.eligible.reserve(words)
        self.pool.reserve(candidates + 2 * slack)
        self.ids.reserve(Self.batch + 4 * m + 64 + slack)
        self.ahead.reserve(Self.batch + 4 * m + 64 + slack)
        self.keys.reserve(Self.batch + 4 * m + 64 + slack)
        if let book {
            self.queryCodes.reserve(book.kind.queryStride(dimension: book.dimension))
            self.queryFloats.reserve(HalfRows.stride(dimension: book.dimension))
            self.sketchPlanes.reserve((book.dimension + 63) / 64 * 2)
        }
        self.queries.reserve(4)
        self.chosen.reserve(m * (HNSWGraph.topLevel + 1))
        self.chosenCount.reserve(HNSWGraph.topLevel + 1)
        self.list.reserve(2 * m + 1 + 2 * slack)
        self.kept.reserve(max(2 * m, candidates) + 1)
        self.passedOver.reserve(max(2 * m, candidates) + 1)
        self.keptRows.reserve(max(2 * m, candidates) + 1)
        self.best.reserve(candidates + 2 * slack)
        let scanned = book == nil || book?.kind == CodeKind.none ? 0 : min(capacity, Self.scannedMost)
        self.scanned.reserve(scanned)
        let pool = self.pool.base + slack
        let best = self.best.base + slack
        let list = self.list.base + slack
        for i in 1...slack {
            pool[-i] = 0
            list[-i] = 0
            best[-i] = 0
        }
        return Memory(
            visited: self.visited.base, visitedBytes: self.visited.capacity, walk: self.walk.base,
            eligible: self.eligible.base, pool: pool, ids: self.ids.base,
            ahead: self.ahead.base,
            keys: self.keys.base,
            query: self.queries.base, queryCodes: self.queryCodes.base, queryFloats: self.queryFloats.base,
            other: self.queries.base + 1, again: self.queries.base + 2,
            sketched: self.queries.base + 3, sketchPlanes: self.sketchPlanes.base, chosen: self.chosen.base,
            chosenCount: self.chosenCount.base, list: list,
            kept: self.kept.base, passedOver: self.passedOver.base, best: best, keptRows: self.keptRows.base,
            scanned: self.scanned.base, scannedLimit: scanned)
    }

    /// An array that only grows, zeroed when it does; its contents are not kept.
    private struct Block<Element> {
        private(set) var base = UnsafeMutablePointer<Element>(bitPattern: MemoryLayout<Element>.alignment)!
        private(set) var capacity = 0

        mutating func reserve(_ count: Int) {
            guard count > self.capacity else { return }
            self.free()
            // Half more than asked: a growing shard asks for a little more each time.
            self.capacity = count + count / 2
            let bytes = self.capacity * MemoryLayout<Element>.stride
            let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
            raw.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
            self.base = raw.bindMemory(to: Element.self, capacity: self.capacity)
        }

        mutating func free() {
            if self.capacity > 0 { UnsafeMutableRawPointer(self.base).deallocate() }
            self.capacity = 0
        }
    }
}
