import Foundation
import Logging
import Observability
import Primitives
import Synchronization
import Testing
import Tracing

@Suite struct LogTests {
    /// Keeps the lines that a logger writes.
    private final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { self.lines.withLock { $0 } }
        func add(_ bytes: [UInt8]) { self.lines.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }
    }

    private func logger(_ format: LogFormat, level: Logger.Level = .info) -> (Logger, LogControl, Lines) {
        let lines = Lines()
        let control = LogControl(level: level, format: format) { lines.add($0) }
        let logger = Logger(label: "vecraft.test") { label in
            LineLogHandler(label: label, control: control, metadataProvider: .currentTrace)
        }
        return (logger, control, lines)
    }

    @Test func aLineForAPersonHasTheConstantTextFirstAndItsMetadataSorted() throws {
        let (logger, _, lines) = self.logger(.text)
        logger.info("leader changed", metadata: ["term": "3", "partition": "data-0", "note": "two words"])
        let line = try #require(lines.all.first)
        #expect(line.hasSuffix(" info     vecraft.test: leader changed note=\"two words\" partition=data-0 term=3\n"))
        let stamp = #/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /#
        #expect(line.starts(with: stamp))
    }

    @Test func aLineForACollectorIsOneJSONObject() throws {
        let (logger, _, lines) = self.logger(.json)
        logger.warning("odd \"input\"\n", metadata: ["path": "a\\b\u{1}", "ünïcode": "ß"])
        let line = try #require(lines.all.first)
        #expect(line.filter { $0 == "\n" }.count == 1)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(object["level"] as? String == "warning")
        #expect(object["logger"] as? String == "vecraft.test")
        #expect(object["message"] as? String == "odd \"input\"\n")
        #expect(object["metadata"] as? [String: String] == ["path": "a\\b\u{1}", "ünïcode": "ß"])
    }

    @Test func metadataCannotForgeALine() throws {
        let (logger, _, lines) = self.logger(.text)
        logger.info(
            "seen", metadata: ["id": "x\n2026-01-01T00:00:00.000Z info     vecraft.test: forged", "esc": "\u{1b}[2J"])
        let line = try #require(lines.all.first)
        #expect(line.filter { $0 == "\n" }.count == 1)
        #expect(!line.contains("\u{1b}"))
    }

    @Test func theLevelHoldsForLoggersMadeBeforeItChanged() {
        let (logger, control, lines) = self.logger(.text)
        logger.debug("not written")
        control.level = .debug
        logger.debug("written")
        var own = logger
        own.logLevel = .error
        own.info("not written either")
        #expect(lines.all.count == 1)
    }

    @Test func aLongValueIsCut() throws {
        let (logger, _, lines) = self.logger(.text)
        logger.info("long", metadata: ["value": "\(String(repeating: "x", count: 100_000))"])
        let line = try #require(lines.all.first)
        #expect(line.utf8.count < 5_000)
        #expect(line.hasSuffix("...[cut]\n"))
    }

    @Test func theCurrentTraceIsInTheLine() throws {
        let (logger, _, lines) = self.logger(.text)
        var context = InstrumentationContext.topLevel
        context.trace = TraceContext(traceHigh: 0, traceLow: 0xabc, spanID: 0xd, sampled: true)
        InstrumentationContext.$current.withValue(context) { logger.info("traced") }
        #expect(
            try #require(lines.all.first).contains("span_id=000000000000000d trace_id=00000000000000000000000000000abc")
        )
    }

    @Test func linesAreCountedByLevel() {
        let registry = MetricsRegistry()
        let control = LogControl(registry: registry) { _ in }
        let logger = Logger(label: "l") { LineLogHandler(label: $0, control: control) }
        logger.error("one")
        logger.error("two")
        logger.debug("below the level")
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_log_lines_total{level=\"error\"} 2\n"))
        #expect(page.contains("vecraft_log_lines_total{level=\"debug\"} 0\n"))
    }
}
