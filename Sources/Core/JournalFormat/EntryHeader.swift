package import Primitives

/// What an entry does. The raw values are on disk.
package enum OperationKind: UInt8, Sendable, CaseIterable {
    case upsert = 1, delete, deleteByFilter, payloadPatch, transactionPrepare, transactionCommit, transactionAbort, ddl
    case configuration, barrier
    /// What the control plane decided, with its reason: for those who ask later, nobody acts on it.
    case decision

    /// The word used in lineage: "upsert", "delete_by_filter" ...
    package var name: String {
        switch self {
        case .upsert: "upsert"
        case .delete: "delete"
        case .deleteByFilter: "delete_by_filter"
        case .payloadPatch: "payload_patch"
        case .transactionPrepare: "transaction_prepare"
        case .transactionCommit: "transaction_commit"
        case .transactionAbort: "transaction_abort"
        case .ddl: "ddl"
        case .configuration: "configuration"
        case .barrier: "barrier"
        case .decision: "decision"
        }
    }
}

/// Stretches of a request's life that travel in its entry. The raw values are on disk.
package enum SpanName: UInt8, Sendable, CaseIterable {
    case received = 1, routed, appended, replicated

    package var name: String {
        switch self {
        case .received: "received"
        case .routed: "routed"
        case .appended: "appended"
        case .replicated: "replicated"
        }
    }
}

package struct EntrySpan: Equatable, Sendable {
    package var name: SpanName
    package var start: HLCTimestamp
    package var end: HLCTimestamp
    package init(name: SpanName, start: HLCTimestamp, end: HLCTimestamp) {
        self.name = name
        self.start = start
        self.end = end
    }
}

/// What travels beside the operation. Offset, term, hlc and the `appended` span are the leader's: zero until it stamps them.
package struct EntryHeader: Equatable, Sendable {
    package var offset: JournalOffset
    package var term: UInt64
    package var hlc: HLCTimestamp
    package var partition: PartitionID
    package var tier: Tier
    package var operation: OperationKind
    package var tenant: String
    /// Collection id; 0 for operations on none.
    package var collection: UInt64
    package var shard: UInt32
    package var requestID: String
    /// "" for none. Scoped to tenant and shard.
    package var idempotencyKey: String
    package var principal: String
    package var trace: TraceContext
    /// In the order written; `appended` comes last once the leader has stamped it.
    package var spans: [EntrySpan]

    package init(
        offset: JournalOffset = 0, term: UInt64 = 0, hlc: HLCTimestamp = .zero, partition: PartitionID, tier: Tier,
        operation: OperationKind, tenant: String, collection: UInt64 = 0, shard: UInt32 = 0, requestID: String = "",
        idempotencyKey: String = "", principal: String = "", trace: TraceContext, spans: [EntrySpan] = []
    ) {
        self.offset = offset
        self.term = term
        self.hlc = hlc
        self.partition = partition
        self.tier = tier
        self.operation = operation
        self.tenant = tenant
        self.collection = collection
        self.shard = shard
        self.requestID = requestID
        self.idempotencyKey = idempotencyKey
        self.principal = principal
        self.trace = trace
        self.spans = spans
    }
}
