import CWire

/// One .proto file, as gRPC reflection serves it.
package struct FileDescriptor: Sendable {
    private let index: Int
    package let package: String
    package let dependencies: [String]
    /// Full names of its messages, enums, services and methods.
    package let symbols: [String]

    init(index: Int, package: String, dependencies: [String], symbols: [String]) {
        self.index = index
        self.package = package
        self.dependencies = dependencies
        self.symbols = symbols
    }

    /// "vecraft/v1/points.proto"
    package var name: String { String(cString: wire_file_at(self.index).pointee.name) }
    /// A serialized google.protobuf.FileDescriptorProto, without comments. Constant memory.
    package var serialized: UnsafeRawBufferPointer {
        let file = wire_file_at(self.index).pointee
        return UnsafeRawBufferPointer(start: file.bytes, count: file.size)
    }
}

package enum FileDescriptors {
    package static func file(named name: String) -> FileDescriptor? { self.all.first { $0.name == name } }
    /// - Parameter symbol: "vecraft.v1.Points", "vecraft.v1.SearchRequest", "vecraft.v1.Points.Search", ...
    package static func file(containing symbol: String) -> FileDescriptor? {
        self.all.first { $0.symbols.contains(symbol) }
    }
}

package struct MethodDescriptor: Sendable, Hashable {
    /// "vecraft.v1.Points"
    package let service: String
    package let name: String
    /// Full name of the request's message.
    package let request: String
    package let response: String
    package let clientStreaming: Bool
    package let serverStreaming: Bool
    /// "/vecraft.v1.Points/Search"
    package let path: String

    init(service: String, name: String, request: String, response: String, clientStreaming: Bool, serverStreaming: Bool)
    {
        self.service = service
        self.name = name
        self.request = request
        self.response = response
        self.clientStreaming = clientStreaming
        self.serverStreaming = serverStreaming
        self.path = "/\(service)/\(name)"
    }
}

package struct ServiceDescriptor: Sendable, Hashable {
    /// "vecraft.v1.Points"
    package let name: String
    /// The .proto file it stands in.
    package let file: String
    package let methods: [MethodDescriptor]
}

package enum ServiceDescriptors {
    package static func method(path: String) -> MethodDescriptor? {
        for service in self.all {
            for method in service.methods where method.path == path { return method }
        }
        return nil
    }
}
