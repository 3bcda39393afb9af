import Glibc

/// The standard `process_*` metrics of this process, read from the kernel at each scrape, and who is running.
package struct ProcessMetrics: Sendable {
    /// User and system CPU seconds. Counter.
    package let cpuSeconds: Counter
    /// Bytes.
    package let residentMemory: Gauge
    /// Bytes.
    package let virtualMemory: Gauge
    package let openDescriptors: Gauge
    package let maximumDescriptors: Gauge
    /// Seconds since 1970.
    package let startTime: Gauge
    package let threads: Gauge

    /// Declares them and fills them at each scrape.
    /// - Parameters:
    ///   - version: Of the release ("0.1.0").
    ///   - revision: Of the source; "unknown" when built outside a checkout.
    package init(_ registry: MetricsRegistry, version: String, revision: String) {
        self.cpuSeconds = registry.counter(
            "process_cpu_seconds_total", help: "User and system CPU time spent in seconds.")
        self.residentMemory = registry.gauge("process_resident_memory_bytes", help: "Resident memory size in bytes.")
        self.virtualMemory = registry.gauge("process_virtual_memory_bytes", help: "Virtual memory size in bytes.")
        self.openDescriptors = registry.gauge("process_open_fds", help: "Number of open file descriptors.")
        self.maximumDescriptors = registry.gauge("process_max_fds", help: "Maximum number of open file descriptors.")
        self.startTime = registry.gauge(
            "process_start_time_seconds", help: "Start time of the process since the Unix epoch in seconds.")
        self.threads = registry.gauge("process_threads", help: "Number of threads of the process.")
        registry.gauge(
            "vecraft_build_info", help: "Always 1; says which build answers.", labels: ["version", "revision"]
        ).with(version, revision).set(1)
        if let start = Self.startSeconds { self.startTime.set(start) }
        let metrics = self
        registry.onScrape { metrics.collect() }
    }

    private func collect() {
        var time = timespec()
        if clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 {
            self.cpuSeconds.mirror(seconds: Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9)
        }
        // proc(5): total and resident program size, in pages.
        if let pages = ProcFile.text("/proc/self/statm")?.split(separator: " "), pages.count > 1 {
            let page = Double(sysconf(Int32(_SC_PAGESIZE)))
            self.virtualMemory.set((Double(pages[0]) ?? 0) * page)
            self.residentMemory.set((Double(pages[1]) ?? 0) * page)
        }
        if let threads = ProcFile.statField(20) { self.threads.set(threads) }
        if let open = ProcFile.entries("/proc/self/fd") { self.openDescriptors.set(open) }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            self.maximumDescriptors.set(limit.rlim_cur == rlim_t.max ? Double.infinity : Double(limit.rlim_cur))
        }
    }

    private static var startSeconds: Double? {
        // proc(5): field 22 is in clock ticks since boot; /proc/stat has the boot in seconds since 1970.
        guard let ticks = ProcFile.statField(22),
            let boot = ProcFile.text("/proc/stat")?.split(separator: "\n").first(where: { $0.hasPrefix("btime ") }),
            let bootSeconds = Double(boot.dropFirst(6))
        else { return nil }
        return bootSeconds + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
