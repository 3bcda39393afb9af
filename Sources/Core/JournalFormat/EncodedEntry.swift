internal import CChecksum
package import Primitives

/// An encoded entry: one allocation of exact size (format: ``EntryLayout``), 8-byte aligned.
package struct EncodedEntry: Sendable {
    package private(set) var bytes: [UInt8]

    /// Encodes an entry whose body is written in place.
    ///
    /// - Parameters:
    ///   - requestHash: Hash of the client's whole request, when one request makes several entries: the same idempotency key
    ///     with another request is then noticed on any shard both touch. Nil: the hash of this entry's body.
    ///   - bodyBytes: Exact size of the body.
    ///   - body: Writes all of the uninitialised bytes it is given.
    package init<E: Error>(
        header: EntryHeader, requestHash: UInt64? = nil, bodyBytes: Int,
        body: (UnsafeMutableRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        let strings = header.stringBytes
        let spansStart = EntryLayout.aligned(EntryLayout.fixedBytes + strings)
        let bodyStart = spansStart + header.recordedSpans * EntryLayout.spanBytes
        let total = EntryLayout.aligned(bodyStart + bodyBytes)
        precondition(total <= UInt32.max, "an entry of \(total) bytes")
        var failure: E?
        self.bytes = [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            let raw = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<total])
            header.write(into: raw, bodyStart: bodyStart, bodyBytes: bodyBytes)
            let bodyRaw = UnsafeMutableRawBufferPointer(rebasing: raw[bodyStart..<bodyStart + bodyBytes])
            do throws(E) { try body(bodyRaw) } catch {
                failure = error
                return
            }
            for i in bodyStart + bodyBytes..<total { raw[i] = 0 }
            if !header.idempotencyKey.isEmpty {
                raw.store(requestHash ?? header.bodyHash(UnsafeRawBufferPointer(bodyRaw)), at: EntryLayout.Field.bodyHash)
            }
            let tail = UnsafeRawBufferPointer(rebasing: raw[EntryLayout.fixedBytes...])
            raw.store(vc_crc32c(0, tail.baseAddress, tail.count), at: EntryLayout.Field.tailCRC)
            count = total
        }
        if let failure { throw failure }
    }

    /// Takes an entry that came from elsewhere, after checking it whole.
    package init(validating bytes: [UInt8]) throws(DecodingFault) {
        self.bytes = bytes
        try bytes.withUnsafeBufferPointer { (buffer) throws(DecodingFault) in
            let raw = UnsafeRawBufferPointer(buffer)
            let view = try EntryView(raw)
            guard view.raw.count == raw.count else { throw DecodingFault(position: view.raw.count, what: "bytes behind the entry") }
            guard view.isTailIntact else { throw DecodingFault(position: EntryLayout.Field.tailCRC, what: "checksum mismatch") }
            _ = try view.header()
        }
    }

    /// The same from bytes owned by somebody else; they are copied.
    package init(copying raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        try self.init(validating: [UInt8](raw))
    }

    /// Writes the leader's fields in place.
    package mutating func stamp(
        offset: JournalOffset, term: UInt64, hlc: HLCTimestamp, appended: (start: HLCTimestamp, end: HLCTimestamp)
    ) {
        self.bytes.withUnsafeMutableBytes {
            EntryStamp.write(into: $0, offset: offset, term: term, hlc: hlc, appended: appended)
        }
    }

    @inlinable package func withView<R, E: Error>(_ body: (EntryView) throws(E) -> R) throws(E) -> R {
        try self.bytes.withUnsafeBufferPointer { (buffer) throws(E) in
            try body(EntryView(unchecked: UnsafeRawBufferPointer(buffer)))
        }
    }

    package var tier: Tier { self.withView { $0.tier } }
    package var operation: OperationKind { self.withView { $0.operation } }
    package var partition: PartitionID { self.withView { $0.partition } }
    /// 0 without an idempotency key.
    package var bodyHash: UInt64 { self.withView { $0.bodyHash } }
    package var idempotencyKey: String { self.withView { String(decoding: $0.idempotencyKey, as: UTF8.self) } }
}

/// The leader's fields, written into an entry or into a copy of its first ``EntryLayout/fixedBytes``.
package enum EntryStamp {
    @inlinable package static func write(
        into raw: UnsafeMutableRawBufferPointer, offset: JournalOffset, term: UInt64, hlc: HLCTimestamp,
        appended: (start: HLCTimestamp, end: HLCTimestamp)
    ) {
        raw.store(offset, at: EntryLayout.Field.offset)
        raw.store(term, at: EntryLayout.Field.term)
        raw.store(hlc.rawValue, at: EntryLayout.Field.hlc)
        raw.store(appended.start.rawValue, at: EntryLayout.Field.appendedStart)
        raw.store(appended.end.rawValue, at: EntryLayout.Field.appendedEnd)
    }
}

extension EntryHeader {
    fileprivate var stringBytes: Int {
        self.tenant.utf8.count + self.requestID.utf8.count + self.idempotencyKey.utf8.count + self.principal.utf8.count
    }

    /// Spans that go behind the fixed part: `appended` has its own place there.
    fileprivate var recordedSpans: Int { self.spans.count { $0.name != .appended } }

    fileprivate func write(into raw: UnsafeMutableRawBufferPointer, bodyStart: Int, bodyBytes: Int) {
        typealias Field = EntryLayout.Field
        raw.store(EntryLayout.magic, at: Field.magic)
        raw.store(EntryLayout.format, at: Field.format)
        raw.store(self.operation.rawValue, at: Field.operation)
        raw.store(self.trace.sampled ? UInt8(1) : 0, at: Field.flags)
        raw.store(UInt32(raw.count), at: Field.total)
        raw.store(UInt32(bodyStart), at: Field.bodyStart)
        let appended = self.spans.last { $0.name == .appended }
        EntryStamp.write(
            into: raw, offset: self.offset, term: self.term, hlc: self.hlc,
            appended: (appended?.start ?? .zero, appended?.end ?? .zero))
        raw.store(self.collection, at: Field.collection)
        raw.store(self.shard, at: Field.shard)
        raw.store(self.tier.rawValue, at: Field.tier)
        raw.store(self.partition.kind.rawValue, at: Field.partitionKind)
        raw.store(self.partition.index, at: Field.partitionIndex)
        raw.store(self.trace.traceHigh, at: Field.traceHigh)
        raw.store(self.trace.traceLow, at: Field.traceLow)
        raw.store(self.trace.spanID, at: Field.spanID)
        raw.store(UInt64(0), at: Field.bodyHash)
        raw.store(UInt16(self.recordedSpans), at: Field.spanCount)
        raw.store(UInt16(0), at: Field.spanCount + 2)
        raw.store(UInt32(bodyBytes), at: Field.bodyBytes)
        raw.store(UInt64(0), at: Field.tailCRC)
        var position = EntryLayout.fixedBytes
        self.write(self.tenant, lengthAt: Field.tenantBytes, into: raw, &position)
        self.write(self.requestID, lengthAt: Field.requestIDBytes, into: raw, &position)
        self.write(self.idempotencyKey, lengthAt: Field.idempotencyKeyBytes, into: raw, &position)
        self.write(self.principal, lengthAt: Field.principalBytes, into: raw, &position)
        while position % 8 != 0 {
            raw[position] = 0
            position += 1
        }
        precondition(self.spans.count <= EntryLayout.maxSpans, "\(self.spans.count) spans")
        for span in self.spans where span.name != .appended {
            raw.store(UInt64(span.name.rawValue), at: position)
            raw.store(span.start.rawValue, at: position + 8)
            raw.store(span.end.rawValue, at: position + 16)
            position += EntryLayout.spanBytes
        }
        assert(position == bodyStart)
    }

    private func write(_ text: String, lengthAt field: Int, into raw: UnsafeMutableRawBufferPointer, _ position: inout Int) {
        var text = text
        text.withUTF8 { utf8 in
            precondition(utf8.count <= UInt16.max, "a string of \(utf8.count) bytes in an entry's header")
            raw.store(UInt16(utf8.count), at: field)
            if utf8.count > 0 {
                UnsafeMutableRawBufferPointer(rebasing: raw[position..<position + utf8.count])
                    .copyMemory(from: UnsafeRawBufferPointer(utf8))
            }
            position += utf8.count
        }
    }

    fileprivate func bodyHash(_ body: UnsafeRawBufferPointer) -> UInt64 {
        var hash = StableHash(seed: UInt64(self.operation.rawValue))
        hash.combine(self.collection)
        hash.combine(UInt64(self.shard))
        hash.combine(body)
        return hash.finish()
    }
}
