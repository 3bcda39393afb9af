import Metadata
import Primitives
import TestSupport
import Testing

extension MetadataStoreContract {
    static let leases: [MetadataStoreContract] = [
        MetadataStoreContract(name: "keys-go-with-their-lease-and-no-others") { store, prefix in
            let lease = try await store.grantLease(ttl: .seconds(60))
            #expect(lease.isHeld && lease.ttl >= .seconds(60) && lease.ending == nil)
            for key in ["a", "b"] { _ = try await store.put(prefix + key, [1], lease: lease) }
            let stays = try await store.put(prefix + "c", [1])
            #expect(try await store.get(prefix + "a")?.lease == lease.id)
            #expect(try await store.get(prefix + "c")?.lease == nil)
            let before = try await store.list(prefix: prefix)
            #expect(before.entries.map(\.lease) == [lease.id, lease.id, nil])
            try await lease.revoke()
            #expect(!lease.isHeld && lease.ending == .revoked)
            #expect(try await store.list(prefix: prefix).entries.map(\.modified) == [stays])
            var gone: [MetadataEvent] = []
            for try await event in store.watch(prefix: prefix, after: before.revision) {
                gone.append(event)
                if gone.count == 2 { break }
            }
            #expect(gone.map(\.key) == [prefix + "a", prefix + "b"])
            for case .put in gone { Issue.record("not deleted: \(gone)") }
            // Over and done with: it may be revoked again, and writes nothing more.
            try await lease.revoke()
            await lease.lost()
            for write in ["put", "swap"] {
                let error = await #expect(throws: VecraftError.self) {
                    if write == "put" { return _ = try await store.put(prefix + "d", [], lease: lease) }
                    _ = try await store.compareAndSwap(prefix + "d", expected: nil, value: [], lease: lease)
                }
                #expect(error?.code == .failedPrecondition && error?.reason == "LEASE_LOST")
            }
            #expect(try await store.get(prefix + "d") == nil)
        },
        MetadataStoreContract(name: "the-last-write-says-whether-a-key-has-a-lease") { store, prefix in
            let lease = try await store.grantLease(ttl: .seconds(60))
            let other = try await store.grantLease(ttl: .seconds(60))
            #expect(lease.id != other.id)
            _ = try await store.put(prefix + "freed", [1], lease: lease)
            _ = try await store.put(prefix + "freed", [2])
            _ = try await store.put(prefix + "moved", [1], lease: lease)
            let moved = try await store.put(prefix + "moved", [2], lease: other)
            guard
                case .swapped(let bound) = try await store.compareAndSwap(
                    prefix + "bound", expected: nil, value: [1], lease: lease)
            else {
                Issue.record("an absent key was not created")
                return
            }
            #expect(try await store.get(prefix + "bound")?.lease == lease.id)
            guard case .swapped = try await store.compareAndSwap(prefix + "bound", expected: bound, value: [2]) else {
                Issue.record("a key as expected was not changed")
                return
            }
            try await lease.revoke()
            #expect(try await store.get(prefix + "freed")?.value == [2])
            #expect(try await store.get(prefix + "bound")?.value == [2])
            #expect(try await store.get(prefix + "moved")?.modified == moved)
            try await other.revoke()
            #expect(try await store.get(prefix + "moved") == nil)
        },
        MetadataStoreContract(name: "a-lease-outlasts-its-ttl-while-it-is-held") { store, prefix in
            // A machine that stands still for long ends a lease rightly: then another one.
            for _ in 0..<10 {
                var last = ContinuousClock.now
                var longest = Duration.zero
                func step() {
                    longest = max(longest, last.duration(to: .now))
                    last = .now
                }
                let lease = try await store.grantLease(ttl: .seconds(20))
                step()
                _ = try await store.put(prefix + "k", [1], lease: lease)
                step()
                let end = ContinuousClock.now + .seconds(25)
                while ContinuousClock.now < end, longest < .seconds(5) {
                    try await Task.sleep(for: .seconds(1))
                    step()
                }
                let isHeld = lease.isHeld
                let entry = try await store.get(prefix + "k")
                step()
                guard longest < .seconds(5) else {
                    try? await lease.revoke()
                    continue
                }
                #expect(isHeld && entry != nil)
                return try await lease.revoke()
            }
            Issue.record("the machine stood still again and again")
        },
        MetadataStoreContract(name: "a-dropped-lease-runs-out") { store, prefix in
            func hold() async throws {
                let lease = try await store.grantLease(ttl: .seconds(20))
                _ = try await store.put(prefix + "k", [1], lease: lease)
                #expect(lease.isHeld)
            }
            try await hold()
            try await eventually("the key is gone") { try await store.get(prefix + "k") == nil }
        },
        MetadataStoreContract(name: "waiting-for-the-end-of-a-lease-can-be-cancelled") { store, _ in
            let lease = try await store.grantLease(ttl: .seconds(60))
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await lease.lost() }
                group.cancelAll()
            }
            #expect(lease.isHeld)
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await lease.lost() }
                group.addTask { try? await lease.revoke() }
            }
            #expect(!lease.isHeld)
        },
        MetadataStoreContract(name: "the-limits-of-a-lease-are-named") { store, _ in
            for ttl in [Duration.zero, .milliseconds(999), .seconds(3_601)] {
                let error = await #expect(throws: VecraftError.self) { try await store.grantLease(ttl: ttl) }
                #expect(error?.code == .invalidArgument && error?.field == "ttl")
            }
        },
    ]

    static let elections: [MetadataStoreContract] = [
        MetadataStoreContract(name: "one-leads-and-the-next-follows") { store, prefix in
            let election = try Election(store, key: prefix + "leader", ttl: .seconds(30))
            // A neighbour whose key begins with this one's.
            let neighbour = try Election(store, key: prefix + "leader2", ttl: .seconds(30))
            let beside = try await neighbour.campaign([9])
            #expect(try await election.leader() == nil)
            let first = try await election.campaign([1])
            #expect(first.isHeld)
            #expect(try await election.leader() == ElectedLeader(value: [1], fencingToken: first.fencingToken))
            try await withThrowingTaskGroup(of: Leadership.self) { group in
                for candidate in 2...4 { group.addTask { try await election.campaign([UInt8(candidate)]) } }
                var token = first.fencingToken
                var leading = first
                for _ in 2...4 {
                    #expect(leading.isHeld)
                    try await leading.resign()
                    #expect(!leading.isHeld)
                    leading = try #require(try await group.next())
                    #expect(leading.fencingToken > token)
                    #expect(try await election.leader() == leading.leader)
                    token = leading.fencingToken
                }
                try await leading.resign()
            }
            #expect(try await election.leader() == nil)
            #expect(beside.isHeld)
            try await beside.resign()
        },
        MetadataStoreContract(name: "observers-see-who-leads") { store, prefix in
            let election = try Election(store, key: prefix + "leader", ttl: .seconds(30))
            let seen = try await withThrowingTaskGroup(of: [ElectedLeader?].self) { group in
                let (steps, step) = AsyncStream<ElectedLeader?>.makeStream()
                group.addTask {
                    var seen: [ElectedLeader?] = []
                    for try await leader in election.observe() {
                        seen.append(leader)
                        step.yield(leader)
                        if leader?.value == [2] { break }
                    }
                    return seen
                }
                // Each change once the one before was seen, so that none is told together with another.
                var observed = steps.makeAsyncIterator()
                #expect(await observed.next() == .some(nil))
                let first = try await election.campaign([1])
                #expect(await observed.next()??.value == [1])
                try await first.resign()
                #expect(await observed.next() == .some(nil))
                let second = try await election.campaign([2])
                let seen = try #require(try await group.next())
                #expect(seen.last??.fencingToken == second.fencingToken)
                try await second.resign()
                return seen
            }
            #expect(seen.map { $0?.value } == [nil, [1], nil, [2]])
        },
        MetadataStoreContract(name: "a-leader-whose-key-is-taken-away-stops") { store, prefix in
            let election = try Election(store, key: prefix + "leader", ttl: .seconds(60))
            for byDeletion in [true, false] {
                let leading = try await election.campaign([1])
                #expect(leading.isHeld)
                if byDeletion {
                    _ = try await store.delete(election.key)
                } else {
                    _ = try await store.put(election.key, [9])
                    // Written over is not taken away: its lease does not hold the key any more, but nobody else leads.
                    #expect(try await election.leader()?.fencingToken == leading.fencingToken)
                    _ = try await store.delete(election.key)
                    _ = try await store.put(election.key, [9])
                }
                await leading.lost()
                #expect(!leading.isHeld)
                _ = try await store.delete(election.key)
            }
        },
        MetadataStoreContract(name: "a-candidate-can-leave") { store, prefix in
            let election = try Election(store, key: prefix + "leader", ttl: .seconds(30))
            let leading = try await election.campaign([1])
            let error = await withTaskGroup(of: VecraftError?.self) { group in
                group.addTask {
                    do throws(VecraftError) {
                        _ = try await election.campaign([2])
                        return nil
                    } catch {
                        return error
                    }
                }
                group.cancelAll()
                return await group.next() ?? nil
            }
            #expect(error?.code == .cancelled)
            #expect(try await election.leader()?.value == [1])
            try await leading.resign()
        },
        MetadataStoreContract(name: "an-election-needs-a-key-and-a-time") { store, prefix in
            for (key, ttl) in [("", Duration.seconds(5)), (prefix + "leader", .milliseconds(1))] {
                let error = #expect(throws: VecraftError.self) { _ = try Election(store, key: key, ttl: ttl) }
                #expect(error?.code == .invalidArgument)
            }
        },
    ]
}
