import ControlPlane
import FileStore
import Metadata
import Placement
import Primitives
import TestSupport
import Testing

@Suite struct MapPlacementTests {
    @Test func whoIsInTheSameZoneIsNear() async throws {
        let directory = try TemporaryDirectory()
        let store = try SQLiteMetadataStore(path: directory.file("metadata.sqlite"))
        let map = MapStore(store, path: directory.file("cluster-map"), files: PosixFileStore())
        for (id, zone) in [(1, "a"), (2, "a"), (3, "b"), (4, "")] as [(UInt64, String)] {
            try await map.change { _ in .describeNode(NodeRecord(id: NodeID(id), name: "n\(id)", zone: zone)) }
        }
        defer { withExtendedLifetime(directory) {} }
        func near(_ own: UInt64) -> [UInt64] {
            let placement = MapPlacement(own: NodeID(own), map: map) { _, _ in false }
            return (1...5).filter { placement.isNear($0) }
        }
        #expect(near(1) == [1, 2])
        #expect(near(3) == [3])
        #expect(near(4) == [4], "without a zone, those without one")
    }
}
