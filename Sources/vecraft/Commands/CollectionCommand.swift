package import ArgumentParser

package struct CollectionCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "collection", abstract: "Make, show, change and drop collections.",
        subcommands: [
            CollectionCreateCommand.self, CollectionDescribeCommand.self, CollectionListCommand.self,
            CollectionUpdateCommand.self, CollectionDropCommand.self,
        ])

    package init() {}
}
