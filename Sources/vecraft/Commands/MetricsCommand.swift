package import ArgumentParser

package struct MetricsCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Say what a node can be asked for by Prometheus.",
        subcommands: [MetricsDocsCommand.self])

    package init() {}
}

package struct MetricsDocsCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "docs", abstract: "Print all metrics: name, type, labels, unit and meaning, as Markdown.")

    package init() {}

    package func run() throws { Console.print(MetricsDocument.text, terminator: "") }
}
