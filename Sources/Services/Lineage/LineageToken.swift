internal import Primitives

/// Where a stream of entries goes on: an offset for each partition, bound to what was asked for and to the journal. Opaque text.
struct LineageToken {
    private static let format: UInt8 = 2

    var selection: UInt64
    var mark: JournalMark
    var position: [(PartitionID, JournalOffset)]

    init(selection: UInt64, mark: JournalMark, position: [(PartitionID, JournalOffset)]) {
        self.selection = selection
        self.mark = mark
        self.position = position
    }

    var text: String {
        var writer = ByteWriter(reserving: 32 + 12 * self.position.count)
        writer.write(Self.format)
        writer.write(self.selection)
        writer.write(self.mark.offset)
        writer.write(self.mark.hash)
        writer.write(UInt16(self.position.count))
        for (partition, offset) in self.position {
            writer.write(partition.kind.rawValue)
            writer.write(partition.index)
            writer.write(offset)
        }
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: writer.bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// - Parameters:
    ///   - field: Named when it is wrong.
    ///   - selection: What is asked for now; another question's token is refused.
    init(_ text: String, field: String, selection: UInt64) throws(VecraftError) {
        func wrong(_ what: String) -> VecraftError { .invalid(field, what) }
        var bytes: [UInt8] = []
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0, digits.count <= 1 << 16 else { throw wrong("is no token of this service") }
        for i in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(digits[i]), let low = Self.value(digits[i + 1]) else {
                throw wrong("is no token of this service")
            }
            bytes.append(high << 4 | low)
        }
        let decoded = bytes.withUnsafeBytes { raw in
            Result { () throws(DecodingFault) in
                var reader = ByteReader(raw)
                guard try reader.read(UInt8.self) == Self.format else {
                    throw DecodingFault(position: 0, what: "another token")
                }
                let selection = try reader.read(UInt64.self)
                let mark = JournalMark(
                    offset: try reader.read(UInt64.self), hash: try reader.read(UInt64.self))
                var position: [(PartitionID, JournalOffset)] = []
                for _ in 0..<(try reader.read(UInt16.self)) {
                    let kind = try reader.read(UInt8.self)
                    let index = try reader.read(UInt16.self)
                    let offset = try reader.read(UInt64.self)
                    guard let kind = PartitionID.Kind(rawValue: kind) else {
                        throw DecodingFault(position: reader.position, what: "unknown partition")
                    }
                    position.append((PartitionID(kind, index), offset))
                }
                guard reader.remaining == 0 else {
                    throw DecodingFault(position: reader.position, what: "another token")
                }
                return (selection, mark, position)
            }
        }
        guard case .success(let (bound, mark, position)) = decoded else { throw wrong("is no token of this service") }
        guard bound == selection else { throw wrong("belongs to another question: ask what it was made for") }
        self.selection = selection
        self.mark = mark
        self.position = position
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
