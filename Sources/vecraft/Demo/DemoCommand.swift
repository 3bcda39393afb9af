package import ArgumentParser
internal import Primitives

package struct DemoCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "A short tour: start a node, load real data, search it, look inside.",
        discussion: """
            The node runs in a temporary folder, which is removed at the end. With --keep, or KEEP=1 in the
            environment, the node stays up.
            """)

    @Flag(help: "Leave the node up at the end.")
    package var keep = false

    @Option(
        help: ArgumentHelp(
            "Folder with points.jsonl, vectors.f16.npy and text-queries.json. (default: the sample)",
            valueName: "folder"))
    package var data: String?

    package init() {}

    package func run() async throws {
        let keep = self.keep || !["", "0", "no", "false"].contains(Environment["KEEP"] ?? "")
        let data = if let data = self.data { data } else { try SampleData.locate() }
        let stage = try DemoStage()
        let interruption = Interruption { stage.clear() }
        let tour = DemoTour(terminal: .output, data: data)
        tour.welcome()
        do {
            let node = try stage.startNode()
            let addresses = try node.awaitReady()
            try await tour.run(addresses, folder: stage.folder.path)
            tour.farewell(addresses, process: node.process, folder: stage.folder.path, kept: keep)
        } catch {
            await interruption.stepAside()
            let lastWords = Self.tail(stage.logFile)
            stage.clear()
            Console.error("\nThe tour ended early. The node's last words:\n\(lastWords)")
            throw error
        }
        if !keep { stage.clear() }
        withExtendedLifetime(interruption) {}
    }

    /// The last lines of a log, or a word that there are none.
    private static func tail(_ path: String) -> String {
        guard let bytes = try? TextFile.read(path), !bytes.isEmpty else { return "  (none)" }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(15)
        return lines.map { "  " + TextWidth.printable(String($0)) }.joined(separator: "\n")
    }
}
