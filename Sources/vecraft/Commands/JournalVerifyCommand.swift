package import ArgumentParser
internal import Primitives

package struct JournalVerifyCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read the journal from end to end: checksums, gaps, order.",
        discussion: """
            Ends with status 7 if anything is wrong. With --data-directory no node is asked: the files are read as they
            are and nothing is written, so it also tells why a node does not start.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Only this partition. (default: all)")
    package var partition: String?

    @Option(help: ArgumentHelp("Read the journal of this data directory instead of asking a node.", valueName: "folder"))
    package var dataDirectory: String?

    package init() {}

    package mutating func run() async throws {
        let command = self
        if let directory = command.dataDirectory {
            try Verification.offline(command.partition, in: directory, command.global.format)
        } else {
            try await Node.with(command.global) { node in try await command.run(on: node) }
        }
    }

    package func run(on node: Node) async throws {
        try await Verification.online(self.partition ?? "", on: node, self.global)
    }
}
