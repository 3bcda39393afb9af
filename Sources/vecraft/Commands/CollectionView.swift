internal import Primitives
internal import Wire

/// Collections as text.
enum CollectionView {
    static func list(_ collections: [VecraftV1.Collection], _ terminal: Terminal) -> String {
        if collections.isEmpty { return "No collections. `vecraft collection create NAME --dimension N` makes one.\n" }
        var table = Table([
            Table.Column("name"), Table.Column("points", right: true), Table.Column("vectors", flexible: true),
            Table.Column("memory", right: true), Table.Column("disk", right: true), Table.Column("created"),
        ])
        for collection in collections {
            let status = collection.status ?? VecraftV1.CollectionStatus()
            table.add([
                collection.name,
                Figures.count(status.points) + (Self.isPart(collection) ? " here" : ""),
                Self.vectors(collection.config ?? VecraftV1.CollectionConfig()).map(Self.brief).joined(separator: ", "),
                Figures.bytes(status.memoryBytes), Figures.bytes(status.diskBytes),
                String(Figures.time(HLCTimestamp(rawValue: collection.created)).prefix(16)),
            ])
        }
        return table.render(terminal)
    }

    static func details(_ collection: VecraftV1.Collection, _ terminal: Terminal) -> String {
        let config = collection.config ?? VecraftV1.CollectionConfig()
        let status = collection.status ?? VecraftV1.CollectionStatus()
        var fields = FieldList(terminal)
        fields.title("\(collection.name)", note: "collection \(collection.id)")
        fields.add("created", Figures.time(HLCTimestamp(rawValue: collection.created)))
        for (name, vector) in Self.vectors(config) {
            let label = name.isEmpty ? "vector" : "vector \(name)"
            let hnsw = vector.hnsw ?? VecraftV1.HnswConfig()
            let links = hnsw.m == 0 ? VectorSchema.defaultM : Int(hnsw.m)
            let building = hnsw.efConstruction == 0 ? VectorSchema.defaultEfConstruction : Int(hnsw.efConstruction)
            fields.add(
                label,
                "\(vector.dimension) components, \(vector.distance), m \(links), ef_construction \(building), codes \(vector.quantisation)"
            )
        }
        fields.add("payload indexes", config.payloadIndexes.map { "\($0.field) (\($0.type))" }.joined(separator: ", "))
        if config.shards > 1 {
            let here = status.shards.map { "\($0.shard)" }.joined(separator: ", ")
            fields.add("shards", status.shards.count == Int(config.shards) ? "\(config.shards)" : "\(config.shards), here \(here)")
        }
        // Those of other shards are on other nodes: `vecraft count` counts them all.
        fields.add("points", Figures.count(status.points) + (Self.isPart(collection) ? " in the shards here" : ""))
        fields.add(
            "graph",
            "\(Figures.count(status.indexedVectors)) of \(Figures.count(status.totalVectors, "vector")) linked, the others searched exactly"
        )
        fields.add(
            "storage",
            "\(Figures.count(status.segments, "segment")), \(Figures.bytes(status.memoryBytes)) in memory, "
                + "\(Figures.bytes(status.diskBytes)) on disk, \(Figures.count(status.deletedRows, "deleted row"))")
        if status.recodingSegments > 0 {
            fields.add("codes", "\(Figures.count(status.recodingSegments, "segment")) still to be written with those asked for")
        }
        fields.add(
            "journal",
            "\(collection.partition), applied \(Figures.count(status.appliedOffset)) of \(Figures.count(status.committedOffset))"
        )
        fields.add("digest", status.digest)
        return fields.text
    }

    /// The node that was asked holds some of the shards.
    private static func isPart(_ collection: VecraftV1.Collection) -> Bool {
        let shards = Int(collection.config?.shards ?? 0)
        return shards > 1 && (collection.status?.shards.count ?? 0) < shards
    }

    private static func vectors(_ config: VecraftV1.CollectionConfig) -> [(String, VecraftV1.VectorConfig)] {
        let unnamed = config.vector.map { [("", $0)] } ?? []
        return unnamed + config.vectors.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    private static func brief(_ name: String, _ vector: VecraftV1.VectorConfig) -> String {
        (name.isEmpty ? "" : name + " ") + "\(vector.dimension) \(vector.distance)"
    }
}
