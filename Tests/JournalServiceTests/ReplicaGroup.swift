import FileStore
import Foundation
import HLC
import JournalFormat
import JournalService
import JournalStore
import PeerTransport
import Primitives
import Raft
import Synchronization
import TestSupport

/// The replicas of one partition in this process: real threads and disks that can be broken, a network that can be cut.
final class ReplicaGroup: Sendable {
    static let partition = PartitionID.data(0)
    let network = LocalNetwork()
    let disks: [ReplicaID: FaultyFileStore]
    /// Why a node should lead nothing.
    let unfit = Mutex<[ReplicaID: String]>([:])
    /// How far each node's wall clock is ahead, milliseconds.
    let ahead = Mutex<[ReplicaID: Int64]>([:])
    private let replicas = Mutex<[ReplicaID: JournalReplica]>([:])
    private let initial: Membership
    let settings: JournalSettings
    let raft: RaftSettings

    /// - Parameter spares: Further nodes, in no group yet.
    init(voters: UInt64, spares: UInt64 = 0, segmentBytes: Int = 1 << 20, raft: RaftSettings = RaftSettings()) {
        let ids = (1...voters + spares).map { ReplicaID($0) }
        self.disks = Dictionary(uniqueKeysWithValues: ids.map { ($0, FaultyFileStore(seed: $0.rawValue)) })
        self.initial = Membership(voters: Array(ids.prefix(Int(voters))))
        var settings = JournalSettings()
        settings.segmentBytes = segmentBytes
        settings.reserveBytes = 0
        self.settings = settings
        self.raft = raft
    }

    deinit { for id in self.disks.keys { self.stop(id) } }

    var ids: [ReplicaID] { self.disks.keys.sorted() }
    subscript(id: ReplicaID) -> JournalReplica { self.replicas.withLock { $0[id]! } }
    var running: [JournalReplica] { self.replicas.withLock { $0.sorted { $0.key < $1.key }.map(\.value) } }

    @discardableResult
    func start(_ id: ReplicaID) throws -> JournalReplica {
        let clock = HLCClock(physical: { [weak self] in
            UInt64(Int64(SystemClock.wallMilliseconds()) + (self?.ahead.withLock { $0[id] } ?? 0))
        })
        let replica = try JournalReplica(
            partition: Self.partition, directory: "/journal/data-0", replica: id,
            members: self.initial.member(id) == nil ? .none : self.initial, settings: self.settings, raft: self.raft,
            files: self.disks[id]!, clock: clock, sender: self.network,
            fitness: { [weak self] in self?.unfit.withLock { $0[id] } })
        self.replicas.withLock { $0[id] = replica }
        self.network.connect(replica)
        return replica
    }

    func startAll() throws { for id in self.ids { try self.start(id) } }

    /// An orderly end, or (`.power`, `.process`) what a crash leaves.
    func stop(_ id: ReplicaID, _ crash: FaultyFileStore.Crash? = nil) {
        self.network.disconnect(id)
        guard let replica = self.replicas.withLock({ $0.removeValue(forKey: id) }) else { return }
        if let crash { self.disks[id]!.restart(crash) }
        replica.close()
        if crash != nil { self.disks[id]!.restart(.process) }
    }

    var leader: JournalReplica? {
        let leaders = self.running.filter { $0.status.role == .leader }
        return leaders.max { $0.status.term < $1.status.term }
    }

    /// A leader that the others follow.
    func awaitLeader(_ isMeant: (JournalReplica) -> Bool = { _ in true }) async throws -> JournalReplica {
        var found: JournalReplica?
        try await waitUntil("a leader") {
            guard let leader = self.leader, isMeant(leader) else { return false }
            found = leader
            return true
        }
        return found!
    }

    static func entry(_ number: Int, key: String = "", bytes: Int = 64) -> EncodedEntry {
        var random = SystemRandomNumberGenerator()
        let header = EntryHeader(
            partition: Self.partition, tier: .interactive, operation: .upsert, tenant: "default",
            requestID: "r-\(number)",
            idempotencyKey: key, principal: "test", trace: .root(using: &random))
        var body = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: max(bytes, 8))
        body.withUnsafeMutableBytes { $0.storeBytes(of: UInt64(number), as: UInt64.self) }
        return body.withUnsafeBytes { .raw(header: header, body: $0) }
    }

    /// Appends under a key until it is acknowledged, by whoever leads.
    func append(_ number: Int, key: String? = nil, bytes: Int = 64) async throws -> Appended {
        let entry = Self.entry(number, key: key ?? "key-\(number)", bytes: bytes)
        let end = ContinuousClock.now + .seconds(300)
        while .now < end {
            if let leader = self.leader {
                let result = await withCheckedContinuation { continuation in
                    leader.append(entry) { continuation.resume(returning: $0) }
                }
                switch result {
                case .success(let appended): return appended
                case .failure(let error):
                    guard error.code == .unavailable || error.code == .resourceExhausted else { throw error }
                }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw VecraftError(.deadlineExceeded, "append \(number) was never acknowledged")
    }

    /// The numbers of all upserts that a replica shows, in order, with their offsets.
    static func numbers(_ replica: JournalReplica) throws -> [(offset: JournalOffset, number: Int)] {
        var found: [(JournalOffset, Int)] = []
        var next = replica.firstOffset
        while next <= replica.committed {
            let batch = try replica.read(from: next, maxBytes: 1 << 20)
            for view in batch where view.operation == .upsert {
                found.append((view.offset, Int(view.body.integer(at: 0, as: UInt64.self))))
            }
            next = batch.nextOffset
        }
        return found
    }
}

/// Hands messages over on threads of its own, in order, unless a way is cut.
final class LocalNetwork: PeerSender {
    private struct State {
        var replicas: [ReplicaID: JournalReplica] = [:]
        var cut: Set<[ReplicaID]> = []
    }
    private let state = Mutex(State())

    func connect(_ replica: JournalReplica) {
        let others = self.state.withLock { state in
            defer { state.replicas[replica.replica] = replica }
            return Array(state.replicas.values)
        }
        for other in others { other.linkReset(replica.replica) }
    }
    func disconnect(_ id: ReplicaID) { self.state.withLock { _ = $0.replicas.removeValue(forKey: id) } }

    func isolate(_ id: ReplicaID, from others: [ReplicaID]) {
        self.state.withLock { state in
            for other in others where other != id {
                state.cut.insert([id, other])
                state.cut.insert([other, id])
            }
        }
    }
    func heal() { self.state.withLock { $0.cut = [] } }

    func send(_ messages: [PeerMessage]) {
        for message in messages {
            let to = self.state.withLock { state -> JournalReplica? in
                state.cut.contains([message.message.from, message.message.to])
                    ? nil : state.replicas[message.message.to]
            }
            to?.receive(message)
        }
    }

    func sendLog(
        _ transfer: LogTransfer, partition: PartitionID, from source: any LogSource,
        progress: @escaping @Sendable () -> Void,
        end: @escaping @Sendable (Bool) -> Void
    ) {
        let to = self.state.withLock { $0.replicas[transfer.to] }
        guard let to, let staging = try? to.stage(transfer) else { return end(false) }
        Thread.detachNewThread {
            do {
                var next = transfer.start.position.index + 1
                while next <= transfer.through.index {
                    let run = try source.frames(from: next, maxBytes: 64 << 10)
                    try staging.write(
                        try FrameRun(checking: Self.copy(run), count: run.bytes.count, salt: run.salt, expecting: next))
                    next = run.lastOffset + 1
                    progress()
                }
                try staging.write(try source.keys())
                try staging.finish()
                end(true)
            } catch {
                staging.abandon()
                end(false)
            }
        }
    }

    /// As a wire would bring it.
    private static func copy(_ run: FrameRun) -> AlignedBytes {
        let bytes = AlignedBytes(bytes: run.bytes.count)
        bytes.raw.copyMemory(from: run.bytes)
        return bytes
    }
}

/// Waits for a condition however busy the machine is; five minutes are never.
func waitUntil(_ what: String, _ condition: () throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(300)
    while true {
        // Asked once more after the end.
        let isLast = ContinuousClock.now >= end
        if try condition() { return }
        if isLast { break }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw VecraftError(.deadlineExceeded, "waited in vain for \(what)")
}
