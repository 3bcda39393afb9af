import Metadata
import Primitives
import Wire

/// Our keys as etcd has them: under the cluster's prefix.
struct EtcdKeys: Sendable {
    private let prefix: [UInt8]

    init(cluster: String) { self.prefix = Array("/vecraft/v1/\(cluster)/".utf8) }

    func encode(_ key: String) -> [UInt8] { self.prefix + key.utf8 }

    /// From the prefix to before its successor.
    func range(_ prefix: String) -> (from: [UInt8], end: [UInt8]) {
        let from = self.encode(prefix)
        // Never empty, and UTF-8 has no byte FF: the last byte can always be raised.
        return (from, from.dropLast() + [from[from.count - 1] + 1])
    }

    private func decode(_ key: [UInt8]) throws(VecraftError) -> String {
        guard key.starts(with: self.prefix),
            let text = String(validating: key.dropFirst(self.prefix.count), as: UTF8.self)
        else {
            throw VecraftError(.dataLoss, "etcd holds a key of ours that is not UTF-8", reason: MetadataDamage.reason)
        }
        return text
    }

    func entry(_ pair: EtcdMVCC.KeyValue) throws(VecraftError) -> MetadataEntry {
        MetadataEntry(
            key: try self.decode(pair.key), value: pair.value, created: Revision(clamping: pair.createRevision),
            modified: Revision(clamping: pair.modRevision),
            lease: pair.lease == 0 ? nil : LeaseID(bitPattern: pair.lease))
    }

    func event(_ event: EtcdMVCC.Event) throws(VecraftError) -> MetadataEvent {
        guard let pair = event.kv else {
            throw VecraftError(.internalError, "etcd tells of a change without its key")
        }
        if event.type == .delete {
            return .delete(key: try self.decode(pair.key), revision: Revision(clamping: pair.modRevision))
        }
        return .put(try self.entry(pair))
    }
}
