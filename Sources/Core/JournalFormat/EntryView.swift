internal import CChecksum
package import Primitives

/// An entry read in place. Valid while the bytes under it are; keep their owner alive.
package struct EntryView {
    /// Exactly the entry, padding included.
    package let raw: UnsafeRawBufferPointer

    /// Checks the fixed part and every length in it, so that all properties below are safe. Checksums are the reader's business
    /// (``isTailIntact``; the journal checks them).
    ///
    /// - Parameter raw: 8-byte aligned; may be longer than the entry.
    /// - Throws: A newer format is refused by name.
    package init(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        typealias Field = EntryLayout.Field
        guard raw.count >= EntryLayout.fixedBytes else { throw DecodingFault(position: raw.count, what: "truncated entry") }
        guard UInt(bitPattern: raw.baseAddress) % 8 == 0 else {
            throw DecodingFault(position: 0, what: "an entry in memory that is not 8-byte aligned")
        }
        guard raw.integer(at: Field.magic, as: UInt32.self) == EntryLayout.magic else {
            throw DecodingFault(position: Field.magic, what: "not a journal entry")
        }
        let format = raw.integer(at: Field.format, as: UInt16.self)
        guard format == EntryLayout.format else {
            throw DecodingFault(position: Field.format, what: "journal entry of format \(format); this release reads \(EntryLayout.format)")
        }
        let total = Int(raw.integer(at: Field.total, as: UInt32.self))
        guard total >= EntryLayout.fixedBytes, total % 8 == 0, total <= raw.count else {
            throw DecodingFault(position: Field.total, what: "entry of \(total) bytes in \(raw.count)")
        }
        let view = EntryView(unchecked: UnsafeRawBufferPointer(rebasing: raw[..<total]))
        let bodyBytes = Int(raw.integer(at: Field.bodyBytes, as: UInt32.self))
        guard view.bodyStart == view.spansStart + view.spanCount * EntryLayout.spanBytes,
            view.spanCount <= EntryLayout.maxSpans, EntryLayout.aligned(view.bodyStart + bodyBytes) == total
        else { throw DecodingFault(position: Field.bodyStart, what: "entry lengths that do not add up") }
        guard OperationKind(rawValue: raw[Field.operation]) != nil else {
            throw DecodingFault(position: Field.operation, what: "unknown operation \(raw[Field.operation])")
        }
        guard Tier(rawValue: raw[Field.tier]) != nil else {
            throw DecodingFault(position: Field.tier, what: "unknown tier \(raw[Field.tier])")
        }
        guard PartitionID.Kind(rawValue: raw[Field.partitionKind]) != nil else {
            throw DecodingFault(position: Field.partitionKind, what: "unknown partition kind \(raw[Field.partitionKind])")
        }
        self = view
    }

    /// Bytes that were checked before: exactly one entry.
    @inlinable package init(unchecked raw: UnsafeRawBufferPointer) { self.raw = raw }

    @inlinable package var offset: JournalOffset { self.raw.integer(at: EntryLayout.Field.offset) }
    @inlinable package var term: UInt64 { self.raw.integer(at: EntryLayout.Field.term) }
    @inlinable package var hlc: HLCTimestamp { HLCTimestamp(rawValue: self.raw.integer(at: EntryLayout.Field.hlc)) }
    @inlinable package var collection: UInt64 { self.raw.integer(at: EntryLayout.Field.collection) }
    @inlinable package var shard: UInt32 { self.raw.integer(at: EntryLayout.Field.shard) }
    @inlinable package var bodyHash: UInt64 { self.raw.integer(at: EntryLayout.Field.bodyHash) }
    package var operation: OperationKind { OperationKind(rawValue: self.raw[EntryLayout.Field.operation])! }
    package var tier: Tier { Tier(rawValue: self.raw[EntryLayout.Field.tier])! }
    package var partition: PartitionID {
        PartitionID(
            PartitionID.Kind(rawValue: self.raw[EntryLayout.Field.partitionKind])!,
            self.raw.integer(at: EntryLayout.Field.partitionIndex))
    }
    package var trace: TraceContext {
        TraceContext(
            traceHigh: self.raw.integer(at: EntryLayout.Field.traceHigh),
            traceLow: self.raw.integer(at: EntryLayout.Field.traceLow),
            spanID: self.raw.integer(at: EntryLayout.Field.spanID),
            sampled: self.raw[EntryLayout.Field.flags] & 1 == 1)
    }
    /// The leader's own span; both ends zero before it stamps.
    package var appended: EntrySpan {
        EntrySpan(
            name: .appended,
            start: HLCTimestamp(rawValue: self.raw.integer(at: EntryLayout.Field.appendedStart)),
            end: HLCTimestamp(rawValue: self.raw.integer(at: EntryLayout.Field.appendedEnd)))
    }

    package var tenant: UnsafeRawBufferPointer { self.text(0) }
    package var requestID: UnsafeRawBufferPointer { self.text(1) }
    /// Empty for none.
    package var idempotencyKey: UnsafeRawBufferPointer { self.text(2) }
    package var principal: UnsafeRawBufferPointer { self.text(3) }

    @inlinable package var bodyStart: Int { Int(self.raw.integer(at: EntryLayout.Field.bodyStart, as: UInt32.self)) }
    /// 8-byte aligned, without padding.
    @inlinable package var body: UnsafeRawBufferPointer {
        let start = self.bodyStart
        let count = Int(self.raw.integer(at: EntryLayout.Field.bodyBytes, as: UInt32.self))
        return UnsafeRawBufferPointer(rebasing: self.raw[start..<start &+ count])
    }

    /// Whether everything behind the fixed part has its checksum. Reads it all.
    package var isTailIntact: Bool {
        let tail = UnsafeRawBufferPointer(rebasing: self.raw[EntryLayout.fixedBytes...])
        return vc_crc32c(0, tail.baseAddress, tail.count) == self.raw.integer(at: EntryLayout.Field.tailCRC, as: UInt32.self)
    }

    /// All that travels beside the operation, copied out.
    package func header() throws(DecodingFault) -> EntryHeader {
        EntryHeader(
            offset: self.offset, term: self.term, hlc: self.hlc, partition: self.partition, tier: self.tier,
            operation: self.operation, tenant: try self.string(0), collection: self.collection, shard: self.shard,
            requestID: try self.string(1), idempotencyKey: try self.string(2), principal: try self.string(3),
            trace: self.trace, spans: try self.spans())
    }

    private func spans() throws(DecodingFault) -> [EntrySpan] {
        var spans: [EntrySpan] = []
        for i in 0..<self.spanCount {
            let position = self.spansStart + i * EntryLayout.spanBytes
            let code = self.raw.integer(at: position, as: UInt64.self)
            guard let name = UInt8(exactly: code).flatMap(SpanName.init(rawValue:)) else {
                throw DecodingFault(position: position, what: "unknown span \(code)")
            }
            spans.append(
                EntrySpan(
                    name: name, start: HLCTimestamp(rawValue: self.raw.integer(at: position + 8)),
                    end: HLCTimestamp(rawValue: self.raw.integer(at: position + 16))))
        }
        if self.appended.end != .zero { spans.append(self.appended) }
        return spans
    }

    private func length(_ index: Int) -> Int {
        Int(self.raw.integer(at: EntryLayout.Field.tenantBytes + 2 * index, as: UInt16.self))
    }

    private func text(_ index: Int) -> UnsafeRawBufferPointer {
        var start = EntryLayout.fixedBytes
        for i in 0..<index { start += self.length(i) }
        return UnsafeRawBufferPointer(rebasing: self.raw[start..<start + self.length(index)])
    }

    private func string(_ index: Int) throws(DecodingFault) -> String {
        let bytes = self.text(index)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw DecodingFault(position: EntryLayout.fixedBytes, what: "text that is not UTF-8 in an entry's header")
        }
        return text
    }

    private var spanCount: Int { Int(self.raw.integer(at: EntryLayout.Field.spanCount, as: UInt16.self)) }
    private var spansStart: Int {
        EntryLayout.aligned(
            EntryLayout.fixedBytes + self.length(0) + self.length(1) + self.length(2) + self.length(3))
    }
}
