// Plain C. The yardstick that the other variants are tested against, and what runs where none of them can.
#include "vk_bitmap.h"
#include "vk_encode.h"
#include "vk_sketch.h"
#include "vk_variants.h"

#include <math.h>
#include <string.h>

// Eight running sums: enough for the compiler to use the vector unit it was told about, and fixed, so every call adds alike.
enum { lanes = 8 };

static float folded(const float sums[lanes]) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

static float dot(const float *a, const float *b, size_t count) {
    float sums[lanes] = {0};
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int j = 0; j < lanes; j++) sums[j] += a[i + j] * b[i + j];
    for (int j = 0; i < count; i++, j++) sums[j] += a[i] * b[i];
    return folded(sums);
}

static float l2(const float *a, const float *b, size_t count) {
    float sums[lanes] = {0};
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int j = 0; j < lanes; j++) sums[j] += (a[i + j] - b[i + j]) * (a[i + j] - b[i + j]);
    for (int j = 0; i < count; i++, j++) sums[j] += (a[i] - b[i]) * (a[i] - b[i]);
    return folded(sums);
}

static void dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++)
        keys[i] = vk_key(1 - dot(query->floats, vk_floats(rows, ids[i]), rows->dimension));
}

static void l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++)
        keys[i] = vk_key(l2(query->floats, vk_floats(rows, ids[i]), rows->dimension));
}

/// Distance from an exact integer product; the same roundings in every variant.
static float code_distance(const vk_rows *rows, const vk_query *query, uint32_t row, int32_t product) {
#pragma STDC FP_CONTRACT OFF
    const float *terms = rows->terms + 2 * (size_t)row;
    float value = (float)product * (query->scale * terms[0]);
    return (query->bias + terms[1]) + value;
}

static void code8_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    const int flip = query->is_row ? 0x80 : 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = rows->codes + (size_t)ids[i] * rows->code_stride;
        int32_t product = 0;
        for (size_t j = 0; j < rows->code_stride; j++) product += (int8_t)(query->codes[j] ^ flip) * ((int)row[j] - 128);
        keys[i] = vk_key(code_distance(rows, query, ids[i], product));
    }
}

static void code4_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    const size_t stride = rows->code_stride;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = rows->codes + (size_t)ids[i] * stride;
        int32_t product = 0;
        for (size_t j = 0; j < stride; j++) product += query->codes[j] * (row[j] & 15) + query->codes[stride + j] * (row[j] >> 4);
        keys[i] = vk_key(code_distance(rows, query, ids[i], 2 * product - query->offset));
    }
}

static float single(uint16_t value);

static void half_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++) {
        const uint16_t *row = rows->halves + (size_t)ids[i] * rows->half_stride;
        float sums[lanes] = {0};
        for (size_t j = 0; j < rows->half_stride; j++) sums[j % lanes] += query->floats[j] * single(row[j]);
        keys[i] = vk_key(query->bias + query->scale * folded(sums));
    }
}

static void half_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++) {
        const uint16_t *row = rows->halves + (size_t)ids[i] * rows->half_stride;
        float sums[lanes] = {0};
        for (size_t j = 0; j < rows->half_stride; j++) {
            float difference = query->floats[j] - single(row[j]);
            sums[j % lanes] += difference * difference;
        }
        keys[i] = vk_key(query->bias + query->scale * folded(sums));
    }
}

static vk_coded encode8(
    const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride, uint8_t flip) {
    return vk_encode8_body(from, centre, dimension, codes, stride, flip);
}
static vk_coded encode4(const float *from, const float *centre, uint32_t dimension, uint8_t *codes, uint32_t stride) {
    return vk_encode4_body(from, centre, dimension, codes, stride);
}

vk_coded vk_sketch_row_portable(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_row_body(from, centre, dimension, words, vk_signs_portable);
}
vk_coded vk_sketch_query_portable(const float *from, const float *centre, uint32_t dimension, uint64_t *words) {
    return vk_sketch_query_body(from, centre, dimension, words, vk_signs_portable);
}
void vk_sketch_rows_portable(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    vk_sketch_rows_body(rows, query, ids, count, keys);
}
size_t vk_keep_between_portable(const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept) {
    return vk_keep_between_body(keys, ids, count, least, most, kept);
}
size_t vk_next_rows_portable(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    return vk_next_rows(bitmap, row, end, limit, ids);
}

size_t vk_pool_insert_portable(uint64_t *pool, size_t size, size_t capacity, uint64_t entry) {
    size_t at = size < capacity ? size : capacity - 1;
    while (at > 0 && pool[at - 1] > entry) {
        pool[at] = pool[at - 1];
        at--;
    }
    pool[at] = entry;
    return at;
}

size_t vk_pool_offer_portable(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count, size_t *lowest) {
    return vk_pool_offer_body(pool, size, capacity, keys, ids, count, lowest, vk_pool_insert_portable);
}

static uint16_t half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00 | (uint16_t)(magnitude >> 13 & 0x3ff);
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and up round to infinity
    if (magnitude < 0x33000001) return sign;            // 2^-25 and below round to zero
    int32_t exponent = (int32_t)(magnitude >> 23) - 127;
    uint32_t significand = (magnitude & 0x7fffff) | 0x800000;
    // Below 2^-14 a half is subnormal and loses a bit a step.
    uint32_t drop = exponent < -14 ? (uint32_t)(-1 - exponent) : 13;
    uint32_t kept = significand >> drop, rest = significand & ((1u << drop) - 1), middle = 1u << (drop - 1);
    kept += rest > middle || (rest == middle && (kept & 1));
    // A carry out of the significand lands in the exponent, as it should.
    return sign | (uint16_t)(exponent < -14 ? kept : kept + ((uint32_t)(exponent + 14) << 10));
}

static float single(uint16_t value) {
    uint32_t sign = (uint32_t)(value & 0x8000) << 16, exponent = value >> 10 & 0x1f, significand = value & 0x3ff, bits;
    if (exponent == 0) {
        float magnitude = (float)significand * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    bits = exponent == 31 ? sign | 0x7f800000 | significand << 13 | (significand ? 0x400000 : 0)
                          : sign | (exponent + 112) << 23 | significand << 13;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

static size_t restrict_rows(uint64_t *to, const uint64_t *allowed, const uint64_t *deleted, size_t words) {
    return vk_restrict_rows_body(to, allowed, deleted, words);
}

static void to_f16(const float *from, uint16_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = half(from[i]);
}

static void from_f16(const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = single(from[i]);
}

const vk_kernels vk_portable = {
    .name = "portable",
    .dot = dot,
    .l2 = l2,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code8_rows = code8_rows,
    .code4_rows = code4_rows,
    .half_dot_rows = half_dot_rows,
    .half_l2_rows = half_l2_rows,
    .encode8 = encode8,
    .encode4 = encode4,
    .sketch_row = vk_sketch_row_portable,
    .sketch_query = vk_sketch_query_portable,
    .sketch_rows = vk_sketch_rows_portable,
    .keep_between = vk_keep_between_portable,
    .next_rows = vk_next_rows_portable,
    .pool_insert = vk_pool_insert_portable,
    .pool_offer = vk_pool_offer_portable,
    .restrict_rows = restrict_rows,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
