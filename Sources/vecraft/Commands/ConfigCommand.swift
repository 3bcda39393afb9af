package import ArgumentParser
internal import ServiceHost

package struct ConfigCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Show or check how a node would be configured.",
        discussion: """
            Settings come from a YAML file, then from the environment (VECRAFT_SECTION__KEY), then from flags; the last
            to say something wins. A setting that does not exist is an error.
            """,
        subcommands: [ConfigPrintCommand.self, ConfigCheckCommand.self])

    package init() {}
}

package struct ConfigPrintCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "print", abstract: "Print all settings, as a configuration file, and where each comes from.")

    @OptionGroup package var settings: SettingsOptions

    @Flag(help: "Also what each setting means, and may be.")
    package var documented = false

    package init() {}

    package func run() throws {
        Console.print(try self.settings.load().yaml(documented: self.documented), terminator: "")
    }
}

package struct ConfigCheckCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say whether a node could start with these settings.",
        discussion: "Ends with status 2, and a line for each mistake, if it could not.")

    @OptionGroup package var settings: SettingsOptions

    package init() {}

    package func run() throws {
        _ = try self.settings.load()
        Console.print("The configuration is valid.")
    }
}
