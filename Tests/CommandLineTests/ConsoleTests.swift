import JournalFormat
import Primitives
import Testing
import Wire
import vecraft

@Suite struct TextWidthTests {
    @Test(arguments: [("abc", 3), ("été", 3), ("日本", 4), ("e\u{301}", 1), ("👍🏽", 2), ("", 0), ("한국어", 6)])
    func widthCountsCells(text: String, width: Int) { #expect(TextWidth.of(text) == width) }

    @Test func cuttingKeepsToTheWidth() {
        #expect(TextWidth.fit("abcdef", 6) == "abcdef")
        #expect(TextWidth.fit("abcdef", 5) == "abcd…")
        #expect(TextWidth.fit("abcdef", 1) == "…")
        #expect(TextWidth.fit("abcdef", 0) == "")
        // A wide character that only half fits is left out whole.
        #expect(TextWidth.fit("日本語", 4) == "日…")
        for columns in 1...8 { #expect(TextWidth.of(TextWidth.fit("a日b本c語d", columns)) <= columns) }
    }

    @Test func controlCharactersCannotDriveTheTerminal() {
        #expect(TextWidth.printable("a\u{1B}[31mb\n\tc") == "a\\u{1b}[31mb\\n\\tc")
        #expect(TextWidth.printable("x\u{202E}y") == "x\\u{202e}y")
        #expect(TextWidth.printable("plain, 日本") == "plain, 日本")
    }

    @Test func wrappingBreaksAtSpaces() {
        #expect(TextWidth.wrap("one two three", 8) == ["one two", "three"])
        #expect(TextWidth.wrap("incomprehensible a", 5) == ["incomprehensible", "a"])
        #expect(TextWidth.wrap("", 5) == [])
    }
}

@Suite struct TableTests {
    private func sample() -> Table {
        var table = Table([
            Table.Column("distance", right: true), Table.Column("id"), Table.Column("payload", flexible: true),
        ])
        table.add(["0.25", "日本", "short"])
        table.add(["10.5", "b", "a long payload that goes on and on"])
        return table
    }

    @Test func columnsLineUp() {
        #expect(
            self.sample().render(.plain) == """
                distance  id    payload
                    0.25  日本  short
                    10.5  b     a long payload that goes on and on

                """)
    }

    @Test func aNarrowTerminalCutsFlexibleColumnsOnly() {
        let text = self.sample().render(Terminal(width: 32, colour: false, unicode: true))
        for line in text.split(separator: "\n") { #expect(TextWidth.of(String(line)) <= 32) }
        #expect(text.contains("    10.5  b     a long payload …"))
    }

    @Test func colourOnlyWhenAskedFor() {
        #expect(!self.sample().render(.plain).contains("\u{1B}"))
        #expect(self.sample().render(Terminal(width: 80, colour: true, unicode: true)).hasPrefix("\u{1B}[1mdistance"))
    }
}

@Suite struct FiguresTests {
    @Test func countsAreGrouped() {
        #expect(
            [0, 999, 1000, 25_000, 1_234_567, -1234].map { Figures.count($0) } == [
                "0", "999", "1,000", "25,000", "1,234,567", "-1,234",
            ])
        #expect(Figures.count(1, "point") == "1 point")
        #expect(Figures.count(2, "entry", "entries") == "2 entries")
        #expect(Figures.count(UInt64.max) == "18,446,744,073,709,551,615")
    }

    @Test func decimalsAreRounded() {
        #expect(Figures.decimal(0.47199, 4) == "0.4720")
        #expect(Figures.decimal(-0.05, 1) == "-0.1")
        #expect(Figures.decimal(12.5, 0) == "13")
        #expect(Figures.decimal(.nan, 2) == "nan")
    }

    @Test func sizesAndTimesChooseTheirUnit() {
        #expect(Figures.bytes(1023) == "1023 B")
        #expect(Figures.bytes(1536) == "1.5 KiB")
        #expect(Figures.bytes(64 << 20) == "64.0 MiB")
        #expect(Figures.clock(.seconds(67)) == "1:07")
        #expect(Figures.clock(.seconds(3720)) == "1:02:00")
        #expect(Figures.duration(.milliseconds(120)) == "120 ms")
        #expect(Figures.duration(.seconds(200)) == "3 min 20 s")
        #expect(Figures.duration(.seconds(100_000)) == "1 day 3 h")
    }

    @Test func clocksAreShownInUTC() {
        #expect(
            Figures.time(HLCTimestamp(milliseconds: 1_763_840_103_007, counter: 3)) == "2025-11-22 19:35:03.007 UTC")
        #expect(Figures.time(.zero) == "1970-01-01 00:00:00.000 UTC")
    }
}

@Suite struct ProgressTests {
    private let terminal = Terminal(width: 80, colour: false, unicode: true)

    @Test func aBarShowsShareCountsPaceAndTimeLeft() {
        var progress = Progress("Importing", noun: "point", total: 2000, now: .zero)
        progress.advance(to: 500, now: .seconds(1))
        let line = progress.line(self.terminal, now: .seconds(1))
        #expect(line.contains("█████"))
        #expect(line.hasSuffix("25 %  500/2,000  500/s  0:03 left"))
        #expect(TextWidth.of(line) < 80)
        #expect(progress.line(Terminal(width: 80, colour: false, unicode: false), now: .seconds(1)).contains("#####-"))
    }

    @Test func withoutATotalThereIsNoBar() {
        var progress = Progress("Importing", noun: "point", total: nil, now: .zero)
        progress.advance(to: 1200, now: .seconds(2))
        #expect(progress.line(self.terminal, now: .seconds(2)) == "Importing  1,200 points  600/s")
    }

    @Test func itFitsAnyWidth() {
        var progress = Progress("Importing a very long name", noun: "point", total: 1_000_000, now: .zero)
        progress.advance(to: 123_456, now: .seconds(3))
        for width in 21...100 {
            let line = progress.line(Terminal(width: width, colour: false, unicode: true), now: .seconds(3))
            #expect(TextWidth.of(line) < width)
        }
    }

    @Test func theSummaryIsOfTheWhole() {
        var progress = Progress("Importing", noun: "point", total: 100, now: .seconds(10))
        progress.advance(to: 100, now: .seconds(12))
        #expect(progress.summary(now: .seconds(12)) == "100 points in 2.0 s, 50/s")
    }
}

@Suite struct PrettyJSONTests {
    @Test func listsOfScalarsStayOnOneLine() throws {
        let text = #"{"a":[1,2.5,"x"],"b":{},"c":[{"d":null}],"e":"q\"\n"}"#
        let value = try JSONValue(parsing: text)
        #expect(
            PrettyJSON.text(value) == #"""
                {
                  "a": [1,2.5,"x"],
                  "b": {},
                  "c": [
                    {
                      "d": null
                    }
                  ],
                  "e": "q\"\n"
                }
                """#)
        #expect(try JSONValue(parsing: PrettyJSON.text(value)) == value)
    }
}

/// What is asked of a node fits a terminal of 80 columns.
@Suite struct NarrowTests {
    private let narrow = Terminal(width: 80, colour: false, unicode: true)

    private func check(_ text: String) {
        for line in text.split(separator: "\n") { #expect(TextWidth.of(String(line)) <= 80, "\(line)") }
    }

    @Test func partitionsAndHealth() {
        let partitions = ["data-0", "data-1023", "sys-0"].map {
            VecraftV1.PartitionStatus(
                partition: $0, term: 12, firstOffset: 1, committedOffset: 123_456_789, appliedOffset: 123_456_000,
                lastHLC: HLCTimestamp(milliseconds: 1_763_840_103_007, counter: 3).rawValue, diskBytes: 123_456_789_012,
                segments: 1_840, lagEntries: 789, lagMs: 1_250)
        }
        let status = VecraftV1.StatusResponse(
            node: "a-node-with-a-rather-long-name.example.internal", version: "0.1.0+abcdef012345", state: "ready",
            uptimeMs: 12_345_678,
            checks: [VecraftV1.Check(name: "journal", ok: false, detail: String(repeating: "long ", count: 40))],
            partitions: partitions, replayProgress: 1)
        let text = StatusView.text(status, ready: false, self.narrow)
        self.check(text)
        #expect(text.contains("committed") && text.contains("applied") && text.contains("lag"))
        let wide = StatusView.text(status, ready: false, Terminal(width: 200, colour: false, unicode: true))
        #expect(wide.contains("last write") && wide.contains("files"))
    }

    @Test func entries() throws {
        let header = EntryHeader(
            offset: 123_456, term: 1, hlc: HLCTimestamp(milliseconds: 1_763_840_103_007, counter: 3), partition: .data(10),
            tier: .batch, operation: .transactionPrepare, tenant: "default", requestID: "0123456789abcdef0123456789abcdef",
            trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true))
        let entry = [UInt8](repeating: 0, count: 2_000).withUnsafeBytes { EncodedEntry.raw(header: header, body: $0) }
        try entry.withView { view throws(DecodingFault) in
            let line = try EntryLine(view)
            self.check(line.text(self.narrow))
            #expect(line.text(Terminal.plain).contains("request 0123456789abcdef0123456789abcdef"))
        }
    }

    @Test func optionalColumnsGoBeforeAnythingIsCut() {
        var table = Table([Table.Column("name"), Table.Column("more", optional: true), Table.Column("value", right: true)])
        table.add(["abcdef", "ghijkl", "1"])
        #expect(table.render(Terminal(width: 21, colour: false, unicode: true)) == "name    more    value\nabcdef  ghijkl      1\n")
        #expect(table.render(Terminal(width: 20, colour: false, unicode: true)) == "name    value\nabcdef      1\n")
    }
}

@Suite struct FieldListTests {
    @Test func namesCannotDriveTheTerminal() {
        var fields = FieldList(Terminal.plain)
        fields.add("v\u{1B}[2J", "1")
        #expect(fields.text == "  v\\u{1b}[2J  1\n")
    }

    @Test func longValuesGoOnUnderTheirBeginning() {
        var fields = FieldList(Terminal(width: 28, colour: false, unicode: true))
        fields.title("A point", note: "new")
        fields.add("id", "a")
        fields.add("empty", "")
        fields.add("text", "one two three four five")
        #expect(fields.text == "A point  new\n  id    a\n  text  one two three four\n        five\n")
    }
}
