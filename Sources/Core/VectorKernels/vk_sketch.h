// Sketches: a row's signs, one bit a component, in plain C that each variant compiles for its own instruction set. Sums run in
// a fixed number of lanes and nothing is fused, so all variants give the same bits.
#pragma once

#include "vk_encode.h"
#include "vk_variants.h"

#define VK_SKETCH static inline __attribute__((always_inline))

static inline size_t vk_sketch_words(uint32_t dimension) { return ((size_t)dimension + 63) / 64; }

/// Which of 16 floats are not negative, the first in bit 0.
typedef uint32_t (*vk_signs)(const float *x);

VK_SKETCH uint32_t vk_signs_portable(const float *x) {
    uint32_t bits = 0;
    for (uint32_t j = 0; j < vk_lanes; j++) bits |= (uint32_t)(x[j] >= 0) << j;
    return bits;
}

/// Runs `BODY` for every 16 components: `x`, the vector less its centre, `some` of them, the rest zero; the first is `i`.
#define VK_EACH_BLOCK(BODY)                                                                          \
    for (uint32_t i = 0; i < dimension; i += vk_lanes) {                                             \
        float x[vk_lanes] = {0};                                                                     \
        const uint32_t some = dimension - i < vk_lanes ? dimension - i : vk_lanes;                   \
        if (some == vk_lanes)                                                                        \
            for (uint32_t j = 0; j < vk_lanes; j++) x[j] = centre ? from[i + j] - centre[i + j] : from[i + j]; \
        else                                                                                         \
            for (uint32_t j = 0; j < some; j++) x[j] = centre ? from[i + j] - centre[i + j] : from[i + j];     \
        BODY                                                                                         \
    }

VK_SKETCH void vk_put_signs(uint64_t *words, uint32_t i, uint32_t some, uint32_t signs) {
    words[i / 64] |= (uint64_t)(signs & ((1u << some) - 1)) << (i % 64);
}

VK_SKETCH vk_coded vk_sketch_row_body(
    const float *restrict from, const float *restrict centre, uint32_t dimension, uint64_t *restrict words, vk_signs signs) {
#pragma STDC FP_CONTRACT OFF
    float squares[vk_lanes] = {0}, sizes[vk_lanes] = {0}, along[vk_lanes] = {0};
    memset(words, 0, 8 * vk_sketch_words(dimension));
    VK_EACH_BLOCK({
        for (uint32_t j = 0; j < vk_lanes; j++) {
            squares[j] += x[j] * x[j];
            sizes[j] += fabsf(x[j]);
        }
        if (centre)
            for (uint32_t j = 0; j < some; j++) along[j] += x[j] * centre[i + j];
        vk_put_signs(words, i, some, signs(x));
    })
    vk_coded coded = {0};
    const float square = vk_fold(squares), size = vk_fold(sizes);
    if (!(square < INFINITY && size > 0 && square / size > 0)) {
        // Zero, or too long: such a vector has no direction that signs could tell.
        memset(words, 0, 8 * vk_sketch_words(dimension));
        return coded;
    }
    coded.step = square / size;
    coded.squares = coded.cross = square;
    coded.along = vk_fold(along);
    return coded;
}

VK_SKETCH vk_coded vk_sketch_query_body(
    const float *restrict from, const float *restrict centre, uint32_t dimension, uint64_t *restrict words, vk_signs signs) {
#pragma STDC FP_CONTRACT OFF
    const size_t count = vk_sketch_words(dimension);
    float squares[vk_lanes] = {0}, along[vk_lanes] = {0}, cross[vk_lanes] = {0};
    memset(words, 0, 16 * count);
    VK_EACH_BLOCK({
        for (uint32_t j = 0; j < vk_lanes; j++) squares[j] += x[j] * x[j];
        if (centre)
            for (uint32_t j = 0; j < some; j++) along[j] += x[j] * centre[i + j];
    })
    vk_coded coded = {0};
    const float square = vk_fold(squares);
    // The step of four levels that lose least of a normal distribution (Max 1960, table I).
    const float step = 0.9957f * sqrtf(square / (float)dimension);
    if (!(square < INFINITY && step > 0 && 1 / step < INFINITY)) return coded;
    VK_EACH_BLOCK({
        float inner[vk_lanes];
        for (uint32_t j = 0; j < vk_lanes; j++) {
            inner[j] = x[j] >= 0 ? x[j] - step : x[j] + step;
            cross[j] += fabsf(x[j]) + (inner[j] >= 0 ? 0.5f : -0.5f) * x[j];
        }
        vk_put_signs(words, i, some, signs(inner));
        vk_put_signs(words + count, i, some, signs(x));
    })
    // Scaled so that the product with the vector itself is right.
    coded.step = square / vk_fold(cross);
    coded.squares = coded.cross = square;
    coded.along = vk_fold(along);
    return coded;
}

/// The distance from an exact count of bits; the same roundings in every variant. The row's terms lie behind its bits.
VK_SKETCH uint32_t vk_sketch_key(const vk_query *query, const float *terms, int32_t differing) {
#pragma STDC FP_CONTRACT OFF
    float value = (float)(query->offset - 2 * differing) * query->scale - query->slack;
    return vk_key((query->bias + terms[1]) + value * terms[0]);
}

VK_SKETCH void vk_sketch_rows_body(
    const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys) {
    const size_t words = vk_sketch_words(rows->dimension);
    const uint64_t *planes = (const uint64_t *)(const void *)query->codes;
    for (size_t i = 0; i < count; i++) {
        if (i + 8 < count) vk_prefetch(rows->sketches + (size_t)ids[i + 8] * rows->sketch_stride);
        const uint8_t *row = rows->sketches + (size_t)ids[i] * rows->sketch_stride;
        const uint64_t *bits = (const uint64_t *)(const void *)row;
        int32_t inner = 0, outer = 0;
        for (size_t k = 0; k < words; k++) {
            inner += __builtin_popcountll(bits[k] ^ planes[k]);
            outer += __builtin_popcountll(bits[k] ^ planes[words + k]);
        }
        keys[i] = vk_sketch_key(query, (const float *)(const void *)(row + 8 * words), inner + 2 * outer);
    }
}

VK_SKETCH size_t vk_keep_between_body(
    const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept) {
    size_t some = 0;
    for (size_t i = 0; i < count; i++) {
        kept[some] = ids[i];
        some += keys[i] - least <= most - least;
    }
    return some;
}
