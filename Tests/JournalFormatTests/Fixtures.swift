import JournalFormat
import Primitives

let sampleTrace = TraceContext(traceHigh: 0x0102_0304_0506_0708, traceLow: 9, spanID: 10, sampled: true)

func sampleHeader(_ operation: OperationKind = .upsert, key: String = "key-1") -> EntryHeader {
    EntryHeader(
        partition: .data(3), tier: .batch, operation: operation, tenant: "acme", collection: 0xC0FFEE, shard: 5,
        requestID: "request-ä", idempotencyKey: key, principal: "ingest", trace: sampleTrace,
        spans: [
            EntrySpan(name: .received, start: HLCTimestamp(rawValue: 11), end: HLCTimestamp(rawValue: 12)),
            EntrySpan(name: .routed, start: HLCTimestamp(rawValue: 13), end: HLCTimestamp(rawValue: 14)),
        ])
}

/// A point as the tests think of it.
struct SamplePoint: Equatable {
    var id: [UInt8]
    var payload: [UInt8]?
    var vectors: [String: [Float]]

    static func random(using rng: inout SeededRNG) -> SamplePoint {
        func bytes(_ range: Range<Int>) -> [UInt8] {
            (0..<Int.random(in: range, using: &rng)).map { _ in UInt8.random(in: .min ... .max, using: &rng) }
        }
        var vectors: [String: [Float]] = [:]
        for _ in 0..<Int.random(in: 0..<4, using: &rng) {
            let name = String(repeating: "n", count: Int.random(in: 0..<9, using: &rng))
            vectors[name] = (0..<Int.random(in: 0..<40, using: &rng)).map { _ in Float.random(in: -1...1, using: &rng) }
        }
        return SamplePoint(id: bytes(1..<20), payload: Bool.random(using: &rng) ? bytes(0..<50) : nil, vectors: vectors)
    }
}

func encodeUpsert(_ points: [SamplePoint], header: EntryHeader = sampleHeader()) -> EncodedEntry {
    var size = UpsertSizer()
    for point in points {
        size.point(idBytes: point.id.count, payloadBytes: point.payload?.count)
        for (name, values) in point.vectors { size.vector(nameBytes: name.utf8.count, dimension: values.count) }
    }
    return EncodedEntry.upsert(header: header, size: size) { writer in
        for point in points {
            point.id.withUnsafeBytes { id in
                if let payload = point.payload {
                    payload.withUnsafeBytes { writer.point(id: id, payload: $0, vectors: point.vectors.count) }
                } else {
                    writer.point(id: id, payload: nil, vectors: point.vectors.count)
                }
            }
            for (name, values) in point.vectors {
                Array(name.utf8).withUnsafeBytes { name in
                    values.withUnsafeBufferPointer { writer.vector(name: name, values: $0) }
                }
            }
        }
    }
}

func decodeUpsert(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) -> [SamplePoint] {
    var body = try UpsertBody(raw)
    var points: [SamplePoint] = []
    while let view = try body.next() {
        var point = SamplePoint(id: Array(view.id), payload: view.payload.map { Array($0) }, vectors: [:])
        view.forEachVector { name, values in
            precondition(UInt(bitPattern: values.baseAddress) % 4 == 0)
            point.vectors[String(decoding: name, as: UTF8.self)] = Array(values)
        }
        points.append(point)
    }
    return points
}
