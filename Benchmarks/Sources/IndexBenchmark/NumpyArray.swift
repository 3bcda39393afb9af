import Glibc

/// A two-dimensional array from a `.npy` file of format 1 or 2, C order, little-endian.
struct NumpyArray {
    let rows: Int
    let columns: Int
    /// "<f2", "<f4", "<u4".
    let type: String
    let bytes: UnsafeMutableRawBufferPointer

    init?(path: String) {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        fseek(file, 0, SEEK_END)
        let size = ftell(file)
        rewind(file)
        let all = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
        guard fread(all.baseAddress!, 1, size, file) == size, size > 12, all[0] == 0x93 else { return nil }
        let headerBytes =
            all[6] == 1
            ? Int(all.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
            : Int(all.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
        let start = (all[6] == 1 ? 10 : 12) + headerBytes
        let header = String(decoding: all[..<start].dropFirst(10), as: UTF8.self)
        func value(_ key: String, from open: Character, to close: Character) -> String? {
            guard let at = header.range(of: "'\(key)':") else { return nil }
            let rest = header[at...]
            guard let first = rest.firstIndex(of: open) else { return nil }
            let tail = rest[rest.index(after: first)...]
            return tail.firstIndex(of: close).map { String(tail[..<$0]) }
        }
        guard let type = value("descr", from: "'", to: "'"), let shape = value("shape", from: "(", to: ")") else {
            return nil
        }
        let sides = shape.split(separator: ",").compactMap { Int($0.filter(\.isNumber)) }
        guard sides.count == 2 else { return nil }
        self.type = type
        self.rows = sides[0]
        self.columns = sides[1]
        self.bytes = UnsafeMutableRawBufferPointer(rebasing: all[start...])
    }
}

extension String {
    /// Start of what follows `needle`.
    fileprivate func range(of needle: String) -> String.Index? {
        var at = self.startIndex
        while at < self.endIndex {
            if self[at...].hasPrefix(needle) { return self.index(at, offsetBy: needle.count) }
            at = self.index(after: at)
        }
        return nil
    }
}
