import Primitives
import Testing

@Suite struct JSONWriterTests {
    @Test func writesCompactJSON() {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("a")
        writer.beginArray()
        writer.integer(-1)
        writer.unsigned(.max)
        writer.double(0.1)
        writer.float(0.1)
        writer.bool(true)
        writer.null()
        writer.beginArray()
        writer.endArray()
        writer.endArray()
        writer.key("b")
        writer.beginObject()
        writer.endObject()
        writer.key("c")
        Array("{\"x\":1}".utf8).withUnsafeBytes { writer.raw($0) }
        writer.endObject()
        #expect(writer.text == #"{"a":[-1,18446744073709551615,0.1,0.1,true,null,[]],"b":{},"c":{"x":1}}"#)
        writer.removeAll()
        writer.string("again")
        #expect(writer.text == "\"again\"")
    }

    @Test func escapesWhatMustBe() {
        var writer = JSONWriter()
        writer.string("\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}é𝄞")
        #expect(writer.text == #""\"\\/\b\f\n\r\t\u0001\u001f"# + "\u{7f}é𝄞\"")
    }

    @Test func numbersReadBackTheSame() throws {
        var rng = SeededRNG(seed: 5)
        for _ in 0..<5_000 {
            let double = Double(bitPattern: rng.next())
            var writer = JSONWriter()
            writer.double(double)
            if double.isFinite {
                let back = try JSONValue(parsing: writer.bytes).doubleValue
                if back?.bitPattern != double.bitPattern { Issue.record("\(double) came back as \(String(describing: back))") }
            } else {
                #expect(writer.text == "null")
            }
        }
    }
}
