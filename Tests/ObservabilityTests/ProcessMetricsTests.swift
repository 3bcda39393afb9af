import Foundation
import Observability
import TestSupport
import Testing

@Suite struct ProcessMetricsTests {
    private func value(_ name: String, _ registry: MetricsRegistry) -> Double? {
        String(decoding: registry.page(), as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix(name + " ") }.flatMap { Double($0.split(separator: " ")[1]) }
    }

    @Test func theKernelIsAskedAtEachScrape() throws {
        let registry = MetricsRegistry()
        _ = ProcessMetrics(registry, version: "1.2.3", revision: "r")
        let resident = try #require(self.value("process_resident_memory_bytes", registry))
        let virtual = try #require(self.value("process_virtual_memory_bytes", registry))
        #expect(resident > 1_048_576 && resident < virtual)
        #expect(try #require(self.value("process_threads", registry)) >= 1)
        #expect(try #require(self.value("process_max_fds", registry)) >= 3)
        let start = try #require(self.value("process_start_time_seconds", registry))
        #expect(start > 1_600_000_000 && start <= Date().timeIntervalSince1970 + 1)
        #expect(
            String(decoding: registry.page(), as: UTF8.self).contains(
                "vecraft_build_info{version=\"1.2.3\",revision=\"r\"} 1\n"))

        let before = try #require(self.value("process_cpu_seconds_total", registry))
        var sum = 0.0
        for i in 0..<2_000_000 { sum += Double(i).squareRoot() }
        #expect(sum > 0)
        #expect(try #require(self.value("process_cpu_seconds_total", registry)) > before)
    }

    @Test func openDescriptorsAreCounted() async throws {
        let registry = MetricsRegistry()
        _ = ProcessMetrics(registry, version: "1", revision: "r")
        // Other tests open and close files at the same time, so many are opened here, and again when others closed some.
        try await eventually("200 more are open") {
            let before = try #require(self.value("process_open_fds", registry))
            let pipes = (0..<100).map { _ in Pipe() }
            defer { withExtendedLifetime(pipes) {} }
            return try #require(self.value("process_open_fds", registry)) >= before + 200
        }
    }
}
