// 64-bit Arm: NEON always, and the signed dot product (FEAT_DotProd) where the processor has it.
#include "vk_variants.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))
#define TARGET_DOT __attribute__((target("+dotprod")))
#define INLINE_DOT static inline __attribute__((always_inline)) TARGET_DOT

// Cache lines of a row asked for ahead of its turn; the hardware follows a longer one by itself.
enum { ahead = 32 };

INLINE void prefetch_row(const void *row, size_t bytes) {
    size_t lines = (bytes + 63) / 64;
    for (size_t i = 0; i < lines && i < ahead; i++) __builtin_prefetch((const char *)row + 64 * i, 0, 3);
}

INLINE float32x4_t step(float32x4_t sum, float32x4_t query, float32x4_t row, int l2) {
    if (!l2) return vfmaq_f32(sum, query, row);
    float32x4_t difference = vsubq_f32(query, row);
    return vfmaq_f32(sum, difference, difference);
}

/// Four sums of four floats each cover the latency of the multiplier.
INLINE float measured(const float *query, const float *row, size_t dimension, int l2) {
    float32x4_t sums[4];
    for (int j = 0; j < 4; j++) sums[j] = vdupq_n_f32(0);
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16)
        for (int j = 0; j < 4; j++)
            sums[j] = step(sums[j], vld1q_f32(query + i + 4 * j), vld1q_f32(row + i + 4 * j), l2);
    for (; i + 4 <= dimension; i += 4) sums[0] = step(sums[0], vld1q_f32(query + i), vld1q_f32(row + i), l2);
    float total = vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
    for (; i < dimension; i++) total += l2 ? (query[i] - row[i]) * (query[i] - row[i]) : query[i] * row[i];
    return total;
}

INLINE void float_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t stride = rows->stride, dimension = rows->dimension;
    for (size_t i = 0; i < count; i++) {
        if (i + 2 < count) prefetch_row(rows->floats + ids[i + 2] * stride, dimension * 4);
        float value = measured(query->floats, rows->floats + ids[i] * stride, dimension, l2);
        keys[i] = vk_key(l2 ? value : 1 - value);
    }
}

static void dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    float_rows(rows, query, ids, count, keys, 0);
}
static void l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    float_rows(rows, query, ids, count, keys, 1);
}
static float dot(const float *a, const float *b, size_t count) { return measured(a, b, count, 0); }
static float l2(const float *a, const float *b, size_t count) { return measured(a, b, count, 1); }

INLINE int32x4_t code_step(int32x4_t sum, int8x16_t query, int8x16_t row) {
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(query), vget_low_s8(row)));
    return vpadalq_s16(sum, vmull_high_s8(query, row));
}

INLINE int32_t code_product(const int8_t *a, const int8_t *b, size_t count) {
    int32x4_t even = vdupq_n_s32(0), odd = even;
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        even = code_step(even, vld1q_s8(a + i), vld1q_s8(b + i));
        odd = code_step(odd, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
    }
    int32_t total = vaddvq_s32(vaddq_s32(even, odd));
    for (; i < count; i++) total += a[i] * b[i];
    return total;
}

INLINE_DOT int32_t code_product_dot(const int8_t *a, const int8_t *b, size_t count) {
    int32x4_t sums[4];
    for (int j = 0; j < 4; j++) sums[j] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 64 <= count; i += 64)
        for (int j = 0; j < 4; j++) sums[j] = vdotq_s32(sums[j], vld1q_s8(a + i + 16 * j), vld1q_s8(b + i + 16 * j));
    int32_t total = vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])));
    for (; i < count; i++) total += a[i] * b[i];
    return total;
}

/// Distance from an exact integer product; the same three roundings in every variant, so no fused multiply.
INLINE uint32_t code_key(const vk_rows *rows, const vk_query *query, uint32_t row, int32_t product, int l2) {
    const float *terms = rows->code_terms + 2 * (size_t)row;
    float step = query->code_step * terms[0];
    float value = (float)product * step;
    if (!l2) {
        float distance = 1;
        return vk_key(distance - value);
    }
    float norms = query->code_norm + terms[1];
    return vk_key(norms - (value + value));
}

#define CODE_ROWS(target, name, product, l2)                                                                           \
    target static void name(                                                                                           \
        const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {               \
        const size_t stride = rows->code_stride;                                                                       \
        for (size_t i = 0; i < count; i++) {                                                                           \
            if (i + 4 < count) prefetch_row(rows->codes + ids[i + 4] * stride, stride);                                \
            int32_t exact = product(query->codes, rows->codes + ids[i] * stride, stride);                              \
            keys[i] = code_key(rows, query, ids[i], exact, l2);                                                        \
        }                                                                                                              \
    }

CODE_ROWS(, code_dot_rows, code_product, 0)
CODE_ROWS(, code_l2_rows, code_product, 1)
CODE_ROWS(TARGET_DOT, dotprod_dot_rows, code_product_dot, 0)
CODE_ROWS(TARGET_DOT, dotprod_l2_rows, code_product_dot, 1)
static int32_t code_dot(const int8_t *a, const int8_t *b, size_t count) { return code_product(a, b, count); }
TARGET_DOT static int32_t dotprod(const int8_t *a, const int8_t *b, size_t count) { return code_product_dot(a, b, count); }

static size_t pool_insert(uint64_t *pool, size_t size, size_t capacity, uint64_t entry) {
    return vk_pool_insert_portable(pool, size, capacity, entry);
}

static void to_f16(const float *from, uint16_t *to, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) vst1_u16(to + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from + i))));
    vk_portable.to_f16(from + i, to + i, count - i);
}
static void from_f16(const uint16_t *from, float *to, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
    vk_portable.from_f16(from + i, to + i, count - i);
}

const vk_kernels vk_neon = {
    .name = "neon",
    .dot = dot,
    .l2 = l2,
    .code_dot = code_dot,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code_dot_rows = code_dot_rows,
    .code_l2_rows = code_l2_rows,
    .pool_insert = pool_insert,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};

const vk_kernels vk_neondot = {
    .name = "neondot",
    .dot = dot,
    .l2 = l2,
    .code_dot = dotprod,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code_dot_rows = dotprod_dot_rows,
    .code_l2_rows = dotprod_l2_rows,
    .pool_insert = pool_insert,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
#endif
