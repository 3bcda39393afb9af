package import Primitives

// The numbers agree by design; the tests compare the names.

extension Metric {
    /// Nil for UNSPECIFIED and for what this release does not know.
    package init?(wire distance: VecraftV1.Distance) {
        guard let raw = UInt8(exactly: distance.rawValue) else { return nil }
        self.init(rawValue: raw)
    }
}

extension VecraftV1.Distance {
    package init(_ metric: Metric) { self.init(rawValue: Int32(metric.rawValue)) }
}

extension ConsistencyLevel {
    /// Unspecified means read-your-writes.
    ///
    /// - Throws: `INVALID_ARGUMENT` for a level that this release does not know: answering with a weaker one would lie.
    package init(wire level: VecraftV1.ConsistencyLevel, at field: String = "read.consistency") throws(VecraftError) {
        if level == .unspecified {
            self = .readYourWrites
            return
        }
        guard let raw = UInt8(exactly: level.rawValue), let known = ConsistencyLevel(rawValue: raw) else {
            throw .invalid(field, "\(level.rawValue) is none of eventual, bounded, read_your_writes, strong")
        }
        self = known
    }
}

extension VecraftV1.ConsistencyLevel {
    package init(_ level: ConsistencyLevel) { self.init(rawValue: Int32(level.rawValue)) }
}
