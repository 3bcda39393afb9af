package import GRPC
internal import Lineage
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import Primitives
internal import Wire

extension Gateway {
    /// The unary methods of `vecraft.v1.Lineage`, by name.
    var lineageHandlers: [String: GRPCUnaryHandler] {
        let lineage = self.lineage
        let operation = self.operations.lineage
        return [
            "Record": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.record(request, deadline: context.deadline)
            },
            "Request": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.request(request, deadline: context.deadline)
            },
            "Trace": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.trace(request, deadline: context.deadline)
            },
            "Entry": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.entry(request, deadline: context.deadline)
            },
            "Between": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.between(request, deadline: context.deadline)
            },
            "Search": self.background(operation) {
                (request: VecraftV1.SearchLineageRequest, _) async throws(VecraftError) in
                try await lineage.search(request)
            },
            "Cover": self.background(operation) { (request, context) async throws(VecraftError) in
                try await lineage.cover(request, deadline: context.deadline)
            },
            "Verify": self.background(self.operations.verify) { (request, context) async throws(VecraftError) in
                try await lineage.verify(request, deadline: context.deadline)
            },
        ]
    }

    /// What other nodes ask: `vecraft.internal.v1.Lineage`, by name.
    package var peerLineageHandlers: [String: GRPCUnaryHandler] {
        let lineage = self.lineage
        let operation = self.operations.lineage
        return [
            // From memory, at once: questions that wait for each other's nodes must not wait for each other's turns.
            "Receipts": { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
                let context = try self.context(call)
                let method: StaticString = "vecraft.internal.v1.Lineage/Receipts"
                do throws(VecraftError) {
                    out.writeBytes(try lineage.receipts(try VecraftInternalV1.ReceiptsRequest.decode(message)).encode())
                } catch {
                    context.answeredPart("lineage receipts", method, error)
                    throw error
                }
                context.answeredPart("lineage receipts", method, nil)
                return .reply
            },
            "Reads": self.background(operation, on: self.peerReads) {
                (request: VecraftV1.SearchLineageRequest, _) async throws(VecraftError) in
                try await lineage.search(request, local: true)
            },
            "Verify": self.background(self.operations.verify, on: self.peerVerifies) {
                (request: VecraftV1.VerifyRequest, context) async throws(VecraftError) in
                try await lineage.verify(.init(partition: request.partition, local: true), deadline: context.deadline)
            },
        ]
    }

    /// Longest silence of a stream of changes.
    private static let signOfLife: Duration = .seconds(1)
    /// How long an entry waits for others that may come before it, before it is looked at again.
    private static let orderPause: Duration = .milliseconds(5)

    var watchMethod: GRPCMethod {
        .serverStreaming { [self] (call) throws(VecraftError) in
            let request = try await call.request().decodeMessage(VecraftV1.WatchRequest.self)
            let share = try self.watchers.take(1)
            defer { withExtendedLifetime(share) {} }
            let watch = try self.lineage.watch(request)
            var lastSent = SystemTime.monotonicNanoseconds
            while !call.isCancelled {
                for answer in try await Self.offTheLoop({ () throws(VecraftError) in try watch.step() }) {
                    let isSign = answer.entry == nil
                    if isSign, SystemTime.monotonicNanoseconds &- lastSent < 900_000_000 { continue }
                    try await call.send(answer.encode())
                    lastSent = SystemTime.monotonicNanoseconds
                }
                await watch.wait(atMost: watch.isBehind ? Self.orderPause : Self.signOfLife)
            }
        }
    }

    var replayMethod: GRPCMethod {
        .serverStreaming { [self] (call) throws(VecraftError) in
            let context = try self.context(metadata: call.metadata, peer: call.peer, deadline: call.deadline)
            let request = try await call.request().decodeMessage(VecraftV1.ReplayRequest.self)
            let share = try self.replays.take(1)
            defer { withExtendedLifetime(share) {} }
            let lineage = self.lineage
            let replay = try await lineage.replay(request, deadline: context.deadline)
            try await replay.forEachPage { (page) async throws(VecraftError) in try await call.send(page.encode()) }
        }
    }

    /// Reads of the journal have no business on an event loop.
    static func offTheLoop<R: Sendable>(
        _ body: @escaping @Sendable () throws(VecraftError) -> R
    ) async throws(VecraftError) -> R {
        let result: Result<R, VecraftError>
        do {
            result = try await NIOThreadPool.singleton.runIfActive { Result { () throws(VecraftError) in try body() } }
        } catch {
            throw VecraftError(.unavailable, "the node is stopping", reason: "DRAINING")
        }
        return try result.get()
    }
}
