import Filter
import PayloadIndex
import Primitives
import Testing

/// A segment as the engine would have it: payloads beside an index.
struct Segment {
    var payloads: [[UInt8]?] = []
    /// The payloads parsed, for the model: once, not once a filter.
    var trees: [JSONValue] = []
    var index: SegmentPayloadIndex

    init(fields: [PayloadIndexField] = RandomPoints.fields) { self.index = SegmentPayloadIndex(fields: fields) }

    mutating func add(_ payload: [UInt8]?) {
        let row = UInt32(self.payloads.count)
        self.payloads.append(payload)
        self.trees.append(Self.tree(payload))
        if let payload {
            payload.withUnsafeBytes { self.index.add(row: row, payload: $0) }
        } else {
            self.index.add(row: row, payload: nil)
        }
    }

    mutating func replace(_ row: Int, _ payload: [UInt8]?) {
        self.payloads[row] = payload
        self.trees[row] = Self.tree(payload)
        self.index.markStale(UInt32(row))
    }

    static func tree(_ payload: [UInt8]?) -> JSONValue {
        payload.flatMap { try? JSONValue(parsing: $0) } ?? .object([])
    }

    func rows(_ filter: Filter, reads: inout Int) -> [Int] {
        var result = Bitmap()
        // Payloads must stay where they are while evaluation reads them.
        let buffers = self.payloads.map { payload in
            payload.map { bytes in
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 8)
                copy.copyBytes(from: bytes)
                return UnsafeRawBufferPointer(rebasing: copy[..<bytes.count])
            }
        }
        defer { for buffer in buffers { buffer?.deallocate() } }
        var count = 0
        self.index.evaluate(
            CompiledFilter(filter, fields: self.index.fields), rows: self.payloads.count,
            payloadOf: { row in
                count += 1
                return buffers[Int(row)]
            },
            idRows: { id in UInt32(id.dropFirst()).flatMap { $0 < self.payloads.count ? $0 : nil } }, into: &result)
        reads += count
        var rows: [Int] = []
        result.forEach { rows.append($0) }
        return rows
    }

    func rows(_ filter: Filter) -> [Int] {
        var reads = 0
        return self.rows(filter, reads: &reads)
    }

    func honestRows(_ filter: Filter) -> [Int] {
        self.trees.indices.filter { filter.matches(id: "p\($0)", json: self.trees[$0]) }
    }

    func estimate(_ filter: Filter) -> CardinalityEstimate {
        self.index.estimate(self.index.compile(filter), rows: self.payloads.count)
    }
}

@Suite struct PayloadIndexTests {
    private static func check(_ segment: Segment, _ filter: Filter, _ note: String) {
        let expected = segment.honestRows(filter)
        let rows = segment.rows(filter)
        #expect(rows == expected, "\(note): \(String(decoding: filter.json.encoded(), as: UTF8.self))")
        let estimate = segment.estimate(filter)
        #expect(
            (estimate.lower...estimate.upper).contains(expected.count) && (estimate.lower...estimate.upper).contains(estimate.expected),
            "\(note): \(estimate), truly \(expected.count): \(String(decoding: filter.json.encoded(), as: UTF8.self))")
        let compiled = segment.index.compile(filter)
        for row in stride(from: 0, to: segment.payloads.count, by: 7) {
            let id = Array("p\(row)".utf8)
            let alone = id.withUnsafeBytes { id in
                guard let payload = segment.payloads[row] else { return compiled.matches(id: id, payload: nil) }
                return payload.withUnsafeBytes { compiled.matches(id: id, payload: $0) }
            }
            let fromBytes = segment.payloads[row].map { payload in
                payload.withUnsafeBytes { filter.matches(id: "p\(row)", payload: $0) }
            } ?? filter.matches(id: "p\(row)", payload: nil)
            if alone != expected.contains(row) || fromBytes != alone {
                Issue.record("\(note), row \(row): \(String(decoding: filter.json.encoded(), as: UTF8.self))")
            }
        }
    }

    /// The promise of the module: growing, sealed, stored and read back, with replaced payloads, the answers are the model's.
    @Test(arguments: 0..<24 as Range<UInt64>) func answersAsTheFilterItself(seed: UInt64) throws {
        var random = RandomPoints(seed: seed)
        var segment = Segment()
        let count = [0, 1, 63, 64, 65, 150][Int(seed % 6)]
        for _ in 0..<count { segment.add(random.payload()) }
        let filters = (0..<60).map { _ in random.filter(depth: 2, rows: max(count, 1)) }
        for filter in filters { Self.check(segment, filter, "seed \(seed), growing") }

        var sealed = segment
        sealed.index = segment.index.sealed()
        for filter in filters.prefix(40) { Self.check(sealed, filter, "seed \(seed), sealed") }

        var stored = segment
        stored.index = try segment.index.serialised().withUnsafeBytes { try SegmentPayloadIndex(deserialising: $0) }
        #expect(stored.index.fields == segment.index.fields && stored.index.rowCount == segment.index.rowCount)
        if count > 0 {
            for _ in 0..<5 { stored.replace(Int.random(in: 0..<count, using: &random.rng), random.payload()) }
        }
        for filter in filters.prefix(40) { Self.check(stored, filter, "seed \(seed), stored, replaced") }
        // Stale rows are part of what is stored.
        var again = stored
        again.index = try stored.index.serialised().withUnsafeBytes { try SegmentPayloadIndex(deserialising: $0) }
        #expect(again.index.staleCount == stored.index.staleCount)
        for filter in filters.prefix(20) { Self.check(again, filter, "seed \(seed), stored twice") }
    }

    /// Large enough for chunks, bitmaps of frequent terms, sorted blocks and buckets.
    @Test func answersAlikeWhenLarge() throws {
        var rng = SeededRNG(seed: 99)
        let fields = [
            PayloadIndexField(path: "common", type: .keyword), PayloadIndexField(path: "rare", type: .keyword),
            PayloadIndexField(path: "n", type: .integer), PayloadIndexField(path: "x", type: .float),
            PayloadIndexField(path: "b", type: .bool),
        ]
        var segment = Segment(fields: fields)
        for row in 0..<9_000 {
            let common = Int.random(in: 0..<10, using: &rng) == 0 ? "seldom" : "usual"
            let tags = (0..<Int.random(in: 0...3, using: &rng)).map { _ in "\"t\(Int.random(in: 0..<700, using: &rng))\"" }
            let n = Int.random(in: 0..<2_000, using: &rng)
            let x = Double.random(in: -1...1, using: &rng)
            segment.add(
                Array(
                    #"{"common":"\#(common)","rare":[\#(tags.joined(separator: ","))],"n":[\#(n),\#(n + 1)],"x":\#(x),"b":\#(row % 3 == 0)}"#
                        .utf8))
        }
        let filters: [Filter] = [
            Filter(must: [.match("common", .string("usual"))]), Filter(must: [.match("common", .string("seldom"))]),
            Filter(must: [.match("rare", .string("t5"))]), Filter(must: [.match("rare", .string("nowhere"))]),
            Filter(must: [.matchAny("rare", (0..<200).map { .string("t\($0)") })]),
            Filter(must: [.range("n", NumericRange(gte: 100, lt: 1_900))]), Filter(must: [.range("n", NumericRange(gt: 500, lte: 501))]),
            Filter(must: [.range("x", NumericRange(gt: -0.9))]), Filter(must: [.range("x", NumericRange(gt: 0.1, lt: 0.11))]),
            Filter(must: [.match("n", .float(700))]), Filter(must: [.match("b", .bool(true)), .range("x", NumericRange(lt: 0))]),
            Filter(should: [.match("rare", .string("t1")), .range("n", NumericRange(lt: 10))], mustNot: [.match("b", .bool(true))]),
            Filter(must: [.isNull("rare")]), Filter(mustNot: [.match("common", .string("usual"))]),
        ]
        func check(_ segment: Segment, _ note: String) {
            for filter in filters {
                var reads = 0
                #expect(segment.rows(filter, reads: &reads) == segment.honestRows(filter), "\(note): \(filter)")
                #expect(reads == 0, "\(note) read payloads: \(filter)")
            }
        }
        check(segment, "growing")
        let growingBytes = segment.index.memoryBytes
        segment.index = try segment.index.serialised().withUnsafeBytes { try SegmentPayloadIndex(deserialising: $0) }
        check(segment, "stored")
        #expect(segment.index.memoryBytes > 0 && growingBytes > 0)
        // Single values: counts are exact without looking.
        let usual = Filter(must: [.match("common", .string("usual"))])
        let exact = segment.honestRows(usual).count
        #expect(segment.estimate(usual) == CardinalityEstimate(lower: exact, expected: exact, upper: exact))
        let positive = Filter(must: [.range("x", NumericRange(gt: 0))])
        #expect(segment.estimate(positive).lower == segment.honestRows(positive).count)
    }

    @Test func readsOnlyPayloadsThatTheIndexCannotAnswerFor() {
        var segment = Segment(fields: [PayloadIndexField(path: "n", type: .integer), PayloadIndexField(path: "w", type: .keyword)])
        for row in 0..<100 { segment.add(Array(#"{"n":\#(row),"w":"w\#(row % 10)","free":\#(row % 2)}"#.utf8)) }
        segment.add(Array(#"{"n":"text","w":"\#(RandomPoints.long)"}"#.utf8))
        segment.add(Array(#"{"n":1.5}"#.utf8))
        func reads(_ filter: Filter) -> Int {
            var reads = 0
            #expect(segment.rows(filter, reads: &reads) == segment.honestRows(filter))
            return reads
        }
        #expect(reads(Filter(must: [.match("n", .integer(5))])) == 0)
        #expect(reads(Filter(must: [.match("n", .float(1.5))])) == 1)
        #expect(reads(Filter(must: [.range("n", NumericRange(gt: 1))])) == 1)
        #expect(reads(Filter(must: [.match("n", .string("text"))])) == 1)
        #expect(reads(Filter(must: [.match("w", .string("w1"))])) == 0)
        #expect(reads(Filter(must: [.match("w", .string(RandomPoints.long))])) == 1)
        // What has no index is asked last, of those that are left.
        #expect(reads(Filter(must: [.match("free", .integer(1)), .match("w", .string("w1"))])) == 10)
        #expect(reads(Filter(must: [.match("w", .string("w1"))], mustNot: [.match("free", .integer(0))])) == 10)
        #expect(segment.index.compile(Filter(must: [.match("free", .integer(1)), .isNull("n")])).unindexed == ["free"])
    }

    @Test func rowsLeftOutHaveNoPayload() {
        let index = SegmentPayloadIndex(fields: [PayloadIndexField(path: "a", type: .keyword)])
        Array(#"{"a":"x"}"#.utf8).withUnsafeBytes { index.add(row: 3, payload: $0) }
        var rows = Bitmap()
        index.evaluate(
            index.compile(Filter(must: [.isNull("a")])), rows: 6, payloadOf: { _ in nil }, idRows: { _ in nil }, into: &rows)
        #expect((0..<6).map { rows[$0] } == [true, true, true, false, true, true])
    }

    /// Whoever reads the payloads may end the evaluation, wherever it is; the scratch serves on.
    @Test func anEvaluationStopsAtTheNextPayload() throws {
        var segment = Segment(fields: [PayloadIndexField(path: "a", type: .keyword)])
        for i in 0..<200 { segment.add(Array(#"{"a":"x","free":\#(i)}"#.utf8)) }
        let unindexed = Filter.Condition.range("free", NumericRange(gte: .integer(100)))
        var scratch = FilterScratch()
        var rows = Bitmap()
        for filter in [
            Filter(must: [unindexed]), Filter(mustNot: [unindexed]), Filter(should: [unindexed, .isNull("free")]),
            Filter(must: [.match("a", .string("x")), .filter(Filter(must: [unindexed]))]),
        ] {
            var reads = 0
            #expect(throws: EvaluationStopped.self) {
                try segment.index.evaluate(
                    segment.index.compile(filter), rows: 200,
                    payloadOf: { (_) throws(EvaluationStopped) in
                        reads += 1
                        if reads == 50 { throw EvaluationStopped() }
                        return nil
                    }, idRows: { _ in nil }, scratch: &scratch, into: &rows)
            }
            #expect(reads == 50)
        }
        try segment.index.evaluate(
            segment.index.compile(Filter(must: [.match("a", .string("x"))])), rows: 200, payloadOf: { _ in nil },
            idRows: { _ in nil }, scratch: &scratch, into: &rows)
        #expect(rows.count() == 200)
    }

    /// A filter compiled for other fields is compiled anew, not misread.
    @Test func aForeignCompiledFilterIsNotMisread() {
        var segment = Segment(fields: [PayloadIndexField(path: "b", type: .keyword), PayloadIndexField(path: "a", type: .keyword)])
        segment.add(Array(#"{"a":"x","b":"y"}"#.utf8))
        let filter = CompiledFilter(Filter(must: [.match("a", .string("x"))]), fields: [PayloadIndexField(path: "a", type: .keyword)])
        var rows = Bitmap()
        segment.index.evaluate(filter, rows: 1, payloadOf: { _ in nil }, idRows: { _ in nil }, into: &rows)
        #expect(rows.count() == 1)
    }

    @Test func preparesManyRowsIntoOneBuffer() {
        let segment = Segment()
        var random = RandomPoints(seed: 4)
        let payloads = (0..<50).map { _ in random.payload() }
        var prepared = PreparedRows()
        func prepareAll() {
            for payload in payloads {
                if let payload {
                    payload.withUnsafeBytes { segment.index.prepare($0, into: &prepared) }
                } else {
                    segment.index.prepare(nil, into: &prepared)
                }
            }
        }
        prepareAll()
        prepared.removeAll()
        prepareAll()
        #expect(prepared.count == 50)
        for row in 0..<50 { segment.index.commit(row: UInt32(row), prepared, at: row) }
        var whole = segment
        whole.payloads = payloads
        whole.trees = payloads.map(Segment.tree)
        for _ in 0..<40 { Self.check(whole, random.filter(depth: 2, rows: 50), "prepared together") }
    }

    @Test(arguments: 0..<12 as Range<UInt64>) func damagedBytesAreAFaultOrAnIndexThatStaysInside(seed: UInt64) {
        var random = RandomPoints(seed: seed)
        var segment = Segment()
        for _ in 0..<70 { segment.add(random.payload()) }
        let good = segment.index.serialised()
        for _ in 0..<60 {
            var bytes = good
            if random.chance(4) { bytes.removeLast(Int.random(in: 1...bytes.count, using: &random.rng)) }
            for _ in 0..<3 where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random.rng)] = UInt8.random(in: 0...255, using: &random.rng)
            }
            guard let index = bytes.withUnsafeBytes({ try? SegmentPayloadIndex(deserialising: $0) }), index.rowCount <= 70 else { continue }
            var damaged = segment
            damaged.index = index
            for _ in 0..<5 { _ = damaged.rows(random.filter(depth: 1, rows: 70)) }
        }
        #expect(throws: DecodingFault(position: 0, what: "payload index of format 2; this release reads 1")) {
            try ([2] + good.dropFirst()).withUnsafeBytes { try SegmentPayloadIndex(deserialising: $0) }
        }
    }

    /// Damaged payloads (which checksums should catch) give some answer, never a crash.
    @Test(arguments: 0..<12 as Range<UInt64>) func damagedPayloadsDoNotCrash(seed: UInt64) {
        var random = RandomPoints(seed: seed)
        var segment = Segment()
        for _ in 0..<100 {
            var payload = random.payload() ?? []
            for _ in 0..<2 where !payload.isEmpty {
                payload[Int.random(in: 0..<payload.count, using: &random.rng)] ^= 1 << UInt8.random(in: 0..<8, using: &random.rng)
            }
            segment.add(payload)
        }
        for _ in 0..<20 { _ = segment.rows(random.filter(depth: 2, rows: 100)) }
    }
}
