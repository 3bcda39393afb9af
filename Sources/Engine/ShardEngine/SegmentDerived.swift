import FileStore
import HNSW
import PayloadIndex
import Primitives

/// What of a segment can be made again from its rows: graphs, payload index, id order.
struct SegmentDerived {
    let segment: Segment
    let graphFrom: Int

    init(_ segment: Segment, graphFrom: Int) {
        self.segment = segment
        self.graphFrom = graphFrom
    }

    /// Enough rows have the vector for a graph to pay.
    func wantsGraph(_ column: Int) -> Bool { self.segment.presentCount[column] >= self.graphFrom }

    /// Files a sealed segment has.
    var wanted: [(kind: ShardFile.Kind, column: Int)] {
        var kinds: [(kind: ShardFile.Kind, column: Int)] = [(.order, 0)]
        if !self.segment.shape.fields.isEmpty { kinds.append((.payloadIndex, 0)) }
        for column in self.segment.shape.columns.indices where self.wantsGraph(column) {
            kinds.append((.graph, column))
        }
        return kinds
    }

    /// All rows that will ever be linked are.
    var isLinked: Bool {
        self.segment.shape.columns.indices.allSatisfy { column in
            !self.wantsGraph(column)
                || self.segment.graphs[column] != nil && self.segment.linkedRows(column) == self.segment.rowCount
        }
    }

    /// Makes the segment use a derived file, in place.
    static func adopt(_ file: ShardFile, _ mapping: FileMapping, _ segment: Segment) throws(DecodingFault) {
        let content = mapping.content(file)
        switch file.kind {
        case .graph:
            let column = Int(file.column)
            segment.graphs[column] = try HNSWGraph(
                mapped: content, rows: segment.rows(column), rowCount: segment.rowCount, owner: mapping)
            segment.linkers[column] = nil
        case .payloadIndex:
            let index = try SegmentPayloadIndex(deserialising: content)
            guard index.fields == segment.shape.fields, index.rowCount == segment.rowCount else {
                throw DecodingFault(position: 0, what: "a payload index of other fields or rows")
            }
            segment.payloads = index
        case .order:
            let rows = UnsafeBufferPointer(
                start: content.baseAddress!.assumingMemoryBound(to: UInt32.self), count: content.count / 4)
            guard rows.count == segment.rowCount, rows.allSatisfy({ $0 < segment.rowCount }) else {
                throw DecodingFault(position: 0, what: "an order of other rows")
            }
            segment.order = IDOrder(rows, owner: mapping)
        case .rows, .heap, .vectors, .deletes:
            preconditionFailure("\(file.name) is not derived")
        }
    }

    /// Made from the payloads; nil if `interrupted` says so.
    static func payloadIndex(_ segment: Segment, interrupted: () -> Bool = { false }) -> SegmentPayloadIndex? {
        let index = SegmentPayloadIndex(fields: segment.shape.fields)
        var prepared = PreparedRows()
        for row in 0..<segment.rowCount {
            prepared.removeAll()
            index.prepare(segment.storage.payload(row), into: &prepared)
            index.commit(row: UInt32(row), prepared)
            if row % 4096 == 4095, interrupted() { return nil }
        }
        index.seal()
        return index
    }
}

extension SegmentStorage {
    /// Maps the primary files of a segment.
    convenience init(
        mapping rows: ShardFile, heap: ShardFile, vectors: [ShardFile], count: Int, _ io: SegmentFiles
    ) throws(FileFault) {
        let rowsMapping = try io.map(rows)
        let heapMapping = try io.map(heap)
        var columns: [UnsafeRawPointer] = []
        var owners: [AnyObject] = [rowsMapping, heapMapping]
        for file in vectors {
            let mapping = try io.map(file)
            columns.append(mapping.content(file).baseAddress!)
            owners.append(mapping)
        }
        self.init(
            mapped: rowsMapping.content(rows).baseAddress!, heap: heapMapping.content(heap).baseAddress!,
            columns: columns,
            count: count, owners: owners)
    }
}
