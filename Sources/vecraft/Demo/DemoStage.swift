internal import Primitives
internal import Synchronization

/// What the tour leaves behind if nobody clears it away: a folder, and a node running in it.
final class DemoStage: Sendable {
    let folder: TemporaryFolder
    var logFile: String { self.folder.path + "/node.log" }
    private let state = Mutex<State>(State())

    private struct State {
        var node: ChildNode?
        var cleared = false
    }

    init() throws(VecraftError) { self.folder = try TemporaryFolder(prefix: "vecraft-demo") }

    func startNode() throws(VecraftError) -> ChildNode {
        // Under the lock, so that an interruption finds the node or comes before it.
        try self.state.withLock { state throws(VecraftError) in
            guard !state.cleared else { throw VecraftError(.cancelled, "interrupted") }
            let node = try ChildNode(dataDirectory: self.folder.path + "/data", logFile: self.logFile)
            state.node = node
            return node
        }
    }

    /// Stops the node and removes the folder. From any thread, as often as one likes.
    func clear() {
        self.state.withLock { state in
            guard !state.cleared else { return }
            state.cleared = true
            state.node?.stop()
            self.folder.remove()
        }
    }
}
