package import Primitives

/// Who leads, and since when.
package struct ElectedLeader: Sendable, Equatable {
    /// What the candidate said of itself.
    package let value: [UInt8]
    /// Larger for each later leader of one election. What a leader does elsewhere should carry it, and be refused by who has
    /// seen a larger one: a clock says that a leader should stop, and cannot make it.
    package let fencingToken: Revision

    package init(value: [UInt8], fencingToken: Revision) {
        self.value = value
        self.fencingToken = fencingToken
    }
}

/// One of several candidates leads: whoever made the election's key, for as long as its lease holds.
///
/// Candidates are not served in turn: when the key goes, all that wait try at once, so
/// this is for few candidates.
package struct Election: Sendable {
    package let key: String
    /// How long after a leader's last sign of life another may lead.
    package let ttl: Duration
    private let store: any MetadataStore
    /// Between attempts while the store cannot be asked; doubling up to a second.
    private static let pauses: ClosedRange<Duration> = .milliseconds(50) ... .seconds(1)

    /// - Throws: `.invalidArgument` for a key or a TTL that the store would refuse.
    package init(_ store: any MetadataStore, key: String, ttl: Duration) throws(VecraftError) {
        try MetadataLimits.check(key: key)
        try MetadataLimits.check(ttl: ttl)
        self.store = store
        self.key = key
        self.ttl = ttl
    }

    /// Returns once this candidate leads. A store that cannot be asked is waited for.
    ///
    /// Each candidacy has a lease of its own: by it the key is known as ours when an answer was lost, and nothing that is still
    /// under way can make the key again once we have resigned.
    /// - Throws: `.cancelled` with its task. Should the candidate have won by then, its lease runs out unused.
    package func campaign(_ value: [UInt8]) async throws(VecraftError) -> Leadership {
        while true {
            let lease = try await self.patiently { () throws(VecraftError) in
                try await self.store.grantLease(ttl: self.ttl)
            }
            // Nil: it was lost while the candidate waited, and a new one is needed.
            if let leadership = try await self.stand(value, lease) { return leadership }
        }
    }

    private func stand(_ value: [UInt8], _ lease: MetadataLease) async throws(VecraftError) -> Leadership? {
        do throws(VecraftError) {
            return try await self.patiently { () throws(VecraftError) in
                while true {
                    let swap = try await self.store.compareAndSwap(self.key, expected: nil, value: value, lease: lease)
                    switch swap {
                    case .swapped(let revision):
                        try MetadataLimits.check(lease: lease)
                        return Leadership(ElectedLeader(value: value, fencingToken: revision), lease, self)
                    case .conflict(let found?) where found.lease == lease.id:
                        // Made by an attempt whose answer did not come.
                        try MetadataLimits.check(lease: lease)
                        return Leadership(ElectedLeader(value: value, fencingToken: found.created), lease, self)
                    case .conflict(let found?): try await self.vacancy(after: found.modified, lease)
                    case .conflict(nil): break
                    }
                }
            }
        } catch {
            guard error.reason == MetadataLease.lost.reason else { throw error }
            return nil
        }
    }

    /// Returns when the key may be free.
    private func vacancy(after revision: Revision, _ lease: MetadataLease) async throws(VecraftError) {
        let watch = self.store.watch(prefix: self.key, after: revision)
        let outcome = await withTaskGroup(of: VecraftError?.self) { group in
            group.addTask {
                do throws(VecraftError) {
                    var events = watch.makeAsyncIterator()
                    while let event = try await events.next() {
                        if event.key == self.key { return nil }
                    }
                    return VecraftError(.cancelled, "the candidate was cancelled")
                } catch {
                    // Whatever happened meanwhile, the next attempt sees what is.
                    return error.reason == "COMPACTED" ? nil : error
                }
            }
            group.addTask {
                await lease.lost()
                return lease.isHeld ? VecraftError(.cancelled, "the candidate was cancelled") : MetadataLease.lost
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
        if let outcome { throw outcome }
    }

    /// Nil: nobody leads now.
    package func leader() async throws(VecraftError) -> ElectedLeader? {
        try await self.store.get(self.key).map { ElectedLeader(value: $0.value, fencingToken: $0.created) }
    }

    /// Who leads now, then each change; changes close together may be told as one.
    package func observe() -> ElectionObservation { ElectionObservation(election: self, store: self.store) }

    /// Asks again while the store cannot be asked.
    func patiently<T>(_ body: () async throws(VecraftError) -> T) async throws(VecraftError) -> T {
        var pause = Self.pauses.lowerBound
        while true {
            do throws(VecraftError) {
                return try await body()
            } catch {
                guard error.code == .unavailable, error.reason != "CLOSED" else { throw error }
            }
            do { try await Task.sleep(for: pause) } catch {
                throw VecraftError(.cancelled, "the election was left")
            }
            pause = min(pause * 2, Self.pauses.upperBound)
        }
    }
}

/// Leading, for as long as it lasts.
package final class Leadership: Sendable {
    package let leader: ElectedLeader
    private let lease: MetadataLease
    /// Its parent is this object.
    private let guardian: Task<Void, any Error>

    init(_ leader: ElectedLeader, _ lease: MetadataLease, _ election: Election) {
        self.leader = leader
        self.lease = lease
        // A key can go before its lease has run out: by an administrator's hand, or revoked by a leader of etcd's that was
        // stopped for long and does not know that it was deposed (etcd issue 15247). The clock would tell the holder too late;
        // this tells it about when the other candidates hear of it.
        self.guardian = Task { [weak lease] in
            for try await seen in election.observe() where seen?.fencingToken != leader.fencingToken {
                lease?.end(.gone)
                return
            }
        }
    }

    deinit { self.guardian.cancel() }

    package var fencingToken: Revision { self.leader.fencingToken }
    /// To be asked before each act of a leader. False is for good, and comes before another can lead.
    package var isHeld: Bool { self.lease.isHeld }
    /// Returns once it is not held any more, or the task is cancelled.
    package func lost() async { await self.lease.lost() }
    /// It is over at once; if the call fails, others can lead when the lease has run out.
    package func resign() async throws(VecraftError) { try await self.lease.revoke() }
}

/// See ``Election/observe()``.
package struct ElectionObservation: AsyncSequence, Sendable {
    /// What an observer sees: the leader, or that there is none.
    package typealias Element = ElectedLeader?
    let election: Election
    let store: any MetadataStore

    package func makeAsyncIterator() -> Iterator { Iterator(election: self.election, store: self.store) }

    package struct Iterator: AsyncIteratorProtocol {
        let election: Election
        let store: any MetadataStore
        private var events: MetadataWatch.Iterator?
        private var last: ElectedLeader??

        init(election: Election, store: any MetadataStore) {
            self.election = election
            self.store = store
        }

        /// Nil (and not an element that says that nobody leads) only when the task is cancelled.
        package mutating func next(
            isolation: isolated (any Actor)? = #isolation
        ) async throws(VecraftError) -> ElectedLeader?? {
            while !Task.isCancelled {
                guard let seen = try await self.step(isolation: isolation) else { return nil }
                if self.last != .some(seen) {
                    self.last = .some(seen)
                    return .some(seen)
                }
            }
            return nil
        }

        private mutating func step(
            isolation: isolated (any Actor)?
        ) async throws(VecraftError) -> ElectedLeader?? {
            do throws(VecraftError) {
                if self.events == nil { return .some(try await self.begin(isolation: isolation)) }
                while let event = try await self.events?.next(isolation: isolation) {
                    guard event.key == self.election.key else { continue }
                    guard case .put(let entry) = event else { return .some(nil) }
                    return .some(ElectedLeader(value: entry.value, fencingToken: entry.created))
                }
                return nil
            } catch {
                if error.code == .cancelled, Task.isCancelled { return nil }
                guard error.reason == "COMPACTED" else { throw error }
                self.events = nil
                return .some(try await self.begin(isolation: isolation))
            }
        }

        private mutating func begin(
            isolation: isolated (any Actor)?
        ) async throws(VecraftError) -> ElectedLeader? {
            let (election, store) = (self.election, self.store)
            let listing = try await election.patiently { () throws(VecraftError) in
                try await store.list(prefix: election.key)
            }
            self.events = store.watch(prefix: election.key, after: listing.revision).makeAsyncIterator()
            return listing.entries.first { $0.key == election.key }
                .map { ElectedLeader(value: $0.value, fencingToken: $0.created) }
        }
    }
}
