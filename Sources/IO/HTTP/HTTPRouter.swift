/// Finds the route of a path. Built once; a value without locks.
///
/// A literal segment wins over a parameter with a colon verb, which wins over a parameter; where the winner leads
/// nowhere the others are tried. Segments are cut from the path as it came, before percent-decoding, so an encoded `/`
/// or `:` belongs to its value.
struct HTTPRouter: Sendable {
    enum Match: Sendable {
        case found(HTTPRoute, parameters: [String: String])
        /// The path is known, the method is not; these are.
        case otherMethods([HTTPVerb])
        case unknown
    }

    private struct Node: Sendable {
        var literals: [String: Node] = [:]
        /// By the text behind the colon.
        var verbs: [String: Node] = [:]
        var parameter: [Node] = []
        /// With the names of the parameters on the way here, which may differ from route to route.
        var routes: [HTTPVerb: (route: HTTPRoute, names: [String])] = [:]
    }
    private var root = Node()

    /// Traps on two routes of one method and shape, and on a malformed pattern: both are our bugs.
    init(_ routes: [HTTPRoute]) {
        for route in routes {
            precondition(route.pattern.hasPrefix("/"), "pattern \(route.pattern) does not begin with /")
            Self.insert(route, Self.segments(route.pattern)[...], names: [], into: &self.root)
        }
    }

    func match(_ verb: HTTPVerb?, path: some StringProtocol) -> Match {
        guard path.hasPrefix("/") else { return .unknown }
        var values: [Substring] = []
        var others: Set<HTTPVerb> = []
        let segments = Self.segments(path)
        if let found = Self.find(verb, segments[...], in: self.root, &values, &others) {
            var parameters: [String: String] = [:]
            for (name, value) in zip(found.names, values) {
                guard let decoded = PercentCoding.decode(value, plusIsSpace: false), !decoded.isEmpty else {
                    return .unknown
                }
                parameters[name] = decoded
            }
            return .found(found.route, parameters: parameters)
        }
        return others.isEmpty ? .unknown : .otherMethods(others.sorted { $0.rawValue < $1.rawValue })
    }

    private static func segments(_ path: some StringProtocol) -> [Substring] {
        Substring(path).dropFirst().split(separator: "/", omittingEmptySubsequences: false)
    }

    private static func insert(
        _ route: HTTPRoute, _ rest: ArraySlice<Substring>, names: [String], into node: inout Node
    ) {
        guard let segment = rest.first else {
            precondition(node.routes[route.verb] == nil, "two routes for \(route.verb.rawValue) \(route.pattern)")
            node.routes[route.verb] = (route, names)
            return
        }
        guard segment.hasPrefix("{") else {
            Self.insert(route, rest.dropFirst(), names: names, into: &node.literals[String(segment), default: Node()])
            return
        }
        guard let close = segment.firstIndex(of: "}") else {
            preconditionFailure("unclosed parameter in \(route.pattern)")
        }
        let name = String(segment[segment.index(after: segment.startIndex)..<close])
        precondition(!name.isEmpty && !names.contains(name), "parameter names of \(route.pattern)")
        let tail = segment[segment.index(after: close)...]
        if tail.isEmpty {
            if node.parameter.isEmpty { node.parameter = [Node()] }
            Self.insert(route, rest.dropFirst(), names: names + [name], into: &node.parameter[0])
        } else {
            precondition(tail.hasPrefix(":") && tail.count > 1, "text behind a parameter in \(route.pattern)")
            Self.insert(
                route, rest.dropFirst(), names: names + [name],
                into: &node.verbs[String(tail.dropFirst()), default: Node()])
        }
    }

    private static func find(
        _ verb: HTTPVerb?, _ rest: ArraySlice<Substring>, in node: Node, _ values: inout [Substring],
        _ others: inout Set<HTTPVerb>
    ) -> (route: HTTPRoute, names: [String])? {
        guard let segment = rest.first else {
            if let verb, let found = node.routes[verb] { return found }
            others.formUnion(node.routes.keys)
            return nil
        }
        if let next = node.literals[String(segment)] {
            if let found = Self.find(verb, rest.dropFirst(), in: next, &values, &others) { return found }
        }
        if let colon = segment.lastIndex(of: ":"),
            let next = node.verbs[String(segment[segment.index(after: colon)...])]
        {
            values.append(segment[..<colon])
            if let found = Self.find(verb, rest.dropFirst(), in: next, &values, &others) { return found }
            values.removeLast()
        }
        if let next = node.parameter.first {
            values.append(segment)
            if let found = Self.find(verb, rest.dropFirst(), in: next, &values, &others) { return found }
            values.removeLast()
        }
        return nil
    }
}

/// Percent-encoding (RFC 3986, section 2.1).
package enum PercentCoding {
    /// Nil on a malformed escape or on what is not UTF-8.
    package static func decode(_ text: some StringProtocol, plusIsSpace: Bool) -> String? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var rest = text.utf8.makeIterator()
        while let byte = rest.next() {
            switch byte {
            case 0x25:
                guard let high = rest.next().flatMap(Self.digit), let low = rest.next().flatMap(Self.digit) else {
                    return nil
                }
                bytes.append(high << 4 | low)
            case 0x2b where plusIsSpace: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Encodes all but unreserved characters, so the result is one path segment or query value.
    package static func encode(_ text: String) -> String {
        var encoded = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e:
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += byte < 16 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return encoded
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
