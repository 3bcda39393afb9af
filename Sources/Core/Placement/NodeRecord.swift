/// What a process does. One process may have all roles.
package struct NodeRoles: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let storage = NodeRoles(rawValue: 1)
    package static let journal = NodeRoles(rawValue: 2)
    package static let query = NodeRoles(rawValue: 4)
    package static let gateway = NodeRoles(rawValue: 8)
    package static let control = NodeRoles(rawValue: 16)
    package static let all: NodeRoles = [.storage, .journal, .query, .gateway, .control]

    static let names: [(name: String, role: NodeRoles)] = [
        ("storage", .storage), ("journal", .journal), ("query", .query), ("gateway", .gateway), ("control", .control),
    ]
}

/// A node as the cluster knows it.
package struct NodeRecord: Equatable, Sendable {
    package enum State: String, Sendable, CaseIterable {
        /// Registered, not heard of yet: it is given nothing.
        case joining
        case active
        /// What it holds is moved off; it gets nothing new, and serves until that is done.
        case draining
        /// It holds nothing and gets nothing.
        case drained
        /// For ever. The record stays, so that the id is not taken again.
        case removed
    }
    package let id: NodeID
    package var name: String
    /// By what is spoken there ("client", "peer", "http"): "host:port".
    package var addresses: [String: String]
    package var roles: NodeRoles
    /// What fails together (a rack, a power feed). Empty: not known, which is a zone too.
    package var zone: String
    /// How much it may hold, beside others; the usual node has 100.
    package var weight: UInt32
    package internal(set) var state: State

    package init(
        id: NodeID, name: String, addresses: [String: String] = [:], roles: NodeRoles = .all, zone: String = "",
        weight: UInt32 = 100, state: State = .joining
    ) {
        self.id = id
        self.name = name
        self.addresses = addresses
        self.roles = roles
        self.zone = zone
        self.weight = weight
        self.state = state
    }

    package static let maxNameBytes = 128
    package static let maxAddresses = 8
    package static let weights: ClosedRange<UInt32> = 1...10_000
}
