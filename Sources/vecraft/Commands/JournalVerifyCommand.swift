package import ArgumentParser
internal import Primitives

package struct JournalVerifyCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Read the journal from end to end: checksums, gaps, order.",
        discussion: "Ends with status 7 if anything is wrong.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Only this partition. (default: all)")
    package var partition: String?

    package init() {}

    package func run(on node: Node) async throws {
        try await Verification.online(self.partition ?? "", on: node, self.global)
    }
}
