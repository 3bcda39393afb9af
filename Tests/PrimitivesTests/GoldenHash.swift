/// Computed once by an independent implementation of the definition in StableHash.
enum GoldenHash {
    static let empty: UInt64 = 0xbac1775082379709
    static let a: UInt64 = 0x14810778b82c40b1
    static let name: UInt64 = 0xbc70489450465c12
    static let seeded: UInt64 = 0xb35f04931471ffd3
    static let words: UInt64 = 0x4c18dd51246e5285
}
