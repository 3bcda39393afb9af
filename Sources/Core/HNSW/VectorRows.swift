package import Primitives
internal import VectorKernels

/// Float rows at a fixed address, owned by the caller for as long as this value is used. Row `i` starts at
/// `base + i * stride`; a row is written before it is linked or scanned and never changes after.
///
/// Components are finite; the caller has checked. For ``Metric/cosine`` rows and queries are unit length (a zero vector is
/// at distance 1 from everything).
package struct VectorRows: @unchecked Sendable {  // read only; see above for who keeps the memory alive and still
    package let base: UnsafePointer<Float>
    /// Floats from one row to the next; a multiple of 16 with a 64-byte aligned `base` is fastest, nothing is required.
    package let stride: Int
    package let dimension: Int
    package let metric: Metric

    package init(base: UnsafePointer<Float>, stride: Int, dimension: Int, metric: Metric) {
        precondition(
            1...Limits.dimension ~= dimension && stride >= dimension, "dimension \(dimension) at a stride of \(stride)")
        self.base = base
        self.stride = stride
        self.dimension = dimension
        self.metric = metric
    }

    func kernelRows(
        codes: UnsafePointer<UInt8>? = nil, terms: UnsafePointer<Float>? = nil, codeStride: Int = 0
    ) -> vk_rows {
        var rows = vk_rows()
        rows.floats = self.base
        rows.stride = self.stride
        rows.dimension = UInt32(self.dimension)
        rows.codes = codes
        rows.code_stride = UInt32(codeStride)
        rows.terms = terms
        return rows
    }
}
