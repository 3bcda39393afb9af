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
        guard let dash = text.lastIndex(of: "-"), let index = UInt16(text[text.index(after: dash)...]) else { return nil }
        switch text[..<dash] {
        case "data": self.init(.data, index)
        case "txn": self.init(.txn, index)
        case "sys": self.init(.sys, index)
        default: return nil
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
