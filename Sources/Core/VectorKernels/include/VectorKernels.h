// Distances between vectors, chosen at run time for the processor at hand.
//
// Values: callers hand in finite components. A product that overflows still has a place in the order: infinities sort as
// themselves and a NaN sorts last, so a walk never loses its footing; what such a row's distance means is the caller's affair.
//
// Every variant adds up a row in one fixed order whatever the batch around it, so a row has one distance per variant.
// Integer kernels (`code_*`) are exact: all variants agree to the bit.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vk_atomic.h"
#include "vk_memory.h"

/// Rows to measure against. Row `i` starts at `floats + i * stride` and `codes + i * code_stride`.
typedef struct vk_rows {
    const float *floats;
    /// Floats from one row to the next; at least `dimension`.
    size_t stride;
    uint32_t dimension;
    /// Bytes from one row's codes to the next: `dimension` rounded up to 64, zero filled. Codes start 64-byte aligned.
    uint32_t code_stride;
    const int8_t *codes;
    /// Two a row: what one code step is worth, and the squared length of the coded vector.
    const float *code_terms;
} vk_rows;

/// A query in the same shape as a row; the pointer that a kernel does not read may be null.
typedef struct vk_query {
    /// `dimension` floats, any alignment.
    const float *floats;
    /// `code_stride` codes, zero filled, any alignment.
    const int8_t *codes;
    float code_step;
    float code_norm;
} vk_query;

/// Writes to `keys[i]` the order-preserving key (see `vk_key`) of the distance from `query` to row `ids[i]`.
/// `1 - dot` or squared Euclidean; smaller is nearer.
typedef void (*vk_measure)(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys);

typedef struct vk_kernels {
    /// "avx512vnni", "avx512", "avx2", "neondot", "neon", "portable".
    const char *name;
    float (*dot)(const float *a, const float *b, size_t count);
    float (*l2)(const float *a, const float *b, size_t count);
    int32_t (*code_dot)(const int8_t *a, const int8_t *b, size_t count);
    vk_measure dot_rows;
    vk_measure l2_rows;
    vk_measure code_dot_rows;
    vk_measure code_l2_rows;
    /// Inserts into `pool[0..<size]`, ascending, keeping the `capacity` smallest; returns the position taken.
    /// Needs `VK_POOL_SLACK` words before the pool that hold 0 and as many after it that may be written.
    size_t (*pool_insert)(uint64_t *pool, size_t size, size_t capacity, uint64_t entry);
    /// Rounds to nearest even; too large becomes infinity.
    void (*to_f16)(const float *from, uint16_t *to, size_t count);
    void (*from_f16)(const uint16_t *from, float *to, size_t count);
} vk_kernels;

#define VK_POOL_SLACK 8

/// The fastest set this processor can run. Chosen once.
const vk_kernels *vk_kernels_best(void);

/// How many sets were compiled in, and one of them: null when this processor cannot run it. For tests and measurements.
size_t vk_kernels_count(void);
const vk_kernels *vk_kernels_at(size_t index);

/// Float to an unsigned integer of the same order. NaN of either sign sorts last, still below `UINT32_MAX`, which stands for
/// "no distance".
static inline uint32_t vk_key(float distance) {
    union { float f; uint32_t u; } bits = {.f = distance};
    if (distance != distance) return 0xfffffffeu;
    return bits.u & 0x80000000u ? ~bits.u : bits.u | 0x80000000u;
}

/// The float that `vk_key` was given. The key of a NaN gives a NaN.
static inline float vk_distance(uint32_t key) {
    union { uint32_t u; float f; } bits = {.u = key & 0x80000000u ? key & 0x7fffffffu : ~key};
    return bits.f;
}

/// Symmetric 8-bit codes: `code = round(x / step)` in -127...127 with `step = max|x| / 127`, zero filled to `code_stride`.
/// Writes `{step, squared length of step * codes}` to `terms`.
void vk_encode(const float *from, uint32_t dimension, int8_t *codes, uint32_t code_stride, float *terms);

/// Scales to unit length; a zero vector is left as it is. Returns the length it had, summed in double precision.
double vk_normalise(float *vector, size_t count);
