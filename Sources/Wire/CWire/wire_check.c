#include "wire_message.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

// Bytes of the UTF-8 sequence at `p`, 0 if it is not one (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
static inline size_t sequence(const uint8_t *p, const uint8_t *end) {
    uint8_t lead = *p;
    size_t left = (size_t)(end - p);
    if (lead >= 0xc2 && lead <= 0xdf) return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((lead & 0xf0) == 0xe0) {
        if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80) return 0;
        if ((lead == 0xe0 && p[1] < 0xa0) || (lead == 0xed && p[1] > 0x9f)) return 0;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80) return 0;
        if ((lead == 0xf0 && p[1] < 0x90) || (lead == 0xf4 && p[1] > 0x8f)) return 0;
        return 4;
    }
    return 0;
}

size_t wire_clean_text(const uint8_t *text, size_t size) {
    const uint8_t *p = text, *end = text + size;
    while (p < end) {
        if (end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            // No high bit set, and none borrowed into: eight bytes of 1...0x7f.
            if (((word | (word - 0x0101010101010101)) & 0x8080808080808080) == 0) {
                p += 8;
                continue;
            }
        }
        if (*p == 0) break;
        size_t length = *p < 0x80 ? 1 : sequence(p, end);
        if (length == 0) break;
        p += length;
    }
    return (size_t)(p - text);
}

// ---- The path of a fault, written from its end while the recursion unwinds.

static void prepend(wire_fault *fault, const char *text, size_t length) {
    while (length > 0 && fault->start > 0) fault->path[--fault->start] = text[--length];
}

// Reads tag and length at `*at`; enough for bytes that were read once already.
static uint64_t again(const uint8_t **at) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
}

// How often the field stands in `[start, stop)`.
static unsigned occurrences(const uint8_t *start, const uint8_t *stop, uint32_t number) {
    unsigned count = 0;
    while (start < stop) {
        uint64_t tag = again(&start);
        count += (uint32_t)(tag >> 3) == number;
        switch (tag & 7) {
        case 0: again(&start); break;
        case 1: start += 8; break;
        case 2: {
            uint64_t length = again(&start);
            start += length;
            break;
        }
        default: start += 4;
        }
    }
    return count;
}

static wire_fault_code blame(
    wire_fault *fault, wire_fault_code code, const wire_field *field, const uint8_t *start, const uint8_t *at) {
    fault->code = code;
    if (fault->path[fault->start]) prepend(fault, ".", 1);
    if (field->form == WIRE_REPEATED || field->form == WIRE_MAP) {
        char index[16];
        int length = snprintf(index, sizeof index, "[%u]", occurrences(start, at, field->number));
        prepend(fault, index, (size_t)length);
    }
    prepend(fault, field->name, field->name_length);
    return code;
}

// ---- The pass

static inline unsigned wire_type_of(const wire_field *field) {
    switch (field->type) {
    case WIRE_FLOAT:
    case WIRE_FIXED32: return 5;
    case WIRE_DOUBLE:
    case WIRE_FIXED64: return 1;
    case WIRE_STRING:
    case WIRE_BYTES:
    case WIRE_MESSAGE: return 2;
    default: return 0;
    }
}

static wire_fault_code check(
    const wire_message *message, const uint8_t *start, const uint8_t *end, unsigned depth, wire_fault *fault) {
    uint64_t seen = 0;
    const uint8_t *p = start;
    while (p < end) {
        const uint8_t *at = p;
        // The limits of 5 bytes for tags and lengths are protobuf-c's: the two passes must agree on what is a field.
        uint64_t tag = 0;
        unsigned shift = 0;
        uint8_t byte;
        do {
            if (p == end || shift > 28) return fault->code = WIRE_MALFORMED;
            byte = *p++;
            tag |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
        unsigned wire_type = tag & 7;
        uint32_t number = (uint32_t)(tag >> 3);

        size_t length = 0;
        switch (wire_type) {
        case 0: {
            unsigned count = 0;
            do {
                if (p == end || ++count > 10) return fault->code = WIRE_MALFORMED;
            } while (*p++ & 0x80);
            break;
        }
        case 1: length = 8; break;
        case 2:
            shift = 0;
            do {
                if (p == end || shift > 28) return fault->code = WIRE_MALFORMED;
                byte = *p++;
                length |= (size_t)(byte & 0x7f) << shift;
                shift += 7;
            } while (byte & 0x80);
            if (length > INT_MAX) return fault->code = WIRE_MALFORMED;
            break;
        case 5: length = 4; break;
        default: return fault->code = WIRE_MALFORMED;
        }
        if (length > (size_t)(end - p)) return fault->code = WIRE_MALFORMED;
        const uint8_t *content = p;
        p += length;

        unsigned slot = number <= message->highest ? message->by_number[number] : 0;
        if (slot == 0) continue;
        const wire_field *field = &message->fields[slot - 1];
        unsigned expected = wire_type_of(field);
        if (wire_type != expected) {
            // A repeated scalar may stand packed or not.
            if (wire_type == 2 && field->form == WIRE_REPEATED) continue;
            return blame(fault, WIRE_WRONG_TYPE, field, start, at);
        }
        if (field->type == WIRE_STRING) {
            size_t clean = wire_clean_text(content, length);
            if (clean != length) {
                return blame(fault, content[clean] ? WIRE_NOT_UTF8 : WIRE_HAS_NUL, field, start, at);
            }
        } else if (field->type == WIRE_MESSAGE) {
            if (field->form == WIRE_SINGULAR || field->form == WIRE_ONEOF) {
                uint64_t bit = (uint64_t)1 << (slot - 1);
                if (seen & bit) return blame(fault, WIRE_REPEATED_MESSAGE, field, start, at);
                seen |= bit;
            }
            if (depth == WIRE_MAX_DEPTH) return blame(fault, WIRE_TOO_DEEP, field, start, at);
            wire_fault_code code = check(field->message, content, p, depth + 1, fault);
            if (code != WIRE_OK) return blame(fault, code, field, start, at);
        }
    }
    return WIRE_OK;
}

wire_fault_code wire_check(const wire_message *message, const uint8_t *bytes, size_t size, wire_fault *fault) {
    fault->code = WIRE_OK;
    fault->start = sizeof fault->path - 1;
    fault->path[fault->start] = 0;
    return check(message, bytes, bytes + size, 1, fault);
}
