package import ArgumentParser
internal import Primitives

package struct VersionCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Say which release this is.")

    @OptionGroup package var format: OutputOptions

    package init() {}

    package func run() throws {
        self.format.write(["version": .string(Build.version), "revision": .string(Build.revision)]) { _ in
            Build.description + "\n"
        }
    }
}
