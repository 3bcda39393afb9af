import Foundation
import Metadata
import Primitives
import TestSupport
import Testing

@Suite struct SQLiteMetadataStoreTests {
    /// A folder that goes with the test.
    private final class Folder: Sendable {
        let path: String
        init() throws {
            let url = FileManager.default.temporaryDirectory.appendingPathComponent(
                "vecraft-metadata-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            self.path = url.path
        }
        var file: String { self.path + "/metadata.sqlite" }
        deinit { try? FileManager.default.removeItem(atPath: self.path) }
    }

    @Test(arguments: MetadataStoreContract.cases)
    func keepsTheContract(_ contract: MetadataStoreContract) async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        try await contract(store)
        try store.close()
    }

    @Test func everythingIsThereAfterReopeningAndRevisionsGoOn() async throws {
        let folder = try Folder()
        var store = try SQLiteMetadataStore(path: folder.file)
        let first = try await store.put("a", [1])
        _ = try await store.put("b", [2])
        let last = try #require(try await store.delete("b"))
        try store.close()

        store = try SQLiteMetadataStore(path: folder.file)
        #expect(try await store.get("a") == MetadataEntry(key: "a", value: [1], created: first, modified: first))
        #expect(try await store.get("b") == nil)
        #expect(try await store.put("c", [3]) == last + 1)
        // A watcher from before the restart misses nothing.
        var seen: [MetadataEvent] = []
        for try await event in store.watch(prefix: "", after: first) {
            seen.append(event)
            if seen.count == 3 { break }
        }
        #expect(seen.map(\.key) == ["b", "b", "c"])
        try store.close()
    }

    @Test func aWatcherAwayForTooLongIsTold() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file, history: 5)
        for i in 0..<10 { _ = try await store.put("k", [UInt8(i)]) }
        let error = await #expect(throws: VecraftError.self) {
            for try await _ in store.watch(prefix: "", after: 4) {}
        }
        #expect(error?.code == .outOfRange)
        #expect(error?.reason == "COMPACTED")
        var seen: [Revision] = []
        for try await event in store.watch(prefix: "", after: 5) {
            seen.append(event.revision)
            if seen.count == 5 { break }
        }
        #expect(seen == [6, 7, 8, 9, 10])
        try store.close()
    }

    @Test func closingEndsItsWatches() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        let error = try await withThrowingTaskGroup(of: VecraftError?.self) { group in
            group.addTask {
                do {
                    for try await _ in store.watch(prefix: "", after: 0) {}
                    return nil
                } catch let error as VecraftError {
                    return error
                }
            }
            try store.close()
            return try await group.next() ?? nil
        }
        #expect(error?.code == .unavailable)
    }

    @Test func aClosedStoreRefuses() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        _ = try await store.put("k", [1])
        // Some come before, some after, and some while it is being closed.
        let errors = await withTaskGroup(of: VecraftError?.self) { group in
            for i in 0..<64 {
                group.addTask {
                    do throws(VecraftError) {
                        if i % 2 == 0 {
                            _ = try await store.list(prefix: "")
                        } else {
                            _ = try await store.put("k", [1])
                        }
                        return nil
                    } catch {
                        return error
                    }
                }
                if i == 32 { group.addTask { (try? store.close()) == nil ? VecraftError(.unknown, "close") : nil } }
            }
            return await group.reduce(into: [VecraftError]()) { if let error = $1 { $0.append(error) } }
        }
        #expect(errors.allSatisfy { $0.code == .unavailable && $0.reason == "CLOSED" }, "\(errors)")
        let error = await #expect(throws: VecraftError.self) { try await store.get("k") }
        #expect(error?.code == .unavailable && error?.reason == "CLOSED")
    }

    @Test func aSecondOpenerIsRefused() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        _ = try await store.put("a", [1])
        let error = #expect(throws: VecraftError.self) { _ = try SQLiteMetadataStore(path: folder.file) }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.message.contains(folder.file) == true)
        try store.close()
        try SQLiteMetadataStore(path: folder.file).close()
    }

    @Test func aDamagedFileIsAnErrorThatNamesIt() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        for i in 0..<200 { _ = try await store.put("key-\(i)", [UInt8](repeating: UInt8(i), count: 500)) }
        try store.close()
        var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file))
        // Whole pages in the middle, as a disk loses them.
        bytes.replaceSubrange(8_192..<32_768, with: Data(repeating: 0xa5, count: 24_576))
        try bytes.write(to: URL(fileURLWithPath: folder.file))
        let error = #expect(throws: VecraftError.self) { _ = try SQLiteMetadataStore(path: folder.file) }
        #expect(error?.code == .dataLoss)
        #expect(error?.message.contains(folder.file) == true)
    }

    @Test func aFileThatIsNoDatabaseIsRefusedAndLeftAlone() throws {
        let folder = try Folder()
        let text = Data(repeating: 0x41, count: 8_192)
        try text.write(to: URL(fileURLWithPath: folder.file))
        let error = #expect(throws: VecraftError.self) { _ = try SQLiteMetadataStore(path: folder.file) }
        #expect(error?.code == .dataLoss)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.file)) == text)
    }

    @Test func aNewerFormatIsRefusedByNumber() async throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        _ = try await store.put("a", [1])
        try store.close()
        // `user_version` is bytes 60 to 63 of the header, big-endian (SQLite file format, section 1.3).
        var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file))
        bytes[63] = 9
        try bytes.write(to: URL(fileURLWithPath: folder.file))
        let error = #expect(throws: VecraftError.self) { _ = try SQLiteMetadataStore(path: folder.file) }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.message.contains("format 9") == true)
    }

    @Test func anotherApplicationsDatabaseIsRefused() throws {
        let folder = try Folder()
        let store = try SQLiteMetadataStore(path: folder.file)
        try store.close()
        // `application_id` is bytes 68 to 71.
        var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file))
        bytes[68] = 1
        try bytes.write(to: URL(fileURLWithPath: folder.file))
        let error = #expect(throws: VecraftError.self) { _ = try SQLiteMetadataStore(path: folder.file) }
        #expect(error?.code == .failedPrecondition)
    }

    @Test func keysOfAnEarlierProcessesLeasesAreGone() async throws {
        let folder = try Folder()
        var store = try SQLiteMetadataStore(path: folder.file)
        let lease = try await store.grantLease(ttl: .seconds(60))
        _ = try await store.put("node/1", [1], lease: lease)
        let last = try await store.put("stays", [1])
        let leadership = try await Election(store, key: "leader", ttl: .seconds(60)).campaign([1])
        try store.close()
        // Who closes the store holds nothing in it any more.
        #expect(!lease.isHeld && lease.ending == .gone)
        #expect(!leadership.isHeld)
        await lease.lost()

        store = try SQLiteMetadataStore(path: folder.file)
        #expect(try await store.list(prefix: "").entries.map(\.key) == ["stays"])
        // And watchers are told, each by a change of its own.
        var seen: [MetadataEvent] = []
        for try await event in store.watch(prefix: "", after: last) {
            seen.append(event)
            if seen.count == 3 { break }
        }
        #expect(seen.map(\.key) == ["leader", "leader", "node/1"])
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.revision < $1.revision })
        try store.close()
        let error = await #expect(throws: VecraftError.self) { try await store.grantLease(ttl: .seconds(5)) }
        #expect(error?.code == .unavailable && error?.reason == "CLOSED")
    }

    @Test(.enabled(if: findProgram("python3") != nil, "python3 writes a store as an earlier release did"))
    func aStoreWithoutLeasesIsTakenOver() async throws {
        let folder = try Folder()
        let script = """
            import sqlite3, sys
            store = sqlite3.connect(sys.argv[1])
            store.executescript('''
            PRAGMA application_id = 0x56634d64; PRAGMA user_version = 1;
            CREATE TABLE entry (
                key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE change (
                revision INTEGER PRIMARY KEY NOT NULL, key BLOB NOT NULL, value BLOB, created INTEGER NOT NULL
            );
            CREATE TABLE counter (revision INTEGER NOT NULL);
            INSERT INTO counter VALUES (2);
            INSERT INTO entry VALUES (CAST('a' AS BLOB), x'01', 1, 2);
            INSERT INTO change VALUES (1, CAST('a' AS BLOB), x'00', 1), (2, CAST('a' AS BLOB), x'01', 1);
            ''')
            """
        _ = try await offThePool { [file = folder.file] in try runCommand("python3", "-c", script, file) }
        for _ in 0..<2 {
            let store = try SQLiteMetadataStore(path: folder.file)
            #expect(try await store.get("a") == MetadataEntry(key: "a", value: [1], created: 1, modified: 2))
            var seen: [Revision] = []
            for try await event in store.watch(prefix: "", after: 0) {
                seen.append(event.revision)
                if seen.count == 2 { break }
            }
            #expect(seen == [1, 2])
            let lease = try await store.grantLease(ttl: .seconds(60))
            _ = try await store.put("b", [1], lease: lease)
            try await lease.revoke()
            #expect(try await store.get("b") == nil)
            try store.close()
        }
    }
}
