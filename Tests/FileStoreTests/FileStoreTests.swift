import FileStore
import Primitives
import TestSupport
import Testing

/// The fault that a call meets; nil if it succeeds.
func faultOf<T>(_ body: () throws(FileFault) -> T) -> FileFault? {
    do throws(FileFault) {
        _ = try body()
        return nil
    } catch { return error }
}

/// What every file store promises, asked of the real disk and of the faulty one.
@Suite struct FileStoreContract {
    /// A store with a folder to work in; the second keeps the folder alive.
    static func stores() throws -> [(store: any FileStore, root: String, owner: TemporaryDirectory?)] {
        let real = try TemporaryDirectory()
        let faulty = FaultyFileStore()
        try faulty.createDirectory("/disk")
        return [(PosixFileStore(), real.path, real), (faulty, "/disk", nil)]
    }

    private func bytes(_ file: any File, _ range: Range<Int>) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0xEE, count: range.count)
        let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: range.lowerBound) }
        return Array(buffer[..<count])
    }

    @Test func readsWhatWasWritten() throws {
        for (store, root, owner) in try Self.stores() {
            let file = try store.open(Paths.join(root, "a"), .create)
            try file.write([1, 2, 3, 4], at: 0)
            try file.write([9], at: 6)
            #expect(try file.size() == 7)
            #expect(try self.bytes(file, 0..<7) == [1, 2, 3, 4, 0, 0, 9], "a hole reads as zeroes")
            #expect(try self.bytes(file, 5..<20) == [0, 9], "less than asked for only at the end")
            #expect(try self.bytes(file, 30..<40) == [])
            try file.truncate(to: 2)
            try file.preallocate(5)
            #expect(try self.bytes(file, 0..<9) == [1, 2, 0, 0, 0])
            try file.preallocate(3)
            #expect(try file.size() == 5, "never shorter")
            try file.sync()
            file.close()
            #expect(try store.readWhole(Paths.join(root, "a")) == [1, 2, 0, 0, 0])
            withExtendedLifetime(owner) {}
        }
    }

    /// More parts than one system call takes, empty ones among them.
    @Test func writesManyPartsAsOne() throws {
        for (store, root, owner) in try Self.stores() {
            let file = try store.open(Paths.join(root, "parts"), .create)
            var rng = SeededRNG(seed: 3)
            let parts = (0..<2_500).map { i in [UInt8](repeating: UInt8(i % 251), count: Int.random(in: 0..<40, using: &rng)) }
            let flat = parts.flatMap { $0 }
            try flat.withUnsafeBytes { raw in
                var views: [UnsafeRawBufferPointer] = []
                var position = 0
                for part in parts {
                    views.append(UnsafeRawBufferPointer(rebasing: raw[position..<position + part.count]))
                    position += part.count
                }
                try views.withUnsafeBufferPointer { try file.write($0, at: 100) }
            }
            #expect(try self.bytes(file, 100..<100 + flat.count) == flat)
            #expect(try file.size() == 100 + flat.count)
            withExtendedLifetime(owner) {}
        }
    }

    @Test func namesComeAndGo() throws {
        for (store, root, owner) in try Self.stores() {
            let folder = Paths.join(root, "x/y/z")
            try store.createDirectory(folder)
            try store.createDirectory(folder)
            for name in ["b", "a", "c"] { try store.open(Paths.join(folder, name), .createNew).write([1], at: 0) }
            #expect(try store.list(folder) == ["a", "b", "c"])
            #expect(try store.list(root) == ["x"])
            try store.rename(Paths.join(folder, "a"), to: Paths.join(folder, "b"))
            try store.remove(Paths.join(folder, "c"))
            try store.syncDirectory(folder)
            #expect(try store.list(folder) == ["b"])
            #expect(store.exists(folder) && !store.exists(Paths.join(folder, "c")))
            #expect(try store.freeBytes(root) > 0)
            try store.removeTree(Paths.join(root, "x"))
            try store.removeTree(Paths.join(root, "x"))
            #expect(try store.list(root) == [])
            withExtendedLifetime(owner) {}
        }
    }

    @Test func faultsSayWhatAndWhere() throws {
        for (store, root, owner) in try Self.stores() {
            let path = Paths.join(root, "missing")
            for mode in [OpenMode.read, .readWrite] {
                let fault = try #require(faultOf { () throws(FileFault) in try store.open(path, mode) })
                #expect(fault.isNotFound && fault.path == path && fault.operation == .open)
                #expect(fault.description.contains(path))
            }
            _ = try store.open(path, .createNew)
            #expect(throws: FileFault.self) { try store.open(path, .createNew) }
            #expect(throws: FileFault.self) { try store.remove(Paths.join(root, "other")) }
            #expect(throws: FileFault.self) { try store.list(Paths.join(root, "no folder")) }
            withExtendedLifetime(owner) {}
        }
    }

    @Test func mapsAWholeFile() throws {
        for (store, root, owner) in try Self.stores() {
            let file = try store.open(Paths.join(root, "m"), .create)
            #expect(try file.map().bytes.count == 0, "an empty file is no fault")
            try file.write([UInt8](0..<100), at: 0)
            let mapping = try file.map()
            file.close()
            #expect(Array(mapping.bytes) == [UInt8](0..<100))
            #expect(UInt(bitPattern: mapping.bytes.baseAddress) % 64 == 0)
            withExtendedLifetime(owner) {}
        }
    }

    @Test func aLockIsHeldByOne() throws {
        for (store, root, owner) in try Self.stores() {
            let path = Paths.join(root, "lock")
            let held = try store.lock(path)
            let second = faultOf { () throws(FileFault) in try store.lock(path) }
            #expect(second?.isHeldElsewhere == true)
            held.release()
            _ = try store.lock(path)
            withExtendedLifetime(owner) {}
        }
    }

    @Test func replacesASmallFileWhole() throws {
        for (store, root, owner) in try Self.stores() {
            let path = Paths.join(root, "settings")
            try AtomicFile.replace(path, with: [1, 2, 3], in: store)
            try AtomicFile.replace(path, with: [4], in: store)
            #expect(try store.readWhole(path) == [4])
            #expect(try store.list(root) == ["settings"])
            #expect(throws: FileFault.self) { try store.readWhole(path, limit: 0) }
            withExtendedLifetime(owner) {}
        }
    }

    @Test func fullDiskIsKnownAsSuch() {
        let full = FileFault(path: "/f", operation: .write, errno: 28)
        #expect(full.isDiskFull)
        #expect(full.vecraftError.code == .resourceExhausted && full.vecraftError.reason == "DISK_FULL")
        #expect(FileFault(path: "/f", operation: .sync, errno: 5).vecraftError.code == .unavailable)
    }
}

/// The faulty disk must be no kinder than a real one.
@Suite struct FaultyFileStoreTests {
    private func store(seed: UInt64 = 0) throws -> FaultyFileStore {
        let store = FaultyFileStore(seed: seed)
        try store.createDirectory("/d")
        return store
    }

    @Test func powerLossTakesWhatWasNotSynced() throws {
        let store = try self.store()
        let file = try store.open("/d/f", .create)
        try file.write([1, 2, 3], at: 0)
        try file.sync()
        store.restart(.power)
        #expect(store.paths == [], "the name was not synced")

        let again = try store.open("/d/f", .create)
        try again.write([1, 2, 3], at: 0)
        try again.sync()
        try store.syncDirectory("/d")
        try again.write([9, 9, 9, 9], at: 0)
        store.restart(.power)
        #expect(store.contents("/d/f") == [1, 2, 3])
        #expect(throws: FileFault.self, "a file of the life before is dead") { try again.write([7], at: 0) }
    }

    @Test func aKilledProcessLosesNothingWritten() throws {
        let store = try self.store()
        try store.open("/d/f", .create).write([1, 2, 3], at: 0)
        store.restart(.process)
        #expect(store.contents("/d/f") == [1, 2, 3])
    }

    @Test func tearingKeepsAnySectors() throws {
        var outcomes: Set<[UInt8]> = []
        for seed in 0..<64 {
            let store = try self.store(seed: UInt64(seed))
            let file = try store.open("/d/f", .create)
            try file.write([UInt8](repeating: 1, count: 1536), at: 0)
            try file.sync()
            try store.syncDirectory("/d")
            try file.write([UInt8](repeating: 2, count: 1536), at: 0)
            store.restart(.powerTearing)
            let bytes = try #require(store.contents("/d/f"))
            outcomes.insert([bytes[0], bytes[512], bytes[1024]])
        }
        #expect(outcomes.count == 8, "every mixture of three sectors is met")
    }

    @Test func renamesAreLostOrKeptWhole() throws {
        var seen: Set<UInt8> = []
        for seed in 0..<32 {
            let store = try self.store(seed: UInt64(seed))
            try AtomicFile.replace("/d/f", with: [1], in: store)
            store.powerOff(afterCalls: Int(seed) % 7)
            _ = try? AtomicFile.replace("/d/f", with: [2], in: store)
            store.restart(.powerTearing)
            let bytes = try #require(store.contents("/d/f"), "seed \(seed)")
            #expect(bytes == [1] || bytes == [2], "seed \(seed): \(bytes)")
            seen.insert(bytes[0])
        }
        #expect(seen == [1, 2])
    }

    @Test func fillsUp() throws {
        let store = try self.store()
        store.setCapacity(10)
        let file = try store.open("/d/f", .create)
        try file.write([UInt8](repeating: 1, count: 8), at: 0)
        let full = faultOf { () throws(FileFault) in try file.write([UInt8](repeating: 2, count: 8), at: 4) }
        #expect(full?.isDiskFull == true)
        #expect(store.contents("/d/f") == [1, 1, 1, 1, 2, 2, 2, 2, 2, 2], "what fitted is there")
        #expect(try store.freeBytes("/d") == 0)
        #expect(throws: FileFault.self) { try file.preallocate(11) }
    }

    @Test func failsWhenTold() throws {
        let store = try self.store()
        let file = try store.open("/d/f", .create)
        store.inject(.ioError(.sync, after: 1, count: 2))
        try file.sync()
        #expect(throws: FileFault(path: "/d/f", operation: .sync, errno: 5)) { try file.sync() }
        #expect(throws: FileFault.self) { try file.sync() }
        try file.sync()
        store.inject(.diskFull())
        #expect(throws: FileFault.self) { try file.write([1, 2, 3, 4], at: 0) }
        #expect(store.contents("/d/f") == [1, 2])
        store.powerOff(afterCalls: 0)
        #expect(throws: FileFault.self) { try file.write([8, 8, 8, 8], at: 0) }
        #expect(throws: FileFault.self) { _ = try file.size() }
        #expect(store.isPowerOff)
    }
}
