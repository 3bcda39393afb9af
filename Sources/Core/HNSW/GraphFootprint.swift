/// What a graph takes of memory for one point, in bytes; the caller's rows are not in it.
///
/// Sealed, with `m` links a level and twice as many on level 0:
///
///     8 m                    links of level 0
///     4 m / (m - 1)          links above: a share 1 / (m - 1) of a list of m
///     13                     level, row, node, and where the upper lists are
///     codes                  1 a component by int8, 1/2 by int4, in whole cache lines; none for floats
///     8                      terms of the codes
///     sketch                 by codes of more than 128 components: 1/8 a component, in words of 8, and 8, in whole 32
///
/// and for the whole graph, once, four bytes a component for the centre of the data. float16 rows for re-scoring, if asked
/// for, are two bytes a component more. While it grows a graph also keeps the distance of each link of level 0 (8 m), the
/// state of each row (4 instead of 8 of numbering), a quarter more room for upper lists, and codes of int8 alone.
package struct GraphFootprint: Sendable {
    package var dimension: Int
    package var m: Int

    package init(dimension: Int, m: Int) {
        self.dimension = dimension
        self.m = m
    }

    private var links: Double { 8 * Double(self.m) }
    private var upper: Double { 4 * Double(self.m) / Double(self.m - 1) }
    private func codes(_ kind: CodeKind) -> Double {
        kind == .none ? 0 : Double(kind.stride(dimension: self.dimension)) + 8
    }

    private func sketch(_ kind: CodeKind) -> Double { Double(kind.sketchStride(dimension: self.dimension)) }

    package func sealed(_ kind: CodeKind) -> Double {
        self.links + self.upper + 13 + self.codes(kind) + self.sketch(kind)
    }
    package func growing(_ kind: CodeKind) -> Double {
        2 * self.links + 1.25 * self.upper + 8 + self.codes(kind == .none ? .none : .int8)
    }
    /// A ``SubsetGraph``, for a point in it: as sealed, without nodes by row and sketches; a filter's also keeps a bit for each
    /// row of its segment.
    package func subset(_ kind: CodeKind) -> Double { self.sealed(kind) - 4 - self.sketch(kind) }
    package var rescoringFloat16: Double { 2 * Double(HalfRows.stride(dimension: self.dimension)) }
}
