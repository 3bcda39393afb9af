/// Quality-of-service tier of a request; smaller is more urgent (design section 14).
package enum Tier: UInt8, Sendable, CaseIterable, Comparable {
    case critical = 0, interactive, batch, background
    package static func < (a: Tier, b: Tier) -> Bool { a.rawValue < b.rawValue }
}
