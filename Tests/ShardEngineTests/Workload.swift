import Filter
import JournalFormat
import Primitives

/// A point as a client wrote it.
struct Point: Equatable {
    var id: String
    var vectors: [String: [Float]]
    var payload: [UInt8]?
}

enum Operation {
    case upsert([Point])
    case delete([String])
    case deleteByFilter(Filter)
    case barrier
}

/// A journal of one shard, drawn by seed. Entry `i` has offset `i + 1`.
struct Workload {
    static let fields: [PayloadIndexField] = [
        PayloadIndexField(path: "city", type: .keyword), PayloadIndexField(path: "n", type: .integer),
        PayloadIndexField(path: "tags", type: .keyword), PayloadIndexField(path: "on", type: .bool),
    ]
    static let cities = ["Ulm", "Köln", "Bern", "Wien", "Graz"]

    let schema: CollectionSchema
    private(set) var operations: [Operation] = []
    private(set) var entries: [EncodedEntry] = []
    var rng: SeededRNG
    /// Ids in use: few, so that points are often replaced.
    var idPool: Int
    var dimension: Int { self.schema.vectors[0].dimension }

    init(seed: UInt64, dimension: Int = 8, metric: Metric = .cosine, extra: Bool = true, idPool: Int = 150,
        quantisation: Quantisation = .auto
    ) {
        self.rng = SeededRNG(seed: seed)
        self.idPool = idPool
        var vectors = [VectorSchema(dimension: dimension, metric: metric, m: 6, efConstruction: 40, quantisation: quantisation)]
        if extra {
            vectors.append(VectorSchema(name: "title", dimension: 5, metric: .l2, m: 4, efConstruction: 32))
            vectors.append(VectorSchema(name: "z", dimension: 20, metric: .dot, m: 8, efConstruction: 32))
        }
        self.schema = CollectionSchema(
            id: 77, tenant: "default", name: "c", vectors: vectors, payloadIndexes: Self.fields)
    }

    // MARK: Drawing

    mutating func float() -> Float { Float(Int.random(in: -1000...1000, using: &self.rng)) / 250 }
    mutating func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &self.rng) == 0 }
    mutating func pick<T>(_ list: [T]) -> T { list.randomElement(using: &self.rng)! }

    mutating func vector(_ schema: VectorSchema) -> [Float] {
        while true {
            // Now and then one of few vectors, so that distances are equal.
            let vector = self.chance(4)
                ? [Float](repeating: Float(Int.random(in: 1...3, using: &self.rng)), count: schema.dimension)
                : (0..<schema.dimension).map { _ in self.float() }
            if vector.contains(where: { $0 != 0 }) { return vector }
        }
    }

    mutating func id() -> String {
        let number = Int.random(in: 0..<self.idPool, using: &self.rng)
        // Ids of several lengths, some the prefix of others.
        return number % 7 == 0 ? "p\(number)" : number % 7 == 1 ? "point/\(number)/é" : "id-\(number)"
    }

    mutating func payload() -> [UInt8]? {
        if self.chance(12) { return nil }
        var members: [JSONMember] = []
        if !self.chance(6) { members.append(JSONMember("city", .string(self.pick(Self.cities)))) }
        if !self.chance(6) { members.append(JSONMember("n", .integer(Int64.random(in: -5...20, using: &self.rng)))) }
        if !self.chance(3) {
            let tags = (0..<Int.random(in: 0...3, using: &self.rng)).map { _ in JSONValue.string(self.pick(["a", "b", "c"])) }
            members.append(JSONMember("tags", .array(tags)))
        }
        if self.chance(2) { members.append(JSONMember("on", .bool(self.chance(2)))) }
        members.append(JSONMember("free", .integer(Int64.random(in: 0...9, using: &self.rng))))
        return JSONValue.object(members).encoded()
    }

    mutating func point(id: String? = nil) -> Point {
        var vectors: [String: [Float]] = [:]
        for schema in self.schema.vectors where !self.chance(6) || self.schema.vectors.count == 1 {
            vectors[schema.name] = self.vector(schema)
        }
        let id = id ?? self.id()
        return Point(id: id, vectors: vectors, payload: self.payload())
    }

    mutating func filter() -> Filter {
        func condition(_ workload: inout Workload) -> Filter.Condition {
            switch Int.random(in: 0..<7, using: &workload.rng) {
            case 0: return .match("city", .string(workload.pick(Self.cities)))
            case 1: return .matchAny("tags", [.string("a"), .string("c")])
            case 2: return .range("n", NumericRange(gte: .integer(Int64.random(in: -5...20, using: &workload.rng))))
            case 3: return .match("free", .integer(Int64.random(in: 0...9, using: &workload.rng)))
            case 4: return .isNull(workload.pick(["city", "tags", "nowhere"]))
            case 5: return .hasID([workload.id(), workload.id(), workload.id()])
            default: return .matchExcept("city", [.string(workload.pick(Self.cities))])
            }
        }
        var filter = Filter()
        for _ in 0..<Int.random(in: 1...2, using: &self.rng) { filter.must.append(condition(&self)) }
        if self.chance(4) { filter.mustNot.append(condition(&self)) }
        if self.chance(4) { filter.should = [condition(&self), condition(&self)] }
        return filter
    }

    // MARK: Writing

    /// One more random entry.
    mutating func write() {
        switch Int.random(in: 0..<20, using: &self.rng) {
        case 0...13: self.upsert((0..<Int.random(in: 1...12, using: &self.rng)).map { _ in self.point() })
        case 14...17: self.append(.delete((0..<Int.random(in: 1...6, using: &self.rng)).map { _ in self.id() }))
        case 18:
            // Narrow, or little would be left.
            var filter = self.filter()
            filter.must.append(.match("free", .integer(Int64.random(in: 0...9, using: &self.rng))))
            self.append(.deleteByFilter(filter))
        default: self.append(.barrier)
        }
    }

    mutating func upsert(_ points: [Point]) { self.append(.upsert(points)) }

    mutating func append(_ operation: Operation) {
        self.operations.append(operation)
        self.entries.append(Self.encode(operation, self.schema, offset: JournalOffset(self.operations.count)))
    }

    static func hlc(_ offset: JournalOffset) -> HLCTimestamp { HLCTimestamp(milliseconds: 1_700_000_000_000 + offset, counter: 0) }

    static func encode(
        _ operation: Operation, _ schema: CollectionSchema, offset: JournalOffset
    ) -> EncodedEntry {
        func header(_ kind: OperationKind) -> EntryHeader {
            EntryHeader(
                partition: .data(0), tier: .interactive, operation: kind, tenant: "default", collection: schema.id,
                shard: 0, requestID: "r\(offset)", trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true))
        }
        var entry: EncodedEntry
        switch operation {
        case .upsert(let points):
            var size = UpsertSizer()
            for point in points {
                size.point(idBytes: point.id.utf8.count, payloadBytes: point.payload?.count)
                for (name, vector) in point.vectors { size.vector(nameBytes: name.utf8.count, dimension: vector.count) }
            }
            entry = EncodedEntry.upsert(header: header(.upsert), size: size) { writer in
                for point in points {
                    let id = [UInt8](point.id.utf8)
                    id.withUnsafeBytes { id in
                        if let payload = point.payload {
                            payload.withUnsafeBytes { writer.point(id: id, payload: $0, vectors: point.vectors.count) }
                        } else {
                            writer.point(id: id, payload: nil, vectors: point.vectors.count)
                        }
                    }
                    for (name, vector) in point.vectors {
                        [UInt8](name.utf8).withUnsafeBytes { name in
                            vector.withUnsafeBufferPointer { writer.vector(name: name, values: $0) }
                        }
                    }
                }
            }
        case .delete(let ids): entry = EncodedEntry.delete(header: header(.delete), ids: ids)
        case .deleteByFilter(let filter):
            entry = filter.encoded().withUnsafeBytes {
                EncodedEntry.deleteByFilter(header: header(.deleteByFilter), filter: $0)
            }
        case .barrier: entry = EncodedEntry.raw(header: header(.barrier), body: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        let hlc = Self.hlc(offset)
        entry.stamp(offset: offset, term: 1, hlc: hlc, appended: (hlc, hlc))
        return entry
    }
}
