import FileStore
import HLC
import JournalFormat
import JournalService
import JournalStore
import Primitives
import TestSupport
import Testing

@testable import Lineage

@Suite struct JournalMarkTests {
    private func journal(_ directory: TemporaryDirectory, _ name: String) throws -> Journal {
        try Journal(directory: directory.file(name), dataPartitions: 1, files: PosixFileStore())
    }

    private func append(_ client: LocalJournal) async throws {
        let header = EntryHeader(
            partition: .sys, tier: .batch, operation: .barrier, tenant: "t", collection: 1, requestID: "same",
            trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
        let entry = EncodedEntry.raw(header: header, body: UnsafeRawBufferPointer(start: nil, count: 0))
        _ = try await client.append(entry, to: .sys)
    }

    @Test func aJournalIsKnownAgain() async throws {
        let directory = try TemporaryDirectory()
        var own = try self.journal(directory, "own")
        var client = LocalJournal(own)
        let none = try JournalMark(oldestOf: client)
        #expect(none.offset == 0, "of a journal without entries nothing can be told")
        try await self.append(client)
        let mark = try JournalMark(oldestOf: client)
        for _ in 0..<3 { try await self.append(client) }
        #expect(try JournalMark(oldestOf: client) == mark && mark.offset == 1)
        own.close()
        own = try self.journal(directory, "own")
        client = LocalJournal(own)
        defer { own.close() }
        #expect(try JournalMark(oldestOf: client) == mark)
        try mark.check(client, field: "f")
        try none.check(client, field: "f")

        let other = try self.journal(directory, "other")
        defer { other.close() }
        let stranger = LocalJournal(other)
        let early = #expect(throws: VecraftError.self) { try mark.check(stranger, field: "f") }
        #expect(early?.code == .unavailable && early?.field == "f" && early?.reason == "JOURNAL_BEHIND")
        try await self.append(stranger)
        let error = #expect(throws: VecraftError.self) { try mark.check(stranger, field: "f") }
        #expect(error?.code == .invalidArgument && error?.field == "f" && error?.reason == "ANOTHER_JOURNAL")
    }

    @Test func aTokenKeepsWhatItIsMadeOf() throws {
        let token = LineageToken(
            selection: 77, mark: JournalMark(offset: 5, hash: 0xfeed_beef_0000_0001),
            position: [(.sys, 9), (.data(0), 1 << 40), (.data(63), 1)])
        let read = try LineageToken(token.text, field: "f", selection: 77)
        #expect(read.mark == token.mark && read.position.map(\.1) == [9, 1 << 40, 1])
        #expect(read.position.map(\.0) == [.sys, .data(0), .data(63)])
        let error = #expect(throws: VecraftError.self) { try LineageToken(token.text, field: "f", selection: 78) }
        #expect(error?.field == "f")
        // Of the format before, which said nothing of its journal.
        let old = "01" + String(token.text.dropFirst(2).prefix(16)) + "0000"
        #expect(throws: VecraftError.self) { try LineageToken(old, field: "f", selection: 77) }
        for count in 0..<token.text.count {
            #expect(throws: VecraftError.self) {
                try LineageToken(String(token.text.prefix(count)), field: "f", selection: 77)
            }
        }
    }
}
