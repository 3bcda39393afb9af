internal import VectorKernels

/// What a walk measures.
package enum CodeKind: UInt8, Sendable, CaseIterable {
    /// The rows' floats.
    case none
    /// One byte a component.
    case int8
    /// Half a byte a component; sealed graphs only.
    case int4

    /// Bytes of one row's codes: whole cache lines.
    package func stride(dimension: Int) -> Int {
        switch self {
        case .none: 0
        case .int8: (dimension + 63) / 64 * 64
        case .int4: (dimension + 127) / 128 * 64
        }
    }

    /// Bytes of one row's sketch, 0 where rows have none: beside short codes it would take too large a share.
    package func sketchStride(dimension: Int) -> Int {
        let stride = Int(vk_sketch_stride(UInt32(dimension)))
        return dimension > 128 && self.stride(dimension: dimension) >= 2 * stride ? stride : 0
    }

    /// Codes of a query: one byte a component, whatever the rows have.
    func queryStride(dimension: Int) -> Int {
        self == .int4 ? 2 * self.stride(dimension: dimension) : self.stride(dimension: dimension)
    }
}

/// What a sealed graph measures the candidates of a walk over codes again on.
package enum Rescoring: Sendable {
    /// The caller's rows: distances are exact.
    case float32
    /// Rows of two bytes a component in the graph's own order: half the memory traffic, and distances to about three digits.
    case float16
}
