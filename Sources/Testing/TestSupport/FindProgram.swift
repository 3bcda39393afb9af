import Foundation

/// Where a program is: on the PATH, or among the tools unpacked under the build folder of the working directory.
package func findProgram(_ name: String) -> String? {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        + [FileManager.default.currentDirectoryPath + "/.build/tools/bin"]
    return folders.map { $0 + "/" + name }.first { FileManager.default.isExecutableFile(atPath: $0) }
}
