internal import GRPC
internal import JournalFormat
internal import Logging
package import NIOCore
internal import Observability
package import Primitives
package import Raft
package import Wire

extension PeerLinks {
    package func sendLog(
        _ transfer: LogTransfer, partition: PartitionID, from source: any LogSource,
        progress: @escaping @Sendable () -> Void,
        end: @escaping @Sendable (Bool) -> Void
    ) {
        // Never from within the call: who calls may hold a lock that `end` wants.
        let refuse: @Sendable () -> Void = { self.group.next().execute { end(false) } }
        guard let context = self.context, let address = self.link(transfer.to)?.address else { return refuse() }
        let sender = LogSender(context, transfer, partition, source, address, progress)
        let isTaken = self.transfers.run {
            let isDone = await sender.run()
            context.metrics.logTransfers.with(context.metrics.label(transfer.to), "out", isDone ? "done" : "failed")
                .increment()
            end(isDone)
        }
        if !isTaken { refuse() }
    }
}

/// Sends one log as a whole, on a connection of its own so that it stands before no other message.
struct LogSender: Sendable {
    private typealias Part = PeerWire.Proto.LogPart

    private let context: PeerContext
    private let transfer: LogTransfer
    private let partition: PartitionID
    private let source: any LogSource
    private let address: PeerAddress
    private let progress: @Sendable () -> Void
    private let queue = BlockingQueue()

    init(
        _ context: PeerContext, _ transfer: LogTransfer, _ partition: PartitionID, _ source: any LogSource,
        _ address: PeerAddress, _ progress: @escaping @Sendable () -> Void
    ) {
        self.context = context
        self.transfer = transfer
        self.partition = partition
        self.source = source
        self.address = address
        self.progress = progress
    }

    /// - Returns: Whether it is staged there.
    func run() async -> Bool {
        do {
            let client = try self.context.client(self.address, on: self.context.group.next())
            let call = try await client.clientStreaming(PeerAPI.installLog)
            try await withTaskCancellationHandler {
                try await self.send(over: call)
                let reply: PeerWire.Proto.InstallLogResponse = try await call.finish().decoded()
                guard reply.through == self.transfer.through.index else {
                    throw VecraftError(.internalError, "staged through \(reply.through)")
                }
            } onCancel: {
                call.cancel()
            }
            await client.close()
            return true
        } catch {
            self.context.logger.warning(
                "a log was not sent as a whole",
                metadata: [
                    "peer": "\(self.transfer.to)", "partition": "\(self.partition)",
                    "through": "\(self.transfer.through.index)", "error": "\(error)",
                ])
            return false
        }
    }

    private func send(over call: GRPCClientCall) async throws(VecraftError) {
        try await call.send(self.header)
        let bytes = self.context.metrics.logTransferBytes.with(self.context.metrics.label(self.transfer.to), "out")
        var next = self.transfer.start.position.index + 1
        while next <= self.transfer.through.index {
            let run = try await self.read(from: next)
            try await self.send(run, over: call)
            bytes.increment(by: UInt64(run.bytes.count))
            next = run.lastOffset + 1
            self.progress()
        }
        let keys = try await self.queue.run { () throws(VecraftError) in try self.source.keys() }
        var start = 0
        while start < keys.count {
            let end = min(start + Self.keysPerPart, keys.count)
            try await call.send(self.part(keys[start..<end]))
            start = end
            self.progress()
        }
        try await call.send(Part(part: .end(.init(keyCount: UInt64(keys.count)))).encode())
    }

    /// With the longest names some 300 KiB.
    private static let keysPerPart = 1_000

    private func read(from next: JournalOffset) async throws(VecraftError) -> FrameRun {
        let run = try await self.queue.run { () throws(VecraftError) in
            try self.source.frames(from: next, maxBytes: self.context.settings.logChunkBytes)
        }
        guard run.firstOffset == next, run.lastOffset <= self.transfer.through.index else {
            throw VecraftError(
                .internalError, "the log gave entries \(run.firstOffset) to \(run.lastOffset) for those from \(next) on"
            )
        }
        return run
    }

    private func send(_ run: FrameRun, over call: GRPCClientCall) async throws(VecraftError) {
        let total = run.bytes.count
        var start = 0
        repeat {
            let end = min(start + self.context.settings.logChunkBytes, total)
            try await call.send(self.part(run, start..<end))
            start = end
        } while start < total
    }

    private func part(_ run: FrameRun, _ range: Range<Int>) -> [UInt8] {
        ArenaPool.shared.withArena { arena in
            let part = Part.Builder(in: arena)
            let bytes = UnsafeRawBufferPointer(rebasing: run.bytes[range])
            if range.lowerBound == 0 {
                let frames = part.frames.make()
                frames.salt = run.salt
                frames.first = run.firstOffset
                frames.frameBytes = UInt64(run.bytes.count)
                frames.frames.set(borrowing: bytes)
            } else {
                part.continued.set(borrowing: bytes)
            }
            return withExtendedLifetime(run) { part.encode() }
        }
    }

    private func part(_ keys: ArraySlice<KeyRecord>) -> [UInt8] {
        ArenaPool.shared.withArena { arena in
            let part = Part.Builder(in: arena)
            for (out, key) in zip(part.keys.make().keys.make(keys.count), keys) {
                out.tenant.set(key.tenant)
                out.key.set(key.key)
                out.shard = key.shard
                out.bodyHash = key.bodyHash
                out.offset = key.offset
                out.hlc = key.hlc.rawValue
                out.term = key.term
            }
            return part.encode()
        }
    }

    private var header: [UInt8] {
        ArenaPool.shared.withArena { arena in
            let part = Part.Builder(in: arena)
            let header = part.header.make()
            PeerWire.fill(
                header.hello.make(), self.context, to: self.transfer.to, wall: SystemTime.nanoseconds)
            header.partitionKind = .init(rawValue: Int32(self.partition.kind.rawValue))
            header.partitionIndex = UInt32(self.partition.index)
            header.term = self.transfer.term
            header.number = self.transfer.number
            header.startIndex = self.transfer.start.position.index
            header.startTerm = self.transfer.start.position.term
            PeerWire.fill(header.startMembership.make(), self.transfer.start.membership)
            header.throughIndex = self.transfer.through.index
            header.throughTerm = self.transfer.through.term
            return part.encode()
        }
    }
}

extension ByteBuffer {
    package func decoded<M: WireMessage>() throws(VecraftError) -> M {
        let outcome: Result<M, VecraftError> = self.withUnsafeReadableBytes { raw in
            Result { () throws(VecraftError) in try M.decode(raw) }
        }
        return try outcome.get()
    }
}
