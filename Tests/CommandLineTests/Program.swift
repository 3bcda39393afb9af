import Foundation
import vecraft

/// The program itself, as a shell would run it.
enum Program {
    struct Outcome: Sendable {
        var status: Int32
        var output: String
        var errors: String
    }

    /// Beside the test bundle: one build makes both.
    static let path = ProgramFile.path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/vecraft"

    static func run(
        _ arguments: [String], node: FakeNode? = nil, environment: [String: String] = [:], input: String = ""
    ) async throws -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.path)
        process.arguments = arguments
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("VECRAFT_") }
        if let node { variables["VECRAFT_ADDRESS"] = node.address.description }
        process.environment = variables.merging(environment) { $1 }
        let (output, errors, standardInput) = (Pipe(), Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = standardInput
        // Set before it runs, so that an end at once is not missed. What a test's commands write fits into a pipe.
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do {
                try process.run()
                standardInput.fileHandleForWriting.write(Data(input.utf8))
                try? standardInput.fileHandleForWriting.close()
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        func text(_ pipe: Pipe) -> String {
            String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        }
        return Outcome(status: status, output: text(output), errors: text(errors))
    }
}
