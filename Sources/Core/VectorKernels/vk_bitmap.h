// Bitmaps of rows, in plain C that each variant compiles for its own instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VK_BITMAP static inline __attribute__((always_inline))

/// One loop for each pair of restrictions, so that the compiler may use the vector unit.
VK_BITMAP size_t vk_restrict_rows_body(
    uint64_t *restrict to, const uint64_t *restrict allowed, const uint64_t *restrict deleted, size_t words) {
    size_t count = 0;
    if (allowed && deleted)
        for (size_t i = 0; i < words; i++) count += (size_t)__builtin_popcountll(to[i] = allowed[i] & ~deleted[i]);
    else if (allowed)
        for (size_t i = 0; i < words; i++) count += (size_t)__builtin_popcountll(to[i] = allowed[i]);
    else if (deleted)
        for (size_t i = 0; i < words; i++) count += (size_t)__builtin_popcountll(to[i] = ~deleted[i]);
    else {
        for (size_t i = 0; i < words; i++) to[i] = ~0ull;
        count = 64 * words;
    }
    return count;
}
