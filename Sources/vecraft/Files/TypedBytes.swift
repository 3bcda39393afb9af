internal import Primitives

extension [UInt8] {
    // `withUnsafeBytes` of an array only rethrows untyped errors; `withUnsafeBufferPointer` keeps the type.

    func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(VecraftError) -> R) throws(VecraftError) -> R {
        try self.withUnsafeBufferPointer { bytes throws(VecraftError) in try body(UnsafeRawBufferPointer(bytes)) }
    }

    mutating func withMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer) throws(VecraftError) -> R
    ) throws(VecraftError) -> R {
        try self.withUnsafeMutableBufferPointer { bytes throws(VecraftError) in
            try body(UnsafeMutableRawBufferPointer(bytes))
        }
    }
}
