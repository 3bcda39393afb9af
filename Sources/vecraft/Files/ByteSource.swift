internal import CZlib
internal import Glibc
package import Primitives

/// A file, or standard input for "-", read from its beginning to its end in pieces; gzip is undone on the way.
package final class ByteSource {
    /// As the user wrote it: what errors name.
    package let path: String
    private let descriptor: Int32
    private var inflater: Inflater?
    private var input: [UInt8]
    private var available = 0..<0
    /// One read of the disk.
    private static let chunk = 1 << 18

    package init(path: String) throws(VecraftError) {
        self.path = path
        self.input = [UInt8](repeating: 0, count: Self.chunk)
        if path == "-" {
            self.descriptor = STDIN_FILENO
        } else {
            self.descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard self.descriptor >= 0 else { throw Self.fault(path, "cannot be opened") }
            var status = stat()
            if fstat(self.descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
                close(self.descriptor)
                throw VecraftError(.invalidArgument, "\(path) is a folder")
            }
        }
        try self.fill()
        // RFC 1952, section 2.3.1: the two bytes that every gzip member begins with.
        if self.available.count >= 2, self.input[0] == 0x1F, self.input[1] == 0x8B {
            self.inflater = try Inflater(path)
        }
    }

    deinit { if self.descriptor != STDIN_FILENO { close(self.descriptor) } }

    /// Size on disk in bytes; nil for a pipe or for compressed contents, whose real size is not known.
    package var size: Int? {
        var status = stat()
        guard self.inflater == nil, fstat(self.descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            return nil
        }
        return Int(status.st_size)
    }

    /// Reads up to `buffer.count` bytes; 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(VecraftError) -> Int {
        guard buffer.count > 0 else { return 0 }
        while true {
            if self.available.isEmpty { try self.fill() }
            if self.available.isEmpty {
                if let inflater = self.inflater, !inflater.atBoundary {
                    throw VecraftError(.invalidArgument, "\(self.path) is cut off in the middle of its gzip data")
                }
                return 0
            }
            let produced: Int
            if let inflater = self.inflater {
                produced = try inflater.inflate(&self.input, &self.available, into: buffer)
            } else {
                produced = min(buffer.count, self.available.count)
                self.input.withUnsafeBytes { input in
                    buffer.copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: input[self.available.prefix(produced)]))
                }
                self.available.removeFirst(produced)
            }
            if produced > 0 { return produced }
        }
    }

    /// Reads exactly `buffer.count` bytes, or none at the end: false. What ends in between is an error.
    package func readWhole(
        into buffer: UnsafeMutableRawBufferPointer, _ what: @autoclosure () -> String
    ) throws(VecraftError) -> Bool {
        var filled = 0
        while filled < buffer.count {
            let count = try self.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]))
            if count == 0 {
                if filled == 0 { return false }
                throw VecraftError(.invalidArgument, "\(self.path) ends in the middle of \(what())")
            }
            filled += count
        }
        return true
    }

    private func fill() throws(VecraftError) {
        var count: Int
        repeat {
            count = self.input.withUnsafeMutableBytes { Glibc.read(self.descriptor, $0.baseAddress, $0.count) }
        } while count < 0 && errno == EINTR
        guard count >= 0 else { throw Self.fault(self.path, "cannot be read") }
        self.available = 0..<count
    }

    private static func fault(_ path: String, _ what: String) -> VecraftError {
        VecraftError(.invalidArgument, "\(path) \(what): \(String(cString: strerror(errno)))")
    }
}

/// zlib's inflate over a sequence of gzip members (RFC 1952, section 2.2: they follow one another).
private final class Inflater {
    private let path: String
    private var stream = z_stream()
    /// True between members: where a file may end.
    private(set) var atBoundary = true

    init(_ path: String) throws(VecraftError) {
        self.path = path
        // 15 bits of window; 16 more ask for the gzip wrapper.
        guard inflateInit2_(&self.stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw VecraftError(.internalError, "zlib could not be set up")
        }
    }

    deinit { inflateEnd(&self.stream) }

    func inflate(
        _ input: inout [UInt8], _ available: inout Range<Int>, into output: UnsafeMutableRawBufferPointer
    ) throws(VecraftError) -> Int {
        if self.atBoundary {
            inflateReset(&self.stream)
            self.atBoundary = false
        }
        let result = input.withUnsafeMutableBytes { bytes in
            self.stream.next_in = bytes.baseAddress!.assumingMemoryBound(to: Bytef.self) + available.lowerBound
            self.stream.avail_in = uInt(available.count)
            self.stream.next_out = output.baseAddress!.assumingMemoryBound(to: Bytef.self)
            self.stream.avail_out = uInt(clamping: output.count)
            return CZlib.inflate(&self.stream, Z_NO_FLUSH)
        }
        available = available.upperBound - Int(self.stream.avail_in)..<available.upperBound
        guard result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR else {
            let reason = self.stream.msg.map { String(cString: $0) } ?? "error \(result)"
            throw VecraftError(.invalidArgument, "\(self.path) is not valid gzip: \(reason)")
        }
        self.atBoundary = result == Z_STREAM_END
        return min(output.count, Int(uInt(clamping: output.count))) - Int(self.stream.avail_out)
    }
}
