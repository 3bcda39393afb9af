import Etcd
import Foundation
import Metadata
import Primitives
import TestSupport
import Testing

/// Against real etcds. Cases beside one another, each with an etcd of its own unless it leaves its etcd as it was.
@Suite(.serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
struct EtcdMetadataStoreTests {
    /// All cases on one etcd, each in a cluster of its own, at once.
    @Test func keepsTheContract() async throws {
        let etcd = try await EtcdProcess.start()
        await withTaskGroup(of: Void.self) { group in
            for contract in MetadataStoreContract.cases {
                group.addTask {
                    do {
                        let store = try etcd.store(cluster: contract.name)
                        try await contract(store)
                        await store.close()
                    } catch {
                        Issue.record(error, "\(contract)")
                    }
                }
            }
        }
    }

    @Test func clustersOfOneEtcdDoNotMeet() async throws {
        let etcd = try await EtcdProcess.start()
        let (one, other) = (try etcd.store(cluster: "a"), try etcd.store(cluster: "a.b"))
        let revision = try await one.put("k", [1])
        #expect(try await other.get("k") == nil)
        _ = try await other.put("k", [2])
        #expect(try await one.list(prefix: "").entries.map(\.value) == [[1]])
        var events = other.watch(prefix: "", after: revision - 1).makeAsyncIterator()
        let seen = try await take(1, &events)
        guard case .put(let entry) = seen[0] else {
            Issue.record("\(seen)")
            return
        }
        #expect(entry.value == [2])
        for cluster in ["", "a/b", "ü", String(repeating: "a", count: 65)] {
            let error = #expect(throws: VecraftError.self) { _ = try etcd.store(cluster: cluster) }
            #expect(error?.field == "cluster")
        }
        await one.close()
        let error = await #expect(throws: VecraftError.self) { try await one.get("k") }
        #expect(error?.code == .unavailable && error?.reason == "CLOSED")
        await other.close()
    }

    @Test func closingEndsWatches() async throws {
        let etcd = try await EtcdProcess.start()
        let store = try etcd.store()
        let revision = try await store.put("k", [1])
        let error = await withTaskGroup(of: VecraftError?.self) { group in
            group.addTask {
                do throws(VecraftError) {
                    var events = store.watch(prefix: "", after: revision).makeAsyncIterator()
                    _ = try await events.next()
                    return nil
                } catch {
                    return error
                }
            }
            await store.close()
            return await group.next() ?? nil
        }
        #expect(error?.code == .unavailable && error?.reason == "CLOSED")
    }

    // MARK: Compaction

    @Test func aWatcherAwayForTooLongIsTold() async throws {
        let etcd = try await EtcdProcess.start()
        let store = try etcd.store()
        var revisions: [Revision] = []
        for i in 0..<6 { revisions.append(try await store.put("k", [UInt8(i)])) }
        let deleted = try #require(try await store.delete("k"))
        let last = try await store.put("other", [])
        // One that is up to date goes on over a compaction.
        var present = store.watch(prefix: "", after: revisions[0]).makeAsyncIterator()
        #expect(try await take(7, &present).map(\.revision) == Array(revisions[1...]) + [deleted, last])
        try await etcd.compact(deleted)
        // The deletion, at the very revision compacted to, may be forgotten with what was before it: that must not be passed
        // over in silence.
        for after in [0, revisions[0], revisions[5]] {
            var events = store.watch(prefix: "", after: after).makeAsyncIterator()
            let error = await #expect(throws: VecraftError.self) { try await events.next() }
            #expect(error?.code == .outOfRange && error?.reason == "COMPACTED" && error?.field == "after")
        }
        var events = store.watch(prefix: "", after: deleted).makeAsyncIterator()
        #expect(try await take(1, &events).map(\.revision) == [last])
        let next = try await store.put("k", [9])
        #expect(try await take(1, &present).map(\.revision) == [next])
        #expect(try await take(1, &events).map(\.revision) == [next])
        await store.close()
    }

    // MARK: Large things

    @Test func listingsAndWatchesLargerThanAMessage() async throws {
        let etcd = try await EtcdProcess.start(arguments: [
            "--quota-backend-bytes", "\(1 << 30)", "--snapshot-count", "1000000",
        ])
        let store = try etcd.store()
        let small = try await store.put("a", [1])
        var last: Revision = 0
        // Together more than the 64 MiB of the largest message.
        for i in 0..<70 {
            last = try await store.put("large/\(100 + i)", [UInt8](repeating: UInt8(i), count: 1 << 20))
        }
        let listing = try await store.list(prefix: "")
        #expect(listing.revision == last)
        #expect(listing.entries.map(\.key) == ["a"] + (0..<70).map { "large/\(100 + $0)" })
        #expect(listing.entries.dropFirst().enumerated().allSatisfy { $1.value.count == 1 << 20 && $1.value[9] == $0 })
        var events = store.watch(prefix: "", after: small).makeAsyncIterator()
        let seen = try await take(70, &events)
        #expect(seen.map(\.key) == (0..<70).map { "large/\(100 + $0)" })
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.revision < $1.revision })
        #expect(store.statistics.watchResumes == 0)
        await store.close()
    }

    @Test func aListingOfManyPagesIsOfOneRevision() async throws {
        let etcd = try await EtcdProcess.start()
        let store = try etcd.store()
        let keys = (0..<2_000).map { String(format: "k/%05d", $0) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for part in 0..<8 {
                group.addTask {
                    for i in stride(from: part, to: keys.count, by: 8) { _ = try await store.put(keys[i], [0]) }
                }
            }
            try await group.waitForAll()
        }
        let before = try await store.list(prefix: "k/").revision
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // In step: if one page were newer than another, later keys would have been written more often than earlier ones.
                for round in 1...3 { for i in [0, 700, 1_999] { _ = try await store.put(keys[i], [UInt8(round)]) } }
            }
            group.addTask {
                for _ in 0..<10 {
                    let listing = try await store.list(prefix: "k/")
                    #expect(listing.entries.map(\.key) == keys)
                    #expect(listing.entries.allSatisfy { $0.modified <= listing.revision })
                    let rounds = [0, 700, 1_999].map { listing.entries[$0].value[0] }
                    #expect(rounds == rounds.sorted(by: >) && rounds[0] - rounds[2] <= 1)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await store.list(prefix: "k/").revision == before + 9)
        await store.close()
    }

    // MARK: Faults

    @Test func aWatchGoesOnOverAKilledEtcd() async throws {
        let etcd = try await EtcdProcess.start()
        let store = try etcd.store()
        let start = try await store.put("k", [0])
        var events = store.watch(prefix: "", after: start).makeAsyncIterator()
        for round in 1...2 {
            let before = try await store.put("k", [UInt8(round)])
            #expect(try await take(1, &events).map(\.revision) == [before])
            etcd.kill()
            try etcd.restart()
            // By another, so that the watch comes back by itself.
            let other = try etcd.store()
            let after = try await eventually("etcd takes writes") { try await other.put("k", [UInt8(round) + 100]) }
            #expect(try await take(1, &events).map(\.revision) == [after])
            await other.close()
        }
        #expect(store.statistics.watchResumes >= 2)
        await store.close()
    }

    @Test func aMemberIsLost() async throws {
        let etcd = try await EtcdProcess.start(members: 3)
        let leader = try await etcd.leader()
        // The leader is who is asked first.
        let store = try etcd.store(members: [leader, (leader + 1) % 3, (leader + 2) % 3])
        let start = try await store.put("k", [0])
        var events = store.watch(prefix: "", after: start).makeAsyncIterator()
        let second = try await store.put("k", [1])
        #expect(try await take(1, &events).map(\.revision) == [second])
        let lease = try await store.grantLease(ttl: .seconds(300))
        _ = try await store.put("leased", [1], lease: lease)
        etcd.kill(leader)
        // Each attempt has an answer, or says that it may have been made; none is guessed.
        var written: [UInt8] = []
        for value in 2...40 {
            do throws(VecraftError) {
                _ = try await store.put("k", [UInt8(value)])
                written.append(UInt8(value))
            } catch {
                #expect(error.code == .unavailable)
            }
            if written.count >= 5 { break }
        }
        #expect(written.count == 5)
        var seen: [UInt8] = []
        while let event = try await events.next() {
            guard case .put(let entry) = event, event.key == "k" else { continue }
            seen += entry.value
            if entry.value == [written[4]] { break }
        }
        #expect(Set(written).isSubset(of: seen) && seen == seen.sorted() && Set(seen).count == seen.count)
        #expect(lease.isHeld)
        // Without a majority nothing is promised, and with it all is well again.
        etcd.kill((leader + 1) % 3)
        var hurried = etcd.settings()
        hurried.callTimeout = .seconds(5)
        let other = try EtcdMetadataStore(hurried, group: etcdLoops)
        let error = await #expect(throws: VecraftError.self) { try await other.get("k") }
        #expect(error?.code == .unavailable)
        await other.close()
        try etcd.restart(leader)
        try await eventually("the majority is back") { try await store.get("k")?.value == [written[4]] }
        await store.close()
    }

    @Test func anEtcdThatDoesNotAnswer() async throws {
        let etcd = try await EtcdProcess.start()
        var settings = etcd.settings()
        settings.callTimeout = .seconds(3)
        let store = try EtcdMetadataStore(settings, group: etcdLoops)
        // Not held to seconds, on a machine that may stand still for some.
        let patient = try etcd.store()
        let revision = try await patient.put("k", [1])
        try await eventually("a connection") { try await store.get("k") != nil }
        try await etcd.suspend()
        // All at once: each takes its whole time.
        func failure(_ body: @escaping @Sendable () async throws -> Void) async -> VecraftError? {
            await #expect(throws: VecraftError.self) { try await body() }
        }
        async let reading = failure { _ = try await store.get("k") }
        async let writing = failure { _ = try await store.put("k", [2]) }
        async let swapping = failure { _ = try await store.compareAndSwap("k", expected: revision, value: [3]) }
        async let granting = failure { _ = try await store.grantLease(ttl: .seconds(5)) }
        let (read, write, swap, lease) = await (reading, writing, swapping, granting)
        #expect(read?.code == .unavailable && read?.reason == nil)
        #expect(write?.code == .unavailable && write?.reason == "OUTCOME_UNKNOWN")
        #expect(swap?.code == .unavailable && swap?.reason == "OUTCOME_UNKNOWN")
        #expect(lease?.code == .unavailable)
        etcd.resume()
        try await eventually("etcd is asked again") { try await store.get("k") != nil }
        #expect(store.statistics.unanswered >= 4)
        // Gone altogether: what was not sent was not done.
        etcd.kill()
        // The first finds the connection lost, or not there any more.
        _ = try? await store.put("k", [4])
        let refused = await #expect(throws: VecraftError.self) { try await store.put("k", [5]) }
        #expect(refused?.code == .unavailable && refused?.reason == nil && refused?.retryAfter != nil)
        try etcd.restart()
        try await eventually("etcd is asked again") { try await store.get("k") != nil }
        #expect(try await patient.get("k")?.value != [5])
        await store.close()
        await patient.close()
    }

    @Test func anEtcdThatLostItsDataIsNotBelieved() async throws {
        let etcd = try await EtcdProcess.start()
        let store = try etcd.store()
        var last: Revision = 0
        for i in 0..<5 { last = try await store.put("k", [UInt8(i)]) }
        etcd.kill()
        try etcd.wipe()
        try etcd.restart()
        try await etcd.awaitHealth()
        let fresh = try etcd.store()
        _ = try await fresh.put("k", [1])
        let watch = store.watch(prefix: "", after: last)
        let error = await #expect(throws: VecraftError.self) {
            var events = watch.makeAsyncIterator()
            _ = try await events.next()
        }
        #expect(error?.code == .dataLoss && error?.reason == "METADATA_WENT_BACK")
        // Also when its revisions have overtaken what was seen.
        for i in 0..<9 { _ = try await fresh.put("k", [UInt8(i)]) }
        let later = await #expect(throws: VecraftError.self) { try await store.get("k") }
        #expect(later?.code == .dataLoss)
        await store.close()
        await fresh.close()
    }
}
