import Primitives

/// Some byte strings, sorted: membership without allocation, compared byte by byte.
struct TextSet: Sendable {
    private let keys: FlatKeys

    init(_ texts: [String]) {
        let sorted = texts.map { Array($0.utf8) }.sorted { a, b in
            a.withUnsafeBytes { a in b.withUnsafeBytes { RawBytes.compare(a, $0) < 0 } }
        }
        var distinct: [[UInt8]] = []
        for text in sorted where text != distinct.last { distinct.append(text) }
        self.keys = FlatKeys(distinct)
    }

    var count: Int { self.keys.count }
    var isEmpty: Bool { self.keys.count == 0 }

    func contains(_ utf8: UnsafeRawBufferPointer) -> Bool {
        if self.keys.count == 1 { return RawBytes.equal(self.keys[0], utf8) }
        let place = NumberSearch.first(self.keys.count) { RawBytes.compare(self.keys[$0], utf8) >= 0 }
        return place < self.keys.count && RawBytes.equal(self.keys[place], utf8)
    }

    func forEach(_ body: (UnsafeRawBufferPointer) -> Void) {
        for i in 0..<self.keys.count { body(self.keys[i]) }
    }
}
