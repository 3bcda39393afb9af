/// Arithmetic that must give the same bits on every machine, because stored vectors are part of a replica's digest.
///
/// The kernels choose instructions by machine and so round differently; here the order of additions is fixed (16 lanes,
/// then the lanes in order) and nothing is fused. Swift does not contract `a * b + c`.
enum ExactArithmetic {
    /// Sum of squares, accumulated in Float lanes and totalled in Double.
    static func squaredNorm(_ vector: UnsafePointer<Float>, _ dimension: Int) -> Double {
        let raw = UnsafeRawPointer(vector)
        var a = SIMD16<Float>(repeating: 0)
        var i = 0
        while i &+ 16 <= dimension {
            let x = raw.loadUnaligned(fromByteOffset: i &* 4, as: SIMD16<Float>.self)
            a += x * x
            i &+= 16
        }
        var sum = 0.0
        for lane in 0..<16 { sum += Double(a[lane]) }
        while i < dimension {
            let x = Double(vector[i])
            sum += x * x
            i &+= 1
        }
        return sum
    }

    /// `source / |source|` into `target`. False if the vector has no direction: zero, or a component that is not finite.
    static func normalise(
        _ source: UnsafePointer<Float>, _ dimension: Int, into target: UnsafeMutablePointer<Float>
    ) -> Bool {
        var norm = Self.squaredNorm(source, dimension)
        var scale: Float = 1
        if !(norm > 1e-30) || !(norm < 1e30) {
            // Squares leave Float's range long before the vector does: bring the largest component to 1 and try again.
            var largest: Float = 0
            for i in 0..<dimension {
                let size = source[i].magnitude
                guard size.isFinite else { return false }
                largest = max(largest, size)
            }
            guard largest > 0 else { return false }
            // A power of two, so that scaling is exact.
            scale = Float(sign: .plus, exponent: -largest.exponent, significand: 1)
            if !scale.isFinite { scale = Float.greatestFiniteMagnitude }
            for i in 0..<dimension { target[i] = source[i] * scale }
            norm = Self.squaredNorm(target, dimension)
            guard norm > 0, norm.isFinite else { return false }
            let factor = Float(1 / norm.squareRoot())
            for i in 0..<dimension { target[i] *= factor }
            return true
        }
        let factor = Float(1 / norm.squareRoot())
        let from = UnsafeRawPointer(source)
        let to = UnsafeMutableRawPointer(target)
        var i = 0
        while i &+ 16 <= dimension {
            let x = from.loadUnaligned(fromByteOffset: i &* 4, as: SIMD16<Float>.self)
            to.storeBytes(of: x * factor, toByteOffset: i &* 4, as: SIMD16<Float>.self)
            i &+= 16
        }
        while i < dimension {
            target[i] = source[i] * factor
            i &+= 1
        }
        return true
    }

    /// No NaN, no infinity.
    static func isFinite(_ vector: UnsafePointer<Float>, _ dimension: Int) -> Bool {
        // All exponent bits set means NaN or infinity.
        let mask: UInt32 = 0x7f80_0000
        let raw = UnsafeRawPointer(vector)
        var i = 0
        var bad = SIMDMask<SIMD16<Int32>>(repeating: false)
        while i &+ 16 <= dimension {
            let bits = raw.loadUnaligned(fromByteOffset: i &* 4, as: SIMD16<UInt32>.self)
            bad .|= (bits & mask) .== mask
            i &+= 16
        }
        if bad != SIMDMask(repeating: false) { return false }
        while i < dimension {
            if !vector[i].isFinite { return false }
            i &+= 1
        }
        return true
    }
}
