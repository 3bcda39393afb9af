import Dispatch
import GRPC
import Glibc
import JournalFormat
import Logging
import NIOCore
import NIOPosix
import Observability
import Primitives
import Raft
import Synchronization
import Testing

@testable import PeerTransport

let testLoops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

// MARK: Entries

func sampleEntry(_ partition: PartitionID = .data(0), bodyBytes: Int = 64, fill: UInt8 = 7) -> EncodedEntry {
    let header = EntryHeader(
        partition: partition, tier: .interactive, operation: .upsert, tenant: "acme",
        trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
    return EncodedEntry(header: header, bodyBytes: bodyBytes) { raw in
        for i in raw.indices { raw[i] = fill &+ UInt8(truncatingIfNeeded: i) }
    }
}

/// Frames as a journal makes them. `terms` names entries that have another term than the rest.
func sampleRun(
    from first: JournalOffset, count: Int, term: UInt64, bodyBytes: Int = 64, salt: UInt32 = 77,
    terms: [Int: UInt64] = [:]
) -> FrameRun {
    let entry = sampleEntry(bodyBytes: bodyBytes)
    let frameBytes = Frame.headBytes + entry.bytes.count
    let buffer = AlignedBytes(bytes: frameBytes * count)
    var ranges: [Range<Int>] = []
    entry.bytes.withUnsafeBytes { raw in
        for i in 0..<count {
            let start = i * frameBytes
            let offset = first + UInt64(i)
            Frame.write(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer.raw[start..<start + Frame.stampedBytes]),
                entry: raw,
                offset: offset, term: terms[i] ?? term, hlc: HLCTimestamp(rawValue: 1_000 + offset),
                appendedStart: HLCTimestamp(rawValue: 1_000), durableThrough: 0, salt: salt)
            let rest = UnsafeMutableRawBufferPointer(
                rebasing: buffer.raw[start + Frame.stampedBytes..<start + frameBytes])
            rest.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[EntryLayout.fixedBytes...]))
            ranges.append(start + Frame.headBytes..<start + frameBytes)
        }
    }
    return FrameRun(trusted: buffer, ranges: ranges, firstOffset: first, salt: salt)
}

func append(
    _ run: FrameRun, term: UInt64 = 3, from: UInt64 = 1, to: UInt64 = 2, partition: PartitionID = .data(0),
    membership: Membership? = nil
) -> PeerMessage {
    let range = EntryRange(
        first: run.firstOffset, last: run.lastOffset, term: term, bytes: run.bytes.count, membership: membership)
    let body = RaftMessage.Append(
        previous: LogPosition(index: run.firstOffset - 1, term: 2), entries: range, commit: 5, round: 9)
    return PeerMessage(
        partition: partition,
        message: RaftMessage(from: ReplicaID(from), to: ReplicaID(to), term: term, body: .append(body)), frames: run)
}

func message(
    _ body: RaftMessage.Body, term: UInt64 = 3, from: UInt64 = 1, to: UInt64 = 2, partition: PartitionID = .data(0),
    closed: ClosedTimestamp? = nil
) -> PeerMessage {
    PeerMessage(
        partition: partition, message: RaftMessage(from: ReplicaID(from), to: ReplicaID(to), term: term, body: body),
        closed: closed)
}

func commit(_ index: UInt64, from: UInt64 = 1, to: UInt64 = 2) -> PeerMessage {
    message(.commit(index), from: from, to: to)
}

extension PeerMessage {
    /// The index of a commit notice, which tests number messages with.
    var number: UInt64? { if case .commit(let index) = self.message.body { index } else { nil } }
}

func same(_ a: PeerMessage, _ b: PeerMessage) -> Bool {
    guard a.partition == b.partition, a.message == b.message, a.closed == b.closed else { return false }
    guard let x = a.frames, let y = b.frames else { return a.frames == nil && b.frames == nil }
    return x.firstOffset == y.firstOffset && x.count == y.count && x.bytes.elementsEqual(y.bytes)
}

// MARK: A receiver that remembers

final class Recorder: PeerReceiver {
    struct State {
        var messages: [PeerMessage] = []
        var resets: [ReplicaID] = []
    }
    let state = Mutex(State())
    let onReceive: (@Sendable (PeerMessage) -> Void)?
    let onStage: (@Sendable (LogTransfer, PartitionID) throws(VecraftError) -> any LogStaging)?

    let keeps: Bool

    init(
        onReceive: (@Sendable (PeerMessage) -> Void)? = nil, keeps: Bool = true,
        onStage: (@Sendable (LogTransfer, PartitionID) throws(VecraftError) -> any LogStaging)? = nil
    ) {
        self.onReceive = onReceive
        self.onStage = onStage
        self.keeps = keeps
    }

    func receive(_ message: PeerMessage) {
        if self.keeps { self.state.withLock { $0.messages.append(message) } }
        self.onReceive?(message)
    }
    func linkReset(_ peer: ReplicaID) { self.state.withLock { $0.resets.append(peer) } }
    func stage(_ transfer: LogTransfer, partition: PartitionID) throws(VecraftError) -> any LogStaging {
        guard let onStage else { throw VecraftError(.notFound, "no partition \(partition)") }
        return try onStage(transfer, partition)
    }

    var messages: [PeerMessage] { self.state.withLock { $0.messages } }
    var count: Int { self.state.withLock { $0.messages.count } }
    var resets: Int { self.state.withLock { $0.resets.count } }
}

/// Waits, without limit: a test that never gets there hangs, and says where.
func until(_ holds: @Sendable () -> Bool) async throws {
    while !holds() { try await Task.sleep(for: .milliseconds(2)) }
}

// MARK: Nodes

/// A loopback address of the caller's own, so that a port can be taken again.
func ownHost() -> String {
    let number = hostsTaken.add(1, ordering: .relaxed).newValue &* 251 &+ UInt32(bitPattern: getpid()) &* 7919
    return "127.\(129 + number >> 16 & 63).\(number >> 8 & 255).\(1 + number % 253)"
}
private let hostsTaken = Atomic<UInt32>(0)

extension PeerSettings {
    /// For tests that are not about these limits: a thread may stand still for long on a busy machine.
    static func patient(_ clusterID: String = "test") -> PeerSettings {
        var settings = PeerSettings(clusterID: clusterID)
        settings.silenceLimit = .seconds(600)
        settings.transferSilenceLimit = .seconds(600)
        return settings
    }
}

final class Node: Sendable {
    let links: PeerLinks
    let registry = MetricsRegistry()
    let host = ownHost()
    let recorder: Recorder
    private let server = Mutex<GRPCServer?>(nil)
    private let ownPort = Mutex(0)

    init(
        _ id: UInt64, settings: PeerSettings = .patient(), recorder: Recorder = Recorder(), tls: GRPCTLS? = nil
    ) {
        self.recorder = recorder
        self.links = PeerLinks(
            own: ReplicaID(id), settings: settings, group: testLoops, tls: tls, metrics: PeerMetrics(self.registry),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        self.links.start(receiver: recorder)
    }

    var port: Int { self.ownPort.withLock { $0 } }
    var address: PeerAddress { PeerAddress(host: self.host, port: self.port) }

    /// Listens; again on the same port.
    func listen(tls: GRPCTLS? = nil) async throws {
        var settings = GRPCServerSettings()
        settings.handshakeTimeout = .seconds(600)
        settings.keepaliveTimeout = .seconds(600)
        let server = try GRPCServer(settings: settings, methods: PeerAPI.methods(self.links), group: testLoops)
        let port = try await server.start(host: self.host, port: self.port, tls: tls)
        self.server.withLock { $0 = server }
        self.ownPort.withLock { $0 = port }
    }

    func stopListening() async {
        let server = self.server.withLock { $0.take() }
        await server?.drain(grace: .zero)
    }

    func stop() async {
        await self.links.shutdown()
        await self.stopListening()
    }

    func value(_ name: String, _ labels: String...) -> UInt64 {
        self.registry.counter(name, help: self.help(name), labels: self.labels(name)).with(labels).count
    }
    private func help(_ name: String) -> String { self.registry.declarations.first { $0.name == name }?.help ?? "" }
    private func labels(_ name: String) -> [String] {
        self.registry.declarations.first { $0.name == name }?.labels ?? []
    }
}

/// Nodes 1 and 2, linked.
func withPair(
    _ settings: PeerSettings = .patient(), one: Recorder = Recorder(), two: Recorder = Recorder(),
    _ body: (Node, Node) async throws -> Void
) async throws {
    let (a, b) = (Node(1, settings: settings, recorder: one), Node(2, settings: settings, recorder: two))
    try await a.listen()
    try await b.listen()
    b.links.setPeers([ReplicaID(1): a.address])
    a.links.setPeers([ReplicaID(2): b.address])
    try await until { a.links.isLinked(to: ReplicaID(2)) && b.links.isLinked(to: ReplicaID(1)) }
    do { try await body(a, b) } catch {
        await a.stop()
        await b.stop()
        throw error
    }
    await a.stop()
    await b.stop()
}
