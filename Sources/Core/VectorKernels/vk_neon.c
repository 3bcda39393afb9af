// 64-bit Arm: NEON always, and the signed dot product (FEAT_DotProd) where the processor has it.
#include "vk_bitmap.h"
#include "vk_encode.h"
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
    const size_t dimension = rows->dimension;
    for (size_t i = 0; i < count; i++) {
        if (i + 2 < count) prefetch_row(vk_floats(rows, ids[i + 2]), dimension * 4);
        float value = measured(query->floats, vk_floats(rows, ids[i]), dimension, l2);
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

/// Adds 16 products of signed bytes.
INLINE int32x4_t code_step(int32x4_t sum, int8x16_t query, int8x16_t row) {
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(query), vget_low_s8(row)));
    return vpadalq_s16(sum, vmull_high_s8(query, row));
}
INLINE_DOT int32x4_t code_step_dot(int32x4_t sum, int8x16_t query, int8x16_t row) { return vdotq_s32(sum, query, row); }

/// Distance from an exact integer product; the same roundings in every variant, so no fused multiply.
INLINE uint32_t code_key(const vk_rows *rows, const vk_query *query, uint32_t row, int32_t product) {
#pragma STDC FP_CONTRACT OFF
    const float *terms = rows->terms + 2 * (size_t)row;
    float value = (float)product * (query->scale * terms[0]);
    return vk_key((query->bias + terms[1]) + value);
}

#define CODE8_ROWS(target, name, add)                                                                                  \
    target static void name(                                                                                           \
        const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {               \
        const size_t stride = rows->code_stride;                                                                       \
        const uint8x16_t sign = vdupq_n_u8(0x80), flip = vdupq_n_u8(query->is_row ? 0x80 : 0);                         \
        const uint8_t *codes = (const uint8_t *)query->codes;                                                          \
        for (size_t i = 0; i < count; i++) {                                                                           \
            if (i + 4 < count) prefetch_row(rows->codes + ids[i + 4] * stride, stride);                                \
            const uint8_t *row = rows->codes + ids[i] * stride;                                                        \
            int32x4_t sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};                                                      \
            for (size_t j = 0; j < stride; j += 32)                                                                    \
                for (int h = 0; h < 2; h++)                                                                            \
                    sums[h] = add(                                                                                     \
                        sums[h], vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes + j + 16 * h), flip)),                    \
                        vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row + j + 16 * h), sign)));                              \
            keys[i] = code_key(rows, query, ids[i], vaddvq_s32(vaddq_s32(sums[0], sums[1])));                          \
        }                                                                                                              \
    }

#define CODE4_ROWS(target, name, add)                                                                                  \
    target static void name(                                                                                           \
        const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {               \
        const size_t stride = rows->code_stride;                                                                       \
        const uint8x16_t low = vdupq_n_u8(0x0f);                                                                       \
        for (size_t i = 0; i < count; i++) {                                                                           \
            if (i + 4 < count) prefetch_row(rows->codes + ids[i + 4] * stride, stride);                                \
            const uint8_t *row = rows->codes + ids[i] * stride;                                                        \
            int32x4_t lows = vdupq_n_s32(0), highs = lows;                                                             \
            for (size_t j = 0; j < stride; j += 16) {                                                                  \
                uint8x16_t v = vld1q_u8(row + j);                                                                      \
                lows = add(lows, vld1q_s8(query->codes + j), vreinterpretq_s8_u8(vandq_u8(v, low)));                   \
                highs = add(highs, vld1q_s8(query->codes + stride + j), vreinterpretq_s8_u8(vshrq_n_u8(v, 4)));        \
            }                                                                                                          \
            keys[i] = code_key(rows, query, ids[i], 2 * vaddvq_s32(vaddq_s32(lows, highs)) - query->offset);           \
        }                                                                                                              \
    }

CODE8_ROWS(, code8_rows, code_step)
CODE4_ROWS(, code4_rows, code_step)
CODE8_ROWS(TARGET_DOT, dotprod8_rows, code_step_dot)
CODE4_ROWS(TARGET_DOT, dotprod4_rows, code_step_dot)

INLINE void half_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys, int l2) {
    const size_t stride = rows->half_stride;
    for (size_t i = 0; i < count; i++) {
        if (i + 2 < count) prefetch_row(rows->halves + ids[i + 2] * stride, stride * 2);
        const uint16_t *row = rows->halves + ids[i] * stride;
        float32x4_t sums[4];
        for (int j = 0; j < 4; j++) sums[j] = vdupq_n_f32(0);
        for (size_t k = 0; k < stride; k += 16)
            for (int j = 0; j < 4; j++)
                sums[j] = step(
                    sums[j], vld1q_f32(query->floats + k + 4 * j),
                    vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(row + k + 4 * j))), l2);
        float total = vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
        keys[i] = vk_key(query->bias + query->scale * total);
    }
}

static void half_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    half_rows(rows, query, ids, count, keys, 0);
}
static void half_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    half_rows(rows, query, ids, count, keys, 1);
}

static vk_coded encode8(
    const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride, uint8_t flip) {
    return vk_encode8_body(from, centre, dimension, codes, stride, flip);
}
static vk_coded encode4(const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride) {
    return vk_encode4_body(from, centre, dimension, codes, stride);
}

static size_t pool_insert(uint64_t *pool, size_t size, size_t capacity, uint64_t entry) {
    return vk_pool_insert_portable(pool, size, capacity, entry);
}

static size_t restrict_rows(uint64_t *to, const uint64_t *allowed, const uint64_t *deleted, size_t words) {
    return vk_restrict_rows_body(to, allowed, deleted, words);
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

#define KERNELS(title, code8, code4)                                                                                   \
    {                                                                                                                  \
        .name = title, .dot = dot, .l2 = l2, .dot_rows = dot_rows, .l2_rows = l2_rows, .code8_rows = code8,            \
        .code4_rows = code4, .half_dot_rows = half_dot_rows, .half_l2_rows = half_l2_rows, .encode8 = encode8,         \
        .encode4 = encode4, .sketch_row = vk_sketch_row_portable, .sketch_query = vk_sketch_query_portable,            \
        .sketch_rows = vk_sketch_rows_portable, .keep_between = vk_keep_between_portable,                              \
        .next_rows = vk_next_rows_portable, .pool_insert = pool_insert, .pool_offer = vk_pool_offer_portable,          \
        .restrict_rows = restrict_rows, .to_f16 = to_f16, .from_f16 = from_f16,                                        \
    }
const vk_kernels vk_neon = KERNELS("neon", code8_rows, code4_rows);
const vk_kernels vk_neondot = KERNELS("neondot", dotprod8_rows, dotprod4_rows);
#endif
