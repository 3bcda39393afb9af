package import FileStore
package import Placement
package import Primitives
internal import Synchronization

/// Which replica each shard's folder on this node is: the map's incarnation of it, kept over restarts.
///
/// A line a shard: collection, shard, incarnation, and the epoch that made it.
package final class ReplicaNotes: Sendable {
    package struct Note: Equatable, Sendable {
        package var incarnation: Incarnation
        package var made: MapEpoch
        package init(incarnation: Incarnation, made: MapEpoch) {
            self.incarnation = incarnation
            self.made = made
        }
    }
    private let notes: Mutex<[ShardID: Note]>
    private let path: String
    private let files: any FileStore

    package init(path: String, files: any FileStore) throws(VecraftError) {
        self.path = path
        self.files = files
        var found: [ShardID: Note] = [:]
        if files.exists(path) {
            let text: String
            do throws(FileFault) { text = String(decoding: try files.readWhole(path), as: UTF8.self) } catch {
                throw VecraftError(.unavailable, "\(path) cannot be read: \(error)")
            }
            for line in text.split(separator: "\n") {
                let parts = line.split(separator: " ").compactMap { UInt64($0) }
                guard parts.count == 4, let shard = UInt32(exactly: parts[1]) else {
                    throw VecraftError(
                        .dataLoss,
                        "\(path) is damaged at \"\(line.prefix(64))\"; without it all shards here are made anew from other nodes"
                    )
                }
                found[ShardID(collection: parts[0], shard: shard)] = Note(incarnation: parts[2], made: parts[3])
            }
        }
        self.notes = Mutex(found)
    }

    package subscript(_ shard: ShardID) -> Note? { self.notes.withLock { $0[shard] } }
    package var all: [ShardID: Note] { self.notes.withLock { $0 } }

    /// Durable before it returns: a folder that nobody knows the incarnation of is of no use.
    package func set(_ shard: ShardID, _ note: Note?) throws(VecraftError) {
        let fault: FileFault? = self.notes.withLock { notes in
            let before = notes[shard]
            guard before != note else { return nil }
            notes[shard] = note
            let lines = notes.sorted { $0.key < $1.key }.map {
                "\($0.key.collection) \($0.key.shard) \($0.value.incarnation) \($0.value.made)\n"
            }
            do throws(FileFault) {
                try AtomicFile.replace(self.path, with: Array(lines.joined().utf8), in: self.files)
                return nil
            } catch {
                notes[shard] = before
                return error
            }
        }
        if let fault { throw VecraftError(.unavailable, "\(self.path) cannot be written: \(fault)") }
    }
}
