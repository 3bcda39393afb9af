internal import Glibc
internal import Observability

/// What a node is and has, at one moment. What cannot be read is absent.
package struct NodeReading: Sendable {
    package struct Memory: Sendable, Equatable {
        /// Of the machine, or as much of it as the process may use.
        package var total: UInt64
        package var available: UInt64
    }
    /// Time used of a cgroup with a limit.
    package struct LimitedCPU: Sendable, Equatable {
        package var cores: Double
        package var usedMicroseconds: UInt64
    }

    package var cpu: KernelText.CPUTicks?
    /// The process's cgroup, or the one above it, whose limit is the tightest; nil without a limit.
    package var limitedCPU: LimitedCPU?
    package var memory: Memory?
    package var network: (received: UInt64, sent: UInt64)?
    package var storage: (read: UInt64, written: UInt64)?

    /// - Parameter root: Where `proc` and `sys/fs/cgroup` are; "" for the system's own.
    package init(root: String = "") {
        func text(_ path: String) -> String? { ProcFile.text(root + path) }
        self.cpu = text("/proc/stat").flatMap { KernelText.cpuTicks($0) }
        self.network = text("/proc/net/dev").flatMap { KernelText.network($0) }
        self.storage = text("/proc/self/io").flatMap { KernelText.storage($0) }
        if let machine = text("/proc/meminfo").flatMap({ KernelText.memory($0) }) {
            self.memory = Memory(total: machine.total, available: machine.available)
        }
        guard let path = text("/proc/self/cgroup").flatMap({ KernelText.cgroup($0) }) else { return }
        for group in Self.upwards(path) { self.limit("\(root)/sys/fs/cgroup\(group)") }
    }

    /// "/a/b", "/a" and "".
    static func upwards(_ path: String) -> [String] {
        var groups: [String] = []
        var rest = path == "/" ? "" : path
        // Deeper than anything that exists; a limit all the same.
        while !rest.isEmpty, groups.count < 64 {
            groups.append(rest)
            rest = rest.lastIndex(of: "/").map { String(rest[..<$0]) } ?? ""
        }
        return groups + [""]
    }

    private mutating func limit(_ group: String) {
        if let cores = ProcFile.text(group + "/cpu.max").flatMap({ KernelText.cpuLimit($0) }),
            cores < self.limitedCPU?.cores ?? .infinity,
            let used = ProcFile.text(group + "/cpu.stat").flatMap({ KernelText.field("usage_usec", in: $0) })
        {
            self.limitedCPU = LimitedCPU(cores: cores, usedMicroseconds: used)
        }
        if let most = ProcFile.text(group + "/memory.max").flatMap({ KernelText.bytes($0) }),
            let memory = self.memory, most < memory.total,
            let current = ProcFile.text(group + "/memory.current").flatMap({ KernelText.bytes($0) })
        {
            // Pages of files that nobody has used lately are given up before anything else is.
            let spare = ProcFile.text(group + "/memory.stat").flatMap { KernelText.field("inactive_file", in: $0) } ?? 0
            let used = current - min(spare, current)
            self.memory = Memory(total: most, available: min(memory.available, most - min(used, most)))
        }
    }

    /// Part of the CPUs used since `earlier`, 0 to 1; nil if that cannot be said.
    package func cpuUtilization(since earlier: NodeReading, seconds: Double) -> Double? {
        if let now = self.limitedCPU, let before = earlier.limitedCPU, seconds > 0,
            now.usedMicroseconds >= before.usedMicroseconds
        {
            return min(1, Double(now.usedMicroseconds - before.usedMicroseconds) / 1e6 / (seconds * now.cores))
        }
        guard let now = self.cpu, let before = earlier.cpu, now.total > before.total, now.busy >= before.busy else {
            return nil
        }
        return min(1, Double(now.busy - before.busy) / Double(now.total - before.total))
    }

    /// Bytes of the file system with `path`: all, and what may still be written.
    package static func disk(_ path: String) -> (total: UInt64, free: UInt64)? {
        var about = statvfs()
        guard statvfs(path, &about) == 0 else { return nil }
        return (UInt64(about.f_blocks) * UInt64(about.f_frsize), UInt64(about.f_bavail) * UInt64(about.f_frsize))
    }
}
