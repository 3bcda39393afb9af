package import Primitives

/// The bytes of a filter in a journal entry (delete by filter). Final: a change is a new version, read beside the old one.
///
/// Version 1, little-endian: `u8 1`, then a filter = three lists (must, should, must_not), each `u32 count` and its
/// conditions = `u8 tag` and what the tag says. Text is length-prefixed UTF-8; a key has a 16-bit length.
extension Filter {
    package static let codingVersion: UInt8 = 1

    /// Deeper than any limit ever published, so that old entries stay readable if the limit shrinks.
    private static let deepest = 64

    package func encode(into writer: inout ByteWriter) {
        writer.write(Self.codingVersion)
        self.encodeLists(into: &writer)
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        self.encode(into: &writer)
        return writer.bytes
    }

    /// Reads what `encode` wrote. Does not validate limits: the entry was accepted once.
    package init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let version = try reader.read(UInt8.self)
        guard version == Self.codingVersion else {
            throw DecodingFault(position: reader.position, what: "filter of format \(version); this release reads 1")
        }
        try self.init(decoding: &reader, depth: 1)
    }

    fileprivate func encodeLists(into writer: inout ByteWriter) {
        for list in [self.must, self.should, self.mustNot] {
            writer.write(UInt32(list.count))
            for condition in list { condition.encode(into: &writer) }
        }
    }

    fileprivate init(decoding reader: inout ByteReader, depth: Int) throws(DecodingFault) {
        guard depth <= Self.deepest else { throw DecodingFault(position: reader.position, what: "filter too deep") }
        func list(_ reader: inout ByteReader) throws(DecodingFault) -> [Condition] {
            let count = try reader.readCount(elementBytes: 1)
            var conditions: [Condition] = []
            conditions.reserveCapacity(count)
            for _ in 0..<count { conditions.append(try Condition(decoding: &reader, depth: depth)) }
            return conditions
        }
        self.init(must: try list(&reader), should: try list(&reader), mustNot: try list(&reader))
    }
}

extension Filter.Condition {
    private enum Tag: UInt8 { case match = 1, matchAny, matchExcept, range, isNull, hasID, filter }

    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .match(let key, let value):
            writer.write(Tag.match.rawValue)
            writer.writeShort(key)
            value.encode(into: &writer)
        case .matchAny(let key, let values): Self.encode(.matchAny, key, values, into: &writer)
        case .matchExcept(let key, let values): Self.encode(.matchExcept, key, values, into: &writer)
        case .range(let key, let range):
            writer.write(Tag.range.rawValue)
            writer.writeShort(key)
            range.encode(into: &writer)
        case .isNull(let key):
            writer.write(Tag.isNull.rawValue)
            writer.writeShort(key)
        case .hasID(let ids):
            writer.write(Tag.hasID.rawValue)
            writer.write(UInt32(ids.count))
            for id in ids { writer.writeShort(id) }
        case .filter(let filter):
            writer.write(Tag.filter.rawValue)
            filter.encodeLists(into: &writer)
        }
    }

    private static func encode(_ tag: Tag, _ key: String, _ values: [FilterValue], into writer: inout ByteWriter) {
        writer.write(tag.rawValue)
        writer.writeShort(key)
        writer.write(UInt32(values.count))
        for value in values { value.encode(into: &writer) }
    }

    fileprivate init(decoding reader: inout ByteReader, depth: Int) throws(DecodingFault) {
        func values(_ reader: inout ByteReader) throws(DecodingFault) -> [FilterValue] {
            let count = try reader.readCount(elementBytes: 2)
            var values: [FilterValue] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try FilterValue(decoding: &reader)) }
            return values
        }
        let raw = try reader.read(UInt8.self)
        guard let tag = Tag(rawValue: raw) else {
            throw DecodingFault(position: reader.position, what: "unknown filter condition \(raw)")
        }
        switch tag {
        case .match: self = .match(try reader.readShort(), try FilterValue(decoding: &reader))
        case .matchAny: self = .matchAny(try reader.readShort(), try values(&reader))
        case .matchExcept: self = .matchExcept(try reader.readShort(), try values(&reader))
        case .range: self = .range(try reader.readShort(), try NumericRange(decoding: &reader))
        case .isNull: self = .isNull(try reader.readShort())
        case .hasID:
            var ids: [String] = []
            for _ in 0..<(try reader.readCount(elementBytes: 2)) { ids.append(try reader.readShort()) }
            self = .hasID(ids)
        case .filter: self = .filter(try Filter(decoding: &reader, depth: depth + 1))
        }
    }
}

extension FilterValue {
    private enum Tag: UInt8 { case string = 1, integer, float, bool }

    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .string(var text):
            writer.write(Tag.string.rawValue)
            text.withUTF8 { writer.writeLong(UnsafeRawBufferPointer($0)) }
        case .integer(let value):
            writer.write(Tag.integer.rawValue)
            writer.write(value)
        case .float(let value):
            writer.write(Tag.float.rawValue)
            writer.write(value.bitPattern)
        case .bool(let value):
            writer.write(Tag.bool.rawValue)
            writer.write(UInt8(value ? 1 : 0))
        }
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let raw = try reader.read(UInt8.self)
        switch Tag(rawValue: raw) {
        case .string: self = .string(String(decoding: try reader.readLong(), as: UTF8.self))
        case .integer: self = .integer(try reader.read())
        case .float: self = .float(Double(bitPattern: try reader.read()))
        case .bool: self = .bool(try reader.read(UInt8.self) != 0)
        case nil: throw DecodingFault(position: reader.position, what: "unknown filter value \(raw)")
        }
    }
}

extension NumericRange {
    /// `u8` of bits: 1, 2, 4, 8 for gt, gte, lt, lte being there; then each as a value.
    fileprivate func encode(into writer: inout ByteWriter) {
        let bounds = [self.gt, self.gte, self.lt, self.lte]
        var mask: UInt8 = 0
        for (bit, bound) in bounds.enumerated() where bound != nil { mask |= 1 << bit }
        writer.write(mask)
        for bound in bounds {
            switch bound {
            case .integer(let value): FilterValue.integer(value).encode(into: &writer)
            case .double(let value): FilterValue.float(value).encode(into: &writer)
            case nil: break
            }
        }
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let mask = try reader.read(UInt8.self)
        guard mask < 16 else { throw DecodingFault(position: reader.position, what: "unknown range bounds \(mask)") }
        func bound(_ bit: UInt8, _ reader: inout ByteReader) throws(DecodingFault) -> JSONNumber? {
            guard mask & bit != 0 else { return nil }
            guard let number = try FilterValue(decoding: &reader).number else {
                throw DecodingFault(position: reader.position, what: "range bound is not a number")
            }
            return number
        }
        self.init(
            gt: try bound(1, &reader), gte: try bound(2, &reader), lt: try bound(4, &reader), lte: try bound(8, &reader))
    }
}

extension ByteReader {
    /// A count that the bytes left can hold, so that a damaged one cannot ask for memory.
    fileprivate mutating func readCount(elementBytes: Int) throws(DecodingFault) -> Int {
        let count = Int(try self.read(UInt32.self))
        guard count <= self.remaining / elementBytes else { throw self.truncated() }
        return count
    }
}
