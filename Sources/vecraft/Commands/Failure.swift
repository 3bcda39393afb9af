internal import ArgumentParser
package import Primitives

/// Says on standard error what went wrong, and decides the exit status.
package enum Failure {
    package static func report(_ error: any Error, wantsJSON: Bool) -> ExitStatus {
        switch error {
        case let quiet as QuietExit:
            return quiet.status
        case let error as VecraftError:
            Console.error(wantsJSON ? PrettyJSON.text(Self.json(error)) : Self.text(error, Terminal.errors.style))
            return ExitStatus(error.code)
        default:
            return Self.reportParser(error)
        }
    }

    /// Help, the version, and mistakes on the command line come from the parser as errors too.
    private static func reportParser(_ error: any Error) -> ExitStatus {
        let code = Vecraft.exitCode(for: error)
        let message = Vecraft.fullMessage(for: error)
        if code == .success {
            Console.print(message)
            return .success
        }
        if !message.isEmpty { Console.error(message) }
        return code == .validationFailure ? .usage : .failure
    }

    package static func text(_ error: VecraftError, _ style: Style) -> String {
        var text =
            style.red("Error:") + " "
            + error.message.split(separator: "\n").map { TextWidth.printable(String($0)) }.joined(separator: "\n")
        if let retry = error.retryAfter { text += " Try again in \(Figures.duration(retry))." }
        let notes = [error.code.name, error.reason].compactMap { $0 }.joined(separator: ", ")
        return text + style.dim(" [\(notes)]")
    }

    package static func json(_ error: VecraftError) -> JSONValue {
        var members = [JSONMember("code", .string(error.code.name)), JSONMember("message", .string(error.message))]
        if let field = error.field { members.append(JSONMember("field", .string(field))) }
        if let reason = error.reason { members.append(JSONMember("reason", .string(reason))) }
        if let retry = error.retryAfter {
            members.append(JSONMember("retry_after_ms", .integer(Int64(retry.seconds * 1000))))
        }
        return .object([JSONMember("error", .object(members))])
    }

    /// Errors come before or after parsing, so this looks at the words themselves.
    package static func wantsJSON(_ arguments: [String]) -> Bool {
        zip(arguments, arguments.dropFirst()).contains { ($0 == "--output" || $0 == "-o") && $1 == "json" }
            || arguments.contains("--output=json") || arguments.contains("-o=json")
    }
}
