import Primitives

/// A scalar found in a payload, in place.
enum PayloadScalar {
    case string(JSONString)
    case number(JSONNumber)
    case bool(Bool)
}

/// Finds payload fields in raw JSON without building anything. Payloads were validated when they were accepted; damaged
/// text yields what can be read of it.
enum PayloadScalars {
    /// Deeper containers than this are not followed: more than any payload accepted has.
    static let deepest = 64

    /// Calls `body` for each scalar at the skimmer's value, arrays flattened, until it returns false.
    ///
    /// - Returns: Whether the value is there in the sense of `isNull`: not null and not an empty array.
    @inline(__always)
    @discardableResult
    static func forEach(_ skimmer: inout JSONSkimmer, _ body: (PayloadScalar) -> Bool) -> Bool {
        let first = skimmer.peek()
        if first != UInt8(ascii: "[") {
            if first == UInt8(ascii: "n") || first == 0 { return false }
            _ = Self.scalar(&skimmer, first, body)
            return true
        }
        var depth = 0
        var isEmptyArray = true
        repeat {
            let byte = skimmer.peek()
            switch byte {
            case UInt8(ascii: "["):
                isEmptyArray = isEmptyArray && depth == 0
                _ = skimmer.enter(byte)
                depth &+= 1
            case UInt8(ascii: "]"):
                _ = skimmer.enter(byte)
                depth &-= 1
            case UInt8(ascii: ","):
                _ = skimmer.enter(byte)
            case 0:
                return !isEmptyArray
            default:
                isEmptyArray = false
                if !Self.scalar(&skimmer, byte, body) { return true }
            }
        } while depth > 0
        return !isEmptyArray
    }

    @inline(__always)
    private static func scalar(_ skimmer: inout JSONSkimmer, _ byte: UInt8, _ body: (PayloadScalar) -> Bool) -> Bool {
        switch byte {
        case 0x22:
            return body(.string(skimmer.readString()))
        case UInt8(ascii: "-"), 0x30...0x39:
            return body(.number(skimmer.readNumber()))
        case UInt8(ascii: "t"), UInt8(ascii: "f"):
            skimmer.skipValue()
            return body(.bool(byte == UInt8(ascii: "t")))
        default:  // null, or an object: no scalar
            skimmer.skipValue()
            return true
        }
    }

    /// Calls `body` for each value at the end of `path`, arrays on the way flattened, until it returns false.
    @inline(__always)
    static func forEachNode(
        _ payload: UnsafeRawBufferPointer?, at path: FlatKeys, _ body: (inout JSONSkimmer) -> Bool
    ) {
        guard let payload else { return }
        var end = JSONSkimmer(payload)
        // Most paths are of one key, most values no arrays: found without recursion.
        var component = 0
        while component < path.count {
            if end.peek() == UInt8(ascii: "[") {
                _ = Self.elements(end, path, component, 1, body)
                return
            }
            guard Self.member(&end, path[component]) else { return }
            component &+= 1
        }
        _ = body(&end)
    }

    /// Steps to the value of a key; of equal keys the last one counts, so the whole object is looked at.
    private static func member(_ skimmer: inout JSONSkimmer, _ wanted: UnsafeRawBufferPointer) -> Bool {
        guard skimmer.enter(UInt8(ascii: "{")) else { return false }
        var found = -1
        while let key = skimmer.nextKey() {
            if key.equals(wanted) { found = skimmer.position }
            skimmer.skipValue()
        }
        if found < 0 { return false }
        skimmer = JSONSkimmer(skimmer.raw, at: found)
        return true
    }

    /// The rest of the path, from each element of the array that comes next.
    private static func elements(
        _ start: JSONSkimmer, _ path: FlatKeys, _ component: Int, _ depth: Int, _ body: (inout JSONSkimmer) -> Bool
    ) -> Bool {
        if depth >= Self.deepest { return true }
        var array = start
        _ = array.enter(UInt8(ascii: "["))
        while array.nextElement() {
            var element = array
            var next = component
            var isThere = true
            while isThere, next < path.count, element.peek() != UInt8(ascii: "[") {
                isThere = Self.member(&element, path[next])
                next &+= 1
            }
            if isThere {
                let goesOn = next == path.count ? body(&element) : Self.elements(element, path, next, depth + 1, body)
                if !goesOn { return false }
            }
            array.skipValue()
        }
        return true
    }
}
