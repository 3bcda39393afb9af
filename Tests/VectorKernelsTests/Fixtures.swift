import Primitives
import VectorKernels

/// A variant that this processor can run; named in failures.
struct Variant: CustomStringConvertible, Sendable {
    // Sendable: points at a constant table.
    nonisolated(unsafe) let table: UnsafePointer<vk_kernels>
    var kernels: vk_kernels { self.table.pointee }
    var description: String { String(cString: self.kernels.name) }

    static var all: [Variant] {
        (0..<vk_kernels_count()).compactMap { vk_kernels_at($0).map { Variant(table: $0) } }
    }
    static var portable: Variant { Self.all.last! }
}

extension SeededRNG {
    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
        (0..<count).map { _ in Float.random(in: range, using: &self) }
    }

    mutating func codes(_ count: Int) -> [Int8] {
        (0..<count).map { _ in Int8.random(in: -127...127, using: &self) }
    }
}

/// Rows of floats at a chosen misalignment, with a stride of their own.
final class FloatRows {
    private let memory: UnsafeMutableRawPointer
    let base: UnsafeMutablePointer<Float>
    let stride: Int

    init(_ rows: [[Float]], stride: Int, misaligned offset: Int) {
        self.stride = stride
        self.memory = .allocate(byteCount: (rows.count * stride + offset + 1) * 4, alignment: 64)
        self.base = self.memory.bindMemory(to: Float.self, capacity: rows.count * stride + offset + 1) + offset
        // Whatever lies between rows must not be read into a sum.
        (self.base - offset).update(repeating: .signalingNaN, count: rows.count * stride + offset + 1)
        for (i, row) in rows.enumerated() { for (j, x) in row.enumerated() { self.base[i * stride + j] = x } }
    }

    deinit { self.memory.deallocate() }
}

/// Encoded rows, 64-byte aligned as a graph keeps them.
final class CodedRows {
    let codes: UnsafeMutablePointer<Int8>
    let terms: UnsafeMutablePointer<Float>
    let stride: Int
    let count: Int

    init(_ rows: [[Float]]) {
        let dimension = rows[0].count
        self.count = rows.count
        self.stride = (dimension + 63) / 64 * 64
        self.codes = UnsafeMutableRawPointer.allocate(byteCount: rows.count * self.stride, alignment: 64)
            .bindMemory(to: Int8.self, capacity: rows.count * self.stride)
        self.terms = .allocate(capacity: 2 * rows.count)
        for (i, row) in rows.enumerated() {
            vk_encode(row, UInt32(dimension), self.codes + i * self.stride, UInt32(self.stride), self.terms + 2 * i)
        }
    }

    deinit {
        UnsafeMutableRawPointer(self.codes).deallocate()
        self.terms.deallocate()
    }

    func query(_ i: Int) -> vk_query {
        vk_query(
            floats: nil, codes: self.codes + i * self.stride, code_step: self.terms[2 * i], code_norm: self.terms[2 * i + 1])
    }

    func row(_ i: Int) -> [Int] { (0..<self.stride).map { Int(self.codes[i * self.stride + $0]) } }
}
