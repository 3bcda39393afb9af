import Foundation
import Primitives
import vecraft

/// A folder for one test's files.
final class TestFolder {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "vecraft-cli-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    /// Writes a file and returns its path.
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = self.path + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    func write(_ name: String, _ text: String) throws -> String { try self.write(name, Array(text.utf8)) }
}

/// Array files as NumPy writes them.
enum NPY {
    static func bytes(
        _ descr: String, shape: String, fortran: String = "False", version: UInt8 = 1, data: [UInt8]
    ) -> [UInt8] {
        var header = Array("{'descr': '\(descr)', 'fortran_order': \(fortran), 'shape': \(shape), }".utf8)
        let prefix = version == 1 ? 10 : 12
        while (prefix + header.count + 1) % 64 != 0 { header.append(0x20) }
        header.append(0x0A)
        let length = withUnsafeBytes(of: UInt32(header.count).littleEndian) { Array($0) }
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + length.prefix(version == 1 ? 2 : 4) + header + data
    }

    static func floats(_ values: [Float], _ shape: String) -> [UInt8] {
        Self.bytes("<f4", shape: shape, data: raw(values))
    }

    static func raw<T>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }
}

/// All vectors of a file.
func vectors(_ path: String) throws -> [[Float]] {
    let reader = try VectorFile.open(path)
    var all: [[Float]] = []
    var row = [Float](repeating: 0, count: reader.dimension)
    while try row.withUnsafeMutableBufferPointer({ try reader.next(into: $0) }) { all.append(row) }
    return all
}

/// What an error says; "" if there is none.
func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return ""
    } catch let error as VecraftError {
        return error.message
    } catch {
        return "\(error)"
    }
}

/// The project's root: two folders above this file's.
let projectRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path
