internal import HLC
internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import MetaManager
internal import Observability
internal import Primitives
internal import ShardEngine
internal import StorageNode
internal import Wire

// Collections, on owned messages: these calls are rare, so clarity beats copies.

extension Gateway {
    /// A new collection's shards are somewhere within a second; without a controller they are when there is one again.
    private static func placementTime(_ context: RequestContext) -> Duration {
        let now = SystemTime.monotonicNanoseconds
        return min(.seconds(5), .nanoseconds(Int64(clamping: context.lagDeadline - min(now, context.lagDeadline))))
    }

    func createCollection(
        _ request: VecraftV1.CreateCollectionRequest, _ context: RequestContext,
        completion: @escaping @Sendable (Result<VecraftV1.CreateCollectionResponse, VecraftError>) -> Void
    ) {
        do throws(VecraftError) {
            let received = self.clock.now()
            guard let config = request.config else { throw .invalid("config", "must be given") }
            let tenant = context.isOwn ? request.tenant : try Self.tenant(request.tenant)
            let schema = try CollectionSchema(wire: config, id: 0, tenant: tenant, name: request.name)
            var header = try self.header(
                .ddl, tenant: tenant, collection: 0, partition: .sys, context, key: "", tier: .critical)
            self.stampSpans(&header, received)
            let stamped = header
            self.meta.create(schema, header: stamped) { [self] result in
                let answer: @Sendable () -> Void = {
                    completion(
                        result.map { creation in
                            guard case .done(let made, let appended) = creation else { preconditionFailure("\(creation)") }
                            let write = appended.map { self.writeInfo($0, stamped, context) }
                            return VecraftV1.CreateCollectionResponse(collection: self.describe(made), write: write)
                        })
                }
                // It is there whatever comes of its shards; whoever made it expects to read it.
                guard case .success(.done(let made, _)) = result else { return answer() }
                self.placement.whenPlaced(made, within: Self.placementTime(context), answer)
            }
        } catch {
            completion(.failure(error))
        }
    }

    func updateCollection(
        _ request: VecraftV1.UpdateCollectionRequest, _ context: RequestContext,
        completion: @escaping @Sendable (Result<VecraftV1.UpdateCollectionResponse, VecraftError>) -> Void
    ) {
        do throws(VecraftError) {
            let received = self.clock.now()
            let tenant = try Self.tenant(request.tenant)
            guard let code = UInt8(exactly: request.quantisation.rawValue), let quantisation = Quantisation(code: code)
            else {
                throw .invalid("quantisation", "must be auto, none, int8 or int4")
            }
            guard request.vectors.count <= Limits.namedVectors else {
                throw .invalid("vectors", "\(request.vectors.count) names; at most \(Limits.namedVectors)")
            }
            var header = try self.header(
                .ddl, tenant: tenant, collection: 0, partition: .sys, context, key: "", tier: .critical)
            self.stampSpans(&header, received)
            let stamped = header
            self.meta.update(
                tenant: tenant, name: request.name, quantisation: quantisation, vectors: request.vectors,
                header: stamped
            ) { [self] result in
                completion(
                    result.map { update in
                        guard case .done(let schema, let appended) = update else { preconditionFailure("\(update)") }
                        let write = appended.map { self.writeInfo($0, stamped, context) }
                        return VecraftV1.UpdateCollectionResponse(collection: self.describe(schema), write: write)
                    })
            }
        } catch {
            completion(.failure(error))
        }
    }

    func dropCollection(
        _ request: VecraftV1.DropCollectionRequest, _ context: RequestContext,
        completion: @escaping @Sendable (Result<VecraftV1.DropCollectionResponse, VecraftError>) -> Void
    ) {
        do throws(VecraftError) {
            let received = self.clock.now()
            let tenant = try Self.tenant(request.tenant)
            var header = try self.header(
                .ddl, tenant: tenant, collection: 0, partition: .sys, context, key: "", tier: .critical)
            self.stampSpans(&header, received)
            let stamped = header
            self.meta.drop(tenant: tenant, name: request.name, header: stamped) { [self] result in
                completion(
                    result.map { VecraftV1.DropCollectionResponse(write: self.writeInfo($0, stamped, context)) })
            }
        } catch {
            completion(.failure(error))
        }
    }

    func describeCollection(
        _ request: VecraftV1.DescribeCollectionRequest
    ) throws(VecraftError) -> VecraftV1.DescribeCollectionResponse {
        let schema = try self.meta.collection(tenant: try Self.tenant(request.tenant), name: request.name)
        return VecraftV1.DescribeCollectionResponse(collection: self.describe(schema))
    }

    func listCollections(
        _ request: VecraftV1.ListCollectionsRequest
    ) throws(VecraftError) -> VecraftV1.ListCollectionsResponse {
        let schemas = self.meta.catalog.collections(tenant: try Self.tenant(request.tenant))
        return VecraftV1.ListCollectionsResponse(collections: schemas.map { self.describe($0) })
    }

    func describe(_ schema: CollectionSchema) -> VecraftV1.Collection {
        var made = VecraftV1.Collection(
            name: schema.name, id: schema.id, config: VecraftV1.CollectionConfig(schema),
            created: schema.created.rawValue,
            partition: schema.partition.description)
        if let replica = self.storage.replica(schema.id) { made.status = self.status(of: replica) }
        return made
    }

    private func status(of replica: CollectionReplica) -> VecraftV1.CollectionStatus {
        var status = VecraftV1.CollectionStatus(
            appliedOffset: .max, committedOffset: (try? self.journal.position(replica.schema.partition).committed) ?? 0,
            digest: TraceContext.hex(replica.digest))
        for shard in replica.shards {
            let statistics = shard.engine.statistics
            status.points += UInt64(statistics.points)
            status.segments += UInt64(statistics.segments)
            status.indexedVectors += UInt64(statistics.indexedVectors)
            status.totalVectors += UInt64(statistics.totalVectors)
            status.deletedRows += UInt64(statistics.deletedRows)
            status.diskBytes += statistics.diskBytes
            status.memoryBytes += statistics.memoryBytes
            status.appliedOffset = min(status.appliedOffset, statistics.applied)
            status.recodingSegments += UInt64(statistics.recodingSegments)
            status.shards.append(
                VecraftV1.ShardStatus(
                    shard: shard.engine.id.shard, points: UInt64(statistics.points), appliedOffset: statistics.applied,
                    digest: TraceContext.hex(shard.engine.digest)))
        }
        if replica.shards.isEmpty { status.appliedOffset = replica.replay.waiters.applied }
        return status
    }

    static func tenant(_ text: String) throws(VecraftError) -> String {
        if text.isEmpty { return "default" }
        try CollectionSchema.validate(name: text, at: "tenant")
        return text
    }

    private func writeInfo(
        _ appended: Appended, _ header: EntryHeader, _ context: RequestContext
    ) -> VecraftV1.WriteInfo {
        var session = context.session
        session.merge(.sys, appended.offset)
        return VecraftV1.WriteInfo(
            hlc: appended.hlc.rawValue, partition: PartitionID.sys.description, offset: appended.offset,
            sessionToken: session.bytes, requestID: header.requestID, traceID: header.trace.traceIDHex,
            replayed: appended.replayed)
    }
}
