package import Primitives

/// The lines of a text file, one at a time, without their ends ("\n" or "\r\n").
package final class LineReader {
    private let source: ByteSource
    private var buffer: [UInt8]
    private var filled = 0
    private var position = 0
    private var ended = false
    /// Number of the line that ``next()`` returned last, from 1.
    package private(set) var number = 0
    /// A point with 16 vectors of 16,384 components, each written with all its digits, and a full payload fit.
    package static let maxLineBytes = 16 << 20

    package init(_ source: ByteSource) {
        self.source = source
        self.buffer = [UInt8](repeating: 0, count: 1 << 16)
    }

    package var path: String { self.source.path }

    /// The next line; its bytes are valid until the next call. Nil at the end of the file.
    package func next<R>(_ body: (UnsafeRawBufferPointer) throws(VecraftError) -> R) throws(VecraftError) -> R? {
        guard let line = try self.advance() else { return nil }
        self.number += 1
        return try self.buffer.withBytes { bytes throws(VecraftError) in
            try body(UnsafeRawBufferPointer(rebasing: bytes[line]))
        }
    }

    private func advance() throws(VecraftError) -> Range<Int>? {
        var searched = self.position
        while true {
            if let end = self.buffer[searched..<self.filled].firstIndex(of: UInt8(ascii: "\n")) {
                defer { self.position = end + 1 }
                return self.position..<self.trim(end)
            }
            searched = self.filled
            if self.ended {
                guard self.position < self.filled else { return nil }
                defer { self.position = self.filled }
                return self.position..<self.trim(self.filled)
            }
            searched -= self.position
            try self.refill()
        }
    }

    private func trim(_ end: Int) -> Int {
        end > self.position && self.buffer[end - 1] == UInt8(ascii: "\r") ? end - 1 : end
    }

    /// Moves what is unread to the front and reads more behind it.
    private func refill() throws(VecraftError) {
        let rest = self.filled - self.position
        guard rest < Self.maxLineBytes else {
            throw VecraftError(
                .invalidArgument,
                "\(self.path), line \(self.number + 1) is longer than \(Figures.bytes(UInt64(Self.maxLineBytes)))")
        }
        if self.position > 0 {
            self.buffer.withUnsafeMutableBytes { bytes in
                bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[self.position..<self.filled]))
            }
            (self.position, self.filled) = (0, rest)
        }
        if self.filled == self.buffer.count {
            self.buffer.append(contentsOf: repeatElement(0, count: self.buffer.count))
        }
        let count = try self.buffer.withMutableBytes { bytes throws(VecraftError) in
            try self.source.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[self.filled...]))
        }
        self.filled += count
        self.ended = count == 0
    }
}
