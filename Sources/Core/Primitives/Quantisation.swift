/// What a collection asks of its graphs' codes. Growing graphs walk over 8-bit codes or floats; what was asked for takes
/// effect when a graph is sealed, and a sealed graph can be written again with another.
package enum Quantisation: String, Sendable, CaseIterable {
    /// Recall is measured on the graph's own points when it is sealed: the cheapest codes that hold it.
    case auto
    case none
    case int8
    case int4

    /// On disk and on the wire; 1 for ``auto``, never 0.
    package var code: UInt8 { UInt8(Self.allCases.firstIndex(of: self)! + 1) }

    /// Nil for a code of a later release.
    package init?(code: UInt8) {
        guard (1...Self.allCases.count).contains(Int(code)) else { return nil }
        self = Self.allCases[Int(code) - 1]
    }
}
