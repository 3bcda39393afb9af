internal import ControlPlane
internal import GRPC
internal import Gateway
internal import JournalService
internal import Lineage
internal import NIOCore
internal import Observability
internal import Placement
internal import Primitives
internal import Raft
internal import Synchronization
internal import Tracing

/// Lineage between nodes: what others ask of this one, from before there is a gateway to answer, and what it asks of them.
final class PeerLineage: LineagePeers {
    private static let service = "/vecraft.internal.v1.Lineage/"

    private struct State {
        var handlers: [String: GRPCUnaryHandler] = [:]
        var clients: PeerClients?
        var member: ClusterMember?
    }
    private let state = Mutex(State())

    /// Who is asked; before the gateway is made, which answers.
    func reach(_ clients: PeerClients?, _ member: ClusterMember?) {
        self.state.withLock { state in
            state.clients = clients
            state.member = member
        }
    }

    func start(_ gateway: Gateway) {
        let handlers = gateway.peerLineageHandlers
        self.state.withLock { $0.handlers = handlers }
    }

    var methods: [String: GRPCMethod] {
        var methods: [String: GRPCMethod] = [:]
        for name in ["Receipts", "Reads", "Verify"] {
            methods[Self.service + name] = .unary {
                [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
                guard let handler = self.state.withLock({ $0.handlers[name] }) else {
                    throw VecraftError(
                        .unavailable, "the node is starting", reason: "STARTING", retryAfter: .milliseconds(200))
                }
                return try handler(call, message, &out)
            }
        }
        return methods
    }

    var nodes: [UInt64] {
        let (clients, member) = self.state.withLock { ($0.clients, $0.member) }
        guard let clients else { return [] }
        let known = clients.nodes.map(\.rawValue)
        guard let map = member?.map.map else { return known }
        return known.filter { map.nodes[NodeID($0)].map { $0.state != .removed } ?? false }
    }

    func name(of node: UInt64) -> String {
        let member = self.state.withLock { $0.member }
        let name = member?.map.map.nodes[NodeID(node)]?.name ?? ""
        return name.isEmpty ? "node \(node)" : name
    }

    func ask(
        _ method: String, _ request: [UInt8], at node: UInt64, timeout: Duration,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void
    ) {
        guard let clients = self.state.withLock({ $0.clients }) else {
            return completion(.failure(VecraftError(.unavailable, "the node is starting", reason: "STARTING")))
        }
        // Of the task that asks; what has no trace begins none here.
        let context = InstrumentationContext.current ?? .topLevel
        var span: (any Span)?
        if context.trace?.sampled == true {
            span = InstrumentationSystem.tracer.startSpan("ask node", context: context, ofKind: .client)
            span?.attributes["vecraft.node"] = Int64(clamping: node)
            span?.attributes["rpc.method"] = String((Self.service + method).dropFirst())
        }
        let asked = span?.context ?? context
        var metadata = GRPCMetadata()
        if let trace = asked.trace { metadata.add("traceparent", trace.traceparent) }
        if let state = asked.traceState { metadata.add("tracestate", state) }
        clients.unary(Self.service + method, request, at: ReplicaID(node), metadata: metadata, timeout: timeout) {
            [span] result in
            if case .failure(let error) = result {
                span?.setStatus(SpanStatus(code: .error, message: error.message))
            }
            span?.end()
            completion(result.map { [UInt8]($0.readableBytesView) })
        }
    }
}
