/// A journal partition: one ordered log. `data-n` orders single-shard operations, `txn-n` cross-partition transactions,
/// `sys-n` metadata.
package struct PartitionID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package enum Kind: UInt8, Sendable, Comparable {
        case data = 1, txn, sys
        package static func < (a: Kind, b: Kind) -> Bool { a.rawValue < b.rawValue }
    }
    package let kind: Kind
    package let index: UInt16

    package init(_ kind: Kind, _ index: UInt16) {
        self.kind = kind
        self.index = index
    }

    package static func data(_ index: UInt16) -> PartitionID { PartitionID(.data, index) }
    package static let sys = PartitionID(.sys, 0)
    package static let txn = PartitionID(.txn, 0)

    /// Parses "data-0"; nil if it is not a partition's name.
    package init?(_ text: some StringProtocol) {
        let made = text.utf8.withContiguousStorageIfAvailable { PartitionID(utf8: UnsafeRawBufferPointer($0)) }
        guard let made = made ?? Array(text.utf8).withUnsafeBytes({ PartitionID(utf8: $0) }) else { return nil }
        self = made
    }

    /// The same from UTF-8: each append over the wire names its partition.
    package init?(utf8 text: UnsafeRawBufferPointer) {
        guard let dash = text.lastIndex(of: UInt8(ascii: "-")), dash + 1 < text.count, text.count - dash <= 8 else { return nil }
        var index = 0
        for byte in text[(dash + 1)...] {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            index = index * 10 + Int(byte - UInt8(ascii: "0"))
        }
        guard let index = UInt16(exactly: index) else { return nil }
        let name = UnsafeRawBufferPointer(rebasing: text[..<dash])
        if name.elementsEqual("data".utf8) {
            self.init(.data, index)
        } else if name.elementsEqual("txn".utf8) {
            self.init(.txn, index)
        } else if name.elementsEqual("sys".utf8) {
            self.init(.sys, index)
        } else {
            return nil
        }
    }

    package var description: String {
        switch self.kind {
        case .data: "data-\(self.index)"
        case .txn: "txn-\(self.index)"
        case .sys: "sys-\(self.index)"
        }
    }

    package static func < (a: PartitionID, b: PartitionID) -> Bool { (a.kind, a.index) < (b.kind, b.index) }
}

/// Position in one partition, from 1, no gaps. 0 is "before the first".
package typealias JournalOffset = UInt64
