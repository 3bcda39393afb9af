import Foundation
import MetricsExporter
import Observability
import Synchronization
import TestSupport
import Testing

/// A machine made of files.
private struct Machine {
    let directory: TemporaryDirectory
    var root: String { self.directory.path }

    init() throws {
        self.directory = try TemporaryDirectory()
        try self.write("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
        try self.write("proc/net/dev", "lo: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\neth0: 30 0 0 0 0 0 0 0 40 0 0 0 0 0 0 0\n")
        try self.write("proc/self/io", "read_bytes: 5\nwrite_bytes: 6\n")
        try self.cpu(busy: 100, idle: 900)
    }

    func write(_ path: String, _ text: String) throws {
        let file = URL(fileURLWithPath: self.root).appendingPathComponent(path)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: file, atomically: false, encoding: .utf8)
    }

    func cpu(busy: Int, idle: Int) throws { try self.write("proc/stat", "cpu  \(busy) 0 0 \(idle) 0 0 0 0 0 0\n") }

    func group(_ path: String, cpu: String, usage: Int, memory: String, current: Int, inactive: Int) throws {
        try self.write("sys/fs/cgroup\(path)/cpu.max", cpu)
        try self.write("sys/fs/cgroup\(path)/cpu.stat", "usage_usec \(usage)\nuser_usec 1\n")
        try self.write("sys/fs/cgroup\(path)/memory.max", memory)
        try self.write("sys/fs/cgroup\(path)/memory.current", "\(current)\n")
        try self.write("sys/fs/cgroup\(path)/memory.stat", "anon 1\ninactive_file \(inactive)\n")
    }
}

@Suite struct NodeExporterTests {
    private static let second: UInt64 = 1_000_000_000

    private func exporter(
        _ machine: Machine, _ metrics: NodeMetrics, ready: @escaping @Sendable () -> Bool = { true }
    ) -> NodeExporter {
        NodeExporter(metrics, directory: machine.root, root: machine.root, now: 0) {
            (ready(), [.init("journal", isUp: true), .init("storage", isUp: ready())])
        }
    }

    @Test func aMachineWithoutLimitsIsReadAsAWhole() throws {
        let machine = try Machine()
        let metrics = NodeMetrics(MetricsRegistry())
        let exporter = self.exporter(machine, metrics)
        try machine.cpu(busy: 130, idle: 970)
        exporter.collect(now: Self.second)
        #expect(abs(metrics.cpuUtilization.with([]).value - 0.3) < 1e-9)
        #expect(metrics.cpuSeconds.with("user").value == 130 / Double(sysconf(Int32(_SC_CLK_TCK))))
        #expect(metrics.memory.with("total").value == 1_024_000)
        #expect(metrics.memory.with("available").value == 409_600)
        #expect(metrics.memory.with("used").value == 614_400)
        #expect(metrics.network.with("received").count == 30 && metrics.network.with("sent").count == 40)
        #expect(metrics.diskIO.with("read").count == 5 && metrics.diskIO.with("written").count == 6)
        let (total, free) = (metrics.disk.with("total").value, metrics.disk.with("free").value)
        #expect(total > 0 && free >= 0 && free <= total)
        #expect(metrics.ready.with([]).value == 1 && metrics.serviceUp.with("storage").value == 1)
    }

    @Test func theTightestLimitAboveTheProcessCounts() throws {
        let machine = try Machine()
        try machine.write("proc/self/cgroup", "0::/pod/box\n")
        try machine.group(
            "/pod", cpu: "50000 100000\n", usage: 1_000_000, memory: "512000\n", current: 300_000, inactive: 100_000)
        try machine.group("/pod/box", cpu: "max 100000\n", usage: 5, memory: "max\n", current: 200_000, inactive: 0)
        let metrics = NodeMetrics(MetricsRegistry())
        let exporter = self.exporter(machine, metrics)
        // In two seconds a quarter of one CPU's time, of the half that is allowed.
        try machine.group(
            "/pod", cpu: "50000 100000\n", usage: 1_500_000, memory: "512000\n", current: 300_000, inactive: 100_000)
        exporter.collect(now: 2 * Self.second)
        #expect(abs(metrics.cpuUtilization.with([]).value - 0.5) < 1e-9)
        #expect(metrics.memory.with("total").value == 512_000)
        // 300,000 less the 100,000 of idle file pages are in use.
        #expect(metrics.memory.with("available").value == 312_000)
        #expect(metrics.memory.with("used").value == 200_000)
    }

    @Test func aReadingServesForASecondAndReadinessIsAskedEachTime() throws {
        let machine = try Machine()
        let metrics = NodeMetrics(MetricsRegistry())
        let ready = ReadyFlag()
        let exporter = self.exporter(machine, metrics) { ready.value }
        exporter.collect(now: Self.second)
        try machine.write("proc/self/io", "read_bytes: 50\nwrite_bytes: 60\n")
        ready.value = false
        exporter.collect(now: 2 * Self.second - 1)
        #expect(metrics.diskIO.with("read").count == 5)
        #expect(metrics.ready.with([]).value == 0 && metrics.serviceUp.with("storage").value == 0)
        #expect(metrics.serviceUp.with("journal").value == 1)
        exporter.collect(now: 2 * Self.second)
        #expect(metrics.diskIO.with("read").count == 50)
    }

    @Test func whatCannotBeReadIsNotMadeUp() throws {
        let directory = try TemporaryDirectory()
        let registry = MetricsRegistry()
        let exporter = NodeExporter(
            NodeMetrics(registry), directory: directory.path + "/absent", root: directory.path, now: 0
        ) { (false, []) }
        exporter.collect(now: Self.second)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_node_ready 0"))
        for name in ["cpu", "memory", "disk", "network"] { #expect(!page.contains("vecraft_node_\(name)"), "\(page)") }
    }

    /// The real machine: sums that must hold on any.
    @Test func thisMachineIsRead() throws {
        let directory = try TemporaryDirectory()
        let metrics = NodeMetrics(MetricsRegistry())
        let exporter = NodeExporter(metrics, directory: directory.path) { (true, []) }
        exporter.collect()
        #expect(metrics.memory.with("total").value >= metrics.memory.with("used").value)
        #expect(metrics.memory.with("total").value > 1_048_576)
        #expect(metrics.cpuSeconds.with("idle").value + metrics.cpuSeconds.with("user").value > 0)
        #expect((0...1).contains(metrics.cpuUtilization.with([]).value))
    }
}

private final class ReadyFlag: Sendable {
    private let flag = Atomic(true)
    var value: Bool {
        get { self.flag.load(ordering: .relaxed) }
        set { self.flag.store(newValue, ordering: .relaxed) }
    }
}
