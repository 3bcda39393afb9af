import Primitives

/// The indexed paths as a tree of keys, so that one pass over a payload finds them all.
///
/// Node n's edges are `firstEdge ..< firstEdge + edgeCount`; node 0 is the payload object. An edge leads to the node of the
/// same number plus one: nodes are numbered breadth first.
final class FieldTree: @unchecked Sendable {
    // Unchecked: written in `init` only.
    struct Node {
        var firstEdge = 0
        var edgeCount = 0
        /// In `columns`: positions in the field list of the fields that end here.
        var firstColumn = 0
        var columnCount = 0
    }

    private let nodes: UnsafeMutableBufferPointer<Node>
    private let columns: UnsafeMutableBufferPointer<UInt16>
    private let keys: FlatKeys

    init(_ paths: [[[UInt8]]]) {
        final class Draft {
            var children: [(key: [UInt8], draft: Draft)] = []
            var columns: [UInt16] = []
        }
        let root = Draft()
        for (column, path) in paths.enumerated() {
            var draft = root
            for key in path {
                if let child = draft.children.first(where: { $0.key == key }) {
                    draft = child.draft
                } else {
                    let child = Draft()
                    draft.children.append((key, child))
                    draft = child
                }
            }
            draft.columns.append(UInt16(column))
        }
        var queue = [root]
        var nodes: [Node] = []
        var keys: [[UInt8]] = []
        var columns: [UInt16] = []
        while nodes.count < queue.count {
            let draft = queue[nodes.count]
            nodes.append(
                Node(
                    firstEdge: keys.count, edgeCount: draft.children.count, firstColumn: columns.count,
                    columnCount: draft.columns.count))
            columns += draft.columns
            keys += draft.children.map(\.key)
            queue += draft.children.map(\.draft)
        }
        self.nodes = .allocate(capacity: nodes.count)
        _ = self.nodes.initialize(from: nodes)
        self.columns = .allocate(capacity: columns.count)
        _ = self.columns.initialize(from: columns)
        self.keys = FlatKeys(keys)
    }

    deinit {
        self.nodes.deallocate()
        self.columns.deallocate()
    }

    /// Calls `visit(column, position)` for each value that stands at an indexed path.
    @inline(__always)
    func walk(_ payload: UnsafeRawBufferPointer, _ visit: (UInt16, Int) -> Void) {
        self.descend(payload, 0, 0, 0, visit)
    }

    private func descend(
        _ payload: UnsafeRawBufferPointer, _ position: Int, _ index: Int, _ depth: Int, _ visit: (UInt16, Int) -> Void
    ) {
        if depth == PayloadScalars.deepest { return }
        var skimmer = JSONSkimmer(payload, at: position)
        let node = self.nodes[index]
        if skimmer.enter(UInt8(ascii: "[")) {
            while skimmer.nextElement() {
                self.descend(payload, skimmer.position, index, depth + 1, visit)
                skimmer.skipValue()
            }
            return
        }
        guard skimmer.enter(UInt8(ascii: "{")) else { return }
        withUnsafeTemporaryAllocation(of: Int.self, capacity: node.edgeCount) { positions in
            positions.initialize(repeating: -1)
            while let key = skimmer.nextKey() {
                for i in 0..<node.edgeCount {
                    if key.equals(self.keys[node.firstEdge &+ i]) {
                        positions[i] = skimmer.position  // of equal keys the last one counts
                        break
                    }
                }
                skimmer.skipValue()
            }
            for i in 0..<node.edgeCount where positions[i] >= 0 {
                let child = node.firstEdge &+ i &+ 1
                let columns = self.nodes[child].firstColumn
                for column in columns..<columns &+ self.nodes[child].columnCount { visit(self.columns[column], positions[i]) }
                if self.nodes[child].edgeCount > 0 { self.descend(payload, positions[i], child, depth + 1, visit) }
            }
        }
    }
}
