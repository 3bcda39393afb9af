import FileStore
import Foundation
import Primitives
import TestSupport
import Testing

@testable import JournalStore

@Suite struct IdentityTests {
    private let files = FaultyFileStore(seed: 1)

    private func home() throws -> JournalHome {
        try JournalHome(directory: "/journal", dataPartitions: 2, files: self.files, physicalClock: { 1_800_000_000_000 })
    }

    private func makeStates(_ home: JournalHome) throws {
        for partition in home.partitions {
            try self.files.createDirectory(home.directory(of: partition))
            let file = try self.files.open(home.directory(of: partition) + "/" + ReplicaStateFile.name, .create)
            try file.write([1], at: 0)
            try file.sync()
            file.close()
        }
    }

    @Test func itIsMadeOnceAndKept() throws {
        let home = try self.home()
        let made = try home.identity(of: 3)
        #expect(made.value != 0 && made.partitions.isEmpty)
        #expect(try home.identity(of: 3).value != made.value, "nothing was kept yet")
        try self.makeStates(home)
        try home.keep(made)
        let known = try home.identity(of: 3)
        #expect(known.value == made.value && known.partitions == home.partitions)
        try home.keep(known)
        #expect(#expect(throws: VecraftError.self) { try home.identity(of: 4) }?.reason == "ANOTHER_REPLICA")
        home.close()
    }

    @Test func aPartitionWithoutItsStateIsNamed() throws {
        let home = try self.home()
        try self.makeStates(home)
        try home.keep(try home.identity(of: 3))
        try self.files.remove(home.directory(of: .data(1)) + "/" + ReplicaStateFile.name)
        let error = #expect(throws: VecraftError.self) { try home.identity(of: 3) }
        #expect(error?.reason == "REPLICA_STATE_LOST" && error?.message.contains("data-1") == true)
        home.close()
    }

    @Test func everyFlippedByteIsNoticed() throws {
        let identity = JournalIdentity(node: 7, value: 0x1234_5678_9abc_def0, partitions: [.data(0), .sys])
        let text = Array(identity.text.utf8)
        #expect(JournalIdentity(identity.text) == identity)
        for i in text.indices {
            var damaged = text
            damaged[i] ^= 1
            #expect(JournalIdentity(String(decoding: damaged, as: UTF8.self)) == nil, "byte \(i)")
            #expect(JournalIdentity(String(decoding: text[..<i], as: UTF8.self)) == nil, "cut at \(i)")
        }
    }
}
