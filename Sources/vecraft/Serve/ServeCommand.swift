package import ArgumentParser
internal import ServiceHost

/// `vecraft serve`: a node, until it is told to stop.
package struct ServeCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run a node.",
        discussion: """
            Prints one line on standard output when it is ready, with the addresses it listens on:
              vecraft ready grpc=127.0.0.1:7400 http=127.0.0.1:7401
            Logs go to standard error. SIGTERM or Ctrl-C: finishes what is running, flushes, exits with 0.
            """)

    @OptionGroup package var settings: SettingsOptions

    package init() {}

    package func run() async throws {
        // First of all: a signal during the start is an orderly end too.
        let signals = TerminationSignals()
        let loaded = try self.settings.load()
        try await ServedNode.serve(loaded.values, signals)
    }
}
