import HNSW
import PayloadIndex
import Primitives
import Synchronization

/// Working memory of one read, kept from one to the next so that a search allocates only its answer. One thread at a time.
final class SearchContext {
    static let blockRows = 256

    let scratch = SearchScratch()
    let top = TopK()
    let nearest = NearestPoints()
    var filterScratch = FilterScratch()
    /// Rows of the segment in hand that the filter matches.
    var matching = Bitmap()
    /// Rows to measure next, and their distance keys.
    let block = UnsafeMutablePointer<UInt32>.allocate(capacity: SearchContext.blockRows)
    let keys = UnsafeMutablePointer<UInt32>.allocate(capacity: SearchContext.blockRows)
    private(set) var query: UnsafeMutablePointer<Float>
    private var queryCapacity = 0

    init() { self.query = .allocate(capacity: 1) }

    deinit {
        self.block.deallocate()
        self.keys.deallocate()
        self.query.deallocate()
    }

    /// 64-byte aligned, padded with zeroes to a multiple of 16 floats.
    func reserveQuery(_ dimension: Int) {
        let padded = (dimension + 15) / 16 * 16
        if padded > self.queryCapacity {
            self.query.deallocate()
            self.query = UnsafeMutableRawPointer.allocate(byteCount: padded * 4, alignment: 64)
                .bindMemory(to: Float.self, capacity: padded)
            self.queryCapacity = padded
        }
        for i in dimension..<padded { self.query[i] = 0 }
    }
}

/// Contexts at rest.
///
/// `@unchecked Sendable`: a context is in the pool or in one thread's hands.
final class SearchContextPool: @unchecked Sendable {
    private struct Idle: @unchecked Sendable { var contexts: [SearchContext] = [] }  // see above
    private let idle = Mutex(Idle())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func take() -> SearchContext {
        self.idle.withLock { idle in
            nonisolated(unsafe) let context = idle.contexts.popLast()
            return context
        } ?? SearchContext()
    }

    func give(_ context: SearchContext) {
        nonisolated(unsafe) let context = context
        self.idle.withLock { idle in
            if idle.contexts.count < self.limit { idle.contexts.append(context) }
        }
    }
}
