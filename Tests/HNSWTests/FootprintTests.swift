import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct FootprintTests {
    /// The published formula holds to a tenth.
    @Test(arguments: [8, 16, 32], [17, 128, 384])
    func theFormulaHolds(m: Int, dimension: Int) {
        let count = 4000
        let points = Points.random(count: count, dimension: dimension, metric: .cosine, seed: 91)
        let footprint = GraphFootprint(dimension: dimension, m: m)
        for codes in [Quantisation.none, .int8] {
            let graph = points.graph(m: m, efConstruction: 20, codes: codes)
            let growing = Double(graph.memoryBytes) / Double(count)
            #expect(abs(growing - footprint.growing(graph.kind)) <= 0.1 * growing, "\(growing) bytes while it grows")
            guard codes == .int8 else { continue }
            for wanted in [Quantisation.none, .int8, .int4] {
                let report = graph.sealed(wanted, rowCount: count, rescoring: .float16).report
                let resident = Double(report.residentBytes) / Double(count)
                #expect(abs(resident - footprint.sealed(report.kind)) <= 0.1 * resident, "\(wanted): \(resident) bytes")
                let beside = Double(report.bytes - report.residentBytes) / Double(count)
                #expect(beside == (wanted == .none ? 0 : footprint.rescoringFloat16))
            }
        }
    }

    /// hnswlib keeps the floats, 2 m links and some words: 4 d + 8 m + 20. Ours, by the formula, is below 0.45 of it.
    @Test func isSmallBesideFloats() {
        for dimension in [96, 128, 384, 768, 1536] {
            let theirs = Double(4 * dimension + 8 * 16 + 20)
            let footprint = GraphFootprint(dimension: dimension, m: 16)
            #expect(footprint.sealed(.int4) <= 0.45 * theirs)
            if dimension >= 128 { #expect(footprint.sealed(.int8) <= 0.45 * theirs) }
        }
    }
}
