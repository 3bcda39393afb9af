internal import GRPC
internal import NIOCore
internal import Primitives
internal import Wire

/// gRPC server reflection. v1 and v1alpha have the same messages on the wire, so one implementation speaks for both.
enum Reflection {
    static let method = GRPCMethod.bidirectional { (call) throws(VecraftError) in
        try await rethrowing {
            for try await message in call.requests {
                let request = try message.withUnsafeReadableBytes { raw in
                    try GRPCReflectionV1.ServerReflectionRequest.decode(raw)
                }
                try await call.send(Self.answer(request).encode())
            }
        }
    }

    static func answer(
        _ request: GRPCReflectionV1.ServerReflectionRequest
    ) -> GRPCReflectionV1.ServerReflectionResponse {
        var response = GRPCReflectionV1.ServerReflectionResponse(validHost: request.host, originalRequest: request)
        switch request.messageRequest {
        case .listServices:
            response.messageResponse = .listServicesResponse(
                .init(service: ServiceDescriptors.all.map { .init(name: $0.name) }))
        case .fileByFilename(let name):
            response.messageResponse = self.files(FileDescriptors.file(named: name), missing: "file \(name)")
        case .fileContainingSymbol(let symbol):
            response.messageResponse = self.files(
                FileDescriptors.file(containing: symbol), missing: "symbol \(symbol)")
        case .fileContainingExtension, .allExtensionNumbersOfType:
            response.messageResponse = self.error(.notFound, "there are no extensions here")
        case nil:
            response.messageResponse = self.error(.invalidArgument, "message_request must be given")
        }
        return response
    }

    /// The file and all it imports, so that a client need not ask again.
    private static func files(
        _ file: Wire.FileDescriptor?, missing: String
    ) -> GRPCReflectionV1.ServerReflectionResponse.MessageResponse {
        guard let file else { return self.error(.notFound, "there is no \(missing.prefix(200))") }
        var names: [String] = []
        var queue = [file]
        var bytes: [[UInt8]] = []
        while let next = queue.popLast() {
            if names.contains(next.name) { continue }
            names.append(next.name)
            bytes.append([UInt8](next.serialized))
            queue.append(contentsOf: next.dependencies.compactMap { FileDescriptors.file(named: $0) })
        }
        return .fileDescriptorResponse(.init(fileDescriptorProto: bytes))
    }

    private static func error(
        _ code: VecraftError.Code, _ message: String
    ) -> GRPCReflectionV1.ServerReflectionResponse.MessageResponse {
        .errorResponse(.init(errorCode: Int32(code.rawValue), errorMessage: message))
    }
}
