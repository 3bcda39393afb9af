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
    let bits: Int
    let dimension: Int
    let codes: UnsafeMutablePointer<UInt8>
    let terms: UnsafeMutablePointer<Float>
    let stride: Int

    init(_ rows: [[Float]], bits: Int, centre: [Float]?) {
        let dimension = rows[0].count
        self.bits = bits
        self.dimension = dimension
        self.stride = bits == 8 ? (dimension + 63) / 64 * 64 : (dimension + 127) / 128 * 64
        self.codes = UnsafeMutableRawPointer.allocate(byteCount: rows.count * self.stride, alignment: 64)
            .bindMemory(to: UInt8.self, capacity: rows.count * self.stride)
        self.terms = .allocate(capacity: 2 * rows.count)
        let kernels = Variant.portable.kernels
        for (i, row) in rows.enumerated() {
            let codes = self.codes + i * self.stride
            let coded =
                bits == 8
                ? kernels.encode8(row, centre, UInt32(dimension), codes, UInt32(self.stride), 0x80)
                : kernels.encode4(row, centre, UInt32(dimension), codes, UInt32(self.stride))
            self.terms[2 * i] = coded.step
            self.terms[2 * i + 1] = coded.squares / 3
        }
    }

    deinit {
        UnsafeMutableRawPointer(self.codes).deallocate()
        self.terms.deallocate()
    }

    var kernelRows: vk_rows {
        var rows = vk_rows()
        rows.dimension = UInt32(self.dimension)
        rows.code_stride = UInt32(self.stride)
        rows.codes = UnsafePointer(self.codes)
        rows.terms = UnsafePointer(self.terms)
        return rows
    }

    /// An 8-bit row as a query.
    func query(_ i: Int) -> vk_query {
        var query = vk_query()
        query.codes = UnsafeRawPointer(self.codes + i * self.stride).assumingMemoryBound(to: Int8.self)
        query.scale = -self.terms[2 * i]
        query.bias = self.terms[2 * i + 1]
        query.is_row = 1
        return query
    }

    /// What the codes of a row stand for.
    func decoded(_ row: Int) -> [Double] {
        let codes = self.codes + row * self.stride
        return (0..<self.dimension).map { i in
            if self.bits == 8 { return Double(Int(codes[i]) - 128) * Double(self.terms[2 * row]) }
            let level = i < self.stride ? codes[i] & 15 : codes[i - self.stride] >> 4
            return (Double(level) - 7.5) * Double(self.terms[2 * row])
        }
    }
}

/// A query for coded rows, its codes anywhere.
final class CodedQuery {
    private let memory: UnsafeMutablePointer<UInt8>
    let query: vk_query
    let decoded: [Double]

    init(_ vector: [Float], bits: Int, misaligned: Int) {
        let stride = bits == 8 ? (vector.count + 63) / 64 * 64 : (vector.count + 127) / 128 * 128
        self.memory = .allocate(capacity: stride + misaligned)
        let codes = self.memory + misaligned
        let coded = Variant.portable.kernels.encode8(vector, nil, UInt32(vector.count), codes, UInt32(stride), 0)
        var query = vk_query()
        query.codes = UnsafeRawPointer(codes).assumingMemoryBound(to: Int8.self)
        query.scale = (bits == 8 ? -1 : -0.5) * coded.step
        query.bias = 0.25
        query.offset = (bits == 8 ? 128 : 15) * coded.sum
        self.query = query
        self.decoded = vector.indices.map { Double(Int8(bitPattern: codes[$0])) * Double(coded.step) }
    }

    deinit { self.memory.deallocate() }
}
