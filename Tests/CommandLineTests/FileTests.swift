import Foundation
import Primitives
import Testing
import vecraft

@Suite struct VectorFileTests {
    private let folder: TestFolder
    init() throws { self.folder = try TestFolder() }

    @Test func floatsOfEachWidthAreRead() throws {
        let expected: [[Float]] = [[1, -0.5, 0.25], [0, 65504, 0.0009765625]]
        let flat = expected.flatMap { $0 }
        let half = NPY.raw(flat.map { Float16($0).bitPattern })
        #expect(try vectors(try self.folder.write("h.npy", NPY.bytes("<f2", shape: "(2, 3)", data: half))) == expected)
        #expect(try vectors(try self.folder.write("s.npy", NPY.floats(flat, "(2, 3)"))) == expected)
        let double = NPY.bytes("<f8", shape: "(2, 3)", version: 2, data: NPY.raw(flat.map { Double($0) }))
        #expect(try vectors(try self.folder.write("d.npy", double)) == expected)
        #expect(try VectorFile.open(self.folder.path + "/h.npy").rows == 2)
    }

    @Test func theSampleIsReadable() throws {
        let reader = try VectorFile.open(projectRoot + "/data/debian-packages/vectors.f16.npy")
        #expect(reader.dimension == 384)
        #expect(reader.rows == 2500)
        let first = try VectorFile.row(0, of: projectRoot + "/data/debian-packages/vectors.f16.npy")
        #expect(abs(first.reduce(0) { $0 + $1 * $1 } - 1) < 0.01)
    }

    @Test(arguments: [
        ("<i4", "(1, 2)", "False", "elements of type '<i4'"),
        (">f4", "(1, 2)", "False", "elements of type '>f4'"),
        ("<f4", "(1, 2)", "True", "Fortran order"),
        ("<f4", "(4,)", "False", "has shape (4,)"),
        ("<f4", "(1, 2, 2)", "False", "has shape (1, 2, 2)"),
        ("<f4", "(1, 0)", "False", "vectors of 0 components"),
        ("<f4", "(1, 20000)", "False", "vectors of 20000 components"),
    ])
    func arraysThatAreNoVectorsAreRefusedByName(
        _ descr: String, _ shape: String, _ fortran: String, _ expected: String
    ) throws {
        let bytes = NPY.bytes(descr, shape: shape, fortran: fortran, data: NPY.raw([Float](repeating: 0, count: 4)))
        let file = try self.folder.write("x.npy", bytes)
        #expect(message { _ = try VectorFile.open(file) }.contains(expected))
    }

    @Test func damagedFilesSayWhatIsWrong() throws {
        let whole = NPY.floats([1, 2, 3, 4], "(2, 2)")
        let cut = try self.folder.write("cut.npy", Array(whole.dropLast(3)))
        #expect(message { _ = try vectors(cut) }.hasSuffix("ends in the middle of vector 1"))
        let short = try self.folder.write("short.npy", Array(whole.dropLast(8)))
        #expect(message { _ = try vectors(short) }.hasSuffix("ends after 1 of 2 vectors"))
        #expect(message { _ = try vectors(try self.folder.write("e.npy", [UInt8]())) }.hasSuffix("is empty"))
        #expect(
            message { _ = try vectors(try self.folder.write("t.npy", "not an array")) }.contains(
                "not a NumPy array file"))
        let infinite = try self.folder.write("inf.npy", NPY.floats([1, 2, .infinity, 4], "(2, 2)"))
        #expect(message { _ = try vectors(infinite) }.hasSuffix("vector 1: component 0 is inf"))
        #expect(
            message { _ = try VectorFile.open(self.folder.path + "/none.npy") }.hasSuffix(
                "cannot be opened: No such file or directory"))
        #expect(message { _ = try VectorFile.open(self.folder.path + "/x.csv") } != "")
    }

    @Test func fvecsAreRead() throws {
        let bytes = NPY.raw([Int32(2)]) + NPY.raw([Float(1), 2]) + NPY.raw([Int32(2)]) + NPY.raw([Float(3), 4])
        let file = try self.folder.write("a.fvecs", bytes)
        #expect(try vectors(file) == [[1, 2], [3, 4]])
        #expect(try VectorFile.open(file).rows == 2)
        #expect(try VectorFile.row(1, of: file) == [3, 4])
        #expect(message { _ = try VectorFile.row(2, of: file) }.hasSuffix("has 2 vectors; there is no row 2"))

        let ragged = NPY.raw([Int32(2)]) + NPY.raw([Float(1), 2]) + NPY.raw([Int32(3)]) + NPY.raw([Float(3), 4, 5])
        #expect(
            message { _ = try vectors(try self.folder.write("r.fvecs", ragged)) }.hasSuffix(
                "vector 1: dimension 3, the first has 2"))
        #expect(
            message { _ = try vectors(try self.folder.write("c.fvecs", Array(bytes.dropLast(2)))) }.hasSuffix(
                "in the middle of vector 1"))
        #expect(
            message { _ = try vectors(try self.folder.write("n.fvecs", NPY.raw([Int32(-1), 0]))) }.contains(
                "dimension -1"))
    }
}

@Suite struct PointFileTests {
    private let folder: TestFolder
    init() throws { self.folder = try TestFolder() }

    private func points(_ text: String) throws -> [FilePoint] {
        let file = PointFile(try ByteSource(path: try self.folder.write("p.jsonl", text)))
        var all: [FilePoint] = []
        while let point = try file.next() { all.append(point) }
        return all
    }

    @Test func everyPartOfAPointIsRead() throws {
        let text = """
            {"id": "a", "vector": [1, 2.5], "payload": {"t": "x\\u00e9", "n": [1, {}]}}\r

            {"payload": null, "vectors": {"title": [0.5], "image": []}, "id": 7}
            """
        let points = try self.points(text)
        #expect(points.map(\.id) == ["a", "7"])
        #expect(points[0].vectors == [FilePoint.NamedVector(name: "", values: [1, 2.5])])
        #expect(points[0].payload == Array(#"{"t": "x\u00e9", "n": [1, {}]}"#.utf8))
        #expect(points[1].payload == nil)
        #expect(points[1].vectors.map(\.name) == ["title", "image"])
    }

    @Test(arguments: [
        (#"{"vector": [1]}"#, "the point has no \"id\""),
        (#"{"id": "a", "vektor": [1]}"#, "member \"vektor\" is not known"),
        (#"{"id": "a", "payload": 3}"#, "\"payload\" is not an object"),
        (#"{"id": "a""#, "line 2:"),
        (#"[1]"#, "line 2:"),
    ])
    func mistakesNameFileAndLine(_ line: String, _ expected: String) throws {
        let text = message { _ = try self.points("{\"id\": \"ok\"}\n" + line + "\n") }
        #expect(text.contains("p.jsonl, line 2: "))
        #expect(text.contains(expected))
    }

    @Test func linesLongerThanTheBufferAreWhole() throws {
        let long = String(repeating: "x", count: 300_000)
        let points = try self.points("{\"id\": \"a\", \"payload\": {\"t\": \"\(long)\"}}\n{\"id\": \"b\"}")
        #expect(points.map(\.id) == ["a", "b"])
        #expect(points[0].payload?.count == 300_009)
    }

    @Test func gzipIsUndoneAlsoInSeveralMembers() throws {
        // printf '{"id": "a"}\n' | gzip -n; the same for "b".
        let first = "H4sIAAAAAAAAA6tWykxRslJQSlSq5QIAuSB6FQwAAAA="
        let second = "H4sIAAAAAAAAA6tWykxRslJQSlKq5QIAV4/PBwwAAAA="
        let bytes = [first, second].flatMap { [UInt8](Data(base64Encoded: $0) ?? Data()) }
        let file = PointFile(try ByteSource(path: try self.folder.write("p.jsonl.gz", bytes)))
        #expect(try file.next()?.id == "a")
        #expect(try file.next()?.id == "b")
        #expect(try file.next() == nil)

        let cut = PointFile(try ByteSource(path: try self.folder.write("cut.gz", Array(bytes.dropLast(9)))))
        #expect(message { while try cut.next() != nil {} }.contains("cut off in the middle of its gzip data"))
        var broken = bytes
        broken[15] ^= 0xFF
        let damaged = PointFile(try ByteSource(path: try self.folder.write("broken.gz", broken)))
        #expect(message { while try damaged.next() != nil {} }.contains("is not valid gzip"))
    }
}

@Suite struct PointSourceTests {
    private let folder: TestFolder
    init() throws { self.folder = try TestFolder() }

    private func all(_ source: PointSource) throws -> [FilePoint] {
        var points: [FilePoint] = []
        while let point = try source.next() { points.append(point) }
        return points
    }

    @Test func pointsTakeTheirVectorsRowByRow() throws {
        let points = try self.folder.write("p.jsonl", "{\"id\": \"a\"}\n{\"id\": \"b\"}\n")
        let vectors = try self.folder.write("v.npy", NPY.floats([1, 2, 3, 4], "(2, 2)"))
        let source = try PointSource(points: points, vectors: vectors, ids: nil, vectorName: "title")
        #expect(source.total == 2)
        #expect(try self.all(source).map { $0.vectors.first?.values } == [[1, 2], [3, 4]])
        #expect(try PointSource(points: points, vectors: nil, ids: nil).total == 2)
    }

    @Test func vectorsTakeIdsFromAFileOrTheirRow() throws {
        let vectors = try self.folder.write("v.npy", NPY.floats([1, 2, 3, 4], "(2, 2)"))
        let ids = try self.folder.write("ids.txt", "x\ny\n")
        #expect(try self.all(try PointSource(points: vectors, vectors: nil, ids: ids)).map(\.id) == ["x", "y"])
        #expect(
            try self.all(try PointSource(points: vectors, vectors: nil, ids: nil, idPrefix: "r")).map(\.id) == [
                "r0", "r1",
            ])
        let source = try PointSource(points: vectors, vectors: nil, ids: nil)
        try source.skip(1)
        #expect(try self.all(source).map(\.id) == ["1"])
    }

    @Test func filesOfDifferentLengthAreAnError() throws {
        let vectors = try self.folder.write("v.npy", NPY.floats([1, 2, 3, 4], "(2, 2)"))
        let one = try self.folder.write("1.jsonl", "{\"id\": \"a\"}\n")
        let three = try self.folder.write("3.jsonl", "{\"id\": \"a\"}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n")
        #expect(
            message { _ = try self.all(try PointSource(points: one, vectors: vectors, ids: nil)) }.contains(
                "more vectors than the 1 point"))
        #expect(
            message { _ = try self.all(try PointSource(points: three, vectors: vectors, ids: nil)) }.contains(
                "has 2 vectors, but there are more points"))
        #expect(
            message { _ = try PointSource(points: vectors, vectors: vectors, ids: nil) }.contains(
                "holds vectors already"))
        #expect(
            message { _ = try PointSource(points: one, vectors: nil, ids: one) }.contains(
                "--ids goes with a file of vectors"))
    }
}

@Suite struct TextQueryTests {
    @Test func aTextIsFoundByItselfOrByAPartOfIt() throws {
        let queries = try TextQueries(path: projectRoot + "/data/debian-packages/text-queries.json")
        #expect(queries.queries.count == 30)
        #expect(try queries.find("Play music from the TERMINAL").text == "play music from the terminal")
        #expect(try queries.find("sudoku").vector.count == 384)
        #expect(message { _ = try queries.find("a") }.contains("a text needs a model"))
        #expect(message { _ = try queries.find("weather") }.contains("    manage passwords"))
    }
}
