package import Observability
internal import Primitives
internal import Synchronization

/// Answers of searches, for those who ask the same of the same points again.
///
/// The key says what the points are, by the digests of the shards that answer: it changes with every change of a point and with nothing
/// else, so writes to other collections of a partition, which move its offset, cost no answer its place. Nothing is ever removed for
/// being stale; nobody asks by an old digest again.
///
/// Two generations: what was not asked for while one filled up goes with the older one. So a place costs one dictionary's entry and no
/// list of uses.
package final class ResultCache: Sendable {
    private struct State {
        var young: [[UInt8]: [UInt8]] = [:]
        var old: [[UInt8]: [UInt8]] = [:]
        var youngBytes = 0
        var oldBytes = 0
    }
    private let state = Mutex(State())
    /// Of both generations.
    private let limit: Int
    private let metrics: ResultCacheMetrics

    /// Beside key and answer.
    private static let entryBytes = 96

    /// - Parameter bytes: At most, of keys and answers together; above 0.
    package init(bytes: Int, _ metrics: ResultCacheMetrics) {
        precondition(bytes > 0)
        self.limit = bytes
        self.metrics = metrics
    }

    package func find(_ key: [UInt8]) -> [UInt8]? {
        let found = self.state.withLock { state -> [UInt8]? in
            if let found = state.young[key] { return found }
            guard let found = state.old.removeValue(forKey: key) else { return nil }
            state.oldBytes -= Self.size(key, found)
            self.add(key, found, &state)
            return found
        }
        (found == nil ? self.metrics.misses : self.metrics.hits).increment()
        return found
    }

    /// What takes more than a sixteenth of all is not kept.
    package func insert(_ key: [UInt8], _ answer: [UInt8]) {
        guard Self.size(key, answer) <= self.limit / 16 else { return }
        let bytes = self.state.withLock { state in
            self.add(key, answer, &state)
            return state.youngBytes + state.oldBytes
        }
        self.metrics.bytes.set(bytes)
    }

    private func add(_ key: [UInt8], _ answer: [UInt8], _ state: inout State) {
        let size = Self.size(key, answer)
        if state.youngBytes + size > self.limit / 2 {
            state.old = state.young
            state.oldBytes = state.youngBytes
            state.young = [:]
            state.youngBytes = 0
        }
        if let before = state.young.updateValue(answer, forKey: key) { state.youngBytes -= Self.size(key, before) }
        state.youngBytes += size
    }

    private static func size(_ key: [UInt8], _ answer: [UInt8]) -> Int { key.count + answer.count + Self.entryBytes }
}

/// Of a result cache.
package struct ResultCacheMetrics: Sendable {
    package let hits: Counter
    package let misses: Counter
    package let bytes: Gauge

    package init(_ registry: MetricsRegistry) {
        let lookups = registry.counter(
            "vecraft_query_result_cache_lookups_total", help: "Searches looked up in the result cache, by outcome.",
            labels: ["outcome"])
        self.hits = lookups.with("hit")
        self.misses = lookups.with("miss")
        self.bytes = registry.gauge(
            "vecraft_query_result_cache_bytes", help: "Bytes of keys and answers in the result cache.")
    }
}
