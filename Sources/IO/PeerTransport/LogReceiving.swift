internal import GRPC
internal import JournalFormat
internal import Logging
internal import NIOCore
internal import Observability
internal import Primitives
internal import Raft
internal import Synchronization
internal import Wire

/// Takes one log as a whole. One message is in hand at a time: the sender waits while the disk does.
struct LogReceiver: Sendable {
    private let context: PeerContext
    private let transfers: LogTransfers
    private let call: GRPCStreamCall
    private let queue = BlockingQueue()

    init(_ context: PeerContext, _ transfers: LogTransfers, _ call: GRPCStreamCall) {
        self.context = context
        self.transfers = transfers
        self.call = call
    }

    /// Ends also when the sender falls silent: a partition would take no other log meanwhile.
    func run() async throws(VecraftError) {
        let watch = SilenceWatch()
        let work = Task { () async -> VecraftError? in
            do throws(VecraftError) { try await self.receive(watch) } catch { return error }
            return nil
        }
        let limit = TimeAmount(self.context.settings.transferSilenceLimit)
        let timer = self.call.eventLoop.scheduleRepeatedTask(initialDelay: limit, delay: limit) { _ in
            if watch.wasSilent() { work.cancel() }
        }
        let failure = await withTaskCancellationHandler {
            await work.value
        } onCancel: {
            work.cancel()
        }
        timer.cancel()
        if let failure { throw failure }
    }

    private func receive(_ watch: SilenceWatch) async throws(VecraftError) {
        var parts = LogParts(self.call.requests.makeAsyncIterator(), watch)
        guard case .header(let header) = try await parts.next() else { throw LogParts.broken("no header first") }
        let (partition, transfer) = try self.read(header)
        try self.transfers.claim(partition)
        defer { self.transfers.release(partition) }
        let label = self.context.metrics.label(transfer.from)
        let receiver = self.context.receiver
        let staging = try await self.queue.run { () throws(VecraftError) in
            try receiver.stage(transfer, partition: partition)
        }
        do throws(VecraftError) {
            try await self.fill(staging, transfer, &parts, label)
            try await self.queue.run { () throws(VecraftError) in try staging.finish() }
        } catch {
            try await self.queue.run { () throws(VecraftError) in staging.abandon() }
            self.context.metrics.logTransfers.with(label, "in", "failed").increment()
            self.context.logger.warning(
                "a log was not taken as a whole",
                metadata: ["peer": "\(transfer.from)", "partition": "\(partition)", "error": "\(error)"])
            throw error
        }
        self.context.metrics.logTransfers.with(label, "in", "done").increment()
        try await self.call.send(PeerWire.Proto.InstallLogResponse(through: transfer.through.index).encode())
    }

    private func fill(
        _ staging: any LogStaging, _ transfer: LogTransfer, _ parts: inout LogParts, _ label: String
    ) async throws(VecraftError) {
        let bytes = self.context.metrics.logTransferBytes.with(label, "in")
        var last = transfer.start.position
        var keyCount: UInt64 = 0
        while true {
            switch try await parts.next() {
            case .frames(let frames):
                guard keyCount == 0 else { throw LogParts.broken("frames behind keys") }
                var assembly = try self.begin(frames, behind: last.index)
                while !assembly.isWhole {
                    guard case .continued(let piece) = try await parts.next() else {
                        throw LogParts.broken("frames cut short")
                    }
                    try self.add(piece, to: &assembly)
                }
                let (whole, before) = (assembly, last)
                last = try await self.queue.run { () throws(VecraftError) in
                    let run = try self.checked(whole, behind: before, transfer)
                    bytes.increment(by: UInt64(run.bytes.count))
                    try staging.write(run)
                    return LogPosition(index: run.lastOffset, term: run.view(run.count - 1).term)
                }
            case .keys(let keys):
                guard last == transfer.through else { throw LogParts.broken("keys before the last frame") }
                keyCount += UInt64(keys.count)
                try await self.queue.run { () throws(VecraftError) in try staging.write(keys) }
            case .end(let count):
                guard last == transfer.through else {
                    throw LogParts.broken("the end at \(last), not \(transfer.through)")
                }
                guard count == keyCount else { throw LogParts.broken("\(keyCount) keys of \(count)") }
                return
            case .header, .continued, nil: throw LogParts.broken("a part out of order")
            }
        }
    }

    // MARK: Checks

    private func begin(_ frames: LogParts.Frames, behind last: JournalOffset) throws(VecraftError) -> FrameAssembly {
        guard frames.first == last + 1 else { throw LogParts.broken("entry \(frames.first) behind \(last)") }
        return try self.kept { () throws(PeerFault) in
            var assembly = try FrameAssembly(
                total: frames.frameBytes, limit: self.context.settings.maxRunBytes, salt: frames.salt,
                first: frames.first)
            try frames.frames.withUnsafeReadableBytes { (raw) throws(PeerFault) in try assembly.add(raw) }
            return assembly
        }
    }

    private func add(_ piece: ByteBuffer, to assembly: inout FrameAssembly) throws(VecraftError) {
        guard piece.readableBytes > 0 else { throw LogParts.broken("a piece of nothing") }
        do throws(PeerFault) {
            try piece.withUnsafeReadableBytes { (raw) throws(PeerFault) in try assembly.add(raw) }
        } catch {
            throw LogParts.broken(error.what)
        }
    }

    /// Terms never fall, and the last entry has the term that the transfer names: it is this log.
    private func checked(
        _ assembly: FrameAssembly, behind last: LogPosition, _ transfer: LogTransfer
    ) throws(VecraftError) -> FrameRun {
        let run = try self.kept { () throws(PeerFault) in try assembly.run() }
        guard run.lastOffset <= transfer.through.index else { throw LogParts.broken("entries beyond the end") }
        var term = last.term
        for i in 0..<run.count {
            let next = run.view(i).term
            guard next >= term else { throw LogParts.broken("term \(next) behind \(term)") }
            term = next
        }
        return run
    }

    private func kept<T>(_ body: () throws(PeerFault) -> T) throws(VecraftError) -> T {
        do throws(PeerFault) { return try body() } catch { throw LogParts.broken(error.what) }
    }

    private func read(_ header: ByteBuffer) throws(VecraftError) -> (PartitionID, LogTransfer) {
        try ArenaPool.shared.withArena { (arena) throws(VecraftError) in
            let outcome = header.withUnsafeReadableBytes { raw in
                Result { () throws(VecraftError) in try PeerWire.Proto.LogPart.View.decode(raw, in: arena) }
            }
            guard case .header(let view) = try outcome.get().part else { throw LogParts.broken("no header first") }
            let from = try PeerWire.check(view.hello, self.context)
            return try self.kept { () throws(PeerFault) in
                let transfer = LogTransfer(
                    from: from, to: self.context.own, term: try PeerWire.number(view.term, "header.term"),
                    number: view.number,
                    start: LogStart(
                        position: LogPosition(
                            index: try PeerWire.number(view.startIndex, "header.start_index"),
                            term: try PeerWire.number(view.startTerm, "header.start_term")),
                        membership: try view.startMembership.map { (group) throws(PeerFault) in
                            try PeerWire.membership(group)
                        } ?? Membership.none),
                    through: LogPosition(
                        index: try PeerWire.number(view.throughIndex, "header.through_index"),
                        term: try PeerWire.number(view.throughTerm, "header.through_term")))
                guard transfer.through.index >= transfer.start.position.index else {
                    throw PeerFault(
                        .malformed, "a log from behind \(transfer.start.position) through \(transfer.through)")
                }
                return (try PeerWire.partition(view.partitionKind, view.partitionIndex), transfer)
            }
        }
    }
}

/// The parts of a log as they come.
struct LogParts {
    struct Frames: Sendable {
        var salt: UInt32
        var first: JournalOffset
        var frameBytes: UInt64
        /// Of their own memory.
        var frames: ByteBuffer
    }

    enum Part {
        /// Encoded: who reads it has an arena.
        case header(ByteBuffer)
        case frames(Frames)
        case continued(ByteBuffer)
        case keys([KeyRecord])
        case end(keyCount: UInt64)
    }

    private var messages: GRPCMessages.AsyncIterator
    private let watch: SilenceWatch

    init(_ messages: GRPCMessages.AsyncIterator, _ watch: SilenceWatch) {
        self.messages = messages
        self.watch = watch
    }

    static func broken(_ what: String) -> VecraftError {
        VecraftError(.invalidArgument, what, reason: "PROTOCOL_BROKEN")
    }

    mutating func next() async throws(VecraftError) -> Part? {
        self.watch.waits()
        let next = try await self.messages.next()
        self.watch.works()
        guard let message = next else { return nil }
        return try ArenaPool.shared.withArena { (arena) throws(VecraftError) in
            let outcome = message.withUnsafeReadableBytes { raw in
                Result { () throws(VecraftError) in try PeerWire.Proto.LogPart.View.decode(raw, in: arena) }
            }
            switch try outcome.get().part {
            case .header: return .header(message)
            case .frames(let view):
                return .frames(
                    Frames(
                        salt: view.salt, first: view.first, frameBytes: view.frameBytes,
                        frames: ByteBuffer(bytes: view.frames)))
            case .continued(let piece): return .continued(ByteBuffer(bytes: piece))
            case .keys(let view): return .keys(view.keys.map(Self.key))
            case .end(let view): return .end(keyCount: view.keyCount)
            case nil: throw Self.broken("a part of no known kind")
            }
        }
    }

    private static func key(_ view: PeerWire.Proto.LogKey.View) -> KeyRecord {
        KeyRecord(
            tenant: view.tenant.string, key: view.key.string, shard: view.shard, bodyHash: view.bodyHash,
            offset: view.offset,
            hlc: HLCTimestamp(rawValue: view.hlc), term: view.term)
    }
}

/// Notices a sender that falls silent: two looks in a row find the same wait.
package final class SilenceWatch: Sendable {
    private struct State {
        var waits = 0
        var isWaiting = false
        var seen = 0
    }
    private let state = Mutex(State())

    package init() {}

    package func waits() {
        self.state.withLock {
            $0.waits += 1
            $0.isWaiting = true
        }
    }
    package func works() { self.state.withLock { $0.isWaiting = false } }

    package func wasSilent() -> Bool {
        self.state.withLock { state in
            defer { state.seen = state.isWaiting ? state.waits : 0 }
            return state.isWaiting && state.seen == state.waits
        }
    }
}
