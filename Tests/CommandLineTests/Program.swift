import Foundation
import TestSupport
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
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("VECRAFT_") }
        if let node { variables["VECRAFT_ADDRESS"] = node.address.description }
        let outcome = try await PythonEnvironment.run(
            Self.path, arguments, wholeEnvironment: variables.merging(environment) { $1 }, input: input,
            limit: .seconds(600))
        return Outcome(status: outcome.status, output: outcome.output, errors: outcome.errors)
    }
}
