import Metadata
import Primitives
import Synchronization
import Testing

/// What every ``MetadataStore`` must do. A new implementation runs each case through a ``Maker`` of its own.
///
/// The cases use keys under a prefix of their own, so they may share one store.
struct MetadataStoreContract: Sendable, CustomTestStringConvertible {
    let name: String
    let run: @Sendable (any MetadataStore, String) async throws -> Void

    var testDescription: String { self.name }

    func callAsFunction(_ store: any MetadataStore) async throws {
        try await self.run(store, "/contract/\(self.name)/")
    }

    static let cases: [MetadataStoreContract] =
        [
            MetadataStoreContract(name: "what-is-put-is-got") { store, prefix in
                let key = prefix + "k"
                #expect(try await store.get(key) == nil)
                let first = try await store.put(key, [1, 2])
                #expect(
                    try await store.get(key) == MetadataEntry(key: key, value: [1, 2], created: first, modified: first))
                let second = try await store.put(key, [])
                #expect(second > first)
                #expect(
                    try await store.get(key) == MetadataEntry(key: key, value: [], created: first, modified: second))
            },
            MetadataStoreContract(name: "a-deleted-key-is-gone-and-made-anew") { store, prefix in
                let key = prefix + "k"
                #expect(try await store.delete(key) == nil)
                let first = try await store.put(key, [1])
                let gone = try #require(try await store.delete(key))
                #expect(gone > first)
                #expect(try await store.get(key) == nil)
                #expect(try await store.delete(key) == nil)
                let again = try await store.put(key, [2])
                #expect(try await store.get(key)?.created == again)
            },
            MetadataStoreContract(name: "a-transaction-changes-all-or-nothing") { store, prefix in
                let (key, a, b) = (prefix + "epoch", prefix + "a", prefix + "b")
                func transact(_ expected: Revision?, _ epoch: UInt8?, _ a0: [UInt8]?, _ b0: [UInt8]?) async throws -> MetadataSwap {
                    try await store.transact(
                        key, expected: expected,
                        changes: [MetadataChange(key, epoch.map { [$0] }), MetadataChange(a, a0), MetadataChange(b, b0)])
                }
                let start = try await store.list(prefix: prefix).revision
                guard case .swapped(let first) = try await transact(nil, 1, [10], nil) else {
                    Issue.record("an absent key was not as expected")
                    return
                }
                #expect(try await store.get(key)?.modified == first)
                #expect(try await store.get(a)?.value == [10])
                // Expected to be absent, or at another revision: nothing at all is changed.
                #expect(try await transact(nil, 2, [11], [12]) == .conflict(try await store.get(key)))
                #expect(try await transact(first + 1_000, 2, [11], [12]) == .conflict(try await store.get(key)))
                #expect(try await store.get(a)?.value == [10])
                #expect(try await store.get(b) == nil)
                guard case .swapped(let second) = try await transact(first, 2, nil, [12]) else {
                    Issue.record("a key as expected was not changed")
                    return
                }
                #expect(second > first)
                #expect(try await store.get(a) == nil)
                #expect(try await store.get(b)?.value == [12])
                #expect(try await store.get(key)?.value == [2])
                // A watch tells all of it.
                var events = store.watch(prefix: prefix, after: start).makeAsyncIterator()
                var seen: [String: Int] = [:]
                while seen.values.reduce(0, +) < 5, let batch = try await events.nextBatch() {
                    for event in batch { seen[event.key, default: 0] += 1 }
                }
                #expect(seen == [key: 2, a: 2, b: 1])
                for bad in [
                    [], [MetadataChange(a, [1])], [MetadataChange(key, [1]), MetadataChange(key, [2])],
                    [MetadataChange(key, [1]), MetadataChange("", [2])],
                    [MetadataChange(key, [UInt8](repeating: 0, count: 1 << 19)), MetadataChange(a, [UInt8](repeating: 0, count: (1 << 19) + 1))],
                ] {
                    await #expect(throws: VecraftError.self) { try await store.transact(key, expected: second, changes: bad) }
                }
                #expect(try await store.get(key)?.modified == second)
            },
            MetadataStoreContract(name: "a-swap-needs-what-it-expects") { store, prefix in
                let key = prefix + "k"
                guard case .swapped(let created) = try await store.compareAndSwap(key, expected: nil, value: [1]) else {
                    Issue.record("an absent key was not created")
                    return
                }
                let present = MetadataEntry(key: key, value: [1], created: created, modified: created)
                #expect(try await store.compareAndSwap(key, expected: nil, value: [9]) == .conflict(present))
                #expect(
                    try await store.compareAndSwap(key, expected: created + 1_000, value: [9]) == .conflict(present))
                guard case .swapped(let changed) = try await store.compareAndSwap(key, expected: created, value: [2])
                else {
                    Issue.record("a key as expected was not changed")
                    return
                }
                #expect(
                    try await store.get(key) == MetadataEntry(key: key, value: [2], created: created, modified: changed)
                )
                // The revision read before the change is no longer good, though the key still exists.
                guard case .conflict(let found?) = try await store.compareAndSwap(key, expected: created, value: nil)
                else {
                    Issue.record("a stale delete went through")
                    return
                }
                #expect(found.modified == changed)
                guard case .swapped = try await store.compareAndSwap(key, expected: changed, value: nil) else {
                    Issue.record("a key as expected was not deleted")
                    return
                }
                #expect(try await store.get(key) == nil)
                #expect(try await store.compareAndSwap(key, expected: changed, value: [3]) == .conflict(nil))
            },
            MetadataStoreContract(name: "of-many-swaps-of-one-revision-one-wins") { store, prefix in
                let key = prefix + "counter"
                let base = try await store.put(key, [0])
                let wins = try await withThrowingTaskGroup(of: Bool.self) { group in
                    for i in 0..<16 {
                        group.addTask {
                            if case .swapped = try await store.compareAndSwap(key, expected: base, value: [UInt8(i)]) {
                                return true
                            }
                            return false
                        }
                    }
                    return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
                }
                #expect(wins == 1)
            },
            MetadataStoreContract(name: "a-listing-has-the-prefix-and-nothing-else-in-order") { store, prefix in
                // Neighbours in byte order on either side, and one key that is the prefix itself.
                for key in ["a/", "a/b", "a/b/c", "a/ü", "a0", "a", "b"] { _ = try await store.put(prefix + key, [7]) }
                let listing = try await store.list(prefix: prefix + "a/")
                #expect(listing.entries.map(\.key) == ["a/", "a/b", "a/b/c", "a/ü"].map { prefix + $0 })
                #expect(listing.entries.allSatisfy { $0.value == [7] && $0.modified <= listing.revision })
                #expect(try await store.list(prefix: prefix + "zzz").entries.isEmpty)
                #expect(try await store.list(prefix: "").entries.count >= 7)
            },
            MetadataStoreContract(name: "a-watch-tells-each-change-once-in-order") { store, prefix in
                let start = try await store.list(prefix: prefix).revision
                let watch = store.watch(prefix: prefix + "w/", after: start)
                let seen = try await withThrowingTaskGroup(of: [MetadataEvent].self) { group in
                    group.addTask {
                        var events: [MetadataEvent] = []
                        for try await event in watch {
                            events.append(event)
                            if event.key == prefix + "w/end" { break }
                        }
                        return events
                    }
                    _ = try await store.put(prefix + "w/a", [1])
                    _ = try await store.put(prefix + "elsewhere", [1])
                    _ = try await store.put(prefix + "w/a", [2])
                    _ = try await store.delete(prefix + "w/a")
                    _ = try await store.put(prefix + "w/end", [3])
                    return try await group.next() ?? []
                }
                #expect(seen.map(\.key) == ["a", "a", "a", "end"].map { prefix + "w/" + $0 })
                #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.revision < $1.revision })
                guard seen.count == 4, case .put(let first) = seen[0], case .put(let second) = seen[1],
                    case .delete = seen[2]
                else {
                    Issue.record("the events were \(seen)")
                    return
                }
                #expect(first.value == [1] && second.value == [2])
                #expect(second.created == first.modified)
            },
            MetadataStoreContract(name: "a-watch-resumes-where-it-was") { store, prefix in
                var revisions: [Revision] = []
                for i in 0..<600 { revisions.append(try await store.put(prefix + "k\(i % 3)", [UInt8(i % 256)])) }
                // More changes than one pull takes, from the middle.
                var seen: [Revision] = []
                for try await event in store.watch(prefix: prefix, after: revisions[9]) {
                    seen.append(event.revision)
                    if seen.count == 590 { break }
                }
                #expect(seen == Array(revisions[10...]))
            },
            MetadataStoreContract(name: "a-cancelled-watch-ends") { store, prefix in
                let start = try await store.list(prefix: prefix).revision
                let ended = try await withThrowingTaskGroup(of: Bool.self) { group in
                    group.addTask {
                        for try await _ in store.watch(prefix: prefix, after: start) {}
                        return true
                    }
                    group.cancelAll()
                    return try await group.next()
                }
                #expect(ended == true)
            },
            MetadataStoreContract(name: "many-writers-leave-no-gap-for-a-watcher") { store, prefix in
                let start = try await store.list(prefix: prefix).revision
                let watch = store.watch(prefix: prefix, after: start)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for writer in 0..<4 {
                        group.addTask {
                            for i in 0..<50 { _ = try await store.put(prefix + "\(writer)", [UInt8(i)]) }
                        }
                    }
                    group.addTask {
                        var last: [String: UInt8] = [:]
                        var count = 0
                        for try await event in watch {
                            guard case .put(let entry) = event else { continue }
                            // Each writer's values arrive complete and in its order.
                            #expect(entry.value == [(last[entry.key].map { $0 + 1 } ?? 0)])
                            last[entry.key] = entry.value[0]
                            count += 1
                            if count == 200 { break }
                        }
                    }
                    try await group.waitForAll()
                }
            },
            MetadataStoreContract(name: "limits-are-kept-and-named") { store, prefix in
                _ = try await store.put(prefix + String(repeating: "k", count: 1_024 - prefix.utf8.count), [])
                _ = try await store.put(prefix + "large", [UInt8](repeating: 1, count: 1 << 20))
                for (key, value) in [
                    ("", []), (String(repeating: "k", count: 1_025), []), ("a\u{0}b", []),
                    (prefix, [UInt8](repeating: 0, count: 1 << 20 + 1)),
                ] {
                    let error = await #expect(throws: VecraftError.self) { try await store.put(key, value) }
                    #expect(error?.code == .invalidArgument)
                    #expect(error?.field == (value.isEmpty ? "key" : "value"))
                }
            },
            MetadataStoreContract(name: "keys-and-values-may-hold-anything-allowed") { store, prefix in
                let key = prefix + "ключ/%_'\"\\ü"
                _ = try await store.put(key, Array(0...255))
                #expect(try await store.get(key)?.value == Array(0...255))
                #expect(try await store.list(prefix: prefix + "ключ/%").entries.map(\.key) == [key])
                #expect(try await store.list(prefix: prefix + "%").entries.isEmpty)
            },
        ] + leases + elections
}
