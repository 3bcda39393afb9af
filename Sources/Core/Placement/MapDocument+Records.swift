internal import Primitives

extension NodeRecord {
    func encoded() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginDocument()
        writer.field("name", self.name)
        writer.key("addresses")
        writer.beginObject()
        for (kind, address) in self.addresses.sorted(by: { $0.key < $1.key }) { writer.field(kind, address) }
        writer.endObject()
        writer.key("roles")
        writer.beginArray()
        for (name, role) in NodeRoles.names where self.roles.contains(role) { writer.string(name) }
        writer.endArray()
        writer.field("zone", self.zone)
        writer.field("weight", UInt64(self.weight))
        writer.field("state", self.state.rawValue)
        writer.endObject()
        return writer.bytes
    }

    init(_ id: NodeID, _ value: JSONValue) throws(VecraftError) {
        var fields = try Fields(value)
        var roles: NodeRoles = []
        for role in try fields.array("roles") {
            guard let known = NodeRoles.names.first(where: { $0.name == role.stringValue }) else {
                throw .badMap("a role is not known")
            }
            roles.insert(known.role)
        }
        var addresses: [String: String] = [:]
        for member in try fields.take("addresses").objectValue ?? [] {
            guard let address = member.value.stringValue else { throw .badMap("an address is no text") }
            addresses[member.key] = address
        }
        guard let weight = UInt32(exactly: try fields.unsigned("weight")) else { throw .badMap("weight") }
        self.init(
            id: id, name: try fields.string("name"), addresses: addresses, roles: roles,
            zone: try fields.string("zone"),
            weight: weight, state: try fields.named("state"))
        try fields.finish()
    }
}

extension CollectionRecord {
    func encoded() -> [UInt8] {
        var writer = JSONWriter(reserving: 256 * self.shards.count)
        writer.beginDocument()
        writer.field("replication", UInt64(self.replication))
        writer.key("shards")
        writer.beginArray()
        for (i, shard) in self.shards.enumerated() {
            writer.beginObject()
            writer.field("slot", UInt64(self.slots.starts[i]))
            writer.field("partition", shard.partition.description)
            writer.field("first_live", shard.firstLive)
            writer.key("replicas")
            writer.beginArray()
            for replica in shard.replicas { replica.encode(into: &writer) }
            writer.endArray()
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.bytes
    }

    init(_ id: UInt64, _ value: JSONValue) throws(VecraftError) {
        var fields = try Fields(value)
        self.id = id
        self.replication = Int(exactly: try fields.unsigned("replication")) ?? 0
        var starts: [UInt16] = []
        self.shards = []
        for value in try fields.array("shards") {
            guard starts.count < SlotMap.slots else { throw .badMap("more shards than slots") }
            var shard = try Fields(part: value)
            guard let start = UInt16(exactly: try shard.unsigned("slot")) else { throw .badMap("slot") }
            starts.append(start)
            let partition = try shard.partition("partition")
            let firstLive = try shard.unsigned("first_live")
            var replicas: [ShardReplica] = []
            for replica in try shard.array("replicas") { replicas.append(try ShardReplica(replica)) }
            try shard.finish()
            self.shards.append(ShardRecord(partition: partition, firstLive: firstLive, replicas: replicas))
        }
        guard let slots = SlotMap(starts: starts) else { throw .badMap("the shards' slots do not tile 0...1023") }
        self.slots = slots
        try fields.finish()
    }
}

extension ShardReplica {
    func encode(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("node", self.node.rawValue.description)
        writer.field("state", self.state.rawValue)
        writer.field("incarnation", self.incarnation)
        writer.field("made", self.made)
        if self.movesFrom != 0 { writer.field("moves_from", self.movesFrom) }
        writer.endObject()
    }

    init(_ value: JSONValue) throws(VecraftError) {
        var fields = try Fields(part: value)
        self.init(
            node: NodeID(try fields.number("node")), state: try fields.named("state"),
            incarnation: try fields.unsigned("incarnation"), made: try fields.unsigned("made"),
            movesFrom: fields.has("moves_from") ? try fields.unsigned("moves_from") : 0)
        try fields.finish()
    }
}

extension JournalRecord {
    func encoded() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginDocument()
        writer.field("wanted", UInt64(self.wanted))
        writer.field("changed", self.changed)
        writer.key("replicas")
        writer.beginArray()
        for replica in self.replicas { replica.encode(into: &writer) }
        writer.endArray()
        writer.endObject()
        return writer.bytes
    }

    init(_ id: PartitionID, _ value: JSONValue) throws(VecraftError) {
        var fields = try Fields(value)
        self.id = id
        self.wanted = Int(exactly: try fields.unsigned("wanted")) ?? 0
        self.changed = try fields.unsigned("changed")
        self.replicas = []
        for replica in try fields.array("replicas") { self.replicas.append(try JournalReplica(replica)) }
        try fields.finish()
    }
}

extension JournalReplica {
    func encode(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("node", self.node.rawValue.description)
        writer.field("role", self.role.rawValue)
        writer.field("incarnation", self.incarnation)
        writer.field("made", self.made)
        if self.replaces != 0 { writer.field("replaces", self.replaces) }
        writer.endObject()
    }

    init(_ value: JSONValue) throws(VecraftError) {
        var fields = try Fields(part: value)
        self.init(
            node: NodeID(try fields.number("node")), role: try fields.named("role"),
            incarnation: try fields.unsigned("incarnation"), made: try fields.unsigned("made"),
            replaces: fields.has("replaces") ? try fields.unsigned("replaces") : 0)
        try fields.finish()
    }
}
