internal import GRPC
internal import JournalStore
internal import NIOCore
internal import Observability
internal import Primitives
internal import Wire

extension Gateway {
    var upsertMethod: GRPCMethod {
        .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            try self.unaryWrite(call, message.count, self.operations.upsert) { (context, arena) throws(VecraftError) in
                try self.prepare(upsert: try VecraftV1.UpsertRequest.View.decode(message, in: arena), context)
            } reply: { write, context, appended in
                self.upsertReply(write, context, appended)
            }
        }
    }

    var deleteMethod: GRPCMethod {
        .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            try self.unaryWrite(call, message.count, self.operations.delete) { (context, arena) throws(VecraftError) in
                try self.prepare(delete: try VecraftV1.DeleteRequest.View.decode(message, in: arena), context)
            } reply: { write, context, appended in
                ArenaPool.shared.withArena { arena in
                    let reply = VecraftV1.DeleteResponse.Builder(in: arena)
                    self.fill(reply.write.make(), appended, write, session: context.session)
                    return reply.encode()
                }
            }
        }
    }

    func upsertReply(_ write: PreparedWrite, _ context: RequestContext, _ appended: Appended) -> [UInt8] {
        ArenaPool.shared.withArena { arena in
            let reply = VecraftV1.UpsertResponse.Builder(in: arena)
            reply.accepted = UInt32(write.accepted)
            self.fill(reply.write.make(), appended, write, session: context.session)
            return reply.encode()
        }
    }

    private func unaryWrite(
        _ call: borrowing GRPCCall, _ requestBytes: Int, _ metrics: OperationMetrics,
        _ prepare: (RequestContext, Arena) throws(VecraftError) -> PreparedWrite,
        reply: @escaping @Sendable (PreparedWrite, RequestContext, Appended) -> [UInt8]
    ) throws(VecraftError) -> GRPCUnaryOutcome {
        let start = SystemTime.monotonicNanoseconds
        var context: RequestContext?
        do throws(VecraftError) {
            var made = try self.context(call)
            made.requestBytes = requestBytes
            let ready = made
            context = ready
            let scratch = call.loopLocal(LoopScratch.self)
            defer { scratch.arena.reset() }
            let write = try prepare(ready, scratch.arena)
            let deferred = call.deferred(until: ready.wireDeadline)
            self.append(write, ready, on: deferred.eventLoop) { result in
                switch result {
                case .success(let appended):
                    deferred.reply(reply(write, ready, appended))
                    metrics.record(ready, write.tier, .ok, since: start)
                case .failure(let error):
                    deferred.fail(error)
                    metrics.record(ready, write.tier, error, since: start)
                }
            }
            return .later
        } catch {
            metrics.record(context, .interactive, error, since: start)
            throw error
        }
    }

    // MARK: Streams

    /// Writes of one stream that may be in flight: enough to fill a group commit, few enough to bound memory.
    static let streamWindow = 32

    var upsertStreamMethod: GRPCMethod {
        .bidirectional { [self] (call) throws(VecraftError) in
            let pending = OrderedWindow<[UInt8]>(capacity: Self.streamWindow)
            try await rethrowing {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        while let reply = try await pending.next() { try await call.send(reply) }
                    }
                    group.addTask {
                        do {
                            for try await message in call.requests {
                                let slot = try await pending.open()
                                self.streamedUpsert(call, message) { write, context, result in
                                    slot.fill(.success(self.streamReply(write, context, result)))
                                }
                            }
                            pending.finish(nil)
                        } catch {
                            pending.finish(error)
                            throw error
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    var importMethod: GRPCMethod {
        .clientStreaming { [self] (call) throws(VecraftError) in
            let pending = OrderedWindow<(accepted: Int, write: PreparedWrite, context: RequestContext, appended: Appended)>(
                capacity: Self.streamWindow)
            let total = try await rethrowing {
                try await withThrowingTaskGroup(of: VecraftV1.ImportResponse?.self) { group in
                    group.addTask {
                        var total = VecraftV1.ImportResponse()
                        while let done = try await pending.next() {
                            total.accepted += UInt64(done.accepted)
                            total.requests += 1
                            total.write = self.writeInfo(done.appended, done.write, done.context)
                        }
                        return total
                    }
                    group.addTask {
                        do {
                            for try await message in call.requests {
                                let slot = try await pending.open()
                                self.streamedUpsert(call, message) { write, context, result in
                                    slot.fill(
                                        result.flatMap { appended in
                                            guard let write, let context else { return .failure(Self.unprepared) }
                                            return .success((write.accepted, write, context, appended))
                                        })
                                }
                            }
                            pending.finish(nil)
                        } catch {
                            pending.finish(error)
                            throw error
                        }
                        return nil
                    }
                    var total: VecraftV1.ImportResponse?
                    for try await part in group where part != nil { total = part }
                    return total ?? VecraftV1.ImportResponse()
                }
            }
            try await call.send(total.encode())
        }
    }

    private static let unprepared = VecraftError(.internalError, "a write was acknowledged that was never prepared")

    private func writeInfo(
        _ appended: Appended, _ write: PreparedWrite, _ context: RequestContext
    ) -> VecraftV1.WriteInfo {
        ArenaPool.shared.withArena { arena in
            let info = VecraftV1.WriteInfo.Builder(in: arena)
            self.fill(info, appended, write, session: context.session)
            return VecraftV1.WriteInfo(info.view)
        }
    }

    private func streamReply(
        _ write: PreparedWrite?, _ context: RequestContext?, _ result: Result<Appended, VecraftError>
    ) -> [UInt8] {
        switch result {
        case .success(let appended):
            guard let write, let context else { return [] }
            return self.upsertReply(write, context, appended)
        case .failure(let error):
            return VecraftV1.UpsertResponse(code: UInt32(error.code.rawValue), message: error.message).encode()
        }
    }

    private func streamedUpsert(
        _ call: GRPCStreamCall, _ message: ByteBuffer,
        _ completion: @escaping @Sendable (PreparedWrite?, RequestContext?, Result<Appended, VecraftError>) -> Void
    ) {
        let start = SystemTime.monotonicNanoseconds
        var known: RequestContext?
        do throws(VecraftError) {
            var context = try self.context(metadata: call.metadata, peer: call.peer, deadline: call.deadline)
            // One key for a whole stream would make its second message a clash.
            context.idempotencyKey = ""
            context.requestBytes = message.readableBytes
            known = context
            let ready = context
            let write = try ArenaPool.shared.withArena { arena throws(VecraftError) in
                try self.prepare(upsert: try message.decode(VecraftV1.UpsertRequest.View.self, in: arena), ready)
            }
            self.append(write, ready, on: call.eventLoop) { [operations] result in
                completion(write, ready, result)
                operations.upsert.record(ready, write.tier, result, since: start)
            }
        } catch {
            self.operations.upsert.record(known, .batch, error, since: start)
            completion(nil, known, .failure(error))
        }
    }
}

/// Runs structured work whose errors are all ours, for typed callers.
func rethrowing<R>(_ body: () async throws -> R) async throws(VecraftError) -> R {
    do {
        return try await body()
    } catch let error as VecraftError {
        throw error
    } catch is CancellationError {
        throw VecraftError(.cancelled, "the call was cancelled")
    } catch {
        throw VecraftError(.internalError, "\(error)")
    }
}
