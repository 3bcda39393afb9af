internal import VectorKernels

/// Whole-vector operations on the processor's best kernels.
package enum VectorMath {
    /// Scales to unit length in place; a zero vector stays. Returns the length it had.
    @discardableResult
    package static func normalise(_ vector: UnsafeMutableBufferPointer<Float>) -> Double {
        guard let base = vector.baseAddress else { return 0 }
        return vk_normalise(base, vector.count)
    }

    package static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
        vk_kernels_best().pointee.dot(a, b, count)
    }

    /// Squared Euclidean distance.
    package static func l2(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
        vk_kernels_best().pointee.l2(a, b, count)
    }

    /// Rounds to nearest even; beyond the range of float16 becomes infinity.
    package static func toFloat16(_ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<UInt16>, count: Int) {
        vk_kernels_best().pointee.to_f16(from, to, count)
    }

    package static func fromFloat16(_ from: UnsafePointer<UInt16>, _ to: UnsafeMutablePointer<Float>, count: Int) {
        vk_kernels_best().pointee.from_f16(from, to, count)
    }

    /// Name of the kernels in use: "avx512popcnt", "avx512vnni", "avx512", "avx2", "neondot", "neon", "portable".
    package static var kernels: String { String(cString: vk_kernels_best().pointee.name) }
}
