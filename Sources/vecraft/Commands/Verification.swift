internal import Primitives
internal import Wire

/// Reports of a journal that was read from end to end.
enum Verification {
    static func online(_ partition: String, on node: Node, _ options: GlobalOptions) async throws {
        let response: VecraftV1.VerifyResponse = try await node.call(
            VecraftV1.Lineage.verify, VecraftV1.VerifyRequest(partition: partition))
        try Self.show(response, options.format)
    }

    /// - Throws: A quiet exit when something is damaged: the report has said what.
    static func show(_ response: VecraftV1.VerifyResponse, _ format: OutputOptions) throws {
        try format.write(try response.tree()) { Self.text(response, $0) }
        if !response.ok { throw QuietExit(.damaged) }
    }

    static func text(_ response: VecraftV1.VerifyResponse, _ terminal: Terminal) -> String {
        let style = terminal.style
        var table = Table([
            Table.Column("partition"), Table.Column("offsets"), Table.Column("entries", right: true),
            Table.Column("size", right: true), Table.Column("files", right: true), Table.Column("faults", right: true),
        ])
        for partition in response.partitions {
            table.add([
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
        return text + (response.ok ? style.green("The journal is whole.") : style.red("The journal is damaged.")) + "\n"
    }
}
