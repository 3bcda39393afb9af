import Foundation

/// What the system says of a process.
package enum ProcessFigures {
    /// CPU seconds it has spent, of all its threads.
    package static func cpuSeconds(of process: Int32) -> Double {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
            let close = text.lastIndex(of: ")")
        else { return 0 }
        let fields = text[text.index(after: close)...].split(separator: " ")
        let ticks = (Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Bytes of memory: all that is resident, and what of it is not pages of files.
    package static func memory(of process: Int32) -> (resident: Int, anonymous: Int) {
        let text = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
        func kilobytes(_ name: String) -> Int {
            let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0
        }
        return (kilobytes("VmRSS") << 10, kilobytes("RssAnon") << 10)
    }
}
