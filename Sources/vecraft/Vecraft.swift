internal import ArgumentParser
internal import Glibc
internal import Primitives

/// The program: a node, and the commands to speak with one.
@main
struct Vecraft: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vecraft",
        abstract: "A vector database in which every write is an entry of a journal.",
        discussion: """
            A first look:
              vecraft demo               start a node, load real data, search it
              vecraft serve              run a node
              vecraft collection list    ask the node at $VECRAFT_ADDRESS
                                         (default: 127.0.0.1:7400)

            \(ExitStatus.help)
            """,
        version: Build.description,
        groupedSubcommands: [
            CommandGroup(
                name: "Running a node",
                subcommands: [ServeCommand.self, ClusterCommand.self, DemoCommand.self, ConfigCommand.self]),
            CommandGroup(
                name: "Collections and points",
                subcommands: [
                    CollectionCommand.self, ImportCommand.self, SearchCommand.self, GetCommand.self, DeleteCommand.self,
                    CountCommand.self,
                ]),
            CommandGroup(
                name: "Looking inside",
                subcommands: [
                    LineageCommand.self, AuditCommand.self, JournalCommand.self, HealthCommand.self, MetricsCommand.self,
                    VersionCommand.self,
                ]),
        ])

    static func main() async {
        do {
            var command = try Self.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            Glibc.exit(Failure.report(error, wantsJSON: Failure.wantsJSON(CommandLine.arguments)).rawValue)
        }
    }
}
