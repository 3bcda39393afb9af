/// The four read levels (design section 8), weakest first.
package enum ConsistencyLevel: UInt8, Sendable, Comparable, CaseIterable {
    case eventual = 1, bounded, readYourWrites, strong

    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// As metric label and in text.
    package var name: String {
        switch self {
        case .eventual: "eventual"
        case .bounded: "bounded"
        case .readYourWrites: "read_your_writes"
        case .strong: "strong"
        }
    }
}
