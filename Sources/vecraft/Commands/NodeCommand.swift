package import ArgumentParser

/// A command that asks a node something.
package protocol NodeCommand: AsyncParsableCommand {
    var global: GlobalOptions { get }
    func run(on node: Node) async throws
}

extension NodeCommand {
    package mutating func run() async throws {
        let command = self
        try await Node.with(command.global) { node in try await command.run(on: node) }
    }
}
