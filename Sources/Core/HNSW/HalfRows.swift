internal import Primitives
internal import VectorKernels

/// Rows as float16, less the centre and scaled by a power of two so that none overflows: what candidates are measured again
/// on, at half the memory traffic of floats.
///
/// Cosine is taken as half the squared distance, which rounding hurts in proportion to the distance alone; so it wants rows
/// of unit length.
struct HalfRows {
    let base: UnsafePointer<UInt16>
    let dimension: Int
    /// A component `x` is kept as `(x - centre) * 2^shift`.
    let shift: Int
    let centre: UnsafePointer<Float>
    let metric: Metric

    /// Halves from one row to the next: whole cache lines.
    static func stride(dimension: Int) -> Int { (dimension + 31) / 32 * 32 }

    /// The largest shift that keeps a component of this size finite; nil when there is none to speak of.
    static func shift(largest: Float) -> Int? {
        guard largest > 0, largest < .infinity else { return nil }
        let shift = 14 - Int(largest.exponent)
        return -100...100 ~= shift ? shift : nil
    }

    private static func power(_ shift: Int) -> Float { Float(sign: .plus, exponent: shift, significand: 1) }

    /// Whether rows of this length can be kept so.
    static func suits(_ metric: Metric, squaredLength: Float) -> Bool {
        metric != .cosine || abs(squaredLength - 1) < 1e-5
    }

    /// Writes one row. `scratch` has room for a stride of floats, the end of it zero.
    static func encode(
        _ row: UnsafePointer<Float>, dimension: Int, shift: Int, centre: UnsafePointer<Float>,
        scratch: UnsafeMutablePointer<Float>, to halves: UnsafeMutablePointer<UInt16>
    ) {
        let scale = Self.power(shift)
        for i in 0..<dimension { scratch[i] = (row[i] - centre[i]) * scale }
        vk_kernels_best().pointee.to_f16(scratch, halves, Self.stride(dimension: dimension))
    }

    private var usesL2: Bool { self.metric != .dot }

    var measure: Measure {
        let kernels = vk_kernels_best().pointee
        return self.usesL2 ? kernels.half_l2_rows : kernels.half_dot_rows
    }

    /// Aims `query` at a vector, whose floats in the rows' scale go to `floats`: a stride of them, the end of it zero.
    func aim(
        _ query: UnsafeMutablePointer<vk_query>, at vector: UnsafePointer<Float>, floats: UnsafeMutablePointer<Float>
    ) {
        query.pointee.floats = UnsafePointer(floats)
        let dimension = self.dimension
        let centre = self.centre
        var i = 0
        if self.usesL2 {
            let scale = Self.power(self.shift)
            while i < dimension {
                floats[i] = (vector[i] - centre[i]) * scale
                i &+= 1
            }
            query.pointee.scale = Self.power(-2 * self.shift) * (self.metric == .cosine ? 0.5 : 1)
            query.pointee.bias = 0
        } else {
            let scale = Self.power(-self.shift)
            while i < dimension {
                floats[i] = vector[i] * scale
                i &+= 1
            }
            query.pointee.scale = -1
            query.pointee.bias = 1 - vk_kernels_best().pointee.dot(vector, centre, dimension)
        }
        let stride = Self.stride(dimension: dimension)
        while i < stride {
            floats[i] = 0
            i &+= 1
        }
    }
}
