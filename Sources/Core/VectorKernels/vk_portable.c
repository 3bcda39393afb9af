// Plain C. The yardstick that the other variants are tested against, and what runs where none of them can.
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

static int32_t code_dot(const int8_t *a, const int8_t *b, size_t count) {
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static void dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++)
        keys[i] = vk_key(1 - dot(query->floats, rows->floats + ids[i] * rows->stride, rows->dimension));
}

static void l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++)
        keys[i] = vk_key(l2(query->floats, rows->floats + ids[i] * rows->stride, rows->dimension));
}

static float code_product(const vk_rows *rows, const vk_query *query, uint32_t row) {
    int32_t product = code_dot(query->codes, rows->codes + (size_t)row * rows->code_stride, rows->code_stride);
    return (float)product * (query->code_step * rows->code_terms[2 * (size_t)row]);
}

static void code_dot_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++) keys[i] = vk_key(1 - code_product(rows, query, ids[i]));
}

static void code_l2_rows(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    for (size_t i = 0; i < count; i++) {
        float norms = query->code_norm + rows->code_terms[2 * (size_t)ids[i] + 1];
        keys[i] = vk_key(norms - 2 * code_product(rows, query, ids[i]));
    }
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
    .code_dot = code_dot,
    .dot_rows = dot_rows,
    .l2_rows = l2_rows,
    .code_dot_rows = code_dot_rows,
    .code_l2_rows = code_l2_rows,
    .pool_insert = vk_pool_insert_portable,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
