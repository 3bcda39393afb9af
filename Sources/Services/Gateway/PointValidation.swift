internal import Primitives
internal import Wire

/// What a client may write, checked where it lies. Every refusal names the field and the limit.
enum PointValidation {
    /// - Parameter bytes: UTF-8.
    static func id(_ bytes: UnsafeRawBufferPointer, _ field: @autoclosure () -> String) throws(VecraftError) {
        guard (1...Limits.idBytes).contains(bytes.count) else {
            throw .invalid(field(), "1 to \(Limits.idBytes) bytes, not \(bytes.count)")
        }
        var isAfterC2 = false
        for byte in bytes {
            if byte < 0x20 || byte == 0x7f { throw .invalid(field(), "holds the control character \(byte)") }
            // U+0080 to U+009F, the C1 controls, are C2 80 to C2 9F.
            if isAfterC2, byte < 0xa0 { throw .invalid(field(), "holds the control character \(byte)") }
            isAfterC2 = byte == 0xc2
        }
    }

    /// The floats of a vector message in either of its forms, as little-endian bytes in place.
    static func components(
        _ vector: VecraftV1.Vector.View, _ schema: VectorSchema, _ field: @autoclosure () -> String
    ) throws(VecraftError) -> UnsafeRawBufferPointer {
        let values = vector.values
        let packed = vector.packed
        guard values.isEmpty || packed.isEmpty else {
            throw .invalid(field(), "has both values and packed; give one")
        }
        let raw = packed.isEmpty ? UnsafeRawBufferPointer(values) : packed
        guard raw.count == schema.dimension * 4 else {
            let got = packed.isEmpty ? "\(values.count) components" : "\(packed.count) bytes"
            throw .invalid(
                field(), "\(got); vector \"\(schema.name)\" of this collection has \(schema.dimension) components")
        }
        try Self.check(raw, metric: schema.metric, field())
        return raw
    }

    /// Finite, squares to a finite sum, and not zero where a direction is needed.
    static func check(
        _ raw: UnsafeRawBufferPointer, metric: Metric, _ field: @autoclosure () -> String
    ) throws(VecraftError) {
        // The arena aligns to 16 bytes, so both forms may be read as floats. Four sums let the compiler use vectors.
        let floats = raw.assumingMemoryBound(to: Float.self)
        var sums = SIMD8<Float>(repeating: 0)
        var i = 0
        while i &+ 8 <= floats.count {
            let part = UnsafeRawPointer(floats.baseAddress! + i).loadUnaligned(as: SIMD8<Float>.self)
            sums += part * part
            i &+= 8
        }
        var sum = sums.sum()
        while i < floats.count {
            sum += floats[i] * floats[i]
            i &+= 1
        }
        // A NaN or an infinity anywhere makes the sum one.
        guard sum.isFinite else {
            for (i, value) in floats.enumerated() where !value.isFinite {
                throw .invalid("\(field())[\(i)]", "\(value) is not a finite number")
            }
            throw .invalid(field(), "components so large that their squares overflow")
        }
        // A tiny vector has a direction too; storage scales it before it is measured.
        if metric == .cosine, sum < 1e-30, floats.allSatisfy({ $0 == 0 }) {
            throw .invalid(field(), "has no direction (length 0), which cosine distance needs")
        }
    }

    static func payload(_ raw: UnsafeRawBufferPointer, _ field: @autoclosure () -> String) throws(VecraftError) {
        guard raw.count <= Limits.payloadBytes else {
            throw .invalid(field(), "\(raw.count) bytes; at most \(Limits.payloadBytes)")
        }
        do throws(VecraftError) {
            try JSONScanner.validateObject(raw, maxDepth: Limits.payloadDepth)
        } catch {
            throw .invalid(field(), error.message)
        }
    }

    static func tenant(_ text: TextView) throws(VecraftError) -> String {
        text.isEmpty ? "default" : text.string
    }
}
