package import Primitives
internal import Synchronization
internal import Wire

/// Asks the other nodes for what only they know.
package protocol LineagePeers: Sendable {
    /// The other nodes of the cluster.
    var nodes: [UInt64] { get }

    /// How a node is called.
    func name(of node: UInt64) -> String

    /// - Parameters:
    ///   - method: "Receipts", "Reads", "Verify" of `vecraft.internal.v1.Lineage`.
    ///   - completion: Once, from any thread.
    func ask(
        _ method: String, _ request: [UInt8], at node: UInt64, timeout: Duration,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void)
}

/// Of a node that is alone.
package struct NoPeers: LineagePeers {
    package init() {}
    package var nodes: [UInt64] { [] }
    package func ask(
        _ method: String, _ request: [UInt8], at node: UInt64, timeout: Duration,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void
    ) {
        completion(.failure(VecraftError(.unavailable, "this node is alone")))
    }
}

extension LineagePeers {
    package func name(of node: UInt64) -> String { "node \(node)" }

    /// Asks all at once.
    ///
    /// - Returns: What each answered, in order of nodes, and the names of those that did not.
    func askAll<Reply: WireMessage>(
        _ method: String, _ request: some WireMessage, timeout: Duration, _: Reply.Type
    ) async -> (replies: [Reply], unanswered: [String]) {
        let nodes = self.nodes.sorted()
        guard !nodes.isEmpty else { return ([], []) }
        let bytes = request.encode()
        let gathering = Gathering<Reply>(nodes.count)
        let results = await withCheckedContinuation {
            (continuation: CheckedContinuation<[Result<Reply, VecraftError>?], Never>) in
            for (i, node) in nodes.enumerated() {
                self.ask(method, bytes, at: node, timeout: timeout) { result in
                    let decoded = result.flatMap { reply in
                        Result { () throws(VecraftError) in try Reply.decode(reply) }
                    }
                    if let all = gathering.take(i, decoded) { continuation.resume(returning: all) }
                }
            }
        }
        var replies: [Reply] = []
        var unanswered: [String] = []
        for (i, result) in results.enumerated() {
            if case .success(let reply) = result {
                replies.append(reply)
            } else {
                unanswered.append(self.name(of: nodes[i]))
            }
        }
        return (replies, unanswered)
    }
}

/// Answers as they come.
private final class Gathering<Reply: Sendable>: Sendable {
    private struct State {
        var results: [Result<Reply, VecraftError>?]
        var left: Int
    }
    private let state: Mutex<State>

    init(_ count: Int) { self.state = Mutex(State(results: Array(repeating: nil, count: count), left: count)) }

    /// - Returns: All of them, with the last.
    func take(_ i: Int, _ result: Result<Reply, VecraftError>) -> [Result<Reply, VecraftError>?]? {
        self.state.withLock { state in
            guard state.results[i] == nil else { return nil }
            state.results[i] = result
            state.left -= 1
            return state.left == 0 ? state.results : nil
        }
    }
}
