#include "wire_message.h"

#include <protobuf-c/protobuf-c.h>
#include <string.h>

const void *wire_decode(
    const wire_message *message, wire_arena *arena, const uint8_t *bytes, size_t size, wire_fault *fault) {
    if (wire_check(message, bytes, size, fault) != WIRE_OK) return NULL;
    static const uint8_t nothing;
    const void *decoded =
        protobuf_c_message_unpack(message->descriptor, (ProtobufCAllocator *)arena, size, size ? bytes : &nothing);
    if (!decoded) fault->code = wire_arena_exhausted(arena) ? WIRE_EXHAUSTED : WIRE_MALFORMED;
    return decoded;
}

size_t wire_encoded_size(const void *decoded) { return protobuf_c_message_get_packed_size(decoded); }
size_t wire_encode(const void *decoded, uint8_t *output) { return protobuf_c_message_pack(decoded, output); }

// Zeroes are proto3's defaults; protobuf-c takes a NULL string for an empty one.
static inline void clear(const wire_message *message, void *target) {
    memset(target, 0, message->size);
    ((ProtobufCMessage *)target)->descriptor = message->descriptor;
}

void *wire_new(const wire_message *message, wire_arena *arena) {
    void *made = wire_arena_alloc_unlimited(arena, message->size);
    clear(message, made);
    return made;
}

void *wire_new_limited(const wire_message *message, wire_arena *arena) {
    void *made = wire_arena_alloc(arena, message->size);
    if (made) clear(message, made);
    return made;
}

void **wire_new_array(const wire_message *message, wire_arena *arena, size_t count) {
    if (count == 0) return NULL;
    void **pointers = wire_arena_alloc_unlimited(arena, count * sizeof *pointers);
    uint8_t *structs = wire_arena_alloc_unlimited(arena, count * (size_t)message->size);
    for (size_t i = 0; i < count; i++) {
        pointers[i] = structs + i * message->size;
        clear(message, pointers[i]);
    }
    return pointers;
}

size_t wire_text_length(const char *text) { return strlen(text); }

char *wire_copy_text(wire_arena *arena, const uint8_t *text, size_t size) {
    size_t nuls = 0;
    if (size && memchr(text, 0, size)) {
        for (size_t i = 0; i < size; i++) nuls += text[i] == 0;
    }
    char *copy = wire_arena_alloc_unlimited(arena, size + 2 * nuls + 1);
    if (nuls == 0) {
        if (size) memcpy(copy, text, size);
        copy[size] = 0;
        return copy;
    }
    char *at = copy;
    for (size_t i = 0; i < size; i++) {
        if (text[i]) {
            *at++ = (char)text[i];
        } else {
            memcpy(at, "\xef\xbf\xbd", 3);
            at += 3;
        }
    }
    *at = 0;
    return copy;
}
