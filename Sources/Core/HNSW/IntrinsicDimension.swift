internal import Glibc
internal import Primitives

/// How slowly distances grow with the number of rows around a point: the higher, the less the nearest are nearer than others,
/// and the more ways a walk must try that may not use all of them.
enum IntrinsicDimension {
    /// Rows looked at, and those of them whose surroundings are.
    private static let rows = 2_000
    private static let queries = 64
    private static let neighbours = 16

    /// The maximum likelihood estimate of Amsaleg et al. 2015, section 4.1, from the squared distances of the nearest `count`,
    /// ascending; nil for one row, or none apart.
    static func local(_ count: Int, _ squares: (Int) -> Float) -> Double? {
        guard count > 1 else { return nil }
        let farthest = Double(squares(count - 1))
        guard farthest > 0 else { return nil }
        var product = 1.0
        for i in 0..<count - 1 { product *= min(1, max(1e-3, Double(squares(i)) / farthest)) }
        return product < 1 ? -Double(count - 1) / log(product) : .infinity
    }

    /// The median of some rows', among a sample. Nil by product, which has no zero to measure from, and for few rows.
    static func measured(_ rows: VectorRows, _ all: [UInt32]) -> Double? {
        guard rows.metric != .dot, all.count > 4 * Self.neighbours else { return nil }
        let step = (all.count + Self.rows - 1) / Self.rows
        let sample = stride(from: 0, to: all.count, by: step).prefix(Self.rows).map { all[$0] }
        let queries = min(Self.queries, sample.count)
        var squares = [Float](repeating: 0, count: sample.count)
        var found: [Double] = []
        for q in 0..<queries {
            let vector = rows.base + Int(sample[q * sample.count / queries]) * rows.stride
            for (i, row) in sample.enumerated() {
                squares[i] = VectorMath.l2(vector, rows.base + Int(row) * rows.stride, count: rows.dimension)
            }
            squares.sort()
            // The first is the row itself.
            if let dimension = Self.local(Self.neighbours, { squares[1 + $0] }) { found.append(dimension) }
        }
        found.sort()
        return found.isEmpty ? nil : found[found.count / 2]
    }

    /// Eligible rows, each `share`-th of all, that a hop of a filtered walk should meet: more find more ways where distances
    /// hardly tell rows apart or few are eligible, and cost links.
    static func reach(_ dimension: Double?, share: Double) -> Int {
        let ways = 16 * (1 + min(1, max(0, ((dimension ?? .infinity) - 6) / 6)))
        return Int(ways * min(2, max(1, 0.1 / share)))
    }
}
