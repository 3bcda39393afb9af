import Foundation

package struct CommandFailure: Error, CustomStringConvertible {
    package let description: String
    package init(description: String) { self.description = description }
}

/// Runs a small program of the system, or one by its path, to its end and returns what it printed. Blocks: call it off the pool.
@discardableResult
package func runCommand(_ program: String, _ arguments: String...) throws -> String {
    guard
        let path = (program.contains("/") ? program : findProgram(program))
            ?? ["/usr/sbin/", "/sbin/"].map({ $0 + program }).first(where: FileManager.default.isExecutableFile)
    else {
        throw CommandFailure(description: "there is no \(program)")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    // No pipe: other processes, started at the same moment, may inherit it, and it ends when they do.
    let folder = try TemporaryDirectory()
    let file = folder.file("output")
    _ = FileManager.default.createFile(atPath: file, contents: nil)
    guard let output = FileHandle(forWritingAtPath: file) else {
        throw CommandFailure(description: "cannot write \(file)")
    }
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let status = process.awaitEnd()
    try output.close()
    let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: file)), as: UTF8.self)
    guard status == 0 else {
        throw CommandFailure(
            description: "\(program) \(arguments.joined(separator: " ")): status \(status), \(text)")
    }
    return text
}
