"""Writes the Swift side: a value, a view and a builder for each message."""
from generator.descriptors import BOOL, BYTES, ENUM, FOREIGN, MESSAGE, NAMESPACES, NOTICE, STRING, TYPES, camel, fail, number, text

SWIFT_KEYWORDS = {"internal", "in", "is", "as", "default", "self", "init", "case", "for", "repeat", "where", "operator", "any", "some", "import", "return"}


def quoted(name):
    return f"`{name}`" if name in SWIFT_KEYWORDS else name


def upper_first(name):
    return name[0].upper() + name[1:]


def doc(comment, indent):
    lines = comment.strip().split("\n") if comment.strip() else []
    return [f"{indent}///{(' ' + line.strip()) if line.strip() else ''}" for line in lines]


def swift_type(target):
    """Nested name inside the namespace: `BadRequest.FieldViolation`, behind the namespace."""
    package = next(p for p in sorted(NAMESPACES, key=len, reverse=True) if target.full.startswith(p + "."))
    return NAMESPACES[package] + target.full[len(package):]


class Accessors:
    """The five lines that one field needs in Swift."""

    def __init__(self, f, siblings=None):
        self.f, self.at = f, f.offset
        kind = TYPES[f.type][1]
        of = swift_type(f.target) if f.target else kind
        self.view_set = None
        if f.is_map:
            key, value = f.target.fields
            self.of = swift_type(value.target) if value.target else TYPES[value.type][1]
            if key.type != STRING:
                fail(f"{f.name}: map keys are strings here")
            entry = swift_type(f.target)
            self.owned, self.default = f"[String: {self.of}]", "[:]"
            self.view, self.read = f"RepeatedView<{entry}.View>", f"self.base.repeated({f.offset}, {f.quantifier})"
            self.slot, self.slot_make = f"RepeatedSlot<{entry}.Builder>", f"RepeatedSlot(self.base, {f.offset}, {f.quantifier})"
            item = "$0.value.map(%s.init) ?? %s()" % (self.of, self.of) if value.type == MESSAGE else (
                "$0.value.string" if value.type == STRING else "$0.value")
            self.load = f"view.{f.swift}.dictionary {{ {item} }}"
            put = {MESSAGE: "v.build($0.value.make())", STRING: "$0.value.set(v)"}.get(value.type, "$0.value = v")
            self.store = [f"out.{f.swift}.set(self.{f.swift}) {{ $0.key.set($1); let v = $2; {put} }}"]
        elif f.repeated:
            self.default = "[]"
            if f.type == MESSAGE:
                self.owned, self.view, self.slot = f"[{of}]", f"RepeatedView<{of}.View>", f"RepeatedSlot<{of}.Builder>"
                self.read = f"self.base.repeated({f.offset}, {f.quantifier})"
                self.slot_make = f"RepeatedSlot(self.base, {f.offset}, {f.quantifier})"
                self.load = f"view.{f.swift}.map({of}.init)"
            elif f.type == STRING:
                self.owned, self.view, self.slot = "[String]", "RepeatedText", "RepeatedTextSlot"
                self.read, self.slot_make = f"self.base.texts({f.offset}, {f.quantifier})", f"RepeatedTextSlot(self.base, {f.offset}, {f.quantifier})"
                self.load = f"view.{f.swift}.map(\\.string)"
            elif f.type == BYTES:
                self.owned, self.view, self.slot = "[[UInt8]]", "RepeatedBytes", "RepeatedBytesSlot"
                self.read, self.slot_make = f"self.base.blobs({f.offset}, {f.quantifier})", f"RepeatedBytesSlot(self.base, {f.offset}, {f.quantifier})"
                self.load = f"view.{f.swift}.map {{ [UInt8]($0) }}"
            else:
                self.owned, self.view, self.slot = f"[{kind}]", f"UnsafeBufferPointer<{kind}>", f"ScalarsSlot<{kind}>"
                self.read, self.slot_make = f"self.base.scalars({f.offset}, {f.quantifier})", f"ScalarsSlot(self.base, {f.offset}, {f.quantifier})"
                self.load = f"[{kind}](view.{f.swift})"
            self.store = [f"out.{f.swift}.set(self.{f.swift})"]
        elif f.type == MESSAGE:
            self.owned, self.default, self.view, self.slot = f"{of}?", "nil", f"{of}.View?", f"MessageSlot<{of}.Builder>"
            self.read, self.slot_make = f"self.base.message({f.offset})", f"MessageSlot(self.base, {f.offset})"
            self.load = f"view.{f.swift}.map({of}.init)"
            self.store = [f"if let v = self.{f.swift} {{ v.build(out.{f.swift}.make()) }}"]
        elif f.type in (STRING, BYTES):
            string = f.type == STRING
            self.owned, self.default = kind, '""' if string else "[]"
            self.view, self.slot = ("TextView", "TextSlot") if string else ("UnsafeRawBufferPointer", "BytesSlot")
            self.read = f"self.base.{'text' if string else 'bytes'}({f.offset})"
            self.slot_make = f"{self.slot}(self.base, {f.offset})"
            self.load = f"view.{f.swift}.string" if string else f"[UInt8](view.{f.swift})"
            self.store = [f"out.{f.swift}.set(self.{f.swift})"]
        else:
            self.owned = self.view = self.slot = of
            self.default = {BOOL: "false", ENUM: f"{of}(rawValue: 0)"}.get(f.type, "0")
            self.load, self.store = f"view.{f.swift}", [f"out.{f.swift} = self.{f.swift}"]
            if f.type == BOOL:
                self.read, self.view_set = f"self.base.flag({f.offset})", f"self.base.storeFlag(newValue, {f.offset})"
            elif f.type == ENUM:
                self.read = f"{of}(rawValue: self.base.load({f.offset}))"
                self.view_set = f"self.base.store(newValue.rawValue, {f.offset})"
            else:
                self.read, self.view_set = f"self.base.load({f.offset})", f"self.base.store(newValue, {f.offset})"


def swift_enum(e, indent):
    out = doc(e.comment, indent)
    out.append(f"{indent}package struct {e.name}: WireEnum {{")
    out += [f"{indent}    package var rawValue: Int32", f"{indent}    @inlinable package init(rawValue: Int32) {{ self.rawValue = rawValue }}"]
    for name, value, comment in e.values:
        out += doc(comment, indent + "    ")
        out.append(f"{indent}    @inlinable package static var {quoted(camel(name[e.prefix:]))}: Self {{ Self(rawValue: {value}) }}")
    out.append(f"{indent}    package static var schema: EnumSchema {{ EnumSchema(index: {e.index}) }}")
    return out + [indent + "}"]


def swift_message(m, indent=""):
    inner = indent + "    "
    name = swift_type(m)
    plain = [Accessors(f) for f in m.fields if f.oneof is None]
    unions = [(o, upper_first(camel(o)), case, [Accessors(f) for f in m.fields if f.oneof == i])
              for i, (o, case) in enumerate(zip(m.oneofs, m.cases))]
    out = [] if m.is_map_entry else doc(m.comment, indent)
    stored = [(a.f.swift, a.owned, a.default, a.f.comment) for a in plain]
    stored += [(camel(o), f"{union}?", "nil", "") for o, union, _, _ in unions]
    if m.is_map_entry:  # only a view and a builder: the owned form is a dictionary
        out.append(f"{indent}package enum {m.name} {{")
        out.append(f"{inner}package static var schema: MessageSchema {{ MessageSchema(index: {m.index}) }}")
    else:
        out.append(f"{indent}package struct {m.name}: WireMessage {{")
        for n, kind, default, comment in stored:
            out += doc(comment, inner)
            out.append(f"{inner}package var {quoted(n)}: {kind}")
        arguments = ", ".join(f"{n}: {kind} = {default}" for n, kind, default, _ in stored)
        out.append(f"{inner}package init({arguments}) {{")
        out += [f"{inner}    self.{n} = {n}" for n, _, _, _ in stored]
        out += [inner + "}", f"{inner}package static var schema: MessageSchema {{ MessageSchema(index: {m.index}) }}"]
    for nested in m.enums:
        out += swift_enum(nested, inner)
    for o, union, _, members in unions:
        out.append(f"{inner}package enum {union}: Sendable, Equatable {{")
        for a in members:
            out += doc(a.f.comment, inner + "    ")
            out.append(f"{inner}    case {quoted(a.f.swift)}({a.owned.rstrip('?')})")
        out.append(inner + "}")
    if not m.is_map_entry:
        out.append(f"{inner}package init(_ view: View) {{")
        out += [f"{inner}    self.{a.f.swift} = {a.load}" for a in plain]
        for o, union, _, members in unions:
            out.append(f"{inner}    switch view.{camel(o)} {{")
            for a in members:
                value = {MESSAGE: f"{a.owned.rstrip('?')}(v)", STRING: "v.string", BYTES: "[UInt8](v)"}.get(a.f.type, "v")
                out.append(f"{inner}    case .{a.f.swift}(let v): self.{camel(o)} = .{a.f.swift}({value})")
            out += [f"{inner}    case nil: self.{camel(o)} = nil", inner + "    }"]
        out.append(inner + "}")
        out.append(f"{inner}package func build(_ out: Builder) {{")
        out += [f"{inner}    {line}" for a in plain for line in a.store]
        for o, union, _, members in unions:
            out.append(f"{inner}    switch self.{camel(o)} {{")
            for a in members:
                put = {MESSAGE: f"v.build(out.{a.f.swift}.make())", STRING: f"out.{a.f.swift}.set(v)", BYTES: f"out.{a.f.swift}.set(v)"}.get(
                    a.f.type, f"out.{a.f.swift} = v")
                out.append(f"{inner}    case .{a.f.swift}(let v): {put}")
            out += [f"{inner}    case nil: break", inner + "    }"]
        out.append(inner + "}")
    out += swift_view(m, name, plain, unions, inner) + swift_builder(m, name, plain, unions, inner)
    for nested in m.messages:
        out += swift_message(nested, inner)
    return out + [indent + "}"]


def swift_view(m, name, plain, unions, inner):
    out = [f"{inner}package struct View: {'MapEntryView' if m.is_map_entry else 'WireView'} {{", f"{inner}    package let base: MessagePointer",
           f"{inner}    @inlinable package init(base: MessagePointer) {{ self.base = base }}",
           f"{inner}    package static var schema: MessageSchema {{ {name}.schema }}"]
    for a in plain:
        out.append(f"{inner}    @inlinable package var {quoted(a.f.swift)}: {a.view} {{ {a.read} }}")
    for o, union, case, members in unions:
        out.append(f"{inner}    package enum {union} {{")
        out += [f"{inner}        case {quoted(a.f.swift)}({a.view.rstrip('?')})" for a in members]
        out += [inner + "    }", f"{inner}    @inlinable package var {camel(o)}: {union}? {{", f"{inner}        switch self.base.oneofCase({case}) {{"]
        for a in members:
            read = f"self.base.present({a.at})" if a.f.type == MESSAGE else a.read
            out.append(f"{inner}        case {a.f.number}: .{a.f.swift}({read})")
        out += [f"{inner}        default: nil", inner + "        }", inner + "    }"]
    return out + [inner + "}"]


def swift_builder(m, name, plain, unions, inner):
    out = [f"{inner}package struct Builder: WireBuilder {{", f"{inner}    package let base: BuilderPointer",
           f"{inner}    package typealias View = {name}.View",
           f"{inner}    @inlinable package init(base: BuilderPointer) {{ self.base = base }}",
           f"{inner}    package static var schema: MessageSchema {{ {name}.schema }}"]
    for a in plain:
        if a.view_set:
            out.append(f"{inner}    @inlinable package var {quoted(a.f.swift)}: {a.slot} {{ get {{ {a.read} }} nonmutating set {{ {a.view_set} }} }}")
        else:
            out.append(f"{inner}    @inlinable package var {quoted(a.f.swift)}: {a.slot} {{ {a.slot_make} }}")
    for _, _, case, members in unions:
        for a in members:
            choose = f"self.base.choose({a.f.number}, {case})"
            if a.view_set:
                out.append(f"{inner}    @inlinable package var {quoted(a.f.swift)}: {a.slot} {{ get {{ {a.read} }} nonmutating set {{ {choose}; {a.view_set} }} }}")
            else:
                out.append(f"{inner}    @inlinable package var {quoted(a.f.swift)}: {a.slot} {{ {choose}; return {a.slot_make} }}")
    return out + [inner + "}"]


def swift_file(f):
    namespace = NAMESPACES[f.package]
    out = [f"// {NOTICE}. Source: {f.name}.", "", f"extension {namespace} {{"]
    for e in f.enums:
        out += swift_enum(e, "    ")
    for m in f.messages:
        out += swift_message(m, "    ")
    for service, comment, methods in f.services:
        full = f"{f.package}.{service}"
        out += doc(comment, "    ")
        out.append(f"    package enum {service} {{")
        out.append(f'        package static let serviceName = "{full}"')
        for m, method_comment in methods:
            out += doc(method_comment, "        ")
            out.append(
                f'        package static let {quoted(camel_method(text(m, 1)))} = MethodDescriptor(service: "{full}", name: "{text(m, 1)}", '
                f'request: "{text(m, 2).lstrip(".")}", response: "{text(m, 3).lstrip(".")}", '
                f"clientStreaming: {'true' if number(m, 5) else 'false'}, serverStreaming: {'true' if number(m, 6) else 'false'})")
        names = ", ".join("Self." + quoted(camel_method(text(m, 1))) for m, _ in methods)
        out += [f'        package static let descriptor = ServiceDescriptor(name: serviceName, file: "{f.name}", methods: [{names}])', "    }"]
    return "\n".join(out + ["}"]) + "\n"


def camel_method(name):
    return name[0].lower() + name[1:]


def swift_catalog(files):
    out = [f"// {NOTICE}.", ""]
    for package, namespace in NAMESPACES.items():
        out += [f"/// Protobuf package `{package}`.", f"package enum {namespace} {{}}", ""]
    out += ["extension ServiceDescriptors {", "    package static let all: [ServiceDescriptor] = ["]
    for f in files:
        if f.package not in FOREIGN:
            out += [f"        {NAMESPACES[f.package]}.{service}.descriptor," for service, _, _ in f.services]
    out += ["    ]", "}", "", "extension FileDescriptors {", "    package static let all: [FileDescriptor] = ["]
    for i, f in enumerate(files):
        dependencies = ", ".join(f'"{d}"' for d in f.dependencies)
        symbols = ", ".join(f'"{s}"' for s in f.symbols())
        out.append(f'        FileDescriptor(index: {i}, package: "{f.package}", dependencies: [{dependencies}], symbols: [{symbols}]),')
    out += ["    ]", "}", "", "/// Every message type, for what is done to all of them.", "package enum WireMessages {"]
    out.append("    package static let all: [any WireMessage.Type] = [")
    out += [f"        {swift_type(m)}.self," for f in files for m in f.all_messages() if not m.is_map_entry]
    return "\n".join(out + ["    ]", "}"]) + "\n"
