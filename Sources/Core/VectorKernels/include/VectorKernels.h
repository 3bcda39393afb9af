// Distances between vectors, chosen at run time for the processor at hand.
//
// Values: callers hand in finite components. A product that overflows still has a place in the order: infinities sort as
// themselves and a NaN sorts last, so a walk never loses its footing; what such a row's distance means is the caller's affair.
//
// Every variant adds up a row in one fixed order whatever the batch around it, so a row has one distance per variant.
// Integer kernels (`code*`, `sketch*`) and encoders are exact: all variants agree to the bit.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vk_atomic.h"
#include "vk_memory.h"

/// Rows to measure against. A row's floats, codes and halves lie each in an array of their own; one that no kernel in use
/// reads may be null.
typedef struct vk_rows {
    /// Row `i` starts at `floats + place * stride`, where `place` is `places[i]`, or `i` if `places` is null.
    const float *floats;
    const uint32_t *places;
    /// Floats from one row to the next; at least `dimension`.
    size_t stride;
    uint32_t dimension;
    /// Bytes from one row's codes to the next, a multiple of 64; codes start 64-byte aligned.
    uint32_t code_stride;
    /// See `vk_encode8` and `vk_encode4`.
    const uint8_t *codes;
    /// Two a row: what one code step is worth, and what the row adds to any distance.
    const float *terms;
    /// float16, `half_stride` a row: a multiple of 32, zero filled, 64-byte aligned.
    const uint16_t *halves;
    uint32_t half_stride;
    /// Signs, see `vk_sketch_stride`; by row, not by place. Row `i` starts at `sketches + i * sketch_stride`.
    uint32_t sketch_stride;
    const uint8_t *sketches;
} vk_rows;

/// Bytes from one row's sketch to the next, a multiple of 32: a bit a component, set where it is not negative, in words of 64,
/// then two terms: what one sign is worth, and what the row adds to any distance.
static inline uint32_t vk_sketch_stride(uint32_t dimension) { return ((dimension + 63) / 64 * 8 + 8 + 31) / 32 * 32; }

/// What is compared with rows.
typedef struct vk_query {
    /// For float rows: `dimension` floats, any alignment. For float16 rows: `half_stride` floats, zero filled.
    const float *floats;
    /// For 8-bit rows `code_stride` codes, for 4-bit rows twice as many; zero filled, any alignment. For sketches two bits a
    /// component, see `sketch_query`.
    const int8_t *codes;
    /// The distance to a row is `bias + row bias + scale * row scale * dot`, to one of float16 `bias + scale * (dot or l2)`.
    float scale;
    float bias;
    /// 128 times the sum of `codes` for 8-bit rows, 15 times for 4-bit rows; 3 times the dimension for sketches.
    int32_t offset;
    /// `codes` are those of an 8-bit row, and `offset` is not read.
    int32_t is_row;
    /// For sketches: by how much a distance is put too low, in units of what one of the row's signs is worth, which is what it
    /// is wrong in proportion to.
    float slack;
} vk_query;

/// Writes to `keys[i]` the order-preserving key (see `vk_key`) of the distance from `query` to row `ids[i]`.
/// `1 - dot` or squared Euclidean; smaller is nearer.
typedef void (*vk_measure)(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys);

/// What coding a vector came to. `x` is the vector less its centre.
typedef struct vk_coded {
    /// What one code step is worth.
    float step;
    /// Squared length of `x`; its product with what the codes stand for; its product with the centre.
    float squares;
    float cross;
    float along;
    /// Sum of the codes.
    int32_t sum;
} vk_coded;

typedef struct vk_kernels {
    /// "avx512popcnt", "avx512vnni", "avx512", "avx2", "neondot", "neon", "portable".
    const char *name;
    float (*dot)(const float *a, const float *b, size_t count);
    float (*l2)(const float *a, const float *b, size_t count);
    vk_measure dot_rows;
    vk_measure l2_rows;
    /// Against coded rows, whatever the metric: the terms know it.
    vk_measure code8_rows;
    vk_measure code4_rows;
    vk_measure half_dot_rows;
    vk_measure half_l2_rows;
    /// Symmetric 8-bit codes of `from - centre` (null: of `from`): `round(x / step)` in -127...127, `step = max|x| / 127`;
    /// zero filled to `stride`, `flip` added to each (0x80 for rows, 0 for queries).
    vk_coded (*encode8)(
        const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride, uint8_t flip);
    /// Codes `v` in 0...15 that stand for `(v - 7.5) * step`; `step` is the better of a few for this row. Component `i` lies
    /// in the low half of byte `i`, component `stride + i` in its high half.
    vk_coded (*encode4)(const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride);
    /// The signs of `from - centre`, a bit a component; they stand for `step` times 1 or -1, and `step` is such that their
    /// product with `x` is that of `x` with itself: the estimator of RaBitQ (Gao and Long, arXiv:2405.12497, section 3),
    /// without its rotation.
    vk_coded (*sketch_row)(const float *from, const float *centre, uint32_t dimension, uint64_t *words);
    /// Four levels, -3, -1, 1 and 3 halves of a step, in two planes of signs: those of the halves, then those of the ones.
    /// `step` is such that their product with `x` is that of `x` with itself. `words` has room for twice a row's.
    vk_coded (*sketch_query)(const float *from, const float *centre, uint32_t dimension, uint64_t *words);
    /// Against sketches, whatever the metric: the terms know it. `ids` are rows.
    vk_measure sketch_rows;
    /// Writes to `kept`, which has room for `count`, the `ids` whose keys are in `least...most`. Returns how many.
    size_t (*keep_between)(const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept);
    /// Inserts into `pool[0..<size]`, ascending, keeping the `capacity` smallest; returns the position taken.
    /// Needs `VK_POOL_SLACK` words before the pool that hold 0 and as many after it that may be written.
    size_t (*pool_insert)(uint64_t *pool, size_t size, size_t capacity, uint64_t entry);
    /// Offers `count` rows to such a pool, one after another: row `ids[i]` as the entry `keys[i] << 32 | ids[i] << 1`, taken if it
    /// is below the last of a full pool. Lowers `*lowest` to the smallest position taken. Returns the new size.
    size_t (*pool_offer)(
        uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count,
        size_t *lowest);
    /// Writes `allowed & ~deleted` to `to`, either of them null for no restriction. Returns how many bits are set.
    size_t (*restrict_rows)(uint64_t *to, const uint64_t *allowed, const uint64_t *deleted, size_t words);
    /// The rows whose bit is set, as `vk_next_rows` finds them.
    size_t (*next_rows)(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids);
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

/// Asks for what measuring these rows will read: codes and terms where there are codes, floats otherwise. Of a long row the
/// first lines alone; kernels ask for the rest.
static inline void vk_prefetch_rows(const vk_rows *rows, const uint32_t *ids, size_t count) {
    enum { most = 8 };
    if (rows->code_stride == 0) {
        size_t lines = ((size_t)rows->dimension * 4 + 63) / 64;
        if (lines > most) lines = most;
        for (size_t i = 0; i < count; i++) {
            size_t place = rows->places ? rows->places[ids[i]] : ids[i];
            const char *row = (const char *)(rows->floats + place * rows->stride);
            for (size_t k = 0; k < lines; k++) vk_prefetch(row + 64 * k);
        }
        return;
    }
    size_t lines = rows->code_stride / 64 < most ? rows->code_stride / 64 : most;
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows->codes + ids[i] * (size_t)rows->code_stride;
        vk_prefetch(rows->terms + 2 * (size_t)ids[i]);
        for (size_t k = 0; k < lines; k++) vk_prefetch(row + 64 * k);
    }
}

/// The largest magnitude of a component of `from - centre`.
float vk_largest(const float *from, const float *centre, size_t count);

/// Scales to unit length; a zero vector is left as it is. Returns the length it had, summed in double precision.
double vk_normalise(float *vector, size_t count);
