package import ArgumentParser
internal import Primitives
package import Wire

package struct HealthCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Ask a node whether it is ready.",
        discussion: "Ends with status 0 if it is, and 1 if it is not or does not answer.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Flag(help: "Only the exit status.")
    package var quiet = false

    package init() {}

    package func run() async throws {
        let command = self
        do {
            try await Node.with(command.global) { node in try await command.ask(node) }
        } catch let error as VecraftError {
            // A probe wants one answer: ready or not.
            if !self.quiet { _ = Failure.report(error, wantsJSON: self.global.format.output == .json) }
            throw QuietExit(.failure)
        }
    }

    private func ask(_ node: Node) async throws {
        let health: GRPCHealthV1.HealthCheckResponse = try await node.call(
            GRPCHealthV1.Health.check, GRPCHealthV1.HealthCheckRequest())
        let ready = health.status == .serving
        if !self.quiet {
            let status: VecraftV1.StatusResponse = try await node.call(
                VecraftV1.Cluster.status, VecraftV1.StatusRequest())
            try self.global.format.write(try status.tree()) { StatusView.text(status, ready: ready, $0) }
        }
        if !ready { throw QuietExit(.failure) }
    }
}

/// A node's state as text.
package enum StatusView {
    package static func text(_ status: VecraftV1.StatusResponse, ready: Bool, _ terminal: Terminal) -> String {
        let summary = Self.summary(status, ready: ready, terminal)
        return status.partitions.isEmpty ? summary : summary + Self.partitions(status.partitions).render(terminal)
    }

    static func summary(_ status: VecraftV1.StatusResponse, ready: Bool, _ terminal: Terminal) -> String {
        let style = terminal.style
        let verdict = ready ? style.green("ready") : style.yellow("not ready (\(status.state))")
        let name = status.node.isEmpty ? "The node" : TextWidth.printable(status.node)
        let running =
            "vecraft \(status.version), up \(Figures.duration(.milliseconds(Int64(clamping: status.uptimeMs))))"
        let plain = "\(name) is \(ready ? "ready" : "not ready (\(status.state))"), \(running)"
        let isLong = terminal.width.map { TextWidth.of(plain) > $0 } ?? false
        var text = "\(style.bold(name)) is \(verdict),\(isLong ? "\n  " : " ")\(running)\n"
        if status.replayProgress < 1 {
            let left =
                status.replayEtaMs > 0
                ? ", about \(Figures.duration(.milliseconds(Int64(clamping: status.replayEtaMs)))) left" : ""
            text += "Replaying the journal: \(Figures.decimal(status.replayProgress * 100, 0)) %\(left)\n"
        }
        for check in status.checks {
            let mark = check.ok ? style.green("ok    ") : style.red("failed")
            // Behind the margin, the mark, the name and the gaps between them.
            let room = terminal.width.map { max(20, $0 - 12 - TextWidth.of(check.name)) } ?? Int.max
            let detail = check.detail.isEmpty ? "" : "  \(style.dim(TextWidth.fit(TextWidth.printable(check.detail), room)))"
            text += "  \(mark)  \(check.name)\(detail)\n"
        }
        return text
    }

    static func partitions(_ partitions: [VecraftV1.PartitionStatus]) -> Table {
        var table = Table([
            Table.Column("partition"), Table.Column("term", right: true, optional: true),
            Table.Column("first", right: true, optional: true), Table.Column("committed", right: true), Table.Column("applied", right: true),
            Table.Column("lag", right: true),
            Table.Column("size", right: true), Table.Column("files", right: true, optional: true), Table.Column("last write", optional: true),
        ])
        for partition in partitions {
            let lag =
                partition.lagEntries == 0 ? "none" : "\(Figures.count(partition.lagEntries)), \(partition.lagMs) ms"
            let last =
                partition.lastHLC == 0 ? "" : String(Figures.time(HLCTimestamp(rawValue: partition.lastHLC)).prefix(19))
            table.add([
                partition.partition, "\(partition.term)", Figures.count(partition.firstOffset),
                Figures.count(partition.committedOffset), Figures.count(partition.appliedOffset), lag,
                Figures.bytes(partition.diskBytes), Figures.count(partition.segments), last,
            ])
        }
        return table
    }
}
