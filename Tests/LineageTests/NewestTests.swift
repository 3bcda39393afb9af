import Primitives
import TestSupport
import Testing
import Wire

@testable import Lineage

/// An entry that takes about so many bytes of an answer.
private func entry(_ hlc: UInt64, bytes: Int = 0, partition: String = "data-0") -> VecraftV1.LineageEntry {
    VecraftV1.LineageEntry(
        partition: partition, hlc: hlc, filterJSON: String(repeating: "x", count: max(0, bytes - 1024)))
}

@Suite struct NewestTests {
    /// What is asked for decides, not what came on the way.
    @Test func whatIsNotInTheAnswerIsNotTooMuch() throws {
        var newest = Newest(limit: 3, maxBytes: 20_000)
        for hlc in 1...4 { newest.append(entry(UInt64(hlc), bytes: 15_000)) }
        newest.append(entry(5, bytes: 50_000))
        for hlc in 6...8 { newest.append(entry(UInt64(hlc), bytes: 5_000)) }
        let answer = try newest.response
        #expect(answer.entries.map(\.hlc) == [6, 7, 8] && answer.truncated)
    }

    @Test func whatIsInItMayBe() throws {
        var newest = Newest(limit: 3, maxBytes: 20_000)
        for hlc in 1...3 { newest.append(entry(UInt64(hlc), bytes: 8_000)) }
        #expect(throws: VecraftError.self) { try newest.response }
        newest.append(entry(4, bytes: 2_000))
        #expect(try newest.response.entries.map(\.hlc) == [2, 3, 4])
        var one = Newest(limit: 1, maxBytes: 20_000)
        one.append(entry(1, bytes: 30_000))
        #expect(throws: VecraftError.self) { try one.response }
        #expect(try Newest(limit: 1, maxBytes: 1).response.entries.isEmpty)
    }

    /// Against the plain way: all of it sorted, the newest taken, and weighed.
    @Test(arguments: 0..<200) func bothFindWhatThePlainWayFinds(seed: UInt64) throws {
        var rng = SeededRNG(seed: seed)
        let limit = Int.random(in: 1...6, using: &rng)
        let maxBytes = Int.random(in: 2_000...60_000, using: &rng)
        let partitions = (0..<Int.random(in: 1...4, using: &rng)).map { partition in
            (0..<Int.random(in: 0...12, using: &rng)).map { _ in
                entry(
                    UInt64.random(in: 1...1_000_000, using: &rng), bytes: Int.random(in: 1_024...16_000, using: &rng),
                    partition: "data-\(partition)")
            }.sorted { $0.hlc < $1.hlc }
        }
        func plain(_ all: [VecraftV1.LineageEntry]) -> [UInt64]? {
            let newest = all.sorted { $0.hlc < $1.hlc }.suffix(limit)
            return newest.reduce(0) { $0 + $1.roughBytes } <= maxBytes ? newest.map(\.hlc) : nil
        }
        for entries in partitions {
            var newest = Newest(limit: limit, maxBytes: maxBytes)
            for entry in entries { newest.append(entry) }
            #expect((try? newest.response.entries.map(\.hlc)) == plain(entries))
            if let answer = try? newest.response { #expect(answer.truncated == (entries.count > limit)) }
        }
        var all = NewestFirst(limit: limit, maxBytes: maxBytes)
        for entries in partitions {
            var own = NewestFirst(limit: limit, maxBytes: maxBytes)
            for entry in entries.reversed() where !own.isFull { own.append(entry) }
            all.merge(own)
        }
        let whole = partitions.flatMap { $0 }
        #expect((try? all.response.entries.map(\.hlc)) == plain(whole))
        if let answer = try? all.response { #expect(answer.truncated == (whole.count > limit)) }
    }
}
