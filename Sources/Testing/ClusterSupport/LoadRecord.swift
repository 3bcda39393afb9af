internal import Glibc
package import Linearizability

/// The clock of all histories: nanoseconds, never going back, alike for all threads.
package func historyTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// A write that was acknowledged, with all that its answer promised.
package struct AcknowledgedWrite: Sendable {
    package var register: Int
    package var value: UInt64
    package var client: Int
    package var key: String
    package var partition: String
    package var offset: UInt64
    package var hlc: UInt64
    /// The first attempt's call.
    package var invoked: UInt64
    package var returned: UInt64
    package var attempts: Int
}

/// What the clients of a load saw.
package struct LoadRecord: Sendable {
    package var history = RegisterHistory()
    /// Attempts of writes, each under its key.
    package var attempts: [AppendOperation] = []
    package var writes: [AcknowledgedWrite] = []
    package var reads = 0
    /// Version that reads saw a value with.
    package var versions: [UInt64: UInt64] = [:]
    /// Attempts that failed and were made again, by code.
    package var retries: [String: Int] = [:]
    /// Calls that were never answered in the time a client has, or were answered with what no client should see.
    package var failures: [String] = []

    package init() {}

    package mutating func merge(_ other: LoadRecord) {
        self.history.append(contentsOf: other.history.operations)
        self.attempts += other.attempts
        self.writes += other.writes
        self.reads += other.reads
        self.versions.merge(other.versions) { $1 }
        self.retries.merge(other.retries, uniquingKeysWith: +)
        self.failures += other.failures
    }

    /// All that is wrong with what the clients saw, whatever the nodes have.
    package func findings() -> [String] {
        var findings: [String] = []
        switch self.history.check() {
        case .holds: break
        case .violated(let violation): findings.append("\(violation)")
        case .undecided(let why): findings.append("not decided: \(why)")
        }
        for partition in Set(self.writes.map(\.partition)).sorted() {
            if let violation = self.appends(to: partition).check().violation {
                findings.append("\(partition): \(violation)")
            }
        }
        for write in self.writes {
            if let version = self.versions[write.value], version != write.hlc {
                findings.append(
                    "value \(write.value) was acknowledged with HLC \(write.hlc) and read with version \(version)")
            }
        }
        return findings
    }

    /// The same writes as appends to a partition's log. What was never answered belongs to every one.
    package func appends(to partition: String) -> AppendHistory {
        let elsewhere = Set(self.writes.filter { $0.partition != partition }.map(\.key))
        return AppendHistory(self.attempts.filter { !elsewhere.contains($0.key) })
    }

    package var summary: String {
        let unknown = self.history.operations.count { $0.isWrite && $0.returned == nil }
        let again = self.retries.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        return "\(self.writes.count) writes, \(self.reads) strong reads, \(unknown) writes of unknown outcome"
            + (again.isEmpty ? "" : "; tried again: \(again)")
    }
}
