#pragma once
#include <stddef.h>
#include <stdint.h>

// What Proto/ says about each message, in the form our own passes over wire bytes, structs and JSON need it.
// `wire_tables.c` is generated.

enum wire_type {
    WIRE_INT32 = 1, WIRE_INT64, WIRE_UINT32, WIRE_UINT64, WIRE_FLOAT, WIRE_DOUBLE,
    WIRE_BOOL,    // int in the struct
    WIRE_ENUM,    // int in the struct
    WIRE_STRING,  // char *
    WIRE_BYTES,   // ProtobufCBinaryData: length, pointer
    WIRE_MESSAGE, // pointer
    WIRE_FIXED32, // as UINT32 but for its way on the wire
    WIRE_FIXED64, // as UINT64 but for its way on the wire
};

enum wire_form {
    WIRE_SINGULAR = 0,
    WIRE_REPEATED, // quantifier: size_t count; offset: pointer to the elements
    WIRE_ONEOF,    // quantifier: int, the number of the member that is set; offset: the union
    WIRE_MAP,      // repeated entries {key = 1, value = 2}
};

// JSON of a message. All but `OBJECT` are our own (header comment of vecraft/v1/types.proto).
enum wire_shape {
    WIRE_SHAPE_OBJECT = 0,
    WIRE_SHAPE_VECTOR,     // array of numbers
    WIRE_SHAPE_RAW_OBJECT, // the JSON object that its one field holds
    WIRE_SHAPE_SCALAR,     // string, number or boolean
    WIRE_SHAPE_NUMBER,     // number
    WIRE_SHAPE_LIST,       // array of its one field
    WIRE_SHAPE_CONDITION,  // object, or the members of its filter in its place
};

typedef struct wire_enum_value {
    const char *name;
    uint16_t name_length;
    int32_t number;
} wire_enum_value;

typedef struct wire_enum {
    const char *name; // with package
    const wire_enum_value *values;
    uint16_t value_count;
    uint16_t prefix; // bytes of a value's name before its short form
} wire_enum;

struct wire_message;

typedef struct wire_field {
    const char *name;
    const char *json_name;
    const struct wire_message *message;
    const wire_enum *enumeration;
    uint32_t number;
    uint16_t offset;
    uint16_t quantifier;
    uint8_t name_length;
    uint8_t json_length;
    uint8_t type;
    uint8_t form;
} wire_field;

typedef struct wire_message {
    const char *name;           // with package
    const void *descriptor;     // ProtobufCMessageDescriptor
    const wire_field *fields;   // by number
    const uint8_t *by_number;   // position in `fields` + 1, 0 for none; `highest` + 1 of them
    uint32_t size;              // of the struct
    uint16_t field_count;       // at most 64
    uint8_t highest;            // field number
    uint8_t shape;
} wire_message;

typedef struct wire_file {
    const char *name;
    const uint8_t *bytes; // FileDescriptorProto
    size_t size;
} wire_file;

extern const wire_message wire_messages[];
extern const size_t wire_message_count;
extern const wire_enum wire_enums[];
extern const size_t wire_enum_count;
extern const wire_file wire_files[];
extern const size_t wire_file_count;

static inline const wire_message *wire_message_at(size_t index) { return &wire_messages[index]; }
static inline const wire_enum *wire_enum_at(size_t index) { return &wire_enums[index]; }
static inline const wire_file *wire_file_at(size_t index) { return &wire_files[index]; }
