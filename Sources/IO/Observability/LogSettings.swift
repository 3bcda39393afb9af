package import Logging
import Synchronization

/// How log lines look.
package enum LogFormat: String, Sendable, CaseIterable {
    /// For a person at a terminal.
    case text
    /// One JSON object a line, for a collector.
    case json
}

/// The process's log: where lines go, and which. The level may be changed while running.
package final class LogControl: Sendable {
    package let format: LogFormat
    private let threshold: Atomic<Int>
    private let sink: @Sendable ([UInt8]) -> Void
    private let lines: [Counter]

    /// - Parameters:
    ///   - registry: Counts the lines by level, when given.
    ///   - sink: Takes one whole line with its newline, from any thread. Standard error by default.
    package init(
        level: Logger.Level = .info, format: LogFormat = .text, registry: MetricsRegistry? = nil,
        sink: @escaping @Sendable ([UInt8]) -> Void = StandardError.write
    ) {
        self.format = format
        self.threshold = Atomic(Self.rank(level))
        self.sink = sink
        let family = registry?.counter(
            "vecraft_log_lines_total", help: "Log lines written, by level.", labels: ["level"])
        self.lines = family.map { family in Logger.Level.allCases.map { family.with($0.rawValue) } } ?? []
    }

    package var level: Logger.Level {
        get { Self.levels[self.threshold.load(ordering: .relaxed)] }
        set { self.threshold.store(Self.rank(newValue), ordering: .relaxed) }
    }

    /// Makes this the log of every `Logger` made from now on, and adds the current trace to each line. Once a process.
    package func bootstrap() {
        LoggingSystem.bootstrap(
            { label, provider in LineLogHandler(label: label, control: self, metadataProvider: provider) },
            metadataProvider: .currentTrace)
    }

    func write(_ line: [UInt8], level: Logger.Level) {
        if !self.lines.isEmpty { self.lines[Self.rank(level)].increment() }
        self.sink(line)
    }

    // Once: `allCases` builds an array at each asking, and each request asks.
    private static let levels = Logger.Level.allCases

    /// The position in `allCases`, which is in order of severity.
    private static func rank(_ level: Logger.Level) -> Int {
        switch level {
        case .trace: 0
        case .debug: 1
        case .info: 2
        case .notice: 3
        case .warning: 4
        case .error: 5
        case .critical: 6
        }
    }
}
