#pragma once
#include "wire_arena.h"
#include "wire_schema.h"

// Decoding, encoding and making of protobuf-c structs.

// Levels of messages within messages. The deepest our schema needs is a filter 8 deep: 20.
enum { WIRE_MAX_DEPTH = 64 };

typedef enum wire_fault_code {
    WIRE_OK = 0,
    WIRE_MALFORMED,  // not protobuf, or cut off
    WIRE_WRONG_TYPE, // a known field with another wire type
    WIRE_NOT_UTF8,
    WIRE_HAS_NUL,    // protobuf-c's strings end at the first NUL
    WIRE_TOO_DEEP,
    WIRE_REPEATED_MESSAGE, // a singular message field given twice
    WIRE_EXHAUSTED,  // the arena's limit
} wire_fault_code;

typedef struct wire_fault {
    wire_fault_code code;
    // "points[3].id", NUL-terminated, from `path + start`; cut off at the front when it is longer.
    uint16_t start;
    char path[256];
} wire_fault;

// Checks what protobuf-c does not: UTF-8, NUL, depth, and doubled messages (its merge of two messages confuses the
// members of a oneof, so hostile bytes must never reach it). Reads each byte at most once; allocates nothing.
wire_fault_code wire_check(const wire_message *message, const uint8_t *bytes, size_t size, wire_fault *fault);

// Checks, then decodes by protobuf-c into the arena. NULL with `fault` filled in.
const void *wire_decode(
    const wire_message *message, wire_arena *arena, const uint8_t *bytes, size_t size, wire_fault *fault);

// Bytes that protobuf-c needs to encode a struct, and the encoding of as many.
size_t wire_encoded_size(const void *decoded);
size_t wire_encode(const void *decoded, uint8_t *output);

// An empty struct.
void *wire_new(const wire_message *message, wire_arena *arena);
// `count` empty structs in one run, and the array of pointers to them that a repeated field holds.
void **wire_new_array(const wire_message *message, wire_arena *arena, size_t count);
// The same within the arena's limit: NULL beyond it.
void *wire_new_limited(const wire_message *message, wire_arena *arena);

// The number of bytes, 0 included, before the first NUL or bad sequence; `size` if the text is clean.
size_t wire_clean_text(const uint8_t *text, size_t size);

// Bytes before the NUL.
size_t wire_text_length(const char *text);

// A NUL-terminated copy. A NUL within becomes U+FFFD: what follows it would be lost.
char *wire_copy_text(wire_arena *arena, const uint8_t *text, size_t size);
