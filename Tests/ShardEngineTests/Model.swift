import Filter
import Primitives

/// The slow, honest shard: a dictionary, judged by definition.
struct Model {
    struct Stored {
        var point: Point
        var version: HLCTimestamp
    }
    let schema: CollectionSchema
    private(set) var points: [String: Stored] = [:]
    private(set) var applied: JournalOffset = 0

    init(_ schema: CollectionSchema) { self.schema = schema }

    /// After the first `count` entries of a journal.
    init(_ workload: Workload, through count: JournalOffset) {
        self.init(workload.schema)
        self.apply(workload, through: count)
    }

    mutating func apply(_ workload: Workload, through offset: JournalOffset) {
        while self.applied < offset {
            let version = Workload.hlc(self.applied + 1)
            switch workload.operations[Int(self.applied)] {
            case .upsert(let points): for point in points { self.points[point.id] = Stored(point: point, version: version) }
            case .delete(let ids): for id in ids { self.points[id] = nil }
            case .deleteByFilter(let filter): for id in self.matching(filter) { self.points[id] = nil }
            case .barrier: break
            }
            self.applied += 1
        }
    }

    func matches(_ filter: Filter?, _ stored: Stored) -> Bool {
        guard let filter else { return true }
        guard let payload = stored.point.payload else { return filter.matches(id: stored.point.id, payload: nil) }
        return payload.withUnsafeBytes { filter.matches(id: stored.point.id, payload: $0) }
    }

    /// Sorted by the bytes of the id.
    func matching(_ filter: Filter?) -> [String] {
        self.points.values.filter { self.matches(filter, $0) }.map(\.point.id)
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Every match that has the vector, nearest first, in double precision.
    func distances(_ query: [Float], using name: String, _ filter: Filter?) -> [(id: String, distance: Double)] {
        let metric = self.schema.vectors.first { $0.name == name }!.metric
        return self.points.values.filter { self.matches(filter, $0) }.compactMap { stored in
            stored.point.vectors[name].map { (stored.point.id, Self.distance(query, $0, metric)) }
        }.sorted { $0.1 < $1.1 }
    }

    static func distance(_ a: [Float], _ b: [Float], _ metric: Metric) -> Double {
        func dot(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
        switch metric {
        case .cosine: return 1 - dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()
        case .dot: return 1 - dot(a, b)
        case .l2: return zip(a, b).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
        }
    }
}
