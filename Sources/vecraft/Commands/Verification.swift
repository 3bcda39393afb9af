internal import FileStore
internal import JournalStore
internal import Primitives
internal import Wire

/// Reports of a journal that was read from end to end.
enum Verification {
    static func online(_ partition: String, on node: Node, _ options: GlobalOptions) async throws {
        let response: VecraftV1.VerifyResponse = try await node.call(
            VecraftV1.Lineage.verify, VecraftV1.VerifyRequest(partition: partition))
        try Self.show(response, options.format)
    }

    /// Reads a data directory's journal without a node, and without changing anything.
    static func offline(_ partition: String?, in dataDirectory: String, _ format: OutputOptions) throws {
        let journal = Paths.join(dataDirectory, "journal")
        let files = PosixFileStore()
        let known = try JournalInspection.partitions(of: journal, files: files)
        let chosen = known.filter { partition == nil || $0.description == partition }
        guard !chosen.isEmpty else {
            let names = known.map(\.description).joined(separator: ", ")
            throw VecraftError(
                .notFound,
                "there is no journal partition '\(partition ?? "")' in \(journal); there are \(names.isEmpty ? "none" : names)"
            )
        }
        var response = VecraftV1.VerifyResponse(ok: true)
        for partition in chosen {
            let finding = JournalInspection.verify(partition, of: journal, files: files)
            for tail in finding.tails { Console.error(TextWidth.printable(tail)) }
            response.ok = response.ok && finding.report.isOK
            response.partitions.append(Self.wire(finding.report))
        }
        try Self.show(response, format)
    }

    private static func wire(_ report: PartitionReport) -> VecraftV1.PartitionReport {
        VecraftV1.PartitionReport(
            partition: report.partition.description, firstOffset: report.firstOffset, lastOffset: report.lastOffset,
            entries: report.entries, bytes: report.bytes, segments: UInt64(report.segments), faults: report.faults)
    }

    /// - Throws: A quiet exit when something is damaged: the report has said what.
    static func show(_ response: VecraftV1.VerifyResponse, _ format: OutputOptions) throws {
        try format.write(try response.tree()) { Self.text(response, $0) }
        if !response.ok { throw QuietExit(.damaged) }
    }

    static func text(_ response: VecraftV1.VerifyResponse, _ terminal: Terminal) -> String {
        let style = terminal.style
        let nodes = Set(response.partitions.map(\.node)).count
        var table = Table(
            (nodes > 1 ? [Table.Column("node")] : []) + [
                Table.Column("partition"), Table.Column("offsets"), Table.Column("entries", right: true),
                Table.Column("size", right: true), Table.Column("files", right: true),
                Table.Column("faults", right: true),
            ])
        for partition in response.partitions {
            table.add(
                (nodes > 1 ? [partition.node] : []) + [
                    partition.partition,
                    partition.entries == 0 ? "none" : "\(partition.firstOffset) to \(partition.lastOffset)",
                    Figures.count(partition.entries), Figures.bytes(partition.bytes), Figures.count(partition.segments),
                    Figures.count(partition.faults.count),
                ])
        }
        var text = table.render(terminal)
        for partition in response.partitions {
            for fault in partition.faults {
                text += style.red("damaged") + " \(partition.partition): \(TextWidth.printable(fault))\n"
            }
        }
        for node in response.unansweredNodes {
            text += style.red("not looked at") + " \(TextWidth.printable(node)): it did not answer\n"
        }
        let damaged = response.partitions.contains { !$0.faults.isEmpty }
        if !damaged, !response.unansweredNodes.isEmpty { return text + style.red("What answered is whole.") + "\n" }
        return text + (response.ok ? style.green("The journal is whole.") : style.red("The journal is damaged.")) + "\n"
    }
}
