import Filter
import Primitives
import Testing

@testable import Wire

@Suite struct ConversionTests {
    static func fault<R>(_ body: () throws(VecraftError) -> R) -> VecraftError? {
        do throws(VecraftError) {
            _ = try body()
            return nil
        } catch {
            return error
        }
    }

    // MARK: Filter

    @Test func filtersBothWays() throws {
        let filter = Filter(
            must: [
                .match("lang", .string("de")), .matchAny("n", [.integer(1), .float(1.5), .bool(false), .string("")]),
                .matchExcept("n", []), .range("x.y", NumericRange(gt: .double(1), lte: .double(2.5))),
            ],
            should: [.isNull("k"), .hasID(["a", "b"]), .filter(Filter(must: [.filter(Filter())]))],
            mustNot: [.match("b", .bool(true))])
        let wire = VecraftV1.Filter(filter)
        #expect(try Filter(wire: wire) == filter)
        #expect(try Filter(wire: VecraftV1.Filter.decode(wire.encode())) == filter)
        // The JSON of the two layers is one language.
        #expect(try Filter(json: JSONValue(parsing: wire.json())) == filter)
        #expect(try Filter(wire: VecraftV1.Filter(json: filter.json.encoded())) == filter)
    }

    @Test func filterMistakesAreNamed() {
        typealias F = VecraftV1.Filter
        func field(_ filter: F) -> String? { Self.fault { () throws(VecraftError) in try Filter(wire: filter) }?.field }
        #expect(field(F(must: [.init()])) == "filter.must[0]")
        #expect(field(F(should: [.init(key: "a", test: .match(.init()))])) == "filter.should[0].match")
        #expect(
            field(F(mustNot: [.init(key: "a", test: .match(.init(kind: .value(.init()))))]))
                == "filter.must_not[0].match.value")
        let one = VecraftV1.Value(kind: .integerValue(1))
        #expect(
            field(F(must: [.init(key: "a", test: .match(.init(kind: .any(.init(values: [one, .init()])))))]))
                == "filter.must[0].match.any[1]")
        #expect(field(F(must: [.init(key: "a", test: .range(.init()))])) == "filter.must[0].range")
        #expect(
            field(F(must: [.init(key: "a", test: .range(.init(gt: .init(value: .nan))))])) == "filter.must[0].range.gt")
        #expect(field(F(must: [.init(key: "a", test: .isNull(.init(key: "b")))])) == "filter.must[0].key")
        #expect(field(F(must: [.init(test: .isNull(.init()))])) == "filter.must[0].key")
        #expect(field(F(must: [.init(test: .filter(F(must: [.init()])))])) == "filter.must[0].filter.must[0]")
        #expect(field(F(must: .init(repeating: .init(test: .isNull(.init(key: "a"))), count: 257))) == "filter.must")
        let many = VecraftV1.Strings(values: .init(repeating: "a", count: Limits.filterValues + 1))
        #expect(field(F(must: [.init(test: .hasID(many))])) == "filter.must[0].has_id")
        var deep = F()
        for _ in 0..<Limits.filterDepth { deep = F(must: [.init(test: .filter(deep))]) }
        #expect(field(deep)?.hasPrefix("filter.must[0].filter.must[0]") == true)
    }

    // MARK: Collections

    static let config = VecraftV1.CollectionConfig(vector: .init(dimension: 4, distance: .cosine))

    static func schema(
        _ change: (inout VecraftV1.CollectionConfig) -> Void, name: String = "docs"
    ) throws(VecraftError) -> CollectionSchema {
        var config = Self.config
        change(&config)
        return try CollectionSchema(wire: config, id: 7, tenant: "default", name: name)
    }

    @Test func schemasBothWays() throws {
        let schema = try Self.schema {
            $0.vectors = [
                "b": .init(dimension: 16_384, distance: .l2, hnsw: .init(m: 64, efConstruction: 2000)),
                "a": .init(dimension: 1, distance: .dot),
            ]
            $0.payloadIndexes = [.init(field: "a.b", type: .keyword), .init(field: "n", type: .bool)]
        }
        #expect(schema.vectors.map(\.name) == ["", "a", "b"])
        #expect(schema.vectors.map(\.metric) == [.cosine, .dot, .l2])
        #expect(schema.vectors.map(\.m) == [16, 16, 64])
        #expect(schema.vectors.map(\.efConstruction) == [200, 200, 2000])
        #expect(schema.payloadIndexes == [.init(path: "a.b", type: .keyword), .init(path: "n", type: .bool)])
        #expect(schema.shards == 1 && schema.id == 7)
        let back = try CollectionSchema(
            wire: VecraftV1.CollectionConfig(schema), id: 7, tenant: "default", name: "docs")
        #expect(back == schema)
    }

    @Test func schemaLimits() {
        func field(_ change: (inout VecraftV1.CollectionConfig) -> Void) -> String? {
            Self.fault { () throws(VecraftError) in try Self.schema(change) }?.field
        }
        #expect(field { _ in } == nil)
        #expect(field { $0.vector = nil } == "config")
        #expect(field { $0.vector?.dimension = 0 } == "config.vector.dimension")
        #expect(field { $0.vector?.dimension = 16_385 } == "config.vector.dimension")
        #expect(field { $0.vector?.distance = .unspecified } == "config.vector.distance")
        #expect(field { $0.vector?.distance = .init(rawValue: 260) } == "config.vector.distance")
        for m: UInt32 in [1, 65] { #expect(field { $0.vector?.hnsw = .init(m: m) } == "config.vector.hnsw.m") }
        for ef: UInt32 in [7, 2001] {
            #expect(field { $0.vector?.hnsw = .init(efConstruction: ef) } == "config.vector.hnsw.ef_construction")
        }
        #expect(field { $0.vectors = ["t": .init(dimension: 0, distance: .dot)] } == "config.vectors.t.dimension")
        #expect(field { $0.vectors = ["": .init(dimension: 1, distance: .dot)] } == "config.vectors")
        #expect(field { $0.vectors = ["a.b": .init(dimension: 1, distance: .dot)] } == "config.vectors")
        #expect(
            field { for i in 0..<17 { $0.vectors["v\(i)"] = .init(dimension: 1, distance: .dot) } } == "config.vectors")
        // The unnamed vector is there already: fifteen more fit.
        #expect(
            field { for i in 0..<16 { $0.vectors["v\(i)"] = .init(dimension: 1, distance: .dot) } } == "config.vectors")
        #expect(field { for i in 0..<15 { $0.vectors["v\(i)"] = .init(dimension: 1, distance: .dot) } } == nil)
        #expect(field { $0.payloadIndexes = [.init(field: "", type: .bool)] } == "config.payload_indexes[0].field")
        #expect(
            field { $0.payloadIndexes = [.init(field: "a", type: .unspecified)] } == "config.payload_indexes[0].type")
        #expect(
            field { $0.payloadIndexes = [.init(field: "a", type: .bool), .init(field: "a", type: .float)] }
                == "config.payload_indexes[1].field")
        #expect(
            field { $0.payloadIndexes = (0..<65).map { .init(field: "f\($0)", type: .bool) } }
                == "config.payload_indexes")
        #expect(field { $0.shards = 3 } == "config.shards")
        #expect(field { $0.shards = 128 } == "config.shards")
        #expect(field { $0.shards = 64 } == nil)
        for name in ["", ".a", "-a", "a b", "é", String(repeating: "a", count: 65)] {
            #expect(Self.fault { () throws(VecraftError) in try Self.schema({ _ in }, name: name) }?.field == "name")
        }
        for name in ["a", "0.b_C-d", String(repeating: "a", count: 64)] {
            #expect(Self.fault { () throws(VecraftError) in try Self.schema({ _ in }, name: name) } == nil)
        }
    }

    // MARK: Enums

    @Test func namesAgree() throws {
        for metric in Metric.allCases {
            #expect("\(VecraftV1.Distance(metric))" == "\(metric)")
            #expect(Metric(wire: VecraftV1.Distance(metric)) == metric)
        }
        for level in ConsistencyLevel.allCases {
            #expect("\(VecraftV1.ConsistencyLevel(level))" == level.name)
            #expect(try ConsistencyLevel(wire: VecraftV1.ConsistencyLevel(level)) == level)
        }
        #expect(try ConsistencyLevel(wire: .unspecified) == .readYourWrites)
        #expect(
            Self.fault { () throws(VecraftError) in try ConsistencyLevel(wire: .init(rawValue: 9)) }?.field
                == "read.consistency")
        for type in PayloadFieldType.allCases {
            #expect("\(VecraftV1.FieldType(rawValue: Int32(type.rawValue)))" == "\(type)")
        }
    }
}

extension ConversionTests {
    // MARK: Vectors

    @Test func componentsInEitherForm() throws {
        let arena = Arena()
        func components(_ vector: VecraftV1.Vector, _ dimension: Int = 2) throws(VecraftError) -> [Float] {
            let view = try decodeView(VecraftV1.Vector.View.self, vector.encode(), arena)
            return Array(try view.components(dimension: dimension, at: "vector"))
        }
        let packed: [UInt8] = [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]
        #expect(try components(.init(values: [1, -2])) == [1, -2])
        #expect(try components(.init(packed: packed)) == [1, -2])
        #expect(Self.fault { () throws(VecraftError) in try components(.init(values: [1, 2], packed: packed)) } != nil)
        #expect(
            Self.fault { () throws(VecraftError) in try components(.init(packed: [0, 0, 0])) }?.field == "vector.packed"
        )
        #expect(
            Self.fault { () throws(VecraftError) in try components(.init(values: [1])) }?.message
                == "vector: has 1 components; the collection's vector has 2")
        for bad in [Float.nan, .infinity, -.infinity, -.nan] {
            for at in 0..<9 {
                var values = [Float](repeating: -.greatestFiniteMagnitude, count: 9)
                #expect(try components(.init(values: values), 9) == values)
                values[at] = bad
                #expect(
                    Self.fault { () throws(VecraftError) in try components(.init(values: values), 9) }?.field
                        == "vector")
            }
        }
    }

    // MARK: Errors

    @Test func richStatusBothWays() throws {
        let errors = [
            VecraftError(.resourceExhausted, "full", reason: "DISK_FULL", retryAfter: .milliseconds(1500)),
            VecraftError.invalid("points[3].vector", "too long"), VecraftError(.notFound, "no such collection"),
        ]
        for error in errors {
            // The status line itself carries code and message.
            var read = VecraftError(error.code, error.message)
            StatusDetails.decode(try #require(StatusDetails.encode(error)), into: &read)
            #expect(read == error)
        }
        var untouched = VecraftError(.unknown, "?")
        StatusDetails.decode([0xff], into: &untouched)
        #expect(untouched == VecraftError(.unknown, "?"))
    }
}
