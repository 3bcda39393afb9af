internal import Placement
internal import Primitives

/// The metadata store: documents, and a transaction that compares one of them.
struct ControlStore {
    /// The documents, read back.
    private(set) var map = ClusterMap()
    private(set) var epochDocument: [UInt8]?
    var isAvailable = true
    var leader: Int?
    var leaseUntil = 0

    enum Outcome {
        case written
        case stale
        case broken(String)
    }

    /// - Parameter expected: The value that `epoch` must have; `.some(nil)`: none. Nil compares nothing.
    mutating func write(_ documents: [MapDocument], ifEpochIs expected: [UInt8]??) -> Outcome {
        if let expected, expected != self.epochDocument { return .stale }
        do throws(VecraftError) {
            try self.map.take(documents)
        } catch {
            return .broken("the documents written are refused: \(error)")
        }
        if let document = documents.first(where: { $0.key == MapKey.epoch.description }) {
            self.epochDocument = document.value
        }
        return .written
    }
}
