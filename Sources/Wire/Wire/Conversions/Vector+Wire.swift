package import Primitives

extension VecraftV1.Vector.View {
    /// The components in place, whichever of the two forms they came in.
    ///
    /// - Parameters:
    ///   - dimension: How many there must be.
    ///   - path: How the request calls this vector.
    /// - Throws: `INVALID_ARGUMENT`: both forms given, another number of components, one that is not finite.
    package func components(
        dimension: Int, at path: @autoclosure () -> String
    ) throws(VecraftError) -> UnsafeBufferPointer<Float> {
        let floats = try self.components(at: path())
        guard floats.count == dimension else {
            throw .invalid(path(), "has \(floats.count) components; the collection's vector has \(dimension)")
        }
        return floats
    }

    /// As ``components(dimension:at:)``, of any number.
    package func components(at path: @autoclosure () -> String) throws(VecraftError) -> UnsafeBufferPointer<Float> {
        var floats = self.values
        let packed = self.packed
        if !packed.isEmpty {
            guard floats.isEmpty else { throw .invalid(path(), "give values or packed, not both") }
            guard packed.count % 4 == 0 else {
                throw .invalid(path() + ".packed", "\(packed.count) bytes are no whole floats")
            }
            // What was decoded into an arena is 16-byte aligned. Little-endian, as all machines this runs on.
            precondition(Int(bitPattern: packed.baseAddress) % 4 == 0, "a packed vector borrowed from an odd address")
            floats = packed.assumingMemoryBound(to: Float.self)
        }
        guard Self.areFinite(floats) else { throw .invalid(path(), "every component must be finite") }
        return floats
    }

    /// Without a branch per component, so that it is done eight at a time.
    static func areFinite(_ floats: UnsafeBufferPointer<Float>) -> Bool {
        var largest: UInt32 = 0
        for value in floats { largest = max(largest, value.bitPattern & 0x7fff_ffff) }
        return largest < 0x7f80_0000
    }
}
