internal import Primitives
internal import Wire

extension WireMessage {
    /// The message as the API's JSON, every field present: programs need not know the defaults.
    func tree() throws(VecraftError) -> JSONValue { try JSONValue(parsing: self.json(includingDefaults: true)) }
}
