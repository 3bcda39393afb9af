/// One call on one register, as its client saw it.
///
/// All times of a history are nanoseconds of one clock that never goes back.
package struct RegisterOperation: Sendable, Hashable {
    package enum Action: Sendable, Hashable {
        /// Values are unique within a register's history, so that a read says which write it saw.
        case write(UInt64)
        /// Nil: nothing was written yet.
        case read(UInt64?)
    }
    package var register: Int
    package var client: Int
    package var action: Action
    package var invoked: UInt64
    /// Nil: the outcome is unknown (deadline, lost connection). A write may then take effect at any later time, or never.
    package var returned: UInt64?
    /// For people, in explanations: which node was asked, how often.
    package var note: String

    package init(
        register: Int = 0, client: Int, _ action: Action, from invoked: UInt64, to returned: UInt64?, note: String = ""
    ) {
        precondition(returned.map { $0 >= invoked } ?? true, "an answer before its call")
        self.register = register
        self.client = client
        self.action = action
        self.invoked = invoked
        self.returned = returned
        self.note = note
    }

    package var isWrite: Bool { if case .write = self.action { true } else { false } }

    /// What it wrote or read.
    package var value: UInt64? {
        switch self.action {
        case .write(let value): value
        case .read(let value): value
        }
    }
}

/// What a checker makes of a history.
package enum Verdict<Violation: Sendable>: Sendable {
    case holds
    case violated(Violation)
    /// The search reached its limit of memory. It says nothing about the history.
    case undecided(String)

    package var violation: Violation? { if case .violated(let violation) = self { violation } else { nil } }
    package var holds: Bool { if case .holds = self { true } else { false } }
}
