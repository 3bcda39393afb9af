"""Writes Sources/Wire/CWire/wire_tables.c: our field tables and the files' descriptors."""
from generator.descriptors import BASE_SIZE, ENUM, MESSAGE, NOTICE, TYPES, fail

# Messages whose JSON is not an object of their fields; the header comment of vecraft/v1/types.proto says why.
SHAPES = {
    "vecraft.v1.Vector": "WIRE_SHAPE_VECTOR",
    "vecraft.v1.Payload": "WIRE_SHAPE_RAW_OBJECT",
    "vecraft.v1.Value": "WIRE_SHAPE_SCALAR",
    "vecraft.v1.Number": "WIRE_SHAPE_NUMBER",
    "vecraft.v1.Values": "WIRE_SHAPE_LIST",
    "vecraft.v1.Strings": "WIRE_SHAPE_LIST",
    "vecraft.v1.Condition": "WIRE_SHAPE_CONDITION",
}


def c_tables(files, descriptors):
    messages = [m for f in files for m in f.all_messages()]
    enums = [e for f in files for e in f.all_enums()]
    out = [f"// {NOTICE}.", '#include "wire_schema.h"', "#include <protobuf-c/protobuf-c.h>"]
    out += [f'#include "{f.name[:-6]}.pb-c.h"' for f in files]
    out += ["", f"_Static_assert(sizeof(ProtobufCMessage) == {BASE_SIZE}, \"pointers of 8 bytes\");"]
    for m in messages:
        for f in m.fields:
            out.append(f"_Static_assert(offsetof({m.c_type}, {f.c_name}) == {f.offset}, \"{m.full}.{f.name}\");")
            if f.repeated:
                out.append(f"_Static_assert(offsetof({m.c_type}, n_{f.name}) == {f.quantifier}, \"{m.full}.{f.name}\");")
            if f.oneof is not None:
                out.append(f"_Static_assert(offsetof({m.c_type}, {m.oneofs[f.oneof]}_case) == {f.quantifier}, \"{m.full}.{f.name}\");")
    out += [""]
    for i, e in enumerate(enums):
        rows = "".join(f'{{"{name}", {len(name)}, {value}}}, ' for name, value, _ in e.values)
        out.append(f"static const wire_enum_value enum_{i}_values[] = {{{rows}}};")
    out.append("const wire_enum wire_enums[] = {")
    out += [f'    {{"{e.full}", enum_{e.index}_values, {len(e.values)}, {e.prefix}}},' for e in enums]
    out += ["};", f"const size_t wire_enum_count = {len(enums)};", ""]
    for m in messages:
        ordered = sorted(m.fields, key=lambda f: f.number)
        m.highest = ordered[-1].number if ordered else 0
        if len(ordered) > 64 or m.highest > 255:
            fail(f"{m.full}: at most 64 fields, numbered up to 255")
        slots = {f.number: i + 1 for i, f in enumerate(ordered)}
        out.append(f"static const uint8_t by_number_{m.index}[] = {{{', '.join(str(slots.get(n, 0)) for n in range(m.highest + 1))}}};")
        if ordered:
            out.append(f"static const wire_field fields_{m.index}[] = {{")
        for f in ordered:
            form = "MAP" if f.is_map else "REPEATED" if f.repeated else "ONEOF" if f.oneof is not None else "SINGULAR"
            message = f"&wire_messages[{f.target.index}]" if f.type == MESSAGE else "NULL"
            enum = f"&wire_enums[{f.target.index}]" if f.type == ENUM else "NULL"
            out.append(
                f'    {{"{f.name}", "{f.json_name}", {message}, {enum}, {f.number}, {f.offset}, {f.quantifier}, '
                f"{len(f.name)}, {len(f.json_name)}, WIRE_{TYPES[f.type][0]}, WIRE_{form}}},")
        if ordered:
            out.append("};")
    out += ["", "const wire_message wire_messages[] = {"]
    for m in messages:
        rows = f"fields_{m.index}" if m.fields else "NULL"
        out.append(
            f'    {{"{m.full}", &{m.c_lower}__descriptor, {rows}, by_number_{m.index}, sizeof({m.c_type}), '
            f"{len(m.fields)}, {m.highest}, {SHAPES.get(m.full, 'WIRE_SHAPE_OBJECT')}}},")
    out += ["};", f"const size_t wire_message_count = {len(messages)};", ""]
    for i, f in enumerate(files):
        raw = descriptors[f.name]
        out.append(f"static const uint8_t file_{i}[] = {{")
        out += ["    " + ", ".join(str(b) for b in raw[at:at + 32]) + "," for at in range(0, len(raw), 32)]
        out.append("};")
    out.append("const wire_file wire_files[] = {")
    out += [f'    {{"{f.name}", file_{i}, sizeof file_{i}}},' for i, f in enumerate(files)]
    out += ["};", f"const size_t wire_file_count = {len(files)};"]
    return "\n".join(out) + "\n"
