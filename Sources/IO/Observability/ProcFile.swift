import Glibc

/// Small files of /proc.
package enum ProcFile {
    /// The whole text, at most 1 MiB; nil if there is none to read.
    package static func text(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        // 1 MiB: /proc/stat has a line per CPU and one of interrupts, and is far below that anywhere.
        while bytes.count < 1 << 20 {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A numbered field of /proc/self/stat, from 1 as proc(5) counts.
    static func statField(_ number: Int) -> Double? {
        // The second field is the command in parentheses and may hold anything, so count from the last ")".
        guard let text = Self.text("/proc/self/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return number - 3 < fields.count ? Double(fields[number - 3]) : nil
    }

    /// How many entries a directory has; not counting the descriptor this takes.
    static func entries(_ path: String) -> Int? {
        guard let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        var count = -1
        while let entry = readdir(directory) {
            if entry.pointee.d_name.0 != 0x2e { count += 1 }
        }
        return count
    }
}
