/// What the kernel says in its small text files. Pure; nil where a text is not what was expected.
package enum KernelText {
    /// Time of all CPUs, in clock ticks since boot.
    package struct CPUTicks: Sendable, Equatable {
        /// With a lower priority too.
        package var user: UInt64
        /// With interrupts.
        package var system: UInt64
        package var iowait: UInt64
        /// Wanted, and given to another machine on the same hardware.
        package var steal: UInt64
        package var idle: UInt64

        package var total: UInt64 { self.user + self.system + self.iowait + self.steal + self.idle }
        /// Not free to be used.
        package var busy: UInt64 { self.user + self.system + self.steal }
    }

    /// `/proc/stat` (proc_stat(5)). Guests are in user already.
    package static func cpuTicks(_ text: some StringProtocol) -> CPUTicks? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("cpu ") }) else { return nil }
        let fields = line.split(separator: " ").dropFirst().map { UInt64($0) }
        guard fields.count >= 8, fields.prefix(8).allSatisfy({ $0 != nil }) else { return nil }
        let ticks = fields.prefix(8).compactMap { $0 }
        return CPUTicks(
            user: ticks[0] + ticks[1], system: ticks[2] + ticks[5] + ticks[6], iowait: ticks[4], steal: ticks[7],
            idle: ticks[3])
    }

    /// `/proc/meminfo` (proc_meminfo(5)), in bytes.
    package static func memory(_ text: some StringProtocol) -> (total: UInt64, available: UInt64)? {
        guard let total = Self.field("MemTotal:", in: text), let available = Self.field("MemAvailable:", in: text)
        else {
            return nil
        }
        return (total * 1024, available * 1024)
    }

    /// `/proc/net/dev`: bytes received and sent by all interfaces but the loopback; of the loopback if it is alone.
    package static func network(_ text: some StringProtocol) -> (received: UInt64, sent: UInt64)? {
        var loopback: (received: UInt64, sent: UInt64)?
        var sum: (received: UInt64, sent: UInt64)?
        for line in text.split(separator: "\n") {
            // "eth0: 1 2 ..."; the counts may follow the colon at once.
            guard let colon = line.lastIndex(of: ":") else { continue }
            let counts = line[line.index(after: colon)...].split(separator: " ")
            guard counts.count >= 9, let received = UInt64(counts[0]), let sent = UInt64(counts[8]) else { continue }
            if line[..<colon].split(separator: " ").first == "lo" {
                loopback = (received, sent)
            } else {
                sum = ((sum?.received ?? 0) &+ received, (sum?.sent ?? 0) &+ sent)
            }
        }
        return sum ?? loopback
    }

    /// `/proc/self/io` (proc_pid_io(5)): bytes this process caused to be fetched from, and sent to, storage.
    package static func storage(_ text: some StringProtocol) -> (read: UInt64, written: UInt64)? {
        guard let read = Self.field("read_bytes:", in: text), let written = Self.field("write_bytes:", in: text) else {
            return nil
        }
        return (read, written)
    }

    /// `/proc/self/cgroup` (cgroups(7)): the path in the unified hierarchy.
    package static func cgroup(_ text: some StringProtocol) -> String? {
        text.split(separator: "\n").first { $0.hasPrefix("0::/") }.map { String($0.dropFirst(3)) }
    }

    /// `cpu.max` of a cgroup: CPUs it may use, nil without a limit.
    package static func cpuLimit(_ text: some StringProtocol) -> Double? {
        let fields = text.split { $0 == " " || $0 == "\n" }
        guard fields.count == 2, let quota = Double(fields[0]), let period = Double(fields[1]), period > 0 else {
            return nil
        }
        return quota / period
    }

    /// `memory.max` and `memory.current` of a cgroup: bytes; nil for "max".
    package static func bytes(_ text: some StringProtocol) -> UInt64? {
        text.split(separator: "\n").first.flatMap { UInt64($0) }
    }

    /// A number of a file with a name and a number on each line: `cpu.stat`, `memory.stat`, `/proc/meminfo`.
    package static func field(_ name: String, in text: some StringProtocol) -> UInt64? {
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ")
            if fields.count >= 2, fields[0] == name { return UInt64(fields[1]) }
        }
        return nil
    }
}
